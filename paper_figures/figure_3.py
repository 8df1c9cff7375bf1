"""Figure 3: the step-sampled curve. Every learning rate has its own training of a few updates, from the same start.

python -m paper_figures.figure_3                     # seconds; of results only
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper_figures.curve import draw_curve, initial_loss, mean_losses
from paper_figures.results import SEARCHES, Results, search_numbers
from paper_figures.script import run
from paper_figures.style import COLUMN, SKY, draw_legend, new_figure


def compute(results: Results) -> dict[str, Any]:
    """Both searches' curves."""
    plan = results.shown(3)
    curves = {}
    for name in SEARCHES:
        curve = plan.searches[name].curve
        losses = np.asarray(curve.final, np.float64)
        curves[name] = {
            **search_numbers(plan, name),
            "initial_loss": initial_loss(curve),
            "lrs": np.asarray(curve.lrs, np.float64),
            "losses": mean_losses(curve),
            "lowest_of_seeds": losses.min(axis=0),
            "highest_of_seeds": losses.max(axis=0),
        }
    return {"plan": plan.title, **curves}


def draw(results: Results) -> Figure:
    """The paper's search, and the band of the default search's seeds."""
    plan = results.shown(3)
    figure, ax = new_figure(COLUMN, 2.6)
    papers, default = plan.searches["finder_paper"], plan.searches["finder_default"].curve
    draw_curve(ax, papers, label="paper's search, 1 seed")
    losses = np.asarray(default.final, np.float64)
    low, high = (np.where(np.isfinite(part), part, np.nan) for part in (losses.min(axis=0), losses.max(axis=0)))
    seeds = losses.shape[0]
    label = f"our default, {seeds} seed{'s' * (seeds > 1)}"
    if seeds > 1:
        ax.fill_between(default.lrs, low, high, color=SKY, alpha=0.45, linewidth=0.8, label=label, zorder=2)
    else:
        ax.plot(default.lrs, low, "s", color=SKY, markersize=5.5, fillstyle="none", label=label, zorder=4)
    if np.isfinite(low).any():
        lowest, highest = ax.get_ylim()
        ax.set_ylim(min(lowest, np.nanmin(low) - 0.05 * (highest - lowest)), highest)
    draw_legend(figure, *ax.get_legend_handles_labels(), ncols=2)
    return figure


def main(arguments: list[str] | None = None) -> None:
    run("figure_3", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
