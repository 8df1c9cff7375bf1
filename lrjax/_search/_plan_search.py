"""What a search with a budget will train, and what it will cost, before it is run."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from .._engine import Executor, Task, show_bytes
from .._progress import Reporter
from .._settings import on_host
from .._types import Float, Key, OptimizerFactory
from ._algorithm import run_rungs
from ._budget import shapes_of
from ._course import Course
from ._lane_trainer import LaneTrainer
from ._preview import preview_lr
from ._search_setup import check_course, make_setup
from ._track import NOTHING, Track

_WARM, _PROBE = 2, 8
"""Steps that are run before a program is measured, and then."""


class PlannedRung(NamedTuple):
    """What is to be trained together.

    Attributes:
      num_steps: updates of every lane, counted from step 0.
      lanes: learning rates.
      seeds: of each.
      updates: that it adds, over all lanes and seeds.
    """

    num_steps: int
    lanes: int
    seeds: int
    updates: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """The course of a search whose optimum stays in the middle of the range; the real one follows it.

    Attributes:
      rungs: the sweep first.
      train_steps, budget: as asked for.
      num_updates: in all; a search that has to move takes more, up to `budget * train_steps`.
      seconds: predicted wall time, compilation included; from short runs of the same programs here and now.
      bytes: predicted memory of the largest program, per device.
      lane_bytes: parameters, model state and optimizer state of a lane. Those of the last rung, at first of the sweep,
        are also held on the host, and in `directory`.
      executor: which one would run.
    """

    rungs: tuple[PlannedRung, ...]
    train_steps: int
    budget: float
    num_updates: int
    seconds: float
    bytes: int
    lane_bytes: int
    executor: str

    def summary(self) -> str:
        """The course in a few lines."""
        lines = [
            f"{rung.lanes} learning rates x {rung.seeds} seed{'s' * (rung.seeds > 1)} to step {rung.num_steps}: "
            f"{rung.updates} updates."
            for rung in self.rungs
        ]
        return "\n".join(
            [
                *lines,
                f"In all {self.num_updates} updates, {self.num_updates / self.train_steps:.2f} trainings of "
                f"{self.train_steps}, about {self.seconds:.1f} s, {show_bytes(self.bytes)}, executor {self.executor}.",
            ]
        )


@on_host
def plan_search(
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    train_steps: int,
    budget: float = 2.0,
    num_seeds: int | None = None,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
) -> SearchPlan:
    """Predict the course and the cost of `search_lr` with the same arguments.

    Compiles its training programs and runs each for a few steps.

    Args:
      task, make_optimizer, key, train_steps, budget, num_seeds, min_lr, max_lr, executor, mesh: as for
        `lrjax.search_lr`.

    Returns:
      Rungs, updates, seconds and bytes.

    Raises:
      TypeError, ValueError: as `search_lr`.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> plan = lrjax.plan_search(digits(), optax.adam, key=jax.random.key(0), train_steps=1000, executor="map")
      >>> [(rung.num_steps, rung.lanes) for rung in plan.rungs]
      [(20, 17), (80, 5), (250, 5)]
      >>> plan.num_updates <= 2 * 1000
      True
    """
    limits = {"num_seeds": num_seeds, "min_lr": min_lr, "max_lr": max_lr}
    course = check_course("plan_search", task=task, train_steps=train_steps, budget=budget, **limits)
    if course.budget == 0:
        return _without_budget(course, task, make_optimizer, key=key, **limits, executor=executor, mesh=mesh)
    setup = make_setup("plan_search", task, make_optimizer, course, key=key, executor=executor, mesh=mesh)
    rungs = _rehearse(course)
    trainer = LaneTrainer(setup, shapes_of(course), course.longest, Reporter(None))
    started, speeds = time.perf_counter(), {}
    for rung in rungs:
        track = trainer.track(rung.seeds, rung.lanes)
        if track not in speeds:
            speeds[track] = _measure(track, rung, course.longest)
    seconds = time.perf_counter() - started
    for rung in rungs:
        speed = speeds[trainer.track(rung.seeds, rung.lanes)]
        shares = 1 if trainer.executor not in ("map", "loop") else rung.lanes * rung.seeds
        seconds += rung.updates / (rung.lanes * rung.seeds) * speed.step * shares + speed.evaluation
    lane = next(iter(speeds)).engine.state_shapes(np.ones((1, 1), setup.dtype))
    return SearchPlan(
        rungs=rungs,
        train_steps=course.train_steps,
        budget=course.budget,
        num_updates=sum(rung.updates for rung in rungs),
        seconds=seconds,
        bytes=trainer.execution.bytes,
        lane_bytes=sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(lane)),
        executor=str(trainer.executor),
    )


def _without_budget(course: Course, task: Task, make_optimizer: OptimizerFactory, **options) -> SearchPlan:
    """What `find_lr` takes."""
    preview = preview_lr(task, make_optimizer, **options)
    rung = PlannedRung(preview.num_steps, preview.trials_expected, preview.num_seeds, preview.updates_expected)
    return SearchPlan(
        rungs=(rung,),
        train_steps=course.train_steps,
        budget=0.0,
        num_updates=preview.updates_expected,
        seconds=preview.seconds,
        bytes=preview.bytes,
        lane_bytes=0,
        executor=preview.executor,
    )


class _Rehearsal:
    """A trainer that knows of one basin in the middle of the range; see `Trainer`."""

    def __init__(self, middle: float):
        self._middle = middle

    def train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> Float[np.ndarray, "seeds trials"]:
        """A basin."""
        losses = 1.0 - 0.9 * np.exp(-0.5 * (np.asarray(exponents) - self._middle) ** 2)
        return np.tile(losses, (num_seeds, 1))

    def initial_loss(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """1."""
        return np.ones(num_seeds)


def _rehearse(course: Course) -> tuple[PlannedRung, ...]:
    """The course on a made-up basin."""
    rungs, before = [], 0
    for rung in run_rungs(_Rehearsal(course.coarse[len(course.coarse) // 2]), course):
        seeds, lanes = rung.losses.shape
        rungs.append(PlannedRung(rung.num_steps, lanes, seeds, rung.spent - before))
        before = rung.spent
    return tuple(rungs)


class _Speed(NamedTuple):
    """Seconds of a program.

    Attributes:
      step: of one step; of one lane under `map` and `loop`, else of all of them.
      evaluation: of all lanes.
    """

    step: float
    evaluation: float


def _measure(track: Track, rung: PlannedRung, longest: int) -> _Speed:
    """Run some lanes for a few steps."""
    pairs = [(seed, -3.0 - 0.01 * lane) for seed in range(rung.seeds) for lane in range(rung.lanes)]
    crew, silent = track.begin(pairs, NOTHING), lambda updates: None
    position = track.advance(crew, NOTHING, _WARM, silent)
    crew.losses()
    stop = min(_WARM + _PROBE, longest)
    started = time.perf_counter()
    track.advance(crew, NOTHING._replace(step=_WARM, position=position), stop, silent)
    trained = time.perf_counter()
    crew.losses()
    at_once = len(crew.where) if track.executor in ("map", "loop") else 1
    return _Speed((trained - started) / (stop - _WARM) / at_once, time.perf_counter() - trained)
