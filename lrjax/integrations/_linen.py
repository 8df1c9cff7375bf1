"""Flax linen: a task from a module or a TrainState, with all of its collections."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import flax.errors
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.training.train_state import TrainState

from .._checks import brief, check_callable, check_type, show
from .._engine import Task, check_factory
from .._types import Batch, Key, ModelState, OptimizerFactory, Params, PyTree, ScalarLike, Schedule
from ._build import as_arguments, build_task, first_batch, first_of, mode_arguments

_TASK = "linen_task"
_ADVICE = {
    flax.errors.ScopeCollectionNotFound: "lacks a collection of the model. Give all that model.init returned as "
    "variables=..., or a TrainState with a field for it (batch_stats).",
    flax.errors.ModifyScopeVariableError: "calls the model in evaluation as if it trained: it writes into a "
    "collection. Give eval_arguments={...: ...}, the flags that turn this off.",
    flax.errors.InvalidRngError: "calls the model without a random stream that it asks for. Name those of training in "
    'rngs=("dropout", ...); in evaluation it must need none: give eval_arguments={...: ...} that turn dropout off.',
}
_ADVICE[flax.errors.ScopeVariableNotFoundError] = _ADVICE[flax.errors.ScopeCollectionNotFound]


def linen_task(
    model: nn.Module | TrainState,
    loss: Callable[[Any, Batch], Any],
    *,
    variables: PyTree | None = None,
    inputs: Callable[[Batch], Any] = first_of,
    train_arguments: Mapping[str, Any] | None = None,
    eval_arguments: Mapping[str, Any] | None = None,
    rngs: tuple[str, ...] = ("dropout",),
    **options: Any,
) -> Task:
    """A task from a linen module, or from a TrainState.

    Every collection but "params" (batch_stats and the like) is a model state that training moves: it is mutable in
    training, and read as it is in evaluation.

    Args:
      model: the module, or a `TrainState` (also a subclass with further collections, such as `batch_stats`, in its
        fields) whose parameters all trials start from. Neither is modified.
      loss: `loss(outputs, batch) -> scalar`, the mean over the batch.
      variables: of a module, what `model.init` returned; all seeds start from it. None: every seed initialises the
        module with a key of its own.
      inputs: `inputs(batch)` gives the module's argument, or a tuple of several; by default `batch[0]`.
      train_arguments: keyword arguments of the module in training. None: flags named train, training, is_training
        (True), deterministic and use_running_average (False) are found in its signature.
      eval_arguments: the same in evaluation, with the opposite values.
      rngs: names of the random streams that the module asks for in training.
      **options: the data, as for `lrjax.Task.from_arrays` or `lrjax.Task.from_batches`, and further fields of `Task`.

    Returns:
      A stateful `Task`.

    Raises:
      TypeError, ValueError: no linen module, variables without "params", a module that takes other arguments, or a
        collection that is missing; the message says what to do.

    Examples:
      >>> import numpy as np, jax.numpy as jnp, flax.linen as nn
      >>> from lrjax.integrations.flax import linen_task
      >>> x, y = np.ones((40, 3), np.float32), np.ones(40, np.float32)
      >>> task = linen_task(
      ...     nn.Dense(1), lambda out, batch: jnp.mean((out[:, 0] - batch[1]) ** 2),
      ...     train=(x[:32], y[:32]), validation=(x[32:], y[32:]), batch_size=8,
      ... )
      >>> sorted(task.init(jax.random.key(0))[0])
      ['bias', 'kernel']
    """
    module, apply, variables = _read(model, variables)
    check_callable(f"{_TASK}(loss=...)", loss, signature="loss(outputs, batch) -> scalar")
    call: Any = None if module is None else module.__call__
    settings = mode_arguments(_TASK, call, train_arguments, eval_arguments)

    def run(params: Params, state: ModelState, batch: Batch, key: Key | None) -> tuple[Any, ModelState]:
        arguments, how, moved = as_arguments(inputs(batch)), dict(settings[key is not None]), {}
        _check_arguments(module, arguments, how)
        if key is not None:
            how["rngs"] = {name: jax.random.fold_in(key, index) for index, name in enumerate(rngs)}
            how["mutable"] = list(state)
        with _explained():
            outputs = apply({"params": params, **state}, *arguments, **how)
        if key is not None:
            outputs, moved = outputs
        return loss(outputs, batch), {name: moved.get(name, held) for name, held in state.items()}

    def init(key: Key) -> tuple[Params, ModelState]:
        assert module is not None
        arguments = jax.tree.map(jnp.asarray, as_arguments(inputs(first_batch(_TASK, options))))
        keys = {name: jax.random.fold_in(key, index) for index, name in enumerate(("params", *rngs))}
        made: Any = module.init(keys, *arguments, **cast(Any, settings[False]))
        return _pair(made)

    return build_task(_TASK, init if variables is None else _pair(variables), run, options)


def train_state_with_lr(state: TrainState, make_optimizer: OptimizerFactory, lr: ScalarLike | Schedule) -> TrainState:
    """The TrainState with an optimizer of this learning rate, ready to train.

    Args:
      state: a TrainState; it is not modified.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, as it was searched with.
      lr: a learning rate, or a schedule (`lrjax.recommend(...).schedule`, any Optax callable).

    Returns:
      A TrainState with the same parameters and step, `tx = make_optimizer(lr)` and the first state of that optimizer.

    Raises:
      TypeError: no TrainState, or no function of the learning rate.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from flax.training.train_state import TrainState
      >>> from lrjax.integrations.flax import train_state_with_lr
      >>> state = TrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=optax.identity())
      >>> state = train_state_with_lr(state, optax.sgd, 0.5)
      >>> state.apply_gradients(grads={"w": jnp.ones(2)}).params["w"].tolist()
      [0.5, 0.5]
    """
    hint = "For nnx see optimizer_with_lr."
    check_type("train_state_with_lr(state=...)", state, TrainState, "a flax TrainState", hint)
    check_factory("train_state_with_lr(make_optimizer=...)", make_optimizer)
    tx = make_optimizer(lr)
    return state.replace(tx=tx, opt_state=tx.init(state.params))


def _read(model: Any, variables: Any) -> tuple[nn.Module | None, Callable[..., Any], Any]:
    """The module, where it is known, what applies it, and the variables to start from."""
    if isinstance(model, TrainState):
        if variables is not None:
            raise TypeError(f"`{_TASK}(variables=...)` must be None with a TrainState, which has them.")
        owner = getattr(model.apply_fn, "__self__", None)
        own = {field.name for field in dataclasses.fields(TrainState)}
        more = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in own}
        collections = {name: value for name, value in more.items() if isinstance(value, Mapping)}
        return owner if isinstance(owner, nn.Module) else None, model.apply_fn, {"params": model.params, **collections}
    if not isinstance(model, nn.Module):
        hint = "Make an instance: Model()." if isinstance(model, type) else "For nnx see nnx_task."
        raise TypeError(f"`{_TASK}(model=...)` must be a linen module or a TrainState, got {show(model)}. {hint}")
    if variables is not None and (not isinstance(variables, Mapping) or "params" not in variables):
        names = list(variables) if isinstance(variables, Mapping) else type(variables).__name__
        raise ValueError(
            f'`{_TASK}(variables=...)` must be what model.init returned, with "params", got {names}. '
            'For parameters alone write {"params": params}.'
        )
    return model, model.apply, variables


def _pair(variables: Mapping[str, Any]) -> tuple[Params, ModelState]:
    return variables["params"], {name: value for name, value in variables.items() if name != "params"}


def _check_arguments(module: nn.Module | None, arguments: tuple[Any, ...], settings: Mapping[str, Any]) -> None:
    if module is None:
        return
    signature = inspect.signature(module.__call__)
    try:
        signature.bind(*arguments, **settings)
    except TypeError as error:
        raise TypeError(
            f"`{_TASK}` calls {type(module).__name__}{signature} with {len(arguments)} inputs and {dict(settings)}: "
            f"{error}. Give inputs=..., a tuple for several, or train_arguments=... and eval_arguments=...."
        ) from None


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what Flax says of a missing collection or stream into what to do about it."""
    try:
        yield
    except tuple(_ADVICE) as error:
        raise ValueError(f"`{_TASK}` {_ADVICE[type(error)]} Flax says: {brief(error)}") from error
