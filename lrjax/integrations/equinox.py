"""Equinox: a task from a module, whose leaves that are no arrays stay as they are."""

from collections.abc import Callable
from typing import Any

import jax

from .. import _checks, _engine
from .._types import Batch, Key, ModelState, Params, PyTree
from . import _build

try:
    import equinox as eqx
except ImportError as error:
    raise ImportError("`lrjax.integrations.equinox` needs Equinox. Install it: pip install 'lrjax[equinox]'") from error

_TASK = "equinox.task"


def task(
    model: PyTree | Callable[[Key], Any],
    loss_fn: Callable[..., Any],
    *,
    state: eqx.nn.State | None = None,
    trainable: PyTree | None = None,
    **options: Any,
) -> _engine.Task:
    """A task from an Equinox module and the loss function that it is trained with.

    Arrays are parameters, of which the floating ones train; everything else (activation functions, sizes, flags) is
    static. Evaluation works on `eqx.nn.inference_mode(model)`. `result.lr` goes into `optax.adam(result.lr)`.

    Args:
      model: the module, from which all trials start; it is not modified. Or `model(key) -> module`, with a state
        `-> (module, state)` (`eqx.nn.make_with_state(Model)`): then the seeds start from different ones.
      loss_fn: `loss_fn(model, batch) -> loss`, or `loss_fn(model, batch, key)`; in evaluation the key is always the
        same. With a state `loss_fn(model, state, batch) -> (loss, state)`, or with a key.
      state: what `eqx.nn.make_with_state` or `eqx.nn.State(model)` gave, for BatchNorm and other layers with a state;
        not modified.
      trainable: which leaves train, as `filter_spec` of `eqx.partition`: a tree of bools like the model. None: every
        floating array.
      **options: the data, as for `lrjax.Task.from_arrays` or `lrjax.Task.from_batches`, and further fields of `Task`.

    Returns:
      A stateful `Task`. `eqx.combine(params, eqx.filter(model, eqx.is_array, inverse=True))` is its model.

    Raises:
      TypeError: no module, or a loss function of other arguments.
      ValueError: `trainable` is not like the model.

    Examples:
      >>> import numpy as np, jax, jax.numpy as jnp, equinox as eqx
      >>> from lrjax.integrations import equinox
      >>> x, y = np.ones((40, 3), np.float32), np.ones(40, np.float32)
      >>> task = equinox.task(
      ...     eqx.nn.MLP(3, "scalar", 8, 1, key=jax.random.key(0)),
      ...     lambda model, batch: jnp.mean((jax.vmap(model)(batch[0]) - batch[1]) ** 2),
      ...     train=(x[:32], y[:32]), validation=(x[32:], y[32:]), batch_size=8,
      ... )
      >>> task.has_state
      True
    """
    make, model, state = _read(model, state)
    names, returns = (("model", "batch"), "loss") if state is None else (("model", "state", "batch"), "(loss, state)")
    form = f"loss_fn({', '.join(names)}) -> {returns}, or loss_fn({', '.join(names)}, key)"
    call = _build.with_random(f"{_TASK}(loss_fn=...)", loss_fn, names, form)
    arrays, static = eqx.partition((model, state), eqx.is_array)
    if trainable is not None:
        mask = _mask(model, arrays[0], trainable)
        options["trainable"] = lambda params: mask  # a module of bools would be called

    def run(params: Params, held: ModelState, batch: Batch, key: Key | None) -> tuple[Any, ModelState]:
        model, state = eqx.combine((params, held), static)
        if key is None:
            model, key = eqx.nn.inference_mode(model), jax.random.key(0)
        if state is None:
            return call(model, batch, key), held
        loss, moved = _pair(call(model, state, batch, key))
        return loss, eqx.filter(moved, eqx.is_array)

    def init(key: Key) -> tuple[Params, ModelState]:
        assert make is not None
        return eqx.filter(make(key), eqx.is_array)

    return _build.build_task(_TASK, arrays if make is None else init, run, options)


def _read(model: Any, state: Any) -> tuple[Callable[[Key], Any] | None, PyTree, eqx.nn.State | None]:
    """What makes pairs of module and state, if that is given, and a pair."""
    if state is not None:
        advice = "Write eqx.nn.State(model)."
        _checks.check_type(f"{_TASK}(state=...)", state, eqx.nn.State, "an eqx.nn.State", advice)
    if isinstance(model, eqx.Module) or not callable(model):
        if not any(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(model)):
            got = _checks.show_with_type(model)
            raise TypeError(f"`{_TASK}(model=...)` must be an Equinox module with floating arrays, got {got}.")
        return None, model, state
    _checks.check_callable(f"{_TASK}(model=...)", model, signature="model(key) -> module")

    def make(key: Key) -> Any:
        made = model(key)
        return made if isinstance(made, tuple) else (made, state)

    try:
        first = make(jax.random.key(0))
    except TypeError as error:
        raise TypeError(
            f"`{_TASK}(model=...)` must be an Equinox module or a function of a key that makes one, but calling "
            f"{_checks.name_of(model)} with a key failed: {_checks.brief(error)}. "
            "Write lambda key: Model(..., key=key)."
        ) from error
    return make, *first


def _pair(returned: Any) -> tuple[Any, Any]:
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise TypeError(
            f"`{_TASK}(loss_fn=...)` must return (loss, state) for a model with a state, got {_checks.show(returned)}."
        )
    return returned


def _mask(model: PyTree, params: Params, spec: PyTree) -> PyTree:
    """For every array of the model, whether the spec lets it train."""
    try:
        chosen = eqx.filter(eqx.partition(model, spec)[0], eqx.is_array)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{_TASK}(trainable=...)` must be a filter_spec of the model, as for eqx.partition: {_checks.brief(error)}"
        ) from error
    none = lambda leaf: leaf is None  # noqa: E731
    return jax.tree.map(lambda leaf, kept: None if leaf is None else kept is not None, params, chosen, is_leaf=none)
