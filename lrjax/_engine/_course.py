"""What a jaxpr computes from the learning rate and the step alone, and whether that is a schedule."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import Literal

from .._settings import current_settings
from .._types import OptimizerFactory
from ._experiment import EXAMPLE_LR
from ._jaxprs import inner_jaxprs
from ._programs import compile_once
from ._task import Task

TIMES = np.array([0, 1, 2, 3, 4, 10, 30, 100, 300, 1_000, 3_000, 1e4, 1e5, 1e6, 1e7], np.float32)
"""Steps at which a number is looked at: the first ones, and from `SETTLED` on those after any bias correction."""

EARLY, SETTLED = 5, 11

CHANGED, BENT = 1.05, 0.02
"""The change of a number that counts, and the second difference, as a share, below which it is a straight line; that of
a bias correction is above."""

Number = Any
"""A scalar, traced."""


def step_is_scheduled(task: Task, set_lr: OptimizerFactory) -> bool:
    """Whether a step of one's own multiplies the learning rate in its state by something of the step.

    What follows from the learning rate and the counters alone is computed at several steps. A bias correction changes
    too, but goes to a limit other than 0 and does not begin as a straight line.
    """
    step: Any = task._step_fn
    arrays: Any = task.init
    if callable(arrays):
        arrays = jax.eval_shape(arrays, jax.random.key(0))
    put = jax.make_jaxpr(lambda lr, arrays: set_lr(lr)(arrays))(EXAMPLE_LR, arrays).jaxpr  # pyright: ignore[reportCallIssue]
    rates = [place for place, (old, new) in enumerate(zip(put.invars[1:], put.outvars, strict=True)) if old is not new]
    batch = jax.tree.map(lambda leaf: leaf[0], task.training_batches(0, jax.random.key(0), 0, 1))
    closed = jax.make_jaxpr(step)(arrays, batch)
    ticking = clocks(closed, rates, range(len(arrays)), 0)
    ids = [object() for _ in arrays]
    nodes = jax.tree.leaves(step.state_of(tuple(ids)), is_leaf=_is_schedule)
    scheduled = {id(one) for node in nodes if _is_schedule(node) for one in jax.tree.leaves(node)}
    shared = {place for place in ticking if id(ids[place]) in scheduled}

    def numbers(lr: Number, time: Number, schedule_time: Number) -> Any:
        times = {place: by * (schedule_time if place in shared else time) for place, by in ticking.items()}
        known = dict.fromkeys(rates, lr) | times
        return jnp.stack([*_evaluate(closed, known)[1], jnp.float32(0)])

    lr = np.float32(EXAMPLE_LR)
    lowered = jax.jit(jax.vmap(numbers, (None, 0, 0))).lower(lr, TIMES, TIMES)
    run = compile_once(lowered, current_settings(), quick=True)
    found, twice = (np.asarray(run(one, TIMES, TIMES)) for one in (lr, 2 * lr))
    first = np.asarray(run(lr, TIMES, np.zeros_like(TIMES)))
    counts = (~_same(found, twice) | ~_same(found, first)).any(axis=0)
    return any(_is_course(values) for values in found[:, counts].T)


def clocks(closed: Any, rates: Sequence[int], places: Iterable[int], shift: int) -> dict[int, float]:
    """Inputs that count the steps: whatever they and the learning rate are, they grow by the same with every step.

    Args:
      closed: the jaxpr of a step.
      rates: the inputs that hold the learning rate.
      places: the inputs that may be counters; their new values are the outputs so many places on.
      shift: how many.

    Returns:
      Of each, by how much it grows: 1, or less where it counts epochs.
    """
    invars = closed.jaxpr.invars
    found = {place: 1.0 for place in places if place not in rates and invars[place].aval.shape == ()}
    found = {place: by for place, by in found.items() if jnp.issubdtype(invars[place].aval.dtype, jnp.number)}
    while found:
        grown = jax.jit(functools.partial(_growth, closed, rates, [*found], shift))
        lowered = grown.lower(np.float32(EXAMPLE_LR), np.float32(3))
        run = compile_once(lowered, current_settings(), quick=True)
        once, again = (run(np.float32(lr), np.float32(time)) for lr, time in ((EXAMPLE_LR, 3), (2 * EXAMPLE_LR, 7)))
        kept = {place: float(by) for place, by in once.items() if by != 0 and np.isclose(by, again[place], rtol=0.01)}
        if kept.keys() == found.keys():
            return kept
        found = kept
    return {}


def _growth(
    closed: Any, rates: Sequence[int], places: Sequence[int], shift: int, lr: Number, time: Number
) -> dict[int, Number]:
    """By how much inputs grow that hold the step, where that follows from it and the learning rate."""
    outputs, _ = _evaluate(closed, dict.fromkeys(rates, lr) | dict.fromkeys(places, time))
    return {place: value - time for place in places if (value := outputs[place + shift]) is not None}


def _is_schedule(node: object) -> bool:
    return isinstance(node, optax.ScaleByScheduleState)


def _same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one == other) | (np.isnan(one) & np.isnan(other))


def _is_course(values: np.ndarray) -> bool:
    """Whether a number, at `TIMES`, is that of a schedule and no bias correction."""
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size or sizes.max() <= CHANGED * sizes.min():
        return False
    early, late = values[:EARLY], values[SETTLED:]
    straight = np.abs(np.diff(early, 2)).max() <= BENT * np.abs(early).max()
    return bool(straight or values[0] == 0 or np.abs(late).max() > CHANGED * np.abs(late).min() or not late.any())


def _evaluate(closed: Any, known: dict[int, Number]) -> tuple[list[Number | None], list[Number]]:
    """Outputs that follow from some inputs alone, None for others, and every floating scalar on the way."""
    jaxpr, values = closed.jaxpr, {}
    for place, value in known.items():
        variable = jaxpr.invars[place]
        values[variable] = jnp.full(variable.aval.shape, value, variable.aval.dtype)
    return _follow(jaxpr, closed.consts, values)


def _follow(jaxpr: Any, consts: Sequence[Any], values: dict[Any, Number]) -> tuple[list[Number | None], list[Number]]:
    values = dict(zip(jaxpr.constvars, consts, strict=True)) | values
    read: Callable[[Any], Any] = lambda atom: atom.val if isinstance(atom, Literal) else values.get(atom)  # noqa: E731
    scalars = []
    for equation in jaxpr.eqns:
        given, inner = [read(atom) for atom in equation.invars], inner_jaxprs(equation)
        if equation.primitive.name not in ("while", "scan", "cond") and len(inner) == 1:
            body = getattr(inner[0], "jaxpr", inner[0])
            inside = {variable: value for variable, value in zip(body.invars, given, strict=True) if value is not None}
            made, more = _follow(body, getattr(inner[0], "consts", ()), inside)
            scalars += more
        elif equation.primitive.name == "while" or any(value is None for value in given):  # it may run for very long
            continue
        else:
            made = equation.primitive.bind(*given, **equation.params)
            made = made if equation.primitive.multiple_results else [made]
        values |= {one: value for one, value in zip(equation.outvars, made, strict=True) if value is not None}
        scalars += [one for one in made if one is not None and jnp.shape(one) == () and one.dtype == jnp.float32]
    return [read(atom) for atom in jaxpr.outvars], scalars
