"""Where a sweep resumes: what its folder holds, replayed in order, and the last lanes that are good."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from .._engine import NUMBER, Stored, TrialState, fits, unread_note
from .._types import Int
from ._ledger import Ledger, Wave
from ._sweep_setup import Setup
from ._waiting import Waiting

Place = tuple[int, int, int]
"""(segment, wave, step)."""

Events = dict[Place, dict[str, Any]]


class Start(NamedTuple):
    """Where to resume: in which wave, at which of its steps; a segment beyond the last where nothing is left to do.

    Attributes:
      waiting: the lanes of other waves that will be needed.
      meta, state: of the checkpoint and its lanes; None at the wave's own beginning.
    """

    segment: int
    wave: int
    step: int
    ledger: Ledger
    waiting: Waiting
    meta: dict[str, Any] | None = None
    state: TrialState | None = None


def find_start(setup: Setup) -> Start:
    """Take over what the folder holds; raises `ValueError` if it was trained on other batches."""
    store = setup.store
    if store is None:
        return Start(0, 0, 0, setup.new_ledger(), {})
    _note(setup, *store.notes)
    events = read_events(setup, {setup.plan: np.arange(setup.grid.num_trials)})[setup.plan]
    ledger, begun, last = _replay(setup, events)
    if last is None:
        _read_again(setup, max(ledger.positions))
        return Start(len(setup.timetable.rungs), 0, setup.train_steps, ledger, {})
    waiting = _WaitingFiles(setup, store.find("waiting", plan=setup.plan))
    for stored in store.find("checkpoint", plan=setup.plan):
        start = _from_checkpoint(setup, events, stored, begun, last, waiting)
        if start is not None:
            return start
    return _from_wave(setup, events, begun, waiting)


def _from_checkpoint(
    setup: Setup, events: Events, stored: Stored, begun: list[tuple[int, int]], last: int, waiting: "_WaitingFiles"
) -> Start | None:
    """Start at a checkpoint, if it and all that was measured before it are good."""
    meta = stored.meta
    if not fits(meta, {"segment": int, "wave": int, "step": int, "since": int, "rows": [[int]]}):
        return None
    place: Place = (meta["segment"], meta["wave"], meta["step"])
    if place[:2] not in begun or (place[:2] == begun[-1] and meta["since"] > last):
        return None
    first, end = setup.timetable.span(place[0])
    if not first <= meta["since"] <= place[2] <= end or not setup.source.accepts(meta.get("position"), place[2]):
        return None
    ledger, _, _ = _replay(setup, events, place)
    held = waiting.load(_needed(setup, ledger, *place[:2], from_checkpoint=True), ledger)
    if held is None:
        return None
    lanes = _load(setup, "checkpoint", stored, ledger.waves(place[0], setup.engine)[place[1]])
    if lanes is None:
        _note(setup, f"Checkpoint {stored.number} is damaged: it was left out.")
        return None
    _read_again(setup, place[2])
    if setup.source.log is not None and not setup.source.log.agrees(place[2], meta["position"]):
        _note(setup, f"Checkpoint {stored.number} was trained on other batches: it was left out.")
        return None
    setup.execution.resumed_at = place[2]
    return Start(*place, ledger, held, meta, lanes[1])


def _from_wave(setup: Setup, events: Events, begun: list[tuple[int, int]], waiting: "_WaitingFiles") -> Start:
    """Start at the beginning of the last wave whose lanes are there; the first one needs none."""
    for segment, wave in reversed(begun):
        step = setup.timetable.span(segment)[0]
        ledger, _, _ = _replay(setup, events, (segment, wave, step))
        held = waiting.load(_needed(setup, ledger, segment, wave, from_checkpoint=False), ledger)
        if held is None:
            _note(setup, "Lanes that the folder should hold are damaged or gone: they were trained again.")
            continue
        _read_again(setup, step)
        if (segment, wave) != (0, 0):
            setup.execution.resumed_at = step
        return Start(segment, wave, step, ledger, held)
    raise AssertionError("the first wave needs no lanes")


def _needed(setup: Setup, ledger: Ledger, segment: int, wave: int, *, from_checkpoint: bool) -> list[tuple[int, int]]:
    """The (segment, wave) of all lanes that must be waiting to resume in a wave."""
    waves, needed = len(ledger.waves(segment, setup.engine)), []
    if segment > 0 and (wave + 1 < waves or not from_checkpoint):
        needed += [(segment - 1, number) for number in range(len(ledger.waves(segment - 1, setup.engine)))]
    if segment + 1 < len(setup.timetable.rungs) and waves > 1:
        needed += [(segment, number) for number in range(wave)]
    return needed


class _WaitingFiles:
    """The waiting lanes in the folder; those that were loaded are kept."""

    def __init__(self, setup: Setup, files: list[Stored]):
        self._setup, self._files, self._loaded = setup, files, Waiting()

    def load(self, places: list[tuple[int, int]], ledger: Ledger) -> Waiting | None:
        """Those of some waves, or None if one is damaged or gone."""
        for segment, number in places:
            for stored in self._files:
                if (stored.meta.get("segment"), stored.meta.get("wave")) != (segment, number):
                    continue
                wave = ledger.waves(segment, self._setup.engine)[number]
                if (segment, number) not in self._loaded and (lanes := _load(self._setup, "waiting", stored, wave)):
                    self._loaded[segment, number] = lanes
        return {place: self._loaded[place] for place in places} if self._loaded.keys() >= set(places) else None


def _load(
    setup: Setup, what: str, stored: Stored, wave: Wave
) -> tuple[Int[np.ndarray, "seeds rows"], TrialState] | None:
    """Which trials a file's rows hold, and the lanes; None if they are damaged or not of this wave."""
    family = setup.grid.families[wave.family]
    rows: Any = stored.meta.get("rows")
    if not fits(rows, [[int]]) or len({len(row) for row in rows}) != 1:
        return None
    rows = np.asarray(rows)
    if len(rows) != setup.num_seeds or not rows.size or rows.min() < -1 or rows.max() >= len(family.trials):
        return None
    like = setup.engine.state_targets(jax.tree.map(lambda leaf: leaf[rows.clip(0)], family.settings))
    assert setup.store is not None
    state = setup.store.load(what, stored.number, like)
    return None if state is None else (rows, state)


def _replay(
    setup: Setup, events: Events, until: Place | None = None
) -> tuple[Ledger, list[tuple[int, int]], int | None]:
    """Record events in their order, up to the first that is missing or beyond a place.

    Gives every (segment, wave) that was begun, and the last step of the last one; None where that is complete.
    """
    ledger, begun = setup.new_ledger(), []
    for segment in range(len(setup.timetable.rungs)):
        for wave in range(len(ledger.waves(segment, setup.engine))):
            begun.append((segment, wave))
            last = setup.timetable.span(segment)[0]
            for step in setup.timetable.boundaries(segment):
                event = events.get((segment, wave, step))
                if event is None or (until is not None and (segment, wave, step) > until):
                    return ledger, begun, last
                ledger.record(event)
                last = step
                if event["over"]:
                    break
    return ledger, begun, None


_EVENT: dict[str, Any] = {"plan": str, "segment": int, "wave": int, "step": int, "over": bool}
_EVENT |= {"trials": [[int]], "diverged_at": [[int]], "metrics": dict}


def read_events(setup: Setup, plans: Mapping[str, Int[np.ndarray, " trials"]]) -> dict[str, Events]:
    """The evaluations that the table holds of some plans; for each, which trials of this grid its own ones are.

    What was measured twice is the same: the last one counts.
    """
    found: dict[str, Events] = {plan: {} for plan in plans}
    assert setup.store is not None
    lines = [line for line in setup.store.lines() if fits(line, _EVENT) and line["plan"] in plans]
    names = set(setup.engine.metric_names(_first_setting(setup))) if lines else set()
    for line in lines:
        trials = plans[line["plan"]]
        if _is_event(setup, line, names, len(trials)):
            event = line | {"trials": [trials[np.asarray(part, int)].tolist() for part in line["trials"]]}
            found[line["plan"]][line["segment"], line["wave"], line["step"]] = event
            if setup.source.log is not None:
                setup.source.log.remember(line["step"], line["position"])
    return found


def _is_event(setup: Setup, line: dict[str, Any], names: set[str], num_trials: int) -> bool:
    """Whether a line is one that `SweepRun` writes: a line that is whole can still say what no sweep has measured."""
    lengths = [len(part) for part in line["trials"]]
    columns = [line["diverged_at"], *line["metrics"].values()]
    return (
        fits(line["metrics"], {name: [[NUMBER]] for name in names})
        and line["metrics"].keys() == names
        and 0 <= line["segment"] < len(setup.timetable.rungs)
        and line["step"] in setup.timetable.boundaries(line["segment"])
        and len(lengths) == setup.num_seeds
        and all(0 <= trial < num_trials for part in line["trials"] for trial in part)
        and all([len(part) for part in column] == lengths for column in columns)
        and setup.source.accepts(line.get("position"), line["step"])
    )


def _first_setting(setup: Setup) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], setup.grid.families[0].settings)


def _read_again(setup: Setup, step: int) -> None:
    """Compare the batches before a step with those that the folder's lanes were trained on."""
    until = setup.source.read_again(step)
    if until < step:
        _note(setup, unread_note(until, step))


def _note(setup: Setup, *notes: str) -> None:
    setup.execution.notes.extend(note for note in notes if note not in setup.execution.notes)
