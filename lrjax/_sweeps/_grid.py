"""From a mapping of hyperparameters to trials: the product, zips, and families that share one program."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, MappingView, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import (
    MAX_TRIALS,
    check_count,
    describe,
    kind_of,
    name_of,
    path_of,
    shape_of,
    show,
    show_with_type,
    to_numpy,
)
from .._types import Bool, Float, Int, PyTree
from ..schedules import from_spec, to_spec
from ._factory import check_names, first_argument


@dataclasses.dataclass(frozen=True)
class Zipped:
    """Hyperparameters that change together; made by `zipped`.

    Attributes:
      values: name -> one value for each setting, all of one length.
    """

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping) or not all(isinstance(name, str) for name in self.values):
            raise TypeError(f"`Zipped(values)` must map names, got {show_with_type(self.values)}. Write zipped(...).")
        _check_zipped(self.values)

    def __repr__(self) -> str:
        return f"zipped({', '.join(self.values)})"


def zipped(**values: Any) -> Zipped:
    """Hyperparameters that change together: one axis of a sweep instead of a product.

    Args:
      **values: name -> a sequence with one value for each setting; all of one length.

    Returns:
      What `lrjax.sweep` takes as its grid, or as an entry of a list of grids whose product is swept.

    Raises:
      ValueError: the lengths differ, or nothing was given.

    Examples:
      >>> import lrjax
      >>> lrjax.zipped(learning_rate=[1e-3, 1e-2], weight_decay=[0.1, 0.01])
      zipped(learning_rate, weight_decay)
    """
    return Zipped(values)


def _check_zipped(values: Mapping[str, Any]) -> None:
    if not values:
        raise ValueError("`zipped(...)` must name hyperparameters: zipped(learning_rate=[...], weight_decay=[...]).")
    for name, value in values.items():
        if isinstance(value, Zipped):
            raise TypeError(
                f"`zipped({name}=...)` must be a sequence of numbers or schedules, got {value!r}. What changes "
                f"together goes into one: zipped({name}=..., {'=..., '.join(value.values)}=...)."
            )
    lengths = {name: len(read_values(f"zipped({name}=...)", value)) for name, value in values.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{count} for {name}" for name, count in lengths.items())
        raise ValueError(
            f"`zipped(...)` must get sequences of one length, got {listed}. For every combination leave out zipped: "
            "give the mapping itself."
        )


RESERVED = ("trial", "seed", "step", "diverged_at", "stopped_at")
"""Columns of the result's table besides hyperparameters and metrics."""


class Family(NamedTuple):
    """Trials whose settings have one structure, so that one program runs them all.

    Attributes:
      trials: their indices in the sweep, increasing.
      settings: what the optimizer factory gets, leaves with a leading axis over `trials`.
    """

    trials: Int[np.ndarray, " family"]
    settings: PyTree


class Axis(NamedTuple):
    """One axis of the product: the names that change along it, and their values."""

    names: tuple[str, ...]
    values: dict[str, list[PyTree]]

    @property
    def length(self) -> int:
        """Settings along the axis."""
        return len(self.values[self.names[0]])


class Grid(NamedTuple):
    """The trials of a sweep.

    Attributes:
      by_name: whether the optimizer factory gets keywords; else one positional argument.
      axes: axes of the product; the last one changes fastest from trial to trial.
      columns: name -> one value for each trial, for tables; a schedule has one for each of its numbers.
      specs: for settings that are no plain numbers, what the index in their column stands for; see `SweepResult`.
      families: the trials by structure.
    """

    by_name: bool
    axes: tuple[Axis, ...]
    columns: dict[str, np.ndarray]
    specs: dict[str, list[Any]]
    families: tuple[Family, ...]

    @property
    def num_trials(self) -> int:
        """Settings in all."""
        return int(np.prod([axis.length for axis in self.axes]))

    def place(self, trial: int) -> tuple[int, ...]:
        """Where a trial is along every axis."""
        return tuple(int(i) for i in np.unravel_index(trial, [axis.length for axis in self.axes]))


def make_grid(where: str, grid: object, make_optimizer: Callable[..., Any], dtype: np.dtype) -> Grid:
    """The trials of a sweep.

    Args:
      where: the caller's name, for messages.
      grid: mapping of names to values, a `Zipped`, a list of these, or stacked values for a factory of one argument.
      make_optimizer: whose arguments the names must be.
      dtype: of floating hyperparameters.

    Returns:
      The grid.

    Raises:
      TypeError, ValueError: values that cannot be swept, or names that the factory does not take.
    """
    where = f"{where}(grid=...)"
    by_name, axes = _read_axes(where, grid, make_optimizer)
    names = [name for axis in axes for name in axis.names]
    for name in names:
        if name in RESERVED and by_name:
            raise ValueError(
                f"`{where}` must not name a hyperparameter {name!r}, which is a column of the result's table. Rename "
                f"it in the factory: lambda my_{name}: make_optimizer({name}=my_{name})."
            )
        if names.count(name) > 1:
            raise ValueError(f"`{where}` must name every hyperparameter once, got {name!r} in two places.")
    if by_name:
        check_names(where, make_optimizer, names)
    shape = [axis.length for axis in axes]
    check_count(where, math.prod(shape), maximum=MAX_TRIALS, unit="trials")
    index = {
        name: place
        for axis, place in zip(axes, np.indices(shape).reshape(len(shape), -1), strict=True)
        for name in axis.names
    }
    values = {name: axis.values[name] for axis in axes for name in axis.names}
    columns: dict[str, np.ndarray] = {}
    for name in names:
        columns |= {label: column[index[name]] for label, column in _columns(name, values[name]).items()}
    specs = {name: [_spec(item, dtype) for item in values[name]] for name in names if not _are_numbers(values[name])}
    return Grid(by_name, tuple(axes), columns, specs, tuple(_families(by_name, names, values, index, dtype)))


def _read_axes(where: str, grid: object, make_optimizer: Callable[..., Any]) -> tuple[bool, list[Axis]]:
    given: Any = grid
    parts: list[Any] = list(given) if _is_list_of_grids(grid) else [given]
    axes = []
    for part in parts:
        if isinstance(part, Zipped):
            values = {name: read_values(f"zipped({name}=...)", value) for name, value in part.values.items()}
            _distinct(repr(part), [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)])
            axes.append(Axis(tuple(values), values))
        elif isinstance(part, Mapping):
            for name, value in part.items():
                if not isinstance(name, str) or not name.isidentifier():
                    raise TypeError(f"`{where}` must have names of arguments as its keys, got {show(name)}.")
                if isinstance(value, Zipped):
                    raise TypeError(
                        f"`{where}` must hold a sequence for {name!r}, got {value!r}. Give a list: "
                        "[zipped(...), {...}]; the product of its entries is swept."
                    )
                axes.append(
                    Axis((name,), {name: _distinct(f"{where}[{name!r}]", read_values(f"{where}[{name!r}]", value))})
                )
        elif len(parts) > 1:
            raise TypeError(f"`{where}` given as a list must hold mappings and zipped(...), got {show(part)}.")
        else:
            name = first_argument(make_optimizer)
            name = "setting" if name in RESERVED else name
            return False, [Axis((name,), {name: _distinct(where, read_values(where, part))})]
    if not axes:
        raise ValueError(f'`{where}` is empty. Write for example {{"learning_rate": jnp.logspace(-5, -1, 17)}}.')
    return True, axes


def is_named(grid: object) -> bool:
    """Whether the optimizer factory is called by the names of the grid."""
    return isinstance(grid, (Mapping, Zipped)) or _is_list_of_grids(grid)


def _is_list_of_grids(grid: object) -> bool:
    return isinstance(grid, (list, tuple)) and any(isinstance(part, (Mapping, Zipped)) for part in grid)


def read_values(where: str, value: object) -> list[PyTree]:
    """The settings along an axis: numbers of a sequence, schedules of a list, or rows of a stacked pytree.

    Raises:
      TypeError, ValueError: it holds no settings, or what no program can take.
    """
    items = _items(where, value)
    if not items:
        raise ValueError(f"`{where}` is empty. Give at least one value.")
    checked = [_checked_item(where, place, item) for place, item in enumerate(items)]
    if all(isinstance(item, np.ndarray) for item in checked) and any(item.dtype.kind == "f" for item in checked):
        return [item.astype(np.float64) for item in checked]  # [0, 0.1]
    return checked


def _items(where: str, value: Any) -> list[Any]:
    if value is None or isinstance(value, (str, bytes, set, frozenset, Iterator, MappingView)):
        raise TypeError(
            f"`{where}` must be a sequence of numbers or schedules, got {show(value)} ({type(value).__name__}). "
            "Write a list or an array."
        )
    if isinstance(value, (list, tuple, range)) and not hasattr(value, "_fields"):
        check_count(where, len(value), minimum=0, maximum=MAX_TRIALS, unit="trials")
        return list(value)
    if not isinstance(value, Mapping) and not _is_tree(value) and shape_of(value) == ():
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
    check_count(where, max(lengths), minimum=0, maximum=MAX_TRIALS, unit="trials")
    value = jax.tree.map(np.asarray, value)  # a pandas.Series would be read by its labels
    return [jax.tree.map(lambda leaf, i=index: leaf[i], value) for index in range(lengths.pop())]


def _is_tree(value: object) -> bool:
    return jax.tree_util.treedef_is_leaf(jax.tree.structure(value)) is False


_FOREIGN = (
    "`{where}` must hold numbers or schedules of lrjax.schedules, got the function {got}, whose numbers cannot "
    "be seen, so that it cannot be traced. Sweep its numbers: "
    "lambda peak: optax.adam(optax.cosine_decay_schedule(peak, n))."
)


def _checked_item(where: str, place: int, item: Any) -> PyTree:
    """One setting with leaves of NumPy: floating, or integers of 32 bits."""

    def check(leaf: Any) -> np.ndarray:
        if callable(leaf):
            raise TypeError(_FOREIGN.format(where=where, got=name_of(leaf)))
        if isinstance(leaf, bool) or kind_of(leaf) == "b":
            raise TypeError(
                f"`{where}` must hold numbers, got {show(leaf)} at index {place}: a choice made in Python cannot be "
                "traced. Make one sweep for each choice."
            )
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
        if not np.isfinite(array.astype(np.float64)).all():
            raise ValueError(f"`{where}` must be finite, got {show(leaf)} at index {place}.")
        numbers = array.astype(np.float64)
        size = np.abs(numbers)[numbers != 0]
        narrow = not jax.config.read("jax_enable_x64")
        if narrow and size.size and not (size.min() >= _SMALLEST and size.max() <= _LARGEST):
            raise ValueError(
                f"`{where}` must hold 0 or numbers of a size between {_SMALLEST:.2g} and {_LARGEST:.2g}, which float32 "
                f"can hold, got {show(leaf)} at index {place}."
            )
        return numbers

    if isinstance(item, (list, tuple)) and not hasattr(item, "_fields"):
        item = item if (array := to_numpy(item)) is None else array
    if not jax.tree.leaves(item):
        raise TypeError(
            f"`{where}` must hold numbers, got {show(item)} at index {place}: a choice made in Python cannot be "
            "traced. Make one sweep for each choice."
        )
    return jax.tree.map(check, item)


_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def _distinct(where: str, items: list[PyTree]) -> list[PyTree]:
    """Raise if two settings along an axis are the same."""
    seen: dict[Any, int] = {}
    for place, item in enumerate(items):
        signature = (jax.tree.structure(item), *(leaf.tobytes() for leaf in _singles(item)))
        if signature in seen:
            raise ValueError(
                f"`{where}` must all be different, got {show(jax.tree.map(np.ndarray.tolist, item))} at index "
                f"{seen[signature]} and again at index {place} (as float32). For repetitions raise num_seeds."
            )
        seen[signature] = place
    return items


def _singles(item: PyTree) -> list[np.ndarray]:
    return [leaf if leaf.dtype == np.int32 else leaf.astype(np.float32) for leaf in jax.tree.leaves(item)]


def _columns(name: str, items: list[PyTree]) -> dict[str, np.ndarray]:
    """What tables show of the settings along an axis."""
    if _are_numbers(items):
        return {name: np.asarray([item[()] for item in items])}
    rows = [dict(_named_numbers(item)) for item in items]
    columns: dict[str, np.ndarray] = {name: np.arange(len(items))}
    kinds = [_kind(item) for item in items]
    if any(kinds):
        columns[f"{name}.kind"] = np.asarray(kinds)
    for part in dict.fromkeys(part for row in rows for part in row):
        columns[f"{name}.{part}"] = np.asarray([row.get(part, np.nan) for row in rows])
    return columns


def _are_numbers(items: list[PyTree]) -> bool:
    return all(isinstance(item, np.ndarray) and item.ndim == 0 for item in items)


def _spec(item: PyTree, dtype: np.dtype) -> Any:
    """A setting for a file: a number, a schedule's spec, or the numbers of another tree by their names."""
    if isinstance(item, np.ndarray) and item.ndim == 0:
        return item.item()
    if _kind(item):
        used = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf, item)
        with contextlib.suppress(TypeError):  # a schedule of another library inside has no spec
            return to_spec(used)
    return dict(_named_numbers(item))


def read_spec(spec: Any) -> Any:
    """The setting that `_spec` wrote down."""
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


def _families(
    by_name: bool,
    names: Sequence[str],
    values: Mapping[str, list[PyTree]],
    index: Mapping[str, Int[np.ndarray, " trials"]],
    dtype: np.dtype,
) -> Iterator[Family]:
    kinds = {name: _structures(items) for name, items in values.items()}
    of_trial = np.stack([np.asarray(kinds[name])[index[name]] for name in names], axis=1)
    for kind in dict.fromkeys(map(tuple, of_trial.tolist())):
        mine: Bool[np.ndarray, " trials"] = (of_trial == kind).all(axis=1)
        trials = np.flatnonzero(mine)
        settings = {name: _stack([values[name][i] for i in index[name][trials]], dtype) for name in names}
        yield Family(trials, settings if by_name else settings[names[0]])


def _structures(items: list[PyTree]) -> list[int]:
    """For each setting, a number that settings of one structure and shape share."""
    known: dict[Any, int] = {}
    return [
        known.setdefault(
            (jax.tree.structure(item), tuple(leaf.shape for leaf in jax.tree.leaves(item))),
            len(known),
        )
        for item in items
    ]


def _stack(items: list[PyTree], dtype: np.dtype) -> PyTree:
    def stack(*leaves: np.ndarray) -> Float[np.ndarray, "family ..."] | Int[np.ndarray, "family ..."]:
        array = np.stack(leaves)
        return array if array.dtype == np.int32 else array.astype(dtype)

    return jax.tree.map(stack, *items)
