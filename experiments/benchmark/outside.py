"""Choices judged on trainings that others recorded: DeepOBS, Llamas, fine-tunings of DeBERTa. No constant is from here.

    LRJAX_DATA=... python -m experiments.benchmark.outside          # about a minute; no training

Reads recorded/ in `LRJAX_DATA`; writes experiments/results/outside.json and prints its tables. A grid of learning rates
falls on a cliff or beside it, so every number on DeepOBS is the mean over five shifts of the grid, in tenths of a
decade. Regret is in points of test accuracy, or percent of the reachable reduction of the test loss; at most 20 each.
"""

import functools
import gzip
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lrjax
from experiments.blocks import markdown_table
from experiments.data.places import data_folder

from .frontier import Context, Replay, Table, context_of, run_stages
from .judging import CAP, mean_and_error, truth_of
from .methods import seeds_of
from .recording import CURVE_SEEDS, Recording
from .replay import load, make_parser

BUDGETS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
OFFSETS = (0.0, 0.1, 0.2, 0.3, 0.4)
"""Decades by which the search's grid is shifted against the recorded one."""

SPACING = 0.2
"""Decades between recorded learning rates, 1e-5 to 1e2."""

ENDS = ("edge_low", "edge_high")
"""Warnings that are not counted: where a recorded range ends says nothing of the pick, which is judged within it."""

USUAL = {"AdamOptimizer": 1e-3, "GradientDescentOptimizer": 0.1, "MomentumOptimizer": 0.01}


class Training(NamedTuple):
    """A recorded problem with one optimizer, at 36 learning rates.

    Attributes:
      name: of both.
      steps: updates of the whole training.
      memory: updates for which the optimizer remembers a gradient.
      x: log10 of the learning rates.
      minibatch: losses of the first minibatches, before the update, shape (learning rates, updates).
      test: test loss after each epoch, the first before any, shape (learning rates, epochs + 1).
      accuracy: likewise, where it was recorded.
      scores: points at the end, mean over the seeds.
    """

    name: str
    steps: int
    memory: float
    x: np.ndarray
    minibatch: np.ndarray
    test: np.ndarray
    accuracy: np.ndarray | None
    scores: np.ndarray

    def losses(self, num_steps: int) -> np.ndarray:
        """Mean of the last tenth of the minibatches, as far as they go, then the test loss; inf where diverged."""
        if num_steps <= self.minibatch.shape[1]:
            values = self.minibatch[:, num_steps - max(1, num_steps // 10) : num_steps].mean(axis=1)
        else:
            values = self._between_epochs(self.test, num_steps)
        return np.where(np.isfinite(values), values, np.inf)

    def _between_epochs(self, values: np.ndarray, num_steps: int) -> np.ndarray:
        epochs = self.test.shape[1] - 1
        place = num_steps / self.steps * epochs
        before = min(int(place), epochs - 1)
        return (1 - (place - before)) * values[:, before] + (place - before) * values[:, before + 1]


class Shifted:
    """A training whose learning rates are all lower by so many decades, to replay and to judge."""

    def __init__(self, training: Training, offset: float):
        self.training, self._offset = training, offset
        self.context = Context(train_steps=training.steps, memory=training.memory)

    def train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> np.ndarray:
        """Losses, shape (seeds, exponents), all seeds the same; next to a diverged one the nearer point counts."""
        losses, x = self.training.losses(num_steps), self.training.x
        place = np.clip((np.asarray(exponents) + self._offset - x[0]) / SPACING, 0, len(x) - 1)
        below = np.minimum(np.floor(place + 1e-6).astype(int), len(x) - 2)
        share = np.clip(place - below, 0.0, 1.0)
        mixed = np.where(share > 1e-6, share * losses[below + 1], 0.0) + np.where(
            share < 1 - 1e-6, (1 - share) * losses[below], 0.0
        )
        nearer = np.where(share > 0.5, losses[below + 1], losses[below])
        return np.tile(np.where(np.isfinite(mixed), mixed, nearer), (num_seeds, 1))

    def initial_loss(self, num_seeds: int, num_steps: int) -> np.ndarray:
        """Before the first update, shape (seeds,)."""
        early = num_steps <= self.training.minibatch.shape[1]
        return np.full(num_seeds, np.nanmean((self.training.minibatch if early else self.training.test)[:, 0]))

    def regret(self, lr: float) -> float:
        """Points lost against the best learning rate, at most 20."""
        if not (np.isfinite(lr) and lr > 0):
            return CAP
        score = np.interp(np.log10(lr) + self._offset, self.training.x, self.training.scores)
        return float(min(CAP, self.training.scores.max() - score))


def read_training(path: Path) -> Training:
    """One file of DeepOBS."""
    with np.load(path) as file:
        data = dict(file)
    lrs, meta = np.log10(data["learning_rate"]), json.loads(str(data["meta"]))
    x = np.unique(np.round(lrs, 3))
    runs = [np.flatnonzero(np.abs(lrs - one) < 1e-3) for one in x]
    first = [int(rows[data["seed"][rows] == 42][0]) for rows in runs]
    steps = int(data["num_minibatch_losses"].max())
    test, accuracy = data["test_losses"].astype(float), data.get("test_accuracies")
    if accuracy is not None:
        ends = np.array([accuracy[rows, -1].astype(float).mean() for rows in runs])
        scores = np.where(np.isfinite(ends) & np.isfinite(test[first, -1]), 100.0 * ends, 0.0)
    else:
        ends, start = np.array([test[rows, -1].mean() for rows in runs]), float(np.nanmean(test[:, 0]))
        share = (start - ends) / (start - np.nanmin(ends))
        scores = np.where(np.isfinite(share), np.maximum(100.0 * share, 0.0), 0.0)
    hyper = meta["hyperparams"]
    return Training(
        name=path.stem.removesuffix("Optimizer"),
        steps=steps,
        memory=1.0 / (1.0 - hyper.get("momentum", hyper.get("beta1", 0.0))),
        x=x,
        minibatch=data["first_minibatch_losses"][first].astype(float)[:, :steps],
        test=test[first],
        accuracy=None if accuracy is None else accuracy[first].astype(float),
        scores=scores,
    )


class Told(NamedTuple):
    """A choice: learning rate, cost in trainings, names of the warnings."""

    lr: float
    cost: float
    warnings: tuple[str, ...]


def searched(strategy: Any, table: Shifted, *, known: bool = True) -> Told:
    """What a strategy chooses; `known`: whether it knows the length of the training."""
    context = table.context if known else Context(memory=table.context.memory)
    replay = Replay(table, context)
    *_, stages = run_stages(strategy, replay)
    choice = strategy.choose(stages, context)
    names = tuple(one.name.value for one in choice.warnings if one.name.value not in ENDS)
    return Told(choice.lr, stages[-1].spent / table.training.steps, names)


def budgeted(budget: float | None = None) -> Callable[[Shifted], Told]:
    """The search with a budget; None: by default."""
    return functools.partial(searched, lrjax.Budget(trainings=budget, min_lr=1e-5, max_lr=100.0))


def every_lr(share: float) -> Callable[[Shifted], Told]:
    """All 36 learning rates for a share of the training; the lowest loss."""

    def choose(table: Shifted) -> Told:
        losses = table.training.losses(round(share * table.training.steps))
        return Told(10.0 ** (table.training.x[np.argmin(losses)] - table._offset), 36 * share, ())

    return choose


def at_random(trainings: int) -> Callable[[Shifted], Told]:
    """So many whole trainings at random; the best test loss."""

    def choose(table: Shifted) -> Told:
        rng, last = (
            np.random.default_rng([trainings, round(10 * table._offset)]),
            table.training.losses(table.training.steps),
        )
        lanes = rng.integers(0, len(last), trainings)
        best = lanes[np.argmin(last[lanes])]
        return Told(10.0 ** (table.training.x[best] - table._offset), float(trainings), ())

    return choose


def usual(table: Shifted) -> Told:
    """What users take unasked."""
    kind = table.training.name.split("__")[1] + "Optimizer"
    return Told(USUAL[kind] / 10.0**table._offset, 0.0, ())


WAYS: dict[str, Callable[[Shifted], Told]] = {
    "by default": budgeted(),
    **{f"Budget({budget:g})": budgeted(budget) for budget in BUDGETS},
    "StepSampling": functools.partial(
        searched, lrjax.StepSampling(num_seeds=1, min_lr=1e-5, max_lr=100.0), known=False
    ),
    "36 lrs, a quarter of the training": every_lr(0.25),
    "8 random trainings": at_random(8),
    "the usual lr": usual,
}


def deepobs(trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """A line for every way: means over the tasks, each the mean over the offsets."""
    tables, lines = [[Shifted(one, offset) for offset in OFFSETS] for one in trainings], []
    for name, way in WAYS.items():
        told = [[way(table) for table in row] for row in tables]
        lost = [
            [table.regret(one.lr) for table, one in zip(*both, strict=True)] for both in zip(tables, told, strict=True)
        ]
        mean, error = mean_and_error(np.mean(lost, axis=1))
        picks = [
            (x, one.warnings) for row, ones in zip(lost, told, strict=True) for x, one in zip(row, ones, strict=True)
        ]
        lines.append(
            {
                "name": name,
                "regret": mean,
                "standard_error": error,
                "median": float(np.median(np.mean(lost, axis=1))),
                "cost": float(np.mean([one.cost for row in told for one in row])),
                "tasks": {one.name: float(np.mean(row)) for one, row in zip(trainings, lost, strict=True)},
                "warned": warned(picks),
            }
        )
    return lines


def warned(picks: Sequence[tuple[float, tuple[str, ...]]]) -> dict[str, Any]:
    """Of the ten worst and the ten best picks, how many had a warning, and which."""
    order = sorted(picks, key=lambda pick: pick[0])
    parts = {"worst": order[-10:], "best": order[:10]}
    return {
        name: {"regret": [round(x, 2) for x, _ in part], "warned": sum(bool(names) for _, names in part)}
        | {"names": sorted({one for _, names in part for one in names})}
        for name, part in parts.items()
    }


def warned_at_home(folder: Path) -> dict[str, Any]:
    """The same of the package's own tables, at a constant learning rate."""
    report = {}
    for name, part, seeds in (("home", "benchmark", None), ("judged by the loss", "lossjudged", 2)):
        for budget in (0.5, 2.0):
            picks = []
            for recording in load(folder / part):
                truth = truth_of(recording, "constant", *([] if seeds is None else [seeds]))
                for run in range(CURVE_SEEDS if seeds is None else seeds):
                    choice = choose(recording, budget, seeds_of(recording, run, 1) if seeds is None else (run,))
                    names = tuple(one.name.value for one in choice.warnings)
                    picks.append((min(truth.regret(choice.lr), CAP), names))
            report[f"{name}, Budget({budget:g})"] = warned(picks)
    return report


def choose(recording: Recording, budget: float, seeds: Sequence[int]) -> Any:
    """What a search with a budget chooses for a recorded task."""
    strategy, replay = lrjax.Budget(trainings=budget), Replay(Table(recording, seeds), context_of(recording))
    *_, stages = run_stages(strategy, replay)
    return strategy.choose(stages, replay.context)


def llamas(path: Path) -> dict[str, Any]:
    """Drift of the best constant learning rate of 124 M Llamas, and what `peak_for` makes of it for a cosine."""
    with gzip.open(path, "rt") as file:
        runs = [json.loads(line) for line in file]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for run in runs:
        config, loss = run["config"], run["summary"].get("final-val/loss")
        kind = "constant" if config["scheduler"] == "wsd" and not config.get("wsd_fract_decay") else config["scheduler"]
        if config["n_embd"] == 768 and loss is not None and np.isfinite(loss):
            found.setdefault((kind, config["iterations"]), []).append((np.log10(config["lr"]), loss))
    lines: dict[str, Any] = {}
    for (kind, steps), values in sorted(found.items()):
        x = np.unique([one for one, _ in values])
        loss = np.array([np.mean([value for one, value in values if one == place]) for place in x])
        if len(x) >= 3:
            lines[f"{kind}, {steps}"] = {"lrs": (10.0**x).tolist(), "losses": loss.tolist(), "best": vertex(x, loss)}
    return lines


def vertex(x: np.ndarray, loss: np.ndarray) -> float:
    """The learning rate of the lowest loss, by a parabola through the best and its neighbours."""
    best = int(np.clip(np.argmin(loss), 1, len(x) - 2))
    a, b, _ = np.polyfit(x[best - 1 : best + 2], loss[best - 1 : best + 2], 2)
    return float(10.0 ** (-b / (2 * a))) if a > 0 else float(10.0 ** x[np.argmin(loss)])


def fine_tunings(path: Path) -> dict[str, Any]:
    """What share of DeBERTa's fine-tunings fails, and the median accuracy of the others, by third decades of lr."""
    with gzip.open(path, "rt") as file:
        runs = [json.loads(line) for line in file]
    x = np.log10([run["learning_rate"] for run in runs])
    final = np.array([run["learning_curves"]["matched"][-1][1] for run in runs])
    edges = np.arange(np.floor(3 * x.min()) / 3, x.max() + 1 / 3, 1 / 3)
    bins, lines = np.digitize(x, edges) - 1, []
    for index in np.unique(bins):
        inside = final[bins == index]
        failed = inside < 0.5
        alive = float(np.median(inside[~failed])) if not failed.all() else None
        lines.append(
            {
                "lr": float(10.0 ** (edges[index] + 1 / 6)),
                "runs": len(inside),
                "failed": float(failed.mean()),
                "median": alive,
            }
        )
    return {"bins": lines, "highest_that_never_failed": float(10.0 ** x[final < 0.5].min())}


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """The table of DeepOBS."""
    rows = [
        [
            one["name"],
            f"{one['cost']:.2f}",
            f"{one['regret']:.2f} ± {one['standard_error']:.2f}",
            f"{one['median']:.2f}",
        ]
        + [f"{one['warned'][part]['warned']}/10" for part in ("worst", "best")]
        for one in lines
    ]
    return markdown_table(["", "cost", "regret", "median", "worst ten warned", "best ten warned"], rows)


def main() -> None:
    """Replay, write, print."""
    options = make_parser(__doc__).parse_args()
    started, data = time.perf_counter(), data_folder(None) / "recorded"
    trainings = [read_training(path) for path in sorted((data / "deepobs").glob("*.npz"))]
    report = {
        "deepobs": deepobs(trainings),
        "warned": warned_at_home(options.results),
        "llamas": llamas(data / "llama_schedules" / "runs_124m.jsonl.gz"),
        "deberta": fine_tunings(data / "deberta_mnli" / "deberta_base.jsonl.gz"),
    }
    (options.results / "outside.json").write_text(json.dumps(report, allow_nan=False) + "\n")
    print(markdown(report["deepobs"]))
    for name in ("llamas", "deberta"):
        print(json.dumps(report[name], indent=1)[:4000])
    print(f"\n{len(trainings)} trainings in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
