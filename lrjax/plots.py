"""Every picture. Matplotlib is imported inside the functions; pyplot and the rcParams are never touched.

Each function takes axes to draw into, or makes a new figure, and returns the axes: `axes.figure.savefig(path)` writes
the picture, and a notebook shows `axes.figure`. Nothing depends on colour alone, so all of them print in grey.
"""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ._types import Float
from .finder import LossCurve, LRFinderResult, Outcome, crossing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, CHOSEN, GREY, WASH = "#12395b", "#c1440e", "#6b6b6b", "#dbe7f3"

ROUND_MARKERS = ("o", "D", "s", "P", "*")
"""Rounds 0 to 3, then all later ones."""

METHOD_LINES = {"midpoint": "-", "half_loss": (0, (6, 2)), "steepest": (0, (6, 2, 1, 2)), "": (0, (1, 1))}
"""Line styles by rule; "" is any other one."""

_SMALL = 8.0
_OFF_SCALE = 0.97  # height of the marks of trials that left the picture, as a share of the axes


def plot_finder(result: LRFinderResult, ax: "Axes | None" = None) -> "Axes":
    """Draw validation loss against learning rate, with the window and what the methods pick.

    Every trial is a mark at its mean over the seeds, its shape telling the round; the band spans the seeds. The
    loss axis ends half the effect above the initial loss, as the estimator's does: trials above it are triangles at
    the top, diverged ones crosses. Faint lines show earlier horizons, if any were recorded.

    Args:
      result: what `lrjax.find_lr` returned; one without a learning rate is drawn too and says so.
      ax: axes to draw into; None makes a new figure, unknown to pyplot.

    Returns:
      The axes.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> result = lrjax.find_lr(digits(), optax.adam, key=jax.random.key(0), num_seeds=1)
      >>> axes = lrjax.plots.plot_finder(result)
      >>> axes.get_xlabel()
      'learning rate'
    """
    ax = _new_axes() if ax is None else ax
    curve = result.curve
    lrs, losses = np.asarray(curve.lrs, np.float64), np.asarray(curve.final, np.float64)
    initial = float(np.mean(np.asarray(curve.initial_loss, np.float64)))
    with np.errstate(invalid="ignore"):
        means = losses.mean(axis=0)
    low, high = _loss_limits(means, initial, float(result.window.effect))
    ax.set(
        xscale="log",
        xlabel="learning rate",
        ylabel=f"validation loss after {int(curve.horizons[-1])} updates",
        ylim=(low, high),
    )
    ax.set_xlim(lrs[0] / 1.5, lrs[-1] * 1.5)
    ax.axhline(initial, color=GREY, linewidth=0.9, linestyle=":", label=f"initial loss {initial:.4g}", zorder=1)
    if result.outcome is Outcome.found:
        _draw_window(ax, result)
    _draw_horizons(ax, curve)
    _draw_seeds(ax, lrs, losses)
    _draw_trials(ax, curve, means, high)
    if result.outcome is Outcome.found:
        _draw_picks(ax, result)
    _title(ax, _finder_title(result), _finder_subtitle(result))
    _tidy(ax)
    _legend(ax)
    return ax


def _new_axes() -> "Axes":
    """Axes of a new figure that only the caller holds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.6), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def _loss_limits(means: Float[np.ndarray, " trials"], initial: float, effect: float) -> tuple[float, float]:
    """From a little below the best loss to the estimator's ceiling, half the effect above the initial loss."""
    finite = means[np.isfinite(means)]
    if effect > 0:
        return initial - 1.12 * effect, initial + 0.5 * effect
    rise = float(np.max(finite, initial=initial)) - initial  # nothing fell: how far did it rise?
    scale = min(rise, 0.5 * abs(initial) if initial else rise) or 1.0
    return initial - 0.5 * scale, initial + 1.1 * scale


def _draw_window(ax: "Axes", result: LRFinderResult) -> None:
    low, high = float(result.window.min_lr), float(result.window.max_lr)
    ax.axvspan(low, high, color=WASH, linewidth=0, zorder=0)
    for edge in (low, high):
        ax.axvline(edge, color=INK, linewidth=0.8, zorder=1)
    left, right = np.log10(ax.get_xlim())
    place = (np.log10(low * high) / 2 - left) / (right - left)
    ax.annotate(
        f"min_lr {low:.1e}  |  max_lr {high:.1e}",
        (place, 1.0),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        ha="left" if place < 0.2 else "right" if place > 0.8 else "center",
        va="bottom",
        fontsize=_SMALL,
        color=INK,
    )


def _draw_horizons(ax: "Axes", curve: LossCurve) -> None:
    """The curve at earlier numbers of updates, the earlier the fainter."""
    count = curve.horizons.shape[0]
    for index in range(count - 1):
        with np.errstate(invalid="ignore"):
            means = np.asarray(curve.losses[index], np.float64).mean(axis=0)
        shade = 0.82 - 0.35 * index / max(count - 2, 1)
        label = f"after {int(curve.horizons[index])} updates"
        ax.plot(curve.lrs, _gaps(means), color=str(shade), linewidth=1.2, label=label, zorder=2)


def _draw_seeds(ax: "Axes", lrs: Float[np.ndarray, " trials"], losses: Float[np.ndarray, "seeds trials"]) -> None:
    lowest, highest = _gaps(losses.min(axis=0)), _gaps(losses.max(axis=0))
    if losses.shape[0] > 1 and np.isfinite(highest).any():
        label = f"mean and range of {losses.shape[0]} seeds"
        ax.fill_between(lrs, lowest, highest, color=INK, alpha=0.22, linewidth=0, label=label, zorder=2)


def _draw_trials(ax: "Axes", curve: LossCurve, means: Float[np.ndarray, " trials"], ceiling: float) -> None:
    lrs, rounds = np.asarray(curve.lrs, np.float64), np.minimum(np.asarray(curve.rounds), len(ROUND_MARKERS) - 1)
    ax.plot(lrs, _gaps(means), color=INK, linewidth=1.3, zorder=3)
    for number in np.unique(rounds[np.isfinite(means)]):
        here = (rounds == number) & np.isfinite(means)
        style = {"facecolor": INK if number % 2 == 0 else "white", "edgecolor": INK, "linewidth": 1.1}
        size = 42 if ROUND_MARKERS[number] == "*" else 24
        label = _round_label(int(number), int(np.max(np.asarray(curve.rounds))))
        ax.scatter(lrs[here], means[here], s=size, marker=ROUND_MARKERS[number], label=label, zorder=5, **style)
    off_scale = np.isfinite(means) & (means > ceiling)
    for marker, label, here in (("^", "above the axis", off_scale), ("x", "diverged", ~np.isfinite(means))):
        if here.any():
            style = {"color": INK, "linestyle": "none", "markersize": 5, "markerfacecolor": "white"}
            heights, transform = np.full(here.sum(), _OFF_SCALE), ax.get_xaxis_transform()
            ax.plot(lrs[here], heights, marker=marker, label=label, transform=transform, zorder=6, **style)


def _round_label(number: int, last: int) -> str:
    if number == 0:
        return "first grid"
    if number == len(ROUND_MARKERS) - 1 and last > number:
        return f"rounds {number + 1} to {last + 1}"
    return f"round {number + 1}"


def _draw_picks(ax: "Axes", result: LRFinderResult) -> None:
    picks = dict(result.selections)
    picks.setdefault(result.rule, result.lr)
    for name, lr in picks.items():
        chosen = name == result.rule
        ax.axvline(
            lr,
            color=CHOSEN if chosen else GREY,
            linewidth=2.4 if chosen else 1.2,
            linestyle=METHOD_LINES.get(name, METHOD_LINES[""]),
            label=f"{name} {lr:.2e}" + (" (chosen)" if chosen else ""),
            zorder=4 if chosen else 3,
        )
    if result.interval is not None:
        low, high = result.interval
        style = {"color": "black", "linewidth": 1.2, "marker": "|", "markersize": 8, "zorder": 6}
        label = f"seed by seed {low:.1e} to {high:.1e}"
        ax.plot([low, high], [0.035, 0.035], label=label, transform=ax.get_xaxis_transform(), **style)


def _finder_title(result: LRFinderResult) -> str:
    if result.outcome is Outcome.found:
        return f"learning rate {result.lr:.2e} ({result.rule})"
    return f"no learning rate: {result.outcome.name}"


def _finder_subtitle(result: LRFinderResult) -> str:
    if result.outcome is not Outcome.found:
        return textwrap.fill(result.outcome.value, 52)
    names = ", ".join(warning.name.value for warning in result.warnings)
    return textwrap.fill(f"warnings: {names}", 52) if names else ""


def _title(ax: "Axes", title: str, small: str = "") -> None:
    """A title on the left, and small print above it, at the right end."""
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=18)
    if small:
        ax.annotate(
            small,
            (1.0, 1.0),
            xycoords="axes fraction",
            xytext=(0, 19),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=_SMALL,
            fontstyle="italic",
            color=GREY,
        )


def _tidy(ax: "Axes") -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", which="major", color="0.93", linewidth=0.6, zorder=-1)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=9)


def _legend(ax: "Axes") -> None:
    """At the lower left, under the plateau; wherever there is room if the curve passes there."""
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) > 2 and line.get_transform() == ax.transData]
    corner = False
    for line in lines:
        points = ax.transAxes.inverted().transform(ax.transData.transform(line.get_xydata()))
        corner |= bool(((points[:, 0] < 0.36) & (points[:, 1] < 0.6)).any())
    options: dict[str, Any] = {"fontsize": _SMALL, "framealpha": 0.9, "edgecolor": "none", "handlelength": 2.6}
    ax.legend(loc="best" if corner else "lower left", **options).set_zorder(10)


def _gaps(values: Float[np.ndarray, " trials"]) -> Float[np.ndarray, " trials"]:
    """Values that are not finite as nan, so that lines break there."""
    return np.where(np.isfinite(values), values, np.nan)


def plot_curvature(result: LRFinderResult, ax: "Axes | None" = None) -> "Axes":
    """Draw the normalised smoothed loss and its curvature against learning rate: how min_lr was found.

    The loss reads 1 on the plateau and 0 at its minimum, max_lr. min_lr is where the curvature is most negative
    between the end of the plateau (0.97) and half of the reduction (0.5), the part shaded here.

    Args:
      result: what `lrjax.find_lr` returned.
      ax: axes to draw into, which get a twin for the curvature; None makes a new figure.

    Returns:
      The axes of the loss.

    Source: "Learning rate optimization through step sampling", the curvature plot.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> result = lrjax.find_lr(digits(), optax.adam, key=jax.random.key(0), num_seeds=1)
      >>> axes = lrjax.plots.plot_curvature(result)
      >>> axes.get_ylabel()
      'normalised loss'
    """
    ax = _new_axes() if ax is None else ax
    window, curve = result.window, result.curve
    x, loss, bend = (np.asarray(part, np.float64) for part in (window.log10_lr, window.loss, window.curvature))
    inside = np.isfinite(loss)
    lrs = 10.0 ** x[inside]
    twin = ax.twinx()
    ax.set_zorder(twin.get_zorder() + 1)
    ax.patch.set_visible(False)
    (left,) = ax.plot(lrs, loss[inside], color=INK, linewidth=1.8, label="loss (left axis)", zorder=3)
    (right,) = twin.plot(
        lrs, bend[inside], color=CHOSEN, linewidth=1.4, linestyle=(0, (4, 1.5)), label="curvature (right axis)"
    )
    ax.set(xscale="log", xlabel="learning rate", ylabel="normalised loss", ylim=(-0.08, 1.58))
    ax.set_xlim(float(curve.lrs[0]) / 1.5, float(curve.lrs[-1]) * 1.5)
    twin.set_ylabel("curvature")
    twin.axhline(0.0, color=CHOSEN, linewidth=0.5, alpha=0.6)
    handles = [left, right]
    title = _finder_title(result)
    if result.outcome is Outcome.found:
        handles += _draw_knee(ax, twin, result, lrs, loss[inside], bend[inside])
        title = f"min_lr {float(window.min_lr):.2e}, where the loss begins to fall"
    _title(ax, title, _finder_subtitle(result))
    for axes, hidden in ((ax, ["top", "right"]), (twin, ["top", "left"])):
        axes.spines[hidden].set_visible(False)
        axes.tick_params(labelsize=9)
    ax.legend(handles=handles, loc="lower left", fontsize=_SMALL, framealpha=0.9, edgecolor="none").set_zorder(10)
    return ax


def _draw_knee(
    ax: "Axes",
    twin: "Axes",
    result: LRFinderResult,
    lrs: Float[np.ndarray, " cells"],
    loss: Float[np.ndarray, " cells"],
    bend: Float[np.ndarray, " cells"],
) -> list[Any]:
    """min_lr on both curves, max_lr, and the part in which the knee was looked for."""
    window, curve = result.window, result.curve
    low, high = float(window.min_lr), float(window.max_lr)
    knee = int(np.argmin(np.abs(np.log10(lrs / low))))
    drawn: list[Any] = [ax.axvline(low, color="black", linewidth=1.4, label=f"min_lr {low:.2e}")]
    drawn.append(ax.axvline(high, color=GREY, linewidth=1.2, linestyle="--", label=f"max_lr {high:.2e}"))
    if not window.narrow:
        literal = window.log10_lr.shape == curve.lrs.shape  # which looks for the knee from the lowest lr on
        searched = [lrs[0] if literal else 10.0 ** float(crossing(window, 0.97)), 10.0 ** float(crossing(window, 0.5))]
        label = "where the knee is looked for"
        drawn.append(twin.axvspan(*searched, color=WASH, linewidth=0, zorder=0, label=label))
        ax.plot(lrs[knee], loss[knee], "o", color=INK, markersize=7, zorder=4)
        twin.plot(lrs[knee], bend[knee], "D", color=CHOSEN, markersize=6, zorder=4)
    return drawn
