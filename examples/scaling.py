"""The learning rate of a wide net with large batches, from narrow nets with small ones."""

import jax
import lrjax
import optax
from lrjax.demos import digits


def make_task(width, batch_size):
    return digits(hidden=width, batch_size=batch_size)


axes = {"width": [8, 16, 32], "batch_size": [8, 16, 32], "train_steps": [40, 80, 160]}
law = lrjax.scaling.measure(make_task, optax.adam, axes, key=jax.random.key(0), executor="loop")
print(law.summary())
print(law.lr(width=64, batch_size=16, train_steps=80))
