"""The picture of a search: loss against learning rate, the window, and what was picked, or every stage."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .._axes import CHOSEN, GREY, INK, SMALL, WASH, axes_for, draw_legend, draw_title, gaps, plain, tidy
from .._checks import attribute, show
from .._curve import LossCurve, Outcome
from ._stage import Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROUND_MARKERS = ("o", "D", "s", "P", "*")
"""Rounds 0 to 3, then all later ones."""

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


def plot_lr(result: Pictured, ax: "Axes | None" = None) -> "Axes":
    """Draw validation loss against learning rate, with what was picked.

    Of the stage that the learning rate is from, every trial is a mark at its mean over the seeds, its shape telling the
    round, and the band spans the seeds. Other stages and earlier horizons are fainter lines, the fainter the shorter
    their trials. If all stages are of one kind, the window and the three methods' picks are drawn; if not, the loss
    axis is logarithmic where all losses are positive. An arrow leads from the best trial to the chosen learning rate
    where that lies lower. The loss axis ends half the effect above the initial loss, as the estimator's does: trials
    above it are triangles at the top, diverged ones crosses.

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
    stage, others = (
        result.stages[result.stage],
        [one for one in result.stages if one is not result.stages[result.stage]],
    )
    one_kind, found = len({one.name for one in result.stages}) == 1, result.outcome is Outcome.found
    low, high = _loss_limits(result.stages)
    ax.set(
        xscale="log",
        xlabel="learning rate",
        ylabel=f"{plain(result.in_terms('validation loss'))} after {stage.num_steps} updates",
        ylim=(low, high),
    )
    if not one_kind and low > 0:
        _make_logarithmic(ax)
    lrs = np.concatenate([_lrs(one) for one in result.stages] + [[result.lr] if found else []])
    ax.set_xlim(lrs.min() / 1.5, lrs.max() * 1.5)
    label = f"{plain(result.in_terms('initial loss'))} {stage.initial:.4g}"
    ax.axhline(stage.initial, color=GREY, linewidth=0.9, linestyle=":", label=label, zorder=1)
    _draw_earlier(ax, stage.curve, others)
    _draw_trials(ax, stage)
    _draw_off_scale(ax, result.stages, high)
    if found:
        if one_kind:
            _draw_window(ax, result)
        _draw_picks(ax, result, dict(result.selections) if one_kind else {})
    draw_title(ax, title_of(result), subtitle_of(result))
    tidy(ax)
    draw_legend(ax)
    return ax


def title_of(result: Pictured) -> str:
    """The learning rate, or that there is none."""
    if result.outcome is not Outcome.found:
        return f"no learning rate: {result.outcome.name}"
    purpose = f"({plain(result.rule)})" if result.train_steps is None else f"for {result.train_steps} updates"
    return f"learning rate {result.lr:.2e} {purpose}"


def subtitle_of(result: Pictured) -> str:
    """The warnings' names, or why there is no learning rate."""
    if result.outcome is not Outcome.found:
        return textwrap.fill(plain(result.in_terms(result.outcome.value), 200), 44)
    names = ", ".join(warning.name.value for warning in result.warnings)
    return textwrap.fill(f"warnings: {names}", 44) if names else ""


def _loss_limits(stages: tuple[Stage, ...]) -> tuple[float, float]:
    """From a little below the best loss to the estimator's ceiling, half the effect above the initial loss."""
    initial = max(stage.initial for stage in stages)
    means = np.concatenate([_means(stage) for stage in stages])
    effect = max((float(stage.window.effect) for stage in stages if stage.found), default=0.0)
    if effect > 0:
        least = float(np.min(means, initial=initial, where=np.isfinite(means)))
        low = least - 0.12 * effect
        return low if len(stages) == 1 or least <= 0 else max(low, 0.85 * least), initial + 0.5 * effect
    rise = (
        float(np.max(means, initial=initial, where=np.isfinite(means))) - initial
    )  # nothing fell: how far did it rise?
    scale = min(rise, 0.5 * abs(initial) if initial else rise) or 1.0
    return initial - 0.5 * scale, initial + 1.1 * scale


def _lrs(stage: Stage) -> np.ndarray:
    return np.asarray(stage.curve.lrs, np.float64)


def _means(stage: Stage) -> np.ndarray:
    """Mean over the seeds, nan where one diverged."""
    return gaps(stage.losses).mean(axis=0)


def _make_logarithmic(ax: "Axes") -> None:
    """A logarithmic loss axis with plain numbers."""
    from matplotlib.ticker import LogFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatter())
    ax.yaxis.set_minor_formatter(LogFormatter())


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


def _draw_earlier(ax: "Axes", curve: LossCurve, others: list[Stage]) -> None:
    """The curve at earlier numbers of updates and the other stages, the fewer updates the fainter."""
    horizons = enumerate(np.asarray(curve.horizons[:-1]).tolist())
    lines = [
        (steps, "after", curve.lrs, gaps(np.asarray(curve.losses[i], np.float64)).mean(axis=0)) for i, steps in horizons
    ]
    lines += [(one.num_steps, f"{one.name},", _lrs(one), _means(one)) for one in others]
    lines.sort(key=lambda line: line[0])
    for index, (steps, name, lrs, means) in enumerate(lines):
        shade = 0.82 - 0.35 * index / max(len(lines) - 1, 1)
        ax.plot(lrs, means, color=str(shade), linewidth=1.2, label=f"{name} {steps} updates", zorder=2)


def _draw_trials(ax: "Axes", stage: Stage) -> None:
    """The means, a mark for each trial, and the range of the seeds."""
    lrs, means, losses = _lrs(stage), _means(stage), gaps(stage.losses)
    rounds = np.asarray(stage.curve.rounds)
    lowest, highest = losses.min(axis=0), losses.max(axis=0)
    if stage.num_seeds > 1 and np.isfinite(highest).any():
        label = f"mean and range of {stage.num_seeds} seeds"
        ax.fill_between(lrs, lowest, highest, color=INK, alpha=0.22, linewidth=0, label=label, zorder=2)
    ax.plot(lrs, means, color=INK, linewidth=1.3, zorder=3)
    kinds = np.minimum(rounds, len(ROUND_MARKERS) - 1)
    for number in np.unique(kinds[np.isfinite(means)]):
        here = (kinds == number) & np.isfinite(means)
        style = {"facecolor": INK if number % 2 == 0 else "white", "edgecolor": INK, "linewidth": 1.1}
        size = 42 if ROUND_MARKERS[number] == "*" else 24
        label = _round_label(int(number), int(rounds.max())) if stage.name == "step sampling" else stage.name
        ax.scatter(lrs[here], means[here], s=size, marker=ROUND_MARKERS[number], label=label, zorder=5, **style)


def _draw_off_scale(ax: "Axes", stages: tuple[Stage, ...], ceiling: float) -> None:
    """Trials above the axis, and diverged ones."""
    lrs = np.concatenate([_lrs(stage) for stage in stages])
    means = np.concatenate([_means(stage) for stage in stages])
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


def _draw_picks(ax: "Axes", result: Pictured, picks: dict[str, float]) -> None:
    """The chosen learning rate among others, how far seeds or stages disagree, and how far it was moved."""
    picks[result.rule] = result.lr
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
    across = ax.get_xaxis_transform()
    if result.interval is not None:
        low, high = result.interval
        style = {"color": "black", "linewidth": 1.2, "marker": "|", "markersize": 8, "zorder": 6}
        label = f"could be {low:.1e} to {high:.1e}"
        ax.plot([low, high], [0.035, 0.035], label=label, transform=across, **style)
    if result.correction > 0:
        best = 10.0 ** result.stages[result.stage].best
        style = {"arrowstyle": "->", "color": CHOSEN, "linewidth": 1.4}
        ax.annotate(
            "", (result.lr, 0.06), (best, 0.06), xycoords=across, textcoords=across, arrowprops=style, zorder=11
        )
