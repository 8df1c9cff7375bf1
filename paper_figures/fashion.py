"""Two problems of DeepOBS: our curves beside the recorded ones, and the choices. Not a figure of the paper.

    python -m paper_figures.fashion

Reads experiments/results/fashion.json; writes paper_figures/images/fashion.png.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.fashion.live import RESULTS
from experiments.fashion.page import SHORT, best_exponents, good_range, read_results, shares
from paper_figures.script import DPI, OUT
from paper_figures.style import CHOSEN, GREEN, GREY, INK, PAGE, SETTINGS, draw_legend, lr_axis, new_figure

HIGHEST = 1.3
"""Share of the first loss at which the axis ends."""


def draw(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A panel for each network and optimizer."""
    figure, axes = new_figure(PAGE, 2.9, ncols=len(results), sharey=True, squeeze=False)
    for ax, (name, parts) in zip(axes[0], results.items(), strict=True):
        draw_panel(ax, parts)
        ax.set_title(f"{name}: {SHORT} and {max(parts['curve']['losses'], key=int)} updates")
    axes[0, 0].set_ylabel("training loss, share of the first")
    draw_legend(figure, *axes[0, 0].get_legend_handles_labels(), ncols=3)
    return figure


def draw_panel(ax: Axes, parts: Mapping[str, Any]) -> None:
    """Both curves after few and after more updates; the good range and the choices."""
    records, live, found = parts["records"], parts["curve"], parts["search"]
    low, high = (10.0**end for end in good_range(records))
    ax.axvspan(low, high, color=GREEN, alpha=0.15, linewidth=0, label="recorded at the end: within a point of the best")
    ax.axvline(
        10.0 ** best_exponents(records)[1], color=GREEN, linestyle=":", label="recorded at the end: lowest test loss"
    )
    longest = max(live["losses"], key=int)
    for horizon, style in ((str(SHORT), "--"), (longest, "-")):
        words = "a few" if horizon == str(SHORT) else "more"
        for part, colour, marker, whose in ((records, GREY, "o", "recorded"), (live, INK, "s", "live")):
            lrs, y = 10.0 ** np.asarray(part["log10_lrs"], float), shares(part, horizon)
            line = {"color": colour, "linestyle": style, "marker": marker, "markersize": 2.5}
            ax.plot(lrs, np.where(y <= HIGHEST, y, np.nan), label=f"{whose}, after {words} updates", **line)
    fed = [10.0 ** float(one["log10_lr"]) for one in records["found"]]
    ax.plot(
        fed,
        np.full(len(fed), 0.04),
        "|",
        color=GREY,
        transform=ax.get_xaxis_transform(),
        markersize=9,
        label="found in the records",
    )
    ax.axvline(found["lr"], color=CHOSEN, label="found live")
    lr_axis(ax, 1e-5, 10.0)
    ax.set_ylim(0.0, HIGHEST)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the results")
    parser.add_argument("--out", type=Path, default=OUT / "fashion.png", help="the picture")
    options = parser.parse_args(arguments)
    with rc_context(SETTINGS):
        draw(read_results(options.results)).savefig(options.out, dpi=DPI, metadata={"Software": None})


if __name__ == "__main__":
    main()
