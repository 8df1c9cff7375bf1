"""Batches of a Hugging Face dataset, whose own iteration gives single rows."""

import datasets
import jax
import jax.numpy as jnp
import lrjax
import optax
from lrjax.demos import load_digits
from lrjax.integrations.data import epochs

images, labels = load_digits()
dataset = datasets.Dataset.from_dict({"image": list(images), "label": labels, "name": ["digit"] * len(labels)})
train, validation = dataset.select(range(256, len(labels))), dataset.select(range(256))
params = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}


def loss_fn(params, batch, key):
    logits = batch[0] @ params["w"] + params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


columns = {"columns": ("image", "label"), "batch_size": 32}
held_out = list(epochs(validation, shuffle=False, **columns)(0))
task = lrjax.Task.from_batches(params, loss_fn, train_batches=epochs(train, **columns), eval_batches=held_out)
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=2), key=jax.random.key(0))
print(result.summary())
