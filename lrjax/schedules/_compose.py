"""Schedules made of schedules. Somebody else's callable may take part: it is held as it is."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import functools
import operator
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from .._annotated import Slider, checked
from .._checks import describe
from .._types import Array, Schedule
from ._annotations import Inner, NonNegative, Steps, StepsFrom0, between, count, ordered
from ._schedule import Foreign, factory, own_core
from ._shapes import largest, segment_of


@factory("composed", between("schedules"))
def join(
    step, schedules: Sequence[Inner], boundaries: Sequence[Steps], *, clock: Literal["local", "absolute"] = "local"
):
    """One schedule after another.

    Args:
      schedules: at least one.
      boundaries: the steps at which the second and later ones begin, strictly increasing, >= 1, one fewer than there
        are schedules. A boundary belongs to the new one.
      clock: "local" if every schedule counts from its own beginning, "absolute" if all count from step 0.

    Source: `optax.join_schedules`, which takes any number of boundaries in any order.

    Examples:
      >>> from lrjax import schedules
      >>> schedules.join([schedules.constant(1.0), schedules.linear_decay(0.5, 0.0, 10)], [100])([99, 100, 105, 110])
      Array([1.  , 0.5 , 0.25, 0.  ], dtype=float32)
    """
    value = jnp.zeros(step.shape)
    starts = (jnp.zeros((), step.dtype), *boundaries)
    ends = (*boundaries, None)
    segment, whole = segment_of(step, boundaries), jnp.issubdtype(step.dtype, jnp.integer)
    for index, (schedule, start, end) in enumerate(zip(schedules, starts, ends, strict=True)):
        # each piece sees steps of its own part only: outside, a callable may be NaN
        own = jnp.maximum(step, start)
        own = own if end is None else jnp.minimum(own, end - 1 if whole else end)
        piece = schedule(own - start if clock == "local" else own)
        value = piece if index == 0 else jnp.where(segment >= index, piece, value)
    return value


@factory("composed")
def add(step, *schedules: Inner):
    """The sum of schedules, step by step: a floor plus a height times a shape, a curve minus its end.

    Args:
      *schedules: at least one; write `constant(-0.5)` for a number, which may be negative, and `multiply` for a factor.

    Examples:
      >>> from lrjax import schedules
      >>> schedules.add(schedules.constant(0.5), schedules.linear_decay(1.0, 0.0, 10))([0, 5, 10])
      Array([1.5, 1. , 0.5], dtype=float32)
    """
    return functools.reduce(operator.add, [one(step) for one in schedules])


@factory("composed")
def multiply(step, *schedules: Inner):
    """The product of schedules, step by step.

    Args:
      *schedules: at least one; write `constant(0.5)` for a number.

    Examples:
      >>> from lrjax import schedules
      >>> schedules.multiply(schedules.constant(0.5), schedules.linear_decay(1.0, 0.0, 10))([0, 5, 10])
      Array([0.5 , 0.25, 0.  ], dtype=float32)
    """
    return functools.reduce(operator.mul, [one(step) for one in schedules])


def _some_bound(name: str, given: dict[str, Any]) -> None:
    """There is a bound at all."""
    if given["min_value"] is None and given["max_value"] is None:
        raise ValueError(f"`{name}` needs min_value, max_value or both, got neither.")


@factory("composed", _some_bound, ordered("min_value", "max_value"))
def clip(step, schedule: Inner, *, min_value: NonNegative | None = None, max_value: NonNegative | None = None):
    """A schedule kept within bounds.

    Args:
      schedule: any schedule.
      min_value: lower bound, or None. Shape (), >= 0.
      max_value: upper bound, or None. Shape (), >= `min_value`.

    Examples:
      >>> from lrjax import schedules
      >>> schedules.clip(schedules.linear_decay(1.0, 0.0, 10), min_value=0.25)([0, 5, 10])
      Array([1.  , 0.5 , 0.25], dtype=float32)
    """
    value = schedule(step)
    value = value if min_value is None else jnp.maximum(value, min_value)
    return value if max_value is None else jnp.minimum(value, max_value)


@factory("composed")
def shift(step, schedule: Inner, steps: StepsFrom0, *, earlier: bool = False):
    """A schedule that begins later, its first value held until then; or one that is already under way.

    Args:
      schedule: any schedule.
      steps: how much, in optimizer updates, >= 0.
      earlier: at step t, have the value of step t + `steps` instead of t - `steps`; to go on with a training.

    Examples:
      >>> from lrjax import schedules
      >>> decay = schedules.linear_decay(1.0, 0.0, 10)
      >>> float(schedules.shift(decay, 5)(10)), float(schedules.shift(decay, 5, earlier=True)(0))
      (0.5, 0.5)
    """
    return schedule(step + jnp.minimum(steps, largest(step) - step) if earlier else jnp.maximum(step - steps, 0))


def _scaled(step: Array, old: Array, new: Array) -> tuple[Array, Array]:
    """step * old divided by new: the quotient and the remainder, exactly, also where the product overflows."""
    whole = jnp.zeros_like(step)
    rest = step * old  # modulo 2 ** bits, as everything here; the true remainder is small, so that it survives
    estimate = jnp.floor(step / new * old).astype(step.dtype)
    for _ in range(3):
        whole = whole + estimate
        rest = rest - estimate * new
        estimate = rest // new
    return whole, rest


@factory("composed")
def stretch(step, schedule: Inner, old_steps: Steps, new_steps: Steps):
    r"""A schedule made for `old_steps` that takes `new_steps`: $\eta(t) = \eta_{old}(t \cdot old/new)$.

    Between whole old steps the schedule is asked at a fraction of a step; stairs and cycles round it down. Beyond old
    step 2**22 it is asked at whole steps only.

    Args:
      schedule: any schedule that takes fractions of a step.
      old_steps: in optimizer updates, >= 1.
      new_steps: in optimizer updates, >= 1.

    Examples:
      >>> from lrjax import schedules
      >>> schedules.stretch(schedules.step_decay(1.0, factor=0.5, every=10), 30, 90)([0, 29, 30, 59, 60])
      Array([1.  , 1.  , 0.5 , 0.5 , 0.25], dtype=float32)
    """
    if not jnp.issubdtype(step.dtype, jnp.integer):
        whole = jnp.floor(step / new_steps)
        return schedule(whole * old_steps + (step - whole * new_steps) * old_steps / new_steps)
    whole, rest = _scaled(step % new_steps, old_steps, new_steps)
    periods = step // new_steps
    fits = periods <= (largest(step) - whole) // old_steps
    whole = jnp.where(fits, periods * old_steps + whole, largest(step))
    # float32 cannot hold a part of a step beyond this; under x64 it is never reached
    coarse = whole >= 2**22
    return jnp.where(coarse, schedule(whole), schedule(jnp.where(coarse, 0, whole) + rest / new_steps))


@factory("composed", jumps=True)
def repeat(
    step,
    schedule: Inner,
    cycle_steps: Steps,
    *,
    times: Annotated[int, count(1, "cycles"), Slider(1, 20, whole=True)] | None = None,
):
    """A schedule from its beginning again and again.

    Args:
      schedule: any schedule.
      cycle_steps: after how many steps it begins again, in optimizer updates, >= 1. Its value at that step is never
        reached, except after the last of `times`.
      times: how often it runs, >= 1, or None for ever. Afterwards it stays at its value at `cycle_steps`.

    Examples:
      >>> from lrjax import schedules
      >>> schedules.repeat(schedules.linear_decay(1.0, 0.0, 10), 10, times=2)([0, 5, 10, 15, 20, 99])
      Array([1. , 0.5, 1. , 0.5, 0. , 0. ], dtype=float32)
    """
    since = step % cycle_steps
    if times is None:
        return schedule(since)
    return schedule(jnp.where(step // cycle_steps >= times, cycle_steps.astype(since.dtype), since))


@checked
def stack(schedules: Sequence[Inner]) -> Schedule:
    """Schedules of one kind as one schedule whose numbers have a leading axis, for `jax.vmap`.

    Args:
      schedules: of one kind and choices, such as `one_cycle` with different peaks and lengths.

    Returns:
      A schedule to be mapped over: `jax.vmap(lambda schedule: schedule(10))(stacked)`.

    Raises:
      TypeError, ValueError: they are of different kinds, or one holds a callable that is not of this package.

    Examples:
      >>> import jax
      >>> from lrjax import schedules
      >>> stacked = schedules.stack([schedules.cosine_decay(peak, 10) for peak in (1.0, 2.0)])
      >>> jax.vmap(lambda schedule: schedule(5))(stacked)
      Array([0.5, 1. ], dtype=float32)
    """
    for part in schedules:
        for leaf in jax.tree.leaves(part, is_leaf=lambda x: isinstance(x, Foreign)):
            if isinstance(leaf, Foreign):
                raise TypeError(
                    f"`stack(schedules)` must be schedules of this package, got {leaf.function!r}, whose numbers "
                    "cannot be seen. Make it of lrjax.schedules, or run it by itself."
                )
    first = jax.tree.structure(schedules[0])
    for index, part in enumerate(schedules):
        if jax.tree.structure(part) != first:
            raise ValueError(
                "`stack(schedules)` must be of one kind with the same choices, got "
                f"{own_core(schedules[0])} and, at index {index}, {own_core(part)}."
            )
    for leaves in zip(*map(jax.tree.leaves, schedules), strict=True):
        if len({jnp.shape(leaf) for leaf in leaves}) > 1:
            raise ValueError(f"`stack(schedules)` must have numbers of one shape, got {[describe(x) for x in leaves]}.")
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *schedules)
