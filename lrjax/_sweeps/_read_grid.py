"""From the argument `grid` to its trials: sequences, zips, stacked values, and the product of all."""

import contextlib
import dataclasses
import difflib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, MappingView, Sequence
from typing import Any

import jax
import numpy as np

from .._checks import (
    MAX_TRIALS,
    check_callable,
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
from .._types import Bool, Int, PyTree
from ._grid import RESERVED, Axis, Family, Grid, are_numbers, columns_of, spec_of

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
            f"`{where}` must be a sequence of numbers or schedules, got {show_with_type(value)}. "
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
            f"`{where}` must hold numbers, got {show_with_type(leaf)} at index {place}. "
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


@dataclasses.dataclass(frozen=True)
class Zipped:
    """Hyperparameters that change together, by name, all of one length; made by `zipped`."""

    values: Axis

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
    read = {name: read_values(f"zipped({name}=...)", value) for name, value in values.items()}
    if len({*map(len, read.values())}) > 1:
        listed = ", ".join(f"{len(items)} for {name}" for name, items in read.items())
        raise ValueError(
            f"`zipped(...)` must get sequences of one length, got {listed}. For every combination leave out zipped: "
            "give the mapping itself."
        )
    return Zipped(read)


def make_grid(where: str, grid: object, make_optimizer: Callable[..., Any], dtype: np.dtype) -> Grid:
    """The trials of a mapping, a `Zipped`, a list of these, or stacked values; `dtype` is that of hyperparameters."""
    where = f"{where}(grid=...)"
    by_name = is_named(grid)
    axes = list(_read_axes(where, grid)) if by_name else [_only_axis(where, grid, make_optimizer)]
    if not axes:
        raise ValueError(f'`{where}` is empty. Write for example {{"learning_rate": jnp.logspace(-5, -1, 17)}}.')
    names = [name for axis in axes for name in axis]
    if by_name:
        _check_names(where, names, make_optimizer)
    shape = Grid(by_name, tuple(axes), {}, {}, ()).shape
    check_count(where, math.prod(shape), maximum=MAX_TRIALS, unit="trials")
    places = np.indices(shape).reshape(len(shape), -1)
    index = {name: place for axis, place in zip(axes, places, strict=True) for name in axis}
    values = {name: items for axis in axes for name, items in axis.items()}
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
            rows = zip(*part.values.values(), strict=True)
            check_distinct(repr(part), [dict(zip(part.values, row, strict=True)) for row in rows])
            yield part.values
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
    return {name: check_distinct(where, read_values(where, value))}


def _only_axis(where: str, values: object, make_optimizer: Callable[..., Any]) -> Axis:
    """The axis of a factory that takes one value, by the name of its first argument where it shows one."""
    name = "setting"
    with contextlib.suppress(TypeError, ValueError):
        name = next(iter(inspect.signature(make_optimizer).parameters), name)
    name = "setting" if name in RESERVED else name
    return {name: check_distinct(where, read_values(where, values))}


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
