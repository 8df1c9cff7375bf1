"""The rules that look for the steepest descent: four peers' and ours.

All work in float64 (the peers in float32). Where a peer's gradient is not finite (next to a NaN or an
infinite loss) the point is never chosen; the peers' argmin returns such points.
"""

from typing import Annotated

import numpy as np

from .._annotated import known_number
from ._history import CurveShape, Recorded, curve_shape
from ._rule import Skipped, finite_points, kept_points, need_points, rule
from ._smoothing import fit_locally, running_median


@rule
def lightning_index(lrs: Recorded, losses: Recorded, *, skip_begin: Skipped = 10, skip_end: Skipped = 1):
    """The most negative gradient by index: Lightning up to 2.5.2.

    Central differences between the recorded points, one-sided at the ends, after dropping the ends and the
    non-finite losses. On a log-spaced history this is d(loss)/d(log lr) up to a factor. Lightning 2.5.2
    forgets to map the index back past the dropped non-finite losses, and keeps no point at all for
    `skip_end=0`; here both are right. With fewer than 2 finite losses it logs an error and returns None.

    Source: PyTorch Lightning 2.5.2, `_LRFinder.suggestion`.

    Examples:
      >>> lightning_index([0.01, 0.1, 1.0, 10.0], [2.0, 1.5, 0.5, 0.4], skip_begin=0, skip_end=0).lr
      0.1
    """
    kept = finite_points("lightning_index", losses, skip_begin=skip_begin, skip_end=skip_end)
    return kept[np.argmin(np.gradient(losses[kept]))]


@rule
def lightning(lrs: Recorded, losses: Recorded, *, skip_begin: Skipped = 10, skip_end: Skipped = 1):
    """The most negative gradient with respect to the learning rate itself: Lightning from 2.5.3 on.

    d(loss)/d(lr) = d(loss)/d(ln lr) / lr: on a log-spaced history any wiggle at the smallest learning rates
    wins over the real descent (Lightning #21141). Kept for comparison; `steepest_log` is the repaired rule.
    Lightning keeps no point at all for `skip_end=0`; here it drops none. Non-finite losses are dropped; with fewer than
    2 others Lightning logs an error and returns None.

    Source: PyTorch Lightning 2.5.3 (#21055), `_LRFinder.suggestion`.

    Examples:
      >>> lightning([0.01, 0.1, 1.0, 10.0], [2.0, 1.5, 0.5, 0.4], skip_begin=0, skip_end=0).lr
      0.01
    """
    kept = finite_points("lightning", losses, skip_begin=skip_begin, skip_end=skip_end)
    return kept[np.argmin(np.gradient(losses[kept], lrs[kept]))]


@rule
def torch_lr_finder(lrs: Recorded, losses: Recorded, *, skip_start: Skipped = 10, skip_end: Skipped = 5):
    """The most negative gradient by index: torch-lr-finder.

    Central differences between the recorded points, one-sided at the ends. Nothing keeps the answer left of
    the minimum, and the peer's own smoothing (weight 0.05 on the new loss) reads 3-4x too high.

    Source: torch-lr-finder 0.2.2, `LRFinder.plot(suggest_lr=True)`.

    Examples:
      >>> torch_lr_finder([1, 2, 3, 4, 5, 6], [10, 8, 4, 1, 4, 16], skip_start=0, skip_end=0).index
      2
    """
    kept = kept_points("torch_lr_finder", losses, skip_start=skip_start, skip_end=skip_end)
    with np.errstate(invalid="ignore"):
        slopes = np.gradient(losses[kept])
    need_points("torch_lr_finder", int(np.isfinite(slopes).sum()), 1, "with a finite gradient")
    return kept[np.argmin(np.where(np.isfinite(slopes), slopes, np.inf))]


@rule
def ignite(lrs: Recorded, losses: Recorded):
    """The most negative central difference up to the minimum: ignite.

    Differences by index at the inner points of the falling part. The minimum is that of the finite losses
    (ignite's is the first NaN, if there is one).

    Raises:
      TypeError, ValueError: the arrays are no history, no loss is finite, the curve has fewer than 3 points up to its
        minimum, or no difference is finite.

    Source: ignite 0.5, `FastaiLRFinder.lr_suggestion`.

    Examples:
      >>> ignite([0.01, 0.1, 1.0, 10.0], [2.0, 1.5, 0.5, 4.0]).lr
      0.1
    """
    lowest = int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
    with np.errstate(invalid="ignore"):
        slopes = (losses[2 : lowest + 1] - losses[: max(lowest - 1, 0)]) / 2
    if not np.isfinite(slopes).any():
        raise ValueError(
            "`ignite(losses=...)` must be U-shaped, with at least 3 points and finite differences up to the "
            f"minimum, got the minimum at index {lowest} of {losses.size} points. {curve_shape(losses).value}"
        )
    return 1 + np.argmin(np.where(np.isfinite(slopes), slopes, np.inf))


@rule
def steepest_log(
    lrs: Recorded,
    losses: Recorded,
    *,
    sigma_decades: Annotated[float, known_number("a finite number of decades >= 0", lambda x: 0 <= x < np.inf)] = 0.3,
    skip_begin: Skipped = 0,
):
    r"""The steepest descent of the loss over log10(lr), left of the minimum: the one we recommend.

    1. Non-finite losses are dropped; a running median of 3 removes lone spikes.
    2. Beyond its first minimum the loss is held at the minimum, so that a diverging end cannot bend the fit.
    3. The slope at each point $x_i = \log_{10} \eta_i$ is that of a straight line fitted around it with
       Gaussian weights: the b that minimises $\sum_j e^{-(x_j - x_i)^2 / 2 \sigma^2} (y_j - a - b x_j)^2$.
    4. The answer is the point left of the minimum with the most negative slope, the first where several
       agree within 1e-6.

    The fit looks both ways, so it does not lag, and the coordinate is log10(lr), so noise at tiny learning
    rates has no advantage. Invariant to a shift and a positive factor of the losses. Give it raw losses
    rather than causally smoothed ones: a running mean has moved the descent to the right already.

    Args:
      sigma_decades: width of the weights, in decades of learning rate, >= 0 (never less than half the
        distance to the nearest point); 0: central differences of the losses as they are, without the median
        and the fit.

    Raises:
      TypeError, ValueError: the arrays are no history, an option is out of range, fewer than 2 finite losses are left,
        or the loss never falls (the message says whether it is flat or rising, and what to do).

    Examples:
      >>> rates = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
      >>> steepest_log(rates, [2.30, 2.28, 2.00, 0.90, 0.70, float("inf")]).lr
      0.001
    """
    kept = finite_points("steepest_log", losses, skip_begin=skip_begin, skip_end=0)
    if curve_shape(losses[kept]) is CurveShape.FLAT:
        raise ValueError(f"`steepest_log(losses=...)` must fall somewhere. {CurveShape.FLAT.value}")
    x, y = np.log10(lrs[kept]), losses[kept]
    if sigma_decades > 0:
        y = running_median(y)
    lowest = int(np.argmin(y))
    if lowest == 0:
        raise ValueError(f"`steepest_log(losses=...)` must fall somewhere. {CurveShape.RISING.value}")
    y = np.append(y[:lowest], np.full(y.size - lowest, y[lowest]))
    slopes = (fit_locally(x, y, sigma_decades)[1] if sigma_decades > 0 else np.gradient(y, x))[:lowest]
    steepest = slopes <= slopes.min() + 1e-6 * np.abs(slopes).max()  # rounding must not choose among equals
    return kept[np.argmax(steepest)]
