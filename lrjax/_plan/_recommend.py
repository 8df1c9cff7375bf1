"""Which schedule, and how high, for a result of a search."""

import dataclasses
import functools
from typing import Any

from .._html import block, preformatted, sentence
from .._settings import on_host
from .._types import Schedule, StepCount
from ..schedules import _known_steps as known_steps
from ..schedules import _plot_schedules as plot_schedules
from ..schedules import one_cycle, warmup_cosine
from ._peak import LONG_TRIAL, area_factor, lr_of, lr_of_max_lr, multipliers, search_of, trial_steps_of

WARMUP = 10
"""One part in so many of the training is warmup, before a cosine."""

LONGEST, FAR = 2000, 20
"""Updates of a training, and its length in trials of 100 updates, up to which the peak by max_lr was measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommendation:
    """A schedule for a found learning rate.

    Attributes:
      schedule: made by `lrjax.schedules`, for `optax.adamw(recommendation.schedule)` and the like.
      peak: its highest lr, rounded to three digits.
      code: the Python expression that makes it.
      reason: why this schedule and this peak, in sentences.
      train_steps: optimizer updates of the training that it is for.
      anchor: what the peak was computed from, "lr" or "max_lr"; see `lrjax.peak_for`.
    """

    schedule: Schedule
    peak: float
    code: str
    reason: str
    train_steps: int
    anchor: str

    def summary(self) -> str:
        """The code and the reason."""
        return f"{self.code}\n{self.reason}"

    def _repr_html_(self) -> str:
        said = preformatted(self.code) + sentence(self.reason)
        return block(said, lambda: plot_schedules(self.schedule, self.train_steps), self.code)

    def __repr__(self) -> str:
        return f"Recommendation({self.code}, anchor={self.anchor})"


@on_host
def recommend(result_or_lr: Any, train_steps: StepCount) -> Recommendation:
    """The schedule that we would use.

    - If the search warned of anything, or there is only a number, so that no doubts are known: 1cycle.
    - If nothing warned: 10 % of warmup, then half a cosine to 0.

    The peak is that of `lrjax.peak_for`: by the window's upper end if its trials had 100 updates or more, else by the
    learning rate. Which of the usual schedules it is matters less than the peak (docs/benchmark.md); that the warnings
    tell for which task which schedule is better was not tested.

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
    anchor, how = "lr", f"The peak is {factor:.3g} times the learning rate, by the area under the schedule."
    if (search := search_of(result_or_lr)) is not None:
        if (steps := trial_steps_of(search)) < LONG_TRIAL:
            how += f" A search of {LONG_TRIAL} updates instead of {steps} would tell it better."
        else:
            anchor, lr = "max_lr", lr_of_max_lr(search, total)
            how = _by_max_lr(search, factor * lr, total)
    peak = float(f"{factor * lr:.3g}")
    return Recommendation(
        schedule=make(peak),
        peak=peak,
        code=code_of(make, peak),
        reason=f"{why} {how}",
        train_steps=total,
        anchor=anchor,
    )


def code_of(make: functools.partial[Schedule], peak: float) -> str:
    """The Python expression of a schedule with a peak of three digits."""
    options = "".join(f", {name}={value}" for name, value in make.keywords.items())
    return f"lrjax.schedules.{make.func.__name__}({peak:.3g}{options})"


def _doubts(result: Any) -> list[str] | None:
    """The names of the warnings, those of a search inside it too; None if the result has none to read."""
    warnings = getattr(result, "warnings", None)
    if not isinstance(warnings, tuple):
        return None
    inside = getattr(getattr(result, "finder", None), "warnings", ())
    names = [str(warning.name) for warning in (*warnings, *inside)]
    return list(dict.fromkeys(names))


def _by_max_lr(search: Any, peak: float, total: int) -> str:
    max_lr, steps = float(search.window.max_lr), trial_steps_of(search)
    text = f"The peak is {peak / max_lr:.2g} times max_lr, which is {max_lr:.2g} after {steps} updates."
    if total <= max(LONGEST, FAR * steps):
        return text
    return (
        f"{text} That factor was not measured for trainings {total / steps:.0f} times as long as a trial: search again "
        f"with num_steps={-(-total // FAR)}."
    )
