"""Laws of the loss under a schedule, and their fit to the curves of a few trainings.

The multi-power law (arXiv:2503.12811) was fitted to large language models, the functional scaling law is that of kernel
regression with its kernel's numbers free, the bound on the last iterate (arXiv:2310.07831, compared with large models
in arXiv:2501.18965) is of convex optimization.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

CELLS = 250
"""Pieces of a training in which a schedule counts as constant."""

BURN_IN = 0.05
"""Share of a training before which its loss is not fitted: a law has no beginning."""

HUBER = 0.005
"""Relative errors above it count linearly."""

EULER = 0.5772156649
"""Of the harmonic sum within one piece."""


class Run(NamedTuple):
    """A training.

    Attributes:
      rates: learning rates of its `CELLS` pieces, shape (CELLS,).
      steps: its length.
      at: steps at which its loss is known.
      losses: there.
      weight: of its residuals.
    """

    rates: np.ndarray
    steps: int
    at: np.ndarray
    losses: np.ndarray
    weight: float = 1.0


def pieces(rates: np.ndarray) -> np.ndarray:
    """The means of `CELLS` equal pieces of the learning rates of all steps."""
    total = np.concatenate([[0.0], np.cumsum(rates, dtype=float)])
    edges = np.linspace(0, len(rates), CELLS + 1)
    return np.diff(np.interp(edges, np.arange(len(rates) + 1), total)) * CELLS / len(rates)


class Sums(NamedTuple):
    """What the laws read of a schedule at some of its steps; learning rates and steps in a pair's units.

    Attributes:
      rates, width: of the pieces.
      before: learning rates of the pieces before, 0 for the first.
      area: sum of the learning rates until every step, shape (steps,).
      since: sum of the learning rates from every piece's start until the step, at least 0, shape (steps, pieces).
      past: 1 where the piece is over at the step.
      steps_of_piece: updates in a piece.
    """

    rates: np.ndarray
    width: float
    before: np.ndarray
    area: np.ndarray
    since: np.ndarray
    past: np.ndarray
    steps_of_piece: float


def sums(rates: np.ndarray, steps: int, at: np.ndarray, unit_rate: float, unit_steps: float) -> Sums:
    """Of a schedule at the ends of the pieces that are nearest to `at`."""
    rates, width = rates / unit_rate, steps / CELLS / unit_steps
    ends = np.cumsum(rates) * width
    index = np.clip(np.round(np.asarray(at) / steps * CELLS).astype(int) - 1, 0, CELLS - 1)
    since = np.maximum(ends[index][:, None] - np.concatenate([[0.0], ends[:-1]]), 0.0)
    past = (np.arange(CELLS) <= index[:, None]).astype(float)
    before = np.concatenate([[0.0], rates[:-1]])
    return Sums(rates, width, before, ends[index], since, past, steps / CELLS)


def functional_scaling(numbers: np.ndarray, told: Sums) -> np.ndarray:
    """Six numbers: a floor, a power of the area, the noise of every step, forgotten by a power of the area since."""
    floor, height, power, noise, forget, forget_power = numbers
    noises = told.past * told.rates**2 * told.width * (1.0 + forget * told.since) ** -forget_power
    return floor + height * told.area**-power + noise * noises.sum(1)


def multi_power(numbers: np.ndarray, told: Sums) -> np.ndarray:
    """Seven numbers, as published, but what a rise from 0 adds counts, too, so that a peak has a price."""
    floor, height, power, gain, forget, forget_power, rate_power = numbers
    scale = forget * np.maximum(told.rates, 1e-6) ** -rate_power
    gains = told.past * (told.before - told.rates) * (1.0 - (1.0 + scale * told.since) ** -forget_power)
    return floor + height * told.area**-power - gain * gains.sum(1)


def last_iterate_bound(numbers: np.ndarray, told: Sums) -> np.ndarray:
    """Three numbers: a floor, and the bound of convex optimization on the last iterate, with its two constants free."""
    floor, distance, noise = numbers
    squares = told.past * told.rates**2 * told.width
    since = np.maximum(told.since, 1e-12)
    after = np.maximum(since - told.rates * told.width, 1e-12)
    left = np.cumsum(squares[:, ::-1], 1)[:, ::-1] / since
    last = told.past - np.concatenate([told.past[:, 1:], np.zeros((len(told.past), 1))], 1)
    one_step = np.log(told.steps_of_piece) + EULER
    tails = left * np.where(last > 0, one_step, np.log(since / after))
    return floor + distance / told.area + noise * (squares.sum(1) / told.area + (told.past * tails).sum(1))


LAWS: dict[str, tuple[Callable[[np.ndarray, Sums], np.ndarray], list[tuple[float, float, float]]]] = {
    "functional scaling law": (
        functional_scaling,
        [(1e-3, 0.9, 1), (1e-4, 0.1, 3), (0.02, 0.5, 3), (1e-6, 1, 1e4), (1e-2, 30, 1e4), (0.1, 1.2, 8)],
    ),
    "multi-power law": (
        multi_power,
        [
            (1e-3, 0.9, 1),
            (1e-4, 0.1, 3),
            (0.02, 0.5, 3),
            (1e-6, 0.1, 3),
            (1e-2, 30, 1e4),
            (0.1, 0.5, 4),
            (0.01, 0.5, 2),
        ],
    ),
    "last-iterate bound": (last_iterate_bound, [(1e-3, 0.9, 1), (1e-6, 0.05, 3), (1e-6, 0.01, 3)]),
}
"""Name -> the law and the lowest, first and highest guess of its numbers; the first run's last loss is 1."""


class Fitted(NamedTuple):
    """A law with its numbers and units."""

    law: Callable[[np.ndarray, Sums], np.ndarray]
    numbers: np.ndarray
    unit_rate: float
    unit_steps: float
    unit_loss: float

    def losses(self, rates: np.ndarray, steps: int, at: Sequence[int] | np.ndarray) -> np.ndarray:
        """The forecast."""
        told = sums(rates, steps, np.asarray(at), self.unit_rate, self.unit_steps)
        return self.unit_loss * self.law(self.numbers, told)

    def last(self, rates: np.ndarray, steps: int) -> float:
        """The forecast of the end."""
        return float(self.losses(rates, steps, [steps])[0])


def fit(name: str, runs: Sequence[Run]) -> Fitted:
    """By the logarithm of the loss, robustly, from 8 first guesses."""
    law, ranges = LAWS[name]
    low, guess, high = np.log(np.asarray(ranges)).T
    units = float(runs[0].rates.max()), float(runs[0].steps), float(runs[0].losses[-1])
    known = [
        (sums(run.rates, run.steps, run.at, *units[:2]), np.log(run.losses / units[2]), run.weight) for run in runs
    ]

    def residuals(logs: np.ndarray) -> np.ndarray:
        values = [np.log(np.maximum(law(np.exp(logs), told), 1e-9)) for told, _, _ in known]
        return np.concatenate([w * (value - loss) for value, (_, loss, w) in zip(values, known, strict=True)])

    random = np.random.default_rng(0)
    starts = [guess, *(np.clip(guess + random.normal(0, 0.7, (7, len(guess))), low + 1e-3, high - 1e-3))]
    found = [
        least_squares(residuals, start, bounds=(low, high), loss="huber", f_scale=HUBER, max_nfev=300)
        for start in starts
    ]
    return Fitted(law, np.exp(min(found, key=lambda one: one.cost).x), *units)


def late(at: np.ndarray, losses: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """What is known after the beginning."""
    keep = (at >= BURN_IN * steps) & np.isfinite(losses)
    return at[keep], losses[keep]
