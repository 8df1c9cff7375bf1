"""A checkpoint that trials start from, checked against the task and the optimizer that it must be of."""

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import describe, name_of, path_of, show
from .._trees import first_leaf_difference, leaves_by_path
from .._types import Bool, Key, ModelState, OptimizerFactory, Params, PyTree
from ._data import to_arrays
from ._loop_types import strengthen, type_of
from ._optimizer import build_optimizer
from ._seeds import draw_seeds
from ._task import Task
from ._trial_data import Checkpoint, join_params, split_params
from ._weak import JittedFor

_PROBES = (1e-4, 1e-2, 1.0)
"""Learning rates that show which leaves of an optimizer's state hold them."""


def check_checkpoint(
    where: str,
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    params: Params,
    opt_state: PyTree,
    model_state: ModelState | None,
) -> Checkpoint:
    """The checkpoint as strong JAX arrays."""
    if not task.has_state and model_state is not None:
        raise ValueError(
            f"`{where}(model_state=...)` must be None for a task without a state, got {show(model_state)}. "
            "A model with a state is described by `Task.stateful`."
        )
    (seed,), trainable = draw_seeds(task, key, 1)
    params = _like(f"{where}(params=...)", join_params(seed.params, seed.frozen), params, _OF_THE_TASK)
    if task.has_state and model_state is None:
        if jax.tree.leaves(seed.model_state):
            raise ValueError(
                f"`{where}(model_state=...)` is needed for a stateful task, got None. Give the checkpoint's BatchNorm "
                "statistics and the like."
            )
        model_state = seed.model_state
    if task.has_state:
        types = map(type_of, jax.tree.leaves(seed.model_state))
        weak = tuple(index for index, one in enumerate(types) if one.weak_type)
        model_state = _like(f"{where}(model_state=...)", seed.model_state, model_state, _OF_THE_TASK, any_dtype=weak)
    train, frozen = split_params(params, trainable)
    lr = jax.ShapeDtypeStruct((), jnp.float32)
    made = jax.eval_shape(lambda lr, train: build_optimizer(make_optimizer, lr).init(train), lr, train)
    lr_leaves = tuple(index for index, holds in enumerate(jax.device_get(_holds_lr(make_optimizer, train))) if holds)
    _check_one_number("find_lr", make_optimizer, made, lr_leaves)
    rule = f"a state of {name_of(make_optimizer)} for these parameters"
    what = (rule, "Give what its update returned; restore a saved one into make_optimizer(lr).init(params).")
    paths = tuple(path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(frozen))
    opt_state = _like(f"{where}(opt_state=...)", made, opt_state, what, any_dtype=lr_leaves, ignored=paths)
    return Checkpoint(params, model_state if task.has_state else (), opt_state, lr_leaves)


_OF_THE_TASK = ("like that of Task(init=...)", "Is it of another model? Restore a saved one into the task's own.")
"""What a tree must be, and what to do where it is not."""


def _like(
    where: str,
    expected: PyTree,
    given: PyTree,
    what: tuple[str, str],
    *,
    any_dtype: tuple[int, ...] = (),
    ignored: tuple[str, ...] = (),
) -> PyTree:
    """The leaves of one tree in the structure of another, found by their paths."""
    given = strengthen(to_arrays(where, given))
    problem = first_leaf_difference(expected, given, any_dtype=any_dtype, ignored=ignored, unbox=True)
    if problem:
        raise ValueError(f"`{where}` must be {what[0]}, but {problem}. {what[1]}")
    found = leaves_by_path(given, unbox=True)
    return jax.tree.structure(expected).unflatten([found[path] for path in leaves_by_path(expected, unbox=True)])


def _depends_on_lr(make_optimizer: OptimizerFactory, train: Params) -> list[Bool[jax.Array, ""]]:
    """For every leaf of the optimizer's first state, whether it depends on the learning rate."""
    first, *others = [jax.tree.leaves(build_optimizer(make_optimizer, jnp.float32(lr)).init(train)) for lr in _PROBES]
    differ = lambda one, other: (one != other) & ~((one != one) & (other != other))  # noqa: E731 (nan is like nan)
    return [
        jnp.any(jnp.stack([differ(leaf, other[index]).any() for other in others])) for index, leaf in enumerate(first)
    ]


_holds_lr = JittedFor(_depends_on_lr)


def _check_one_number(where: str, make_optimizer: OptimizerFactory, state: PyTree, lr_leaves: tuple[int, ...]) -> None:
    """Raise where the learning rate is not one number in the state but became many."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    for path, leaf in (leaves[index] for index in lr_leaves):
        if leaf.shape != () or not jnp.issubdtype(leaf.dtype, np.floating):
            raise ValueError(
                f"`{where}(make_optimizer=...)` must ask for its learning rate at every update, but "
                f"{name_of(make_optimizer)} makes {describe(leaf)} of it at {path_of(path)} of its first state, which "
                "training changes (optax.rprop does). Such an optimizer has a learning rate at the start only."
            )
