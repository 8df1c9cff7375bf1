"""How sizes go with the width in a coordinate check: trends, a verdict, a picture."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from .._axes import CHOSEN, GREY, INK, SMALL, axes_for, draw_title, gaps, plain, tidy
from .._html import WARNING, Shown
from .._repr import line_repr
from .._types import Float
from ._least_squares import fit_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HALFWAY = 0.25
"""Exponents in theory are multiples of 1/2 in the limit of infinite width: this is halfway from 0 to the next one."""

ERRORS = 2.0
"""Standard errors on each side of a slope: 95 %."""

When = Literal["at the start", "in the first update", "in all updates"]

Trend = Literal["stays", "blows up", "vanishes", "unclear"]


class Slope(NamedTuple):
    """How one size goes with the width.

    Attributes:
      name: of the activation or the parameter.
      when: its size at the start, or how far it is from there after the first or the last update.
      slope: of log size against log width: 0 does not depend on the width, 1 grows in proportion.
      error: its standard error, from seeds and from what a straight line leaves.
      trend: "stays" if slope +- 2 errors is within 1/4 of 0, "blows up" or "vanishes" if it is all beyond that.
    """

    name: str
    when: When
    slope: float
    error: float
    trend: Trend


def fit_slope(name: str, when: When, widths: tuple[int, ...], sizes: Float[np.ndarray, "widths seeds"]) -> Slope | None:
    """The slope of sizes against widths; None where all are 0, as of a readout that begins at 0."""
    if not sizes.any():
        return None
    if not np.isfinite(sizes).all():
        return Slope(name, when, math.inf, 0.0, "blows up")
    if not sizes.all():
        return Slope(name, when, -math.inf, 0.0, "vanishes")
    x = np.log(np.repeat(widths, sizes.shape[1]))
    y = np.log(sizes.astype(np.float64).ravel())
    line = fit_line(np.column_stack([np.ones_like(x), x]), y, np.zeros_like(y))
    slope, error = float(line.coefficients[1]), math.sqrt(line.covariance[1, 1])
    return Slope(name, when, slope, error, _trend(slope, ERRORS * error))


def _trend(slope: float, margin: float) -> Trend:
    if abs(slope) + margin <= HALFWAY:
        return "stays"
    if abs(slope) - margin <= HALFWAY:
        return "unclear"
    return "blows up" if slope > 0 else "vanishes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoordinateCheck(Shown):
    """What `coordinate_check` measured.

    Attributes:
      widths: the widths, increasing.
      sizes: name -> root mean square; at step 0 of what it is, then of how far it has moved from there. Of parameters
        these are divided by what muP has them shrink by. Shape (widths, seeds, steps + 1).
      slopes: for each name how its size at the start goes with the width, and how far it moves. What begins at 0 has
        none of the first kind.
      lr: the learning rate.
    """

    widths: tuple[int, ...]
    sizes: dict[str, Float[np.ndarray, "widths seeds steps"]]
    slopes: tuple[Slope, ...]
    lr: float

    __repr__ = line_repr

    @property
    def verdict(self) -> Literal["muP", "not muP", "unclear"]:
        """What the slopes say: "not muP" if something blows up or does not move, "muP" if all that moves stays.

        Of the first update and all updates one does: later ones hide what grows as soon as the target is learned, and
        the first depends on how far the untrained outputs are off.
        """
        if self._broken():
            return "not muP"
        return "unclear" if self._unclear() else "muP"

    def _broken(self) -> list[Slope]:
        """What goes wrong. A size that shrinks at the start is none: that of muP's readout does."""
        return [
            one
            for one in self.slopes
            if one.trend == "blows up" or (one.trend == "vanishes" and one.when != "at the start")
        ]

    def _unclear(self) -> list[Slope]:
        """What moves by an unclear power of the width in the first update and in all."""
        moves = [one for one in self.slopes if one.when != "at the start"]
        clear = {one.name for one in moves if one.trend != "unclear"}
        return [one for one in moves if one.name not in clear and one.when == "in all updates"]

    def summary(self) -> str:
        """The verdict, and a sentence for each thing that does not stay."""
        lines = [f"Coordinate check: {self.verdict}, widths {', '.join(map(str, self.widths))}, lr {self.lr:g}."]
        for one in sorted(self._broken(), key=lambda one: -abs(one.slope)):
            lines.append(f"{WARNING}{one.name} {one.trend} {one.when}: it goes as width^{_number(one)}.")
        for one in self._unclear():
            lines.append(f"{one.name} is unclear: it goes as width^{_number(one)}. Give more seeds or wider models.")
        if self.verdict == "muP":
            most = max((one for one in self.slopes if one.when == "in all updates"), key=lambda one: abs(one.slope))
            lines.append(
                f"The most that anything changes in {self.steps} updates: {most.name}, as width^{_number(most)}."
            )
        return "\n".join(lines)

    @property
    def steps(self) -> int:
        """Updates that were made."""
        return next(iter(self.sizes.values())).shape[2] - 1

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw how far everything has moved after the last update, against the width.

        Args:
          ax: axes to draw into; None makes a new figure, unknown to pyplot.

        Returns:
          The axes.
        """
        from matplotlib.ticker import LogLocator

        ax = axes_for("CoordinateCheck.plot", ax)
        moves = [one for one in self.slopes if one.when == "in all updates"]
        marks = {"stays": ("o", INK), "unclear": ("s", GREY), "blows up": ("^", CHOSEN), "vanishes": ("v", CHOSEN)}
        names = []
        for one in sorted(moves, key=lambda one: -abs(one.slope)):
            (marker, colour), sizes = marks[one.trend], self.sizes[one.name][:, :, -1].astype(np.float64)
            style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
            heights = np.exp(np.log(np.maximum(gaps(sizes), SMALLEST)).mean(axis=1))
            ax.plot(self.widths, heights, **style)
            if len(moves) <= MOST_NAMED:
                name = f" {plain(one.name)}: {one.slope:.2f}"
                place: dict[str, Any] = {"xytext": (0, 0), "textcoords": "offset points", "va": "center"}
                end = (self.widths[-1], heights[-1])
                names.append(ax.annotate(name, end, color=colour, fontsize=SMALL, **place))
        ax.set(xscale="log", yscale="log", xlabel="width", ylabel=f"how far it moved in {self.steps} updates (RMS)")
        ax.set_xticks(self.widths, [str(width) for width in self.widths])
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        tidy(ax)
        small = f"lr {self.lr:g}; the exponent of each is beside its name"
        draw_title(ax, f"Coordinate check: {self.verdict}", small, pad=6)
        _place_names(ax, names, self.widths)
        return ax


def _place_names(ax: "Axes", names: list[Any], widths: tuple[int, ...]) -> None:
    """Room within the axes for the names beside the lines, and none over another."""
    first, last = np.log(widths[0]), np.log(widths[-1])
    margin = MARGIN * (last - first)
    share = max((name.get_window_extent().width for name in names), default=0.0) / ax.get_window_extent().width
    share = min(share, MOST_ROOM)
    ax.set_xlim(np.exp(first - margin), np.exp(last + max(share / (1 - share) * (last - first + margin), margin)))
    points, free = 72 / ax.figure.dpi, -math.inf
    for name in sorted(names, key=lambda name: name.xy[1]):
        height = ax.transData.transform(name.xy)[1] * points
        name.set_position((0, max(free - height, 0)))
        free = max(free, height) + 1.2 * SMALL


MOST_NAMED = 12
"""Lines with a name."""

MARGIN, MOST_ROOM = 0.05, 0.6
"""Of the width: what is left free beside the lines, and what the names beside them may take."""

SMALLEST = 1e-30
"""What is drawn for 0, which no logarithm has."""


def _number(one: Slope) -> str:
    return f"{one.slope:.2f} +- {ERRORS * one.error:.2f}"
