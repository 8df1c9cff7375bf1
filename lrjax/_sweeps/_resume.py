"""Where a sweep goes on: what its folder holds, replayed in order, and the last good checkpoint."""

from typing import Any, NamedTuple

import jax
import numpy as np

from .._engine import Stored, TrialState, unread_note
from .._types import Int
from ._ledger import Ledger, Wave
from ._sweep_setup import Setup

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
    state: TrialState | None = None


def find_start(setup: Setup) -> Start:
    """Take over what the folder holds.

    Raises:
      ValueError: the batches are others than those that were trained on.
    """
    ledger, store = setup.new_ledger(), setup.store
    if store is None:
        return Start(0, 0, 0, ledger)
    events: dict[Place, dict[str, Any]] = {}
    table = [line for line in store.read_table() if line.get("plan") == setup.plan]
    names = metric_names(setup) if table else set()
    for event in table:  # what was measured twice is the same; the last one counts
        if is_event(setup, names, event, setup.grid.num_trials):
            events[event["segment"], event["wave"], event["step"]] = event
    _note(setup, *store.notes)
    if setup.source.log is not None:
        for event in events.values():
            setup.source.log.remember(event["step"], event["position"])
    frontier = _replay(setup, ledger, events, None)
    if frontier is None:
        _read_again(setup, max(ledger.positions))
        return Start(len(setup.timetable.rungs), 0, setup.train_steps, ledger)
    waiting = {wave for one in store.find("waiting", setup.plan) if (wave := wave_of(one.meta)) is not None}
    for checkpoint in store.find("checkpoint", setup.plan):
        start = _from_checkpoint(setup, events, frontier, checkpoint, waiting)
        if start is not None:
            return start
    return _from_wave(setup, events, frontier, waiting)


def _from_checkpoint(
    setup: Setup,
    events: dict[Place, dict[str, Any]],
    frontier: Place,
    checkpoint: Stored,
    waiting: set[tuple[int, int]],
) -> Start | None:
    """Start at a checkpoint, if it and all that was measured before it are good."""
    meta = checkpoint.meta
    if wave_of(meta) is None or not _is_checkpoint(setup, meta):
        return None
    place: Place = (meta["segment"], meta["wave"], meta["step"])
    if place[:2] > frontier[:2] or (place[:2] == frontier[:2] and meta["since"] > frontier[2]):
        return None
    ledger = setup.new_ledger()
    _replay(setup, ledger, events, place)
    waves = ledger.waves(place[0], setup.engine)
    if place[1] >= len(waves) or _missing(setup, ledger, place[0], place[1], waiting, with_own=False):
        return None
    wave = waves[place[1]]
    if not is_rows(setup, wave, meta.get("rows")):
        return None
    assert setup.store is not None
    state = setup.store.load("checkpoint", checkpoint.number, lanes_like(setup, wave, np.asarray(meta["rows"])))
    if state is None:
        _note(setup, f"Checkpoint {checkpoint.number} is damaged: it was left out.")
        return None
    _read_again(setup, place[2])
    if setup.source.log is not None and not setup.source.log.agrees(place[2], meta["position"]):
        _note(setup, f"Checkpoint {checkpoint.number} was trained on other batches: it was left out.")
        return None
    setup.execution.resumed_at = place[2]
    return Start(*place, ledger, meta, state)


def _from_wave(
    setup: Setup, events: dict[Place, dict[str, Any]], frontier: Place, waiting: set[tuple[int, int]]
) -> Start:
    """Start at the beginning of the first wave that is not complete, or of an earlier one whose lanes are lost."""
    segment, wave, _ = frontier
    while True:
        ledger = setup.new_ledger()
        begin = setup.timetable.span(segment)[0]
        _replay(setup, ledger, events, (segment, wave, begin))
        missing = _missing(setup, ledger, segment, wave, waiting, with_own=True)
        if not missing:
            break
        segment, wave = min(missing)
    if (segment, wave) != frontier[:2]:
        _note(setup, "Lanes that the folder should hold are damaged or gone: they were trained again.")
    _read_again(setup, begin)
    if (segment, wave) != (0, 0):
        setup.execution.resumed_at = begin
    return Start(segment, wave, begin, ledger)


def _missing(
    setup: Setup, ledger: Ledger, segment: int, wave: int, waiting: set[tuple[int, int]], *, with_own: bool
) -> list[tuple[int, int]]:
    """The waves whose waiting lanes are needed to go on from a wave, and are not there.

    Args:
      setup: the sweep.
      ledger: with all that was measured before the wave.
      segment, wave: which one.
      waiting: (segment, wave) of what is there.
      with_own: whether the wave itself begins with lanes that waited.
    """
    waves, needed = len(ledger.waves(segment, setup.engine)), []
    if segment > 0 and (with_own or wave + 1 < waves):
        needed += [(segment - 1, number) for number in range(len(ledger.waves(segment - 1, setup.engine)))]
    if segment + 1 < len(setup.timetable.rungs) and waves > 1:
        needed += [(segment, number) for number in range(wave)]
    return [place for place in needed if place not in waiting]


def _read_again(setup: Setup, step: int) -> None:
    """Compare the batches before a step with those that the folder's lanes were trained on."""
    until = setup.source.read_again(step)
    if until < step:
        _note(setup, unread_note(until, step))


def _note(setup: Setup, *notes: str) -> None:
    setup.execution.notes.extend(note for note in notes if note not in setup.execution.notes)


# A file that is whole can still say what no sweep has written.


def metric_names(setup: Setup) -> set[str]:
    family = setup.grid.families[0]
    return set(setup.engine.metric_names(jax.tree.map(lambda leaf: leaf[0], family.settings)))


def is_event(setup: Setup, names: set[str], event: dict[str, Any], num_trials: int) -> bool:
    """Whether a line is one that `SweepRun` writes for so many trials."""
    try:
        segment, wave, step = place = [event[name] for name in ("segment", "wave", "step")]
        lengths = [len(part) for part in event["trials"]]
        columns = [event["diverged_at"], *event["metrics"].values()]
        trials = [trial for part in event["trials"] for trial in part]
        numbers = [*place, *trials, *(step for part in event["diverged_at"] for step in part)]
        return (
            all(type(number) is int for number in numbers)
            and wave >= 0
            and 0 <= segment < len(setup.timetable.rungs)
            and step in setup.timetable.boundaries(segment)
            and len(lengths) == setup.num_seeds
            and all(0 <= trial < num_trials for trial in trials)
            and all([len(part) for part in column] == lengths for column in columns)
            and event["metrics"].keys() == names
            and all(isinstance(float(x), float) for column in columns for part in column for x in part)
            and type(event["over"]) is bool
            and setup.source.accepts(event["position"], step)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def wave_of(meta: dict[str, Any]) -> tuple[int, int] | None:
    """The (segment, wave) of a file of lanes; None if it does not say it."""
    segment, wave = meta.get("segment"), meta.get("wave")
    return (segment, wave) if type(segment) is int and type(wave) is int and segment >= 0 and wave >= 0 else None


def _is_checkpoint(setup: Setup, meta: dict[str, Any]) -> bool:
    """Whether the steps are of its segment."""
    step, since = meta.get("step"), meta.get("since")
    if type(step) is not int or type(since) is not int or meta["segment"] >= len(setup.timetable.rungs):
        return False
    begin, end = setup.timetable.span(meta["segment"])
    return begin <= since <= step <= end and setup.source.accepts(meta.get("position"), step)


def is_rows(setup: Setup, wave: Wave, value: Any) -> bool:
    """Whether a file's value can be the rows of a wave's lanes."""
    try:
        rows = np.asarray(value)
    except ValueError:  # of different lengths
        return False
    trials = len(setup.grid.families[wave.family].trials)
    shaped = rows.ndim == 2 and rows.dtype == np.int64 and len(rows) == setup.num_seeds and rows.size > 0
    return bool(shaped and (rows >= -1).all() and (rows < trials).all())


def lanes_like(setup: Setup, wave: Wave, rows: Int[np.ndarray, "seeds rows"]) -> TrialState:
    """Shapes of what `Lanes.state` gives for these rows."""
    settings = setup.grid.families[wave.family].settings
    return setup.engine.state_targets(jax.tree.map(lambda leaf: leaf[rows.clip(0)], settings))


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
