"""One of the three methods on the step-sampled curve of the paper's search: figures 5, 6 and 7."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lrjax
from paper_figures.curve import draw_curve, draw_window, initial_loss
from paper_figures.results import METHODS, SEARCHES, Results, search_numbers
from paper_figures.style import CHOSEN, COLUMN, GREY, draw_legend, new_figure, say_nothing_found, show_lr

FIGURES = {"midpoint": 5, "half_loss": 6, "steepest": 7}
"""Method -> its figure."""


def compute_method(results: Results, method: str) -> dict[str, Any]:
    """What a method picks in both searches, and the accuracy there after the full training."""
    plan = results.shown(FIGURES[method])
    numbers: dict[str, Any] = {"plan": plan.title, "method": method, "best_of_grid_lr": plan.best_lr}
    for search in SEARCHES:
        found = search_numbers(plan, search)
        pick = plan.picks_of(search).get(method)
        numbers[search] = {"window": found["window"], "lr": found["picks"].get(method)}
        if pick is not None:
            numbers[search] |= {"accuracy_percent": pick.accuracy, "regret_points": pick.regret}
    return numbers


def draw_method(results: Results, method: str, explain: Callable[[Axes, lrjax.LRResult, float], None]) -> Figure:
    """The curve, the window, what the method picks, and how.

    Args:
      results: the results.
      method: a key of `METHODS`.
      explain: draws the construction; called with the axes, the paper's search and its pick.
    """
    plan = results.shown(FIGURES[method])
    figure, ax = new_figure(COLUMN, 2.7)
    result = plan.searches["finder_paper"]
    draw_curve(ax, result, label="trials")
    window = plan.window_of("finder_paper")
    if window is None:
        say_nothing_found(ax, result.outcome)
    else:
        draw_window(ax, window)
        lr = float(result.selections[method])
        explain(ax, result, lr)
        ax.axvline(lr, color=CHOSEN, linewidth=1.8, label=f"{METHODS[method]} {show_lr(lr)}", zorder=4)
    if plan.window_of("finder_default") is not None:
        ours = float(plan.searches["finder_default"].selections[method])
        label = f"in our default {show_lr(ours)}"
        ax.axvline(ours, color=GREY, linewidth=1.2, linestyle=(0, (4, 1.5)), label=label, zorder=3)
    draw_legend(figure, *ax.get_legend_handles_labels(), ncols=2)
    return figure


def loss_at(result: lrjax.LRResult, level: float) -> float:
    """The loss where a share `level` of the reduction is still to come: 1 is the untouched loss, 0 the lowest."""
    return initial_loss(result.curve) + (level - 1.0) * float(result.window.effect)


def value_at(result: lrjax.LRResult, lr: float) -> float:
    """The mean loss of the trials, interpolated in log10 lr."""
    curve = result.curve
    losses = np.asarray(curve.final, np.float64).mean(axis=0)
    known = np.isfinite(losses)
    return float(np.interp(np.log10(lr), np.log10(np.asarray(curve.lrs, np.float64)[known]), losses[known]))
