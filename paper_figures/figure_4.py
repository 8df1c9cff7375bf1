"""Figure 4: the curvature of the step-sampled curve, and min_lr at its minimum.

    python -m paper_figures.figure_4                     # seconds; of results only

The paper's text takes finite differences of the losses themselves; our default takes the curvature of the smoothed
curve, between the end of the plateau and half of the reduction.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lrjax
from lrjax.plots import plot_curvature
from paper_figures.results import SEARCHES, Results, search_numbers
from paper_figures.script import run
from paper_figures.style import CHOSEN, COLUMN, draw_legend, lr_axis, new_figure, show_lr

UNITS = {"finder_paper": "curvature of the loss\n(nats per decade²)", "finder_default": "curvature\n(per decade²)"}


def compute(results: Results) -> dict[str, Any]:
    """The window of both searches, and the curvature where min_lr is."""
    plan = results.shown(4)
    found = {}
    for name in SEARCHES:
        window = plan.searches[name].window
        x, bend = np.asarray(window.log10_lr, np.float64), np.asarray(window.curvature, np.float64)
        numbers = search_numbers(plan, name)
        if numbers["window"]:
            numbers["curvature_at_min_lr"] = bend[np.argmin(np.abs(x - np.log10(numbers["window"][0])))]
        found[name] = numbers
    return {"plan": plan.title, **found}


def draw(results: Results) -> Figure:
    """The package's picture of either search, at the size of a column."""
    plan = results.shown(4)
    figure, axes = new_figure(COLUMN, 4.0, nrows=2, sharex=True)
    handles: dict[str, Any] = {}
    for ax, letter, name in zip(axes, "ab", SEARCHES, strict=True):
        handles |= _draw_panel(ax, plan.searches[name], name)
        window = plan.window_of(name)
        found = plan.searches[name].outcome.name if window is None else f"min_lr {show_lr(window[0])}"
        ax.set_title(f"({letter}) {SEARCHES[name]}, {found}", fontsize=7.5, pad=4)
    lrs = np.concatenate([np.asarray(plan.searches[name].curve.lrs, np.float64) for name in SEARCHES])
    axes[0].set_xlabel("")
    for ax in axes:
        lr_axis(ax, float(lrs.min()), float(lrs.max()), label=ax is axes[1])
    draw_legend(figure, handles.values(), handles.keys(), ncols=2)
    return figure


def _draw_panel(ax: Axes, result: lrjax.LRResult, name: str) -> dict[str, Any]:
    """`plot_curvature` without its title and legend; what belongs into a legend, by label."""
    plot_curvature(result, ax)
    twin = ax.figure.axes[-1]
    twin.spines["right"].set_visible(True)
    for text in list(ax.texts):
        text.remove()
    for one in (ax, twin):
        one.tick_params(labelsize=7.0)
        for line in one.get_lines():
            line.set_markersize(4.5)
    ax.set_ylabel("normalised loss\n(share of the reduction)")
    twin.set_ylabel(UNITS[name], color=CHOSEN)
    _keep_in_view(twin, np.asarray(result.window.curvature, np.float64))
    legend = ax.get_legend()
    labels = [text.get_text() for text in legend.get_texts()]
    drawn = zip(
        (label.split(" ")[0] if "_lr" in label else label for label in labels), legend.legend_handles, strict=True
    )
    legend.remove()
    return dict(drawn)


def _keep_in_view(ax: Axes, values: np.ndarray) -> None:
    """The axis ends where the curvature does, with a margin."""
    finite = values[np.isfinite(values)]
    if finite.size and finite.max() > finite.min():
        margin = 0.08 * (finite.max() - finite.min())
        ax.set_ylim(finite.min() - margin, finite.max() + margin)


def main(arguments: list[str] | None = None) -> None:
    run("figure_4", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
