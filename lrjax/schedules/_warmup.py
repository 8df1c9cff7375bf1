"""Warmup before any schedule, and warmup with a cosine."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Annotated, Any, Literal

import jax.numpy as jnp

from ._annotations import Inner, NonNegative, Steps, StepsFrom0, positive_if
from ._schedule import factory
from ._shapes import Progress, along, pinned, progress


@factory("warmup", positive_if("shape", "exponential", "init_value"))
def warmup(
    step,
    schedule: Inner,
    warmup_steps: StepsFrom0,
    *,
    init_value: NonNegative = 0.0,
    shape: Literal["linear", "cosine", "exponential", "sqrt", "log"] = "linear",
    skip_zero: bool = False,
):
    r"""A rise to where a schedule begins, and then the schedule, from its own step 0.

    Args:
      schedule: any schedule; at step `warmup_steps` its step 0 is due.
      warmup_steps: $W$, in optimizer updates, >= 0.
      init_value: lr at step 0, or one step before it with `skip_zero`. Shape (), >= 0; above 0 if `shape` is
        "exponential".
      shape: "linear", "cosine", "exponential" (a constant factor per step), "sqrt" ($\sqrt{t/W}$) or "log"
        ($\ln(t + 1)/\ln(W + 1)$; DeepSpeed's `WarmupLR` is this one for its `warmup_num_steps` = $W$ + 1).
      skip_zero: count from 1, so that the first update is not lost to a learning rate of 0: at step t, the rise is
        $(t + 1)/W$ done, and complete one step earlier.

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.2; `skip_zero` as in schedule-free.

    Examples:
      >>> from lrjax.schedules import cosine_decay
      >>> warmup(cosine_decay(1.0, 100), 10)([0, 5, 10, 60, 110])
      Array([0. , 0.5, 1. , 0.5, 0. ], dtype=float32)
    """
    done = step + 1 if skip_zero else step
    at = progress(done, warmup_steps)
    if shape == "log":
        inside, length = jnp.clip(done, 0, warmup_steps), jnp.maximum(warmup_steps, 1)
        rest = jnp.log1p((length - inside) / (1 + inside)) / jnp.log1p(length / 1)
        at = Progress(pinned(jnp.log1p(inside / 1) / jnp.log1p(length / 1), at.back), pinned(rest, at))
    rising = along("linear" if shape == "log" else shape, at, init_value, schedule(jnp.zeros((), step.dtype)))
    return jnp.where(step < warmup_steps, rising, schedule(jnp.maximum(step - warmup_steps, 0)))


def _includes_the_warmup(name: str, given: dict[str, Any]) -> None:
    """The warmup is shorter than the whole."""
    part, whole = given["warmup_steps"], given["total_steps"]
    if isinstance(part, int) and isinstance(whole, int) and part >= whole:
        raise ValueError(
            f"`{name}(warmup_steps=...)` must be below total_steps={whole}, which includes it, got {part}."
        )


@factory("warmup", _includes_the_warmup)
def warmup_cosine(
    step,
    peak_value: NonNegative,
    *,
    warmup_steps: StepsFrom0,
    total_steps: Steps,
    init_value: NonNegative | None = None,
    end_value: NonNegative = 0.0,
    convention: Annotated[Literal["optax", "torch", "keras", "hf"], {"torch": "optax", "keras": "optax"}] = "optax",
):
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

    Source: `optax.warmup_cosine_decay_schedule`, whose `decay_steps` is `total_steps`.

    Examples:
      >>> warmup_cosine(1.0, warmup_steps=10, total_steps=110)([0, 5, 10, 60, 110])
      Array([0. , 0.5, 1. , 0.5, 0. ], dtype=float32)
    """
    late = 1 if convention == "hf" else 0  # transformers counts the update that is being done
    if init_value is None:
        rise, init_value = progress(step + late, warmup_steps), jnp.zeros_like(peak_value)
    else:  # from it at step 0 on; in transformers the peak is there one step earlier all the same
        rise = progress(step, jnp.maximum(warmup_steps - late, 1) if late else warmup_steps)
    down = progress(jnp.minimum(step, total_steps - late) + late - warmup_steps, total_steps - warmup_steps)
    rising = along("linear", rise, init_value, peak_value)
    return jnp.where(step < warmup_steps, rising, along("cosine", down, peak_value, end_value))
