"""Lanes are carried on from their states, and seeds are added, without changing what is there."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from batch_norm import BatchNorm, batch_norm
from marks import slow
from problems import regression

import lrjax
from lrjax import Chunked
from lrjax._engine import TrialRunner

LRS = np.array([0.001, 0.01, 0.03])
REGRESSION, STATEFUL = regression(), batch_norm(eval_fn=BatchNorm.eval_fn)


def momentum(lr: Any) -> Any:
    return optax.sgd(lr, momentum=0.9)


def runner_of(task: lrjax.Task, executor: Any = "map", *, steps: int = 4, seeds: int = 1, factory: Any = momentum):
    key = jax.random.key(21)
    return TrialRunner("test", task, factory, key=key, horizons=(steps,), num_seeds=seeds, executor=executor)


@pytest.mark.parametrize(
    ("task", "executor"),
    [slow(STATEFUL, "map"), *((REGRESSION, one) for one in ("map", "loop", "vmap")), slow(REGRESSION, Chunked(2))],
    ids=["stateful-map", "map", "loop", "vmap", "chunked"],
)
def test_four_steps_and_four_more_are_eight(task, executor):
    whole = runner_of(task, executor, steps=8, seeds=2).run(LRS, keep=True)
    runner = runner_of(task, executor, steps=4, seeds=2)  # more than one epoch of batches
    half = runner.run(LRS, keep=True)
    second = runner.run(LRS[1:], states=_pick(half.states, slice(1, None)), start=4, keep=True)
    rtol = 0 if executor in ("map", "loop") else 1e-4
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 100)  # noqa: E731
    jax.tree.map(same, second.states, _pick(whole.states, slice(1, None)))
    same(second.metrics["loss"], whole.metrics["loss"][..., 1:])
    again = runner.run(LRS)  # new lanes start from step 0 after others went on
    np.testing.assert_array_equal(again.metrics["loss"], half.metrics["loss"])


def _pick(states: Any, lanes: slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[lanes], states)


def test_divergence_is_remembered_when_a_lane_is_carried_on():
    runner = runner_of(REGRESSION, steps=3, factory=optax.sgd)
    first = runner.run(np.array([0.01, 1e20]), keep=True)
    second = runner.run(np.array([0.01, 1e20]), states=first.states, start=3)
    np.testing.assert_array_equal(second.diverged_at, first.diverged_at)
    assert first.diverged_at[0, 0] == -1 < first.diverged_at[0, 1]


@pytest.mark.parametrize("executor", ["map", "loop", "vmap"])
def test_more_seeds_leave_the_numbers_of_the_old_ones(executor):
    few, many = (runner_of(REGRESSION, executor, seeds=seeds).run(LRS) for seeds in (2, 3))
    rtol = 1e-5 if executor == "vmap" else 0
    np.testing.assert_allclose(many.metrics["loss"][:, :2], few.metrics["loss"], rtol=rtol)


def test_a_task_without_random_access_is_carried_on_by_drawing_again():
    source, asked = REGRESSION, []

    def sample_batches(key: jax.Array, num_steps: int) -> Any:
        asked.append(num_steps)
        return source.sample_batches(key, num_steps)

    task = lrjax.Task(
        init=source.init, loss_fn=source.loss_fn, sample_batches=sample_batches, eval_batches=source.eval_batches
    )
    runner = runner_of(task, "loop", steps=4)
    second = runner.run(LRS, states=runner.run(LRS, keep=True).states, start=4)
    whole = runner_of(source, "loop", steps=8).run(LRS)
    np.testing.assert_array_equal(second.metrics["loss"], whole.metrics["loss"])
    assert asked == [4, 2, 8]  # the batches, the check of their prefix, and those to go on with
