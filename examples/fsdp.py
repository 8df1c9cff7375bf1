"""A program over several devices (FSDP): trials keep the sharding of parameters, moments and batches."""

import jax
import jax.numpy as jnp
import lrjax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from lrjax.demos import load_digits

images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 64}
spread = NamedSharding(Mesh(jax.devices(), ("data",)), PartitionSpec("data"))


def init(key):
    one, two = jax.random.split(key)
    params = {"w": 0.2 * jax.random.normal(one, (64, 32)), "v": 0.2 * jax.random.normal(two, (32, 10))}
    return jax.device_put(params, spread)  # every leaf along its first axis


def loss_fn(params, batch, key):
    x, y = jax.lax.with_sharding_constraint(batch, spread)
    logits = jnp.tanh(x @ params["w"]) @ params["v"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


task = lrjax.Task.from_arrays(init, loss_fn, **data)
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))
print(result.summary(), result.execution.reason, sep="\n")
