"""Arrays that are copied once on their way to the devices: those of a block, padded, and others."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that a CPU's programs read where they are: at a multiple of 64 bytes `device_put` copies nothing."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + size].view(dtype).reshape(shape)


def copied(leaf: Any) -> np.ndarray:
    """A copy that is nobody else's."""
    made = zeros(np.shape(leaf), leaf.dtype)
    made[...] = leaf
    return made


def fill(seeds: Sequence[Any], length: int) -> np.ndarray:
    """The batches of all seeds, padded."""
    filled = zeros((len(seeds), length, *seeds[0].shape[1:]), seeds[0].dtype)
    for row, leaf in enumerate(seeds):
        filled[row, : len(leaf)] = leaf
    return filled


def take(leaf: Any, rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """The rows of all seeds, padded."""
    if not isinstance(leaf, np.ndarray):
        return fill([np.asarray(leaf[one]) for one in rows], length)
    filled = zeros((len(rows), length, *rows[0].shape[1:], *leaf.shape[1:]), leaf.dtype)
    for row, one in enumerate(rows):
        np.take(leaf, one, axis=0, out=filled[row, : len(one)], mode="clip")  # as "raise", but without a buffer
    return filled
