"""Figure 1: what different learning rates do to one model. The full grid search, four learning rates in colour.

    python -m paper_figures.figure_1                     # seconds; of results only

Diverged: the training loss was not finite, or the validation loss ends above that of the untouched model. Good: the
best accuracy of the grid. Too low, too high: the farthest from it on either side that did not diverge.
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper_figures.results import PlanResults, Results
from paper_figures.script import run
from paper_figures.style import (
    CHOSEN,
    GREEN,
    GREY,
    INK,
    PAGE,
    SKY,
    draw_legend,
    loss_limits,
    mark_off_scale,
    new_figure,
    show_lr,
)

KINDS = {
    "too low": {"color": SKY, "linestyle": (0, (1, 1)), "marker": "v"},
    "good": {"color": GREEN, "linestyle": "-", "marker": "o", "linewidth": 1.9},
    "too high": {"color": CHOSEN, "linestyle": (0, (5, 1.5)), "marker": "s"},
    "diverged": {"color": INK, "linestyle": (0, (5, 1, 1, 1)), "marker": "D"},
}


def compute(results: Results) -> dict[str, Any]:
    """The learning rates in colour, and where every one ended."""
    plan = results.shown(1)
    grid = plan.grid
    return {
        "plan": plan.title,
        "initial_validation_loss": initial_loss(plan),
        "kinds": classify(plan),
        "lrs": grid.lrs,
        "final_validation_loss": grid.course("loss")[:, -1],
        "final_training_loss": grid.course("train_loss")[:, -1],
        "seeds": grid.diverged_at.shape[1],
        "updates": grid.steps[-1],
    }


def initial_loss(plan: PlanResults) -> float:
    """The validation loss of untouched models, as the default search measured it."""
    return float(np.mean(np.asarray(plan.searches["finder_default"].curve.initial_loss, np.float64)))


def classify(plan: PlanResults) -> dict[str, float]:
    """Kind -> learning rate; kinds that the grid does not have are left out."""
    grid, ends = plan.grid, plan.grid.course("loss")[:, -1]
    diverged = (grid.diverged_at >= 0).any(axis=1) | ~(ends <= initial_loss(plan))
    kinds = {"too low": grid.lrs[(grid.lrs < plan.best_lr) & ~diverged][:1], "good": [plan.best_lr]}
    kinds |= {"too high": grid.lrs[(grid.lrs > plan.best_lr) & ~diverged][-1:]}
    kinds |= {"diverged": grid.lrs[(grid.lrs > plan.best_lr) & diverged][-1:]}
    return {name: float(lrs[0]) for name, lrs in kinds.items() if len(lrs)}


def draw(results: Results) -> Figure:
    """Training and validation loss, the mean over the seeds."""
    plan = results.shown(1)
    grid, initial, kinds = plan.grid, initial_loss(plan), classify(plan)
    figure, axes = new_figure(PAGE, 2.5, ncols=2, sharey=True)
    names = {"train_loss": "training loss (nats)", "loss": "validation loss (nats)"}
    lowest = min(np.nanmin(grid.course(name), initial=initial) for name in names)
    for ax, letter, (metric, label) in zip(axes, "ab", names.items(), strict=True):
        ax.set(xlabel="optimizer updates", ylabel=label, xlim=(0, grid.steps[-1] * 1.03))
        loss_limits(ax, initial, initial - lowest)
        ax.axhline(initial, color=GREY, linewidth=0.8, linestyle=":", label=f"untouched model {initial:.2f}")
        for lr, course in zip(grid.lrs, grid.course(metric), strict=True):
            kind = next((kind for kind, known in kinds.items() if known == lr), None)
            style = {"color": "0.8", "linewidth": 0.7} if kind is None else KINDS[kind]
            ax.plot(
                grid.steps, course, label=kind and f"{kind} {show_lr(lr)}", zorder=2 if kind is None else 3, **style
            )
            if kind is not None:
                marks = {"color": style["color"], "label": "_", "markersize": 5}
                mark_off_scale(ax, grid.steps, course, **marks)
        ax.set_title(f"({letter}) {label.split(' (')[0]}")
    axes[1].tick_params(labelleft=True)
    handles, labels = axes[1].get_legend_handles_labels()
    order = [*KINDS, "untouched"]
    pairs = sorted(
        zip(handles, labels, strict=True), key=lambda pair: next(i for i, k in enumerate(order) if k in pair[1])
    )
    draw_legend(figure, *zip(*pairs, strict=True), ncols=len(pairs))
    return figure


def main(arguments: list[str] | None = None) -> None:
    run("figure_1", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
