"""Arithmetic on a curve: the Gaussian-smoothed interpolant in closed form, minima, crossings, finite differences."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._lrs import MAX_DECADES
from .._types import Array, Bool, Float, Int, Scalar

CELL = 0.025
"""Decades between two cells of the smoothed curve, which are the integer multiples of it."""

SIGMA = 0.15
"""Standard deviation of the Gaussian, in decades."""

FLAT = 1e-4
"""Cells this close to the minimum count as one flat bottom."""

_CELLS = int(MAX_DECADES / CELL) + 1


def smooth(x: Float[Array, " trials"], z: Float[Array, " trials"]) -> tuple[Array, Array, Array, Array, Array]:
    """Convolve the linear interpolant of (x, z), constant beyond both ends, with a Gaussian.

    The integral over each segment is exact, and written so that far segments vanish term by term: no cancellation
    between large terms, so float32 is enough. Repeated last points are allowed.

    Returns:
      The cells, multiples of 0.025; values and two derivatives there; which cells lie in [x_1, x_K].
    """
    first = jnp.ceil(x[0] / CELL - 1e-3)
    last = jnp.floor(x[-1] / CELL + 1e-3)
    index = first + jnp.arange(_CELLS, dtype=x.dtype)
    cells = index * CELL
    width = x[1:] - x[:-1]
    slopes = jnp.where(width > 0, (z[1:] - z[:-1]) / jnp.where(width > 0, width, 1.0), 0.0)
    u = (cells[:, None] - x[None]) / SIGMA
    below = 0.5 * (1.0 + lax.erf(u * 0.5**0.5))
    density = jnp.exp(-0.5 * u**2) * (2 * np.pi) ** -0.5
    mass = below[:, :-1] - below[:, 1:]
    edge = density[:, :-1] - density[:, 1:]
    lines = z[None, :-1] + slopes[None] * (cells[:, None] - x[None, :-1])
    parts = lines * mass + slopes[None] * SIGMA * edge
    value = z[0] * (1.0 - below[:, 0]) + jnp.sum(parts, axis=1) + z[-1] * below[:, -1]
    return cells, value, mass @ slopes, edge @ slopes / SIGMA, index <= last


def flat_minimum(z: Float[Array, " cells"], inside: Bool[Array, " cells"]) -> Int[Array, ""]:
    """The middle of the run of cells around the first minimum that lie within 1e-4 of it."""
    values = jnp.where(inside, z, jnp.inf)
    first = jnp.argmin(values)
    outside = values > values[first] + FLAT
    left, right = run_around(first, outside)
    return (left + right) // 2


def run_around(place: Int[Array, ""], outside: Bool[Array, " cells"]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """The first and the last cell of the run around a cell that ends where `outside` begins."""
    index = jnp.arange(outside.shape[0])
    left = jnp.max(jnp.where(outside & (index < place), index, -1)) + 1
    right = jnp.min(jnp.where(outside & (index > place), index, outside.shape[0])) - 1
    return left, right


def crossing_below(
    x: Float[Array, " cells"], loss: Float[Array, " cells"], bottom: Int[Array, ""], level: Scalar
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Where the loss, going left from the bottom, first rises through a level: interpolated, else x[0], False."""
    if x.shape[0] < 2:
        return x[0], jnp.asarray(False)
    rises = (loss[:-1] >= level) & (loss[1:] < level) & (jnp.arange(x.shape[0] - 1) < bottom)
    index = jnp.max(jnp.where(rises, jnp.arange(x.shape[0] - 1), -1))
    crossed, index = index >= 0, jnp.maximum(index, 0)
    above, below = loss[index], loss[index + 1]
    share = jnp.where(crossed, (above - level) / jnp.where(above > below, above - below, 1.0), 0.0)
    return jnp.where(crossed, x[index] + share * (x[index + 1] - x[index]), x[0]), crossed


def finite_differences(
    x: Float[Array, " trials"], y: Float[Array, " trials"]
) -> tuple[Float[Array, " trials"], Float[Array, " trials"]]:
    """First and second derivative by three-point formulas on uneven points; nan second derivative at the ends."""
    if x.shape[0] < 3:
        slope = jnp.full(x.shape, (y[-1] - y[0]) / (x[-1] - x[0])) if x.shape[0] == 2 else jnp.zeros(x.shape)
        return slope, jnp.full(x.shape, jnp.nan)
    step = x[1:] - x[:-1]
    chord = (y[1:] - y[:-1]) / step
    before, after = step[:-1], step[1:]
    inner = (after * chord[:-1] + before * chord[1:]) / (before + after)
    second = 2.0 * (chord[1:] - chord[:-1]) / (before + after)
    nan = jnp.full((1,), jnp.nan)
    return jnp.concatenate([chord[:1], inner, chord[-1:]]), jnp.concatenate([nan, second, nan])
