"""The numbers of docs/benchmark.md, findings.md and choosing.md, from the results: everything between their markers.

    python -m experiments.benchmark.page

Reads experiments/results/benchmark.json, benchmark_ablations.json, frontier.json,
outside.json and lossjudged.json.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.blocks import fill, markdown_table

from .judging import mean_and_error
from .lossjudged import summary_table
from .replay import AGAINST, RESULTS

DOCS = RESULTS.parent.parent / "docs"
PARTS = ("worst", "best")
OUTSIDE = {
    "StepSampling": "StepSampling",
    "by default": "by default",
    "Budget": "Budget({:g})",
}
"""Line of frontier.json -> that of outside.json."""

SHOWN, SHOWN_OF_OURS = (None, 8.0), (0.25, 0.5, 1.0, 2.0, 4.0)
"""Budgets at which the page has what is not ours, and `Budget`; frontier.json has the others."""

LEFT_OUT = (
    "method 1, 1 seed",
    "random, full trainings",
    "random in 1e-5 to 1, full trainings",
    "TPE, full trainings",
    "prodigy",
    "mechanize_adam",
    "dog",
    "dowg",
    "dadapt_adamw",
    "schedule_free_adamw",
)
"""Lines of frontier.json that the page leaves to it: none of them is the best of its kind."""

TOLD = ("StepSampling", "by default")
"""Searches of which the page says what their warnings are worth outside."""

METHODS = {"1": "method 1 (midpoint)", "2": "method 2 (half loss)", "3": "method 3 (steepest)"}
Row = dict[str, Any]


class Benchmark:
    """The committed results.

    Args:
      folder: of the results.
    """

    def __init__(self, folder: Path):
        self.replayed, self.ablated = (
            json.loads((folder / f"benchmark{part}.json").read_text()) for part in ("", "_ablations")
        )
        self.budgets = json.loads((folder / "frontier.json").read_text())["lines"]
        self.outside = json.loads((folder / "outside.json").read_text())
        self._folder = folder

    def row(self, name: str, *, schedule: str = "constant", seeds: int | None = None, group: str = "") -> Row:
        """One method's line."""
        return next(
            row
            for row in self.replayed[schedule]
            if row["name"] == name and seeds in (None, row["seeds"]) and row["group"].endswith(group)
        )

    def order(self) -> str:
        """Paired differences of the three methods, and how often each order came out."""
        heads, rows = ["", "2 - 1", "3 - 1", "3 - 2", "1 best", "1 <= 2 <= 3", "1 <= 3 <= 2"], []
        for title, seeds, literal in (("smoothed, three seeds", 3, False), ("the paper's text, one seed", 1, True)):
            regrets = {number: self._regrets(name, seeds, literal=literal) for number, name in METHODS.items()}
            pairs = [(regrets[a] - regrets[b]) for a, b in (("2", "1"), ("3", "1"), ("3", "2"))]
            one, two, three = (np.round(regrets[number], 1) for number in METHODS)
            counts = [(one <= np.minimum(two, three)), (one <= two) & (two <= three), (one <= three) & (three <= two)]
            rows.append([title, *map(_paired, pairs), *(str(int(count.sum())) for count in counts)])
        return markdown_table(heads, rows)

    def _regrets(self, name: str, seeds: int, *, literal: bool) -> np.ndarray:
        """Of every task, the mean of both schedules."""
        name, group = (f"{name}, literal", "literal") if literal else (name, "paper")
        lines = [self.row(name, schedule=one, seeds=seeds, group=group) for one in ("constant", "cosine")]
        return np.mean([[task["regret"] for task in line["tasks"]] for line in lines], axis=0)

    def middle(self) -> str:
        """How far the window's points lie from the middle of the best range."""
        heads = ["", "schedule", "decades off", "in the best range", "mean regret"]
        rows = []
        for schedule in ("constant", "cosine"):
            for name in (AGAINST, "max_lr"):
                line = self.row(name, schedule=schedule, seeds=3)
                signed = np.asarray([task["distance"] for task in line["tasks"] if task["distance"] is not None])
                cells = [_paired(signed), f"{line['share_in_range']:.0%}", f"{line['mean_regret']:.2f}"]
                rows.append([name.split(" (")[0], schedule, *cells])
        return markdown_table(heads, rows)

    def cost(self) -> str:
        """Trial-steps of the searches, and the length of training from which they are under 1 % of a grid search."""
        lines = [self.row(AGAINST, seeds=seeds) for seeds in (1, 3)]
        steps, shares = ([line[name] for line in lines] for name in ("updates", "of_grid"))
        lengths = [int(np.ceil(updates / (0.01 * 33))) for updates in steps]
        return (
            f"Method 1 takes {steps[0]:,.0f} trial-steps with one seed and {steps[1]:,.0f} with three: {shares[0]:.1%} "
            f"and {shares[1]:.1%} of these grid searches of 33 learning rates, and under 1 % from {lengths[0]:,} and "
            f"{lengths[1]:,} updates on."
        )

    def scatter(self) -> str:
        """How far the choice moves with the seed."""
        peers = [row for row in self.replayed["constant"] if row["group"] == "peer"]
        peers.sort(key=lambda row: row["seed_std"])
        told = [f"{_spread(row)} {row['name']}" for row in (self.row(AGAINST, seeds=1), *peers)]
        return f"Standard deviation over seeds in decades, mean (median) of the tasks: {'; '.join(told)}."

    def refinement(self) -> str:
        """Method 1 with the paper's refinement and with even grids."""
        lines = {"the paper's refinement, ": "paper's refinement, literal", "": "grid"}
        shown = [(title + name, line) for title, part in lines.items() for name, line in self.ablated[part].items()]
        rows = [
            [name, f"{line['trials']:.0f}", *(f"{line[what][AGAINST]:.2f}" for what in ("regret", "spread"))]
            for name, line in shown
        ]
        return markdown_table(["", "trials", "regret of method 1", "its spread over seeds"], rows)

    def regret_and_cost(self) -> str:
        """Every way to spend a budget: at home and on others' trainings."""
        outside = {one["name"]: one for one in self.outside["deepobs"]}
        rows = []
        for line in self.budgets:
            name, budget = line["name"], line["budget"]
            if name in LEFT_OUT or budget not in (SHOWN_OF_OURS if name == "Budget" else SHOWN):
                continue
            other = outside.get(OUTSIDE.get(name, "").format(0 if budget is None else budget), {})
            rows.append([name if budget is None else f"{name}, {budget:g}", f"{line['cost']:.2f}"])
            cells = (("mean_regret", "standard_error_of_mean", "median_regret"), ("regret", "standard_error", "median"))
            for one, (mean, error, median) in zip((line, other), cells, strict=True):
                rows[-1].append(f"{one[mean]:.2f} ± {one[error]:.2f} [{one[median]:.2f}]" if one else "")
        one = outside["the usual lr"]
        told = f"{one['regret']:.2f} ± {one['standard_error']:.2f} [{one['median']:.2f}]"
        rows.append([one["name"], f"{one['cost']:.2f}", "", told])
        return markdown_table(["", "cost at home", "home", "outside"], rows)

    def warned(self) -> str:
        """Of the ten worst and the ten best picks, how many had a warning."""
        outside = {one["name"]: one["warned"] for one in self.outside["deepobs"] if one["name"] in TOLD}
        told = {f"DeepOBS, {name}": warned for name, warned in outside.items()} | self.outside["warned"]
        rows = [
            [name, *(f"{warned[part]['warned']} ({max(warned[part]['regret']):.1f})" for part in PARTS)]
            for name, warned in told.items()
        ]
        return markdown_table(["", "warned of the ten worst (highest regret)", "of the ten best"], rows)

    def calls(self) -> str:
        """What each way to search loses and costs; the other rules of the paper's cost as much."""
        calls = {
            ("StepSampling", None): "`find_lr(...)`, one seed",
            ("by default", None): "`find_lr(..., train_steps=...)`",
            ("Budget", 2.0): "the same with `lrjax.Budget(trainings=2.0)`",
            ("method 1, 1 seed", None): "the paper's: 20 updates, the middle of the window; one seed",
            ("method 1, 3 seeds", None): "the same with three seeds",
        }
        rows = []
        for (name, budget), call in calls.items():
            line = next(one for one in self.budgets if (one["name"], one["budget"]) == (name, budget))
            lost = [[task[schedule]["regret"] for task in line["tasks"]] for schedule in ("constant", "cosine")]
            rows.append([call, *(f"{np.mean(one):.1f} ({np.median(one):.1f})" for one in lost), f"{line['cost']:.1f}"])
        for number, rule in (("2", "half_loss"), ("3", "steepest")):
            rows.append([f"the same with `rule=lrjax.{rule}`", *self._lost(METHODS[number], 3), rows[-1][-1]])
        heads = ["call", "points lost at a constant lr", "as the peak of a cosine to 0", "cost in trainings"]
        return markdown_table(heads, rows)

    def _lost(self, name: str, seeds: int) -> list[str]:
        """Mean and median regret at a constant learning rate and with a cosine."""
        lines = [self.row(name, schedule=one, seeds=seeds) for one in ("constant", "cosine")]
        return [f"{line['mean_regret']:.1f} ({line['median_regret']:.1f})" for line in lines]

    def lossjudged(self) -> str:
        """Real calls on the tasks that are judged by their loss."""
        plans = json.loads((self._folder / "lossjudged.json").read_text())["plans"]
        return summary_table({task: plan["summary"] for task, plan in plans.items()})


def _paired(differences: np.ndarray) -> str:
    mean, error = mean_and_error(differences)
    return f"{mean:+.2f} ± {error:.2f}"


def _spread(row: Row) -> str:
    values = [task["std"] for task in row["tasks"] if task["std"] is not None]
    return f"{np.mean(values):.2f} ({np.median(values):.2f})"


def render(page: str, results: Benchmark, blocks: Sequence[str]) -> str:
    """A page with every block filled anew; each is a method of `Benchmark`."""
    return fill(page, {name: getattr(results, name) for name in blocks})


PAGES = {
    "benchmark.md": ("regret_and_cost", "lossjudged", "warned"),
    "choosing.md": ("calls",),
    "findings.md": ("order", "middle", "cost", "refinement", "scatter"),
}
"""Page -> its blocks."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the pages")
    options = parser.parse_args(arguments)
    results = Benchmark(options.results)
    for name, blocks in PAGES.items():
        path = options.docs / name
        path.write_text(render(path.read_text(), results, blocks))


if __name__ == "__main__":
    main()
