"""The parts that both transformers are made of: attention and the post-LN layers."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

WEIGHTS = nn.initializers.truncated_normal(0.02)


class Attention(nn.Module):
    """Multi-head attention with flat weight matrices, as the published checkpoints have them.

    Attributes:
      heads: heads; they divide the width.
      dropout: rate on the attention weights.
      weights: initialiser of the weight matrices.
    """

    heads: int
    dropout: float = 0.0
    weights: nn.initializers.Initializer = WEIGHTS

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "batch to width"],
        memory: Float[Array, "batch from width"],
        mask: Bool[Array, "batch #to from"],
        *,
        train: bool,
    ) -> Float[Array, "batch to width"]:
        """Each query reads the places of `memory` that `mask` lets it see."""
        width = queries.shape[-1]

        def project(name: str, x: jax.Array) -> jax.Array:
            x = nn.Dense(width, kernel_init=self.weights, name=name)(x)
            return x.reshape(*x.shape[:2], self.heads, width // self.heads)

        q, k, v = project("query", queries), project("key", memory), project("value", memory)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / jnp.sqrt(q.shape[-1]).astype(q.dtype)
        scores = jnp.where(mask[:, None], scores, jnp.finfo(scores.dtype).min)
        weights = nn.Dropout(self.dropout, deterministic=not train)(jax.nn.softmax(scores))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(queries.shape)
        return nn.Dense(width, kernel_init=self.weights, name="output")(mixed)


class Layer(nn.Module):
    """A post-LN transformer layer: x = norm(x + part(x)) for each part.

    Attributes:
      heads: heads of the attention.
      hidden: width of the feed-forward part.
      dropout: rate on attention weights and on the output of every part.
      epsilon: of the layer normalisation.
      cross: whether there is a second attention, over an encoder's output.
      weights: initialiser of the weight matrices.
    """

    heads: int
    hidden: int
    dropout: float
    epsilon: float
    cross: bool = False
    weights: nn.initializers.Initializer = WEIGHTS

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch to width"],
        mask: Bool[Array, "batch #to to"],
        memory: Float[Array, "batch from width"] | None = None,
        memory_mask: Bool[Array, "batch #to from"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch to width"]:
        """Hidden states after the layer."""

        def add(name: str, x: jax.Array, part: jax.Array) -> jax.Array:
            part = nn.Dropout(self.dropout, deterministic=not train)(part)
            return nn.LayerNorm(epsilon=self.epsilon, name=name)(x + part)

        attention = Attention(self.heads, self.dropout, self.weights, name="attention")
        x = add("attention_norm", x, attention(x, x, mask, train=train))
        if self.cross:
            attention = Attention(self.heads, self.dropout, self.weights, name="cross")
            x = add("cross_norm", x, attention(x, memory, memory_mask, train=train))
        inner = nn.gelu(nn.Dense(self.hidden, kernel_init=self.weights, name="inner")(x), approximate=False)
        return add("outer_norm", x, nn.Dense(x.shape[-1], kernel_init=self.weights, name="outer")(inner))
