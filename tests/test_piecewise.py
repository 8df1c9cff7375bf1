"""Piecewise step sampling: a literal implementation, and what the result promises."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batch_norm import BatchNorm, batch_norm
from problems import quadratic, regression
from sequential import evaluation_loss, seed_keys
from tiny import BATCHES, check_message

import lrjax
from lrjax._engine import programs as kept
from lrjax.experimental import PiecewiseResult, piecewise
from lrjax.experimental._piecewise import _window

KEY, LR, TOTAL = jax.random.key(6), 0.01, 40
PART = TOTAL // 20
REGRESSION = regression()
train = functools.partial(piecewise, key=KEY, lr=LR, train_steps=TOTAL, executor="map")

pytestmark = pytest.mark.slow


@functools.cache
def trained() -> PiecewiseResult:
    return train(REGRESSION, optax.adam)


@jax.jit
def adam_step(lr: Any, params: Any, opt_state: Any, batch: Any) -> tuple[Any, Any]:
    grads = jax.grad(REGRESSION.loss_fn)(params, batch, KEY)
    updates, opt_state = optax.adam(lr).update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state


def run(state: Any, schedule: Any, start: int, stop: int) -> Any:
    """A plain loop over steps start..stop-1 of seed 0."""
    batches = REGRESSION.sample_batches(seed_keys(KEY, 0)[1], 60)
    for step in range(start, stop):
        batch = jax.tree.map(lambda leaf: leaf[step], batches)
        state = adam_step(jnp.float32(schedule(step)), *state, batch)
    return state


def start() -> tuple[Any, Any]:
    params = jax.tree.map(np.asarray, REGRESSION.init(seed_keys(KEY, 0)[0]))
    return params, optax.adam(0.0).init(params)


def test_a_literal_implementation_chooses_the_same():
    """Every fork of every window, trained one after the other by a plain loop."""
    state, lr, factors = start(), LR, [0.1, 10**-0.5, 1.0, 10**0.5, 10.0]
    for window in trained().windows:
        end = window.start + 2 * PART
        forks, losses = [], []
        for rate in [lr * factor for factor in factors]:
            forks.append(run(state, lambda step, rate=rate: rate, window.start, end))
            cooled = run(forks[-1], lambda step, r=rate, end=end: r * (end + PART - step) / PART, end, end + PART)
            losses.append(evaluation_loss(REGRESSION, cooled[0], key=KEY))
        np.testing.assert_allclose(window.lrs, [lr * factor for factor in factors], rtol=1e-12)
        np.testing.assert_allclose(window.losses, losses, rtol=1e-3)
        assert window.losses[window.chosen] == min(window.losses)
        state, lr, factors = forks[window.chosen], window.lr, [0.25, 0.5, 1.0, 2.0, 4.0]
    state = run(state, lambda step: lr * (TOTAL - step) / (4 * PART), 16 * PART, TOTAL)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), trained().params, state[0])
    assert trained().loss == pytest.approx(evaluation_loss(REGRESSION, state[0], key=KEY), rel=1e-3)


def test_the_schedule_gives_the_same_training_again():
    params, opt_state = run(start(), trained().schedule, 0, TOTAL)
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(same, trained().params, params)
    jax.tree.map(same, trained().opt_state[0].mu, opt_state[0].mu)


def test_the_schedule_is_one_of_ours_constant_in_windows_and_ends_at_0():
    result = trained()
    rates = np.asarray(result.schedule(np.arange(TOTAL + 1)))
    for window in result.windows:
        assert window.stop - window.start == TOTAL // 10
        np.testing.assert_allclose(rates[window.start : window.stop], window.lr, rtol=1e-6)
    np.testing.assert_allclose(rates[16 * PART :], result.windows[-1].lr * np.linspace(1, 0, 4 * PART + 1), rtol=1e-5)
    again = lrjax.schedules.from_spec(lrjax.schedules.to_spec(result.schedule))
    np.testing.assert_array_equal(again(np.arange(TOTAL)), rates[:-1])


def test_the_cost_is_counted():
    updates: list[int] = []
    result = train(REGRESSION, optax.adam, progress=lambda event: updates.append(event.updates))
    assert result.num_updates == updates[-1] == 6.2 * TOTAL
    assert result.cost == 6.2
    assert result.execution.padded_updates == 0
    assert result.loss < result.initial_loss
    assert "Cost: 248 updates, 6.2 trainings" in result.summary()
    assert result.summary().count("*") == 9
    assert [window.losses for window in result.windows] == [window.losses for window in trained().windows]
    jax.tree.map(np.testing.assert_array_equal, result.params, trained().params)


def test_the_executor_is_chosen_where_none_is_named():
    result = train(REGRESSION, lambda schedule: optax.sgd(schedule, momentum=0.5), executor="auto")
    assert result.execution.requested == "auto"
    assert result.execution.used in ("vmap", "map", "loop")
    assert result.loss < result.initial_loss


@pytest.mark.parametrize("executor", ["vmap", "map"])
def test_two_programs_train_everything(executor):
    before = kept.misses
    result = train(REGRESSION, lambda schedule: optax.sgd(schedule, momentum=0.5), executor=executor)
    assert kept.misses - before == 2
    assert result.loss < result.initial_loss


def test_a_stateful_task_and_frozen_parameters():
    task = batch_norm(eval_fn=BatchNorm.eval_fn, trainable={"w": True, "scale": True, "v": False})
    result = train(task, lambda schedule: lrjax.schedules.scheduled(optax.sgd, learning_rate=schedule, momentum=0.9))
    assert int(result.model_state["count"]) == int(result.opt_state.step) == TOTAL
    np.testing.assert_array_equal(result.params["v"], BatchNorm.init(KEY)[0]["v"])
    assert np.isfinite(result.loss)
    np.testing.assert_allclose(
        BatchNorm.eval_fn(result.params, result.model_state, task.eval_batches[0]), result.loss, rtol=1e-5
    )


def test_of_equal_losses_the_highest_learning_rate_is_chosen():
    """Where it has become so small that nothing moves, it does not fall for good."""
    window = _window(1, PART, np.arange(1.0, 6.0), np.asarray([1.0, 1.0, 1.0, 1.0, np.inf]), optax.sgd)
    assert window.chosen == 3
    assert str(window) == "step 4: 1.00e+00 1, 2.00e+00 1, 3.00e+00 1, 4.00e+00 1*, 5.00e+00 inf"


def _bad(task: Any = REGRESSION, factory: Any = optax.adam, **changed: Any) -> Any:
    return lambda: train(task, factory, **changed)


def _iterable() -> lrjax.Task:
    loss_fn = lambda w, batch, key: jnp.mean((batch @ w - 1) ** 2)  # noqa: E731
    return lrjax.Task.from_batches(jnp.zeros(2), loss_fn, train_batches=BATCHES, eval_batches=BATCHES[:1])


CASES = {
    "no task": (_bad(None), TypeError, ["`piecewise(task=...)`", "got None"]),
    "an optimizer": (_bad(factory=optax.adam(0.1)), TypeError, ["`piecewise(make_optimizer=...)`", "Pass optax.adam"]),
    "a number for a key": (_bad(key=0), TypeError, ["`piecewise(key=...)`", "jax.random.key(0)"]),
    "no learning rate": (_bad(lr=0.0), ValueError, ["`piecewise(lr=...)` must be a learning rate", "got 0"]),
    "a word for a learning rate": (_bad(lr="0.1"), TypeError, ["`piecewise(lr=...)`", "'0.1'"]),
    "a training too short": (_bad(train_steps=10), ValueError, ["`piecewise(train_steps=...)`", ">= 20", "got 10"]),
    "a training not in parts": (_bad(train_steps=1234), ValueError, ["a multiple of 20", "got 1234. Write 1220"]),
    "a training too long": (_bad(train_steps=20 * 2**24), ValueError, ["below 16777216", "Write 16777200"]),
    "executor": (_bad(executor="pmap"), ValueError, ["`piecewise(executor=...)`", "'pmap'"]),
    "an iterable": (
        _bad(_iterable()),
        ValueError,
        ["`piecewise(task=...)`", "from any step on", "Use Task.from_arrays"],
    ),
    "a factory that wants a number": (
        _bad(factory=lambda lr: optax.adam(2 * lr)),
        TypeError,
        ["`piecewise(make_optimizer=...)` must take a schedule", "<lambda> failed on one"],
    ),
    "a factory that ignores it": (
        _bad(factory=lambda schedule: optax.sgd(0.1)),
        ValueError,
        ["`piecewise(make_optimizer=...)` must use its argument", "Pass the schedule on"],
    ),
    "MultiSteps": (
        _bad(factory=lambda schedule: optax.MultiSteps(optax.sgd(schedule), 2)),
        ValueError,
        ["accumulates gradients (optax.MultiSteps)", "larger batches"],
    ),
    "everything diverges": (
        _bad(quadratic(), optax.sgd, lr=1e9),
        RuntimeError,
        ["from step 0 on all 5 did, at learning rates from 1.0e+08 to 1.0e+10", "Start lower (lr=...)"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_arguments_are_named(call, error, parts):
    check_message(call, error, parts)
