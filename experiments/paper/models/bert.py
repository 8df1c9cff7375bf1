"""BERT with a classification head: post-LN encoder, learned positions, token types; and its published weights."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from experiments.paper.models.attention import WEIGHTS, Layer

Pooling = Literal["pooler", "first", "mean"]


class Encoder(nn.Module):
    """BERT without a head.

    Attributes:
      vocabulary, positions, types: rows of the three embedding tables.
      width, layers, heads, hidden: the shape; hidden is the feed-forward width.
      dropout: rate everywhere.
      epsilon: of the layer normalisation.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    positions: int = 512
    types: int = 2
    dropout: float = 0.1
    epsilon: float = 1e-12

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "batch length"],
        mask: Bool[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch length width"]:
        """Hidden states; those of padding (mask False) mean nothing, and nothing depends on them."""

        def table(name: str, rows: int) -> nn.Embed:
            return nn.Embed(rows, self.width, embedding_init=WEIGHTS, name=name)

        types = jnp.zeros_like(ids) if types is None else types
        x = table("words", self.vocabulary)(ids) + table("types", self.types)(types)
        x = x + table("positions", self.positions)(jnp.arange(ids.shape[1]))
        x = nn.LayerNorm(epsilon=self.epsilon, name="norm")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for index in range(self.layers):
            layer = Layer(self.heads, self.hidden, self.dropout, self.epsilon, name=f"layer_{index}")
            x = layer(x, mask[:, None, :], train=train)
        return x


class Classifier(nn.Module):
    """An encoder, one vector for each text, and a linear head.

    Attributes:
      encoder: the encoder.
      classes: labels.
      pooling: "pooler" (a tanh layer on the first token, as BERT has it), "first" (that token as it is) or "mean"
        (the mean over the text, as sentence encoders have it).
    """

    encoder: Encoder
    classes: int
    pooling: Pooling = "pooler"

    @nn.compact
    def __call__(
        self, ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"], *, train: bool
    ) -> Float[Array, "batch classes"]:
        """Logits."""
        hidden = self.encoder(ids, mask, train=train)
        if self.pooling == "mean":
            weights = mask[:, :, None].astype(hidden.dtype)
            pooled = (hidden * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1.0)
        else:
            pooled = hidden[:, 0]
        if self.pooling == "pooler":
            pooled = nn.tanh(nn.Dense(pooled.shape[-1], kernel_init=WEIGHTS, name="pooler")(pooled))
        pooled = nn.Dropout(self.encoder.dropout, deterministic=not train)(pooled)
        return nn.Dense(self.classes, kernel_init=WEIGHTS, name="head")(pooled)


_EMBEDDINGS = {"words": "word_embeddings", "positions": "position_embeddings", "types": "token_type_embeddings"}
_DENSE = {
    ("attention", "query"): "attention.self.query",
    ("attention", "key"): "attention.self.key",
    ("attention", "value"): "attention.self.value",
    ("attention", "output"): "attention.output.dense",
    ("inner",): "intermediate.dense",
    ("outer",): "output.dense",
}
_NORMS = {"attention_norm": "attention.output.LayerNorm", "outer_norm": "output.LayerNorm"}


def bert_from_safetensors(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Published BERT weights as parameters of `Classifier`, all but the head.

    Args:
      tensors: name -> array, as Hugging Face names them (with or without "bert." before the names, "gamma" and
        "beta" for "weight" and "bias" as in the oldest files). What is no part of the encoder is left out.

    Returns:
      {"encoder": ...}, and "pooler" if there is one. `with_weights` puts them into parameters that have a head.

    Raises:
      ValueError: a tensor is missing; the message names it.
    """
    renamed = {_modern(name): np.asarray(tensor) for name, tensor in tensors.items()}

    def take(name: str) -> np.ndarray:
        if name not in renamed:
            raise ValueError(
                f"`bert_from_safetensors(tensors)` must hold {name!r}, as BERT checkpoints do, but has only "
                f"{len(renamed)} other tensors, such as {sorted(renamed)[:3]}. Is it an encoder of BERT's layout?"
            )
        return renamed[name]

    def dense(name: str) -> dict[str, np.ndarray]:
        return {"kernel": take(f"{name}.weight").T, "bias": take(f"{name}.bias")}

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"scale": take(f"{name}.weight"), "bias": take(f"{name}.bias")}

    encoder: dict[str, Any] = {
        ours: {"embedding": take(f"embeddings.{theirs}.weight")} for ours, theirs in _EMBEDDINGS.items()
    }
    encoder["norm"] = norm("embeddings.LayerNorm")
    for index in range(_count_layers(renamed)):
        prefix, layer = f"encoder.layer.{index}", {}
        for path, theirs in _DENSE.items():
            place = layer if len(path) == 1 else layer.setdefault(path[0], {})
            place[path[-1]] = dense(f"{prefix}.{theirs}")
        layer |= {ours: norm(f"{prefix}.{theirs}") for ours, theirs in _NORMS.items()}
        encoder[f"layer_{index}"] = layer
    pooler = {"pooler": dense("pooler.dense")} if "pooler.dense.weight" in renamed else {}
    return {"encoder": encoder, **pooler}


def with_weights(params: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    """Fresh parameters of a `Classifier` with the parts that `weights` has; parts it does not use are left out.

    Raises:
      ValueError: a shape differs, so the weights are of another model.
    """
    merged = {name: weights.get(name, part) for name, part in params.items()}
    wanted, got = jax.tree.map(np.shape, dict(params)), jax.tree.map(np.shape, merged)
    if wanted != got:
        raise ValueError(f"`with_weights(weights)` must have the shapes of the model, {wanted}, got {got}.")
    return merged


def encoder_of(weights: Mapping[str, Any], heads: int, **options: Any) -> Encoder:
    """The encoder whose parameters these are; the number of heads stands in no shape (config.json has it)."""
    tables = weights["encoder"]
    vocabulary, width = tables["words"]["embedding"].shape
    return Encoder(
        vocabulary=vocabulary,
        width=width,
        layers=sum(name.startswith("layer_") for name in tables),
        heads=heads,
        hidden=tables["layer_0"]["inner"]["bias"].shape[0],
        positions=len(tables["positions"]["embedding"]),
        types=len(tables["types"]["embedding"]),
        **options,
    )


def _modern(name: str) -> str:
    name = name.removeprefix("bert.")
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))


def _count_layers(tensors: Mapping[str, Any]) -> int:
    found = (re.match(r"encoder\.layer\.(\d+)\.", name) for name in tensors)
    return 1 + max((int(match[1]) for match in found if match), default=0)
