"""How much memory a program needs, how much there is, and how many lanes fit."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from .._types import PyTree
from ._devices import agree_on_least, first_device

SHARE_OF_FREE = 0.7
"""The part of the free memory that a program may take: fragmentation and the rest of the process want some."""

MARGIN = 1.02
"""On what a lane adds: wide programs lay out their buffers a little differently."""


class MemoryModel(NamedTuple):
    """Bytes of a vectorised program, linear in its lanes."""

    fixed: float  # what does not depend on the lanes: arguments and shared buffers
    per_lane: float

    def predict(self, lanes: int) -> float:
        """Bytes at a width; 0-10 % above what the compiler then reports."""
        return float(self.fixed + lanes * self.per_lane)

    def lanes_within(self, budget: int | float) -> int:
        """The widest program that fits, at least 1."""
        return max(1, int((budget - self.fixed) // max(self.per_lane, 1.0)))


def program_bytes(compiled: Any) -> int:
    """Bytes that running a compiled program allocates or reads: arguments, outputs and temporaries, per device."""
    analysis = compiled.memory_analysis()
    if analysis is None:  # a backend that does not tell
        return 0
    if isinstance(analysis, list):
        analysis = analysis[0]
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def model_memory(bytes_at: Callable[[int], int]) -> MemoryModel:
    """Extrapolate from the bytes of programs of width 2 and 4 (that of one lane is often laid out differently)."""
    few, many = map(bytes_at, (2, 4))
    per_lane = max(many - few, 0) / 2
    return MemoryModel(fixed=few - 2 * per_lane, per_lane=MARGIN * per_lane)


def admit(compiled: Any, budget: float, what: str, held: int) -> int:
    """The bytes of a program; raises unless it fits, `held` bytes of whose arguments are on the device already."""
    needed, free = program_bytes(compiled), budget / SHARE_OF_FREE
    if needed - held > free:
        raise MemoryError(
            f"{what} needs {show_bytes(needed)}, and {show_bytes(free)} are free. Use smaller training or "
            "evaluation batches, jax.checkpoint in the model, or a machine with more memory."
        )
    return needed


def memory_budget(mesh: Mesh | None) -> float:
    """Bytes that a program may take on a device, the same on every host."""
    device = first_device(mesh)
    sharers = len(mesh.local_devices) if mesh is not None and device.platform == "cpu" else 1
    return agree_on_least(SHARE_OF_FREE * free_bytes(device) / sharers, mesh)


def halved(lanes: int, unit: int = 1) -> int | None:
    """Half of so many lanes, a multiple of the unit; None if they cannot be fewer."""
    half = max(unit, lanes // 2 // unit * unit)
    return half if half < lanes else None


def halved_note(lanes: int, half: int) -> str:
    """What an `Execution` says where memory ran out."""
    return f"{lanes} lanes at once ran out of memory: went on with {half}."


def free_bytes(device: Any) -> float:
    """Memory that can still be allocated on a device; infinite where the platform does not tell."""
    if device.platform == "cpu":
        return _free_host_bytes()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return float("inf")
    return float(stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def _free_host_bytes() -> float:
    """Available memory of the machine, or of the container if that is less."""
    free = float("inf")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = float(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        free = min(free, float(limit) - float(used))
    except (OSError, ValueError):  # no cgroup, or "max"
        pass
    return free


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of the runtime says that memory ran out."""
    return isinstance(error, (jax.errors.JaxRuntimeError, MemoryError)) and (
        isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
    )


def show_bytes(count: int | float) -> str:
    """`1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


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
