"""The law of one training: how its best learning rate goes with its sizes, and how far that is known."""

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Shaped

from .._checks import Mode, check_number
from .._decode import require, require_counts
from .._failure import LRNotFound
from .._html import Shown
from .._json import JsonResult
from .._settings import without_alarms
from .._types import Float
from ._law_picture import plot_law
from ._least_squares import Terms, design_of, quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 0.5
"""Decades that the interval of a predicted learning rate may span."""

SLACK = 1 + 1e-9
"""Of a comparison with the largest size, for sizes that were computed."""


class Exponent(NamedTuple):
    """The power of a size with which the best lr goes, in the middle of the sizes, and its 90 % interval."""

    value: float
    low: float
    high: float


class Optimum(NamedTuple):
    """What the trainings of one size say.

    Attributes:
      sizes: axis -> size.
      lr: the best; nan if they do not show it.
      error: its standard error in decades, from the noise of the losses; nan if unknown.
      loss: there, by the smooth fit; as it was given, for a metric that is large where it is good too.
      note: why it is not used; empty if it is.
    """

    sizes: dict[str, float]
    lr: float
    error: float
    loss: float
    note: str


class Reach(NamedTuple):
    """How far the law may be asked along an axis.

    Attributes:
      smallest, largest: sizes among the optima used.
      furthest: the largest size that may be asked for; `largest` where nothing shows that the law holds beyond.
      kept: the size up to which the law was fitted to predict those beyond; nan where that was not possible.
      missed: decades by which it missed the optima of a size at most, on average; nan likewise.
    """

    smallest: float
    largest: float
    furthest: float
    kept: float
    missed: float


class LRPrediction(NamedTuple):
    """A learning rate for a size, and its 90 % interval; all > 0."""

    lr: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalingLaw(JsonResult, Shown):
    """How the best learning rate of a training goes with its sizes: a power law, with bends where they show.

    Attributes:
      table: the trainings: columns "lr", "loss", each axis, and "seed" if it was given.
      mode: which end of the column "loss" is good.
      points: the optimum of each size, by the sizes.
      exponents: axis -> the power.
      reach: axis -> the sizes that it may be asked for.
      terms: of log10 lr: the constant, each axis, and pairs of axes: of one with itself where the law bends.
      centres: axis -> the size that its logarithms are counted from.
      coefficients: of the terms.
      covariance: of the coefficients, with the scatter of the optima about the law in it.
      scatter: standard deviation of the optima about the law in decades, beyond their own errors.
      free: optima more than terms; >= 1.
      tested: pairs of axes whose term was tried.
    """

    _FORMAT = "lrjax.ScalingLaw"

    table: dict[str, Shaped[np.ndarray, " rows"]]
    mode: Mode
    points: tuple[Optimum, ...]
    exponents: dict[str, Exponent]
    reach: dict[str, Reach]
    terms: Terms
    centres: dict[str, float]
    coefficients: Float[np.ndarray, " terms"]
    covariance: Float[np.ndarray, "terms terms"]
    scatter: float
    free: int
    tested: Terms

    def lr(self, **sizes: float) -> LRPrediction:
        """The best learning rate at a size, with its interval: nine times in ten, if the law stays straight.

        Args:
          **sizes: every axis, > 0: `law.lr(width=1024, batch_size=256)`.

        Returns:
          lr, low and high.

        Raises:
          TypeError, ValueError: an axis is missing, unknown, or no positive number.
          LRNotFound: the law does not reach so far: below the smallest size; further beyond the largest than predicting
            the largest from the others has shown it to hold; beyond them where it bends; or its interval is wider than
            half a decade. `error.result` is the prediction that is not to be trusted.
        """
        self._check_axes(sizes)
        sizes = {axis: self._size(axis, sizes[axis]) for axis in self.exponents}
        prediction = self._predict(sizes)
        reasons = [reason for axis, size in sizes.items() if (reason := self._beyond(axis, size))]
        decades = math.log10(prediction.high / prediction.low)
        if decades > WIDEST:
            reasons.append(
                f"the interval, {prediction.low:.2g} to {prediction.high:.2g}, spans {decades:.2g} decades, and more "
                f"than {WIDEST} are no answer: add sizes, seeds or learning rates"
            )
        if reasons:
            raise LRNotFound(f"`ScalingLaw.lr({_sizes(sizes)})` is not known: {'; '.join(reasons)}.", prediction)
        return prediction

    def _check_axes(self, sizes: dict[str, float]) -> None:
        missing = [axis for axis in self.exponents if axis not in sizes]
        unknown = [axis for axis in sizes if axis not in self.exponents]
        if missing or unknown:
            words = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"knows no {', '.join(unknown)}"] * bool(unknown)
            example = _sizes({axis: reach.largest for axis, reach in self.reach.items()})
            raise ValueError(f"`ScalingLaw.lr` {' and '.join(words)}. Write law.lr({example}).")

    def _size(self, axis: str, value: object) -> float:
        where = f"ScalingLaw.lr({axis}=...)"
        return check_number(where, value, rule="a size, > 0 and finite", accept=lambda size: 0 < size < math.inf)

    def _predict(self, sizes: dict[str, float]) -> LRPrediction:
        row = design_of(self.terms, self.centres, {axis: np.array([size]) for axis, size in sizes.items()})[0]
        place = float(row @ self.coefficients)
        spread = quantile(self.free) * math.sqrt(float(row @ self.covariance @ row) + self.scatter**2)
        return LRPrediction(10.0**place, 10.0 ** (place - spread), 10.0 ** (place + spread))

    def _beyond(self, axis: str, size: float) -> str:
        """Why the law is not known so far out along an axis; nothing if it is."""
        reach, asked = self.reach[axis], f"{axis}={_show(size)}"
        largest = f"the largest measured, {_show(reach.largest)}"
        if size * SLACK < reach.smallest:
            return f"{asked} is below the smallest measured, {_show(reach.smallest)}: measure there"
        if size <= reach.largest * SLACK:
            return ""
        if (axis, axis) in self.terms:
            return f"the law bends along {axis}, and {asked} is beyond {largest}: measure there"
        if size <= reach.furthest * SLACK:
            return ""
        shown = f"up to {_show(reach.furthest)} only" if reach.furthest > reach.largest else "no further"
        return (
            f"{asked} is {size / reach.largest:.3g} times {largest}, and predicting the largest from the others has "
            f"shown the law to hold {shown}: measure larger sizes, or more of them"
        )

    @without_alarms()
    def summary(self) -> str:
        """The law in sentences: what each axis does, bends, how far it reaches, and what is not known."""
        used = [point for point in self.points if not point.note]
        powers = " * ".join(f"{axis}^{power.value:.2f}" for axis, power in self.exponents.items())
        lines = [f"The best learning rate goes like {powers}, by {len(used)} optima; intervals are of 90 %."]
        lines += [self._in_words(axis) for axis in self.exponents]
        lines += [self._pair_in_words(pair) for pair in self.terms if len(pair) == 2]
        untested = [pair for pair in pairs_of(self.exponents) if pair not in (*self.tested, *self.terms)]
        lines += [f"Not known, for want of sizes: whether {_question(pair)}." for pair in untested]
        lines.append(
            f"The optima scatter about the law by a factor of {10**self.scatter:.2f}, beyond their own errors."
        )
        lines += [f"Not used: {_sizes(point.sizes)}: {point.note}." for point in self.points if point.note]
        return "\n".join(lines)

    def _in_words(self, axis: str) -> str:
        value, low, high = (2.0**power for power in self.exponents[axis])
        unsure = " Whether it matters is not known: 1 is among them." if low < 1 < high else ""
        reach, told = self.reach[axis], f"It is known up to {axis}="
        if (axis, axis) in self.terms:
            told += f"{_show(reach.largest)}, the largest, and it bends"
        elif reach.furthest > reach.largest:
            told += f"{_show(reach.furthest)}: from the sizes up to {_show(reach.kept)} it misses the larger ones by "
            told += f"{reach.missed:.2f} decades at most"
        else:
            told += f"{_show(reach.largest)}, the largest: nothing has shown it to hold further"
        return f"Twice the {axis} wants {value:.2f} times the lr ({low:.2f} to {high:.2f}).{unsure} {told}."

    def _pair_in_words(self, pair: tuple[str, ...]) -> str:
        first, second = pair
        weight = float(self.coefficients[self.terms.index(pair)]) * (2 if first == second else 1)
        ends = [
            self.exponents[first].value + weight * math.log10(end / self.centres[second])
            for end in (self.reach[second].smallest, self.reach[second].largest)
        ]
        reach = self.reach[second]
        return (
            f"The exponent of {first} changes with {'it' if first == second else second}: {ends[0]:.2f} at {second}="
            f"{_show(reach.smallest)}, {ends[1]:.2f} at {_show(reach.largest)}."
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the losses of every size over the learning rate, their optima joined, and the law.

        Args:
          ax: axes to draw into; None makes a new figure, which is neither shown nor kept by pyplot.

        Returns:
          The axes; `ax.figure.savefig(path)` writes the picture.
        """
        return plot_law(self, ax)

    def _check(self) -> None:
        axes, count = list(self.exponents), len(self.terms)
        require("exponents", bool(axes), "of at least one axis", axes)
        require("table", {"lr", "loss", *axes} <= {*self.table}, "of lr, loss and every axis", [*self.table])
        for name in ("reach", "centres"):
            require(name, list(getattr(self, name)) == axes, f"of {axes}", [*getattr(self, name)])
        known = {(), *((axis,) for axis in axes), *pairs_of(axes)}
        require("terms", {*self.terms} <= known and len({*self.terms}) == count, "different terms", self.terms)
        require("coefficients", len(self.coefficients) == count, f"one for each of {count} terms", self.coefficients)
        require("centres", min(self.centres.values()) > 0, "> 0", self.centres)
        require("points", all([*point.sizes] == axes for point in self.points), f"of {axes}", self.points)
        require_counts(self, "free", minimum=1)

    def __repr__(self) -> str:
        powers = ", ".join(f"{axis}={power.value:.3g}" for axis, power in self.exponents.items())
        used = sum(not point.note for point in self.points)
        return f"ScalingLaw({powers}, optima={used}, bends={[*(pair for pair in self.terms if len(pair) == 2)]})"


def pairs_of(axes: dict[str, Exponent] | list[str]) -> list[tuple[str, ...]]:
    """The pairs of axes, each with itself too."""
    return list(itertools.combinations_with_replacement(axes, 2))


def _question(pair: tuple[str, ...]) -> str:
    first, second = pair
    return f"the law bends along {first}" if first == second else f"the exponent of {first} changes with {second}"


def _sizes(sizes: dict[str, float]) -> str:
    return ", ".join(f"{axis}={size:g}" for axis, size in sizes.items())


def _show(size: float) -> str:
    return f"{size:,.0f}" if size >= 1000 else f"{size:.3g}"
