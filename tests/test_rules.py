"""The rules: by hand, at the edges, and a user's own."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from definition import CELL, HALVES, SIGMA, close
from doors import sampled
from problems import curve_from, quadratic

from lrjax import crossing, find_window, half_loss, lowest_loss, midpoint, steepest

RULES = [midpoint, half_loss, steepest, lowest_loss]
V = np.interp(HALVES, [-3, -1, 1], [1, 0, 1])
LOWEST = SIGMA / math.sqrt(2 * math.pi)  # Z at the bottom of V, whose slopes are -1/2 and +1/2


def test_midpoint_is_the_middle_in_decades():
    curve = curve_from(HALVES, V)
    window = find_window(curve)._replace(min_lr=jnp.float32(1e-5), max_lr=jnp.float32(1e-2))
    assert close(midpoint(curve, window), -3.5)


@pytest.mark.parametrize("level", [0.3, 0.5, 0.7])
def test_a_crossing_is_where_the_line_is_at_the_level(level):
    window = find_window(curve_from(HALVES, V))
    smoothed = LOWEST + level * (1 - LOWEST)
    assert float(crossing(window, level)) == pytest.approx(-3 + 2 * (1 - smoothed), abs=2e-4)


def test_half_loss_is_the_last_crossing_below_the_minimum():
    """The curve comes down through 1/2 twice: from the first dip it rises again."""
    losses = np.interp(HALVES, [-6, -5, -4, -3, -1, 0], [1, 0.2, 0.2, 1, 0, 1])
    curve = curve_from(HALVES, losses)
    assert -2.2 < math.log10(float(half_loss(curve, find_window(curve)))) < -1.8


def test_half_loss_without_a_crossing_is_the_lowest_lr():
    losses = np.interp(HALVES, [-7, -3, 0], [0.4, 0, 1])
    curve = curve_from(HALVES, losses)
    assert close(half_loss(curve, find_window(curve)), -7)


def test_steepest_is_where_the_loss_falls_fastest_within_the_window():
    """Slopes -0.1, -0.7, -0.1 per decade between kinks 1.0 apart; a steeper fall beyond the minimum does not count."""
    x = np.arange(-14, 9) / 2
    losses = np.interp(x, [-5, -4, -3, -1, 1, 1.5, 2.5, 3], [1, 0.9, 0.2, 0, 0.6, 1.4, 0.4, 1.4])
    curve = curve_from(x, losses)
    window = find_window(curve)
    assert close(window.max_lr, -1, 0.15)
    assert close(steepest(curve, window), -3.5, CELL)
    narrowed = window._replace(min_lr=jnp.float32(10**-2.8))
    assert close(steepest(curve, narrowed), -2.8, 0.01)  # the window's own end counts


def test_lowest_loss_is_the_trial_and_not_the_smoothed_curve():
    losses = V.copy()
    losses[4] = -0.2  # a spike at 1e-5
    curve = curve_from(HALVES, np.stack([losses, losses + 0.1]), np.array([1.0, 1.1]))
    window = find_window(curve)
    assert lowest_loss(curve, window) == curve.lrs[4]
    assert close(window.max_lr, -1, 2 * CELL)


@pytest.mark.parametrize("losses", [np.full(17, np.nan), np.full(17, 1.0), np.linspace(1.5, 2, 17)])
@pytest.mark.parametrize("literal", [False, True])
def test_without_a_window_every_rule_is_nan(losses, literal):
    curve = curve_from(HALVES, losses)
    window = find_window(curve, literal=literal)
    assert np.isnan([float(rule(curve, window)) for rule in RULES]).all()


def test_in_a_narrow_basin_every_rule_is_the_best_trial():
    x = np.sort([*HALVES, -3.02, -2.98])
    curve = curve_from(x, np.where(np.isclose(x, -3), 0.0, 1.0))
    window = find_window(curve)
    assert window.narrow
    for rule in RULES:
        assert close(rule(curve, window), -3)


@pytest.mark.parametrize("rule", RULES)
def test_rules_are_jittable(rule):
    curve = curve_from(HALVES, V)
    inside = jax.jit(lambda curve: rule(curve, find_window(curve)))(curve)
    np.testing.assert_allclose(inside, rule(curve, find_window(curve)), rtol=1e-4)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_crossing_refuses_a_level_that_is_no_share(level):
    with pytest.raises(ValueError, match=rf"`crossing\(level\)` must be between 0 .* and 1 .*, got {level:g}"):
        crossing(find_window(curve_from(HALVES, V)), level)


TASK = quadratic()
find = functools.partial(
    sampled, TASK, optax.sgd, key=jax.random.key(0), num_seeds=1, executor="map", min_lr=1e-4, refine=None
)


def safe(curve, window, share=0.1):
    """A rule of one's own, NumPy only: a tenth of the best trial."""
    losses = np.asarray(curve.losses)[-1].mean(axis=0)
    return share * np.asarray(curve.lrs)[np.nanargmin(losses)]


def test_a_plain_numpy_function_is_a_rule():
    result = find(rule=safe)
    assert result.lr == pytest.approx(0.1 * float(result.window.best_lr), rel=1e-6)
    assert result.rule == "safe"
    assert "safe: a rule of your own" in result.summary()
    assert result.drift == {20: result.lr}


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (functools.partial(safe, share=0.5), "safe"),
        (lambda curve, window: 1e-3, "<lambda>"),
        (lambda curve, window: np.float32(1e-3), "<lambda>"),
        (lambda curve, window: 10.0 ** crossing(window, 0.05), "<lambda>"),
        (lowest_loss, "lowest_loss"),
    ],
)
def test_anything_callable_that_gives_a_number_is_a_rule(rule, name):
    result = find(rule=rule)
    assert result.lr > 0
    assert name in result.rule


def test_selections_are_the_papers_three_whatever_the_rule():
    result = find(rule=safe)
    assert result.selections == {
        name: float(rule(result.curve, result.window))
        for name, rule in {"midpoint": midpoint, "half_loss": half_loss, "steepest": steepest}.items()
    }
