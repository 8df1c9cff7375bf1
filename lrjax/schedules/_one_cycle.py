"""1cycle and its momentum: one rise, one fall, and in three phases a last descent."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import check_choice, check_flag
from .._types import Array, ScalarLike, Schedule, StepCount
from . import _arguments as check
from ._bind import bind, schedule_core
from ._cycle import triangle
from ._shapes import Progress, along, blend, progress


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


def _peak_step(pct_start: Any, total_steps: Any) -> Any:
    """The whole steps of the rise. float32 cannot tell 0.7 of 10 million steps, so it is made here where it can be."""
    if isinstance(pct_start, Tracer) or isinstance(total_steps, Tracer):
        return jnp.floor(pct_start * total_steps + 1e-3).astype(jax.dtypes.canonicalize_dtype(np.int64))
    return int(float(pct_start) * total_steps)


@schedule_core(derived=("peak_step",))
def _one_cycle(
    step, peak_value, total_steps, pct_start, div_factor, final_div_factor, peak_step, *, shape, three_phase, convention
):
    init_value = peak_value * (1.0 / div_factor)  # what XLA makes of a division by a constant, under jit or not
    end_value = init_value * (1.0 / final_div_factor)
    rise, down, *last = _phases(step, total_steps, pct_start, peak_step, three_phase, convention)
    low = init_value if last else end_value
    value = jnp.where(rise.left > 0, along(shape, rise, init_value, peak_value), peak_value)
    value = jnp.where(down.done > 0, along(shape, down, peak_value, low), value)
    return jnp.where(last[0].done > 0, along(shape, last[0], low, end_value), value) if last else value


def one_cycle(
    peak_value: ScalarLike,
    *,
    total_steps: StepCount,
    pct_start: ScalarLike = 0.3,
    div_factor: ScalarLike = 25.0,
    final_div_factor: ScalarLike = 1e4,
    shape: str = "cosine",
    three_phase: bool = False,
    convention: str = "optax",
) -> Schedule:
    r"""Up to the peak and down to almost nothing, in one cycle.

    From `peak_value / div_factor` to the peak, then to `peak_value / (div_factor * final_div_factor)`. In three phases
    it first returns to the initial value, in as many steps as it rose, and then falls further.

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

    Returns:
      A schedule: step of any shape -> lr of the same shape. It stays at its end, where PyTorch's raises an error.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Smith & Topin 2018, Super-Convergence; fastai; `torch.optim.lr_scheduler.OneCycleLR`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.one_cycle(1.0, total_steps=100)
      >>> [round(float(schedule(t)), 6) for t in (0, 15, 30, 65, 100)]
      [0.04, 0.52, 1.0, 0.500002, 4e-06]
    """
    three_phase = check_flag("one_cycle(three_phase=...)", three_phase)
    at_least_1 = {"rule": "a finite number >= 1", "accept": lambda x: x >= 1}
    core = _one_cycle.choose(
        shape=check_choice("one_cycle(shape=...)", shape, ("cosine", "linear")),
        three_phase=three_phase,
        convention=check.convention("one_cycle", convention, {"optax": "optax", "torch": "torch"}),
    )
    total_steps = check.steps("one_cycle(total_steps=...)", total_steps)
    pct_start = check.fraction("one_cycle(pct_start=...)", pct_start, high=0.5 if three_phase else 1.0)
    return bind(
        core,
        peak_value=check.value("one_cycle(peak_value)", peak_value),
        total_steps=total_steps,
        pct_start=pct_start,
        peak_step=_peak_step(pct_start, total_steps),
        div_factor=check.value("one_cycle(div_factor=...)", div_factor, **at_least_1),
        final_div_factor=check.value("one_cycle(final_div_factor=...)", final_div_factor, **at_least_1),
    )


@schedule_core(derived=("peak_step",))
def _one_cycle_momentum(
    step, total_steps, max_momentum, min_momentum, pct_start, peak_step, *, shape, three_phase, convention
):
    rise, down, *_ = _phases(step, total_steps, pct_start, peak_step, three_phase, convention)
    value = jnp.where(rise.left > 0, along(shape, rise, max_momentum, min_momentum, close=True), min_momentum)
    return jnp.where(down.done > 0, along(shape, down, min_momentum, max_momentum, close=True), value)


def one_cycle_momentum(
    total_steps: StepCount,
    *,
    max_momentum: ScalarLike = 0.95,
    min_momentum: ScalarLike = 0.85,
    pct_start: ScalarLike = 0.3,
    shape: str = "cosine",
    three_phase: bool = False,
    convention: str = "optax",
) -> Schedule:
    r"""The momentum that goes with `one_cycle`: low where the learning rate is high.

    From `max_momentum` down to `min_momentum` while the lr rises, and back; in three phases it then stays.

    Args:
      total_steps: $N$, optimizer updates of the whole training, >= 1; as in `one_cycle`.
      max_momentum: at both ends. Shape (), from 0 to 1.
      min_momentum: at the peak of the lr. Shape (), from 0 to `max_momentum`.
      pct_start: part of the steps that the rise of the lr takes, from 0 to 1; in three phases to 0.5.
      shape: "cosine" or "linear".
      three_phase: as in `one_cycle`.
      convention: "optax" or "torch", as in `one_cycle`.

    Returns:
      A schedule: step of any shape -> momentum of the same shape. Give it to
      `lrjax.schedules.scheduled`, as `momentum` of SGD or `b1` of Adam.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Smith & Topin 2018; `torch.optim.lr_scheduler.OneCycleLR(cycle_momentum=True)`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.one_cycle_momentum(100)
      >>> [round(float(schedule(t)), 4) for t in (0, 30, 100)]
      [0.95, 0.85, 0.95]
    """
    three_phase = check_flag("one_cycle_momentum(three_phase=...)", three_phase)
    low, high = check.momenta("one_cycle_momentum", min_momentum, max_momentum)
    core = _one_cycle_momentum.choose(
        shape=check_choice("one_cycle_momentum(shape=...)", shape, ("cosine", "linear")),
        three_phase=three_phase,
        convention=check.convention("one_cycle_momentum", convention, {"optax": "optax", "torch": "torch"}),
    )
    pct_start = check.fraction("one_cycle_momentum(pct_start=...)", pct_start, high=0.5 if three_phase else 1.0)
    total_steps = check.steps("one_cycle_momentum(total_steps)", total_steps)
    return bind(
        core,
        total_steps=total_steps,
        max_momentum=high,
        min_momentum=low,
        pct_start=pct_start,
        peak_step=_peak_step(pct_start, total_steps),
    )


@schedule_core
def _triangular_momentum(step, up_steps, max_momentum, min_momentum, down_steps):
    height, _ = triangle(step, up_steps, down_steps)
    return blend(height, min_momentum, max_momentum)


def triangular_momentum(
    up_steps: StepCount,
    *,
    max_momentum: ScalarLike = 0.9,
    min_momentum: ScalarLike = 0.8,
    down_steps: StepCount | None = None,
) -> Schedule:
    r"""The momentum that goes with `triangular`: down while the learning rate rises, and back.

    Args:
      up_steps: rise of the lr, in optimizer updates, >= 1.
      max_momentum: at the base of the lr. Shape (), from 0 to 1.
      min_momentum: at the peak of the lr. Shape (), from 0 to `max_momentum`.
      down_steps: fall of the lr, in optimizer updates, >= 1; None is as many as `up_steps`.

    Returns:
      A schedule: step of any shape -> momentum of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Smith 2018, A disciplined approach to neural network hyper-parameters;
    `torch.optim.lr_scheduler.CyclicLR(cycle_momentum=True)`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.triangular_momentum(4)
      >>> [round(float(schedule(t)), 3) for t in (0, 2, 4, 8)]
      [0.9, 0.85, 0.8, 0.9]
    """
    low, high = check.momenta("triangular_momentum", min_momentum, max_momentum)
    lengths = check.up_and_down("triangular_momentum", up_steps, down_steps)
    return bind(_triangular_momentum, max_momentum=high, min_momentum=low, **lengths)
