"""Rounds of trials from step 0, each lane in one fused program of one width, kept within memory."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._types import Float
from ._choice import resolve
from ._devices import assign_lanes, lane_order, to_host
from ._execution import Execution, running
from ._executor import Chunked, Executor
from ._experiment import Experiment
from ._host_loop import compile_step, run_on_host, spread
from ._lane_engine import Engine
from ._memory import MemoryModel, halved, model_memory, out_of_memory, program_bytes, show_bytes
from ._source import CALL_SECONDS
from ._trial_data import TrialRecord

Lrs = Float[np.ndarray, " trials"]


class Rounds:
    """An experiment whose trials are trained in rounds; `advance` is told how many updates were done."""

    def __init__(
        self,
        experiment: Experiment,
        executor: Executor,
        mesh: Mesh | None,
        execution: Execution,
        advance: Callable[[int], None],
        own_devices: bool = False,
    ):
        self.experiment, self.execution, self.advance, self.width = experiment, execution, advance, 0
        self.engine = Engine(experiment, executor, mesh, execution)
        self.executor: Executor = executor
        self._own_devices, self._rows_per_call = own_devices, 1
        self._updates = experiment.accumulation.updates(experiment.spec.horizons[-1])

    def run(self, lrs: Lrs) -> TrialRecord:
        """Train and evaluate one lane for each learning rate of every seed."""
        lrs = lrs.astype(self.experiment.dtype)
        self.width = self.width or len(lrs)
        if self.executor in ("auto", "loop"):
            resolve(self.engine, lrs, self.width)
            self.executor = self.engine.settle()
        waves = [lrs[first : first + self.width] for first in range(0, len(lrs), self.width)]
        return _concatenate([self._run_wave(wave) for wave in waves], axis=1)

    def _run_wave(self, lrs: Lrs) -> TrialRecord:
        """Run lanes of one width, in smaller chunks if memory runs out."""
        run = self._run_on_host if self.executor == "loop" else self._run_programs
        while True:
            self.execution.used = str(self.executor)
            try:
                with running(self.execution):
                    return run(lrs)
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if not out_of_memory(error) or not self._can_shrink():
                    raise
                reason, lanes = error.args if isinstance(error, _TooWide) else ("ran out of memory", None)
                self._shrink(reason, lanes)

    def _run_on_host(self, lrs: Lrs) -> TrialRecord:
        """One trial after the other, on every device."""
        spec, held, count = self.experiment.spec, self.engine.on_loop_devices, len(self.experiment.seeds)
        trials = list(itertools.product(range(count), lrs))

        def run(index: int, stopped: threading.Event) -> TrialRecord:
            (seed, lr), data = trials[index], held[index % len(held)]
            seed_data, setting = data.seeds[seed], jax.device_put(lr)
            return jax.device_get(run_on_host(spec, setting, seed_data, data.evaluation, stopped=stopped)[0])

        records: dict[int, TrialRecord] = {}
        for index, record in spread(run, len(trials), len(held)):
            records[index] = record
            self.advance(self._updates)
        rows = [records[index] for index in range(len(trials))]
        return jax.tree.map(lambda *rows: np.stack(rows).reshape(count, len(lrs), *np.shape(rows[0])), *rows)

    def _run_programs(self, lrs: Lrs) -> TrialRecord:
        """All seeds' lanes vectorised, or those of one seed after the other, chunked or mapped."""
        self.engine.executor = self.executor
        self.engine.fit_chunk(self.width)
        parts = [None] if self.executor == "vmap" else range(len(self.experiment.seeds))
        return _concatenate([_concatenate([*self._run_part(lrs, part)], axis=1) for part in parts], axis=0)

    def _run_part(self, lrs: Lrs, part: int | None) -> Iterator[TrialRecord]:
        """The lanes in their order; `map` runs a few rows a call, so that Ctrl-C and progress come through."""
        engine, count = self.engine, len(lrs)
        shards, seeds = engine.shards, 1 if part is not None else engine.num_seeds
        rows = assign_lanes(np.arange(count)[None], engine.width_for(self.width), shards)
        held = lrs[np.tile(rows.clip(0), (seeds, 1))]
        held = held if engine.mesh is None else engine.place_settings(held)  # a program takes NumPy's in less time
        place = np.argsort(lane_order(rows.shape[1], shards), kind="stable")[:count]  # of each lane
        mapped = self.executor == "map"
        # of the fullest shard; and all hosts must make the same calls
        first, total = 0, -(-count // shards) if mapped else rows.shape[1] // shards
        group = self._rows_per_call if mapped and not engine.several_hosts else total
        while first < total:
            stop = min(first + group, total)
            arguments = engine.arguments("train", held, None, (first, stop), part=part)
            compiled, started = engine.executable("train", arguments, self._check_width), time.perf_counter()
            record = execute(compiled, arguments)
            if mapped and not engine.several_hosts:
                seconds = max(time.perf_counter() - started, 1e-9)
                group = self._rows_per_call = max(1, int(CALL_SECONDS * (stop - first) / seconds))
            lanes = place[first * shards : stop * shards]  # the shards take them in turn
            yield jax.tree.map(lambda leaf, lanes=lanes: leaf[:, lanes], to_host(record, engine.mesh))
            self.execution.padded_updates += ((stop - first) * shards - len(lanes)) * seeds * self._updates
            self.advance(len(lanes) * seeds * self._updates)
            first = stop

    # Memory.

    def _check_width(self, compiled: Any) -> None:
        """Refuse a program that would not fit where a narrower one can take its place."""
        needed, budget = program_bytes(compiled), self.engine.budget()
        if needed > budget and self._can_shrink():
            lanes = self.memory_model(chunked=True).lanes_within(budget)
            raise _TooWide(f"needs {show_bytes(needed)}, more than the {show_bytes(budget)} allowed", lanes)

    def _can_shrink(self) -> bool:
        return self.executor == "vmap" or (isinstance(self.engine.executor, Chunked) and self.engine.executor.size > 1)

    def _shrink(self, reason: str, lanes: int | None) -> None:
        """Take a smaller chunk: the lanes that fit by prediction, and at most half of what there was."""
        before, engine = self.executor, self.engine
        chunk, local = engine.executor, engine.width_for(self.width) // engine.shards
        at_once = chunk.size if isinstance(chunk, Chunked) else local * engine.num_seeds
        half = min(halved(at_once) or 1, local)
        self.executor = Chunked(half if lanes is None else min(half, lanes))
        self.execution.notes.append(f"{before} with {at_once} lanes at once {reason}: went on with {self.executor}.")

    def memory_model(self, *, chunked: bool = False) -> MemoryModel:
        """Bytes on one device against lanes, from compiling programs of two and of four lanes."""
        experiment, engine = self.experiment, self.engine
        if self._own_devices:
            setting = jnp.zeros((), experiment.dtype)
            return MemoryModel(program_bytes(compile_step(experiment.spec, setting, experiment.seeds[0])), 0)
        part = None if self.executor == "vmap" and not chunked else 0

        def bytes_at(lanes: int) -> int:
            settings = np.zeros((engine.num_seeds if part is None else 1, lanes * engine.shards), experiment.dtype)
            arguments = engine.arguments("train", engine.place_settings(settings), None, (0, 0), part=part)
            return program_bytes(engine.compile("train", arguments, "vmap" if part is None else Chunked(lanes)))

        return model_memory(bytes_at)


class _TooWide(MemoryError):
    """A program that would not fit: (why, lanes that would)."""


def execute(compiled: Any, arguments: tuple) -> Any:
    """Run an executable and wait for it, so that what the runtime raises is raised here."""
    return jax.block_until_ready(compiled(*arguments))


def _concatenate(parts: Sequence[TrialRecord], axis: int) -> TrialRecord:
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: np.concatenate(leaves, axis), *parts)
