"""How many lanes fit, from the compiler's bytes."""

from typing import Any

from .._types import PyTree
from ._memory import MemoryModel, model_memory, program_bytes


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
