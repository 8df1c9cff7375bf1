"""What a sweep would take on other devices: lanes, waves, bytes and seconds, from the compiler and a short run."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .._checks import check_count, check_number, on_host
from .._engine import SHARE_OF_FREE, Executor, MemoryModel, Task, assign_lanes, make_lanes, memory_model, show_bytes
from .._types import Key, OptimizerFactory
from ._sweep_setup import Setup, make_setup


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep would take.

    Attributes:
      trials, seeds: of the grid.
      devices: over which the lanes are spread.
      lanes_per_device: lanes of all seeds that one device holds at a time.
      waves: groups of lanes, one after the other.
      fixed_bytes, lane_bytes: of a program, and what each lane adds, from compiling two widths.
      device_bytes: what the program takes on a device.
      state_bytes: parameters, model state and optimizer state of a lane.
      checkpoint_bytes: of one checkpoint, all devices together.
      updates: optimizer updates in all.
      update_seconds: of one lane on one device, with evaluation; nan if unknown.
      seconds: of the whole, without compiling; nan if unknown.
    """

    trials: int
    seeds: int
    devices: int
    lanes_per_device: int
    waves: int
    fixed_bytes: int
    lane_bytes: int
    device_bytes: int
    state_bytes: int
    checkpoint_bytes: int
    updates: int
    update_seconds: float
    seconds: float

    def summary(self) -> str:
        """A few lines."""
        lines = [
            f"{self.trials} trials x {self.seeds} seed{'s' * (self.seeds > 1)} on {self.devices} devices: "
            f"{self.lanes_per_device} lanes a "
            f"device, {self.waves} wave{'s' * (self.waves > 1)}.",
            f"Memory of a device: {show_bytes(self.device_bytes)} ({show_bytes(self.fixed_bytes)} and "
            f"{show_bytes(self.lane_bytes)} for each lane). A checkpoint: {show_bytes(self.checkpoint_bytes)}.",
            f"{self.updates:.3g} updates.",
        ]
        if math.isfinite(self.seconds):
            lines[-1] = f"{self.updates:.3g} updates, {show_seconds(self.seconds)}."
        return "\n".join(lines)


@on_host
def plan_sweep(
    task: Task,
    make_optimizer: OptimizerFactory,
    grid: Any,
    *,
    key: Key,
    num_steps: int,
    num_seeds: int = 1,
    eval_every: int | Sequence[int] | None = None,
    executor: Executor = "vmap",
    devices: int = 1,
    device_bytes: float | None = None,
    update_seconds: float | None = None,
) -> SweepPlan:
    """Predict what `lrjax.sweep` with the same arguments would take, also on devices that are not here.

    The memory comes from compiling the sweep's programs for two and for four lanes, without running them; the time
    from `update_seconds`, or from a short run here.

    Args:
      task, make_optimizer, grid, key, num_steps, num_seeds, eval_every: as for `lrjax.sweep`.
      executor: how lanes run, not "auto" or "loop".
      devices: over how many devices the lanes would be spread.
      device_bytes: memory of each; None: what is free on this one.
      update_seconds: of one update of one lane there, when a device runs as many lanes as it holds. None: measured
        here on a few lanes, evaluation included; 0: unknown, and so is the time.

    Returns:
      The plan. On CPU its bytes were within 20 % of those of the compiled programs and of the process; see
      docs/scale.md.

    Raises:
      TypeError, ValueError: as `lrjax.sweep`.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> plan = lrjax.plan_sweep(
      ...     digits(), optax.adamw, {"learning_rate": [1e-3, 1e-2]}, key=jax.random.key(0), num_steps=1000,
      ...     devices=256, device_bytes=80e9, update_seconds=1e-5,
      ... )
      >>> plan.waves, plan.updates
      (1, 2000)
    """
    if isinstance(executor, str) and executor in ("auto", "loop"):
        raise ValueError(
            f'`plan_sweep(executor=...)` must be "vmap", "map" or lrjax.Chunked(k), got {executor!r}: what the others '
            "would do depends on the machine."
        )
    devices = check_count("plan_sweep(devices=...)", devices)
    setup = make_setup(
        task,
        make_optimizer,
        grid,
        key=key,
        num_steps=num_steps,
        num_seeds=num_seeds,
        eval_every=eval_every,
        executor=executor,
        mesh=None,
        directory=None,
        stop=None,
        one_device=True,
    )
    if update_seconds is not None:
        rule = "seconds of one update, >= 0 and finite, or None"
        accept = lambda value: 0 <= value < math.inf  # noqa: E731
        update_seconds = check_number("plan_sweep(update_seconds=...)", update_seconds, rule=rule, accept=accept)
    engine, lanes = setup.engine, setup.grid.num_trials
    engine.fit_chunk(lanes)
    setting = jax.tree.map(lambda leaf: leaf[0], setup.grid.families[0].settings)
    model = memory_model(engine, setting)
    if device_bytes is None:
        budget = engine.budget()
    else:
        rule = "bytes of memory of a device, > 0"
        accept = lambda value: value > 0  # noqa: E731
        budget = SHARE_OF_FREE * check_number("plan_sweep(device_bytes=...)", device_bytes, rule=rule, accept=accept)
    held = min(model.lanes_within(budget), -(-lanes // devices))
    waves = -(-lanes // (held * devices))
    held = -(-lanes // (waves * devices))
    if update_seconds is None:
        update_seconds = measure_update(setup, held, model)
    elif update_seconds == 0:
        update_seconds = math.nan
    shapes = engine.state_shapes(jax.tree.map(lambda leaf: np.broadcast_to(leaf, (1, 1, *np.shape(leaf))), setting))
    state = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    return SweepPlan(
        trials=lanes,
        seeds=num_seeds,
        devices=devices,
        lanes_per_device=held * num_seeds,
        waves=waves,
        fixed_bytes=int(model.fixed),
        lane_bytes=int(model.per_lane / num_seeds),
        device_bytes=int(model.predict(held)),
        state_bytes=state,
        checkpoint_bytes=state * held * num_seeds * min(devices, -(-lanes // held)),
        updates=lanes * num_seeds * num_steps,
        update_seconds=float(update_seconds),
        seconds=float(waves * held * num_seeds * num_steps * update_seconds),
    )


PROBE_LANES = 8
"""Lanes of each seed that are run to measure an update, at most."""

PROBE_SECONDS = 0.5


def measure_update(setup: Setup, held: int, model: MemoryModel) -> float:
    """Seconds of an update of one lane here, its share of the evaluations included."""
    engine = setup.engine
    family = setup.grid.families[0]
    most = model.lanes_within(engine.budget())
    count = min(held, PROBE_LANES, len(family.trials), most)
    trials = np.tile(np.arange(count), (setup.num_seeds, 1))
    rows = assign_lanes(trials, engine.width_for(count), engine.shards)
    lanes = make_lanes(engine, family.settings, rows, None)
    block = engine.example_block()
    steps = min(2, engine.block)
    lanes.advance(block._replace(count=steps))
    lanes.wait()
    lanes.evaluate()
    started = time.perf_counter()
    lanes.evaluate()
    evaluation = time.perf_counter() - started
    seconds = 0.0
    while seconds < PROBE_SECONDS:
        started = time.perf_counter()
        lanes.advance(block._replace(count=steps))
        lanes.wait()
        seconds = time.perf_counter() - started
        if seconds >= PROBE_SECONDS or steps == engine.block:
            break
        steps = min(engine.block, 2 * steps)
    evaluations = len(setup.timetable.evaluations)
    total = seconds / steps * setup.num_steps + evaluation * evaluations
    return total / setup.num_steps / (count * setup.num_seeds)


def show_seconds(seconds: float) -> str:
    """`3.5 hours`."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
