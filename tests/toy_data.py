"""Data and keys that the tests of the integrations share, and a comparison with a training written by hand."""

import jax
import numpy as np
from sequential import seed_keys

import lrjax

RNG = np.random.default_rng(5)
X = RNG.normal(size=(80, 4)).astype(np.float32)
Y = np.sin(X).sum(axis=1).astype(np.float32)
DATA = {"train": (X[:60], Y[:60]), "validation": (X[60:], Y[60:]), "batch_size": 16, "eval_batch_size": 20}
BATCHES = {"train_batches": [(X[i : i + 16], Y[i : i + 16]) for i in range(32)], "eval_batches": [(X[60:], Y[60:])]}
KEY = jax.random.key(3)


def curve(task, make_optimizer, lrs=(1e-2, 0.1), *, key=KEY, num_steps=4, num_seeds=1):
    return lrjax.sample_losses(
        task, make_optimizer, lrs, key=key, num_steps=num_steps, num_seeds=num_seeds, executor="loop"
    )


def steps_of(task, num_steps=4, seed=0, key=KEY):
    """The batch and the dropout key of every step."""
    _, data_key, train_key = seed_keys(key, seed)
    batches = task.sample_batches(data_key, num_steps)
    for step in range(num_steps):
        yield jax.tree.map(lambda leaf, t=step: leaf[t], batches), jax.random.fold_in(train_key, step)


def same(tree, other):
    """Whether two trees hold the same bits."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(np.asarray(one), np.asarray(two)) for one, two in pairs)
