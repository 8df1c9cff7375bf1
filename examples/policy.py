"""Precision as a policy, in the manner of jmp: types of the parameters, of the computation and of the output."""

import jax
import jax.numpy as jnp
import lrjax
import optax
from lrjax.demos import load_digits

images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}
POLICY = {"param": jnp.float32, "compute": jnp.bfloat16, "output": jnp.float32}


def cast(tree, to):
    return jax.tree.map(lambda x: x.astype(POLICY[to]) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def init(key):
    return cast({"w": 0.1 * jax.random.normal(key, (64, 10)), "b": jnp.zeros(10)}, "param")


def loss_fn(params, batch, key):
    params, (images, labels) = cast((params, batch), "compute")
    logits = cast(images @ params["w"] + params["b"], "output")
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


task = lrjax.Task.from_arrays(init, loss_fn, **data)
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))
print(result.summary())
