"""Decays by a law of their own: inverse square root, tanh, k-decay, power of the tokens."""

import jax
import jax.numpy as jnp

from .._checks import check_choice
from .._types import Array, ScalarLike, Schedule, StepCount
from . import _arguments as check
from ._bind import bind, schedule_core
from ._shapes import blend, cosine, pinned, power_of, progress


@schedule_core
def _inverse_sqrt_decay(step, peak_value, warmup_steps, timescale):
    since = jnp.maximum(step - warmup_steps, 0)
    rising = progress(step, warmup_steps).done
    return peak_value * jnp.where(step < warmup_steps, rising, 1.0 / jnp.sqrt(1.0 + since / timescale))


def inverse_sqrt_decay(peak_value: ScalarLike, *, warmup_steps: StepCount = 0, timescale: ScalarLike | str) -> Schedule:
    r"""A linear warmup from 0, then the inverse square root of the time; it never ends.

    $\eta(t) = v\,t/W$ for $t < W$, then $v / \sqrt{1 + (t - W)/\tau}$.

    Noam's schedule of the Transformer is $\tau = W$ and $v = (d W)^{-1/2}$ for a model of width $d$. T5's, constant
    for the first 10,000 steps, is `join([constant(0.01), inverse_sqrt_decay(0.01, timescale=10_000)], [10_000])`.
    big_vision's `rsqrt` is this one as it stands.

    Args:
      peak_value: $v$, lr at step $W$. Shape (), >= 0.
      warmup_steps: $W$, in optimizer updates, >= 0.
      timescale: $\tau$, in optimizer updates, > 0; the lr has halved $3\tau$ steps after the peak.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Vaswani et al. 2017, eq. 3; `transformers.get_inverse_sqrt_schedule`; big_vision.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.inverse_sqrt_decay(1.0, warmup_steps=10, timescale=10)
      >>> [float(schedule(t)) for t in (0, 5, 10, 40)]
      [0.0, 0.5, 1.0, 0.5]
    """
    if isinstance(timescale, str):
        timescale = float(check.steps("inverse_sqrt_decay(timescale=...)", timescale))
    return bind(
        _inverse_sqrt_decay,
        peak_value=check.value("inverse_sqrt_decay(peak_value)", peak_value),
        warmup_steps=check.steps("inverse_sqrt_decay(warmup_steps=...)", warmup_steps, minimum=0),
        timescale=check.positive("inverse_sqrt_decay(timescale=...)", timescale),
    )


@schedule_core
def _tanh_decay(step, init_value, decay_steps, end_value, lower, upper):
    at = progress(step, decay_steps)
    weight = jax.nn.sigmoid(-2.0 * (lower * at.left + upper * at.done))  # (1 - tanh(z)) / 2, without cancellation
    return blend(jnp.where(at.left <= 0, 0.0, weight), init_value, end_value)


def tanh_decay(
    init_value: ScalarLike,
    decay_steps: StepCount,
    *,
    end_value: ScalarLike = 0.0,
    lower: ScalarLike = -7.0,
    upper: ScalarLike = 3.0,
) -> Schedule:
    r"""A flat beginning, a fall, a flat end: the hyperbolic tangent.

    $\eta(t) = e + (i - e)\,\tfrac12 (1 - \tanh(l\,(1 - u) + h\,u))$ with $u = t/T$; $e$ from step $T$ on, which is a
    small last drop (0.25 % of $i - e$ for $h = 3$). At step 0 it is within $10^{-6}$ of $i$ for $l = -7$.

    Args:
      init_value: $i$, lr near step 0. Shape (), >= 0.
      decay_steps: $T$, in optimizer updates, >= 1; warmup not included.
      end_value: $e$, lr from step $T$ on. Shape (), >= 0.
      lower: $l$, where on the tangent it begins.
      upper: $h$ > $l$, where it ends.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Hsueh et al. 2019, Stochastic Gradient Descent with Hyperbolic-Tangent Decay; timm.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.tanh_decay(1.0, 100)
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 70, 99, 100)]
      [1.0, 0.982, 0.5, 0.003, 0.0]
    """
    anywhere = {"rule": "a finite number", "accept": lambda x: True}
    lower = check.value("tanh_decay(lower=...)", lower, **anywhere)
    upper = check.value("tanh_decay(upper=...)", upper, **anywhere)
    check.ordered("tanh_decay", ("lower", "upper"), lower, upper, strict=True)
    return bind(
        _tanh_decay,
        init_value=check.value("tanh_decay(init_value)", init_value),
        decay_steps=check.steps("tanh_decay(decay_steps)", decay_steps),
        end_value=check.value("tanh_decay(end_value=...)", end_value),
        lower=lower,
        upper=upper,
    )


@schedule_core
def _k_decay(step, init_value, decay_steps, k, end_value, power, *, shape):
    at = progress(step, decay_steps)
    done, left = power_of(at.done, at.left, k)
    falling, rising = (cosine(left), cosine(done)) if shape == "cosine" else power_of(left, done, power)
    return blend(pinned(falling, at), init_value, end_value, pinned(rising, at.back))


def k_decay(
    init_value: ScalarLike,
    decay_steps: StepCount,
    *,
    k: ScalarLike,
    end_value: ScalarLike = 0.0,
    shape: str = "cosine",
    power: ScalarLike = 1.0,
) -> Schedule:
    r"""Cosine or polynomial decay in a power of the time.

    With $u = t/T$ and $k > 1$ it stays high longer and falls faster: cosine
    $\eta(t) = e + (i - e)\,\tfrac12 (1 + \cos \pi u^k)$, polynomial $e + (i - e)(1 - u^k)^p$.

    Args:
      init_value: $i$, lr at step 0. Shape (), >= 0.
      decay_steps: $T$, in optimizer updates, >= 1; warmup not included.
      k: > 0; 1 is the schedule without it.
      end_value: $e$, lr from step $T$ on. Shape (), >= 0.
      shape: "cosine" or "polynomial".
      power: $p$ > 0 of the polynomial.

    Returns:
      A schedule: step of any shape -> lr of the same shape.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Zhang & Li 2020, k-decay; timm.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.k_decay(1.0, 100, k=2.0, shape="polynomial")
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 100)]
      [1.0, 0.75, 0.0]
    """
    return bind(
        _k_decay.choose(shape=check_choice("k_decay(shape=...)", shape, ("cosine", "polynomial"))),
        init_value=check.value("k_decay(init_value)", init_value),
        decay_steps=check.steps("k_decay(decay_steps)", decay_steps),
        k=check.positive("k_decay(k=...)", k),
        end_value=check.value("k_decay(end_value=...)", end_value),
        power=check.positive("k_decay(power=...)", power),
    )


@schedule_core
def _power_decay(step, max_value, batch_size, tokens_per_step, amplitude, exponent):
    tokens = jnp.maximum(step * tokens_per_step.astype(max_value.dtype), 1.0)
    return jnp.minimum(max_value, batch_size * amplitude * jnp.power(tokens, exponent))


def power_decay(
    max_value: ScalarLike,
    *,
    batch_size: ScalarLike,
    tokens_per_step: int | Array,
    amplitude: ScalarLike = 4.6,
    exponent: ScalarLike = -0.51,
) -> Schedule:
    r"""A power of the tokens seen, the same for every length of training.

    $\eta = \min(v, \beta a n^b)$, where $n$ is the number of tokens so far, $t$ times `tokens_per_step`, at least 1.
    The paper puts a warmup before it and a decay at its end: `warmup(...)` and `cooldown_from(...)`.

    Args:
      max_value: $v$, the lr never exceeds it. Shape (), >= 0.
      batch_size: $\beta$, sequences in an optimizer update, > 0.
      tokens_per_step: tokens in an optimizer update, >= 1.
      amplitude: $a$ > 0.
      exponent: $b$ < 0.

    Returns:
      A schedule: step of any shape -> lr of the same shape. It never ends.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Source: Shen et al. 2024, Power Scheduler (arXiv 2408.13359), eq. 5, with its amplitude and exponent; levanter.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.power_decay(0.02, batch_size=128, tokens_per_step=128 * 4096)
      >>> [round(float(schedule(t)), 4) for t in (0, 1000, 10_000, 100_000)]
      [0.02, 0.02, 0.0065, 0.002]
    """
    return bind(
        _power_decay,
        max_value=check.value("power_decay(max_value)", max_value),
        batch_size=check.positive("power_decay(batch_size=...)", batch_size),
        tokens_per_step=check.whole("power_decay(tokens_per_step=...)", tokens_per_step, unit="tokens"),
        amplitude=check.positive("power_decay(amplitude=...)", amplitude),
        exponent=check.value("power_decay(exponent=...)", exponent, rule="a finite number < 0", accept=lambda x: x < 0),
    )
