"""What is probably wrong with a schedule: for ours and for any other callable."""

import dataclasses
import enum

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Float, Int, Schedule, StepCount
from ._bind import cores_in
from ._evaluate import UNTRACEABLE, evaluate, is_ours, known_steps, sample_steps
from ._phases import Phase, leaps, phases_of, tolerance_of

EARLY, LATE = 0.9, 10
"""A decay should be going on at 90 % of the training; and what happens up to 10 times its length tells its intent."""

MAX_EAGER = 64
"""At most so many steps are computed with and without jit."""


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


@dataclasses.dataclass(frozen=True, kw_only=True)
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
    total = known_steps("validate(total_steps)", total_steps)
    steps = sample_steps(total)
    values = evaluate("validate(schedule)", schedule, steps)
    phases = phases_of(steps, values, total)
    problems = _bad_values(steps, values)
    if not any(problem.name is ProblemName.not_finite for problem in problems):
        problems += [*_course(schedule, values, phases, total), *_jumps(schedule, steps, values)]
    problems += _under_jit(schedule, values, phases, total)
    return tuple(sorted(problems, key=lambda problem: problem.step))


def _bad_values(steps: Int[np.ndarray, " steps"], values: Float[np.ndarray, " steps"]) -> list[Problem]:
    found = []
    for name, wrong, advice in (
        (ProblemName.not_finite, ~np.isfinite(values), "It would destroy the parameters."),
        (
            ProblemName.negative,
            values < -tolerance_of(values),
            "It would climb the loss. Use lrjax.schedules.clip(..., min_value=0.0).",
        ),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            found.append(
                Problem(
                    name=name,
                    step=int(steps[first]),
                    message=f"The learning rate is {values[first]:g} at step {steps[first]:,}. {advice}",
                )
            )
    return found


def _course(schedule: Schedule, values: Float[np.ndarray, " steps"], phases: list[Phase], total: int) -> list[Problem]:
    tolerance, peak, lowest = tolerance_of(values), float(values.max()), float(values.min())
    if peak == lowest == 0:
        return [Problem(name=ProblemName.always_zero, step=0, message="The learning rate is 0 at every step.")]
    found = []
    if values[0] == 0:
        message = (
            "The learning rate is 0 at step 0, so the first update does nothing. Warm up from above 0, or write "
            "lrjax.schedules.warmup(..., skip_zero=True)."
        )
        found.append(Problem(name=ProblemName.zero_first, step=0, message=message))
    later = _later(schedule, total)
    rising = len(values) > 1 and values[-1] - values[-2] > 0
    if rising and len(later) and later.max() > peak + tolerance and peak == values[-1]:
        message = (
            f"The learning rate still rises at the last step, {total - 1:,}: it is {peak:.4g} there and would reach "
            f"{later.max():.4g} later. Is the warmup longer than the training?"
        )
        found.append(Problem(name=ProblemName.peak_not_reached, step=total - 1, message=message))
    last, fallen = phases[-1], len(phases) > 1 and phases[-2].kind == "falling"
    stays = last.kind == "constant" and np.all(np.abs(later - lowest) <= tolerance)
    if fallen and stays and last.start_value <= lowest + tolerance < peak and last.start < EARLY * total:
        message = (
            f"The learning rate stays at its lowest, {lowest:.4g}, from step {last.start:,} on "
            f"({100 * last.start / total:.3g} % of the training). Was the length given in epochs or micro-batches?"
        )
        found.append(Problem(name=ProblemName.decay_ends_early, step=last.start, message=message))
    falling = len(values) > 1 and values[-1] < values[-2]
    slope = values[-2] - values[-1] if len(values) > 1 else 0.0  # the last step to 0 would follow by itself
    if falling and len(later) and values[-1] - later.min() > max(0.1 * peak, 1.5 * slope):
        message = (
            f"The decay is not over at the end: it is {values[-1]:.4g} at the last step, {total - 1:,}, and would fall "
            f"to {later.min():.4g} later. Was the length given for a longer training?"
        )
        found.append(Problem(name=ProblemName.decay_does_not_end, step=total - 1, message=message))
    return found


def _later(schedule: Schedule, total: int) -> Float[np.ndarray, " steps"]:
    """Finite values after the end; none of a table that ends there."""
    steps = np.unique(np.linspace(total, min(LATE * total, 2**31 - 1), 2000).astype(np.int64))
    try:
        values = evaluate("validate(schedule)", schedule, steps)
    except (IndexError, KeyError):
        return np.zeros(0)
    return values[np.isfinite(values)]


def _jumps(schedule: Schedule, steps: Int[np.ndarray, " steps"], values: Float[np.ndarray, " steps"]) -> list[Problem]:
    """Leaps of more than a tenth of the peak, unless the schedule is of a kind that leaps, or looks like stairs."""
    if any(core and core.jumps for core in cores_in(schedule)):
        return []
    leap = leaps(values) & (np.abs(np.diff(values)) > 0.1 * values.max())
    if not is_ours(schedule):  # ours are known for what they are
        leap &= ~_stairs(values)
    leap[:1] = False  # a warmup of one step
    found = []
    for index in np.flatnonzero(leap)[:5]:
        message = (
            f"The learning rate leaps from {values[index]:.4g} at step {steps[index]:,} to {values[index + 1]:.4g} at "
            f"step {steps[index + 1]:,}. Do the two parts of a join meet?"
        )
        found.append(Problem(name=ProblemName.jump, step=int(steps[index + 1]), message=message))
    return found


def _stairs(values: Float[np.ndarray, " steps"]) -> np.ndarray:
    """Between which steps the values go from one constant part to another; one fewer than steps."""
    flat = np.abs(np.diff(values)) <= tolerance_of(values)
    return np.r_[True, flat[:-1]] & np.r_[flat[1:], True]


def _under_jit(
    schedule: Schedule, values: Float[np.ndarray, " steps"], phases: list[Phase], total: int
) -> list[Problem]:
    """The steps around changes of direction and leaps, and some others, with and without jit, as one scalar each."""
    if is_ours(schedule):  # the contract of ours, tested at every edge of every length
        return []
    places = [phase.start for phase in phases][:16]
    near = {place + offset for place in [*places, total - 1] for offset in (-1, 0, 1)}
    chosen = sorted(step for step in near if 0 <= step < total)[:MAX_EAGER]
    compiled = jax.jit(lambda step: jnp.asarray(schedule(step)))
    tolerance = tolerance_of(values)
    for step in chosen:
        count = jnp.int32(step)
        try:
            eager, jitted = float(schedule(count)), float(compiled(count))
        except UNTRACEABLE as error:
            message = (
                f"It cannot be traced, so a jitted training step cannot call it ({type(error).__name__}). "
                "Use jnp.where instead of `if`, and jnp instead of math and NumPy."
            )
            return [Problem(name=ProblemName.not_traceable, step=step, message=message)]
        if abs(eager - jitted) > tolerance or np.isnan(eager) != np.isnan(jitted):
            digits = 6 if f"{eager:.6g}" != f"{jitted:.6g}" else 9
            message = (
                f"At step {step:,} the learning rate is {eager:.{digits}g}, but {jitted:.{digits}g} under jax.jit. "
                "XLA computes t / T as t * (1 / T): stairs must be counted in integers."
            )
            return [Problem(name=ProblemName.jit_differs, step=step, message=message)]
    return []
