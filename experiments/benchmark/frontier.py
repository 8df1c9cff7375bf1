"""What a search with a budget finds: regret against cost, for `lrjax.Budget` and for what else a budget buys.

    python -m experiments.benchmark.frontier               # minutes; no data and no training

Reads experiments/results/benchmark/*.npz; writes experiments/results/frontier.json. The search is the library's own
strategy on a trainer that reads the recorded losses; between recorded steps they are interpolated in log(steps). A
budget is a multiple of the cost of one full training.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import lrjax
from experiments.blocks import markdown_table
from lrjax._search import Context, curve_of_losses, run_stages

from .judging import CAP, LOG_LRS, Truth, mean_and_error, truth_of
from .methods import RULES, full_loss, random_search, seeds_of, tpe_search
from .recording import CURVE_SEEDS, RIVALS, SCHEDULES, Recording
from .replay import judge_rival, load, make_parser, write_report
from .searching import Choice, search

BUDGETS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MEMORY = {"sgd": 1, "adagrad": 1, "rmsprop": 1, "adam": 10, "adamw": 10, "lion": 100, "momentum": 10, "muon": 20}
MEMORY |= {"momentum 0.99": 100}
"""Updates for which the tasks' optimizers remember a gradient."""

HALF_DECADES = tuple(float(x) for x in LOG_LRS[::2])


class Table:
    """Recorded losses of any learning rates, after any number of steps.

    Args:
      recording: of the task.
      seeds: which of its seeds stand for 0, 1, ...
    """

    def __init__(self, recording: Recording, seeds: Sequence[int]):
        self._recording, self._seeds = recording, list(seeds)

    def train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> np.ndarray:
        """Recorded losses, shape (seeds, exponents); inf where diverged."""
        places = [int(np.argmin(np.abs(LOG_LRS - x))) for x in exponents]
        losses = self._recording.loss["constant"][places][:, self._seeds[:num_seeds]].astype(np.float64)
        return self._at(losses, num_steps).T

    def initial_loss(self, num_seeds: int, num_steps: int) -> np.ndarray:
        """Recorded losses at learning rate 0, shape (seeds,)."""
        return self._at(self._recording.initial_loss[self._seeds[:num_seeds]].astype(np.float64), num_steps)

    def _at(self, values: np.ndarray, num_steps: int) -> np.ndarray:
        """Between the two recorded numbers of steps; what diverges between them has diverged."""
        horizons = np.log(self._recording.horizons)
        right = int(np.clip(np.searchsorted(horizons, math.log(num_steps) - 1e-9), 1, len(horizons) - 1))
        share = np.clip((math.log(num_steps) - horizons[right - 1]) / (horizons[right] - horizons[right - 1]), 0, 1)
        mixed = (1 - share) * values[..., right - 1] + (share * values[..., right] if share > 0 else 0.0)
        return np.where(np.isfinite(mixed), mixed, np.inf)


class Replay:
    """The trainer of a strategy, which looks losses up instead of training; `table` has `train` and `initial_loss`."""

    def __init__(self, table: Any, context: Context):
        self.context, self._table = context, table

    def train(self, request: lrjax.Request) -> lrjax.LossCurve:
        """The curve of a request's learning rates."""
        lanes, seeds, steps = list(request.log10_lrs), request.num_seeds or 1, request.num_steps
        losses, initial = self._table.train(lanes, seeds, steps), self._table.initial_loss(seeds, steps)
        return curve_of_losses(lanes, losses, initial, steps)

    def inspect(self, stages: tuple[lrjax.Stage, ...]) -> None:
        """Nothing: a recorded loss moves."""


def context_of(recording: Recording) -> Context:
    """What a search of a recorded task may know."""
    baseline = recording.baseline_loss if np.isfinite(recording.baseline_loss) else None
    return Context(train_steps=recording.steps, baseline_loss=baseline, memory=MEMORY[recording.optimizer])


def budgeted(recording: Recording, run: int, budget: float | None) -> Choice:
    """`lrjax.find_lr` with a `lrjax.Budget`; None: by default."""
    strategy = lrjax.Budget(trainings=budget)
    replay = Replay(Table(recording, seeds_of(recording, run, CURVE_SEEDS)), context_of(recording))
    *_, stages = run_stages(strategy, replay)
    return Choice(strategy.choose(stages, replay.context).lr, stages[-1].spent)


def sampled(recording: Recording, run: int) -> Choice:
    """`lrjax.find_lr` without the length of the training, with one seed."""
    strategy = lrjax.StepSampling(num_seeds=1, extend_range=False)  # losses are recorded within its range
    context = dataclasses.replace(context_of(recording), train_steps=None)
    replay = Replay(Table(recording, seeds_of(recording, run, 1)), context)
    *_, stages = run_stages(strategy, replay)
    return Choice(strategy.choose(stages, replay.context).lr, stages[-1].spent)


def halving(recording: Recording, run: int, budget: float) -> Choice:
    """Successive halving on half decades (from a budget of 8 on, quarters): the better half trains twice as long."""
    lanes = list(HALF_DECADES if budget < 8 else map(float, LOG_LRS))
    table, spent, before = Table(recording, seeds_of(recording, run, 1)), 0, 0
    counts = [len(lanes)]
    while counts[-1] > 1:
        counts.append(math.ceil(counts[-1] / 2))
    lengths = [2**i for i in range(len(counts) - 1)]  # the last one is the choice
    cost = sum(
        count * (length - shorter) for count, length, shorter in zip(counts[:-1], lengths, [0, *lengths], strict=False)
    )
    first = max(5.0, budget * recording.steps / cost)
    for count, length in zip(counts[1:], lengths, strict=True):
        steps = min(int(first * length), recording.steps)
        losses = table.train(lanes, 1, steps)[0]
        spent += len(lanes) * (steps - before)
        lanes, before = [lanes[i] for i in sorted(np.argsort(losses, kind="stable")[:count])], steps
    return Choice(10.0 ** lanes[0], spent)


def full_grid(recording: Recording, run: int, budget: float) -> Choice:
    """As many full trainings as the budget has, evenly over 1e-7 to 10, chosen by the final validation loss."""
    count = max(1, round(budget))
    exponents = np.linspace(-7, 1, count + 2)[1:-1]
    seed = seeds_of(recording, run, 1)[0]
    losses = [full_loss(recording, "constant", 10.0**x, seed) for x in exponents]
    return Choice(float(10.0 ** exponents[int(np.argmin(losses))]), count * recording.steps)


Way = Callable[[Recording, int, float], Choice]
WAYS: dict[str, tuple[Way, float, int]] = {
    "Budget": (budgeted, 0.0, CURVE_SEEDS),
    "successive halving": (halving, 0.0, CURVE_SEEDS),
    "random, full trainings": (lambda r, run, b: random_search(round(b), 1e-7, 10.0)(r, "constant", run), 1.0, 20),
    "random in 1e-5 to 1, full trainings": (
        lambda r, run, b: random_search(round(b), 1e-5, 1.0)(r, "constant", run),
        1.0,
        20,
    ),
    "TPE, full trainings": (lambda r, run, b: tpe_search(round(b))(r, "constant", run), 1.0, 10),
    "grid, full trainings": (full_grid, 1.0, CURVE_SEEDS),
}
"""Name -> (how, smallest budget, runs)."""


def fixed(recording: Recording, run: int, seeds: int) -> Choice:
    """The paper's method 1, which knows no budget."""
    found = search(recording, seeds_of(recording, run, seeds))
    return Choice(RULES["method 1 (midpoint)"](found), found.updates)


def measure(
    recordings: Sequence[Recording], way: Callable[[Recording, int], Choice], runs: int
) -> list[dict[str, Any]]:
    """For every task: regret by schedule, share in range, cost in trainings, means over the runs."""
    tasks = []
    for recording in recordings:
        choices = [way(recording, run) for run in range(runs)]
        lrs = [choice.lr for choice in choices]
        task: dict[str, Any] = {
            "task": recording.name,
            "cost": float(np.mean([choice.updates for choice in choices])) / recording.steps,
        }
        for schedule in SCHEDULES:
            truth: Truth = truth_of(recording, schedule)
            regrets = [truth.regret(lr) for lr in lrs]
            task[schedule] = {
                "regret": float(np.mean(np.minimum(regrets, CAP))),
                "worst": float(np.max(regrets)),
                "in_range": float(np.mean([truth.in_range(lr) for lr in lrs])),
            }
        tasks.append(task)
    return tasks


def regrets(tasks: Sequence[dict[str, Any]]) -> np.ndarray:
    """Of every task, the mean of both schedules."""
    return np.asarray([np.mean([task[schedule]["regret"] for schedule in SCHEDULES]) for task in tasks])


def _paired(values: np.ndarray, base: np.ndarray) -> dict[str, float]:
    return dict(zip(("difference", "standard_error"), mean_and_error(values - base), strict=True))


def frontier(recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    """A line for every way and budget."""
    lines: list[dict[str, Any]] = []

    def add(name: str, budget: float | None, tasks: list[dict[str, Any]]) -> None:
        lines.append({"name": name, "budget": budget, "tasks": tasks})

    for seeds in (1, 3):
        tasks = measure(recordings, lambda r, run, s=seeds: fixed(r, run, s), CURVE_SEEDS)
        add(f"method 1, {seeds} seed{'s' * (seeds > 1)}", None, tasks)
    add("StepSampling", None, measure(recordings, sampled, CURVE_SEEDS))
    add("by default", None, measure(recordings, lambda r, run: budgeted(r, run, None), CURVE_SEEDS))
    for name, (way, least, runs) in WAYS.items():
        for budget in BUDGETS:
            if budget >= least:
                add(name, budget, measure(recordings, lambda r, run, w=way, b=budget: w(r, run, b), runs))
    for name in RIVALS if all(set(RIVALS) <= set(recording.rivals) for recording in recordings) else ():
        tasks = []
        for recording in recordings:
            task: dict[str, Any] = {"task": recording.name, "cost": 0.0}
            for schedule in SCHEDULES:
                rival = judge_rival(recording, truth_of(recording, schedule), name)
                task[schedule] = {"regret": rival["regret"], "worst": rival["worst"], "in_range": None}
            tasks.append(task)
        add(name, None, tasks)
    base, generous = regrets(lines[0]["tasks"]), regrets(lines[1]["tasks"])
    for line in lines:
        values = regrets(line["tasks"])
        line["mean_regret"], line["standard_error_of_mean"] = mean_and_error(values)
        line["median_regret"] = float(np.median(values))
        line["cost"] = float(np.mean([task["cost"] for task in line["tasks"]]))
        line["worst"] = max(task[schedule]["worst"] for task in line["tasks"] for schedule in SCHEDULES)
        shares = [task[one]["in_range"] for task in line["tasks"] for one in SCHEDULES]
        line["share_in_range"] = None if None in shares else float(np.mean(shares))
        line["minus_method_1"] = _paired(values, base)
        line["minus_method_1_with_3_seeds"] = _paired(values, generous)
    return lines


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """The table."""
    heads = ["", "budget", "cost", "regret", "median", "worst", "in range", "- method 1", "- method 1, 3 seeds"]
    rows = []
    for line in lines:
        one, three = line["minus_method_1"], line["minus_method_1_with_3_seeds"]
        rows.append(
            [
                line["name"],
                "" if line["budget"] is None else f"{line['budget']:g}",
                f"{line['cost']:.2f}",
                f"{line['mean_regret']:.2f}",
                f"{line['median_regret']:.2f}",
                f"{line['worst']:.1f}",
                "" if line["share_in_range"] is None else f"{line['share_in_range']:.0%}",
                f"{one['difference']:+.2f} ± {one['standard_error']:.2f}",
                f"{three['difference']:+.2f} ± {three['standard_error']:.2f}",
            ]
        )
    return markdown_table(heads, rows)


def main() -> None:
    """Replay, write, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--folder", default="benchmark", help='of the recordings, in the results: "benchmark", "long"')
    options = parser.parse_args()
    started = time.perf_counter()
    recordings = load(options.results / options.folder)
    name = "frontier" if options.folder == "benchmark" else f"frontier_{options.folder}"
    lines = frontier(recordings)
    print(markdown(lines), flush=True)
    write_report(options.results / f"{name}.json", recordings, {"lines": lines})
    print(f"\n{len(recordings)} tasks in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
