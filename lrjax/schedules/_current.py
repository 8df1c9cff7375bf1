"""Which hyperparameters an optimizer state uses now, and at which step its schedules are."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from .._types import Array, PyTree, Schedule, StepCount
from . import _arguments as check
from ._plateau import PlateauState
from ._scheduled import ScheduledState

_INJECTED = (optax.InjectStatefulHyperparamsState,)
_PLATEAUS = (PlateauState, optax.contrib.ReduceLROnPlateauState)
_KNOWN = (ScheduledState, *_INJECTED, optax.ScaleByScheduleState, *_PLATEAUS)


def current_hyperparams(opt_state: PyTree, *, schedule: Schedule | None = None) -> dict[str, Array]:
    """The values that the last update used; before the first one, those that it will use.

    Args:
      opt_state: any Optax state. Read are those of `lrjax.scheduled`, `lrjax.reduce_on_plateau`,
        `optax.inject_hyperparams` and `optax.contrib.reduce_on_plateau`, however deep inside chains and groups.
      schedule: the one given to the optimizer, as in `optax.adam(schedule)`: such a state holds a step and no schedule.

    Returns:
      Values of shape () by name; a name that occurs several times stands behind the group's: "head/learning_rate".
      A plateau's factor is called "plateau_scale".

    Raises:
      ValueError: nothing can be read, or a part needs `schedule`; the message says what was found.

    Examples:
      >>> import jax.numpy as jnp, optax, lrjax
      >>> state = lrjax.scheduled(optax.sgd, learning_rate=lrjax.schedules.constant(0.5)).init(jnp.ones(2))
      >>> lrjax.current_hyperparams(state)
      {'learning_rate': Array(0.5, dtype=float32)}
    """
    found: list[tuple[tuple, str, Array]] = []
    counters: list[tuple[tuple, Array]] = []
    for path, state in _states(opt_state):
        if isinstance(state, (ScheduledState, *_INJECTED)):
            found += [(path, name, jnp.asarray(value)) for name, value in state.hyperparams.items()]
        elif isinstance(state, _PLATEAUS):
            found.append((path, "plateau_scale", jnp.asarray(state.scale)))
        elif schedule is not None:
            found.append((path, "learning_rate", jnp.asarray(schedule(jnp.maximum(jnp.asarray(state.count) - 1, 0)))))
        else:
            counters.append((path, jnp.asarray(state.count)))
    if counters:
        read = ", ".join(name for _, name, _ in found)
        where = ", ".join(f"{_group(path) or 'the state'} (step {_shown(count)})" for path, count in counters)
        raise ValueError(
            "`current_hyperparams(opt_state)` cannot know the learning rate of optax.scale_by_schedule, whose "
            f"state holds a step and no schedule: {where}. Pass schedule=..., or use lrjax.scheduled."
            + (f" It could read {read}." if read else "")
        )
    if not found:
        raise ValueError(
            f"`current_hyperparams(opt_state)` found no hyperparameters in {type(opt_state).__name__}. An optimizer "
            "with a fixed number does not keep it; build it with lrjax.scheduled(optax.adam, learning_rate=...)."
        )
    return _named(found)


def at_step(opt_state: PyTree, step: StepCount) -> PyTree:
    """The same state with all schedules at another step; moments and the like stay as they are.

    Args:
      opt_state: any Optax state with a `lrjax.scheduled`, an `optax.scale_by_schedule` or an
        `optax.inject_hyperparams` in it.
      step: optimizer updates done so far, >= 0.

    Returns:
      A state of the same structure.

    Raises:
      TypeError, ValueError: `step` is out of its range, or there is no schedule in the state.

    Examples:
      >>> import jax.numpy as jnp, optax, lrjax
      >>> optimizer = lrjax.scheduled(optax.sgd, learning_rate=lrjax.schedules.linear_decay(1.0, 0.0, 10))
      >>> state = lrjax.at_step(optimizer.init(jnp.ones(2)), 5)
      >>> _, state = optimizer.update(jnp.ones(2), state)
      >>> float(lrjax.current_hyperparams(state)["learning_rate"])
      0.5
    """
    count = jnp.asarray(check.steps("at_step(step)", step, minimum=0), np.int32)
    scheduled_states = [state for _, state in _states(opt_state) if not isinstance(state, _PLATEAUS)]
    if not scheduled_states:
        raise ValueError(f"`at_step(opt_state)` found no schedule in {type(opt_state).__name__}.")
    return _moved(opt_state, count)


def _moved(tree: PyTree, count: Array) -> PyTree:
    def move(state: Any) -> Any:
        if isinstance(state, ScheduledState):
            return state._replace(step=count, inner=_moved(state.inner, count))
        if isinstance(state, optax.ScaleByScheduleState):
            return state._replace(count=count)
        if isinstance(state, _INJECTED):
            states = {name: inner._replace(count=count) for name, inner in state.hyperparams_states.items()}
            return state._replace(count=count, hyperparams_states=states, inner_state=_moved(state.inner_state, count))
        return state

    return jax.tree.map(move, tree, is_leaf=lambda value: isinstance(value, _KNOWN))


def _states(tree: PyTree, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """The states that we know, with their paths, outer ones first."""
    for inside, value in jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda value: isinstance(value, _KNOWN)):
        if isinstance(value, _KNOWN):
            yield (*path, *inside), value
        if isinstance(value, ScheduledState):
            yield from _states(value.inner, (*path, *inside))
        elif isinstance(value, _INJECTED):
            yield from _states(value.inner_state, (*path, *inside))


def _group(path: tuple) -> str:
    """The names of the groups on the way, as `optax.multi_transform` calls them."""
    return "/".join(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))


def _named(found: list[tuple[tuple, str, Array]]) -> dict[str, Array]:
    names = [name for _, name, _ in found]
    groups = [f"{_group(path)}/{name}" if _group(path) else name for path, name, _ in found]
    named: dict[str, Array] = {}
    for (path, name, value), group in zip(found, groups, strict=True):
        key = name if names.count(name) == 1 else group if groups.count(group) == 1 else ""
        named[key or f"{jax.tree_util.keystr(path).lstrip('.')}/{name}"] = value
    return named


def _shown(count: Array) -> str:
    return "?" if isinstance(count, Tracer) else str(np.asarray(count))
