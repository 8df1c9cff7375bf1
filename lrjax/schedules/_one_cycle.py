"""1cycle and its momentum: one rise, one fall, and in three phases a last descent."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._types import Array
from ._annotations import Fraction, NonNegative, Ratio, Steps, number, ordered
from ._schedule import factory
from ._shapes import Progress, along, progress


def _phases(
    step: Array, total_steps: Array, pct_start: Array, peak_step: Array, three_phase: bool, convention: str
) -> list[Progress]:
    """How far each phase is: the rise, the fall, and the last descent if there are three.

    Optax counts whole steps and ends at step N, PyTorch has its peak at pct N - 1 and ends at step N - 1.
    """
    if convention == "optax":
        ends = [peak_step, 2 * peak_step, total_steps] if three_phase else [peak_step, total_steps]
    else:
        peak = pct_start * total_steps - 1.0
        ends = [peak, 2.0 * peak, total_steps - 1.0] if three_phase else [peak, total_steps - 1.0]
    starts = [jnp.zeros_like(ends[0]), *ends[:-1]]
    return [progress(step - start, end - start) for start, end in zip(starts, ends, strict=True)]


def _peak_step(*, pct_start: Any, total_steps: Any, **_: Any) -> Any:
    """The whole steps of the rise. float32 cannot tell 0.7 of 10 million steps, so it is made here where it can be."""
    if isinstance(pct_start, Tracer) or isinstance(total_steps, Tracer):
        return jnp.floor(pct_start * total_steps + 1e-3).astype(jax.dtypes.canonicalize_dtype(np.int64))
    return int(float(pct_start) * total_steps)


def _room_for_three(name: str, given: dict[str, Any]) -> None:
    """Of three phases the first two are as long as each other."""
    if given["three_phase"]:
        number("from 0 to 0.5", lambda x: 0 <= x <= 0.5).check(f"{name}(pct_start=...)", given["pct_start"])


@factory("warmup", _room_for_three, peak_step=_peak_step)
def one_cycle(
    step,
    peak_value: NonNegative,
    *,
    total_steps: Steps,
    pct_start: Fraction = 0.3,
    div_factor: Ratio = 25.0,
    final_div_factor: Ratio = 1e4,
    shape: Literal["cosine", "linear"] = "cosine",
    three_phase: bool = False,
    convention: Literal["optax", "torch"] = "optax",
    peak_step: Any = None,
):
    r"""Up to the peak and down to almost nothing, in one cycle.

    From `peak_value / div_factor` to the peak, then to `peak_value / (div_factor * final_div_factor)`, where it stays
    (PyTorch's raises an error). In three phases it first returns to the initial value, in as many steps as it rose, and
    then falls further.

    Args:
      peak_value: the highest lr. Shape (), >= 0.
      total_steps: $N$, optimizer updates of the whole training, rise included, >= 1.
      pct_start: part of the steps that the rise takes, from 0 to 1; in three phases to 0.5.
      div_factor: peak over initial lr, >= 1.
      final_div_factor: initial over final lr, >= 1.
      shape: "cosine" or "linear".
      three_phase: whether to stop over at the initial value.
      convention: "optax" has its peak at step floor(pct $N$) and its end at step $N$, which N updates never reach;
        "torch" has its peak at pct $N$ - 1 and its end at step $N$ - 1, the last update. (The three phases of Optax's
        `linear_onecycle_schedule` are these for its pct_final = 2 pct_start; its default is 0.85.)

    Source: Smith & Topin 2018, Super-Convergence; fastai; `torch.optim.lr_scheduler.OneCycleLR`.

    Examples:
      >>> schedule = one_cycle(1.0, total_steps=100)
      >>> [round(float(schedule(t)), 6) for t in (0, 15, 30, 65, 100)]
      [0.04, 0.52, 1.0, 0.500002, 4e-06]
    """
    init_value = peak_value * (1.0 / div_factor)  # what XLA makes of a division by a constant, under jit or not
    end_value = init_value * (1.0 / final_div_factor)
    rise, down, *last = _phases(step, total_steps, pct_start, peak_step, three_phase, convention)
    low = init_value if last else end_value
    value = jnp.where(rise.left > 0, along(shape, rise, init_value, peak_value), peak_value)
    value = jnp.where(down.done > 0, along(shape, down, peak_value, low), value)
    return jnp.where(last[0].done > 0, along(shape, last[0], low, end_value), value) if last else value


@factory("momentum", ordered("min_momentum", "max_momentum"), _room_for_three, peak_step=_peak_step)
def one_cycle_momentum(
    step,
    total_steps: Steps,
    *,
    max_momentum: Fraction = 0.95,
    min_momentum: Fraction = 0.85,
    pct_start: Fraction = 0.3,
    shape: Literal["cosine", "linear"] = "cosine",
    three_phase: bool = False,
    convention: Literal["optax", "torch"] = "optax",
    peak_step: Any = None,
):
    r"""The momentum that goes with `one_cycle`: low where the learning rate is high.

    From `max_momentum` down to `min_momentum` while the lr rises, and back; in three phases it then stays. Give it to
    `lrjax.schedules.scheduled`, as `momentum` of SGD or `b1` of Adam.

    Args:
      total_steps, pct_start, shape, three_phase, convention: as in `one_cycle`.
      max_momentum: at both ends. Shape (), from 0 to 1.
      min_momentum: at the peak of the lr. Shape (), from 0 to `max_momentum`.

    Source: Smith & Topin 2018; `torch.optim.lr_scheduler.OneCycleLR(cycle_momentum=True)`.

    Examples:
      >>> one_cycle_momentum(100)([0, 30, 100])
      Array([0.95, 0.85, 0.95], dtype=float32)
    """
    rise, down, *_ = _phases(step, total_steps, pct_start, peak_step, three_phase, convention)
    value = jnp.where(rise.left > 0, along(shape, rise, max_momentum, min_momentum, close=True), min_momentum)
    return jnp.where(down.done > 0, along(shape, down, min_momentum, max_momentum, close=True), value)
