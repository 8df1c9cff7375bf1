"""The picture of a search: loss against learning rate, the window, and what the methods pick."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from .._axes import CHOSEN, GREY, INK, SMALL, WASH, axes_for, draw_legend, draw_title, gaps, plain, tidy
from .._checks import check_type
from .._curve import LossCurve, Outcome
from .._settings import without_alarms
from .._types import Float
from ._finder_result import LRFinderResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROUND_MARKERS = ("o", "D", "s", "P", "*")
"""Rounds 0 to 3, then all later ones."""

METHOD_LINES = {"midpoint": "-", "half_loss": (0, (6, 2)), "steepest": (0, (6, 2, 1, 2)), "": (0, (1, 1))}
"""Line styles by rule; "" is any other one."""

_OFF_SCALE = 0.97  # height of the marks of trials that left the picture, as a share of the axes


@without_alarms()
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
      >>> import jax, optax, lrjax.plots
      >>> from lrjax.demos import digits
      >>> result = lrjax.find_lr(digits(), optax.adam, key=jax.random.key(0), num_seeds=1)
      >>> axes = lrjax.plots.plot_finder(result)
      >>> axes.get_xlabel()
      'learning rate'
    """
    check_type("plot_finder(result)", result, LRFinderResult, "what lrjax.find_lr returned")
    ax = axes_for("plot_finder", ax)
    curve = result.curve
    lrs, losses = np.asarray(curve.lrs, np.float64), gaps(np.asarray(curve.final, np.float64))
    initial = float(np.mean(np.asarray(curve.initial_loss, np.float64)))
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
    draw_title(ax, finder_title(result), finder_subtitle(result))
    tidy(ax)
    draw_legend(ax)
    return ax


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
        fontsize=SMALL,
        color=INK,
    )


def _draw_horizons(ax: "Axes", curve: LossCurve) -> None:
    """The curve at earlier numbers of updates, the earlier the fainter."""
    count = curve.horizons.shape[0]
    for index in range(count - 1):
        means = np.asarray(curve.losses[index], np.float64).mean(axis=0)
        shade = 0.82 - 0.35 * index / max(count - 2, 1)
        label = f"after {int(curve.horizons[index])} updates"
        ax.plot(curve.lrs, gaps(means), color=str(shade), linewidth=1.2, label=label, zorder=2)


def _draw_seeds(ax: "Axes", lrs: Float[np.ndarray, " trials"], losses: Float[np.ndarray, "seeds trials"]) -> None:
    lowest, highest = losses.min(axis=0), losses.max(axis=0)
    if losses.shape[0] > 1 and np.isfinite(highest).any():
        label = f"mean and range of {losses.shape[0]} seeds"
        ax.fill_between(lrs, lowest, highest, color=INK, alpha=0.22, linewidth=0, label=label, zorder=2)


def _draw_trials(ax: "Axes", curve: LossCurve, means: Float[np.ndarray, " trials"], ceiling: float) -> None:
    lrs, rounds = np.asarray(curve.lrs, np.float64), np.minimum(np.asarray(curve.rounds), len(ROUND_MARKERS) - 1)
    ax.plot(lrs, means, color=INK, linewidth=1.3, zorder=3)
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
            label=f"{plain(name)} {lr:.2e}" + (" (chosen)" if chosen else ""),
            zorder=4 if chosen else 3,
        )
    if result.interval is not None:
        low, high = result.interval
        style = {"color": "black", "linewidth": 1.2, "marker": "|", "markersize": 8, "zorder": 6}
        label = f"seed by seed {low:.1e} to {high:.1e}"
        ax.plot([low, high], [0.035, 0.035], label=label, transform=ax.get_xaxis_transform(), **style)


def finder_title(result: LRFinderResult) -> str:
    """The learning rate, or that there is none."""
    if result.outcome is Outcome.found:
        return f"learning rate {result.lr:.2e} ({plain(result.rule)})"
    return f"no learning rate: {result.outcome.name}"


def finder_subtitle(result: LRFinderResult) -> str:
    """The warnings' names, or why there is no learning rate."""
    if result.outcome is not Outcome.found:
        return textwrap.fill(result.outcome.value, 44)
    names = ", ".join(warning.name.value for warning in result.warnings)
    return textwrap.fill(f"warnings: {names}", 44) if names else ""
