"""Hymenoptera: 397 photographs of ants and bees, the data of PyTorch's tutorial on transfer learning.

Source: https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html, whose transforms these are:
RandomResizedCrop and a flip for training; Resize(256 / 224 * size) and CenterCrop(size) for validation.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key, UInt8
from PIL import Image

from experiments.data.places import dataset_folder
from lrjax._checks import check_count

Colour = tuple[float, float, float]

CLASSES = ("ants", "bees")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the red, green and blue of ImageNet, in [0, 1]."""
_AREA, _RATIO, _DRAWS = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Of RandomResizedCrop: share of the area, width / height, draws before it takes the whole image."""


class Photos(NamedTuple):
    """The photographs, RGB.

    Attributes:
      train_images: side is round(size * 256 / 224), larger than `size`, for `augment` to crop.
      train_labels: 0 for ants, 1 for bees.
      val_images: side is `size`, for `normalise`.
      val_labels: as `train_labels`.
      classes: the names of the labels.
    """

    train_images: UInt8[np.ndarray, "train side side 3"]
    train_labels: Int32[np.ndarray, " train"]
    val_images: UInt8[np.ndarray, "validation size size 3"]
    val_labels: Int32[np.ndarray, " validation"]
    classes: tuple[str, ...]


def load_hymenoptera(folder: str | Path, size: int) -> Photos:
    """Read `hymenoptera_data/{train,val}/{ants,bees}/*` in the order of the file names.

    Each photograph is resized so that its shorter side is round(size * 256 / 224), and cut to the square in the middle;
    of that, validation keeps the middle `size` pixels. The public archive holds one picture that is none,
    `imageNotFound.gif`; it is left out, as are hidden files.

    Args:
      folder: the data folder, or `hymenoptera_data` itself.
      size: side of the model's input in pixels; 224 for ImageNet models.

    Returns:
      The photographs: 244 for training and 153 for validation in the public archive.

    Raises:
      FileNotFoundError: a folder is missing.
      ValueError: a folder has no photographs, or a file is none.
    """
    size = check_count("load_hymenoptera(size=...)", size, unit="pixels")
    parts = tuple(f"{part}/{name}" for part in ("train", "val") for name in CLASSES)
    folder = dataset_folder("load_hymenoptera(folder)", folder, "hymenoptera_data", "hymenoptera", parts)
    side = round(size * 256 / 224)
    train_images, train_labels = _read_part(folder / "train", side, side)
    val_images, val_labels = _read_part(folder / "val", side, size)
    return Photos(train_images, train_labels, val_images, val_labels, CLASSES)


def _read_part(folder: Path, side: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for label, name in enumerate(CLASSES):
        paths = sorted(path for path in (folder / name).iterdir() if not path.name.startswith("."))
        paths = [path for path in paths if path.name != "imageNotFound.gif"]
        if not paths:
            raise ValueError(
                f"`{folder / name}` must hold photographs, got none. "
                "Download them: `python -m experiments.data.download hymenoptera --data DIR`."
            )
        images += [read_photo(path, side, size) for path in paths]
        labels += [label] * len(paths)
    return np.stack(images), np.asarray(labels, np.int32)


def read_photo(path: Path, side: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """One photograph: its shorter side resized to `side`, then its middle `size` pixels."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            scale = side / min(width, height)
            shape = (max(side, int(width * scale)), max(side, int(height * scale)))
            resized = image.convert("RGB").resize(shape, Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"`{path}` must be a photograph (JPEG or PNG), got: {error}. Move it away, or delete hymenoptera_data and "
            "download it again: `python -m experiments.data.download hymenoptera --data DIR`."
        ) from None
    left, top = (round((length - size) / 2) for length in resized.size)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def augment(
    key: Key[Array, ""],
    images: UInt8[Array, "images side side 3"],
    size: int,
    scale: tuple[Colour, Colour] = (MEAN, STD),
) -> Float[Array, "images {size} {size} 3"]:
    """Random crops and flips, normalised: torchvision's RandomResizedCrop and RandomHorizontalFlip, in JAX.

    A crop has 8 % to 100 % of the area and a width of 3/4 to 4/3 of its height; the first of ten draws that fits is
    taken, else the whole image. The i-th image's crop depends on the key and on i alone.

    Args:
      key: one key for the batch.
      images: square photographs of `Photos.train_images`.
      size: side of the result in pixels, known before the program runs.
      scale: as in `normalise`.

    Returns:
      Images of mean about 0 and deviation about 1.

    Raises:
      TypeError: `size` is no whole number known before the program runs.
      ValueError: `images` is no batch of square RGB images.
    """
    size = check_count("augment(size=...)", size, unit="pixels; under jit a static argument")
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(
            f"`augment(images)` must have shape (images, side, side, 3), got {images.shape}. Write image[None] for one."
        )
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)))
    return normalise(jax.vmap(lambda key, image: _crop(key, image, size))(keys, images), scale)


def _crop(key: Key[Array, ""], image: UInt8[Array, "side side 3"], size: int) -> Float[Array, "{size} {size} 3"]:
    side = image.shape[0]
    numbers = jax.random.uniform(key, (2 * _DRAWS + 3,))  # in one go: each call takes a second to compile
    area = _AREA[0] + (_AREA[1] - _AREA[0]) * numbers[:_DRAWS]
    log_ratio = np.log(_RATIO[0]) + np.log(_RATIO[1] / _RATIO[0]) * numbers[_DRAWS : 2 * _DRAWS]
    sides = side * jnp.sqrt(area * jnp.exp(jnp.stack([-log_ratio, log_ratio])))  # heights, widths
    fits = jnp.all(sides <= side, axis=0)
    height_width = jnp.where(jnp.any(fits), sides[:, jnp.argmax(fits)], side)
    corner = numbers[-3:-1] * (side - height_width)
    scale = size / height_width
    cropped = jax.image.scale_and_translate(
        image.astype(jnp.float32), (size, size, 3), (0, 1), scale, -corner * scale, method="linear", antialias=True
    )
    return jnp.where(numbers[-1] < 0.5, cropped[:, ::-1], cropped)


def normalise(
    images: UInt8[Array, "*shape 3"] | Float[Array, "*shape 3"], scale: tuple[Colour, Colour] = (MEAN, STD)
) -> Float[Array, "*shape 3"]:
    """Pixels 0 to 255 to the scale that a model was trained on.

    Args:
      images: RGB in the last axis.
      scale: mean and deviation of red, green and blue, in [0, 1]; most models have those of ImageNet.

    Returns:
      (images / 255 - mean) / deviation, float32.
    """
    mean, deviation = scale
    return (jnp.asarray(images, jnp.float32) / 255.0 - jnp.asarray(mean)) / jnp.asarray(deviation)
