"""A training step that is already written as a task: several losses, several optimizers, an update of one's own."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._checks import check_callable, check_signature, describe, name_of, show
from .._engine import (
    BatchStream,
    Task,
    Types,
    call_traced,
    check_scalar,
    promote_weak,
    strengthen,
    to_arrays,
    type_of,
    with_weak_types,
)
from .._settings import on_host
from .._types import Array, Batch, Key, PyTree
from ._template import PyTreeTemplate, is_array

_STEP = "step(state, batch) -> state or (state, aux)"
_PROBES = (1e-3, 1.0)
"""Learning rates that show whether set_lr does anything."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StepTask(Task):
    """What `step_task` makes: a `Task` that knows how a learning rate gets into the state.

    Attributes:
      set_lr: what the verbs take as `make_optimizer` with this task: `find_lr(task, task.set_lr, ...)`.
    """

    set_lr: Callable[..., Any]


def _set_learning_rate(state: PyTree, learning_rate: Array) -> PyTree:
    """Put it where `optax.inject_hyperparams` holds it."""
    try:
        return optax.tree_utils.tree_set(state, learning_rate=learning_rate)
    except KeyError:
        raise ValueError(
            "`step_task(set_lr=...)` must put the learning rate into the state, which has none by the name "
            "learning_rate. Make the optimizer by optax.inject_hyperparams(optax.adam)(learning_rate=...), or write "
            "set_lr=lambda state, lr: ..."
        ) from None


@on_host
def step_task(
    step: Callable[..., Any],
    state: PyTree | Callable[[Key], PyTree],
    batches: Iterable[Batch] | Callable[[int], Iterable[Batch]] | None,
    evaluate: Callable[[PyTree], Any],
    set_lr: Callable[..., PyTree] = _set_learning_rate,
) -> StepTask:
    """A task of a training step that is already written, for every verb: `find_lr(task, task.set_lr, ...)`.

    Every learning rate has its own copy of the state and runs `step` on the same batches; then `evaluate` is read. All
    copies run in one compiled program. They are measured against the copy with learning rate 0, so whatever else the
    step moves (another network, BatchNorm's statistics) does not count.

    Args:
      step: `step(state, batch) -> state`, or `-> (state, aux)`; made of JAX operations, as for `jax.jit`. It keeps the
        structure, shapes and dtypes of the state. An aux that is a scalar, or a dict with "loss", is the training loss
        that a sweep and a range test show, and a copy of which it is not finite has diverged.
      state: any pytree: a TrainState, a tuple (params, opt_state, key), modules with functions among their leaves, nnx
        modules and optimizers, whose shared variables stay shared. It is not modified. Or `state(key) -> state`: then
        the seeds start from different ones, with the functions and other static parts of the first.
      batches: as `train_batches` of `lrjax.Task.from_batches`: an iterable, or a function of the epoch. None: the step
        makes its own data (an environment, a simulation) and is `step(state)`.
      evaluate: `evaluate(state) -> loss`, the validation loss, or a dict with "loss" and other metrics. A range test
        reads it before every step whose training loss is not returned.
      set_lr: `set_lr(state, lr) -> state`: called once, before step 0, with a traced lr; also with 0. For a sweep over
        several settings `set_lr(state, learning_rate, decay, ...)`, by the names of the grid. A range test calls it
        before every step. By default the `learning_rate` of `optax.inject_hyperparams` is set, wherever it is.

    Returns:
      A `Task` with an attribute `set_lr`, which takes the place of `make_optimizer` in every verb. The state to train
      from is what your own `set_lr(state, result.lr)` returns.

    Raises:
      TypeError, ValueError: functions of other arguments, a state that step or set_lr changes in more than its
        numbers; the message says what to do.

    Examples:
      >>> import jax, jax.numpy as jnp, numpy as np, lrjax
      >>> from lrjax.integrations import step_task
      >>> def step(state, batch):  # gradient descent with a momentum of one's own
      ...     grad = jax.grad(lambda w: jnp.mean((batch @ w - 1.0) ** 2))(state["w"])
      ...     speed = 0.5 * state["speed"] + grad
      ...     return {"w": state["w"] - state["lr"] * speed, "speed": speed, "lr": state["lr"]}
      >>> x = np.random.default_rng(0).normal(1.0, 1.0, (60, 8, 2)).astype(np.float32)
      >>> task = step_task(
      ...     step, {"w": jnp.zeros(2), "speed": jnp.zeros(2), "lr": 0.0}, list(x),
      ...     lambda state: jnp.mean((x[0] @ state["w"] - 1.0) ** 2), lambda state, lr: state | {"lr": lr},
      ... )
      >>> result = lrjax.find_lr(task, task.set_lr, key=jax.random.key(0))
      >>> 1e-3 < result.lr < 1.0
      True
    """
    _check_function("step", step, _STEP if batches is not None else "step(state) -> state or (state, aux)")
    _check_function("evaluate", evaluate, "evaluate(state) -> loss")
    names = _hyperparameters(set_lr)
    draw = state if callable(state) and any(leaf is state for leaf in jax.tree.leaves(state)) else None
    if draw is not None:
        _check_function("state", draw, "state(key) -> state")
    first = state if draw is None else draw(jax.random.key(0))
    stream = None if batches is None else BatchStream("step_task(batches=...)", batches)
    read = _no_batches if stream is None else stream.between
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), read(0, 1))
    run = step if stream is not None else functools.wraps(step)(lambda state, batch: step(state))
    template, types, step_fn = _fit_state(run, set_lr, len(names), first, batch)
    arrays = strengthen(to_arrays("step_task(state=...)", template.split(first)))
    _check_set_lr(template, set_lr, len(names), arrays)
    _check_evaluate(template, evaluate, arrays)

    def loss_fn(arrays: PyTree, batch: Batch, key: Key) -> Any:
        returned = evaluate(template.join(arrays))
        return returned["loss"] if isinstance(returned, dict) else returned

    def make(*values: Any, **named: Any) -> Callable[[PyTree], PyTree]:
        def put(arrays: PyTree) -> PyTree:
            begun = template.split(set_lr(template.join(arrays), *values, **named))
            return strengthen(tuple(jnp.asarray(leaf, one.dtype) for leaf, one in zip(begun, types, strict=True)))

        return put

    def init(key: Key) -> tuple[Array, ...]:
        made = cast(Any, draw)(key)
        if not template.has_leaves_of(made):
            raise ValueError(
                f"`step_task(state=...)` must give states of one structure for every key, but "
                f"{template.difference(made)}."
            )
        return template.split(made)

    loss_fn.__qualname__, make.__qualname__ = name_of(evaluate), name_of(set_lr)
    taken = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    make.__signature__ = inspect.Signature(taken)  # pyright: ignore[reportFunctionMemberAccess]
    return StepTask(
        init=arrays if draw is None else init,
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: read(0, num_steps),
        batches_between=None if stream is not None else lambda key, start, stop: read(start, stop),
        eval_batches=[np.zeros(1, np.float32)],  # evaluate has its own
        eval_fn=lambda arrays, batch: evaluate(template.join(arrays)),
        set_lr=make,
        _stream=stream,
        _arrays=batches if isinstance(batches, (list, tuple)) else None,
        _step_fn=step_fn,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Step:
    """The step as one of the state's arrays, which returns them and the training loss."""

    after: Callable[[PyTree, Batch], tuple[PyTree, Array | None]]
    template: PyTreeTemplate
    returns_loss: bool

    def __call__(self, arrays: PyTree, batch: Batch) -> tuple[PyTree, Any]:
        arrays, loss = self.after(arrays, batch)
        return strengthen(arrays), jnp.float32(jnp.nan) if loss is None else loss

    def state_of(self, arrays: PyTree) -> PyTree:
        """The user's own state, in which an optimizer's may be found."""
        return self.template.join(arrays)


def _no_batches(start: int, stop: int) -> Batch:
    return np.zeros(stop - start, np.float32)


def _check_function(name: str, function: object, wanted: str) -> None:
    signature = check_signature(f"step_task({name}=...)", function, wanted)
    if signature is not None:
        raise TypeError(f"`step_task({name}=...)` must be `{wanted}`, got `{name_of(function)}{signature}`.")


def _hyperparameters(set_lr: object) -> list[str]:
    """What set_lr puts into the state, by name: its arguments after the state that have no default, one at least."""
    check_callable("step_task(set_lr=...)", set_lr, signature="set_lr(state, lr) -> state")
    try:
        parameters = list(inspect.signature(cast(Any, set_lr)).parameters.values())[1:]
    except (TypeError, ValueError):  # builtins show none
        parameters = []
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [one.name for one in positional if one.default is one.empty]
    names = required or [one.name for one in positional[:1]] or ["lr"]
    _check_function("set_lr", set_lr, f"set_lr(state, {', '.join(names)}) -> state")
    return names


def _fit_state(
    step: Callable[..., Any], set_lr: Callable[..., Any], count: int, state: PyTree, batch: Batch
) -> tuple[PyTreeTemplate, Types, _Step]:
    """Run set_lr and step on shapes until the types stay the same, and check what they return.

    The template tells which leaves are arrays, or Python numbers that set_lr or step change; the types are theirs from
    set_lr on.
    """
    if not jax.tree.leaves(state):
        raise ValueError(f"`step_task(state=...)` must be a pytree of arrays, got {show(state)}, which holds none.")
    template = PyTreeTemplate.of(state)
    while True:
        to_arrays("step_task(state=...)", template.split(state))
        after = functools.partial(_after, step, template)
        types = _types_from(template, set_lr, count)
        types = promote_weak(
            types, lambda types, after=after: tuple(map(type_of, jax.eval_shape(after, types, batch)[0]))
        )
        returned, loss = jax.eval_shape(after, types, batch)
        if not template.moved:
            break
        template = PyTreeTemplate.of(state, template.numbers | template.moved)
    for path, one, other in zip(template.array_paths, types, returned, strict=True):
        if describe(one) != describe(other):
            raise ValueError(
                f"`step_task(step=...)` must keep the shapes and dtypes of the state, but it returns {describe(other)} "
                f"at {path} instead of {describe(one)}. Cast it back: a loop carries one type."
            )
    return template, types, _Step(with_weak_types(after, types), template, loss is not None)


def _types_from(template: PyTreeTemplate, set_lr: Callable[..., Any], count: int) -> Types:
    """The types of the state's arrays after set_lr, of which a weak one may still be promoted."""

    def begin(arrays: tuple[Array, ...], values: list[Array]) -> tuple[Any, ...]:
        begun = call_traced("set_lr", set_lr, template.join(arrays), *values)
        if not template.fits(begun):
            hint = "It may change the arrays of the state, nothing else."
            if begun is None:
                hint = "Did it forget its `return`?"
            elif template.has_leaves_of(begun):
                factory = "optax.inject_hyperparams(optax.adam)(...)"
                hint = f"The learning rate must be an array of the state: write {factory}."
            raise ValueError(
                "`step_task(set_lr=...)` must return a state of the structure it was given, but "
                f"{template.difference(begun)}. {hint}"
            )
        return template.split(begun)

    given = tuple(type_of(leaf) for leaf in template.split(template.example))
    begun = jax.eval_shape(begin, given, [jax.ShapeDtypeStruct((), jnp.float32)] * count)
    types = []
    for path, one, other in zip(template.array_paths, given, begun, strict=True):
        if one.shape != other.shape:
            raise ValueError(
                f"`step_task(set_lr=...)` must keep the shapes of the state, but {name_of(set_lr)} returns "
                f"{describe(other)} at {path} instead of {describe(one)}. The learning rate is a scalar: write "
                "jnp.full_like(old, lr) where the state holds more than one number."
            )
        weak = one.weak_type or other.weak_type
        types.append(jax.ShapeDtypeStruct(other.shape, other.dtype, weak_type=weak))
    return tuple(types)


def _after(
    step: Callable[..., Any], template: PyTreeTemplate, arrays: tuple[Array, ...], batch: Batch
) -> tuple[tuple[Array, ...], Array | None]:
    """The state's arrays after a step, and the training loss if step returns it."""
    state, aux = _state_and_aux(template, call_traced("step", step, template.join(arrays), batch))
    loss: Any = aux.get("loss") if isinstance(aux, dict) else aux
    is_loss = is_array(loss) and loss.shape == () and jnp.issubdtype(loss.dtype, jnp.floating)
    return template.split(state), loss if is_loss else None


def _state_and_aux(template: PyTreeTemplate, returned: Any) -> tuple[PyTree, Any]:
    """What step returned: the state, and None where there is no aux."""
    if template.fits(returned):
        return returned, None
    pair = isinstance(returned, tuple) and len(returned) == 2
    if pair and template.fits(returned[0]):
        return returned
    begins = f"`step_task(step=...)` must be `{_STEP}`"
    if pair and template.fits(returned[1]):
        raise ValueError(
            f"{begins}, but it returns the state second. Write lambda state, batch: step(state, batch)[::-1]."
        )
    state = returned[0] if pair and not isinstance(template.example, tuple) else returned
    hint = " Did it forget its `return`?" if returned is None else ""
    if template.has_leaves_of(state):
        hint = " Only arrays may change from step to step: hold a number that changes as one, set a mode before."
    raise ValueError(f"{begins}, with the structure of the state, but {template.difference(state)}.{hint}")


def _check_set_lr(template: PyTreeTemplate, set_lr: Callable[..., Any], count: int, arrays: tuple[Array, ...]) -> None:
    """Raise where every learning rate gives the same state."""
    low, high = (template.split(set_lr(template.join(arrays), *[jnp.float32(lr)] * count)) for lr in _PROBES)
    if all(np.array_equal(_numbers(one), _numbers(other)) for one, other in zip(low, high, strict=True)):
        raise ValueError(
            f"`step_task(set_lr=...)` must put the learning rate into the state, but {name_of(set_lr)} returns the "
            f"same state for {_PROBES[0]:g} and {_PROBES[1]:g}. The step must read it from there too: a number that "
            "was given to an Optax optimizer is fixed; write optax.inject_hyperparams(optax.adam)(learning_rate=...)."
        )


def _numbers(leaf: Any) -> np.ndarray:
    typed_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if typed_key else leaf)


def _check_evaluate(template: PyTreeTemplate, evaluate: Callable[..., Any], arrays: tuple[Array, ...]) -> None:
    def loss_of(arrays: tuple[Array, ...]) -> Array:
        returned = call_traced("evaluate", evaluate, template.join(arrays))
        if isinstance(returned, dict) and "loss" not in returned:
            raise ValueError(
                f'`step_task(evaluate=...)` must return a loss or a dict with "loss", got {list(returned)}.'
            )
        loss = returned["loss"] if isinstance(returned, dict) else returned
        return check_scalar("step_task(evaluate=...)(state)", loss)

    jax.eval_shape(loss_of, arrays)
