"""The checks of a sweep's arguments that are no other verb's."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from .._checks import MAX_SEEDS, check_count, check_number, show
from .._engine import (
    Accumulation,
    BatchSource,
    Engine,
    Task,
    TrialSpec,
    check_directory,
    find_accumulation,
    lane_mesh,
    spans_hosts,
)
from .._types import Params
from ._grid import RESERVED, Grid
from ._stop import Stop, SuccessiveHalving

EVALUATIONS = 10
"""By default."""


def check_seeds(task: Task, num_seeds: int) -> int:
    """How many seeds are trained."""
    num_seeds = check_count("sweep(num_seeds=...)", num_seeds, maximum=MAX_SEEDS, unit="seeds")
    if task.max_seeds is not None and num_seeds > task.max_seeds:
        raise ValueError(
            f"`sweep(num_seeds=...)` must be at most the task's max_seeds={task.max_seeds}, got {num_seeds}."
        )
    return num_seeds


def check_eval_every(eval_every: int | Sequence[int] | None, train_steps: int) -> int | list[int]:
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


def check_hosts(trials: int, mesh: Mesh | None) -> None:
    """More hosts than lanes would leave hosts with nothing but padding."""
    if mesh is None or not spans_hosts(mesh) or "data" in mesh.axis_names:
        return
    hosts = len({device.process_index for device in mesh.devices.flat})
    if trials < hosts:
        raise ValueError(
            f"`sweep(grid=...)` must have at least as many trials as the mesh has hosts, {hosts}, got {trials}. Use "
            'fewer hosts, or a mesh with an axis "data".'
        )


def check_resumable(directory: object, source: BatchSource) -> None:
    """A folder is of use only where the same batches can be read again."""
    check_directory("sweep", directory)
    if not source.resumes:
        raise ValueError(
            "`sweep(directory=...)` must be able to read the same batches again, and `Task.from_batches` was given an "
            "iterator or a loader without a state. Bitwise resume needs arrays (Task.from_arrays), a list, a Grain "
            "iterator or a function of the epoch: train_batches=lambda epoch: loader. Or leave directory out."
        )


def check_whole_updates(spec: TrialSpec, params: Params, grid: Grid, train_steps: int) -> Accumulation:
    """Every trial must end with an update where gradients are accumulated; how the first family's are."""
    settings = [jax.tree.map(jnp.asarray, family.settings) for family in grid.families]
    found = [find_accumulation(spec, some, params, stacked=True) for some in settings]
    for accumulation in found:
        accumulation.check("sweep(train_steps=...)", train_steps)
    return found[0]


def check_metric_names(engine: Engine, grid: Grid, stop: Stop | None) -> None:
    """No name twice in the result's table, and the metric that trials are compared by is measured."""
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
