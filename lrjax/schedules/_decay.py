"""From one value down (or up) to another, and then constant."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Annotated, Any, Literal

import jax.numpy as jnp
from jax.core import Tracer

from .._annotated import Slider
from ._annotations import LRS, Exponent, Finite, NonNegative, Positive, Rate, Steps, StepsFrom0, count, ordered
from ._schedule import factory
from ._shapes import along, cosine, fall, finite, largest, power_of, power_of_time, progress


@factory("decays")
def constant(step, value: Annotated[Finite, LRS]):
    """The same value at every step. (Optax returns a bare number, ours has the shape of the step.)

    Args:
      value: the learning rate. Shape (). May be negative, as a factor or a term of others.

    Source: `optax.constant_schedule`.

    Examples:
      >>> float(constant(0.5)(1000))
      0.5
    """
    return jnp.broadcast_to(value, step.shape)


@factory("decays")
def linear_decay(
    step,
    init_value: NonNegative,
    end_value: NonNegative,
    transition_steps: StepsFrom0,
    *,
    transition_begin: StepsFrom0 = 0,
):
    r"""A straight line from `init_value` to `end_value`, then constant.

    With $u = \min(\max(t - B, 0), T)/T$, $\eta(t) = i + u\,(e - i)$. This is "linear decay to iteration tau, then
    constant" with tau = `transition_steps`, and a linear warmup if `end_value` is the greater.

    Args:
      init_value: $i$, lr up to step $B$. Shape (), >= 0.
      end_value: $e$, lr from step $B + T$ on. Shape (), >= 0.
      transition_steps: $T$, in optimizer updates, >= 0. With 0, `end_value` holds from step $B$ on.
      transition_begin: $B$, in optimizer updates, >= 0.

    Source: `optax.linear_schedule`; Goodfellow et al. 2016, Deep Learning, eq. 8.14.

    Examples:
      >>> linear_decay(1.0, 0.5, 10)([0, 5, 10, 99])
      Array([1.  , 0.75, 0.5 , 0.5 ], dtype=float32)
    """
    return along("linear", progress(step - transition_begin, transition_steps), init_value, end_value)


@factory("decays")
def cosine_decay(
    step, init_value: NonNegative, decay_steps: Steps, *, end_value: NonNegative = 0.0, exponent: Exponent = 1.0
):
    r"""Half a cosine from `init_value` down to `end_value`, then constant.

    With $T$ = `decay_steps` and $u = \min(t, T)/T$,
    $$\eta(t) = e + (i - e)\left(\tfrac12 (1 + \cos \pi u)\right)^p.$$

    Args:
      init_value: $i$, lr at step 0. Shape (), >= 0. May be traced, so the schedule vmaps over it.
      decay_steps: $T$, in optimizer updates (not epochs), >= 1; warmup not included.
      end_value: $e$, lr from step $T$ on. Shape (), >= 0. With N updates and T = N it is never applied.
      exponent: $p$ > 0.

    Source: Loshchilov & Hutter 2017, SGDR, eq. 5 with one cycle; `optax.cosine_decay_schedule`, whose `alpha` is
    `end_value / init_value`.

    Examples:
      >>> cosine_decay(0.1, 100)([0, 50, 100, 10_000])
      Array([0.1 , 0.05, 0.  , 0.  ], dtype=float32)
    """
    at = progress(step, decay_steps)
    return fall(at, *power_of(cosine(at.left), cosine(at.done), exponent), init_value, end_value)


def _end_on_its_side(name: str, given: dict[str, Any]) -> None:
    """The bound is below the start of a decay, above that of a growth."""
    numbers = [given[one] for one in ("init_value", "decay_rate", "end_value")]
    if any(one is None or isinstance(one, Tracer) for one in numbers):
        return
    first, rate, last = map(float, numbers)
    if (rate < 1 and last > first) or (rate > 1 and last < first):
        side = "above" if rate < 1 else "below"
        raise ValueError(
            f"`{name}(end_value=...)` must not be {side} init_value={first:g} for decay_rate={rate:g}, got {last:g}."
        )


@factory("decays", _end_on_its_side, jumps=True)
def exponential_decay(
    step,
    init_value: NonNegative,
    transition_steps: Steps,
    decay_rate: Rate,
    *,
    staircase: bool = False,
    end_value: NonNegative | None = None,
    transition_begin: StepsFrom0 = 0,
):
    r"""A factor of `decay_rate` every `transition_steps`, smoothly or in stairs.

    $\eta(t) = i\, r^{(t - B)/T}$, with $\lfloor (t - B)/T \rfloor$ for the exponent if `staircase`. The rate is a
    float32: 0.37 every 1,000 steps is exact to its last digits, 0.999 every step is off by 0.001 % after 1,000.

    Args:
      init_value: $i$, lr up to step $B$. Shape (), >= 0.
      transition_steps: $T$, in optimizer updates, >= 1.
      decay_rate: $r$ > 0; above 1 it grows.
      staircase: drop at whole multiples of $T$, exactly at those steps.
      end_value: a floor if $r$ < 1, a ceiling if $r$ > 1. Shape (), >= 0.
      transition_begin: $B$, in optimizer updates, >= 0.

    Source: `optax.exponential_decay`.

    Examples:
      >>> exponential_decay(1.0, 10, 0.5, staircase=True)([0, 9, 10, 20])
      Array([1.  , 1.  , 0.5 , 0.25], dtype=float32)
    """
    since = jnp.maximum(step - transition_begin, 0)
    factor = power_of_time(decay_rate, since, transition_steps, staircase=staircase)
    value = finite(init_value * factor)
    if end_value is not None:
        bounded = jnp.where(decay_rate < 1, jnp.maximum(value, end_value), jnp.minimum(value, end_value))
        value = jnp.where(factor == 1, init_value, bounded)
    return value


@factory("decays", jumps=True)
def polynomial_decay(
    step,
    init_value: NonNegative,
    end_value: NonNegative,
    power: Exponent,
    transition_steps: StepsFrom0,
    *,
    transition_begin: StepsFrom0 = 0,
    cycle: bool = False,
):
    r"""A power of the remaining time, from `init_value` to `end_value`, then constant.

    $\eta(t) = e + (i - e)(1 - u)^p$ with $u = \min(\max(t - B, 0), T)/T$.

    Args:
      init_value, end_value, transition_steps, transition_begin: as in `linear_decay`.
      power: $p$ > 0. 1 is a straight line; above 1 most of the fall comes early.
      cycle: after every $T$ steps, at `end_value`, rise to the decay that is longer by another $T$, and so on for ever.

    Source: `optax.polynomial_schedule`; `keras.optimizers.schedules.PolynomialDecay`, for `cycle` too.

    Examples:
      >>> polynomial_decay(1.0, 0.0, 2.0, 10)([0, 5, 10])
      Array([1.  , 0.25, 0.  ], dtype=float32)
    """
    since, length = step - transition_begin, transition_steps
    if cycle:
        one = jnp.maximum(length, 1)
        cycles = jnp.maximum(-(-since // one), 1)
        length = length * jnp.minimum(cycles, largest(cycles) // one)
    at = progress(since, length)
    return fall(at, *power_of(at.left, at.done, power), init_value, end_value)


@factory("decays", jumps=True)
def inverse_time_decay(
    step,
    init_value: NonNegative,
    transition_steps: Steps,
    decay_rate: Annotated[NonNegative, Slider(0.0, 10.0)],
    *,
    staircase: bool = False,
    power: Annotated[NonNegative, Slider(0.1, 5.0)] = 1.0,
):
    r"""One over the time; it never ends.

    $\eta(t) = i / (1 + r\,t/T)^p$.

    Args:
      init_value: $i$, lr at step 0. Shape (), >= 0.
      transition_steps: $T$, in optimizer updates, >= 1.
      decay_rate: $r$ >= 0, per `transition_steps`.
      staircase: use $\lfloor t/T \rfloor$, so that it falls at whole multiples of $T$ only.
      power: $p$ >= 0. 1 is Keras's schedule; Robbins and Monro ask for 0.5 < $p$ <= 1.

    Source: Robbins & Monro 1951; `keras.optimizers.schedules.InverseTimeDecay`.

    Examples:
      >>> inverse_time_decay(1.0, 10, 1.0)([0, 10, 30])
      Array([1.  , 0.5 , 0.25], dtype=float32)
    """
    times = (step // transition_steps).astype(init_value.dtype) if staircase else step / transition_steps
    return init_value * jnp.power(1.0 + decay_rate * times, -power)


@factory("cycles", ordered("min_lr", "max_lr", strict=True))
def range_test_ramp(
    step,
    min_lr: Annotated[Positive, LRS],
    max_lr: Annotated[Positive, LRS],
    num_steps: Annotated[Steps, count(2)],
    *,
    mode: Literal["exponential", "linear"] = "exponential",
):
    r"""The rising learning rate of a range test, both ends included.

    With $r = t/(N - 1)$: exponential $l\,(h/l)^r$, linear $l + r\,(h - l)$; `max_lr` afterwards.

    Args:
      min_lr: $l$, lr at step 0. Shape (), > 0.
      max_lr: $h$, lr at step $N - 1$ and later. Shape (), > `min_lr`.
      num_steps: $N$, in optimizer updates, >= 2.
      mode: "exponential" or "linear".

    Source: Smith 2015, Cyclical Learning Rates, section 3.3; pytorch-lr-finder.

    Examples:
      >>> schedule = range_test_ramp(1e-4, 1.0, 5)
      >>> [f"{float(schedule(t)):.0e}" for t in range(5)]
      ['1e-04', '1e-03', '1e-02', '1e-01', '1e+00']
    """
    return along(mode, progress(step, num_steps - 1), min_lr, max_lr)
