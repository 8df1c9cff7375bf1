"""Figure 9: accuracy after the full training against learning rate, with the window and the three picks.

    python -m paper_figures.figure_9                     # seconds; of results only

(a) BERT, pretrained and from scratch; (b) BART; (c) ResNet18. Line and band: mean and range of the seeds on the grid.
Markers on the line's heights: trainings at the picks, with the range of their seeds. Below: the windows.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paper_figures.results import METHODS, PLANS, SEARCHES, PlanResults, Results, accuracy_numbers, search_numbers
from paper_figures.script import run
from paper_figures.style import GREY, METHOD_MARKERS, PAGE, SEARCH_COLOURS, draw_legend, lr_axis, new_figure

LETTERS = dict(zip(PLANS, ("a", "a'", "b", "c"), strict=True))
ROWS = {"finder_paper": 1, "finder_default": 0}


def compute(results: Results) -> dict[str, Any]:
    """Of every plan: the grid, the best of it, both windows and the picks with their accuracies."""
    plans = {}
    for place in PLANS:
        plan = results.plan(*place)
        plans["/".join(place)] = {
            "title": plan.title,
            "lrs": plan.grid.lrs,
            "accuracy_percent": plan.grid.final_accuracy(),
            "updates": plan.grid.steps[-1],
            "trial_steps_of_grid": plan.grid.trial_steps,
            **accuracy_numbers(plan),
            "searches": {search: search_numbers(plan, search) for search in SEARCHES},
        }
    return {"plans": plans}


def draw(results: Results) -> Figure:
    """Four panels, each with a strip for the windows."""
    figure, axes = new_figure(PAGE, 5.6, nrows=4, ncols=2, gridspec_kw={"height_ratios": [4, 1, 4, 1]})
    for index, place in enumerate(PLANS):
        row, column = divmod(index, 2)
        plan = results.plan(*place)
        upper, strip = axes[2 * row, column], axes[2 * row + 1, column]
        _draw_accuracies(upper, plan)
        _draw_windows(strip, plan)
        low, high = _limits(plan)
        for ax in (upper, strip):
            lr_axis(ax, low, high, label=ax is strip)
        upper.tick_params(labelbottom=False)
        upper.set_title(f"({LETTERS[place]}) {plan.title}")
    for column in range(2):
        figure.align_ylabels(axes[:, column])
    handles = _handles()
    draw_legend(figure, handles, [handle.get_label() for handle in handles], ncols=4)
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
