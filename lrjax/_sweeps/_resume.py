"""What the folder of a sweep holds: where it resumes, and what the same call with more settings need not train."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .._engine import NUMBER, Lanes, Rows, Stored, TrialState, fits, unread_note
from .._types import Int
from ._ledger import Ledger, Wave
from ._stop import SuccessiveHalving
from ._sweep_setup import Setup

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
    waiting: "WaitingLanes"
    meta: dict[str, Any] | None = None
    state: TrialState | None = None


def find_start(setup: Setup) -> Start:
    """Take over what the folder holds; raises `ValueError` if it was trained on other batches."""
    store = setup.store
    if store is None:
        return Start(0, 0, 0, setup.new_ledger(), WaitingLanes(setup))
    _note(setup, *store.notes)
    events = _read_events(setup, {setup.plan: np.arange(setup.grid.num_trials)})[setup.plan]
    ledger, begun, last = _replay(setup, events)
    if last is None:
        _read_again(setup, max(ledger.positions))
        return Start(len(setup.timetable.rungs), 0, setup.train_steps, ledger, WaitingLanes(setup))
    waiting = WaitingLanes(setup, store.find("waiting", plan=setup.plan))
    for stored in store.find("checkpoint", plan=setup.plan):
        start = _from_checkpoint(setup, events, stored, begun, last, waiting)
        if start is not None:
            return start
    return _from_wave(setup, events, begun, waiting)


def _from_checkpoint(
    setup: Setup, events: Events, stored: Stored, begun: list[tuple[int, int]], last: int, waiting: "WaitingLanes"
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
    if not waiting.load(_needed(setup, ledger, *place[:2], from_checkpoint=True), ledger):
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
    return Start(*place, ledger, waiting, meta, lanes[1])


def _from_wave(setup: Setup, events: Events, begun: list[tuple[int, int]], waiting: "WaitingLanes") -> Start:
    """Start at the beginning of the last wave whose lanes are there; the first one needs none."""
    for segment, wave in reversed(begun):
        step = setup.timetable.span(segment)[0]
        ledger, _, _ = _replay(setup, events, (segment, wave, step))
        if not waiting.load(_needed(setup, ledger, segment, wave, from_checkpoint=False), ledger):
            _note(setup, "Lanes that the folder should hold are damaged or gone: they were trained again.")
            continue
        _read_again(setup, step)
        if (segment, wave) != (0, 0):
            setup.execution.resumed_at = step
        return Start(segment, wave, step, ledger, waiting)
    raise AssertionError("the first wave needs no lanes")


def _needed(setup: Setup, ledger: Ledger, segment: int, wave: int, *, from_checkpoint: bool) -> list[tuple[int, int]]:
    """The (segment, wave) of all lanes that must be waiting to resume in a wave."""
    waves, needed = len(ledger.waves(segment, setup.engine)), []
    if segment > 0 and (wave + 1 < waves or not from_checkpoint):
        needed += [(segment - 1, number) for number in range(len(ledger.waves(segment - 1, setup.engine)))]
    if segment + 1 < len(setup.timetable.rungs) and waves > 1:
        needed += [(segment, number) for number in range(wave)]
    return needed


class WaitingLanes:
    """Lanes of waves that have reached a rung while others run: in memory, and in the folder if there is one."""

    def __init__(self, setup: Setup, files: Sequence[Stored] = ()):
        self._setup, self._files = setup, files
        self._held: dict[tuple[int, int], tuple[Rows, TrialState]] = {}  # (segment, wave) -> trials and states

    def load(self, places: list[tuple[int, int]], ledger: Ledger) -> bool:
        """Take those of some waves from the folder; False if one is damaged or gone."""
        for place in places:
            wave = ledger.waves(place[0], self._setup.engine)[place[1]]
            for stored in self._files:
                here = (stored.meta.get("segment"), stored.meta.get("wave")) == place and place not in self._held
                if here and (lanes := _load(self._setup, "waiting", stored, wave)):
                    self._held[place] = lanes
        return self._held.keys() >= set(places)

    def put(self, segment: int, number: int, lanes: Lanes) -> None:
        """Take a wave's lanes; raises `ValueError` if other processes hold a part of them."""
        if self._setup.engine.several_hosts:
            raise ValueError(
                "`sweep(stop=SuccessiveHalving(...))` on several hosts must have all lanes at once, but they do not "
                "fit in memory together, or have schedules of different kinds. Use more devices, or fewer trials."
            )
        self._held[segment, number] = (lanes.rows, lanes.state())
        if self._setup.store is not None:
            meta = {"plan": self._setup.plan, "segment": segment, "wave": number, "rows": lanes.rows.tolist()}
            self._setup.store.save("waiting", meta, self._held[segment, number][1], wait=True)

    def get(self, segment: int, wave: Wave, rows: Rows, ledger: Ledger) -> TrialState:
        """The lanes for some rows of a wave, from all waves of an earlier segment."""
        waves = ledger.waves(segment, self._setup.engine)
        parts = [self._held[segment, number] for number, one in enumerate(waves) if one.family == wave.family]
        where = {}
        for part, (held, _) in enumerate(parts):
            for seed, row in np.argwhere(held >= 0):
                where[seed, held[seed, row]] = (part, row)

        def gather(*leaves: np.ndarray) -> np.ndarray:
            result = np.empty((*rows.shape, *leaves[0].shape[2:]), leaves[0].dtype)
            for (seed, row), trial in np.ndenumerate(rows):
                part, place = where[seed, trial if trial >= 0 else rows[seed].max()]
                result[seed, row] = leaves[part][seed, place]
            return result

        return jax.tree.map(gather, *[state for _, state in parts])

    def forget(self, segment: int) -> None:
        """Let go of a segment's lanes."""
        self._held = {place: held for place, held in self._held.items() if place[0] > segment}
        if self._setup.store is not None:
            later = range(segment + 1, len(self._setup.timetable.rungs))
            self._setup.store.drop("waiting", lambda stored: stored.meta.get("segment") not in later)


def _load(setup: Setup, what: str, stored: Stored, wave: Wave) -> tuple[Rows, TrialState] | None:
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


def _read_events(setup: Setup, plans: Mapping[str, Int[np.ndarray, " trials"]]) -> dict[str, Events]:
    """The evaluations that the table holds of some plans; for each, which trials of this grid its own ones are.

    What was measured twice is the same: the last one counts.
    """
    found: dict[str, Events] = {plan: {} for plan in plans}
    assert setup.store is not None
    lines = [line for line in setup.store.lines() if fits(line, _EVENT) and line["plan"] in plans]
    names = set(setup.engine.metric_names(setup.grid.families[0].example)) if lines else set()
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


def _read_again(setup: Setup, step: int) -> None:
    """Compare the batches before a step with those that the folder's lanes were trained on."""
    until = setup.source.read_again(step)
    if until < step:
        _note(setup, unread_note(until, step))


def _note(setup: Setup, *notes: str) -> None:
    setup.execution.notes.extend(note for note in notes if note not in setup.execution.notes)


Values = list[Any]
"""[name, a text for every setting] for each axis of a grid; functions of one name with equal numbers have one text."""

_RUN = {"values": [[(str, [str])]], "given": [int]}
_DECIDED = {"plan": str, "decided": {"executor": str, "lanes_per_wave": [int]}}


def take_over(setup: Setup) -> None:
    """Find what the folder has measured for fewer settings, before it is decided how the others run.

    Raises:
      ValueError: the folder's settings are not all among those of the call, or it is too early to add some.
    """
    if setup.store is None:
        return
    values = setup.call["values"]
    runs = [run for run in setup.runs if fits(run, _RUN) and ("plan" not in run or fits(run, _DECIDED))]
    if runs and runs[-1]["values"] == values:
        setup.given, setup.runs = _find_given(setup, runs[:-1]), runs
        if runs[-1]["given"] == np.flatnonzero(setup.given.given).tolist():
            return
        # what the last run has trained until now is given to the next one
        setup.execution.notes.append("Lines that the folder should hold are damaged or gone: they were measured again.")
    elif runs:
        _check_growth(setup, runs)
    setup.given = _find_given(setup, runs)
    setup.runs = [*runs, {"values": values, "given": np.flatnonzero(setup.given.given).tolist()}]
    setup.store.write_call({"runs": setup.runs})


def _check_growth(setup: Setup, runs: Sequence[dict[str, Any]]) -> None:
    """Raise unless the grid has all settings of the last run, which has measured them all."""
    assert setup.store is not None
    there, now = runs[-1]["values"], setup.call["values"]
    changed = _lacking(there, now)
    if not changed:
        more = next(_counts(name, old, new) for (name, old), (_, new) in zip(there, now, strict=True) if old != new)
        if any(len(texts) > len(set(texts)) for _, texts in now):
            changed = f"{more}, with functions that cannot be told apart, so which are new is not known"
        elif isinstance(setup.stop, SuccessiveHalving):
            changed = f"{more}, but none can be added where SuccessiveHalving compares them with each other"
        else:
            done = _find_given(setup, runs).given[_places(there, now)]
            if not done.all():
                changed = (
                    f"{more}, but only {int(done.sum())} of the {len(done)} trials there are done; more can be added "
                    "when all are"
                )
    if changed:
        raise setup.store.another(changed)


def _find_given(setup: Setup, runs: Sequence[dict[str, Any]]) -> Ledger:
    """What these runs have measured of this grid's trials to their end."""
    now, given = setup.call["values"], setup.empty_ledger()
    plans = {
        run["plan"]: _places(run["values"], now) for run in runs if "plan" in run and not _lacking(run["values"], now)
    }
    for events in _read_events(setup, plans).values() if plans else ():
        ledger = setup.empty_ledger()
        for place in sorted(events):
            ledger.record(events[place])
        given.give(ledger, ledger.done() & ~given.given)
    return given


def _places(there: Values, now: Values) -> Int[np.ndarray, " trials"]:
    """For every trial of a grid its index in one that has all its values."""
    if there == now:
        return np.arange(math.prod(len(texts) for _, texts in now))
    known = [{text: place for place, text in enumerate(new)} for _, new in now]
    axes = [[places[text] for text in old] for places, (_, old) in zip(known, there, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), [len(texts) for _, texts in now]).ravel()


def _lacking(there: Values, now: Values) -> str:
    """In words what a grid lacks of another one with the same axes; empty if it has all its values."""
    for (name, old), (_, new) in zip(there, now, strict=True):
        known = set(new)
        missing = [place for place, text in enumerate(old) if text not in known]
        if missing:
            text = old[missing[0]]
            which = f"the one at index {missing[0]}" if "#" in text else text
            return f"{_counts(name, old, new)}, of which {which} is missing now"
    return ""


def _counts(name: str, there: Sequence[str], now: Sequence[str]) -> str:
    """`learning_rate: 3 values now, 2 there`."""
    return f"{name}: {len(now)} value{'s' * (len(now) != 1)} now, {len(there)} there"
