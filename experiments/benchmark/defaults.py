"""Which one-sweep rule should be the default? Chosen on all tasks but one, judged on that one, for every task.

    python -m experiments.benchmark.defaults          # minutes; no data and no training

Reads experiments/results/benchmark/*.npz; writes experiments/results/benchmark_defaults.json. A candidate is a rule, a
horizon, a number of seeds and a shift in decades. Both schedules count. Printed: the best candidates on all tasks, the
regret of choosing among them with the judged task left out, and each warning's worth as a reason to doubt method 1.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lrjax import WarningName

from .judging import CAP, mean_and_error, truth_of
from .methods import RULES, seeds_of
from .recording import CURVE_SEEDS, SCHEDULES, Recording
from .replay import load, make_parser, write_report
from .searching import search, two_stages
from .second_stage import SECOND_STEPS

HORIZONS = (5, 10, 20, 35, 50, 100)
SEEDS = (1, 3)
SHIFTS = (0.0, -0.2, -0.4)
DEFAULT = ("method 1 (midpoint)", 20, 3, 0.0)
Candidate = tuple[str, int, int, float]


def regrets(recordings: Sequence[Recording]) -> dict[Candidate, np.ndarray]:
    """Capped regret of every candidate, mean over runs and schedules, shape (tasks,)."""
    candidates = list(itertools.product(RULES, HORIZONS, SEEDS, SHIFTS))
    table = {candidate: np.zeros(len(recordings)) for candidate in candidates}
    for place, recording in enumerate(recordings):
        truths = [truth_of(recording, schedule) for schedule in SCHEDULES]
        for horizon, seeds in itertools.product(HORIZONS, SEEDS):
            found = [search(recording, seeds_of(recording, run, seeds), horizon=horizon) for run in range(CURVE_SEEDS)]
            for rule, shift in itertools.product(RULES, SHIFTS):
                lrs = [RULES[rule](one) * 10**shift for one in found]
                lost = [min(truth.regret(lr), CAP) for truth in truths for lr in lrs]
                table[rule, horizon, seeds, shift][place] = np.mean(lost)
    return table


def leave_one_out(table: dict[Candidate, np.ndarray], *, seeds: int, steps: int) -> tuple[np.ndarray, list[Candidate]]:
    """The regret on every task of what is best on the others with up to so many steps, and what that was."""
    candidates = [candidate for candidate in table if candidate[2] == seeds and candidate[1] <= steps]
    values = np.stack([table[candidate] for candidate in candidates])
    chosen, lost = [], np.zeros(values.shape[1])
    for task in range(values.shape[1]):
        best = int(np.argmin(np.delete(values, task, axis=1).mean(axis=1)))
        chosen.append(candidates[best])
        lost[task] = values[best, task]
    return lost, chosen


LAWS: dict[str, Callable[[float, float], float]] = {
    "0": lambda steps, n: 0.0,
    "0.2": lambda steps, n: 0.2,
    "0.2 log10(T / n)": lambda steps, n: 0.2 * np.log10(steps / n),
    "0.4 log10(T / n)": lambda steps, n: 0.4 * np.log10(steps / n),
    "0.5 log10(T / 4n), at least 0": lambda steps, n: 0.5 * max(0.0, np.log10(steps / (4 * n))),
}
"""Decades by which the minimum of the second stage is lowered."""


def judge_auto(recordings: Sequence[Recording], base: dict[int, np.ndarray]) -> list[dict[str, Any]]:
    """The two-stage rule against method 1 with as many seeds, for every law."""
    lines = []
    for seeds, always, (law, decades) in itertools.product(SEEDS, (False, True), LAWS.items()):
        values = []
        for recording in recordings:
            shift = 10.0 ** -decades(recording.steps, SECOND_STEPS)
            rule: Callable[..., Any] = lambda curve, window, shift=shift: window.max_lr * shift  # noqa: E731
            lrs = [
                two_stages(recording, seeds_of(recording, run, seeds), always=always, rule=rule).lr
                for run in range(CURVE_SEEDS)
            ]
            truths = [truth_of(recording, schedule) for schedule in SCHEDULES]
            values.append(float(np.mean([min(truth.regret(lr), CAP) for truth in truths for lr in lrs])))
        difference = np.asarray(values) - base[seeds]
        mean, error = mean_and_error(difference)
        lines.append(
            {"seeds": seeds, "always": always, "law": law, "regret": float(np.mean(values)), "by_task": values}
        )
        lines[-1] |= {"minus_method_1": mean, "standard_error": error}
    return lines


def judge_warnings(recordings: Sequence[Recording]) -> dict[str, dict[str, float]]:
    """How often a warning is given, and method 1's regret with and without it."""
    given: dict[str, list[float]] = {name.value: [] for name in WarningName}
    absent: dict[str, list[float]] = {name.value: [] for name in WarningName}
    for recording in recordings:
        truth = truth_of(recording, "constant")
        for run in range(CURVE_SEEDS):
            found = search(recording, seeds_of(recording, run, 1))
            lost = min(truth.regret(RULES["method 1 (midpoint)"](found)), CAP)
            for name in given:
                (given if name in found.warnings else absent)[name].append(lost)
    return {
        name: {
            "share": len(given[name]) / (len(given[name]) + len(absent[name])),
            "regret_with": float(np.mean(given[name])) if given[name] else 0.0,
            "regret_without": float(np.mean(absent[name])) if absent[name] else 0.0,
        }
        for name in given
    }


def main() -> None:
    """Replay, write, print."""
    options = make_parser(__doc__).parse_args()
    started = time.perf_counter()
    recordings = load(options.results / "benchmark")
    table = regrets(recordings)
    now, report = table[DEFAULT], {}
    for seeds in SEEDS:
        ranking = sorted((one for one in table if one[2] == seeds), key=lambda one: table[one].mean())
        print(f"\nBest on all {len(recordings)} tasks with {seeds} seeds; the default has {now.mean():.2f}:")
        for candidate in ranking[:8]:
            print(f"  {_show(candidate)}: {_paired(table[candidate], now)}")
        report[f"{seeds} seeds"] = {
            "best": [{"candidate": _show(one), "regret": table[one].mean()} for one in ranking[:8]],
            "left_out": [],
        }
        for steps in (20, 50, 100):
            lost, chosen = leave_one_out(table, seeds=seeds, steps=steps)
            print(f"Up to {steps} steps, left out one by one: {_paired(lost, now)}; chosen: {_count(chosen)}")
            report[f"{seeds} seeds"]["left_out"].append(
                {"steps": steps, "regret": lost.mean(), "by_task": lost.tolist(), "chosen": _count(chosen)}
            )
    report["default"] = {"candidate": _show(DEFAULT), "regret": now.mean(), "by_task": now.tolist()}
    report["warnings"] = judge_warnings(recordings)
    report["two stages"] = judge_auto(recordings, {seeds: table[(DEFAULT[0], 20, seeds, 0.0)] for seeds in SEEDS})
    print("\n| two stages | seeds | second stage | regret | - method 1 |\n|---|---|---|---|---|")
    for line in report["two stages"]:
        when = "always" if line["always"] else "in doubt"
        error = f"{line['minus_method_1']:+.2f} +- {line['standard_error']:.2f}"
        print(f"| - {line['law']} | {line['seeds']} | {when} | {line['regret']:.2f} | {error} |")
    print("\n| warning | given in | regret with | without |\n|---|---|---|---|")
    for name, row in report["warnings"].items():
        print(f"| {name} | {row['share']:.0%} | {row['regret_with']:.2f} | {row['regret_without']:.2f} |")
    write_report(options.results / "benchmark_defaults.json", recordings, report)
    print(f"\n{time.perf_counter() - started:.0f} s")


def _show(candidate: Candidate) -> str:
    rule, horizon, seeds, shift = candidate
    return f"{rule}, {horizon} steps, {seeds} seed{'s' * (seeds > 1)}, {shift:+.1f} decades"


def _count(chosen: Sequence[Candidate]) -> dict[str, int]:
    return {_show(one): chosen.count(one) for one in dict.fromkeys(chosen)}


def _paired(values: np.ndarray, base: np.ndarray) -> str:
    mean, error = mean_and_error(values - base)
    return f"{values.mean():.2f} ({mean:+.2f} +- {error:.2f})"


if __name__ == "__main__":
    main()
