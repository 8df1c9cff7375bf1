"""A training that is one function, `train(lr, key) -> metrics`: all learning rates and seeds of it at once."""

import jax
import jax.numpy as jnp
import lrjax.integrations  # lrjax
import numpy as np
import optax
from lrjax.demos import load_digits

images, labels = map(jnp.asarray, load_digits())
STEPS, BATCH = 200, 64


def loss_fn(params, rows):
    logits = jnp.tanh(images[rows] @ params["w"]) @ params["v"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()


def train(lr, key):  # its own loop, schedule and batches
    one, two, three = jax.random.split(key, 3)
    params = {"w": jax.random.normal(one, (64, 64)) / 8, "v": jax.random.normal(two, (64, 10)) / 8}
    optimizer = optax.sgd(optax.cosine_decay_schedule(lr, STEPS), momentum=0.9)

    def step(carry, key):
        params, opt = carry
        rows = jax.random.randint(key, (BATCH,), 256, len(images))
        updates, opt = optimizer.update(jax.grad(loss_fn)(params, rows), opt)
        return (optax.apply_updates(params, updates), opt), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(three, STEPS))
    right = jnp.argmax(jnp.tanh(images[:256] @ params["w"]) @ params["v"], axis=1) == labels[:256]
    return {"loss": loss_fn(params, jnp.arange(256)), "accuracy": right.mean()}


task = lrjax.integrations.function_task(train)  # lrjax
grid = {"lr": np.geomspace(1e-3, 1.0, 7)}  # lrjax
result = lrjax.sweep(task, task.set_lr, grid, num_seeds=3, train_steps=1, key=jax.random.key(0))  # lrjax
print(result.summary(), result.best("accuracy", mode="max").settings)  # lrjax
