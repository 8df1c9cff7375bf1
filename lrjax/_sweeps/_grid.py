"""The trials of a sweep as a table of settings, and that table in results, files and messages."""

import contextlib
import dataclasses
import hashlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import path_of
from .._engine import without_addresses
from .._types import Int, PyTree
from ..schedules import from_spec, to_spec

RESERVED = ("trial", "seed", "step", "diverged_at", "stopped_at")
"""Columns of the result's table besides hyperparameters and metrics."""


class Family(NamedTuple):
    """Trials whose settings have one structure, so that one program runs them; leaves have a leading axis over them."""

    trials: Int[np.ndarray, " family"]
    settings: PyTree

    @property
    def example(self) -> PyTree:
        """The first setting."""
        return jax.tree.map(lambda leaf: leaf[0], self.settings)


Axis = dict[str, list[PyTree]]
"""One axis of the product: the names that change along it -> their values."""


class Grid(NamedTuple):
    """The trials of a sweep, of which the last axis changes fastest; `columns` and `specs` as in `SweepResult`."""

    by_name: bool  # the optimizer factory takes keywords, rather than one value
    axes: tuple[Axis, ...]
    columns: dict[str, np.ndarray]
    specs: dict[str, list[Any]]
    families: tuple[Family, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Settings along every axis."""
        return tuple(len(next(iter(axis.values()))) for axis in self.axes)

    @property
    def num_trials(self) -> int:
        """Settings in all."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class ByName:
    """An optimizer factory called with one mapping of its keywords. Equal ones share a program."""

    func: Callable[..., Any]  # messages name it

    def __call__(self, settings: Mapping[str, Any]) -> Any:
        return self.func(**settings)


def describe_grid(grid: Grid, dtype: np.dtype) -> dict[str, Any]:
    """The sweep's part of a call; "values" may grow."""
    kinds = " and ".join(sorted(map(_kind, grid.families)))
    return {
        "the grid's names": " x ".join(map(_axis_name, grid.axes)),
        "the kinds of the grid's values": f"#{zlib.crc32(kinds.encode()):08x}" if "#" in kinds else kinds,
        "values": {_axis_name(axis): _axis_values(axis, dtype) for axis in grid.axes},
    }


def _axis_name(axis: Axis) -> str:
    return next(iter(axis)) if len(axis) == 1 else f"zipped({', '.join(axis)})"


def _axis_values(axis: Axis, dtype: np.dtype) -> list[str]:
    texts = [[_text(item, dtype) for item in row] for row in zip(*axis.values(), strict=True)]
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


Values = dict[str, list[str]]
"""Axis of a grid -> a text for every setting; functions of one name with equal numbers have one text."""


def show_lacking(there: Values, now: Values) -> str:
    """In words what a grid lacks of another one with the same axes; empty if it has all its values."""
    for name, old in there.items():
        known = set(now[name])
        missing = [place for place, text in enumerate(old) if text not in known]
        if missing:
            text = old[missing[0]]
            which = f"the one at index {missing[0]}" if "#" in text else text
            return f"{show_counts({name: old}, now)}, of which {which} is missing now"
    return ""


def show_counts(there: Values, now: Values) -> str:
    """`learning_rate: 3 values now, 2 there`, of the first axis that differs."""
    name = next(name for name in there if there[name] != now[name])
    count = len(now[name])
    return f"{name}: {count} value{'s' * (count != 1)} now, {len(there[name])} there"


def find_trials(there: Values, now: Values) -> Int[np.ndarray, " trials"]:
    """For every trial of a grid its index in one that has all its values."""
    known = {name: {text: place for place, text in enumerate(texts)} for name, texts in now.items()}
    axes = [[known[name][text] for text in there[name]] for name in now]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), [*map(len, now.values())]).ravel()


def columns_of(name: str, items: list[PyTree]) -> dict[str, np.ndarray]:
    """What tables show of the settings along an axis."""
    if are_numbers(items):
        return {name: np.asarray([item[()] for item in items])}
    rows = [dict(_named_numbers(item)) for item in items]
    columns: dict[str, np.ndarray] = {name: np.arange(len(items))}
    kinds = [_function_of(item) for item in items]
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
    if _function_of(item):
        used = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf, item)
        with contextlib.suppress(TypeError):  # a schedule of another library inside has no spec
            return to_spec(used)
    return dict(_named_numbers(item))


def read_spec(spec: Any) -> Any:
    """The setting that `spec_of` wrote down."""
    return from_spec(spec) if isinstance(spec, Mapping) and isinstance(spec.get("name"), str) else spec


def _function_of(item: PyTree) -> str:
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
