"""The record of how lanes were run: executor, devices, memory, time."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator


@dataclasses.dataclass(kw_only=True)
class Execution:
    """How lanes were run; grows while they run. Times and counts are of this process, not of those it resumes from.

    Attributes:
      requested: the executor asked for.
      used: the one that ran last, after `auto` and after what memory allowed.
      reason: why `auto` took it; empty if it was asked for.
      devices: over how many devices lanes and batches were spread; 1 where each trial keeps a sharding of its own.
      mesh: their axes, as "2 trial x 2 data"; empty for one device.
      width: lanes of a seed that one program holds.
      widths: the widths that lanes ran at, one after the other, those that they were compacted to included.
      waves: groups of lanes that ran one after the other, because of memory or of their structure.
      steps_per_call: updates of every lane in one call of the program.
      bytes: memory of the largest program per device, from the compiler; 0 for `loop`.
      updates: optimizer updates done.
      updates_saved: updates that stopping lanes early took away.
      padded_updates: updates of lanes that only fill a program's width.
      compile_seconds, run_seconds: wall time of compiling, and of training and evaluating.
      stall_seconds: of run_seconds, how long the devices waited for batches.
      checkpoint_seconds: how long training waited for checkpoints.
      checkpoints: how many were begun.
      resumed_at: the step from which this process resumed; -1 if it began anew.
      notes: what did not go as asked, in sentences.
    """

    requested: str
    used: str = ""
    reason: str = ""
    devices: int = 1
    mesh: str = ""
    width: int = 0
    widths: list[int] = dataclasses.field(default_factory=list)
    waves: int = 0
    steps_per_call: int = 0
    bytes: int = 0
    updates: int = 0
    updates_saved: int = 0
    padded_updates: int = 0
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    stall_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    checkpoints: int = 0
    resumed_at: int = -1
    notes: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def compiling(execution: Execution) -> Iterator[None]:
    """Count the time as that of compiling."""
    started = time.perf_counter()
    yield
    execution.compile_seconds += time.perf_counter() - started


@contextlib.contextmanager
def running(execution: Execution) -> Iterator[None]:
    """Count the time as that of training and evaluating, but for what compiles in it."""
    started, compiled = time.perf_counter(), execution.compile_seconds
    yield
    execution.run_seconds += time.perf_counter() - started - (execution.compile_seconds - compiled)
