"""What the command prints: tables for people, JSON for machines. Imported by `main` only."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from .._curve import Outcome
from .._engine import show_bytes
from .._preview import Preview
from .._search import LRResult, RangeTest
from .._sweeps import SweepResult
from ._load import as_options
from ._screen import Screen

METHODS = {
    "midpoint": "middle of the window, in decades",
    "half_loss": "half of the reduction is reached",
    "steepest": "the loss falls fastest here",
    "lowest_loss": "trial with the lowest loss",
}

ASCII_BARS = str.maketrans("▁▂▃▄▅▆▇█", "_.,-=+*#")
"""The heights of a described schedule for an encoding that has no blocks."""

PEERS = {
    "steepest_log": "lrjax: steepest per decade",
    "fastai_valley": "fastai: valley (its default)",
    "fastai_slide": "fastai: slide",
    "fastai_minimum": "fastai: minimum / 10",
    "fastai_steep": "fastai: steep",
    "lightning": "Lightning from 2.5.3: per unit of lr",
    "lightning_index": "Lightning up to 2.5.2: per step",
    "torch_lr_finder": "torch-lr-finder: steepest",
    "ignite": "ignite: steepest before the minimum",
}


class Printer:
    """Prints on standard output; without colours where that is no terminal or NO_COLOR is set."""

    def __init__(self) -> None:
        self.console = Screen()

    def say(self, text: str = "", style: str = "") -> None:
        """One paragraph, wrapped on a terminal only."""
        if self.console.options.ascii_only:
            text = text.translate(ASCII_BARS)
        self.console.print(Text(text, style=style), soft_wrap=not self.console.is_terminal)

    def notice(self, text: str) -> None:
        """What must not be overlooked; nothing for no text."""
        if text:
            self.say(text, "bold yellow")

    def result(self, result: LRResult, title: str) -> None:
        """The table of a search, and its reasons."""
        self.say(title, "bold")
        table = _table("learning rate")
        if result.outcome is Outcome.found:
            for name, lr in ({result.rule: result.lr} | dict(result.selections)).items():
                chosen = name == result.rule
                name = f"{name} (chosen)" if chosen else name
                table.add_row(name, f"{lr:.2e}", METHODS.get(name.split()[0], ""), style="bold" if chosen else None)
            table.add_section()
            low, high = float(result.window.min_lr), float(result.window.max_lr)
            decades = f"{float(result.window.decades):.1f} decades in which training works"
            table.add_row("window", f"{low:.1e} to {high:.1e}", decades)
            if result.interval is not None:
                ends = f"{result.interval[0]:.1e} to {result.interval[1]:.1e}"
                table.add_row("seed by seed", ends, f"the picks of {result.curve.final.shape[0]} seeds alone")
        else:
            table.show_header = False
        table.add_row("outcome", result.outcome.name, "")
        self.console.print(table)
        for line in result.summary().splitlines():
            self.say(as_options(line), "bold yellow" if line.startswith("Warning, ") else "")

    def range_test(self, test: RangeTest, chosen: str, title: str) -> None:
        """What the rules say of a range test, and why some are silent."""
        lrs, refusals = test.suggestions()
        self.say(title, "bold")
        table = _table("learning rate")
        for name in (*lrs, *refusals):
            if chosen in (name, "all"):
                lr = f"{lrs[name]:.2e}" if name in lrs else "none"
                table.add_row(name, lr, PEERS.get(name, "") if name in lrs else refusals[name])
        self.console.print(table)
        self.say(f"{len(test.lrs)} of {test.num_steps} steps, {test.lrs[0]:.1e} to {test.lrs[-1]:.1e}.")
        if test.stopped is not None:
            self.say(test.stopped)
        self.say("One model sees all of these rates in turn, so they depend on the range. `lrjax find` does not.")

    def search(self, result: LRResult) -> None:
        """The rungs and reasons of a search with a budget."""
        for line in result.summary().splitlines():
            style = "bold yellow" if line.startswith("Warning, ") else ""
            self.say(as_options(line), "bold" if line.startswith("Learning rate ") else style)

    def sweep(self, rows: Sequence[Mapping[str, str]], result: SweepResult, title: str) -> None:
        """The best trials of a sweep, and what ran."""
        if rows:
            self.say(f"{title}: the best trials", "bold")
            table = Table(*rows[0])
            for place, row in enumerate(rows):
                table.add_row(*row.values(), style=None if place else "bold")
            self.console.print(table)
        self.say(result.summary().splitlines()[0])
        execution = result.execution
        seconds = execution.run_seconds + execution.compile_seconds
        rate = execution.updates / execution.run_seconds if execution.run_seconds > 0 else 0.0
        how = f"{execution.used} on {execution.mesh or 1} device{'s' * (execution.mesh != '')}"
        self.say(f"{seconds:.0f} seconds, {rate:,.0f} updates a second, {how}, {show_bytes(execution.bytes)}.")

    def schedules(self, schedules: Mapping[str, tuple[str, str]]) -> None:
        """Names with their arguments, and the first line of each docstring."""
        self.say("lrjax.schedules", "bold")
        table = Table(show_header=False)
        table.add_column("", no_wrap=True, style="bold")
        table.add_column("")
        for name, (arguments, docstring) in schedules.items():
            what = docstring.splitlines()[0].replace("`", "").replace("$", "").replace("\\", "")
            table.add_row(name, Text(what) + Text(f"\n{arguments[1:-1]}", style="dim"))
        self.console.print(table)

    def files(self, files: Mapping[str, Path]) -> None:
        """Where the files lie."""
        if files:
            self.say(f"Written: {', '.join(map(str, files.values()))}")

    def line_to_paste(self, call: str, lr: float) -> None:
        """The optimizer in Python."""
        self.code_to_paste(call, f"{lr:.2e}", "")

    def code_to_paste(self, call: str, code: str, why: str) -> None:
        """The optimizer in Python, with a learning rate or a schedule, and the reason for its peak."""
        if why:
            self.say(why)
        self.say()
        self.say(f"    optimizer = {call.format(code)}", "bold")


def _table(second: str) -> Table:
    table = Table()
    table.add_column("")
    table.add_column(second, no_wrap=True)
    table.add_column("")
    return table


def result_document(result: LRResult, call: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """The result for machines; the JSON file has everything."""
    curve = result.curve
    return {
        "lr": result.lr,
        "outcome": result.outcome.name,
        "rule": result.rule,
        "optimizer": call.format(repr(result.lr)) if result.outcome is Outcome.found else None,
        "window": {"min_lr": float(result.window.min_lr), "max_lr": float(result.window.max_lr)},
        "selections": dict(result.selections),
        "interval": result.interval,
        "drift": {str(steps): lr for steps, lr in result.drift.items()},
        "warnings": [dataclasses.asdict(warning) for warning in result.warnings],
        "curve": {
            "lrs": np.asarray(curve.lrs).tolist(),
            "losses": np.asarray(curve.final).mean(axis=0).tolist(),
            "initial_loss": float(np.mean(np.asarray(curve.initial_loss))),
        },
        "num_trials": result.num_trials,
        "num_updates": result.cost.updates,
        "seconds": result.cost.seconds,
        "executor": result.execution.used,
        "files": {name: str(path) for name, path in files.items()},
    }


def range_test_document(test: RangeTest, files: Mapping[str, Path]) -> dict[str, Any]:
    """The range test for machines."""
    lrs, refusals = test.suggestions()
    return {
        "suggestions": lrs,
        "refusals": refusals,
        "steps": len(test.lrs),
        "stopped": test.stopped,
        "files": {name: str(path) for name, path in files.items()},
    }


def search_document(result: LRResult, optimizer: str | None, files: Mapping[str, Path]) -> dict[str, Any]:
    """A search with a budget for machines; the JSON file has everything."""
    return {
        "lr": result.lr,
        "outcome": result.outcome.name,
        "optimizer": optimizer,
        "interval": result.interval,
        "train_steps": result.train_steps,
        "cost": result.cost.trainings,
        "num_steps": result.stages[result.stage].num_steps,
        "stages": [
            {
                "name": stage.name,
                "num_steps": stage.num_steps,
                "lrs": (10.0**stage.log10_lrs).tolist(),
                "losses": stage.losses.mean(axis=0).tolist(),
                "seeds": stage.num_seeds,
            }
            for stage in result.stages
        ],
        "warnings": [dataclasses.asdict(warning) for warning in result.warnings],
        "num_updates": result.cost.updates,
        "seconds": result.cost.seconds,
        "executor": result.execution.used,
        "files": {name: str(path) for name, path in files.items()},
    }


def plan_document(plan: Preview) -> dict[str, Any]:
    """The course of a search for machines."""
    return {**dataclasses.asdict(plan), "rounds": [one._asdict() for one in plan.rounds]}


def print_json(document: dict[str, Any]) -> None:
    """Strict JSON: numbers that are not finite are the strings "inf", "-inf", "nan"."""
    print(json.dumps(_strict(document), indent=1, allow_nan=False))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
