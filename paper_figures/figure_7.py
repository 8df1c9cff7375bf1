"""Figure 7: method 3, the steepest descent: where the loss falls fastest per decade, within the window.

python -m paper_figures.figure_7                     # seconds; of results only
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lrjax
from paper_figures.methods import FIGURES, compute_method, draw_method, loss_at, value_at
from paper_figures.results import Results
from paper_figures.script import run
from paper_figures.style import CHOSEN


def compute(results: Results) -> dict[str, Any]:
    numbers = compute_method(results, "steepest")
    result = results.shown(FIGURES["steepest"]).searches["finder_paper"]
    if numbers["finder_paper"]["lr"] is not None:
        numbers["slope_nats_per_decade"] = slope_at(result, numbers["finder_paper"]["lr"])
    return numbers


def slope_at(result: lrjax.LRResult, lr: float) -> float:
    """The paper's finite difference at the trial that was picked, in units of the loss per decade."""
    x = np.asarray(result.window.log10_lr, np.float64)
    return float(result.window.slope[int(np.argmin(np.abs(x - np.log10(lr))))])


def draw(results: Results) -> Figure:
    return draw_method(results, "steepest", explain)


def explain(ax: Axes, result: lrjax.LRResult, lr: float) -> None:
    """The tangent."""
    slope, height = slope_at(result, lr), value_at(result, lr)
    if slope < 0:
        ends = np.array([loss_at(result, 1.1), loss_at(result, -0.05)])
        lrs = lr * 10 ** np.clip((ends - height) / slope, -3.0, 3.0)
        heights = height + slope * np.log10(lrs / lr)
        ax.plot(lrs, heights, color=CHOSEN, linestyle="--", label=f"slope {slope:.2g} nats per decade", zorder=4)
    ax.plot(lr, height, "D", color=CHOSEN, markersize=5, markeredgecolor="white", zorder=5)


def main(arguments: list[str] | None = None) -> None:
    run("figure_7", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
