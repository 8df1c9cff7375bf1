"""fastai's rules on a recorded range test, re-runnable on any history.

All follow fastai 2.8, `fastai/callback/schedule.py`, in float64 (fastai computes in float32). fastai trims
the history before any rule sees it. Here `num_steps=` asks for that trimming, and an index still points into
the arrays that were given; without it a rule sees every point up to the first NaN.
"""

from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Float

from .._annotated import checked, known_count, known_number
from ._history import Recorded, read_history
from ._rule import need_points, rule

Planned = Annotated[int, known_count(1, "steps of the planned test")]


class Trimmed(NamedTuple):
    """A history without its ends."""

    lrs: Float[np.ndarray, " kept"]  # the learning rates kept, shape (kept,)
    losses: Float[np.ndarray, " kept"]  # their losses, shape (kept,), none of them NaN
    start: int  # index of the first kept point in the full history


@checked
def fastai_trim(lrs: Recorded, losses: Recorded, num_steps: Planned) -> Trimmed:
    """Drop what fastai drops before any rule: the first tenth, the last 5 points, all from the first NaN.

    Args:
      lrs, losses: the history, shape (steps,). Infinite losses are kept.
      num_steps: planned length of the range test (fastai's `num_it`), >= 1; the history is shorter if the
        test stopped early, and the first `num_steps // 10` points are dropped all the same.

    Returns:
      A `Trimmed` history; may be empty.

    Raises:
      TypeError, ValueError: the arrays are no history, no loss is finite, or `num_steps` < 1.

    Source: fastai 2.8, `lr_find`.

    Examples:
      >>> kept = fastai_trim([1e-4 * 2**i for i in range(20)], [1.0] * 10 + [float("nan")] * 10, num_steps=30)
      >>> kept.start, len(kept.losses)
      (3, 7)
    """
    return _trim("fastai_trim", *read_history("fastai_trim", lrs, losses), num_steps, minimum=0)


@rule
def fastai_valley(lrs: Recorded, losses: Recorded, *, num_steps: Planned | None = None):
    r"""About the midpoint of the longest valley: fastai's default.

    With $d_i$ the length of the longest strictly decreasing subsequence (gaps allowed) that ends at i, $e$
    the first i of largest $d_i$, and $d = d_e$, the index is
    $\max(0,\ e - d + \lfloor d/3 \rfloor + \lfloor d/6 \rfloor)$, or 0 if no loss lies below an earlier one.

    fastai's own description says two thirds through the valley; the arithmetic gives the middle. A drifting
    plateau counts as valley, so the answer depends on where the range starts (by 33x between 1e-8 and 1e-5 on
    one curve). For a valley of just the first two points fastai's index is -1, which Python reads as the
    *largest* learning rate; here it is 0.

    Source: fastai 2.8, `valley`.

    Examples:
      >>> rates = [1e-5 * 2**i for i in range(14)]
      >>> losses = [2.3, 2.29, 2.28, 2.2, 2.1, 1.8, 1.5, 1.2, 0.9, 0.7, 0.6, 0.5, 0.8, 3.0]
      >>> fastai_valley(rates, losses).index
      5
    """
    kept = _trim("fastai_valley", lrs, losses, num_steps, minimum=1)
    lengths = np.ones(len(kept.losses), dtype=np.int64)
    for i in range(1, len(lengths)):
        above = lengths[:i][kept.losses[:i] > kept.losses[i]]
        lengths[i] = 1 + above.max(initial=0)
    end = int(np.argmax(lengths))
    length = int(lengths[end])
    return kept.start + (max(0, end - length + length // 3 + length // 6) if length > 1 else 0)


@rule
def fastai_slide(
    lrs: Recorded,
    losses: Recorded,
    *,
    lr_diff: Annotated[int, known_count(1, "recorded points")] = 15,
    threshold: Annotated[float, known_number("a finite number >= 0", lambda x: 0 <= x < np.inf)] = 0.005,
    adjust: Annotated[float, known_number("a finite factor > 0", lambda x: 0 < x < np.inf)] = 1.0,
    num_steps: Planned | None = None,
):
    """Slide a window left from the end for as long as the slopes at its two ends differ.

    The slopes are central differences by index. The answer is the left end of the last window whose slopes
    differed by more than `threshold`; the left end of the very first window if that one already did not. The lr is
    `adjust * lrs[index]`. At least `lr_diff` + 1 points must be left.

    `threshold` is in units of the loss, so the answer changes when the loss is scaled (it is the only rule
    here that does). fastai fails with an IndexError below `lr_diff` + 1 points.

    Args:
      lr_diff: width of the window, in recorded points, >= 1.
      threshold: largest difference of slopes that counts as none, loss per point, >= 0.
      adjust: factor on the learning rate, > 0.

    Source: fastai 2.8, `slide`.

    Examples:
      >>> rates = [1e-6 * 2**i for i in range(20)]
      >>> losses = [2.0] * 8 + [1.9, 1.7, 1.4, 1.0, 0.7, 0.5, 0.4, 0.4, 0.6, 1.0, 2.0, 4.0]
      >>> fastai_slide(rates, losses).index, fastai_slide(rates, losses, lr_diff=5).index
      (0, 9)
    """
    kept = _trim("fastai_slide", lrs, losses, num_steps, minimum=lr_diff + 1)
    with np.errstate(invalid="ignore"):  # inf - inf among diverged losses; NaN then ends the slide
        slopes = np.gradient(kept.losses)
        differ = np.abs(slopes[lr_diff:] - slopes[:-lr_diff]) > threshold
    same = np.flatnonzero(~differ[::-1])
    moves = int(same[0]) if same.size else differ.size
    index = kept.start + differ.size - max(moves, 1)
    return index, lrs[index] * adjust


@rule
def fastai_minimum(lrs: Recorded, losses: Recorded, *, num_steps: Planned | None = None):
    """A tenth of the learning rate with the lowest loss.

    The index is that of the lowest loss, the lr `lrs[index] / 10` (fastai, too, draws its marker at the minimum).

    Source: fastai 2.8, `minimum`.

    Examples:
      >>> fastai_minimum([0.01, 0.1, 1.0], [2.0, 1.0, 3.0])[:2]
      (0.01, 1)
    """
    kept = _trim("fastai_minimum", lrs, losses, num_steps, minimum=1)
    index = kept.start + np.argmin(kept.losses)
    return index, lrs[index] / 10


@rule
def fastai_steep(lrs: Recorded, losses: Recorded, *, num_steps: Planned | None = None):
    r"""The left end of the steepest step, $\min_i (y_{i+1} - y_i) / (\ln x_{i+1} - \ln x_i)$.

    One-step differences of a noisy loss follow the noise, and nothing keeps the answer left of the minimum.
    Steps from or to an infinite loss are never chosen.

    Source: fastai 2.8, `steep`.

    Examples:
      >>> fastai_steep([0.01, 0.1, 1.0], [2.0, 1.9, 1.0]).lr
      0.1
    """
    kept = _trim("fastai_steep", lrs, losses, num_steps, minimum=2)
    with np.errstate(invalid="ignore"):
        slopes = np.diff(kept.losses) / np.diff(np.log(kept.lrs))
    finite = np.isfinite(slopes)
    need_points("fastai_steep", int(finite.sum()), 1, "with a finite slope")
    return kept.start + np.argmin(np.where(finite, slopes, np.inf))


def _trim(
    where: str,
    lrs: Float[np.ndarray, " steps"],
    losses: Float[np.ndarray, " steps"],
    num_steps: int | None,
    *,
    minimum: int,
) -> Trimmed:
    start, stop, reason = 0, losses.size, f"of {losses.size}"
    if num_steps is not None:
        start = num_steps // 10
        stop = max(losses.size - 5, start)
        reason += f" after dropping the first {start} (num_steps={num_steps}) and the last 5"
    unknown = np.flatnonzero(np.isnan(losses[start:stop]))
    if unknown.size:
        stop = start + int(unknown[0])
        reason += f" and all from the first NaN (index {stop}) on"
    kept = Trimmed(lrs[start:stop], losses[start:stop], start)
    need_points(where, kept.losses.size, minimum, reason)
    return kept
