"""What `lrjax.peak_for` is worth: regret of many schedules at its peak, at the learning rate itself, and refitted.

    python -m experiments.benchmark.peaks             # seconds to minutes; no data and no training

Reads experiments/results/families/*.npz and the recordings of the same tasks; writes experiments/results/peaks.json.
Regret is what a schedule loses against its own best peak, in points, at most 20 in means. Between trained peaks scores
are interpolated; beyond them the nearest counts.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import lrjax
from experiments.blocks import markdown_table

from .families import FAMILIES, OFFSETS, Trained, read_trained
from .frontier import budgeted
from .judging import CAP, mean_and_error, truth_of
from .methods import RULES, seeds_of
from .recording import CURVE_SEEDS, Recording, read
from .replay import make_parser, write_report
from .searching import search

POWERS = np.arange(0.0, 1.31, 0.05)
WARMTHS = np.arange(0.0, 0.41, 0.02)
BUDGETS = (0.5, 1.0, 2.0)


class Case(NamedTuple):
    """A task's schedules.

    Attributes:
      trained: what full trainings gave.
      scores: means over the seeds, what diverged at 0, shape (families, peaks).
      recording: of the same task, for the finder.
      area: log10(1 / mean of the multipliers), shape (families,).
      low: 1 where the schedule starts low, shape (families,).
      ours: decades from lr to peak, by `lrjax.peak_for`, shape (families,).
    """

    trained: Trained
    scores: np.ndarray
    recording: Recording
    area: np.ndarray
    low: np.ndarray
    ours: np.ndarray

    def regret(self, family: int, log10_peak: float) -> float:
        """At most 20; all of it for no peak."""
        scores = self.scores[family]
        if not np.isfinite(log10_peak):
            return CAP
        lost = float(scores.max() - np.interp(log10_peak, self.trained.log10_peaks, scores))
        return min(lost, CAP)


def points(trained: Trained) -> np.ndarray:
    """Scores, of what diverged or is worse than nothing 0, shape (families, peaks, seeds)."""
    alive = np.isfinite(trained.score) & np.isfinite(trained.loss)
    return np.where(alive, np.maximum(trained.score, 0.0), 0.0)


def case_of(trained: Trained, recording: Recording) -> Case:
    """Put together."""
    scores = points(trained).mean(-1)
    area = -np.log10(trained.multipliers.mean(1))
    low = (trained.multipliers[:, 0] < 0.5).astype(float)
    peaks = [lrjax.peak_for(1.0, jnp.asarray(m).__getitem__, len(m)) for m in trained.multipliers]
    return Case(trained, scores, recording, area, low, np.log10(peaks))


def best_constant(case: Case) -> float:
    """log10 of the best constant learning rate."""
    return float(case.trained.log10_peaks[int(np.argmin(np.abs(OFFSETS)))])


def middle_of_range(case: Case) -> float:
    """log10 of the middle of the range of constant learning rates that are as good."""
    truth = truth_of(case.recording, "constant")
    return 0.5 * (truth.low + truth.high)


ANCHORS: dict[str, Callable[[Case], float]] = {
    "best constant lr": best_constant,
    "middle of its range": middle_of_range,
}


def tuned(case: Case) -> np.ndarray:
    """Score of every schedule at the peak that is best for the other two seeds, shape (families,)."""
    table = points(case.trained)
    seeds = range(table.shape[-1])
    best = [np.argmax(np.delete(table, seed, axis=-1).mean(-1), axis=-1) for seed in seeds]
    return np.mean([table[np.arange(len(table)), best[seed], seed] for seed in seeds], axis=0)


def too_high(case: Case) -> np.ndarray:
    """What every schedule loses half a decade above its best peak, or at the highest trained, shape (families,)."""
    best = case.trained.log10_peaks[np.argmax(case.scores, axis=1)]
    return np.asarray([case.regret(f, x + 0.5) for f, x in enumerate(best)])


def surface(cases: Sequence[Case], anchor: Callable[[Case], float]) -> np.ndarray:
    """Regret from an anchor for all constants, shape (powers, warmths, tasks, families)."""
    values = np.zeros((len(POWERS), len(WARMTHS), len(cases), len(FAMILIES)))
    for (i, power), (j, warmth) in itertools.product(enumerate(POWERS), enumerate(WARMTHS)):
        for t, case in enumerate(cases):
            shifts = power * case.area + warmth * case.low
            values[i, j, t] = [case.regret(f, anchor(case) + shift) for f, shift in enumerate(shifts)]
    return values


def left_out(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regret with the constants that are best on the other tasks and schedules, and those constants."""
    tasks, families = values.shape[2:]
    lost, chosen = np.zeros((tasks, families)), np.zeros((tasks, families, 2))
    for t, f in np.ndindex(tasks, families):
        rest = np.delete(np.delete(values, t, axis=2), f, axis=3).mean(axis=(2, 3))
        i, j = np.unravel_index(int(np.argmin(rest)), rest.shape)
        lost[t, f], chosen[t, f] = values[i, j, t, f], (POWERS[i], WARMTHS[j])
    return lost, chosen


def from_finders(cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """Regret of every schedule at peaks from a real search, shape (tasks, families)."""
    names = ("method 1, as it is", "method 1, the rule", "minimum after 100, the law and the rule")
    names += tuple(f"Budget({budget:g}), the rule" for budget in BUDGETS)
    table = {name: np.zeros((len(cases), len(FAMILIES))) for name in names}
    for t, case in enumerate(cases):
        for run in range(CURVE_SEEDS):
            seeds, steps = seeds_of(case.recording, run, 1), case.trained.steps
            first, longer = search(case.recording, seeds), search(case.recording, seeds, horizon=100)
            one = RULES["method 1 (midpoint)"](first)
            law = float(lrjax.lowest_for(steps)(longer.curve, longer.window))
            found = [budgeted(case.recording, run, budget).lr for budget in BUDGETS]
            for f, shift in enumerate(case.ours):
                places = (one, *(lr * 10**shift for lr in (one, law, *found)))
                for name, lr in zip(names, places, strict=True):
                    table[name][t, f] += case.regret(f, float(np.log10(lr))) / CURVE_SEEDS
    return table


def judge(cases: Sequence[Case]) -> dict[str, Any]:
    """Everything, for the report."""
    found = from_finders(cases)
    known, constants = {}, {}
    for name, anchor in ANCHORS.items():
        values = surface(cases, anchor)
        refitted, chosen = left_out(values)
        constants[name] = {"power": float(chosen[..., 0].mean()), "warm": float(chosen[..., 1].mean())}
        fixed = np.asarray([[case.regret(f, anchor(case) + s) for f, s in enumerate(case.ours)] for case in cases])
        known |= {f"{name}, as it is": values[0, 0], f"{name}, the rule": fixed, f"{name}, refitted": refitted}
    low, scores = cases[0].low.astype(bool), np.asarray([tuned(case) for case in cases])
    report: dict[str, Any] = {
        "families": list(FAMILIES),
        "starts_low": low.tolist(),
        "mean_area": [float(np.mean([case.area[f] for case in cases])) for f in range(len(FAMILIES))],
        "multiplier": [float(10 ** cases[0].ours[f]) for f in range(len(FAMILIES))],
        "best_shift": [
            float(
                np.mean([case.trained.log10_peaks[np.argmax(case.scores[f])] - best_constant(case) for case in cases])
            )
            for f in range(len(FAMILIES))
        ],
        "gain_over_constant": [mean_and_error(one) for one in (scores - scores[:, :1]).T],
        "median_gain": np.median(scores - scores[:, :1], axis=0).tolist(),
        "three_times_too_high": np.mean([too_high(case) for case in cases], axis=0).tolist(),
        "refitted": constants,
        "from_finders": {name: np.round(lost, 4).tolist() for name, lost in found.items()},
        "below_any": {
            name: below_any(cases, lost).mean(0).tolist()
            for name, lost in {"best peak": np.zeros_like(found["method 1, the rule"]), **found}.items()
        },
        "ways": {},
    }
    ways = {**known, **found}
    for name, lost in ways.items():
        anchor = next((one for one in ANCHORS if name.startswith(one)), "method 1")
        base = ways[f"{anchor}, as it is"]
        report["ways"][name] = {
            "regret": float(lost.mean()),
            "median": float(np.median(lost.mean(1))),
            "by_family": lost.mean(0).tolist(),
            "by_task": lost.mean(1).tolist(),
            "minus_as_it_is": mean_and_error(lost[:, 1:].mean(1) - base[:, 1:].mean(1)),
            "low_start_minus_as_it_is": mean_and_error(lost[:, low].mean(1) - base[:, low].mean(1)),
            "better": int((lost[:, 1:].mean(1) < base[:, 1:].mean(1) - 0.1).sum()),
            "worse": int((lost[:, 1:].mean(1) > base[:, 1:].mean(1) + 0.1).sum()),
        }
    return report


def below_any(cases: Sequence[Case], lost: np.ndarray) -> np.ndarray:
    """Points below the best that any schedule reached, from the regrets of each, shape (tasks, families)."""
    tops = np.asarray([case.scores.max(axis=1) for case in cases])
    return np.minimum(tops.max(axis=1, keepdims=True) - tops + lost, CAP)


def markdown(report: dict[str, Any]) -> dict[str, str]:
    """Name -> table: the ways, the schedules, and both together."""
    rows = []
    for name, way in report["ways"].items():
        plus = " ± ".join([f"{way['minus_as_it_is'][0]:+.2f}", f"{way['minus_as_it_is'][1]:.2f}"])
        low = " ± ".join([f"{way['low_start_minus_as_it_is'][0]:+.2f}", f"{way['low_start_minus_as_it_is'][1]:.2f}"])
        rows.append(
            [name, f"{way['regret']:.2f}", f"{way['median']:.2f}", plus, low, f"{way['better']}/{way['worse']}"]
        )
    heads = [
        "peak from",
        "regret",
        "median",
        "- as it is, without constant",
        "those that start low",
        "tasks better/worse",
    ]
    ways, lines = report["ways"], []
    shown = [name for name in ways if not name.startswith("best") and not name.endswith("refitted")]
    for f, family in enumerate(report["families"]):
        start = "low" if report["starts_low"][f] else "high"
        lines.append([family, start, f"{report['best_shift'][f]:+.2f}", f"{report['multiplier'][f]:.2f}"])
        gain, error = report["gain_over_constant"][f]
        lines[-1] += [f"{gain:+.2f} ± {error:.2f}", f"{report['median_gain'][f]:+.2f}"]
        lines[-1] += [f"{report['three_times_too_high'][f]:.1f}"]
        lines[-1] += [f"{ways[name]['by_family'][f]:.2f}" for name in shown]
    columns = ["schedule", "starts", "best peak, decades above", "the rule's factor", "points above constant"]
    columns += ["median", "3 times too high loses"]
    whole = report["below_any"]
    both = [[family, *(f"{values[f]:.2f}" for values in whole.values())] for f, family in enumerate(report["families"])]
    return {
        "ways": markdown_table(heads, rows),
        "schedules": markdown_table([*columns, *shown], lines),
        "together": markdown_table(["schedule", *whole], both),
    }


def main() -> None:
    """Judge, write, print."""
    options = make_parser(__doc__).parse_args()
    started = time.perf_counter()
    paths = sorted((options.results / "families").glob("*.npz"))
    if not paths:
        raise SystemExit("No trainings with schedules. Make them: python -m experiments.benchmark.families")
    cases = [case_of(read_trained(path), read(options.results / "benchmark" / path.name)) for path in paths]
    report = judge(cases)
    print("\n\n".join(markdown(report).values()))
    write_report(options.results / "peaks.json", [case.recording for case in cases], report)
    print(f"\n{len(cases)} tasks in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
