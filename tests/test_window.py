"""The window: its definition written out again, curves computed by hand, and the edges of both."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from definition import CELL, HALVES, INF, NAN, SIGMA, close, expected, random_curve, reduction
from marks import slow
from problems import curve_from

from lrjax import Outcome, Window, find_window, half_loss, midpoint, steepest


def test_the_window_agrees_with_its_definition_on_random_curves():
    off_by_a_cell = 0
    for seed in range(60):
        x, losses, initial = random_curve(seed)
        curve = curve_from(x, losses, initial)
        window = find_window(curve)
        wanted = expected(x, np.float64(np.float32(losses)), np.float64(np.float32(initial)))
        assert window.outcome is Outcome.found
        assert bool(window.narrow) == wanted.narrow, seed
        got = [window.min_lr, window.max_lr, *(rule(curve, window) for rule in (midpoint, half_loss, steepest))]
        points = [wanted.low, wanted.high, wanted.midpoint, wanted.half_loss, wanted.steepest]
        for lr, point in zip(got, points, strict=True):  # where two cells are equal up to rounding, either will do
            assert close(lr, point, CELL + 1e-4), (seed, got, 10.0 ** np.asarray(points))
        off_by_a_cell += not all(map(close, got, points))
        if not wanted.narrow and close(window.max_lr, wanted.high):
            cells = len(wanted.value)
            assert bool(window.has_plateau) == wanted.has_plateau
            np.testing.assert_allclose(window.loss[:cells], wanted.value, atol=1e-4)
            np.testing.assert_allclose(window.slope[:cells], wanted.slope, atol=1e-3)
            np.testing.assert_allclose(window.curvature[:cells], wanted.curvature, atol=1e-2)
            assert np.isnan(window.loss[cells:]).all()
    assert off_by_a_cell <= 6


def test_the_smoothed_curve_is_a_convolution_with_a_gaussian():
    x, losses, initial = random_curve(5)
    window = find_window(curve_from(x, losses, initial))
    z, _ = reduction(losses, initial)
    step = 1e-3
    fine = np.arange(x[0] - 2, x[-1] + 2, step)  # held constant beyond both ends
    for cell in range(0, 320, 40):
        weights = np.exp(-0.5 * ((fine - window.log10_lr[cell]) / SIGMA) ** 2)
        smoothed = weights @ np.interp(fine, x, z) / weights.sum()
        bottom = int(np.argmin(np.abs(window.log10_lr - np.log10(window.max_lr))))
        at_bottom = np.exp(-0.5 * ((fine - window.log10_lr[bottom]) / SIGMA) ** 2)
        lowest = at_bottom @ np.interp(fine, x, z) / at_bottom.sum()
        assert window.loss[cell] == pytest.approx((smoothed - lowest) / (1 - lowest), abs=1e-4)


V = np.interp(HALVES, [-3, -1, 1], [1, 0, 1])


def test_a_symmetric_v_by_hand():
    """Slopes 0, -1/2, +1/2, 0 with kinks at -3, -1, 1: 13 sigma apart, so each is a kink by itself."""
    curve = curve_from(HALVES, V)
    window = find_window(curve)
    lowest = 2 * 0.5 * SIGMA / math.sqrt(2 * math.pi)  # Z at the bottom: b * sigma * phi(0), b = 1
    assert close(window.max_lr, -1)
    # Zn = 1/2 where the line 1 - (x + 3) / 2 is (1 + Z_j) / 2
    assert close(half_loss(curve, window), -3 + 2 * (1 - (1 + lowest) / 2))
    # the curvature is most negative at u = -0.14, left of the crossing of 0.97 at u = -0.047: the next cell is -3
    assert close(window.min_lr, -3)
    assert close(midpoint(curve, window), -2)
    assert window.has_plateau
    assert window.effect == 1
    assert float(window.decades) == pytest.approx(2, abs=1e-5)
    at_bottom = round((-1 + 7) / CELL)
    assert window.loss[at_bottom] == 0
    np.testing.assert_allclose(window.loss[0], 1, atol=1e-6)
    np.testing.assert_allclose(window.slope[at_bottom], 0, atol=1e-5)
    np.testing.assert_allclose(window.slope[at_bottom - 40], -0.5 / (1 - lowest), rtol=1e-5)
    np.testing.assert_allclose(
        window.curvature[at_bottom], 1 / (SIGMA * math.sqrt(2 * math.pi) * (1 - lowest)), rtol=1e-5
    )


def test_an_asymmetric_v_by_hand():
    """Slopes -1/4 and +3/2: the smoothed minimum is where Phi(u) = (1/4) / (7/4), u = -1.0676, so at -0.16."""
    x = np.array([-7, -4, 0, 1, 2, 3.0])
    window = find_window(curve_from(x, np.array([1, 1, 0, 1.5, 1.5, 1.5])))
    assert close(window.max_lr, -0.15)  # the cell nearest to -0.1601 in Z: -0.15 is 0.0101 away, -0.175 is 0.0149
    # the curvature is most negative at the kink, -4, but the plateau ends at -3.915 (Zn = 0.97): the next cell
    assert close(window.min_lr, -3.9)


def test_a_flat_bottom_gives_its_middle():
    trapezoid = np.interp(HALVES, [-4, -3, -1, 0], [1, 0, 0, 1])
    assert close(find_window(curve_from(HALVES, trapezoid)).max_lr, -2)
    tilted = trapezoid + np.where((HALVES >= -3) & (HALVES <= -1), 1e-5 * HALVES, 0)
    assert close(find_window(curve_from(HALVES, tilted)).max_lr, -2, 2 * CELL)  # rounding does not decide
    sloping = trapezoid + np.where((HALVES >= -3) & (HALVES <= -1), 0.05 * (HALVES + 3), 0)
    assert float(find_window(curve_from(HALVES, sloping)).max_lr) < 10**-2.4  # a real slope does


@pytest.mark.parametrize(("half_width", "narrow"), [(0.037, True), (0.039, False)])
def test_a_dip_narrower_than_the_kernel_is_narrow(half_width, narrow):
    """A triangle of depth 1 is smoothed to a depth of half_width / (sigma * sqrt(2 pi)): 0.098 and 0.103."""
    x = np.sort([*HALVES, -3 - half_width, -3 + half_width])
    losses = np.where(np.isclose(x, -3), 0.0, 1.0)
    curve = curve_from(x, losses)
    window = find_window(curve)
    assert bool(window.narrow) is narrow
    assert close(window.max_lr, -3)
    if narrow:
        assert window.min_lr == window.max_lr == window.best_lr
        assert close(half_loss(curve, window), -3)
        assert close(steepest(curve, window), -3)


def test_without_a_plateau_the_low_end_is_the_first_cell():
    falling = np.interp(HALVES, [-9, -1, 0], [1, 0, 1])  # 0.75 at the lowest trial
    window = find_window(curve_from(HALVES, falling))
    assert not window.has_plateau
    assert close(window.min_lr, -7)
    rising = np.interp(HALVES, [-7, 1], [0, 1])
    curve = curve_from(HALVES, rising)
    window = find_window(curve)
    assert close(window.min_lr, -7)
    assert close(window.max_lr, -7)
    assert close(half_loss(curve, window), -7)


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e38])
def test_a_loss_that_is_not_finite_counts_as_the_ceiling_wherever_it_is(value):
    for index in range(len(HALVES)):
        broken, capped = V.copy(), V.copy()
        broken[index], capped[index] = value, 1.5
        if index == 12:  # the minimum itself: the effect is another
            continue
        one, other = (find_window(curve_from(HALVES, losses)) for losses in (broken, capped))
        np.testing.assert_array_equal(one.loss, other.loss)
        assert one.min_lr == other.min_lr
        assert one.max_lr == other.max_lr


def test_one_diverged_seed_forbids_the_learning_rate():
    losses = np.stack([V, V])
    losses[1, 12] = NAN
    window = find_window(curve_from(HALVES, losses))
    assert not close(window.max_lr, -1, 0.2)
    assert not close(window.best_lr, -1, 0.4)


@pytest.mark.parametrize(
    ("losses", "outcome"),
    [
        (np.full(17, NAN), Outcome.all_diverged),
        (np.full(17, INF), Outcome.all_diverged),
        (np.full(17, 1.0), Outcome.no_learning),
        (np.linspace(1.1, 2, 17), Outcome.no_learning),
        (np.where(HALVES < 0, 1.0, NAN), Outcome.no_learning),
        (np.full(17, 1 - 2e-7), Outcome.no_learning),  # two units in the last place: another order of summation
        (np.full(17, 1 - 1e-6), Outcome.found),
    ],
)
def test_outcomes(losses, outcome):
    window = find_window(curve_from(HALVES, losses))
    assert window.outcome is outcome
    found = outcome is Outcome.found
    assert np.isfinite([window.min_lr, window.max_lr]).all() == found


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_what_rounding_can_do_grows_with_the_loss(size):
    """An effect of up to 4 units in the last place is none."""
    eps = float(np.finfo(np.float32).eps)
    for units, outcome in ((2.5, Outcome.no_learning), (6, Outcome.found)):
        losses = np.where(HALVES == -1, size * (1 - units * eps), size)
        assert find_window(curve_from(HALVES, losses, size)).outcome is outcome


@pytest.mark.parametrize("exponents", [[-3.0], [-3.01], [-3.013, -3.012], [-3.1, -3.09, -3.01]])
def test_fewer_trials_than_cells(exponents):
    """One trial, or several within a cell: the lr itself."""
    losses = np.linspace(0.5, 0.4, len(exponents))
    for literal in (False, True):
        window = find_window(curve_from(np.array(exponents), losses), literal=literal)
        assert -3.11 < math.log10(float(window.max_lr)) < -2.99
        assert close(window.best_lr, exponents[-1])


def stack(curves):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *curves)


@pytest.mark.parametrize("literal", [False, slow(True)])
def test_jit_and_vmap_agree_with_eager(literal):
    curves = [curve_from(HALVES, V + 0.02 * np.random.default_rng(s).normal(size=(2, 17))) for s in range(5)]
    curves += [curve_from(HALVES, np.full((2, 17), fill)) for fill in (1.0, NAN)]
    jitted = jax.jit(lambda curve: find_window(curve, literal=literal))
    together = jax.jit(jax.vmap(lambda curve: find_window(curve, literal=literal)))(stack(curves))
    for index, curve in enumerate(curves):
        eager = find_window(curve, literal=literal)
        for other in (jitted(curve), jax.tree.map(lambda leaf: leaf[index], together)):
            assert isinstance(other, Window)
            assert other.outcome is eager.outcome
            np.testing.assert_allclose(other.loss, eager.loss, atol=1e-5)
            np.testing.assert_allclose(other.min_lr, eager.min_lr, rtol=1e-5)
            np.testing.assert_allclose(other.max_lr, eager.max_lr, rtol=1e-5)
