"""How many lanes fit, from the compiler's bytes, and which executor `auto` takes for them."""

from typing import Any

import jax
import numpy as np

from .._types import Int, PyTree
from ._choice import Probe, choose_executor, step_facts
from ._executor import Executor
from ._memory import MemoryModel, model_memory, program_bytes

_PROBE_STEPS = 4
"""Steps of the call that is measured: more than one, or XLA inlines the loop."""


def bytes_at(engine: Any, setting: PyTree, width: int, kinds: tuple[str, ...] = ("advance", "evaluate")) -> int:
    """Memory per device of the largest of the programs at a width."""
    return max(program_bytes(engine.compile(kind, engine.example_arguments(kind, setting, width))) for kind in kinds)


def memory_model(engine: Any, setting: PyTree) -> MemoryModel:
    """Bytes on a device against the lanes that it holds of every seed."""
    model = model_memory(lambda lanes: bytes_at(engine, setting, lanes * engine.unit))
    return MemoryModel(model.fixed, model.per_lane * engine.shards / engine.unit)


def lanes_that_fit(engine: Any, setting: PyTree, lanes: int) -> int:
    """How many of so many lanes of each seed one program can hold, from the compiler's bytes."""
    if engine.executor == "loop":
        return lanes
    budget = engine.budget()
    if bytes_at(engine, setting, engine.width_for(lanes)) <= budget:
        return lanes
    most = memory_model(engine, setting).lanes_within(budget) * engine.shards
    most = max(engine.unit, most // engine.unit * engine.unit)
    waves = -(-lanes // most)
    even = engine.width_for(-(-lanes // waves))
    while bytes_at(engine, setting, even) > budget and even > engine.unit:
        even = max(engine.unit, engine.width_for(int(0.9 * even)) - engine.unit)
    return min(even, lanes)


def resolve(engine: Any, settings: PyTree, lanes: int) -> None:
    """Let `auto` choose, for trials like these; `settings` has a leading trial axis."""
    if engine.executor != "auto":
        return
    setting = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), settings)
    choice = choose_executor(
        engine.spec,
        (engine.seeds, engine.first_batches, settings),
        engine.mesh,
        lanes,
        facts=lambda: step_facts(engine.spec, setting, engine.one_step_data()),
        probe=lambda executor: _probe(engine, executor, settings, lanes),
        measure=engine.mesh is None or engine.mesh.size == 1,
    )
    engine.executor, engine.execution.reason = choice


def _probe(engine: Any, executor: Executor, settings: PyTree, lanes: int) -> Probe:
    """A call of a few steps, on all lanes, or on two for `map`, which runs them one by one."""
    before, engine.executor = engine.executor, executor
    engine.fit_chunk(lanes)
    few = min(lanes, 2) if executor == "map" else lanes
    width = engine.width_for(few)
    order: Int[np.ndarray, "seeds lanes"] = np.tile(np.arange(width) % few, (engine.num_seeds, 1))
    picked = engine.place_settings(jax.tree.map(lambda leaf: leaf[order], settings))
    block = engine.example_block()._replace(count=min(_PROBE_STEPS, engine.block))
    shapes = engine.example_arguments("advance", jax.tree.map(lambda leaf: leaf[0], settings), width)
    compiled, state = engine.compile("advance", shapes), []
    begin = engine.compile("begin", arguments := engine.arguments("begin", picked, None, width))
    engine.executor = before

    def run() -> Any:
        states = state.pop() if state else begin(*arguments)
        state.append(compiled(*engine.arguments("advance", picked, states, width, block)))
        return state[-1].loss_sum

    return Probe(program_bytes(compiled), run, width)
