"""Tasks judged by a loss: made of a loss of each example, which may draw noise, and three parts of a data set."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import lrjax

from .problem import HELD_OUT, Problem, Split

LOSS_TASKS: dict[str, Callable[[], Problem]] = {}
"""Every task that is judged by its loss, by the name of the function that makes it."""

ExampleLosses = Callable[[Any, Any, Any, jax.Array], jax.Array]
"""(params, x, y, key) -> losses, shape (examples,)."""


def loss_judged(
    init: Callable[[jax.Array], Any] | Any, example_losses: ExampleLosses, data: Split, *, batch_size: int
) -> lrjax.Task:
    """A task whose training loss is the mean of `example_losses`, evaluated with the same noise every time."""

    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        return example_losses(params, *batch, key).mean()

    def eval_fn(params: Any, batch: Any) -> dict[str, jax.Array]:
        x, y, chosen_by = batch
        losses = example_losses(params, x, y, jax.random.key(0))
        return {
            "loss": jnp.where(chosen_by > 0, losses, 0.0).sum() / chosen_by.sum(),
            "test_loss": jnp.where(chosen_by > 0, 0.0, losses).sum() / (1 - chosen_by).sum(),
        }

    held_out = tuple(part[:HELD_OUT] for part in data.validation)
    x, y = (np.concatenate(parts) for parts in zip(held_out, data.test, strict=True))
    chosen_by = (np.arange(len(x)) < len(held_out[0])).astype(np.float32)
    return lrjax.Task.from_arrays(
        init,
        loss_fn,
        train=data.train,
        validation=(x, y, chosen_by),
        batch_size=batch_size,
        eval_batch_size=len(x),
        eval_fn=eval_fn,
    )


def language_model(module: nn.Module, data: Split, *, batch_size: int, init: Any = None) -> lrjax.Task:
    """Cross-entropy of the next byte, in nats; `module(tokens) -> logits`; `init`: parameters to start from."""

    def example_losses(params: Any, x: Any, y: Any, key: jax.Array) -> jax.Array:
        logits = module.apply({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(-1)

    return loss_judged(drawn(module, data) if init is None else init, example_losses, data, batch_size=batch_size)


def drawn(module: nn.Module, data: Split) -> Callable[[jax.Array], Any]:
    """Parameters of a flax module whose input is that of the data."""
    example = jnp.asarray(data.train[0][:2])
    return lambda key: module.init(key, example)["params"]
