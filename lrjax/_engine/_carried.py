"""Lanes that are trained on from where they are: their states on the host, and a program that takes some of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .._types import Int
from ._batch_log import BatchLog
from ._devices import assign_lanes
from ._execution import Execution, running
from ._executor import Executor
from ._experiment import EXAMPLE_LR, Experiment
from ._lane_engine import Engine
from ._lanes import Lanes, make_lanes
from ._memory import halved, halved_note, lanes_that_fit, out_of_memory
from ._source import BatchSource, ReadAhead
from ._task import Task
from ._trial_data import TrialState

Pair = tuple[int, float]
"""A lane: its seed, and its learning rate."""


class LaneStates(NamedTuple):
    """States of lanes, to resume from."""

    step: int  # updates that all of them have done
    position: dict[str, Any] | None  # of the reader of a stream there; None for batches with random access
    lanes: dict[Pair, TrialState]  # on the host


NO_LANES = LaneStates(0, None, {})
"""Where new lanes begin."""


class ProgramSlot:
    """A program for some lanes of every seed, with the batches that they read; it tells what `auto` took."""

    def __init__(
        self,
        task: Task,
        experiment: Experiment,
        executor: Executor,
        mesh: Any,
        execution: Execution,
        log: BatchLog,
        *,
        lanes: int,  # of each seed, at a time; fewer if memory asks for it
        longest: int,  # updates of a lane, at most
        own_devices: bool,
    ):
        self.execution, self._dtype, self._accumulation = execution, experiment.dtype, experiment.accumulation
        longest = self._accumulation.batches(longest)
        self.source = BatchSource(task, [seed.data_key for seed in experiment.seeds], longest, log)
        options: dict[str, Any] = {"source": self.source, "longest": longest, "own_devices": own_devices}
        self.engine = Engine(experiment, executor, mesh, execution, **options)
        settings = np.full(lanes, EXAMPLE_LR, self._dtype)
        self.executor = self.engine.settle(settings, lanes)
        self.engine.fit_chunk(lanes)
        self.lanes = lanes_that_fit(self.engine, settings[0], lanes)
        if self.lanes < lanes:
            execution.notes.append(f"{lanes} lanes at once do not fit into memory: {self.lanes} run at a time.")

    @property
    def width(self) -> int:
        """Lanes of each seed in the program, those that only fill it included."""
        return self.engine.width_for(self.lanes)

    def train(
        self, pairs: Sequence[Pair], start: LaneStates, stop: int, advance: Callable[[int], None], *, evaluate: bool
    ) -> tuple[LaneStates, dict[Pair, float]]:
        """Train lanes from the start to update `stop`, as many at a time as the program holds; their losses there."""
        states: dict[Pair, TrialState] = {}
        losses: dict[Pair, float] = {}
        position = None
        while left := [pair for pair in pairs if pair not in states]:
            try:
                lanes, where, lrs = self._begin(left, start)
                position = self._advance(lanes, len(where), start, stop, advance)
                read = None
                if evaluate:
                    with running(self.execution):
                        read = lanes.evaluate()[0]["loss"]
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                half = halved(self.width, self.engine.unit)
                if half is None or not out_of_memory(error):
                    raise
                self.execution.notes.append(halved_note(self.width, half))
                self.lanes = half
                continue
            if read is not None:
                losses |= {(seed, lr): float(read[seed, lrs.index(lr)]) for seed, lr in where}
            held = lanes.state()
            states |= {pair: jax.tree.map(lambda leaf, p=row: np.array(leaf[p]), held) for pair, row in where.items()}
            if self.executor not in ("map", "loop"):
                filling = self.engine.num_seeds * self.width - len(where)
                self.execution.padded_updates += filling * (stop - start.step)
        return LaneStates(stop, position, states), losses

    def _begin(
        self, pairs: Sequence[Pair], start: LaneStates
    ) -> tuple[Lanes, dict[Pair, tuple[int, int]], list[float]]:
        """Lanes at the start for as many pairs as the program holds, the row of each, and their learning rates."""
        by_seed: list[list[float]] = [[] for _ in range(self.engine.num_seeds)]
        for seed, lr in pairs:
            if len(by_seed[seed]) < self.lanes:
                by_seed[seed].append(lr)
        lrs = sorted({lr for held in by_seed for lr in held})
        trials: Int[np.ndarray, "seeds lanes"] = np.full((len(by_seed), max(map(len, by_seed))), -1)
        for seed, held in enumerate(by_seed):
            trials[seed, : len(held)] = [lrs.index(lr) for lr in held]
        rows = assign_lanes(trials, self.width, self.engine.shards)
        where = {(seed, lrs[rows[seed, row]]): (seed, row) for seed, row in np.argwhere(rows >= 0).tolist()}
        state = _stack(start.lanes, where, rows.shape) if start.step else None
        return make_lanes(self.engine, np.asarray(lrs, self._dtype), rows, state), where, lrs

    def _advance(
        self, lanes: Lanes, count: int, start: LaneStates, stop: int, advance: Callable[[int], None]
    ) -> dict[str, Any] | None:
        """Train `count` lanes from the start to update `stop`; where the reader of a stream is then."""
        step, stop, position = *map(self._accumulation.batches, (start.step, stop)), start.position
        self.source.seek(step, position)
        done = self._accumulation.done(stop)
        with ReadAhead(self.source, self.engine.place_batches, step, [stop], self.engine.block) as reader:
            while step < stop:
                block = reader()
                before = self.execution.run_seconds
                with running(self.execution):
                    lanes.advance(block)
                    lanes.wait()
                reader.pace((self.execution.run_seconds - before) / block.count)
                advance(count * int(done[step + block.count] - done[step]))
                step, position = step + block.count, block.position
        return position


def _stack(lanes: dict[Pair, TrialState], where: dict[Pair, tuple[int, int]], shape: tuple[int, ...]) -> TrialState:
    """Lanes in their rows; rows without one repeat another."""
    pairs = {place: pair for pair, place in where.items()}
    some = next(iter(where))
    rows = [lanes[pairs.get(place, some)] for place in np.ndindex(*shape)]
    return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(*shape, *np.shape(leaves[0])), *rows)
