"""The learning rate of a long training with large batches, from short ones and from small batches."""

import jax
import lrjax
import optax
from lrjax.demos import digits

key = jax.random.key(0)
axes = {"batch_size": [8, 16, 32, 64], "train_steps": [50, 100, 200, 400]}
law = lrjax.scaling.measure(digits, optax.adam, axes, key=key, num_seeds=3, executor="loop")
print(law.summary())
print(law.lr(batch_size=64, train_steps=400))  # together they were never trained

result = lrjax.find_lr(digits(batch_size=64), optax.adam, key=key, train_steps=400)  # what a search there says
print(result.lr)
