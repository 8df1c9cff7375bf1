"""The seeds of an experiment: initial parameters, checked, and the keys of batches and dropout."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import describe, describe_tree, path_of, show
from .._settings import quick_options
from .._trees import first_difference
from .._types import Batch, Key, Params, PyTree
from ._data import to_arrays
from ._loop_types import settle, strengthen, type_of
from ._trial import call_loss
from ._trial_data import SeedData, TrialSpec, join_params, split_params


def draw_seeds(
    task: Any, key: Key, num_seeds: int, first: tuple[SeedData, ...] = ()
) -> tuple[tuple[SeedData, ...], tuple[bool, ...]]:
    """Draw the parameters of every seed and check them."""
    seeds, trainable = list(first), None
    if first:
        trainable = trainable_leaves(task, join_params(first[0].params, first[0].frozen))
    for index in range(len(first), num_seeds):
        init_key, data_key, train_key, _ = draw_keys(key, index)
        params, model_state = _initialise(task, init_key)
        trainable = trainable_leaves(task, params) if trainable is None else trainable
        train, frozen = split_params(params, trainable)
        seeds.append(SeedData(train, frozen, model_state, None, train_key, None, data_key))
        difference = first_difference(seeds[0][:3], seeds[-1][:3])
        if difference:
            raise ValueError(
                f"`Task(init=...)` must give parameters of one shape for every key, but seed {index} differs from "
                f"seed 0: {difference}."
            )
    assert trainable is not None
    return tuple(seeds), trainable


EVALUATION = 0xFFFFFFFF
"""fold_in data of the evaluation key: no seed has this index."""


def draw_keys(key: Key, seed: int) -> tuple[Key, Key, Key, Key]:
    """The init, data and training keys of a seed, and the evaluation key of all."""
    return _drawing()(key, seed)


@functools.cache
def _drawing() -> Callable[[Key, int], tuple[Key, Key, Key, Key]]:
    return jax.jit(_draw_keys, compiler_options=quick_options())


def _draw_keys(key: Key, seed: int) -> tuple[Key, Key, Key, Key]:
    init_key, data_key, train_key = jax.random.split(jax.random.fold_in(key, seed), 3)
    return init_key, data_key, train_key, jax.random.fold_in(key, EVALUATION)


def _initialise(task: Any, key: Key) -> tuple[Params, PyTree]:
    made = task.init(key) if callable(task.init) else task.init
    if not task.has_state:
        return _checked_params(made), ()
    if not (isinstance(made, tuple) and len(made) == 2):
        raise TypeError(
            "`Task.stateful(init=...)` must be or return the pair (params, model_state), got "
            f"{show(type(made).__name__)}. A model without a state is described by `Task`."
        )
    params, model_state = made
    arrays = to_arrays("Task(init=...)[1]", model_state)
    weak = lambda raw, leaf: jnp.asarray(raw) if type_of(raw).weak_type else leaf  # noqa: E731
    return _checked_params(params), jax.tree.map(weak, model_state, arrays)


def settle_model_state(spec: TrialSpec, seeds: Sequence[SeedData], batch: Batch, key: Key) -> tuple[SeedData, ...]:
    """The seeds with model states of the types that training carries."""
    params = join_params(seeds[0].params, seeds[0].frozen)
    run = lambda state, batch: call_loss(spec, params, state, batch, key)[1]  # noqa: E731
    after = lambda state: jax.eval_shape(run, state, batch)  # noqa: E731
    return tuple(seed._replace(model_state=settle(seed.model_state, after)) for seed in seeds)


def _checked_params(params: Params) -> Params:
    if inspect.isgenerator(params) or (callable(params) and any(leaf is params for leaf in jax.tree.leaves(params))):
        raise TypeError(
            f"`Task(init=...)` must give a pytree of arrays, got {show(params)}. "
            "Did init return a module or a function instead of its parameters?"
        )
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError(
            f"`Task(init=...)` must give a pytree of arrays, got {show(params)}, which holds none. "
            "Did init forget its `return`?"
        )
    for path, leaf in leaves:
        if callable(leaf):
            raise TypeError(
                f"`Task(init=...)` must give a pytree of arrays, got the function {show(leaf)} at {path_of(path)}. "
                "Keep functions out of the parameters (for Equinox: eqx.partition(model, eqx.is_array))."
            )
    params = strengthen(to_arrays("Task(init=...)", params))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise TypeError(
                f"`Task(init=...)` must give real parameters, got {describe(leaf)} at {path_of(path)}. "
                "Hold the real and the imaginary part as two leaves."
            )
    return params


def trainable_leaves(task: Any, params: Params) -> tuple[bool, ...]:
    """For every leaf, whether it is floating and the task lets it train; all of them for a step of one's own."""
    if task._step_fn is not None:
        return (True,) * len(jax.tree.leaves(params))
    floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params)]
    if not any(floating):
        raise ValueError(
            "`Task(init=...)` must give at least one floating parameter to train, got "
            f"{describe_tree(params)}. Convert them to float32."
        )
    if task.trainable is None:
        return tuple(floating)
    mask = task.trainable(params) if callable(task.trainable) else task.trainable
    try:
        mask = jax.tree.broadcast(mask, params)
    except ValueError:
        difference = first_difference(params, mask, compare="structure")
        raise ValueError(
            "`Task(trainable=...)` must be a pytree of bools with the structure of the parameters, but "
            f"{difference}. Write False for what is frozen, True for the rest; one may stand for a whole part."
        ) from None
    for path, leaf in jax.tree_util.tree_leaves_with_path(mask):
        if not isinstance(leaf, (bool, np.bool_)):
            raise TypeError(
                f"`Task(trainable=...)` must hold True or False, got {show(leaf)} ({type(leaf).__name__}) at "
                f"{path_of(path)}."
            )
    chosen = tuple(bool(wanted) and real for wanted, real in zip(jax.tree.leaves(mask), floating, strict=True))
    if not any(chosen):
        raise ValueError(
            "`Task(trainable=...)` must leave at least one floating parameter to train, got none of "
            f"{describe_tree(params)}."
        )
    return chosen
