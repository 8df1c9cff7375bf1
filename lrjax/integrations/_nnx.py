"""Flax nnx: a task from a module and a loss of the module."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen, nnx

from .._checks import check_type, name_of, show
from .._engine import Task, check_factory
from .._trees import leaves_by_path
from .._types import Array, Batch, Key, ModelState, OptimizerFactory, Params, PyTree, ScalarLike, Schedule
from ._build import build_task, drop_aux, with_random
from ._template import without_sown

_TASK = "nnx_task"
_LOSS = "loss_fn(model, batch) -> loss or (loss, aux), or with a parameter rngs"


def nnx_task(
    model: nnx.Module | Callable[[Key], nnx.Module],
    loss_fn: Callable[..., Any],
    *,
    wrt: Any = nnx.Param,
    **options: Any,
) -> Task:
    """A task from an nnx module and the loss function that it is trained with.

    Trials work on copies: in training on one in `train()` mode, whose random streams are seeded anew at every step, in
    evaluation on one in `eval()` mode. What is no parameter (BatchStat and other variables) is a model state that
    training moves.

    Args:
      model: the module, from whose parameters all trials start; it is not modified. Or `model(key) -> module`: then the
        seeds start from different ones.
      loss_fn: `loss_fn(model, batch) -> loss`, or `(loss, aux)`. A parameter named rngs gets an `nnx.Rngs` in training
        and None in evaluation.
      wrt: which variables train, as for `nnx.Optimizer`; other parameters are frozen.
      **options: the data, as for `lrjax.Task.from_arrays` or `lrjax.Task.from_batches`, and further fields of `Task`.

    Returns:
      A stateful `Task`.

    Raises:
      TypeError: no nnx module, or a loss function of other arguments.
      ValueError: no variable of the module is one of `wrt`.

    Examples:
      >>> import numpy as np, jax.numpy as jnp
      >>> from flax import nnx
      >>> from lrjax.integrations.flax import nnx_task
      >>> x, y = np.ones((40, 3), np.float32), np.ones(40, np.float32)
      >>> task = nnx_task(
      ...     nnx.Linear(3, 1, rngs=nnx.Rngs(0)),
      ...     lambda model, batch: jnp.mean((model(batch[0])[:, 0] - batch[1]) ** 2),
      ...     train=(x[:32], y[:32]), validation=(x[32:], y[32:]), batch_size=8,
      ... )
      >>> sorted(task.init[0])
      ['bias', 'kernel']
    """
    make, first = _read(model)
    call = with_random(f"{_TASK}(loss_fn=...)", loss_fn, ("model", "batch"), _LOSS, ("rngs",))
    params, state, graphdef, streams = _split(first, wrt)
    if not jax.tree.leaves(nnx.state(first, wrt)):
        raise ValueError(
            f"`{_TASK}(wrt=...)` must name variables of the module, got {show(wrt)}, of which it has none."
        )
    trains = nnx.map_state(nnx.filterlib.to_predicate(wrt), nnx.state(without_sown(first), nnx.Any(wrt, nnx.Param)))
    options = {"trainable": nnx.as_pure(trains), **options}

    def run(params: Params, state: ModelState, batch: Batch, key: Key | None) -> tuple[Any, ModelState]:
        keys, rngs = streams[0], None
        if key is not None:
            typed = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
            keys, rngs = _reseeded(keys, typed), nnx.Rngs(jax.random.fold_in(typed, 0xFFFF))
        copy = nnx.merge(graphdef, params, keys, streams[1], state)
        copy.eval() if key is None else copy.train()
        loss = drop_aux(f"{_TASK}(loss_fn=...)", call(copy, batch, rngs))
        if key is None:
            return loss, state
        moved = _split(copy, wrt)[1]
        found, kept = leaves_by_path(moved), leaves_by_path(state)
        if found.keys() > kept.keys():  # sown: a variable that this call made is no state of the next
            moved = jax.tree.structure(state).unflatten([found[path] for path in kept])
        return loss, moved

    def init(key: Key) -> tuple[Params, ModelState]:
        assert make is not None
        return _split(make(key), wrt)[:2]

    return build_task(_TASK, (params, state) if make is None else init, run, options)


def optimizer_with_lr(
    optimizer: nnx.Optimizer, model: nnx.Module, make_optimizer: OptimizerFactory, lr: ScalarLike | Schedule
) -> nnx.Optimizer:
    """An `nnx.Optimizer` like the given one, but with this learning rate, ready to train.

    Args:
      optimizer: whose `wrt` is kept; it is not modified.
      model: the module that it trains.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, as it was searched with.
      lr: a learning rate, or a schedule (`lrjax.recommend(...).schedule`, any Optax callable).

    Returns:
      A new optimizer, at step 0.

    Raises:
      TypeError: no nnx.Optimizer, no module, or no function of the learning rate.

    Examples:
      >>> import optax
      >>> from flax import nnx
      >>> from lrjax.integrations.flax import optimizer_with_lr
      >>> model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
      >>> optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
      >>> optimizer = optimizer_with_lr(optimizer, model, optax.adam, 0.01)
    """
    hint = "For linen see train_state_with_lr."
    check_type("optimizer_with_lr(optimizer=...)", optimizer, nnx.Optimizer, "an nnx.Optimizer", hint)
    check_type("optimizer_with_lr(model=...)", model, nnx.Module, "an nnx module")
    check_factory("optimizer_with_lr(make_optimizer=...)", make_optimizer)
    return type(optimizer)(model, make_optimizer(lr), wrt=optimizer.wrt)


def _split(module: nnx.Module, wrt: Any) -> tuple[Params, ModelState, Any, tuple[PyTree, PyTree]]:
    """A module taken apart: parameters, other variables, the graph, and keys and counts of the random streams."""
    kinds = (nnx.Any(wrt, nnx.Param), nnx.RngKey, nnx.RngCount, ...)
    graphdef, *parts = nnx.split(without_sown(module), *kinds)
    params, keys, counts, state = map(nnx.as_pure, parts)
    return params, state, graphdef, (keys, counts)


def _reseeded(keys: PyTree, key: Key) -> PyTree:
    """Other keys for every stream."""
    leaves, treedef = jax.tree.flatten(keys)

    def fresh(index: int, leaf: Array) -> Array:
        new = jax.random.fold_in(key, index)
        return jax.random.split(new, leaf.shape) if leaf.shape else new

    return treedef.unflatten([fresh(index, leaf) for index, leaf in enumerate(leaves)])


def _read(model: Any) -> tuple[Callable[[Key], nnx.Module] | None, nnx.Module]:
    """What makes modules, if that is given, and a module."""
    if isinstance(model, nnx.Module):
        return None, model
    wanted = f"`{_TASK}(model=...)` must be an nnx module or a function of a key that makes one"
    if isinstance(model, (type, linen.Module)) or not callable(model):
        hint = "Make an instance: Model(rngs=nnx.Rngs(0))." if isinstance(model, type) else "For linen see linen_task."
        raise TypeError(f"{wanted}, got {show(model)}. {hint}")
    made = model(jax.random.key(0))
    if not isinstance(made, nnx.Module):
        raise TypeError(f"{wanted}, but {name_of(model)} made {show(made)}. For linen see linen_task.")
    return cast(Callable[[Key], nnx.Module], model), made
