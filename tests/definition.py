"""The window's definition written out in NumPy, float64: the sum over the kinks of the curve, cell by cell."""

import math
from types import SimpleNamespace

import numpy as np
from strategies import basin

CELL, SIGMA = 0.025, 0.15
HALVES = np.arange(-14, 3) / 2
NAN, INF = float("nan"), float("inf")

phi = np.vectorize(lambda u: math.exp(-u * u / 2) / math.sqrt(2 * math.pi))
Phi = np.vectorize(lambda u: 0.5 * (1 + math.erf(u / math.sqrt(2))))


def reduction(losses, initial):
    """z = min(1 + d/A, 1.5) and A, in float64."""
    finite = np.isfinite(losses).all(axis=0)
    d = np.where(finite, np.where(finite, losses, 0.0) - initial[:, None], INF).mean(axis=0)
    effect = -d[finite].min()
    return np.minimum(1 + d / effect, 1.5), effect


def crossing(x, z, j, level):
    """The largest x below x[j] where z comes down through the level, interpolated, or None."""
    for k in range(j - 1, -1, -1):
        if z[k] >= level > z[k + 1]:
            return x[k] + (z[k] - level) / (z[k] - z[k + 1]) * (x[k + 1] - x[k])
    return None


def expected(x, losses, initial) -> SimpleNamespace:
    """The window by its definition: the sum over the kinks, float64. x are exponents, losses (seeds, trials)."""
    z, _ = reduction(losses, initial)
    grid = CELL * np.arange(math.ceil(x[0] / CELL - 1e-6), math.floor(x[-1] / CELL + 1e-6) + 1)
    kinks = np.diff(np.diff(z) / np.diff(x), prepend=0.0, append=0.0)
    u = (grid[:, None] - x) / SIGMA
    value = z[0] + SIGMA * (u * Phi(u) + phi(u)) @ kinks
    slope, second = Phi(u) @ kinks, phi(u) @ kinks / SIGMA
    left = right = j = int(np.argmin(value))
    while left > 0 and value[left - 1] <= value[j] + 1e-4:
        left -= 1
    while right < len(grid) - 1 and value[right + 1] <= value[j] + 1e-4:
        right += 1
    j = (left + right) // 2
    best = x[np.argmin(z)]
    if value[j] > 0.9:
        return SimpleNamespace(narrow=True, low=best, high=best, midpoint=best, half_loss=best, steepest=best)
    depth = 1 - value[j]
    value, slope, second = (value - value[j]) / depth, slope / depth, second / depth
    curvature = second / (1 + slope**2) ** 1.5
    half, low = crossing(grid, value, j, 0.5), crossing(grid, value, j, 0.97)
    half = grid[0] if half is None else half
    if low is None:
        knee = grid[0]
    else:
        between = [k for k in range(len(grid)) if low <= grid[k] < half]
        knee = grid[min(between, key=lambda k: curvature[k])] if between else low
    within = [k for k in range(j + 1) if grid[k] >= knee - 1e-9]
    return SimpleNamespace(
        narrow=False,
        low=knee,
        high=grid[j],
        midpoint=(knee + grid[j]) / 2,
        half_loss=half,
        steepest=grid[min(within, key=lambda k: slope[k])],
        value=value,
        slope=slope,
        curvature=curvature,
        has_plateau=low is not None,
    )


def random_curve(seed):
    """An uneven grid, a basin somewhere, noise, diverged trials, one to three seeds with their own initial losses."""
    rng = np.random.default_rng(seed)
    x = np.unique(np.concatenate([HALVES, rng.uniform(-7, 1, rng.integers(0, 12)).round(2)]))
    knee, width = rng.uniform(-6.5, -1), rng.uniform(0.5, 3)
    clean = basin(x, knee, width, knee + width + rng.uniform(0, 2), rng.uniform(1, 8))
    losses = clean + rng.choice([0, 0.03, 0.3]) * rng.normal(size=(rng.integers(1, 4), len(x)))
    losses[rng.random(losses.shape) < 0.03] = rng.choice([NAN, INF, -INF, 1e30])
    initial = rng.normal(size=len(losses))
    scale = 10 ** rng.uniform(-2, 2)
    return x, scale * (losses - 1 + initial[:, None]), scale * initial


def close(lr, exponent, tolerance=1e-4):
    return abs(math.log10(float(lr)) - exponent) <= tolerance
