"""Several hyperparameters of an optimizer on schedules, with one step counter."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from .._checks import check_callable, describe, name_of, show
from .._types import Array, Float, Int, OptimizerFactory, PyTree, ScalarLike, Schedule
from . import _arguments as check


class ScheduledState(NamedTuple):
    """The state of `scheduled`. To resume, restore it; all that the schedules need is `step`.

    Attributes:
      step: optimizer updates done so far. int32, shape ().
      hyperparams: what the last update used (before the first: what it will use). float32, shape () each.
      inner: the optimizer's own state.
    """

    step: Int[Array, ""]
    hyperparams: dict[str, Float[Array, ""]]
    inner: PyTree


def scheduled(
    make_optimizer: OptimizerFactory, **hyperparams: Schedule | ScalarLike
) -> optax.GradientTransformationExtraArgs:
    """An optimizer any of whose hyperparameters follow schedules: learning rate, momentum, weight decay together.

    At every update all schedules are asked for the value at one step, in float32 whatever the parameters' type, and
    the optimizer is built with these. Its updates come back in the type of the gradients, its state in the type that
    it began with. (`optax.inject_hyperparams` casts hyperparameters to the parameters' type: with bfloat16, Adam's b2
    of 0.999 becomes 1 and its first update NaN.)

    Args:
      make_optimizer: a function of the hyperparameters, by keyword, that returns an optimizer: `optax.sgd`, or your own
        that returns a chain. Bind what is no number with `functools.partial`.
      **hyperparams: a schedule or a number for each. Numbers and schedules may be traced.

    Returns:
      An optimizer for `optax.chain`, `optax.multi_transform`, `optax.MultiSteps` and the like. Its state is a
      `ScheduledState`; `current_hyperparams` reads it.

    Raises:
      TypeError: the function does not take such an argument, or a hyperparameter is neither schedule nor number.

    Source: Smith 2018, A disciplined approach to neural network hyper-parameters, for momentum against the lr.

    Examples:
      >>> import jax.numpy as jnp, optax, lrjax
      >>> from lrjax import schedules
      >>> optimizer = lrjax.scheduled(
      ...     optax.sgd,
      ...     learning_rate=schedules.one_cycle(0.5, 100),
      ...     momentum=schedules.one_cycle_momentum(100),
      ... )
      >>> params = jnp.ones(2)
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(params, state)
      >>> {name: round(float(value), 3) for name, value in lrjax.current_hyperparams(state).items()}
      {'learning_rate': 0.02, 'momentum': 0.95}
    """
    check_callable("scheduled(make_optimizer)", make_optimizer, signature="make_optimizer(**hyperparams) -> optimizer")
    if not hyperparams:
        raise TypeError("`scheduled` needs at least one hyperparameter: scheduled(optax.sgd, learning_rate=schedule).")
    _check_accepts(make_optimizer, tuple(hyperparams))
    given = {name: _checked(name, value) for name, value in hyperparams.items()}

    def at(step: Array) -> dict[str, Array]:
        return {name: _in_float32(value(step) if callable(value) else value) for name, value in given.items()}

    def build(values: dict[str, Array]) -> optax.GradientTransformationExtraArgs:
        optimizer = make_optimizer(**values)
        if not isinstance(optimizer, optax.GradientTransformation):
            raise TypeError(
                f"`scheduled(make_optimizer)` must return an Optax optimizer, {name_of(make_optimizer)} returned "
                f"{show(optimizer)} ({type(optimizer).__name__})."
            )
        return optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> ScheduledState:
        values = at(jnp.int32(0))
        inner = build(values).init(params)
        if any(map(_is_injected, jax.tree.leaves(inner, is_leaf=_is_injected))):
            _check_not_injected(build, values, params)
        return ScheduledState(jnp.int32(0), values, inner)

    def update(
        updates: PyTree, state: ScheduledState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, ScheduledState]:
        values = at(state.step)
        changed, inner = build(values).update(updates, state.inner, params, **extra)
        step = cast(Array, optax.safe_increment(state.step))
        return _like(changed, updates), ScheduledState(step, values, _like(inner, state.inner))

    return optax.GradientTransformationExtraArgs(init, cast(Any, update))


def _in_float32(value: Any) -> Array:
    value = jnp.asarray(value)
    return jax.lax.convert_element_type(value, np.float32)


def _like(tree: PyTree, template: PyTree) -> PyTree:
    """The floating leaves in the types of the template's: what enters a scan must come out of it."""

    def cast(leaf: Any, wanted: Any) -> Any:
        if hasattr(leaf, "dtype") and hasattr(wanted, "dtype") and jnp.issubdtype(leaf.dtype, np.floating):
            return leaf.astype(wanted.dtype)
        return leaf

    return jax.tree.map(cast, tree, template)


def _check_accepts(make_optimizer: OptimizerFactory, names: tuple[str, ...]) -> None:
    try:
        signature = inspect.signature(make_optimizer)
    except (TypeError, ValueError):
        return
    parameters = signature.parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise TypeError(
            f"`scheduled(make_optimizer)` must take {', '.join(unknown)} by keyword; {name_of(make_optimizer)} takes "
            f"{', '.join(parameters)}."
        )


def _checked(name: str, value: Any) -> Any:
    """A schedule, or a number that float32 holds."""
    where = f"scheduled({name}=...)"
    remedy = "Bind anything else with functools.partial(make_optimizer, ...)."
    if not callable(value):
        rule = (
            "a schedule or a finite number that float32 holds (functools.partial(make_optimizer, ...) binds the rest)"
        )
        return check.value(where, value, rule=rule, accept=lambda x: abs(x) <= float(np.finfo(np.float32).max))
    try:
        out = jax.eval_shape(lambda step: jnp.asarray(value(step)), jax.ShapeDtypeStruct((), np.int32))
    except Exception as error:
        raise TypeError(
            f"`{where}` must be a schedule, a function from step to number; {name_of(value)} failed on a step: "
            f"{str(error).rstrip('.')}. {remedy}"
        ) from error
    if out.shape != () or not check.is_real(out.dtype):
        raise TypeError(
            f"`{where}` must be a schedule, a function from step to one number, got one to {describe(out)}. {remedy}"
        )
    return value


def _check_not_injected(
    build: Callable[[dict[str, Array]], optax.GradientTransformationExtraArgs], values: dict[str, Array], params: PyTree
) -> None:
    """`optax.inject_hyperparams` keeps the numbers that it began with: a schedule around it would do nothing."""

    def kept(values: dict[str, Array]) -> list[dict[str, Any]]:
        leaves = jax.tree.leaves(build(values).init(params), is_leaf=_is_injected)
        return [leaf.hyperparams for leaf in leaves if _is_injected(leaf)]

    first, other = kept(values), kept({name: value + 1 for name, value in values.items()})
    if any(isinstance(value, Tracer) for value in jax.tree.leaves((first, other))):
        return  # inside jit: not known
    for one, two in zip(first, other, strict=True):
        if ours := [name for name in one if not np.array_equal(one[name], two[name])]:
            raise TypeError(
                "`scheduled(make_optimizer)` must not use optax.inject_hyperparams, got one that would keep the first "
                f"{', '.join(ours)}. Give the optimizer itself."
            )


def _is_injected(value: Any) -> bool:
    return isinstance(value, optax.InjectStatefulHyperparamsState)
