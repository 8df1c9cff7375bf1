"""The parts of a schedule that rise, fall or stay, read from its values."""

import dataclasses

import numpy as np

from .._types import Bool, Float, Int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a schedule that rises, falls, or stays."""

    kind: str  # "rising", "falling" or "constant"
    start: int  # its first step
    stop: int  # the step after its last one; the next phase's start
    start_value: float  # lr at `start`
    stop_value: float  # lr at `stop - 1`

    def __str__(self) -> str:
        last = "" if self.kind == "constant" else f" to {self.stop_value:.4g}"
        return f"{self.kind:8} steps {self.start:,} to {self.stop - 1:,}: {self.start_value:.4g}{last}"


def phases_of(steps: Int[np.ndarray, " steps"], values: Float[np.ndarray, " steps"], total: int) -> list[Phase]:
    """The rising, falling and constant parts, in order. A leap between two steps is no part: it begins the next one."""
    leap = leaps(values)
    kinds = _kinds(values, leap)
    starts = [0, *np.flatnonzero((kinds[1:] != kinds[:-1]) | leap) + 1]
    return [
        Phase(
            kind=("constant", "rising", "falling")[int(kinds[start])] if stop - start > 1 else "constant",
            start=int(steps[start]),
            stop=total if stop == len(values) else int(steps[stop]),
            start_value=float(values[start]),
            stop_value=float(values[stop - 1]),
        )
        for start, stop in zip(starts, [*starts[1:], len(values)], strict=True)
    ]


def tolerance_of(values: Float[np.ndarray, " steps"]) -> float:
    """Differences up to this are rounding: 4 units in the last place of the peak."""
    return 4 * float(np.spacing(np.float32(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))))


def leaps(values: Float[np.ndarray, " steps"]) -> Bool[np.ndarray, " changes"]:
    """Where a change from one step to the next is far greater than those before and after it; one fewer than steps."""
    change = np.abs(_changes(values))
    if len(change) < 2:  # no neighbours to compare with
        return np.zeros(len(change), bool)
    around = np.maximum(np.r_[0.0, change[:-1]], np.r_[change[1:], 0.0])
    return change > 8 * np.maximum(around, tolerance_of(values))


def _changes(values: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " changes"]:
    """From each step to the next; none between two infinities, and an infinite one to and from what is no number."""
    with np.errstate(invalid="ignore"):
        change = np.diff(values)
    same = np.isnan(change) & (np.isfinite(values[1:]) == np.isfinite(values[:-1]))
    return np.where(same, 0.0, np.where(np.isnan(change), np.inf, change))


def _kinds(values: Float[np.ndarray, " steps"], leap: Bool[np.ndarray, " changes"]) -> Int[np.ndarray, " steps"]:
    """For every step -1, 0 or 1: the direction in which it goes on to the next step of its part, 0 on a plateau."""
    change = _changes(values)
    signs = np.where((np.abs(change) > tolerance_of(values)) & ~leap, np.sign(change), 0).astype(int)
    kinds = np.zeros(len(values), int)
    known = np.flatnonzero(signs)
    if not len(known):
        return kinds
    # a change too small to tell goes the way of the next one that is not, or of the last
    following = np.minimum(np.searchsorted(known, np.arange(len(signs))), len(known) - 1)
    kinds[:-1] = signs[known[following]]
    kinds[-1] = kinds[-2]
    edges = np.flatnonzero(np.diff(values) != 0) + 1
    for start, stop in zip(np.r_[0, edges], np.r_[edges, len(values)], strict=True):
        # a run of one value is a plateau if it is too long for the rounding of a slow slope
        if stop - start >= max(2, len(values) // 100):
            kinds[start:stop] = 0
    last = np.flatnonzero(leap)  # the last step before a leap belongs to what is before it
    kinds[last] = np.where(kinds[last] == 0, 0, kinds[np.maximum(last - 1, 0)])
    return kinds
