"""The best learning rate of one size, with its standard error: polynomials in the log lr, as wide as the noise allows.

The narrowest parabola goes through the best lr and its two neighbours. A wider window averages the noise of more
trainings, with a cubic and a quartic term for the steeper side; the widest that fits within the noise counts, so that
what is far away or beyond a cliff does not bend the optimum.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SURE = 2.0
"""Standard errors by which a curve must be convex and its residuals may be too large: one in twenty by chance."""

CELLS = np.linspace(-1, 1, 201)
"""Where a window, scaled to [-1, 1], is looked at for a minimum."""

ROUNDING = 1e-12
"""Of the losses: differences up to it are none."""

CLIFF = 10.0
"""Times as far above the lowest loss as those at lower lrs, up to twice as far from the best (in log lr): of a parabola
that is at most 1, so a higher lr with such a loss has left the bowl, finite or not."""

UNIFORM = 1 / math.sqrt(12)
"""Standard deviation of what may lie anywhere in an interval, over its width."""


class Levels(NamedTuple):
    """The learning rates of one size."""

    log_lrs: np.ndarray  # of those that did not diverge, rising
    losses: np.ndarray  # means over the seeds, with differences between the seeds taken out where the seeds are known
    counts: np.ndarray  # trainings of each
    squares: float  # sum of squares of what is left of the losses, of so many degrees of freedom
    free: int
    diverged: np.ndarray  # log10 of those that diverged in any seed, or are beyond such a one


class Vertex(NamedTuple):
    """The minimum of a polynomial through some neighbouring levels."""

    place: float  # log10 lr; `loss` is there
    loss: float
    lever: float  # its standard error in decades, for losses with a standard deviation of 1
    steepness: float  # the curvature over its own standard error, likewise
    squares: float  # of the residuals
    free: int
    count: int  # of the levels


class Found(NamedTuple):
    """The optimum of one size: log10 lr, its standard error (nan: unknown), loss; or why there is none."""

    place: float
    error: float
    loss: float
    note: str


def read_levels(lrs: np.ndarray, losses: np.ndarray, seeds: np.ndarray | None) -> Levels:
    """The trainings of one size by their learning rates."""
    levels, index = np.unique(np.log10(lrs), return_inverse=True)
    lost = _lost(levels, np.bincount(index, weights=np.where(np.isfinite(losses), losses, np.nan)) / np.bincount(index))
    rows = ~lost[index]
    y, index = losses[rows], (np.cumsum(~lost) - 1)[index[rows]]
    groups = np.unique(seeds[rows], return_inverse=True)[1] if seeds is not None else np.zeros(len(y), int)
    one_hot = np.eye(int((~lost).sum()))[index]
    shifts = np.eye(groups.max(initial=0) + 1)[groups]
    design = np.hstack([one_hot, shifts])
    fitted = np.linalg.lstsq(design, y, rcond=None)[0] if len(y) else np.zeros(design.shape[1])
    mean_shift = (shifts @ fitted[one_hot.shape[1] :]).mean() if len(y) else 0.0
    rank = int(np.linalg.matrix_rank(design)) if len(y) else 0
    return Levels(
        log_lrs=levels[~lost],
        losses=fitted[: one_hot.shape[1]] + mean_shift,
        counts=one_hot.sum(axis=0),
        squares=float(((y - design @ fitted) ** 2).sum()),
        free=len(y) - rank,
        diverged=levels[lost],
    )


def _lost(log_lrs: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Which learning rates diverged in any seed, fell off a cliff, or are beyond the first of these above the best."""
    lost = np.isnan(means)
    if lost.all():
        return lost
    place = int(np.nanargmin(means))
    far, above, edge = log_lrs[place] - log_lrs, means - means[place], lost.copy()
    for index in range(place + 1, len(means)):
        near = (far > 0) & ((far <= 2 * -far[index]) | (np.arange(len(means)) >= place - 2))
        height = np.nanmax(above[near], initial=0.0)
        edge[index] |= 0 < CLIFF * height < above[index]
    beyond = np.flatnonzero(edge[place:])
    return lost | (np.arange(len(means)) >= place + beyond[0]) if len(beyond) else lost


def find_optima(points: Sequence[Levels]) -> list[Found]:
    """The optimum of every size; the noise is that of all of them."""
    ladders = [_ladder(levels, int(np.argmin(levels.losses))) if not _at_end(levels) else [] for levels in points]
    pooled = _noise(points, ladders)
    found = []
    for levels, ladder in zip(points, ladders, strict=True):
        noise = float(np.fmax(pooled, _noise([levels], [ladder])))  # where it is larger than usual, that counts
        one = _best(levels, ladder, noise)
        if not one.note and ladder:  # the lowest level may be so by chance: once more, around the minimum of the curve
            middle = int(np.clip(np.argmin(np.abs(levels.log_lrs - one.place)), 1, len(levels.log_lrs) - 2))
            again = _best(levels, _ladder(levels, middle), noise)
            one = one if again.note else again
        found.append(one)
    return found


def _at_end(levels: Levels) -> bool:
    count = len(levels.losses)
    return count < 3 or int(np.argmin(levels.losses)) in (0, count - 1)


def _ladder(levels: Levels, middle: int) -> list[Vertex]:
    """The minima of polynomials through more and more levels around one."""
    first, last, count = middle - 1, middle + 1, len(levels.losses)
    found = []
    while True:
        vertex = _vertex(levels, slice(first, last + 1), degree=min(max(last - first - 1, 2), 4))
        found += [vertex] if vertex is not None else []
        centre = found[-1].place if found else levels.log_lrs[middle]
        if first == 0 and last == count - 1:
            return found
        below = centre - levels.log_lrs[first - 1] if first > 0 else np.inf
        above = levels.log_lrs[last + 1] - centre if last < count - 1 else np.inf
        first, last = (first - 1, last) if below <= above else (first, last + 1)


def _vertex(levels: Levels, window: slice, degree: int) -> Vertex | None:
    """The minimum of the polynomial through the levels of a window; None if it has none there."""
    x, y, weights = levels.log_lrs[window], levels.losses[window], np.sqrt(levels.counts[window])
    centre, scale = x.mean(), np.ptp(x) / 2
    design = np.vander((x - centre) / scale, degree + 1, increasing=True)
    factor, triangle = np.linalg.qr(design * weights[:, None])
    inverse = np.linalg.inv(triangle)
    coefficients = inverse @ (factor.T @ (y * weights))
    residuals = (y - design @ coefficients) * weights
    polynomial = np.polynomial.Polynomial(coefficients)
    slope, bend = polynomial.deriv(), polynomial.deriv(2)
    rising = slope(CELLS) > 0
    minima = np.flatnonzero(~rising[:-1] & rising[1:])
    if not len(minima):
        return None
    place = float(CELLS[minima[np.argmin(polynomial(CELLS[minima]))]])
    for _ in range(6):  # Newton: the roots of a companion matrix are inexact where the highest coefficient is near 0
        place = float(np.clip(place - slope(place) / bend(place), -1, 1)) if bend(place) > 0 else place
    curvature = float(bend(place))
    if curvature <= 0:
        return None
    powers = np.arange(degree + 1)
    first = np.where(powers > 0, powers * place ** np.maximum(powers - 1, 0), 0.0)
    second = np.where(powers > 1, powers * (powers - 1) * place ** np.maximum(powers - 2, 0), 0.0)
    return Vertex(
        place=float(centre + scale * place),
        loss=float(polynomial(place)),
        lever=float(scale * np.linalg.norm(inverse.T @ first) / curvature),
        steepness=float(curvature / np.linalg.norm(inverse.T @ second)),
        squares=float(residuals @ residuals),
        free=len(x) - degree - 1,
        count=len(x),
    )


def _noise(points: Sequence[Levels], ladders: Sequence[list[Vertex]]) -> float:
    """Standard deviation of a loss: from repeated trainings, else from what the polynomials leave; nan if unknown."""
    free = sum(levels.free for levels in points)
    if free >= 3:
        return math.sqrt(sum(levels.squares for levels in points) / free)
    left: dict[tuple[int, int], list[float]] = {}  # for each width: misfit is not noise, so the smallest counts
    for vertex in (vertex for ladder in ladders for vertex in ladder if vertex.free > 0):
        ratio = (1 - 2 / (9 * vertex.free)) ** 3  # the median of chi-square over its mean (Wilson & Hilferty)
        left.setdefault((vertex.free, vertex.count), []).append(vertex.squares / vertex.free / ratio)
    return math.sqrt(min(map(np.median, left.values()))) if left else math.nan


def _best(levels: Levels, ladder: list[Vertex], noise: float) -> Found:
    """The minimum of the polynomial through the widest window that it fits within the noise."""
    if why := _why_not(levels):
        return Found(np.nan, np.nan, np.nan, why)
    place = int(np.argmin(levels.losses))
    if _at_end(levels):  # beside one that diverged: somewhere between it and the lr below
        edge = levels.diverged[levels.diverged > levels.log_lrs[-1]].min()
        error = UNIFORM * (edge - levels.log_lrs[-2])
        return Found(float(levels.log_lrs[place]), float(error), float(levels.losses[place]), "")
    taken: list[Vertex] = []
    for vertex in ladder:
        if math.isnan(noise):
            taken = [vertex]
            break
        limit = noise**2 * (vertex.free + SURE * math.sqrt(2 * vertex.free))
        fits = vertex.free == 0 or vertex.squares <= limit
        taken += [vertex] if fits and vertex.steepness >= SURE * noise else []
    best = (taken or ladder)[-1 if taken else 0]
    return Found(best.place, min(noise * best.lever, UNIFORM * float(np.ptp(levels.log_lrs))), best.loss, "")


def _why_not(levels: Levels) -> str:
    """Why the learning rates of a size do not show its optimum; nothing if they may."""
    lrs, count = 10.0**levels.log_lrs, len(levels.log_lrs)
    if not count:
        return "every training diverged: add lower learning rates"
    if (tried := count + len(levels.diverged)) < 3:
        return f"too few learning rates, {tried}: give three at least, the best one inside"
    place = int(np.argmin(levels.losses))
    if count > 1 and np.ptp(levels.losses) <= ROUNDING * np.abs(levels.losses).max():
        return f"all {count} learning rates have the same loss"
    cliff = (levels.diverged > levels.log_lrs[-1]).any() and count > 1
    if place == count - 1 and not cliff:
        return f"the best learning rate is the highest tried, {lrs[-1]:.3g}: add higher ones"
    if place == 0:
        return f"the best learning rate is the lowest tried, {lrs[0]:.3g}: add lower ones"
    return ""
