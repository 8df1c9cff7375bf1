"""Rounds of trials: places lanes in programs, runs them, and reports what it took."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._types import Float, Int, Key, OptimizerFactory, PyTree
from ._data import stack_leaves
from ._auto import Choice, choose, seconds_of
from ._devices import lane_mesh, lane_order, num_shards, replicate, shard_lanes, to_host
from ._executors import Chunked, Executor, Program, check_executor, compile_program, run_on_host
from ._memory import (
    SHARE_OF_FREE,
    MemoryModel,
    free_bytes,
    memory_model,
    out_of_memory,
    program_bytes,
    show_bytes,
)
from ._optimizer import check_factory
from ._prepare import Experiment, Reference, measure_reference, prepare
from ._task import Task, check_task
from ._trial import TrialState

MAP_SECONDS = 0.5
"""About how long one call of the `map` program lasts: between calls come progress and Ctrl-C."""

_choices: dict[Any, Choice] = {}


class Round(NamedTuple):
    """What a round of trials reached.

    Attributes:
      metrics: name -> value at each horizon; always has "loss". As the program gave it, nan and inf included.
      diverged_at: first step with a loss that is not finite; -1 for none.
      states: for each seed, the lanes' states with a leading trial axis; None unless asked for.
    """

    metrics: dict[str, Float[np.ndarray, "horizons seeds trials"]]
    diverged_at: Int[np.ndarray, "seeds trials"]
    states: tuple[TrialState, ...] | None


@dataclasses.dataclass(kw_only=True)
class Execution:
    """How the trials were run; grows while they run.

    Attributes:
      requested: the executor asked for.
      used: the one that ran last, after `auto` and after what memory allowed.
      reason: why `auto` took it; empty if it was asked for.
      devices: over how many devices the lanes were spread.
      notes: what did not go as asked, in sentences.
      predicted_bytes: memory of the largest program per device, from the compiler; 0 for `loop`.
      compile_seconds, run_seconds: wall time.
      padded_updates: updates of lanes that only fill a program's width.
    """

    requested: str
    used: str = ""
    reason: str = ""
    devices: int = 1
    notes: list[str] = dataclasses.field(default_factory=list)
    predicted_bytes: int = 0
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    padded_updates: int = 0


class TrialRunner:
    """An experiment on its devices. Every round of lanes runs through one compiled program of one width.

    Args:
      where: the caller's name, for messages.
      task: the problem.
      make_optimizer: `make_optimizer(hyperparameters)`, for a search over lrs `make_optimizer(lr)`.
      key: the experiment's key.
      horizons: increasing numbers of steps after which to evaluate.
      num_seeds: seeds, or None for 3 or as many as the data allow.
      executor: how to run the lanes.
      mesh: devices over whose first axis (or axis "trial") the lanes are spread; None: all local devices.
      progress: called with the number of updates done since the last call.
    """

    def __init__(
        self,
        where: str,
        task: Task,
        make_optimizer: OptimizerFactory,
        *,
        key: Key,
        horizons: tuple[int, ...],
        num_seeds: int | None,
        executor: Executor = "auto",
        mesh: Mesh | None = None,
        progress: Callable[[int], None] | None = None,
    ):
        check_task(f"{where}(task=...)", task)
        check_factory(f"{where}(make_optimizer=...)", make_optimizer)
        self.executor: Executor = check_executor(f"{where}(executor=...)", executor)
        self.mesh = lane_mesh(mesh)
        self.execution = Execution(requested=str(executor), devices=num_shards(self.mesh))
        self.experiment: Experiment = prepare(
            where, task, make_optimizer, key=key, horizons=horizons, num_seeds=num_seeds
        )
        self.reference: Reference = measure_reference(self.experiment)
        self.progress = progress or (lambda updates: None)
        self.width = 0
        self._placed: dict[str, Any] = {}

    @property
    def num_seeds(self) -> int:
        """Seeds in the experiment."""
        return len(self.experiment.seeds)

    @property
    def num_steps(self) -> int:
        """Updates of a lane in a round."""
        return self.experiment.spec.horizons[-1]

    def run(
        self, hyperparameters: PyTree, *, states: tuple[TrialState, ...] | None = None, keep: bool = False
    ) -> Round:
        """Train and evaluate one lane for each entry.

        Args:
          hyperparameters: pytree of arrays with a leading trial axis; for a search over lrs, one vector.
          states: for each seed, states to go on from (of an earlier round with `keep`), leading trial axis.
          keep: whether to return the states after the last step.

        Returns:
          The round, in the order given.
        """
        lanes = jax.tree.map(lambda leaf: np.asarray(leaf, self.experiment.dtype), hyperparameters)
        count = jax.tree.leaves(lanes)[0].shape[0]
        self.width = self.width or count
        if self.executor == "auto":
            self._resolve(lanes)
        pieces = []
        for start in range(0, count, self.width):
            piece = slice(start, start + self.width)
            some = None if states is None else tuple(jax.tree.map(lambda leaf: leaf[piece], one) for one in states)
            pieces.append(self._run_piece(jax.tree.map(lambda leaf: leaf[piece], lanes), some, keep))
        return _join_pieces(pieces)

    def _run_piece(self, lanes: PyTree, states: tuple[TrialState, ...] | None, keep: bool) -> Round:
        while True:
            self.execution.used = str(self.executor)
            start, compiled_before = time.perf_counter(), self.execution.compile_seconds
            try:
                piece = self._run_once(lanes, states, keep)
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self.executor in ("loop", "map", Chunked(1)):
                    raise
                self._shrink("ran out of memory")
                continue
            spent = time.perf_counter() - start
            self.execution.run_seconds += spent - (self.execution.compile_seconds - compiled_before)
            return piece

    def _run_once(self, lanes: PyTree, states: tuple[TrialState, ...] | None, keep: bool) -> Round:
        if self.executor == "loop":
            return self._run_on_host(lanes, states, keep)
        if self.executor == "vmap":
            return self._run_vmap(lanes, states, keep)
        rounds = [
            self._run_seed(seed, lanes, None if states is None else states[seed], keep)
            for seed in range(self.num_seeds)
        ]
        return _join_seeds(rounds)

    def _run_on_host(self, lanes: PyTree, states: tuple[TrialState, ...] | None, keep: bool) -> Round:
        experiment = self.experiment
        self._need_one_host()
        rounds = []
        for seed, data in enumerate(experiment.seeds):
            records, kept = [], []
            for index in range(jax.tree.leaves(lanes)[0].shape[0]):
                lane = jax.tree.map(lambda leaf, i=index: jnp.asarray(leaf[i]), lanes)
                state = None if states is None else jax.tree.map(lambda leaf, i=index: leaf[i], states[seed])
                record, state = run_on_host(experiment.spec, lane, state, data, experiment.evaluation)
                records.append(jax.device_get(record))
                kept.append(state if keep else None)
                self.progress(self.num_steps)
            record = jax.tree.map(lambda *rows: np.stack(rows), *records)
            state = jax.tree.map(lambda *rows: jnp.stack(rows), *kept) if keep else None
            rounds.append((record, state))
        return _join_seeds(rounds)

    def _run_vmap(self, lanes: PyTree, states: tuple[TrialState, ...] | None, keep: bool) -> Round:
        count, rows = self._rows_of(lanes)
        stacked = None if states is None else stack_leaves(states)
        arguments = (
            shard_lanes(jax.tree.map(lambda leaf: leaf[rows], lanes), self.mesh),
            (jnp.int32(0), jnp.int32(0)),
            None if stacked is None else jax.tree.map(lambda leaf: leaf[:, rows], stacked),
            self._data("vmap"),
            self._evaluation(),
        )
        compiled = self._executable(self._program(states is not None, keep), arguments)
        if compiled is None:
            return self._run_once(lanes, states, keep)
        record, kept = execute(compiled, arguments)
        back = _unpermute(rows, count)
        record = jax.tree.map(lambda leaf: leaf[:, back], to_host(record, self.mesh))
        self._count(count * self.num_seeds, (len(rows) - count) * self.num_seeds)
        kept = tuple(
            jax.tree.map(lambda leaf, s=seed: leaf[s][back], kept) if keep else None for seed in range(self.num_seeds)
        )
        by_seed = [jax.tree.map(lambda leaf, s=seed: leaf[s], record) for seed in range(self.num_seeds)]
        return _join_seeds(list(zip(by_seed, kept, strict=True)))

    def _run_seed(self, seed: int, lanes: PyTree, states: TrialState | None, keep: bool) -> tuple[Any, Any]:
        """One seed's lanes, chunked or mapped."""
        count, rows = self._rows_of(lanes)
        shards = num_shards(self.mesh)
        arguments = [
            shard_lanes(jax.tree.map(lambda leaf: leaf[rows], lanes), self.mesh),
            (jnp.int32(0), jnp.int32(0)),
            None if states is None else jax.tree.map(lambda leaf: leaf[rows], states),
            self._data(seed),
            self._evaluation(),
        ]
        compiled = self._executable(self._program(states is not None, keep), tuple(arguments))
        if compiled is None:
            return self._run_seed(seed, lanes, states, keep)
        back = _unpermute(rows, count)
        if self.executor != "map":
            record, kept = execute(compiled, tuple(arguments))
            record = to_host(record, self.mesh)
            self._count(count, len(rows) - count)
        else:
            record, kept = self._run_groups(compiled, arguments, count, shards)
        record = jax.tree.map(lambda leaf: leaf[back], record)
        return record, jax.tree.map(lambda leaf: leaf[back], kept) if keep else None

    def _run_groups(self, compiled: Any, arguments: list[Any], count: int, shards: int) -> tuple[Any, Any]:
        """The map program, a few lanes a call: the same bits, but Ctrl-C and progress come through."""
        total = -(-count // shards)  # rows of the fullest shard
        first, group, parts, bounds = 0, 1, [], []
        while first < total:
            stop = min(first + group, total)
            arguments[1] = (jnp.int32(first), jnp.int32(stop))
            start = time.perf_counter()
            record, kept = execute(compiled, tuple(arguments))
            parts.append((to_host(record, self.mesh), kept))
            seconds = time.perf_counter() - start
            bounds.append((first, stop))
            done = min(stop * shards, count) - min(first * shards, count)
            self._count(done, (stop - first) * shards - done)
            first, group = stop, max(1, int(MAP_SECONDS * (stop - first) / max(seconds, 1e-9)))
        if len(parts) == 1:
            return parts[0]
        row = np.arange(self._padded_width()) % (self._padded_width() // shards)
        owner = np.searchsorted([stop for _, stop in bounds], row, side="right").clip(max=len(parts) - 1)
        record = jax.tree.map(lambda *leaves: _pick_rows(np, owner, leaves), *[part[0] for part in parts])
        kept = jax.tree.map(lambda *leaves: _pick_rows(jnp, owner, leaves), *[part[1] for part in parts])
        return record, kept

    def _count(self, lanes: int, padding: int) -> None:
        self.execution.padded_updates += padding * self.num_steps
        self.progress(lanes * self.num_steps)

    def _program(self, resume: bool, keep: bool) -> Program:
        return Program(spec=self.experiment.spec, executor=self.executor, mesh=self.mesh, resume=resume, keep=keep)

    def _executable(self, program: Program, arguments: tuple) -> Any | None:
        """The compiled program, or None if it would not fit and the executor was made smaller instead."""
        start = time.perf_counter()
        compiled = compile_program(program, arguments)
        self.execution.compile_seconds += time.perf_counter() - start
        needed = program_bytes(compiled)
        self.execution.predicted_bytes = max(self.execution.predicted_bytes, needed)
        budget = self._budget()
        if needed > budget and self.executor not in ("map", Chunked(1)):
            self.execution.predicted_bytes = 0
            lanes = self.memory_model().lanes_within(budget)
            self._shrink(f"needs {show_bytes(needed)} of {show_bytes(budget)} allowed", lanes)
            return None
        return compiled

    def _shrink(self, reason: str, lanes: int | None = None) -> None:
        """Take a smaller chunk: what fits by prediction, or half of what there was."""
        before = self.executor
        local = self._padded_width() // num_shards(self.mesh)
        size = before.size if isinstance(before, Chunked) else local * (self.num_seeds if lanes is None else 1)
        half = max(1, min(size // 2, local))
        self.executor = Chunked(half if lanes is None else min(half, lanes))
        self.execution.notes.append(f"{before} of {size} lanes a device {reason}: ran as {self.executor}.")

    def _budget(self) -> float:
        device = jax.local_devices()[0] if self.mesh is None else self.mesh.local_devices[0]
        sharers = len(self.mesh.local_devices) if self.mesh is not None and device.platform == "cpu" else 1
        return SHARE_OF_FREE * free_bytes(device) / sharers

    def memory_model(self) -> MemoryModel:
        """Bytes on one device against lanes, from compiling programs of one and of two lanes."""
        compiled = []
        for lanes in (1, 2):
            arguments = (
                jnp.zeros(lanes, self.experiment.dtype),
                (jnp.int32(0), jnp.int32(0)),
                None,
                self.experiment.seeds[0],
                self.experiment.evaluation,
            )
            program = Program(spec=self.experiment.spec, executor=Chunked(lanes))
            compiled.append(compile_program(program, arguments))
        return memory_model(*compiled)

    def _padded_width(self) -> int:
        """The width rounded up to what shards and chunks divide."""
        chunk = self.executor.size if isinstance(self.executor, Chunked) else 1
        shards = num_shards(self.mesh)
        local = -(-self.width // shards)
        return shards * (-(-local // chunk) * chunk)

    def _rows_of(self, lanes: PyTree) -> tuple[int, np.ndarray]:
        """The number of lanes, and which lane each row of the program holds (padding repeats the last one)."""
        count = jax.tree.leaves(lanes)[0].shape[0]
        order = lane_order(self._padded_width(), num_shards(self.mesh))
        return count, np.minimum(order, count - 1)

    def _data(self, which: int | str) -> Any:
        """A seed's data (or all seeds' stacked, for vmap) on the devices."""
        name = str(which)
        if name not in self._placed:
            seeds = self.experiment.seeds
            data = seeds[which] if isinstance(which, int) else stack_leaves(seeds)
            self._placed[name] = replicate(data, self.mesh)
        return self._placed[name]

    def _evaluation(self) -> Any:
        if "evaluation" not in self._placed:
            self._placed["evaluation"] = replicate(self.experiment.evaluation, self.mesh)
        return self._placed["evaluation"]

    def _resolve(self, lanes: PyTree) -> None:
        """Let `auto` choose, once for each experiment of these shapes in this process."""
        device = jax.local_devices()[0] if self.mesh is None else self.mesh.local_devices[0]
        shapes = jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), (self.experiment.seeds, lanes))
        known = (self.experiment.spec, str(shapes), self.mesh, device.platform)
        if known not in _choices:
            _choices[known] = choose(
                self.experiment, device.platform, self.width, lambda executor: self._measure(executor, lanes)
            )
        self.executor, self.execution.reason = _choices[known]
        if self.executor == "loop" and self.execution.devices > 1:
            if self.mesh is not None and len({d.process_index for d in self.mesh.devices.flat}) > 1:
                self.executor = "map"
            else:
                self.execution.notes.append(f"loop runs on one of {self.execution.devices} devices.")
                self.execution.devices = 1

    def _measure(self, executor: Executor, lanes: PyTree) -> float:
        """Seconds a lane and seed take, on the program that would run."""
        self.executor = executor
        _, rows = self._rows_of(lanes)
        local = max(1, min(2, self._padded_width() // num_shards(self.mesh)))
        arguments = (
            shard_lanes(jax.tree.map(lambda leaf: leaf[rows], lanes), self.mesh),
            (jnp.int32(0), jnp.int32(local)),
            None,
            self._data("vmap" if executor == "vmap" else 0),
            self._evaluation(),
        )
        compiled = self._executable(self._program(False, False), arguments)
        if compiled is None:
            return float("inf")
        lanes_run = len(rows) * self.num_seeds if executor == "vmap" else local * num_shards(self.mesh)
        return seconds_of(lambda: execute(compiled, arguments)) / lanes_run

    def _need_one_host(self) -> None:
        if self.mesh is not None and len({device.process_index for device in self.mesh.devices.flat}) > 1:
            raise ValueError(
                '`executor="loop"` runs on one device, but the mesh spans several hosts. '
                'Use "map", "vmap" or lrjax.Chunked(k).'
            )
        self.execution.devices = 1


def execute(compiled: Any, arguments: tuple) -> Any:
    """Run an executable and wait for it, so that what the runtime raises is raised here."""
    return jax.block_until_ready(compiled(*arguments))


def _unpermute(rows: np.ndarray, count: int) -> np.ndarray:
    """Where in the program's rows each lane is."""
    back = np.zeros(count, int)
    back[rows[::-1]] = np.arange(len(rows))[::-1]  # the first row that holds it
    return back


def _pick_rows(numpy: Any, owner: np.ndarray, leaves: tuple) -> Any:
    """Row r of leaves[owner[r]]."""
    result = leaves[0]
    for index, leaf in enumerate(leaves[1:], start=1):
        mine = (owner == index).reshape((-1,) + (1,) * (leaf.ndim - 1))
        result = numpy.where(mine, leaf, result)
    return result


def _join_seeds(rounds: list[tuple[Any, Any]]) -> Round:
    records = [record for record, _ in rounds]
    metrics = {name: np.stack([record.metrics[name].T for record in records], axis=1) for name in records[0].metrics}
    kept = tuple(state for _, state in rounds)
    return Round(metrics, np.stack([record.diverged_at for record in records]), None if None in kept else kept)


def _join_pieces(pieces: list[Round]) -> Round:
    if len(pieces) == 1:
        return pieces[0]
    metrics = {name: np.concatenate([piece.metrics[name] for piece in pieces], axis=-1) for name in pieces[0].metrics}
    states = None
    if pieces[0].states is not None:
        by_seed = zip(*[piece.states for piece in pieces if piece.states is not None], strict=True)
        states = tuple(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts) for parts in by_seed)
    return Round(metrics, np.concatenate([piece.diverged_at for piece in pieces], axis=-1), states)
