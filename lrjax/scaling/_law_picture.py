"""The picture of a law: the losses of every size over the learning rate, the optima joined, and the law."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .._axes import CHOSEN, INK, SMALL, axes_for, draw_legend, draw_title, plain, tidy
from .._settings import without_alarms
from ._least_squares import design_of, quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = (0.09, 0.045)
"""Parts of the width and the height of the axes that the sizes of one optimum take."""

STEEP = 3.0
"""Of the height of a typical curve, from its optimum to the median of its losses, how much is shown of every one."""

Law = Any
"""A `lrjax.scaling.ScalingLaw`, whose module imports this one."""


@without_alarms()
def plot_law(law: Law, ax: "Axes | None") -> "Axes":
    """See `ScalingLaw.plot`."""
    ax = axes_for("ScalingLaw.plot", ax)
    ax.set_xscale("log")
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss" if law.mode == "min" else "metric")
    used = sorted((point for point in law.points if not point.note), key=lambda point: point.lr)
    curves = {tuple(point.sizes.values()): _curve(law, point.sizes) for point in law.points}
    shades = np.linspace(0.25, 0.75, max(len(used), 2))
    for point, shade in zip(used, shades, strict=False):
        lrs, losses = curves[tuple(point.sizes.values())]
        ax.plot(lrs, losses, color=str(shade), linewidth=1.1, marker="o", markersize=2.5, zorder=2)
    for point in law.points:
        if point.note:
            ax.plot(*curves[tuple(point.sizes.values())], color="0.85", linewidth=0.9, linestyle=":", zorder=1)
    _draw_optima(ax, law, used)
    _draw_law(ax, law, used)
    _limit(ax, law, used, list(curves.values()))
    _draw_names(ax, used)
    powers = " * ".join(f"{axis}^{power.value:.2f}" for axis, power in law.exponents.items())
    axes = ", ".join(law.exponents)
    draw_title(ax, plain(f"best lr goes like {powers}", 70), plain(f"below the optima: {axes}", 70))
    tidy(ax)
    draw_legend(ax, loc="best")
    return ax


def _curve(law: Law, sizes: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """The learning rates of a size, and the mean losses; nan where one diverged."""
    here = np.all([law.table[axis] == size for axis, size in sizes.items()], axis=0)
    lrs = np.unique(law.table["lr"][here])
    losses = np.where(np.isfinite(law.table["loss"]), law.table["loss"], np.nan)
    return lrs, np.asarray([losses[here & (law.table["lr"] == lr)].mean() for lr in lrs])


def _draw_optima(ax: "Axes", law: Law, used: list[Any]) -> None:
    """Each with its standard error, joined to its neighbour along every axis, and named."""
    lrs, losses = np.array([point.lr for point in used]), np.array([point.loss for point in used])
    errors = 10.0 ** np.nan_to_num([point.error for point in used])
    style = {"color": INK, "fmt": "s", "markersize": 5, "capsize": 2, "linewidth": 1.0}
    spread = [lrs - lrs / errors, lrs * errors - lrs]
    ax.errorbar(
        lrs, losses, xerr=spread, label="optima, with standard errors, joined along each axis", zorder=5, **style
    )
    for axis in law.exponents:
        groups: dict[tuple[float, ...], list[Any]] = {}
        for point in used:
            groups.setdefault(tuple(size for name, size in point.sizes.items() if name != axis), []).append(point)
        for group in groups.values():
            line = sorted(group, key=lambda point: point.sizes[axis])
            ax.plot([one.lr for one in line], [one.loss for one in line], color=INK, linewidth=1.0, zorder=4)


def _draw_names(ax: "Axes", used: list[Any]) -> None:
    """The sizes below the optima, as far as there is room: of the lowest and the highest lr first."""
    style: dict[str, Any] = {"textcoords": "offset points", "xytext": (5, -9), "fontsize": SMALL - 1, "color": INK}
    taken: list[np.ndarray] = []
    for point in [used[0], used[-1], *used[1:-1]]:
        place = ax.transAxes.inverted().transform(ax.transData.transform((point.lr, point.loss)))
        if all((abs(place - other) > ROOM).any() for other in taken):
            name = ", ".join(f"{size:g}" for size in point.sizes.values())
            ax.annotate(name, (point.lr, point.loss), zorder=6, clip_on=True, **style)
            taken.append(place)


def _draw_law(ax: "Axes", law: Law, used: list[Any]) -> None:
    """What the law says at the sizes of the optima, with its interval."""
    sizes = {axis: np.array([point.sizes[axis] for point in used]) for axis in law.exponents}
    design = design_of(law.terms, law.centres, sizes)
    places = design @ law.coefficients
    variance = np.einsum("pi,ij,pj->p", design, law.covariance, design) + law.scatter**2
    half = quantile(law.free) * np.sqrt(variance)
    losses = [point.loss for point in used]
    ax.hlines(losses, 10 ** (places - half), 10 ** (places + half), color=CHOSEN, linewidth=4, alpha=0.25, zorder=3)
    label = "the law, with its 90 % interval"
    ax.plot(10**places, losses, color=CHOSEN, marker="D", markersize=4, linestyle="", label=label, zorder=5)


def _limit(ax: "Axes", law: Law, used: list[Any], curves: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """All optima, and of the curves what is not far above them."""
    best = np.array([point.loss for point in used])
    sign = 1.0 if law.mode == "min" else -1.0
    ends = [sign * losses for _, losses in curves if np.isfinite(losses).any()]
    height = float(np.median([np.nanmedian(losses) - np.nanmin(losses) for losses in ends]))
    room = max(float(np.ptp(best)), STEEP * height) or 1.0
    low, high = (sign * best).min() - 0.15 * room, (sign * best).max() + STEEP * height + 0.1 * room
    ax.set_ylim(*((low, high) if law.mode == "min" else (-high, -low)))
