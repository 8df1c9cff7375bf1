"""The networks of the tasks that are judged by a loss."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from .modules import MLP


class GPT(nn.Module):
    """Causal pre-norm blocks of attention and a feed-forward layer."""

    vocabulary: int
    width: int = 32
    depth: int = 2
    heads: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        positions = self.param("positions", nn.initializers.normal(0.02), (x.shape[1], self.width))
        hidden, mask = nn.Embed(self.vocabulary, self.width)(x) + positions, nn.make_causal_mask(x)
        for _ in range(self.depth):
            hidden = hidden + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(hidden), mask=mask)
            hidden = hidden + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(hidden))))
        return nn.Dense(self.vocabulary)(nn.LayerNorm()(hidden))


class LSTM(nn.Module):
    """A recurrent net that says the next token after each."""

    vocabulary: int
    width: int = 48

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = nn.RNN(nn.OptimizedLSTMCell(self.width))(nn.Embed(self.vocabulary, self.width)(x))
        return nn.Dense(self.vocabulary)(hidden)


class Denoiser(nn.Module):
    """Says the noise in a vector at a time between 0 and 1."""

    outputs: int
    width: int = 96

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        angles = time[:, None] * np.pi * 2.0 ** np.arange(4)
        inputs = jnp.concatenate([x, jnp.sin(angles), jnp.cos(angles)], axis=-1)
        return MLP(self.outputs, (self.width, self.width), "gelu")(inputs)


class VariationalAutoEncoder(nn.Module):
    """Gives logits, and the mean and the log variance of the code."""

    outputs: int
    width: int = 64
    code: int = 8

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        mean, log_variance = jnp.split(MLP(2 * self.code, (self.width,))(x), 2, axis=-1)
        code = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        return MLP(self.outputs, (self.width,))(code), mean, log_variance


class GraphConvolutions(nn.Module):
    """Two layers over a whole graph, then the logits of the nodes that are asked for; both arrays have a row a node."""

    outputs: int
    links: np.ndarray
    features: np.ndarray
    width: int = 32

    @nn.compact
    def __call__(self, nodes: jax.Array) -> jax.Array:
        hidden = nn.relu(jnp.asarray(self.links) @ nn.Dense(self.width)(jnp.asarray(self.features)))
        return (jnp.asarray(self.links) @ nn.Dense(self.outputs)(hidden))[nodes]
