"""The literal window: the paper's finite differences, by hand and against NumPy."""

import math

import jax.numpy as jnp
import numpy as np
from definition import HALVES, close, random_curve
from problems import curve_from
from strategies import basin

from lrjax import find_window, half_loss, steepest


def test_finite_differences_by_hand():
    """On [0, 1, 3, 4] with values [0, 1, 9, 16]: a parabola, so exact inside, and one-sided at the ends."""
    x = np.array([-7.0, -6, -4, -3])
    window = find_window(curve_from(x, [0.0, 1, 9, 16], 16.5), literal=True)
    np.testing.assert_allclose(window.slope, [1, 2, 6, 7], rtol=1e-4)  # 2 t at t = 1 and 3
    slopes, second = np.array([2.0, 6]), 2.0
    np.testing.assert_allclose(window.curvature[1:-1], second / (1 + slopes**2) ** 1.5, rtol=1e-4)
    assert np.isnan([window.curvature[0], window.curvature[-1]]).all()


def test_the_literal_slope_is_that_of_np_gradient():
    x, losses, initial = random_curve(11)
    losses = np.where(np.isfinite(losses) & (losses < initial.min()), losses, initial.min())
    curve = curve_from(x, losses, initial)
    window = find_window(curve, literal=True)
    mean = np.asarray(curve.final, np.float64).mean(axis=0)
    np.testing.assert_allclose(window.slope, np.gradient(mean, x), rtol=1e-3, atol=1e-4)
    assert close(window.max_lr, x[mean.argmin()])


def test_three_trials_have_finite_differences_too():
    window = find_window(curve_from(np.array([-3.0, -2, -1]), [1.0, 0, 0.5]), literal=True)
    np.testing.assert_allclose(window.slope, [-1, -0.25, 0.5], rtol=1e-5)
    assert np.isfinite(window.curvature[1])


def test_the_literal_window_by_hand():
    """Points z = 1, 1, 0.9, 0.4, 0, 1: the second differences are 0, -0.1, -0.4, 0.1, 1.4."""
    x = np.arange(-5, 1.0)
    losses = np.array([1.0, 1, 0.9, 0.4, 0, 1])
    curve = curve_from(x, losses)
    window = find_window(curve, literal=True)
    assert close(window.min_lr, -3)  # -0.4 / (1 + 0.3^2)^1.5
    assert close(window.max_lr, -1)
    assert close(half_loss(curve, window), -2.2)  # a fifth of the way from 0.4 to 0.9
    assert close(steepest(curve, window), -2)  # slopes -0.3, -0.45, 0.3 from -3 to -1
    assert bool(window.has_plateau)
    np.testing.assert_array_equal(window.log10_lr, jnp.log10(curve.lrs))


def test_the_literal_knee_lies_below_half_of_the_reduction():
    """Footnote 1: a sharper kink beyond the half does not count."""
    x = np.arange(-7, 2.0)
    losses = np.array([1, 1, 1, 0.8, 0.6, 0.4, 0.38, 0, 1])
    assert close(find_window(curve_from(x, losses), literal=True).min_lr, -5)


def test_units_matter_to_the_literal_window_alone():
    rng = np.random.default_rng(0)
    losses = basin(HALVES, -4, 2, -1.5) + 0.003 * rng.normal(size=17)
    curves = [curve_from(HALVES, scale * losses + shift, scale + shift) for scale, shift in ((1, 0), (100, 0), (1, 7))]
    robust, large, shifted = (find_window(curve) for curve in curves)
    assert close(large.min_lr, math.log10(float(robust.min_lr)))
    assert close(shifted.min_lr, math.log10(float(robust.min_lr)))
    robust, large, shifted = (find_window(curve, literal=True) for curve in curves)
    assert float(large.min_lr) < float(robust.min_lr) / 3  # measured on 20 tasks: -1.7 decades at x100
    assert close(large.max_lr, math.log10(float(robust.max_lr)))
    assert close(shifted.min_lr, math.log10(float(robust.min_lr)))
