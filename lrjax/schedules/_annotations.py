"""What the arguments of schedules must be, as annotations: read for the checks, for `help()` and for the sliders.

Concrete numbers are checked, traced ones cannot be.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import jax
import numpy as np
from jax.core import Tracer

from .._checks import (
    MAX_UPDATES,
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_signature,
    describe,
    kind_of,
    name_of,
    show,
    show_count,
    show_with_type,
)
from .._types import Array, ScalarLike, Schedule, StepCount
from ._bind import Foreign, Partial
from ._durations import in_steps

UPDATES = "optimizer updates"

Relation = Callable[[str, dict[str, Any]], None]
"""What must hold between arguments: raises unless those of a call go together, given its name and they by theirs."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashable, as what stands in an annotation must be
class Rule:
    """What an argument must be.

    Attributes:
      check: function of the argument's place, for messages, and the argument, to the form in which it is bound.
      text: the rule in words.
      shown: the control of a page for it, ready for JSON.
      plural: what a list of such arguments holds.
      static: whether it is a word or a flag, which chooses what is computed, and no number.
    """

    check: Callable[[str, Any], Any]
    text: str
    shown: dict[str, Any]
    plural: str = "numbers"
    static: bool = False

    def __repr__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Slider:
    """A range for the control of a number, in equal steps ("number") or equal factors ("ratio", "lr")."""

    low: float
    high: float
    kind: str = "number"
    whole: bool = False

    def __repr__(self) -> str:
        return f"shown from {self.low:g} to {self.high:g}"


def number(text: str, accept: Callable[[float], bool]) -> Rule:
    """One finite number that is accepted."""
    return Rule(functools.partial(check_value, rule=text, accept=accept), text, {"kind": "number"})


def count(minimum: int, unit: str = UPDATES) -> Rule:
    """A whole number; optimizer updates may be a duration in words."""
    text = f"a whole number >= {minimum} ({unit})"
    check = functools.partial(check_steps, minimum=minimum, unit=unit)
    return Rule(check, text, {"kind": "steps", "low": minimum}, "steps")


def check_value(where: str, given: Any, *, rule: str, accept: Callable[[float], bool]) -> Any:
    """One number: an array of floats as it is, anything else as a float."""
    kind = _check_scalar(where, given)
    if isinstance(given, Tracer):
        if kind not in ("f", "i", "u"):
            raise TypeError(f"`{where}` must be {rule}, got {describe(given)}.")
        return given if kind == "f" else given.astype(np.float32)
    value = check_number(where, given, rule=rule, accept=lambda x: math.isfinite(x) and accept(x))
    if abs(value) > float(np.finfo(np.float32).max) and getattr(given, "dtype", None) != np.float64:
        raise ValueError(f"`{where}` must be {rule} that float32 can hold, got {value:g}.")
    return given if kind == "f" and given.dtype != np.longdouble else value


def check_steps(where: str, given: Any, *, minimum: int = 1, unit: str = UPDATES) -> Any:
    """A whole number as an int, or a traced integer."""
    if isinstance(given, str) and unit == UPDATES:
        given = in_steps(where, given)
    kind = _check_scalar(where, given)
    if kind not in ("", "i", "u"):
        value = np.asarray(given).item() if kind == "f" and not isinstance(given, Tracer) else given
        got = describe(given) if isinstance(given, Tracer) else f"{show(value)} ({describe(given)})"
        raise TypeError(f"`{where}` must be a whole number ({unit}), got {got}. Cast it to jnp.int32.")
    if isinstance(given, Tracer):
        return given
    return check_horizon(where, check_count(where, given, minimum=minimum, unit=unit, maximum=None))


def check_horizon(where: str, count: int) -> int:
    """A number of steps that this configuration of JAX can count."""
    limit = 2**63 if jax.config.read("jax_enable_x64") else MAX_UPDATES + 1
    if count >= limit:
        advice = (
            "" if limit > MAX_UPDATES + 1 else " Set jax.config.update('jax_enable_x64', True) to count in 64 bits."
        )
        raise ValueError(f"`{where}` must be below 2**{limit.bit_length() - 1} steps, got {show_count(count)}.{advice}")
    return count


def _check_scalar(where: str, given: Any) -> str:
    """The kind of an array's numbers, "" for what is no array; raise for one that holds several."""
    if not isinstance(given, (jax.Array, np.ndarray, np.generic)):
        return ""
    if np.ndim(given) != 0:
        raise ValueError(
            f"`{where}` must be one number, of shape (), got {describe(given)}. "
            "For many schedules at once, make them in `jax.vmap`, or join them with `lrjax.schedules.stack`."
        )
    return kind_of(given)


def _timescale(where: str, given: Any) -> Any:
    """A number > 0, or a duration in words."""
    return POSITIVE.check(where, float(check_steps(where, given)) if isinstance(given, str) else given)


def check_schedule(where: str, given: Any) -> Partial | Foreign:
    """A schedule to be composed: a pytree if it is one of ours, else held as it is."""
    if isinstance(given, (Partial, Foreign)):
        return given
    if isinstance(given, type) or not callable(given):
        is_number = isinstance(given, (int, float, np.number, Array))
        advice = f" Write lrjax.schedules.constant({show(given)})." if is_number else ""
        raise TypeError(f"`{where}` must be a schedule, got {show_with_type(given)}.{advice}")
    if (signature := check_signature(where, given, "schedule(step) -> lr")) is not None:
        raise TypeError(f"`{where}` must be `schedule(step) -> lr`, got `{name_of(given)}{signature}`.")
    return Foreign(given)


def check_list(where: str, given: Any, of: Rule) -> tuple:
    """A list, a tuple or a 1-D array, as a tuple; only one of steps may be empty."""
    if isinstance(given, (jax.Array, np.ndarray)) and given.ndim == 1:
        given = [given[index] for index in range(len(given))]
    if isinstance(given, (str, bytes, memoryview)) or not isinstance(given, Sequence):
        raise TypeError(f"`{where}` must be a list of {of.plural}, got {show_with_type(given)}.")
    if not given and of.plural != "steps":
        raise ValueError(f"`{where}` must hold at least one {of.plural.removesuffix('s')}, got none.")
    return tuple(of.check(f"{where}[{index}]", one) for index, one in enumerate(given))


def rule_of(annotation: Any) -> Rule | None:
    """The rule of an annotated argument; None where there is none."""
    kind, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    inside = get_args(kind)
    if rules := [one for one in notes if isinstance(one, Rule)]:
        sliders = [dataclasses.asdict(one) for one in notes if isinstance(one, Slider)]
        return dataclasses.replace(rules[-1], shown=[rules[-1].shown, *sliders][-1])
    if kind is bool:
        return Rule(check_flag, "True or False", {"kind": "flag"}, static=True)
    if kind == Schedule:
        return A_SCHEDULE
    if get_origin(kind) is Literal:
        same = next((one for one in notes if isinstance(one, dict)), {})
        return Rule(
            lambda where, given: same.get(word := check_choice(where, given, inside), word),
            "a word",
            {"kind": "choice", "choices": [word for word in inside if word not in same]},
            static=True,
        )
    if get_origin(kind) is Sequence and (of := rule_of(inside[0])):
        return Rule(functools.partial(check_list, of=of), f"a list of {of.plural}", {"kind": "list", "of": of.shown})
    if NoneType in inside and (of := rule_of(inside[0])):
        return dataclasses.replace(of, check=lambda where, given: None if given is None else of.check(where, given))
    return None


A_SCHEDULE = Rule(check_schedule, "a schedule", {"kind": "schedule"}, "schedules")

POSITIVE = number("a finite number > 0", lambda x: x > 0)
LRS = Slider(1e-7, 10.0, "lr")

Positive = Annotated[ScalarLike, POSITIVE]
NonNegative = Annotated[ScalarLike, number("a finite number >= 0", lambda x: x >= 0), LRS]
Fraction = Annotated[ScalarLike, number("from 0 to 1", lambda x: 0 <= x <= 1), Slider(0.0, 1.0)]
Ratio = Annotated[ScalarLike, number("a finite number >= 1", lambda x: x >= 1), Slider(1.0, 1e6, "ratio")]
Finite = Annotated[ScalarLike, number("a finite number", lambda x: True)]
Steps = Annotated[StepCount, count(1)]
StepsFrom0 = Annotated[StepCount, count(0)]
Timescale = Annotated[ScalarLike | str, Rule(_timescale, "a finite number > 0", {"kind": "steps", "low": 1})]
Rate = Annotated[Positive, Slider(0.01, 1.0)]
"""A factor, once or every so many steps."""
Exponent = Annotated[Positive, Slider(0.1, 5.0)]
