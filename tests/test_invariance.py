"""What must not change the answer: the company of the lrs, the units of the loss, the range, a plateau, a NaN."""

import functools

import doors
import jax
import numpy as np
import optax
import pytest
from definition import CELL, HALVES, close
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from problems import curve_from, quadratic, regression
from strategies import basin, curves

from lrjax import Outcome, find_warnings, find_window, half_loss, lowest_loss, midpoint, sample_losses, steepest

RULES = [midpoint, half_loss, steepest, lowest_loss]
KEY = jax.random.key(0)
NOISY, QUADRATIC = regression(), quadratic()
POOL = [float(x) for x in 10.0 ** np.arange(-3.75, 1.01, 0.25)]  # 20 learning rates, the last of which diverge

many = functools.partial(settings, deadline=None, derandomize=True)


def picks(curve):
    """Every learning rate that is read off a curve, as exponents."""
    window = find_window(curve)
    return np.log10([float(window.min_lr), float(window.max_lr), *(float(rule(curve, window)) for rule in RULES)])


def names(curve):
    return {warning.name.value for warning in find_warnings(curve, find_window(curve))}


# the learning rates


@pytest.fixture(scope="module")
def everything():
    return {executor: sampled(POOL, executor) for executor in ("map", "vmap")}


def sampled(lrs, executor):
    return sample_losses(NOISY, optax.sgd, lrs, key=KEY, num_steps=8, num_seeds=2, executor=executor)


@given(order=st.permutations(range(20)), count=st.sampled_from([3, 7, 20]))
@many(max_examples=8)
def test_permuting_subsetting_or_extending_the_lrs_leaves_the_shared_points(everything, order, count):
    """Bit for bit one at a time; vectorised, up to the rounding of another width."""
    rows = sorted(order[:count])
    for executor, tolerance in (("map", 0.0), ("vmap", 1e-5)):
        curve, all_of_them = sampled([POOL[i] for i in order[:count]], executor), everything[executor]
        np.testing.assert_array_equal(curve.lrs, all_of_them.lrs[np.array(rows)])
        sane = np.asarray(all_of_them.final)[:, rows] < 1e3
        got, wanted = np.asarray(curve.final), np.asarray(all_of_them.final)[:, rows]
        np.testing.assert_allclose(got[sane], wanted[sane], rtol=tolerance)
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
        np.testing.assert_array_equal(curve.diverged_at, all_of_them.diverged_at[:, np.array(rows)])


@given(curve=curves(seeds=2), cut=st.integers(1, 16))
@many(max_examples=20)
def test_merging_rounds_in_any_order_gives_one_curve(curve, cut):
    x, losses = curve
    whole = curve_from(x, losses)
    pieces = [curve_from(x[part], losses[:, part]) for part in (slice(cut), slice(cut, None))]
    for one, other in (pieces, pieces[::-1]):
        jax.tree.map(np.testing.assert_array_equal, one.merge(other), whole)


# the units of the loss

EXACT = 2.0**-12  # losses in multiples of this survive the changes below without rounding


@given(curve=curves(seeds=2), shift=st.integers(-1000, 1000), power=st.integers(-20, 20))
@many(max_examples=60)
def test_a_constant_and_a_factor_change_no_selected_lr(curve, shift, power):
    x, losses = curve
    losses = np.round(losses / EXACT) * EXACT
    changed = curve_from(x, (losses + shift) * 2.0**power, (1.0 + shift) * 2.0**power)
    np.testing.assert_array_equal(picks(changed), picks(curve_from(x, losses)))


@given(curve=curves(), shift=st.floats(-30, 30), factor=st.floats(-6, 6).map(lambda x: 10.0**x))
@many(max_examples=60)
def test_with_rounding_no_pick_moves_by_more_than_a_cell(curve, shift, factor):
    x, losses = curve
    changed = curve_from(x, (losses + shift) * factor, (1.0 + shift) * factor)
    np.testing.assert_allclose(picks(changed), picks(curve_from(x, losses)), atol=CELL + 1e-3)


@given(curve=curves(noise=0.0))
@many(max_examples=20)
def test_fastai_962_negative_losses(curve):
    """fastai#962: y and y - 1000 give the same answer, and warnings too (of progress there can be none)."""
    x, losses = curve
    one, other = curve_from(x, losses), curve_from(x, losses - 1000.0, -999.0)
    np.testing.assert_allclose(picks(other), picks(one), atol=CELL + 1e-3)
    assert names(other) == names(one)


find = functools.partial(doors.sampled, key=KEY, num_seeds=1, executor="map")


@pytest.mark.parametrize("offset", [8.0, -8.0, -1e3])
def test_a_constant_in_the_loss_changes_no_search(offset):
    one, other = find(QUADRATIC, optax.sgd), find(quadratic(offset=offset), optax.sgd)
    assert close(other.lr, np.log10(one.lr), CELL)
    assert close(other.window.max_lr, np.log10(float(one.window.max_lr)), CELL)
    assert other.num_trials == one.num_trials
    assert {warning.name for warning in other.warnings} <= {"tiny_effect", "small_progress"}


def test_a_factor_of_the_loss_changes_no_search_of_an_optimizer_that_ignores_it():
    adam = functools.partial(optax.adam, eps=1e-30)
    one, other = find(QUADRATIC, adam), find(quadratic(scale=2.0**10), adam)
    assert other.lr == one.lr
    assert other.selections == one.selections
    np.testing.assert_array_equal(other.curve.losses, one.curve.losses * 2.0**10)


# the range


@given(curve=curves(), plateau=st.lists(st.floats(0.99, 1.01), min_size=1, max_size=8), ceiling=st.integers(0, 2))
@many(max_examples=60)
def test_widening_the_range_changes_nothing(curve, plateau, ceiling):
    """Ours; ktrain's offset bug. Plateau before and diverged lrs after, both ends 0.6 decades outside the window."""
    x, losses = curve
    old = find_window(curve_from(x, losses))
    low, high = np.log10(float(old.min_lr)), np.log10(float(old.max_lr))
    assume(bool(old.has_plateau) and low > x[0] + 0.7 and high < x[-1] - 0.7 and losses[0, -1] > 2)
    wide_x = np.concatenate([x[0] - 0.5 * np.arange(len(plateau), 0, -1), x, x[-1] + 0.5 * np.arange(1, ceiling + 1)])
    wide = np.concatenate([plateau, losses[0], np.full(ceiling, np.inf)])
    np.testing.assert_allclose(picks(curve_from(wide_x, wide)), picks(curve_from(x, losses)), atol=1e-3)


@pytest.mark.parametrize(("min_lr", "max_lr"), [(1e-10, 10.0), (1e-7, 1e3), (1e-5, 3.1623)])
def test_another_range_gives_the_same_window(min_lr, max_lr):
    """The whole search on a quadratic: the default range, a wider and a shorter one."""
    one, other = find(QUADRATIC, optax.sgd), find(QUADRATIC, optax.sgd, min_lr=min_lr, max_lr=max_lr)
    assert other.lr == pytest.approx(one.lr, rel=1e-5)
    assert other.selections == pytest.approx(one.selections, rel=1e-5)


# every curve


@given(losses=st.lists(st.floats(width=32), min_size=17, max_size=17), seeds=st.integers(1, 2))
@many(max_examples=80)
def test_any_losses_whatever_end_in_an_outcome_and_picks_inside_the_range(losses, seeds):
    curve = curve_from(HALVES, np.tile(np.asarray(losses, np.float32), (seeds, 1)), 1.0)
    window = find_window(curve)
    values = np.asarray(losses, np.float32)[np.isfinite(np.asarray(losses, np.float32) - np.float32(1))]
    lowered = values.size > 0 and float(values.min()) < 1 - 1e-6
    if window.outcome is not Outcome.found:
        assert not lowered
        assert window.outcome is (Outcome.no_learning if values.size else Outcome.all_diverged)
        assert np.isnan(picks(curve)).all()
        assert names(curve) == {window.outcome.name}
        return
    assert (picks(curve) >= HALVES[0] - 1e-5).all()
    assert (picks(curve) <= HALVES[-1] + 1e-5).all()
    assert float(window.min_lr) <= float(midpoint(curve, window)) * 1.0001 <= float(window.max_lr) * 1.0002
    find_warnings(curve, window)


@given(knee=st.floats(-5, -3), depth=st.one_of(st.floats(0, 0.2), st.floats(0.4, 0.9)), mirror=st.booleans())
@many(max_examples=30)
def test_two_basins_are_told(knee, depth, mirror):
    """A first basin of this depth, a ridge back at 1, then the deeper one; or in the opposite order."""
    points = np.array([knee - 1.5, knee, knee + 1.5, knee + 3, knee + 4])
    x, values = (-points[::-1] - 6, [1, 0, 1, 1 - depth, 1]) if mirror else (points, [1, 1 - depth, 1, 0, 1])
    assert ("multi_basin" in names(curve_from(HALVES, np.interp(HALVES, x, values)))) == (depth > 0.3)


@given(seed=st.integers(0, 1000))
@many(max_examples=20)
def test_a_tenth_of_noise_is_noisy_and_a_hundredth_is_not(seed):
    noise = np.random.default_rng(seed).normal(size=(6, 17))
    clean = basin(HALVES, -3, 1.5, -1)
    assert "noisy" in names(curve_from(HALVES, clean + 0.12 * noise))
    assert "noisy" not in names(curve_from(HALVES, clean + 0.01 * noise))
