"""Does the best learning rate stay where it is as the width grows eightfold, with muP and without?

    python -m experiments.scaling.mup --data DIR     # 8 minutes of one core; goes on where it stopped
    python -m experiments.scaling.mup --report       # the table and the pictures from the results; a minute

A transformer of one block that reads source code, and an MLP on Fashion-MNIST, which DIR holds; Adam and SGD. Every
width is trained at the same learning rates, from the same batches; at the base's width both are the same training. The
optimum is the vertex of the parabola through the lowest mean loss and its two neighbours on each side.

Writes experiments/results/scaling/mup.json, docs/images/mup.png and docs/images/coordinate_check.png.
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
from matplotlib.figure import Figure

import lrjax
from experiments.benchmark.loss_modules import GPT
from experiments.benchmark.loss_sources import ALPHABET
from experiments.benchmark.modules import MLP
from experiments.blocks import markdown_table
from experiments.data.fashion_mnist import CLASSES
from lrjax.scaling import coordinate_check, mup, rescale_init

from .tasks import clothes, make_task, source_pieces

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "experiments/results/scaling/mup.json"
IMAGES = ROOT / "docs/images"

ARMS = ("muP", "standard")
COLOURS, STYLES = ("#8fb3d1", "#3c7aa8", "#12395b"), ("o:", "o--", "o-")

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
    "transformer": Subject((16, 128), 8, 120, 1, {"adam": (-3.667, -1.333), "sgd": (-1.333, 1.333)}),
}
OPTIMIZERS: dict[str, Any] = {"adam": optax.adam, "sgd": optax.sgd}


def task_at(name: str, width: int, data: str | None) -> lrjax.Task:
    """A subject at a width, with its library's own initialisation."""
    if name == "MLP":
        module, examples = MLP(CLASSES, (width, width)), clothes(data)
    else:
        module, examples = GPT(ALPHABET, width=width, depth=1, heads=width // HEAD), source_pieces()
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


def optimum(row: dict[str, Any]) -> float:
    """log10 of the best learning rate: between the neighbours of the best one that was tried.

    `lrjax.scaling.fit` takes three sizes, and the transformer has two.
    """
    x, y = np.log10(row["lr"]), means(row)
    y[y > 2 * y.min()] = np.inf
    best = int(np.argmin(y))
    near = np.flatnonzero(np.isfinite(y) & (np.abs(np.arange(len(y)) - best) <= 2))
    curvature, slope, _ = np.polyfit(x[near], np.log(y[near]), 2)
    return float(np.clip(-slope / (2 * curvature), x[best] - SPACING, x[best] + SPACING))


def means(row: dict[str, Any]) -> np.ndarray:
    """The mean loss of the seeds at each learning rate; inf where one diverged."""
    return np.array([[np.inf if loss is None else loss for loss in seeds] for seeds in row["loss"]]).mean(axis=1)


def select(rows: list[Any], name: str, optimizer: str, arm: str) -> list[dict[str, Any]]:
    """The trainings of one parametrisation, narrowest first."""
    ours = [row for row in rows if (row["subject"], row["optimizer"]) == (name, optimizer)]
    return sorted((row for row in ours if row["arm"] in (arm, "both")), key=lambda row: row["width"])


def report(rows: list[Any]) -> str:
    """How far the optimum moves from the base to the largest width, and what carrying it over costs."""
    lines = []
    for name, subject in SUBJECTS.items():
        for optimizer in OPTIMIZERS:
            arms = [select(rows, name, optimizer, arm) for arm in ARMS]
            if any(len(found) < len(subject.widths) for found in arms):
                continue
            sizes = f"{subject.widths[0]} to {subject.widths[-1]}"
            lines.append([f"{name}, {sizes}, {optimizer}", *map(_moved, arms), *map(_carried, arms)])
    heads = [f"{arm}: {head}" for head in ("best lr moves", "loss carried over, lowest") for arm in ARMS]
    return markdown_table(["", *heads], lines)


def _moved(found: list[Any]) -> str:
    first, *_, last = map(optimum, found)
    return f"{last - first:+.2f}"


def _carried(found: list[Any]) -> str:
    """The loss at the largest width with the best learning rate of the smallest, and the lowest."""
    x, y = np.log10(found[-1]["lr"]), means(found[-1])
    carried = float(np.interp(optimum(found[0]), x[np.isfinite(y)], y[np.isfinite(y)]))
    return f"{carried:.3f}, {y.min():.3f}" if carried < 10 * y.min() else f"diverges, {y.min():.3f}"


def draw(rows: list[Any]) -> None:
    """Loss against learning rate at every width, muP above and standard parametrisation below."""
    figure = Figure(figsize=(11, 5.6), dpi=130, layout="constrained", facecolor="white")
    axes = figure.subplots(2, 4, squeeze=False, sharey="col")
    columns = [(name, optimizer) for name in SUBJECTS for optimizer in OPTIMIZERS]
    for column, (name, optimizer) in enumerate(columns):
        for line, arm in enumerate(ARMS):
            ax = axes[line, column]
            for row, colour, style in zip(select(rows, name, optimizer, arm), COLOURS, STYLES, strict=False):
                ax.plot(row["lr"], means(row), style, color=colour, label=f"width {row['width']}", markersize=3)
                ax.axvline(10 ** optimum(row), color=colour, linestyle=style[1:], linewidth=0.8)
            lowest = min((means(row).min() for row in select(rows, name, optimizer, arm)), default=1.0)
            ax.set(xscale="log", ylim=(0.97 * lowest, 1.7 * lowest))
            ax.set_title(f"{name}, {optimizer}: {arm}", fontsize=9, loc="left")
            ax.tick_params(labelsize=8)
            ax.legend(fontsize=7, frameon=False) if ax.lines else None
            ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("learning rate", fontsize=9)
    figure.supylabel("validation loss", fontsize=9)
    figure.savefig(IMAGES / "mup.png")


def draw_coordinates(data: str | None) -> None:
    """A coordinate check of the MLP with Adam, in muP and in standard parametrisation."""
    widths = [32, 64, 128, 256]
    base = task_at("MLP", widths[0], data).init(jax.random.key(0))

    def model(width: int, arm: str) -> tuple[Any, ...]:
        task = task_at("MLP", width, data)

        def activations(params: Any, batch: Any) -> dict[str, jax.Array]:
            seen = MLP(CLASSES, (width, width)).apply({"params": params}, batch[0], capture_intermediates=True)[1]
            return {
                layer: values["__call__"][0] for layer, values in seen["intermediates"].items() if layer != "__call__"
            }

        if arm == "standard":
            return task, optax.adam, activations
        params = jax.eval_shape(task.init, jax.random.key(0))
        return make_scaled(task, base), mup(optax.adam, base=base, params=params), activations

    figure = Figure(figsize=(10, 4), dpi=130, layout="constrained", facecolor="white")
    for ax, arm in zip(figure.subplots(1, 2, sharey=True), ARMS, strict=True):
        found = coordinate_check(lambda width, arm=arm: model(width, arm), widths, lr=3e-3, key=jax.random.key(0))
        found.plot(ax)
        ax.set_xlabel(f"width, {arm} parametrisation" if arm == "standard" else f"width, {arm}")
        print(found.summary())
    figure.savefig(IMAGES / "coordinate_check.png")


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
        for name, subject in reversed(SUBJECTS.items())
        for width in reversed(subject.widths)
        for arm in (("both",) if width == subject.widths[0] else ARMS)
    ]
    for name, optimizer, arm, width in [] if options.report else trainings:
        if (name, optimizer, arm, width) not in done:
            table = train(name, optimizer, width, options.data, scaled=arm == "muP")
            rows.append({"subject": name, "optimizer": optimizer, "arm": arm, "width": width, **table})
            RESULT.parent.mkdir(parents=True, exist_ok=True)
            RESULT.write_text(json.dumps(rows, indent=1) + "\n")
            print(name, optimizer, arm, width, np.array(table["loss"], float).mean(axis=1).round(3), flush=True)

    if options.report:
        print(report(rows))
        draw(rows)
        draw_coordinates(options.data)


if __name__ == "__main__":
    main()
