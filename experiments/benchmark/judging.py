"""How good a learning rate is: its full training's score, looked up in the recorded grid."""

from typing import NamedTuple

import numpy as np

from .recording import LRS, TRUTH_SEEDS, Recording

CAP = 20.0
"""Points: what a choice can lose at most in a capped mean."""

LOG_LRS = np.log10(LRS)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean over the tasks and its standard error, 0 for one task."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), float(error)


class Truth(NamedTuple):
    """What full trainings gave at every learning rate of the grid.

    Attributes:
      scores: points, mean over the truth's seeds; where a training diverged 0, or less if the score was.
      best: the highest.
      low, high: log10 of the ends of the best range: learning rates around the best one whose score is within
        max(1 point, 1.5 test examples, 1 standard error) of it.
    """

    scores: np.ndarray
    best: float
    low: float
    high: float

    def score(self, lr: float) -> float:
        """Interpolated in log10(lr); constant beyond the grid."""
        return float(np.interp(np.log10(lr), LOG_LRS, self.scores))

    def regret(self, lr: float) -> float:
        """Points lost against the best learning rate of the grid; CAP's worth and more for none at all."""
        return self.best - self.score(lr) if np.isfinite(lr) and lr > 0 else self.best

    def in_range(self, lr: float) -> bool:
        """Whether the choice lies within the best range."""
        return bool(np.isfinite(lr) and lr > 0 and self.low - 1e-6 <= np.log10(lr) <= self.high + 1e-6)

    def distance(self, lr: float) -> float:
        """Decades from the middle of the best range, above it positive."""
        return float(np.log10(lr) - 0.5 * (self.low + self.high)) if np.isfinite(lr) and lr > 0 else float("nan")


def truth_of(recording: Recording, schedule: str, seeds: int = TRUTH_SEEDS) -> Truth:
    """The truth's seeds of a schedule, the first ones, at the end."""
    scores = settled(recording, schedule)[:, :seeds, -1]
    means = scores.mean(1)
    peak = int(np.argmax(means))
    error = float(scores[peak].std(ddof=1) / np.sqrt(seeds))
    enough = means >= means[peak] - max(1.0, 150.0 / recording.test_examples, error)
    low = high = peak
    while low > 0 and enough[low - 1]:
        low -= 1
    while high + 1 < len(LRS) and enough[high + 1]:
        high += 1
    return Truth(means, float(means[peak]), float(LOG_LRS[low]), float(LOG_LRS[high]))


def settled(recording: Recording, schedule: str) -> np.ndarray:
    """Scores with what diverged or is worse than nothing at 0, shape (learning rates, seeds, horizons)."""
    scores, losses = recording.score[schedule], recording.loss[schedule]
    return np.where(np.isfinite(scores) & np.isfinite(losses), np.maximum(scores, 0.0), 0.0).astype(np.float64)
