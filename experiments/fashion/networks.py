"""Two test problems of DeepOBS in Flax: the CNN `2c2d`, which tells clothes apart, and the variational autoencoder.

Layers, initial values and losses as DeepOBS has them (Schneider, Balles & Hennig 2019,
https://github.com/fsschneider/DeepOBS, `_2c2d.py`, `_vae.py`): pixels from 0 to 1, no augmentation, no regularisation.
Unlike there the last training images validate, and every epoch is shuffled whole, not in a window of 20,000 images.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

import lrjax
from experiments.data.fashion_mnist import CLASSES, SIDE, Clothes

VALIDATION = 1024
"""Training images that are held out."""

LATENT = 8
"""Numbers that the autoencoder makes of an image."""


class CNN(nn.Module):
    """`2c2d`: two convolutions, each with max pooling, and two dense layers."""

    @nn.compact
    def __call__(self, images: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch 10"]:
        """Logits of the classes."""
        start: Any = {
            "kernel_init": nn.initializers.truncated_normal(0.05),
            "bias_init": nn.initializers.constant(0.05),
        }
        x = images
        for filters in (32, 64):
            x = nn.max_pool(nn.relu(nn.Conv(filters, (5, 5), **start)(x)), (2, 2), strides=(2, 2))
        x = nn.relu(nn.Dense(1024, **start)(x.reshape(len(x), -1)))
        return nn.Dense(CLASSES, **start)(x)


class VAE(nn.Module):
    """The autoencoder: three convolutions to a Gaussian of eight numbers, three transposed ones back."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch 28 28 1"], key: jax.Array, *, train: bool
    ) -> tuple[Float[Array, "batch 784"], Float[Array, "batch 8"], Float[Array, "batch 8"]]:
        """The images again, and the means and the logarithms of the standard deviations of their Gaussians."""
        start: Any = {"kernel_init": nn.initializers.glorot_uniform()}

        def drop(x: jax.Array) -> jax.Array:
            return nn.Dropout(0.2, deterministic=not train)(x)

        def leaky(x: jax.Array) -> jax.Array:
            return nn.leaky_relu(x, 0.3)

        x = images
        for stride in (2, 2, 1):
            x = drop(leaky(nn.Conv(64, (4, 4), (stride, stride), **start)(x)))
        x = x.reshape(len(x), -1)
        mean, log_std = nn.Dense(LATENT, **start)(x), 0.5 * nn.Dense(LATENT, **start)(x)
        x = mean + jax.random.normal(key, mean.shape) * jnp.exp(log_std)
        for units in (24, 49):
            x = leaky(nn.Dense(units, **start)(x))
        x = x.reshape(-1, 7, 7, 1)
        for stride in (2, 1):
            x = drop(nn.relu(nn.ConvTranspose(64, (4, 4), (stride, stride), **start)(x)))
        x = nn.relu(nn.ConvTranspose(64, (4, 4), **start)(x))
        return nn.sigmoid(nn.Dense(SIDE**2, **start)(x.reshape(len(x), -1))), mean, log_std


def cnn_task(clothes: Clothes, batch_size: int = 128) -> lrjax.Task:
    """Cross-entropy of the classes, in nats."""
    model = CNN()

    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        logits: Any = model.apply(params, _scaled(batch[0]))
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    return _task(clothes, model.init, loss_fn, batch_size)


def vae_task(clothes: Clothes, batch_size: int = 64) -> lrjax.Task:
    """Squared error of an image, summed over its pixels, and the divergence of its Gaussian from the normal one."""
    model = VAE()

    def init(key: jax.Array, images: jax.Array) -> Any:
        return model.init(key, images, key, train=False)

    def loss_of(params: Any, pixels: jax.Array, key: jax.Array, *, train: bool) -> jax.Array:
        images, (noise, dropped) = _scaled(pixels), jax.random.split(key)
        told: Any = model.apply(params, images, noise, train=train, rngs={"dropout": dropped})
        again, mean, log_std = told
        error = jnp.square(again - images.reshape(again.shape)).sum(-1)
        return (error - 0.5 * (1 + 2 * log_std - mean**2 - jnp.exp(2 * log_std)).sum(-1)).mean()

    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        return loss_of(params, batch[0], key, train=True)

    def eval_fn(params: Any, batch: Any) -> jax.Array:
        return loss_of(params, batch[0], jax.random.key(0), train=False)

    return _task(clothes, init, loss_fn, batch_size, eval_fn=eval_fn)


def _scaled(pixels: jax.Array) -> jax.Array:
    return pixels[..., None] / 255.0


def _task(
    clothes: Clothes, init: Callable[..., Any], loss_fn: Callable[..., jax.Array], batch_size: int, **options: Any
) -> lrjax.Task:
    draw, start = jax.jit(init), jnp.zeros((1, SIDE, SIDE, 1))  # compiled once for all seeds and parts
    parts = {"train": slice(None, -VALIDATION), "validation": slice(-VALIDATION, None)}
    return lrjax.Task.from_arrays(
        lambda key: draw(key, start),
        loss_fn,
        **{name: (clothes.train_images[rows], clothes.train_labels[rows]) for name, rows in parts.items()},
        batch_size=batch_size,
        eval_batch_size=128,
        **options,
    )
