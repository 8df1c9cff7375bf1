"""Batches of a Grain pipeline; an iterator with a state resumes sweeps to the same bits."""

import grain.python as grain
import jax
import jax.numpy as jnp
import lrjax
import optax
from lrjax.demos import load_digits

images, labels = load_digits()
rows = grain.MapDataset.source(range(256, len(labels))).shuffle(seed=0).repeat()
train = rows.map(lambda row: (images[row], labels[row])).batch(32)
params = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}


def loss_fn(params, batch, key):
    logits = batch[0] @ params["w"] + params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


task = lrjax.Task.from_batches(params, loss_fn, train_batches=train, eval_batches=[(images[:256], labels[:256])])
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=2), key=jax.random.key(0))
print(result.summary())
