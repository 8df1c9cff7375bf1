"""Figure 6: method 2, half the loss: where half of the reduction is reached, below max_lr.

python -m paper_figures.figure_6                     # seconds; of results only
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lrjax
from paper_figures.methods import compute_method, draw_method, loss_at
from paper_figures.results import Results
from paper_figures.script import run
from paper_figures.style import CHOSEN, GREY


def compute(results: Results) -> dict[str, Any]:
    return compute_method(results, "half_loss")


def draw(results: Results) -> Figure:
    return draw_method(results, "half_loss", explain)


def explain(ax: Axes, result: lrjax.LRResult, lr: float) -> None:
    """The lowest loss, and half the way down to it."""
    lowest, half = loss_at(result, 0.0), loss_at(result, 0.5)
    ax.axhline(lowest, color=GREY, linewidth=0.8, linestyle=(0, (1, 1, 4, 1)), label=f"lowest {lowest:.2f}", zorder=1)
    ax.axhline(half, color=CHOSEN, linewidth=0.8, linestyle="--", label=f"half of the reduction {half:.2f}", zorder=1)
    ax.plot(lr, half, "s", color=CHOSEN, markersize=5, markeredgecolor="white", zorder=5)


def main(arguments: list[str] | None = None) -> None:
    run("figure_6", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
