"""The settings along an axis of a sweep: read from sequences and stacked arrays, and as tables and files show them."""

import contextlib
from collections.abc import Iterator, Mapping, MappingView
from typing import Any

import jax
import numpy as np

from .._checks import MAX_TRIALS, check_count, describe, kind_of, name_of, path_of, shape_of, show, to_numpy
from .._types import PyTree
from ..schedules import from_spec, to_spec

_FOREIGN = (
    "`{where}` must hold numbers or schedules of lrjax.schedules, got the function {got}, whose numbers cannot "
    "be seen, so that it cannot be traced. Sweep its numbers: "
    "lambda peak: optax.adam(optax.cosine_decay_schedule(peak, n))."
)

_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def read_values(where: str, value: object) -> list[PyTree]:
    """The settings along an axis, with leaves of NumPy: floating, or integers of 32 bits."""
    items = _items(where, value)
    if not items:
        raise ValueError(f"`{where}` is empty. Give at least one value.")
    checked = [_checked(where, place, item) for place, item in enumerate(items)]
    if all(isinstance(item, np.ndarray) for item in checked) and any(item.dtype.kind == "f" for item in checked):
        return [item.astype(np.float64) for item in checked]  # [0, 0.1]
    return checked


def check_distinct(where: str, items: list[PyTree]) -> list[PyTree]:
    """Raise if two settings along an axis are the same in float32."""
    seen: dict[Any, int] = {}
    for place, item in enumerate(items):
        leaves = (leaf if leaf.dtype == np.int32 else leaf.astype(np.float32) for leaf in jax.tree.leaves(item))
        signature = (jax.tree.structure(item), *(leaf.tobytes() for leaf in leaves))
        if signature in seen:
            raise ValueError(
                f"`{where}` must all be different, got {show(jax.tree.map(np.ndarray.tolist, item))} at index "
                f"{seen[signature]} and again at index {place} (as float32). For repetitions raise num_seeds."
            )
        seen[signature] = place
    return items


def _items(where: str, value: Any) -> list[Any]:
    if value is None or isinstance(value, (str, bytes, set, frozenset, Iterator, MappingView)):
        raise TypeError(
            f"`{where}` must be a sequence of numbers or schedules, got {show(value)} ({type(value).__name__}). "
            "Write a list or an array."
        )
    if isinstance(value, (list, tuple, range)) and not hasattr(value, "_fields"):
        check_count(where, len(value), minimum=0, maximum=MAX_TRIALS, unit="trials")
        return list(value)
    leaf = jax.tree_util.treedef_is_leaf(jax.tree.structure(value))
    if not isinstance(value, Mapping) and leaf and shape_of(value) == ():
        if callable(value):
            raise TypeError(_FOREIGN.format(where=where, got=name_of(value)))
        raise TypeError(f"`{where}` must be a sequence, got {show(value)}. Write [{show(value)}].")
    leaves = jax.tree_util.tree_leaves_with_path(value)
    if not leaves:
        raise TypeError(f"`{where}` must be a sequence of numbers or schedules, got {show(value)}, which holds none.")
    lengths = {(*shape_of(leaf), -1)[0] for _, leaf in leaves}
    if lengths == {-1}:
        raise TypeError(
            f"`{where}` must hold several settings, got a single one, {show(value)}. Put it into a list; or stack "
            "several with lrjax.schedules.stack([...])."
        )
    if len(lengths) > 1:
        listed = ", ".join(f"{path_of(path)}: {describe(np.asarray(leaf))}" for path, leaf in leaves[:4])
        raise ValueError(f"`{where}` must have one leading axis over the settings for all leaves, got {listed}.")
    count = check_count(where, lengths.pop(), minimum=0, maximum=MAX_TRIALS, unit="trials")
    value = jax.tree.map(np.asarray, value)  # a pandas.Series would be read by its labels
    return [jax.tree.map(lambda leaf, i=index: leaf[i], value) for index in range(count)]


def _checked(where: str, place: int, item: Any) -> PyTree:
    if isinstance(item, (list, tuple)) and not hasattr(item, "_fields"):
        item = item if (array := to_numpy(item)) is None else array
    if not jax.tree.leaves(item):
        raise _choice_error(where, place, item)
    return jax.tree.map(lambda leaf: _checked_leaf(where, place, leaf), item)


def _checked_leaf(where: str, place: int, leaf: Any) -> np.ndarray:
    if callable(leaf):
        raise TypeError(_FOREIGN.format(where=where, got=name_of(leaf)))
    if isinstance(leaf, bool) or kind_of(leaf) == "b":
        raise _choice_error(where, place, leaf)
    array = to_numpy(leaf)
    if array is not None and (array.dtype.kind in "iu" or isinstance(leaf, int)):
        if array.size and not (array.min() >= -(2**31) and array.max() < 2**31):
            raise ValueError(f"`{where}` must fit 32 bits, got {show(leaf)} at index {place}. Write it as a float.")
        return array.astype(np.int32)
    if array is None or kind_of(array) != "f":
        raise TypeError(
            f"`{where}` must hold numbers, got {show(leaf)} ({type(leaf).__name__}) at index {place}. "
            "What is no number, such as an optimizer's name, takes one sweep for each."
        )
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"`{where}` must be finite, got {show(leaf)} at index {place}.")
    size = np.abs(numbers)[numbers != 0]
    narrow = not jax.config.read("jax_enable_x64")
    if narrow and size.size and not (size.min() >= _SMALLEST and size.max() <= _LARGEST):
        raise ValueError(
            f"`{where}` must hold 0 or numbers of a size between {_SMALLEST:.2g} and {_LARGEST:.2g}, which float32 "
            f"can hold, got {show(leaf)} at index {place}."
        )
    return numbers


def _choice_error(where: str, place: int, value: object) -> TypeError:
    return TypeError(
        f"`{where}` must hold numbers, got {show(value)} at index {place}: a choice made in Python cannot be "
        "traced. Make one sweep for each choice."
    )


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
