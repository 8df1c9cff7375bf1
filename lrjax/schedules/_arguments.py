"""Checks of the numbers that schedules are made of. Concrete numbers are checked, traced ones cannot be."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from .._checks import (
    MAX_UPDATES,
    check_choice,
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
from .._types import Array
from ._bind import Foreign, Partial
from ._durations import in_steps

TRACER_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""What JAX raises where a function needs the value of a traced number."""


def steps(where: str, value: Any, *, minimum: int = 1) -> Any:
    """A number of optimizer updates: a whole number, a duration in words, or a traced integer."""
    return whole(where, in_steps(where, value) if isinstance(value, str) else value, minimum=minimum)


def whole(where: str, value: Any, *, minimum: int = 1, unit: str = "optimizer updates") -> Any:
    """A whole number that can be counted, or a traced integer."""
    if _is_array(value):
        _check_scalar(where, value)
        if kind_of(value) not in ("i", "u"):
            one = value.item() if kind_of(value) == "f" and not isinstance(value, Tracer) else value
            shown = describe(value) if isinstance(value, Tracer) else f"{show(one)} ({describe(value)})"
            raise TypeError(f"`{where}` must be a whole number ({unit}), got {shown}. Cast it to jnp.int32.")
        if isinstance(value, Tracer):
            return value
        value = int(value)
    return within_horizon(where, check_count(where, value, minimum=minimum, unit=unit, maximum=None))


def within_horizon(where: str, count: Any) -> Any:
    """The number of steps, if they can be counted."""
    limit = 2**63 if jax.config.read("jax_enable_x64") else MAX_UPDATES + 1
    if isinstance(count, int) and count >= limit:
        advice = (
            "" if limit > MAX_UPDATES + 1 else " Set jax.config.update('jax_enable_x64', True) to count in 64 bits."
        )
        raise ValueError(f"`{where}` must be below 2**{limit.bit_length() - 1} steps, got {show_count(count)}.{advice}")
    return count


def value(
    where: str, number: Any, *, rule: str = "a finite number >= 0", accept: Callable[[float], bool] | None = None
):
    """A number that may be traced; a concrete one must be finite and pass `accept` (default: not negative)."""
    accept = accept or (lambda x: x >= 0)
    if _is_array(number):
        _check_scalar(where, number)
        if isinstance(number, Tracer):
            if kind_of(number) not in ("f", "i", "u"):
                raise TypeError(f"`{where}` must be {rule}, got {describe(number)}.")
            return number if kind_of(number) == "f" else number.astype(np.float32)
    concrete = check_number(where, number, rule=rule, accept=lambda x: math.isfinite(x) and accept(x))
    if abs(concrete) > float(np.finfo(np.float32).max) and getattr(number, "dtype", None) != np.float64:
        raise ValueError(f"`{where}` must be {rule} that float32 can hold, got {concrete:g}.")
    is_float = _is_array(number) and kind_of(number) == "f" and number.dtype != np.longdouble
    return number if is_float else concrete


def positive(where: str, number: Any) -> Any:
    """A finite number above 0."""
    return value(where, number, rule="a finite number > 0", accept=lambda x: x > 0)


def fraction(where: str, number: Any, *, low: float = 0.0, high: float = 1.0) -> Any:
    """A number from `low` to `high`."""
    return value(where, number, rule=f"from {low:g} to {high:g}", accept=lambda x: low <= x <= high)


def convention(where: str, given: Any, same: dict[str, str]) -> str:
    """The convention to follow: `same` maps each framework that has this schedule to the first with its edges."""
    return same[check_choice(f"{where}(convention=...)", given, tuple(same))]


def ordered(where: str, names: tuple[str, str], low: Any, high: Any, *, strict: bool = False) -> None:
    """Raise if both numbers are concrete and `low` is above `high`, or equal to it if `strict`."""
    if isinstance(low, Tracer) or isinstance(high, Tracer):
        return
    if float(low) > float(high) or (strict and float(low) == float(high)):
        rule = "be below" if strict else "not be above"
        raise ValueError(
            f"`{where}({names[0]}=...)` must {rule} {names[1]}={float(high):g}, got {float(low):g}. "
            "Exchange the two, or mind the order of the arguments."
        )


def shorter(where: str, names: tuple[str, str], part: Any, whole: Any) -> None:
    """Raise if both numbers are concrete and `part` is not below `whole`."""
    if isinstance(part, int) and isinstance(whole, int) and part >= whole:
        raise ValueError(f"`{where}({names[0]}=...)` must be below {names[1]}={whole}, which includes it, got {part}.")


def bound(where: str, init_value: Any, decay_rate: Any, end_value: Any) -> None:
    """Raise if the bound of an exponential decay lies on the wrong side of its start."""
    if any(isinstance(number, Tracer) for number in (init_value, decay_rate, end_value)):
        return
    first, rate, last = float(init_value), float(decay_rate), float(end_value)
    if (rate < 1 and last > first) or (rate > 1 and last < first):
        side = "above" if rate < 1 else "below"
        raise ValueError(
            f"`{where}(end_value=...)` must not be {side} init_value={first:g} for decay_rate={rate:g}, got {last:g}."
        )


def momenta(where: str, low: Any, high: Any) -> tuple[Any, Any]:
    """Two momenta, the lower one first."""
    low, high = fraction(f"{where}(min_momentum=...)", low), fraction(f"{where}(max_momentum=...)", high)
    ordered(where, ("min_momentum", "max_momentum"), low, high)
    return low, high


def up_and_down(where: str, up_steps: Any, down_steps: Any) -> dict[str, Any]:
    """The two lengths of a triangle; no way down is as long as the way up."""
    up_steps = steps(f"{where}(up_steps)", up_steps)
    down_steps = None if down_steps is None else steps(f"{where}(down_steps=...)", down_steps)
    total(f"{where}(up_steps, down_steps)", up_steps, up_steps if down_steps is None else down_steps)
    return {"up_steps": up_steps, "down_steps": down_steps}


def total(where: str, *counts: Any) -> None:
    """Raise if the sum of the concrete counts cannot be counted."""
    within_horizon(where, sum(count for count in counts if isinstance(count, int)))


def boundaries(where: str, given: Any, *, pieces: int, minimum: int = 1) -> tuple:
    """Strictly increasing steps, one fewer than there are pieces."""
    given = sequence(where, given, "steps")
    found = tuple(steps(f"{where}[{index}]", bound, minimum=minimum) for index, bound in enumerate(given))
    if len(found) != pieces - 1:
        raise ValueError(
            f"`{where}` must hold one step between each two pieces: {pieces - 1} for {pieces} pieces, got {len(found)}."
        )
    for index, (first, second) in enumerate(itertools.pairwise(found)):
        if isinstance(first, int) and isinstance(second, int) and first >= second:
            raise ValueError(
                f"`{where}` must be strictly increasing, got {first} before {second} at index {index}. Sort them."
            )
    return found


def values(where: str, given: Any) -> tuple:
    """At least one number >= 0."""
    found = tuple(value(f"{where}[{index}]", number) for index, number in enumerate(sequence(where, given, "numbers")))
    if not found:
        raise ValueError(f"`{where}` must hold at least one number, got none.")
    return found


def sequence(where: str, given: Any, of: str) -> Sequence[Any]:
    """A list, a tuple or a 1-D array as a sequence."""
    if isinstance(given, (jax.Array, np.ndarray)) and given.ndim == 1:
        return [given[index] for index in range(len(given))]
    if isinstance(given, (str, bytes, memoryview)) or not isinstance(given, Sequence):
        raise TypeError(f"`{where}` must be a list of {of}, got {show_with_type(given)}.")
    return given


def child(where: str, schedule: Any) -> Partial | Foreign:
    """A schedule to be composed: a pytree if it is one of ours, else held as it is."""
    if isinstance(schedule, (Partial, Foreign)):
        return schedule
    if isinstance(schedule, type) or not callable(schedule):
        advice = ""
        if isinstance(schedule, (int, float, np.number, Array)):
            advice = f" Write lrjax.schedules.constant({show(schedule)})."
        raise TypeError(f"`{where}` must be a schedule, got {show_with_type(schedule)}.{advice}")
    signature = check_signature(where, schedule, "schedule(step) -> lr")
    if signature is not None:
        raise TypeError(f"`{where}` must be `schedule(step) -> lr`, got `{name_of(schedule)}{signature}`.")
    return Foreign(schedule)


def children(where: str, given: Any) -> tuple[Partial | Foreign, ...]:
    """At least one schedule."""
    found = tuple(child(f"{where}[{index}]", one) for index, one in enumerate(sequence(where, given, "schedules")))
    if not found:
        raise ValueError(f"`{where}` must hold at least one schedule, got none.")
    return found


def cannot_be_traced(where: str, schedule: Any) -> str:
    """What to do about a schedule that needs to know the step."""
    return (
        f"`{where}` must be made of jax.numpy operations, since a training step is compiled, but {name_of(schedule)} "
        "needs the value of the step. Write jnp for np and math, jnp.where for `if`, jnp.asarray(x)[step] for a table."
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray, np.generic))


def _check_scalar(where: str, value: Any) -> None:
    if np.ndim(value) != 0:
        raise ValueError(
            f"`{where}` must be one number, of shape (), got {describe(value)}. "
            "For many schedules at once, make them in `jax.vmap`, or join them with `lrjax.schedules.stack`."
        )
