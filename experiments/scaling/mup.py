"""Does the best learning rate stay where it is as the width grows eightfold, with muP and without?

    python -m experiments.scaling.mup --data DIR     # 8 minutes of one core; goes on where it stopped
    python -m experiments.scaling.mup --report       # the table and the picture from the results

A transformer of two blocks that reads source code, and an MLP on Fashion-MNIST, which DIR holds; Adam and SGD. Every
width is trained at the same learning rates, from the same batches; at the base's width both are the same training.

Writes experiments/results/scaling/mup.json and docs/images/mup.png.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import linen as nn

import lrjax
from experiments.benchmark.loss_modules import GPT
from experiments.benchmark.loss_sources import ALPHABET
from experiments.benchmark.modules import MLP
from experiments.data.fashion_mnist import CLASSES
from lrjax.scaling import mup, rescale_init

from .tasks import clothes, make_task, source_pieces

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "experiments/results/scaling/mup.json"

SPACING = 1 / 3
"""Decades between learning rates."""

HEAD = 8
"""Width of an attention head; wider models have more of them."""


class Subject(NamedTuple):
    """What is trained at several widths, the first of which is the base."""

    widths: tuple[int, ...]
    batch_size: int
    steps: int
    seeds: int
    lrs: dict[str, tuple[float, float]]  # log10 of the lowest and the highest, for each optimizer


SUBJECTS = {
    "MLP": Subject((32, 64, 256), 64, 150, 2, {"adam": (-4.0, -1.0), "sgd": (-2.0, 1.0)}),
    "transformer": Subject((16, 32, 128), 8, 150, 1, {"adam": (-3.667, -1.0), "sgd": (-1.333, 1.333)}),
}
OPTIMIZERS: dict[str, Any] = {"adam": optax.adam, "sgd": optax.sgd}


def task_at(name: str, width: int, data: str | None) -> lrjax.Task:
    """A subject at a width, with its library's own initialisation."""
    if name == "MLP":
        module, examples = MLP(CLASSES, (width, width)), clothes(data)
    else:
        module, examples = GPT(ALPHABET, width=width, heads=width // HEAD), source_pieces()
    assert isinstance(module, nn.Module)
    return make_task(module, examples, SUBJECTS[name].batch_size)


def train(name: str, optimizer: str, width: int, data: str | None, *, scaled: bool) -> dict[str, list[Any]]:
    """The losses after training at every learning rate: rows of seeds."""
    subject, task = SUBJECTS[name], task_at(name, width, data)
    make_optimizer = OPTIMIZERS[optimizer]
    if scaled:
        base, own = task_at(name, subject.widths[0], data).init(jax.random.key(0)), task.init
        make_optimizer = mup(make_optimizer, base=base, params=jax.eval_shape(own, jax.random.key(0)))
        task = make_scaled(task, base)
    low, high = subject.lrs[optimizer]
    lrs = 10 ** np.arange(low, high + SPACING / 2, SPACING)
    options = {"key": jax.random.key(0), "train_steps": subject.steps, "num_seeds": subject.seeds}
    found = lrjax.sweep(task, make_optimizer, {"learning_rate": lrs}, executor="loop", **options)
    losses = np.where(found.diverged_at >= 0, np.inf, found.metrics["loss"][:, :, -1])
    return {
        "lr": lrs.tolist(),
        "loss": [[float(value) if np.isfinite(value) else None for value in row] for row in losses],
    }


def make_scaled(task: lrjax.Task, base: Any) -> lrjax.Task:
    """The task with muP's initialisation."""

    return dataclasses.replace(task, init=lambda key: rescale_init(task.init(key), base))


def main() -> None:
    """Train what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder around fashion-mnist")
    parser.add_argument("--report", action="store_true", help="train nothing")
    options = parser.parse_args()
    rows = json.loads(RESULT.read_text()) if RESULT.exists() else []
    done = {(row["subject"], row["optimizer"], row["arm"], row["width"]) for row in rows}
    trainings = [
        (name, optimizer, arm, width)
        for optimizer in OPTIMIZERS
        for name, subject in SUBJECTS.items()
        for width in reversed(subject.widths)
        for arm in (("both",) if width == subject.widths[0] else ("muP", "standard"))
    ]
    for name, optimizer, arm, width in [] if options.report else trainings:
        if (name, optimizer, arm, width) not in done:
            table = train(name, optimizer, width, options.data, scaled=arm == "muP")
            rows.append({"subject": name, "optimizer": optimizer, "arm": arm, "width": width, **table})
            RESULT.parent.mkdir(parents=True, exist_ok=True)
            RESULT.write_text(json.dumps(rows, indent=1) + "\n")
            print(name, optimizer, arm, width, np.array(table["loss"], float).mean(axis=1).round(3), flush=True)


if __name__ == "__main__":
    main()
