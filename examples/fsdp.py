"""A transformer over several devices (FSDP): its parameters, moments and batches are spread over a mesh.

Here the devices are four parts of one CPU: what a program of one device does on a pod.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")  # before JAX is imported

import jax
import jax.numpy as jnp
import lrjax  # lrjax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

STEPS, LENGTH, WIDTH, HEADS, LAYERS = 200, 32, 64, 4, 2
mesh = Mesh(jax.devices(), ("data",))
spread = NamedSharding(mesh, PartitionSpec("data"))
letters = np.frombuffer(Path(argparse.__file__).read_bytes(), np.uint8)  # a text that every Python has
text = (letters % 128)[: len(letters) // LENGTH * LENGTH].reshape(-1, LENGTH).astype(np.int32)


def init(key):
    shapes = {
        "letters": (128, WIDTH),
        "places": (LENGTH, WIDTH),
        "qkv": (WIDTH, LAYERS, 3 * WIDTH),
        "joined": (WIDTH, LAYERS, WIDTH),
        "wide": (WIDTH, LAYERS, 4 * WIDTH),
        "narrow": (4 * WIDTH, LAYERS, WIDTH),
        "out": (WIDTH, 128),
    }
    keys = jax.random.split(key, len(shapes))
    normal = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}
    params = {name: leaf / len(leaf) ** 0.5 for name, leaf in normal.items()}
    return jax.device_put(params, spread)  # every leaf along its first axis


def norm(x):
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def block(x, layer):
    q, k, v = jnp.split(norm(x) @ layer["qkv"], 3, axis=-1)
    heads = lambda x: x.reshape(*x.shape[:2], HEADS, -1)
    attended = jax.nn.dot_product_attention(heads(q), heads(k), heads(v), is_causal=True)
    x = x + attended.reshape(x.shape) @ layer["joined"]
    return x + jax.nn.gelu(norm(x) @ layer["wide"]) @ layer["narrow"]


def loss_fn(params, batch, key):
    batch = jax.lax.with_sharding_constraint(batch, spread)
    x = params["letters"][batch] + params["places"]
    for index in range(LAYERS):
        layer = {name: params[name][:, index] for name in ("qkv", "joined", "wide", "narrow")}
        x = jax.checkpoint(block)(x, layer)  # computed again in the backward pass: less memory
    logits = norm(x) @ params["out"]
    return optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], batch[:, 1:]).mean()


def make_optimizer(lr):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(lr, weight_decay=0.1))


task = lrjax.Task.from_arrays(init, loss_fn, train=text[128:], validation=text[:128], batch_size=16)  # lrjax
result = lrjax.find_lr(task, make_optimizer, key=jax.random.key(0), train_steps=STEPS)  # lrjax
print(result.summary(), result.execution.reason, sep="\n")
