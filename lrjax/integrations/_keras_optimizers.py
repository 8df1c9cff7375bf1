"""A Keras optimizer as an Optax factory, where Optax has the same update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import optax

from .._checks import show
from .._types import Array, Int, OptimizerFactory, Params, PyTree, ScalarLike


def optimizer_factory(optimizer: keras.optimizers.Optimizer) -> OptimizerFactory:
    """The Optax factory that makes the same updates as a Keras optimizer, from its first state on.

    SGD (momentum, nesterov), Adam, AdamW, RMSprop, Adagrad, Adadelta and Lion, with weight decay and clipping. The
    arguments are read from the optimizer, so Keras's defaults hold where they differ from Optax's: epsilon 1e-7, for
    RMSprop rho 0.9 and epsilon within the root, for Adam epsilon outside the bias correction ("epsilon hat"), for
    AdamW weight decay 0.004, for Lion none. The learning rate is not read: it is what the factory takes.

    Args:
      optimizer: an optimizer of exactly one of these classes.

    Returns:
      `make_optimizer(lr)`, for `lrjax.find_lr` and the like.

    Raises:
      TypeError: no Keras optimizer, or one of another class.
      ValueError: an argument that Optax has no equal for (amsgrad, use_ema, ...).

    Examples:
      >>> import keras
      >>> from lrjax.integrations.keras import optimizer_factory
      >>> make_optimizer = optimizer_factory(keras.optimizers.Adam())
      >>> sorted(make_optimizer(0.1)._fields)
      ['init', 'update']
    """
    where = "optimizer_factory(optimizer=...)"
    rule = _RULES.get(type(optimizer))
    if rule is None:
        known = ", ".join(one.__name__ for one in _RULES)
        kind = type(optimizer).__name__ if isinstance(optimizer, keras.optimizers.Optimizer) else show(optimizer)
        raise TypeError(
            f"`{where}` must be a Keras optimizer with an equal in Optax ({known}), got {kind}. Pass "
            "make_optimizer=lambda lr: ..., an Optax optimizer that stands for it."
        )
    for name in ("amsgrad", "use_ema", "loss_scale_factor", "gradient_accumulation_steps"):
        if getattr(optimizer, name, None):
            raise ValueError(
                f"`{where}` must leave out {name}, got {name}={getattr(optimizer, name)!r}, for which there is no "
                "equal here. Pass make_optimizer=lambda lr: ..., an Optax optimizer that stands for it."
            )
    excluded = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    if optimizer.weight_decay and any(getattr(optimizer, name, None) for name in excluded):
        raise ValueError(
            f"`{where}` must decay all weights, but exclude_from_weight_decay was called. Pass make_optimizer=lambda "
            "lr: optax.adamw(lr, mask=...)."
        )

    def make_optimizer(lr: ScalarLike) -> optax.GradientTransformation:
        parts = [*_clipping(optimizer), rule(optimizer, lr)]
        if optimizer.weight_decay:
            parts.append(_decay(lr, optimizer.weight_decay))
        return optax.chain(*parts)

    make_optimizer.__qualname__ = f"keras.{type(optimizer).__name__}"
    return make_optimizer


def _adam(optimizer: Any, lr: ScalarLike) -> optax.GradientTransformation:
    scale = _scale_by_adam(optimizer.beta_1, optimizer.beta_2, optimizer.epsilon)
    return optax.chain(scale, optax.scale_by_learning_rate(lr))


def _rmsprop(own: Any, lr: ScalarLike) -> optax.GradientTransformation:
    momentum = own.momentum or None
    return optax.rmsprop(lr, decay=own.rho, eps=own.epsilon, eps_in_sqrt=True, centered=own.centered, momentum=momentum)


_RULES: dict[type, Callable[[Any, ScalarLike], optax.GradientTransformation]] = {
    keras.optimizers.SGD: lambda own, lr: optax.sgd(lr, momentum=own.momentum or None, nesterov=own.nesterov),
    keras.optimizers.Adam: _adam,
    keras.optimizers.AdamW: _adam,
    keras.optimizers.RMSprop: _rmsprop,
    keras.optimizers.Adagrad: lambda own, lr: optax.adagrad(lr, own.initial_accumulator_value, own.epsilon),
    keras.optimizers.Adadelta: lambda own, lr: optax.adadelta(lr, rho=own.rho, eps=own.epsilon),
    keras.optimizers.Lion: lambda own, lr: optax.lion(lr, b1=own.beta_1, b2=own.beta_2, weight_decay=0.0),
}


class _AdamState(NamedTuple):
    """Updates done and the two moments."""

    count: Int[Array, ""]
    first: Params
    second: Params


def _scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam as Keras writes it: epsilon is added to the root of the second moment before its bias is corrected."""

    def init(params: Params) -> _AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _AdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(updates: Params, state: Any, params: Params = None) -> tuple[Params, _AdamState]:
        first = jax.tree.map(lambda m, g: m + (g - m) * (1 - b1), state.first, updates)
        second = jax.tree.map(lambda v, g: v + (jnp.square(g) - v) * (1 - b2), state.second, updates)
        step = (state.count + 1).astype(jnp.float32)
        scale = jnp.sqrt(1 - b2**step) / (1 - b1**step)
        scaled = jax.tree.map(lambda m, v: m * scale.astype(m.dtype) / (jnp.sqrt(v) + eps), first, second)
        return scaled, _AdamState(state.count + 1, first, second)

    return optax.GradientTransformation(init, update)


def _clipping(optimizer: Any) -> list[optax.GradientTransformation]:
    if optimizer.clipnorm:
        return [optax.stateless(lambda grads, _: jax.tree.map(lambda g: _clip_norm(g, optimizer.clipnorm), grads))]
    if optimizer.global_clipnorm:
        return [optax.clip_by_global_norm(optimizer.global_clipnorm)]
    return [optax.clip(optimizer.clipvalue)] if optimizer.clipvalue else []


def _clip_norm(grad: Array, largest: float) -> Array:
    return grad * (largest / jnp.maximum(jnp.linalg.norm(grad.ravel()), largest)).astype(grad.dtype)


def _decay(lr: ScalarLike, weight_decay: float) -> optax.GradientTransformation:
    """Weight decay as Keras does it, beside every optimizer: neither clipped nor part of a momentum."""

    def update(updates: PyTree, params: Params | None) -> PyTree:
        return jax.tree.map(lambda u, p: u - (lr * weight_decay * p).astype(u.dtype), updates, params)

    return optax.stateless(update)
