"""By steps and by tables: absolute values between given boundaries."""

from collections.abc import Sequence

import jax.numpy as jnp

from .._checks import check_choice
from .._types import Array, ScalarLike, Schedule, StepCount
from . import _arguments as check
from ._bind import bind, schedule_core
from ._decay import stairs
from ._shapes import along, bounded_power, finite, progress


@schedule_core(jumps=True)
def _step_decay(step, init_value, factor, every):
    return finite(init_value * bounded_power(factor, stairs(step, every)))


def step_decay(init_value: ScalarLike, *, factor: ScalarLike, every: StepCount) -> Schedule:
    r"""A factor every so many steps.

    $\eta(t) = i f^{\lfloor t/k \rfloor}$.

    Args:
      init_value: $i$, lr before step $k$. Shape (), >= 0.
      factor: $f$ > 0.
      every: $k$, in optimizer updates, >= 1. The lr changes exactly at steps $k$, $2k$, ...

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: `torch.optim.lr_scheduler.StepLR`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.step_decay(1.0, factor=0.5, every=30)
      >>> [float(schedule(t)) for t in (0, 29, 30, 60)]
      [1.0, 1.0, 0.5, 0.25]
    """
    return bind(
        _step_decay,
        init_value=check.value("step_decay(init_value)", init_value),
        factor=check.positive("step_decay(factor=...)", factor),
        every=check.steps("step_decay(every=...)", every),
    )


def segment_of(step: Array, boundaries: tuple[Array, ...], *, closed_left: bool = True) -> Array:
    """How many boundaries have been reached, or passed if not `closed_left`."""
    if not boundaries:
        return jnp.zeros(step.shape, jnp.int32)
    bounds = jnp.stack([jnp.asarray(bound) for bound in boundaries])
    reached = step[..., None] >= bounds if closed_left else step[..., None] > bounds
    return jnp.sum(reached, axis=-1, dtype=jnp.int32)


@schedule_core(jumps=True)
def _piecewise_constant(step, values, boundaries, *, convention):
    return jnp.stack(values)[segment_of(step, boundaries, closed_left=convention == "optax")]


def piecewise_constant(
    values: Sequence[ScalarLike], boundaries: Sequence[StepCount], *, convention: str = "optax"
) -> Schedule:
    """Given values between given steps; absolute values, not factors that multiply up.

    Args:
      values: the lrs, one more than there are boundaries. Each of shape (), >= 0.
      boundaries: the steps at which the next value begins, strictly increasing, >= 1.
      convention: "optax" and "torch" give the new value at the boundary itself, "keras" one step later.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range, or the lengths do not fit.

    Source: `keras.optimizers.schedules.PiecewiseConstantDecay`; `torch.optim.lr_scheduler.MultiStepLR`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.piecewise_constant([1.0, 0.25, 0.125], [30, 60])
      >>> [float(schedule(t)) for t in (0, 29, 30, 60)]
      [1.0, 1.0, 0.25, 0.125]
    """
    same = {"optax": "optax", "torch": "optax", "keras": "keras"}
    checked = check.values("piecewise_constant(values)", values)
    return bind(
        _piecewise_constant.choose(convention=check.convention("piecewise_constant", convention, same)),
        values=checked,
        boundaries=check.boundaries("piecewise_constant(boundaries)", boundaries, pieces=len(checked)),
    )


@schedule_core
def _piecewise_interpolate(step, values, boundaries, *, kind):
    segment = segment_of(step, boundaries)
    last = len(values) - 1
    knots = jnp.stack([jnp.zeros_like(jnp.asarray(boundaries[0])), *boundaries]) if boundaries else jnp.zeros(1, int)
    ends = jnp.stack(values)
    start, stop = jnp.minimum(segment, last), jnp.minimum(segment + 1, last)
    at = progress(step - knots[start], knots[stop] - knots[start])
    return jnp.where(segment >= last, ends[last], along(kind, at, ends[start], ends[stop]))


def piecewise_interpolate(
    values: Sequence[ScalarLike], boundaries: Sequence[StepCount], *, kind: str = "linear"
) -> Schedule:
    """Through given values at given steps, along straight lines or half cosines.

    Args:
      values: the lr at step 0 and at each boundary. Each of shape (), >= 0. The last one holds afterwards.
      boundaries: the steps of the second and later values, strictly increasing, >= 1.
      kind: "linear" or "cosine" between each two.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range, or the lengths do not fit.

    Source: `optax.piecewise_interpolate_schedule`, whose scales multiply up; these are the values themselves.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.piecewise_interpolate([0.0, 1.0, 0.5], [10, 20])
      >>> [float(schedule(t)) for t in (0, 5, 10, 15, 20, 99)]
      [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]
    """
    checked = check.values("piecewise_interpolate(values)", values)
    return bind(
        _piecewise_interpolate.choose(kind=check_choice("piecewise_interpolate(kind=...)", kind, ("linear", "cosine"))),
        values=checked,
        boundaries=check.boundaries("piecewise_interpolate(boundaries)", boundaries, pieces=len(checked)),
    )
