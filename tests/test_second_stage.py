"""The second stage that the benchmark replays: which learning rates it trains."""

import math

import numpy as np
import pytest
from definition import HALVES
from problems import curve_from

import lrjax
from experiments.benchmark.second_stage import beyond, survivors
from lrjax import WarningName, find_window


def test_survivors_go_from_below_half_the_reduction_to_above_the_right_edge():
    """Down from -5 to -1 and up to +1 by lines: half of it at -3, three quarters up again at 0.5."""
    curve = curve_from(HALVES, np.interp(HALVES, [-5, -1, 1], [1, 0, 1]))
    kept = survivors(curve, find_window(curve))
    tried = np.log10(np.asarray(curve.lrs, np.float64))
    np.testing.assert_allclose(kept, tried[(tried > -3.3) & (tried < 0.8)], atol=1e-6)


def test_survivors_have_a_quarter_decade_to_spare_on_both_sides():
    """On a grid fine enough to tell a quarter decade from a fifth or none."""
    x = np.arange(-140, 41) / 20
    curve = curve_from(x, np.interp(x, [-5, -1, 1], [1, 0, 1]))
    window = find_window(curve)
    kept = np.asarray(survivors(curve, window))
    half = math.log10(float(lrjax.half_loss(curve, window)))
    cells, loss = np.asarray(window.log10_lr, float), np.asarray(window.loss, float)
    risen = cells[(cells > math.log10(float(window.max_lr))) & (loss > 0.75)][0]
    assert half - 0.25 <= kept[0] + 1e-6 < half - 0.2
    assert risen + 0.2 < kept[-1] - 1e-6 <= risen + 0.25
    np.testing.assert_allclose(np.diff(kept), 0.05, atol=1e-5)


def test_survivors_of_a_curve_that_does_not_rise_go_to_its_end():
    curve = curve_from(HALVES, np.interp(HALVES, [-5, 0], [1, 0]))
    assert survivors(curve, find_window(curve))[-1] == pytest.approx(HALVES[-1], abs=1e-6)


def test_where_nothing_was_learned_everything_survives():
    curve = curve_from(HALVES, np.full(len(HALVES), 2.0))
    assert len(survivors(curve, find_window(curve))) == len(HALVES)


def test_a_second_stage_whose_best_is_at_an_end_goes_on_there():
    tried, kept = [-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0], [-3.0, -2.0]
    assert beyond(tried, kept, frozenset([WarningName.edge_high])) == [-1.0, 0.0]
    assert beyond(tried, kept, frozenset([WarningName.edge_low])) == [-4.0, -5.0]
    assert beyond(tried, kept, frozenset([WarningName.no_plateau, WarningName.noisy])) == []
    assert beyond(tried, [0.0, 1.0], frozenset([WarningName.edge_high])) == []
