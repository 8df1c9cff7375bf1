"""How high the peak of a schedule is in a long training, and what a schedule gains: three sets of recorded trainings.

    LRJAX_DATA=... python -m experiments.benchmark.long_peaks            # a minute; no training

Reads experiments/results/families/*.npz (17 tasks x 13 schedules, 300 to 2,000 updates), lossjudged/*.npz (13 tasks,
150 to 1,500 updates, which choose nothing here) and LRJAX_DATA/recorded/llama_schedules (12-layer Llamas of 124 M
parameters, 15,000 to 50,000 updates); writes experiments/results/long_peaks.json. Between trained peaks losses and
scores are interpolated in log10(peak); beyond them the nearest counts.
"""

import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lrjax
from experiments.blocks import markdown_table

from .families import FAMILIES, multipliers_of, read_trained
from .frontier import Replay, Table, budgeted, context_of, run_stages
from .judging import CAP, LOG_LRS, mean_and_error, settled, truth_of
from .loss_record import SHAPES
from .peaks import ANCHORS, BUDGETS, Case, case_of
from .recording import CURVE_SEEDS, Recording, read
from .replay import load, make_parser, write_report

WARMUP = 300
"""Updates of warmup of all Llamas, of those at a constant learning rate too."""

AT_50000 = {"best on the grid, 5e-4": 5e-4, "vertex of a parabola, 2.9e-4": 2.9e-4}
"""The two readings of the best constant learning rate of 50,000 updates."""

OWN_LENGTH = "vertex at each length"
FITTED_FROM = 2_000
EXPONENTS = np.arange(0.0, 0.61, 0.02)

Shift = Callable[[np.ndarray], float]


class Llama(NamedTuple):
    """The trainings of one schedule and length.

    Attributes:
      shape: the cooldown's part and form, or "cosine".
      steps: of the training.
      multipliers: the schedule, shape (steps,).
      log10_peaks, losses: final validation loss in nats, means over repetitions.
    """

    shape: str
    steps: int
    multipliers: np.ndarray
    log10_peaks: np.ndarray
    losses: np.ndarray

    def left(self, log10_peak: float) -> float:
        """Nats above the lowest loss."""
        return float(np.interp(log10_peak, self.log10_peaks, self.losses) - self.losses.min())


def area(m: np.ndarray) -> float:
    """log10 of what `lrjax.peak_for` takes in short trainings."""
    return -0.65 * float(np.log10(m.mean())) + warm(m)


def warm(m: np.ndarray) -> float:
    """log10 of what a low start adds."""
    return float(np.log10(1.3)) if m[0] < 0.5 else 0.0


def bound(m: np.ndarray) -> float:
    """log10 of the peak with the lowest bound (theorem 1 of Schaipp et al. 2025), over that of a constant."""

    def best(m: np.ndarray) -> float:
        left, squares = (np.cumsum(one[::-1])[::-1] for one in (m, m * m))
        later, some = left[1:], left[1:] > 0
        noise = squares[0] / left[0] + np.sum((m[:-1] * squares[:-1])[some] / (later * left[:-1])[some])
        return float(np.log10(1 / (left[0] * noise)) / 2)

    return best(m) - best(np.ones(len(m)))


def with_length(exponent: float) -> Shift:
    """The area, and a power of the length beyond 2,000 updates for what is cooled down."""

    def shift(m: np.ndarray) -> float:
        return area(m) + exponent * (1 - m[-1]) * max(0.0, float(np.log10(len(m) / FITTED_FROM)))

    return shift


def ours(m: np.ndarray) -> float:
    """`lrjax.peak_for`."""
    return float(np.log10(lrjax.peak_for(1.0, m.__getitem__, len(m))))


RULES: dict[str, Shift] = {
    "lr as it is": lambda m: 0.0,
    "the area": area,
    "the bound": lambda m: bound(m) + warm(m),
    "its square root": lambda m: 0.5 * bound(m) + warm(m),
    "the area, T^0.24 beyond 2,000 (fitted)": with_length(0.24),
    "lrjax.peak_for": ours,
}


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Every recorded training."""
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def cooldown_of(config: dict[str, Any]) -> str | None:
    """The shape of a training; None where it is none of ours: constant, a cosine to a tenth, two stages."""
    if config["scheduler"] == "cos":
        return "cosine" if config.get("cos_final_lr") == 1e-7 else None
    part = config["wsd_fract_decay"]
    return f"{part:g} {config.get('decay_type', 'linear')}" if config["scheduler"] == "wsd" and part else None


def multipliers_at(shape: str, steps: int) -> np.ndarray:
    """The schedule, peak 1."""
    t = np.arange(steps)
    rising = np.minimum(1, (t + 1) / WARMUP)
    if shape == "cosine":
        return np.where(t < WARMUP, rising, (1 + np.cos(np.pi * np.clip((t - WARMUP) / (steps - WARMUP), 0, 1))) / 2)
    part, form = shape.split()
    left = np.clip((steps - t) / int(float(part) * steps), 0, 1)
    return rising * (1 - np.sqrt(1 - left) if form == "sqrt" else left)


def ours_to_compare(run: dict[str, Any]) -> bool:
    """Whether it is of the 124 M parameters that were trained at several peaks."""
    return run["config"]["n_embd"] == 768 and run["config"]["dataset"] == "slimpajama"


def llamas_of(runs: Sequence[dict[str, Any]]) -> list[Llama]:
    """Schedules and lengths with at least three peaks."""
    losses: dict[tuple[str, int], dict[float, list[float]]] = {}
    for run in filter(ours_to_compare, runs):
        if shape := cooldown_of(run["config"]):
            table = losses.setdefault((shape, run["config"]["iterations"]), {})
            table.setdefault(run["config"]["lr"], []).append(run["summary"]["final-val/loss"])
    return [
        Llama(shape, steps, multipliers_at(shape, steps), np.log10(sorted(table)), means)
        for (shape, steps), table in sorted(losses.items())
        if len(table) >= 3 and (means := np.asarray([np.mean(table[lr]) for lr in sorted(table)])).size
    ]


def vertex(runs: Sequence[dict[str, Any]], steps: int) -> float:
    """log10 of the best constant lr after so many updates: a parabola through the validation losses of the last 4 %."""
    losses: dict[float, list[float]] = {}
    for run in filter(ours_to_compare, runs):
        config, told = run["config"], run["history"]["val"]
        if config["scheduler"] == "wsd" and config["wsd_fract_decay"] == 0 and config["iterations"] == 50_000:
            at = np.asarray(told["iter"])
            late = np.asarray(told["val_loss"])[(at >= 0.96 * steps - 400) & (at <= steps)]
            losses.setdefault(config["lr"], []).extend(late.tolist())
    lrs = sorted(lr for lr, late in losses.items() if late)
    a, b, _ = np.polyfit(np.log10(lrs), [np.mean(losses[lr]) for lr in lrs], 2)
    return float(-b / (2 * a))


def left_over(llamas: Sequence[Llama], shift: Shift, anchors: dict[int, float]) -> np.ndarray:
    """Nats above the best of each schedule and length."""
    return np.asarray([one.left(anchors[one.steps] + shift(one.multipliers)) for one in llamas])


def held_out(llamas: Sequence[Llama], anchors: Sequence[dict[int, float]], by: Callable[[Llama], Any]) -> float:
    """Nats left by the power of the length that was fitted without each length, or each shape."""
    rules = map(with_length, EXPONENTS)
    table = np.asarray([np.mean([left_over(llamas, rule, one) for one in anchors], axis=0) for rule in rules])
    groups = np.asarray([str(by(one)) for one in llamas])
    lost = [table[table[:, groups != one].mean(axis=1).argmin(), groups == one] for one in np.unique(groups)]
    return float(np.concatenate(lost).mean())


def regret_at_home(cases: Sequence[Case], shift: Shift, anchor: Callable[[Case], float]) -> float:
    """Points lost from the best peak, the mean over the tasks and all schedules."""
    lost = [case.regret(f, anchor(case) + shift(m)) for case in cases for f, m in enumerate(case.trained.multipliers)]
    return float(np.mean(lost))


def judged(recordings: Sequence[Recording], shift: Shift) -> np.ndarray:
    """Points lost from the best constant lr by the tasks that are judged by their loss, shape (tasks, SHAPES)."""
    rows = []
    for recording in recordings:
        start = float(LOG_LRS[int(np.argmax(truth_of(recording, "constant", 2).scores))])
        table = dict(zip(FAMILIES, multipliers_of(recording.steps), strict=True))
        lost = [
            score_at(recording, schedule, None) - score_at(recording, schedule, start + shift(table[name]))
            for schedule, name in SHAPES.items()
        ]
        rows.append(np.minimum(lost, CAP))
    return np.asarray(rows)


def score_at(recording: Recording, schedule: str, log10_lr: float | None, seeds: Sequence[int] = (0, 1)) -> float:
    """Of the peaks that were trained; the best one for None."""
    trained = np.isfinite(recording.score[schedule][:, :, -1]).any(axis=1)
    scores = settled(recording, schedule)[trained][:, list(seeds), -1].mean(axis=1)
    return float(scores.max() if log10_lr is None else np.interp(log10_lr, LOG_LRS[trained], scores))


def gains_at_home(cases: Sequence[Case], budget: float) -> np.ndarray:
    """Points of every schedule at the peak of `peak_for` above the constant lr that was found, (tasks, families)."""
    gains = np.zeros((len(cases), len(FAMILIES)))
    for t, run in itertools.product(range(len(cases)), range(CURVE_SEEDS)):
        case, lr = cases[t], np.log10(budgeted(cases[t].recording, run, budget).lr)
        at = [np.interp(lr + s, case.trained.log10_peaks, y) for s, y in zip(case.ours, case.scores, strict=True)]
        gains[t] += (np.asarray(at) - at[0]) / CURVE_SEEDS
    return np.clip(gains, -CAP, CAP)


def gains_judged(recordings: Sequence[Recording], budget: float) -> np.ndarray:
    """The same of the tasks judged by their loss, shape (tasks, SHAPES): one seed chooses, the other judges."""
    gains = np.zeros((len(recordings), len(SHAPES)))
    for (t, recording), seed in itertools.product(enumerate(recordings), (0, 1)):
        strategy = lrjax.Budget(trainings=budget)
        replay = Replay(Table(recording, [seed, 1 - seed] * 2), context_of(recording))
        *_, stages = run_stages(strategy, replay)
        lr = strategy.choose(stages, replay.context).lr
        base = score_at(recording, "constant", float(np.log10(lr)), (1 - seed,))
        for j, (schedule, family) in enumerate(SHAPES.items()):
            peak = lrjax.peak_for(lr, FAMILIES[family](recording.steps), recording.steps)
            gains[t, j] += (score_at(recording, schedule, float(np.log10(peak)), (1 - seed,)) - base) / 2
    return np.clip(gains, -CAP, CAP)


def gains_of_llamas(runs: Sequence[dict[str, Any]]) -> np.ndarray:
    """Nats of the best cosine below the best constant lr, of every model, data and length that had both."""
    best: dict[tuple[Any, ...], dict[str, float]] = {}
    for run in runs:
        config = run["config"]
        flat = config["scheduler"] == "wsd" and config["wsd_fract_decay"] == 0
        if flat or config["scheduler"] == "cos":
            table = best.setdefault((config["dataset"], config["n_embd"], config["iterations"]), {})
            name, loss = "constant" if flat else "cosine", run["summary"]["final-val/loss"]
            table[name] = min(loss, table.get(name, np.inf))
    return np.asarray([one["constant"] - one["cosine"] for one in best.values() if len(one) == 2])


def count(gains: np.ndarray) -> dict[str, Any]:
    """Mean, error, median, tasks better and worse by a fifth of a point."""
    mean, error = mean_and_error(gains)
    better, worse = int((gains > 0.2).sum()), int((gains < -0.2).sum())
    return {"mean": mean, "error": error, "median": float(np.median(gains)), "better": better, "worse": worse}


def named(names: Iterable[str], gains: np.ndarray) -> dict[str, Any]:
    """`count` of every column."""
    return {name: count(one) for name, one in zip(names, gains.T, strict=True)}


def judge(cases: Sequence[Case], recordings: Sequence[Recording], runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Everything, for the report."""
    llamas = llamas_of(runs)
    own = {steps: vertex(runs, steps) for steps in sorted({one.steps for one in llamas})}
    anchors = {name: dict.fromkeys(own, float(np.log10(lr))) for name, lr in AT_50000.items()} | {OWN_LENGTH: own}
    rules = {}
    for name, shift in RULES.items():
        lost = {anchor: left_over(llamas, shift, places) for anchor, places in anchors.items()}
        rules[name] = {
            "nats": {anchor: float(one.mean()) for anchor, one in lost.items()},
            "most": {anchor: float(one.max()) for anchor, one in lost.items()},
            "by_length": {str(t): float(lost[OWN_LENGTH][[one.steps == t for one in llamas]].mean()) for t in own},
            "home": {anchor: regret_at_home(cases, shift, place) for anchor, place in ANCHORS.items()},
            "judged": dict(zip(SHAPES, judged(recordings, shift).mean(axis=0).tolist(), strict=True)),
        }
    both = [anchors["best on the grid, 5e-4"], own]
    nats = gains_of_llamas(runs)
    return {
        "schedules": len(llamas),
        "best_constant": {str(steps): 10**place for steps, place in own.items()},
        "rules": rules,
        "power_without": {
            "each length": held_out(llamas, both, lambda one: one.steps),
            "each shape": held_out(llamas, both, lambda one: one.shape),
        },
        "gain": {
            f"{budget:g}": {
                "home": named(FAMILIES, gains_at_home(cases, budget)),
                "judged": named(SHAPES, gains_judged(recordings, budget)),
            }
            for budget in BUDGETS
        },
        "gain_of_llamas": {"pairs": len(nats), "nats": mean_and_error(nats)},
    }


def markdown(report: dict[str, Any]) -> dict[str, str]:
    """Name -> table: the rules, and what schedules gain."""
    heads = ["factor", *(f"nats: {name}" for name in (*AT_50000, OWN_LENGTH)), "most, of all"]
    heads += [f"points: {name}" for name in ANCHORS] + [f"judged by loss: {name}" for name in SHAPES]
    rows = [
        [name, *(f"{x:.4f}" for x in one["nats"].values()), f"{max(one['most'].values()):.3f}"]
        + [f"{x:.2f}" for x in (*one["home"].values(), *one["judged"].values())]
        for name, one in report["rules"].items()
    ]
    gains = []
    for where, name in [*(("home", name) for name in list(FAMILIES)[1:]), *(("judged", name) for name in SHAPES)]:
        cells = [one[where][name] for one in report["gain"].values()]
        told = [f"{x['mean']:+.2f} ± {x['error']:.2f} ({x['better']}/{x['worse']})" for x in cells]
        gains.append([name if where == "home" else f"judged by loss: {SHAPES[name]}", *told])
    columns = ["schedule", *(f"Budget({budget})" for budget in report["gain"])]
    return {"rules": markdown_table(heads, rows), "gains": markdown_table(columns, gains)}


def main() -> None:
    """Judge, write, print."""
    options = make_parser(__doc__).parse_args()
    paths = sorted((options.results / "families").glob("*.npz"))
    cases = [case_of(read_trained(path), read(options.results / "benchmark" / path.name)) for path in paths]
    runs = read_runs(Path(os.environ["LRJAX_DATA"]) / "recorded" / "llama_schedules" / "runs_124m.jsonl.gz")
    recordings = load(options.results / "lossjudged")
    report = judge(cases, recordings, runs)
    write_report(options.results / "long_peaks.json", [case.recording for case in cases], report)
    print("\n\n".join(markdown(report).values()))
    print({name: report[name] for name in ("best_constant", "power_without", "gain_of_llamas")})


if __name__ == "__main__":
    main()
