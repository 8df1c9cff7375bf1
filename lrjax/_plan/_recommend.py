"""Which schedule, and how high, for a result of a search."""

import dataclasses
import functools
from typing import Any

from .._checks import attribute
from .._html import block, preformatted, sentence
from .._settings import on_host
from .._types import Schedule, StepCount
from ..schedules import _known_steps as known_steps
from ..schedules import _plot_schedules as plot_schedules
from ..schedules import one_cycle, warmup_cosine
from ._peak import area_factor, constant_lr, lr_of, multipliers

WARMUP = 10
"""One part in so many of the training is warmup, before a cosine."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommendation:
    """A schedule for a found learning rate.

    Attributes:
      schedule: made by `lrjax.schedules`, for `optax.adamw(recommendation.schedule)` and the like.
      peak: its highest lr, rounded to three digits.
      code: the Python expression that makes it.
      reason: why this schedule and this peak, in sentences.
      train_steps: optimizer updates of the training that it is for.
    """

    schedule: Schedule
    peak: float
    code: str
    reason: str
    train_steps: int

    def summary(self) -> str:
        """The code and the reason."""
        return f"{self.code}\n{self.reason}"

    def _repr_html_(self) -> str:
        said = preformatted(self.code) + sentence(self.reason)
        return block(said, lambda: plot_schedules(self.schedule, self.train_steps), self.code)

    def __repr__(self) -> str:
        return f"Recommendation({self.code})"


@on_host
def recommend(result_or_lr: Any, train_steps: StepCount) -> Recommendation:
    """The schedule that we would use.

    - If the search warned of anything, or there is only a number, so that no doubts are known: 1cycle.
    - If nothing warned: 10 % of warmup, then half a cosine to 0.

    The peak is that of `lrjax.peak_for`. Which of the usual schedules it is matters less than the peak
    (docs/benchmark.md); that the warnings tell for which task which schedule is better was not tested.

    With `optax.sgd`, 1cycle usually lowers the momentum while the learning rate is high:
    `lrjax.schedules.scheduled` with `lrjax.schedules.one_cycle_momentum(train_steps)`.

    Args:
      result_or_lr: a learning rate for constant training, > 0; or a result whose `lr` that is.
      train_steps: optimizer updates of the training, warmup included, >= 1.

    Returns:
      The recommendation: `schedule`, `peak`, `code`, `reason`, `summary()`.

    Raises:
      TypeError, ValueError: an argument is out of its range, or the result has found nothing.

    Examples:
      >>> import optax, lrjax
      >>> recommendation = lrjax.recommend(0.01, 2000)
      >>> recommendation.code
      'lrjax.schedules.one_cycle(0.0202, total_steps=2000)'
      >>> optimizer = optax.adamw(recommendation.schedule)
    """
    total = known_steps("recommend(train_steps)", train_steps)
    lr = lr_of("recommend(result_or_lr)", result_or_lr)
    names = _doubts(result_or_lr)
    if names is not None and not names:
        make = functools.partial(warmup_cosine, warmup_steps=total // WARMUP, total_steps=total)
        why = "Warmup and cosine, because no warning was given."
    else:
        make = functools.partial(one_cycle, total_steps=total)
        doubts = f"the search warned of {', '.join(names)}" if names else "what doubts there are is not known"
        why = f"1cycle, which too high a peak harms least of those that warm up, because {doubts}."
    factor = area_factor(multipliers("recommend(train_steps)", make(1.0), total))
    constant = constant_lr("recommend(result_or_lr)", result_or_lr, total)
    how = f"The peak is {factor:.3g} times the learning rate, by the area under the schedule."
    if constant != lr:
        how = f"For {total} updates the learning rate is {constant:.2g}, by the law of `lrjax.peak_for`. {how}"
    elif attribute(result_or_lr, "strategy") == "StepSampling" and attribute(result_or_lr, "start") is None:
        how += f" A search with train_steps={total} would tell it better."
    peak = float(f"{factor * constant:.3g}")
    return Recommendation(
        schedule=make(peak),
        peak=peak,
        code=code_of(make, peak),
        reason=f"{why} {how}",
        train_steps=total,
    )


def code_of(make: functools.partial[Schedule], peak: float) -> str:
    """The Python expression of a schedule with a peak of three digits."""
    options = "".join(f", {name}={value}" for name, value in make.keywords.items())
    return f"lrjax.schedules.{make.func.__name__}({peak:.3g}{options})"


def _doubts(result: Any) -> list[str] | None:
    """The names of the warnings; None if the result has none to read."""
    warnings = getattr(result, "warnings", None)
    return list(dict.fromkeys(str(one.name) for one in warnings)) if isinstance(warnings, tuple) else None
