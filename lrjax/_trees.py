"""Where two trees differ: the first leaf, container or static field that does, in words."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from ._checks import describe, path_of, show
from ._types import PyTree

Compare = Literal["types", "ranks", "structure"]
"""What must be equal of two leaves: shape and dtype, the number of axes, or nothing but that they are there."""


_ROOT = path_of(())


def first_difference(expected: PyTree, got: PyTree, *, compare: Compare = "types") -> str:
    """Where two trees first differ, such as "['w'] is float32[2] instead of float32[3]"; empty if they do not."""
    return first_leaf_difference(expected, got, compare=compare) or _container_difference(expected, got, ())


def first_leaf_difference(
    expected: PyTree,
    got: PyTree,
    *,
    compare: Compare = "types",
    any_dtype: tuple[int, ...] = (),
    ignored: tuple[str, ...] = (),
    unbox: bool = False,
) -> str:
    """`first_difference` of the leaves alone, found by their paths, whatever holds them.

    `any_dtype` are positions of leaves whose dtype does not matter, `ignored` ends of paths that only `got` may have.
    """
    wanted, found = leaves_by_path(expected, unbox=unbox), leaves_by_path(got, unbox=unbox)
    if (wanted.keys() != found.keys() and ({*wanted} | {*found}) & {_ROOT}) or (got is None and wanted):
        return f"{_ROOT} is {_kind(got)} instead of {_kind(expected)}"
    for index, (path, leaf) in enumerate(wanted.items()):
        if path not in found:
            return f"{path}, {describe(leaf)}, is missing"
        other = found[path]
        if compare == "structure" or (index in any_dtype and jnp.shape(leaf) == jnp.shape(other)):
            continue
        measure = jnp.ndim if compare == "ranks" else describe
        if measure(leaf) != measure(other):
            return f"{path} is {describe(other)} instead of {describe(leaf)}"
    extra = next((path for path in found if path not in wanted and not path.endswith(ignored or "\0")), None)
    return "" if extra is None else f"{extra}, {describe(found[extra])}, is too much"


def _kind(tree: PyTree) -> str:
    if tree is None or _ROOT in leaves_by_path(tree):
        return "None" if tree is None else describe(tree)
    return f"a {type(tree).__name__}"


def leaves_by_path(tree: PyTree, *, unbox: bool = False) -> dict[str, Any]:
    """Path in words -> leaf; with `unbox` taken out of boxes: flax.nnx puts every leaf of a state into a Variable."""
    nodes = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_box if unbox else None)
    return {path_of(path): jax.tree.leaves(node)[0] for path, node in nodes}


def _is_box(node: Any) -> bool:
    """Whether a node is of a library's own type and holds one leaf."""
    if isinstance(node, (dict, list, tuple)):
        return False
    treedef = jax.tree.structure(node)
    return treedef.num_leaves == 1 and treedef.num_nodes == 2


def _container_difference(expected: PyTree, got: PyTree, path: tuple) -> str:
    """Where the containers of equal leaves differ: by their kind, or in a field that is no leaf."""
    if jax.tree.structure(expected) == jax.tree.structure(got):
        return ""
    if type(expected) is not type(got):
        return f"{path_of(path)} is a {type(got).__name__} instead of a {type(expected).__name__}"
    children, others = _children(expected), _children(got)
    for (key, child), (_, other) in zip(children, others, strict=False):
        difference = _container_difference(child, other, (*path, *key))
        if difference:
            return difference
    here = path_of(path) if path else ""
    for name in _static_fields(expected, children):
        one, other = getattr(expected, name, None), getattr(got, name, None)
        if not _equal(one, other):
            return f"{here}.{name}, a static field, is {show(other)} instead of {show(one)}"
    return f"the static part of {path_of(path)}, a {type(expected).__name__}, is another"


def _children(node: PyTree) -> list[tuple[tuple, Any]]:
    return jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda other: other is not node)[0]


def _static_fields(node: Any, children: list[tuple[tuple, Any]]) -> list[str]:
    held = {getattr(key[0], "name", None) for key, _ in children}
    fields = dataclasses.fields(node) if dataclasses.is_dataclass(node) else ()
    names = [field.name for field in fields] or list(getattr(node, "__dict__", ()))
    return [name for name in names if name not in held and not name.startswith("_")]


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # arrays among them
        return one is other
