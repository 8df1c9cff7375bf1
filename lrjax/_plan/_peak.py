"""From a learning rate for constant training to the peak of any schedule, by the area under it."""

from typing import Any, cast

import numpy as np

from .._checks import attribute, check_choice, check_signature, name_of, show_with_type
from .._curve import Outcome, Window
from .._lrs import check_lr
from .._settings import on_host
from .._types import Float, Int, Schedule, StepCount
from ..schedules import _known_steps as known_steps
from ..schedules import _sample_steps as sample_steps
from ..schedules import _tolerance_of as tolerance_of
from ..schedules import _values_at as evaluate

AREA_POWER = 0.65
"""Between 1, which keeps the sum of the learning rates, and 0, which keeps the highest one."""

WARM_FACTOR = 1.3
"""How much higher a schedule that starts low may go."""

LOW_START = 0.5
"""Part of the peak below which a schedule starts low."""

LONG_TRIAL = 100
"""Updates from which on a trial's minimum is no longer that of the first moments."""


@on_host
def peak_for(result_or_lr: Any, schedule: Schedule, train_steps: StepCount, *, anchor: str = "lr") -> float:
    r"""The peak that a schedule wants, where $\ell$ is the learning rate that is good without one.

    With $m_t$ the schedule at step t of the training, divided by its highest value, and $\bar m$ its mean over all
    steps,
    $$\text{peak} = \ell \cdot \bar m^{-0.65} \cdot (1.3 \text{ if } m_0 < 0.5 \text{ else } 1).$$
    It runs nothing and reads nothing but the values, so it takes any schedule; its own height does not matter. The
    factor is 1.6 for a linear or cosine decay to 0, 1.5 for a warmup, stable, decay and 2.0 for 1cycle or a warmup with
    cosine: docs/benchmark.md has every schedule and what the rule gains.

    $\ell$ is the result's `lr`. With `anchor="max_lr"` it is read off the upper end of the window instead, which is
    better after trials of 100 updates or more: with T = `train_steps` and n updates of a trial,
    $$\ell = \text{max\_lr} \cdot \min\left(1,\; 2.5\,(n/T)^{0.5} \min(1, n/100)^{1/4}\right).$$
    At T = 1,000 this makes the peak of 1cycle 0.5 max_lr after 20 updates and 1.6 max_lr after 100. T above 2,000 is
    extrapolated: there take n of 5 to 10 % of T.

    Args:
      result_or_lr: a learning rate for constant training, > 0; or a result whose `lr` that is. If the search had a
        schedule in its factory, the lr is a peak already: use it as it is.
      schedule: any Optax callable, of any height. A first value below half the highest is a low start, even if the
        warmup is one step.
      train_steps: optimizer updates of the training, warmup included, >= 1. Up to 200,000 every step is read, beyond
        evenly many.
      anchor: "lr", or "max_lr" for a result with a window.

    Returns:
      The highest lr of the schedule over the training. Build the schedule with it.

    Raises:
      TypeError, ValueError: an argument is out of its range, the result has found nothing, or a value of the schedule
        is negative, not finite, or all are 0.

    Source: ours.

    Examples:
      >>> import lrjax
      >>> peak = lrjax.peak_for(0.01, lrjax.schedules.cosine_decay(1.0, 1000), 1000)
      >>> print(f"{peak:.4f}")
      0.0157
      >>> schedule = lrjax.schedules.cosine_decay(peak, 1000)
    """
    check_choice("peak_for(anchor=...)", anchor, ("lr", "max_lr"))
    total = known_steps("peak_for(train_steps)", train_steps)
    if anchor == "lr":
        lr = lr_of("peak_for(result_or_lr)", result_or_lr)
    else:
        lr = lr_of_max_lr(_with_window("peak_for(result_or_lr, anchor='max_lr')", result_or_lr), total)
    return lr * area_factor(multipliers("peak_for(schedule)", schedule, total))


def area_factor(m: Float[np.ndarray, " steps"]) -> float:
    """Peak over constant lr, of a schedule with these multipliers."""
    return float(np.mean(m)) ** -AREA_POWER * (WARM_FACTOR if m[0] < LOW_START else 1.0)


def lr_of_max_lr(search: Any, train_steps: int) -> float:
    """The learning rate for constant training that the upper end of a search's window stands for."""
    num_steps = trial_steps_of(search)
    drift = (num_steps / train_steps) ** 0.5
    return float(search.window.max_lr) * min(1.0, 2.5 * drift * min(1.0, num_steps / LONG_TRIAL) ** 0.25)


def trial_steps_of(search: Any) -> int:
    """Updates of a trial of the search."""
    return int(search.curve.horizons[-1])


def multipliers(where: str, schedule: Schedule, train_steps: int) -> Float[np.ndarray, " steps"]:
    """The schedule over the training, every step or evenly many, divided by its highest value.

    Raises:
      TypeError, ValueError: it is no schedule, or not a learning rate all along.
    """
    steps = sample_steps(train_steps)
    values = _evaluate(where, schedule, steps)
    for wrong, what, advice in (
        (~np.isfinite(values), "finite", "Look for a division by 0 or a logarithm of 0."),
        (values < -tolerance_of(values), "not negative", "Write lrjax.schedules.clip(..., min_value=0.0)."),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"`{where}` must be {what} at all {train_steps:,} steps, got {values[first]:g} at step "
                f"{int(steps[first]):,}. {advice}"
            )
    if values.max() <= 0:
        raise ValueError(
            f"`{where}` must be above 0 at some step, got 0 at all {train_steps:,} steps. "
            "Its height does not matter: make it with a peak of 1."
        )
    return np.maximum(values, 0.0) / values.max()


def _evaluate(where: str, schedule: Any, steps: Int[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
    """The schedule's values; an error if it is what makes a schedule."""
    signature = check_signature(where, schedule, "schedule(step) -> lr") if callable(schedule) else None
    if signature is None:
        try:
            return evaluate(where, cast(Schedule, schedule), steps)
        except TypeError:
            if not callable(schedule) or isinstance(schedule, type) or not callable(schedule(0)):
                raise
    raise TypeError(
        f"`{where}` must be `schedule(step) -> lr`, got `{name_of(schedule)}{signature or ''}`, which makes one. "
        "Call it: lrjax.schedules.cosine_decay(1.0, 1000)."
    )


def lr_of(where: str, result_or_lr: Any) -> float:
    """The learning rate, or that of a result."""
    if isinstance(attribute(result_or_lr, "outcome"), Outcome) and result_or_lr.outcome is not Outcome.found:
        raise ValueError(_nothing_found(where, result_or_lr))
    rule = "a learning rate, > 0 and finite, or a result that has found one"
    return check_lr(where, attribute(result_or_lr, "lr", result_or_lr), rule=rule)


def search_of(result: Any) -> Any:
    """The result, if it is a search whose window can be read: one over the whole range, from the start of training."""
    whole = attribute(result, "strategy", "StepSampling") == "StepSampling" and attribute(result, "start") is None
    return result if whole and isinstance(attribute(result, "window"), Window) else None


def _with_window(where: str, result: Any) -> Any:
    """The search whose window is read; an error if there is none, or it has found nothing."""
    search = search_of(result)
    if search is None:
        raise TypeError(
            f"`{where}` needs a result of lrjax.find_lr with lrjax.StepSampling, which has a window, got "
            f"{show_with_type(result)}. Give the result itself, not its lr."
        )
    if search.window.outcome is not Outcome.found:
        raise ValueError(_nothing_found(where, search))
    return search


def _nothing_found(where: str, result: Any) -> str:
    remedy = result.warnings[0].remedy if result.warnings else "Search again."
    return f"`{where}` must be a result that has found a learning rate, got {result!r}: {result.outcome.value} {remedy}"
