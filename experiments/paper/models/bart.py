"""BART: an encoder and a causal decoder over one embedding table; teacher forcing, and greedy decoding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from experiments.paper.models.attention import Layer


class Bart(nn.Module):
    """Writes one text from another.

    Attributes:
      vocabulary: rows of the embedding table, which also is the output layer.
      width, layers, heads, hidden: the shape; so many layers in the encoder and in the decoder each.
      positions: longest text on either side.
      dropout: rate everywhere.
      epsilon: of the layer normalisation.
      init_std: standard deviation of fresh weights. 0.02 is BERT's, of width 768; in narrow models attention hardly
        begins to learn from it.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    positions: int
    dropout: float = 0.1
    epsilon: float = 1e-5
    init_std: float = 0.02

    def setup(self) -> None:
        weights = nn.initializers.truncated_normal(self.init_std)
        shape = self.heads, self.hidden, self.dropout, self.epsilon
        self.words = nn.Embed(self.vocabulary, self.width, embedding_init=weights)
        self.positions_in = nn.Embed(self.positions, self.width, embedding_init=weights)
        self.positions_out = nn.Embed(self.positions, self.width, embedding_init=weights)
        self.norm_in, self.norm_out = nn.LayerNorm(epsilon=self.epsilon), nn.LayerNorm(epsilon=self.epsilon)
        self.drop = nn.Dropout(self.dropout)
        self.encoder = [Layer(*shape, weights=weights) for _ in range(self.layers)]
        self.decoder = [Layer(*shape, cross=True, weights=weights) for _ in range(self.layers)]
        self.bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,))

    def encode(
        self, ids: Int[Array, "batch from"], mask: Bool[Array, "batch from"], *, train: bool
    ) -> Float[Array, "batch from width"]:
        """The source as the decoder reads it."""
        x = self.norm_in(self.words(ids) + self.positions_in(jnp.arange(ids.shape[1])))
        x = self.drop(x, deterministic=not train)
        for layer in self.encoder:
            x = layer(x, mask[:, None, :], train=train)
        return x

    def decode(
        self,
        ids: Int[Array, "batch to"],
        memory: Float[Array, "batch from width"],
        mask: Bool[Array, "batch from"],
        *,
        train: bool,
    ) -> Float[Array, "batch to vocabulary"]:
        """Logits of the token after each of `ids`; no place sees a later one."""
        x = self.norm_out(self.words(ids) + self.positions_out(jnp.arange(ids.shape[1])))
        x = self.drop(x, deterministic=not train)
        causal = jnp.tril(jnp.ones((1, ids.shape[1], ids.shape[1]), bool))
        for layer in self.decoder:
            x = layer(x, causal, memory, mask[:, None, :], train=train)
        return self.words.attend(x) + self.bias

    def __call__(
        self,
        source: Int[Array, "batch from"],
        mask: Bool[Array, "batch from"],
        target: Int[Array, "batch to"],
        *,
        train: bool,
    ) -> Float[Array, "batch to vocabulary"]:
        """Logits of the token after each of `target`'s."""
        return self.decode(target, self.encode(source, mask, train=train), mask, train=train)


class Score(NamedTuple):
    """How well the next token was told, over all tokens that are no padding.

    Attributes:
      loss: mean cross-entropy, in nats.
      accuracy: share of tokens that were the most likely ones.
    """

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]


def score_tokens(
    logits: Float[Array, "batch to vocabulary"], targets: Int[Array, "batch to"], *, padding: int
) -> Score:
    """Token loss and accuracy under teacher forcing; padding does not count."""
    counts = (targets != padding).astype(logits.dtype)
    total = jnp.maximum(counts.sum(), 1.0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    right = jnp.argmax(logits, axis=-1) == targets
    return Score((losses * counts).sum() / total, (right * counts).sum() / total)


def decode_greedily(
    model: Bart,
    params: PyTree,
    source: Int[Array, "batch from"],
    mask: Bool[Array, "batch from"],
    *,
    length: int,
    start: int,
    end: int,
    padding: int,
) -> Int[Array, "batch to"]:
    """The most likely next token, again and again, until every text has ended. One program; jit it.

    Args:
      model: the model.
      params: its parameters.
      source: token ids.
      mask: False for padding.
      length: tokens to write at most.
      start, end, padding: ids of the special tokens.

    Returns:
      Token ids without the start, of shape (batch, length); padding after the end token.
    """
    variables = {"params": params}
    memory = model.apply(variables, source, mask, train=False, method="encode")
    written = jnp.full((source.shape[0], length + 1), padding, jnp.int32).at[:, 0].set(start)
    ended = jnp.zeros(source.shape[0], bool)

    def go_on(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        place, _, ended = carry
        return (place < length) & ~ended.all()

    def write(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        place, written, ended = carry
        logits = model.apply(variables, written[:, :-1], memory, mask, train=False, method="decode")
        here = lax.dynamic_index_in_dim(logits, place, axis=1, keepdims=False)
        token = jnp.where(ended, padding, jnp.argmax(here, axis=-1).astype(jnp.int32))
        written = lax.dynamic_update_index_in_dim(written, token, place + 1, axis=1)
        return place + 1, written, ended | (token == end)

    return lax.while_loop(go_on, write, (jnp.int32(0), written, ended))[1][:, 1:]
