"""One schedule as the page shows it: its values, its words, and the lines to copy."""

import functools
import inspect
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._types import Float
from ..schedules import _FACTORIES as FACTORIES
from ..schedules import _values_at as evaluate
from ..schedules import describe, to_spec, validate
from ._controls import PAIRS
from ._paths import MAX_STEPS
from ._read import Fields, Refused, read_schedule

KEPT = 64
"""Schedules whose values and words are remembered: of several, one slider moves one."""


class ScheduleView(NamedTuple):
    """A schedule that can be made, as JSON text: the key of the caches.

    Attributes:
      spec: the schedule.
      momentum: the schedule of momentum beside it, or None.
    """

    spec: str
    momentum: str | None

    def values(self) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"] | None]:
        """The lr and the momentum at every step of the longest training, and after it."""
        return _values(self.spec), None if self.momentum is None else _values(self.momentum)

    def shown(self, steps: np.ndarray, total: int) -> dict[str, Any]:
        """What there is to see and to copy."""
        lr, momentum = self.values()
        spec = json.loads(self.spec)
        code = python_line(spec)
        if self.momentum is not None:
            own = python_line(json.loads(self.momentum))
            code = f"lrjax.schedules.scheduled(optax.sgd, learning_rate={code}, momentum={own})"
        shown = {"lr": rounded(lr[steps]), "momentum": None if momentum is None else rounded(momentum[steps])}
        return shown | {"spec": spec, "code": code, **_words(self.spec, total)}


def view(spec: Any, momentum: Any) -> ScheduleView:
    """A schedule that the page asks for, and its momentum.

    Args:
      spec: as `lrjax.schedules.to_spec` writes it; nothing but checked JSON.
      momentum: None, or an object with "max_momentum" and "min_momentum".

    Raises:
      Refused: no such schedule can be made.
    """
    made = to_spec(read_schedule(spec))
    if momentum is None:
        return ScheduleView(json.dumps(made), None)
    if made["name"] not in PAIRS or not isinstance(momentum, dict):
        raise Refused(f"`momentum` goes with {', '.join(PAIRS)}, got it with {made['name']}.")
    name, ends = PAIRS[made["name"]], Fields(momentum)
    own = {end: ends.number(end, 0.0, 1.0) for end in ("max_momentum", "min_momentum")}
    shared = {key: value for key, value in made.items() if key in inspect.signature(FACTORIES[name]).parameters}
    return ScheduleView(json.dumps(made), json.dumps(to_spec(read_schedule(shared | own | {"name": name}))))


@functools.lru_cache(KEPT)
def _values(spec: str) -> Float[np.ndarray, " steps"]:
    return evaluate("spec", read_schedule(json.loads(spec)), np.arange(MAX_STEPS + 1))


@functools.lru_cache(KEPT)
def _words(spec: str, total: int) -> dict[str, Any]:
    schedule = read_schedule(json.loads(spec))
    problems = validate(schedule, total)
    return {
        "words": str(describe(schedule, total)),
        "problems": [{"name": str(one.name), "step": one.step, "message": one.message} for one in problems],
    }


def python_line(spec: Mapping[str, Any]) -> str:
    """The line of Python that makes a schedule: what differs from the defaults, by keyword.

    Args:
      spec: what `lrjax.schedules.to_spec` returned.

    Returns:
      An expression; it needs `import lrjax`, and NumPy as `np` where a number is a float64 array.

    Examples:
      >>> python_line({"name": "constant", "value": 0.1})
      'lrjax.schedules.constant(value=0.1)'
    """
    words = []
    for name, parameter in inspect.signature(FACTORIES[spec["name"]]).parameters.items():
        value = spec.get(name, parameter.default)
        if parameter.kind is parameter.VAR_POSITIONAL:
            words += [python_line(one) for one in value]
        elif parameter.default is parameter.empty or value != parameter.default:
            words.append(f"{name}={_literal(value)}")
    return f"lrjax.schedules.{spec['name']}({', '.join(words)})"


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"np.float64({value['float64']!r})" if "float64" in value else python_line(value)
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list) else repr(value)


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
