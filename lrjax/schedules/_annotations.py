"""What the arguments of schedules must be, alone and together.

Concrete numbers are checked, traced ones cannot be.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any

import jax
import numpy as np
from jax.core import Tracer

from .._annotated import Rule, Slider
from .._checks import (
    MAX_UPDATES,
    check_count,
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
from ._durations import in_steps
from ._schedule import Foreign, Partial

UPDATES = "optimizer updates"

Relation = Callable[[str, dict[str, Any]], None]
"""What must hold between arguments: raises unless those of a call go together, given its name and they by theirs."""


def number(text: str, accept: Callable[[float], bool] = lambda x: True) -> Rule:
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
    wide = jax.config.read("jax_enable_x64")
    if count >= (2**63 if wide else MAX_UPDATES + 1):
        advice = "" if wide else " Set jax.config.update('jax_enable_x64', True) to count in 64 bits."
        raise ValueError(f"`{where}` must be below 2**{63 if wide else 31} steps, got {show_count(count)}.{advice}")
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


def _timescale(where: str, given: Any) -> Any:
    """A number > 0, or a duration in words."""
    return POSITIVE.check(where, float(check_steps(where, given)) if isinstance(given, str) else given)


POSITIVE = number("a finite number > 0", lambda x: x > 0)
LRS = Slider(1e-7, 10.0, "lr")

Inner = Annotated[Schedule, Rule(check_schedule, "a schedule", {"kind": "schedule"}, "schedules")]
Positive = Annotated[ScalarLike, POSITIVE]
NonNegative = Annotated[ScalarLike, number("a finite number >= 0", lambda x: x >= 0), LRS]
Fraction = Annotated[ScalarLike, number("from 0 to 1", lambda x: 0 <= x <= 1), Slider(0.0, 1.0)]
Ratio = Annotated[ScalarLike, number("a finite number >= 1", lambda x: x >= 1), Slider(1.0, 1e6, "ratio")]
Finite = Annotated[ScalarLike, number("a finite number")]
Steps = Annotated[StepCount, count(1)]
StepsFrom0 = Annotated[StepCount, count(0)]
Timescale = Annotated[ScalarLike | str, Rule(_timescale, "a finite number > 0", {"kind": "steps", "low": 1})]
Rate = Annotated[Positive, Slider(0.01, 1.0)]
"""A factor, once or every so many steps."""
Exponent = Annotated[Positive, Slider(0.1, 5.0)]


def ordered(low: str, high: str, *, strict: bool = False) -> Relation:
    """The first is not above the second, or below it if `strict`."""

    def check(name: str, given: dict[str, Any]) -> None:
        if any(given[one] is None or isinstance(given[one], Tracer) for one in (low, high)):
            return
        first, second = float(given[low]), float(given[high])
        if first > second or (strict and first == second):
            rule = "be below" if strict else "not be above"
            raise ValueError(
                f"`{name}({low}=...)` must {rule} {high}={second:g}, got {first:g}. "
                "Exchange the two, or mind the order of the arguments."
            )

    return check


def countable(*lengths: str) -> Relation:
    """The sum of these steps can be counted; one that is None is as long as the first."""

    def check(name: str, given: dict[str, Any]) -> None:
        counts = [given[lengths[0] if given[one] is None else one] for one in lengths]
        check_horizon(f"{name}({' + '.join(lengths)})", sum(count for count in counts if isinstance(count, int)))

    return check


def positive_if(choice: str, word: str, *values: str) -> Relation:
    """These are above 0 where the choice is this word, a constant factor per step."""

    def check(name: str, given: dict[str, Any]) -> None:
        above = number(f"above 0 where {choice}={word!r}, a constant factor per step", lambda x: x > 0)
        for one in values if given[choice] == word else ():
            above.check(f"{name}({one}=...)", given[one])

    return check


def between(pieces: str) -> Relation:
    """The `boundaries` increase, and there is one between each two pieces."""

    def check(name: str, given: dict[str, Any]) -> None:
        where, count, steps = f"{name}(boundaries)", len(given[pieces]), given["boundaries"]
        if len(steps) != count - 1:
            raise ValueError(
                f"`{where}` must hold one step between each two pieces: {count - 1} for {count} pieces, "
                f"got {len(steps)}."
            )
        for index, (first, second) in enumerate(itertools.pairwise(steps)):
            if isinstance(first, int) and isinstance(second, int) and first >= second:
                raise ValueError(
                    f"`{where}` must be strictly increasing, got {first} before {second} at index {index}. Sort them."
                )

    return check
