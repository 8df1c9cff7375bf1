"""The constants of `lrjax.Budget`, chosen on one table and judged on another, and on all tasks but the judged one.

    LRJAX_DATA=... python -m experiments.benchmark.constants        # minutes; no training

Each constant is changed alone, at budgets of 0.5 and 2. Printed, and written to experiments/results/constants.json: the
mean regret of every variant on the package's benchmark (home) and on DeepOBS (outside), what the best variant of one
table loses on the other, and what is lost on a task by the variant that is best on the others.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lrjax
from experiments.blocks import markdown_table
from lrjax import _curve, _search

from .frontier import Context, Replay, Table, context_of
from .judging import CAP, mean_and_error, truth_of
from .methods import seeds_of
from .outside import OFFSETS, Shifted, read_training
from .recording import CURVE_SEEDS, SCHEDULES, Recording
from .replay import load, make_parser

BUDGETS = (0.5, 2.0)
VARIANTS: dict[str, tuple[str, str, Any]] = {
    "as they are": ("_budget", "FEWEST", 3),
    "drift 0.3": ("_drift", "DRIFT", 0.3),
    "drift 0.5": ("_drift", "DRIFT", 0.5),
    "nothing seen of the fall": ("_drift", "PRIOR", 1e9),
    "what is seen counts twice": ("_drift", "PRIOR", 0.1),
    "up to T / 4": ("_budget", "LONGEST", 0.25),
    "up to T / 2": ("_budget", "LONGEST", 0.5),
    "three quarters of the lanes stay": ("_budget", "DWINDLE", 0.75),
    "four lanes at least": ("_budget", "FEWEST", 4),
    "sweep of the memory": ("_budget", "MEMORIES", 1.0),
    "sweep of 4 memories": ("_budget", "MEMORIES", 4.0),
    "all wait for half of the budget": ("_budget", "WAIT", 0.5),
    "none waits": ("_budget", "WAIT", 0.0),
    "higher lanes join at once": ("_budget", "LATE", 0.0),
    "half a decade below a plateau": ("_budget", "BELOW_PLATEAU", 0.5),
    "a decade below a plateau": ("_budget", "BELOW_PLATEAU", 1.0),
    "learning starts at 2 %": ("_lane_curve", "STARTED", 0.02),
    "harmless up to 5 %": ("_lane_curve", "HARMLESS", 0.05),
    "harmless up to 20 %": ("_lane_curve", "HARMLESS", 0.2),
}
"""Name -> module, constant, value."""


class Side(NamedTuple):
    """A task as one seed, or one shift of the grid, shows it.

    Attributes:
      table: who knows the losses.
      context: what is known besides.
      regret: what a learning rate loses, in points.
      ends: log10 of the ends of the range.
    """

    table: Any
    context: Context
    regret: Callable[[float], float]
    ends: tuple[float, float]


def home_sides(recording: Recording) -> list[Side]:
    """A seed each; the mean of both schedules."""
    truths = [truth_of(recording, schedule) for schedule in SCHEDULES]
    lost = lambda lr: float(np.mean([min(truth.regret(lr), CAP) for truth in truths]))  # noqa: E731
    tables = [Table(recording, seeds_of(recording, run, 1)) for run in range(CURVE_SEEDS)]
    return [Side(table, context_of(recording), lost, (-7.0, 1.0)) for table in tables]


@contextlib.contextmanager
def changed(module: str, name: str, value: Any) -> Iterator[None]:
    """The package with another constant."""
    room = _curve if module == "_drift" else _search
    there = getattr(room, module)
    before = getattr(there, name)
    setattr(there, name, value)
    try:
        yield
    finally:
        setattr(there, name, before)


def pick(table: Any, context: Context, budget: float, low: float, high: float) -> float:
    """The learning rate that a search chooses; without its windows and its words, which take most of the time."""
    strategy = lrjax.Budget(trainings=budget, min_lr=10.0**low, max_lr=10.0**high)
    with changed("_strategy", "find_window", lambda curve, literal: None):
        *_, stages = _search.run_stages(strategy, Replay(table, context))
    learned = [index for index, stage in enumerate(stages) if _search._lane_curve.means(stage).min() < 0]
    return 10.0 ** _search._budget._pick(stages[: learned[-1] + 1], context) if learned else float("nan")


def regrets(tasks: Sequence[Sequence[Side]], budget: float) -> np.ndarray:
    """Of every task, the mean over its sides."""
    return np.asarray([np.mean([side.regret(pick(*side[:2], budget, *side.ends)) for side in task]) for task in tasks])


def choose_and_judge(lost: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """What every table's best variant loses on the other, and what is lost where the judged task is left out."""
    report: dict[str, Any] = {}
    for table, other in (("home", "outside"), ("outside", "home")):
        best = min(lost[table], key=lambda name: lost[table][name].mean())
        mean, error = mean_and_error(lost[other][best] - lost[other]["as they are"])
        report[f"chosen on {table}"] = {"variant": best, f"minus as they are, {other}": [mean, error]}
        names, values = list(lost[table]), np.stack(list(lost[table].values()))
        left = [int(np.argmin(np.delete(values, task, axis=1).mean(axis=1))) for task in range(values.shape[1])]
        out = values[left, np.arange(values.shape[1])]
        counts = {names[one]: left.count(one) for one in dict.fromkeys(left)}
        report[f"left out on {table}"] = {"regret": float(out.mean()), "chosen": counts}
        report[f"left out on {table}"]["minus as they are"] = list(mean_and_error(out - lost[table]["as they are"]))
    return report


def main() -> None:
    """Replay, judge, write, print."""
    options = make_parser(__doc__).parse_args()
    started, data = time.perf_counter(), Path(os.environ["LRJAX_DATA"]) / "recorded" / "deepobs"
    trainings = [[Shifted(read_training(path), offset) for offset in OFFSETS] for path in sorted(data.glob("*.npz"))]
    sides = {
        "home": [home_sides(recording) for recording in load(options.results / "benchmark")],
        "outside": [[Side(one, one.context, one.regret, (-5.0, 2.0)) for one in row] for row in trainings],
    }
    report: dict[str, Any] = {}
    for budget in BUDGETS:
        lost: dict[str, dict[str, np.ndarray]] = {"home": {}, "outside": {}}
        for name, variant in VARIANTS.items():
            with changed(*variant):
                for table, tasks in sides.items():
                    lost[table][name] = regrets(tasks, budget)
        heads, rows = ["", "home", "- as they are", "outside", "- as they are"], []
        for name in VARIANTS:
            cells = []
            for table in lost.values():
                mean, error = mean_and_error(table[name] - table["as they are"])
                cells += [f"{table[name].mean():.2f}", f"{mean:+.2f} ± {error:.2f}"]
            rows.append([name, *cells])
        print(f"\n{budget:g} trainings\n\n{markdown_table(heads, rows)}", flush=True)
        report[f"{budget:g}"] = choose_and_judge(lost) | {
            table: {name: float(one.mean()) for name, one in values.items()} for table, values in lost.items()
        }
        print(json.dumps(choose_and_judge(lost), indent=1))
    (options.results / "constants.json").write_text(json.dumps(report, allow_nan=False) + "\n")
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
