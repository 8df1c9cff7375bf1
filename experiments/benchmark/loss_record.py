"""Record the tasks judged by a loss: a constant learning rate; warmup, then cosine; warmup, stable, decay.

    taskset -c 0 nice -n 15 python -m experiments.benchmark.loss_record    # half an hour; goes on where it stopped

Writes experiments/results/lossjudged/<task>.npz, recordings like those of the benchmark. What differs: there are two
seeds, so that what reads one is judged by the other; "cosine" and "wsd" have a warmup of a tenth and 14 learning rates
around the best constant one (nan: not trained). The score is what of the way from the untrained to the lowest test loss
of all schedules was gone, in percent of the logarithm. No rivals and no range tests.
"""

import argparse
import functools
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrjax

from . import loss_tasks  # noqa: F401  registers them
from .families import FAMILIES
from .loss_problem import LOSS_TASKS
from .problem import Problem
from .recording import LRS, METRICS, Recording, Say, finite_float32, horizons_of, write_missing
from .replay import RESULTS

FOLDER = RESULTS / "lossjudged"

SEEDS = 2
"""Both say what the best learning rate is."""

BELOW, ABOVE = 6, 7
"""Learning rates of the other schedules on either side of the best constant one."""

SHAPES = {"cosine": "warmup, cosine", "wsd": "warmup, stable, decay"}
"""The schedules and their names in `families`."""


def record_losses(problem: Problem, about: dict[str, Any], say: Say = lambda part: None) -> Recording:
    """Train everything."""
    horizons = horizons_of(problem.steps)
    values: dict[str, dict[str, np.ndarray]] = {metric: {} for metric in METRICS}
    seconds: dict[str, float] = {}

    def run(name: str, make_optimizer: Any, grid: dict[str, list[float]]) -> dict[str, np.ndarray]:
        say(name)
        started = time.perf_counter()
        key, steps = jax.random.key(0), problem.steps
        result = lrjax.sweep(
            problem.task, make_optimizer, grid, key=key, train_steps=steps, num_seeds=SEEDS, eval_every=horizons
        )
        seconds[name] = time.perf_counter() - started
        return {metric: np.asarray(result.metrics[metric]) for metric in ("loss", "test_loss", "train_loss")}

    constant = run("constant", problem.make_optimizer, {"learning_rate": [0.0, *LRS]})
    for metric, told in constant.items():
        values[metric]["constant"] = finite_float32(told[1:])
    best = int(np.nanargmin(log_loss(values["test_loss"]["constant"])[:, -1]))
    places = np.arange(max(0, best - BELOW), min(len(LRS), best + ABOVE + 1))
    grid = {"schedule": [float(one) for one in range(len(SHAPES))], "peak": LRS[places].tolist()}
    for metric, told in run("schedules", functools.partial(_scheduled, problem), grid).items():
        for schedule, trained in zip(SHAPES, np.split(told, len(SHAPES)), strict=True):
            table = np.full((len(LRS), *trained.shape[1:]), np.nan, np.float32)
            table[places] = finite_float32(trained)
            values[metric][schedule] = table
    values["score"] = scores(values["test_loss"], constant["test_loss"][0])
    return Recording(
        name=problem.name,
        optimizer=problem.optimizer,
        steps=problem.steps,
        baseline_loss=float(problem.task.baseline_loss or np.nan),
        test_examples=problem.test_examples,
        horizons=horizons,
        initial_loss=constant["loss"][0],
        range_losses=np.zeros((0, SEEDS, 0), np.float32),
        rivals={},
        seconds=seconds,
        about={**about, "judged": "loss"},
        **values,
    )


def _scheduled(problem: Problem, schedule: jax.Array, peak: jax.Array) -> optax.GradientTransformation:
    """The optimizer with the schedule of this number, both in one program."""
    shapes = [FAMILIES[name](problem.steps) for name in SHAPES.values()]
    return problem.make_optimizer(
        lambda step: peak * jnp.select([schedule == i for i in range(len(shapes))], [shape(step) for shape in shapes])
    )


def log_loss(test_loss: np.ndarray) -> np.ndarray:
    """The mean logarithm over the seeds; inf where one diverged, nan where none was trained."""
    trained = np.isfinite(test_loss).any((1, 2))[:, None]
    told = np.log(np.where(np.isfinite(test_loss), test_loss, np.inf)).mean(1)
    return np.where(trained, told, np.nan)


def scores(test_loss: dict[str, np.ndarray], untrained: np.ndarray) -> dict[str, np.ndarray]:
    """Schedule -> percent of the logarithm of the way from the untrained loss, shape (seeds, horizons), to the best."""
    start = float(np.log(untrained[:, 0]).mean())
    best = min(float(np.nanmin(log_loss(table)[:, -1])) for table in test_loss.values())
    return {
        name: (100.0 * (start - np.log(table)) / (start - best)).astype(np.float32) for name, table in test_loss.items()
    }


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(LOSS_TASKS), choices=list(LOSS_TASKS), metavar="TASK")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()

    def make(name: str, about: dict[str, Any], say: Say) -> Recording:
        return record_losses(LOSS_TASKS[name](), about, say)

    write_missing(options.tasks, options.out, make)


if __name__ == "__main__":
    main()
