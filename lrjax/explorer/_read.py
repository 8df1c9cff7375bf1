"""JSON from the page, read with limits, and numbers for it. The page shows the message of a `Refused`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import check_choice, check_count, check_number, show
from .._decode import parse
from .._types import Float, Schedule
from ..schedules import from_spec

MAX_BODY = 8 * 2**20
"""Bytes of the largest question: a saved result."""

MAX_NODES = 64
"""Schedules inside schedules, and numbers in lists, that one spec may hold: each shape of a spec is compiled."""

MAX_DEPTH = 8


class Refused(ValueError):
    """The request cannot be answered; the message is for whoever sees the page."""


def read_document(text: bytes | str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = parse(text if isinstance(text, str) else text.decode())
    except ValueError as error:
        raise Refused(f"This is no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise Refused(f"This must be a JSON object, got {type(value).__name__}.")
    return value


class Fields:
    """A JSON object whose values are checked as they are read."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = values

    def _get(self, name: str) -> Any:
        if name not in self._values:
            raise Refused(f"`{name}` is missing.")
        return self._values[name]

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number within limits, both included."""
        count = _checked(check_count, name, self._get(name), minimum=low)
        if count > high:
            raise Refused(f"`{name}` must be at most {high:,}, got {show(count)}.")
        return count

    def number(self, name: str, low: float, high: float) -> float:
        """A number within limits, both included."""
        rule = f"a number from {low:g} to {high:g}"
        return _checked(check_number, name, self._get(name), rule=rule, accept=lambda x: low <= x <= high)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of these words."""
        return _checked(check_choice, name, self._get(name), tuple(choices))

    def text(self, name: str) -> str:
        """A string."""
        if not isinstance(value := self._get(name), str):
            raise Refused(f"`{name}` must be a string, got {show(value)}.")
        return value

    def items(self, name: str, low: int, high: int) -> list[Any]:
        """A list of so many values."""
        value = self._get(name)
        if not isinstance(value, list) or not low <= len(value) <= high:
            got = f"{len(value)} values" if isinstance(value, list) else show(value)
            raise Refused(f"`{name}` must be a list of {low} to {high} values, got {got}.")
        return value

    def point(self, name: str, far: float) -> tuple[float, float]:
        """Two numbers, x and y."""
        values = Fields(dict(zip("xy", self.items(name, 2, 2), strict=True)))
        return values.number("x", -far, far), values.number("y", -far, far)


def _checked(check: Any, name: str, value: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return check(name, value, *arguments, **options)
    except (TypeError, ValueError) as error:
        raise Refused(str(error)) from None


def read_schedule(spec: Any) -> Schedule:
    """The schedule of a spec, as `lrjax.schedules.from_spec` makes it, but of limited size and never from a path."""
    if not isinstance(spec, dict):
        raise Refused(f'A schedule must be a JSON object with the key "name", got {show(spec)}.')
    if _size(spec, MAX_DEPTH) > MAX_NODES:
        raise Refused(f"A schedule may hold {MAX_NODES} schedules and numbers in lists, nested {MAX_DEPTH} deep.")
    try:
        return from_spec(spec)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused(str(error)) from None


def _size(value: Any, depth: int) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    if depth == 0:
        return MAX_NODES + 1
    inside = list(value.values()) if isinstance(value, dict) else value
    count = 1 if isinstance(value, dict) else len(value)
    return count + sum(_size(one, depth - 1) for one in inside[: MAX_NODES + 1])


def rounded(values: Float[np.ndarray, "..."]) -> list[Any]:
    """Five digits of every number, as nested lists for JSON; None where it is not finite."""
    values = np.asarray(values, np.float64)
    size = np.where((values == 0) | ~np.isfinite(values), 1.0, np.abs(values))
    scale = 10.0 ** (4 - np.floor(np.log10(size)))
    with np.errstate(invalid="ignore"):
        short = np.round(values * scale) / scale
    shown = np.asarray(short, object)
    shown[~np.isfinite(short)] = None
    return shown.tolist()
