"""Plain functions and pairs (init, apply), such as Haiku's `transform` and stax give; imports neither."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from .. import _checks, _engine
from .._types import Batch, Key, ModelState, Params, PyTree
from . import _build

_LOSS, _PAIR = "plain.loss_task", "plain.pair_task"


def loss_task(params: PyTree | Callable[[Key], PyTree], loss_fn: Callable[..., Any], **options: Any) -> _engine.Task:
    """A task from parameters and a loss function of them, as one writes it for `jax.grad`.

    Args:
      params: a pytree of arrays, or a function of a key that makes one: then the seeds start from different ones.
      loss_fn: `loss_fn(params, batch) -> loss` or `(loss, aux)`, or with a third argument named key or rng.
      **options: the data, as for `lrjax.Task.from_arrays` or `lrjax.Task.from_batches`, and further fields of `Task`.

    Returns:
      A `Task`.

    Raises:
      TypeError: a loss function of other arguments, or no data.

    Examples:
      >>> import numpy as np, jax.numpy as jnp
      >>> from lrjax.integrations.plain import loss_task
      >>> x, y = np.ones((40, 3), np.float32), np.ones(40, np.float32)
      >>> task = loss_task(
      ...     jnp.zeros(3), lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2),
      ...     train=(x[:32], y[:32]), validation=(x[32:], y[32:]), batch_size=8,
      ... )
    """
    where = f"{_LOSS}(loss_fn=...)"
    form = "loss_fn(params, batch) -> loss, or loss_fn(params, batch, key)"
    call = _build.with_random(where, loss_fn, ("params", "batch"), form)
    return _build.make_task(
        _LOSS, params, lambda params, batch, key: _build.drop_aux(where, call(params, batch, key)), options
    )


def pair_task(
    pair: Any,
    loss: Callable[[Any, Batch], Any] | None = None,
    *,
    params: PyTree | None = None,
    inputs: Callable[[Batch], Any] = _build.first_of,
    train_arguments: Mapping[str, Any] | None = None,
    eval_arguments: Mapping[str, Any] | None = None,
    **options: Any,
) -> _engine.Task:
    """A task from a pair (init, apply): `haiku.transform`, `transform_with_state`, `without_apply_rng`, stax.

    The arguments of `init` and `apply` are known by their names: `params`, then `state` if there is one, then `rng` or
    `key`, then the inputs of the model. `init` with an `input_shape` and an `apply` that takes rng as a keyword are
    stax's.

    Args:
      pair: anything with `.init` and `.apply`, or the tuple.
      loss: `loss(outputs, batch) -> scalar`, the mean over the batch. None: `apply` returns the loss itself, and its
        inputs are all parts of the batch, or the batch itself if it is no tuple or list, or a NamedTuple.
      params: the parameters that all seeds start from, with a state the pair `(params, state)`. None: every seed
        calls `init` with a key of its own.
      inputs: `inputs(batch)` gives the argument, or a tuple of several; by default `batch[0]`.
      train_arguments: keyword arguments of `init` and of `apply` in training. None: flags named train, training,
        is_training (True), deterministic and use_running_average (False) are found in its signature.
      eval_arguments: those of evaluation; None: the same flags with the opposite values.
      **options: the data, as for `lrjax.Task.from_arrays` or `lrjax.Task.from_batches`, and further fields of `Task`.

    Returns:
      A stateful `Task`.

    Raises:
      TypeError: no pair, functions of other arguments, or no data.

    Examples:
      >>> import numpy as np, jax, jax.numpy as jnp
      >>> from lrjax.integrations.plain import pair_task
      >>> x, y = np.ones((40, 3), np.float32), np.ones(40, np.float32)
      >>> pair = (lambda rng, x: jax.random.normal(rng, x.shape[1:]), lambda params, x: x @ params)
      >>> task = pair_task(
      ...     pair, lambda out, batch: jnp.mean((out - batch[1]) ** 2),
      ...     train=(x[:32], y[:32]), validation=(x[32:], y[32:]), batch_size=8,
      ... )
      >>> task.init(jax.random.key(0))[0].shape
      (3,)
    """
    begin, apply = _functions(pair)
    if loss is not None:
        _checks.check_callable(f"{_PAIR}(loss=...)", loss, signature="loss(outputs, batch) -> scalar")
    has_state, has_rng, rng_keyword = _form(apply)
    _checks.check_callable(f"{_PAIR}(inputs=...)", inputs, signature="inputs(batch) -> inputs of the model")
    modes = _build.mode_arguments(_PAIR, apply, train_arguments, eval_arguments)

    def arguments(batch: Batch) -> tuple[Any, ...]:
        if loss is None and inputs is _build.first_of:
            return _build.as_arguments(batch, (tuple, list))
        return _build.as_arguments(inputs(batch))

    def run(params: Params, state: ModelState, batch: Batch, key: Key | None) -> tuple[Any, ModelState]:
        positional = [params, *([state] if has_state else []), *([key] if has_rng else []), *arguments(batch)]
        settings = modes[key is not None] | ({"rng": key} if rng_keyword and key is not None else {})
        outputs = apply(*positional, **settings)
        if has_state:
            if not (isinstance(outputs, tuple) and len(outputs) == 2):
                raise TypeError(f"`{_PAIR}` needs an apply that returns (outputs, state), got {_checks.show(outputs)}.")
            outputs, state = outputs
        return outputs if loss is None else loss(outputs, batch), state

    def init(key: Key) -> tuple[Params, ModelState]:
        example = jax.tree.map(jnp.asarray, arguments(_build.first_batch(_PAIR, options)))
        if "input_shape" in inspect.signature(begin).parameters:
            return begin(key, (-1, *example[0].shape[1:]))[1], ()
        made = begin(key, *example, **modes[True])
        return made if has_state else (made, ())

    start = init if params is None else (params if has_state else (params, ()))
    return _build.build_task(_PAIR, start, run, options)


def _functions(pair: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    named = _checks.attribute(pair, "init"), _checks.attribute(pair, "apply")
    found = named if None not in named else pair
    if not (isinstance(found, tuple) and len(found) == 2 and all(map(callable, found))):
        raise TypeError(
            f"`{_PAIR}(pair=...)` must be a pair of functions (init, apply), got {_checks.show(pair)} "
            f"({type(pair).__name__}). For Haiku write haiku.transform(forward)."
        )
    return cast(Any, found)


def _form(apply: Callable[..., Any]) -> tuple[bool, bool, bool]:
    """Whether apply takes a state, takes a key by position, and takes one as the keyword rng."""
    parameters = inspect.signature(apply).parameters
    names = list(parameters)[1:3]
    has_state = names[:1] == ["state"]
    has_rng = names[has_state : has_state + 1] in (["rng"], ["key"])
    if not parameters:
        raise TypeError(f"`{_PAIR}(pair=...)` needs apply(params, inputs), got {_checks.name_of(apply)}().")
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    positional = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters.values())
    return has_state, has_rng, takes_any and not positional and not has_rng
