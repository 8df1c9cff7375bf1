"""Settings as tables and files show them: a column for each number, and a spec for what is no plain number."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from .._checks import path_of
from .._types import PyTree
from ..schedules import from_spec, to_spec


def columns_of(name: str, items: list[PyTree]) -> dict[str, np.ndarray]:
    """What tables show of the settings along an axis."""
    if are_numbers(items):
        return {name: np.asarray([item[()] for item in items])}
    rows = [dict(_named_numbers(item)) for item in items]
    columns: dict[str, np.ndarray] = {name: np.arange(len(items))}
    kinds = [_kind(item) for item in items]
    if any(kinds):
        columns[f"{name}.kind"] = np.asarray(kinds)
    for part in dict.fromkeys(part for row in rows for part in row):
        columns[f"{name}.{part}"] = np.asarray([row.get(part, np.nan) for row in rows])
    return columns


def are_numbers(items: list[PyTree]) -> bool:
    """Whether every setting is one number."""
    return all(isinstance(item, np.ndarray) and item.ndim == 0 for item in items)


def spec_of(item: PyTree, dtype: np.dtype) -> Any:
    """A setting for a file: a number, a schedule's spec, or the numbers of another tree by their names."""
    if are_numbers([item]):
        return item.item()
    if _kind(item):
        used = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf, item)
        with contextlib.suppress(TypeError):  # a schedule of another library inside has no spec
            return to_spec(used)
    return dict(_named_numbers(item))


def read_spec(spec: Any) -> Any:
    """The setting that `spec_of` wrote down."""
    return from_spec(spec) if isinstance(spec, Mapping) and isinstance(spec.get("name"), str) else spec


def _kind(item: PyTree) -> str:
    return getattr(getattr(item, "func", None), "__name__", "").strip("_")


def _named_numbers(item: PyTree) -> Iterator[tuple[str, float]]:
    """The numbers of a setting, by the names of a schedule's arguments or by their paths."""
    if isinstance(item, np.ndarray):
        if item.ndim == 0:
            yield "", item.item()
        else:
            yield from ((str(place), number) for place, number in enumerate(item.ravel()))
        return
    if hasattr(item, "keywords"):
        children = dict(item.keywords)
    elif isinstance(item, Mapping):
        children = dict(item)
    elif hasattr(item, "_asdict"):
        children = item._asdict()
    elif isinstance(item, (list, tuple)):
        children = dict(enumerate(item))
    else:
        children = {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(item)}
    for label, child in children.items():
        for rest, number in _named_numbers(child):
            yield f"{label}.{rest}".rstrip("."), number
