"""Plain training, for what starts from trained parameters."""

from typing import Any

import jax
import optax

import lrjax


def trained(task: lrjax.Task, optimizer: optax.GradientTransformation, steps: int) -> Any:
    """The parameters of a task without state after so many steps from drawn ones."""
    params = task.init(jax.random.key(1))

    @jax.jit
    def step(carry: Any, batch: Any) -> tuple[Any, None]:
        params, state = carry
        grads = jax.grad(task.loss_fn)(params, batch, jax.random.key(0))
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    batches = task.sample_batches(jax.random.key(2), steps)
    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), batches)
    return params
