"""The history of a classic range test, and what the rules say of it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import range_rules
from .._checks import (
    Mode,
    check_mode,
    check_signature,
    check_type,
    name_of,
    show,
)
from .._decode import require
from .._json import JsonResult
from .._lrs import is_lr
from .._repr import line_repr
from .._types import Float, Int
from ..range_rules import Suggestion
from ._range_test_picture import plot_range_test

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class RangeTest(JsonResult):
    """The history of one training with a rising learning rate.

    It confounds the learning rate with the step, the batch and everything before: `lrjax.find_lr` does not.

    Attributes:
      lrs: learning rate of every step, an optimizer update, that was done.
      losses: training loss on that step's batch (the mean over several that make one update), before the update; not
        finite where it diverged.
      smoothed: the losses after an exponential moving average, corrected for its start.
      metrics: name -> value after the steps `metric_steps`, on the evaluation batches.
      metric_steps: the steps, from 0, after which the metrics were measured.
      smoothing: weight of the past in the average.
      num_steps: steps planned; fewer were done if it stopped.
      mode: "exponential" or "linear".
      stopped: why it ended early or says nothing, in a sentence, or None.
      moved: whether any parameter changed; if none did, there is nothing to suggest.
    """

    _FORMAT = "lrjax.RangeTest"

    lrs: Float[np.ndarray, " steps"]
    losses: Float[np.ndarray, " steps"]
    smoothed: Float[np.ndarray, " steps"]
    metrics: Mapping[str, Float[np.ndarray, " measurements"]]
    metric_steps: Int[np.ndarray, " measurements"]
    smoothing: float
    num_steps: int
    mode: Literal["exponential", "linear"]
    stopped: str | None
    moved: bool = True

    __repr__ = line_repr

    def suggest(self, rule: Callable[..., Suggestion] = range_rules.steepest_log, **options: Any) -> Suggestion:
        """What one rule reads off the history that its own library would show it.

        Args:
          rule: a function of `lrjax.range_rules`, or your own `rule(lrs, losses) -> Suggestion`. The rules of
            fastai and Lightning see the smoothed losses, torch-lr-finder's its own average (0.05 of each new
            loss), the others the raw ones.
          **options: passed on to the rule.

        Returns:
          The suggestion: `.lr`, and `.index` into this history.

        Raises:
          ValueError: the rule finds nothing to choose, for example on a flat curve; the message says why.
        """
        wanted = "rule(lrs, losses) -> Suggestion"
        signature = check_signature("RangeTest.suggest(rule)", rule, wanted)
        if signature is not None:
            raise TypeError(f"`RangeTest.suggest(rule)` must be `{wanted}`, got `{name_of(rule)}{signature}`.")
        self._check_moved()
        known = getattr(rule, "func", rule)  # a partial of a peer's rule sees that peer's history
        planned = {"num_steps": self.num_steps} if _is_fastai(known) else {}
        options = planned | getattr(rule, "keywords", {}) | options
        return rule(self.lrs, self._history_for(known), **options)

    def suggestions(self) -> tuple[dict[str, float], dict[str, str]]:
        """Every rule's answer, or why it has none.

        Returns:
          rule -> learning rate, for the rules that gave an answer; rule -> why it gave none, for the others.
        """
        lrs, refusals = {}, {}
        for name in range_rules._RULES:
            try:
                lrs[name] = self.suggest(getattr(range_rules, name)).lr
            except ValueError as error:
                refusals[name] = str(error)
        return lrs, refusals

    def bounds(self, metric: str | None = None, *, mode: Mode | None = None, **options: Any) -> range_rules.SmithBounds:
        """Smith's bounds (base_lr, max_lr) for cyclical rates.

        Args:
          metric: a name in `metrics`, such as "accuracy"; None reads the smoothed training loss.
          mode: which of its values are good, "min" or "max"; losses are minimised, any other metric needs one.
          **options: of `lrjax.range_rules.smith_bounds`.

        Returns:
          Where the metric begins to improve and where it stops.

        Raises:
          ValueError: there is no such metric, it has no mode, or it never improves.
        """
        self._check_moved()
        if metric is None:
            mode = check_mode("RangeTest.bounds", "loss", mode)
            return range_rules.smith_bounds(self.lrs, self.smoothed, mode=mode, **options)
        check_type("RangeTest.bounds(metric)", metric, str, "a metric's name, or None for the training loss")
        if metric not in self.metrics:
            raise ValueError(
                f"`RangeTest.bounds(metric=...)` must be one of {sorted(self.metrics)}, got {show(metric)}. "
                "Metrics come from the task's eval_fn and are measured with range_test(eval_every=1)."
            )
        lrs, mode = self.lrs[self.metric_steps], check_mode("RangeTest.bounds", metric, mode)
        return range_rules.smith_bounds(lrs, self.metrics[metric], mode=mode, **options)

    def _check_moved(self) -> None:
        if not self.moved:
            raise ValueError(self.stopped)

    def _history_for(self, rule: Callable[..., Suggestion]) -> Float[np.ndarray, " steps"]:
        if rule is range_rules.torch_lr_finder:
            history, average = [], self.losses[0]
            for loss in self.losses:
                average = 0.05 * loss + 0.95 * average
                history.append(average)
            return np.asarray(history)
        peers = (range_rules.lightning, range_rules.lightning_index)
        return self.smoothed if rule in peers or _is_fastai(rule) else self.losses

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the raw and the smoothed losses; see `lrjax.plots.plot_range_test`."""
        return plot_range_test(self, ax=ax)

    def _check(self) -> None:
        done = len(self.lrs)
        rises = done and is_lr(self.lrs[0]) and is_lr(self.lrs[-1]) and (np.diff(self.lrs) > 0).all()
        require("lrs", rises, "learning rates that rise", self.lrs.tolist())
        require("num_steps", self.num_steps >= done, f"at least the {done} that were done", self.num_steps)
        require("smoothing", 0 <= self.smoothing < 1, "a weight in [0, 1)", self.smoothing)
        steps = self.metric_steps
        inside = not steps.size or (steps[0] >= 0 and steps[-1] < done and (np.diff(steps) > 0).all())
        require("metric_steps", inside, f"steps from 0 to {done - 1} that rise", steps.tolist())


def _is_fastai(rule: Callable[..., Suggestion]) -> bool:
    return getattr(rule, "__name__", "").startswith("fastai_") and hasattr(range_rules, rule.__name__)
