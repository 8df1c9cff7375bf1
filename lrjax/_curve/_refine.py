"""Which learning rates to try next. Pure functions from what was tried and found to new exponents, log10(lr)."""

import math

import numpy as np

from .._lrs import MAX_DECADES
from ._loss_curve import LossCurve
from ._lr_warning import WarningName
from ._reading import shape_of
from ._window import Outcome, Window

LOWEST, HIGHEST = -12.0, 3.0
"""Exponents beyond which the range is not extended."""

MAX_EXTENSION = 5
"""Decades by which the range may grow on each side."""

FILL_ROUNDS = 2
"""Fills of the window after the first grid, so that a search has three rounds."""

SAME = 0.05
"""Exponents closer than this are one trial."""


def first_grid(min_lr: float, max_lr: float) -> list[float]:
    """Half decades: the multiples of 0.5 within the range, and its two ends; 17 for the default 1e-7 to 10."""
    low, high = _exponent(min_lr), _exponent(max_lr)
    inner = [0.5 * k for k in range(math.ceil(2 * low), math.floor(2 * high) + 1)]
    return [low, *[x for x in inner if low + SAME < x < high - SAME], high]


def _exponent(lr: float) -> float:
    """log10, exact for powers of ten and their half decades."""
    x = math.log10(lr)
    return round(4 * x) / 4 if abs(round(4 * x) / 4 - x) < 1e-9 else x


def new_ones(wanted: list[float], tried: list[float]) -> list[float]:
    """The exponents not tried yet."""
    return [x for x in wanted if all(abs(x - old) > SAME for old in tried)]


def extend(
    tried: list[float], start: tuple[float, float], window: Window, warnings: frozenset[WarningName]
) -> list[float]:
    """One more decade of half decades on each side where the range, `start` at first, was too short.

    Below if the plateau was not seen or the window's low end lies within half a decade of the range's, above likewise,
    both if nothing was learned, below if everything diverged. Empty if the range is enough, or has grown by 5 decades,
    or reaches 1e-12 or 1e3.
    """
    low, high = min(tried), max(tried)
    down, up = True, window.outcome is Outcome.no_learning
    if window.outcome is Outcome.found:
        down = WarningName.no_plateau in warnings or math.log10(float(window.min_lr)) < low + 0.5
        up = WarningName.edge_high in warnings or math.log10(float(window.max_lr)) > high - 0.5
    grown = []
    if down:
        floor = max(LOWEST, start[0] - MAX_EXTENSION, low - 1.0, high - MAX_DECADES)
        grown += [low - 0.5 * k for k in (1, 2) if low - 0.5 * k >= floor - 1e-6]
    if up:
        ceiling = min(HIGHEST, start[1] + MAX_EXTENSION, high + 1.0, min([low, *grown]) + MAX_DECADES)
        grown += [high + 0.5 * k for k in (1, 2) if high + 0.5 * k <= ceiling + 1e-6]
    return sorted(grown)


def fill_window(tried: list[float], window: Window) -> list[float]:
    """Quarter decades that were not tried, from half a decade below min_lr to half a decade above max_lr.

    Where nothing was found, the whole range is filled; always within 1e-12 to 1e3.
    """
    if window.outcome is Outcome.found:
        low = math.floor(4 * (math.log10(float(window.min_lr)) - 0.5) + 1e-3)
        high = math.ceil(4 * (math.log10(float(window.max_lr)) + 0.5) - 1e-3)
    else:
        low, high = math.ceil(4 * min(tried)), math.floor(4 * max(tried))
    lowest, highest = max(LOWEST, max(tried) - MAX_DECADES), min(HIGHEST, min(tried) + MAX_DECADES)
    wanted = [0.25 * k for k in range(low, high + 1) if lowest <= 0.25 * k <= highest]
    return new_ones(wanted, tried)


def paper_points(curve: LossCurve, window: Window, threshold: float) -> list[float]:
    """The paper's adaptive sampling: log-midpoints around every point of interest.

    For min_lr, max_lr and the three methods' picks, the midpoint between the nearest trial and each of its neighbours
    that is further away than the threshold, in decades.

    Source: "Learning rate optimization through step sampling", section 3.3.
    """
    if window.outcome is not Outcome.found:
        return []
    x = np.log10(np.asarray(curve.lrs, np.float64))
    shape, wanted = shape_of("paper_points", window), set()
    points = [window.min_lr, window.max_lr, shape.midpoint, shape.half_loss, shape.steepest]
    for point in np.log10(np.asarray(points, np.float64)):
        nearest = int(np.argmin(np.abs(x - point)))
        for one, other in ((nearest - 1, nearest), (nearest, nearest + 1)):
            if one >= 0 and other < len(x) and x[other] - x[one] > threshold * (1 + 1e-4):
                wanted.add(round(float(0.5 * (x[one] + x[other])), 6))
    return sorted(wanted)
