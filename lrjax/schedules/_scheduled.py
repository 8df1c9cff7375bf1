"""Several hyperparameters of an optimizer on schedules, with one step counter."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from .._checks import brief, check_callable, describe, kind_of, name_of, show_with_type
from .._settings import TRACER_ERRORS
from .._types import Array, Float, Int, OptimizerFactory, PyTree, ScalarLike, Schedule
from ._annotations import number
from ._schedule import promoting


class ScheduledState(NamedTuple):
    """The state of `scheduled`. To resume, restore it; all that the schedules need is `step`.

    Attributes:
      step: optimizer updates done so far. int32, shape ().
      hyperparams: the hyperparameters given as numbers. Every update reads them here: set one, and the next update
        uses it. Shape () each, in the type that `scheduled` was given (float32).
      computed: what the schedules gave for the last update (before the first: what they will give), to be read by
        `current_hyperparams`; the one of learning_rate is called "learning_rate_at_step". Shape () each.
      inner: the optimizer's own state.
    """

    step: Int[Array, ""]
    hyperparams: dict[str, Float[Array, ""]]
    computed: dict[str, Float[Array, ""]]
    inner: PyTree


INJECTED = optax.InjectStatefulHyperparamsState
"""The state of `optax.inject_hyperparams`."""

HELD = "a finite number that float32 holds"

AT_STEP = "_at_step"
"""Ends the names in `computed`: `optax.tree_utils.tree_set` finds what it sets by its name, and must not find these."""


def scheduled(
    make_optimizer: OptimizerFactory, *, hyperparam_dtype: Any = np.float32, **hyperparams: Schedule | ScalarLike
) -> optax.GradientTransformationExtraArgs:
    """An optimizer any of whose hyperparameters follow schedules: learning rate, momentum, weight decay together.

    At every update all schedules are asked for the value at one step, in one type whatever the parameters' is, and the
    optimizer is built with these and with the numbers. Its updates come back in the type of the gradients, its
    state in the type that it began with. (`optax.inject_hyperparams` casts hyperparameters to the parameters' type:
    with bfloat16, Adam's b2 of 0.999 becomes 1 and its first update NaN.)

    A hyperparameter given as a number is kept in the state, as `optax.inject_hyperparams` does it:
    `optax.tree_utils.tree_set(state, momentum=0.5)` or `state.hyperparams["momentum"] = 0.5` changes it from the next
    update on, and a restored state brings its own. One that follows a schedule is not there and cannot be set; move
    the schedule with `at_step`, or give a number instead.

    Args:
      make_optimizer: a function of the hyperparameters, by keyword, that returns an optimizer: `optax.sgd`, or your own
        that returns a chain. Bind what is no number, or must be known when the optimizer is made, with
        `functools.partial`.
      hyperparam_dtype: the floating type of all of them, as in `optax.inject_hyperparams`; float64 needs x64.
      **hyperparams: a schedule or a number for each. Numbers and schedules may be traced.

    Returns:
      An optimizer for `optax.chain`, `optax.multi_transform`, `optax.MultiSteps` and the like. Its state is a
      `ScheduledState`; `current_hyperparams` reads it.

    Raises:
      TypeError: the function does not take such an argument, or a hyperparameter is neither schedule nor number.
      ValueError: at an update, the state's hyperparameters are others than those given as numbers.

    Source: Smith 2018, A disciplined approach to neural network hyper-parameters, for momentum against the lr.

    Examples:
      >>> import jax.numpy as jnp, optax, lrjax
      >>> from lrjax import schedules
      >>> optimizer = lrjax.schedules.scheduled(
      ...     optax.sgd,
      ...     learning_rate=schedules.one_cycle(0.5, total_steps=100),
      ...     momentum=schedules.one_cycle_momentum(100),
      ... )
      >>> params = jnp.ones(2)
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(params, state)
      >>> {name: round(float(value), 3) for name, value in lrjax.schedules.current_hyperparams(state).items()}
      {'learning_rate': 0.02, 'momentum': 0.95}
    """
    check_callable("scheduled(make_optimizer)", make_optimizer, signature="make_optimizer(**hyperparams) -> optimizer")
    if not hyperparams:
        raise TypeError("`scheduled` needs at least one hyperparameter: scheduled(optax.sgd, learning_rate=schedule).")
    _check_accepts(make_optimizer, tuple(hyperparams))
    dtype = _check_dtype("scheduled(hyperparam_dtype=...)", hyperparam_dtype)
    given = {name: _check_hyperparameter(name, value) for name, value in hyperparams.items()}
    followed = {name: value for name, value in given.items() if callable(value)}
    numbers = {name: value for name, value in given.items() if name not in followed}

    def convert(value: Any) -> Array:
        return jax.lax.convert_element_type(jnp.asarray(value), dtype)

    def at(step: Array) -> dict[str, Array]:
        return {f"{name}{AT_STEP}": convert(schedule(step)) for name, schedule in followed.items()}

    def build(values: dict[str, Array]) -> optax.GradientTransformationExtraArgs:
        try:
            optimizer = make_optimizer(**values)
        except TRACER_ERRORS as error:
            raise TypeError(
                f"`scheduled(make_optimizer)` is called with traced numbers at every update, but "
                f"{name_of(make_optimizer)} needs the value of one of {', '.join(values)}. "
                "Bind that one with functools.partial(make_optimizer, ...)."
            ) from error
        if not isinstance(optimizer, optax.GradientTransformation):
            raise TypeError(
                f"`scheduled(make_optimizer)` must return an Optax optimizer, {name_of(make_optimizer)} returned "
                f"{show_with_type(optimizer)}."
            )
        return optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> ScheduledState:
        step = jnp.int32(0)
        fixed = {name: jnp.array(value, dtype) for name, value in numbers.items()}
        state = ScheduledState(step, fixed, at(step), ())
        values = in_use(state)
        with promoting():
            inner = build(values).init(params)
            if injected := _injected(inner):
                other = build({name: value + 1 for name, value in values.items()}).init(params)
                _check_kept(injected, _injected(other))
        return state._replace(inner=inner)

    def update(
        updates: PyTree, state: ScheduledState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, ScheduledState]:
        _check_settings(state.hyperparams, numbers, followed)
        state = state._replace(hyperparams=jax.tree.map(convert, state.hyperparams), computed=at(state.step))
        with promoting():  # hyperparameters of one type meet updates of any type
            changed, inner = build(in_use(state)).update(updates, state.inner, params, **extra)
        step = cast(Array, optax.safe_increment(state.step))
        return _like(changed, updates), state._replace(step=step, inner=_like(inner, state.inner))

    return optax.GradientTransformationExtraArgs(init, cast(Any, update))


def in_use(state: ScheduledState) -> dict[str, Any]:
    """All hyperparameters of a state by their names, in the order of a dict of JAX."""
    computed = {name.removesuffix(AT_STEP): value for name, value in state.computed.items()}
    return dict(sorted({**state.hyperparams, **computed}.items()))


def _check_settings(found: Mapping[str, Any], numbers: Mapping[str, Any], followed: Mapping[str, Any]) -> None:
    """Raise unless the state's hyperparameters are numbers, and those that were given as such."""
    where = "scheduled(...).update(state)"
    if computed := [name for name in found if name in followed]:
        raise ValueError(
            f"`{where}` must not set {', '.join(computed)}, which a schedule computes at every update. Give "
            "`scheduled` a number for what is to be set, or move the schedule with lrjax.schedules.at_step."
        )
    if set(found) != set(numbers):
        raise ValueError(
            f"`{where}` must hold the hyperparameters {', '.join(numbers) or 'of no name'}, got "
            f"{', '.join(map(str, found)) or 'none'}. Is it the state of another optimizer?"
        )
    for name, value in found.items():
        _check_held(f"{where}.hyperparams[{name!r}]", value)


def _check_dtype(where: str, value: Any) -> np.dtype:
    """A floating type that this configuration of JAX has."""
    try:
        dtype = jax.dtypes.canonicalize_dtype(
            jnp.dtype(object if value is None else value)
        )  # NumPy reads None as float64
    except (TypeError, ValueError):
        dtype = np.dtype(object)
    if not jnp.issubdtype(dtype, np.floating):
        raise TypeError(f"`{where}` must be a floating type, such as jnp.float32, got {show_with_type(value)}.")
    return dtype


def _like(tree: PyTree, template: PyTree) -> PyTree:
    """The floating leaves in the types of the template's: what enters a scan must come out of it."""

    def cast(leaf: Any, wanted: Any) -> Any:
        floats = hasattr(leaf, "dtype") and hasattr(wanted, "dtype") and jnp.issubdtype(leaf.dtype, np.floating)
        return leaf.astype(wanted.dtype) if floats else leaf

    return jax.tree.map(cast, tree, template)


def _check_accepts(make_optimizer: OptimizerFactory, names: tuple[str, ...]) -> None:
    try:
        parameters = inspect.signature(make_optimizer).parameters
    except (TypeError, ValueError):  # builtins and C functions show none
        return
    unknown = [name for name in names if name not in parameters]
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        raise TypeError(
            f"`scheduled(make_optimizer)` must take {', '.join(unknown)} by keyword; {name_of(make_optimizer)} takes "
            f"{', '.join(parameters)}."
        )


def _check_hyperparameter(name: str, value: Any) -> Any:
    """A schedule, or a number that float32 holds."""
    where = f"scheduled({name}=...)"
    if not callable(value):
        return _check_held(
            where, value, f"a schedule or {HELD} (functools.partial(make_optimizer, ...) binds the rest)"
        )
    remedy = "Bind anything else with functools.partial(make_optimizer, ...)."
    try:
        out = jax.eval_shape(lambda step: jnp.asarray(value(step)), jax.ShapeDtypeStruct((), np.int32))
    except TRACER_ERRORS as error:
        raise TypeError(
            f"`{where}` must be made of jax.numpy operations, since a training step is compiled, but {name_of(value)} "
            "needs the value of the step. Write jnp for np and math, jnp.where for `if`, jnp.asarray(x)[step] for a "
            "table."
        ) from error
    except Exception as error:
        raise TypeError(
            f"`{where}` must be a schedule, a function from step to number; {name_of(value)} failed on a step: "
            f"{brief(error)}. {remedy}"
        ) from error
    if out.shape != () or kind_of(out) not in ("f", "i", "u"):
        raise TypeError(
            f"`{where}` must be a schedule, a function from step to one number, got one to {describe(out)}. {remedy}"
        )
    return value


def _check_held(where: str, value: Any, rule: str = HELD) -> Any:
    return number(rule, lambda x: abs(x) <= float(np.finfo(np.float32).max)).check(where, value)


def _injected(inner: PyTree) -> list[dict[str, Any]]:
    """The numbers that every `optax.inject_hyperparams` inside keeps."""
    leaves = jax.tree.leaves(inner, is_leaf=lambda value: isinstance(value, INJECTED))
    return [leaf.hyperparams for leaf in leaves if isinstance(leaf, INJECTED)]


def _check_kept(first: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """`optax.inject_hyperparams` keeps the numbers that it began with: a schedule around it would do nothing."""
    if any(isinstance(value, Tracer) for value in jax.tree.leaves((first, other))):
        return  # inside jit: not known
    for one, two in zip(first, other, strict=True):
        if ours := [name for name in one if not np.array_equal(one[name], two[name])]:
            raise TypeError(
                "`scheduled(make_optimizer)` must not use optax.inject_hyperparams, got one that would keep the first "
                f"{', '.join(ours)}. Give the optimizer itself."
            )
