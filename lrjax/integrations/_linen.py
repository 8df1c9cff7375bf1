"""Flax linen: a task from a module or a TrainState, with all of its collections."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.errors
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.training.train_state import TrainState

from .._checks import brief, check_callable, show
from .._engine import Task, check_factory
from .._types import Batch, Key, ModelState, OptimizerFactory, Params, PyTree, ScalarLike, Schedule
from ._build import arguments_of, build_task, first_batch, first_of, mode_arguments

_TASK = "linen_task"
_RNGS = ("dropout",)


def linen_task(
    model: nn.Module | TrainState,
    loss: Callable[[Any, Batch], Any],
    *,
    variables: PyTree | None = None,
    inputs: Callable[[Batch], Any] = first_of,
    train_arguments: Mapping[str, Any] | None = None,
    eval_arguments: Mapping[str, Any] | None = None,
    rngs: tuple[str, ...] = _RNGS,
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
      **options: the data, as `train=`, `validation=` and `batch_size=` (`lrjax.Task.from_arrays`) or `train_batches=`
        and `eval_batches=` (`lrjax.Task.from_batches`), and further fields of `lrjax.Task`.

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
    settings = {
        True: mode_arguments(f"{_TASK}(train_arguments=...)", call, train_arguments, training=True),
        False: mode_arguments(f"{_TASK}(eval_arguments=...)", call, eval_arguments, training=False),
    }

    def run(params: Params, state: ModelState, batch: Batch, **how: Any) -> Any:
        arguments = arguments_of(inputs, batch)
        _check_arguments(module, arguments, settings[bool(how)])
        with _Explained():
            return apply({"params": params, **state}, *arguments, **settings[bool(how)], **how)

    def loss_fn(params: Params, state: ModelState, batch: Batch, key: Key) -> Any:
        keys = {name: jax.random.fold_in(key, index) for index, name in enumerate(rngs)}
        outputs, moved = run(params, state, batch, rngs=keys, mutable=list(state))
        return loss(outputs, batch), {name: moved.get(name, held) for name, held in state.items()}

    def eval_fn(params: Params, state: ModelState, batch: Batch) -> Any:
        return loss(run(params, state, batch), batch)

    def init(key: Key) -> tuple[Params, ModelState]:
        assert module is not None
        arguments = jax.tree.map(jnp.asarray, arguments_of(inputs, first_batch(_TASK, options)))
        keys = {name: jax.random.fold_in(key, index) for index, name in enumerate(("params", *rngs))}
        made: Any = module.init(keys, *arguments, **cast(Any, settings[False]))
        return _pair(made)

    return build_task(_TASK, init if variables is None else _pair(variables), loss_fn, eval_fn, options)


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
    if not isinstance(state, TrainState):
        raise TypeError(
            f"`train_state_with_lr(state=...)` must be a flax TrainState, got {show(state)} ({type(state).__name__}). "
            "For nnx see optimizer_with_lr."
        )
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


class _Explained:
    """Turns what Flax says of a missing collection or stream into what to do about it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, (flax.errors.ScopeCollectionNotFound, flax.errors.ScopeVariableNotFoundError)):
            raise ValueError(
                f"`{_TASK}` lacks a collection of the model. Give all that model.init returned as variables=..., or a "
                f"TrainState with a field for it (batch_stats). Flax says: {brief(error)}"
            ) from error
        if isinstance(error, flax.errors.ModifyScopeVariableError):
            raise ValueError(
                f"`{_TASK}` calls the model in evaluation as if it trained: it writes into a collection. Give "
                f"eval_arguments={{...: ...}}, the flags that turn this off. Flax says: {brief(error)}"
            ) from error
        if isinstance(error, flax.errors.InvalidRngError):
            raise ValueError(
                f"`{_TASK}` calls the model without a random stream that it asks for. Name those of training in "
                'rngs=("dropout", ...); in evaluation it must need none: give eval_arguments={...: ...} that turn '
                f"dropout off. Flax says: {brief(error)}"
            ) from error
