"""Fine-tuning with adapters (LoRA): the base is frozen, only the adapters train."""

import jax
import jax.numpy as jnp
import lrjax
import optax
from lrjax.demos import load_digits

images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}
base = 0.1 * jax.random.normal(jax.random.key(1), (64, 10))


def init(key):
    return {"base": base, "down": 0.1 * jax.random.normal(key, (64, 4)), "up": jnp.zeros((4, 10))}


def loss_fn(params, batch, key):
    weights = params["base"] + params["down"] @ params["up"]
    return optax.softmax_cross_entropy_with_integer_labels(batch[0] @ weights, batch[1]).mean()


trainable = {"base": False, "down": True, "up": True}
task = lrjax.Task.from_arrays(init, loss_fn, trainable=trainable, **data)
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))
print(result.summary())
