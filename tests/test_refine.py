"""Refinement: which learning rates come next, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from definition import HALVES
from doors import sampled
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import extend, fill_window, first_grid, new_ones, paper_points
from problems import curve_from

from lrjax import Outcome, Task, WarningName, find_window

NONE = frozenset()
CURVE = curve_from(HALVES, np.interp(HALVES, [-3, -1, 1], [1, 0, 1]))
FOUND = find_window(CURVE)
NO_LEARNING = find_window(curve_from(HALVES, np.full(17, 2.0)))
ALL_DIVERGED = find_window(curve_from(HALVES, np.full(17, np.inf)))


def window(low, high):
    return FOUND._replace(min_lr=jnp.float32(10.0**low), max_lr=jnp.float32(10.0**high))


def test_the_first_grid_is_half_decades():
    assert first_grid(1e-7, 10.0) == list(HALVES)
    assert first_grid(1e-3, 0.1) == [-3, -2.5, -2, -1.5, -1]
    assert first_grid(1e-12, 1e3) == list(np.arange(-24, 7) / 2)


def test_the_first_grid_keeps_ends_that_are_no_half_decades():
    grid = first_grid(2e-4, 0.3)
    np.testing.assert_allclose(grid, [np.log10(2e-4), -3.5, -3, -2.5, -2, -1.5, -1, np.log10(0.3)])
    np.testing.assert_allclose(first_grid(3.3e-4, 0.9), [np.log10(3.3e-4), -3, -2.5, -2, -1.5, -1, -0.5, np.log10(0.9)])


def test_the_first_grid_of_a_range_below_half_a_decade_is_its_ends():
    np.testing.assert_allclose(first_grid(0.02, 0.021), np.log10([0.02, 0.021]))


@given(low=st.floats(-12, 2.9), width=st.floats(0.01, 15))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_first_grids_rise_and_reach_both_ends(low, width):
    grid = first_grid(10.0**low, 10.0 ** (low + width))
    assert grid[0] == pytest.approx(low, abs=1e-9)
    assert grid[-1] == pytest.approx(low + width, abs=1e-9)
    steps = np.diff(grid)
    assert (steps > 0.0).all()
    assert (steps < 0.56).all()


def test_new_ones_are_those_further_than_a_twentieth_decade_from_all_tried():
    assert new_ones([-3.0, -2.96, -2.94, -2.5], [-3.0]) == [-2.94, -2.5]
    assert new_ones([-3.0, -2.0], []) == [-3, -2]
    assert new_ones([], [-3.0]) == []


START = (-7.0, 1.0)
TRIED = list(HALVES)


@pytest.mark.parametrize(
    ("found", "names", "grown"),
    [
        (window(-5, -1), [], []),
        (window(-5, -1), ["no_plateau"], [-8, -7.5]),
        (window(-6.6, -1), [], [-8, -7.5]),  # within half a decade of the low end
        (window(-6.4, -1), [], []),
        (window(-5, -1), ["edge_high"], [1.5, 2]),
        (window(-5, 0.6), [], [1.5, 2]),
        (window(-5, 0.4), [], []),
        (window(-6.9, 0.9), [], [-8, -7.5, 1.5, 2]),
        (NO_LEARNING, ["no_learning"], [-8, -7.5, 1.5, 2]),
        (ALL_DIVERGED, ["all_diverged"], [-8, -7.5]),
        (window(-5, -1), ["noisy", "multi_basin", "flat_basin"], []),
    ],
)
def test_what_makes_the_range_grow_by_a_decade_of_half_decades(found, names, grown):
    assert extend(TRIED, START, found, frozenset(map(WarningName, names))) == grown


def grow(start, found, names=NONE):
    """Extend until nothing more is asked for; the range does not move the window here."""
    tried = first_grid(10.0 ** start[0], 10.0 ** start[1])
    for _ in range(30):
        more = extend(tried, start, found, names)
        if not more:
            return min(tried), max(tried)
        assert all(x not in tried for x in more)
        tried += more
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("start", "reached"),
    [
        ((-5.0, -2.0), (-10, 3)),  # 5 decades each way
        ((-6.5, -2.5), (-11.5, 2.5)),
        ((-7.0, 1.0), (-12, 3)),  # within [1e-12, 1e3]
        ((-11.5, 2.5), (-12, 3)),
        ((-12.0, 3.0), (-12, 3)),
        ((-14.0, 4.0), (-14, 4)),  # wider than that by the user's will
        ((-20.0, -6.0), (-20, -1)),
    ],
)
def test_the_limits_of_the_growth(start, reached):
    assert grow(start, NO_LEARNING) == pytest.approx(reached)


def test_diverged_searches_grow_down_only():
    assert grow((-3.0, 0.0), ALL_DIVERGED) == pytest.approx((-8, 0))


def test_the_range_never_outgrows_what_a_window_can_hold():
    low, high = grow((-19.0, -3.0), NO_LEARNING)
    assert high - low <= 20


def test_filling_takes_quarter_decades_half_a_decade_around_the_window():
    """From floor(4 (min - 0.5)) / 4 to ceil(4 (max + 0.5)) / 4, the halves being there."""
    assert fill_window(TRIED, window(-4.1, -2.2)) == [-4.75, -4.25, -3.75, -3.25, -2.75, -2.25, -1.75]
    assert fill_window(TRIED, window(-4.0, -2.0)) == [-4.25, -3.75, -3.25, -2.75, -2.25, -1.75]
    assert fill_window([*TRIED, -3.25, -2.75], window(-4.0, -2.0)) == [-4.25, -3.75, -2.25, -1.75]


def test_filling_goes_beyond_the_range_by_half_a_decade_at_most():
    assert fill_window([-4.0, -3.5, -3.0], window(-3.5, -3.0)) == [-3.75, -3.25, -2.75, -2.5]
    assert fill_window(list(np.arange(-24, -19) / 2), window(-12, -11)) == [-11.75, -11.25, -10.75]
    assert fill_window([2.0, 2.5, 3.0], window(2.5, 3.0)) == [2.25, 2.75]


def test_nothing_new_ends_the_filling():
    tried = sorted({*TRIED, *(0.25 * k for k in range(-20, -4))})
    assert fill_window(tried, window(-4.0, -2.0)) == []


@pytest.mark.parametrize("found", [NO_LEARNING, ALL_DIVERGED])
def test_without_a_window_the_whole_range_is_filled_to_quarter_decades(found):
    quarters = fill_window(TRIED, found)
    assert quarters == [x + 0.25 for x in TRIED[:-1]]
    assert fill_window(sorted(TRIED + quarters), found) == []
    np.testing.assert_allclose(fill_window([-3.1, -3.0, -2.5, -2.2], found), [-2.75, -2.25][:1])


@given(low=st.floats(-11.5, 2), width=st.floats(0, 6), tried=st.sets(st.integers(-24, 6)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_after_filling_no_gap_around_the_window_exceeds_a_quarter_decade(low, width, tried):
    tried = [k / 2 for k in tried] or [low]
    found = window(low, min(low + width, 3.0))
    every = np.sort(tried + fill_window(tried, found))
    ends = np.clip([low - 0.5, min(low + width, 3.0) + 0.5], max(-12, min(every)), min(3, max(every)))
    inside = every[(every >= ends[0] - 0.26) & (every <= ends[1] + 0.26)]
    assert inside[0] <= ends[0] + 1e-2
    assert inside[-1] >= ends[1] - 1e-2
    assert (np.diff(inside) < 0.31).all()


def test_the_papers_points_are_log_midpoints_around_each_point_of_interest():
    """V: min_lr -3, max_lr -1, midpoint -2, half loss -2.06, steepest about -2, on half decades."""
    found = window(-3.0, -1.0)
    assert paper_points(CURVE, found, 0.25) == [-3.25, -2.75, -2.25, -1.75, -1.25, -0.75]
    assert paper_points(CURVE, found, 0.5) == []  # known well enough
    assert paper_points(CURVE, NO_LEARNING, 0.25) == []
    assert paper_points(CURVE, ALL_DIVERGED, 0.25) == []


def test_the_papers_points_at_the_ends_and_on_uneven_grids():
    x = np.array([-5.0, -4, -3.5, -3.25, -1])
    curve = curve_from(x, np.array([0.5, 0.2, 0, 0.3, 1]))
    found = find_window(curve, literal=True)
    edge = found._replace(min_lr=jnp.float32(1e-5), max_lr=jnp.float32(10**-3.5))
    got = paper_points(curve, edge, 0.3)
    assert -4.5 in got  # right of the lowest; nothing lies left of it
    assert -3.75 in got  # left of -3.5
    assert -3.375 not in got  # its right neighbour is near enough
    assert min(got) > -5


def test_the_papers_refinement_ends_when_all_points_are_known():
    """Halving the gaps around points that stay: 1/2, 1/4, 1/8."""
    tried, rounds = list(HALVES), 0
    while True:
        curve = curve_from(np.sort(tried), np.interp(np.sort(tried), [-3, -1, 1], [1, 0, 1]))
        more = new_ones(paper_points(curve, find_window(curve), 0.125), tried)
        if not more:
            break
        tried, rounds = tried + more, rounds + 1
    assert rounds <= 4
    assert 25 <= len(tried) <= 40  # measured on 20 tasks: 31.8 trials


EIGHTHS = np.arange(-100, 41) / 8


def climb(w, batch, key):
    """One step of gradient descent from 0 takes w to the learning rate itself."""
    return -w


def read(w, table):
    """Any curve at all: the table over log10(lr), and 1 for the untouched w = 0."""
    return jnp.where(w > 0, jnp.interp(jnp.log10(jnp.maximum(w, 1e-30)), EIGHTHS, table), 1.0)


def search(table, **options):
    task = Task(
        init=jnp.zeros(()),
        loss_fn=climb,
        sample_batches=lambda key, num_steps: jnp.zeros((num_steps, 1)),
        eval_batches=[jnp.asarray(table, jnp.float32)],
        eval_fn=read,
    )
    return sampled(task, optax.sgd, num_steps=1, num_seeds=1, key=jax.random.key(0), executor="map", **options)


@pytest.fixture(scope="module")
def rough_searches():
    """Curves with another value at every eighth of a decade: each fill moves the window."""
    tables = [np.random.default_rng(seed).uniform(0, 1.2, len(EIGHTHS)) for seed in range(12)]
    return [search(table, extend_range=False, throw=False) for table in tables]


def test_filling_goes_on_while_the_window_moves_and_ends_after_three_rounds(rough_searches):
    rounds = [int(np.asarray(result.curve.rounds).max()) + 1 for result in rough_searches]
    assert set(rounds) == {2, 3}
    unfinished = 0
    for result, count in zip(rough_searches, rounds, strict=True):
        x = [float(x) for x in np.round(8 * np.asarray(result.curve.log10_lrs)) / 8]
        more = [x for x in fill_window(x, result.window) if -7 <= x <= 1]
        assert count == 3 or not more
        unfinished += bool(more)
    assert unfinished > 0  # they would have gone on


def test_the_search_ends_with_the_curve_that_the_table_gives():
    table = np.interp(EIGHTHS, [-4, -2, -1], [1, 0, 1.5])
    result = search(table)
    assert result.outcome is Outcome.found
    np.testing.assert_allclose(result.curve.final[0], np.interp(result.curve.log10_lrs, EIGHTHS, table), atol=1e-4)
    assert result.warnings == ()
