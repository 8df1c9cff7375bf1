"""Replay every way to choose a learning rate on the recorded tasks, and judge the choices.

    python -m experiments.benchmark.replay            # minutes; no data and no training
    python -m experiments.benchmark.replay --quick    # method 1 and a few others, for CI

Reads experiments/results/benchmark/*.npz; writes experiments/results/benchmark.json and prints the table as Markdown.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.blocks import markdown_table

from .judging import CAP, Truth, mean_and_error, truth_of
from .methods import Row, rows
from .recording import LRS, RIVALS, SCHEDULES, Recording, read

RESULTS = Path(__file__).resolve().parent.parent / "results"
QUICK = ("method 1 (midpoint)", "fastai valley", "the optimizer's usual lr", "random, 8 trainings")
AGAINST = "method 1 (midpoint)"


def main() -> None:
    """Replay, write, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()
    recordings = load(options.results / "benchmark")
    chosen = [row for row in rows() if not options.quick or row.name in QUICK]
    tables = {schedule: judge(recordings, chosen, schedule) for schedule in SCHEDULES}
    name = "benchmark_quick.json" if options.quick else "benchmark.json"
    facts = {recording.name: _facts(recording) for recording in recordings}
    write_report(options.results / name, recordings, {"facts": facts, **tables})
    for schedule, table in tables.items():
        print(f"\n### {schedule}\n")
        print(markdown(table))
    print(f"\n{len(recordings)} tasks in {time.perf_counter() - started:.0f} s")


def make_parser(about: str | None) -> argparse.ArgumentParser:
    """The options of a script that reads recordings."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of benchmark/*.npz, and of what is written"
    )
    return parser


def write_report(path: Path, recordings: Sequence[Recording], report: dict[str, Any]) -> None:
    """As strict JSON on one line, with the names of the tasks."""
    content = {"tasks": [recording.name for recording in recordings], **report}
    path.write_text(json.dumps(content, allow_nan=False) + "\n")


def load(folder: Path) -> list[Recording]:
    """All recordings, by name."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise SystemExit(f"{folder} holds no recordings. Make them: python -m experiments.benchmark.record")
    return [read(path) for path in paths]


def _facts(recording: Recording) -> dict[str, Any]:
    """What a task is, and the best that full trainings gave."""
    facts: dict[str, Any] = {
        "optimizer": recording.optimizer,
        "steps": recording.steps,
        "test_examples": recording.test_examples,
        "seconds": sum(recording.seconds.values()),
    }
    for schedule in SCHEDULES:
        truth = truth_of(recording, schedule)
        facts[schedule] = {"best": truth.best, "low": 10.0**truth.low, "high": 10.0**truth.high}
    return facts


def judge(recordings: Sequence[Recording], chosen: Sequence[Row], schedule: str) -> list[dict[str, Any]]:
    """One mapping for each row, those of the optimizers without a learning rate included."""
    truths = [truth_of(recording, schedule) for recording in recordings]
    table = []
    for row in chosen:
        tasks = [
            _judge_task(recording, truth, row, schedule) for recording, truth in zip(recordings, truths, strict=True)
        ]
        table.append({"name": row.name, "group": row.group, "seeds": row.seeds, **summarise(tasks), "tasks": tasks})
    for name in RIVALS:
        tasks = [judge_rival(recording, truth, name) for recording, truth in zip(recordings, truths, strict=True)]
        table.append({"name": name, "group": "no lr", "seeds": 1, **summarise(tasks), "tasks": tasks})
    for row in table:
        base = next(other for other in table if other["name"] == AGAINST and other["seeds"] == row["seeds"])
        row |= compare(row["tasks"], base["tasks"])
    return table


def _judge_task(recording: Recording, truth: Truth, row: Row, schedule: str) -> dict[str, Any]:
    choices = [row.choose(recording, schedule, run) for run in range(row.runs)]
    lrs = [choice.lr for choice in choices]
    regrets = [truth.regret(lr) for lr in lrs]
    found = [np.log10(lr) for lr in lrs if np.isfinite(lr) and lr > 0]
    away = [truth.distance(lr) for lr in lrs if np.isfinite(lr) and lr > 0]
    updates = float(np.mean([choice.updates for choice in choices]))
    rate = recording.seconds["constant"] / (recording.steps * (len(LRS) + 1) * recording.num_seeds)
    return {
        "task": recording.name,
        "regret": float(np.mean(np.minimum(regrets, CAP))),
        "worst": float(np.max(regrets)),
        "in_range": float(np.mean([truth.in_range(lr) for lr in lrs])),
        "distance": float(np.mean(away)) if away else None,
        "away": float(np.mean(np.abs(away))) if away else None,
        "std": float(np.std(found, ddof=1)) if len(found) > 1 else None,
        "updates": updates,
        "of_grid": updates / (recording.steps * len(LRS)),
        "seconds": updates * rate,
        "lrs": [float(f"{lr:.4g}") if np.isfinite(lr) else None for lr in lrs],
    }


def judge_rival(recording: Recording, truth: Truth, name: str) -> dict[str, Any]:
    """An optimizer without a learning rate, in the form of a row's task."""
    scores = np.nan_to_num(np.maximum(recording.rivals[name], 0.0), nan=0.0, posinf=0.0)
    regret = truth.best - float(scores.mean())
    return {
        "task": recording.name,
        "regret": min(regret, CAP),
        "worst": truth.best - float(scores.min()),
        "in_range": None,
        "distance": None,
        "away": None,
        "std": None,
        "updates": 0.0,
        "of_grid": 0.0,
        "seconds": 0.0,
        "lrs": [],
    }


def summarise(tasks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the tasks."""

    def mean(name: str) -> float | None:
        values = [task[name] for task in tasks if task[name] is not None]
        return float(np.mean(values)) if values else None

    return {
        "mean_regret": mean("regret"),
        "median_regret": float(np.median([task["regret"] for task in tasks])),
        "worst": max(task["worst"] for task in tasks),
        "share_in_range": mean("in_range"),
        "mean_away": mean("away"),
        "mean_distance": mean("distance"),
        "seed_std": mean("std"),
        "updates": mean("updates"),
        "of_grid": mean("of_grid"),
        "seconds": mean("seconds"),
    }


def compare(tasks: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Paired difference of the capped regrets: mean, standard error, tasks better and worse by over 0.1 points."""
    pairs = zip(tasks, base, strict=True)
    differences = np.asarray([task["regret"] - other["regret"] for task, other in pairs])
    mean, error = mean_and_error(differences)
    return {
        "minus_method_1": mean,
        "standard_error": error,
        "better": int((differences < -0.1).sum()),
        "worse": int((differences > 0.1).sum()),
    }


COLUMNS = (
    "method",
    "seeds",
    "regret",
    "median",
    "worst",
    "in range",
    "decades off",
    "seed std",
    "trial-steps",
    "of grid",
    "seconds",
    "- method 1",
    "better/worse",
)


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """The table."""
    rows = []
    for row in table:
        cells = [
            row["name"],
            str(row["seeds"]),
            f"{row['mean_regret']:.2f}",
            f"{row['median_regret']:.2f}",
            f"{row['worst']:.1f}",
            _show(row["share_in_range"], ".0%"),
            _show(row["mean_away"], ".2f"),
            _show(row["seed_std"], ".2f"),
            f"{row['updates']:,.0f}",
            f"{row['of_grid']:.1%}",
            f"{row['seconds']:.1f}",
            f"{row['minus_method_1']:+.2f} +- {row['standard_error']:.2f}",
            f"{row['better']}/{row['worse']}",
        ]
        rows.append(cells)
    return markdown_table(COLUMNS, rows)


def _show(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    main()
