"""The numbers of docs/benchmark.md, findings.md and choosing.md, from the results: everything between their markers.

    python -m experiments.benchmark.page

Reads experiments/results/benchmark.json, benchmark_ablations.json, benchmark_defaults.json, frontier.json,
outside.json, drift.json, constants.json, lossjudged.json, peaks.json, long_peaks.json and
live.json (with the trainings in families/).
"""

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.blocks import fill, markdown_table

from . import tasks  # noqa: F401  registers them
from .ablations import markdown as ablation_table
from .drift import DRIFT
from .judging import mean_and_error
from .live import tables as live_tables
from .long_peaks import markdown as long_peak_tables
from .lossjudged import summary_table
from .peaks import markdown as peak_tables
from .problem import TASKS
from .replay import AGAINST, RESULTS

DOCS = RESULTS.parent.parent / "docs"
PARTS = ("worst", "best")
OUTSIDE = {"StepSampling": "StepSampling", "Budget": "Budget({:g})", "random, full trainings": "{:g} random trainings"}
"""Line of frontier.json -> that of outside.json."""

SHOWN = (None, 0.5, 2.0, 8.0)
"""Budgets at which the page has what is not ours; frontier.json has the others."""

METHODS = {"1": "method 1 (midpoint)", "2": "method 2 (half loss)", "3": "method 3 (steepest)"}
Row = dict[str, Any]


class Benchmark:
    """The committed results.

    Args:
      folder: of the results.
    """

    def __init__(self, folder: Path):
        self.replayed, self.ablated, self.defaults = (
            json.loads((folder / f"benchmark{part}.json").read_text()) for part in ("", "_ablations", "_defaults")
        )
        self.budgets = json.loads((folder / "frontier.json").read_text())["lines"]
        self.outside = json.loads((folder / "outside.json").read_text())
        self.peaks = peak_tables(json.loads((folder / "peaks.json").read_text()))
        self.long_peaks = long_peak_tables(json.loads((folder / "long_peaks.json").read_text()))
        self._folder = folder

    def row(self, name: str, *, schedule: str = "constant", seeds: int | None = None, group: str = "") -> Row:
        """One method's line."""
        return next(
            row
            for row in self.replayed[schedule]
            if row["name"] == name and seeds in (None, row["seeds"]) and row["group"].endswith(group)
        )

    def tasks(self) -> str:
        """What was trained, and what the best learning rate gave."""
        rows = []
        for name, facts in self.replayed["facts"].items():
            about = (TASKS[name].__doc__ or "").removesuffix(".")
            best = [f"{facts[schedule]['best']:.1f}" for schedule in ("constant", "cosine")]
            ranges = f"{facts['constant']['low']:.0e} to {facts['constant']['high']:.0e}"
            rows.append([f"`{name}`", about, facts["optimizer"], str(facts["steps"]), *best, ranges])
        heads = ["task", "", "optimizer", "updates", "best score, constant lr", "cosine", "best range, constant lr"]
        return markdown_table(heads, rows)

    def order(self) -> str:
        """Paired differences of the three methods, and how often each order came out."""
        heads, rows = ["", "tasks", "2 - 1", "3 - 1", "3 - 2", "1 best", "1 <= 2 <= 3", "1 <= 3 <= 2"], []
        for title, seeds, literal in (
            ("smoothed, one seed", 1, False),
            ("smoothed, three seeds", 3, False),
            ("the paper's text, one seed", 1, True),
        ):
            regrets = {number: self._regrets(name, seeds, literal=literal) for number, name in METHODS.items()}
            pairs = [(regrets[a] - regrets[b]) for a, b in (("2", "1"), ("3", "1"), ("3", "2"))]
            one, two, three = (np.round(regrets[number], 1) for number in METHODS)
            counts = [(one <= np.minimum(two, three)), (one <= two) & (two <= three), (one <= three) & (three <= two)]
            rows.append([title, str(len(one)), *map(_paired, pairs), *(str(int(count.sum())) for count in counts)])
        return markdown_table(heads, rows)

    def _regrets(self, name: str, seeds: int, *, literal: bool) -> np.ndarray:
        """Of every task, the mean of both schedules."""
        name, group = (f"{name}, literal", "literal") if literal else (name, "paper")
        lines = [self.row(name, schedule=one, seeds=seeds, group=group) for one in ("constant", "cosine")]
        return np.mean([[task["regret"] for task in line["tasks"]] for line in lines], axis=0)

    def middle(self) -> str:
        """How far the window's points lie from the middle of the best range."""
        heads = ["", "schedule", "decades off, signed", "without the sign", "in the best range", "mean regret"]
        rows = []
        for schedule in ("constant", "cosine"):
            for name in ("min_lr", "method 1 (midpoint)", "max_lr"):
                line = self.row(name, schedule=schedule, seeds=3)
                signed = np.asarray([task["distance"] for task in line["tasks"] if task["distance"] is not None])
                rows.append(
                    [name, schedule, _paired(signed), f"{line['mean_away']:.2f}", f"{line['share_in_range']:.0%}"]
                )
                rows[-1].append(f"{line['mean_regret']:.2f}")
        return markdown_table(heads, rows)

    def cost(self) -> str:
        """Trial-steps of the searches, and the length of training from which they are under 1 % of a grid search."""
        heads = ["", "seeds", "trial-steps", "of a 33-lr grid search here", "under 1 % of it from T =", "seconds here"]
        rows = []
        for name, seeds in ((AGAINST, 1), (AGAINST, 3)):
            line = self.row(name, seeds=seeds)
            steps, share = line["updates"], line["of_grid"]
            length = int(np.ceil(steps / (0.01 * 33)))
            rows.append([name, str(seeds), f"{steps:,.0f}", f"{share:.1%}", f"{length:,}", f"{line['seconds']:.1f}"])
        return markdown_table(heads, rows)

    def scatter(self) -> str:
        """How far the choice moves with the seed."""
        names = ["method 1 (midpoint)", "method 2 (half loss)", "method 3 (steepest)", "min_lr", "max_lr"]
        rows = [["step sampling", name, _spread(self.row(name, seeds=1))] for name in names]
        peers = [row for row in self.replayed["constant"] if row["group"] == "peer"]
        for row in sorted(peers, key=lambda row: row["seed_std"]):
            rows.append(["range test" if row["name"] != "Wittmann" else "resets", row["name"], _spread(row)])
        return markdown_table(["", "rule", "standard deviation over seeds, decades: mean (median) of the tasks"], rows)

    def refinement(self) -> str:
        """The paper's refinement and even grids."""
        parts = {name: self.ablated[name] for name in ("paper's refinement, literal", "grid")}
        return "\n\n".join(ablation_table(name, lines) for name, lines in parts.items())

    def regret_and_cost(self) -> str:
        """Every way to spend a budget: at home and on others' trainings."""
        outside = {one["name"]: one for one in self.outside["deepobs"]}
        rows = []
        for line in self.budgets:
            name, budget = line["name"], line["budget"]
            if name != "Budget" and budget not in SHOWN:
                continue
            other = outside.get(OUTSIDE.get(name, "").format(0 if budget is None else budget), {})
            rows.append([name if budget is None else f"{name}, {budget:g}", f"{line['cost']:.2f}"])
            cells = (("mean_regret", "standard_error_of_mean", "median_regret"), ("regret", "standard_error", "median"))
            for one, (mean, error, median) in zip((line, other), cells, strict=True):
                rows[-1].append(f"{one[mean]:.2f} ± {one[error]:.2f} [{one[median]:.2f}]" if one else "")
        for name in ("36 lrs, a quarter of the training", "the usual lr"):
            one = outside[name]
            told = f"{one['regret']:.2f} ± {one['standard_error']:.2f} [{one['median']:.2f}]"
            rows.append([name, f"{one['cost']:.2f}", "", told])
        return markdown_table(["", "cost at home", "home", "outside"], rows)

    def law(self) -> str:
        """How far the best learning rate falls."""
        fits = json.loads((self._folder / "drift.json").read_text())
        slopes, rows = np.asarray(fits.pop("slopes")), []
        for name, fit in fits.items():
            regret, (low, high), others = np.asarray(fit["regret"]), fit["interval"], fit["by_the_others"]
            now = regret[np.argmin(np.abs(slopes - DRIFT))]
            best = f"{fit['best']:.2f} ({low:.2f} to {high:.2f})"
            told = f"{others['regret']:.2f} at {others['slope']:.2f}"
            rows.append([name, str(fit["tasks"]), best, f"{regret.min():.2f}", f"{regret[0]:.2f}", told, f"{now:.2f}"])
        heads = ["table", "tasks", "best", "regret", "not moved", "at what the others ask for", f"at {DRIFT:g}"]
        return markdown_table(heads, rows)

    def crossed(self) -> str:
        """Constants chosen on one table and judged on the other."""
        report, rows = json.loads((self._folder / "constants.json").read_text()), []
        for budget, one in report.items():
            for table, other in (("home", "outside"), ("outside", "home")):
                chosen, left = one[f"chosen on {table}"], one[f"left out on {table}"]
                there = "{:+.2f} ± {:.2f}".format(*chosen[f"minus as they are, {other}"])
                out = "{:+.2f} ± {:.2f}".format(*left["minus as they are"])
                rows.append([budget, table, chosen["variant"], f"{there} ({other})", out])
        return markdown_table(
            ["budget", "chosen on", "best variant", "on the other table", "left out on its own"], rows
        )

    def warned(self) -> str:
        """Of the ten worst and the ten best picks, how many had a warning."""
        rows, told = [], dict(self.outside["warned"])
        for one in self.outside["deepobs"]:
            if one["name"].startswith(("Budget", "StepSampling")):
                cells = [
                    f"{one['warned'][part]['warned']} ({max(one['warned'][part]['regret']):.1f})" for part in PARTS
                ]
                rows.append([f"DeepOBS, {one['name']}", *cells])
        for name, told in self.outside["warned"].items():
            rows.append([name, *(f"{told[part]['warned']} ({max(told[part]['regret']):.1f})" for part in PARTS)])
        return markdown_table(["", "warned of the ten worst (highest regret)", "of the ten best"], rows)

    def fine_tunings(self) -> str:
        """What share of DeBERTa's fine-tunings fails, by learning rate."""
        rows = []
        for one in self.outside["deberta"]["bins"]:
            median = "" if one["median"] is None else f"{100 * one['median']:.1f}"
            rows.append([f"{one['lr']:.1e}", str(one["runs"]), f"{one['failed']:.0%}", median])
        return markdown_table(["lr", "fine-tunings", "failed", "median accuracy of the others"], rows)

    def peak_ways(self) -> str:
        """From a learning rate to the peak of a schedule."""
        return self.peaks["ways"]

    def peak_schedules(self) -> str:
        """The same, by schedule."""
        return self.peaks["schedules"]

    def peak_lengths(self) -> str:
        """The peak in short and long trainings."""
        return self.long_peaks["rules"]

    def schedule_gains(self) -> str:
        """What schedules gain over a constant learning rate."""
        return self.long_peaks["gains"]

    def peak_together(self) -> str:
        """Every schedule with every peak, against the best of all."""
        return self.peaks["together"]

    def tuned_peaks(self) -> str:
        """`tune_peak`."""
        return self._live["tune_peak"]

    def refound(self) -> str:
        """Searches from a checkpoint."""
        return self._live["refind"]

    def piecewise(self) -> str:
        """Piecewise step sampling."""
        return self._live["piecewise"]

    @functools.cached_property
    def _live(self) -> dict[str, str]:
        return live_tables(self._folder)

    def calls(self) -> str:
        """What each way to search loses and costs."""
        calls = {
            ("StepSampling", None): "`find_lr(...)`, one seed",
            ("Budget", 0.5): "`find_lr(..., train_steps=...)`",
            ("Budget", 2.0): "the same with `lrjax.Budget(trainings=2.0)`",
            ("method 1, 1 seed", None): "the paper's: 20 updates, the middle of the window; one seed",
            ("method 1, 3 seeds", None): "the same with three seeds",
        }
        rows = []
        for (name, budget), call in calls.items():
            line = next(one for one in self.budgets if (one["name"], one["budget"]) == (name, budget))
            lost = [[task[schedule]["regret"] for task in line["tasks"]] for schedule in ("constant", "cosine")]
            rows.append([call, *(f"{np.mean(one):.1f} ({np.median(one):.1f})" for one in lost), f"{line['cost']:.1f}"])
        heads = ["call", "points lost at a constant lr", "as the peak of a cosine to 0", "cost in trainings"]
        return markdown_table(heads, rows)

    def rules(self) -> str:
        """What each rule loses, with three seeds."""
        names = {METHODS["1"]: "`midpoint`", METHODS["2"]: "`half_loss`", METHODS["3"]: "`steepest`"}
        names |= {"max_lr": "the window's `max_lr`", "min_lr": "the window's `min_lr`"}
        rows = [[rule, *self._lost(name, 3)] for name, rule in names.items()]
        return markdown_table(["rule", "points lost at a constant lr", "with a cosine to 0"], rows)

    def _lost(self, name: str, seeds: int) -> list[str]:
        """Mean and median regret at a constant learning rate and with a cosine."""
        lines = [self.row(name, schedule=one, seeds=seeds) for one in ("constant", "cosine")]
        return [f"{line['mean_regret']:.1f} ({line['median_regret']:.1f})" for line in lines]

    def lossjudged(self) -> str:
        """Real calls on the tasks that are judged by their loss."""
        plans = json.loads((self._folder / "lossjudged.json").read_text())["plans"]
        return summary_table({task: plan["summary"] for task, plan in plans.items()})

    def warnings(self) -> str:
        """What each warning says about method 1."""
        heads = ["warning", "given in", "method 1's regret with it", "without it"]
        rows = [
            [f"`{name}`", f"{row['share']:.0%}", f"{row['regret_with']:.2f}", f"{row['regret_without']:.2f}"]
            for name, row in self.defaults["warnings"].items()
            if row["share"] > 0
        ]
        never = [f"`{name}`" for name, row in self.defaults["warnings"].items() if not row["share"]]
        return f"{markdown_table(heads, rows)}\n\nNever given: {', '.join(never)}."


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
    "benchmark.md": (
        *("tasks", "regret_and_cost", "law", "crossed", "warned", "fine_tunings", "peak_ways", "peak_schedules"),
        *("peak_together", "peak_lengths", "schedule_gains", "tuned_peaks", "refound", "piecewise"),
        *("lossjudged", "warnings"),
    ),
    "choosing.md": ("calls", "rules"),
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
