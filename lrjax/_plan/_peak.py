"""From a learning rate for constant training to the peak of any schedule, by its area and a bound of its last loss."""

import math
from typing import Any, cast

import numpy as np

from .._checks import attribute, check_signature, name_of
from .._curve import DRIFT, Outcome, drift
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

SHORT_TRAINING = 2_000
"""Updates up to which the area alone decides: the longest training of docs/benchmark.md that it was fitted on."""

LONG_TRAINING = 15_000
"""Updates from which on the bound alone decides: the shortest recorded training that it was compared with."""

LONG_TRIAL = 100
"""Updates from which on a trial's minimum is no longer that of the first moments."""

MIDDLES = ("midpoint", "capped_midpoint")
"""Rules that read the middle of the window, whatever the length of the training."""


@on_host
def peak_for(result_or_lr: Any, schedule: Schedule, train_steps: StepCount) -> float:
    r"""The peak that a schedule wants, where $\ell$ is the learning rate that is good without one.

    With $m_t$ the schedule at step t of the T steps, divided by its highest value, $\bar m$ its mean over all steps,
    and $s_t = \sum_{k \ge t} m_k$ what is left of it,
    $$\text{peak} = \ell \cdot \bar m^{-0.65 (1 - \lambda)} \cdot (b_1 / b_m)^{\lambda}
    \cdot (1.3 \text{ if } m_0 < 0.5 \text{ else } 1), \quad
    b_m^2 = \sum_t m_t^2 + s_0 \sum_t \frac{m_t}{s_t^2} \sum_{k \ge t} m_k^2.$$
    Up to 2,000 updates $\lambda$ is 0 and the area decides; from 15,000 on it is 1, and the peak is the one for which
    the bound of the last iterate's loss is lowest, $b_1$ being that of a constant; between, $\lambda$ grows with
    log T. It runs nothing and reads nothing but the values, so it takes any schedule; its own height does not matter.
    In a short training the factor is 1.6 for a linear or cosine decay to 0, 1.5 for a warmup, stable, decay and 2.0 for
    1cycle or a warmup with cosine; in one of 50,000 updates 3.4 to 3.5, 2.6 and 4.2 to 4.4. docs/benchmark.md has what
    the rule gains, and experiments/results/peaks.json every schedule.

    $\ell$ is a number as it is given. Of a result it is what suits a training of `train_steps` updates: the best
    learning rate falls by 0.4 decades with every decade of updates (docs/benchmark.md), so that of a search for
    another `train_steps` is moved by that, and that of a search with trials of n >= 100 updates and no `train_steps` is
    the minimum of its curve, `window.max_lr`, moved from n. After shorter trials the minimum says little, and `lr` is
    taken.

    Args:
      result_or_lr: a learning rate for constant training, > 0; or a result of `lrjax.find_lr`.
      schedule: any Optax callable, of any height. A first value below half the highest is a low start, even if the
        warmup is one step.
      train_steps: optimizer updates of the training, warmup included, >= 1. Up to 200,000 every step is read, beyond
        evenly many, and the bound is that of 200,000.

    Returns:
      The highest lr of the schedule over the training. Build the schedule with it.

    Raises:
      TypeError, ValueError: an argument is out of its range, the result has found nothing, or a value of the schedule
        is negative, not finite, or all are 0.

    Source: ours; the bound: Defazio et al. 2023 (arXiv:2310.07831), Schaipp et al. 2025 (arXiv:2501.18965).

    Examples:
      >>> import lrjax
      >>> peak = lrjax.peak_for(0.01, lrjax.schedules.cosine_decay(1.0, 1000), 1000)
      >>> print(f"{peak:.4f}")
      0.0157
      >>> schedule = lrjax.schedules.cosine_decay(peak, 1000)
    """
    total = known_steps("peak_for(train_steps)", train_steps)
    lr = constant_lr("peak_for(result_or_lr)", result_or_lr, total)
    return lr * peak_factor(multipliers("peak_for(schedule)", schedule, total), total)


def peak_factor(m: Float[np.ndarray, " steps"], train_steps: int) -> float:
    """Peak over constant lr, of a schedule with these multipliers in a training of so many updates."""
    share = math.log(train_steps / SHORT_TRAINING) / math.log(LONG_TRAINING / SHORT_TRAINING)
    share = min(max(share, 0.0), 1.0)
    by_bound = _bound(np.ones(len(m))) / _bound(m) if share else 1.0
    warm = WARM_FACTOR if m[0] < LOW_START else 1.0
    return float(np.mean(m)) ** -(AREA_POWER * (1.0 - share)) * by_bound**share * warm


def _bound(m: Float[np.ndarray, " steps"]) -> float:
    """How fast the bound of the last iterate's loss grows with the peak; the best peak falls as this grows.

    A step's noise is divided by all that is left, its own step included, so that a last step of almost 0 does no harm.
    """
    left, squares = (np.cumsum(one[::-1])[::-1] for one in (m, m * m))
    counts = left > 0
    return math.sqrt(squares[0] + left[0] * float(np.sum((m * squares)[counts] / left[counts] ** 2)))


def constant_lr(where: str, result_or_lr: Any, train_steps: int) -> float:
    """The learning rate for constant training of so many updates, by what a result was read from."""
    lr, length = lr_of(where, result_or_lr), attribute(result_or_lr, "train_steps")
    if attribute(result_or_lr, "start") is not None:
        return lr
    if attribute(result_or_lr, "strategy") == "Budget" and length is not None:
        return lr * (length / train_steps) ** DRIFT
    if attribute(result_or_lr, "rule") in MIDDLES and (num_steps := int(result_or_lr.curve.horizons[-1])) >= LONG_TRIAL:
        return float(result_or_lr.window.max_lr) * 10.0 ** -drift(num_steps, train_steps)
    return lr


def multipliers(where: str, schedule: Schedule, train_steps: int) -> Float[np.ndarray, " steps"]:
    """The schedule over the training, every step or evenly many, divided by its highest value."""
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


def _nothing_found(where: str, result: Any) -> str:
    remedy = result.warnings[0].remedy if result.warnings else "Search again."
    return f"`{where}` must be a result that has found a learning rate, got {result!r}: {result.outcome.value} {remedy}"
