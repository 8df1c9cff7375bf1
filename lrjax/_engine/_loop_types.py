"""The types that a loop carries, where its state begins with weak ones, as Python's 0 and 1.0 have."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._types import PyTree

Types = tuple[jax.ShapeDtypeStruct, ...]


def type_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and weak type of an array or a Python number."""
    if isinstance(leaf, (int, float, complex)) and not isinstance(leaf, (bool, np.generic)):
        return jax.ShapeDtypeStruct((), jnp.asarray(leaf).dtype, weak_type=True)
    weak = getattr(leaf, "weak_type", False)  # typed PRNG keys have none
    return jax.ShapeDtypeStruct(np.shape(leaf), getattr(leaf, "dtype", np.dtype(bool)), weak_type=weak)


def promote_weak(types: Types, step: Callable[[Types], Sequence[jax.ShapeDtypeStruct]]) -> Types:
    """The types under which a loop carries its state.

    A weak type gives way to what the step makes of it, as in `jax.lax.scan`; a strong one stays as it is.
    """
    while True:
        after = tuple(_promoted(before, later) for before, later in zip(types, step(types), strict=True))
        if after == types:
            return types
        types = after


def _promoted(before: jax.ShapeDtypeStruct, after: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    if not before.weak_type or before.shape != after.shape or not same_kind(before.dtype, after.dtype, wider=True):
        return before
    return jax.ShapeDtypeStruct(before.shape, after.dtype, weak_type=after.weak_type)


def settle(tree: PyTree, after: Callable[[PyTree], PyTree]) -> PyTree:
    """The arrays with the types under which a loop carries them, none weak; `after` gives the shapes after a step."""
    leaves, treedef = jax.tree.flatten(tree)
    types = tuple(map(type_of, leaves))
    if any(one.weak_type for one in types):
        later = lambda types: tuple(map(type_of, jax.tree.leaves(after(treedef.unflatten(types)))))  # noqa: E731
        types = promote_weak(types, later)
    return with_types(tree, types)


def strengthen(tree: PyTree) -> PyTree:
    """Arrays without weak types (as `jnp.full(3, 0.5)` has): a step would take them away, and compile again."""
    return with_types(tree, tuple(map(type_of, jax.tree.leaves(tree))))


def with_types(tree: PyTree, types: Types) -> PyTree:
    """The arrays with these dtypes, none of them weak."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef.unflatten([_strong(leaf, one.dtype) for leaf, one in zip(leaves, types, strict=True)])


def _strong(leaf: Any, dtype: Any) -> Any:
    weak = getattr(leaf, "weak_type", False)  # typed PRNG keys have none
    return lax.convert_element_type(leaf, dtype) if weak or leaf.dtype != dtype else leaf


def same_kind(before: Any, after: Any, *, wider: bool = False) -> bool:
    """Whether both are bool, integer, floating or complex; with `wider` the second may be a later one of these."""
    one, other = _rank(before), _rank(after)
    return before == after or (min(one, other) >= 0 and (one == other or (wider and one < other)))


def _rank(dtype: Any) -> int:
    """Which of the kinds; -1 for none, as of a typed PRNG key."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    return next((rank for rank, kind in enumerate(kinds) if jnp.issubdtype(dtype, kind)), -1)


def with_weak_types(function: Callable[..., PyTree], types: Types) -> Callable[..., PyTree]:
    """The function of arrays, computing as if those of weak type had it: arguments of a program have none."""
    if not any(one.weak_type for one in types):
        return function

    def run(arrays: tuple[Any, ...], *rest: Any) -> PyTree:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(types, *rest)
        told = jax.extend.core.jaxpr_as_fun(closed)(*arrays, *jax.tree.leaves(rest))
        return jax.tree.structure(shapes).unflatten(told)

    return run
