"""A diffusion model (DDPM) of small images, whose running mean of the weights (EMA) is what is evaluated."""

import jax
import jax.numpy as jnp
import lrjax.integrations  # lrjax
import numpy as np
import optax
from lrjax.demos import load_digits

STEPS, BATCH, TIMES = 600, 64, 100
images = 2 * load_digits()[0] / load_digits()[0].max() - 1
kept = jnp.cumprod(1 - jnp.linspace(1e-3, 0.1, TIMES))  # the share of the image that is left at every time
optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=1e-3)


def network(params, noisy, time):
    frequencies = jnp.exp(jnp.linspace(0.0, 4.0, 8))
    angles = (time[:, None] / TIMES) * frequencies
    x = jnp.concatenate([noisy, jnp.sin(angles), jnp.cos(angles)], axis=1)
    x = jax.nn.silu(x @ params["in"])
    x = x + jax.nn.silu(x @ params["middle"])
    return x @ params["out"]


def loss_fn(params, images, key):
    one, two = jax.random.split(key)
    time = jax.random.randint(one, images.shape[:1], 0, TIMES)
    noise = jax.random.normal(two, images.shape)
    share = kept[time][:, None]
    noisy = jnp.sqrt(share) * images + jnp.sqrt(1 - share) * noise
    return jnp.mean((network(params, noisy, time) - noise) ** 2)


def step(state, batch):
    key, now = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], batch, now)
    updates, opt = optimizer.update(grads, state["opt"])
    params = optax.apply_updates(state["params"], updates)
    ema = optax.incremental_update(params, state["ema"], 0.02)
    return {"params": params, "ema": ema, "opt": opt, "key": key}, loss


def start(key):
    one, two, three, key = jax.random.split(key, 4)
    shapes = {"in": (one, 80, 128), "middle": (two, 128, 128), "out": (three, 128, 64)}
    params = {name: jax.random.normal(key, (m, n)) / m**0.5 for name, (key, m, n) in shapes.items()}
    return {"params": params, "ema": params, "opt": optimizer.init(params), "key": key}


def evaluate(state):  # the same times and noise for all
    return loss_fn(state["ema"], images[:256], jax.random.key(1))


rows = np.random.default_rng(0).integers(256, len(images), (STEPS, BATCH))
task = lrjax.integrations.step_task(step, start, list(images[rows]), evaluate)  # lrjax
result = lrjax.find_lr(task, task.set_lr, key=jax.random.key(0), train_steps=STEPS)  # lrjax
print(result.summary())
