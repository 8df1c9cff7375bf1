"""What an optimizer does over time: for how many updates a gradient counts, and whether a schedule is in it."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.extend.core import Literal

from .._settings import current_settings
from .._types import Array, OptimizerFactory, Params, PyTree
from ._course import clocks, step_is_scheduled
from ._experiment import EXAMPLE_LR
from ._jaxprs import inner_jaxprs
from ._optimizer import build_optimizer, extra_arguments, find_accumulation
from ._programs import compile_once
from ._seeds import trainable_leaves
from ._task import Task
from ._trial_data import TrialSpec, split_params
from ._weak import WeakCache

LONGEST = 0.9991
"""Share kept from update to update, above which a number in the state is a sum and no momentum."""

SETTLED, CHANGED = 10_000, 1.05
"""Updates after which a bias correction is over (that of 0.999 to e^-10), and the change of an update's size that no
rounding makes."""

COURSE = np.unique(np.concatenate([np.arange(1_000), np.geomspace(1e3, 1e7, 1_000)]).astype(np.int32))
"""Steps at which a schedule is looked at."""

_LR, _COUNTER, _SCHEDULE, _OTHER = 1, 2, 4, 8
"""What a number is computed from, as bits: the learning rate, an integer of the optimizer's state, that integer of
`optax.scale_by_schedule`, anything else."""


class Timing(NamedTuple):
    """How an optimizer behaves over the steps.

    Attributes:
      memory: updates for which it remembers a gradient: 1 for SGD, 10 for Adam, 100 with momentum 0.99; None of a step
        of one's own.
      scheduled: whether it computes its learning rate from the step.
    """

    memory: float | None
    scheduled: bool


def optimizer_timing(task: Task, make_optimizer: OptimizerFactory) -> Timing | None:
    """Look at an optimizer's state and equations; None where that cannot be done, which training will explain.

    The memory is that of the direction of one gradient: a gradient and its negative are each followed by gradients of
    0, and the difference between the two states dies away as momentum does; second moments cancel. Nothing is trained,
    and the parameters are cut to a few numbers each.
    """
    try:
        if task._step_fn is not None:
            return Timing(None, step_is_scheduled(task, make_optimizer))
        leaves, treedef = jax.tree.flatten(jax.eval_shape(lambda: _trained(task)))
        shapes = tuple(tuple(min(2, size) for size in leaf.shape) for leaf in leaves)
        make = lambda: _look(make_optimizer, treedef.unflatten([np.ones(shape, np.float32) for shape in shapes]))  # noqa: E731
        return _KNOWN.get((make_optimizer, treedef, shapes), make)
    except Exception:
        return None


_KNOWN = WeakCache(64)


def _trained(task: Task) -> Params:
    made: Any = task.init(jax.random.key(0)) if callable(task.init) else task.init
    params = jax.tree.map(jnp.asarray, made[0] if task.has_state else made)
    return split_params(params, trainable_leaves(task, params))[0]


def _look(make_optimizer: OptimizerFactory, params: Params) -> Timing:
    def update(lr: Array, state: PyTree, grads: Params) -> tuple[Params, PyTree]:
        extra = extra_arguments(jnp.ones(()), grads, lambda params: optax.tree.norm(params, squared=True) / 2)
        return build_optimizer(make_optimizer, lr).update(grads, state, params, **extra)

    init, update = jax.jit(lambda lr: build_optimizer(make_optimizer, lr).init(params)), jax.jit(update)  # traced once
    unused: Any = dict.fromkeys(("loss_fn", "eval_fn", "eval_params", "has_state"))
    spec = TrialSpec(make_optimizer=make_optimizer, trainable=(), horizons=(), **unused)
    batches = find_accumulation(spec, np.float32(EXAMPLE_LR), params).batches(1)
    lowered = jax.jit(functools.partial(_kept, init, update, batches, params)).lower(np.float32(EXAMPLE_LR))
    run = compile_once(lowered, current_settings(), quick=True)
    kept = [float(share) for share in run(np.float32(EXAMPLE_LR))]
    longest = max((share for share in kept if 0 < share < LONGEST), default=0.0)
    return Timing(1 / (1 - longest), _is_scheduled(init, update, batches, params))


def _kept(init: Callable, update: Callable, batches: int, params: Params, lr: Array) -> list[Array]:
    """How much of an impulse the floating leaves of the state keep from one update to the next."""

    def after(state: PyTree, size: float) -> PyTree:
        grads = jax.tree.map(lambda leaf: size * leaf, params)
        step = lambda _, state: update(lr, state, grads)[1]  # noqa: E731
        return step(0, state) if batches == 1 else lax.fori_loop(0, batches, step, state)

    states = [after(init(lr), size) for size in (1.0, -1.0)]
    states += [after(state, 0.0) for state in states]
    found = {}  # of leaves that belong to parameters one for each place and number of axes, and all others
    axes = {path: np.ndim(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    leaves, *others = jax.tree_util.tree_leaves_with_path(states[0]), *map(jax.tree.leaves, states[1:])
    for (path, up), down, later_up, later_down in zip(leaves, *others, strict=True):
        ends = [path[start:] for start in range(len(path)) if path[start:] in axes]
        if jnp.issubdtype(up.dtype, jnp.floating):
            place = (path[: len(path) - len(ends[0])], axes[ends[0]]) if ends else path
            pairs = (up, down), (later_up, later_down)
            found.setdefault(place, [jnp.sum(one - other, dtype=jnp.float32) for one, other in pairs])
    return [jnp.where(first == 0, 0.0, then / first) for first, then in found.values()]


def _is_scheduled(init: Callable, update: Callable, batches: int, params: Params) -> bool:
    """Whether the updates change with a schedule's counter, or with the learning rate times something of the step."""
    lr = jax.ShapeDtypeStruct((), jnp.float32)
    state = jax.eval_shape(init, lr)
    closed, leaves = update.trace(lr, state, params).jaxpr, jax.tree.leaves(state)
    grads = [_OTHER] * len(jax.tree.leaves(params))
    # integers are counters anyway, and most optimizers have no others: looking for them compiles a program
    has_others = any(leaf.shape == () and jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
    ticking = clocks(closed, [0], range(1, len(leaves) + 1), len(grads) - 1) if has_others else {}
    is_schedule = lambda node: isinstance(node, optax.ScaleByScheduleState)  # noqa: E731
    kinds = []
    for node in jax.tree.leaves(state, is_leaf=is_schedule):
        count = _SCHEDULE if is_schedule(node) else _COUNTER
        whole = [jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(node)]
        kinds += [count if one or len(kinds) + place in ticking else _OTHER for place, one in enumerate(whole, 1)]
    outputs, within = _sources(closed.jaxpr, [_LR, *kinds, *grads])
    if any(source & _SCHEDULE for source in outputs[: len(grads)]) and _follows(
        init, update, batches, params, [kind == _SCHEDULE for kind in kinds]
    ):
        return True
    return _LR | _COUNTER in within and _changes(init, update, params, [kind != _OTHER for kind in kinds])


def _follows(init: Callable, update: Callable, batches: int, params: Params, counts: list[bool]) -> bool:
    """Whether the same update is of another size where the counters of schedules are others; as far as there is one."""

    def sizes(lr: Array) -> Array:
        state = lax.fori_loop(0, batches - 1, lambda _, state: update(lr, state, params)[1], init(lr))
        leaves, treedef = jax.tree.flatten(state)

        def at(time: Array) -> Array:
            moved = [time.astype(leaf.dtype) if count else leaf for leaf, count in zip(leaves, counts, strict=True)]
            updates = update(lr, treedef.unflatten(moved), params)[0]
            return jnp.stack([jnp.linalg.norm(leaf) for leaf in jax.tree.leaves(updates)])

        return lax.map(at, jnp.asarray(COURSE))

    lr = np.float32(EXAMPLE_LR)
    found = np.asarray(compile_once(jax.jit(sizes).lower(lr), current_settings())(lr))
    return bool(not found.any() or (found.max(axis=0) > CHANGED * found.min(axis=0)).any())


def _changes(init: Callable, update: Callable, params: Params, counts: list[bool]) -> bool:
    """Whether the updates of a constant gradient are as large as the learning rate, and change over the steps.

    Those of a bias correction do not change, and those of dual averaging (MADGRAD) are a power of the learning rate.
    """

    def step(state: PyTree, lr: Any) -> tuple[PyTree, Array]:
        updates, state = update(lr, state, params)
        return state, optax.tree.norm(updates)

    def later(state: PyTree, lr: Any, times: Array) -> Array:
        leaves, treedef = jax.tree.flatten(state)
        leaves = [leaf * times if count else leaf for leaf, count in zip(leaves, counts, strict=True)]
        return step(treedef.unflatten(leaves), lr)[1]

    @jax.jit
    def sizes(lr: Array) -> Array:
        state, soon = lax.scan(lambda state, _: step(state, lr), init(lr), length=SETTLED)
        return jnp.concatenate([soon, jax.vmap(later, (None, None, 0))(state, lr, 10.0 ** jnp.arange(1, 5))])

    run = compile_once(sizes.lower(np.float32(EXAMPLE_LR)), current_settings())
    found, twice = (np.asarray(run(np.float32(lr))) for lr in (EXAMPLE_LR, 2 * EXAMPLE_LR))
    follows = np.abs(twice - 2 * found).max() < (CHANGED - 1) * twice.max()
    return bool(follows and found.max() > CHANGED * found[found > 0].min(initial=np.inf))


def _sources(jaxpr: Any, inputs: Sequence[int]) -> tuple[list[int], set[int]]:
    """What every output of a jaxpr is computed from, and what any number within is."""
    known: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
    of, every = lambda atom: 0 if isinstance(atom, Literal) else known.get(atom, 0), set()
    union = functools.partial(functools.reduce, operator.or_)
    for equation in jaxpr.eqns:
        read = [of(atom) for atom in equation.invars]
        made = [union(read, 0)] * len(equation.outvars)
        parts = [getattr(one, "jaxpr", one) for one in inner_jaxprs(equation)]
        if parts and equation.primitive.name not in ("while", "scan"):  # a loop is taken as a whole
            skipped = len(read) - len(parts[0].invars)  # a condition's index, of which every output is
            results = [_sources(part, read[skipped:]) for part in parts]
            columns = zip(*(outputs for outputs, _ in results), strict=True)
            made = [union(column, union(read[:skipped], 0)) for column in columns]
            every = every.union(*(within for _, within in results))
        every |= {*made}
        known |= dict(zip(equation.outvars, made, strict=True))
    return [of(atom) for atom in jaxpr.outvars], every
