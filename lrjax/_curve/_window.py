"""The viable window of learning rates, as it is read from a curve, and how a search ended."""

import enum
from typing import NamedTuple

import numpy as np

from .._decode import require
from .._lrs import is_lr
from .._repr import line_repr
from .._types import Bool, Float, Int


class Outcome(enum.Enum):
    """How a search ended; the value is the sentence."""

    found = "A learning rate was found."
    no_learning = "No learning rate lowered the validation loss below that of the untouched parameters."
    all_diverged = "Every learning rate diverged."
    nothing_to_gain = "No learning rate lowers the validation loss enough to be worth a change."
    nothing_moved = "No learning rate moved the validation loss."
    lost_in_noise = "The best learning rate lowers the validation loss by no more than the losses scatter."


_OUTCOMES = tuple(Outcome)


class Window(NamedTuple):
    """The viable range of learning rates and the smoothed curve it was read from.

    Attributes:
      min_lr: the knee, where the loss begins to fall. nan unless an lr was found.
      max_lr: the minimum of the smoothed curve.
      log10_lr: the cells, integer multiples of 0.025 decade (the trials themselves for the literal estimator).
      loss: normalised smoothed loss: 1 on the plateau, 0 at max_lr. nan beyond the highest trial.
      slope: its derivative, per decade.
      curvature: curvature of its graph, per decade.
      best_lr: the trial with the lowest loss.
      effect: by how much the best trial lowers the loss, in its units.
      outcome_index: position in `Outcome`, an integer so that it crosses jit.
      narrow: the smoothed curve has no basin of its own: min_lr = max_lr = best_lr.
      has_plateau: the curve reaches 0.97 on the low side.
    """

    min_lr: Float[np.ndarray, ""]
    max_lr: Float[np.ndarray, ""]
    log10_lr: Float[np.ndarray, " cells"]
    loss: Float[np.ndarray, " cells"]
    slope: Float[np.ndarray, " cells"]
    curvature: Float[np.ndarray, " cells"]
    best_lr: Float[np.ndarray, ""]
    effect: Float[np.ndarray, ""]
    outcome_index: Int[np.ndarray, ""]
    narrow: Bool[np.ndarray, ""]
    has_plateau: Bool[np.ndarray, ""]

    __repr__ = line_repr

    @property
    def outcome(self) -> Outcome:
        """How the search ended (concrete values only)."""
        return _OUTCOMES[int(self.outcome_index)]

    def _check(self) -> None:
        """Raise unless a window from a file can be shown."""
        index, effect = int(self.outcome_index), float(self.effect)
        require("outcome_index", 0 <= index < 3, "0, 1 or 2", index)
        cells, loss = np.asarray(self.log10_lr, np.float64), np.asarray(self.loss, np.float64)
        rise = cells.size > 0 and np.isfinite(cells).all() and (np.diff(cells) > 0).all()
        require("log10_lr", rise, "finite exponents that rise", cells.tolist())
        last = int(np.isfinite(loss).sum())
        require("loss", last and np.isfinite(loss[:last]).all(), "finite up to the highest trial", loss.tolist())
        if self.outcome is not Outcome.found:
            require("effect", not effect > 0, "nan or at most 0 where nothing was found", effect)
            return
        for name in ("min_lr", "max_lr", "best_lr"):
            lr = float(getattr(self, name))
            require(name, is_lr(lr), "a learning rate", lr)
        require("min_lr", self.min_lr <= self.max_lr, f"at most max_lr, {float(self.max_lr):g}", float(self.min_lr))
        require("effect", 0 < effect < 1e150, "finite and above 0 where a learning rate was found", effect)

    @property
    def decades(self) -> float:
        """The width of the window, in decades (concrete values only)."""
        return float(np.log10(self.max_lr) - np.log10(self.min_lr))
