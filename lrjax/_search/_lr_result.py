"""What a search returns: the learning rate, the evidence, the doubts and the cost."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .._checks import Mode
from .._curve import LossCurve, LRWarning, Outcome, Window
from .._decode import require, require_counts
from .._engine import Execution, show_bytes
from .._html import Shown
from .._json import JsonResult
from ._picture import plot_lr
from ._ranking import named
from ._stage import Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Cost(NamedTuple):
    """What a search took.

    Attributes:
      updates: optimizer updates, over all learning rates and seeds, padding not counted.
      trainings: the same as a multiple of the training that the learning rate is for; None if its length is not known.
      seconds: wall time, compilation included.
    """

    updates: int
    trainings: float | None
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LRResult(JsonResult, Shown):
    """The outcome of a search for a learning rate.

    Attributes:
      lr: the chosen learning rate; nan unless `outcome` is `found`.
      interval: lowest and highest learning rate that could have been chosen, by seeds and stages; None where there is
        only one.
      outcome: `found`, `nothing_moved`, `no_learning`, `lost_in_noise`, `nothing_to_gain` or `all_diverged`.
      strategy: name of the strategy's class.
      rule: name of what chose the learning rate: of the rule, or "lowest_smoothed", the trained one with the lowest
        smoothed loss.
      stages: what was trained, in its order, each with its curve and window.
      stage: index of the stage that `lr` was read from.
      selections: the picks of the paper's three methods on that stage, by name.
      drift: number of updates -> what would be chosen after them: the drift of the optimum.
      correction: decades by which `lr` lies below the best trained one, because the training is longer than a trial.
      reason: how the learning rate came about, in sentences.
      warnings: what makes the learning rate doubtful, the most serious first.
      metric: what was ranked; "loss", or a metric of the task's `eval_fn`, of which `curve.losses` are then the values.
      mode: which of its values are good; of "max" `curve.losses` are the negative values.
      train_steps: updates of the training that `lr` is for, if known.
      start: updates behind the checkpoint that the search started from; None without one.
      cost: what the search took.
      execution: how the trials were run, and what did not go as asked.
      fingerprint: versions, shapes, key and backend: what to compare when two results differ.
    """

    _FORMAT = "lrjax.LRResult"

    lr: float
    interval: tuple[float, float] | None
    outcome: Outcome
    strategy: str
    rule: str
    stages: tuple[Stage, ...]
    stage: int
    selections: Mapping[str, float]
    drift: Mapping[int, float]
    correction: float
    reason: tuple[str, ...]
    warnings: tuple[LRWarning, ...]
    metric: str
    mode: Mode
    train_steps: int | None
    start: int | None
    cost: Cost
    execution: Execution
    fingerprint: Mapping[str, Any]

    @property
    def curve(self) -> LossCurve:
        """The losses of the stage that the learning rate is from. From a checkpoint, its initial loss is that one's."""
        return self.stages[self.stage].curve

    @property
    def window(self) -> Window:
        """The viable range on that stage, `window.min_lr` to `window.max_lr`, and the smoothed curve."""
        return self.stages[self.stage].window

    @property
    def num_trials(self) -> int:
        """Learning rates tried."""
        return len({round(float(x), 6) for stage in self.stages for x in stage.log10_lrs})

    @property
    def gain(self) -> float:
        """The best trial's drop of the initial loss, relative to that, < 0 if none lowers it; nan if not positive."""
        stage = self.stages[self.stage]
        return float(stage.window.effect) / stage.initial + 0.0 if stage.initial > 0 else float("nan")  # no -0.0

    def in_terms(self, text: str) -> str:
        """Words about the loss as words about what was ranked: "-accuracy" where a high accuracy is good."""
        return named(text, self.metric, self.mode)

    def summary(self) -> str:
        """The result, how it came about, its doubts and its cost, in sentences."""
        return "\n".join([*self.reason, *(f"Warning, {warning}" for warning in self.warnings), self._cost_in_words()])

    def _cost_in_words(self) -> str:
        run, cost = self.execution, self.cost
        share = "" if cost.trainings is None else f", {cost.trainings:.2f} of the training,"
        memory = f", {show_bytes(run.bytes)}" if run.bytes else ""
        devices = f" on each of {run.devices} devices" if run.devices > 1 else ""
        return (
            f"Cost: {cost.updates} updates{share} in {cost.seconds:.1f} s ({run.compile_seconds:.1f} s of it compiling "
            f"the training program), executor {run.used}{memory}{devices}." + "".join(f" {note}" for note in run.notes)
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the curve, the window and what the methods pick, or every stage; see `lrjax.plots.plot_lr`.

        Args:
          ax: axes to draw into; None makes a new figure, which is neither shown nor kept by pyplot.

        Returns:
          The axes; `ax.figure.savefig(path)` writes the picture.
        """
        return plot_lr(self, ax=ax)

    def _check(self) -> None:
        count, found = len(self.stages), self.outcome is Outcome.found
        require("stage", 0 <= self.stage < count, f"the index of one of {count} stages", self.stage)
        named = self.window.outcome
        agrees = self.outcome is named or (self.outcome, named) in _SEARCH_KNOWS_MORE
        require("outcome", agrees, f"{named.name}, as the window has it", self.outcome.name)
        require("lr", found == (0 < self.lr < math.inf), "a learning rate" if found else "nan", self.lr)
        require("mode", (self.metric, self.mode) != ("loss", "max"), 'for "loss" "min"', self.mode)
        require("cost", self.cost.updates >= 0, "at least 0 updates", self.cost.updates)
        if self.train_steps is not None:
            require_counts(self, "train_steps", minimum=1)

    def __repr__(self) -> str:
        cost = f"{self.cost.updates} updates" if self.cost.trainings is None else f"{self.cost.trainings:.2f} trainings"
        if self.outcome is not Outcome.found:
            return f"LRResult(outcome={self.outcome.name}, num_trials={self.num_trials}, cost={cost})"
        names = ", ".join(warning.name for warning in self.warnings)
        return (
            f"LRResult(lr={self.lr:.3g}, min_lr={float(self.window.min_lr):.3g}, "
            f"max_lr={float(self.window.max_lr):.3g}, rule={self.rule}, cost={cost}, warnings=[{names}])"
        )


_SEARCH_KNOWS_MORE = (
    (Outcome.nothing_moved, Outcome.no_learning),
    (Outcome.nothing_moved, Outcome.found),
    (Outcome.lost_in_noise, Outcome.found),
    (Outcome.nothing_to_gain, Outcome.no_learning),
    (Outcome.nothing_to_gain, Outcome.found),
)
"""A search's outcome and its window's, where the search knows more."""
