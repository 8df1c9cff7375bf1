"""Full trainings with many schedules at many peaks: what a rule from learning rate to peak is judged on.

    LRJAX_DATA=... taskset -c 0 python -m experiments.benchmark.families     # minutes a task; goes on where it stopped

Writes experiments/results/families/<task>.npz. Every task is trained with every schedule below at 8 peaks, a quarter
decade apart, around its best constant learning rate (which the recordings of the benchmark know), with the three seeds
of the truth. experiments/benchmark/peaks.py reads the files.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrjax
from experiments.speed import machine
from lrjax import schedules as s

from . import tasks  # noqa: F401  registers them
from .judging import LOG_LRS, truth_of
from .problem import TASKS, Problem
from .recording import TRUTH_SEEDS, read, read_arrays, write_arrays
from .replay import RESULTS

FOLDER = RESULTS / "families"

FAMILIES: dict[str, Callable[[int], optax.Schedule]] = {
    "constant": lambda n: s.constant(1.0),
    "linear": lambda n: s.linear_decay(1.0, 0.0, n),
    "cosine": lambda n: s.cosine_decay(1.0, n),
    "exponential to 1 %": lambda n: s.exponential_decay(1.0, n, 0.01),
    "steps": lambda n: s.piecewise_constant([1.0, 0.1, 0.01], [n // 2, 3 * n // 4]),
    "1cycle": lambda n: s.one_cycle(1.0, total_steps=n),
    "triangular": lambda n: s.triangular(0.1, 1.0, n // 8),
    "triangular2": lambda n: s.triangular2(0.1, 1.0, n // 8),
    "cosine restarts": lambda n: s.cosine_restarts(1.0, n // 4),
    "cyclic exponential": lambda n: s.cyclic_exponential_decay(
        1.0, decay_rate=0.01, transition_steps=n, cycle_steps=n // 4
    ),
    "warmup, cosine": lambda n: s.warmup_cosine(1.0, warmup_steps=n // 10, total_steps=n),
    "warmup, stable, decay": lambda n: s.warmup_stable_decay(
        1.0, warmup_steps=n // 10, stable_steps=n - n // 10 - n // 5, decay_steps=n // 5
    ),
    "warmup, inverse sqrt": lambda n: s.inverse_sqrt_decay(1.0, warmup_steps=n // 10, timescale=n // 10),
}
"""Name -> a schedule of a length, its peak 1."""

OFFSETS = np.arange(-2, 6) / 4
"""Decades of the peaks from the best constant learning rate."""


class Trained(NamedTuple):
    """Full trainings of one task.

    Attributes:
      name, steps: of the task.
      multipliers: the schedules, peak 1, shape (families, steps).
      log10_peaks: shape (peaks,).
      loss, score: at the end, shape (families, peaks, seeds); nan where diverged.
      seconds: wall time.
    """

    name: str
    steps: int
    multipliers: np.ndarray
    log10_peaks: np.ndarray
    loss: np.ndarray
    score: np.ndarray
    seconds: float


def multipliers_of(steps: int) -> np.ndarray:
    """Every schedule over a training, shape (families, steps), float32."""
    return np.stack([np.broadcast_to(jax.vmap(make(steps))(jnp.arange(steps)), steps) for make in FAMILIES.values()])


def train(problem: Problem, centre: float) -> Trained:
    """All schedules and peaks in one sweep: the schedule is a row of a table."""
    table = jnp.asarray(multipliers_of(problem.steps), jnp.float32)

    def make_optimizer(peak: jax.Array, family: jax.Array) -> optax.GradientTransformation:
        row = jnp.asarray(table)[jnp.asarray(family, jnp.int32)]
        return problem.make_optimizer(lambda step: peak * row[jnp.minimum(step, problem.steps - 1)])

    started, peaks = time.perf_counter(), 10.0 ** (centre + OFFSETS)
    result = lrjax.sweep(
        problem.task,
        make_optimizer,
        {"family": [float(one) for one in range(len(FAMILIES))], "peak": peaks.tolist()},
        key=jax.random.key(0),
        train_steps=problem.steps,
        num_seeds=TRUTH_SEEDS,
        eval_every=problem.steps,
    )
    shape = (len(FAMILIES), len(peaks), TRUTH_SEEDS)
    return Trained(
        name=problem.name,
        steps=problem.steps,
        multipliers=np.asarray(table),
        log10_peaks=centre + OFFSETS,
        loss=result.metrics["loss"][..., -1].reshape(shape),
        score=result.metrics["score"][..., -1].reshape(shape),
        seconds=time.perf_counter() - started,
    )


def write_trained(trained: Trained, path: Path, about: dict[str, Any]) -> None:
    """To a compressed npz, whole or not at all."""
    head = {"name": trained.name, "steps": trained.steps, "seconds": trained.seconds, "families": list(FAMILIES)}
    arrays = {"log10_peaks": trained.log10_peaks, "loss": trained.loss, "score": trained.score}
    write_arrays(path, {**head, "about": about}, arrays)


def read_trained(path: Path) -> Trained:
    """What `write_trained` wrote; the schedules are made anew."""
    head, arrays = read_arrays(path)
    if head["families"] != list(FAMILIES):
        raise ValueError(f"{path} holds the schedules {head['families']}, this code has {list(FAMILIES)}.")
    return Trained(
        name=head["name"],
        steps=head["steps"],
        multipliers=multipliers_of(head["steps"]),
        seconds=head["seconds"],
        **arrays,
    )


def main() -> None:
    """Train what is missing, the quick tasks first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of benchmark/*.npz and of families/")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", choices=list(TASKS), help="those recorded if left out")
    parser.add_argument("--most", type=int, default=16, help="so many of the quickest recorded tasks")
    options = parser.parse_args()
    folder = options.results / "families"
    folder.mkdir(parents=True, exist_ok=True)
    recordings = {path.stem: read(path) for path in (options.results / "benchmark").glob("*.npz")}
    quick = sorted(recordings, key=lambda name: recordings[name].seconds["constant"])[: options.most]
    about = {**machine.describe_machine(), "date": machine.today()}
    for name in options.tasks or quick:
        path = folder / f"{name}.npz"
        if path.exists():
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        best = float(LOG_LRS[int(np.argmax(truth_of(recordings[name], "constant").scores))])
        trained = train(TASKS[name](), best)
        write_trained(trained, path, about)
        print(f"{name}: {trained.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
