"""ResNet18 with BatchNorm, the ImageNet layout; images are NHWC."""

import functools

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

STAGES = 4


class ResNet18(nn.Module):
    """Seventeen convolutions in eight residual blocks, and a linear head.

    Attributes:
      classes: labels.
      width: channels of the first stage, 64 in the paper; each later stage has twice as many.
      momentum: weight of the past in the running statistics.
    """

    classes: int
    width: int = 64
    momentum: float = 0.9

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width 3"], *, train: bool) -> Float[Array, "batch classes"]:
        """Logits. With `train` the statistics are those of the batch, and "batch_stats" moves."""
        check_image_size(images.shape[1])
        normalise = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=self.momentum, epsilon=1e-5)

        def convolve(x: Array, channels: int, size: int, stride: int) -> Array:
            padding = [(size // 2, size // 2)] * 2
            weights = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
            x = nn.Conv(channels, (size, size), stride, padding=padding, use_bias=False, kernel_init=weights)(x)
            return normalise()(x)

        x = nn.relu(convolve(images, self.width, 7, 2))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])
        for stage in range(STAGES):
            channels = self.width * 2**stage
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                y = convolve(nn.relu(convolve(x, channels, 3, stride)), channels, 3, 1)
                x = nn.relu(y + (x if y.shape == x.shape else convolve(x, channels, 1, stride)))
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def check_image_size(size: int) -> None:
    """Raise where the last stage would be smaller than its own kernels.

    The stages lie at 1/4, 1/8, 1/16 and 1/32 of the image. A 3x3 kernel on 2x2 pixels (64x64 images) also is what
    XLA on a CPU runs about thirty times slower.

    Raises:
      ValueError: it would.
    """
    if size // 32 < 4:
        raise ValueError(
            f"`image_size` must be at least 128 pixels, got {size}: the last stage is 1/32 of it, {size // 32}x"
            f"{size // 32} pixels, and has kernels of 3x3."
        )
