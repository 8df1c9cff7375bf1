"""Bad batches, arrays and loaders: each error says what was wrong, what was got, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import BATCHES, ONES, X, Y, arrays, batches, check_message, find, task


def steps(fill):
    return lambda key, num_steps: np.full((num_steps, 4, 2), fill)


def random_steps(key, num_steps):
    return jax.random.normal(jax.random.fold_in(key, num_steps), (num_steps, 4, 2))


# what is called, the error, and parts of its message: where and the rule, what was got, what to do
CASES = {
    # sample_batches
    "sample_batches of another length": (
        lambda: find(task(sample_batches=lambda key, n: jnp.ones((5, 4, 2)))),
        ValueError,
        ["leading step axis of length 4", "got 5", "Stack one batch for each step"],
    ),
    "sample_batches without return": (
        lambda: find(task(sample_batches=lambda key, n: None)),
        ValueError,
        ["`sample_batches(key, num_steps)` holds no arrays", "leading step axis"],
    ),
    "sample_batches a scalar": (
        lambda: find(task(sample_batches=lambda key, n: 1.0)),
        ValueError,
        ["leading step axis", "got a scalar at (root)", "np.asarray"],
    ),
    "sample_batches a generator": (
        lambda: find(task(sample_batches=lambda key, n: (ONES for _ in range(n)))),
        TypeError,
        ["must hold arrays", "got a generator", "np.stack(list(...))"],
    ),
    "sample_batches of unequal leaves": (
        lambda: find(task(sample_batches=lambda key, n: (jnp.ones((n, 4)), jnp.ones(3)))),
        ValueError,
        ["one leading step axis for all leaves", "got 4 at [0] and 3 at [1]", "equally long"],
    ),
    "sample_batches that depend on the length": (
        lambda: find(task(sample_batches=random_steps)),
        ValueError,
        ["must be prefix-consistent", "sample_batches(key, 2)", "jax.random.fold_in(key, t)"],
    ),
    "nan in the batches": (
        lambda: find(task(sample_batches=steps(np.nan))),
        ValueError,
        ["Training batches must be finite", "in step 0 at (root)", "Clean the data"],
    ),
    "strings in the batches": (
        lambda: find(task(sample_batches=steps("text"))),
        TypeError,
        ["must hold arrays of numbers", "'text'", "Encode it as numbers"],
    ),
    "64-bit integers": (
        lambda: find(task(sample_batches=steps(2**40))),
        ValueError,
        ["holds 1099511627776 at (root)", "cut to 32 bits", "jax_enable_x64"],
    ),
    # eval_batches
    "eval_batches empty": (lambda: find(task(eval_batches=[])), ValueError, ["is empty", "give at least one batch"]),
    "an empty eval batch": (
        lambda: find(task(eval_batches=[ONES, ONES[:0]])),
        ValueError,
        ["`Task(eval_batches=...)` must hold batches of examples", "batch 1 is empty", "Remove it"],
    ),
    "one eval batch without a list": (
        lambda: find(task(eval_batches=ONES)),
        ValueError,
        ["batches like those of training", "float32[2] instead of float32[4,2]", "is written [batch]"],
    ),
    "eval_batches a tuple": (
        lambda: find(task(eval_batches=(ONES, ONES))),
        ValueError,
        ["structure PyTreeDef((*, *)) instead of PyTreeDef(*)", "several are a list"],
    ),
    "eval_batches of another structure": (
        lambda: find(task(eval_batches=[(ONES, jnp.ones(4))])),
        ValueError,
        ["batches like those of training", "structure PyTreeDef((*, *)) instead of PyTreeDef(*)", "`eval_fn`"],
    ),
    "nan in the eval_batches": (
        lambda: find(task(eval_batches=[jnp.full((4, 2), jnp.nan)])),
        ValueError,
        ["must be finite", "got nan", "Task(eval_batches=...)"],
    ),
    "eval_batches a generator": (
        lambda: find(task(eval_batches=(batch for batch in BATCHES))),
        TypeError,
        ["must hold arrays", "got a generator", "list(...)"],
    ),
    # from_arrays
    "arrays of two lengths": (
        lambda: arrays(train=(X, Y[:3])),
        ValueError,
        ["`Task.from_arrays(train=...)`", "got 40 at [0] and 3 at [1]", "equally long"],
    ),
    "validation empty": (lambda: arrays(validation=(X[:0], Y[:0])), ValueError, ["is empty", "at least 64 examples"]),
    "batch_size beyond the examples": (
        lambda: arrays(batch_size=100),
        ValueError,
        ["at least one batch of 100", "got 32", "Lower batch_size"],
    ),
    "batch_size a float": (lambda: arrays(batch_size=4.0), TypeError, ["whole number", "got 4.0 (float)", "Write 4."]),
    "eval_batch_size 0": (lambda: arrays(eval_batch_size=0), ValueError, ["(eval_batch_size=...)", ">= 1", "got 0"]),
    "lists for arrays": (
        lambda: arrays(train=[[1.0, 2.0]] * 32),
        ValueError,
        ["leading example axis", "got a scalar at [0][0]", "np.asarray"],
    ),
    "objects in arrays": (
        lambda: arrays(train=(np.array([None] * 32), Y[:32])),
        TypeError,
        ["arrays of numbers", "at [0]", "Encode it as numbers"],
    ),
    # from_batches
    "no batches": (
        lambda: find(batches(train_batches=[])),
        ValueError,
        ["`Task.from_batches(train_batches=...)` must give at least 4 batches", "got 0", "Give more data"],
    ),
    "fewer batches than steps": (
        lambda: find(batches(train_batches=BATCHES[:3])),
        ValueError,
        ["at least 4 batches (one for each step and seed)", "got 3", "fewer steps"],
    ),
    "more seeds than batches": (
        lambda: find(batches(), num_seeds=5),
        ValueError,
        ["`find_lr(num_seeds=...)` must be at most 3", "got 5", "Give more batches"],
    ),
    "a ragged batch": (
        lambda: find(batches(train_batches=[*BATCHES[:3], np.ones((3, 2), np.float32)])),
        ValueError,
        ["batch 3 differs from batch 0", "float32[3,2] instead of float32[4,2]", "drop_last=True"],
    ),
    "one batch for an iterable": (
        lambda: batches(train_batches=X),
        TypeError,
        ["must be an iterable of batches", "got ndarray (one batch?)", "into a list"],
    ),
    "a loader that is none": (lambda: batches(train_batches=3), TypeError, ["an iterable of batches", "got 3"]),
    "eval_batches that are none": (
        lambda: batches(eval_batches=3),
        TypeError,
        ["an iterable of batches", "got 3 (int)"],
    ),
    "strings in a loader": (
        lambda: find(batches(train_batches=[{"text": "hello"}] * 4)),
        TypeError,
        ["(train_batches=...)[0]` must hold arrays", "got 'hello' (str) at ['text']", "Encode it as numbers"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_data_are_explained(call, error, parts):
    check_message(call, error, parts)
