"""Any schedule as JSON, and back."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from .._checks import show
from .._decode import MAX_DEPTH, parse
from .._types import Schedule
from . import _arguments as check
from . import _compose, _cycle, _decay, _one_cycle, _rates, _stable, _stairs, _warmup
from ._bind import Core, Foreign

FACTORIES = {
    factory.__name__: factory
    for factory in (
        _decay.constant,
        _decay.linear_decay,
        _decay.polynomial_decay,
        _decay.exponential_decay,
        _decay.inverse_time_decay,
        _decay.cosine_decay,
        _rates.inverse_sqrt_decay,
        _rates.tanh_decay,
        _rates.k_decay,
        _rates.power_decay,
        _stairs.step_decay,
        _stairs.piecewise_constant,
        _stairs.piecewise_interpolate,
        _warmup.warmup,
        _warmup.warmup_cosine,
        _stable.warmup_stable_decay,
        _stable.cooldown_from,
        _cycle.cosine_restarts,
        _cycle.triangular,
        _cycle.triangular2,
        _cycle.exp_range,
        _cycle.cyclic_exponential_decay,
        _one_cycle.one_cycle,
        _one_cycle.one_cycle_momentum,
        _one_cycle.triangular_momentum,
        _decay.range_test_ramp,
        _compose.join,
        _compose.multiply,
        _compose.clip,
        _compose.shift,
        _compose.stretch,
        _compose.repeat,
    )
}
"""Every function that makes a schedule, by its name. A new one is added here, and has a spec."""


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
    if not isinstance(schedule, Partial) or not isinstance(schedule.func, Core):
        raise TypeError(
            f"`to_spec(schedule)` must be a schedule of lrjax.schedules, got {show(schedule)}. "
            "Another callable has no name and numbers to write down."
        )
    core = schedule.func
    numbers = {name: _to_json(value) for name, value in schedule.keywords.items() if name not in core.derived}
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
    name = spec["name"]
    arguments = {key: _from_json(value, depth) for key, value in spec.items() if key != "name"}
    return make(name, arguments)


def make(name: str, arguments: dict[str, Any]) -> Schedule:
    """The schedule of this name with these arguments, by keyword."""
    if not isinstance(name, str):
        raise TypeError(f"The name of a schedule must be a string, got {show(name)} ({type(name).__name__}).")
    if name not in FACTORIES:
        from difflib import get_close_matches

        close = get_close_matches(str(name), FACTORIES, n=1)
        advice = f"Did you mean {close[0]}?" if close else f"There are {', '.join(FACTORIES)}."
        raise ValueError(f"`{show(name, 40)[1:-1]}` is not a schedule. {advice}")
    factory: Callable[..., Schedule] = FACTORIES[name]
    signature = inspect.signature(factory)
    parameters = signature.parameters.values()
    missing = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind is not each.VAR_POSITIONAL and each.name not in arguments
    ]
    unknown = [key for key in arguments if key not in signature.parameters]
    if missing or unknown:
        lacks = f"lacks {', '.join(missing)}" if missing else ""
        has = f"has no argument {', '.join(show(key, 40)[1:-1] for key in unknown[:3])}" if unknown else ""
        raise TypeError(f"`{name}` {' and '.join(filter(None, (lacks, has)))}. It is {name}{signature_text(name)}.")
    spread = next((each.name for each in parameters if each.kind is each.VAR_POSITIONAL), None)
    if spread is None:
        return factory(**arguments)
    return factory(*check.sequence(f"{name}(*{spread})", arguments.get(spread, []), spread))


def signature_text(name: str) -> str:
    """The arguments of a schedule with their defaults, without types: `(value)`."""
    signature = inspect.signature(FACTORIES[name])
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


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


def _is_file(path: str | Path) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _read(spec: str | Path) -> Any:
    if isinstance(spec, str) and spec.lstrip()[:1] in ("{", "["):
        text = spec
    elif _is_file(spec):
        text = Path(spec).read_text("utf-8")
    else:
        raise ValueError(
            f"`from_spec(spec)` must be a dict, JSON text or the path of a file, got {show(spec)}: there is no such "
            'file. Write for example {"name": "constant", "value": 0.1}.'
        )
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"`from_spec(spec)` must be JSON, got {show(text)}: {error}.") from None
