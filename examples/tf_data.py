"""Batches of a tf.data pipeline."""

import jax
import jax.numpy as jnp
import lrjax
import optax
import tensorflow as tf
from lrjax.demos import load_digits
from lrjax.integrations.data import epochs

images, labels = load_digits()
train = tf.data.Dataset.from_tensor_slices({"image": images[256:], "label": labels[256:]})
train = train.shuffle(2000, seed=0).batch(32, drop_remainder=True)
params = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}


def loss_fn(params, batch, key):
    logits = batch[0] @ params["w"] + params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


batches = epochs(train, columns=("image", "label"))
task = lrjax.Task.from_batches(params, loss_fn, train_batches=batches, eval_batches=[(images[:256], labels[:256])])
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=2), key=jax.random.key(0))
print(result.summary())
