"""Warmup, stable phase, decay; and cooling any schedule down from any step."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Literal, cast

import jax.numpy as jnp

from .._annotated import checked
from .._checks import show
from .._types import Schedule
from ._annotations import Inner, NonNegative, StepsFrom0, check_horizon, countable, positive_if
from ._schedule import Partial, factory, own_core
from ._shapes import along, progress

Cooldown = Literal["linear", "cosine", "sqrt", "square", "mirror_cosine", "exponential", "rex", "megatron", "timm"]
"""The shape of a decay from a stable learning rate."""


@factory(
    "warmup",
    countable("warmup_steps", "stable_steps", "decay_steps"),
    positive_if("cooldown", "exponential", "peak_value", "end_value"),
)
def warmup_stable_decay(
    step,
    peak_value: NonNegative,
    *,
    warmup_steps: StepsFrom0,
    stable_steps: StepsFrom0,
    decay_steps: StepsFrom0,
    end_value: NonNegative = 0.0,
    cooldown: Cooldown = "sqrt",
    convention: Literal["optax", "hf"] = "optax",
):
    r"""A linear warmup, a constant phase, a decay: WSD, the trapezoid.

    The last value is reached at step `warmup_steps + stable_steps + decay_steps`. The stable phase may be lengthened at
    any time (`extend`): what was trained stays valid. From any step of it the training may be finished
    (`cooldown_from`).

    With $p$ from 0 to 1 along the decay, the lr goes from the peak to the end by $1 - \sqrt p$ ("sqrt"), $1 - p$
    ("linear"), $\tfrac12(1 + \cos \pi p)$ ("cosine"), $1 - p^2$ ("square"), $2(1 - p)$ minus the cosine
    ("mirror_cosine"), a constant factor per step ("exponential"), $2(1 - p)/(2 - p)$ ("rex"), $2 \cdot 0.5^p - 1$
    ("megatron") or $(0.1^p - 0.1)/0.9$ ("timm"). Megatron-LM and timm call the last two
    "exponential" and "exp"; for an end of a tenth of the peak the first is up to 17 % of it from ours of that name.

    Args:
      peak_value: lr of the stable phase. Shape (), >= 0.
      warmup_steps: in optimizer updates, >= 0.
      stable_steps: in optimizer updates, >= 0.
      decay_steps: in optimizer updates, >= 0. About 20 % of the whole is usual.
      end_value: lr from the end on. Shape (), >= 0; above 0 if `cooldown` is "exponential".
      cooldown: the shape of the decay, one of those above.
      convention: "optax" warms up from 0, "hf" (transformers) from `end_value`.

    Source: Zhai et al. 2022; Hu et al. 2024, MiniCPM; Haegele et al. 2024 (arXiv 2405.18392), eq. 1 for "sqrt"; Chen et
    al. 2022, REX; Megatron-LM, `lr_wsd_decay_style`; timm, `WSDLRScheduler(decay_fn="exp")`.

    Examples:
      >>> from lrjax import schedules
      >>> schedules.warmup_stable_decay(1.0, warmup_steps=10, stable_steps=50, decay_steps=20)([0, 5, 10, 60, 65, 80])
      Array([0. , 0.5, 1. , 1. , 0.5, 0. ], dtype=float32)
    """
    low = end_value if convention == "hf" else jnp.zeros_like(peak_value)
    rising = along("linear", progress(step, warmup_steps), low, peak_value)
    falling = along(cooldown, progress(step - warmup_steps - stable_steps, decay_steps), peak_value, end_value)
    return jnp.where(step < warmup_steps, rising, falling)


@checked
def extend(schedule: Inner, more_steps: StepsFrom0) -> Schedule:
    """A `warmup_stable_decay` whose stable phase is longer: the same until the decay would have begun.

    Args:
      schedule: made by `warmup_stable_decay`.
      more_steps: added to the stable phase, in optimizer updates, >= 0.

    Returns:
      A schedule of the same kind.

    Raises:
      TypeError, ValueError: the schedule is of another kind, or `more_steps` is out of its range.

    Examples:
      >>> from lrjax import schedules
      >>> short = schedules.warmup_stable_decay(1.0, warmup_steps=10, stable_steps=50, decay_steps=20)
      >>> long = schedules.extend(short, 100)
      >>> [float(short(t)) == float(long(t)) for t in (5, 59, 60)], float(short(80)), float(long(160))
      ([True, True, True], 0.0, 1.0)
    """
    core = own_core(schedule)
    if core is None or core.name != "warmup_stable_decay":
        raise TypeError(
            f"`extend(schedule)` must be a schedule made by `warmup_stable_decay`, got {show(schedule)}. "
            "Only that one has a stable phase."
        )
    numbers = cast(Partial, schedule).keywords
    lengths = [numbers["warmup_steps"], numbers["stable_steps"], numbers["decay_steps"], more_steps]
    check_horizon("extend(more_steps)", sum(steps for steps in lengths if isinstance(steps, int)))
    return core.bind(**{**numbers, "stable_steps": numbers["stable_steps"] + more_steps})


@factory("composed", countable("begin_step", "decay_steps"), positive_if("cooldown", "exponential", "end_value"))
def cooldown_from(
    step,
    schedule: Inner,
    begin_step: StepsFrom0,
    decay_steps: StepsFrom0,
    *,
    end_value: NonNegative = 0.0,
    cooldown: Cooldown = "sqrt",
):
    """Any schedule up to a step, and from there down to the end: finish a training early.

    Args:
      schedule: any schedule; what it does after `begin_step` is not asked.
      begin_step: where the decay begins, from the schedule's own value there. In optimizer updates, >= 0.
      decay_steps: how long it takes, in optimizer updates, >= 0.
      end_value: lr from step `begin_step + decay_steps` on. Shape (), >= 0; above 0 if `cooldown` is "exponential".
      cooldown: a shape of `warmup_stable_decay`; "exponential" is not what Megatron-LM and timm call so, see there.

    Source: Haegele et al. 2024 (arXiv 2405.18392).

    Examples:
      >>> from lrjax import schedules
      >>> schedules.cooldown_from(schedules.constant(1.0), 100, 20, cooldown="linear")([99, 100, 110, 120])
      Array([1. , 1. , 0.5, 0. ], dtype=float32)
    """
    start = schedule(begin_step)
    falling = along(cooldown, progress(step - begin_step, decay_steps), start, end_value)
    return jnp.where(step < begin_step, schedule(jnp.minimum(step, begin_step)), falling)
