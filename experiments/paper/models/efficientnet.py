"""EfficientNet-Lite with BatchNorm, and its published weights; images are NHWC.

Source: Tan & Le 2019, EfficientNet, and https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite:
without squeeze and excitation, with ReLU6. Dropout and stochastic depth are left out.
"""

import functools
import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float


class Stage(NamedTuple):
    """Blocks in a row; the first one has the stride.

    Attributes:
      blocks: how many.
      kernel: side of the depthwise kernels.
      stride: 1 or 2.
      expansion: channels within a block, as a multiple of its input's.
      channels: after each block.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


SCALE = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)
"""Mean and deviation that EfficientNet-Lite was trained on: efficientnet_lite_builder.py, MEAN_RGB and STDDEV_RGB."""

LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite(nn.Module):
    """A convolution, inverted bottlenecks with depthwise convolutions, and a linear head.

    Attributes:
      classes: labels.
      stages: of the blocks; the default is Lite0.
      stem: channels of the first convolution.
      features: channels that the head reads.
      momentum: weight of the past in the running statistics.
    """

    classes: int
    stages: tuple[Stage, ...] = LITE0
    stem: int = 32
    features: int = 1280
    momentum: float = 0.9

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width 3"], *, train: bool) -> Float[Array, "batch classes"]:
        """Logits. With `train` the statistics are those of the batch, and "batch_stats" moves."""

        def normalise(x: Array, name: str) -> Array:
            options = {"use_running_average": not train, "momentum": self.momentum, "epsilon": 1e-3}
            return nn.BatchNorm(**options, name=f"{name}_norm")(x)

        def pointwise(x: Array, channels: int, name: str) -> Array:
            return normalise(nn.Dense(channels, use_bias=False, name=name)(x), name)

        x = nn.Conv(self.stem, (3, 3), 2, use_bias=False, name="stem")(images)
        x = nn.relu6(normalise(x, "stem"))
        index = itertools.count()
        for stage in self.stages:
            for stride in (stage.stride, *[1] * (stage.blocks - 1)):
                name, y = f"block_{next(index)}", x
                if stage.expansion > 1:
                    y = nn.relu6(pointwise(y, stage.expansion * x.shape[-1], f"{name}_expand"))
                y = Depthwise(stage.kernel, stride, name=f"{name}_depthwise")(y)
                y = nn.relu6(normalise(y, f"{name}_depthwise"))
                y = pointwise(y, stage.channels, f"{name}_project")
                x = x + y if x.shape == y.shape else y
        x = nn.relu6(pointwise(x, self.features, "last"))
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros, name="head")(jnp.mean(x, axis=(1, 2)))


class Depthwise(nn.Module):
    """A convolution of every channel with a kernel of its own, padded as TensorFlow's "SAME".

    Attributes:
      size: side of the kernels.
      stride: of the output.
    """

    size: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns channels"]:
        """Every channel convolved."""
        shape = (self.size, self.size, 1, x.shape[-1])
        return depthwise(x, self.param("kernel", nn.initializers.lecun_normal(), shape), self.stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(
    x: Float[Array, "batch height width channels"], kernel: Float[Array, "size size 1 channels"], stride: int
) -> Float[Array, "batch rows columns channels"]:
    """What `lax.conv_general_dilated` with a group for each channel gives, as a sum of shifted products.

    XLA on a CPU runs so many groups by a plain loop: forward and backward over 16 images take 309 ms, and this 59, with
    32x32 pixels, 144 channels and 3x3 kernels; 367 and 25 with 8x8, 672 and 5x5. The gradients go image by image, which
    stays in the cache, and sum by a product with ones, which is vectorised where a sum over rows of channels is not.
    """
    places, pads = _layout(x, kernel, stride)
    shifted = _shifts(jnp.pad(x, ((0, 0), *pads, (0, 0))), len(kernel), *places, stride)
    return sum(row * part for row, part in zip(kernel.reshape(-1, x.shape[-1]), shifted, strict=True))


def _depthwise_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, stride), (x, kernel)


def _depthwise_backward(stride: int, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = kept
    size, (height, width, channels) = len(kernel), x.shape[1:]
    (rows, columns), pads = _layout(x, kernel, stride)
    spread = [  # of the gradient: zeros around and between, so that a convolution with stride 1 leads back to x
        (size - 1 - low, length + low - 1 - stride * (number - 1), stride - 1)
        for length, number, (low, _) in zip((height, width), (rows, columns), pads, strict=True)
    ]
    flipped, ones = kernel[::-1, ::-1].reshape(-1, channels), jnp.ones((1, rows * columns), x.dtype)

    def of_image(total: Array, image: tuple[Array, Array]) -> tuple[Array, Array]:
        padded, gradient = image
        shifted = _shifts(padded, size, rows, columns, stride)
        sums = [ones @ (part * gradient).reshape(-1, channels) for part in shifted]
        wide = lax.pad(gradient, jnp.zeros((), x.dtype), (*spread, (0, 0, 0)))
        back = sum(row * part for row, part in zip(flipped, _shifts(wide, size, height, width, 1), strict=True))
        return total + jnp.concatenate(sums), back

    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    of_kernel, of_x = lax.scan(of_image, jnp.zeros((size * size, channels), x.dtype), (padded, gradient))
    return of_x, of_kernel.reshape(kernel.shape)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _layout(x: Array, kernel: Array, stride: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Rows and columns of the output, and the padding of the input before and after its own."""
    places = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    return places, lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), "SAME")


def _shifts(x: Array, size: int, rows: int, columns: int, stride: int) -> list[Array]:
    """What each place of a kernel sees, row by row of the kernel; leading axes of `x` stay."""
    return [
        x[..., i : i + stride * rows : stride, j : j + stride * columns : stride, :]
        for i, j in itertools.product(range(size), repeat=2)
    ]


_NORMS = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}


def efficientnet_from_torch(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Published weights as variables of `EfficientNetLite`.

    Args:
      tensors: name -> array, as https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch names them.

    Returns:
      {"params": ..., "batch_stats": ...}, with the head of the published classes.

    Raises:
      ValueError: a tensor is missing; the message names it.
    """

    def take(name: str) -> np.ndarray:
        if name not in tensors:
            raise ValueError(
                f"`efficientnet_from_torch(tensors)` must hold {name!r}, but has only {len(tensors)} other tensors, "
                f"such as {sorted(tensors)[:3]}. Are these weights of an EfficientNet-Lite?"
            )
        return tensors[name]

    places = {"stem": ("_conv_stem", "_bn0"), "last": ("_conv_head", "_bn1")}
    for name in tensors:
        if found := re.fullmatch(r"(_blocks\.(\d+)\.)_(expand|depthwise|project)_conv\.weight", name):
            block, index, part = found.groups()
            places[f"block_{index}_{part}"] = f"{block}_{part}_conv", block + _NORMS[part]
    params: dict[str, Any] = {"head": {"kernel": take("_fc.weight").T, "bias": take("_fc.bias")}}
    statistics: dict[str, Any] = {}
    for name, (convolution, norm) in places.items():
        kernel = take(f"{convolution}.weight").transpose(2, 3, 1, 0)
        params[name] = {"kernel": kernel if name == "stem" or name.endswith("depthwise") else kernel[0, 0]}
        params[f"{name}_norm"] = {"scale": take(f"{norm}.weight"), "bias": take(f"{norm}.bias")}
        statistics[f"{name}_norm"] = {"mean": take(f"{norm}.running_mean"), "var": take(f"{norm}.running_var")}
    return {"params": params, "batch_stats": statistics}
