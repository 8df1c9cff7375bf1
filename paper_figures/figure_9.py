"""Figure 9: accuracy after the full training against learning rate, with the window and the three picks.

    python -m paper_figures.figure_9                     # seconds; of results only

Every experiment that is measured. Line and band: mean and range of the seeds on the grid. Markers: trainings at the
picks, with the range of their seeds. Below: the windows.
"""

from string import ascii_lowercase
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paper_figures.figure_8 import adaptive_numbers
from paper_figures.results import (
    METHODS,
    PLANS,
    SEARCHES,
    PlanResults,
    Results,
    accuracy_numbers,
    search_numbers,
)
from paper_figures.script import run
from paper_figures.style import GREY, METHOD_MARKERS, PAGE, SEARCH_COLOURS, lr_axis, new_figure

COLUMNS = 3
ROWS = {"finder_paper": 1, "finder_default": 0}


def compute(results: Results) -> dict[str, Any]:
    """Of every plan: the grid, the best of it, both windows, the picks with their accuracies, and the refinement."""
    plans = {}
    for place, plan in _measured(results).items():
        plans["/".join(place)] = {
            "title": plan.title,
            "lrs": plan.grid.lrs,
            "accuracy_percent": plan.grid.final_accuracy(),
            "updates": plan.grid.steps[-1],
            "trial_steps_of_grid": plan.grid.trial_steps,
            **accuracy_numbers(plan),
            "searches": {search: search_numbers(plan, search) for search in SEARCHES},
            "refinement": adaptive_numbers(plan),
        }
    return {"plans": plans}


def _measured(results: Results) -> dict[tuple[str, str], PlanResults]:
    """Every plan that is finished, at least one."""
    plans = results.measured()
    if not plans:
        results.plan(*next(iter(PLANS)))  # which says what is missing
    return plans


def draw(results: Results) -> Figure:
    """A panel for each plan, with a strip for the windows, and the legend in the place that is left."""
    plans = list(_measured(results).values())
    rows = len(plans) // COLUMNS + 1
    heights = {"height_ratios": [3.6, 1] * rows}
    figure, axes = new_figure(PAGE, 2.5 * rows, nrows=2 * rows, ncols=COLUMNS, squeeze=False, gridspec_kw=heights)
    places = [axes[2 * row : 2 * row + 2, column] for row in range(rows) for column in range(COLUMNS)]
    for plan, letter, (upper, strip) in zip(plans, ascii_lowercase, places, strict=False):
        _draw_accuracies(upper, plan)
        _draw_windows(strip, plan)
        low, high = _limits(plan)
        for ax in (upper, strip):
            lr_axis(ax, low, high, label=ax is strip)
        upper.tick_params(labelbottom=False)
        upper.set_title(f"({letter}) {plan.title}")
    for ax in np.ravel(places[len(plans) :]):
        ax.set_axis_off()
    for column in range(COLUMNS):
        figure.align_ylabels(axes[:, column])
    figure.legend(handles=_handles(), loc="upper left", bbox_to_anchor=(0, 1), bbox_transform=places[-1][0].transAxes)
    return figure


def _limits(plan: PlanResults) -> tuple[float, float]:
    lrs = [*plan.grid.lrs, *(pick.lr for pick in plan.picks)]
    return min(lrs), max(lrs)


def _draw_accuracies(ax: Axes, plan: PlanResults) -> None:
    lrs, accuracy = plan.grid.lrs, plan.grid.final_accuracy()
    ax.fill_between(lrs, accuracy.min(axis=1), accuracy.max(axis=1), color="0.82", linewidth=0)
    ax.plot(lrs, accuracy.mean(axis=1), "-", color=GREY, marker=".", markersize=3.5, linewidth=1.1)
    for search in SEARCHES:
        for name, pick in plan.picks_of(search).items():
            if name not in METHODS:
                continue
            mean = pick.accuracy.mean()
            reach = [[mean - pick.accuracy.min()], [pick.accuracy.max() - mean]]
            ax.errorbar(pick.lr, mean, yerr=reach, fmt=METHOD_MARKERS[name], elinewidth=0.8, zorder=5, **_mark(search))
    top, bottom = np.max(accuracy), np.min(accuracy)
    margin = 0.08 * (top - bottom) or 1.0
    ax.set(ylabel="accuracy (%)", ylim=(max(bottom - margin, -2.0), min(top + 1.5 * margin, 102.0)))


def _mark(search: str) -> dict[str, Any]:
    """Small and filled for the paper's search, larger and open for ours, so that both are seen in one place."""
    colour, papers = SEARCH_COLOURS[search], search == "finder_paper"
    return {"color": colour, "markerfacecolor": colour if papers else "none", "markersize": 3.4 if papers else 5.6}


def _draw_windows(ax: Axes, plan: PlanResults) -> None:
    """A bar from min_lr to max_lr for each search, with its picks; the best of the grid as a dotted line."""
    for search, row in ROWS.items():
        colour, window = SEARCH_COLOURS[search], plan.window_of(search)
        if window is None:
            ax.text(plan.best_lr, row, "nothing found", ha="center", va="center", fontsize=6.5, color=colour)
            continue
        ax.plot(window, [row, row], "|-", color=colour, linewidth=4.0, alpha=0.35, markersize=9, markeredgewidth=1.2)
        for name in METHODS:
            lr = float(plan.searches[search].selections[name])
            ax.plot(lr, row, METHOD_MARKERS[name], zorder=5, **_mark(search))
    ax.axvline(plan.best_lr, color=GREY, linewidth=0.9, linestyle=":", zorder=0)
    ax.set_yticks(list(ROWS.values()), ["paper", "ours"])
    ax.set(ylim=(-0.7, 1.7), ylabel="window")


def _handles() -> list[Any]:
    """Of the one legend."""
    handles: list[Any] = [
        Line2D([], [], color=GREY, marker=".", label="full grid search, mean"),
        Patch(color="0.82", label="range of its seeds"),
        Line2D([], [], color=GREY, linestyle=":", label="best of the grid"),
    ]
    for search, colour in SEARCH_COLOURS.items():
        handles.append(Line2D([], [], color=colour, linewidth=4.0, alpha=0.35, label=f"window, {SEARCHES[search]}"))
    for index, (name, label) in enumerate(METHODS.items()):
        style = {"marker": METHOD_MARKERS[name], "linestyle": "none", "color": "black", "markerfacecolor": "0.6"}
        handles.append(Line2D([], [], label=f"method {index + 1}, {label}", **style))
    return handles


def main(arguments: list[str] | None = None) -> None:
    run("figure_9", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
