"""Figure 8: the adaptively sampled curve: the learning rates that each round of the paper's refinement added.

python -m paper_figures.figure_8                     # seconds; of results only
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lrjax._search import ROUND_MARKERS
from paper_figures.curve import draw_curve, draw_window, mean_losses
from paper_figures.results import PlanResults, Results
from paper_figures.script import run
from paper_figures.style import COLUMN, INK, draw_legend, lr_axis, new_figure, say_nothing_found


def compute(results: Results) -> dict[str, Any]:
    """The rounds, and how many trials a uniform grid of the finest spacing would have."""
    plan = results.shown(8)
    curve = plan.searches["finder_paper"].curve
    return {"plan": plan.title, **adaptive_numbers(plan), "lrs": curve.lrs, "rounds": curve.rounds}


def adaptive_numbers(plan: PlanResults) -> dict[str, Any]:
    """What the refinement tried, beside a uniform grid that is everywhere as fine as it is at its finest."""
    result = plan.searches["finder_paper"]
    x = np.log10(np.asarray(result.curve.lrs, np.float64))
    finest = float(np.diff(x).min()) if len(x) > 1 else 0.0
    return {
        "window": plan.window_of("finder_paper"),
        "trials": result.num_trials,
        "trials_of_rounds": np.bincount(np.asarray(result.curve.rounds)),
        "finest_spacing_decades": finest,
        "trials_of_uniform_grid": round((x[-1] - x[0]) / finest) + 1 if finest else 1,
        "trials_of_our_default": plan.searches["finder_default"].num_trials,
    }


def draw(results: Results) -> Figure:
    """The curve, and below it round by round."""
    plan = results.shown(8)
    result = plan.searches["finder_paper"]
    curve, window = result.curve, plan.window_of("finder_paper")
    figure, (ax, below) = new_figure(COLUMN, 3.5, nrows=2, sharex=True, gridspec_kw={"height_ratios": [2.2, 1]})
    draw_curve(ax, result, label="trials", label_lrs=False)
    ax.get_lines()[1].set(marker="none", label="_", linewidth=1.0)
    if window is None:
        say_nothing_found(ax, result.outcome)
    lrs, losses, rounds = np.asarray(curve.lrs, np.float64), mean_losses(curve), np.asarray(curve.rounds)
    top = ax.get_ylim()[1]
    for number in range(rounds.max() + 1):
        here, shape = rounds == number, ROUND_MARKERS[min(number, len(ROUND_MARKERS) - 1)]
        label = f"{'first grid' if number == 0 else f'round {number + 1}'}, {here.sum()} trials"
        style = {"marker": shape, "facecolor": INK if number % 2 == 0 else "white", "edgecolor": INK, "linewidth": 0.9}
        seen = here & np.isfinite(losses) & (losses <= top)
        ax.scatter(lrs[seen], losses[seen], s=34 if shape == "*" else 16, label=label, zorder=5, **style)
        below.scatter(lrs[here], np.full(here.sum(), number + 1), s=34 if shape == "*" else 16, zorder=5, **style)
    for one in (ax, below):
        if window is not None:
            draw_window(one, window)
    below.set(ylabel="round", ylim=(rounds.max() + 1.6, 0.4), yticks=range(1, rounds.max() + 2))
    lr_axis(below, lrs[0], lrs[-1])
    below.grid(axis="y", color="0.93", linewidth=0.6)
    draw_legend(figure, *ax.get_legend_handles_labels(), ncols=2)
    return figure


def main(arguments: list[str] | None = None) -> None:
    run("figure_8", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
