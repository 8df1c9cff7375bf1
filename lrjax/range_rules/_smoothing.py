"""Smoothing of a recorded loss history: causal, as the peers do it, and symmetric."""

from typing import Annotated

import numpy as np
from jaxtyping import Float

from .._annotated import checked, known_number
from ._history import Recorded, read_history, read_vector


@checked
def debiased_ema(
    losses: Recorded, beta: Annotated[float, known_number("a number in [0, 1)", lambda x: 0 <= x < 1)] = 0.98
) -> Float[np.ndarray, " steps"]:
    r"""Exponential running mean with the correct start-up factor: a flat loss reads flat.

    $$s_i = \frac{1 - \beta}{1 - \beta^{i+1}} \sum_{k \le i} \beta^{i-k} \ell_k,$$ so the weights sum to 1 at
    every i. This is fastai's recorder. Lightning divides by $1 - \beta^{i+2}$, so that a flat loss L starts
    at 0.505 L and rises (Lightning #14167). A causal mean lags: features move to larger learning rates.

    A non-finite loss stays in its place and does not enter the mean (in fastai it makes every later entry
    NaN); i then counts the finite ones.

    Args:
      losses: recorded losses, one per step. Shape (steps,), any unit.
      beta: weight of the past, in [0, 1); 0: no smoothing.

    Returns:
      Smoothed losses, shape (steps,), in the same unit.

    Raises:
      TypeError: an argument is not of numbers.
      ValueError: `losses` are not 1-D or empty, or `beta` is outside [0, 1).

    Source: fastai 2.8, `AvgSmoothLoss`; Kingma & Ba 2015, Adam, section 3.

    Examples:
      >>> debiased_ema([2.0, 2.0, 2.0]).round(12).tolist()
      [2.0, 2.0, 2.0]
      >>> debiased_ema([1.0, 0.0], beta=0.5).round(4).tolist()
      [1.0, 0.3333]
    """
    values = read_vector("debiased_ema(losses=...)", losses, "losses")
    smoothed, total, weight = values.copy(), 0.0, 0.0
    for i in np.flatnonzero(np.isfinite(values)):
        total = beta * total + (1 - beta) * values[i]
        weight = beta * weight + (1 - beta)
        smoothed[i] = total / weight
    return smoothed


@checked
def symmetric_smooth(
    lrs: Recorded,
    losses: Recorded,
    sigma_decades: Annotated[float, known_number("a finite number of decades > 0", lambda x: 0 < x < np.inf)] = 0.15,
) -> Float[np.ndarray, " steps"]:
    r"""Smooth over log10(lr), looking both ways: features stay where they are.

    Each value is that of a straight line fitted around its point with Gaussian weights of width $\sigma$ in
    $\log_{10} \eta$, so a curve that is straight over log10(lr) is unchanged, up to and including its ends.

    Args:
      lrs: learning rates, shape (steps,), strictly increasing, > 0, linear scale.
      losses: recorded losses, shape (steps,), any unit; non-finite ones stay in their places and are not
        used.
      sigma_decades: width of the weights, in decades of learning rate, > 0 (never less than half the distance
        to the nearest point).

    Returns:
      Smoothed losses, shape (steps,), in the same unit.

    Raises:
      TypeError, ValueError: the arrays are no history, no loss is finite, or `sigma_decades` is not > 0.

    Source: Cleveland 1979, locally weighted regression, with one pass and Gaussian weights.

    Examples:
      >>> symmetric_smooth([1e-4, 1e-3, 1e-2, 1e-1], [4.0, 3.0, 2.0, 1.0], 0.5).round(6).tolist()
      [4.0, 3.0, 2.0, 1.0]
    """
    rates, values = read_history("symmetric_smooth", lrs, losses)
    finite = np.isfinite(values)
    if finite.sum() > 1:
        values[finite], _ = fit_locally(np.log10(rates[finite]), values[finite], sigma_decades)
    return values


def fit_locally(
    x: Float[np.ndarray, " steps"], y: Float[np.ndarray, " steps"], sigma: float
) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """Return value and slope of the straight line fitted around each x; two points or more, x increasing."""
    gaps = np.diff(x)
    nearest = np.minimum(np.append(np.inf, gaps), np.append(gaps, np.inf))
    values, slopes = np.empty_like(y), np.empty_like(y)
    for i, width in enumerate(np.maximum(sigma, nearest / 2)):
        offset = x - x[i]
        weights = np.exp(-0.5 * (offset / width) ** 2)
        weights /= weights.sum()
        middle, level = weights @ offset, weights @ y
        spread = weights * (offset - middle)
        slopes[i] = spread @ (y - level) / (spread @ offset)
        values[i] = level - slopes[i] * middle
    return values, slopes


def running_median(y: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
    """Return the running median of 3, with Tukey's rule at the ends: a lone spike goes, a trend stays."""
    if y.size < 3:
        return y
    inner = np.median([y[:-2], y[1:-1], y[2:]], axis=0)
    near, far = inner[[0, -1]], inner[[1, -2]] if inner.size > 1 else inner[[0, 0]]
    first, last = np.median([y[[0, -1]], near, 3 * near - 2 * far], axis=0)
    return np.concatenate([[first], inner, [last]])
