"""The search for those who have a training step of their own, and no loss function that lrjax could differentiate."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_key, check_signature, describe, name_of, on_host, show
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
from .._search import LRResult, find_lr
from .._types import Array, Batch, Key, PyTree
from ._template import PyTreeTemplate

_WHERE = "find_lr_for_step"
_STEP = "step(state, batch) -> state or (state, aux)"
_PROBES = (1e-3, 1.0)
"""Learning rates that show whether set_lr does anything."""


@on_host
def find_lr_for_step(
    step: Callable[[PyTree, Batch], Any],
    state: PyTree | Callable[[Key], PyTree],
    batches: Iterable[Batch] | Callable[[int], Iterable[Batch]],
    evaluate: Callable[[PyTree], Any],
    set_lr: Callable[[PyTree, Array], PyTree],
    *,
    key: Key | None = None,
    **options: Any,
) -> LRResult:
    """Find a learning rate for any training step: several losses, several optimizers, an update of your own.

    Every learning rate has its own copy of the state and runs `step` on the same batches; then `evaluate` is read. All
    copies run in one compiled program, as in `lrjax.find_lr`. They are measured against the copy with learning rate 0,
    so whatever else the step moves (another network, BatchNorm's statistics) does not count.

    Args:
      step: `step(state, batch) -> state`, or `-> (state, aux)`; made of JAX operations, as for `jax.jit`. It keeps the
        structure, shapes and dtypes of the state.
      state: any pytree: a TrainState, a tuple (params, opt_state, key), modules with functions among their leaves, nnx
        modules and optimizers, whose shared variables stay shared. It is not modified. Or `state(key) -> state`: then
        the seeds start from different ones, with the functions and other static parts of the first.
      batches: as `train_batches` of `lrjax.Task.from_batches`: an iterable, or a function of the epoch. Seed s trains
        on the batches s * num_steps to (s + 1) * num_steps - 1.
      evaluate: `evaluate(state) -> loss`, the validation loss, or a dict with "loss" and other metrics.
      set_lr: `set_lr(state, lr) -> state`: called once, before step 0, with a traced lr; also with 0.
      key: PRNG key; None: `jax.random.key(0)`. It matters only if `state` is a function of a key: dropout keys and the
        like belong to the state.
      **options: further arguments of `lrjax.find_lr`: `strategy`, `executor`, ...

    Returns:
      The result, as of `lrjax.find_lr`. `set_lr(state, result.lr)` is the state to train from.

    Raises:
      LRNotFound: nothing was found; `.result` holds the curve.
      TypeError, ValueError: bad arguments; the message says what was wrong and what to do.

    Examples:
      >>> import jax, jax.numpy as jnp, numpy as np, lrjax
      >>> def step(state, batch):  # gradient descent with a momentum of one's own
      ...     grad = jax.grad(lambda w: jnp.mean((batch @ w - 1.0) ** 2))(state["w"])
      ...     speed = 0.5 * state["speed"] + grad
      ...     return {"w": state["w"] - state["lr"] * speed, "speed": speed, "lr": state["lr"]}
      >>> x = np.random.default_rng(0).normal(1.0, 1.0, (60, 8, 2)).astype(np.float32)
      >>> state = {"w": jnp.zeros(2), "speed": jnp.zeros(2), "lr": 0.0}
      >>> result = lrjax.integrations.find_lr_for_step(
      ...     step, state, list(x), lambda state: jnp.mean((x[0] @ state["w"] - 1.0) ** 2),
      ...     lambda state, lr: state | {"lr": lr},
      ... )
      >>> 1e-3 < result.lr < 1.0
      True
    """
    key = jax.random.key(0) if key is None else check_key(f"{_WHERE}(key=...)", key)
    task, put_lr = task_of_step(step, state, batches, evaluate, set_lr, key=key)
    return find_lr(task, put_lr, key=key, **options)


def task_of_step(
    step: Callable[[PyTree, Batch], Any],
    state: PyTree | Callable[[Key], PyTree],
    batches: Iterable[Batch] | Callable[[int], Iterable[Batch]],
    evaluate: Callable[[PyTree], Any],
    set_lr: Callable[[PyTree, Array], PyTree],
    *,
    key: Key,
) -> tuple[Task, Callable[[Array], Any]]:
    """The task of a training step, whose parameters are the state's arrays, and what puts an lr into them."""
    _check_function("step", step, _STEP)
    _check_function("evaluate", evaluate, "evaluate(state) -> loss")
    _check_function("set_lr", set_lr, "set_lr(state, lr) -> state")
    draw = state if callable(state) and any(leaf is state for leaf in jax.tree.leaves(state)) else None
    if draw is not None:
        _check_function("state", draw, "state(key) -> state")
    first = state if draw is None else draw(key)
    stream = _stream(batches)
    template, types = _find_types(step, first, stream, set_lr)
    arrays = strengthen(to_arrays(f"{_WHERE}(state=...)", template.split(first)))
    _check_set_lr(template, set_lr, arrays)
    _check_evaluate(template, evaluate, arrays)

    def loss_fn(arrays: PyTree, batch: Batch, key: Key) -> Any:
        return evaluate(template.join(arrays))

    def put_lr(lr: Array) -> Callable[[PyTree], PyTree]:
        def put(arrays: PyTree) -> PyTree:
            begun = template.split(set_lr(template.join(arrays), lr))
            return strengthen(tuple(jnp.asarray(leaf, one.dtype) for leaf, one in zip(begun, types, strict=True)))

        return put

    def after(arrays: tuple[Array, ...], batch: Batch) -> tuple[Array, ...]:
        return template.split(_state_of(template, step(template.join(arrays), batch)))

    def arrays_of(key: Key) -> tuple[Array, ...]:
        assert draw is not None
        made = draw(key)
        if not template.has_leaves_of(made):
            raise ValueError(
                f"`{_WHERE}(state=...)` must give states of one structure for every key, but "
                f"{template.difference(made)}."
            )
        return template.split(made)

    loss_fn.__qualname__, put_lr.__qualname__ = name_of(evaluate), name_of(set_lr)
    task = Task(
        init=arrays if draw is None else arrays_of,
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: stream.between(0, num_steps),
        eval_batches=[np.zeros(1, np.float32)],  # evaluate has its own
        eval_fn=lambda arrays, batch: evaluate(template.join(arrays)),
        stream=stream,
        step_fn=_Step(with_weak_types(after, types), template),
    )
    return task, put_lr


@dataclasses.dataclass(frozen=True, eq=False)
class _Step:
    """The step as one of the state's arrays."""

    after: Callable[[PyTree, Batch], PyTree]
    template: PyTreeTemplate

    def __call__(self, arrays: PyTree, batch: Batch) -> PyTree:
        return strengthen(self.after(arrays, batch))

    def state_of(self, arrays: PyTree) -> PyTree:
        """The user's own state, in which an optimizer's may be found."""
        return self.template.join(arrays)


def _check_function(name: str, function: object, wanted: str) -> None:
    signature = check_signature(f"{_WHERE}({name}=...)", function, wanted)
    if signature is not None:
        raise TypeError(f"`{_WHERE}({name}=...)` must be `{wanted}`, got `{name_of(function)}{signature}`.")


def _stream(batches: Any) -> BatchStream:
    where = f"{_WHERE}(batches=...)"
    if isinstance(batches, dict) or hasattr(batches, "shape"):
        raise TypeError(
            f"`{where}` must be an iterable of batches, got {type(batches).__name__} (one batch?). Put batches into a "
            "list; for an array with a leading step axis, list(array)."
        )
    if not callable(batches) and not hasattr(batches, "__iter__"):
        raise TypeError(
            f"`{where}` must be an iterable of batches or a function of the epoch that returns one, got "
            f"{show(batches)} ({type(batches).__name__})."
        )
    return BatchStream(where, cast(Any, batches))


class _Types(NamedTuple):
    """What a program carries.

    Attributes:
      template: which leaves of the state are arrays, and Python numbers that set_lr or step change.
      carried: their types from set_lr on.
    """

    template: PyTreeTemplate
    carried: Types


def _find_types(step: Callable[..., Any], state: PyTree, stream: BatchStream, set_lr: Callable[..., Any]) -> _Types:
    """Run set_lr and step on shapes, until what they carry stays the same, and check what they return."""
    if not jax.tree.leaves(state):
        raise ValueError(f"`{_WHERE}(state=...)` must be a pytree of arrays, got {show(state)}, which holds none.")
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), stream.between(0, 1))
    numbers: frozenset[int] = frozenset()
    while True:
        template = PyTreeTemplate.of(state, numbers)
        to_arrays(f"{_WHERE}(state=...)", template.split(state))
        more, carried = _trace(step, template, batch, set_lr)
        if not more:
            return _Types(template, carried)
        numbers |= more


def _trace(
    step: Callable[..., Any], template: PyTreeTemplate, batch: Batch, set_lr: Callable[..., Any]
) -> tuple[frozenset[int], Types]:
    """The fixed numbers that set_lr or step change, and the types that are carried if there are none."""
    more: frozenset[int] = frozenset()

    def begin(arrays: tuple[Array, ...], lr: Array) -> tuple[Any, ...]:
        nonlocal more
        begun = call_traced("set_lr", set_lr, template.join(arrays), lr)
        _check_begun(template, begun)
        more |= template.moved(begun)
        return template.split(begun)

    def after(arrays: tuple[Array, ...], batch: Batch) -> tuple[Any, ...]:
        nonlocal more
        state = _state_of(template, call_traced("step", step, template.join(arrays), batch))
        more |= template.moved(state)
        return template.split(state)

    given = tuple(type_of(leaf) for leaf in template.split(template.example))
    begun = jax.eval_shape(begin, given, jax.ShapeDtypeStruct((), jnp.float32))
    for path, one, other in zip(template.array_paths, given, begun, strict=True):
        if one.shape != other.shape:
            raise ValueError(
                f"`{_WHERE}(set_lr=...)` must keep the shapes of the state, but {name_of(set_lr)} returns "
                f"{describe(other)} at {path} instead of {describe(one)}. The learning rate is a scalar: write "
                "jnp.full_like(old, lr) where the state holds more than one number."
            )
    pairs = zip(given, begun, strict=True)
    weak = [one.weak_type or other.weak_type for one, other in pairs]
    types = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype, weak_type=w) for one, w in zip(begun, weak, strict=True))
    types = promote_weak(types, lambda types: tuple(map(type_of, jax.eval_shape(after, types, batch))))
    for path, one, other in zip(template.array_paths, types, jax.eval_shape(after, types, batch), strict=True):
        if describe(one) != describe(other) and not more:
            raise ValueError(
                f"`{_WHERE}(step=...)` must keep the shapes and dtypes of the state, but it returns {describe(other)} "
                f"at {path} instead of {describe(one)}. Cast it back: a loop carries one type."
            )
    return more, types


def _check_begun(template: PyTreeTemplate, begun: PyTree) -> None:
    """Raise unless set_lr returned a state like the one it was given."""
    if template.fits(begun):
        return
    hint = "Did it forget its `return`?" if begun is None else "It may change the arrays of the state, nothing else."
    static = template.has_leaves_of(begun)
    if static:
        hint = "The learning rate must be an array of the state: write optax.inject_hyperparams(optax.adam)(...)."
    raise ValueError(
        f"`{_WHERE}(set_lr=...)` must return a state of the structure it was given, but {template.difference(begun)}. "
        + hint
    )


def _state_of(template: PyTreeTemplate, returned: Any) -> PyTree:
    """The state in what step returned."""
    if template.fits(returned):
        return returned
    pair = isinstance(returned, tuple) and len(returned) == 2
    if pair and template.fits(returned[0]):
        return returned[0]
    begins = f"`{_WHERE}(step=...)` must be `{_STEP}`"
    if pair and template.fits(returned[1]):
        raise ValueError(
            f"{begins}, but it returns the state second. Write lambda state, batch: step(state, batch)[::-1]."
        )
    state = returned[0] if pair and not isinstance(template.example, tuple) else returned
    hint = " Did it forget its `return`?" if returned is None else ""
    if template.has_leaves_of(state):
        hint = " Only arrays may change from step to step: hold a number that changes as one, set a mode before."
    raise ValueError(f"{begins}, with the structure of the state, but {template.difference(state)}.{hint}")


def _check_set_lr(template: PyTreeTemplate, set_lr: Callable[..., Any], arrays: tuple[Array, ...]) -> None:
    low, high = (template.split(set_lr(template.join(arrays), jnp.float32(lr))) for lr in _PROBES)
    if all(np.array_equal(_numbers(one), _numbers(other)) for one, other in zip(low, high, strict=True)):
        raise ValueError(
            f"`{_WHERE}(set_lr=...)` must put the learning rate into the state, but {name_of(set_lr)} returns the same "
            f"state for {_PROBES[0]:g} and {_PROBES[1]:g}. The step must read it from there too: a number that was "
            "given to an Optax optimizer is fixed; write optax.inject_hyperparams(optax.adam)(learning_rate=...)."
        )


def _numbers(leaf: Any) -> np.ndarray:
    typed_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if typed_key else leaf)


def _check_evaluate(template: PyTreeTemplate, evaluate: Callable[..., Any], arrays: tuple[Array, ...]) -> None:
    def loss_of(arrays: tuple[Array, ...]) -> Array:
        told = call_traced("evaluate", evaluate, template.join(arrays))
        if isinstance(told, dict) and "loss" not in told:
            raise ValueError(f'`{_WHERE}(evaluate=...)` must return a loss or a dict with "loss", got {list(told)}.')
        return check_scalar(f"{_WHERE}(evaluate=...)(state)", told["loss"] if isinstance(told, dict) else told)

    jax.eval_shape(loss_of, arrays)
