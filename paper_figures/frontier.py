"""Regret against the cost of a search, on the benchmark: not a figure of the paper.

    python -m paper_figures.frontier

Reads experiments/results/frontier.json; writes docs/images/frontier.png.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from paper_figures.results import FOLDER
from paper_figures.style import CHOSEN, GREEN, GREY, INK, SETTINGS, SKY, new_figure

OUT = Path(__file__).parents[1] / "docs/images/frontier.png"

LINES = {
    "Budget": (CHOSEN, "-", "o", "lrjax.Budget"),
    "successive halving": (SKY, "--", "s", "successive halving"),
    "grid, full trainings": (GREEN, "-.", "^", "full trainings, grid"),
    "random in 1e-5 to 1, full trainings": (GREY, ":", "v", "full trainings, random in 1e-5 to 1"),
    "TPE, full trainings": (INK, (0, (1, 2)), "D", "full trainings, TPE"),
}
POINTS = {
    "by default": ("p", "find_lr with train_steps"),
    "StepSampling": ("*", "find_lr without train_steps, 1 seed"),
    "method 1, 1 seed": ("P", "the paper's method 1, 1 seed"),
    "method 1, 3 seeds": ("X", "the paper's method 1, 3 seeds"),
}
FREE = {"cocob": "-", "prodigy": "--"}


def draw(lines: Sequence[dict[str, Any]]) -> Figure:
    """Mean regret of both schedules with its standard error over the tasks; both axes logarithmic."""
    figure, ax = new_figure(7.0, 3.6)
    for name, (colour, style, marker, label) in LINES.items():
        found = [line for line in lines if line["name"] == name]
        ax.errorbar(
            [line["cost"] for line in found],
            [line["mean_regret"] for line in found],
            yerr=[line["standard_error_of_mean"] for line in found],
            color=colour,
            linestyle=style,
            marker=marker,
            capsize=2,
            elinewidth=0.7,
            label=label,
        )
    for name, (marker, label) in POINTS.items():
        line = next(line for line in lines if line["name"] == name)
        ax.errorbar(
            line["cost"],
            line["mean_regret"],
            yerr=line["standard_error_of_mean"],
            color=INK,
            marker=marker,
            markersize=6,
            linestyle="none",
            capsize=2,
            elinewidth=0.7,
            label=label,
        )
    for name, style in FREE.items():
        line = next(line for line in lines if line["name"] == name)
        ax.axhline(line["mean_regret"], color=GREEN, linewidth=0.8, linestyle=style, label=f"{name}, no search")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="cost of the search, in full trainings (log scale)",
        ylabel="points lost (mean, log scale)",
    )
    ax.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["0.25", "0.5", "1", "2", "4", "8"])
    ax.set_yticks([0.5, 1, 2, 4, 8, 16], ["0.5", "1", "2", "4", "8", "16"])
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--out", type=Path, default=OUT, help="the picture")
    options = parser.parse_args(arguments)
    lines = json.loads((options.results / "frontier.json").read_text())["lines"]
    with rc_context(SETTINGS):
        draw(lines).savefig(options.out, dpi=200, metadata={"Software": None})


if __name__ == "__main__":
    main()
