"""From a mapping of hyperparameters to trials: the product, zips, and families that share one program."""

import contextlib
import dataclasses
import difflib
import hashlib
import inspect
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import MAX_TRIALS, check_callable, check_count, name_of, show
from .._engine import without_addresses
from .._types import Bool, Int, PyTree
from ._values import are_numbers, check_distinct, columns_of, read_values, spec_of

RESERVED = ("trial", "seed", "step", "diverged_at", "stopped_at")
"""Columns of the result's table besides hyperparameters and metrics."""


@dataclasses.dataclass(frozen=True)
class Zipped:
    """Hyperparameters that change together, by name, all of one length; made by `zipped`."""

    values: Mapping[str, Any]

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
    return Zipped(values)


class Family(NamedTuple):
    """Trials whose settings have one structure, so that one program runs them; leaves have a leading axis over them."""

    trials: Int[np.ndarray, " family"]
    settings: PyTree

    @property
    def example(self) -> PyTree:
        """The first setting."""
        return jax.tree.map(lambda leaf: leaf[0], self.settings)


class Axis(NamedTuple):
    """One axis of the product: the names that change along it, and their values."""

    names: tuple[str, ...]
    values: dict[str, list[PyTree]]

    @property
    def length(self) -> int:
        """Settings along the axis."""
        return len(self.values[self.names[0]])


class Grid(NamedTuple):
    """The trials of a sweep, of which the last axis changes fastest; `columns` and `specs` as in `SweepResult`."""

    by_name: bool  # the optimizer factory takes keywords, rather than one value
    axes: tuple[Axis, ...]
    columns: dict[str, np.ndarray]
    specs: dict[str, list[Any]]
    families: tuple[Family, ...]

    @property
    def num_trials(self) -> int:
        """Settings in all."""
        return math.prod(axis.length for axis in self.axes)


def make_grid(where: str, grid: object, make_optimizer: Callable[..., Any], dtype: np.dtype) -> Grid:
    """The trials of a mapping, a `Zipped`, a list of these, or stacked values; `dtype` is that of hyperparameters."""
    where = f"{where}(grid=...)"
    by_name = is_named(grid)
    axes = list(_read_axes(where, grid)) if by_name else [_only_axis(where, grid, make_optimizer)]
    if not axes:
        raise ValueError(f'`{where}` is empty. Write for example {{"learning_rate": jnp.logspace(-5, -1, 17)}}.')
    names = [name for axis in axes for name in axis.names]
    if by_name:
        _check_names(where, names, make_optimizer)
    shape = [axis.length for axis in axes]
    check_count(where, math.prod(shape), maximum=MAX_TRIALS, unit="trials")
    places = np.indices(shape).reshape(len(shape), -1)
    index = {name: place for axis, place in zip(axes, places, strict=True) for name in axis.names}
    values = {name: axis.values[name] for axis in axes for name in axis.names}
    columns = {label: column[index[name]] for name in names for label, column in columns_of(name, values[name]).items()}
    specs = {name: [spec_of(item, dtype) for item in values[name]] for name in names if not are_numbers(values[name])}
    return Grid(by_name, tuple(axes), columns, specs, tuple(_families(by_name, values, index, dtype)))


def is_named(grid: object) -> bool:
    """Whether the optimizer factory is called by the names of the grid."""
    parts = grid if isinstance(grid, (list, tuple)) else [grid]
    return any(isinstance(part, (Mapping, Zipped)) for part in parts)


def _read_axes(where: str, grid: Any) -> Iterator[Axis]:
    """The axes that are named."""
    for part in grid if isinstance(grid, (list, tuple)) else [grid]:
        if isinstance(part, Zipped):
            values = {name: read_values(f"zipped({name}=...)", value) for name, value in part.values.items()}
            rows = zip(*values.values(), strict=True)
            check_distinct(repr(part), [dict(zip(values, row, strict=True)) for row in rows])
            yield Axis(tuple(values), values)
        elif not isinstance(part, Mapping):
            raise TypeError(f"`{where}` given as a list must hold mappings and zipped(...), got {show(part)}.")
        else:
            yield from (_axis(where, name, value) for name, value in part.items())


def _axis(where: str, name: object, value: object) -> Axis:
    if not isinstance(name, str) or not name.isidentifier():
        raise TypeError(f"`{where}` must have names of arguments as its keys, got {show(name)}.")
    if isinstance(value, Zipped):
        raise TypeError(
            f"`{where}` must hold a sequence for {name!r}, got {value!r}. Give a list: "
            "[zipped(...), {...}]; the product of its entries is swept."
        )
    where = f"{where}[{name!r}]"
    return Axis((name,), {name: check_distinct(where, read_values(where, value))})


def _only_axis(where: str, values: object, make_optimizer: Callable[..., Any]) -> Axis:
    """The axis of a factory that takes one value, by the name of its first argument where it shows one."""
    name = "setting"
    with contextlib.suppress(TypeError, ValueError):
        name = next(iter(inspect.signature(make_optimizer).parameters), name)
    name = "setting" if name in RESERVED else name
    return Axis((name,), {name: check_distinct(where, read_values(where, values))})


def _check_names(where: str, names: Sequence[str], make_optimizer: Callable[..., Any]) -> None:
    """Raise unless the factory can be called with these keywords and no others."""
    for name in names:
        if name in RESERVED:
            raise ValueError(
                f"`{where}` must not name a hyperparameter {name!r}, which is a column of the result's table. Rename "
                f"it in the factory: lambda my_{name}: make_optimizer({name}=my_{name})."
            )
        if names.count(name) > 1:
            raise ValueError(f"`{where}` must name every hyperparameter once, got {name!r} in two places.")
    check_callable("sweep(make_optimizer=...)", make_optimizer, signature=f"make_optimizer({', '.join(names)})")
    try:
        signature = inspect.signature(make_optimizer)
    except (TypeError, ValueError):  # builtins show none
        return
    parameters = signature.parameters
    called = f"`{name_of(make_optimizer)}({', '.join(parameters)})`"
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [name for name in names if name not in parameters and not takes_any]
    if unknown:
        close = difflib.get_close_matches(unknown[0], list(parameters))
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`{where}` names {unknown[0]!r}, which make_optimizer, {called}, does not take.{hint}")
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        raise ValueError(
            f"`{where}` must name all that make_optimizer, {called}, needs, but: {error}. Name it in the grid, or fix "
            "it: functools.partial(make_optimizer, ...)."
        ) from None


def _families(
    by_name: bool,
    values: Mapping[str, list[PyTree]],
    index: Mapping[str, Int[np.ndarray, " trials"]],
    dtype: np.dtype,
) -> Iterator[Family]:
    kinds = {name: np.asarray(_structures(items)) for name, items in values.items()}
    of_trial = np.stack([kinds[name][index[name]] for name in values], axis=1)
    for kind in dict.fromkeys(map(tuple, of_trial.tolist())):
        mine: Bool[np.ndarray, " trials"] = (of_trial == kind).all(axis=1)
        trials = np.flatnonzero(mine)
        settings = {name: _stack([values[name][i] for i in index[name][trials]], dtype) for name in values}
        yield Family(trials, settings if by_name else next(iter(settings.values())))


def _structures(items: list[PyTree]) -> list[int]:
    """For each setting, a number that settings of one structure and shape share."""
    known: dict[Any, int] = {}
    shaped = ((jax.tree.structure(item), *(leaf.shape for leaf in jax.tree.leaves(item))) for item in items)
    return [known.setdefault(signature, len(known)) for signature in shaped]


def _stack(items: list[PyTree], dtype: np.dtype) -> PyTree:
    def stack(*leaves: np.ndarray) -> np.ndarray:
        array = np.stack(leaves)
        return array if array.dtype == np.int32 else array.astype(dtype)

    return jax.tree.map(stack, *items)


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
        "values": [[_axis_name(axis), _axis_values(axis, dtype)] for axis in grid.axes],
    }


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
