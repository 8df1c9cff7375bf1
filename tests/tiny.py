"""A tiny good task of every kind, in which a test replaces one thing; and a check of messages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import sampled

from lrjax import Task

KEY = jax.random.key(0)
ONES, ZEROS = jnp.ones((4, 2)), jnp.zeros(2)
X, Y = np.ones((40, 2), np.float32), np.ones(40, np.float32)
BATCHES = [np.ones((4, 2), np.float32)] * 12


def loss(w, batch, key):
    return jnp.mean((batch @ w - 1) ** 2)


def task(**fields):
    good = {
        "init": ZEROS,
        "loss_fn": loss,
        "sample_batches": lambda key, num_steps: jnp.ones((num_steps, 4, 2)),
        "eval_batches": [ONES],
    }
    return Task(**(good | fields))


def stateful_loss(w, state, batch, key):
    return loss(w, batch, key), state


def stateful(loss_fn=stateful_loss, init=(ZEROS, ZEROS)):
    return Task.stateful(
        init=init, loss_fn=loss_fn, sample_batches=lambda key, n: jnp.ones((n, 4, 2)), eval_batches=[ONES]
    )


def arrays(**fields):
    good = {"train": (X[:32], Y[:32]), "validation": (X[32:], Y[32:]), "batch_size": 4}
    return Task.from_arrays(ZEROS, lambda w, batch, key: loss(w, batch[0], key), **(good | fields))


def batches(**fields):
    return Task.from_batches(ZEROS, loss, **({"train_batches": BATCHES, "eval_batches": BATCHES[:1]} | fields))


def find(task, make_optimizer=optax.sgd, **options):
    good = {"key": KEY, "num_steps": 4, "num_seeds": 1, "executor": "vmap", "min_lr": 1e-3, "max_lr": 1.0}
    return sampled(task, make_optimizer, **(good | options))


def check_message(call, error, parts):
    """Raises the error itself, none of JAX's own, and its message has all the parts."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    for part in parts:
        assert part in str(caught.value)
