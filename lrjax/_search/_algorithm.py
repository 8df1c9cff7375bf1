"""The search with a budget, as a driver without an engine: which learning rates to train, how far, and which to take.

It asks a `Trainer` for losses and keeps the account; a table of recorded losses answers as well as a model.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from .._curve import is_lost_in_noise, midpoint
from .._types import Float
from ._course import TOLERANCE, Course, near
from ._rung import SearchRung


class Trainer(Protocol):
    """Who knows the losses. Seeds are 0 to num_seeds - 1; those of a smaller number are among those of a larger."""

    def train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> Float[np.ndarray, "seeds trials"]:
        """Validation losses after `num_steps` updates at 10**exponents; not finite where diverged.

        What the last call with another `num_steps` trained, and those after it with the same, goes on from there.
        """
        ...

    def initial_loss(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """The losses to measure against, finite."""
        ...


def run_rungs(trainer: Trainer, course: Course, *, baseline_loss: float | None = None) -> Iterator[SearchRung]:
    """Train a coarse sweep, then rungs that follow the minimum.

    Args:
      trainer: who knows the losses.
      course: what may be done.
      baseline_loss: loss of the best constant predictor, if known: learning has started where it is undercut.

    Yields:
      The sweep, every extension of it, and every rung; none costs more than the budget, except the shortest sweep.
      The rungs end where a trial is as long as it may be, the budget is used up, or no learning rate lowers the loss.
    """
    constants, account = course.constants, _Account(trainer, course)
    rung = account.sweep(course.first_steps)
    yield rung
    while (steps := account.longer_sweep(rung, baseline_loss)) is not None:
        rung = account.sweep(steps)
        yield rung
    grid, decades = course.coarse, course.first_window
    while rung.found and rung.num_steps < course.longest:
        lanes = near(grid, rung.minimum, decades, constants.fewest)
        wanted = min(int(constants.growth * rung.num_steps), course.longest)
        steps = account.affordable(lanes, wanted)
        if steps < constants.least_growth * rung.num_steps:
            return
        rung = account.rung(lanes, steps, grid)
        yield rung
        grid, decades = course.fine, constants.window


class _Account:
    """What was trained, and what it cost."""

    def __init__(self, trainer: Trainer, course: Course):
        self._trainer, self._course = trainer, course
        self._spent = self._level = 0
        self._carried: set[tuple[int, float]] = set()  # (seed, exponent) at the level

    def sweep(self, steps: int) -> SearchRung:
        """All of the coarse grid, one seed."""
        losses = self._train(self._course.coarse, 1, steps)
        return self._rung(self._course.coarse, losses, is_sweep=True)

    def longer_sweep(self, rung: SearchRung, baseline_loss: float | None) -> int | None:
        """To how many steps the sweep is extended, because learning has not started; None if it is not."""
        course, constants = self._course, self._course.constants
        progress = rung.progress(baseline_loss)
        if progress is None or not progress < constants.started or rung.num_steps >= course.longest:
            return None
        steps = min(int(constants.extend * rung.num_steps), course.longest)
        cost = len(course.coarse) * (steps - rung.num_steps)
        share = constants.sweep_share if rung.found else 1.0  # there is no rung to keep the rest for
        return steps if self._spent + cost <= share * course.updates else None

    def affordable(self, lanes: Sequence[float], steps: int) -> int:
        """The largest number of steps, up to `steps`, that the budget allows for these learning rates."""
        count = len(lanes) * self._course.num_seeds
        done = sum((seed, x) in self._carried for seed in range(self._course.num_seeds) for x in lanes) * self._level
        return min(steps, int((self._course.updates - self._spent + done) // count))

    def rung(self, lanes: list[float], steps: int, grid: Sequence[float]) -> SearchRung:
        """Train a rung, and what lies beyond its ends where the lowest or the highest is the best."""
        seeds = self._course.num_seeds
        rung = self._rung(lanes, self._train(lanes, seeds, steps))
        for _ in range(self._course.constants.edges):
            ends = {0: -1, len(rung.log10_lrs) - 1: 1}
            side = ends.get(rung.lowest)
            beyond = None if side is None else _next(grid, float(rung.log10_lrs[rung.lowest]), side)
            if beyond is None or seeds * steps > self._course.updates - self._spent:
                break
            more = self._train([beyond], seeds, steps)
            order = np.argsort([*rung.log10_lrs, beyond])
            lrs = np.asarray([*rung.log10_lrs, beyond])[order]
            losses = np.concatenate([rung.losses, more], axis=1)[:, order]
            rung = dataclasses.replace(rung, log10_lrs=lrs, losses=losses, edges=rung.edges + 1, spent=self._spent)
        return rung

    def _train(self, lanes: Sequence[float], seeds: int, steps: int) -> Float[np.ndarray, "seeds trials"]:
        pairs = {(seed, x) for seed in range(seeds) for x in lanes}
        self._spent += len(pairs) * steps - len(pairs & self._carried) * self._level
        self._carried = pairs | (self._carried if steps == self._level else set())
        self._level = steps
        return np.asarray(self._trainer.train(list(lanes), seeds, steps), np.float64)

    def _rung(
        self, lanes: Sequence[float], losses: Float[np.ndarray, "seeds trials"], *, is_sweep: bool = False
    ) -> SearchRung:
        return SearchRung(
            num_steps=self._level,
            log10_lrs=np.asarray(lanes, np.float64),
            losses=losses,
            initial_loss=np.asarray(self._trainer.initial_loss(len(losses), self._level), np.float64),
            is_sweep=is_sweep,
            edges=0,
            spent=self._spent,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What the rungs say.

    Attributes:
      log10_lr: the chosen learning rate's exponent; nan if none was found.
      rung: the rung that it was read from, an index; the last one that found something.
      by_midpoint: whether it is the paper's midpoint of the sweep, because no rung was run.
      correction: decades by which it lies below the best of that rung.
    """

    log10_lr: float
    rung: int
    by_midpoint: bool
    correction: float


def choose(rungs: Sequence[SearchRung], course: Course) -> Choice:
    """Take a learning rate.

    Args:
      rungs: what `run_rungs` gave until now, at least one.
      course: what it was given.

    Returns:
      Of the last rung in which something was learned, the trained learning rate where the smoothed curve is lowest,
      lowered to where the optimum of the whole training is. If that is the sweep: the middle of its window.
    """
    index = next((i for i in reversed(range(len(rungs))) if rungs[i].found), None)
    if index is None:
        return Choice(log10_lr=math.nan, rung=len(rungs) - 1, by_midpoint=False, correction=0.0)
    rung = rungs[index]
    if rung.is_sweep and rung.num_steps <= course.constants.sweep_steps[1]:
        if is_lost_in_noise(rung.curve, rung.window):
            return Choice(log10_lr=math.nan, rung=index, by_midpoint=True, correction=0.0)
        middle = math.log10(float(midpoint(rung.curve, rung.window)))
        return Choice(log10_lr=middle, rung=index, by_midpoint=True, correction=0.0)
    down = course.correction(rung.num_steps)
    return Choice(log10_lr=rung.best - down, rung=index, by_midpoint=False, correction=down)


def _next(grid: Sequence[float], x: float, side: int) -> float | None:
    """The grid's next exponent below (-1) or above (1) another one."""
    beyond = [one for one in grid if side * (one - x) > TOLERANCE]
    return None if not beyond else (min(beyond) if side > 0 else max(beyond))


def interval_of(rungs: Sequence[SearchRung], choice: Choice, course: Course) -> tuple[float, float] | None:
    """The spread of what could have been chosen.

    Args:
      rungs, choice, course: as for `choose`, and what it gave.

    Returns:
      The lowest and the highest learning rate that a rung after the sweep, or one seed of the chosen rung alone, asks
      for; None where there is only one of them.
    """
    if choice.by_midpoint or not math.isfinite(choice.log10_lr):
        return None
    picks = [one.best - course.correction(one.num_steps) for one in rungs if one.found and not one.is_sweep]
    rung = rungs[choice.rung]
    seeds = [rung.seed(index) for index in range(len(rung.losses))] if len(rung.losses) > 1 else []
    picks += [one.best - choice.correction for one in seeds if one.found]
    return (10.0 ** min(picks), 10.0 ** max(picks)) if len(picks) > 1 else None
