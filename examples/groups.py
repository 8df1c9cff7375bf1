"""One learning rate for each group: what is searched is the scale of all of them."""

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
    logits = jnp.tanh(batch[0] @ params["w"]) @ params["v"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def make_optimizer(lr):
    return optax.multi_transform({"body": optax.adam(0.1 * lr), "head": optax.adam(lr)}, {"w": "body", "v": "head"})


task = lrjax.Task.from_arrays(init, loss_fn, **data)
result = lrjax.find_lr(task, make_optimizer, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))
optimizer = make_optimizer(result.lr)
