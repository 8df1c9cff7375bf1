"""Gradient accumulation by optax.MultiSteps: four batches make one update, and train_steps counts updates."""

import jax
import jax.numpy as jnp
import lrjax  # lrjax
import optax
from lrjax.demos import load_digits

images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}


def init(key):
    one, two = jax.random.split(key)
    return {"w": 0.2 * jax.random.normal(one, (64, 32)), "v": 0.2 * jax.random.normal(two, (32, 10))}


def loss_fn(params, batch, key):
    logits = jnp.tanh(batch[0] @ params["w"]) @ params["v"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def make_optimizer(lr):
    return optax.MultiSteps(optax.adam(lr), every_k_schedule=4)


STEPS = 200
task = lrjax.Task.from_arrays(init, loss_fn, **data)  # lrjax
result = lrjax.find_lr(task, make_optimizer, key=jax.random.key(0), train_steps=STEPS)  # lrjax
print(result.summary())
