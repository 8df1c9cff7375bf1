"""Several losses, as in a GAN: a generator against a critic, each with its optimizer, by a step of one's own."""

import jax
import jax.numpy as jnp
import lrjax.integrations
import optax

optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=1e-3, b1=0.5)
params = {"critic": jnp.zeros(2), "generator": jnp.array([0.0, 1.0])}
state = {"params": params, "opt": jax.tree.map(optimizer.init, params)}


def losses(params, real, noise):  # the critic tells the data from what the generator makes by mean and square
    made = params["generator"] @ jnp.stack([jnp.ones_like(noise), noise])
    gap = params["critic"] @ jnp.array([made.mean() - real.mean(), (made**2).mean() - (real**2).mean()])
    return {"critic": jnp.sum(params["critic"] ** 2) - gap, "generator": gap}


def step(state, batch):
    grads = jax.jacobian(losses)(state["params"], *batch)
    for name, params in state["params"].items():
        updates, state["opt"][name] = optimizer.update(grads[name][name], state["opt"][name])
        state["params"][name] = optax.apply_updates(params, updates)
    return state


real, noise = jax.random.normal(jax.random.key(0), (2, 60, 64))
evaluate = lambda state: jnp.sum((state["params"]["generator"] - jnp.array([3.0, 0.5])) ** 2)
task = lrjax.integrations.step_task(step, state, list(zip(3 + real / 2, noise)), evaluate)
result = lrjax.find_lr(task, task.set_lr, key=jax.random.key(0))
