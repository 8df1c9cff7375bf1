"""How far the best learning rate falls as training goes on: fitted on three tables, each judged by the others.

    LRJAX_DATA=... python -m experiments.benchmark.drift            # seconds; no training

All learning rates are trained for n of T updates, and the minimum of the smoothed losses is moved down by
s log10(T / n) decades. Printed, and written to experiments/results/drift.json, for every table: the s with the lowest
regret, its interval (the middle 80 % of 2,000 draws of tasks), and the regret at what the other tables ask for. The
tables are the package's benchmark, judged by accuracy, the tasks that are judged by their loss, and DeepOBS.
"""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lrjax
from experiments.blocks import markdown_table
from lrjax._curve import DRIFT
from lrjax._search import read_lanes

from .frontier import Context, Replay, Table, context_of, run_stages
from .judging import CAP, truth_of
from .methods import seeds_of
from .outside import OFFSETS, Shifted, read_training
from .recording import CURVE_SEEDS
from .replay import load, make_parser

SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""n / T."""

SLOPES = np.arange(0.0, 1.01, 0.05)


class Case(NamedTuple):
    """A task, looked at from several sides: seeds, or shifts of the grid.

    Attributes:
      name: of the task.
      looks: of each side: who knows the losses, what is known besides, what a learning rate loses in points.
      low, high: log10 of the ends of the range.
    """

    name: str
    looks: Sequence[tuple[Any, Context, Callable[[float], float]]]
    low: float
    high: float


class Everything:
    """A strategy that asks once, for all half decades of a range."""

    def __init__(self, low: float, high: float, num_steps: int):
        self._exponents, self._steps = np.arange(low, high + 0.01, 0.5).tolist(), num_steps

    def propose(self, stages: tuple[lrjax.Stage, ...], context: Context) -> lrjax.Request | None:
        """All of them."""
        return None if stages else lrjax.Request(log10_lrs=self._exponents, num_steps=self._steps, carry=True)

    def choose(self, stages: tuple[lrjax.Stage, ...], context: Context) -> float:
        """Not asked."""
        return math.nan


def surface(case: Case) -> np.ndarray:
    """Regret at every share and slope, the mean over the sides, shape (shares, slopes); at most 20."""
    lost = np.zeros((len(case.looks), len(SHARES), len(SLOPES)))
    for i, (table, context, regret) in enumerate(case.looks):
        assert context.train_steps is not None
        for j, share in enumerate(SHARES):
            steps = max(1, round(share * context.train_steps))
            *_, stages = run_stages(Everything(case.low, case.high, steps), Replay(table, context))
            lanes = read_lanes(stages, context.baseline_loss)
            decades = math.log10(context.train_steps / steps)
            lost[i, j] = [min(regret(10.0 ** lanes.lowest(slope * decades)), CAP) for slope in SLOPES]
    return lost.mean(axis=0)


def home(folder: Path, schedule: str, seeds: int | None = None) -> list[Case]:
    """The recordings of a folder; `seeds` of the truth, where all of them are read too."""
    cases = []
    for recording in load(folder):
        truth = truth_of(recording, schedule) if seeds is None else truth_of(recording, schedule, seeds)
        runs = (
            [seeds_of(recording, run, 1) for run in range(CURVE_SEEDS)]
            if seeds is None
            else [(i,) for i in range(seeds)]
        )
        looks = [(Table(recording, one), context_of(recording), truth.regret) for one in runs]
        cases.append(Case(recording.name, looks, -7.0, 1.0))
    return cases


def deepobs(folder: Path) -> list[Case]:
    """The recorded trainings of DeepOBS, with five shifts of the grid."""
    cases = []
    for path in sorted(folder.glob("*.npz")):
        tables = [Shifted(read_training(path), offset) for offset in OFFSETS]
        cases.append(Case(path.stem, [(one, one.context, one.regret) for one in tables], -5.0, 2.0))
    return cases


def fit(lost: np.ndarray) -> dict[str, Any]:
    """The best slope of regrets, shape (tasks, shares, slopes), and what draws of the tasks say."""
    means = lost.mean(axis=1)
    rng = np.random.default_rng(0)
    draws = [SLOPES[np.argmin(means[rng.integers(0, len(means), len(means))].mean(axis=0))] for _ in range(2000)]
    return {
        "tasks": len(means),
        "best": float(SLOPES[np.argmin(means.mean(axis=0))]),
        "interval": [float(x) for x in np.quantile(draws, [0.1, 0.9])],
        "regret": means.mean(axis=0).round(3).tolist(),
        "best_by_share": {
            f"{share:g}": float(SLOPES[i]) for share, i in zip(SHARES, lost.mean(0).argmin(1), strict=True)
        },
    }


def main() -> None:
    """Replay, fit, write, print."""
    options = make_parser(__doc__).parse_args()
    started, data = time.perf_counter(), Path(os.environ["LRJAX_DATA"]) / "recorded" / "deepobs"
    tables = {
        "home, constant": home(options.results / "benchmark", "constant"),
        "judged by the loss, constant": home(options.results / "lossjudged", "constant", 2),
        "DeepOBS": deepobs(data),
    }
    lost = {name: np.stack([surface(case) for case in cases]) for name, cases in tables.items()}
    report: dict[str, Any] = {"slopes": SLOPES.round(2).tolist()}
    report |= {name: fit(values) for name, values in lost.items()}
    rows = []
    for name, values in lost.items():
        regrets = values.mean(axis=(0, 1))
        others = np.mean([other.mean(axis=(0, 1)) for one, other in lost.items() if one != name], axis=0)
        there, now = int(np.argmin(others)), int(np.argmin(np.abs(SLOPES - DRIFT)))
        report[name]["by_the_others"] = {"slope": float(SLOPES[there]), "regret": float(regrets[there])}
        low, high = report[name]["interval"]
        cells = [f"{report[name]['best']:.2f} ({low:.2f} to {high:.2f})", f"{regrets.min():.2f}", f"{regrets[0]:.2f}"]
        rows.append([name, *cells, f"{regrets[there]:.2f} at {SLOPES[there]:.2f}", f"{regrets[now]:.2f}"])
    (options.results / "drift.json").write_text(json.dumps(report, allow_nan=False) + "\n")
    heads = ["table", "best slope", "regret", "not moved", "at what the others ask for", f"at {DRIFT:g}"]
    print(markdown_table(heads, rows))
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
