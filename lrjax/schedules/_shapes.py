"""How far along a step is, and the shapes between two values.

XLA turns `t / T` into `t * (1 / T)` where T is a constant, so that T / T is not 1 for many T. Everything that must hold
exactly is therefore pinned with `where` and decided in integers.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from .._types import Array


class Progress(NamedTuple):
    """How far a change has come: `done` from 0 to 1 and `left` = 1 - done, each accurate where it is small.

    Exactly 0 and 1 up to the first step, and 1 and 0 from the last one on.
    """

    done: Array
    left: Array

    @property
    def back(self) -> "Progress":
        """The same place on the way back."""
        return Progress(self.left, self.done)


def progress(step: Array, duration: Array) -> Progress:
    """How far `step` is from 0 to `duration`; a duration of 0 is over at step 0."""
    inside = jnp.clip(step, 0, duration)
    length = jnp.where(duration > 0, duration, 1)
    over, before = step >= duration, step <= 0
    done = jnp.where(over, 1.0, jnp.where(before, 0.0, inside / length))
    left = jnp.where(over, 0.0, jnp.where(before, 1.0, (duration - inside) / length))
    return Progress(done, left)


def blend(weight: Array, one: Array, zero: Array, rest: Array | None = None) -> Array:
    """From `zero` at weight 0 to `one` at weight 1, both exactly; `rest` is 1 - weight, if it is known better."""
    value = weight * one + (1.0 - weight if rest is None else rest) * zero
    return jnp.clip(value, jnp.minimum(one, zero), jnp.maximum(one, zero))  # rounding goes no higher than the peak


def geometric(at: Progress, start: Array, end: Array) -> Array:
    """From `start` to `end` with a constant ratio per step, both exactly; both positive."""
    # from the larger end, so that the rounding of the exponent is small where the value is large
    falls = start >= end
    high, low = jnp.maximum(start, end), jnp.minimum(start, end)
    value = high * jnp.power(low / high, jnp.where(falls, at.done, at.left))
    return jnp.where(at.left <= 0, end, jnp.where(at.done <= 0, start, value))


def along(shape: str, at: Progress, start: Array, end: Array, *, close: bool = False) -> Array:
    """From `start` to `end` along a shape, both exactly, and accurate beside either where it is 0.

    Each end has a weight of its own, whose rounding is that of a product with it. Where the ends lie `close` together,
    as momenta do, it is less if the weights sum to 1. "exponential" is a constant ratio per step, of positive ends.
    """
    if shape == "exponential":
        return geometric(at, start, end)
    done, left = at
    falling, rising = {
        "linear": lambda: (left, done),
        "cosine": lambda: (cosine(left), cosine(done)),
        "sqrt": lambda: (left / (1.0 + jnp.sqrt(done)), jnp.sqrt(done)),  # 1 - sqrt(done), without cancellation
        "square": lambda: (left * (1.0 + done), jnp.square(done)),
        "mirror_cosine": lambda: (2.0 * left - cosine(left), 2.0 * done - cosine(done)),
        "rex": lambda: (2.0 * left / (1.0 + left), done / (1.0 + left)),
        "megatron": lambda: _to_zero(at, 0.5),
        "timm": lambda: _to_zero(at, 0.1),
    }[shape]()
    return fall(at, falling, None if close else rising, start, end)


def _to_zero(at: Progress, ratio: float) -> tuple[Array, Array]:
    """An exponential decay to a ratio of its start, moved down and stretched so that it ends at 0; and 1 minus that."""
    rate = math.log(ratio)
    return ratio * jnp.expm1(-rate * at.left) / (1.0 - ratio), -jnp.expm1(rate * at.done) / (1.0 - ratio)


def fall(at: Progress, falling: Array, rising: Array | None, start: Array, end: Array) -> Array:
    """From `start` to `end`, both exactly, by the weights of either in between; None is 1 - `falling`."""
    return blend(pinned(falling, at), start, end, None if rising is None else pinned(rising, at.back))


def cosine(fraction: Array) -> Array:
    """(1 - cos(pi x)) / 2, half a cosine from 0 to 1; where it is small, as a square, without cancellation."""
    small, large = jnp.square(jnp.sin(0.5 * jnp.pi * fraction)), 0.5 - 0.5 * jnp.cos(jnp.pi * fraction)
    return jnp.where(fraction < 0.5, small, large)


def pinned(weight: Array, at: Progress) -> Array:
    """The weight, but 1 at the beginning and 0 at the end."""
    return jnp.where(at.left <= 0, 0.0, jnp.where(at.done <= 0, 1.0, weight))


def power_of(weight: Array, rest: Array, exponent: Array) -> tuple[Array, Array]:
    """weight ** exponent and 1 minus that; near 1 from `rest` = 1 - weight, so that a high power keeps its digits."""
    near = weight > 0.5
    inside = jnp.where(near | (weight <= 0), 1.0, weight)  # the derivative of 0 ** exponent is not finite
    log = jnp.where(near, jnp.log1p(-jnp.where(near, rest, 0.0)), jnp.log(inside))
    return (
        jnp.where(weight <= 0, 0.0, jnp.exp(exponent * log)),
        jnp.where(weight <= 0, 1.0, -jnp.expm1(exponent * log)),
    )


def power_of_time(rate: Array, step: Array, every: Array, *, staircase: bool = False) -> Array:
    """rate ** (step / every), finite: its whole powers are counted in integers, and are all there is of a staircase."""
    factor = finite(jnp.power(rate, (step // every).astype(rate.dtype)))
    return factor if staircase else factor * jnp.power(rate, (step % every) / every)


def finite(value: Array) -> Array:
    """The value, at most the largest finite number."""
    return jnp.minimum(value, largest(value))


def largest(value: Array) -> Any:
    """The largest number of the value's type."""
    return (jnp.iinfo if jnp.issubdtype(value.dtype, jnp.integer) else jnp.finfo)(value.dtype).max


def segment_of(step: Array, boundaries: tuple[Array, ...], *, closed_left: bool = True) -> Array:
    """How many boundaries have been reached, or passed if not `closed_left`."""
    if not boundaries:
        return jnp.zeros(step.shape, jnp.int32)
    bounds = jnp.stack([jnp.asarray(bound) for bound in boundaries])
    reached = step[..., None] >= bounds if closed_left else step[..., None] > bounds
    return jnp.sum(reached, axis=-1, dtype=jnp.int32)
