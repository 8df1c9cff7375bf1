"""Where no learning rate moves the loss, every verb says so after the first round, and why."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import budgeted, resumed, sampled
from toy_data import KEY

import lrjax
from lrjax import Outcome, WarningName
from lrjax.integrations import step_task

X = np.random.default_rng(0).normal(size=(128, 2)).astype(np.float32)


def loss_fn(w, batch, key):
    return jnp.mean((batch @ w - 1.0) ** 2)


def task_of(**options):
    data = {"train": X, "validation": X[:32], "batch_size": 8}
    return lrjax.Task.from_arrays(jnp.zeros(2), loss_fn, **data | options)


TASK = task_of()
ELSEWHERE = task_of(eval_fn=lambda w, batch: jnp.mean(batch**2))
HOW = {"key": KEY, "num_seeds": 1, "executor": "map", "throw": False}


def nothing(lr):
    return optax.chain(optax.sgd(lr), optax.set_to_zero())


@pytest.mark.parametrize(
    ("task", "optimizer", "words"),
    [
        (TASK, nothing, "No parameter changed"),
        (ELSEWHERE, optax.sgd, "does not depend on what changes"),
    ],
    ids=["set_to_zero", "evaluation"],
)
def test_a_search_stops_after_the_first_round(task, optimizer, words):
    result = sampled(task, optimizer, num_steps=2, **HOW)
    assert (result.outcome, result.num_trials) == (Outcome.nothing_moved, 17)
    (warning,) = result.warnings
    assert warning.name is WarningName.nothing_moved
    assert words in warning.message
    assert np.isnan(result.lr)
    assert "labels" not in result.summary()
    assert result.summary().startswith(Outcome.nothing_moved.value)


def test_it_is_an_error_with_the_remedy(tmp_path):
    with pytest.raises(lrjax.LRNotFound, match=r"No learning rate moved .* set_to_zero") as caught:
        sampled(TASK, nothing, num_steps=2, **HOW | {"throw": True})
    caught.value.result.to_json(tmp_path / "it.json")
    again = lrjax.LRResult.from_json(tmp_path / "it.json")
    assert again.outcome is Outcome.nothing_moved


def test_a_flat_loss_that_the_parameters_move_is_no_learning():
    rough = task_of(eval_fn=lambda w, batch: jnp.float32(2**24) + jnp.sum(jnp.abs(w)))  # its steps are of 2
    result = sampled(rough, optax.sgd, num_steps=1, extend_range=False, max_lr=0.1, refine=None, **HOW)
    assert np.ptp(np.asarray(result.curve.final)) == 0
    assert result.outcome is Outcome.no_learning


def test_a_range_that_is_too_low_grows():
    limits = {"min_lr": 1e-35, "max_lr": 1e-33, "extend_range": True}
    result = sampled(TASK, optax.sgd, num_steps=2, refine=None, **limits, **HOW)
    assert result.curve.num_trials > 5


def test_the_other_verbs_say_it_too():
    start = {"params": jnp.zeros(2), "step": 10, "train_steps": 40}
    again = resumed(TASK, nothing, opt_state=nothing(0.1).init(jnp.zeros(2)), **start, **HOW)
    assert again.outcome is Outcome.nothing_moved
    assert "No parameter changed" in again.summary()
    two = sampled(TASK, nothing, train_steps=20, **HOW)
    assert [len(stage.log10_lrs) for stage in two.stages] == [17]
    assert two.outcome is Outcome.nothing_moved
    rungs = budgeted(TASK, nothing, train_steps=40, **HOW)
    assert (rungs.outcome, len(rungs.stages)) == (Outcome.nothing_moved, 1)
    assert "No parameter changed" in rungs.summary()
    ramp = lrjax.range_test(TASK, nothing, key=KEY, num_steps=8)
    assert "No parameter changed" in (ramp.stopped or "")
    with pytest.raises(ValueError, match="No parameter changed"):
        ramp.suggest()


def test_a_step_that_does_not_read_the_learning_rate():
    state = {"w": jnp.ones(2), "lr": jnp.float32(0.0)}
    task = step_task(
        lambda state, batch: state | {"w": 0.9 * state["w"]},
        state,
        list(X.reshape(-1, 8, 2)),
        lambda state: jnp.sum(state["w"] ** 2),
        lambda state, lr: state | {"lr": lr},
    )
    with pytest.raises(lrjax.LRNotFound, match="No learning rate moved") as caught:
        sampled(task, task.set_lr, key=KEY, num_steps=2, num_seeds=1, executor="map")
    assert "makes no difference" in caught.value.result.warnings[0].message


def test_a_stateful_task_is_compared_with_learning_rate_0():
    def moving(w, mean, batch, key):
        return loss_fn(w, batch, key), 0.9 * mean + 0.1 * batch.mean(0)

    data = {"train": X, "validation": X[:32], "batch_size": 8, "stateful": True}
    task = lrjax.Task.from_arrays(
        (jnp.zeros(2), jnp.zeros(2)), moving, **data, eval_fn=lambda w, mean, batch: loss_fn(w, batch - mean, None)
    )
    result = sampled(task, nothing, num_steps=2, **HOW | {"num_seeds": 2})
    assert result.outcome is Outcome.nothing_moved
