"""What every rule on a recorded range test starts from and ends with."""

import enum
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .._checks import show, to_numpy

_SINGLE_ROUNDING = 4 * float(np.finfo(np.float32).eps)  # losses are float32 numbers, widened

Recorded = Any
"""Recorded numbers, shape (steps,): a sequence or an array of NumPy or JAX. Checked at the call."""


class CurveShape(enum.Enum):
    """The shape of a recorded curve; the value is the sentence to print."""

    U_SHAPED = "The loss falls and then rises or diverges: the best learning rate lies inside the range."
    FALLING = "The loss is still falling at the largest learning rate: raise the upper end of the range."
    RISING = "The loss is lowest at the smallest learning rate: lower the lower end of the range."
    FLAT = "The loss is the same at every learning rate: nothing was learned, so there is nothing to choose."
    DIVERGED = "No loss is finite: lower both ends of the range."


class Suggestion(NamedTuple):
    """What a rule read off a range test.

    Attributes:
      lr: suggested learning rate, linear scale. Most rules return `lrs[index]`; `fastai_minimum` a tenth of
        it.
      index: the point that the rule chose, in the arrays it was given (before any trimming or filtering).
      loss: the recorded loss at `index`; a picture marks (`lrs[index]`, `loss`).
      shape: the shape of the whole history, told apart from the choice: on a `FLAT` or `RISING` curve a
        peer's rule still names a point, which then means nothing.
    """

    lr: float
    index: int
    loss: float
    shape: CurveShape


def curve_shape(losses: Recorded) -> CurveShape:
    """Say whether a recorded curve is U-shaped, falling, rising, flat or all diverged.

    With m the first smallest finite loss: `RISING` if m is the first finite point, `FALLING` if it is the
    last recorded point, else `U_SHAPED`. `FLAT` if the finite losses differ by no more than float32 rounding.

    Args:
      losses: recorded losses in the order of the learning rates. Shape (steps,), any unit; non-finite where
        diverged.

    Returns:
      A `CurveShape`, whose value is a sentence with the remedy.

    Raises:
      TypeError: `losses` are not real numbers.
      ValueError: `losses` are not 1-D, or there are none.

    Examples:
      >>> curve_shape([2.3, 1.0, 0.4, 0.9]).name, curve_shape([2.3, 2.3, 2.3]).name
      ('U_SHAPED', 'FLAT')
      >>> curve_shape([2.3, 1.0, 0.4]).value
      'The loss is still falling at the largest learning rate: raise the upper end of the range.'
    """
    values = read_vector("curve_shape(losses=...)", losses, "losses")
    finite = np.flatnonzero(np.isfinite(values))
    if not finite.size:
        return CurveShape.DIVERGED
    known = values[finite]
    if np.ptp(known) <= _SINGLE_ROUNDING * np.max(np.abs(known)):
        return CurveShape.FLAT
    lowest = finite[np.argmin(known)]
    if lowest == finite[0]:
        return CurveShape.RISING
    return CurveShape.FALLING if lowest == values.size - 1 else CurveShape.U_SHAPED


def read_history(
    where: str, lrs: Recorded, losses: Recorded, *, name: str = "losses"
) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """Return the two arrays as float64 vectors of one length, or say what is wrong with them."""
    rates, values = (
        read_vector(f"{where}({argument}=...)", array, words)
        for argument, array, words in (("lrs", lrs, "learning rates"), (name, losses, "recorded numbers"))
    )
    if rates.size != values.size:
        raise ValueError(
            f"`{where}` needs one of `{name}` for each of `lrs`, got {values.size} {name} and {rates.size} "
            "lrs. Pass both as the range test recorded them."
        )
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates > 0)))
    if bad.size:
        raise ValueError(
            f"`{where}(lrs=...)` must be > 0 and finite, got {rates[bad[0]]:g} at index {bad[0]}. "
            "They are learning rates, not exponents: write 10.0 ** x for an exponent x."
        )
    bad = np.flatnonzero(np.diff(rates) <= 0)
    if bad.size:
        raise ValueError(
            f"`{where}(lrs=...)` must rise strictly, got {rates[bad[0]]:g} then {rates[bad[0] + 1]:g} "
            f"at index {bad[0] + 1}. Sort both arrays by learning rate and drop repeats."
        )
    if not np.isfinite(values).any():
        raise ValueError(f"`{where}({name}=...)` must hold a finite number. {CurveShape.DIVERGED.value}")
    return rates, values


def read_vector(where: str, value: Recorded, words: str) -> Float[np.ndarray, " steps"]:
    """Return `value` as a float64 vector with at least one entry."""
    array = to_numpy(value)
    if array is None:
        raise TypeError(f"`{where}` must be a sequence of {words}, got {show(value)}.")
    if array.size and array.dtype.kind not in "fiuV":
        raise TypeError(f"`{where}` must be real {words}, got {show(value)} ({array.dtype}).")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"`{where}` must have shape (steps,) with at least one entry, got shape {array.shape}. "
            "Pass one history at a time, as the range test recorded it."
        )
    return array.astype(np.float64)
