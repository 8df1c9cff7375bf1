"""Flax nnx: the CNN of Flax's MNIST tutorial, with BatchNorm and dropout, and an nnx.Optimizer."""

import jax
import optax
from flax import nnx
from lrjax import StepSampling, find_lr  # lrjax
from lrjax.demos import load_digits
from lrjax.integrations.flax import nnx_task, optimizer_with_lr  # lrjax


class CNN(nnx.Module):
    def __init__(self, *, rngs):
        self.conv, self.norm = nnx.Conv(1, 8, kernel_size=(3, 3), rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
        self.dropout, self.linear = nnx.Dropout(rate=0.1), nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x, rngs=None):
        x = nnx.avg_pool(nnx.relu(self.norm(self.conv(x))), window_shape=(2, 2), strides=(2, 2))
        return self.linear(self.dropout(x.reshape(x.shape[0], -1), rngs=rngs))


def loss_fn(model, rngs, batch):
    return optax.softmax_cross_entropy_with_integer_labels(model(batch[0], rngs), batch[1]).mean()


images, labels = load_digits()[0].reshape(-1, 8, 8, 1), load_digits()[1]
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}
model, key = CNN(rngs=nnx.Rngs(0)), jax.random.key(0)
optimizer = nnx.Optimizer(model, optax.adamw(1e-3), wrt=nnx.Param)
result = find_lr(nnx_task(model, loss_fn, **data), optax.adamw, StepSampling(num_seeds=1), key=key)  # lrjax
optimizer = optimizer_with_lr(optimizer, model, optax.adamw, result.lr)  # lrjax
