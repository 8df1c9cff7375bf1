"""The oracle of the engine: a plain Python loop of one jitted Optax step, as anybody would write it."""

from typing import Any

import jax
import numpy as np
import optax

import lrjax

EVALUATION = 0xFFFFFFFF
"""What the experiment's key is folded with for evaluation."""


def seed_keys(key: jax.Array, seed: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The keys of the initial parameters, of the batches and of dropout."""
    init_key, data_key, train_key = jax.random.split(jax.random.fold_in(key, seed), 3)
    return init_key, data_key, train_key


def train(
    task: lrjax.Task,
    optimizer: Any,
    *,
    key: jax.Array,
    num_steps: int,
    seed: int = 0,
    extra: tuple[str, ...] = ("value", "grad", "value_fn"),
) -> tuple[Any, Any]:
    """Parameters and optimizer state after `num_steps` steps; `extra` names the arguments that `update` asks for."""
    init_key, data_key, train_key = seed_keys(key, seed)
    params = task.init(init_key) if callable(task.init) else task.init
    batches = task.sample_batches(data_key, num_steps)
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    optimizer = optax.with_extra_args_support(optimizer)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params: Any, opt_state: Any, batch: Any, key: jax.Array) -> tuple[Any, Any]:
        def loss_of(params: Any, *_: Any) -> jax.Array:
            return task.loss_fn(params, batch, key)

        loss, grads = jax.value_and_grad(loss_of)(params)
        every = {"value": loss, "grad": grads, "value_fn": loss_of, "obj_fn": loss_of, "grad_fn": jax.grad(loss_of)}
        updates, opt_state = optimizer.update(grads, opt_state, params, **{name: every[name] for name in extra})
        return optax.apply_updates(params, updates), opt_state

    for index in range(num_steps):
        batch = jax.tree.map(lambda leaf: leaf[index], batches)
        params, opt_state = step(params, opt_state, batch, jax.random.fold_in(train_key, index))
    return params, opt_state


def evaluation_loss(task: lrjax.Task, params: Any, *, key: jax.Array) -> float:
    """The mean of `loss_fn` over the evaluation examples, weighted in NumPy."""
    loss = jax.jit(task.loss_fn)
    values = [float(loss(params, batch, jax.random.fold_in(key, EVALUATION))) for batch in task.eval_batches]
    return float(np.average(values, weights=[jax.tree.leaves(batch)[0].shape[0] for batch in task.eval_batches]))
