"""Runs rounds of trials: places lanes in programs, keeps within memory, and reports what it took."""

import functools
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._settings import current_settings
from .._types import Array, Key, OptimizerFactory, PyTree
from ._checkpoint import Checkpoint
from ._choice import choose, seconds_of, step_facts
from ._data import stack_leaves
from ._devices import agree_on_least, lane_mesh, num_shards, replicate, shard_lanes, spans_hosts, to_host
from ._execution import Execution
from ._executors import Chunked, Executor, Program, check_executor, compile_program, compile_step, run_on_host
from ._memory import SHARE_OF_FREE, MemoryModel, free_bytes, memory_model, out_of_memory, program_bytes, show_bytes
from ._optimizer import check_factory
from ._own_devices import LaneMesh, Trial, loop_on_own_devices
from ._prepare import Experiment, Reference, measure_reference, prepare
from ._rounds import Layout, Round, SeedRound, join_groups, join_pieces, join_seeds, take
from ._sharding import place
from ._task import Task, check_task
from ._trial import SeedData, TrialState
from ._weak import WeakCache

MAP_SECONDS = 0.5
"""About how long one call of the `map` program lasts: between calls come progress and Ctrl-C."""

_choices = WeakCache(64)


class TrialRunner:
    """An experiment on its devices. Every round of lanes runs through one compiled program of one width.

    Args:
      where: the caller's name, for messages.
      task: the problem.
      make_optimizer: `make_optimizer(hyperparameters)`, for a search over lrs `make_optimizer(lr)`.
      key: the experiment's key.
      horizons: increasing numbers of training batches after which to evaluate.
      num_seeds: seeds, or None for 3 or as many as the data allow.
      executor: how to run the lanes.
      mesh: devices over whose first axis (or axis "trial") the lanes are spread; None: all local devices.
      progress: called with the number of updates done since the last call.
      checkpoint: where new lanes start, instead of from the task's own parameters.
      in_updates, example: as for `prepare`.
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
        checkpoint: Checkpoint | None = None,
        in_updates: bool = False,
        example: PyTree = None,
    ):
        check_task(f"{where}(task=...)", task)
        check_factory(f"{where}(make_optimizer=...)", make_optimizer)
        self.executor: Executor = check_executor(f"{where}(executor=...)", executor)
        self._where, self._asked_mesh, self._own_devices = where, mesh, None
        self.mesh = lane_mesh(f"{where}(mesh=...)", mesh)
        self.execution = Execution(requested=str(executor), devices=num_shards(self.mesh))
        self.experiment: Experiment = prepare(
            where,
            task,
            make_optimizer,
            key=key,
            horizons=horizons,
            num_seeds=num_seeds,
            checkpoint=checkpoint,
            in_updates=in_updates,
            example=example,
        )
        self.reference: Reference = measure_reference(self.experiment)
        self.progress = progress or (lambda updates: None)
        self.width = 0
        self._rows_per_call = 1
        self._admitted: set[Any] = set()  # programs known to fit: asking for the free memory takes time
        self._placed: dict[Any, Any] = {}

    @property
    def num_seeds(self) -> int:
        """Seeds in the experiment."""
        return len(self.experiment.seeds)

    @property
    def num_steps(self) -> int:
        """Training batches of a lane in a round."""
        return self.experiment.spec.horizons[-1]

    @property
    def num_updates(self) -> int:
        """Updates of a lane in a round."""
        return self.experiment.accumulation.updates(self.num_steps)

    def run(
        self,
        hyperparameters: PyTree,
        *,
        states: tuple[TrialState, ...] | None = None,
        start: int = 0,
        keep: bool = False,
    ) -> Round:
        """Train and evaluate one lane for each entry, `num_steps` updates from step `start` on.

        Lanes are carried on by running them again from their states: `run(lrs, keep=True)`, then
        `run(lrs, states=round.states, start=num_steps, keep=True)` and so on, all through two executables.

        Args:
          hyperparameters: pytree of arrays with a leading trial axis; for a search over lrs, one vector.
          states: for each seed, states to go on from (of an earlier round with `keep`), leading trial axis.
          start: the step that the states are at; 0 for new lanes.
          keep: whether to return the states after the last step.

        Returns:
          The round, in the order given.

        Raises:
          ValueError: the task gives no batches from `start` on.
        """
        lanes = jax.tree.map(lambda leaf: np.asarray(leaf, self.experiment.dtype), hyperparameters)
        count = _count(lanes)
        self.width = self.width or count
        self._select_batches(start)
        if self._own_devices is None:
            self._keep_own_devices(take(lanes, 0))
        if self.executor == "auto":
            self._resolve(lanes)
        if self.executor == "loop":
            self._leave_other_devices()
        pieces = []
        for first in range(0, count, self.width):
            piece = slice(first, first + self.width)
            some = None if states is None else tuple(take(one, piece) for one in states)
            pieces.append(self._run_piece(take(lanes, piece), some, keep))
        return join_pieces(pieces)

    def _run_piece(self, lanes: PyTree, states: tuple[TrialState, ...] | None, keep: bool) -> Round:
        """Run lanes of one width, in smaller chunks if memory runs out."""
        while True:
            self.execution.used = str(self.executor)
            started, compiled = time.perf_counter(), self.execution.compile_seconds
            try:
                piece = self._run_seeds(lanes, states, keep)
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if not out_of_memory(error) or not self._can_shrink():
                    raise
                self._shrink("ran out of memory")
                continue
            if piece is None:  # it would not have fitted, and the executor was made smaller
                continue
            compiling = self.execution.compile_seconds - compiled
            self.execution.run_seconds += time.perf_counter() - started - compiling
            return piece

    def _run_seeds(self, lanes: PyTree, states: tuple[TrialState, ...] | None, keep: bool) -> Round | None:
        if self.executor == "vmap":
            stacked = None if states is None else stack_leaves(states)
            result = self._run_program("all", lanes, stacked, keep)
            return None if result is None else join_seeds([SeedRound(*take(result, s)) for s in range(self.num_seeds)])
        rounds = []
        for seed in range(self.num_seeds):
            state = None if states is None else states[seed]
            run = self._run_on_host if self.executor == "loop" else self._run_program
            rounds.append(run(seed, lanes, state, keep))
            if rounds[-1] is None:
                return None
        return join_seeds(rounds)

    def _run_on_host(self, seed: int, lanes: PyTree, states: TrialState | None, keep: bool) -> SeedRound:
        experiment, data = self.experiment, self._data(seed)
        records, kept = [], []
        for index in range(_count(lanes)):
            lane = jax.tree.map(lambda leaf, i=index: jnp.asarray(leaf[i]), lanes)
            state = None if states is None else place(take(states, index), experiment.spec.shardings)
            record, state = run_on_host(experiment.spec, lane, state, data, experiment.evaluation)
            records.append(jax.device_get(record))
            kept.append(state if keep else None)
            self.progress(self.num_updates)
        record = jax.tree.map(lambda *rows: np.stack(rows), *records)
        return SeedRound(record, stack_leaves(kept) if keep else None)

    def _run_program(
        self, which: int | Literal["all"], lanes: PyTree, states: TrialState | None, keep: bool
    ) -> SeedRound | None:
        """One seed's lanes, chunked or mapped, or all seeds' vectorised; None if it would not fit."""
        count, layout, axis = _count(lanes), self._layout(), int(which == "all")
        order = layout.lanes(count)
        arguments = (
            shard_lanes(take(lanes, order), self.mesh),
            self._bounds(0, layout.local),
            None if states is None else take(states, order, axis),
            self._data(which),
            self._evaluation(),
        )
        compiled = self._executable(self._program(keep), arguments)
        if compiled is None:
            return None
        if self.executor == "map":
            record, kept = self._run_groups(compiled, arguments, count, layout)
        else:
            record, kept = execute(compiled, arguments)
            record = to_host(record, self.mesh)
            self._done(count, layout.rows, self.num_seeds if axis else 1)
        rows = layout.rows_of(count)
        return SeedRound(take(record, rows, axis), take(kept, rows, axis) if keep else None)

    def _run_groups(self, compiled: Any, arguments: tuple, count: int, layout: Layout) -> tuple[Any, Any]:
        """The map program, a few rows a call: the same bits, but Ctrl-C and progress come through."""
        hyperparameters, _, *rest = arguments
        total = -(-count // layout.shards)  # rows of the fullest shard
        together = self.mesh is not None and spans_hosts(self.mesh)  # hosts must make the same calls
        first, group, records, states, bounds = 0, total if together else self._rows_per_call, [], [], []
        while first < total:
            stop = min(first + group, total)
            started = time.perf_counter()
            record, kept = execute(compiled, (hyperparameters, self._bounds(first, stop), *rest))
            seconds = time.perf_counter() - started
            records.append(to_host(record, self.mesh))
            states.append(kept)
            bounds.append(stop)
            lanes = min(stop * layout.shards, count) - min(first * layout.shards, count)
            self._done(lanes, (stop - first) * layout.shards, 1)
            group = max(1, int(MAP_SECONDS * (stop - first) / max(seconds, 1e-9)))
            first, self._rows_per_call = stop, group
        owner = layout.groups(np.asarray(bounds))
        return join_groups(records, owner), join_groups(states, owner)

    def _done(self, lanes: int, rows: int, seeds: int) -> None:
        self.execution.padded_updates += (rows - lanes) * seeds * self.num_updates
        self.progress(lanes * seeds * self.num_updates)

    def _program(self, keep: bool) -> Program:
        executor = Chunked(self._layout().chunk) if isinstance(self.executor, Chunked) else self.executor
        return Program(spec=self.experiment.spec, executor=executor, mesh=self.mesh, keep=keep)

    def _layout(self) -> Layout:
        shards = num_shards(self.mesh)
        chunk = min(self.executor.size, -(-self.width // shards)) if isinstance(self.executor, Chunked) else 1
        return Layout(self.width, shards, chunk)

    def _executable(self, program: Program, arguments: tuple) -> Any | None:
        """The compiled program, or None if it would not fit and the executor was made smaller instead."""
        started = time.perf_counter()
        compiled = compile_program(program, arguments)
        self.execution.compile_seconds += time.perf_counter() - started
        if compiled in self._admitted:
            return compiled
        needed, budget = program_bytes(compiled), self._budget()
        if needed > budget and self._can_shrink():
            lanes = self.memory_model(chunked=True).lanes_within(budget)
            self._shrink(f"needs {show_bytes(needed)}, more than the {show_bytes(budget)} allowed", lanes)
            return None
        if needed > budget / SHARE_OF_FREE:
            raise MemoryError(
                f"Training one copy with executor {self.executor} needs {show_bytes(needed)}, and "
                f"{show_bytes(budget / SHARE_OF_FREE)} are free. Use smaller training or evaluation batches, "
                "jax.checkpoint in the model, or a machine with more memory."
            )
        self.execution.bytes = max(self.execution.bytes, needed)
        self._admitted.add(compiled)
        return compiled

    def _can_shrink(self) -> bool:
        return self.executor == "vmap" or (isinstance(self.executor, Chunked) and self._layout().chunk > 1)

    def _shrink(self, reason: str, lanes: int | None = None) -> None:
        """Take a smaller chunk: the lanes that fit by prediction, and at most half of what there was."""
        before, layout = self.executor, self._layout()
        at_once = layout.chunk if isinstance(before, Chunked) else layout.local * self.num_seeds
        half = max(1, min(at_once // 2, layout.local))
        self.executor = Chunked(half if lanes is None else min(half, lanes))
        self.execution.notes.append(f"{before} with {at_once} lanes at once {reason}: went on with {self.executor}.")

    def _budget(self) -> float:
        """Bytes that a program may take on a device, the same on every host."""
        device = jax.local_devices()[0] if self.mesh is None else self.mesh.local_devices[0]
        sharers = len(self.mesh.local_devices) if self.mesh is not None and device.platform == "cpu" else 1
        return agree_on_least(SHARE_OF_FREE * free_bytes(device) / sharers, self.mesh)

    def memory_model(self, *, chunked: bool = False) -> MemoryModel:
        """Bytes on one device against lanes, from compiling programs of two and of four lanes.

        Args:
          chunked: of a chunk of one seed's lanes, whatever the executor; else of all seeds' lanes under `vmap`.

        Of a task that uses several devices by itself: of one step, the only program that there is.
        """
        if self._own_devices:
            step = compile_step(self.experiment.spec, jnp.zeros((), self.experiment.dtype), self.experiment.seeds[0])
            return MemoryModel(program_bytes(step), 0)
        vmap, seeds = self.executor == "vmap" and not chunked, self.experiment.seeds
        compiled = []
        for lanes in (2, 4):
            arguments = (
                jnp.zeros(lanes, self.experiment.dtype),
                (_int32(0), _int32(lanes)),
                None,
                stack_leaves(seeds) if vmap else seeds[0],
                self.experiment.evaluation,
            )
            program = Program(spec=self.experiment.spec, executor="vmap" if vmap else Chunked(lanes))
            compiled.append(compile_program(program, arguments))
        return memory_model(*map(program_bytes, compiled))

    def _select_batches(self, start: int) -> None:
        """Have the batches from step `start` on in the seeds' data."""
        if int(self.experiment.seeds[0].first_step) == start:
            return
        self.experiment = self.experiment.from_step(start)
        self._placed.clear()

    def _data(self, which: int | Literal["all"]) -> SeedData:
        """A seed's data, or all seeds' stacked, on the devices."""
        if which not in self._placed:
            seeds = self.experiment.seeds
            data = stack_leaves(seeds) if which == "all" else seeds[which]
            self._placed[which] = replicate(data, self.mesh)
        return self._placed[which]

    def _bounds(self, first: int, stop: int) -> Any:
        """The rows that `map` runs, on the devices."""
        return replicate((_int32(first), _int32(stop)), self.mesh)

    def _evaluation(self) -> Any:
        if "evaluation" not in self._placed:
            self._placed["evaluation"] = replicate(self.experiment.evaluation, self.mesh)
        return self._placed["evaluation"]

    def _resolve(self, lanes: PyTree) -> None:
        """Let `auto` choose, once for each experiment of these shapes in this process."""
        device = jax.local_devices()[0] if self.mesh is None else self.mesh.local_devices[0]
        shapes = str(jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), (self.experiment.seeds, lanes)))
        known = (self.experiment.spec, shapes, self.mesh, device.platform, current_settings())
        hosts = self.mesh is not None and spans_hosts(self.mesh)
        measure = None if hosts else lambda executors: self._measure(executors, lanes)
        facts = lambda: self._facts(lanes)  # noqa: E731
        choice = _choices.get(known, lambda: choose(facts, device.platform, self.width, measure))
        self.executor, self.execution.reason = choice
        self.execution.bytes = 0  # of what was only measured

    def _facts(self, lanes: PyTree) -> tuple[bool, float]:
        lane = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], self.experiment.dtype), lanes)
        return step_facts(self.experiment.spec, lane, self.experiment.seeds[0])

    def _measure(self, executors: list[Executor], lanes: PyTree) -> list[float]:
        """Seconds that a lane takes for one seed, on the programs that would run; infinite if one would not fit."""
        probes = [self._probe(executor, lanes) for executor in executors]
        started = time.perf_counter()
        compiled = [compile_program(probe.program, probe.arguments) for probe in probes]
        self.execution.compile_seconds += time.perf_counter() - started
        budget = self._budget()
        fits = [index for index, one in enumerate(compiled) if program_bytes(one) <= budget]
        seconds = [float("inf")] * len(probes)
        times = seconds_of([functools.partial(execute, compiled[i], probes[i].arguments) for i in fits])
        for index, value in zip(fits, times, strict=True):
            seconds[index] = value / probes[index].lanes
        return seconds

    def _probe(self, executor: Executor, lanes: PyTree) -> "_Probe":
        """The program of an executor, on all its rows, or on two for `map`, which runs them one by one."""
        self.executor = executor
        layout, which = self._layout(), "all" if executor == "vmap" else 0
        rows = min(2, layout.local) if executor == "map" else layout.local
        arguments = (
            shard_lanes(take(lanes, layout.lanes(_count(lanes))), self.mesh),
            self._bounds(0, rows),
            None,
            self._data(which),
            self._evaluation(),
        )
        seeds = self.num_seeds if executor == "vmap" else 1
        return _Probe(self._program(keep=False), arguments, rows * layout.shards * seeds)

    def _keep_own_devices(self, lane: PyTree) -> None:
        """Run the trials one after the other, as they are, where the task uses several devices by itself."""
        experiment = self.experiment
        loop = loop_on_own_devices(
            self._where,
            Trial(experiment.spec, lane, experiment.seeds[0], experiment.evaluation),
            executor=self.executor,
            mesh=self._asked_mesh,
            lanes=LaneMesh(self.mesh, () if self.mesh is None else self.mesh.axis_names),
        )
        self._own_devices = loop is not None
        if loop is None:
            return
        self.executor, self.execution.reason = loop
        self.mesh, self.execution.devices = None, 1
        self.experiment = experiment.keep_shardings()
        self._placed.clear()

    def _leave_other_devices(self) -> None:
        """The loop on the host runs on one device."""
        if self.mesh is not None and spans_hosts(self.mesh):
            raise ValueError(
                '`executor="loop"` runs on one device, but the mesh spans several hosts. '
                'Use "map", "vmap" or lrjax.Chunked(k).'
            )
        if self.execution.devices > 1:
            self.execution.notes.append(f"loop runs on one of {self.execution.devices} devices.")
            self.execution.devices, self.mesh = 1, None
            self._placed.clear()


class _Probe(NamedTuple):
    """A program to measure, and how many lanes it trains."""

    program: Program
    arguments: tuple
    lanes: int


def execute(compiled: Any, arguments: tuple) -> Any:
    """Run an executable and wait for it, so that what the runtime raises is raised here."""
    return jax.block_until_ready(compiled(*arguments))


def _int32(value: int) -> Array:
    return jnp.asarray(np.int32(value))


def _count(lanes: PyTree) -> int:
    return jax.tree.leaves(lanes)[0].shape[0]
