"""What a search will train and what that will cost, before it is run."""

import contextlib
import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import check_key, on_host
from .._curve import LossCurve
from .._engine import Executor, Task, TrialRunner
from .._preview import PlannedRound, Preview
from .._types import Key, OptimizerFactory
from ._check_search import check_search
from ._live import LiveTrainer
from ._reporter import Reporter
from ._stage import Stage
from ._strategy import Context, Request, Strategy, curve_of_losses, run_stages
from ._track import NOTHING, Track

_WARM, _PROBE = 2, 8
"""Steps of a carried program before its time is taken, and those that are timed."""

_PROBES = (2, 4)
"""Lengths of the two programs from which a longer one's time is extrapolated."""


@on_host
def preview_search(
    task: Task,
    make_optimizer: OptimizerFactory,
    strategy: Strategy | None = None,
    *,
    key: Key,
    train_steps: int | None = None,
    start: Any = None,
    executor: Executor = "auto",
    mesh: Any = None,
    directory: Any = None,
    progress: Any = None,
    throw: bool = True,
) -> Preview:
    """Predict the course and the cost of `find_lr` with the same arguments.

    What is trained is what the strategy asks for on a made-up basin in the middle of the range. The time of a program
    is measured in short runs of it.
    """
    del directory, progress, throw
    key = check_key("find_lr(key=...)", key)
    strategy, context = check_search(task, make_optimizer, strategy, train_steps, start)
    run: dict[str, Any] = {"executor": executor, "mesh": mesh, "directory": None, "reporter": Reporter(None)}
    with contextlib.closing(
        LiveTrainer(task, make_optimizer, strategy, context, key=key, start=start, **run)
    ) as trainer:
        rehearsal = _Rehearsal(context, trainer)
        for _ in run_stages(strategy, rehearsal):
            pass
        rounds, first = tuple(rehearsal.rounds), rehearsal.requests[0]
        measure = _carried_cost if first.carry else _sampled_cost
        seconds, size, lane_bytes, used = measure(trainer, rehearsal)
    updates = sum(one.updates for one in rounds)
    return Preview(
        rounds=rounds,
        updates=updates,
        trainings=None if train_steps is None else updates / train_steps,
        seconds=seconds,
        bytes=size,
        lane_bytes=lane_bytes,
        executor=used,
    )


class _Rehearsal:
    """A trainer that knows of one basin in the middle of the first grid; see `Trainer`."""

    def __init__(self, context: Context, live: LiveTrainer):
        self.context, self._live, self._middle = context, live, math.nan
        self.requests: list[Request] = []
        self.rounds: list[PlannedRound] = []
        self._before: tuple[int, set[float], int] = (0, set(), 0)

    def train(self, request: Request) -> LossCurve:
        """A basin."""
        exponents = sorted(request.log10_lrs)
        if not self.requests:
            self._middle = exponents[len(exponents) // 2]
        self.requests.append(request)
        seeds, steps = request.num_seeds or 1, request.num_steps
        if not request.carry:
            runner = self._live.runner_for(request)
            seeds, steps = runner.num_seeds, runner.num_updates
        losses = 1.0 - 0.9 * np.exp(-0.5 * (np.asarray(exponents) - self._middle) ** 2)
        return curve_of_losses(exponents, np.tile(losses, (seeds, 1)), np.ones(seeds), steps)

    def inspect(self, stages: tuple[Stage, ...]) -> None:
        """Write down what was added."""
        last, lanes = stages[-1], len(self.requests[-1].log10_lrs)
        spent = sum(one.updates for one in self.rounds)
        self.rounds.append(PlannedRound(last.num_steps, lanes, last.num_seeds, last.spent - spent))


class _Cost(NamedTuple):
    """Seconds, bytes of the largest program, bytes of a lane that is kept, and the executor."""

    seconds: float
    bytes: int
    lane_bytes: int
    executor: str


def _sampled_cost(trainer: LiveTrainer, rehearsal: _Rehearsal) -> _Cost:
    """Of fused programs: two short ones are run, and longer ones extrapolated."""
    first = rehearsal.requests[0]
    lrs, long = np.asarray([10.0**x for x in first.log10_lrs]), trainer.runner_for(first)
    took, compiling, runner = [], 0.0, long
    for steps in _PROBES:
        runner = trainer.probe(first, min(steps, long.num_updates))
        began = time.perf_counter()
        runner.run(lrs)
        once = time.perf_counter() - began
        began = time.perf_counter()
        runner.run(lrs)
        took.append(time.perf_counter() - began)
        compiling = max(once - took[-1], 0.0)
    step = max(took[1] - took[0], 0.0) / (_PROBES[1] - _PROBES[0])
    seconds = 0.0
    for one in rehearsal.rounds:
        share = one.lanes * one.seeds / (len(lrs) * long.num_seeds)
        seconds += share * (took[1] + step * max(one.num_steps - _PROBES[1], 0))
    compiling *= len({one.num_steps for one in rehearsal.rounds})
    return _Cost(compiling + seconds, _bytes_of(runner, long.num_steps), 0, str(runner.executor))


def _bytes_of(runner: TrialRunner, num_steps: int) -> int:
    """The program's memory, with the batches of all the steps."""
    program = runner.execution.predicted_bytes or runner.memory_model().predict(1)
    batches = jax.tree.leaves(runner.experiment.seeds[0].batches)
    per_step = sum(leaf.nbytes // leaf.shape[0] for leaf in batches)
    seeds = runner.num_seeds if runner.executor == "vmap" else 1
    return int(program + per_step * seeds * max(num_steps - runner.num_steps, 0))


def _carried_cost(trainer: LiveTrainer, rehearsal: _Rehearsal) -> _Cost:
    """Of programs whose lanes are carried: each is run for a few steps."""
    request = rehearsal.requests[0]
    trainer.carried_for(request)
    lanes = trainer.lanes
    began, speeds = time.perf_counter(), {}
    for one in rehearsal.rounds:
        track = lanes.track(one.seeds, one.lanes)
        if track not in speeds:
            speeds[track] = _measure(track, one, request.longest or one.num_steps)
    seconds = time.perf_counter() - began
    for one in rehearsal.rounds:
        speed, count = speeds[lanes.track(one.seeds, one.lanes)], one.lanes * one.seeds
        at_once = 1 if lanes.executor not in ("map", "loop") else count
        seconds += one.updates / count * speed.step * at_once + speed.evaluation
    lane = next(iter(speeds)).engine.lane_shapes(np.ones((1, 1), lanes.setup.dtype))
    lane_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(lane))
    return _Cost(seconds, lanes.execution.predicted_bytes, lane_bytes, str(lanes.executor))


class _Speed(NamedTuple):
    """Seconds of a program.

    Attributes:
      step: of one step; of one lane under `map` and `loop`, else of all of them.
      evaluation: of all lanes.
    """

    step: float
    evaluation: float


def _measure(track: Track, planned: PlannedRound, longest: int) -> _Speed:
    """Run some lanes for a few steps."""
    pairs = [(seed, -3.0 - 0.01 * lane) for seed in range(planned.seeds) for lane in range(planned.lanes)]
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
