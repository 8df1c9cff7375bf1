"""How many lanes fit, from the compiler's bytes, and which executor `auto` takes."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Batch, Int, PyTree
from ._choice import choose, seconds_of, step_facts
from ._executors import Executor, compile_program
from ._lane_engine import Engine, shape_of
from ._memory import MemoryModel, program_bytes
from ._memory import memory_model as extrapolate
from ._trial import SeedData

_PROBE_STEPS = 4
"""Steps of the call that is measured: more than one, or XLA inlines the loop."""


def bytes_at(engine: Engine, setting: PyTree, width: int, *, training_only: bool = False) -> int:
    """Memory per device of the larger of the two programs at a width."""
    advance, evaluate = engine.shapes(setting, width)
    programs = [("advance", advance), *([] if training_only else [("evaluate", evaluate)])]
    started = time.perf_counter()
    compiled = [
        compile_program(engine.program(kind, shardings=engine.shardings(kind, arguments)), arguments)
        for kind, arguments in programs
    ]
    engine.execution.compile_seconds += time.perf_counter() - started
    return max(program_bytes(one) for one in compiled)


def memory_model(engine: Engine, setting: PyTree) -> MemoryModel:
    """Bytes on a device against the lanes that it holds of every seed."""
    few, many = (bytes_at(engine, setting, lanes * engine.unit) for lanes in (2, 4))
    model = extrapolate(few, many)
    return MemoryModel(model.fixed, model.per_lane * engine.shards / engine.unit)


def lanes_that_fit(engine: Engine, setting: PyTree, lanes: int) -> int:
    """How many of so many lanes of each seed one program can hold, from the compiler's bytes."""
    if engine.executor == "loop":
        return lanes
    budget = engine.budget()
    if bytes_at(engine, setting, engine.width_for(lanes)) <= budget:
        return lanes
    model = memory_model(engine, setting)
    most = model.lanes_within(budget) * engine.shards
    most = max(engine.unit, most // engine.unit * engine.unit)
    waves = -(-lanes // most)
    even = engine.width_for(-(-lanes // waves))
    while bytes_at(engine, setting, even) > budget and even > engine.unit:
        even = max(engine.unit, engine.width_for(int(0.9 * even)) - engine.unit)
    return min(even, lanes)


def resolve(engine: Engine, settings: PyTree, lanes: int) -> None:
    """Let `auto` choose, for trials like these; `settings` has a leading trial axis."""
    if engine.executor != "auto":
        return
    device = jax.local_devices()[0] if engine.mesh is None else engine.mesh.local_devices[0]
    setting = jax.tree.map(lambda leaf: leaf[0], settings)
    several = engine.several_hosts or (engine.mesh is not None and engine.mesh.size > 1)
    measure = None if several else lambda executors: _measure(engine, executors, settings, lanes)
    choice = choose(lambda: _facts(engine, setting), device.platform, lanes, measure)
    engine.executor, engine.execution.reason = choice


def _facts(engine: Engine, setting: PyTree) -> tuple[bool, float]:
    origin = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), engine.origins)
    axis = 0 if engine.shared else 1
    batches = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[axis:]), leaf.dtype), engine.first_batches)
    key = jax.ShapeDtypeStruct(engine.keys.shape[1:], engine.keys.dtype)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    data = SeedData(origin.params, origin.frozen, origin.model_state, batches, step, key)  # pyright: ignore[reportArgumentType]
    return step_facts(engine.spec, jax.tree.map(shape_of, setting), data)


def _measure(engine: Engine, executors: list[Executor], settings: PyTree, lanes: int) -> list[float]:
    """Seconds of a lane for some steps, under each executor; infinite if it would not fit."""
    seconds, budget, block = [], engine.budget(), _example_block(engine)
    for executor in executors:
        engine.executor = executor
        engine.fit_chunk(lanes)
        few = min(lanes, 2) if executor == "map" else lanes
        width = engine.width_for(few)
        if bytes_at(engine, jax.tree.map(lambda leaf: leaf[0], settings), width, training_only=True) > budget:
            seconds.append(float("inf"))
            continue
        order: Int[np.ndarray, "seeds lanes"] = np.tile(np.arange(width) % few, (engine.num_seeds, 1))
        seconds.append(_seconds(engine, engine.place_settings(_pick(settings, order)), block, width) / width)
    engine.executor = "auto"
    return seconds


def _seconds(engine: Engine, settings: PyTree, block: Batch, width: int) -> float:
    """Of a call of a few steps."""
    lanes = engine.begin(settings, width)
    count = min(_PROBE_STEPS, engine.block)
    feeds, call = engine.feeds(block), engine.call(block, 0, count, width)
    compiled = engine.executable("advance", (settings, lanes, feeds, call))
    state = [lanes]

    def run() -> Any:
        state[0] = compiled(settings, state[0], feeds, engine.call(block, 0, count, width))
        return state[0].loss_sum

    return seconds_of([run])[0]


def _example_block(engine: Engine) -> Batch:
    axis = 0 if engine.shared else 1
    blocks = jax.tree.map(lambda leaf: np.repeat(np.expand_dims(leaf, axis), engine.block, axis), engine.first_batches)
    return engine.place_batches(blocks)


def _pick(settings: PyTree, order: Int[np.ndarray, "seeds lanes"]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[order], settings)
