"""A line for each public value: numbers as such, arrays as their dtype and shape."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ._checks import clip, describe, name_of, show

SHOWN = 3
"""Entries of a collection that are shown."""

MOST = 100
"""Characters of a field."""


def line_repr(self: Any) -> str:
    """`Name(field=..., ...)` for a dataclass or NamedTuple, without fields that are None: its `__repr__`."""
    names = getattr(self, "_fields", None) or [field.name for field in dataclasses.fields(self) if field.repr]
    fields = {name: getattr(self, name) for name in names}
    shown = [f"{name}={clip(_brief(field), MOST)}" for name, field in fields.items() if field is not None]
    return f"{type(self).__name__}({', '.join(shown)})"


def _brief(value: Any) -> str:
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        number = np.ndim(value) == 0 and not isinstance(value, Tracer) and value.dtype.kind in "biuf"
        return f"{value.item():.6g}" if number else describe(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "{" + _entries([f"{key!r}: {_brief(value[key])}" for key in list(value)[:SHOWN]], len(value)) + "}"
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        inner = _entries([_brief(one) for one in value[:SHOWN]], len(value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if callable(value):
        return name_of(value)
    return show(value, MOST)


def _entries(shown: list[str], count: int) -> str:
    return ", ".join([*shown, *([f"... {count} in all"] if count > SHOWN else [])])
