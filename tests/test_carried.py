"""Lanes are trained on from their states, and seeds are added, without changing what is there."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from batch_norm import BatchNorm, batch_norm
from inside import LaneRunner
from marks import slow
from problems import regression

import lrjax
from lrjax import Chunked

LRS = np.array([0.001, 0.01, 0.03])
REGRESSION, STATEFUL = regression(), batch_norm(eval_fn=BatchNorm.eval_fn)


def momentum(lr: Any) -> Any:
    return optax.sgd(lr, momentum=0.9)


def runner_of(task: lrjax.Task, executor: Any = "map", *, seeds: int = 1, factory: Any = momentum) -> LaneRunner:
    shapes, key = [(seeds, len(LRS))], jax.random.key(21)
    return LaneRunner("test", task, factory, key=key, executor=executor, longest=8, shapes=shapes)


@pytest.mark.parametrize(
    ("task", "executor"),
    [slow(STATEFUL, "map"), *((REGRESSION, one) for one in ("map", "loop", "vmap")), slow(REGRESSION, Chunked(2))],
    ids=["stateful-map", "map", "loop", "vmap", "chunked"],
)
def test_four_steps_and_four_more_are_eight(task, executor):
    whole = runner_of(task, executor, seeds=2)
    losses = whole.train(LRS, 8, 2)
    runner = runner_of(task, executor, seeds=2)  # more than one epoch of batches
    half = runner.train(LRS, 4, 2)
    second = runner.train(LRS[1:], 8, 2)
    rtol = 0 if executor in ("map", "loop") else 1e-4
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 100)  # noqa: E731
    for pair, state in runner.states.lanes.items():
        jax.tree.map(same, state, whole.states.lanes[pair])
    assert len(runner.states.lanes) == 4
    same(second, losses[:, 1:])
    again = runner.train(LRS, 4, 2)  # new lanes start from step 0 after others went on
    np.testing.assert_array_equal(again, half)


def test_divergence_is_remembered_when_a_lane_is_carried_on():
    runner = runner_of(REGRESSION, factory=optax.sgd)
    first, second = [
        (runner.train([0.01, 1e20], steps, 1), [int(state.diverged_at) for state in runner.states.lanes.values()])[1]
        for steps in (3, 6)
    ]
    np.testing.assert_array_equal(second, first)
    assert first[0] == -1 < first[1]


@pytest.mark.parametrize("executor", ["map", "loop", "vmap"])
def test_more_seeds_leave_the_numbers_of_the_old_ones(executor):
    few, many = (runner_of(REGRESSION, executor).sample(LRS, [4], seeds).metrics["loss"] for seeds in (2, 3))
    rtol = 1e-5 if executor == "vmap" else 0
    np.testing.assert_allclose(many[:, :2], few, rtol=rtol)


def test_a_task_without_random_access_draws_its_batches_again():
    source, asked = REGRESSION, []

    def sample_batches(key: jax.Array, num_steps: int) -> Any:
        asked.append(num_steps)
        return source.sample_batches(key, num_steps)

    task = lrjax.Task(
        init=source.init, loss_fn=source.loss_fn, sample_batches=sample_batches, eval_batches=source.eval_batches
    )
    key = jax.random.key(3)
    later, whole = task.training_batches(0, key, 4, 8), source.training_batches(0, key, 0, 8)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[4:]), later, whole)
    assert asked == [8]
