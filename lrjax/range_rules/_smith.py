"""Smith's bounds for a cyclical learning rate."""

from typing import Annotated, NamedTuple

import numpy as np

from .._annotated import checked, known_count, known_number
from .._checks import Mode
from ._history import Recorded, read_history
from ._rule import need_points


class SmithBounds(NamedTuple):
    """The two ends of a cyclical learning rate; both are recorded learning rates.

    Attributes:
      base_lr: the lower end, linear scale.
      max_lr: the upper end, linear scale, > base_lr.
    """

    base_lr: float
    max_lr: float


@checked
def smith_bounds(
    lrs: Recorded,
    values: Recorded,
    *,
    mode: Mode = "min",
    start: Annotated[float, known_number("a fraction in (0, 0.5]", lambda x: 0 < x <= 0.5)] = 0.1,
    stop: Annotated[float, known_number("a fraction in (0.5, 1]", lambda x: 0.5 < x <= 1)] = 0.9,
    setback: Annotated[float, known_number("a fraction > 0", lambda x: x > 0)] = 0.1,
    window: Annotated[int, known_count(1, "recorded points, an odd number")] = 5,
) -> SmithBounds:
    r"""Where the curve starts to improve, and where it stops or becomes ragged.

    Smith reads both off the picture. Here, with z the running median of the values (their negatives for
    mode "max"; non-finite ones count as infinitely bad), $b_i = \min_{k \le i} z_k$ its best so far and
    $A = z_0 - \min z$ the whole improvement, the progress $p_i = (z_0 - b_i)/A$ climbs from 0 to 1, and
    - base_lr is the last learning rate with $p_i <$ `start`;
    - max_lr is the first with $p_i \ge$ `stop`, or, if that comes sooner, the best point before the first
      setback: a point with $p_i \ge 1/2$ that is worse than the best so far by more than `setback` times A.

    Both are unchanged by a shift and a positive factor of the values.

    Args:
      lrs: learning rates, shape (steps,), strictly increasing, > 0, linear scale; linearly spaced in Smith's
        test.
      values: the loss, or any metric such as the accuracy, at each of them. Shape (steps,).
      mode: which values are good: "min", as of a loss, or "max", as of the accuracy.
      start: progress that counts as the start, a fraction of the whole improvement, in (0, 0.5].
      stop: progress that counts as the end, a fraction, in (0.5, 1].
      setback: loss of progress that counts as ragged, a fraction, > 0; inf: never.
      window: points in the running median, odd, >= 1; 1: the values as they are. The window is cut off at the
        ends.

    Returns:
      `SmithBounds`: base_lr < max_lr.

    Raises:
      TypeError, ValueError: the arrays are no history, an option is out of range, there are fewer than 3 finite
        values, the first ones are not finite, or the values never improve.

    Source: Smith 2017, Cyclical Learning Rates for Training Neural Networks, section 3.3.

    Examples:
      >>> rates = [0.001 * i for i in range(1, 13)]
      >>> accuracy = [0.1, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.56, 0.4, 0.5, 0.3]
      >>> smith_bounds(rates, accuracy, mode="max")
      SmithBounds(base_lr=0.003, max_lr=0.007)
    """
    rates, recorded = read_history("smith_bounds", lrs, values, name="values")
    if window % 2 == 0:
        raise ValueError(f"`smith_bounds(window=...)` must be odd, got {window}. Write {window + 1}.")
    finite = np.isfinite(recorded)
    need_points("smith_bounds", int(finite.sum()), 3, f"with a finite value among {finite.size}")
    signed = np.where(finite, -recorded if mode == "max" else recorded, np.inf)
    half = window // 2
    medians = np.array([np.median(signed[max(i - half, 0) : i + half + 1]) for i in range(signed.size)])
    if not np.isfinite(medians[0]):
        raise ValueError(
            f"`smith_bounds(values=...)` must start with finite values, got {recorded[0]:g} first. "
            "Drop the diverged start, or lower the lower end of the range."
        )
    improvement = medians[0] - medians.min()
    if improvement <= 4 * np.finfo(np.float32).eps * np.abs(recorded[finite]).max():
        raise ValueError(
            "`smith_bounds(values=...)` must improve somewhere, got none better than the first ones with "
            f'mode="{mode}". Widen the range, or set mode="{"min" if mode == "max" else "max"}" if that is meant.'
        )
    best = np.minimum.accumulate(medians)
    progress = (medians[0] - best) / improvement
    ragged = np.flatnonzero((progress >= 0.5) & (medians - best > setback * improvement))
    end = int(np.argmax(progress >= stop))
    if ragged.size:
        end = min(end, int(np.argmin(medians[: ragged[0]])))
    return SmithBounds(float(rates[np.argmax(progress >= start) - 1]), float(rates[end]))
