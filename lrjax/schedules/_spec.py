"""Any schedule as JSON, and back."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from .._annotated import arguments_of
from .._checks import show, show_with_type
from .._decode import MAX_DEPTH, parse
from .._types import Schedule
from ._schedule import FACTORIES, GROUPS, Foreign, own_core


def to_spec(schedule: Schedule) -> dict[str, Any]:
    """A schedule's name and numbers, ready for JSON.

    Args:
      schedule: made by this package, of such schedules only.

    Returns:
      A dict of "name", the function that makes it, and that function's arguments; schedules inside are
      such dicts too. A float64 array of shape () is kept as {"float64": number}.

    Raises:
      TypeError: the schedule, or one inside it, is a callable that is not of this package, or is being traced.

    Examples:
      >>> from lrjax import schedules
      >>> schedules.to_spec(schedules.warmup(schedules.constant(0.5), 10))["name"]
      'warmup'
    """
    if isinstance(schedule, Foreign):
        schedule = schedule.function
    core = own_core(schedule)
    if core is None:
        raise TypeError(
            f"`to_spec(schedule)` must be a schedule of lrjax.schedules, got {show(schedule)}. "
            "Another callable has no name and numbers to write down."
        )
    keywords = cast(Partial, schedule).keywords
    numbers = {name: _to_json(value) for name, value in keywords.items() if name not in core.derived}
    return {"name": core.name, **dict(core.choices), **numbers}


def _to_json(value: Any) -> Any:
    if isinstance(value, (Partial, Foreign)):
        return to_spec(value)
    if isinstance(value, (tuple, list)):
        return [_to_json(one) for one in value]
    if isinstance(value, Tracer):
        raise TypeError("`to_spec(schedule)` needs known numbers, got a traced one. Call it outside jit and vmap.")
    if not isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return value
    if np.ndim(value) != 0:
        raise TypeError(
            f"`to_spec(schedule)` must be one schedule, got numbers of shape {np.shape(value)}. "
            "Write down each of the stacked schedules."
        )
    if jnp.issubdtype(value.dtype, np.integer):
        return int(value)
    if value.dtype == np.float64:
        return {"float64": float(value)}
    return float(str(np.float32(value)))  # the shortest number that is this float32


def from_spec(spec: Mapping[str, Any] | str | Path) -> Schedule:
    """The schedule of a spec; the inverse of `to_spec`.

    Args:
      spec: what `to_spec` returned, that as JSON text, or the path of a file that holds it. Numbers of steps may be
        durations in words inside a `with Durations(...)` block.

    Returns:
      A schedule.

    Raises:
      TypeError, ValueError: no such schedule, an argument that it does not have or lacks, or one out of its range.

    Examples:
      >>> from lrjax import schedules
      >>> schedule = schedules.from_spec({"name": "cosine_decay", "init_value": 1.0, "decay_steps": 10})
      >>> float(schedule(5))
      0.5
    """
    if isinstance(spec, (str, Path)):
        spec = _read(spec)
    return _made(spec, MAX_DEPTH)


def _made(spec: Any, depth: int) -> Schedule:
    if not isinstance(spec, Mapping) or "name" not in spec:
        raise TypeError(f'`from_spec(spec)` must be a dict with the key "name", got {show(spec)}.')
    return make(spec["name"], {str(key): _from_json(value, depth) for key, value in spec.items() if key != "name"})


def make(name: str, arguments: dict[str, Any]) -> Schedule:
    """The schedule of this name with these arguments, by keyword."""
    if not isinstance(name, str):
        raise TypeError(f"The name of a schedule must be a string, got {show_with_type(name)}.")
    if name not in FACTORIES:
        close = difflib.get_close_matches(name, FACTORIES, n=1)
        every = ", ".join(", ".join(names) for names in GROUPS.values())
        advice = f"Did you mean {close[0]}?" if close else f"There are {every}."
        raise ValueError(f"`{show(name, 40)[1:-1]}` is not a schedule. {advice}")
    parts: list[Schedule] = []
    for key, (place, parameter, rule) in arguments_of(FACTORIES[name]).items():
        if rule is not None and parameter.kind is parameter.VAR_POSITIONAL:
            parts += rule.check(place, arguments.get(key, ()))
            arguments = {other: value for other, value in arguments.items() if other != key}
    return FACTORIES[name](*parts, **arguments)


def _from_json(value: Any, depth: int) -> Any:
    if not isinstance(value, (Mapping, list)):
        return value
    if depth == 0:
        raise ValueError(f"`from_spec(spec)` must be nested at most {MAX_DEPTH} deep, got more. Simplify it.")
    if isinstance(value, list):
        return [_from_json(one, depth - 1) for one in value]
    if set(value) != {"float64"}:
        return _made(value, depth - 1)
    number = value["float64"]
    if type(number) not in (int, float) or not abs(number) < 1e308:
        return number  # which the schedule refuses
    with np.errstate(over="ignore"):  # without x64 a number beyond float32 is inf
        return jnp.asarray(np.float64(number))


def _read(spec: str | Path) -> Any:
    is_text = isinstance(spec, str) and spec.lstrip()[:1] in ("{", "[")
    try:
        text = str(spec) if is_text else Path(spec).read_text("utf-8")
    except (OSError, ValueError):  # ValueError: a name that no file can have
        raise ValueError(
            f"`from_spec(spec)` must be a dict, JSON text or the path of a file, got {show(spec)}: there is no such "
            'file. Write for example {"name": "constant", "value": 0.1}.'
        ) from None
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"`from_spec(spec)` must be JSON, got {show(text)}: {error}.") from None
