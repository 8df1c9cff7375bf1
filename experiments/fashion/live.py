"""Two problems of DeepOBS, trained live on Fashion-MNIST, beside the trainings of them that others recorded.

    LRJAX_DATA=... python -m experiments.fashion.live              # goes on where it stopped
    LRJAX_DATA=... python -m experiments.fashion.live --steps 2    # tries it

Reads fashion-mnist/ (Debian's `dataset-fashion-mnist`) and recorded/deepobs/ in the data folder; writes
experiments/results/fashion.json. For each network and optimizer:
- records: the recorded losses of the first updates and at the end, and what `Budget` finds when it is fed from them,
  for five shifts of its grid;
- curve: our losses of the first updates at learning rates that the records have too, as they have them: the mean of
  the training losses in the last tenth of the updates;
- search: what the same `Budget` finds live.
The recorded autoencoder is of MNIST, ours of Fashion-MNIST.
"""

import argparse
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import lrjax
from experiments.benchmark.outside import OFFSETS, Shifted, budgeted, read_training
from experiments.data.fashion_mnist import Clothes, load_fashion_mnist
from experiments.data.places import data_folder
from experiments.fashion.networks import cnn_task, vae_task
from experiments.paper.run import ROOT, Lines, say
from experiments.paper.store import Store
from experiments.speed.machine import describe_machine, today

RESULTS = ROOT / "experiments" / "results" / "fashion.json"
MIN_LR, MAX_LR = 1e-5, 100.0
"""The range of the searches: that of the records."""

EVERY = 0.4
"""Decades between the learning rates of the curves: every second one of the records."""

CURVE_KEY, SEARCH_KEY = 0, 1


class Subject(NamedTuple):
    """A network with an optimizer.

    Attributes:
      record: the file of the records.
      make_task: of the images.
      make_optimizer: of a learning rate.
      exponents: lowest and highest log10(lr) of the curve.
      horizons: updates after which it is read, of which the records have the first 2,000.
      budget: of the search, in trainings: what one slow core does in minutes.
    """

    record: str
    make_task: Callable[[Clothes], lrjax.Task]
    make_optimizer: Callable[[Any], optax.GradientTransformation]
    exponents: tuple[float, float]
    horizons: tuple[int, ...]
    budget: float


SUBJECTS = {
    "CNN, SGD": Subject("fmnist_2c2d__GradientDescent", cnn_task, optax.sgd, (-2.4, 0.0), (1, 20, 50, 100), 0.02),
    "CNN, Adam": Subject("fmnist_2c2d__Adam", cnn_task, optax.adam, (-3.6, -1.2), (1, 20, 50), 0.02),
    "VAE, Adam": Subject("mnist_vae__Adam", vae_task, optax.adam, (-4.0, -2.0), (1, 20, 50), 0.01),
}


def read_records(subject: Subject) -> dict[str, Any]:
    """What the records say of the first updates and of the end, and what a search finds in them."""
    path = data_folder(None) / "recorded" / "deepobs" / f"{subject.record}Optimizer.npz"
    training, horizons = read_training(path), subject.horizons
    with np.load(path) as file:
        lrs, minibatch = file["learning_rate"], file["first_minibatch_losses"].astype(float)
    values, counts = np.unique(np.round(np.log10(lrs), 3), return_counts=True)
    repeated = values[np.argmax(counts)]
    rows = minibatch[np.abs(np.log10(lrs) - repeated) < 1e-3]
    return {
        "train_steps": training.steps,
        "log10_lrs": training.x,
        "losses": {n: training.losses(n) for n in horizons},
        "repeated": {"log10_lr": repeated, "losses": {n: last_tenth(rows, n) for n in horizons}},  # losses of its seeds
        "scores": training.scores,
        "last_test_losses": training.test[:, -1],
        "found": [found_in_records(Shifted(training, offset), offset, subject.budget) for offset in OFFSETS],
    }


def last_tenth(minibatch: np.ndarray, num_steps: int) -> np.ndarray:
    """Mean of the last tenth of the first minibatch losses, shape (runs,)."""
    return minibatch[:, num_steps - max(1, num_steps // 10) : num_steps].mean(axis=1)


def found_in_records(table: Shifted, offset: float, budget: float) -> dict[str, Any]:
    """What the search finds when the records are its trainings, in their learning rates."""
    told = budgeted(budget)(table)
    return {"log10_lr": np.log10(told.lr) + offset, "warnings": told.warnings, "trainings": told.cost}


def train_curve(subject: Subject, task: lrjax.Task, folder: Path) -> dict[str, Any]:
    """Training losses live, as the records have them: the mean of the last tenth of the updates."""
    (low, high), horizons = subject.exponents, subject.horizons
    exponents = np.arange(low, high + 0.5 * EVERY, EVERY)
    starts = {n - max(1, n // 10) for n in horizons}
    folder.mkdir(parents=True, exist_ok=True)
    swept = lrjax.sweep(
        dataclasses.replace(task, eval_batches=task.eval_batches[:1]),  # what is read are the training losses
        subject.make_optimizer,
        {"learning_rate": 10.0**exponents},
        key=jax.random.key(CURVE_KEY),
        train_steps=max(horizons),
        eval_every=sorted({*horizons, *starts} - {0}),
        directory=folder,
        progress=Lines(f"{subject.record}, curve"),
    )
    losses = swept.metrics["train_loss"][:, 0]
    return {
        "log10_lrs": exponents,
        "losses": {n: losses[:, swept.steps.tolist().index(n)] for n in horizons},
        "updates": swept.execution.updates,
        "seconds": swept.execution.run_seconds,
        "executor": swept.execution.used,
    }


def search(subject: Subject, train_steps: int, task: lrjax.Task, folder: Path) -> dict[str, Any]:
    """What the search finds live."""
    result = lrjax.find_lr(
        task,
        subject.make_optimizer,
        lrjax.Budget(trainings=subject.budget, min_lr=MIN_LR, max_lr=MAX_LR),
        key=jax.random.key(SEARCH_KEY),
        train_steps=train_steps,
        directory=folder,
        throw=False,
        progress=Lines(f"{subject.record}, search"),
    )
    say(result.summary())
    return {
        "lr": result.lr,
        "outcome": result.outcome.name,
        "interval": result.interval,
        "warnings": [one.name.value for one in result.warnings],
        "reason": result.reason,
        "stages": [
            {"updates": one.num_steps, "log10_lrs": one.log10_lrs, "losses": one.losses[0]} for one in result.stages
        ],
        **result.cost._asdict(),
        "executor": result.execution.used,
    }


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing of every subject."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder around fashion-mnist; else LRJAX_DATA, as for recorded/")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results")
    parser.add_argument("--work", type=Path, default=ROOT / "lrjax-out" / "fashion", help="folder of checkpoints")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS), help="the others wait")
    parser.add_argument("--steps", type=int, help="so many updates of every curve, and no search, to try the script")
    options = parser.parse_args(arguments)
    clothes = load_fashion_mnist(data_folder(options.data))
    store = Store(options.out, {"date": today(), "lrjax": lrjax.__version__, "machine": describe_machine()})
    for name in options.only:
        horizons = (1, options.steps) if options.steps else SUBJECTS[name].horizons
        run_subject(name, SUBJECTS[name]._replace(horizons=horizons), store, clothes, options)


def run_subject(name: str, subject: Subject, store: Store, clothes: Clothes, options: argparse.Namespace) -> None:
    """Every part that the results do not have yet."""
    task, work = subject.make_task(clothes), options.work / options.out.stem / name
    store.begin(name, {"horizons": subject.horizons, "exponents": subject.exponents, "budget": subject.budget})
    kept = store.part(name, "records", lambda: read_records(subject))
    store.part(name, "curve", lambda: train_curve(subject, task, work))
    if not options.steps:
        store.part(name, "search", lambda: search(subject, kept["train_steps"], task, work))
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
