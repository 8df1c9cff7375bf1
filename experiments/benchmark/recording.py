"""Everything that a task's rules are replayed from: trainings at 33 learning rates, range tests, rivals."""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from optax import contrib

import lrjax
from experiments.speed import machine

from .problem import Problem

LRS = 10.0 ** (np.arange(-28, 5) / 4)
"""1e-7 to 10 by quarter decades."""

TRUTH_SEEDS, CURVE_SEEDS = 3, 5
"""The first seeds say what the best learning rate is; rules read the others."""

Say = Callable[[str], None]
"""Told which part of a task comes next."""

SHORT = (5, 10, 20, 35, 50, 70, 100)
RANGES = ((1e-7, 10.0), (1e-8, 1.0))
"""fastai's and torch-lr-finder's range, and Lightning's."""

RANGE_STEPS = 100
SCHEDULES = ("constant", "cosine")


def horizons_of(steps: int) -> tuple[int, ...]:
    """About 18 steps at which every training is evaluated; the last is its end."""
    late = np.round(np.geomspace(100, steps, 12)).astype(int).tolist()
    return tuple(sorted({step for step in (*SHORT, *late) if step <= steps}))


RIVALS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "prodigy": contrib.prodigy,
    "dog": contrib.dog,
    "dowg": contrib.dowg,
    "dadapt_adamw": contrib.dadapt_adamw,
    "cocob": contrib.cocob,
    "mechanize_adam": lambda factor: contrib.mechanize(optax.adam(factor)),
    "schedule_free_adamw": lambda factor: contrib.schedule_free_adamw(2.5e-3 * factor, warmup_steps=50),
}
"""Optimizers that need no learning rate. They get a factor of 1, which most of them take as theirs."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """What was measured of one task.

    Attributes:
      name, optimizer, steps: of the task.
      baseline_loss: of the best constant predictor.
      test_examples: examples that the score is the mean of.
      horizons: steps at which trainings were evaluated.
      loss, test_loss, score, train_loss: schedule -> values, shape (learning rates, seeds, horizons).
      initial_loss: the validation loss of every seed at learning rate 0, shape (seeds, horizons).
      range_losses: training loss of every step of the range tests, shape (ranges, seeds, steps).
      rivals: name -> score of the truth's seeds at the end; nan where it diverged.
      seconds: part -> wall time.
      about: versions and the machine.
    """

    name: str
    optimizer: str
    steps: int
    baseline_loss: float
    test_examples: int
    horizons: tuple[int, ...]
    loss: dict[str, np.ndarray]
    test_loss: dict[str, np.ndarray]
    score: dict[str, np.ndarray]
    train_loss: dict[str, np.ndarray]
    initial_loss: np.ndarray
    range_losses: np.ndarray
    rivals: dict[str, np.ndarray]
    seconds: dict[str, float]
    about: dict[str, Any]

    @property
    def num_seeds(self) -> int:
        """Of the truth and of the rules together."""
        return self.initial_loss.shape[0]


METRICS = ("loss", "test_loss", "score", "train_loss")


def record(
    problem: Problem,
    *,
    num_seeds: int,
    say: Say,
    about: dict[str, Any],
    rivals: Mapping[str, Callable[[float], optax.GradientTransformation]] | None = None,
) -> Recording:
    """Train everything; `rivals` are the optimizers without a learning rate, None for all."""
    key, steps = jax.random.key(0), problem.steps
    horizons = horizons_of(steps)
    values: dict[str, dict[str, np.ndarray]] = {metric: {} for metric in METRICS}
    seconds: dict[str, float] = {}
    initial = np.zeros((num_seeds, len(horizons)))
    run = functools.partial(lrjax.sweep, problem.task, key=key, train_steps=steps, eval_every=horizons)
    for schedule in SCHEDULES:
        say(schedule)
        started = time.perf_counter()
        result = run(functools.partial(_at, problem, schedule), {"learning_rate": [0.0, *LRS]}, num_seeds=num_seeds)
        seconds[schedule] = time.perf_counter() - started
        for metric in METRICS:
            values[metric][schedule] = finite_float32(result.metrics[metric][1:])
        initial = result.metrics["loss"][0]
    say("range tests")
    started = time.perf_counter()
    ramps = [lrjax.schedules.range_test_ramp(low, high, RANGE_STEPS) for low, high in RANGES]
    tests = lrjax.sweep(
        problem.task,
        problem.make_optimizer,
        lrjax.schedules.stack(ramps),
        key=key,
        train_steps=RANGE_STEPS,
        num_seeds=num_seeds,
        eval_every=1,
    )
    seconds["range tests"] = time.perf_counter() - started
    started = time.perf_counter()
    scores = {}
    for name, make in (RIVALS if rivals is None else rivals).items():
        say(name)
        result = run(make, [1.0], num_seeds=min(TRUTH_SEEDS, num_seeds))
        scores[name] = result.metrics["score"][0, :, -1]
    seconds["rivals"] = time.perf_counter() - started
    return Recording(
        name=problem.name,
        optimizer=problem.optimizer,
        steps=steps,
        baseline_loss=float(problem.task.baseline_loss or np.nan),
        test_examples=problem.test_examples,
        horizons=horizons,
        initial_loss=initial,
        range_losses=finite_float32(tests.metrics["train_loss"]),
        rivals=scores,
        seconds=seconds,
        about=about,
        **values,
    )


def _at(problem: Problem, schedule: str, learning_rate: Any) -> optax.GradientTransformation:
    if schedule == "cosine":
        return problem.make_optimizer(lrjax.schedules.cosine_decay(learning_rate, problem.steps))
    return problem.make_optimizer(learning_rate)


def finite_float32(values: np.ndarray) -> np.ndarray:
    """float32; what is not finite or too large is nan."""
    with np.errstate(over="ignore", invalid="ignore"):
        small = values.astype(np.float32)
    return np.where(np.isfinite(small), small, np.float32(np.nan))


def write_missing(
    names: Sequence[str], folder: Path, make: Callable[[str, dict[str, Any], Say], Recording], *, fresh: bool = False
) -> None:
    """Record the tasks that have no file in the folder, or all; `make` takes a name, what they run on, and `Say`."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {**machine.describe_machine(), "date": machine.today()}
    for number, name in enumerate(names, 1):
        path = folder / f"{name}.npz"
        if path.exists() and not fresh:
            continue
        started = time.perf_counter()

        def say(part: str, name: str = name, number: int = number) -> None:
            print(f"[{number}/{len(names)}] {name}: {part}", file=sys.stderr, flush=True)

        recording = make(name, about, say)
        write(recording, path)
        best = recording.score["constant"][:, :TRUTH_SEEDS, -1].mean(1)
        print(f"{name}: best score {best[best == best].max():.2f}, {time.perf_counter() - started:.0f} s", flush=True)


def write(recording: Recording, path: Path) -> None:
    """To a compressed npz, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    for metric in METRICS:
        arrays |= {f"{metric}.{schedule}": values for schedule, values in getattr(recording, metric).items()}
    arrays |= {f"rivals.{name}": values for name, values in recording.rivals.items()}
    arrays |= {"initial_loss": recording.initial_loss, "range_losses": recording.range_losses}
    plain = ("name", "optimizer", "steps", "baseline_loss", "test_examples", "horizons", "seconds", "about")
    write_arrays(path, {name: getattr(recording, name) for name in plain}, arrays)


def read(path: Path) -> Recording:
    """What `write` wrote."""
    head, arrays = read_arrays(path)
    fields: dict[str, Any] = {metric: {} for metric in (*METRICS, "rivals")}
    for name, values in arrays.items():
        metric, _, rest = name.partition(".")
        if rest:
            fields[metric][rest] = values
    return Recording(
        **{**head, "horizons": tuple(head["horizons"])},
        initial_loss=arrays["initial_loss"],
        range_losses=arrays["range_losses"],
        **fields,
    )


def write_arrays(path: Path, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Arrays, and what JSON can say about them, to a compressed npz, whole or not at all."""
    draft = path.with_suffix(".draft")
    with open(draft, "wb") as file:
        np.savez_compressed(file, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
    draft.replace(path)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The head and the arrays that `write_arrays` wrote."""
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    return json.loads(bytes(arrays.pop("head"))), arrays
