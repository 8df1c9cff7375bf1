"""Fashion-MNIST: 70,000 grey images of 28 x 28 pixels of ten kinds of clothes, MIT licence.

Source: https://github.com/zalandoresearch/fashion-mnist; Debian's package `dataset-fashion-mnist` holds it too. The
files are in the idx format of http://yann.lecun.com/exdb/mnist/, compressed with gzip.
"""

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

SIDE, CLASSES = 28, 10
UNSIGNED_BYTES = 0x08
"""The code of the idx format for the type of the numbers."""
ADVICE = (
    "It comes from https://github.com/zalandoresearch/fashion-mnist, or with `apt-get install dataset-fashion-mnist`."
)


class Clothes(NamedTuple):
    """The images; 60,000 for training and 10,000 for the test in the public files.

    Attributes:
      train_images: pixels from 0 to 255, 0 is the background.
      train_labels: 0 to 9.
      test_images, test_labels: likewise.
    """

    train_images: UInt8[np.ndarray, "train 28 28"]
    train_labels: Int32[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test 28 28"]
    test_labels: Int32[np.ndarray, " test"]


def load_fashion_mnist(folder: str | Path) -> Clothes:
    """Read the four files `{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz`.

    Args:
      folder: the folder that holds them, or the one around its folder `fashion-mnist`.

    Returns:
      The images and labels of both parts.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is damaged, or images and labels do not belong together.
    """
    folder = Path(folder)
    folder = folder / "fashion-mnist" if (folder / "fashion-mnist").is_dir() else folder
    return Clothes(*_read_part(folder, "train"), *_read_part(folder, "t10k"))


def _read_part(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images = _read_idx(folder / f"{part}-images-idx3-ubyte.gz", (SIDE, SIDE))
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte.gz", ())
    if len(images) != len(labels) or (labels >= CLASSES).any():
        raise ValueError(
            f"`{folder}` must hold as many labels as images, from 0 to {CLASSES - 1}: of {part!r} there are "
            f"{len(images)} images and {len(labels)} labels up to {labels.max(initial=0)}. {ADVICE}"
        )
    return images, labels.astype(np.int32)


def _read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """One file: two zeros, the type, the number of axes, the length of each in 4 bytes, the numbers."""
    if not path.is_file():
        raise FileNotFoundError(f"`load_fashion_mnist(folder)` must hold {path.name}, and {path} is missing. {ADVICE}")
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"`{path}` must be compressed with gzip, got: {error}. {ADVICE}") from None
    start = 4 * (2 + len(shape))
    lengths = np.frombuffer(data[4:start], ">u4") if len(data) >= start else np.zeros(0, ">u4")
    whole = data[:4] == bytes((0, 0, UNSIGNED_BYTES, 1 + len(shape))) and tuple(lengths[1:]) == shape
    if not whole or len(data) - start != lengths.prod():
        raise ValueError(
            f"`{path}` must be an idx file of unsigned bytes of shape (examples{''.join(f', {n}' for n in shape)}), "
            f"got {len(data)} bytes that begin with {data[:start].hex(' ')}. {ADVICE}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(lengths)
