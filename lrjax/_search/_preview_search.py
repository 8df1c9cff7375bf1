"""What a search will train and what that will cost, before it is run."""

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import check_key
from .._curve import LossCurve
from .._engine import NO_LANES, LaneRunner, ProgramSlot
from .._preview import PlannedRound, Preview, asked_of, previewed_by
from .._progress import Reporter
from .._settings import on_host
from ._check_search import check_search
from ._find import find_lr
from ._live import LiveTrainer
from ._stage import Stage
from ._strategy import Context, Request, curve_of_losses, run_stages

_WARM, _PROBE = 2, 8
"""Steps of a carried program before its time is taken, and those that are timed."""

_PROBES = (2, 4)
"""Lengths of the two programs from which a longer one's time is extrapolated."""


@on_host
def preview_search(*arguments: Any, **options: Any) -> Preview:
    """Predict the course and the cost of `find_lr` with the same arguments.

    What is trained is what the strategy asks for on a made-up basin in the middle of the range. The time of a program
    is measured in short runs of it.
    """
    run = asked_of(find_lr, arguments, options) | {"directory": None, "reporter": Reporter(None)}
    del run["progress"], run["throw"]
    run["key"] = check_key("find_lr(key=...)", run["key"])
    task, make_optimizer, strategy, train_steps = (
        run.pop(name) for name in ("task", "make_optimizer", "strategy", "train_steps")
    )
    strategy, context = check_search(task, make_optimizer, strategy, train_steps, run["start"])
    with contextlib.closing(LiveTrainer(task, make_optimizer, strategy, context, **run)) as trainer:
        rehearsal = _Rehearsal(context, trainer)
        for _ in run_stages(strategy, rehearsal):
            pass
        rounds, first = tuple(rehearsal.rounds), rehearsal.requests[0]
        measure = _carried_cost if first.carry else _sampled_cost
        seconds, size, lane_bytes, used = measure(trainer.runner_for(first), rehearsal)
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


previewed_by(preview_search)(find_lr)


class _Rehearsal:
    """A trainer that knows of one basin in the middle of the first grid; see `Trainer`."""

    def __init__(self, context: Context, live: LiveTrainer):
        self.context, self._live, self._middle = context, live, math.nan
        self.requests: list[Request] = []
        self.rounds: list[PlannedRound] = []
        self.experiment: Any = None  # of the first fused program

    def train(self, request: Request) -> LossCurve:
        """A basin."""
        exponents = sorted(request.log10_lrs)
        if not self.requests:
            self._middle = exponents[len(exponents) // 2]
        self.requests.append(request)
        seeds, steps = request.num_seeds or 1, request.num_steps
        if not request.carry:
            horizons = (*request.horizons, request.num_steps)
            rounds, _ = self._live.runner_for(request).rounds(horizons, request.num_seeds, request.in_batches)
            self.experiment = rounds.experiment
            seeds = len(self.experiment.seeds)
            steps = self.experiment.accumulation.updates(self.experiment.spec.horizons[-1])
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


def _sampled_cost(runner: LaneRunner, rehearsal: _Rehearsal) -> _Cost:
    """Of fused programs: two short ones are run, and longer ones extrapolated."""
    first = rehearsal.requests[0]
    lrs, long = np.asarray([10.0**x for x in first.log10_lrs]), rehearsal.experiment
    took, compiling, rounds = [], 0.0, None
    for steps in _PROBES:
        rounds, _ = runner.rounds((min(steps, rehearsal.rounds[0].num_steps),), first.num_seeds)
        once, again = _seconds(lambda run=rounds.run: run(lrs)), _seconds(lambda run=rounds.run: run(lrs))
        took.append(again)
        compiling = max(once - again, 0.0)
    assert rounds is not None
    step = max(took[1] - took[0], 0.0) / (_PROBES[1] - _PROBES[0])
    seconds = compiling * len({one.num_steps for one in rehearsal.rounds})
    for one in rehearsal.rounds:
        share = one.lanes * one.seeds / (len(lrs) * len(long.seeds))
        seconds += share * (took[1] + step * max(one.num_steps - _PROBES[1], 0))
    program = runner.execution.bytes or rounds.memory_model().predict(1)
    per_batch = sum(leaf.nbytes // leaf.shape[0] for leaf in jax.tree.leaves(long.seeds[0].batches))
    more = max(long.spec.horizons[-1] - rounds.experiment.spec.horizons[-1], 0)
    seeds = len(long.seeds) if rounds.executor == "vmap" else 1
    return _Cost(seconds, int(program + per_batch * seeds * more), 0, str(rounds.executor))


def _carried_cost(runner: LaneRunner, rehearsal: _Rehearsal) -> _Cost:
    """Of programs whose lanes are carried: each is run for a few steps."""
    began, speeds = time.perf_counter(), {}
    for one in rehearsal.rounds:
        slot = runner.slot(one.seeds, one.lanes)
        if slot not in speeds:
            speeds[slot] = _measure(slot, one, runner.longest)
    seconds = time.perf_counter() - began
    for one in rehearsal.rounds:
        speed, count = speeds[runner.slot(one.seeds, one.lanes)], one.lanes * one.seeds
        at_once = count if runner.executor in ("map", "loop") else 1
        seconds += one.updates / count * speed.step * at_once + speed.evaluation
    lane = next(iter(speeds)).engine.state_shapes(np.ones((1, 1), runner.carried.dtype))
    lane_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(lane))
    return _Cost(seconds, runner.execution.bytes, lane_bytes, str(runner.executor))


class _Speed(NamedTuple):
    """Seconds of a program."""

    step: float  # of one step; of one lane under `map` and `loop`, else of all of them
    evaluation: float  # of all lanes


def _measure(slot: ProgramSlot, planned: PlannedRound, longest: int) -> _Speed:
    """Run some lanes for a few steps."""
    pairs = [(seed, 1e-3 / (lane + 1)) for seed in range(planned.seeds) for lane in range(planned.lanes)]
    stop = min(_WARM + _PROBE, longest)
    states, _ = slot.train(pairs, NO_LANES, _WARM, _silent, evaluate=True)
    training = _seconds(lambda: slot.train(pairs, states, stop, _silent, evaluate=False))
    both = _seconds(lambda: slot.train(pairs, states, stop, _silent, evaluate=True))
    at_once = len(pairs) if slot.executor in ("map", "loop") else 1
    return _Speed(training / (stop - _WARM) / at_once, max(both - training, 0.0))


def _silent(updates: int) -> None:
    """Nobody is told."""


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
