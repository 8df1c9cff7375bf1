"""A grid as strict JSON that another process can compare, with what it lacks of another one."""

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .._engine import without_addresses
from .._types import PyTree
from ._grid import Axis, Family, Grid

Values = list[Any]
"""[name, a text for every setting] for each axis of a grid; functions of one name with equal numbers have one text."""


def describe_grid(grid: Grid, dtype: np.dtype) -> dict[str, Any]:
    """The sweep's part of a call; "values" may grow, see `lacking`."""
    kinds = " and ".join(sorted(map(_kind, grid.families)))
    return {
        "the grid's names": " x ".join(map(_axis_name, grid.axes)),
        "the kinds of the grid's values": f"#{zlib.crc32(kinds.encode()):08x}" if "#" in kinds else kinds,
        "values": [[_axis_name(axis), _axis_values(axis, dtype)] for axis in grid.axes],
    }


def lacking(there: Values, now: Values) -> str:
    """In words what a grid lacks of another one with the same axes; empty if it has all its values."""
    for (name, old), (_, new) in zip(there, now, strict=True):
        known = set(new)
        missing = [place for place, text in enumerate(old) if text not in known]
        if missing:
            text = old[missing[0]]
            which = f"the one at index {missing[0]}" if "#" in text else text
            return f"{counts(name, old, new)}, of which {which} is missing now"
    return ""


def counts(name: str, there: Sequence[str], now: Sequence[str]) -> str:
    """`learning_rate: 3 values now, 2 there`."""
    return f"{name}: {len(now)} value{'s' * (len(now) != 1)} now, {len(there)} there"


def _axis_name(axis: Axis) -> str:
    return axis.names[0] if len(axis.names) == 1 else f"zipped({', '.join(axis.names)})"


def _axis_values(axis: Axis, dtype: np.dtype) -> list[str]:
    rows = zip(*axis.values.values(), strict=True)
    texts = [[_text(item, dtype) for item in row] for row in rows]
    return [row[0] if len(row) == 1 else f"({', '.join(row)})" for row in texts]


def _text(item: PyTree, dtype: np.dtype) -> str:
    """Of a setting: the number as the optimizer gets it, or a digest of all numbers of a schedule."""
    leaves = [leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf for leaf in jax.tree.leaves(item)]
    if isinstance(item, np.ndarray) and item.ndim == 0:
        return str(leaves[0])
    digest = hashlib.sha256(_structure(item).encode())
    for leaf in leaves:
        digest.update(f"{leaf.dtype}{leaf.shape}".encode() + np.ascontiguousarray(leaf).tobytes())
    return f"#{digest.hexdigest()[:32]}"


def _kind(family: Family) -> str:
    """What all settings of a family share; the order of the values does not count."""
    settings = family.settings
    if isinstance(settings, dict) and all(
        isinstance(leaf, np.ndarray) and leaf.ndim == 1 for leaf in settings.values()
    ):
        return ", ".join(f"{name}: {leaf.dtype}" for name, leaf in settings.items())
    shapes = [f"{leaf.dtype}{leaf.shape[1:]}" for leaf in jax.tree.leaves(settings)]
    return f"#{zlib.crc32((_structure(settings) + str(shapes)).encode()):08x}"


def _structure(tree: PyTree) -> str:
    return without_addresses(str(jax.tree.structure(tree)))
