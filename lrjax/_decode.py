"""From a JSON text to values of the types that annotations declare: strictly, or not at all."""

import collections
import dataclasses
import enum
import functools
import itertools
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import AbstractArray, Shaped

from ._checks import show
from ._types import Bool, Float, Int

MAX_BYTES = 128 * 2**20
"""The largest file that is written and read: four million numbers (1,000 trials, 4 seeds, 250 evaluations, 4 metrics),
which take about 10 seconds and 1 GB to read. A larger one is no result of ours, or belongs into a table."""

MAX_DEPTH = 32
"""Objects and lists inside one another where anything may stand; Python itself gives up at about 1,000."""

MAX_DIGITS = 400
"""Of a whole number: no float has more."""

FLOATS = ("bfloat16", "float16", "float32", "float64")
INTS = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
DTYPES: dict[Any, tuple[str, ...]] = {
    Float: FLOATS,
    Int: INTS,
    Bool: ("bool",),
    Shaped: (*FLOATS, *INTS, *UNSIGNED, "bool", "str"),
}
"""The kind of an array's annotation -> the dtypes that a file may name; "str" is words of any length."""

NOT_FINITE = frozenset(("inf", "-inf", "nan"))
"""How a file spells the floats that strict JSON has no numbers for."""


class FieldError(ValueError):
    """A field has a value that it must not have: the rule in words, and its name after those of what it is in."""

    def __init__(self, words: str, *path: str):
        place = "".join(part if part.startswith("[") else f".{part}" for part in path).removeprefix(".")
        super().__init__(f"`{place}` {words}" if path else f"it {words}")
        self.words, self.path = words, path

    def within(self, name: str) -> "FieldError":
        """The same, of a field inside another one."""
        return FieldError(self.words, _named(name), *self.path)


def _named(name: str) -> str:
    """A field, or a key of a mapping, which a file may make long or unprintable."""
    return name if len(name) <= 40 and name.isprintable() else show(name, 40)[1:-1]


def require(name: str, ok: object, rule: str, got: object) -> None:
    """Raise a `FieldError` unless a field's value is as its rule says."""
    if not ok:
        raise FieldError(f"must be {rule}, got {show(got, 60)}.", name)


def require_counts(value: object, *names: str, minimum: int = 0) -> None:
    """Raise a `FieldError` unless these fields of an object are at least `minimum`."""
    for name in names:
        number = getattr(value, name)
        require(name, number >= minimum, f"at least {minimum}", number)


def parse(text: str) -> Any:
    """The value of a strict JSON text: a key twice, NaN, Infinity and numbers that no float holds are ValueErrors."""
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_whole
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error} (was it cut off?)") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        name, _ = collections.Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {show(name, 40)} is there twice")
    return found


def _constant(word: str) -> Any:
    raise ValueError(f'{word} is not strict JSON, which spells it "{word.replace("Infinity", "inf").lower()}"')


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits if len(digits) < 40 else digits[:37] + '...'} is larger than any float")
    return number


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"the number {digits[:20]}... has {len(digits):,} digits")
    return int(digits)


Axes = dict[str, tuple[int, str]]
"""Name of an axis -> its length in one object's arrays, and the first field that has it."""


def decode(kind: Any, data: Any, name: str = "", axes: Axes | None = None) -> Any:
    """The value of type `kind`, an annotation, that JSON data of the field `name` stand for.

    Encoded again it is the same data, up to floats written with other digits than their dtype's. A class with
    `_check()` has it called. `axes` are those of the object that the field is in. Raises `FieldError`.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _anything(data, MAX_DEPTH)
    if isinstance(kind, type) and issubclass(kind, AbstractArray):
        return _array(kind, data, name, {} if axes is None else axes)
    if origin in (types.UnionType, typing.Union):
        (one,) = (one for one in arguments if one is not types.NoneType)
        return None if data is None else decode(one, data, name, axes)
    if origin is Literal:
        _ensure(isinstance(data, str) and data in arguments, f"one of {', '.join(map(repr, arguments))}", data)
        return data
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _ensure(isinstance(data, dict), "an object", data)
        return {_key(arguments[0], key): _inside(arguments[1], item, key, axes) for key, item in data.items()}
    if origin in (list, tuple):
        return origin(_items(origin, arguments, data, axes))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        _ensure(isinstance(data, str) and data in kind.__members__, f"one of {_some(kind.__members__)}", data)
        return kind[data]
    if field_names(kind) is not None:
        return _instance(kind, data)
    return _SCALARS[kind](data)


def field_names(value: Any) -> tuple[str, ...] | None:
    """The fields of a dataclass or NamedTuple, or of an instance of one; None for anything else."""
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return getattr(value, "_fields", None)


def _ensure(ok: bool, rule: str, got: Any) -> None:
    if not ok:
        raise FieldError(f"must be {rule}, got {_short(got)}.")


def _some(names: Iterable[str]) -> str:
    """The first of many names."""
    names = list(names)
    return ", ".join(names[:12]) + ", ..." * (len(names) > 12)


def _short(data: Any) -> str:
    """A value of a file in a few words."""
    if isinstance(data, (dict, list)):
        return f"{'an object' if isinstance(data, dict) else 'a list'} of {len(data)}"
    return show(data, 60)


def _inside(kind: Any, data: Any, name: str, axes: Axes | None) -> Any:
    try:
        return decode(kind, data, name, axes)
    except FieldError as error:
        raise error.within(name) from None


def _instance(kind: Any, data: Any) -> Any:
    names = field_names(kind) or ()
    _keys(data, names)
    hints = _hints(kind)
    axes: Axes = {}
    value = kind(**{name: _inside(hints[name], data[name], name, axes) for name in names})
    if hasattr(value, "_check"):
        value._check()
    return value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _keys(data: Any, names: tuple[str, ...]) -> None:
    _ensure(isinstance(data, dict), "an object", data)
    for name in names:
        if name not in data:
            raise FieldError(f"must have the keys {_some(names)}, and lacks {name}.")
    for name in data:
        if name not in names:
            raise FieldError(f"must have no other keys than {_some(names)}, got {show(name, 40)}.")


def _key(kind: Any, key: str) -> Any:
    if kind is not int:
        return _text(key)
    digits = key.removeprefix("-")
    _ensure(digits.isascii() and digits.isdecimal() and len(digits) < 19, "an object whose keys are whole numbers", key)
    _ensure(str(int(key)) == key, f"an object whose keys are numbers such as {int(key)}", key)
    return int(key)


def _items(origin: Any, arguments: tuple[Any, ...], data: Any, axes: Axes | None) -> list[Any]:
    _ensure(isinstance(data, list), "a list", data)
    kinds = arguments
    if origin is list or arguments[-1] is Ellipsis:
        kinds = arguments[:1] * len(data)
    _ensure(len(kinds) == len(data), f"a list of {len(kinds)}", data)
    pairs = zip(kinds, data, strict=True)
    return [_inside(one, item, f"[{place}]", axes) for place, (one, item) in enumerate(pairs)]


def _bool(data: Any) -> bool:
    _ensure(isinstance(data, bool), "true or false", data)
    return data


def _int(data: Any) -> int:
    _ensure(type(data) is int and abs(data) < 2**63, "a whole number below 2**63", data)
    return data


def _number(data: Any) -> float:
    if type(data) is str and data in NOT_FINITE:
        return float(data)
    number: Any = data
    _ensure(type(data) in (int, float), 'a number, "inf", "-inf" or "nan"', data)
    _ensure(type(data) is float or (abs(number) < 2**1023 and int(float(data)) == data), "a float64 number", data)
    return float(data)


def _text(data: Any) -> str:
    _ensure(isinstance(data, str), "a string", data)
    try:
        data.encode()
    except UnicodeEncodeError:
        raise FieldError(f"must be text in Unicode, got {show(data, 60)}.") from None
    return data


_SCALARS = {bool: _bool, int: _int, float: _number, str: _text}


def _anything(data: Any, depth: int) -> Any:
    """Plain JSON, with the limits of everything else."""
    _ensure(depth > 0, f"nested at most {MAX_DEPTH} deep", data)
    if isinstance(data, dict):
        return {_text(key): _anything(item, depth - 1) for key, item in data.items()}
    if isinstance(data, list):
        return [_anything(item, depth - 1) for item in data]
    return data if data is None or isinstance(data, float) else _SCALARS[type(data)](data)


def _array(kind: Any, data: Any, name: str, axes: Axes) -> Any:
    """An array of the annotation's kind of number and shape, its dtype exact."""
    _keys(data, ("dtype", "data"))
    allowed, dims = DTYPES[kind.dtype], kind.dim_str.split()
    listed = " or ".join(filter(None, [", ".join(allowed[:-1]), allowed[-1]]))
    _ensure(isinstance(data["dtype"], str) and data["dtype"] in allowed, f"of dtype {listed}", data["dtype"])
    values, shape = _flatten(data["data"], dims)
    for axis, length in zip(dims, shape, strict=True):
        known, other = axes.setdefault(axis, (length, name))
        if length != known:
            raise FieldError(f"must have {known} {axis}, as `{_named(other)}` has, got {length}.")
    return _numbers(values, data["dtype"]).reshape(shape)


def _flatten(data: Any, dims: list[str]) -> tuple[list[Any], tuple[int, ...]]:
    """The numbers of lists inside lists, one level for each axis, and the axes' lengths."""
    flat, shape = [data], []
    for axis in dims:
        wrong = next((one for one in flat if type(one) is not list), None)
        _ensure(set(map(type, flat)) <= {list}, f"of shape ({', '.join(dims)})", wrong)
        lengths = sorted(set(map(len, flat)))
        if len(lengths) > 1:
            raise FieldError(f"must have equally many {axis} everywhere, got {lengths[0]} and {lengths[-1]}.")
        shape.append(lengths[0] if lengths else 0)
        flat = list(itertools.chain.from_iterable(flat))
    return flat, tuple(shape)


def _numbers(values: list[Any], dtype: str) -> np.ndarray:
    """The values in their dtype; floats are rounded, unless to infinity or 0."""
    kinds = {"str": {str}, "bool": {bool}}.get(dtype, {int, float, str} if dtype in FLOATS else {int})
    wrong = next((one for one in values if type(one) not in kinds), None)
    _ensure(set(map(type, values)) <= kinds, f"an array of {dtype}", wrong)
    if dtype in FLOATS:
        wide = np.asarray([one if type(one) is float else _number(one) for one in values], np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            array = wide.astype(jnp.dtype(dtype))
            error = np.abs(array.astype(np.float64) - wide)  # nan where both are infinite
        far = np.flatnonzero(error > float(jnp.finfo(dtype).eps) * np.abs(wide))
        _ensure(not far.size, f"numbers that {dtype} holds", values[far[0]] if far.size else None)
        return array
    if dtype == "str":
        _ensure(not any(_text(one).endswith("\0") for one in values), "words without a null at their end", "...\\0")
        return np.asarray(values, np.str_)
    if dtype != "bool":
        limits = np.iinfo(dtype)
        far = next((one for one in values if not limits.min <= one <= limits.max), None)
        _ensure(far is None, f"numbers that {dtype} holds", far)
    return np.asarray(values, dtype)
