"""Equinox: an MLP."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lrjax  # lrjax
import optax
from lrjax.demos import load_digits
from lrjax.integrations import equinox as lrjax_equinox  # lrjax

images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}
model = eqx.nn.MLP(64, 10, width_size=32, depth=1, key=jax.random.key(0))


def loss(model, batch):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(batch[0]), batch[1]))


task = lrjax_equinox.task(model, loss, **data)  # lrjax
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))  # lrjax
optimizer = optax.adam(result.lr)  # lrjax
opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
