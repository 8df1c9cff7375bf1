"""How the figures look: sizes, fonts, colours that colour-blind readers can tell apart, and labels."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from lrjax._axes import CHOSEN as CHOSEN
from lrjax._axes import GREY as GREY
from lrjax._axes import INK as INK
from lrjax._axes import WASH as WASH

COLUMN, PAGE = 3.4, 7.0
"""Widths of a figure, in inches: fonts are 6.5 to 8 points there."""

SKY, GREEN = "#56b4e9", "#009e73"

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 6.5,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "legend.handlelength": 2.4,
    "legend.labelspacing": 0.3,
    "legend.borderpad": 0.3,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "pdf.fonttype": 42,
    "mathtext.default": "regular",
}
"""Matplotlib's settings while a figure is drawn and written."""

LR_LABEL = "learning rate (log scale)"
LOSS_LABEL = "validation loss (nats)"
METHOD_MARKERS = {"midpoint": "o", "half_loss": "s", "steepest": "D", "min_lr": "<", "max_lr": ">"}
SEARCH_COLOURS = {"finder_paper": CHOSEN, "finder_default": INK}


def new_figure(width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """A figure of a size in inches that pyplot does not know, and its axes as of `subplots(**options)`."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(**options)


def lr_axis(ax: Axes, low: float, high: float, *, label: bool = True) -> None:
    """A logarithmic axis of learning rates, a little wider than `low` to `high`, with a tick for every decade."""
    ax.set_xscale("log")
    ax.set_xlim(low / 1.6, high * 1.6)
    every = 1 if np.log10(high / low) <= 6 else 2
    ax.xaxis.set_major_locator(LogLocator(base=10.0**every, numticks=20))
    ax.xaxis.set_minor_locator(LogLocator(base=10.0, numticks=20) if every > 1 else NullLocator())
    ax.xaxis.set_minor_formatter("")
    ax.grid(axis="x", which="major", color="0.93", linewidth=0.6)
    if label:
        ax.set_xlabel(LR_LABEL)


def show_lr(lr: float) -> str:
    """A learning rate in a legend."""
    return f"{lr:.1e}"


def loss_limits(ax: Axes, initial: float, effect: float) -> None:
    """From a little below the best loss to half the effect above the loss of the untouched model."""
    scale = effect if effect > 0 else abs(initial) or 1.0
    ax.set_ylim(initial - 1.15 * scale, initial + 0.5 * scale)


def mark_off_scale(ax: Axes, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
    """Triangles at the top for values above the axis, crosses for those that are not finite."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    top = ax.get_ylim()[1]
    above, lost = np.isfinite(y) & (y > top), ~np.isfinite(y)
    for marker, label, here in (("^", "above the axis", above), ("x", "diverged", lost)):
        if here.any():
            options = {"color": INK, "linestyle": "none", "markerfacecolor": "white", "label": label, "clip_on": False}
            ax.plot(x[here], np.full(here.sum(), 0.975), marker, transform=ax.get_xaxis_transform(), **options | style)


def draw_legend(figure: Figure, handles: Iterable[Any], labels: Iterable[str], *, ncols: int) -> None:
    """The one legend of a figure, below its axes."""
    figure.legend(list(handles), list(labels), loc="outside lower center", ncols=ncols, columnspacing=1.2)


def say_nothing_found(ax: Axes, outcome: Any) -> None:
    """Where a search found no learning rate, its reason."""
    ax.text(0.5, 0.5, outcome.value, transform=ax.transAxes, ha="center", va="center", fontsize=6.5, wrap=True)
