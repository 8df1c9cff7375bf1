"""What a search returns: the learning rate, the evidence, the doubts and the cost."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._curve import LossCurve, LRWarning, Outcome, WarningName, Window
from .._decode import require, require_counts
from .._engine import Execution, show_bytes
from .._failure import LRNotFound
from .._html import Shown
from .._json import JsonResult
from .._settings import without_alarms

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class LRFinderResult(JsonResult, Shown):
    """The outcome of a search for a learning rate.

    Attributes:
      lr: the chosen learning rate; nan unless `outcome` is `found`.
      interval: lowest and highest pick of the rule on each seed's curve alone; None with one seed.
      rule: name of the rule that chose it.
      window: the viable range, `window.min_lr` to `window.max_lr`, and the smoothed curve.
      selections: the picks of the paper's three methods, by name.
      horizon_lrs: number of updates -> what the rule picks on the curve at that horizon: the drift of the optimum.
      curve: losses of every learning rate tried.
      warnings: doubts, the most serious first.
      outcome: `found`, `nothing_moved`, `no_learning`, `lost_in_noise` or `all_diverged`.
      num_trials: learning rates tried.
      num_updates: optimizer updates, over all learning rates and seeds, padding not counted.
      seconds: wall time of the search, compilation included.
      execution: how the trials were run, and what did not go as asked.
      fingerprint: versions, shapes, key and backend: what to compare when two results differ.
    """

    _FORMAT = "lrjax.LRFinderResult"

    lr: float
    interval: tuple[float, float] | None
    rule: str
    window: Window
    selections: Mapping[str, float]
    horizon_lrs: Mapping[int, float]
    curve: LossCurve
    warnings: tuple[LRWarning, ...]
    outcome: Outcome
    num_trials: int
    num_updates: int
    seconds: float
    execution: Execution
    fingerprint: Mapping[str, Any]

    @without_alarms()
    def summary(self) -> str:
        """The result, its reason and its doubts, in sentences."""
        return "\n".join([*self._reason(), *(f"Warning, {warning}" for warning in self.warnings), self._cost()])

    def _reason(self) -> list[str]:
        tried = (
            f"{self.num_trials} learning rates from {float(self.curve.lrs[0]):.1e} to "
            f"{float(self.curve.lrs[-1]):.1e}, {self._steps()} updates each, {_seeds(self.curve.final.shape[0])}"
        )
        if self.outcome is not Outcome.found:
            return [self.outcome.value, f"Tried: {tried}."]
        low, high = float(self.window.min_lr), float(self.window.max_lr)
        initial = float(np.mean(np.asarray(self.curve.initial_loss)))
        best = initial - float(self.window.effect)
        lines = [
            f"Learning rate {self.lr:.2e} ({self.rule}: {_REASONS.get(self.rule, 'a rule of your own')}).",
            f"Between {low:.1e}, where the validation loss begins to fall, and {high:.1e}, where it is lowest, "
            f"training works; the best trial took the loss from {initial:.4g} to {best:.4g}.",
            f"Tried: {tried}.",
        ]
        if self.interval is not None:
            lines.append(f"Seed by seed the pick lies between {self.interval[0]:.1e} and {self.interval[1]:.1e}.")
        if len(self.horizon_lrs) > 1:
            drift = ", ".join(f"{lr:.1e} after {steps}" for steps, lr in self.horizon_lrs.items())
            lines.append(f"The pick by number of updates: {drift}.")
        return lines

    def _steps(self) -> int:
        return int(self.curve.horizons[-1])

    def _cost(self) -> str:
        run = self.execution
        parts = [
            f"Cost: {self.num_updates} updates in {self.seconds:.1f} s ({run.compile_seconds:.1f} s of it compiling "
            f"the training program), executor {run.used}"
        ]
        if run.bytes:
            parts.append(f", {show_bytes(run.bytes)}")
        if run.devices > 1:
            parts.append(f" on each of {run.devices} devices")
        return "".join(parts) + "." + "".join(f" {note}" for note in run.notes)

    @without_alarms()
    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the curve, the window and the three methods; see `lrjax.plots.plot_finder`.

        Args:
          ax: axes to draw into; None makes a new figure, which is neither shown nor kept by pyplot.

        Returns:
          The axes; `ax.figure.savefig(path)` writes the picture.
        """
        from ._picture import plot_finder

        return plot_finder(self, ax=ax)

    def _check(self) -> None:
        named = self.window.outcome
        agrees = self.outcome is named or (self.outcome, named) in _SAID_OTHERWISE
        require("outcome", agrees, f"{named.name}, as the window has it", self.outcome.name)
        found = self.outcome is Outcome.found
        require("lr", found == (0 < self.lr < math.inf), "a learning rate" if found else "nan", self.lr)
        require("num_trials", self.num_trials == self.curve.num_trials, "that of the curve", self.num_trials)
        require_counts(self, "num_updates")

    @without_alarms()
    def __repr__(self) -> str:
        if self.outcome is not Outcome.found:
            return f"LRFinderResult(outcome={self.outcome.name}, num_trials={self.num_trials})"
        names = ", ".join(warning.name for warning in self.warnings)
        return (
            f"LRFinderResult(lr={self.lr:.3g}, min_lr={float(self.window.min_lr):.3g}, "
            f"max_lr={float(self.window.max_lr):.3g}, rule={self.rule}, warnings=[{names}])"
        )


_SAID_OTHERWISE = (
    (Outcome.nothing_moved, Outcome.no_learning),
    (Outcome.lost_in_noise, Outcome.found),
)
"""A search's outcome and its window's, where the search knows more."""

_REASONS = {
    "midpoint": "the middle of the window, in decades",
    "half_loss": "half of the reduction of the loss is reached",
    "steepest": "the loss falls fastest here",
    "lowest_loss": "the trial with the lowest loss",
    "smoothed_minimum": "the lowest loss, smoothed",
    "lowest_for": "the lowest loss, moved down to the training's length",
}


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def not_found(result: LRFinderResult) -> LRNotFound:
    """The error of a search that found nothing."""
    noisy = result.outcome is Outcome.lost_in_noise
    doubts = [one for one in result.warnings if one.name is WarningName.noisy or not noisy]
    return LRNotFound(f"{result.outcome.value} {doubts[0].remedy if doubts else ''}".strip(), result)
