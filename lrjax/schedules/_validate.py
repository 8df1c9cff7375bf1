"""What is probably wrong with a schedule: for ours and for any other callable."""

import dataclasses
import enum
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import MAX_UPDATES
from .._types import Float, Int, Schedule, StepCount
from ._evaluate import UNTRACEABLE, evaluate, is_ours, known_steps, sample_steps
from ._phases import Phase, leaps, phases_of, tolerance_of
from ._schedule import cores_in

EARLY, LATE = 0.9, 10
"""A decay should be going on at 90 % of the training; and what happens up to 10 times its length tells its intent."""

MAX_JUMPS = 5
"""So many jumps are reported, the first ones."""


class ProblemName(enum.StrEnum):
    """What `validate` looks for."""

    not_finite = enum.auto()
    negative = enum.auto()
    zero_first = enum.auto()
    always_zero = enum.auto()
    peak_not_reached = enum.auto()
    decay_ends_early = enum.auto()
    decay_does_not_end = enum.auto()
    jump = enum.auto()
    not_traceable = enum.auto()
    jit_differs = enum.auto()


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is probably not meant.

    Attributes:
      name: which.
      step: where it was seen first.
      message: what it is, with numbers, and what to do.
    """

    name: ProblemName
    step: int
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def validate(schedule: Schedule, total_steps: StepCount) -> tuple[Problem, ...]:
    """Check a schedule against the length of a training.

    Looks for values that are not finite or negative; a learning rate of 0 at the first update; a peak that comes after
    the end; a decay that ends long before the end, or has far to go at the end; a jump where none is expected; and
    values that change under `jax.jit`.

    Args:
      schedule: any Optax callable, also one that is not of this package.
      total_steps: optimizer updates of the training, warmup included, >= 1.

    Returns:
      The problems, in the order of the steps at which they were seen; empty if there are none. A restart or a schedule
      that is meant to go on for ever may be reported: it is for you to judge.

    Raises:
      TypeError, ValueError: an argument is out of its range, or the schedule does not return one number.

    Examples:
      >>> import optax
      >>> from lrjax import schedules
      >>> schedules.validate(schedules.warmup_cosine(0.1, warmup_steps=10, total_steps=100, init_value=0.01), 100)
      ()
      >>> print(*schedules.validate(optax.cosine_decay_schedule(0.1, 400), 1000))
      decay_ends_early: The learning rate stays at its lowest, 0, from step 400 on (40 % of the training). ...
    """
    where = "validate(schedule)"
    total = known_steps("validate(total_steps)", total_steps)
    steps = sample_steps(total)
    values = evaluate(where, schedule, steps)
    phases = phases_of(steps, values, total)
    problems = list(_bad_values(steps, values))
    if np.isfinite(values).all():
        problems += [*_zeros(values), *_ends(values, phases, _later(where, schedule, total), total)]
        problems += _jumps(schedule, steps, values)
    if not is_ours(schedule):  # the contract of ours, tested at every edge of every length
        problems += _under_jit(schedule, tolerance_of(values), [phase.start for phase in phases], total)
    return tuple(sorted(problems, key=lambda problem: problem.step))


def _bad_values(steps: Int[np.ndarray, " steps"], values: Float[np.ndarray, " steps"]) -> Iterator[Problem]:
    below_0 = "It would climb the loss. Use lrjax.schedules.clip(..., min_value=0.0)."
    for name, wrong, advice in (
        (ProblemName.not_finite, ~np.isfinite(values), "It would destroy the parameters."),
        (ProblemName.negative, values < -tolerance_of(values), below_0),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            message = f"The learning rate is {values[first]:g} at step {steps[first]:,}. {advice}"
            yield Problem(name, int(steps[first]), message)


def _zeros(values: Float[np.ndarray, " steps"]) -> Iterator[Problem]:
    if not values.any():
        yield Problem(ProblemName.always_zero, 0, "The learning rate is 0 at every step.")
    elif values[0] == 0:
        message = (
            "The learning rate is 0 at step 0, so the first update does nothing. Warm up from above 0, or write "
            "lrjax.schedules.warmup(..., skip_zero=True)."
        )
        yield Problem(ProblemName.zero_first, 0, message)


def _ends(
    values: Float[np.ndarray, " steps"], phases: list[Phase], later: Float[np.ndarray, " later"], total: int
) -> Iterator[Problem]:
    """A course that goes on after the end of the training, or is over long before it."""
    tolerance, peak, lowest = tolerance_of(values), values.max(), values.min()
    if peak == lowest == 0:
        return
    change = values[-1] - values[-2] if len(values) > 1 else 0.0
    if change > 0 and len(later) and later.max() > peak + tolerance and peak == values[-1]:
        message = (
            f"The learning rate still rises at the last step, {total - 1:,}: it is {peak:.4g} there and would reach "
            f"{later.max():.4g} later. Is the warmup longer than the training?"
        )
        yield Problem(ProblemName.peak_not_reached, total - 1, message)
    last, fallen = phases[-1], len(phases) > 1 and phases[-2].kind == "falling"
    stays = last.kind == "constant" and np.all(np.abs(later - lowest) <= tolerance)
    if fallen and stays and last.start_value <= lowest + tolerance < peak and last.start < EARLY * total:
        message = (
            f"The learning rate stays at its lowest, {lowest:.4g}, from step {last.start:,} on "
            f"({100 * last.start / total:.3g} % of the training). Was the length given in epochs or micro-batches?"
        )
        yield Problem(ProblemName.decay_ends_early, last.start, message)
    # the last step to 0 would follow by itself
    if change < 0 and len(later) and values[-1] - later.min() > max(0.1 * peak, -1.5 * change):
        message = (
            f"The decay is not over at the end: it is {values[-1]:.4g} at the last step, {total - 1:,}, and would fall "
            f"to {later.min():.4g} later. Was the length given for a longer training?"
        )
        yield Problem(ProblemName.decay_does_not_end, total - 1, message)


def _later(where: str, schedule: Schedule, total: int) -> Float[np.ndarray, " later"]:
    """Finite values after the end; none of a table that ends there."""
    steps = np.unique(np.linspace(total, min(LATE * total, MAX_UPDATES), 2000).astype(np.int64))
    try:
        values = evaluate(where, schedule, steps)
    except (IndexError, KeyError):
        return np.zeros(0)
    return values[np.isfinite(values)]


def _jumps(
    schedule: Schedule, steps: Int[np.ndarray, " steps"], values: Float[np.ndarray, " steps"]
) -> Iterator[Problem]:
    """Leaps of more than a tenth of the peak, unless the schedule is of a kind that leaps, or looks like stairs."""
    if any(core and core.jumps for core in cores_in(schedule)):
        return
    change = np.abs(np.diff(values))
    leap = leaps(values) & (change > 0.1 * values.max())
    if not is_ours(schedule):  # ours are known for what they are
        flat = change <= tolerance_of(values)
        leap &= ~(np.r_[True, flat[:-1]] & np.r_[flat[1:], True])
    leap[:1] = False  # a warmup of one step
    for index in np.flatnonzero(leap)[:MAX_JUMPS]:
        message = (
            f"The learning rate leaps from {values[index]:.4g} at step {steps[index]:,} to {values[index + 1]:.4g} at "
            f"step {steps[index + 1]:,}. Do the two parts of a join meet?"
        )
        yield Problem(ProblemName.jump, int(steps[index + 1]), message)


def _under_jit(schedule: Schedule, tolerance: float, starts: list[int], total: int) -> Iterator[Problem]:
    """The steps around changes of direction and leaps, and the last ones, with and without jit, as one scalar each."""
    near = {place + offset for place in [*starts[:16], total - 1] for offset in (-1, 0, 1)}
    compiled = jax.jit(lambda step: jnp.asarray(schedule(step)))
    for step in sorted(step for step in near if 0 <= step < total):
        count = jnp.int32(step)
        try:
            eager, jitted = float(schedule(count)), float(compiled(count))
        except UNTRACEABLE as error:
            message = (
                f"It cannot be traced, so a jitted training step cannot call it ({type(error).__name__}). "
                "Use jnp.where instead of `if`, and jnp instead of math and NumPy."
            )
            yield Problem(ProblemName.not_traceable, step, message)
            return
        if abs(eager - jitted) > tolerance or np.isnan(eager) != np.isnan(jitted):
            digits = 6 if f"{eager:.6g}" != f"{jitted:.6g}" else 9
            message = (
                f"At step {step:,} the learning rate is {eager:.{digits}g}, but {jitted:.{digits}g} under jax.jit. "
                "XLA computes t / T as t * (1 / T): stairs must be counted in integers."
            )
            yield Problem(ProblemName.jit_differs, step, message)
            return
