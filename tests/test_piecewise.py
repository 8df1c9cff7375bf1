"""Piecewise step sampling: a literal implementation, and what the result promises."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import quadratic, regression
from sequential import evaluation_loss, seed_keys
from tiny import check_message

import lrjax
from experiments.benchmark.piecewise import Trained, choose, piecewise

KEY, LR, TOTAL = jax.random.key(6), 0.01, 40
PART = TOTAL // 20
REGRESSION = regression()
train = functools.partial(piecewise, key=KEY, lr=LR, train_steps=TOTAL)

pytestmark = pytest.mark.slow


@functools.cache
def trained() -> Trained:
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
        np.testing.assert_allclose(rates[window.start : window.start + TOTAL // 10], window.lr, rtol=1e-6)
    np.testing.assert_allclose(rates[16 * PART :], result.windows[-1].lr * np.linspace(1, 0, 4 * PART + 1), rtol=1e-5)
    again = lrjax.schedules.from_spec(lrjax.schedules.to_spec(result.schedule))
    np.testing.assert_array_equal(again(np.arange(TOTAL)), rates[:-1])


def test_the_cost_is_counted():
    result = train(REGRESSION, optax.adam)
    assert result.num_updates == 6.2 * TOTAL
    assert result.loss < evaluation_loss(REGRESSION, start()[0], key=KEY)


def test_of_equal_losses_the_highest_learning_rate_is_chosen():
    """Where it has become so small that nothing moves, it does not fall for good."""
    window = choose(4, np.arange(1.0, 6.0), np.asarray([1.0, 1.0, 1.0, 1.0, np.inf]))
    assert (window.chosen, window.lr) == (3, 4.0)


def test_what_cannot_be_trained_is_refused():
    steps = ["`piecewise(train_steps=...)`", "a multiple of 20", "got 1234"]
    check_message(lambda: train(REGRESSION, optax.adam, train_steps=1234), ValueError, steps)
    rates = ["from step 0 on all 5 did, at learning rates from 1.0e+08 to 1.0e+10", "Start lower (lr=...)"]
    check_message(lambda: train(quadratic(), optax.sgd, lr=1e9), RuntimeError, rates)
