"""Cycles: warm restarts, Smith's cyclical rates, cyclic exponential decay."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._annotated import Rule, Slider
from .._types import Array, ScalarLike
from ._annotations import Fraction, NonNegative, Positive, Rate, Steps, countable, number, ordered
from ._schedule import factory
from ._shapes import Progress, along, blend, cosine, finite, power_of_time, progress


def _factor(where: str, given: Any) -> Any:
    """A number >= 1: as an int if it is a whole one that int32 holds, whose cycles are counted exactly."""
    if isinstance(given, Tracer) and jnp.issubdtype(given.dtype, np.integer):
        return given
    value = number("a finite number >= 1", lambda x: x >= 1).check(where, given)
    whole = not isinstance(value, Tracer) and float(value).is_integer() and value <= np.iinfo(np.int32).max
    return int(value) if whole else value


def _real_cycle_of(step: Array, first: Array, mult: Array) -> tuple[Array, Array, Array]:
    """`_cycle_of` where the cycles grow by a factor that is no whole number, in floats.

    A start that lies within rounding of a step is at it: the sum 1 + mult + mult**2 + ... may come out a little high.
    """
    mult = jnp.where(mult > 1, mult, 2.0)  # equal cycles need none of this
    mult = jnp.minimum(mult, 2.0**31)  # the second cycle is longer than any training then, and nothing overflows

    def start_of(cycle: Array) -> Array:
        return first * (jnp.power(mult, cycle) - 1.0) / (mult - 1.0)

    reached = step * (1.0 + 4.0 * jnp.finfo(mult.dtype).eps) + 1e-4
    cycle = jnp.floor(jnp.log1p(reached * (mult - 1.0) / first) / jnp.log(mult))
    cycle = cycle + (start_of(cycle + 1.0) <= reached) - (start_of(cycle) > reached)
    return cycle, jnp.maximum(step - start_of(cycle), 0.0), first * jnp.power(mult, cycle)


def _cycle_of(step: Array, first: Array, mult: Array) -> tuple[Array, Array, Array]:
    """Which cycle a step is in, the steps since its start, and its length; the first and the last as floats."""
    real = jnp.result_type(first, jnp.float32) if first.dtype == np.int64 else jnp.float32
    if jnp.issubdtype(mult.dtype, jnp.integer):
        index, since, length = _whole_cycle_of(step, first, mult, real)
    else:
        index, since, length = _real_cycle_of(step, first, mult)
    equal = mult <= 1
    return (
        jnp.where(equal, step // first, index).astype(real),
        jnp.where(equal, step % first, since),
        jnp.where(equal, first.astype(real), length),
    )


def _whole_cycle_of(step: Array, first: Array, mult: Array, real: Any) -> tuple[Array, Array, Array]:
    """`_cycle_of` where the cycles grow by a whole number.

    Starts are counted in integers, first * (1 + mult + mult**2 + ...): a logarithm misses restarts by rounding. Beyond
    what an integer holds they wrap around, and the same sum in floats tells which ones have.
    """
    number = jnp.arange(jnp.iinfo(first.dtype).bits - 1, dtype=first.dtype)
    many = jnp.maximum(mult, 2)  # equal cycles need no table
    before = number[:, None] > number
    powers = jnp.power(many, number)
    starts = first * jnp.sum(jnp.where(before, powers, 0), axis=1)
    real_powers = jnp.minimum(jnp.power(many.astype(real), number.astype(real)), 2.0**80)
    real_starts = first * jnp.sum(jnp.where(before, real_powers, 0), axis=1)
    largest = jnp.iinfo(first.dtype).max
    counted = (starts >= 0) & (real_starts < 1.5 * largest)
    index = jnp.sum((step[..., None] >= starts) & counted, axis=-1) - 1
    lengths = jnp.where(first * real_powers < largest, (first * powers).astype(real), first * real_powers)
    return index, step - starts[index], lengths[index]


@factory("cycles", ordered("end_value", "peak_value"), jumps=True)
def cosine_restarts(
    step,
    peak_value: NonNegative,
    first_cycle_steps: Steps,
    *,
    cycle_mult: Annotated[ScalarLike, Rule(_factor, "a finite number >= 1"), Slider(1.0, 4.0)] = 1,
    peak_decay: Annotated[Positive, Slider(0.1, 2.0)] = 1.0,
    end_value: NonNegative = 0.0,
    convention: Annotated[Literal["optax", "torch", "hf", "keras"], {"torch": "optax", "hf": "optax"}] = "optax",
):
    r"""Cosine decay with warm restarts, SGDR.

    Cycle $i$ has $T_i = T_0 m^i$ steps and goes along half a cosine from $\max(v d^i, e)$ towards $e$, which is reached
    only as the next cycle begins: at that step the lr is the new peak.

    Args:
      peak_value: $v$, lr at step 0. Shape (), >= 0.
      first_cycle_steps: $T_0$, in optimizer updates, >= 1.
      cycle_mult: $m$ >= 1. Where it is no whole number, a restart is due at the first step that is not before it.
      peak_decay: $d$ > 0: the factor of the peak from cycle to cycle; above 1 the peaks grow.
      end_value: $e$, the lower end of every cycle. Shape (), from 0 to `peak_value`.
      convention: "optax", "torch" and "hf" agree (transformers stops after `num_cycles`); "keras" scales the cosine
        only, not the floor: cycle $i$ goes from $e + (v - e)\,d^i$.

    Source: Loshchilov & Hutter 2017, SGDR, eq. 5; `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`.

    Examples:
      >>> cosine_restarts(1.0, 10, cycle_mult=2, peak_decay=0.5)([0, 5, 9, 10, 20, 30]).round(3)
      Array([1.   , 0.5  , 0.024, 0.5  , 0.25 , 0.25 ], dtype=float32)
    """
    cycle, since, length = _cycle_of(step, first_cycle_steps, cycle_mult)
    at = Progress(since / length, (length - since) / length)
    scale = jnp.power(peak_decay, cycle)
    if convention == "keras":
        peak = jnp.where(cycle <= 0, peak_value, end_value + scale * (peak_value - end_value))
    else:
        peak = jnp.maximum(scale * peak_value, end_value)
    return along("cosine", at, finite(peak), end_value)


def triangle(step: Array, up_steps: Array, down_steps: Array | None) -> tuple[Array, Array]:
    """The height on a triangle, 0 to 1, and the number of whole triangles before."""
    down = up_steps if down_steps is None else down_steps
    whole = up_steps + down
    since = step % whole
    height = jnp.where(since <= up_steps, progress(since, up_steps).done, progress(since - up_steps, down).left)
    return height, step // whole


CYCLE = ordered("base_value", "peak_value"), countable("up_steps", "down_steps")


@factory("cycles", *CYCLE)
def triangular(
    step, base_value: NonNegative, peak_value: NonNegative, up_steps: Steps, *, down_steps: Steps | None = None
):
    r"""Smith's cyclical learning rate: up and down along straight lines, for ever.

    Args:
      base_value: lr at step 0 and at the end of every cycle. Shape (), from 0 to `peak_value`.
      peak_value: lr at step `up_steps` of every cycle. Shape (), >= 0.
      up_steps: from base to peak, in optimizer updates, >= 1. Smith: 2 to 8 epochs.
      down_steps: from peak to base, in optimizer updates, >= 1; None is as many as `up_steps`.

    Source: Smith 2015, Cyclical Learning Rates for Training Neural Networks; `torch.optim.lr_scheduler.CyclicLR`.

    Examples:
      >>> triangular(0.0, 1.0, 4)([0, 2, 4, 6, 8, 10])
      Array([0. , 0.5, 1. , 0.5, 0. , 0.5], dtype=float32)
    """
    height, _ = triangle(step, up_steps, down_steps)
    return blend(height, peak_value, base_value)


@factory("cycles", *CYCLE)
def triangular2(
    step, base_value: NonNegative, peak_value: NonNegative, up_steps: Steps, *, down_steps: Steps | None = None
):
    r"""`triangular` whose height above the base halves after every cycle.

    Args:
      base_value, up_steps, down_steps: as in `triangular`.
      peak_value: lr at step `up_steps` of the first cycle. Shape (), >= 0.

    Source: Smith 2015; `torch.optim.lr_scheduler.CyclicLR(mode="triangular2")`.

    Examples:
      >>> triangular2(0.0, 1.0, 4)([0, 4, 8, 12, 20])
      Array([0.  , 1.  , 0.  , 0.5 , 0.25], dtype=float32)
    """
    height, cycle = triangle(step, up_steps, down_steps)
    halved = jnp.ldexp(jnp.ones_like(base_value), -jnp.minimum(cycle, 200).astype(jnp.int32))
    return blend(height * halved, peak_value, base_value)


@factory("cycles", *CYCLE)
def exp_range(
    step,
    base_value: NonNegative,
    peak_value: NonNegative,
    up_steps: Steps,
    *,
    gamma: Annotated[ScalarLike, number("a number above 0 and at most 1", lambda x: 0 < x <= 1), Slider(0.9, 1.0)],
    down_steps: Steps | None = None,
):
    r"""`triangular` whose height above the base shrinks by `gamma` every step: times $\gamma^t$.

    $t$ is the step since the start of training, as in PyTorch's code, so even the first peak is a little lower.

    Args:
      base_value, up_steps, down_steps: as in `triangular`.
      peak_value: what the first peak would be without `gamma`. Shape (), >= 0.
      gamma: factor of the height per step, above 0 and at most 1.

    Source: Smith 2015; `torch.optim.lr_scheduler.CyclicLR(mode="exp_range")`.

    Examples:
      >>> schedule = exp_range(0.0, 1.0, 4, gamma=0.5)
      >>> [float(schedule(t)) for t in (0, 4, 8, 12)]
      [0.0, 0.0625, 0.0, 0.000244140625]
    """
    height, _ = triangle(step, up_steps, down_steps)
    return blend(height * jnp.power(gamma, step.astype(gamma.dtype)), peak_value, base_value)


@factory("momentum", ordered("min_momentum", "max_momentum"), countable("up_steps", "down_steps"))
def triangular_momentum(
    step,
    up_steps: Steps,
    *,
    max_momentum: Fraction = 0.9,
    min_momentum: Fraction = 0.8,
    down_steps: Steps | None = None,
):
    r"""The momentum that goes with `triangular`: down while the learning rate rises, and back.

    Args:
      up_steps, down_steps: as in `triangular`.
      max_momentum: at the base of the lr. Shape (), from 0 to 1.
      min_momentum: at the peak of the lr. Shape (), from 0 to `max_momentum`.

    Source: Smith 2018, A disciplined approach to neural network hyper-parameters;
    `torch.optim.lr_scheduler.CyclicLR(cycle_momentum=True)`.

    Examples:
      >>> triangular_momentum(4)([0, 2, 4, 8])
      Array([0.9 , 0.85, 0.8 , 0.9 ], dtype=float32)
    """
    height, _ = triangle(step, up_steps, down_steps)
    return blend(height, min_momentum, max_momentum)


@factory("cycles")
def cyclic_exponential_decay(
    step,
    init_value: NonNegative,
    *,
    transition_steps: Steps,
    decay_rate: Rate,
    cycle_steps: Steps,
    floor_fraction: Fraction = 0.1,
):
    r"""An exponential decay times a cosine wave, CED; it never ends.

    $\eta(t) = i\, r^{t/T} \left(f + (1 - f)\,\tfrac12 (1 + \cos 2\pi t/P)\right)$.

    Args:
      init_value: $i$, lr at step 0. Shape (), >= 0.
      transition_steps: $T$, in optimizer updates, >= 1.
      decay_rate: $r$ > 0, factor of the envelope every `transition_steps`.
      cycle_steps: $P$, in optimizer updates, >= 1.
      floor_fraction: $f$, from 0 to 1: how low the wave goes, as a part of the envelope. With 0 the lr touches 0 in
        the middle of every cycle.

    Source: no canonical one is known; the definition is that of this docstring.

    Examples:
      >>> schedule = cyclic_exponential_decay(1.0, decay_rate=0.5, transition_steps=100, cycle_steps=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 100)]
      [1.0, 0.0966, 0.933, 0.5]
    """
    decay = power_of_time(decay_rate, step, transition_steps)
    since = step % cycle_steps
    from_middle = jnp.abs((cycle_steps - since) - since)  # as long as a cycle at its ends, 0 exactly in its middle
    wave = cosine(jnp.where(since <= 0, 1.0, from_middle / cycle_steps))
    weight = jnp.where(since <= 0, 1.0, blend(wave, jnp.ones_like(wave), floor_fraction))
    return finite(init_value * decay) * weight
