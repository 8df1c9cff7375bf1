"""The five models of the speed benchmark, as JAX users write them: flax modules, optax optimizers, synthetic data.

The data are random with labels from a random linear teacher: speed does not depend on them, but the losses move.
`torch_models.py` holds the same five in PyTorch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import lrjax

Optimizer = Literal["sgd", "adam", "adamw"]
VOCABULARY, SEQUENCE, CLASSES = 256, 64, 10


class Mlp(nn.Module):
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(CLASSES)(x)


class Transformer(nn.Module):
    """A causal language model, normalised before each part."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    dtype: Any = jnp.float32  # of the activations

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        attention = functools.partial(nn.MultiHeadDotProductAttention, num_heads=self.heads, dtype=self.dtype)
        dense, norm = (functools.partial(layer, dtype=self.dtype) for layer in (nn.Dense, nn.LayerNorm))
        position = self.param("position", nn.initializers.normal(0.02), (SEQUENCE, self.width))
        x = nn.Embed(VOCABULARY, self.width, dtype=self.dtype)(tokens) + position.astype(self.dtype)
        mask = nn.make_causal_mask(tokens)
        for _ in range(self.layers):
            x = x + attention()(norm()(x), mask=mask)
            x = x + dense(self.width)(nn.gelu(dense(4 * self.width)(norm()(x))))
        return dense(VOCABULARY)(norm()(x)).astype(jnp.float32)


class ConvNet(nn.Module):
    """Two convolutions with average pooling and two dense layers; images are NHWC."""

    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for channels in (32, 64):
            x = nn.Conv(channels, (3, 3))(x)
            if self.batch_norm:
                x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = nn.avg_pool(nn.relu(x), (2, 2), strides=(2, 2))
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(CLASSES)(x)


class ResNet18(nn.Module):
    """ResNet18 with BatchNorm, the ImageNet layout; images are NHWC."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def conv(x: jax.Array, channels: int, size: int, stride: int) -> jax.Array:
            pad = [(size // 2, size // 2)] * 2
            x = nn.Conv(channels, (size, size), (stride, stride), padding=pad, use_bias=False)(x)
            return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)

        x = nn.max_pool(nn.relu(conv(x, 64, 7, 2)), (3, 3), (2, 2), padding=[(1, 1), (1, 1)])
        for stage, channels in enumerate((64, 128, 256, 512)):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                y = conv(nn.relu(conv(x, channels, 3, stride)), channels, 3, 1)
                x = nn.relu(y + (x if y.shape == x.shape else conv(x, channels, 1, stride)))
        return nn.Dense(CLASSES)(jnp.mean(x, axis=(1, 2)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A model of the benchmark.

    Attributes:
      name: its name in tables and files.
      module: the flax module.
      optimizer: sgd (with momentum 0.9), adam or adamw.
      batch_size: examples in a training batch, and in the one validation batch.
      num_steps: optimizer updates of a trial.
      example: shape of one input; () for tokens.
      convolutions: whether it holds any.
      batch_norm: whether it holds BatchNorm, so that its state is more than parameters.
    """

    name: str
    module: nn.Module
    optimizer: Optimizer
    batch_size: int
    num_steps: int
    example: tuple[int, ...]
    convolutions: bool = False
    batch_norm: bool = False

    def task(self) -> lrjax.Task:
        """The problem, made of new function objects at every call: so no executable of an earlier one is reused."""
        train, validation = self.data(self.num_steps * self.batch_size, 0), self.data(self.batch_size, 1)
        build = _batchnorm_task if self.batch_norm else _plain_task
        return build(self, train=train, validation=validation, batch_size=self.batch_size)

    @functools.cached_property
    def variables(self) -> Any:
        """The initial parameters (and statistics), drawn once."""
        x = _inputs_and_labels(self.data(1, 0))[0]
        arguments = {"train": False} if self.batch_norm else {}
        return jax.jit(functools.partial(self.module.init, **arguments))(jax.random.key(0), x)

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    def data(self, count: int, seed: int) -> Any:
        """Inputs and labels, or token sequences one longer than the model's input."""
        rng, teacher = np.random.default_rng(seed), np.random.default_rng(2)
        if not self.example:
            return rng.integers(0, VOCABULARY, (count, SEQUENCE + 1), np.int32)
        x = rng.standard_normal((count, *self.example), np.float32)
        scores = x.reshape(count, -1) @ teacher.standard_normal((int(np.prod(self.example)), CLASSES), np.float32)
        return x, scores.argmax(-1).astype(np.int32)

    def make_optimizer(self) -> Callable[[Any], optax.GradientTransformation]:
        """A new factory at every call, for the same reason."""
        if self.optimizer == "sgd":
            return lambda lr: optax.sgd(lr, momentum=0.9)
        if self.optimizer == "adam":
            return lambda lr: optax.adam(lr)
        return lambda lr: optax.adamw(lr, weight_decay=1e-4)

    def lrs(self, count: int) -> np.ndarray:
        """Learning rates at which nothing diverges, so that all engines agree."""
        high = 1e-2 if self.optimizer == "sgd" else 3e-3
        return np.geomspace(high / 100, high, count).astype(np.float32)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _inputs_and_labels(batch: Any) -> tuple[jax.Array, jax.Array]:
    return batch if isinstance(batch, tuple) else (batch[:, :-1], batch[:, 1:])


def _plain_task(model: Model, **data: Any) -> lrjax.Task:
    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        x, labels = _inputs_and_labels(batch)
        return _cross_entropy(model.module.apply({"params": params}, x), labels)

    return lrjax.Task.from_arrays(model.variables["params"], loss_fn, **data)


def _batchnorm_task(model: Model, **data: Any) -> lrjax.Task:
    def loss_fn(params: Any, statistics: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": statistics}
        logits, changed = model.module.apply(variables, batch[0], train=True, mutable=["batch_stats"])
        return _cross_entropy(logits, batch[1]), changed["batch_stats"]

    def eval_fn(params: Any, statistics: Any, batch: Any) -> jax.Array:
        logits = model.module.apply({"params": params, "batch_stats": statistics}, batch[0], train=False)
        return _cross_entropy(logits, batch[1])

    init = model.variables["params"], model.variables["batch_stats"]
    return lrjax.Task.from_arrays(init, loss_fn, stateful=True, eval_fn=eval_fn, **data)


MODELS = {
    model.name: model
    for model in (
        Model(name="tiny_mlp", module=Mlp((32,)), optimizer="adam", batch_size=64, num_steps=20, example=(64,)),
        Model(name="mlp", module=Mlp((256, 256)), optimizer="sgd", batch_size=128, num_steps=20, example=(784,)),
        Model(name="transformer", module=Transformer(), optimizer="adamw", batch_size=16, num_steps=4, example=()),
        Model(
            name="conv_net",
            module=ConvNet(),
            optimizer="sgd",
            batch_size=32,
            num_steps=4,
            example=(32, 32, 3),
            convolutions=True,
        ),
        Model(
            name="resnet18",
            module=ResNet18(),
            optimizer="sgd",
            batch_size=8,
            num_steps=2,
            example=(128, 128, 3),
            convolutions=True,
            batch_norm=True,
        ),
    )
}
