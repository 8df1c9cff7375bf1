"""`lrjax.preview` of a sweep: lanes, waves, bytes and seconds, from the compiler and a short run."""

import math
import os
import time
from collections.abc import Sequence
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
)
from .._preview import PlannedRound, Preview
from .._progress import ProgressLike
from .._settings import on_host
from .._types import Key, OptimizerFactory, PyTree
from ._stop import Stop
from ._sweep_setup import Setup, check_mesh, make_setup


@on_host
def preview_sweep(
    task: Task,
    make_optimizer: OptimizerFactory,
    grid: Any,
    *,
    key: Key,
    train_steps: int,
    num_seeds: int = 1,
    eval_every: int | Sequence[int] | None = None,
    executor: Executor = "vmap",
    mesh: Mesh | None = None,
    directory: str | os.PathLike[str] | None = None,
    progress: ProgressLike = None,
    checkpoint_seconds: float = 60.0,
    stop: Stop | None = None,
    devices: int | None = None,
    device_bytes: float | None = None,
    update_seconds: float | None = None,
) -> Preview:
    """See `lrjax.preview`; directory, progress and checkpoint_seconds change nothing here."""
    if isinstance(executor, str) and executor in ("auto", "loop"):
        raise ValueError(
            f'`preview(lrjax.sweep, executor=...)` must be "vmap", "map" or lrjax.Chunked(k), got {executor!r}: what '
            "the others would do depends on the machine."
        )
    if devices is None:
        made = None if mesh is None else check_mesh(mesh)
        devices = 1 if made is None else made.shape[lane_axis(made)]
    devices = check_count("preview(lrjax.sweep, devices=...)", devices)
    call: dict[str, Any] = {"key": key, "train_steps": train_steps, "num_seeds": num_seeds, "eval_every": eval_every}
    setup = make_setup(
        task, make_optimizer, grid, **call, executor=executor, mesh=None, directory=None, stop=stop, one_device=True
    )
    update_seconds = _check_size("update_seconds", "seconds of one update, >= 0", update_seconds, 0.0)
    device_bytes = _check_size("device_bytes", "bytes of memory of a device, > 0", device_bytes, math.ulp(0.0))
    engine = setup.engine
    engine.fit_chunk(setup.grid.num_trials)
    setting = setup.grid.families[0].example
    model = memory_model(engine, setting)
    held = model.lanes_within(engine.budget() if device_bytes is None else SHARE_OF_FREE * device_bytes)
    trials, rounds, waves, widths = setup.grid.num_trials, [], [], []
    for segment in range(len(setup.timetable.rungs)):
        begin, end = setup.timetable.span(segment)
        rounds.append(PlannedRound(end, trials, num_seeds, trials * num_seeds * (end - begin)))
        waves.append(-(-trials // (held * devices)))
        widths.append(-(-trials // (waves[-1] * devices)))
        trials = -(-trials // getattr(setup.stop, "factor", 1))
    if update_seconds is None:
        update_seconds = measure_update(setup, widths[0], model)
    busy = sum(w * n * (r.updates / r.lanes) for w, n, r in zip(waves, widths, rounds, strict=True))
    state = _state_bytes(setup, setting)
    checkpoint = state * widths[0] * num_seeds * min(devices, -(-rounds[0].lanes // widths[0]))
    lanes = _count(widths[0] * num_seeds, "lane")
    return Preview(
        rounds=tuple(rounds),
        updates=sum(one.updates for one in rounds),
        trainings=sum(one.updates for one in rounds) / train_steps,
        seconds=busy * update_seconds if update_seconds else math.nan,
        bytes=int(model.predict(widths[0])),
        lane_bytes=state,
        executor=str(executor),
        devices=devices,
        waves=waves[0],
        checkpoint_bytes=checkpoint,
        notes=(
            f"{lanes} at a time on each of {_count(devices, 'device')}, {_count(waves[0], 'wave')}.",
            f"Memory of a device: {show_bytes(model.fixed)}, and {show_bytes(model.per_lane / num_seeds)} a lane.",
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


def _state_bytes(setup: Setup, setting: PyTree) -> int:
    """Of the parameters, model state and optimizer state of a lane."""
    one = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (1, 1, *np.shape(leaf))), setting)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(setup.engine.state_shapes(one)))


PROBE_LANES = 8
"""Lanes of each seed that are run to measure an update, at most."""

PROBE_SECONDS = 0.5


def measure_update(setup: Setup, held: int, model: MemoryModel) -> float:
    """Seconds of an update of one lane here, its share of the evaluations included."""
    engine, family = setup.engine, setup.grid.families[0]
    count = min(held, PROBE_LANES, len(family.trials), model.lanes_within(engine.budget()))
    trials = np.tile(np.arange(count), (setup.num_seeds, 1))
    rows = assign_lanes(trials, engine.width_for(count), engine.shards)
    lanes, block = make_lanes(engine, family.settings, rows, None), engine.example_block()

    def train(steps: int) -> float:
        started = time.perf_counter()
        lanes.advance(block._replace(count=steps))
        lanes.wait()
        return time.perf_counter() - started

    steps = min(2, engine.block)
    train(steps)
    lanes.evaluate()
    started = time.perf_counter()
    lanes.evaluate()
    evaluation = time.perf_counter() - started
    while (seconds := train(steps)) < PROBE_SECONDS and steps < engine.block:
        steps = min(engine.block, 2 * steps)
    total = seconds / steps * setup.train_steps + evaluation * len(setup.timetable.evaluations)
    return total / setup.train_steps / (count * setup.num_seeds)
