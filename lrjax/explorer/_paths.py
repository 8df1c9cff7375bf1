"""The ways of an optimizer down a surface: every schedule and every seed in one compiled program."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._types import Array, Float, Int, Scalar

MAX_STEPS = 2000
"""Updates of the longest training."""

SLOTS = 401
"""Points kept of a path; one in so many of a longer one."""

MAX_SCHEDULES, MAX_SEEDS = 6, 16
"""Width of the program. It is always the same, so that adding a schedule or a seed compiles nothing."""

BLOWN_UP = 1e6
"""A loss so many times the first one has diverged."""

OPTIMIZERS: dict[str, Callable[[Scalar, Scalar], optax.GradientTransformation]] = {
    "sgd": lambda lr, momentum: optax.sgd(lr),
    "momentum": lambda lr, momentum: optax.sgd(lr, momentum=momentum),
    "nesterov": lambda lr, momentum: optax.sgd(lr, momentum=momentum, nesterov=True),
    "adam": lambda lr, momentum: optax.adam(lr, b1=momentum),
    "rmsprop": lambda lr, momentum: optax.rmsprop(lr),
    "adagrad": lambda lr, momentum: optax.adagrad(lr),
    "lion": lambda lr, momentum: optax.lion(lr, b1=momentum, weight_decay=0.0),
}
"""Functions of a learning rate and a momentum, both traced. Adam and Lion take the momentum as b1."""

WITHOUT_MOMENTUM = ("sgd", "rmsprop", "adagrad")

DIGITS_OPTIMIZERS = {
    "adam": optax.adam,
    "sgd": optax.sgd,
    "momentum": lambda lr: optax.sgd(lr, momentum=0.9),
    "lion": optax.lion,
    "rmsprop": optax.rmsprop,
}
"""What the digits can be trained with."""


class Paths(NamedTuple):
    """Where every schedule and seed went. The first slot is the start; see `slot_steps`."""

    points: Float[Array, "schedules seeds slots 2"]  # x and y; kept at the last finite place once diverged
    losses: Float[Array, "schedules seeds slots"]  # without noise; inf once diverged
    # the update after which the loss was not finite, or a million times the first one; -1 for none
    diverged_at: Int[Array, "schedules seeds"]


def slot_steps(num_steps: int) -> Int[np.ndarray, " slots"]:
    """The steps that the slots of a path of so many updates hold, with step 0 and the last one."""
    stride = -(-num_steps // (SLOTS - 1))
    return np.minimum(np.arange(-(-num_steps // stride) + 1) * stride, num_steps)


@functools.cache
def noise_table() -> Float[Array, "steps seeds 2"]:
    """Standard normal noise, the same for every schedule: they differ in nothing but the learning rate."""
    return jax.random.normal(jax.random.key(0), (MAX_STEPS, MAX_SEEDS, 2))


@functools.partial(jax.jit, static_argnums=(0, 1))
def descend(
    loss: Callable[[Array, Array, Array], Array],
    make_optimizer: Callable[[Scalar, Scalar], optax.GradientTransformation],
    which: Int[Array, ""],
    lrs: Float[Array, "schedules steps"],
    momenta: Float[Array, "schedules steps"],
    start: Float[Array, " 2"],
    noise: Float[Array, "steps seeds 2"],
    num_steps: Int[Array, ""],
) -> Paths:
    """Follow the noisy gradient of surface `which` from one start, once for every schedule and seed.

    The loss and the optimizer are compiled in; all else is data.
    """
    look = jax.vmap(jax.vmap(jax.value_and_grad(lambda point: loss(which, point[0], point[1]))))

    def update(
        gradient: Array, point: Array, state: Any, noise: Array, lr: Array, momentum: Array
    ) -> tuple[Array, Any]:
        change, state = make_optimizer(lr, momentum).update(gradient + noise, state, point)
        return point + jnp.asarray(change), state

    of_seeds = jax.vmap(update, in_axes=(0, 0, 0, 0, None, None))
    of_all = jax.vmap(of_seeds, in_axes=(0, 0, 0, None, 0, 0))
    lanes = (lrs.shape[0], noise.shape[1])
    stride = (num_steps + SLOTS - 2) // (SLOTS - 1)

    def step(t: Array, carry: tuple) -> tuple:
        points, gradients, state, diverged_at, kept = carry
        moved, state = of_all(gradients, points, state, noise[t], lrs[:, t], momenta[:, t])
        losses, gradients = look(moved)
        alive = diverged_at < 0
        points = jnp.where((alive & jnp.isfinite(moved).all(-1))[..., None], moved, points)
        diverged_at = jnp.where(alive & ~(losses <= BLOWN_UP * (1 + first)), t + 1, diverged_at)
        losses = jnp.where(diverged_at < 0, losses, jnp.inf)
        slot = (t + stride) // stride  # steps that share a slot overwrite it: it keeps the last
        return points, gradients, state, diverged_at, _keep(kept, slot, points, losses)

    points = jnp.broadcast_to(start, (*lanes, 2))
    first, gradients = look(points)
    state = jax.vmap(jax.vmap(make_optimizer(0.0, 0.0).init))(points)
    kept = _keep((jnp.zeros((SLOTS, *lanes, 2)), jnp.zeros((SLOTS, *lanes))), 0, points, first)
    carry = (points, gradients, state, jnp.full(lanes, -1), kept)
    *_, diverged_at, (way, losses) = jax.lax.fori_loop(0, num_steps, step, carry)
    return Paths(jnp.moveaxis(way, 0, 2), jnp.moveaxis(losses, 0, 2), diverged_at)


def _keep(kept: tuple[Array, Array], slot: int | Array, points: Array, losses: Array) -> tuple[Array, Array]:
    return kept[0].at[slot].set(points), kept[1].at[slot].set(losses)
