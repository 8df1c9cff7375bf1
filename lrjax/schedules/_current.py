"""Which hyperparameters an optimizer state uses now, and at which step its schedules are."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from .._annotated import checked
from .._checks import MAX_UPDATES, check_choice, kind_of, show, show_with_type
from .._types import Array, PyTree, Schedule
from ._annotations import StepsFrom0, check_schedule
from ._plateau import PlateauState
from ._scheduled import INJECTED, ScheduledState, in_use

_PLATEAUS = (PlateauState, optax.contrib.ReduceLROnPlateauState)


@functools.cache
def _counters() -> dict[type, str]:
    """The states of Optax that hold a step and no schedule, with what it is of.

    The one of a scheduled weight decay has no public name; making one computes, which an import must not.
    """
    weight_decay = type(optax.add_decayed_weights(lambda step: step).init(()))
    return {optax.ScaleByScheduleState: "learning_rate", weight_decay: "weight_decay"}


def _is_known(value: Any) -> bool:
    return isinstance(value, (ScheduledState, INJECTED, *_counters(), *_PLATEAUS))


def current_hyperparams(
    opt_state: PyTree, *, schedule: Schedule | Mapping[str, Schedule] | None = None
) -> dict[str, Array]:
    """The values that the last update used; before the first one, those that it will use.

    A number that was set in the state since then is what the next update will use.

    Args:
      opt_state: any Optax state. Read are those of `lrjax.schedules.scheduled`, `lrjax.schedules.reduce_on_plateau`,
        `optax.inject_hyperparams` and `optax.contrib.reduce_on_plateau`, however deep inside chains and groups.
      schedule: the one given to an optimizer of Optax, as in `optax.adam(schedule)`, whose state holds a step and no
        schedule; or {"learning_rate": schedule, "weight_decay": schedule}. It is asked for every group.

    Returns:
      Values of shape () by name; a name that occurs several times stands behind the group's: "head/learning_rate".
      A plateau's factor is called "plateau_scale".

    Raises:
      ValueError: nothing can be read, or a part needs `schedule`; the message says what was found.

    Examples:
      >>> import jax.numpy as jnp, optax, lrjax
      >>> state = lrjax.schedules.scheduled(optax.sgd, learning_rate=lrjax.schedules.constant(0.5)).init(jnp.ones(2))
      >>> lrjax.schedules.current_hyperparams(state)
      {'learning_rate': Array(0.5, dtype=float32)}
    """
    known = {} if schedule is None else schedule if isinstance(schedule, Mapping) else {"learning_rate": schedule}
    for name, each in known.items():
        check_choice("current_hyperparams(schedule={name: ...})", name, tuple(_counters().values()))
        check_schedule("current_hyperparams(schedule=...)", each)
    found: list[tuple[tuple, str, Array]] = []
    unread: list[str] = []
    for path, state in _states(opt_state):
        if isinstance(state, (ScheduledState, INJECTED)):
            values = in_use(state) if isinstance(state, ScheduledState) else state.hyperparams
            found += [(path, name, _array(value)) for name, value in values.items()]
        elif isinstance(state, _PLATEAUS):
            found.append((path, "plateau_scale", _array(state.scale)))
        elif (name := _counters()[type(state)]) in known:
            found.append((path, name, jnp.asarray(known[name](jnp.maximum(_array(state.count) - 1, 0)))))
        else:
            count = _array(state.count)
            step = "?" if isinstance(count, Tracer) else str(np.asarray(count))
            unread.append(f"{name} of {_group(path) or 'the state'} (step {step})")
    if unread:
        read = ", ".join(name for _, name, _ in found)
        raise ValueError(
            f"`current_hyperparams(opt_state)` cannot know {', '.join(unread)}: the states of optax.scale_by_schedule "
            "and of a scheduled weight decay hold a step and no schedule. "
            "Pass schedule=..., or use lrjax.schedules.scheduled." + (f" It could read {read}." if read else "")
        )
    if not found:
        raise ValueError(
            f"`current_hyperparams(opt_state)` found no hyperparameters in {type(opt_state).__name__}. An optimizer "
            "with a fixed number does not keep it; "
            "build it with lrjax.schedules.scheduled(optax.adam, learning_rate=...)."
        )
    return _named(found)


@checked
def at_step(opt_state: PyTree, step: StepsFrom0) -> PyTree:
    """The same state with all schedules at another step; moments and the like stay as they are.

    Args:
      opt_state: any Optax state with a `lrjax.schedules.scheduled`, an `optax.scale_by_schedule` or an
        `optax.inject_hyperparams` in it.
      step: optimizer updates done so far, >= 0.

    Returns:
      A state of the same structure and types, also one of flax.nnx. What the last update used stays as it was until the
      next one.

    Raises:
      TypeError, ValueError: `step` is out of its range, or there is no schedule in the state.

    Examples:
      >>> import jax.numpy as jnp, optax, lrjax
      >>> optimizer = lrjax.schedules.scheduled(optax.sgd, learning_rate=lrjax.schedules.linear_decay(1.0, 0.0, 10))
      >>> state = lrjax.schedules.at_step(optimizer.init(jnp.ones(2)), 5)
      >>> _, state = optimizer.update(jnp.ones(2), state)
      >>> float(lrjax.schedules.current_hyperparams(state)["learning_rate"])
      0.5
    """
    if isinstance(step, int) and step > MAX_UPDATES:
        raise ValueError(f"`at_step(step)` must be below 2**31 steps, got {step:,}. Optimizers count in int32.")
    if all(isinstance(state, _PLATEAUS) for _, state in _states(opt_state)):
        raise ValueError(
            f"`at_step(opt_state)` found no schedule in {type(opt_state).__name__}. Give the state of an optimizer "
            "that was built with one."
        )
    return with_counters_at(opt_state, step)


def with_counters_at(tree: PyTree, step: Any) -> PyTree:
    """The state with the counters of its schedules, and nothing else, at this step."""

    def at(counter: Any) -> Any:  # an array, one for each of stacked states, or a box with one, as flax.nnx has
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, step), counter)

    def move(state: Any) -> Any:
        if isinstance(state, ScheduledState):
            return state._replace(step=at(state.step), inner=with_counters_at(state.inner, step))
        if isinstance(state, tuple(_counters())):
            return state._replace(count=at(state.count))
        if not isinstance(state, INJECTED):
            return state
        for name, inner in state.hyperparams_states.items():
            if not hasattr(inner, "_replace") or "count" not in inner._fields:
                raise ValueError(
                    f"`at_step(opt_state)` cannot move {name}, whose schedule has a state of its own: {show(inner)}. "
                    "Restore that state."
                )
        states = {name: inner._replace(count=at(inner.count)) for name, inner in state.hyperparams_states.items()}
        inside = with_counters_at(state.inner_state, step)
        return state._replace(count=at(state.count), hyperparams_states=states, inner_state=inside)

    return jax.tree.map(move, tree, is_leaf=_is_known)


def _states(tree: PyTree, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """The states that we know, with their paths, outer ones first."""
    for inside, value in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_known):
        if not _is_known(value):
            continue
        yield (*path, *inside), value
        inner = {ScheduledState: "inner", INJECTED: "inner_state"}.get(type(value))
        if inner is not None:
            yield from _states(getattr(value, inner), (*path, *inside, jax.tree_util.GetAttrKey(inner)))


def _array(value: Any) -> Array:
    """A number of a state, also out of a box, as flax.nnx puts every leaf into one."""
    match jax.tree.leaves(value):
        case [leaf] if isinstance(leaf, (bool, int, float)) or kind_of(leaf) in ("b", "f", "i", "u"):
            return jnp.asarray(leaf)
    raise TypeError(
        f"`current_hyperparams(opt_state)` must hold numbers as hyperparameters, got {show_with_type(value)}."
    )


def _group(path: tuple) -> str:
    """The names of the groups on the way, as `optax.multi_transform` calls them."""
    return "/".join(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))


def _named(found: list[tuple[tuple, str, Array]]) -> dict[str, Array]:
    """By the shortest name that occurs once: its own, the group's and its own, the whole path."""
    ways = [
        (name, f"{_group(path)}/{name}".lstrip("/"), f"{jax.tree_util.keystr(path).lstrip('.')}/{name}".lstrip("/"))
        for path, name, _ in found
    ]
    short, grouped, _ = map(list, zip(*ways, strict=True))
    return {
        name if short.count(name) == 1 else group if grouped.count(group) == 1 else path: value
        for (name, group, path), (_, _, value) in zip(ways, found, strict=True)
    }
