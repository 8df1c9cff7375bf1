"""The picture of a search: loss against learning rate, the window, and what was picked, or every stage."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .._axes import CHOSEN, GREY, INK, SMALL, WASH, axes_for, draw_legend, draw_title, gaps, plain, tidy
from .._checks import attribute, show
from .._curve import LossCurve, Outcome
from .._settings import without_alarms
from .._types import Float
from ._stage import Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROUND_MARKERS = ("o", "D", "s", "P", "*")
"""Rounds 0 to 3, then all later ones."""

STAGE_MARKERS = ("o", "D", "s", "P", "v", "X")
"""Of the first stage, those after it, and all later ones."""

METHOD_LINES = {"midpoint": "-", "half_loss": (0, (6, 2)), "steepest": (0, (6, 2, 1, 2)), "": (0, (1, 1))}
"""Line styles by rule; "" is any other one."""

_OFF_SCALE = 0.97  # height of the marks of trials that left the picture, as a share of the axes


Pictured = Any
"""A `lrjax.LRResult`, whose module imports this one."""


def check_result(where: str, result: object, kind: str = "LRResult") -> None:
    """Raise unless a picture was given what it draws: of its class, which imports the picture."""
    if attribute(result, "_FORMAT") != f"lrjax.{kind}" or isinstance(result, type):
        name, verb = {"LRResult": ("result", "find_lr"), "RangeTest": ("test", "range_test")}[kind]
        raise TypeError(f"`{where}({name})` must be what lrjax.{verb} returned, got {show(result)}.")


@without_alarms()
def plot_lr(result: Pictured, ax: "Axes | None" = None) -> "Axes":
    """Draw validation loss against learning rate, with what was picked.

    Of a search with one stage, every trial is a mark at its mean over the seeds, its shape telling the round; the band
    spans the seeds, and the window and the three methods' picks are drawn. Faint lines show earlier horizons, if any
    were recorded. Of a search with several stages, each is a line, the darker the longer its trials, with a band from
    the lowest to the highest seed; the loss axis is logarithmic where all losses are positive, and an arrow leads from
    the best trial to the chosen learning rate. The loss axis ends half the effect above the initial loss, as the
    estimator's does: trials above it are triangles at the top, diverged ones crosses.

    Args:
      result: what `lrjax.find_lr` returned; one without a learning rate is drawn too and says so.
      ax: axes to draw into; None makes a new figure, unknown to pyplot.

    Returns:
      The axes.

    Examples:
      >>> import jax, optax, lrjax.plots
      >>> from lrjax.demos import digits
      >>> result = lrjax.find_lr(
      ...     digits(), optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0)
      ... )
      >>> axes = lrjax.plots.plot_lr(result)
      >>> axes.get_xlabel()
      'learning rate'
    """
    check_result("plot_lr", result)
    ax = axes_for("plot_lr", ax)
    if len(result.stages) > 1:
        _draw_stages(ax, result)
    else:
        _draw_one_stage(ax, result)
    draw_title(ax, title_of(result), subtitle_of(result))
    tidy(ax)
    draw_legend(ax)
    return ax


def title_of(result: Pictured) -> str:
    """The learning rate, or that there is none."""
    if result.outcome is not Outcome.found:
        return f"no learning rate: {result.outcome.name}"
    purpose = f"({plain(result.rule)})" if len(result.stages) == 1 else f"for {result.train_steps} updates"
    return f"learning rate {result.lr:.2e} {purpose}"


def subtitle_of(result: Pictured) -> str:
    """The warnings' names, or why there is no learning rate."""
    if result.outcome is not Outcome.found:
        return textwrap.fill(result.outcome.value, 44)
    names = ", ".join(warning.name.value for warning in result.warnings)
    return textwrap.fill(f"warnings: {names}", 44) if names else ""


# One stage.


def _draw_one_stage(ax: "Axes", result: Pictured) -> None:
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


def _loss_limits(means: Float[np.ndarray, " trials"], initial: float, effect: float) -> tuple[float, float]:
    """From a little below the best loss to the estimator's ceiling, half the effect above the initial loss."""
    finite = means[np.isfinite(means)]
    if effect > 0:
        return initial - 1.12 * effect, initial + 0.5 * effect
    rise = float(np.max(finite, initial=initial)) - initial  # nothing fell: how far did it rise?
    scale = min(rise, 0.5 * abs(initial) if initial else rise) or 1.0
    return initial - 0.5 * scale, initial + 1.1 * scale


def _draw_window(ax: "Axes", result: Pictured) -> None:
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
    _draw_off_scale(ax, lrs, means, ceiling)


def _draw_off_scale(
    ax: "Axes", lrs: Float[np.ndarray, " trials"], means: Float[np.ndarray, " trials"], ceiling: float
) -> None:
    """Trials above the axis, and diverged ones."""
    above = np.isfinite(means) & (means > ceiling)
    for marker, label, here in (("^", "above the axis", above), ("x", "diverged", ~np.isfinite(means))):
        if here.any():
            heights, transform = np.full(here.sum(), _OFF_SCALE), ax.get_xaxis_transform()
            style = {"color": INK, "linestyle": "none", "markersize": 5, "markerfacecolor": "white"}
            ax.plot(lrs[here], heights, marker=marker, label=label, transform=transform, zorder=12, **style)


def _round_label(number: int, last: int) -> str:
    if number == 0:
        return "first grid"
    if number == len(ROUND_MARKERS) - 1 and last > number:
        return f"rounds {number + 1} to {last + 1}"
    return f"round {number + 1}"


def _draw_picks(ax: "Axes", result: Pictured) -> None:
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


# Several stages.


def _draw_stages(ax: "Axes", result: Pictured) -> None:
    low, high = _limits_of_stages(result.stages)
    exponents = np.concatenate([stage.log10_lrs for stage in result.stages])
    ax.set(xscale="log", xlabel="learning rate", ylabel="validation loss")
    if low > 0:
        _make_logarithmic(ax)
    ax.set_ylim(low, high)
    ends = [exponents.min(), exponents.max(), *([np.log10(result.lr)] if result.outcome is Outcome.found else [])]
    ax.set_xlim(10.0 ** min(ends) / 1.5, 10.0 ** max(ends) * 1.5)
    initial = result.stages[0].initial
    ax.axhline(initial, color=GREY, linewidth=0.9, linestyle=":", label=f"initial loss {initial:.4g}", zorder=1)
    for index, stage in enumerate(result.stages):
        _draw_stage(ax, stage, index, len(result.stages))
    lrs = np.concatenate([10.0**stage.log10_lrs for stage in result.stages])
    _draw_off_scale(ax, lrs, np.concatenate([_means(stage) for stage in result.stages]), high)
    if result.outcome is Outcome.found:
        _draw_choice(ax, result)


def _limits_of_stages(stages: tuple[Stage, ...]) -> tuple[float, float]:
    """From a little below the best loss of all stages to half the largest effect above the initial loss."""
    initial = max(stage.initial for stage in stages)
    effects = [float(stage.window.effect) for stage in stages if stage.found]
    if not effects:
        scale = 0.5 * abs(initial) or 1.0
        return initial - 0.5 * scale, initial + 1.1 * scale
    least = min(np.min(stage.losses, initial=initial, where=np.isfinite(gaps(stage.losses))) for stage in stages)
    low = 0.85 * least if least > 0 else least - 0.06 * max(effects)
    return float(low), initial + 0.5 * max(effects)


def _make_logarithmic(ax: "Axes") -> None:
    """A logarithmic loss axis with plain numbers."""
    from matplotlib.ticker import LogFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatter())
    ax.yaxis.set_minor_formatter(LogFormatter())


def _draw_stage(ax: "Axes", stage: Stage, index: int, count: int) -> None:
    lrs, means = 10.0**stage.log10_lrs, _means(stage)
    shade = str(0.72 - 0.72 * index / (count - 1)) if count > 1 else INK
    if index == count - 1:
        shade = INK
    seeds = f", {stage.num_seeds} seeds" if stage.num_seeds > 1 else ""
    label = f"{stage.name}, {stage.num_steps} updates{seeds}"
    marker = STAGE_MARKERS[min(index, len(STAGE_MARKERS) - 1)]
    style = {
        "markersize": 5,
        "markerfacecolor": "white" if index % 2 else shade,
        "linewidth": 1.1 + 0.5 * index / count,
    }
    ax.plot(lrs, means, color=shade, marker=marker, label=label, zorder=3 + index, **style)
    if stage.num_seeds > 1:
        lowest, highest = gaps(stage.losses).min(axis=0), gaps(stage.losses).max(axis=0)
        ax.fill_between(lrs, lowest, highest, color=shade, alpha=0.18, linewidth=0, zorder=2)


def _means(stage: Stage) -> np.ndarray:
    """Mean over the seeds, nan where one diverged."""
    return gaps(stage.losses).mean(axis=0)


def _draw_choice(ax: "Axes", result: Pictured) -> None:
    """The chosen learning rate, the spread of what could have been chosen, and how far it was moved."""
    ax.axvline(result.lr, color=CHOSEN, linewidth=2.4, label=f"chosen {result.lr:.2e}", zorder=2)
    if result.interval is not None:
        low, high = result.interval
        ax.axvspan(low, high, color=WASH, linewidth=0, zorder=0, label=f"stages and seeds {low:.1e} to {high:.1e}")
    if result.correction > 0:
        best = 10.0 ** result.stages[result.stage].best
        ax.annotate(
            "",
            (result.lr, 0.06),
            (best, 0.06),
            xycoords=ax.get_xaxis_transform(),
            textcoords=ax.get_xaxis_transform(),
            arrowprops={"arrowstyle": "->", "color": CHOSEN, "linewidth": 1.4},
            zorder=11,
        )
