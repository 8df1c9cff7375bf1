"""By which rule an optimizer moves each parameter: found by trying it, and an error if that is unclear."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._checks import brief, can_take, name_of
from .._types import Array, OptimizerFactory, Params, PyTree
from ._leaves import name_of_path

Rule = Literal["sgd", "adam", "sign", "muon"]
"""Updates that grow with the gradient; of one size whatever it is, entry by entry; its signs; orthogonal matrices."""

RULES = get_args(Rule)

STEPS = 4
"""Updates that are looked at: the first is 0 in a warmup."""

NORM = 5e-4
"""Of the gradient that is tried: 128 times it is still too small for clipping by a usual norm, 0.1 or 1."""

TOLERANCE = 0.05
"""Relative error of an update that Adam's epsilon of 1e-8 makes."""

ORTHOGONAL = (0.6, 1.4)
"""Singular values that Newton-Schulz gives for 1, and their mean over some updates."""


class _Trial(NamedTuple):
    """One parameter in the four trials: its updates, what differed, and what is remembered of it."""

    update: Array
    rescaled: Array
    decayed: Array
    gradient: Array
    factor: Array
    value: Array
    memory: list[Array]
    rescaled_memory: list[Array]


@jax.ensure_compile_time_eval()
def find_rules(where: str, make_optimizer: OptimizerFactory, base: Params) -> dict[str, Rule]:
    """The rule of every parameter that moves."""

    def unclear(why: str) -> ValueError:
        return ValueError(
            f"`{where}(make_optimizer)` is not certainly SGD, Adam-like or Muon: {name_of(make_optimizer)} {why}. If "
            f"one of the rules holds for it, say which: rule={' or '.join(map(repr, RULES))}."
        )

    if not can_take(make_optimizer, 1):
        raise unclear("takes more than a learning rate")
    gradient, factor, value, zeros = _draw(base)
    try:
        after = jax.jit(lambda lr, gradient, params: _run(make_optimizer(lr), gradient, params))
        plain, state = after(_LR, gradient, zeros)
        rescaled, other_state = after(_LR, jax.tree.map(jnp.multiply, gradient, factor), zeros)
        decayed, _ = after(_LR, gradient, value)
        doubled, doubled_state = after(2 * _LR, gradient, zeros)
    except Exception as error:  # of the user's, or of an optimizer that wants losses
        raise unclear(f"could not be tried ({brief(error)})") from error
    same_memory = _close(_memory(state, ()), _memory(doubled_state, ()))
    if not same_memory or not _close(jax.tree.map(lambda leaf: 2 * leaf, plain), doubled):
        raise unclear("does more with its learning rate than to multiply the update by it")
    rules: dict[str, Rule] = {}
    trees = map(jax.tree.leaves, (rescaled, decayed, gradient, factor, value))
    for (path, update), *others in zip(jax.tree_util.tree_leaves_with_path(plain), *trees, strict=True):
        if jnp.issubdtype(update.dtype, jnp.floating) and np.any(update):
            trial = _Trial(update, *others, memory=_memory(state, path), rescaled_memory=_memory(other_state, path))
            rule, why = _judge(trial)
            if rule is None:
                raise unclear(why.format(name_of_path(path)))
            rules[name_of_path(path)] = rule
    if not rules:
        raise unclear(f"moves nothing in its first {STEPS} updates")
    return rules


_LR = 1e-3


def _draw(base: Params) -> tuple[PyTree, PyTree, PyTree, PyTree]:
    """A small gradient, uneven factors to rescale it by, parameters, and zeros."""
    random = np.random.default_rng(0)
    leaves, treedef = jax.tree.flatten(base)
    entries = sum(int(np.prod(leaf.shape)) for leaf in leaves)

    def draw(values: Callable[[tuple[int, ...]], Any]) -> PyTree:
        return treedef.unflatten([jnp.asarray(values(leaf.shape), _precise(leaf.dtype)) for leaf in leaves])

    def signed(shape: tuple[int, ...]) -> Any:
        return random.choice([-1.0, 1.0], shape) * random.uniform(1.0, 2.0, shape)

    def uneven(shape: tuple[int, ...]) -> Any:  # no multiple of an orthogonal matrix stays one
        stripes = [np.where(places % 2, 4.0, 1.0) for places in np.indices(shape)[-2:]]
        return random.choice([1.0, 8.0], shape) * np.prod(stripes, axis=0)

    gradient = draw(lambda shape: signed(shape) * NORM / np.sqrt(entries))
    return gradient, draw(uneven), draw(signed), draw(np.zeros)


def _precise(dtype: Any) -> Any:
    """A floating type that tells the rules apart, in the place of bfloat16."""
    return np.float32 if jnp.issubdtype(dtype, jnp.floating) else dtype


def _run(optimizer: Any, gradient: PyTree, params: Params) -> Any:
    """The sum of the first updates by one gradient at fixed parameters, and the state after them."""
    optimizer = optax.with_extra_args_support(optimizer)
    state = optimizer.init(params)
    total = jax.tree.map(jnp.zeros_like, params)
    for _ in range(STEPS):
        updates, state = optimizer.update(gradient, state, params)
        total = jax.tree.map(jnp.add, total, updates)
    return total, state


def _memory(state: PyTree, path: tuple) -> list[Array]:
    """What a state remembers of the parameter at a path, or of all; counters and hyperparameters are scalars."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    ours = [leaf for at, leaf in leaves if np.ndim(leaf) and at[len(at) - len(path) :] == path]
    return [leaf for leaf in ours if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _close(one: PyTree, other: PyTree) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.allclose(first, second, rtol=TOLERANCE, atol=1e-30) for first, second in pairs)


def _judge(trial: _Trial) -> tuple[Rule | None, str]:
    """The rule, or None and what the optimizer does with the parameter, whose name goes into it."""
    if not _is_decay(trial.decayed - trial.update, trial.value, trial.update):
        return None, "uses the values of {} for more than weight decay"
    if _close(trial.rescaled, trial.update * trial.factor):
        linear = all(
            _close(after, now * trial.factor) for now, after in zip(trial.memory, trial.rescaled_memory, strict=True)
        )
        return ("sgd", "") if linear else (None, "moves {} as SGD does at first, but remembers more")
    if _close(trial.rescaled, trial.update):
        return "adam", ""
    matrix = trial.update.ndim == 2 and min(trial.update.shape) > 1
    if not matrix or _unevenness(trial.rescaled) > 0.5 * _unevenness(trial.gradient * trial.factor):
        return None, "moves {} by none of the known rules, as where an epsilon is not small beside the gradient"
    size = np.linalg.svd(np.asarray(trial.update, np.float32), compute_uv=False).mean() / (_LR * STEPS)
    if not ORTHOGONAL[0] < size / muon_scale(trial.update.shape) < ORTHOGONAL[1]:
        return None, "moves {} by orthogonal matrices, but not of the size max(1, fan_out / fan_in)^0.5 of Muon"
    return "muon", ""


def muon_scale(shape: tuple[int, ...]) -> float:
    """The singular values of Muon's update of a matrix, fan-in x fan-out, at an lr of 1."""
    return max(1.0, shape[1] / shape[0]) ** 0.5


def _is_decay(difference: Array, value: Array, update: Array) -> bool:
    """Whether parameters that are not 0 add a multiple of themselves, or nothing, to the update."""
    rate = jnp.vdot(difference, value) / jnp.vdot(value, value)
    return bool(jnp.max(jnp.abs(difference - rate * value)) <= 1e-3 * (jnp.max(jnp.abs(update)) + abs(rate)))


def _unevenness(matrix: Array) -> float:
    """Relative spread of the squared singular values: 0 for a multiple of an orthogonal matrix."""
    squares = np.linalg.svd(np.asarray(matrix, np.float32), compute_uv=False) ** 2
    return float(squares.std() / squares.mean())
