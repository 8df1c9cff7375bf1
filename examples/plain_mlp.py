"""Plain JAX: parameters and a loss function of them."""

import jax
import jax.numpy as jnp
import lrjax  # lrjax
import optax
from lrjax.demos import load_digits
from lrjax.integrations.plain import loss_task  # lrjax

images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}
keys = jax.random.split(jax.random.key(0))
params = [0.2 * jax.random.normal(keys[0], (64, 32)), 0.2 * jax.random.normal(keys[1], (32, 10))]


def loss(params, batch):
    logits = jnp.tanh(batch[0] @ params[0]) @ params[1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


task = loss_task(params, loss, **data)  # lrjax
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))  # lrjax
optimizer = optax.adam(result.lr)  # lrjax
