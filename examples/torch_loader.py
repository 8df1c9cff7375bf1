"""Batches of a torch DataLoader, whose tensors become JAX arrays."""

import jax
import jax.numpy as jnp
import lrjax
import optax
import torch
from lrjax.demos import load_digits
from lrjax.integrations.data import epochs

images, labels = map(torch.from_numpy, load_digits())
train = torch.utils.data.TensorDataset(images[256:], labels[256:])
loader = torch.utils.data.DataLoader(train, batch_size=32, shuffle=True, drop_last=True)
params = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}


def loss_fn(params, batch, key):
    logits = batch[0] @ params["w"] + params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


validation = [(images[:256], labels[:256])]
task = lrjax.Task.from_batches(params, loss_fn, train_batches=epochs(loader), eval_batches=validation)
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=2), key=jax.random.key(0))
print(result.summary())
