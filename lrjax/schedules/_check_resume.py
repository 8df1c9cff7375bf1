"""Whether a resumed optimizer goes on where it was saved."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.tree_util import keystr, tree_leaves_with_path

from .._annotated import checked
from .._checks import kind_of, show_with_type, to_numpy
from .._types import PyTree
from ._annotations import StepsFrom0
from ._current import with_counters_at
from ._scheduled import AT_STEP

MOST_FAULTS = 20
"""So many are written out: a state made anew has one for each array."""


@checked
def check_resume(before: PyTree, after: PyTree, *, step: StepsFrom0) -> str | None:
    """Say what is wrong with a resumed optimizer: which counter, hyperparameter or moment is not as it was saved.

    A schedule lives in the code and its step in the state: with a state that was made anew, restored in part or counted
    in other units, a training goes on without an error, at the learning rate of another step.

    Args:
      before: the optimizer state that was saved: any Optax state, also in chains, groups, `MultiSteps` and
        `inject_hyperparams`, of `lrjax.schedules.scheduled` or of flax.nnx.
      after: the state that the training resumes with, before its first update.
      step: optimizer updates done so far, as the schedules count them: not micro-batches, not epochs. >= 0.

    Returns:
      None where all is well, else a line for each fault: what it is, from what to what it jumped, and what mends it.
      Whether the schedule itself is another one cannot be seen in a state.

    Raises:
      TypeError, ValueError: `step` is out of its range, a state is being traced or holds what is no number, or a
        schedule in it has a state of its own.

    Examples:
      >>> import jax.numpy as jnp, optax, lrjax
      >>> optimizer = lrjax.schedules.scheduled(optax.sgd, learning_rate=lrjax.schedules.linear_decay(1.0, 0.0, 10))
      >>> new = optimizer.init(jnp.ones(2))
      >>> saved = lrjax.schedules.at_step(new, 5)
      >>> print(lrjax.schedules.check_resume(saved, new, step=5))
      .step, which a schedule counts by, is 0 instead of 5. Write state = lrjax.schedules.at_step(state, 5).
      >>> lrjax.schedules.check_resume(saved, saved, step=5) is None
      True
    """
    old, new = _leaves("check_resume(before)", before), _leaves("check_resume(after)", after)
    moved = _leaves("check_resume(after)", with_counters_at(after, -1))
    counters = [name for name, leaf in moved.items() if not _same(leaf, new[name])]
    counted = [line for name in counters for line in _counted(name, old.get(name, new[name]), new[name], step)]
    other = "it is the state of another optimizer. Restore that of this one."
    faults = [*counted, *(f"{name} is missing: {other}" for name in old if name not in new)]
    faults += [f"{name} was not there before: {other}" for name in new if name not in old]
    for name in [name for name in new if name in old and name not in counters]:
        computed = _is_computed(name, new)
        if not _same(old[name], new[name]) and (counted or not computed):
            faults.append(_changed(name, old[name], new[name], computed=computed))
    if len(faults) > MOST_FAULTS:
        faults[MOST_FAULTS:] = [f"... and {len(faults) - MOST_FAULTS} more."]
    return "\n".join(faults) or None


def _leaves(where: str, state: PyTree) -> dict[str, np.ndarray]:
    """The arrays of a state by their paths."""
    leaves = {}
    for path, leaf in tree_leaves_with_path(state):
        if isinstance(leaf, Tracer):
            raise TypeError(f"`{where}` must be given known numbers, got traced ones. Call it outside jit and vmap.")
        is_key = isinstance(leaf, jax.Array) and kind_of(leaf) == "O"
        array = to_numpy(jax.random.key_data(leaf) if is_key else leaf)
        if array is None or kind_of(array) not in ("b", "i", "u", "f", "c"):
            raise TypeError(f"`{where}` must be an optimizer state, of arrays of numbers, got {show_with_type(leaf)}.")
        leaves[keystr(path)] = array
    return leaves


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether every number is, in the narrower of two types."""
    if one.shape != other.shape:
        return False
    narrow = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
    one, other = one.astype(narrow), other.astype(narrow)
    return bool(((one == other) | ((one != one) & (other != other))).all())  # NaN is as it was


def _counted(name: str, old: np.ndarray, new: np.ndarray, step: Any) -> list[str]:
    """What is wrong with a counter of a schedule."""
    if _same(new, np.full_like(new, step)):
        return []
    saved = "" if _same(old, np.full_like(old, step)) else f" (it was saved as {_shown(old)})"
    unit = ": does it count micro-batches, or the step something else?" if saved and _same(old, new) else "."
    mend = f"Write state = lrjax.schedules.at_step(state, {step})."
    return [f"{name}, which a schedule counts by, is {_shown(new)} instead of {step}{saved}{unit} {mend}"]


def _is_computed(name: str, leaves: dict[str, np.ndarray]) -> bool:
    """Whether a hyperparameter is what a schedule gave for the last update: told by its counter, not by its value."""
    states = name.replace(".hyperparams[", ".hyperparams_states[")
    return f"{AT_STEP}']" in name or (states != name and any(other.startswith(states) for other in leaves))


def _changed(name: str, old: np.ndarray, new: np.ndarray, *, computed: bool) -> str:
    """A line on a number or an array that is not as it was saved."""
    if old.shape != new.shape:
        return f"{name} has shape {new.shape} instead of {old.shape}: it is of other parameters."
    if computed:
        return f"{name} jumped from {_shown(old)} to {_shown(new)}, which the counter above mends."
    if ".hyperparams[" in name:
        key = name.split("['")[-1].removesuffix("']")
        mend = f"Write state = optax.tree_utils.tree_set(state, {key}={_shown(old)})."
        return f"{name} jumped from {_shown(old)} to {_shown(new)}. {mend}"
    if old.ndim == 0:
        return f"{name} jumped from {_shown(old)} to {_shown(new)}. Restore it with the state."
    if not new.any():
        return f"{name} was reset to 0. Restore it with the state."
    return f"{name} is another one in {np.sum(old != new)} of {old.size} numbers. Restore it with the state."


def _shown(value: np.ndarray) -> str:
    return f"{value.item():g}" if value.ndim == 0 and value.dtype.kind != "i" else str(value.tolist())
