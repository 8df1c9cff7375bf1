"""Real calls on the tasks that are judged by a loss: what is lost, as constant learning rate and as a schedule's peak.

    taskset -c 0 python -m experiments.benchmark.lossjudged           # a minute a task; goes on where it stopped
    python -m experiments.benchmark.lossjudged --print                # the tables again
    python -m experiments.benchmark.lossjudged --fresh                # all calls anew

Reads experiments/results/lossjudged/*.npz; writes experiments/results/lossjudged.json. Every call has default
arguments and a key that no recorded training had; where nothing is found, all is lost. No constant of the package was
chosen by these tasks.
- Regret: percent of the logarithm of the way from the untrained to the lowest test loss, at most 20 in a mean; as a
  peak, of what `lrjax.peak_for` makes of the result, against the best peak of that schedule.
- Steady: the same against the mean score of the last third of a training, where one loss may jump by a decade.
- Excess: of the final test loss over the best, in percent, for the language models.
- Cost: updates over those of one training.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lrjax
from experiments.blocks import markdown_table
from experiments.paper.store import Store
from experiments.speed import machine

from . import loss_tasks  # noqa: F401  registers them
from .families import FAMILIES
from .judging import CAP, LOG_LRS, mean_and_error, truth_of
from .loss_problem import LOSS_TASKS
from .loss_record import FOLDER, SEEDS, SHAPES, log_loss
from .problem import OPTIMIZERS, Problem
from .recording import Recording, read
from .replay import RESULTS

CALLS: dict[str, Callable[[Problem], dict[str, Any]]] = {
    "no train_steps": lambda problem: {},
    "by default": lambda problem: {"train_steps": problem.steps},
    "0.5 trainings": lambda problem: {"strategy": lrjax.Budget(trainings=0.5), "train_steps": problem.steps},
    "2 trainings": lambda problem: {"strategy": lrjax.Budget(trainings=2.0), "train_steps": problem.steps},
}
"""Name -> further arguments of `lrjax.find_lr`."""

USUAL = "the optimizer's usual lr"

STEADY = 2 / 3
"""Share of the training from which on the mean of the scores is a truth that no jump of the last loss makes."""

LOST = 10.0
"""Of the logarithm: what diverged, or was not trained, is so far above the best."""

LANGUAGE_MODELS = ("finetune_manual_adamw", "gpt_source_adamw", "gpt_source_muon", "lstm_source_adam")


def call(problem: Problem, name: str) -> dict[str, Any]:
    """What a search found: a learning rate by schedule, nan for none; its cost in trainings and its warnings."""
    found = lrjax.find_lr(
        problem.task, problem.make_optimizer, key=jax.random.key(1), throw=False, **CALLS[name](problem)
    )
    lrs = {"constant": float(found.lr)}
    for schedule, family in SHAPES.items():
        shape = FAMILIES[family](problem.steps)
        lrs[schedule] = lrjax.peak_for(found, shape, problem.steps) if np.isfinite(found.lr) else float("nan")
    return {
        "lrs": lrs,
        "cost": found.cost.updates / problem.steps,
        "warnings": [warning.name.value for warning in found.warnings],
        "seconds": found.cost.seconds,
    }


def usual(recording: Recording) -> dict[str, Any]:
    """The optimizer's usual learning rate, in the form of a call's answer."""
    lr = OPTIMIZERS[recording.optimizer].usual_lr
    return {"lrs": dict.fromkeys(("constant", *SHAPES), lr), "cost": 0.0, "warnings": []}


def judge(recording: Recording, answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer loses, by schedule."""
    told: dict[str, Any] = {"cost": answer["cost"], "warnings": answer["warnings"]}
    for schedule, lr in answer["lrs"].items():
        lr, truth = float(lr), truth_of(recording, schedule, SEEDS)
        losses = log_loss(recording.test_loss[schedule])[:, -1]
        losses = np.where(np.isfinite(losses), losses, np.nanmin(losses) + LOST)
        there = float(np.interp(np.log10(lr), LOG_LRS, losses)) if np.isfinite(lr) else np.inf
        told[schedule] = {
            "lr": lr,
            "regret": truth.regret(lr),
            "steady": truth_of(steady(recording), schedule, SEEDS).regret(lr),
            "decades": truth.distance(lr),
            "excess": 100.0 * float(np.expm1(there - losses.min())),
        }
    return told


def steady(recording: Recording) -> Recording:
    """With the mean of the last third as the last score; what diverged stays so."""
    late = np.asarray(recording.horizons) >= STEADY * recording.steps
    scores = {}
    for schedule, score in recording.score.items():
        scores[schedule] = score.copy()
        scores[schedule][..., -1] = np.where(np.isfinite(score[..., -1]), score[..., late].mean(axis=-1), np.nan)
    return dataclasses.replace(recording, score=scores)


def best_table(recordings: Sequence[Recording]) -> str:
    """Every task and its best learning rate by schedule."""
    rows = []
    for one in recordings:
        peaks = [f"{10 ** LOG_LRS[int(np.argmax(truth_of(one, s, SEEDS).scores))]:.1e}" for s in one.score]
        lowest = [f"{np.exp(np.nanmin(log_loss(one.test_loss[s])[:, -1])):.4g}" for s in one.score]
        best = [f"{loss} at {peak}" for loss, peak in zip(lowest, peaks, strict=True)]
        rows.append([f"`{one.name}`", one.optimizer, str(one.steps), *best])
    return markdown_table(["task", "optimizer", "updates", "constant: lowest test loss", "cosine", "wsd"], rows)


def summary_table(judged: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Every call over all tasks: mean and standard error, median, and the worst excess of a language model."""
    rows = []
    for name in (USUAL, *CALLS):
        told = {task: answers[name] for task, answers in judged.items() if name in answers}
        if not told:
            continue
        cells = [name, f"{np.mean([one['cost'] for one in told.values()]):.2f}"]
        for schedule in ("constant", "cosine"):
            lost = np.minimum([one[schedule]["regret"] for one in told.values()], CAP)
            mean, error = mean_and_error(lost)
            cells.append(f"{mean:.2f} ± {error:.2f} [{np.median(lost):.2f}]")
        worst = [float(told[task]["constant"]["excess"]) for task in LANGUAGE_MODELS if task in told]
        rows.append([*cells, f"{max(worst):.1f}" if worst else ""])
    return markdown_table(["", "cost", "constant", "cosine", "language models, highest excess, %"], rows)


def task_table(judged: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Every task and call: regrets with decades off, excess, cost, warnings."""
    rows = []
    for task, answers in judged.items():
        for name, told in answers.items():
            lost = [f"{told[s]['regret']:.2f} ({told[s]['decades']:+.2f})" for s in ("constant", *SHAPES)]
            excess = " / ".join(f"{told[s]['excess']:.1f}" for s in ("constant", *SHAPES))
            rows.append([f"`{task}`", name, *lost, excess, f"{told['cost']:.2f}", ", ".join(told["warnings"])])
    heads = ["task", "call", "constant: regret (decades off)", "cosine", "wsd", "excess, %", "cost", "warnings"]
    return markdown_table(heads, rows)


def main() -> None:
    """Make the calls that are missing, judge all, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=RESULTS / "lossjudged.json")
    parser.add_argument("--print", action="store_true", help="only print the tables")
    parser.add_argument("--fresh", action="store_true", help="make all calls anew")
    options = parser.parse_args()
    if options.fresh:
        options.out.unlink(missing_ok=True)
    store = Store(options.out, {"date": machine.today(), "machine": machine.describe_machine()})
    recordings = [read(path) for path in sorted(options.recordings.glob("*.npz"))]
    judged: dict[str, dict[str, dict[str, Any]]] = {}
    for recording in recordings:
        task, answers = recording.name, {USUAL: usual(recording)}
        if not options.print:
            problem = LOSS_TASKS[task]()
            store.begin(task, {"optimizer": problem.optimizer, "steps": problem.steps})
            for name in CALLS:
                print(f"{task}: {name}", file=sys.stderr, flush=True)
                store.part(task, name, lambda p=problem, n=name: call(p, n))
        answers |= store.results["plans"].get(task, {"parts": {}})["parts"]
        judged[task] = {name: judge(recording, answer) for name, answer in answers.items()}
        if not options.print:
            store.summarise(task, judged[task])
    print(f"{best_table(recordings)}\n\n{summary_table(judged)}\n\n{task_table(judged)}")


if __name__ == "__main__":
    main()
