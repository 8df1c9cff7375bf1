"""Loss surfaces of two parameters, to watch an optimizer on."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Array, Float, Int, ScalarLike

BANDS = 20
"""Colours of a surface."""


class Surface(NamedTuple):
    """A loss of x and y that is 0 at `minimum`, one of its lowest points, drawn in a box (left, right, bottom, top)."""

    title: str
    sentence: str
    loss: Callable[[Array, Array], Array]
    minimum: tuple[float, float]
    start: tuple[float, float]
    box: tuple[float, float, float, float]


def _beale(x: Array, y: Array) -> Array:
    return ((1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2) / 2.5


def _rastrigin(x: Array, y: Array) -> Array:
    waves = jnp.cos(2 * jnp.pi * x) + jnp.cos(2 * jnp.pi * y)
    return (20 + x**2 + y**2 - 10 * waves) / 20


SURFACES = {
    "bowl": Surface(
        "Quadratic bowl",
        "Every way leads down. Only the height of the learning rate matters.",
        lambda x, y: 5 * x**2 + 10 * y**2,
        minimum=(0.0, 0.0),
        start=(-1.7, 1.2),
        box=(-2.0, 2.0, -1.5, 1.5),
    ),
    "ravine": Surface(
        "Ravine",
        "Fifty times as steep across as along: what is stable across is slow along.",
        lambda x, y: 0.2 * x**2 + 10 * y**2,
        minimum=(0.0, 0.0),
        start=(-3.5, 0.8),
        box=(-4.0, 1.6, -2.1, 2.1),
    ),
    "rosenbrock": Surface(
        "Rosenbrock",
        "A bent, flat valley between steep walls.",
        lambda x, y: ((1 - x) ** 2 + 100 * (y - x**2) ** 2) / 50,
        minimum=(1.0, 1.0),
        start=(-1.2, 1.0),
        box=(-2.0, 2.0, -0.8, 2.2),
    ),
    "beale": Surface(
        "Beale",
        "A wide plateau with cliffs at its corners.",
        _beale,
        minimum=(3.0, 0.5),
        start=(1.0, 1.6),
        box=(-0.8, 4.2, -1.7, 2.05),
    ),
    "saddle": Surface(
        "Saddle",
        "The start is almost on the ridge between two minima, where the gradient is almost 0.",
        lambda x, y: 10 * x**2 + (y**2 - 1) ** 2 / 4,
        minimum=(0.0, 1.0),
        start=(-0.8, 0.001),
        box=(-1.1, 1.1, -1.6, 1.6),
    ),
    "himmelblau": Surface(
        "Himmelblau",
        "Four minima, equally deep.",
        lambda x, y: ((x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2) / 4,
        minimum=(3.0, 2.0),
        start=(-0.5, -0.8),
        box=(-5.5, 5.5, -4.6, 4.6),
    ),
    "rastrigin": Surface(
        "Rastrigin",
        "A bowl full of holes. The deepest is in the middle.",
        _rastrigin,
        minimum=(0.0, 0.0),
        start=(-3.4, 2.6),
        box=(-4.4, 4.4, -3.3, 3.3),
    ),
}
"""By name. Each is scaled so that its largest curvature at `minimum` is about 20: plain SGD is unstable there above a
learning rate of about 0.1, on all of them."""


def height(which: Int[Array, ""] | int, x: ScalarLike, y: ScalarLike) -> Float[Array, ""]:
    """The loss of surface number `which`, which is traced: one program serves all surfaces.

    All are evaluated, those that are not meant at (1, 1), where their gradients are finite and get the weight 0.
    """
    total = jnp.zeros(())
    for index, surface in enumerate(SURFACES.values()):
        meant = which == index
        total += jnp.where(meant, surface.loss(jnp.where(meant, x, 1.0), jnp.where(meant, y, 1.0)), 0.0)
    return total


@functools.cache
def sharpness(name: str) -> float:
    """The largest eigenvalue of the Hessian at the surface's minimum."""
    surface = SURFACES[name]
    hessian = jax.hessian(lambda point: surface.loss(point[0], point[1]))(jnp.asarray(surface.minimum))
    return float(np.linalg.eigvalsh(np.asarray(hessian))[-1])


def stability_limit(name: str, momentum: float = 0.0) -> float:
    r"""The learning rate above which gradient descent leaves the surface's minimum.

    $2 (1 + \beta) / \lambda_\text{max}$ for heavy-ball momentum $\beta$, so $2 / \lambda_\text{max}$ without.

    Source: Polyak 1964, Some methods of speeding up the convergence of iteration methods.
    """
    return 2 * (1 + momentum) / sharpness(name)


@functools.cache
def heights(name: str, columns: int = 256, rows: int = 192) -> Int[np.ndarray, "rows columns"]:
    """The band of the loss, from 0, on a grid over the surface's box, the first row at the top.

    Bands cover equal areas, so that flat and steep parts both show.
    """
    surface = SURFACES[name]
    left, right, bottom, top = surface.box
    x, y = jnp.linspace(left, right, columns), jnp.linspace(top, bottom, rows)
    losses = np.asarray(jax.jit(surface.loss)(x[None, :], y[:, None]))
    return np.searchsorted(np.quantile(losses, np.arange(1, BANDS) / BANDS), losses)
