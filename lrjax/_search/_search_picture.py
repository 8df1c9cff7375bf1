"""The picture of a search with a budget: every rung's curve, sharper and narrower as training goes on."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from .._axes import CHOSEN, GREY, INK, WASH, axes_for, draw_legend, draw_title, gaps, tidy
from .._checks import check_type
from .._curve import Outcome
from .._settings import without_alarms
from ._picture import plot_finder
from ._result import SearchResult
from ._rung import SearchRung

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "D", "s", "P", "v", "X")
"""Of the sweep, the rungs after it, and all later ones."""

_OFF_SCALE = 0.97  # height of the marks of trials that left the picture, as a share of the axes


@without_alarms()
def plot_search(result: SearchResult, ax: "Axes | None" = None) -> "Axes":
    """Draw validation loss against learning rate after every rung.

    Each rung is a line, the darker the longer its trials, with a band from the lowest to the highest seed. The loss
    axis is logarithmic where all losses are positive, and ends half the effect above the initial loss: trials above it
    are triangles at the top, diverged ones crosses. The arrow leads from the best trial to the chosen learning rate.

    Args:
      result: what `lrjax.search_lr` returned; with budget 0 the finder's picture is drawn.
      ax: axes to draw into; None makes a new figure, unknown to pyplot.

    Returns:
      The axes.

    Examples:
      >>> import jax, optax, lrjax.plots
      >>> from lrjax.demos import digits
      >>> result = lrjax.search_lr(digits(), optax.adam, key=jax.random.key(0), train_steps=400, executor="map")
      >>> axes = lrjax.plots.plot_search(result)
      >>> axes.get_xlabel()
      'learning rate'
    """
    check_type("plot_search(result)", result, SearchResult, "what lrjax.search_lr returned")
    if result.finder is not None:
        return plot_finder(result.finder, ax=ax)
    ax = axes_for("plot_search", ax)
    low, high = _loss_limits(result.rungs)
    exponents = np.concatenate([rung.log10_lrs for rung in result.rungs])
    ax.set(xscale="log", xlabel="learning rate", ylabel="validation loss")
    if low > 0:
        _make_logarithmic(ax)
    ax.set_ylim(low, high)
    ends = [exponents.min(), exponents.max(), *([np.log10(result.lr)] if result.outcome is Outcome.found else [])]
    ax.set_xlim(10.0 ** min(ends) / 1.5, 10.0 ** max(ends) * 1.5)
    initial = float(np.mean(result.rungs[0].initial_loss))
    ax.axhline(initial, color=GREY, linewidth=0.9, linestyle=":", label=f"initial loss {initial:.4g}", zorder=1)
    for index, rung in enumerate(result.rungs):
        _draw_rung(ax, rung, index, len(result.rungs))
    _draw_lost(ax, result.rungs, high)
    if result.outcome is Outcome.found:
        _draw_choice(ax, result)
    draw_title(ax, _title(result), _subtitle(result))
    tidy(ax)
    draw_legend(ax)
    return ax


def _loss_limits(rungs: tuple[SearchRung, ...]) -> tuple[float, float]:
    """From a little below the best loss of all rungs to half the largest effect above the initial loss."""
    initial = max(float(np.mean(rung.initial_loss)) for rung in rungs)
    effects = [float(rung.window.effect) for rung in rungs if rung.found]
    if not effects:
        scale = 0.5 * abs(initial) or 1.0
        return initial - 0.5 * scale, initial + 1.1 * scale
    least = min(np.min(rung.losses, initial=initial, where=np.isfinite(gaps(rung.losses))) for rung in rungs)
    low = 0.85 * least if least > 0 else least - 0.06 * max(effects)
    return float(low), initial + 0.5 * max(effects)


def _make_logarithmic(ax: "Axes") -> None:
    """A logarithmic loss axis with plain numbers."""
    from matplotlib.ticker import LogFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatter())
    ax.yaxis.set_minor_formatter(LogFormatter())


def _draw_rung(ax: "Axes", rung: SearchRung, index: int, count: int) -> None:
    lrs, means = 10.0**rung.log10_lrs, _means(rung)
    shade = str(0.72 - 0.72 * index / (count - 1)) if count > 1 else INK
    if index == count - 1:
        shade = INK
    seeds = f", {len(rung.losses)} seeds" if len(rung.losses) > 1 else ""
    label = f"{'sweep' if rung.is_sweep else 'rung'}, {rung.num_steps} updates{seeds}"
    marker = MARKERS[min(index, len(MARKERS) - 1)]
    style = {
        "markersize": 5,
        "markerfacecolor": "white" if index % 2 else shade,
        "linewidth": 1.1 + 0.5 * index / count,
    }
    ax.plot(lrs, means, color=shade, marker=marker, label=label, zorder=3 + index, **style)
    if len(rung.losses) > 1:
        lowest, highest = gaps(rung.losses).min(axis=0), gaps(rung.losses).max(axis=0)
        ax.fill_between(lrs, lowest, highest, color=shade, alpha=0.18, linewidth=0, zorder=2)


def _means(rung: SearchRung) -> np.ndarray:
    """Mean over the seeds, nan where one diverged."""
    return gaps(rung.losses).mean(axis=0)


def _draw_lost(ax: "Axes", rungs: tuple[SearchRung, ...], ceiling: float) -> None:
    """Trials above the axis, and diverged ones."""
    lrs = np.concatenate([10.0**rung.log10_lrs for rung in rungs])
    means = np.concatenate([_means(rung) for rung in rungs])
    above = np.isfinite(means) & (means > ceiling)
    for marker, label, here in (("^", "above the axis", above), ("x", "diverged", ~np.isfinite(means))):
        if here.any():
            heights, transform = np.full(here.sum(), _OFF_SCALE), ax.get_xaxis_transform()
            style = {"color": INK, "linestyle": "none", "markersize": 5, "markerfacecolor": "white"}
            ax.plot(lrs[here], heights, marker=marker, label=label, transform=transform, zorder=12, **style)


def _draw_choice(ax: "Axes", result: SearchResult) -> None:
    """The chosen learning rate, the spread of what could have been chosen, and how far it was moved."""
    ax.axvline(result.lr, color=CHOSEN, linewidth=2.4, label=f"chosen {result.lr:.2e}", zorder=2)
    if result.interval is not None:
        low, high = result.interval
        ax.axvspan(low, high, color=WASH, linewidth=0, zorder=0, label=f"rungs and seeds {low:.1e} to {high:.1e}")
    if result.correction > 0:
        best = 10.0 ** result.rungs[result.rung].best
        ax.annotate(
            "",
            (result.lr, 0.06),
            (best, 0.06),
            xycoords=ax.get_xaxis_transform(),
            textcoords=ax.get_xaxis_transform(),
            arrowprops={"arrowstyle": "->", "color": CHOSEN, "linewidth": 1.4},
            zorder=11,
        )


def _title(result: SearchResult) -> str:
    """The learning rate, or that there is none."""
    if result.outcome is Outcome.found:
        return f"learning rate {result.lr:.2e} for {result.train_steps} updates"
    return f"no learning rate: {result.outcome.name}"


def _subtitle(result: SearchResult) -> str:
    """What the search cost, and the warnings' names."""
    names = ", ".join(warning.name.value for warning in result.warnings)
    cost = f"cost: {result.cost:.2f} trainings"
    return textwrap.fill(f"{cost}; warnings: {names}" if names else cost, 44)
