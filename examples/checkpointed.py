"""A loss that is computed again in the backward pass (jax.checkpoint): less memory for every copy, so more at once."""

import jax
import jax.numpy as jnp
import lrjax
import optax
from lrjax.demos import load_digits

images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}


def init(key):
    one, two = jax.random.split(key)
    return {"w": 0.2 * jax.random.normal(one, (64, 32)), "v": 0.2 * jax.random.normal(two, (32, 10))}


def loss_fn(params, batch, key):
    hidden = jax.checkpoint(lambda w, x: jnp.tanh(x @ w))(params["w"], batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ params["v"], batch[1]).mean()


task = lrjax.Task.from_arrays(init, loss_fn, **data)
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))
print(result.summary())
