"""The picture of schedules: learning rate against step, and momentum on a second axis."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .._axes import CHOSEN, GREY, INK, axes_for, new_axes, tidy
from .._checks import check_flag, check_type, name_of
from .._types import Schedule, StepCount
from ._evaluate import evaluate, known_steps, sample_steps
from ._phases import leaps
from ._schedule import own_core

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Several = Schedule | Sequence[Schedule] | Mapping[str, Schedule]

COLOURS = (INK, CHOSEN, "#2e7d32", "#6a1b9a", "#00838f", "#8d6e00", GREY)
STYLES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))
"""Line styles beside the colours, so that the lines are told apart in grey too."""

WIDTH = 1.6

POINTS = 2001
"""Steps that are drawn of a longer training."""


def plot_schedules(
    schedules: Several,
    total_steps: StepCount,
    *,
    momentum: Several | None = None,
    log: bool = False,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw one or several schedules over a training, and momenta on a second axis.

    Args:
      schedules: one, several, or several by name; any Optax callables.
      total_steps: optimizer updates on the axis, >= 1.
      momentum: schedules of a momentum, likewise; drawn dotted against an axis on the right.
      log: whether the axis of the learning rate is logarithmic.
      ax: axes to draw into; None makes a new figure, unknown to pyplot.

    Returns:
      The axes of the learning rate.

    Raises:
      TypeError, ValueError: `total_steps` is out of its range, or something given is no schedule.

    Examples:
      >>> import lrjax.plots
      >>> from lrjax import schedules
      >>> axes = lrjax.plots.plot_schedules(
      ...     {"1cycle": schedules.one_cycle(0.1, total_steps=100)}, 100, momentum=schedules.one_cycle_momentum(100)
      ... )
      >>> [line.get_label() for line in axes.get_lines()]
      ['1cycle']
    """
    ax = axes_for("plot_schedules", ax)
    log = check_flag("plot_schedules(log=...)", log)
    total = known_steps("plot_schedules(total_steps)", total_steps)
    steps = sample_steps(total + 1, POINTS)
    for index, (name, line) in enumerate(_lines("plot_schedules(schedules)", schedules, steps).items()):
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index % len(STYLES)]}
        ax.plot(*line, label=name, linewidth=WIDTH, **style)
    if log:
        ax.set_yscale("log")
    _finish(ax, total)
    handles = list(ax.get_lines())
    if momentum is not None:
        right = ax.twinx()
        for name, line in _lines("plot_schedules(momentum=...)", momentum, steps).items():
            label = name if "momentum" in name else f"{name} (momentum)"
            right.plot(*line, label=label, linewidth=WIDTH, color=GREY, linestyle=(0, (1, 1)))
        right.set_ylabel("momentum", color=GREY)
        right.tick_params(labelsize=9, colors=GREY)
        right.spines["top"].set_visible(False)
        right.margins(y=0.1)
        handles += right.get_lines()
    if len(handles) > 1 or isinstance(schedules, Mapping):
        ax.legend(handles=handles, fontsize=8, framealpha=0.9, edgecolor="none", handlelength=2.6).set_zorder(10)
    return ax


def draw_course(course: Sequence[tuple[int, float]]) -> "Axes":
    """A schedule from some of its values, in a new figure."""
    ax, points = new_axes(), np.asarray(course, np.float64)
    ax.plot(*points.T, color=INK, linewidth=WIDTH)
    _finish(ax, max(points[-1, 0], 1))
    return ax


def _finish(ax: "Axes", end: float) -> None:
    """Labels and limits; a linear axis begins at 0."""
    ax.set(xlabel="step (optimizer updates)", ylabel="learning rate", xlim=(0, end))
    if ax.get_yscale() == "linear" and all((np.asarray(line.get_ydata()) >= 0).all() for line in ax.get_lines()):
        ax.set_ylim(bottom=0)
    tidy(ax)


def _lines(where: str, schedules: Several, steps: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and values by name; where there is a leap between two steps, the lr holds until the next one."""
    found = {}
    for name, schedule in _named(where, schedules).items():
        values = evaluate(where, schedule, steps)
        after = np.flatnonzero(leaps(values)) + 1
        found[name] = np.insert(steps, after, steps[after]), np.insert(values, after, values[after - 1])
    return found


def _named(where: str, schedules: Several) -> dict[str, Schedule]:
    """By name; schedules without one are called what they are, numbered where that is ambiguous."""
    if isinstance(schedules, Mapping):
        for name in schedules:
            check_type(f"{where} names", name, str, "strings")
        return dict(schedules)
    several = cast(list[Schedule], list(schedules) if isinstance(schedules, (list, tuple)) else [schedules])
    names = [core.name if (core := own_core(one)) else name_of(one) for one in several]
    return {
        name if names.count(name) == 1 else f"{name} {index + 1}": one
        for index, (name, one) in enumerate(zip(names, several, strict=True))
    }
