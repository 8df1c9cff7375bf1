"""From one value down (or up) to another, and then constant."""

import jax.numpy as jnp

from .._checks import check_choice, check_flag
from .._types import Array, ScalarLike, Schedule, StepCount
from . import _arguments as check
from ._bind import bind, schedule_core
from ._shapes import along, blend, bounded_power, cosine, finite, geometric, pinned, power_of, progress


@schedule_core
def _constant(step, value):
    return jnp.broadcast_to(value, step.shape)


def constant(value: ScalarLike) -> Schedule:
    """The same value at every step.

    Args:
      value: the learning rate. Shape (), >= 0.

    Returns:
      A schedule: step of any shape -> lr of the same shape (Optax returns a bare number).

    Raises:
      TypeError, ValueError: `value` is not a finite number >= 0.

    Source: `optax.constant_schedule`.

    Examples:
      >>> from lrjax import schedules
      >>> float(schedules.constant(0.5)(1000))
      0.5
    """
    return bind(_constant, value=check.value("constant(value)", value))


@schedule_core
def _linear_decay(step, init_value, end_value, transition_steps, transition_begin):
    return along("linear", progress(step - transition_begin, transition_steps), init_value, end_value)


def linear_decay(
    init_value: ScalarLike, end_value: ScalarLike, transition_steps: StepCount, *, transition_begin: StepCount = 0
) -> Schedule:
    r"""A straight line from `init_value` to `end_value`, then constant.

    With $u = \min(\max(t - B, 0), T)/T$, $\eta(t) = i + u\,(e - i)$. This is "linear decay to iteration tau, then
    constant" with tau = `transition_steps`, and a linear warmup if `end_value` is the greater.

    Args:
      init_value: $i$, lr up to step $B$. Shape (), >= 0.
      end_value: $e$, lr from step $B + T$ on. Shape (), >= 0.
      transition_steps: $T$, in optimizer updates, >= 0. With 0, `end_value` holds from step $B$ on.
      transition_begin: $B$, in optimizer updates, >= 0.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: `optax.linear_schedule`; Goodfellow et al. 2016, Deep Learning, eq. 8.14.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.linear_decay(1.0, 0.5, 10)
      >>> [float(schedule(t)) for t in (0, 5, 10, 99)]
      [1.0, 0.75, 0.5, 0.5]
    """
    return bind(
        _linear_decay,
        init_value=check.value("linear_decay(init_value)", init_value),
        end_value=check.value("linear_decay(end_value)", end_value),
        transition_steps=check.steps("linear_decay(transition_steps)", transition_steps, minimum=0),
        transition_begin=check.steps("linear_decay(transition_begin=...)", transition_begin, minimum=0),
    )


@schedule_core
def _polynomial_decay(step, init_value, end_value, power, transition_steps, transition_begin):
    at = progress(step - transition_begin, transition_steps)
    falling, rising = power_of(at.left, at.done, power)
    return blend(pinned(falling, at), init_value, end_value, pinned(rising, at.back))


def polynomial_decay(
    init_value: ScalarLike,
    end_value: ScalarLike,
    power: ScalarLike,
    transition_steps: StepCount,
    *,
    transition_begin: StepCount = 0,
) -> Schedule:
    r"""A power of the remaining time, from `init_value` to `end_value`, then constant.

    $\eta(t) = e + (i - e)(1 - u)^p$ with $u = \min(\max(t - B, 0), T)/T$.

    Args:
      init_value: $i$, lr up to step $B$. Shape (), >= 0.
      end_value: $e$, lr from step $B + T$ on. Shape (), >= 0.
      power: $p$ > 0. 1 is a straight line; above 1 most of the fall comes early.
      transition_steps: $T$, in optimizer updates, >= 0.
      transition_begin: $B$, in optimizer updates, >= 0.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: `optax.polynomial_schedule`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.polynomial_decay(1.0, 0.0, 2.0, 10)
      >>> [float(schedule(t)) for t in (0, 5, 10)]
      [1.0, 0.25, 0.0]
    """
    return bind(
        _polynomial_decay,
        init_value=check.value("polynomial_decay(init_value)", init_value),
        end_value=check.value("polynomial_decay(end_value)", end_value),
        power=check.positive("polynomial_decay(power)", power),
        transition_steps=check.steps("polynomial_decay(transition_steps)", transition_steps, minimum=0),
        transition_begin=check.steps("polynomial_decay(transition_begin=...)", transition_begin, minimum=0),
    )


@schedule_core(jumps=True)
def _exponential_decay(step, init_value, decay_rate, transition_steps, end_value, transition_begin, *, staircase):
    since = jnp.maximum(step - transition_begin, 0)
    factor = bounded_power(decay_rate, stairs(since, transition_steps))
    if not staircase:
        factor = factor * jnp.power(decay_rate, (since % transition_steps) / transition_steps)
    value = finite(init_value * factor)
    if end_value is not None:
        bounded = jnp.where(decay_rate < 1, jnp.maximum(value, end_value), jnp.minimum(value, end_value))
        value = jnp.where(factor == 1, init_value, bounded)
    return value


def stairs(step: Array, every: Array) -> Array:
    """How often `every` steps have passed, as a float; counted in integers where the step is one."""
    return (step // every).astype(jnp.result_type(step, jnp.float32))


def exponential_decay(
    init_value: ScalarLike,
    transition_steps: StepCount,
    decay_rate: ScalarLike,
    *,
    staircase: bool = False,
    end_value: ScalarLike | None = None,
    transition_begin: StepCount = 0,
) -> Schedule:
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

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: `optax.exponential_decay`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.exponential_decay(1.0, 10, 0.5, staircase=True)
      >>> [float(schedule(t)) for t in (0, 9, 10, 20)]
      [1.0, 1.0, 0.5, 0.25]
    """
    init_value = check.value("exponential_decay(init_value)", init_value)
    decay_rate = check.positive("exponential_decay(decay_rate)", decay_rate)
    if end_value is not None:
        end_value = check.value("exponential_decay(end_value=...)", end_value)
        check.bound("exponential_decay", init_value, decay_rate, end_value)
    return bind(
        _exponential_decay.choose(staircase=check_flag("exponential_decay(staircase=...)", staircase)),
        init_value=init_value,
        decay_rate=decay_rate,
        transition_steps=check.steps("exponential_decay(transition_steps)", transition_steps),
        end_value=end_value,
        transition_begin=check.steps("exponential_decay(transition_begin=...)", transition_begin, minimum=0),
    )


@schedule_core(jumps=True)
def _inverse_time_decay(step, init_value, decay_rate, transition_steps, power, *, staircase):
    times = stairs(step, transition_steps) if staircase else step / transition_steps
    return init_value * jnp.power(1.0 + decay_rate * times, -power)


def inverse_time_decay(
    init_value: ScalarLike,
    transition_steps: StepCount,
    decay_rate: ScalarLike,
    *,
    staircase: bool = False,
    power: ScalarLike = 1.0,
) -> Schedule:
    r"""One over the time.

    $\eta(t) = i / (1 + r\,t/T)^p$.

    Args:
      init_value: $i$, lr at step 0. Shape (), >= 0.
      transition_steps: $T$, in optimizer updates, >= 1.
      decay_rate: $r$ >= 0, per `transition_steps`.
      staircase: use $\lfloor t/T \rfloor$, so that it falls at whole multiples of $T$ only.
      power: $p$ >= 0. 1 is Keras's schedule; Robbins and Monro ask for 0.5 < $p$ <= 1.

    Returns:
      A schedule: step of any shape -> lr of the same shape. It never ends.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Robbins & Monro 1951; `keras.optimizers.schedules.InverseTimeDecay`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.inverse_time_decay(1.0, 10, 1.0)
      >>> [float(schedule(t)) for t in (0, 10, 30)]
      [1.0, 0.5, 0.25]
    """
    return bind(
        _inverse_time_decay.choose(staircase=check_flag("inverse_time_decay(staircase=...)", staircase)),
        init_value=check.value("inverse_time_decay(init_value)", init_value),
        decay_rate=check.value("inverse_time_decay(decay_rate)", decay_rate),
        transition_steps=check.steps("inverse_time_decay(transition_steps)", transition_steps),
        power=check.value("inverse_time_decay(power=...)", power),
    )


@schedule_core
def _cosine_decay(step, init_value, decay_steps, end_value, exponent):
    at = progress(step, decay_steps)
    falling, rising = power_of(cosine(at.left), cosine(at.done), exponent)
    return blend(pinned(falling, at), init_value, end_value, pinned(rising, at.back))


def cosine_decay(
    init_value: ScalarLike, decay_steps: StepCount, *, end_value: ScalarLike = 0.0, exponent: ScalarLike = 1.0
) -> Schedule:
    r"""Half a cosine from `init_value` down to `end_value`, then constant.

    With $T$ = `decay_steps` and $u = \min(t, T)/T$,
    $$\eta(t) = e + (i - e)\left(\tfrac12 (1 + \cos \pi u)\right)^p.$$

    Args:
      init_value: $i$, lr at step 0. Shape (), >= 0. May be traced, so the schedule vmaps over it.
      decay_steps: $T$, in optimizer updates (not epochs), >= 1; warmup not included.
      end_value: $e$, lr from step $T$ on. Shape (), >= 0. With N updates and T = N it is never applied.
      exponent: $p$ > 0.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Loshchilov & Hutter 2017, SGDR, eq. 5 with one cycle; `optax.cosine_decay_schedule`, whose `alpha` is
    `end_value / init_value`.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.cosine_decay(0.1, 100)
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 100, 10_000)]
      [0.1, 0.05, 0.0, 0.0]
    """
    return bind(
        _cosine_decay,
        init_value=check.value("cosine_decay(init_value)", init_value),
        decay_steps=check.steps("cosine_decay(decay_steps)", decay_steps),
        end_value=check.value("cosine_decay(end_value=...)", end_value),
        exponent=check.positive("cosine_decay(exponent=...)", exponent),
    )


@schedule_core
def _range_test_ramp(step, min_lr, max_lr, num_steps, *, mode):
    at = progress(step, num_steps - 1)
    if mode == "exponential":
        return geometric(at, min_lr, max_lr)
    return along("linear", at, min_lr, max_lr)


def range_test_ramp(
    min_lr: ScalarLike, max_lr: ScalarLike, num_steps: StepCount, *, mode: str = "exponential"
) -> Schedule:
    r"""The rising learning rate of a range test, both ends included.

    With $r = t/(N - 1)$: exponential $l\,(h/l)^r$, linear $l + r\,(h - l)$; `max_lr` afterwards.

    Args:
      min_lr: $l$, lr at step 0. Shape (), > 0.
      max_lr: $h$, lr at step $N - 1$ and later. Shape (), > `min_lr`.
      num_steps: $N$, in optimizer updates, >= 2.
      mode: "exponential" or "linear".

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Smith 2015, Cyclical Learning Rates, section 3.3; pytorch-lr-finder.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.range_test_ramp(1e-4, 1.0, 5)
      >>> [f"{float(schedule(t)):.0e}" for t in range(5)]
      ['1e-04', '1e-03', '1e-02', '1e-01', '1e+00']
    """
    min_lr = check.positive("range_test_ramp(min_lr)", min_lr)
    max_lr = check.positive("range_test_ramp(max_lr)", max_lr)
    check.ordered("range_test_ramp", ("min_lr", "max_lr"), min_lr, max_lr, strict=True)
    return bind(
        _range_test_ramp.choose(mode=check_choice("range_test_ramp(mode=...)", mode, ("exponential", "linear"))),
        min_lr=min_lr,
        max_lr=max_lr,
        num_steps=check.steps("range_test_ramp(num_steps)", num_steps, minimum=2),
    )
