"""What has been measured so far, and what follows from it: who is alive, and which waves are to be run."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._checks import check_count, show
from .._engine import Engine, narrowest
from .._types import Bool, Float, Int
from ._grid import Grid
from ._stop import Stop, SuccessiveHalving

EVALUATIONS = 10
"""By default."""


class Wave(NamedTuple):
    """Lanes that run together: trials of one family.

    Attributes:
      family: index of the family.
      members: which of the family's trials, increasing.
      width: lanes of a seed in the program.
    """

    family: int
    members: Int[np.ndarray, " members"]
    width: int


class Timetable(NamedTuple):
    """When lanes are evaluated and cut.

    Attributes:
      evaluations: increasing steps; the last is the end.
      rungs: steps at which trials are compared, and the end.
    """

    evaluations: tuple[int, ...]
    rungs: tuple[int, ...]

    def span(self, segment: int) -> tuple[int, int]:
        """First step of a segment, and the step at which it ends."""
        return (self.rungs[segment - 1] if segment else 0), self.rungs[segment]

    def boundaries(self, segment: int) -> tuple[int, ...]:
        """Evaluations in a segment."""
        start, stop = self.span(segment)
        return tuple(step for step in self.evaluations if start < step <= stop)


def check_eval_every(eval_every: int | Sequence[int] | None, train_steps: int) -> int | list[int]:
    """The interval, or the steps themselves."""
    if eval_every is None:
        return max(1, -(-train_steps // EVALUATIONS))
    if isinstance(eval_every, Sequence) and not isinstance(eval_every, str):
        steps = [
            check_count(f"sweep(eval_every=...)[{index}]", step, unit="optimizer updates")
            for index, step in enumerate(eval_every)
        ]
        if not steps or steps[-1] > train_steps or any(late <= early for early, late in itertools.pairwise(steps)):
            raise ValueError(
                "`sweep(eval_every=...)` given as a sequence must hold increasing steps up to "
                f"train_steps={train_steps}, got {show(list(eval_every))}."
            )
        return steps
    every = check_count("sweep(eval_every=...)", eval_every, unit="optimizer updates")
    if every > train_steps:
        raise ValueError(
            f"`sweep(eval_every=...)` must be at most train_steps={train_steps}, got {every}. "
            "For one evaluation at the end give train_steps."
        )
    return every


def make_timetable(train_steps: int, eval_every: int | Sequence[int], stop: Stop | None) -> Timetable:
    """Evaluate every so many steps or at the steps given, at every rung and at the end."""
    rungs = stop.rungs(train_steps) if stop is not None else ()
    regular = range(eval_every, train_steps + 1, eval_every) if isinstance(eval_every, int) else eval_every
    evaluations = {*regular, *rungs, train_steps}
    return Timetable(tuple(sorted(evaluations)), (*rungs, train_steps))


class Ledger:
    """Metrics of every trial, seed and evaluation; nan where there is none.

    Attributes:
      lanes_per_wave: for each family, how many lanes of a seed fit.
      given: the trials that need no training, since a sweep of fewer trials has measured them.
      positions: step -> where the reader of the batches is after it.
    """

    def __init__(
        self, grid: Grid, num_seeds: int, timetable: Timetable, stop: Stop | None, lanes_per_wave: Sequence[int] = ()
    ):
        self.grid, self.timetable, self.stop = grid, timetable, stop
        self.lanes_per_wave = tuple(lanes_per_wave)
        self.shape = (grid.num_trials, num_seeds, len(timetable.evaluations))
        self.metrics: dict[str, Float[np.ndarray, "trials seeds evaluations"]] = {}
        self.diverged_at = np.full(self.shape[:2], -1)
        self.measured = np.zeros(self.shape, bool)
        self.positions: dict[int, Any] = {}
        self.given = np.zeros(grid.num_trials, bool)

    def record(self, event: dict[str, Any]) -> None:
        """Take over the line of an evaluation."""
        place = self.timetable.evaluations.index(event["step"])
        self.positions[event["step"]] = event["position"]
        for seed, trials in enumerate(event["trials"]):
            index = np.asarray(trials, int)
            self.measured[index, seed, place] = True
            self.diverged_at[index, seed] = event["diverged_at"][seed]
            for name, values in event["metrics"].items():
                self._metric(name)[index, seed, place] = [float(value) for value in values[seed]]

    def give(self, other: "Ledger", trials: Bool[np.ndarray, " trials"]) -> None:
        """Take over all that another one has of some trials."""
        self.given |= trials
        self.positions = other.positions | self.positions
        self.measured[trials], self.diverged_at[trials] = other.measured[trials], other.diverged_at[trials]
        for name, values in other.metrics.items():
            self._metric(name)[trials] = values[trials]

    def last_steps(self) -> Int[np.ndarray, "trials seeds"]:
        """The step of each lane's last evaluation, 0 before the first."""
        return np.where(self.measured, np.asarray(self.timetable.evaluations), 0).max(axis=2)

    def done(self) -> Bool[np.ndarray, " trials"]:
        """The trials of which every seed was measured to the end, or until it was stopped."""
        count = self.measured.sum(axis=2)
        without_gap = np.cumprod(self.measured, axis=2).sum(axis=2) == count
        stopped = (self.diverged_at >= 0) & (count > 0) & (self.stop is not None)
        return (without_gap & ((count == self.shape[2]) | stopped)).all(axis=1)

    def alive(self, family: int) -> Bool[np.ndarray, "seeds family"]:
        """Which lanes of a family have not diverged."""
        return self.diverged_at[self.grid.families[family].trials].T < 0

    def survivors(self, segment: int) -> Bool[np.ndarray, " trials"]:
        """The trials that begin a segment."""
        alive = np.ones(self.grid.num_trials, bool)
        for rung in self.timetable.rungs[:segment]:
            assert isinstance(self.stop, SuccessiveHalving)
            place = self.timetable.evaluations.index(rung)
            values = np.where(self.diverged_at < 0, self.metrics[self.stop.metric][:, :, place], np.nan)
            alive = self.stop.keep(values.T, alive)
        return alive

    def waves(self, segment: int, engine: Engine) -> list[Wave]:
        """What a segment has to run."""
        survivors = self.survivors(segment) & ~self.given
        waves = []
        for index, family in enumerate(self.grid.families):
            members = np.flatnonzero(survivors[family.trials])
            if not len(members):
                continue
            most = self.lanes_per_wave[index]
            first_width = engine.width_for(_even(int((~self.given[family.trials]).sum()), most))
            size = _even(len(members), most)
            for start in range(0, len(members), size):
                width = narrowest(min(size, len(members)), first_width, engine.unit)
                waves.append(Wave(index, members[start : start + size], width))
        return waves

    def _metric(self, name: str) -> Float[np.ndarray, "trials seeds evaluations"]:
        return self.metrics.setdefault(name, np.full(self.shape, np.nan))


def _even(count: int, most: int) -> int:
    """The size of the parts when `count` is cut into as few equal parts as possible, none above `most`."""
    parts = -(-count // most)
    return -(-count // parts)
