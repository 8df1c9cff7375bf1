"""A task whose model has a state: a net with BatchNorm, and the plain loop that trains it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sequential import seed_keys

import lrjax

RNG = np.random.default_rng(2)
X = (3.0 + 2.0 * RNG.normal(size=(80, 4))).astype(np.float32)
Y = np.sin(X).sum(axis=1).astype(np.float32)


class BatchNorm:
    """A regression net with one BatchNorm layer, written by hand."""

    @staticmethod
    def init(key: jax.Array) -> tuple[dict, dict]:
        params = {"w": jax.random.normal(key, (4, 6)) / 2, "scale": jnp.ones(6), "v": jnp.full(6, 0.5)}
        return params, {"mean": jnp.zeros(6), "var": jnp.ones(6), "count": jnp.int32(0)}

    @staticmethod
    def apply(params: Any, x: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
        hidden = (x @ params["w"] - mean) * jax.lax.rsqrt(var + 1e-5) * params["scale"]
        return jnp.tanh(hidden) @ params["v"]

    @classmethod
    def loss_fn(cls, params: Any, state: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict]:
        x, y = batch
        hidden = x @ params["w"]
        mean, var = hidden.mean(0), hidden.var(0)
        moved = {"mean": 0.9 * state["mean"] + 0.1 * mean, "var": 0.9 * state["var"] + 0.1 * var}
        loss = jnp.mean((cls.apply(params, x, mean, var) - y) ** 2)
        return loss, jax.lax.stop_gradient(moved) | {"count": state["count"] + 1}

    @classmethod
    def eval_fn(cls, params: Any, state: Any, batch: Any) -> jax.Array:
        return jnp.mean((cls.apply(params, batch[0], state["mean"], state["var"]) - batch[1]) ** 2)


def batch_norm(**options: Any) -> lrjax.Task:
    split = {"train": (X[:60], Y[:60]), "validation": (X[60:], Y[60:]), "batch_size": 16, "eval_batch_size": 20}
    return lrjax.Task.from_arrays(BatchNorm.init, BatchNorm.loss_fn, stateful=True, **split, **options)


@functools.cache
def train_batch_norm(lr: float, *, key: int, num_steps: int, seed: int) -> tuple[Any, Any]:
    """Parameters and state after a plain loop of Adam updates."""
    init_key, data_key, train_key = seed_keys(jax.random.key(key), seed)
    params, state = BatchNorm.init(init_key)
    batches = batch_norm().sample_batches(data_key, num_steps)
    optimizer = optax.adam(jnp.float32(lr))
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, opt_state: Any, batch: Any, key: jax.Array) -> Any:
        (_, state), grads = jax.value_and_grad(BatchNorm.loss_fn, has_aux=True)(params, state, batch, key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state

    for index in range(num_steps):
        batch = jax.tree.map(lambda leaf: leaf[index], batches)
        params, state, opt_state = step(params, state, opt_state, batch, jax.random.fold_in(train_key, index))
    return params, state
