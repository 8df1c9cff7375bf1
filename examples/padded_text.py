"""Lines of text of different lengths (Flax linen, GRU): padded, masked, and counted by their letters."""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import lrjax  # lrjax
import numpy as np
import optax
from flax import linen as nn
from lrjax.integrations.flax import linen_task  # lrjax

STEPS, LENGTH = 300, 48
lines = [line.strip()[:LENGTH] for line in Path(argparse.__file__).read_text().splitlines() if len(line.strip()) > 3]
letters = np.array([[ord(letter) % 128 for letter in line.ljust(LENGTH)] for line in lines], np.int32)
mask = np.array([[place < len(line) for place in range(LENGTH)] for line in lines], np.float32)


class Model(nn.Module):
    @nn.compact
    def __call__(self, letters, mask):
        x = nn.Embed(128, 32)(letters)
        x = nn.RNN(nn.GRUCell(64))(x, seq_lengths=mask.sum(axis=1).astype(jnp.int32))
        return nn.Dense(128)(x)


def loss(logits, batch):  # the mean over the letters that are there
    losses = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], batch["letters"][:, 1:])
    there = batch["mask"][:, 1:]
    return jnp.sum(losses * there) / jnp.sum(there)


order = np.random.default_rng(0).permutation(len(lines))
text = {"letters": letters[order], "mask": mask[order]}
train, validation = ({name: leaf[rows] for name, leaf in text.items()} for rows in (slice(256, None), slice(256)))
data = {"train": train, "validation": validation, "batch_size": 32}
inputs = lambda batch: (batch["letters"], batch["mask"])  # lrjax
count = lambda batch: batch["mask"][:, 1:].sum()  # lrjax: evaluation batches count by their letters
task = linen_task(Model(), loss, inputs=inputs, eval_weight=count, **data)  # lrjax
result = lrjax.find_lr(task, optax.adam, key=jax.random.key(0), train_steps=STEPS)  # lrjax
print(result.summary())
