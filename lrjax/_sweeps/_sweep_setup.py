"""From the arguments of a sweep to what it runs with: everything is checked here, before anything is compiled."""

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._checks import MAX_SEEDS, check_count, check_key
from .._engine import (
    Accumulation,
    BatchSource,
    Choice,
    Engine,
    Execution,
    Executor,
    Experiment,
    Store,
    Task,
    check_divides,
    check_evaluation_finite,
    check_executor,
    check_factory,
    check_task,
    describe_call,
    draw_seeds,
    find_accumulation,
    hyperparameter_dtype,
    lane_axis,
    lane_mesh,
    loop_on_own_devices,
    make_evaluation,
    make_spec,
    settle_model_state,
    spans_hosts,
)
from .._types import Key
from ._grid import RESERVED, ByName, Grid, describe_grid
from ._read_grid import is_named, make_grid
from ._stop import Stop, SuccessiveHalving, Timetable, check_eval_every, check_stop, make_timetable
from ._sweep_state import Sweep, nothing_measured


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
    verb: str = "sweep",
) -> Sweep:
    """Check the arguments of `sweep`, and open its folder; `one_device` leaves all but one device alone.

    `verb` is whose arguments the number of seeds and the folder are.
    """
    check_task("sweep(task=...)", task)
    if not is_named(grid) or hasattr(make_optimizer, "update") or not callable(make_optimizer):
        check_factory("sweep(make_optimizer=...)", make_optimizer)
    executor = check_executor("sweep(executor=...)", executor)
    key = check_key("sweep(key=...)", key)
    train_steps = check_count("sweep(train_steps=...)", train_steps, unit="optimizer updates")
    num_seeds = check_count("sweep(num_seeds=...)", num_seeds, maximum=MAX_SEEDS, unit="seeds")
    if task.max_seeds is not None and num_seeds > task.max_seeds:
        raise ValueError(
            f"`{verb}(num_seeds=...)` must be at most the task's max_seeds={task.max_seeds}, got {num_seeds}."
        )
    eval_every = check_eval_every(eval_every, train_steps)
    stop = check_stop("sweep(stop=...)", stop, train_steps)
    lanes_on = None if one_device else check_mesh(mesh)
    store = None if directory is None else Store(verb, "sweep", directory)
    made, source, experiment = _draw(task, make_optimizer, grid, key, train_steps, num_seeds, lanes_on)
    if store is not None and not source.resumes:
        raise ValueError(
            f"`{verb}(directory=...)` must be able to read the same batches again, and `Task.from_batches` was given "
            "an iterator or a loader without a state. Bitwise resume needs arrays (Task.from_arrays), a list, a "
            "Grain iterator or a function of the epoch: train_batches=lambda epoch: loader. Or leave directory out."
        )
    in_updates, batches = make_timetable(train_steps, eval_every, stop), experiment.accumulation.batches
    timetable = Timetable(*(tuple(map(batches, updates)) for updates in in_updates))
    longest = int(np.diff((0, *timetable.evaluations)).max())
    engine = _make_engine(experiment, made, source, longest, executor, mesh, lanes_on, one_device=one_device)
    names = _check_metric_names(engine, made, stop)
    measured = nothing_measured(made.num_trials, num_seeds, len(timetable.evaluations), names)
    sweep = Sweep(made, num_seeds, train_steps, timetable, stop, source, engine, measured, store)
    if store is not None:
        settings = [family.example for family in made.families]
        sweep.call = {
            **{"train_steps": train_steps, "num_seeds": num_seeds, "eval_every": eval_every, "stop": repr(stop)},
            **describe_grid(made, experiment.dtype),
            **describe_call(experiment, source, settings, key=key, executor=executor, mesh=engine.mesh),
        }
        store.open(sweep.call, grows=("values",), several=engine.several_hosts)
    return sweep


def _draw(
    task: Task,
    make_optimizer: Any,
    grid: Any,
    key: Key,
    train_steps: int,
    num_seeds: int,
    mesh: Mesh | None,
) -> tuple[Grid, BatchSource, Experiment]:
    """The trials, where their batches come from, and what is trained."""
    seeds, trainable = draw_seeds(task, key, num_seeds)
    dtype = hyperparameter_dtype(seeds[0].params)
    trials = make_grid("sweep", grid, make_optimizer, dtype)
    _check_hosts(trials.num_trials, mesh)
    factory: Any = ByName(make_optimizer) if trials.by_name else make_optimizer
    spec = make_spec(task, factory, trainable, (train_steps,))
    settings = [jax.tree.map(jnp.asarray, family.settings) for family in trials.families]
    batch = lambda: jax.tree.map(lambda leaf: leaf[0], task.training_batches(0, seeds[0].data_key, 0, 1))  # noqa: E731
    accumulation = _check_alike(
        [find_accumulation(spec, family, seeds[0].params, batch=batch, stacked=True) for family in settings],
        train_steps,
    )
    source = BatchSource(task, [seed.data_key for seed in seeds], accumulation.batches(train_steps))
    if mesh is not None and "data" in mesh.axis_names:
        check_divides(source.first, 0 if source.shared else 1, mesh.shape["data"])
    some = jax.tree.map(lambda leaf: leaf[None], source.first) if source.shared else source.first
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), some)
    seeds = settle_model_state(spec, seeds, batch, key)
    evaluation = make_evaluation(task, spec, key, seeds[0], some)
    check_evaluation_finite(evaluation)
    return trials, source, Experiment(spec, tuple(seeds), evaluation, dtype, accumulation)


def _check_alike(families: list[Accumulation], train_steps: int) -> Accumulation:
    """How the optimizers accumulate; raises where a family takes other batches for its updates than the first."""
    first = families[0]
    if len(families) > 1 and any(families):
        batches = first.batches(train_steps)
        if any(not np.array_equal(one.done(batches), first.done(batches)) for one in families):
            raise ValueError(
                "`sweep(grid=...)` must have trials that accumulate gradients over the same batches, but those of "
                "different kinds of schedules do not. Make a sweep of each kind."
            )
    return first


def _make_engine(
    experiment: Experiment,
    grid: Grid,
    source: BatchSource,
    longest: int,
    executor: Executor,
    asked_mesh: Mesh | None,
    mesh: Mesh | None,
    *,
    one_device: bool,
) -> Engine:
    """The programs, on the devices that the task leaves to the sweep."""
    loop = loop_on_own_devices(
        "sweep",
        experiment._replace(seeds=(experiment.seeds[0]._replace(batches=source.one_step()),)),
        grid.families[0].example,
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
    if loop is not None:
        mesh, experiment = None, experiment.keep_shardings()
    axes = "" if mesh is None else " x ".join(f"{count} {name}" for name, count in mesh.shape.items())
    devices = 1 if mesh is None else mesh.size
    execution = Execution(requested=str(executor), reason=reason, devices=devices, mesh=axes)
    options: dict[str, Any] = {"source": source, "longest": longest, "own_devices": loop is not None}
    return Engine(experiment, runs, mesh, execution, **options)


def check_mesh(mesh: Mesh | None) -> Mesh | None:
    """The mesh with auto axes, or None for one device."""
    made = lane_mesh("sweep(mesh=...)", mesh)
    if made is not None and mesh is not None and "trial" not in made.axis_names:
        raise ValueError(
            f'`sweep(mesh=...)` must have an axis "trial" (and may have "data" and others), got {made.axis_names}. '
            'Write jax.sharding.Mesh(np.reshape(jax.devices(), (-1, 2)), ("trial", "data")).'
        )
    return made


def _check_hosts(trials: int, mesh: Mesh | None) -> None:
    """More hosts than lanes would leave hosts with nothing but padding."""
    if mesh is None or not spans_hosts(mesh) or "data" in mesh.axis_names:
        return
    hosts = len({device.process_index for device in mesh.devices.flat})
    if trials < hosts:
        raise ValueError(
            f"`sweep(grid=...)` must have at least as many trials as the mesh has hosts, {hosts}, got {trials}. Use "
            'fewer hosts, or a mesh with an axis "data".'
        )


def _check_metric_names(engine: Engine, grid: Grid, stop: Stop | None) -> tuple[str, ...]:
    """The metrics: no name twice in the result's table, and the one that trials are compared by is measured."""
    names = ()
    for family in grid.families:
        names = engine.metric_names(family.example)
        twice = sorted({*names} & {*grid.columns, *RESERVED})
        if twice:
            raise ValueError(
                f"`sweep(grid=...)` must not share names with the metrics of eval_fn, got {twice[0]!r} for both. "
                "Rename one: the result's table has a column for each."
            )
        if isinstance(stop, SuccessiveHalving) and stop.metric not in names:
            raise ValueError(
                f"`SuccessiveHalving(metric=...)` must be one of {', '.join(sorted(names))}, got {stop.metric!r}."
            )
    return names
