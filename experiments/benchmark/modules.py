"""The networks of the benchmark: small flax modules of different kinds."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn


class Linear(nn.Module):
    """One layer."""

    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class MLP(nn.Module):
    """Dense layers; `kind` is the nonlinearity."""

    outputs: int
    widths: Sequence[int] = (64,)
    kind: str = "relu"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(len(x), -1)
        for width in self.widths:
            x = getattr(nn, self.kind)(nn.Dense(width)(x))
        return nn.Dense(self.outputs)(x)


class DroppedMLP(nn.Module):
    """Dense layers with dropout."""

    outputs: int
    widths: Sequence[int] = (128, 128)
    rate: float = 0.3

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = x.reshape(len(x), -1)
        for width in self.widths:
            x = nn.Dropout(self.rate, deterministic=not train)(nn.relu(nn.Dense(width)(x)))
        return nn.Dense(self.outputs)(x)


class CNN(nn.Module):
    """Two convolutions with strides, then a dense layer; images of shape (n, side, side, channels)."""

    outputs: int
    widths: Sequence[int] = (8, 16)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths:
            x = nn.relu(nn.Conv(width, (3, 3), strides=2)(x))
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class ResNet(nn.Module):
    """Residual blocks with BatchNorm, one for each width, halving the side from one to the next."""

    outputs: int
    widths: Sequence[int] = (8, 16)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def norm(y: jax.Array) -> jax.Array:
            return nn.BatchNorm(use_running_average=not train, momentum=0.9)(y)

        x = nn.relu(norm(nn.Conv(self.widths[0], (3, 3), use_bias=False)(x)))
        for index, width in enumerate(self.widths):
            stride = 1 if index == 0 else 2
            y = nn.relu(norm(nn.Conv(width, (3, 3), strides=stride, use_bias=False)(x)))
            y = norm(nn.Conv(width, (3, 3), use_bias=False)(y))
            short = x if index == 0 else norm(nn.Conv(width, (1, 1), strides=stride, use_bias=False)(x))
            x = nn.relu(y + short)
        return nn.Dense(self.outputs)(x.mean((1, 2)))


class GRU(nn.Module):
    """A recurrent net over the second axis; with a vocabulary the inputs are tokens, 0 is padding."""

    outputs: int
    width: int = 32
    vocabulary: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = nn.Embed(self.vocabulary, self.width)(x) if self.vocabulary else x
        hidden = nn.RNN(nn.GRUCell(self.width))(inputs)
        if not self.vocabulary:
            return nn.Dense(self.outputs)(hidden[:, -1])
        return nn.Dense(self.outputs)(_mean(hidden, x))


class BagOfEmbeddings(nn.Module):
    """The mean of the tokens' embeddings, then one layer."""

    outputs: int
    vocabulary: int
    width: int = 32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(self.outputs)(_mean(nn.Embed(self.vocabulary, self.width)(x), x))


class Transformer(nn.Module):
    """One pre-norm block of attention and a feed-forward layer; tokens with a vocabulary, else vectors."""

    outputs: int
    width: int = 32
    heads: int = 4
    vocabulary: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = nn.Embed(self.vocabulary, self.width)(x) if self.vocabulary else nn.Dense(self.width)(x)
        hidden = hidden + self.param("positions", nn.initializers.normal(0.02), (x.shape[1], self.width))
        mask = (x > 0)[:, None, None, :] if self.vocabulary else None
        hidden = hidden + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(hidden), mask=mask)
        hidden = hidden + nn.Dense(self.width)(nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm()(hidden))))
        hidden = nn.LayerNorm()(hidden)
        return nn.Dense(self.outputs)(_mean(hidden, x) if self.vocabulary else hidden.mean(1))


class AutoEncoder(nn.Module):
    """Dense layers to a narrow code and back."""

    outputs: int
    width: int = 64
    code: int = 8

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        code = nn.Dense(self.code)(nn.relu(nn.Dense(self.width)(x)))
        return nn.Dense(self.outputs)(nn.relu(nn.Dense(self.width)(code)))


def _mean(hidden: jax.Array, tokens: jax.Array) -> jax.Array:
    """Over the tokens that are no padding."""
    real = (tokens > 0)[..., None].astype(hidden.dtype)
    return (hidden * real).sum(1) / jnp.maximum(real.sum(1), 1.0)
