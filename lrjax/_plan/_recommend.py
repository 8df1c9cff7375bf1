"""Which schedule, and how high, for a result of a search."""

import dataclasses
import functools
from typing import Any

from .._checks import attribute
from .._curve import SHORTEST_TRAINING
from .._html import block, preformatted, sentence
from .._settings import on_host
from .._types import Schedule, StepCount
from ..schedules import _known_steps as known_steps
from ..schedules import _plot_schedules as plot_schedules
from ..schedules import warmup_cosine, warmup_stable_decay
from ._peak import SHORT_TRAINING, constant_lr, lr_of, multipliers, peak_factor

WARMUP = 300
"""Updates of warmup before a cosine, a tenth of the training at most: as in the recorded trainings of GAIN."""

SHORT_GAIN = "4.2 ± 1.5 %"
"""Of the test loss, what falling to 0 over the last tenth gains, with standard error: 8 trainings of 60 to 400 updates
that chose nothing, of which 7 gained and one lost 0.9 ± 0.5 %; source: docs/benchmark.md."""

GAIN = "0.14 ± 0.01 nats"
"""What a cosine gains over a constant lr, at their best recorded peaks, with standard error: 5 pairs of language models
of 25,000 to 50,000 updates; source: docs/benchmark.md."""


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
    """The schedule that we would use, by what recorded trainings of that length gained.

    - Up to 2,000 updates: a constant learning rate that falls to 0 over the last tenth, and is higher by as much as
      that takes away: the learning rates of all updates add up to the same. A longer decay, or a warmup, lost as often
      as it gained.
    - In longer ones: warmup of a tenth, at most of 300 updates, then half a cosine to 0, at the peak of
      `lrjax.peak_for`. From 25,000 updates on this gained several times its error; between, nothing was recorded.

    `reason` has the expected gain with its standard error, and experiments/results/peaks.json every schedule.

    Args:
      result_or_lr: a learning rate for constant training, > 0; or a result whose `lr` that is.
      train_steps: optimizer updates of the training, warmup included, >= 1.

    Returns:
      The recommendation: `schedule`, `peak`, `code`, `reason`, `summary()`.

    Raises:
      TypeError, ValueError: an argument is out of its range, or the result has found nothing.

    Examples:
      >>> import optax, lrjax
      >>> print(lrjax.recommend(0.01, 600).code)
      lrjax.schedules.warmup_stable_decay(0.0105, warmup_steps=0, stable_steps=540, decay_steps=60, cooldown="linear")
      >>> recommendation = lrjax.recommend(0.001, 50_000)
      >>> recommendation.code
      'lrjax.schedules.warmup_cosine(0.00444, warmup_steps=300, total_steps=50000)'
      >>> optimizer = optax.adamw(recommendation.schedule)
    """
    total = known_steps("recommend(train_steps)", train_steps)
    lr = lr_of("recommend(result_or_lr)", result_or_lr)
    if total <= SHORT_TRAINING:
        last = max(1, total // 10)
        options = {"warmup_steps": 0, "stable_steps": total - last, "decay_steps": last, "cooldown": "linear"}
        make: functools.partial[Schedule] = functools.partial(warmup_stable_decay, **options)
        factor, by = total / (total - (last - 1) / 2), "so that the learning rates add up to the same"
        why = f"Constant, then to 0 over the last tenth: short trainings end {SHORT_GAIN} below a constant lr's loss."
        if last == 1:
            why = "Constant: a last tenth of fewer than two updates has none in which to fall."
    else:
        make = functools.partial(warmup_cosine, warmup_steps=min(total // 10, WARMUP), total_steps=total)
        factor = peak_factor(multipliers("recommend(train_steps)", make(1.0), total), total)
        by = "by `lrjax.peak_for`"
        why = f"Warmup and cosine: with it, language models of 25,000 to 50,000 updates end {GAIN} below a constant lr."
    level = constant_lr("recommend(result_or_lr)", result_or_lr, total)
    how = f" The peak is {factor:.3g} times the learning rate, {by}." if factor != 1 else ""
    if level != lr:
        how = f" For {total} updates the learning rate is {level:.2g}, by the law of `lrjax.peak_for`.{how}"
    elif (
        total >= SHORTEST_TRAINING
        and attribute(result_or_lr, "strategy") == "StepSampling"
        and attribute(result_or_lr, "start") is None
    ):
        how += f" A search with train_steps={total} would tell it better."
    peak = float(f"{factor * level:.3g}")
    return Recommendation(
        schedule=make(peak),
        peak=peak,
        code=code_of(make, peak),
        reason=why + how,
        train_steps=total,
    )


def code_of(make: functools.partial[Schedule], peak: float) -> str:
    """The Python expression of a schedule with a peak of three digits."""
    options = "".join(f", {name}={_literal(value)}" for name, value in make.keywords.items())
    return f"lrjax.schedules.{make.func.__name__}({peak:.3g}{options})"


def _literal(value: object) -> str:
    """In Python, words in double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
