"""The picture of schedules: learning rate against step, and momentum on a second axis."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .._axes import CHOSEN, GREY, INK, axes_for, new_axes, tidy
from .._checks import check_flag, check_type, name_of
from .._types import Schedule, StepCount
from ._arguments import child as check_child
from ._describe import evaluate, known_steps, leaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Several = Schedule | Sequence[Schedule] | Mapping[str, Schedule]

COLOURS = (INK, CHOSEN, "#2e7d32", "#6a1b9a", "#00838f", "#8d6e00", GREY)
STYLES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))
"""Line styles beside the colours, so that the lines are told apart in grey too."""

POINTS = 2000


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
    steps = _steps(total)
    named = _named("plot_schedules(schedules)", schedules)
    for index, (name, schedule) in enumerate(named.items()):
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index % len(STYLES)]}
        ax.plot(
            *_stairs(steps, evaluate("plot_schedules(schedules)", schedule, steps)), label=name, linewidth=1.6, **style
        )
    ax.set(xlabel="step (optimizer updates)", ylabel="learning rate", xlim=(0, total))
    if log:
        ax.set_yscale("log")
    elif all((np.asarray(line.get_ydata()) >= 0).all() for line in ax.get_lines()):
        ax.set_ylim(bottom=0)
    tidy(ax)
    handles = list(ax.get_lines())
    if momentum is not None:
        handles += _draw_momentum(ax, _named("plot_schedules(momentum=...)", momentum), steps)
    if len(handles) > 1 or isinstance(schedules, Mapping):
        ax.legend(handles=handles, fontsize=8, framealpha=0.9, edgecolor="none", handlelength=2.6).set_zorder(10)
    return ax


def draw_course(course: Sequence[tuple[int, float]]) -> "Axes":
    """A schedule from some of its values, in a new figure."""
    ax, points = new_axes(), np.asarray(course, np.float64)
    ax.plot(points[:, 0], points[:, 1], color=INK, linewidth=1.6)
    ax.set(xlabel="step (optimizer updates)", ylabel="learning rate", xlim=(0, max(points[-1, 0], 1)))
    if (points[:, 1] >= 0).all():
        ax.set_ylim(bottom=0)
    tidy(ax)
    return ax


def _draw_momentum(ax: "Axes", named: dict[str, Schedule], steps: np.ndarray) -> list[Any]:
    right = ax.twinx()
    for name, schedule in named.items():
        label = name if "momentum" in name else f"{name} (momentum)"
        right.plot(
            *_stairs(steps, evaluate("plot_schedules(momentum=...)", schedule, steps)),
            color=GREY,
            linestyle=(0, (1, 1)),
            linewidth=1.6,
            label=label,
        )
    right.set_ylabel("momentum", color=GREY)
    right.tick_params(labelsize=9, colors=GREY)
    right.spines["top"].set_visible(False)
    right.margins(y=0.1)
    return list(right.get_lines())


def _named(where: str, schedules: Several) -> dict[str, Schedule]:
    """By name; schedules without one are called what they are, numbered where that is ambiguous."""
    if isinstance(schedules, Mapping):
        for name in schedules:
            check_type(f"{where} names", name, str, "strings")
        return dict(schedules)
    several = cast(list[Schedule], list(schedules) if isinstance(schedules, (list, tuple)) else [schedules])
    for one in several:
        check_child(where, one)
    names = [getattr(getattr(one, "func", None), "name", None) or name_of(one) for one in several]
    return {
        name if names.count(name) == 1 else f"{name} {index + 1}": one
        for index, (name, one) in enumerate(zip(names, several, strict=True))
    }


def _steps(total: int) -> np.ndarray:
    """Every step and the end, or evenly many of them."""
    if total <= POINTS:
        return np.arange(total + 1)
    return np.unique(np.linspace(0, total, POINTS + 1).astype(np.int64))


def _stairs(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A leap between two steps drawn upright: the lr holds until the next step, where it jumps."""
    after = np.flatnonzero(leaps(values)) + 1
    return np.insert(steps, after, steps[after]), np.insert(values, after, values[after - 1])
