"""`sweep`: full trainings of many settings at once, and `lrjax.preview` of one."""

import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from .._checks import check_count, check_number
from .._engine import (
    SHARE_OF_FREE,
    Executor,
    MemoryModel,
    Task,
    assign_lanes,
    lane_axis,
    make_lanes,
    memory_model,
    show_bytes,
    train_block,
)
from .._preview import PlannedRound, Preview, asked_of, previewed_by
from .._progress import ProgressLike, Reporter
from .._settings import on_host
from .._types import Key, OptimizerFactory, PyTree
from ._read_grid import Zipped
from ._result import SweepResult
from ._run import SweepRun
from ._stop import Stop
from ._sweep_setup import check_mesh, make_setup
from ._sweep_state import Sweep

CHECKPOINT_SECONDS = 60.0
"""Time between checkpoints, by default."""

PROBE_LANES = 8
"""Lanes of each seed that are run to measure an update, at most."""

PROBE_SECONDS = 0.5


@on_host
def preview_sweep(
    *arguments: Any,
    devices: int | None = None,
    device_bytes: float | None = None,
    update_seconds: float | None = None,
    **options: Any,
) -> Preview:
    """See `lrjax.preview`; directory, progress and checkpoint_seconds change nothing here."""
    asked = asked_of(sweep, arguments, {"executor": "vmap"} | options)
    executor, mesh = asked["executor"], asked["mesh"]
    asked |= {"mesh": None, "directory": None}
    del asked["progress"], asked["checkpoint_seconds"]
    if isinstance(executor, str) and executor in ("auto", "loop"):
        raise ValueError(
            f'`preview(lrjax.sweep, executor=...)` must be "vmap", "map" or lrjax.Chunked(k), got {executor!r}: what '
            "the others would do depends on the machine."
        )
    if devices is None:
        on = None if mesh is None else check_mesh(mesh)
        devices = 1 if on is None else on.shape[lane_axis(on)]
    devices = check_count("preview(lrjax.sweep, devices=...)", devices)
    made = make_setup(**asked, one_device=True)
    update_seconds = _check_size("update_seconds", "seconds of one update, >= 0", update_seconds, 0.0)
    device_bytes = _check_size("device_bytes", "bytes of memory of a device, > 0", device_bytes, math.ulp(0.0))
    engine = made.engine
    engine.fit_chunk(made.grid.num_trials)
    setting = made.grid.families[0].example
    model = memory_model(engine, setting)
    held = model.lanes_within(engine.budget() if device_bytes is None else SHARE_OF_FREE * device_bytes)
    trials, rounds, waves, widths = made.grid.num_trials, [], [], []
    for segment in range(len(made.timetable.rungs)):
        begin, end = (int(made.updates(step)) for step in made.timetable.span(segment))
        rounds.append(PlannedRound(end, trials, made.num_seeds, trials * made.num_seeds * (end - begin)))
        waves.append(-(-trials // (held * devices)))
        widths.append(-(-trials // (waves[-1] * devices)))
        trials = -(-trials // getattr(made.stop, "factor", 1))
    if update_seconds is None:
        update_seconds = measure_update(made, widths[0], model)
    busy = sum(w * n * (r.updates / r.lanes) for w, n, r in zip(waves, widths, rounds, strict=True))
    state = _state_bytes(made, setting)
    checkpoint = state * widths[0] * made.num_seeds * min(devices, -(-rounds[0].lanes // widths[0]))
    lanes = _count(widths[0] * made.num_seeds, "lane")
    return Preview(
        rounds=tuple(rounds),
        updates=sum(one.updates for one in rounds),
        trainings=sum(one.updates for one in rounds) / made.train_steps,
        seconds=busy * update_seconds if update_seconds else math.nan,
        bytes=int(model.predict(widths[0])),
        lane_bytes=state,
        executor=str(executor),
        devices=devices,
        waves=waves[0],
        checkpoint_bytes=checkpoint,
        notes=(
            f"{lanes} at a time on each of {_count(devices, 'device')}, {_count(waves[0], 'wave')}.",
            f"Memory of a device: {show_bytes(model.fixed)}, and {show_bytes(model.per_lane / made.num_seeds)} a lane.",
            f"A checkpoint: {show_bytes(checkpoint)}.",
        ),
    )


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"


def _check_size(name: str, rule: str, value: float | None, least: float) -> float | None:
    if value is None:
        return None
    where, accept = f"preview(lrjax.sweep, {name}=...)", lambda number: least <= number < math.inf
    return check_number(where, value, rule=f"{rule} and finite, or None", accept=accept)


def _state_bytes(sweep: Sweep, setting: PyTree) -> int:
    """Of the parameters, model state and optimizer state of a lane."""
    one = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (1, 1, *np.shape(leaf))), setting)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(sweep.engine.state_shapes(one)))


def measure_update(sweep: Sweep, held: int, model: MemoryModel) -> float:
    """Seconds of an update of one lane here, its share of the evaluations included."""
    engine, family = sweep.engine, sweep.grid.families[0]
    count = min(held, PROBE_LANES, len(family.trials), model.lanes_within(engine.budget()))
    trials = np.tile(np.arange(count), (sweep.num_seeds, 1))
    rows = assign_lanes(trials, engine.width_for(count), engine.shards)
    lanes, block = make_lanes(engine, family.settings, rows, None), engine.example_block()

    def train(steps: int) -> float:
        return train_block(lanes, block._replace(count=steps), engine.execution)

    steps = min(2, engine.block)
    train(steps)
    lanes.evaluate()
    started = time.perf_counter()
    lanes.evaluate()
    evaluation = time.perf_counter() - started
    while (seconds := train(steps)) < PROBE_SECONDS and steps < engine.block:
        steps = min(engine.block, 2 * steps)
    total = seconds / steps * sweep.timetable.evaluations[-1] + evaluation * len(sweep.timetable.evaluations)
    return total / sweep.train_steps / (count * sweep.num_seeds)


@previewed_by(preview_sweep)
@on_host
def sweep(
    task: Task,
    make_optimizer: OptimizerFactory,
    grid: Mapping[str, Any] | Zipped | PyTree,
    *,
    key: Key,
    train_steps: int,
    num_seeds: int = 1,
    eval_every: int | Sequence[int] | None = None,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    directory: str | os.PathLike[str] | None = None,
    progress: ProgressLike = None,
    stop: Stop | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> SweepResult:
    """Train a model to the end with every setting of a grid, many settings at once.

    All trials of a seed start from identical parameters and see identical batches and dropout keys. Batches are
    streamed: memory does not grow with the number of steps.

    Args:
      task: what is trained. Batches come from arrays, from `batches_between`, or from what `Task.from_batches` was
        given: a list, a Grain loader, a function of the epoch, or (without `directory`) any iterator. All seeds see
        the batches of one stream; from arrays each seed draws its own order.
      make_optimizer: `make_optimizer(**hyperparameters)`, for example `optax.adamw`; called with traced numbers by
        the names of the grid. With stacked values instead of a mapping it gets them as its one argument.
      grid: name -> sequence of values, or list of `lrjax.schedules`, or stacked pytree: every combination is a trial.
        `lrjax.zipped(...)` for values that change together; a list of mappings and zips for their product.
      key: PRNG key. Seed s uses fold_in(key, s).
      train_steps: optimizer updates of every trial. One takes k training batches under `optax.MultiSteps(..., k)`;
        where k differs from trial to trial, as many as it takes until none of them holds a gradient.
      num_seeds: draws of initial parameters, batch order and dropout keys, >= 1.
      eval_every: updates between evaluations on the whole evaluation set, or the increasing steps at which to
        evaluate; None: a tenth of the training. There is always one at the end.
      executor: "auto", "vmap", "map", "loop" or `lrjax.Chunked(k)`: how lanes run. They give the same numbers up to
        rounding; "loop" bitwise those of a loop of one jitted step, "map" too but for convolutions on a CPU.
      mesh: devices. Lanes are spread over its axis "trial" (the first, if there is none of that name), the examples
        of a batch over "data"; parameters keep their own sharding on other axes. None: all local devices.
      directory: in its folder lrjax-sweep go checkpoints with all that was measured. The same call goes on where it was
        interrupted, to the same bits; once it has ended, the same call with more settings in its grid trains only
        those. Any other call, and other batches than those that were trained on, are refused. On several hosts it must
        be on a file system that all of them see.
      progress: True for a bar, a function of a `lrjax.Progress`, or a list of these.
      stop: `lrjax.StopDiverged()` or `lrjax.SuccessiveHalving(first=...)` ends trials early; None runs all to the end.
      checkpoint_seconds: time between checkpoints; more where writing them would cost over 5 %.

    Returns:
      One row per trial, seed and evaluation, and how it was run.

    Raises:
      TypeError, ValueError: a bad argument; the message says which and what to do.
      SearchInterrupted: Ctrl-C; `.result` holds what was measured until then.
      OSError: `directory` cannot be written; what the last checkpoint holds is kept.

    Source: "Learning rate optimization through step sampling", figure 9 (its grid search).

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> result = lrjax.sweep(
      ...     digits(), optax.adamw, {"learning_rate": [1e-4, 1e-2], "weight_decay": [0.0, 0.1]},
      ...     key=jax.random.key(0), train_steps=20, executor="map",
      ... )
      >>> result.num_trials, result.best().settings["learning_rate"]
      (4, 0.01)
    """
    seconds = check_number(
        "sweep(checkpoint_seconds=...)",
        checkpoint_seconds,
        rule="seconds between checkpoints, >= 0",
        accept=lambda number: number >= 0,
    )
    reporter = Reporter(progress, "sweep(progress=...)")
    return run_sweep(
        reporter,
        task,
        make_optimizer,
        grid,
        key=key,
        train_steps=train_steps,
        num_seeds=num_seeds,
        eval_every=eval_every,
        executor=executor,
        mesh=mesh,
        directory=directory,
        stop=stop,
        checkpoint_seconds=seconds,
    )


def run_sweep(
    reporter: Reporter, *arguments: Any, checkpoint_seconds: float = CHECKPOINT_SECONDS, **options: Any
) -> SweepResult:
    """The sweep of these arguments of `make_setup`."""
    made = make_setup(*arguments, **options)
    try:
        made.resume()
        with reporter:
            return SweepRun(made, reporter, checkpoint_seconds).run()
    finally:
        if made.store is not None:
            made.store.close()
