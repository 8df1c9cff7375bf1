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
        if event["plan"] == setup.plan:
            events[event["segment"], event["wave"], event["step"]] = event
    frontier = _replay(setup, ledger, events, None)
    if frontier is None:
        return Start(len(setup.timetable.rungs), 0, setup.num_steps, ledger)
    parked = {checkpoint.number for checkpoint in store.find("parked", setup.plan)}
    for checkpoint in store.find("checkpoints", setup.plan):
        start = _from_checkpoint(setup, events, frontier, checkpoint, parked)
        if start is not None:
            return start
    return _from_wave(setup, events, frontier, parked)


def _from_checkpoint(
    setup: Setup, events: dict[Place, dict[str, Any]], frontier: Place, checkpoint: Checkpoint, parked: set[int]
) -> Start | None:
    """Start at a checkpoint, if it and all that was measured before it are good."""
    meta = checkpoint.meta
    place: Place = (meta["segment"], meta["wave"], meta["step"])
    if place[:2] > frontier[:2] or (place[:2] == frontier[:2] and meta["since"] > frontier[2]):
        return None
    ledger = setup.new_ledger()
    _replay(setup, ledger, events, place)
    if _missing(setup, ledger, place[0], place[1], parked, with_own=False):
        return None
    wave = ledger.waves(place[0], setup.engine)[place[1]]
    assert setup.store is not None
    state = setup.store.load("checkpoints", checkpoint, lanes_like(setup, wave, np.asarray(meta["rows"])))
    if state is None:
        setup.execution.notes.append(f"Checkpoint {checkpoint.number} is damaged: it was left out.")
        return None
    setup.execution.resumed_at = place[2]
    return Start(*place, ledger, meta, state)


def _from_wave(setup: Setup, events: dict[Place, dict[str, Any]], frontier: Place, parked: set[int]) -> Start:
    """Start at the beginning of the first wave that is not complete, or of an earlier one whose lanes are lost."""
    segment, wave, _ = frontier
    while True:
        ledger = setup.new_ledger()
        begin = setup.timetable.span(segment)[0]
        _replay(setup, ledger, events, (segment, wave, begin))
        missing = _missing(setup, ledger, segment, wave, parked, with_own=True)
        if not missing:
            break
        segment, wave = min(missing)
    if (segment, wave) != frontier[:2]:
        setup.execution.notes.append("Lanes that the folder should hold are damaged or gone: they were trained again.")
    if (segment, wave) != (0, 0):
        setup.execution.resumed_at = begin
    return Start(segment, wave, begin, ledger)


def _missing(
    setup: Setup, ledger: Ledger, segment: int, wave: int, parked: set[int], *, with_own: bool
) -> list[tuple[int, int]]:
    """The waves whose parked lanes are needed to go on from a wave, and are not there.

    Args:
      setup: the sweep.
      ledger: with all that was measured before the wave.
      segment, wave: which one.
      parked: numbers of what is there.
      with_own: whether the wave itself begins with parked lanes.
    """
    waves, needed = len(ledger.waves(segment, setup.engine)), []
    if segment > 0 and (with_own or wave + 1 < waves):
        needed += [(segment - 1, number) for number in range(len(ledger.waves(segment - 1, setup.engine)))]
    if segment + 1 < len(setup.timetable.rungs) and waves > 1:
        needed += [(segment, number) for number in range(wave)]
    return [place for place in needed if parked_number(*place) not in parked]


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
