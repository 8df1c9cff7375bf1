"""The classic range test as it runs: one model, trained while the learning rate rises."""

from collections.abc import Iterator
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from .. import range_rules
from .._checks import check_choice, check_count, check_key, check_number
from .._engine import (
    Task,
    TrialState,
    check_factory,
    check_task,
    evaluate_on_host,
    follow_on_host,
    prepare,
    why_no_update,
)
from .._failure import interruptible
from .._lrs import check_lr_range
from .._settings import on_host
from .._types import Float, Int, Key, OptimizerFactory
from ._check_search import check_constant
from ._range_test import RangeTest


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
        carried through all steps, as when a scheduler raises the lr. One that changes lr with the step is refused.
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
    check_constant("range_test", task, make_optimizer)
    experiment = prepare("range_test", task, make_optimizer, key=key, horizons=(num_steps,), num_seeds=1)
    experiment = experiment.keep_shardings()
    if eval_every is not None:
        for batches in range(eval_every, num_steps + 1, eval_every):
            experiment.accumulation.check("range_test(eval_every=...)", batches)
    done = experiment.accumulation.done(num_steps)
    lrs = _ramp(low, high, int(done[-1]), mode)
    ramp = (jnp.asarray(lrs[update], experiment.dtype) for update in done[:-1])
    data, spec, stopped, state = experiment.seeds[0], experiment.spec, None, None
    losses, metrics, steps = [], [], []  # of the updates until now; of evaluations, after which of them

    def result(stopped: str | None, moved: bool = True) -> RangeTest:
        measured = metrics[: len(steps)]
        names = measured[0] if measured else ()
        return RangeTest(
            lrs=lrs[: len(losses)],
            losses=np.asarray(losses),
            smoothed=range_rules.debiased_ema(losses, smoothing),
            metrics={name: np.array([one[name] for one in measured], float) for name in names},
            metric_steps=np.asarray(steps, np.int64),
            smoothing=smoothing,
            num_steps=len(lrs),
            mode=cast(Literal["exponential", "linear"], mode),
            stopped=stopped,
            moved=moved,
        )

    def so_far() -> tuple[RangeTest | None, str]:
        count = len(losses)
        stopped = f"It was interrupted after step {count - 1}."
        return (result(stopped), f"{count} steps were done.") if count else (None, "no step was done.")

    with interruptible("range test", so_far):
        for loss, batches, state in _updates(follow_on_host(spec, ramp, data), done):
            losses.append(loss)
            stopped = _why_stop(np.asarray(losses), smoothing, stop_factor)
            if stopped is not None:
                break
            if eval_every is not None and batches % eval_every == 0:
                metrics.append(jax.device_get(evaluate_on_host(spec, state, data, experiment.evaluation)))
                steps.append(len(losses) - 1)
    assert state is not None
    pairs = zip(jax.tree.leaves(data.params), jax.tree.leaves(state.params), strict=True)
    if all(np.array_equal(before, after) for before, after in pairs):
        return result(" ".join(why_no_update(spec, data, experiment.evaluation)), moved=False)
    return result(stopped)


def _updates(batches: Iterator[tuple[Any, TrialState]], done: Int[np.ndarray, " batches"]) -> Iterator[tuple]:
    """Of every update the mean loss of its batches, the batches until then and the state; `done` counts updates."""
    held = []
    for index, (loss, state) in enumerate(batches):
        held.append(float(loss))
        if done[index + 1] > done[index] or not np.isfinite(held[-1]):
            yield float(np.mean(held)), index + 1, state
            held = []


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
