"""The classic range test: one model, trained while the learning rate rises."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from .. import range_rules
from .._checks import (
    Mode,
    check_choice,
    check_count,
    check_key,
    check_mode,
    check_number,
    check_signature,
    check_type,
    name_of,
    show,
)
from .._decode import require
from .._engine import Task, check_factory, check_task, evaluate_on_host, follow_on_host, prepare, why_no_update
from .._failure import interruptible
from .._json import JsonResult
from .._lrs import check_lr_range, is_lr
from .._repr import line_repr
from .._settings import on_host, without_alarms
from .._types import Float, Int, Key, OptimizerFactory
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
        for name in _RULES:
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

    @without_alarms()
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


_RULES = (
    "steepest_log",
    "fastai_valley",
    "fastai_slide",
    "fastai_minimum",
    "fastai_steep",
    "lightning",
    "lightning_index",
    "torch_lr_finder",
    "ignite",
)


def _is_fastai(rule: Callable[..., Suggestion]) -> bool:
    return getattr(rule, "__name__", "").startswith("fastai_") and hasattr(range_rules, rule.__name__)


@on_host
def range_test(
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    num_steps: int = 100,
    mode: str = "exponential",
    smoothing: float = 0.98,
    stop_factor: float | None = 4.0,
    eval_every: int | None = None,
) -> RangeTest:
    """Train one model while the learning rate rises from min_lr to max_lr.

    At update t of N the learning rate is min_lr * (max_lr / min_lr) ** (t / (N - 1)), or linear likewise; both ends
    are reached. The test stops at a loss that is not finite, and where the smoothed loss has risen above the first
    one by `stop_factor` times the reduction reached so far (or the losses' own scatter, if that is larger): a test
    that neither a constant added to the loss nor its sign changes.

    Args:
      task: what is trained; its first seed.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, called with each step's traced lr. One state is
        carried through all steps, as when a scheduler raises the lr.
      key: PRNG key.
      min_lr, max_lr: the ends of the ramp, > 0.
      num_steps: training batches of the ramp, >= 2: updates, or k for each where gradients are accumulated
        (`optax.MultiSteps(..., k)`), over which the learning rate stays the same.
      mode: "exponential" or "linear".
      smoothing: weight of the past in the moving average, in [0, 1).
      stop_factor: see above; None goes on to the end.
      eval_every: batches between evaluations of the task's metrics; None: none.

    Returns:
      The history, with `suggest(rule)`, `suggestions()`, `bounds(metric)` and `plot()`.

    Raises:
      TypeError, ValueError: bad arguments; the message says what was wrong.
      SearchInterrupted: Ctrl-C; `.result` is the history until then, None before the first step.

    Source: Smith 2017, Cyclical Learning Rates for Training Neural Networks, section 3.3.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> test = lrjax.range_test(digits(), optax.adam, key=jax.random.key(0))
      >>> 1e-4 < test.suggest(lrjax.range_rules.steepest_log).lr < 1.0
      True
    """
    check_task("range_test(task=...)", task)
    check_factory("range_test(make_optimizer=...)", make_optimizer)
    key = check_key("range_test(key=...)", key)
    low, high = check_lr_range("range_test", min_lr, max_lr)
    num_steps = check_count("range_test(num_steps=...)", num_steps, minimum=2, unit="optimizer updates")
    mode = check_choice("range_test(mode=...)", mode, ("exponential", "linear"))
    weight = "a weight in [0, 1)"
    smoothing = check_number("range_test(smoothing=...)", smoothing, rule=weight, accept=lambda x: 0 <= x < 1)
    if stop_factor is not None:
        factor = "a factor > 0, or None to go on to the end"
        check_number("range_test(stop_factor=...)", stop_factor, rule=factor, accept=lambda x: x > 0)
    if eval_every is not None:
        eval_every = check_count("range_test(eval_every=...)", eval_every, unit="optimizer updates")
    experiment = prepare("range_test", task, make_optimizer, key=key, horizons=(num_steps,), num_seeds=1)
    experiment = experiment.keep_shardings()
    done = experiment.accumulation.done(num_steps)
    lrs = _ramp(low, high, int(done[-1]), mode)
    if eval_every is not None:
        for batches in range(eval_every, num_steps + 1, eval_every):
            experiment.accumulation.check("range_test(eval_every=...)", batches)
    data, metrics, metric_steps, stopped = experiment.seeds[0], [], [], None
    losses: list[float] = []  # one for each update, the mean over its batches
    held: list[float] = []
    ramp = (jnp.asarray(lrs[update], experiment.dtype) for update in done[:-1])

    def history(stopped: str | None, moved: bool) -> RangeTest:
        names = metrics[0] if metrics else ()
        return RangeTest(
            lrs=lrs[: len(losses)],
            losses=np.asarray(losses),
            smoothed=range_rules.debiased_ema(losses, smoothing),
            metrics={name: np.asarray([values[name] for values in metrics], np.float64) for name in names},
            metric_steps=np.asarray(metric_steps, np.int64),
            smoothing=smoothing,
            num_steps=len(lrs),
            mode=cast(Literal["exponential", "linear"], mode),
            stopped=stopped,
            moved=moved,
        )

    def so_far() -> tuple[RangeTest | None, str]:
        if not losses:
            return None, "no step was done."
        del metrics[len(metric_steps) :]
        return history(f"It was interrupted after step {len(losses) - 1}.", True), f"{len(losses)} steps were done."

    with interruptible("range test", so_far):
        for batch, (loss, state) in enumerate(follow_on_host(experiment.spec, ramp, data)):
            held.append(float(loss))
            if done[batch + 1] == done[batch] and np.isfinite(held[-1]):
                continue
            losses.append(float(np.mean(held)))
            held = []
            stopped = _why_stop(np.asarray(losses), smoothing, stop_factor)
            if stopped is not None:
                break
            if eval_every is not None and (batch + 1) % eval_every == 0:
                metrics.append(jax.device_get(evaluate_on_host(experiment.spec, state, data, experiment.evaluation)))
                metric_steps.append(len(losses) - 1)
    pairs = zip(jax.tree.leaves(data.params), jax.tree.leaves(state.params), strict=True)
    moved = not all(np.array_equal(before, after) for before, after in pairs)
    if not moved:
        stopped = " ".join(why_no_update(experiment.spec, data, experiment.evaluation))
    return history(stopped, moved)


def _ramp(low: float, high: float, updates: int, mode: str) -> Float[np.ndarray, " updates"]:
    """The learning rate of every update."""
    if updates < 2:
        raise ValueError(
            f"`range_test(num_steps=...)` must make at least 2 updates, one at each end of the ramp, got {updates}. "
            "The optimizer accumulates gradients: give more batches."
        )
    share = np.arange(updates) / (updates - 1)
    lrs = low * (high / low) ** share if mode == "exponential" else low + share * (high - low)
    lrs[-1] = high
    return lrs


def _why_stop(losses: Float[np.ndarray, " steps"], smoothing: float, factor: float | None) -> str | None:
    """The reason to stop after these losses, or None."""
    if not np.isfinite(losses[-1]):
        return f"The loss was {losses[-1]} at step {len(losses) - 1}."
    if factor is None or len(losses) < 5:
        return None
    smoothed = range_rules.debiased_ema(losses, smoothing)
    scatter = np.median(np.abs(np.diff(losses)))
    gained = max(smoothed[0] - smoothed.min(), scatter)
    if smoothed[-1] > smoothed[0] + factor * gained > smoothed[0]:
        return f"The smoothed loss rose to {smoothed[-1]:.4g} at step {len(losses) - 1}, from {smoothed[0]:.4g}."
    return None
