"""Where a sweep goes on: what its folder holds, replayed in order, and the last good checkpoint."""

from typing import Any, NamedTuple

import jax
import numpy as np

from .._types import Int
from ._ledger import Ledger, Wave
from ._program import Lane
from ._setup import Setup
from ._store import Checkpoint

Place = tuple[int, int, int]
"""(segment, wave, step)."""


class Start(NamedTuple):
    """Where to go on.

    Attributes:
      segment, wave: which wave; a segment beyond the last means that nothing is left to do.
      step: updates that its lanes have done.
      ledger: what was measured before.
      meta: of the checkpoint that the lanes are loaded from; None for the wave's own beginning.
      state: those lanes.
    """

    segment: int
    wave: int
    step: int
    ledger: Ledger
    meta: dict[str, Any] | None = None
    state: Lane | None = None


def find_start(setup: Setup) -> Start:
    """Take over what the folder holds."""
    ledger, store = setup.new_ledger(), setup.store
    if store is None:
        return Start(0, 0, 0, ledger)
    events: dict[Place, dict[str, Any]] = {}
    for event in store.read_table():  # what was measured twice is the same; the last one counts
        events[event["segment"], event["wave"], event["step"]] = event
    frontier = _replay(setup, ledger, events, None)
    if frontier is None:
        return Start(len(setup.timetable.rungs), 0, setup.num_steps, ledger)
    for checkpoint in store.find("checkpoints"):
        start = _from_checkpoint(setup, events, frontier, checkpoint)
        if start is not None:
            return start
    return _from_wave(setup, events, frontier)


def _from_checkpoint(
    setup: Setup, events: dict[Place, dict[str, Any]], frontier: Place, checkpoint: Checkpoint
) -> Start | None:
    """Start at a checkpoint, if it and all that was measured before it are good."""
    meta = checkpoint.meta
    place: Place = (meta["segment"], meta["wave"], meta["step"])
    if place[:2] > frontier[:2] or (place[:2] == frontier[:2] and meta["since"] > frontier[2]):
        return None
    ledger = setup.new_ledger()
    _replay(setup, ledger, events, place)
    wave = ledger.waves(place[0], setup.engine)[place[1]]
    assert setup.store is not None
    state = setup.store.load("checkpoints", checkpoint, lanes_like(setup, wave, np.asarray(meta["rows"])))
    if state is None:
        setup.execution.notes.append(f"Checkpoint {checkpoint.number} is damaged: it was left out.")
        return None
    setup.execution.resumed_at = place[2]
    return Start(*place, ledger, meta, state)


def _from_wave(setup: Setup, events: dict[Place, dict[str, Any]], frontier: Place) -> Start:
    """Start at the beginning of the first wave that is not complete; if that is lost, at that of all."""
    segment, wave, _ = frontier
    ledger = setup.new_ledger()
    begin = setup.timetable.span(segment)[0]
    _replay(setup, ledger, events, (segment, wave, begin))
    if segment > 0 and not _all_parked(setup, ledger, segment - 1):
        setup.execution.notes.append("The folder's checkpoints are damaged or gone: the sweep began anew.")
        return Start(0, 0, 0, setup.new_ledger())
    if (segment, wave) != (0, 0):
        setup.execution.resumed_at = begin
    return Start(segment, wave, begin, ledger)


def _all_parked(setup: Setup, ledger: Ledger, segment: int) -> bool:
    assert setup.store is not None
    there = {checkpoint.number for checkpoint in setup.store.find("parked")}
    return all(parked_number(segment, wave) in there for wave in range(len(ledger.waves(segment, setup.engine))))


def parked_number(segment: int, wave: int) -> int:
    """The number under which a wave waits at a rung."""
    return segment * 1_000_000 + wave


def lanes_like(setup: Setup, wave: Wave, rows: Int[np.ndarray, "seeds rows"]) -> Lane:
    """Shapes of what `Lanes.state` gives for these rows."""
    settings = setup.grid.families[wave.family].settings
    return setup.engine.lane_targets(jax.tree.map(lambda leaf: leaf[rows.clip(0)], settings))


def _replay(setup: Setup, ledger: Ledger, events: dict[Place, dict[str, Any]], until: Place | None) -> Place | None:
    """Record events in their order.

    Args:
      setup: the sweep.
      ledger: an empty one.
      events: what the folder holds.
      until: the last place to record; None for all up to the first that is missing.

    Returns:
      (segment, wave, last step recorded in it) of the first wave that is not complete, or None.
    """
    for segment in range(len(setup.timetable.rungs)):
        for wave in range(len(ledger.waves(segment, setup.engine))):
            last = setup.timetable.span(segment)[0]
            for step in setup.timetable.boundaries(segment):
                event = events.get((segment, wave, step))
                if event is None or (until is not None and (segment, wave, step) > until):
                    return segment, wave, last
                ledger.record(event)
                last = step
                if event["over"]:
                    break
    return None
