"""From the arguments of a sweep to what it runs with: everything is checked here, before anything is compiled."""

import dataclasses
import itertools
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._checks import MAX_SEEDS, check_count, check_key, check_number, show
from .._engine import (
    BatchSource,
    Choice,
    Chunked,
    Engine,
    Execution,
    Executor,
    Store,
    Task,
    TrialSpec,
    check_directory,
    check_divides,
    check_evaluation_finite,
    check_executor,
    check_factory,
    check_one_host,
    check_task,
    describe_call,
    digest_of,
    draw_seeds,
    find_accumulation,
    halved,
    halved_note,
    hyperparameter_dtype,
    keep_shardings,
    lane_axis,
    lane_mesh,
    lanes_that_fit,
    loop_on_own_devices,
    make_evaluation,
    make_spec,
    resolve,
    settle_model_state,
    spans_hosts,
)
from .._types import Key, Params
from ._factory import ByName
from ._grid import RESERVED, Grid, is_named, make_grid
from ._ledger import Ledger, Timetable, make_timetable
from ._stop import Stop, SuccessiveHalving, check_stop
from ._sweep_digest import describe_grid

EVALUATIONS = 10
"""By default."""


@dataclasses.dataclass(kw_only=True)
class Setup:
    """What a sweep runs with.

    Attributes:
      grid: the trials.
      num_seeds, train_steps: as asked for.
      timetable: when lanes are evaluated and cut.
      stop: who is stopped.
      source: the batches.
      engine: programs and what all lanes share.
      execution: what is reported.
      given: what the folder has from the same call with fewer settings; it needs no training.
      lanes_per_wave: for each family of the grid, how many lanes of a seed run at once; empty until `decide`.
      store: the folder, or None.
      call: the description of the call.
      runs: what the folder says of each grid that was asked for, this one last: its values, what was given, and how
        it runs ("decided", "plan").
      plan: a digest of the call and of how it runs; what the folder holds of other plans does not count.
    """

    grid: Grid
    num_seeds: int
    train_steps: int
    timetable: Timetable
    stop: Stop | None
    source: BatchSource
    engine: Engine
    execution: Execution
    given: Ledger
    lanes_per_wave: list[int]
    store: Store | None
    call: dict[str, Any]
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    plan: str = ""

    def new_ledger(self) -> Ledger:
        """A ledger with what is given."""
        ledger = Ledger(self.grid, self.num_seeds, self.timetable, self.stop, self.lanes_per_wave)
        ledger.give(self.given, self.given.given)
        return ledger

    @property
    def to_train(self) -> list[int]:
        """For each family, how many of its trials are not given; at least one."""
        return [max(1, int((~self.given.given[family.trials]).sum())) for family in self.grid.families]

    def decide(self) -> None:
        """Settle the executor, and how many lanes of each family run at once: as in the folder if that says so."""
        engine, families, lanes = self.engine, self.grid.families, self.to_train
        most = max(lanes)
        before = [run["decided"] for run in self.runs if "decided" in run]
        if self.runs and "decided" in self.runs[-1]:
            decided = before[-1]
            engine.executor = _read_executor(decided["executor"])
            engine.fit_chunk(most)
            lanes_per_wave = decided["lanes_per_wave"]
        else:
            if engine.executor == "auto" and before:  # one executor for all settings of a table
                engine.executor = _read_executor(before[-1]["executor"])
            resolve(engine, families[0].settings, lanes[0])
            engine.fit_chunk(most)
            lanes_per_wave = [
                lanes_that_fit(engine, jax.tree.map(lambda leaf: leaf[0], family.settings), count)
                for family, count in zip(families, lanes, strict=True)
            ]
        if engine.executor == "loop":
            check_one_host('sweep(executor="loop")', engine.mesh)
            engine.leave_mesh()
        self.execution.used = str(engine.executor)
        self._settle(lanes_per_wave)

    def narrow(self, family: int, cause: BaseException | None) -> None:
        """Half the lanes of a family, after memory ran out: the sweep begins anew.

        Raises:
          MemoryError: they cannot be fewer.
        """
        engine = self.engine
        before = engine.width_for(self.lanes_per_wave[family])
        half = halved(before, engine.unit)
        if half is None or engine.several_hosts:
            raise MemoryError(
                f"The sweep ran out of memory with {before} lanes and executor {engine.executor}: {cause} Use smaller "
                "batches, jax.checkpoint in the model, or a machine with more memory."
            )
        self.execution.notes.append(halved_note(before, half))
        if self.store is not None:
            self.store.drop("checkpoint")
            self.store.drop("waiting")
        self._settle([half if index == family else lanes for index, lanes in enumerate(self.lanes_per_wave)])

    def _settle(self, lanes_per_wave: list[int]) -> None:
        waves = max(-(-count // n) for count, n in zip(self.to_train, lanes_per_wave, strict=True))
        groups = waves * len(self.grid.families)
        if not self.source.resumes and groups > 1:
            raise ValueError(
                "`sweep(task=...)` reads its batches from an iterator, or from a loader that may give others when "
                f"it is read again, but the trials run in {groups} groups, one after the other, because of memory or "
                "of schedules of different kinds. Give a list or a function of the epoch: "
                "train_batches=lambda epoch: loader."
            )
        self.lanes_per_wave = lanes_per_wave
        if self.store is not None:
            decided = {"executor": str(self.engine.executor), "lanes_per_wave": lanes_per_wave}
            run = {**self.runs[-1], "decided": decided}
            self.plan = run["plan"] = digest_of({**self.call, **run, "plan": None})
            if run != self.runs[-1]:
                self.runs = [*self.runs[:-1], run]
                self.store.write_call({"runs": self.runs})


def make_setup(
    task: Task,
    make_optimizer: Any,
    grid: Any,
    *,
    key: Key,
    train_steps: int,
    num_seeds: int,
    eval_every: int | Sequence[int] | None,
    executor: Executor,
    mesh: Mesh | None,
    directory: str | os.PathLike[str] | None,
    stop: Stop | None,
    one_device: bool = False,
) -> Setup:
    """Check the arguments of `sweep`, and open its folder; `one_device` leaves all but one device alone.

    Raises:
      TypeError, ValueError, OSError: as `sweep`.
    """
    check_task("sweep(task=...)", task)
    if not is_named(grid) or hasattr(make_optimizer, "update") or not callable(make_optimizer):
        check_factory("sweep(make_optimizer=...)", make_optimizer)
    executor = check_executor("sweep(executor=...)", executor)
    key = check_key("sweep(key=...)", key)
    train_steps = check_count("sweep(train_steps=...)", train_steps, unit="optimizer updates")
    num_seeds = _check_seeds(task, num_seeds)
    eval_every = _check_eval_every(eval_every, train_steps)
    stop = check_stop("sweep(stop=...)", stop, train_steps)
    asked_mesh, mesh = mesh, None if one_device else check_mesh(mesh)
    seeds, trainable = draw_seeds(task, key, num_seeds)
    trials = make_grid("sweep", grid, make_optimizer, hyperparameter_dtype(seeds[0].params))
    _check_lanes(trials.num_trials, mesh)
    factory: Any = ByName(make_optimizer) if trials.by_name else make_optimizer
    spec = make_spec(task, factory, trainable, (train_steps,))
    source = BatchSource(task, [seed.data_key for seed in seeds], train_steps)
    if directory is not None:
        _check_directory(directory, source)
    if mesh is not None and "data" in mesh.axis_names:
        check_divides(source.first, 0 if source.shared else 1, mesh.shape["data"])
    some = jax.tree.map(lambda leaf: leaf[None], source.first) if source.shared else source.first
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), some)
    seeds = settle_model_state(spec, seeds, batch, key)
    evaluation = make_evaluation(task, spec, key, seeds[0], some)
    check_evaluation_finite(evaluation)
    _check_accumulation(spec, trials, seeds[0].params, train_steps)
    timetable = make_timetable(train_steps, eval_every, stop)
    loop = loop_on_own_devices(
        "sweep",
        spec,
        jax.tree.map(lambda leaf: leaf[0], trials.families[0].settings),
        seeds[0]._replace(batches=source.one_step()),
        evaluation,
        executor="auto" if one_device else executor,
        asked_mesh=asked_mesh,
        mesh=mesh,
        axes=() if mesh is None else (lane_axis(mesh),),
    )
    if loop is not None and one_device:
        raise ValueError(
            f"`preview(lrjax.sweep, task=...)` is of programs that spread trials over devices, but {loop.reason}."
        )
    runs, reason = loop or Choice(executor, "")
    mesh = None if loop else mesh
    execution = Execution(requested=str(executor), reason=reason, **_shape_of(mesh))
    engine = Engine(
        keep_shardings(spec, seeds[0]) if loop else spec,
        runs,
        mesh,
        seeds=seeds,
        evaluation=evaluation,
        source=source,
        longest=int(np.diff((0, *timetable.evaluations)).max()),
        execution=execution,
        own_shardings=loop is not None,
    )
    for family in trials.families:
        names = engine.metric_names(jax.tree.map(lambda leaf: leaf[0], family.settings))
        twice = sorted({*names} & {*trials.columns, *RESERVED})
        if twice:
            raise ValueError(
                f"`sweep(grid=...)` must not share names with the metrics of eval_fn, got {twice[0]!r} for both. "
                "Rename one: the result's table has a column for each."
            )
        if isinstance(stop, SuccessiveHalving) and stop.metric not in names:
            raise ValueError(
                f"`SuccessiveHalving(metric=...)` must be one of {', '.join(sorted(names))}, got {stop.metric!r}."
            )
    setup = Setup(
        grid=trials,
        num_seeds=num_seeds,
        train_steps=train_steps,
        timetable=timetable,
        stop=stop,
        source=source,
        engine=engine,
        execution=execution,
        given=Ledger(trials, num_seeds, timetable, stop),
        lanes_per_wave=[],
        store=None,
        call={},
    )
    if directory is not None:
        asked = {"train_steps": train_steps, "num_seeds": num_seeds, "eval_every": eval_every, "stop": repr(stop)}
        grid_asked = describe_grid(trials, hyperparameter_dtype(seeds[0].params))
        engine_asked = describe_call(
            spec,
            [jax.tree.map(lambda leaf: leaf[0], family.settings) for family in trials.families],
            seeds,
            key=key,
            executor=executor,
            mesh=mesh,
            first_batches=source.first,
            shared=source.shared,
            arrays=task._arrays,
            evaluation=evaluation,
        )
        setup.call = asked | grid_asked | engine_asked
        setup.store = Store("sweep", "sweep", directory, several=engine.several_hosts)
        setup.runs = setup.store.open(setup.call, grows=("values",)).get("runs", [])
    return setup


def _check_directory(directory: object, source: BatchSource) -> None:
    check_directory("sweep", directory)
    if not source.resumes:
        raise ValueError(
            "`sweep(directory=...)` must be able to read the same batches again, and `Task.from_batches` was given an "
            "iterator or a loader without a state. Bitwise resume needs arrays (Task.from_arrays), a list, a Grain "
            "iterator or a function of the epoch: train_batches=lambda epoch: loader. Or leave directory out."
        )


def _check_accumulation(spec: TrialSpec, trials: Grid, params: Params, train_steps: int) -> None:
    """Raise unless every trial ends with an update."""
    for family in trials.families:
        settings = jax.tree.map(jnp.asarray, family.settings)
        find_accumulation(spec, settings, params, stacked=True).check("sweep(train_steps=...)", train_steps)


def _check_eval_every(eval_every: int | Sequence[int] | None, train_steps: int) -> int | list[int]:
    """The interval, or the steps themselves."""
    if eval_every is None:
        return max(1, -(-train_steps // EVALUATIONS))
    if isinstance(eval_every, Sequence) and not isinstance(eval_every, str):
        steps = [
            check_count(f"sweep(eval_every=...)[{index}]", step, unit="optimizer updates")
            for index, step in enumerate(eval_every)
        ]
        if not steps or steps[-1] > train_steps or any(late <= early for early, late in itertools.pairwise(steps)):
            raise ValueError(
                "`sweep(eval_every=...)` given as a sequence must hold increasing steps up to "
                f"train_steps={train_steps}, got {show(list(eval_every))}."
            )
        return steps
    every = check_count("sweep(eval_every=...)", eval_every, unit="optimizer updates")
    if every > train_steps:
        raise ValueError(
            f"`sweep(eval_every=...)` must be at most train_steps={train_steps}, got {every}. "
            "For one evaluation at the end give train_steps."
        )
    return every


def _check_seeds(task: Task, num_seeds: int) -> int:
    num_seeds = check_count("sweep(num_seeds=...)", num_seeds, maximum=MAX_SEEDS, unit="seeds")
    if task.max_seeds is not None and num_seeds > task.max_seeds:
        raise ValueError(
            f"`sweep(num_seeds=...)` must be at most the task's max_seeds={task.max_seeds}, got {num_seeds}."
        )
    return num_seeds


def check_seconds(seconds: object) -> float:
    """The time between checkpoints."""
    rule = "seconds between checkpoints, >= 0"
    return check_number("sweep(checkpoint_seconds=...)", seconds, rule=rule, accept=lambda x: x >= 0)


def check_mesh(mesh: Mesh | None) -> Mesh | None:
    """The mesh with auto axes, or None for one device."""
    made = lane_mesh("sweep(mesh=...)", mesh)
    if made is not None and mesh is not None and "trial" not in made.axis_names:
        raise ValueError(
            f'`sweep(mesh=...)` must have an axis "trial" (and may have "data" and others), got {made.axis_names}. '
            'Write jax.sharding.Mesh(np.reshape(jax.devices(), (-1, 2)), ("trial", "data")).'
        )
    return made


def _check_lanes(trials: int, mesh: Mesh | None) -> None:
    """More hosts than lanes would leave hosts with nothing but padding."""
    if mesh is None or not spans_hosts(mesh) or "data" in mesh.axis_names:
        return
    hosts = len({device.process_index for device in mesh.devices.flat})
    if trials < hosts:
        raise ValueError(
            f"`sweep(grid=...)` must have at least as many trials as the mesh has hosts, {hosts}, got {trials}. Use "
            'fewer hosts, or a mesh with an axis "data".'
        )


def _shape_of(mesh: Mesh | None) -> dict[str, Any]:
    """What an `Execution` says of the devices."""
    if mesh is None:
        return {}
    return {"devices": mesh.size, "mesh": " x ".join(f"{count} {name}" for name, count in mesh.shape.items())}


def _read_executor(words: str) -> Executor:
    if words.startswith("chunked("):
        return Chunked(int(words[8:-1]))
    return words  # pyright: ignore[reportReturnType]
