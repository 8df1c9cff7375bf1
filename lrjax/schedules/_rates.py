"""Decays by a law of their own: inverse square root, tanh, k-decay, power of the tokens."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Annotated, Literal

import jax
import jax.numpy as jnp

from .._annotated import Slider
from .._types import Array, ScalarLike
from ._annotations import Exponent, Finite, NonNegative, Positive, Steps, StepsFrom0, Timescale, count, number, ordered
from ._schedule import factory
from ._shapes import blend, cosine, fall, power_of, progress


@factory("decays")
def inverse_sqrt_decay(step, peak_value: NonNegative, *, warmup_steps: StepsFrom0 = 0, timescale: Timescale):
    r"""A linear warmup from 0, then the inverse square root of the time; it never ends.

    $\eta(t) = v\,t/W$ for $t < W$, then $v / \sqrt{1 + (t - W)/\tau}$.

    Noam's schedule of the Transformer is $\tau = W$ and $v = (d W)^{-1/2}$ for a model of width $d$. T5's, constant
    for the first 10,000 steps, is `join([constant(0.01), inverse_sqrt_decay(0.01, timescale=10_000)], [10_000])`.
    big_vision's `rsqrt` is this one as it stands.

    Args:
      peak_value: $v$, lr at step $W$. Shape (), >= 0.
      warmup_steps: $W$, in optimizer updates, >= 0.
      timescale: $\tau$, in optimizer updates, > 0; the lr has halved $3\tau$ steps after the peak.

    Source: Vaswani et al. 2017, eq. 3; `transformers.get_inverse_sqrt_schedule`; big_vision.

    Examples:
      >>> inverse_sqrt_decay(1.0, warmup_steps=10, timescale=10)([0, 5, 10, 40])
      Array([0. , 0.5, 1. , 0.5], dtype=float32)
    """
    since = jnp.maximum(step - warmup_steps, 0)
    rising = progress(step, warmup_steps).done
    return peak_value * jnp.where(step < warmup_steps, rising, 1.0 / jnp.sqrt(1.0 + since / timescale))


@factory("decays", ordered("lower", "upper", strict=True))
def tanh_decay(
    step,
    init_value: NonNegative,
    decay_steps: Steps,
    *,
    end_value: NonNegative = 0.0,
    lower: Annotated[Finite, Slider(-10.0, 0.0)] = -7.0,
    upper: Annotated[Finite, Slider(0.0, 10.0)] = 3.0,
):
    r"""A flat beginning, a fall, a flat end: the hyperbolic tangent.

    $\eta(t) = e + (i - e)\,\tfrac12 (1 - \tanh(l\,(1 - u) + h\,u))$ with $u = t/T$; $e$ from step $T$ on, which is a
    small last drop (0.25 % of $i - e$ for $h = 3$). At step 0 it is within $10^{-6}$ of $i$ for $l = -7$.

    Args:
      init_value: $i$, lr near step 0. Shape (), >= 0.
      decay_steps: $T$, in optimizer updates, >= 1; warmup not included.
      end_value: $e$, lr from step $T$ on. Shape (), >= 0.
      lower: $l$, where on the tangent it begins.
      upper: $h$ > $l$, where it ends.

    Source: Hsueh et al. 2019, Stochastic Gradient Descent with Hyperbolic-Tangent Decay; timm.

    Examples:
      >>> tanh_decay(1.0, 100)([0, 50, 70, 99, 100]).round(4)
      Array([1.   , 0.982, 0.5  , 0.003, 0.   ], dtype=float32)
    """
    at = progress(step, decay_steps)
    weight = jax.nn.sigmoid(-2.0 * (lower * at.left + upper * at.done))  # (1 - tanh(z)) / 2, without cancellation
    return blend(jnp.where(at.left <= 0, 0.0, weight), init_value, end_value)


@factory("decays")
def k_decay(
    step,
    init_value: NonNegative,
    decay_steps: Steps,
    *,
    k: Exponent,
    end_value: NonNegative = 0.0,
    shape: Literal["cosine", "polynomial"] = "cosine",
    power: Exponent = 1.0,
):
    r"""Cosine or polynomial decay in a power of the time.

    With $u = t/T$ and $k > 1$ it stays high longer and falls faster: cosine
    $\eta(t) = e + (i - e)\,\tfrac12 (1 + \cos \pi u^k)$, polynomial $e + (i - e)(1 - u^k)^p$.

    Args:
      init_value, decay_steps, end_value: as in `cosine_decay`.
      k: > 0; 1 is the schedule without it.
      shape: "cosine" or "polynomial".
      power: $p$ > 0 of the polynomial.

    Source: Zhang & Li 2020, k-decay; timm.

    Examples:
      >>> k_decay(1.0, 100, k=2.0, shape="polynomial")([0, 50, 100])
      Array([1.  , 0.75, 0.  ], dtype=float32)
    """
    at = progress(step, decay_steps)
    done, left = power_of(at.done, at.left, k)
    falling, rising = (cosine(left), cosine(done)) if shape == "cosine" else power_of(left, done, power)
    return fall(at, falling, rising, init_value, end_value)


SIZES = Slider(1, 10_000_000, "ratio", whole=True)


@factory("decays")
def power_decay(
    step,
    max_value: NonNegative,
    *,
    batch_size: Annotated[Positive, SIZES],
    tokens_per_step: Annotated[int | Array, count(1, "tokens"), SIZES],
    amplitude: Annotated[Positive, Slider(0.1, 20.0)] = 4.6,
    exponent: Annotated[ScalarLike, number("a finite number < 0", lambda x: x < 0), Slider(-2.0, -0.01)] = -0.51,
):
    r"""A power of the tokens seen, the same for every length of training; it never ends.

    $\eta = \min(v, \beta a n^b)$, where $n$ is the number of tokens so far, $t$ times `tokens_per_step`, at least 1.
    The paper puts a warmup before it and a decay at its end: `warmup(...)` and `cooldown_from(...)`.

    Args:
      max_value: $v$, the lr never exceeds it. Shape (), >= 0.
      batch_size: $\beta$, sequences in an optimizer update, > 0.
      tokens_per_step: tokens in an optimizer update, >= 1.
      amplitude: $a$ > 0.
      exponent: $b$ < 0.

    Source: Shen et al. 2024, Power Scheduler (arXiv 2408.13359), eq. 5, with its amplitude and exponent; levanter.

    Examples:
      >>> power_decay(0.02, batch_size=128, tokens_per_step=128 * 4096)([0, 1000, 10_000, 100_000]).round(4)
      Array([0.02  , 0.02  , 0.0065, 0.002 ], dtype=float32)
    """
    tokens = jnp.maximum(step * tokens_per_step.astype(max_value.dtype), 1.0)
    return jnp.minimum(max_value, batch_size * amplitude * jnp.power(tokens, exponent))
