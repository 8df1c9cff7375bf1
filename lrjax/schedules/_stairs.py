"""By steps and by tables: absolute values between given boundaries."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

from collections.abc import Sequence
from typing import Annotated, Literal

import jax.numpy as jnp

from ._annotations import NonNegative, Rate, Steps, between
from ._schedule import factory
from ._shapes import along, finite, power_of_time, progress, segment_of


@factory("decays", jumps=True)
def step_decay(step, init_value: NonNegative, *, factor: Rate, every: Steps):
    r"""A factor every so many steps.

    $\eta(t) = i f^{\lfloor t/k \rfloor}$.

    Args:
      init_value: $i$, lr before step $k$. Shape (), >= 0.
      factor: $f$ > 0.
      every: $k$, in optimizer updates, >= 1. The lr changes exactly at steps $k$, $2k$, ...

    Source: `torch.optim.lr_scheduler.StepLR`.

    Examples:
      >>> step_decay(1.0, factor=0.5, every=30)([0, 29, 30, 60])
      Array([1.  , 1.  , 0.5 , 0.25], dtype=float32)
    """
    return finite(init_value * power_of_time(factor, step, every, staircase=True))


@factory("decays", between("values"), jumps=True)
def piecewise_constant(
    step,
    values: Sequence[NonNegative],
    boundaries: Sequence[Steps],
    *,
    convention: Annotated[Literal["optax", "torch", "keras"], {"torch": "optax"}] = "optax",
):
    """Given values between given steps; absolute values, not factors that multiply up.

    Args:
      values: the lrs, one more than there are boundaries. Each of shape (), >= 0.
      boundaries: the steps at which the next value begins, strictly increasing, >= 1.
      convention: "optax" and "torch" give the new value at the boundary itself, "keras" one step later.

    Source: `keras.optimizers.schedules.PiecewiseConstantDecay`; `torch.optim.lr_scheduler.MultiStepLR`.

    Examples:
      >>> piecewise_constant([1.0, 0.25, 0.125], [30, 60])([0, 29, 30, 60])
      Array([1.   , 1.   , 0.25 , 0.125], dtype=float32)
    """
    return jnp.stack(values)[segment_of(step, boundaries, closed_left=convention == "optax")]


@factory("decays", between("values"))
def piecewise_interpolate(
    step, values: Sequence[NonNegative], boundaries: Sequence[Steps], *, kind: Literal["linear", "cosine"] = "linear"
):
    """Through given values at given steps, along straight lines or half cosines.

    Args:
      values: the lr at step 0 and at each boundary. Each of shape (), >= 0. The last one holds afterwards.
      boundaries: the steps of the second and later values, strictly increasing, >= 1.
      kind: "linear" or "cosine" between each two.

    Source: `optax.piecewise_interpolate_schedule`, whose scales multiply up; these are the values themselves.

    Examples:
      >>> piecewise_interpolate([0.0, 1.0, 0.5], [10, 20])([0, 5, 10, 15, 20, 99])
      Array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.5 ], dtype=float32)
    """
    segment = segment_of(step, boundaries)
    last = len(values) - 1
    knots = jnp.stack([jnp.zeros_like(jnp.asarray(boundaries[0])), *boundaries]) if boundaries else jnp.zeros(1, int)
    ends = jnp.stack(values)
    start, stop = jnp.minimum(segment, last), jnp.minimum(segment + 1, last)
    at = progress(step - knots[start], knots[stop] - knots[start])
    return jnp.where(segment >= last, ends[last], along(kind, at, ends[start], ends[stop]))
