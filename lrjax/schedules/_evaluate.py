"""The values of a schedule at many steps: of ours and of any other callable."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from .._checks import brief, name_of
from .._settings import broken_setting
from .._types import Array, Float, Int, Schedule
from ._annotations import check_schedule, check_steps
from ._schedule import cores_in, own_core, read_value

MAX_SAMPLES = 200_000
"""A training of up to so many steps is evaluated at every one, a longer one at so many, evenly."""

BLOCK = 2048
"""Steps that are computed at once."""

UNTRACEABLE = (TypeError, IndexError, KeyError, jax.errors.UnexpectedTracerError)
"""What a callable raises that cannot be traced: JAX's own errors are of these kinds, and so is a table's."""


class _CannotBeTracedError(Exception):
    """The callable needs the value of the step."""


def known_steps(where: str, total_steps: Any) -> int:
    """A number of steps that is known now."""
    total = check_steps(where, total_steps)
    if not isinstance(total, int):
        raise TypeError(f"`{where}` must be known, got a traced number. Call it outside jit and vmap.")
    return total


def sample_steps(total: int, most: int = MAX_SAMPLES) -> Int[np.ndarray, " steps"]:
    """Every step, or evenly `most` of them with both ends."""
    return np.arange(total) if total <= most else np.unique(np.linspace(0, total - 1, most).astype(np.int64))


def is_ours(schedule: Schedule) -> bool:
    """Whether a schedule is of this package, and every one inside it."""
    return None not in cores_in(schedule)


def evaluate(where: str, schedule: Schedule, steps: Int[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
    """The values at these steps, as float64. A schedule that cannot be traced is called step by step.

    A foreign callable gets every step by itself, under vmap: some take an array of steps and answer wrongly.
    """
    check_schedule(where, schedule)
    if own_core(schedule) and (shapes := [np.shape(leaf) for leaf in jax.tree.leaves(schedule) if np.ndim(leaf)]):
        raise ValueError(
            f"`{where}` must be one schedule, got several in one, shape {shapes[0]}. Use jax.vmap, or index it."
        )

    def value_at(step: Array) -> Array:
        try:
            value = schedule(step)
        except UNTRACEABLE as error:
            raise _CannotBeTracedError from error
        except Exception as error:
            if broken := broken_setting(error):
                setting, remedy = broken
                raise TypeError(
                    f"`{where}` must be a schedule that keeps to {setting}, but {name_of(schedule)} does not: "
                    f"{brief(error)} {remedy}"
                ) from error
            raise
        return read_value(where, value)

    try:
        values: Any = _in_blocks(schedule, steps) if is_ours(schedule) else jax.jit(jax.vmap(value_at))(steps)
    except _CannotBeTracedError:
        values = [schedule(int(step)) for step in steps]
        for value in values:
            read_value(where, value)
        return np.array([float(value) for value in values])
    if isinstance(values, Tracer):
        raise TypeError(f"`{where}` must have known numbers, got traced ones. Call it outside jit and vmap.")
    return np.asarray(values, np.float64)


def _in_blocks(schedule: Schedule, steps: Int[np.ndarray, " steps"]) -> Any:
    """The values of a schedule of ours, in blocks of one length, the last step repeated to fill the last block.

    So every kind of schedule has one program for all lengths and numbers, and one made of others has none: a process
    that looks at ever new compositions, as the explorer's server, does not grow with them.
    """
    blocks = np.pad(steps, (0, -len(steps) % BLOCK), mode="edge").reshape(-1, BLOCK)
    values = [schedule(block) for block in blocks]
    if isinstance(values[0], Tracer):
        return values[0]
    return np.concatenate([np.asarray(value) for value in values])[: len(steps)]
