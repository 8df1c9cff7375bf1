"""bfloat16 (or float16) in the model, float32 in the weights, the optimizer and the loss."""

import jax
import jax.numpy as jnp
import lrjax
import optax
from lrjax.demos import load_digits

images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}
COMPUTE = jnp.bfloat16


def init(key):
    one, two = jax.random.split(key)
    return {"w": 0.2 * jax.random.normal(one, (64, 32)), "v": 0.2 * jax.random.normal(two, (32, 10))}


def loss_fn(params, batch, key):
    low = jax.tree.map(lambda leaf: leaf.astype(COMPUTE), params)  # the gradient comes back in float32
    logits = jnp.tanh(batch[0].astype(COMPUTE) @ low["w"]) @ low["v"]
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), batch[1]).mean()


task = lrjax.Task.from_arrays(init, loss_fn, **data)
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))
print(result.summary())
