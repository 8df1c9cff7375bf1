"""What a sweep has measured, which lanes go on, and the checkpoint that holds all of it."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from .._engine import (
    BatchSource,
    Engine,
    Lanes,
    Rows,
    Store,
    Stored,
    TrialState,
    fits,
    narrowest,
    read_executor,
)
from .._types import Bool, Float, Int
from ._grid import Grid, find_trials, show_counts, show_lacking
from ._stop import Stop, SuccessiveHalving, Timetable


class Wave(NamedTuple):
    """Lanes that run together: trials of one family."""

    family: int  # index of the family
    members: Int[np.ndarray, " members"]  # which of the family's trials, increasing
    width: int  # lanes of a seed in the program


class Held(NamedTuple):
    """States of a wave's lanes, and the family's trials that its rows hold."""

    family: int
    rows: Rows
    state: TrialState


class Measured(NamedTuple):
    """What was measured of every trial."""

    # first step with a training loss that is not finite, as far as seen; -1: none
    diverged_at: Int[np.ndarray, "trials seeds"]
    count: Int[np.ndarray, "trials seeds"]  # evaluations until now
    given: Bool[np.ndarray, " trials"]  # the trials that a sweep of fewer settings has measured
    metrics: dict[str, Float[np.ndarray, "trials seeds evaluations"]]  # name -> values; nan where there is none

    @property
    def arrays(self) -> list[np.ndarray]:
        """All of them."""
        return [*self[:3], *self.metrics.values()]


def nothing_measured(trials: int, seeds: int, evaluations: int, names: Iterable[str]) -> Measured:
    """Of a sweep before its first evaluation."""
    lanes = (trials, seeds)
    metrics = {name: np.full((*lanes, evaluations), np.nan) for name in names}
    return Measured(np.full(lanes, -1), np.zeros(lanes, int), np.zeros(trials, bool), metrics)


@dataclasses.dataclass
class Sweep:
    """A sweep, from its first step to its last."""

    grid: Grid
    num_seeds: int
    train_steps: int  # updates of a trial; all other steps are training batches
    timetable: Timetable
    stop: Stop | None
    source: BatchSource
    engine: Engine
    measured: Measured  # until now
    store: Store | None = None
    call: dict[str, Any] = dataclasses.field(default_factory=dict)  # the description of the call, for the folder
    # lanes of a seed that run at once, for each family of the grid; empty until decided
    lanes_per_wave: list[int] = dataclasses.field(default_factory=list)
    positions: dict[int, Any] = dataclasses.field(default_factory=dict)  # step -> of the batches' reader
    held: list[Held] = dataclasses.field(default_factory=list)  # lanes that have reached a rung while others run
    loaded: Held | None = None  # those that ran when the checkpoint was written that this process resumes from
    lanes: Lanes | None = None  # of `family`, those that run, at batch `step`, evaluated at `since`
    family: int = 0
    step: int = 0
    since: int = 0
    position: Any = None  # of the reader of the batches at `step`; None where it cannot go back to a place

    @property
    def to_train(self) -> list[int]:
        """For each family, how many of its trials are not given; at least one."""
        return [max(1, int((~self.measured.given[family.trials]).sum())) for family in self.grid.families]

    @property
    def last_updates(self) -> Int[np.ndarray, "trials seeds"]:
        """Updates at each lane's last evaluation, 0 before the first."""
        return self.updates(np.asarray((0, *self.timetable.evaluations))[self.measured.count])

    def updates(self, batches: Any) -> Any:
        """Updates that are complete after a number of training batches, or after many numbers; of -1 -1."""
        accumulation = self.engine.experiment.accumulation
        return np.append(accumulation.done(self.timetable.evaluations[-1]), -1)[batches] if accumulation else batches

    def survivors(self, segment: int) -> Bool[np.ndarray, " trials"]:
        """The trials that begin a segment."""
        alive = np.ones(self.grid.num_trials, bool)
        for rung in self.timetable.rungs[:segment]:
            assert isinstance(self.stop, SuccessiveHalving)
            values = self.measured.metrics[self.stop.metric][:, :, self.timetable.evaluations.index(rung)]
            alive = self.stop.keep(np.where(self.measured.diverged_at < 0, values, np.nan).T, alive)
        return alive

    def waves(self, segment: int) -> list[Wave]:
        """What a segment has to run."""
        given, waves = self.measured.given, []
        survivors = self.survivors(segment) & ~given
        for index, family in enumerate(self.grid.families):
            members = np.flatnonzero(survivors[family.trials])
            if not len(members):
                continue
            most = self.lanes_per_wave[index]
            first_width = self.engine.width_for(_even(int((~given[family.trials]).sum()), most))
            size = _even(len(members), most)
            for start in range(0, len(members), size):
                width = narrowest(min(size, len(members)), first_width, self.engine.unit)
                waves.append(Wave(index, members[start : start + size], width))
        return waves

    def next_wave(self) -> tuple[int, int, list[Wave]] | None:
        """The segment and the number of the first wave that has not ended, and that segment's waves."""
        for segment, rung in enumerate(self.timetable.rungs):
            ended = self._have_ended(self.timetable.evaluations.index(rung) + 1, *self.measured[:2])
            waves = self.waves(segment)
            for number, wave in enumerate(waves):
                if not ended[self.grid.families[wave.family].trials[wave.members]].all():
                    return segment, number, waves
        return None

    def _have_ended(
        self, evaluations: int, diverged_at: Int[np.ndarray, "trials seeds"], count: Int[np.ndarray, "trials seeds"]
    ) -> Bool[np.ndarray, " trials"]:
        """The trials of which every seed has so many evaluations, or was stopped before."""
        stopped = (diverged_at >= 0) & (count > 0) & (self.stop is not None)
        return np.all((count >= evaluations) | stopped, axis=1)

    def record(self, metrics: dict[str, np.ndarray], diverged_at: Int[np.ndarray, "seeds family"]) -> None:
        """Take over an evaluation of the lanes that run."""
        assert self.lanes is not None
        measured, place = self.measured, self.timetable.evaluations.index(self.step)
        self.positions[self.step] = self.position
        for seed, row in enumerate(self.lanes.rows):
            index = row[row >= 0]
            trials = self.grid.families[self.family].trials[index]
            measured.count[trials, seed] = place + 1
            measured.diverged_at[trials, seed] = diverged_at[seed, index]
            for name, values in metrics.items():
                measured.metrics[name][trials, seed, place] = values[seed, index]

    def begin_anew(self) -> None:
        """Forget all that was not given."""
        measured = self.measured
        self.lanes, self.loaded, self.held = None, None, []
        for array, missing in zip(measured.arrays, (-1, 0, False, *[np.nan] * len(measured.metrics)), strict=True):
            array[~measured.given] = missing

    def hold(self) -> None:
        """Take the lanes that run off the devices; raises `ValueError` if other processes hold a part of them."""
        assert self.lanes is not None
        if self.engine.several_hosts:
            raise ValueError(
                "`sweep(stop=SuccessiveHalving(...))` on several hosts must have all lanes at once, but they do not "
                "fit in memory together, or have schedules of different kinds. Use more devices, or fewer trials."
            )
        self.held.append(Held(self.family, self.lanes.rows, self.lanes.state()))

    def gather(self, family: int, rows: Rows) -> TrialState:
        """The lanes that are held for some rows; rows without one repeat another."""
        parts = [one for one in self.held if one.family == family]
        where = {
            (seed, part.rows[seed, row]): (number, row)
            for number, part in enumerate(parts)
            for seed, row in np.argwhere(part.rows >= 0)
        }

        def gather(*leaves: np.ndarray) -> np.ndarray:
            result = np.empty((*rows.shape, *leaves[0].shape[2:]), leaves[0].dtype)
            for (seed, row), trial in np.ndenumerate(rows):
                part, place = where[seed, trial if trial >= 0 else rows[seed].max()]
                result[seed, row] = leaves[part][seed, place]
            return result

        return jax.tree.map(gather, *[part.state for part in parts])

    def save(self) -> None:
        """Write all of it down."""
        assert self.store is not None
        running = [] if self.lanes is None else [Held(self.family, self.lanes.rows, self.lanes.state())]
        held = [*self.held, *running]
        meta = {
            "values": self.call["values"],
            "executor": str(self.engine.executor),
            "lanes_per_wave": self.lanes_per_wave,
            "step": self.step,
            "since": self.since,
            "position": self.position,
            "positions": list(self.positions.items()),
            "running": bool(running),
            "held": [{"family": one.family, "rows": one.rows.tolist()} for one in held],
        }
        self.store.save(meta, [[array.copy() for array in self.measured.arrays], [one.state for one in held]])

    def resume(self) -> None:
        """Take over what the folder holds of this call, or of one with fewer settings.

        Raises:
          ValueError: the settings there are not all among those of the call, or it is too early to add some.
        """
        if self.store is None:
            return
        for stored in self.store.find():
            if self._says_what_a_sweep_writes(stored.meta):
                same = stored.meta["values"] == self.call["values"]
                if self._go_on(stored) if same else self._grow(stored):
                    break
        else:
            same = False
        self.engine.execution.notes += self.store.notes
        if not same:
            self.save()

    def _says_what_a_sweep_writes(self, meta: dict[str, Any]) -> bool:
        """Whether its checksum being right is not all that is right about it."""
        form: dict[str, Any] = {"step": int, "since": int, "running": bool, "positions": [list], "executor": str}
        form |= {"lanes_per_wave": [int], "held": [{"family": int, "rows": [[int]]}]}
        if not fits(meta, form | {"values": {name: [str] for name in self.call["values"]}}):
            return False
        places = [*meta["positions"], *([[meta["step"], meta.get("position")]] if meta["running"] else [])]
        decided = read_executor(meta["executor"]) and min(meta["lanes_per_wave"], default=0) > 0
        return (
            meta["values"].keys() == self.call["values"].keys()
            and all(meta["values"].values())
            and 0 <= meta["since"] <= meta["step"] <= self.timetable.evaluations[-1]
            and all(len(one) == 2 and type(one[0]) is int and self.source.accepts(one[1], one[0]) for one in places)
            and {step for step, _ in meta["positions"]} <= {*self.timetable.evaluations}
            and bool(decided or not meta["lanes_per_wave"])
            and bool(meta["held"] or not meta["running"])
        )

    def _go_on(self, stored: Stored) -> bool:
        """Go on from a checkpoint of this grid; False if it is damaged."""
        assert self.store is not None
        meta, families, held = stored.meta, self.grid.families, []
        if len(meta["lanes_per_wave"]) != len(families) and (meta["lanes_per_wave"] or meta["held"]):
            return False
        for one in meta["held"]:
            family, rows = one["family"], one["rows"]
            count = len(families[family].trials) if 0 <= family < len(families) else 0
            whole = rows and rows[0] and {len(row) for row in rows} == {len(rows[0])} and len(rows) == self.num_seeds
            if not whole or not all(-1 <= trial < count for row in rows for trial in row):
                return False
            rows = np.asarray(rows)
            settings = jax.tree.map(lambda leaf, r=rows: leaf[r.clip(0)], families[family].settings)
            held.append(Held(family, rows, self.engine.state_targets(settings)))
        loaded = self.store.load(stored.number, [self.measured.arrays, [one.state for one in held]])
        if loaded is None:
            return False
        self._take_numbers(loaded[0], slice(None))
        self.held = [one._replace(state=state) for one, state in zip(held, loaded[1], strict=True)]
        self.lanes_per_wave = meta["lanes_per_wave"]
        if self.lanes_per_wave:
            self.engine.executor = read_executor(meta["executor"]) or self.engine.executor
        if meta["running"]:
            self.loaded = self.held.pop()
            self.step, self.since, self.position = meta["step"], meta["since"], meta["position"]
        self._remember(meta["positions"])
        return True

    def _grow(self, stored: Stored) -> bool:
        """Take over a checkpoint of fewer settings; False if it is damaged."""
        assert self.store is not None
        there, now, changed = stored.meta["values"], self.call["values"], ""
        lacking = show_lacking(there, now)
        if lacking:
            raise self.store.another(lacking)
        evaluations, trials = len(self.timetable.evaluations), math.prod(map(len, there.values()))
        like = nothing_measured(trials, self.num_seeds, evaluations, self.measured.metrics)
        loaded = self.store.load(stored.number, [like.arrays])
        if loaded is None:
            return False
        done = self._have_ended(evaluations, *loaded[0][:2])
        if any(len(texts) > len(set(texts)) for texts in now.values()):
            changed = "with functions that cannot be told apart, so which are new is not known"
        elif isinstance(self.stop, SuccessiveHalving):
            changed = "but none can be added where SuccessiveHalving compares them with each other"
        elif not done.all():
            count = f"{int(done.sum())} of the {len(done)} trials there"
            changed = f"but only {count} are done; more can be added when all are"
        if changed:
            raise self.store.another(f"{show_counts(there, now)}, {changed}")
        trials = find_trials(there, now)
        self._take_numbers(loaded[0], trials)
        self.measured.given[trials] = True
        self._remember(stored.meta["positions"])
        if self.engine.executor == "auto":  # one executor for all settings of a table
            self.engine.executor = read_executor(stored.meta["executor"]) or "auto"
        return True

    def _take_numbers(self, arrays: list[np.ndarray], trials: Any) -> None:
        for mine, theirs in zip(self.measured.arrays, arrays, strict=True):
            mine[trials] = theirs

    def _remember(self, positions: list[Any]) -> None:
        self.positions |= dict(positions)
        for step, position in [*positions, *([(self.step, self.position)] if self.loaded else [])]:
            if self.source.log is not None:
                self.source.log.remember(step, position)


def _even(count: int, most: int) -> int:
    """The size of the parts when `count` is cut into as few equal parts as possible, none above `most`."""
    parts = -(-count // most)
    return -(-count // parts)
