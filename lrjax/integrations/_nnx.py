"""Flax nnx: a task from a module and a loss of the module."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen, nnx

from .._checks import check_callable, name_of, show
from .._engine import Task, check_factory
from .._trees import leaves_by_path
from .._types import Array, Batch, Key, ModelState, OptimizerFactory, Params, PyTree, ScalarLike, Schedule
from ._build import build_task, drop_aux
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
      **options: the data, as `train=`, `validation=` and `batch_size=` (`lrjax.Task.from_arrays`) or `train_batches=`
        and `eval_batches=` (`lrjax.Task.from_batches`), and further fields of `lrjax.Task`.

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
    call = _ordered(loss_fn)
    split = _Split(wrt)
    params, _, state, graphdef, streams = split(first)
    if not jax.tree.leaves(nnx.state(first, wrt)):
        raise ValueError(
            f"`{_TASK}(wrt=...)` must name variables of the module, got {show(wrt)}, of which it has none."
        )
    options = {"trainable": split.mask(first), **options}

    def loss_of(params: Params, state: ModelState, batch: Batch, key: Key) -> tuple[Any, ModelState]:
        typed = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
        keys, counts = streams
        copy = nnx.merge(graphdef, params, _reseeded(keys, typed), counts, state)
        copy.train()
        loss = drop_aux(f"{_TASK}(loss_fn=...)", call(copy, batch, nnx.Rngs(jax.random.fold_in(typed, 0xFFFF))))
        moved = split(copy)[2]
        found, kept = leaves_by_path(moved), leaves_by_path(state)
        if found.keys() > kept.keys():  # sown: a variable that this call made is no state of the next
            moved = jax.tree.structure(state).unflatten([found[path] for path in kept])
        return loss, moved

    def eval_fn(params: Params, state: ModelState, batch: Batch) -> Any:
        copy = nnx.merge(graphdef, params, *streams, state)
        copy.eval()
        return drop_aux(f"{_TASK}(loss_fn=...)", call(copy, batch, None))

    def init(key: Key) -> tuple[Params, ModelState]:
        assert make is not None
        made = split(make(key))
        return made[0], made[2]

    return build_task(_TASK, (params, state) if make is None else init, loss_of, eval_fn, options)


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
    if not isinstance(optimizer, nnx.Optimizer):
        raise TypeError(
            f"`optimizer_with_lr(optimizer=...)` must be an nnx.Optimizer, got {show(optimizer)} "
            f"({type(optimizer).__name__}). For linen see train_state_with_lr."
        )
    if not isinstance(model, nnx.Module):
        raise TypeError(f"`optimizer_with_lr(model=...)` must be an nnx module, got {show(model)}.")
    check_factory("optimizer_with_lr(make_optimizer=...)", make_optimizer)
    return type(optimizer)(model, make_optimizer(lr), wrt=optimizer.wrt)


class _Split:
    """Takes a module apart: parameters, their kind, the other variables, the graph, and the random streams."""

    def __init__(self, wrt: Any):
        self.wrt = wrt
        self.params = nnx.Any(wrt, nnx.Param)

    def __call__(self, module: nnx.Module) -> tuple[Params, PyTree, ModelState, Any, tuple[PyTree, PyTree]]:
        module = without_sown(module)
        graphdef, params, keys, counts, state = nnx.split(module, self.params, nnx.RngKey, nnx.RngCount, ...)
        return nnx.as_pure(params), params, nnx.as_pure(state), graphdef, (nnx.as_pure(keys), nnx.as_pure(counts))

    def mask(self, module: nnx.Module) -> PyTree:
        """Which parameters train."""
        trains = nnx.filterlib.to_predicate(self.wrt)
        return nnx.as_pure(nnx.map_state(trains, self(module)[1]))


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


def _ordered(loss_fn: Callable[..., Any]) -> Callable[[nnx.Module, Batch, nnx.Rngs | None], Any]:
    """The loss function with its arguments in one order, whether and wherever it takes rngs."""
    where = f"{_TASK}(loss_fn=...)"
    check_callable(where, loss_fn, signature=_LOSS)
    signature = inspect.signature(loss_fn)
    names = list(signature.parameters)
    takes = "rngs" in names
    rest = [name for name in names if name != "rngs"]
    try:
        signature.bind(*range(2 + (takes and names.index("rngs") <= 2)))
    except TypeError:
        raise TypeError(
            f"`{where}` must be `{_LOSS}`, got `{name_of(loss_fn)}{signature}`. If it takes the parts of a batch, "
            "write lambda model, batch: loss(model, *batch)."
        ) from None
    if not takes:
        return lambda model, batch, rngs: loss_fn(model, batch)
    return lambda model, batch, rngs: loss_fn(**{rest[0]: model, rest[1]: batch, "rngs": rngs})
