"""What a search with a budget may do: its constants, its grid, how long and how wide its trials are."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

from .._curve import DRIFT, SETTLED, first_grid, new_ones

TOLERANCE = 1e-6
"""Exponents closer than this are equal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constants:
    """The numbers of the algorithm. T are the training's steps, B the budget in trainings.

    Attributes:
      sweep_share: share of the budget that the coarse sweep may take; all of it while nothing has learned.
      sweep_steps: fewest and most updates of the sweep, before it is extended.
      started: by what share the loss must have fallen for learning to have started.
      extend: how many times longer an extended sweep is.
      growth: how many times longer each rung is than the one before.
      least_growth: a rung that the budget makes shorter than this is not run.
      first_window: (budget, decades) pairs: how far on either side of the sweep's minimum the first rung trains.
      window: the same for later rungs, at any budget.
      fewest: learning rates of a rung, at least.
      edges: learning rates that may be added beyond a rung's ends.
      longest: (budget, share of T) pairs: from which budget on how long a trial may become.
      seeds: (budget, seeds) pairs: from which budget on how many seeds the rungs have.
      drift: decades by which the best learning rate falls with every decade of training up to `settled`.
      settled: share of T from which on it stays.
    """

    sweep_share: float = 0.5
    sweep_steps: tuple[int, int] = (5, 20)
    started: float = 0.05
    extend: float = 2.0
    growth: float = 4.0
    least_growth: float = 1.2
    first_window: tuple[tuple[float, float], ...] = ((0.0, 0.75), (2.0, 1.25))
    window: float = 0.5
    fewest: int = 3
    edges: int = 3
    longest: tuple[tuple[float, float], ...] = ((0.0, 0.25), (8.0, 0.5))
    seeds: tuple[tuple[float, int], ...] = ((0.0, 1), (4.0, 2), (8.0, 4))
    drift: float = DRIFT
    settled: float = SETTLED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """What a search may do.

    Attributes:
      train_steps: T, updates of the training that the learning rate is for.
      budget: B, cost of the search as a multiple of that training's.
      coarse: exponents of the sweep and the first rung, half a decade apart.
      fine: exponents of later rungs, a quarter apart, the coarse ones among them.
      num_seeds: of the rungs; the sweep has one.
      constants: the numbers of the algorithm.
    """

    train_steps: int
    budget: float
    coarse: tuple[float, ...]
    fine: tuple[float, ...]
    num_seeds: int
    constants: Constants

    @property
    def updates(self) -> float:
        """The budget in updates."""
        return self.budget * self.train_steps

    @property
    def longest(self) -> int:
        """Updates of a trial, at most."""
        return max(1, int(_from_budget(self.constants.longest, self.budget) * self.train_steps))

    @property
    def first_window(self) -> float:
        """Decades on either side of the sweep's minimum that the first rung trains."""
        return _from_budget(self.constants.first_window, self.budget)

    @property
    def first_steps(self) -> int:
        """Updates of the sweep, before it is extended."""
        few, many = self.constants.sweep_steps
        affordable = int(self.constants.sweep_share * self.updates / len(self.coarse))
        return min(max(few, min(many, affordable)), max(few, self.longest))

    @property
    def widest(self) -> int:
        """Learning rates that a rung trains together, at most."""
        constants = self.constants
        first = max(len(near(self.coarse, x, self.first_window, constants.fewest)) for x in _centres(self.coarse))
        later = max(len(near(self.fine, x, constants.window, constants.fewest)) for x in _centres(self.fine))
        return max(first, later)

    def correction(self, num_steps: int) -> float:
        """Decades by which the best learning rate of the training lies below that after `num_steps` updates."""
        share = self.constants.settled * self.train_steps / num_steps
        return self.constants.drift * max(0.0, math.log10(share))


def make_course(
    *,
    train_steps: int,
    budget: float,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    num_seeds: int | None = None,
    constants: Constants | None = None,
) -> Course:
    """What a search may do; `num_seeds` None: as many as suit the budget."""
    constants = constants or Constants()
    coarse = first_grid(min_lr, max_lr)
    quarters = [0.25 * k for k in range(math.ceil(4 * coarse[0]), math.floor(4 * coarse[-1]) + 1)]
    return Course(
        train_steps=train_steps,
        budget=budget,
        coarse=tuple(coarse),
        fine=tuple(sorted([*coarse, *new_ones(quarters, coarse)])),
        num_seeds=_from_budget(constants.seeds, budget) if num_seeds is None else num_seeds,
        constants=constants,
    )


def near(grid: Sequence[float], centre: float, decades: float, fewest: int) -> list[float]:
    """The grid's exponents within some decades of a centre, and at least the `fewest` nearest; increasing."""
    nearest = sorted(grid, key=lambda x: (round(abs(x - centre), 6), x))
    within = sum(abs(x - centre) <= decades + TOLERANCE for x in grid)
    return sorted(nearest[: max(within, fewest)])


def _from_budget(table: Sequence[tuple[float, Any]], budget: float) -> Any:
    """The value of the last entry whose budget is reached."""
    return [value for least, value in table if least <= budget or least == table[0][0]][-1]


def _centres(grid: Sequence[float]) -> list[float]:
    """Places of a minimum with the most neighbours: at the exponents, and between them."""
    return [*grid, *(0.5 * (a + b) for a, b in itertools.pairwise(grid))]
