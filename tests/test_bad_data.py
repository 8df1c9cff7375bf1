"""Bad batches, arrays and loaders: each error says what was wrong, what was got, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import BATCHES, KEY, ONES, X, Y, arrays, batches, check_message, find, task

import lrjax


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
        ["(root) is a tuple instead of float32[", "several are a list"],
    ),
    "eval_batches of another structure": (
        lambda: find(task(eval_batches=[(ONES, jnp.ones(4))])),
        ValueError,
        ["batches like those of training", "(root) is a tuple instead of float32[", "`eval_fn`"],
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
        [
            "`Task.from_batches(train_batches=...)` must give at least 4 batches",
            "ended after 0",
            "`train_batches=lambda epoch: loader`",
        ],
    ),
    "fewer batches than steps": (
        lambda: find(batches(train_batches=BATCHES[:3])),
        ValueError,
        ["at least 4 batches (one for each step and seed)", "ended after 3", "fewer steps"],
    ),
    "more seeds than batches": (
        lambda: find(batches(), num_seeds=5),
        ValueError,
        ["`StepSampling(num_seeds=...)` must be at most 3", "got 5", "`train_batches=lambda epoch: loader`"],
    ),
    "batches of several lengths": (
        lambda: find(batches(train_batches=[*BATCHES[:3], np.ones((4, 5), np.float32)])),
        ValueError,
        ["batch 3 differs from batch 0", "float32[4,5] instead of float32[4,2]", "Pad all of them to one length"],
    ),
    "batches of several lengths and sizes": (
        lambda: find(batches(train_batches=[*BATCHES[:3], np.ones((3, 5), np.float32)])),
        ValueError,
        ["float32[3,5] instead of float32[4,2]", "Pad all of them to one length"],
    ),
    "batches of several parts": (
        lambda: find(batches(train_batches=[{"x": BATCHES[0]}] * 3 + [{"x": BATCHES[0], "y": BATCHES[0]}])),
        ValueError,
        ["batch 3 differs from batch 0", "Give every batch the same parts"],
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


class Loader:
    """Twelve batches, and again when it is read again: what torch and tf.data give."""

    def __iter__(self):
        return iter(BATCHES[:12])


ADVICE = "Give a function of the epoch, which is called again when an epoch ends, `train_batches=lambda epoch: loader`"
VERBS = {
    "find_lr": lambda task: lrjax.find_lr(task, optax.sgd, key=KEY),
    "seeds": lambda task: lrjax.find_lr(task, optax.sgd, lrjax.StepSampling(num_steps=5, num_seeds=3), key=KEY),
    "second stage": lambda task: lrjax.find_lr(task, optax.sgd, lrjax.StepSampling(), key=KEY, train_steps=100),
    "preview": lambda task: lrjax.preview(lrjax.find_lr, task, optax.sgd, key=KEY),
    "sample_losses": lambda task: lrjax.sample_losses(task, optax.sgd, [0.1], key=KEY, num_steps=20),
    "range_test": lambda task: lrjax.range_test(task, optax.sgd, key=KEY),
    "budget": lambda task: lrjax.find_lr(task, optax.sgd, key=KEY, train_steps=100),
    "sweep": lambda task: lrjax.sweep(task, optax.sgd, {"learning_rate": [0.1]}, key=KEY, train_steps=20),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_loader_that_ends_is_told_how_not_to(verb):
    parts = ["train_batches=lambda epoch: loader"] if verb == "budget" else [ADVICE]
    check_message(lambda: VERBS[verb](batches(train_batches=Loader())), ValueError, parts)


def test_a_loader_that_ends_is_told_the_name_of_its_argument():
    from lrjax.integrations import step_task

    def call():
        state = {"w": jnp.ones(()), "lr": jnp.zeros(())}
        task = step_task(
            lambda state, batch: state | {"w": state["w"] - state["lr"]},
            state,
            Loader(),
            evaluate=lambda state: state["w"] ** 2,
            set_lr=lambda state, lr: state | {"lr": lr},
        )
        return lrjax.find_lr(task, task.set_lr, key=jax.random.key(0))

    check_message(call, ValueError, ["`step_task(batches=...)`", "`batches=lambda epoch: loader`"])
