"""Pictures of a sweep: curves, the final metric against one hyperparameter, a heat map of two."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .._axes import CHOSEN, GREY, INK, SMALL, axes_for, draw_title, gaps, plain, tidy
from .._checks import Mode, attribute, check_choice, check_mode, show, show_with_type
from .._settings import without_alarms
from .._types import Float, Int

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("curves", "axis", "heat")

MOST_CURVES = 8
"""Curves with a colour and a name of their own; with more, the best ones have them."""

FORMAT = "lrjax-sweep-result"
"""Names a sweep's result in files, and tells it from other results."""


Swept = Any
"""A `lrjax.SweepResult`, whose module imports this one."""


def metric_values(result: Swept, name: Any) -> Float[np.ndarray, "trials seeds evaluations"]:
    """A metric by its name."""
    if not result.metrics:
        raise ValueError("Nothing was measured: the sweep ended before its first evaluation.")
    if not isinstance(name, str) or name not in result.metrics:
        raise ValueError(
            f"`metric` must be one that was measured: there is no metric {show(name)} in this sweep. It has "
            f"{', '.join(result.metrics)}."
        )
    return result.metrics[name]


def trial_scores(where: str, result: Swept, metric: str, mode: Mode | None) -> Float[np.ndarray, "trials evaluations"]:
    """What trials are ranked by: the mean over the seeds, small is good; inf for a trial lost in any seed."""
    values = metric_values(result, metric)
    sign = 1.0 if check_mode(where, metric, mode) == "min" else -1.0
    means = np.where((result.diverged_at >= 0)[:, :, None], np.nan, values).mean(axis=1)
    return np.where(np.isfinite(means), sign * means, np.inf)


def settings_along(result: Swept, axis: int) -> Int[np.ndarray, " settings"]:
    """For each place of an axis of the grid, a trial that is there."""
    return np.arange(result.shape[axis]) * int(np.prod(result.shape[axis + 1 :]))


@without_alarms()
def plot_sweep(
    result: Swept,
    kind: str | None = None,
    *,
    metric: str = "loss",
    mode: Mode | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a sweep.

    Args:
      result: what `lrjax.sweep` returned.
      kind: "curves" (metric against step), "axis" (final metric against the first hyperparameter, one line for each
        setting of the others, with the band of the seeds), or "heat" (final metric over two hyperparameters). None:
        "heat" for two axes of at least three settings, "axis" for an axis of numbers, else "curves".
      metric: a name in `result.metrics`.
      mode: which of its values are good, "min" or "max"; "loss" is minimised, any other metric needs one.
      ax: axes to draw into; None makes a new figure, unknown to pyplot.

    Returns:
      The axes.

    Raises:
      ValueError: an unknown kind or metric, a metric without a mode, or a heat map of other than two axes.

    Examples:
      >>> import jax, optax, lrjax.plots
      >>> from lrjax.demos import digits
      >>> grid = {"learning_rate": [0.01, 0.1]}
      >>> result = lrjax.sweep(digits(), optax.sgd, grid, key=jax.random.key(0), train_steps=10)
      >>> lrjax.plots.plot_sweep(result, "axis").get_xlabel()
      'learning_rate'
    """
    if attribute(result, "_FORMAT") != FORMAT or isinstance(result, type):
        raise TypeError(f"`plot_sweep(result)` must be what lrjax.sweep returned, got {show_with_type(result)}.")
    check_choice("plot_sweep(kind=...)", kind, (*KINDS, None))
    metric_values(result, metric)
    mode = check_mode("plot_sweep", metric, mode)
    ax = axes_for("plot_sweep", ax)
    scores = trial_scores("plot_sweep", result, metric, mode)[:, -1]
    kind = kind or _fitting_kind(result)
    {"curves": _draw_curves, "axis": _draw_axis, "heat": _draw_heat}[kind](ax, result, metric, mode, scores)
    title = "No trial with a finite value"
    if np.isfinite(scores).any():
        best = int(np.argmin(scores))
        value = result.metrics[metric][best, :, -1].mean()
        title = f"Best {_metric_label(metric)} {value:.4g}: {_trial_label(result, best)}"
    draw_title(ax, title)
    (trials, seeds), diverged = result.diverged_at.shape, int((result.diverged_at >= 0).sum())
    subtitle = f"{trials} trials x {seeds} seed{'s' * (seeds > 1)}, {result.train_steps} updates"
    subtitle += f", {diverged} diverged" if diverged else ""
    style: dict[str, Any] = {"fontsize": SMALL, "fontstyle": "italic", "color": GREY}
    ax.annotate(subtitle, (0, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points", **style)
    return ax


def _fitting_kind(result: Swept) -> str:
    if len(result.shape) == 2 and min(result.shape) >= 3:
        return "heat"
    return "axis" if _number_axis(result, 0) is not None and result.shape[0] > 1 else "curves"


def _number_axis(result: Swept, axis: int) -> Float[np.ndarray, " settings"] | None:
    """The numbers along an axis; None where they are no numbers, such as schedules, or cannot be drawn to scale."""
    name = result.names[axis][0]
    column = result.columns[name]
    if column.dtype.kind not in "iuf" or any(other.startswith(f"{name}.") for other in result.columns):
        return None
    numbers = column[settings_along(result, axis)].astype(np.float64)
    return None if np.isnan(gaps(numbers)).any() else numbers


def _labels(result: Swept, axis: int) -> list[str]:
    """The settings along an axis in words."""
    name, numbers = result.names[axis][0], _number_axis(result, axis)
    if numbers is not None:
        return [f"{plain(name)} {number:.3g}" for number in numbers]
    kinds = result.columns.get(f"{name}.kind")
    if kinds is None:
        return [f"{plain(name)} {place}" for place in range(result.shape[axis])]
    return [f"{place}: {plain(str(kind))}" for place, kind in enumerate(kinds[settings_along(result, axis)])]


def _trial_label(result: Swept, trial: int) -> str:
    return ", ".join(_labels(result, axis)[place] for axis, place in enumerate(np.unravel_index(trial, result.shape)))


def _draw_curves(ax: "Axes", result: Swept, metric: str, mode: Mode, scores: np.ndarray) -> None:
    """The mean over the seeds at every evaluation; the best trials in colour."""
    every, steps = gaps(result.metrics[metric]), result.steps
    order = np.argsort(scores, kind="stable")
    colours = _colours(min(len(order), MOST_CURVES))
    for place, trial in reversed(list(enumerate(order))):
        if place < MOST_CURVES:
            _draw_seeds(
                ax, steps, every[trial].T, color=colours[place], label=_trial_label(result, int(trial)), zorder=3
            )
        else:
            ax.plot(steps, gaps(every[trial].mean(axis=0)), color="0.85", linewidth=0.8, zorder=2)
    ax.set(xlabel="optimizer updates", ylabel=_metric_label(metric))
    _limit(ax, every, mode)
    tidy(ax)
    _legend(ax, "best first" if len(order) > 1 else "", outside=True)


def _draw_axis(ax: "Axes", result: Swept, metric: str, mode: Mode, scores: np.ndarray) -> None:
    """The final metric against the first hyperparameter."""
    numbers, count, values = _number_axis(result, 0), result.shape[0], gaps(result.metrics[metric][:, :, -1])
    x = np.arange(count, dtype=float) if numbers is None else numbers
    order = np.argsort(x)
    table = values.reshape(count, -1, values.shape[1])
    colours = _colours(table.shape[1])
    for line, colour in enumerate(colours):
        rest = np.unravel_index(line, result.shape[1:]) if len(colours) > 1 else ()
        label = ", ".join(_labels(result, axis + 1)[place] for axis, place in enumerate(rest)) or None
        _draw_seeds(ax, x[order], table[order, line], color=colour, label=label, marker="o", markersize=4)
    if numbers is None:
        ax.set_xticks(x, _labels(result, 0), rotation=30, ha="right", fontsize=SMALL)
    elif (numbers > 0).all() and numbers.max() > 20 * numbers.min():
        ax.set_xscale("log")
    ax.set(xlabel=plain(result.names[0][0]), ylabel=f"{_metric_label(metric)} after {result.train_steps} updates")
    _limit(ax, values, mode)
    tidy(ax)
    if len(colours) > 1:
        _legend(ax, "")


def _draw_seeds(ax: "Axes", x: np.ndarray, values: Float[np.ndarray, "points seeds"], **style: Any) -> None:
    """A line through the means over the seeds, with their band."""
    ax.plot(x, gaps(values.mean(axis=1)), linewidth=1.5, **style)
    if values.shape[1] > 1:
        low, high = gaps(values.min(axis=1)), gaps(values.max(axis=1))
        ax.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _draw_heat(ax: "Axes", result: Swept, metric: str, mode: Mode, scores: np.ndarray) -> None:
    """The final metric over two hyperparameters; the best cell framed."""
    if len(result.shape) != 2:
        raise ValueError(
            f'`plot("heat")` draws two axes, and this sweep has {len(result.shape)}. Use "curves" or "axis", or draw '
            "`to_xarray()`."
        )
    means = gaps(result.metrics[metric][:, :, -1]).mean(axis=1).reshape(result.shape)
    finite = means[np.isfinite(means)]
    worst = 0.75 if mode == "min" else 1.0  # what is minimised may be as large as it likes
    low, high = (float(finite.min()), float(np.quantile(finite, worst))) if finite.size else (0.0, 1.0)
    image = ax.imshow(
        means.T, origin="lower", aspect="auto", cmap="viridis_r" if mode == "min" else "viridis",
        vmin=low, vmax=max(high, low + 1e-12),
    )  # fmt: skip
    beyond = "max" if finite.size and finite.max() > high else "neither"
    ax.figure.colorbar(image, ax=ax, label=_metric_label(metric), extend=beyond)
    for axis, ticks in enumerate((ax.set_xticks, ax.set_yticks)):
        numbers, count = _number_axis(result, axis), result.shape[axis]
        labels = _labels(result, axis) if numbers is None else [f"{number:.2g}" for number in numbers]
        step = max(1, -(-count // 13))
        ticks(range(0, count, step), labels[::step], fontsize=SMALL)
    ax.tick_params(axis="x", rotation=45 if result.shape[0] > 7 else 0)
    ax.set(xlabel=plain(result.names[0][0]), ylabel=plain(result.names[1][0]))
    for x, y in np.argwhere(~np.isfinite(means)):
        ax.plot(x, y, "x", color=GREY, markersize=5)
    if np.isfinite(scores).any():
        from matplotlib.patches import Rectangle

        x, y = np.unravel_index(np.argmin(scores), result.shape)
        ax.add_patch(Rectangle((float(x) - 0.5, float(y) - 0.5), 1, 1, fill=False, edgecolor=CHOSEN, linewidth=2.2))


def _colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [INK] if count == 1 else [colormaps["viridis"](0.92 * place / (count - 1)) for place in range(count)]


def _limit(ax: "Axes", values: np.ndarray, mode: Mode) -> None:
    """Keep a diverged trial from flattening the others."""
    finite = values[np.isfinite(values)]
    if mode == "min" and finite.size:
        low, middle, high = float(finite.min()), float(np.median(finite)), float(finite.max())
        top = min(high, middle + 3 * (middle - low)) if middle > low else high
        margin = 0.05 * (top - low) or 0.05 * abs(low) or 1.0
        ax.set_ylim(low - margin, top + margin)


def _metric_label(metric: str) -> str:
    return {"loss": "validation loss", "train_loss": "training loss"}.get(metric, plain(metric))


def _legend(ax: "Axes", title: str, *, outside: bool = False) -> None:
    handles, labels = ax.get_legend_handles_labels()
    style: dict[str, Any] = {"fontsize": SMALL, "framealpha": 0.9, "edgecolor": "none", "title_fontsize": SMALL}
    if outside:  # the curves were drawn with the best one last, on top
        handles, labels = handles[::-1], labels[::-1]
        style |= {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02)}
    ax.legend(handles, labels, title=title or None, **style).set_zorder(10)
