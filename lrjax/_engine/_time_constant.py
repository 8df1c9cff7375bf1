"""What an optimizer does over time: for how many updates a gradient counts, and whether a schedule is in it."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.extend.core import Literal

from .._settings import current_settings
from .._types import Array, OptimizerFactory, Params, PyTree
from ._experiment import EXAMPLE_LR
from ._optimizer import build_optimizer, extra_arguments, find_accumulation
from ._programs import compile_once
from ._seeds import trainable_leaves
from ._task import Task
from ._trial_data import TrialSpec, split_params
from ._weak import WeakCache

LONGEST = 0.9991
"""Share kept from update to update, above which a number in the state is a sum and no momentum."""

_LR, _COUNTER, _SCHEDULE, _OTHER = 1, 2, 4, 8
"""What a number is computed from, as bits: the learning rate, an integer of the optimizer's state, that integer of
`optax.scale_by_schedule`, anything else."""


class Timing(NamedTuple):
    """How an optimizer behaves over the steps.

    Attributes:
      memory: updates for which it remembers a gradient: 1 for SGD, 10 for Adam, 100 with momentum 0.99.
      scheduled: whether it computes its learning rate from the step.
    """

    memory: float
    scheduled: bool


def optimizer_timing(task: Task, make_optimizer: OptimizerFactory) -> Timing | None:
    """Look at an optimizer's state and equations; None where that cannot be done, which training will explain.

    The memory is that of the direction of one gradient: a gradient and its negative are each followed by gradients of
    0, and the difference between the two states dies away as momentum does; second moments cancel. Nothing is trained,
    and the parameters are cut to a few numbers each.
    """
    if task._step_fn is not None:
        return None
    try:
        trains = jax.eval_shape(lambda: _trained(task))
        leaves, treedef = jax.tree.flatten(trains)
        shapes = tuple(tuple(min(2, size) for size in leaf.shape) for leaf in leaves)
        return _KNOWN.get((make_optimizer, treedef, shapes), lambda: _look(make_optimizer, treedef, shapes))
    except Exception:
        return None


_KNOWN = WeakCache(64)


def _look(make_optimizer: OptimizerFactory, treedef: Any, shapes: tuple[tuple[int, ...], ...]) -> Timing:
    params = treedef.unflatten([np.ones(shape, np.float32) for shape in shapes])
    update = jax.jit(lambda lr, state, grads: _update(make_optimizer, lr, state, grads, params))
    return Timing(_memory(make_optimizer, update, params), _is_scheduled(make_optimizer, update, params))


def _trained(task: Task) -> Params:
    made: Any = task.init(jax.random.key(0)) if callable(task.init) else task.init
    params = jax.tree.map(jnp.asarray, made[0] if task.has_state else made)
    return split_params(params, trainable_leaves(task, params))[0]


def _update(make_optimizer: OptimizerFactory, lr: Array, state: PyTree, grads: Params, params: Params) -> Any:
    extra = extra_arguments(jnp.ones(()), grads, lambda _: jnp.ones(()))
    return build_optimizer(make_optimizer, lr).update(grads, state, params, **extra)


def _memory(make_optimizer: OptimizerFactory, update: Callable, params: Params) -> float:
    """1 / (1 - share kept) of what is kept longest."""
    spec = TrialSpec(
        loss_fn=_update,  # not called
        eval_fn=None,
        make_optimizer=make_optimizer,
        eval_params=None,
        has_state=False,
        trainable=(),
        horizons=(),
    )
    lr = np.float32(EXAMPLE_LR)
    batches = find_accumulation(spec, lr, params).batches(1)

    @jax.jit
    def kept(lr: Array) -> Sequence[Array]:
        """How much of an impulse every floating leaf of the state keeps from one update to the next."""

        def after(state: PyTree, size: float) -> PyTree:
            grads = jax.tree.map(lambda leaf: size * leaf, params)
            return lax.fori_loop(0, batches, lambda _, state: update(lr, state, grads)[1], state)

        start = build_optimizer(make_optimizer, lr).init(params)
        up, down = after(start, 1.0), after(start, -1.0)
        pairs = ((up, down), (after(up, 0.0), after(down, 0.0)))
        first, later = (jax.tree.map(_difference, *pair) for pair in pairs)
        one_of_each = _representatives(first, params)
        first, later = (jax.tree.leaves(tree) for tree in (first, later))
        return [jnp.where(first[i] == 0, 0.0, later[i] / first[i]) for i in one_of_each]

    shares = [float(share) for share in compile_once(kept.lower(lr), current_settings())(lr)]
    return 1 / (1 - max((share for share in shares if 0 < share < LONGEST), default=0.0))


def _difference(one: Array, other: Array) -> Array:
    if not jnp.issubdtype(one.dtype, jnp.floating):
        return jnp.zeros(())
    return (one.astype(jnp.float32) - other.astype(jnp.float32)).sum()


def _representatives(state: PyTree, params: Params) -> list[int]:
    """Of the state's leaves that belong to parameters, one for each place and number of axes; all others."""
    axes = {path: np.ndim(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    found: dict[Any, int] = {}
    for index, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(state)):
        ends = [path[start:] for start in range(len(path)) if path[start:] in axes]
        place = (path[: len(path) - len(ends[0])], axes[ends[0]]) if ends else path
        found.setdefault(place, index)
    return list(found.values())


def _is_scheduled(make_optimizer: OptimizerFactory, update: Callable, params: Params) -> bool:
    """Whether the learning rate meets a counter before it meets a gradient, or the updates depend on a schedule's."""
    lr = jax.ShapeDtypeStruct((), jnp.float32)
    state = jax.eval_shape(lambda lr: build_optimizer(make_optimizer, lr).init(params), lr)
    jaxpr = update.trace(lr, state, params).jaxpr
    schedules = jax.tree.map(_is_schedule, state, is_leaf=_is_schedule)
    is_count = jax.tree.leaves(jax.tree.map(lambda yes, node: jax.tree.map(lambda _: yes, node), schedules, state))
    kinds = [
        _SCHEDULE if counts else _COUNTER if jnp.issubdtype(leaf.dtype, jnp.integer) else _OTHER
        for counts, leaf in zip(is_count, jax.tree.leaves(state), strict=True)
    ]
    grads = [_OTHER] * len(jax.tree.leaves(params))
    outputs, within = _sources(jaxpr.jaxpr, [_LR, *kinds, *grads])
    return _LR | _COUNTER in within or any(source & _SCHEDULE for source in outputs[: len(grads)])


def _is_schedule(node: Any) -> bool:
    return isinstance(node, optax.ScaleByScheduleState)


def _sources(jaxpr: Any, inputs: Sequence[int]) -> tuple[list[int], set[int]]:
    """What every output of a jaxpr is computed from, and what any number within is."""
    known: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
    seen: set[int] = set()
    for equation in jaxpr.eqns:
        read = [0 if isinstance(atom, Literal) else known.get(atom, 0) for atom in equation.invars]
        made = [functools.reduce(operator.or_, read, 0)] * len(equation.outvars)
        parts = [*_inner(equation)]
        if parts:
            skipped = len(read) - len(parts[0].invars)  # a condition's index, of which every output is
            index = functools.reduce(operator.or_, read[:skipped], 0)
            results = [_sources(part, read[skipped:]) for part in parts]
            made = [functools.reduce(operator.or_, each, index) for each in zip(*(r[0] for r in results), strict=True)]
            seen = seen.union(*(result[1] for result in results))
        seen |= {*made}
        known |= dict(zip(equation.outvars, made, strict=True))
    return [0 if isinstance(atom, Literal) else known.get(atom, 0) for atom in jaxpr.outvars], seen


def _inner(equation: Any) -> Iterator[Any]:
    """The jaxprs of a call or of a condition's branches; a loop has none here, it is taken as a whole."""
    if equation.primitive.name in ("while", "scan"):
        return
    for value in equation.params.values():
        for one in value if isinstance(value, tuple) else (value,):
            part = getattr(one, "jaxpr", one)
            if hasattr(part, "eqns"):
                yield part
