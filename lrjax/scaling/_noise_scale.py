"""The gradient noise scale: up to which batch more examples make a step better, from the gradients of batches."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_count, check_key, check_type, describe
from .._engine import Task, check_scalar, to_arrays, trainable_leaves
from .._settings import on_host
from .._types import Batch, Key, Params, PyTree
from ._least_squares import LEVEL, quantile


class NoiseScale(NamedTuple):
    """A noise scale and its 90 % interval, in examples; inf where the gradient does not stand out of its noise."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseScales:
    """The batch that is critical: below it twice the batch saves nearly half of the steps, above it few.

    Attributes:
      sgd: for updates along the gradient.
      sign: for updates like its sign: Adam, Lion, signSGD.
      batch_size: examples of the batches that were measured.
      num_batches: how many.
    """

    sgd: NoiseScale
    sign: NoiseScale
    batch_size: int
    num_batches: int

    def summary(self) -> str:
        """Both in sentences."""
        return "\n".join(
            f"For updates {kind} the critical batch at these parameters is {_examples(*scale)}."
            for kind, scale in (("along the gradient", self.sgd), ("like its sign (Adam, Lion)", self.sign))
        )


def _examples(value: float, low: float, high: float) -> str:
    if math.isinf(value):
        return f"at least {low:,.0f} examples: the gradient does not stand out of its noise, so measure more batches"
    upper = f"to {high:,.0f}" if math.isfinite(high) else "upwards: measure more batches for the other end"
    return f"{value:,.0f} examples ({low:,.0f} {upper})"


@on_host
def noise_scale(
    task: Task, params: Params, *, key: Key, num_batches: int = 64, model_state: PyTree = ()
) -> NoiseScales:
    r"""The gradient noise scale at some parameters, from the gradients of independent batches.

    With the gradient $G$ and the covariance $\Sigma$ of one example's gradient, for updates $-\eta P g$
    $$B = \frac{\mathrm{tr}(P \Sigma)}{G^\top P G}$$
    is the batch at which the noise halves the progress of a step at its best learning rate, if the curvature is
    $P^{-1}$ up to a factor. For SGD $P$ is 1. An update like the sign of the gradient moves, on average,
    by $\sqrt{2 B / \pi}\, G_i / \sigma_i$ while $B$ is small, with $\sigma_i^2 = \Sigma_{ii}$, so $P = 1 / \sigma_i$:
    $$B_\mathrm{sign} = \frac{\pi}{2} \frac{\sum_i \sigma_i}{\sum_i G_i^2 / \sigma_i}.$$
    Numerator and denominator are unbiased, for the sign if the gradients of batches are normal; the interval is
    Fieller's, from leaving out each batch in turn. It holds for these parameters: the scale rises as a training goes
    on, so measure it where most of the training takes place.

    Args:
      task: its training batches and loss; every batch is a sample of the same size.
      params: where to measure. What does not train (`trainable`) is left out.
      key: draws the batches, and the keys of dropout.
      num_batches: batches, >= 8; better of an epoch at most, as examples that come twice are no news. Each gradient is
        computed twice, and about five copies of the parameters are held.
      model_state: of a task with a state, such as BatchNorm's; not updated.

    Returns:
      The scales for SGD and for sign-like updates, in examples.

    Raises:
      TypeError, ValueError: an argument is not as above, the batches have no common size, or a gradient is not finite.

    Source: McCandlish et al. 2018, An empirical model of large-batch training, eq. 2.9; for the sign, the small-batch
      limit of Li et al. 2024, Surge phenomenon in optimal learning rate and batch size scaling, with $1/P$ for the
      Hessian as there, in eq. 2.9, the identity.

    Examples:
      >>> import jax, jax.numpy as jnp, lrjax
      >>> task = lrjax.Task(
      ...     init=jnp.zeros(3),
      ...     loss_fn=lambda w, batch, key: 0.5 * jnp.mean(jnp.sum((w - batch) ** 2, axis=1)),
      ...     sample_batches=lambda key, steps: jax.random.normal(key, (steps, 32, 3)),
      ...     eval_batches=[jnp.zeros((1, 3))],
      ... )
      >>> scales = lrjax.scaling.noise_scale(task, jnp.full(3, 0.3), key=jax.random.key(0))
      >>> scales.sgd.low < 1 / 0.3**2 < scales.sgd.high  # variance 1 an example, gradient 0.3, in every direction
      True
    """
    check_type("noise_scale(task, ...)", task, Task, "a `lrjax.Task`")
    key = check_key("noise_scale(key=...)", key)
    count = check_count("noise_scale(num_batches=...)", num_batches, minimum=LEAST_BATCHES, unit="batches")
    params = to_arrays("noise_scale(params)", params)
    batch_key, dropout_key = jax.random.split(key)
    batches = task.sample_batches(batch_key, count)
    size = _batch_size(batches, count)
    gradient = _gradient_of(task, params, model_state, dropout_key)

    @jax.jit
    def measure(leaves: list[Any], batches: Batch) -> tuple[jax.Array, jax.Array]:
        one = lambda index: gradient(leaves, jax.tree.map(lambda leaf: leaf[index], batches), index)  # noqa: E731
        mean, squares = _moments(one, count)
        part = lambda index: _statistics(*_without(mean, squares, one(index), count), count - 1, size)  # noqa: E731
        return _statistics(mean, squares, count, size), jax.lax.map(part, jnp.arange(count))

    whole, parts = (
        np.asarray(one, np.float64) for one in measure(jax.tree.leaves(params), to_arrays("batches", batches))
    )
    if not np.isfinite(whole).all():
        raise ValueError(
            "`noise_scale(params)` must have a finite gradient on every batch, and there is one that is not."
        )
    if not whole[0, 0] / size > SAME * whole[0, 1]:
        raise ValueError(
            "`noise_scale(task, ...)` must have batches that differ, and the gradient is the same on all of them. Draw "
            "them at random, and smaller than the data."
        )
    sgd, sign = (_ratio(whole[kind], parts[:, kind]) for kind in range(2))
    return NoiseScales(sgd=sgd, sign=sign, batch_size=size, num_batches=count)


SAME = 1e-9
"""Variance of a batch's gradient, over its square, that is rounding: float32 carries 1e-7 of a number."""

LEAST_BATCHES = 8
"""Of which each is left out in turn."""


def _batch_size(batches: Batch, count: int) -> int:
    """Examples of a batch: the second axis of every leaf that has one."""
    leaves = jax.tree.leaves(batches)
    wrong = next((leaf for leaf in leaves if jnp.shape(leaf)[:1] != (count,)), None)
    if not leaves or wrong is not None:
        raise ValueError(
            f"`noise_scale(task, ...)` needs `sample_batches(key, {count})` to have a leading axis of {count} batches, "
            f"got {describe(wrong) if leaves else 'no arrays'}."
        )
    sizes = sorted({jnp.shape(leaf)[1] for leaf in leaves if jnp.ndim(leaf) > 1})
    if len(sizes) != 1 or not sizes[0]:
        raise ValueError(
            "`noise_scale(task, ...)` must have batches whose leaves share their first axis, that of the examples, got "
            f"the lengths {sizes}. Give a task whose batches are batch-major."
        )
    return int(sizes[0])


def _gradient_of(task: Task, params: Params, model_state: PyTree, key: Key) -> Callable[..., list[jax.Array]]:
    """A function of the parameters' leaves, a batch and its index: the gradient of every leaf that trains."""
    treedef, trains = jax.tree.structure(params), trainable_leaves(task, params)

    def loss_of(training: list[jax.Array], leaves: list[Any], batch: Batch, index: Any) -> jax.Array:
        left = iter(training)
        whole = treedef.unflatten([next(left) if one else leaf for one, leaf in zip(trains, leaves, strict=True)])
        own = jax.random.fold_in(key, index)
        loss = task.loss_fn(whole, model_state, batch, own)[0] if task.has_state else task.loss_fn(whole, batch, own)
        return check_scalar("loss_fn", loss)

    def gradient(leaves: list[Any], batch: Batch, index: Any) -> list[jax.Array]:
        training = [leaf for leaf, one in zip(leaves, trains, strict=True) if one]
        return [leaf.astype(jnp.float32) for leaf in jax.grad(loss_of)(training, leaves, batch, index)]

    return gradient


def _moments(gradient: Callable[[Any], list[jax.Array]], count: int) -> tuple[list[jax.Array], list[jax.Array]]:
    """Mean and sum of squared deviations of every coordinate, by Welford's recurrence."""

    def add(index: Any, moments: tuple[list[jax.Array], list[jax.Array]]) -> tuple[list[jax.Array], list[jax.Array]]:
        mean, squares = moments
        one = gradient(index)
        new = [m + (g - m) / (index + 1) for m, g in zip(mean, one, strict=True)]
        return new, [s + (g - m) * (g - n) for s, g, m, n in zip(squares, one, mean, new, strict=True)]

    zero = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in jax.eval_shape(gradient, 0)]
    return jax.lax.fori_loop(0, count, add, (zero, zero))


def _without(
    mean: list[jax.Array], squares: list[jax.Array], one: list[jax.Array], count: int
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The moments of all batches but one."""
    less = [(g - m) for g, m in zip(one, mean, strict=True)]
    return (
        [m - d / (count - 1) for m, d in zip(mean, less, strict=True)],
        [jnp.maximum(s - d * d * count / (count - 1), 0) for s, d in zip(squares, less, strict=True)],
    )


def _statistics(mean: list[jax.Array], squares: list[jax.Array], count: int, size: int) -> jax.Array:
    """Estimates of numerator and denominator for SGD and for the sign, from `count` batches; shape (2, 2)."""
    free = count - 1
    root, inverse = _normal_factors(free)
    noise = gain = sign_noise = sign_gain = jnp.float32(0)
    for m, s in zip(mean, squares, strict=True):
        variance = s / free  # of a batch's gradient
        noise, gain = noise + variance.sum(), gain + (m * m - variance / count).sum()
        deviation = jnp.sqrt(variance)
        moves = deviation > 0
        safe = jnp.where(moves, deviation, 1)
        sign_noise += deviation.sum() / root
        sign_gain += jnp.where(moves, (m * m / safe - inverse / root * safe / count) / inverse, 0).sum()
    of_sign = (math.pi / 2) * math.sqrt(size)  # sigma of an example is sqrt(size) times that of a batch, in both sums
    return jnp.stack([jnp.stack([noise * size, gain]), jnp.stack([of_sign * sign_noise, sign_gain / math.sqrt(size)])])


def _normal_factors(free: int) -> tuple[float, float]:
    """What a standard deviation from so many degrees of freedom is on average, and its inverse; of normal numbers."""
    half = math.exp(math.lgamma((free + 1) / 2) - math.lgamma(free / 2))
    lower = math.exp(math.lgamma((free - 1) / 2) - math.lgamma(free / 2))
    return math.sqrt(2 / free) * half, math.sqrt(free / 2) * lower


def _ratio(whole: np.ndarray, parts: np.ndarray) -> NoiseScale:
    """A ratio of two estimates and its interval, from leaving out each batch.

    Source: Fieller 1954, Some problems in interval estimation.
    """
    count = len(parts)
    off = parts - parts.mean(axis=0)
    (a, cross), (_, b) = (count - 1) / count * off.T @ off
    square = quantile(count - 1, LEVEL) ** 2
    top, bottom = whole
    lead, middle, last = bottom**2 - square * b, top * bottom - square * cross, top**2 - square * a
    root = math.sqrt(max(middle**2 - lead * last, 0.0))
    value = float(top / bottom) if bottom > 0 else math.inf
    if lead > 0 and bottom > 0:
        return NoiseScale(value, max(float((middle - root) / lead), 0.0), float((middle + root) / lead))
    low = last / (middle + root) if middle + root > 0 else 0.0  # the other end is beyond infinity
    return NoiseScale(value, max(float(low), 0.0), math.inf)
