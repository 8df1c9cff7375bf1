"""Strict, versioned JSON of results: readable by anything, read back without loss, and never executed."""

import dataclasses
import enum
import json
import math
import os
import tempfile
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

VERSION = 1


class JsonResult:
    """A result, a dataclass, that a file keeps without loss."""

    _FORMAT: ClassVar[str]

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a strict JSON file, losslessly; numbers not finite are the strings "inf", "-inf", "nan".

        Args:
          path: file to write; its folder must exist.

        Raises:
          OSError: the file cannot be written.
        """
        write_json(path, self._FORMAT, self)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a result that `to_json` wrote.

        Args:
          path: the file.

        Returns:
          An equal result.

        Raises:
          ValueError: the file is no such result, damaged, or of a newer version.
          OSError: the file cannot be read.
        """
        return read_json(path, cls._FORMAT, cls, cls._check)

    def _check(self) -> None:
        """Raise ValueError where the values that were read do not fit together."""


def write_json(path: str | os.PathLike[str], name: str, value: Any) -> None:
    """Write `value`, a dataclass, as a document with its format's name and version; whole or not at all."""
    document = {"format": name, "version": VERSION, **_encode(value)}
    text = json.dumps(document, indent=1, allow_nan=False)
    path = Path(path)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)  # mkstemp makes the file private
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def read_json(
    path: str | os.PathLike[str], name: str, kind: type, check: Callable[[Any], None] = lambda value: None
) -> Any:
    """Read a document that `write_json` wrote.

    Args:
      path: the file.
      name: the format's name.
      kind: the dataclass.
      check: raises ValueError where the values do not fit together.

    Returns:
      The value.

    Raises:
      ValueError: it is not such a document; the message says what is wrong with it.
    """
    where = f"`{kind.__name__}.from_json({os.fspath(path)!r})`"
    try:
        text = Path(path).read_text()
    except ValueError as error:
        raise ValueError(f"{where} must be a JSON file, but: {error}. Was it cut off?") from None
    return read_text(where, text, name, kind, check)


def read_text(where: str, text: str, name: str, kind: type, check: Callable[[Any], None] = lambda value: None) -> Any:
    """Read the text of a document that `write_json` wrote, as `read_json` does; `where` begins its messages."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} must be a JSON file, but: {error}. Was it cut off?") from None
    if not isinstance(document, dict) or document.get("format") != name:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise ValueError(f"{where} must be a file of format {name!r}, got {found!r}.")
    if document.get("version") != VERSION:
        raise ValueError(
            f"{where} has version {document.get('version')!r}, and this lrjax reads version {VERSION}. Upgrade lrjax."
        )
    try:
        value = _decode(kind, document)
        check(value)
        return value
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{where} is damaged: {type(error).__name__}: {error}.") from error


def _encode(value: Any) -> Any:
    names = _field_names(value)
    if names is not None:
        return {name: _encode(getattr(value, name)) for name in names}
    if isinstance(value, (jax.Array, np.ndarray)):
        array = np.asarray(value)
        return {"dtype": str(array.dtype), "data": _encode(array.tolist())}
    if isinstance(value, np.generic):
        return _encode(value.item())
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)  # "inf", "-inf", "nan"
    return value


def _decode(kind: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if _is_array(data):
        array = np.asarray(data["data"], dtype=_number_type(data["dtype"]))
        on_host = getattr(kind, "array_type", None) is np.ndarray or jnp.asarray(array).dtype != array.dtype
        return array if on_host else jnp.asarray(array)
    if origin in (types.UnionType, typing.Union):
        if data is None:
            return None
        return _decode(next(one for one in arguments if one is not types.NoneType), data)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_decode(arguments[0], key): _decode(arguments[1], item) for key, item in data.items()}
    if origin in (tuple, list):
        if arguments and arguments[-1] is not Ellipsis and origin is tuple:
            return tuple(_decode(one, item) for one, item in zip(arguments, data, strict=True))
        return origin(_decode(arguments[0], item) for item in data)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind[data]
    names = _field_names(kind)
    if names is not None:
        hints = typing.get_type_hints(kind)
        return kind(**{name: _decode(hints[name], data[name]) for name in names})
    return kind(data) if kind in (int, float) else data


def _number_type(name: Any) -> np.dtype:
    """A dtype of numbers, or of words as long as they are: a file cannot ask for objects, or a gigabyte for each."""
    dtype = jnp.dtype(name)
    if dtype.kind == "U":
        return np.dtype("U")
    if not (jnp.issubdtype(dtype, np.number) or dtype == np.bool_):
        raise TypeError(f"an array must hold numbers or words, got dtype {name!r}")
    return dtype


def _is_array(data: Any) -> bool:
    return isinstance(data, dict) and set(data) == {"dtype", "data"}


def _field_names(value: Any) -> tuple[str, ...] | None:
    """The fields of a dataclass or NamedTuple, or of an instance of one."""
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return getattr(value, "_fields", None)
