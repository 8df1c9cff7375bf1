"""Figure 5: method 1, the midpoint: the middle of min_lr and max_lr, in decades.

python -m paper_figures.figure_5                     # seconds; of results only
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lrjax
from paper_figures.methods import compute_method, draw_method, loss_at
from paper_figures.results import Results
from paper_figures.script import run


def compute(results: Results) -> dict[str, Any]:
    return compute_method(results, "midpoint")


def draw(results: Results) -> Figure:
    return draw_method(results, "midpoint", explain)


def explain(ax: Axes, result: lrjax.LRResult, lr: float) -> None:
    """Two arrows of equal length."""
    height = loss_at(result, 1.3)
    for end in (float(result.window.min_lr), float(result.window.max_lr)):
        if end != lr:
            arrow = {"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0, "linewidth": 0.9}
            ax.annotate("", (end, height), (lr, height), arrowprops=arrow, zorder=5)


def main(arguments: list[str] | None = None) -> None:
    run("figure_5", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
