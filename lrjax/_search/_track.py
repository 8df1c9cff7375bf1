"""One program width: an engine of the sweeps, the batches it reads, and the lanes that it holds at a time."""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from .._engine import (
    EXAMPLE_LR,
    BatchLog,
    BatchSource,
    Engine,
    Execution,
    Executor,
    Lanes,
    ReadAhead,
    TrialState,
    assign_lanes,
    lanes_that_fit,
    make_lanes,
    resolve,
)
from ._search_setup import Setup

Pair = tuple[int, float]
"""A lane: its seed, and its learning rate's exponent."""


class Carried(NamedTuple):
    """Lanes that can be trained on.

    Attributes:
      step: updates that all of them have done.
      position: where the reader of a stream is there; None for batches with random access.
      lanes: on the host.
    """

    step: int
    position: dict[str, Any] | None
    lanes: dict[Pair, TrialState]


NOTHING = Carried(0, None, {})
"""Where new lanes begin."""


class Track:
    """A program for some lanes of some seeds.

    Args:
      setup: what is trained.
      executor: how lanes run.
      num_seeds: the first ones of the setup's.
      lanes: of each seed, at a time; fewer if memory asks for it.
      longest: updates of a lane, at most.
      execution: what is reported.
      log: of the batches that were read.
    """

    def __init__(
        self,
        setup: Setup,
        executor: Executor,
        num_seeds: int,
        lanes: int,
        longest: int,
        execution: Execution,
        log: BatchLog,
    ):
        self.execution, self.dtype, self.accumulation = execution, setup.dtype, setup.accumulation
        longest = self.accumulation.batches(longest)
        seeds = setup.seeds[:num_seeds]
        self.source = BatchSource(setup.task, [seed.data_key for seed in seeds], longest, log)
        self.engine = Engine(
            setup.spec,
            executor,
            setup.mesh,
            seeds=seeds,
            evaluation=setup.evaluation,
            source=self.source,
            longest=longest,
            execution=execution,
            own_shardings=setup.loop is not None,
        )
        settings = np.full(lanes, EXAMPLE_LR, self.dtype)
        resolve(self.engine, settings, lanes)
        self.executor: Executor = self.engine.executor
        self.engine.fit_chunk(lanes)
        if self.executor == "loop" and self.engine.mesh is not None:
            self.engine.leave_mesh()
        self.lanes = lanes_that_fit(self.engine, settings[0], lanes)
        if self.lanes < lanes:
            execution.notes.append(f"{lanes} lanes at once do not fit into memory: {self.lanes} run at a time.")

    @property
    def width(self) -> int:
        """Lanes of each seed in the program, those that only fill it included."""
        return self.engine.width_for(self.lanes)

    def narrow(self) -> bool:
        """Half the lanes, after memory ran out; False if they cannot be fewer."""
        half = max(self.engine.unit, self.width // 2 // self.engine.unit * self.engine.unit)
        if half >= self.width:
            return False
        self.execution.notes.append(f"{self.width} lanes at once ran out of memory: went on with {half}.")
        self.lanes = half
        return True

    def begin(self, pairs: Iterable[Pair], start: Carried) -> "Crew":
        """Lanes at the start, of as many pairs as the program holds."""
        by_seed: list[list[float]] = [[] for _ in range(self.engine.num_seeds)]
        for seed, x in pairs:
            if len(by_seed[seed]) < self.lanes:
                by_seed[seed].append(x)
        exponents = sorted({x for held in by_seed for x in held})
        trials = np.full((len(by_seed), max(map(len, by_seed))), -1)
        for seed, held in enumerate(by_seed):
            trials[seed, : len(held)] = [exponents.index(x) for x in held]
        rows = assign_lanes(trials, self.width, self.engine.shards)
        where = {(seed, exponents[rows[seed, row]]): (seed, row) for seed, row in np.argwhere(rows >= 0).tolist()}
        state = _stack(start.lanes, where, rows.shape) if start.step else None
        settings = np.asarray([10.0**x for x in exponents], self.dtype)
        return Crew(make_lanes(self.engine, settings, rows, state), where, exponents)

    def advance(self, crew: "Crew", start: Carried, stop: int, tell: Callable[[int], None]) -> dict[str, Any] | None:
        """Train from the start to update `stop`; where the reader of a stream is then."""
        step, stop, position = *map(self.accumulation.batches, (start.step, stop)), start.position
        self.source.seek(step, position)
        done = self.accumulation.done(stop)
        with ReadAhead(self.source, self.engine.place_batches, step, [stop], self.engine.block) as reader:
            while step < stop:
                block = reader()
                started, compiled = time.perf_counter(), self.execution.compile_seconds
                crew.lanes.advance(block)
                crew.lanes.wait()
                seconds = time.perf_counter() - started - (self.execution.compile_seconds - compiled)
                self.execution.run_seconds += seconds
                reader.pace(seconds / block.count)
                tell(len(crew.where) * int(done[step + block.count] - done[step]))
                step, position = step + block.count, block.position
        return position


class Crew(NamedTuple):
    """Lanes in a program.

    Attributes:
      lanes: the sweep's.
      where: the row of each pair, as (seed, row).
      exponents: of the settings, in their order.
    """

    lanes: Lanes
    where: dict[Pair, tuple[int, int]]
    exponents: list[float]

    def losses(self) -> dict[Pair, float]:
        """Validation losses."""
        losses = self.lanes.evaluate()[0]["loss"]
        return {(seed, x): float(losses[seed, self.exponents.index(x)]) for seed, x in self.where}

    def states(self) -> dict[Pair, TrialState]:
        """The lanes on the host, each with arrays of its own."""
        state = self.lanes.state()
        return {
            pair: jax.tree.map(lambda leaf, p=place: np.array(leaf[p]), state) for pair, place in self.where.items()
        }


def _stack(lanes: dict[Pair, TrialState], where: dict[Pair, tuple[int, int]], shape: tuple[int, ...]) -> TrialState:
    """Lanes in their rows; rows without one repeat another."""
    pairs = {place: pair for pair, place in where.items()}
    some = next(iter(where))
    rows = [lanes[pairs.get(place, some)] for place in np.ndindex(*shape)]
    return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(*shape, *np.shape(leaves[0])), *rows)
