"""What is measured at several sizes: a transformer that reads source code, an MLP and a CNN that tell clothes apart."""

import functools
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import lrjax
from experiments.benchmark.loss_modules import GPT
from experiments.benchmark.loss_sources import ALPHABET
from experiments.benchmark.modules import CNN, MLP
from experiments.data.fashion_mnist import CLASSES, load_fashion_mnist
from experiments.data.places import data_folder

CONTEXT = 32
"""Bytes that the transformer reads."""

VALIDATION = 1024
"""Examples on which a loss is measured."""


@functools.cache
def source_pieces() -> tuple[np.ndarray, np.ndarray]:
    """Pieces of the standard library's modules in a fixed random order, and the bytes after each of their bytes."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    tokens = np.frombuffer(b"".join(path.read_bytes() for path in files), np.uint8)
    tokens = np.minimum(tokens, ALPHABET - 1).astype(np.int32)
    rows = tokens[: len(tokens) // (CONTEXT + 1) * (CONTEXT + 1)].reshape(-1, CONTEXT + 1)
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    return rows[:, :-1], rows[:, 1:]


@functools.cache
def clothes(data: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The training images, of mean 0 and deviation 1, and their labels."""
    images, labels, _, _ = load_fashion_mnist(data_folder(data))
    scaled = ((images - images.mean()) / images.std()).astype(np.float32)[..., None]
    return scaled, labels


def make_task(module: nn.Module, examples: tuple[np.ndarray, np.ndarray], batch_size: int) -> lrjax.Task:
    """Cross-entropy of what a module says of examples, in nats."""
    x, y = examples

    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        logits: Any = module.apply({"params": params}, batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    return lrjax.Task.from_arrays(
        lambda key: module.init(key, jnp.asarray(x[:2]))["params"],
        loss_fn,
        train=(x[VALIDATION:], y[VALIDATION:]),
        validation=(x[:VALIDATION], y[:VALIDATION]),
        batch_size=batch_size,
        eval_batch_size=VALIDATION,
    )


class Subject(NamedTuple):
    """What is scaled.

    Attributes:
      make_task: `make_task(width, batch_size)`.
      make_optimizer: of a learning rate that stays as it is.
      axes: sizes; the largest of each, twice the one before, is predicted from the others.
      guessing: the loss of a model that knows nothing, in nats.
      seeds: of every learning rate.
      trainings: budget, in trainings of the base.
    """

    make_task: Callable[[int, int], lrjax.Task]
    make_optimizer: Callable[[Any], optax.GradientTransformation]
    axes: dict[str, list[int]]
    guessing: float
    seeds: int
    trainings: float


def subjects(data: str | None) -> dict[str, Subject]:
    """All of them; `data` is the folder of Fashion-MNIST, or None."""

    def transformer(width: int, batch_size: int) -> lrjax.Task:
        return make_task(GPT(ALPHABET, width=width), source_pieces(), batch_size)

    def mlp(width: int, batch_size: int) -> lrjax.Task:
        return make_task(MLP(CLASSES, (width, width)), clothes(data), batch_size)

    def cnn(width: int, batch_size: int) -> lrjax.Task:
        return make_task(CNN(CLASSES, (width, 2 * width)), clothes(data), batch_size)

    def sizes(width: int, batch_size: int, train_steps: int) -> dict[str, list[int]]:
        steps = (1, 1.5, 2, 3, 4, 8)
        smallest = {"width": width, "batch_size": batch_size, "train_steps": train_steps}
        return {axis: [int(step * size) for step in steps] for axis, size in smallest.items()}

    return {
        "transformer_adam": Subject(transformer, optax.adam, sizes(16, 4, 64), np.log(ALPHABET), 2, 800.0),
        "mlp_sgd": Subject(mlp, optax.sgd, sizes(32, 8, 128), np.log(CLASSES), 3, 800.0),
        "cnn_adam": Subject(cnn, optax.adam, sizes(4, 8, 64), np.log(CLASSES), 3, 800.0),
    }
