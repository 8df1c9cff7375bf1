"""Warmup before any schedule, and warmup with a cosine."""

import jax.numpy as jnp

from .._checks import check_choice, check_flag
from .._types import ScalarLike, Schedule, StepCount
from . import _arguments as check
from ._bind import bind, schedule_core
from ._shapes import along, geometric, progress


@schedule_core
def _warmup(step, schedule, warmup_steps, init_value, *, shape, skip_zero):
    at = progress(step + 1 if skip_zero else step, warmup_steps)
    target = schedule(jnp.zeros((), step.dtype))
    rising = geometric(at, init_value, target) if shape == "exponential" else along(shape, at, init_value, target)
    return jnp.where(step < warmup_steps, rising, schedule(jnp.maximum(step - warmup_steps, 0)))


def warmup(
    schedule: Schedule,
    warmup_steps: StepCount,
    *,
    init_value: ScalarLike = 0.0,
    shape: str = "linear",
    skip_zero: bool = False,
) -> Schedule:
    r"""A rise to where a schedule begins, and then the schedule, from its own step 0.

    Args:
      schedule: any schedule; at step `warmup_steps` its step 0 is due.
      warmup_steps: $W$, in optimizer updates, >= 0.
      init_value: lr at step 0, or one step before it with `skip_zero`. Shape (), >= 0; above 0 if `shape` is
        "exponential".
      shape: "linear", "cosine" or "exponential" (a constant factor per step).
      skip_zero: count from 1, so that the first update is not lost to a learning rate of 0: at step t, the rise is
        $(t + 1)/W$ done, and complete one step earlier.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.2; `skip_zero` as in schedule-free.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.warmup(schedules.cosine_decay(1.0, 100), 10)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 60, 110)]
      [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    check_choice("warmup(shape=...)", shape, ("linear", "cosine", "exponential"))
    if shape == "exponential":
        advice = "above 0 where shape='exponential', which multiplies it by a constant factor per step"
        init_value = check.value("warmup(init_value=...)", init_value, rule=advice, accept=lambda x: x > 0)
    else:
        init_value = check.value("warmup(init_value=...)", init_value)
    return bind(
        _warmup.choose(shape=shape, skip_zero=check_flag("warmup(skip_zero=...)", skip_zero)),
        schedule=check.child("warmup(schedule)", schedule),
        warmup_steps=check.steps("warmup(warmup_steps)", warmup_steps, minimum=0),
        init_value=init_value,
    )


@schedule_core
def _warmup_cosine(step, peak_value, warmup_steps, total_steps, init_value, end_value, *, convention):
    late = 1 if convention == "hf" else 0  # transformers counts the update that is being done
    if init_value is None:
        rise, init_value = progress(step + late, warmup_steps), jnp.zeros_like(peak_value)
    else:  # from it at step 0 on; in transformers the peak is there one step earlier all the same
        rise = progress(step, jnp.maximum(warmup_steps - late, 1) if late else warmup_steps)
    down = progress(jnp.minimum(step, total_steps - late) + late - warmup_steps, total_steps - warmup_steps)
    rising = along("linear", rise, init_value, peak_value)
    return jnp.where(step < warmup_steps, rising, along("cosine", down, peak_value, end_value))


def warmup_cosine(
    peak_value: ScalarLike,
    *,
    warmup_steps: StepCount,
    total_steps: StepCount,
    init_value: ScalarLike | None = None,
    end_value: ScalarLike = 0.0,
    convention: str = "optax",
) -> Schedule:
    r"""A linear warmup, then half a cosine down.

    Args:
      peak_value: lr at step `warmup_steps`. Shape (), >= 0.
      warmup_steps: $W$, in optimizer updates, >= 0.
      total_steps: in optimizer updates, warmup **included**, > $W$. (Keras and PyTorch count the cosine alone.)
      init_value: lr at step 0. Shape (), >= 0. None: 0, or the peak over $W$ with "hf".
      end_value: lr from step `total_steps` on. Shape (), >= 0.
      convention: "optax", "torch" and "keras" agree; "hf" is transformers' `cosine_warmup_with_min_lr`, which is one
        step ahead: the peak is there at step $W - 1$, and the last update has `end_value`. `init_value` is the peak
        times its `warmup_lr_rate`.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: `optax.warmup_cosine_decay_schedule`, whose `decay_steps` is `total_steps`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.warmup_cosine(1.0, warmup_steps=10, total_steps=110)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 60, 110)]
      [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    same = {"optax": "optax", "torch": "optax", "keras": "optax", "hf": "hf"}
    core = _warmup_cosine.choose(convention=check.convention("warmup_cosine", convention, same))
    warmup_steps = check.steps("warmup_cosine(warmup_steps=...)", warmup_steps, minimum=0)
    total_steps = check.steps("warmup_cosine(total_steps=...)", total_steps)
    check.shorter("warmup_cosine", ("warmup_steps", "total_steps"), warmup_steps, total_steps)
    return bind(
        core,
        peak_value=check.value("warmup_cosine(peak_value)", peak_value),
        warmup_steps=warmup_steps,
        total_steps=total_steps,
        init_value=None if init_value is None else check.value("warmup_cosine(init_value=...)", init_value),
        end_value=check.value("warmup_cosine(end_value=...)", end_value),
    )
