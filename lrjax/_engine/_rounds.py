"""Rounds of trials from step 0, each lane in one fused program of one width, kept within memory."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._types import Int, PyTree
from ._choice import choose_executor
from ._data import stack_leaves
from ._devices import check_one_host, first_device, lane_order, num_shards, place_lanes, place_on, spans_hosts, to_host
from ._execution import Execution, compiling, leave_mesh, running
from ._executor import Chunked, Executor
from ._experiment import Experiment
from ._host_loop import compile_step, run_on_host
from ._memory import (
    Admitted,
    MemoryModel,
    halved,
    memory_budget,
    model_memory,
    out_of_memory,
    program_bytes,
    show_bytes,
)
from ._programs import Program, compile_program
from ._source import CALL_SECONDS
from ._trial import train_lane
from ._trial_data import SeedData, Shared, TrialRecord


class Layout(NamedTuple):
    """Where lanes sit in a program of fixed width.

    Attributes:
      width: lanes of the widest round.
      shards: devices over which they are spread.
      chunk: lanes that run at a time on a device, 1 where that does not matter.
    """

    width: int
    shards: int
    chunk: int

    @property
    def local(self) -> int:
        """Rows of the program on each shard: a multiple of the chunk."""
        return -(-self.width // (self.shards * self.chunk)) * self.chunk

    @property
    def rows(self) -> int:
        """Rows of the program."""
        return self.local * self.shards

    def lanes(self, count: int) -> Int[np.ndarray, " rows"]:
        """Which of `count` lanes each row holds; rows left over repeat the last lane."""
        return np.minimum(lane_order(self.rows, self.shards), count - 1)

    def rows_of(self, count: int) -> Int[np.ndarray, " lanes"]:
        """The row of each lane."""
        return np.argsort(lane_order(self.rows, self.shards), kind="stable")[:count]


class Rounds:
    """An experiment on its devices.

    Args:
      experiment: what is trained.
      executor: how lanes run.
      mesh: the devices, or None for one.
      execution: what is reported.
      advance: called with the number of updates done since the last call.
      own_devices: whether the task uses several devices by itself.
    """

    def __init__(
        self,
        experiment: Experiment,
        executor: Executor,
        mesh: Mesh | None,
        execution: Execution,
        advance: Callable[[int], None],
        own_devices: bool = False,
    ):
        self.experiment, self.mesh, self._own_devices = experiment, mesh, own_devices
        self.executor: Executor = executor
        self.execution, self.advance, self.width = execution, advance, 0
        self._updates = experiment.accumulation.updates(experiment.spec.horizons[-1])
        self._rows_per_call = 1
        self._admitted = Admitted(execution)
        self._placed: dict[Any, Any] = {}

    def run(self, settings: PyTree) -> TrialRecord:
        """Train and evaluate one lane for each entry of every seed."""
        settings = jax.tree.map(lambda leaf: np.asarray(leaf, self.experiment.dtype), settings)
        count = _count(settings)
        self.width = self.width or count
        if self.executor == "auto":
            self._resolve(settings)
        if self.executor == "loop":
            self._leave_mesh()
        pieces = []
        for first in range(0, count, self.width):
            pieces.append(self._run_piece(take(settings, slice(first, first + self.width))))
        return _concatenate(pieces, axis=1)

    def _run_piece(self, settings: PyTree) -> TrialRecord:
        """Run lanes of one width, in smaller chunks if memory runs out."""
        run = self._run_on_host if self.executor == "loop" else self._run_program
        while True:
            self.execution.used = str(self.executor)
            try:
                with running(self.execution):
                    return run(settings)
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if not out_of_memory(error) or not self._can_shrink():
                    raise
                reason, lanes = error.args if isinstance(error, _TooWide) else ("ran out of memory", None)
                self._shrink(reason, lanes)

    def _run_on_host(self, settings: PyTree) -> TrialRecord:
        spec, seeds, evaluation = self.experiment.spec, self.experiment.seeds, self.experiment.evaluation
        records = []
        for seed in seeds:
            for index in range(_count(settings)):
                lane = jax.tree.map(lambda leaf, i=index: jnp.asarray(leaf[i]), settings)
                record, _ = run_on_host(spec, lane, seed, evaluation)
                records.append(jax.device_get(record))
                self.advance(self._updates)
        axes = (len(seeds), _count(settings))
        return jax.tree.map(lambda *rows: np.stack(rows).reshape(*axes, *np.shape(rows[0])), *records)

    def _run_program(self, settings: PyTree) -> TrialRecord:
        """All seeds' lanes vectorised, or those of one seed after the other, chunked or mapped."""
        count, layout = _count(settings), self._layout()
        together = self.executor == "vmap"
        records = []
        for which in [None] if together else range(len(self.experiment.seeds)):
            arguments = self._arguments(settings, which, layout)
            compiled = self._executable(arguments)
            if self.executor == "map":
                record = self._run_rows(compiled, arguments, count, layout)
            else:
                record = to_host(execute(compiled, arguments), self.mesh)
                self._done(count, layout.rows, len(self.experiment.seeds) if together else 1)
            records.append(take(record, layout.rows_of(count), axis=1))
        return _concatenate(records, axis=0)

    def _arguments(self, settings: PyTree, which: int | None, layout: Layout) -> tuple:
        """What a program of one seed, or of all, is called with."""
        order, seeds = layout.lanes(_count(settings)), self._seeds(which)
        num_seeds = len(seeds.first_step)
        wide = jax.tree.map(lambda leaf: np.broadcast_to(leaf[order], (num_seeds, *leaf[order].shape)), settings)
        if "evaluation" not in self._placed:
            self._placed["evaluation"] = place_on(self.experiment.evaluation, self.mesh)
        shared = Shared(rows=self._bounds(0, layout.local), evaluation=self._placed["evaluation"])
        return place_lanes(wide, self.mesh), None, seeds, shared

    def _run_rows(self, compiled: Any, arguments: tuple, count: int, layout: Layout) -> TrialRecord:
        """The map program, a few rows a call: the same bits, but Ctrl-C and progress come through."""
        *lanes, shared = arguments
        total = -(-count // layout.shards)  # rows of the fullest shard
        together = self.mesh is not None and spans_hosts(self.mesh)  # hosts must make the same calls
        first, group, records, stops = 0, total if together else self._rows_per_call, [], []
        while first < total:
            stop = min(first + group, total)
            started = time.perf_counter()
            part = execute(compiled, (*lanes, shared._replace(rows=self._bounds(first, stop))))
            seconds = time.perf_counter() - started
            records.append(to_host(part, self.mesh))
            stops.append(stop)
            ran = min(stop * layout.shards, count) - min(first * layout.shards, count)
            self._done(ran, (stop - first) * layout.shards, 1)
            group = max(1, int(CALL_SECONDS * (stop - first) / max(seconds, 1e-9)))
            first, self._rows_per_call = stop, group
        rows = np.arange(layout.rows)
        owner = np.searchsorted(stops, rows % layout.local, side="right").clip(max=len(stops) - 1)
        return jax.tree.map(lambda *leaves: np.stack([leaves[o][:, row] for row, o in enumerate(owner)], 1), *records)

    def _done(self, lanes: int, rows: int, seeds: int) -> None:
        self.execution.padded_updates += (rows - lanes) * seeds * self._updates
        self.advance(lanes * seeds * self._updates)

    # Programs and memory.

    def _layout(self) -> Layout:
        shards = num_shards(self.mesh)
        chunk = min(self.executor.size, -(-self.width // shards)) if isinstance(self.executor, Chunked) else 1
        return Layout(self.width, shards, chunk)

    def _compile(self, arguments: tuple) -> Any:
        executor = Chunked(self._layout().chunk) if isinstance(self.executor, Chunked) else self.executor
        with compiling(self.execution):
            return compile_program(Program(train_lane, self.experiment.spec, executor, self.mesh), arguments)

    def _executable(self, arguments: tuple) -> Any:
        """The compiled program."""
        compiled = self._compile(arguments)
        if compiled not in self._admitted:
            needed, budget = program_bytes(compiled), memory_budget(self.mesh)
            if needed > budget and self._can_shrink():
                lanes = self.memory_model(chunked=True).lanes_within(budget)
                raise _TooWide(f"needs {show_bytes(needed)}, more than the {show_bytes(budget)} allowed", lanes)
            self._admitted.admit(compiled, budget, f"Training one copy with executor {self.executor}")
        return compiled

    def _can_shrink(self) -> bool:
        return self.executor == "vmap" or (isinstance(self.executor, Chunked) and self._layout().chunk > 1)

    def _shrink(self, reason: str, lanes: int | None) -> None:
        """Take a smaller chunk: the lanes that fit by prediction, and at most half of what there was."""
        before, layout = self.executor, self._layout()
        at_once = layout.chunk if isinstance(before, Chunked) else layout.local * len(self.experiment.seeds)
        half = min(halved(at_once) or 1, layout.local)
        self.executor = Chunked(half if lanes is None else min(half, lanes))
        self.execution.notes.append(f"{before} with {at_once} lanes at once {reason}: went on with {self.executor}.")

    def memory_model(self, *, chunked: bool = False) -> MemoryModel:
        """Bytes on one device against lanes, from compiling programs of two and of four lanes."""
        spec, dtype, evaluation = self.experiment.spec, self.experiment.dtype, self.experiment.evaluation
        if self._own_devices:
            return MemoryModel(program_bytes(compile_step(spec, jnp.zeros((), dtype), self.experiment.seeds[0])), 0)
        vectorised = self.executor == "vmap" and not chunked
        seeds = stack_leaves(self.experiment.seeds if vectorised else self.experiment.seeds[:1])
        bounds = (jnp.asarray(np.int32(0)), jnp.asarray(np.int32(0)))

        def bytes_at(lanes: int) -> int:
            settings = jnp.zeros((len(seeds.first_step), lanes), dtype)
            program = Program(train_lane, spec, "vmap" if vectorised else Chunked(lanes))
            arguments = (settings, None, seeds, Shared(rows=bounds, evaluation=evaluation))
            return program_bytes(compile_program(program, arguments))

        return model_memory(bytes_at)

    def _seeds(self, which: int | None) -> SeedData:
        """One seed, or all, on the devices, with a seed axis."""
        if which not in self._placed:
            seeds = self.experiment.seeds if which is None else self.experiment.seeds[which : which + 1]
            self._placed[which] = place_on(stack_leaves(seeds), self.mesh)
        return self._placed[which]

    def _bounds(self, first: int, stop: int) -> Any:
        """The rows that `map` runs, on the devices."""
        return place_on((np.int32(first), np.int32(stop)), self.mesh)

    def _leave_mesh(self) -> None:
        """The loop on the host runs on one device."""
        check_one_host('executor="loop"', self.mesh)
        if self.mesh is not None:
            leave_mesh(self.execution, self.mesh)
            self.mesh = None
            self._placed.clear()

    def _resolve(self, settings: PyTree) -> None:
        """Let `auto` choose."""
        self.executor, self.execution.reason = choose_executor(
            self.experiment.spec,
            settings,
            self.experiment.seeds[0],
            first_device(self.mesh).platform,
            self.width,
            host_loop=self.mesh is None or not spans_hosts(self.mesh),
        )


class _TooWide(MemoryError):
    """A program that would not fit: (why, lanes that would)."""


def execute(compiled: Any, arguments: tuple) -> Any:
    """Run an executable and wait for it, so that what the runtime raises is raised here."""
    return jax.block_until_ready(compiled(*arguments))


def take(tree: PyTree, index: Int[np.ndarray, " lanes"] | slice, axis: int = 0) -> PyTree:
    """Rows of every leaf along an axis."""
    where = (slice(None),) * axis + (index,)
    return jax.tree.map(lambda leaf: leaf[where], tree)


def _concatenate(parts: Sequence[TrialRecord], axis: int) -> TrialRecord:
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: np.concatenate(leaves, axis), *parts)


def _count(settings: PyTree) -> int:
    return jax.tree.leaves(settings)[0].shape[0]
