"""A pytree taken apart into the arrays that a program carries and everything else, which stays as it is."""

import dataclasses
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import path_of, show_with_type
from .._trees import first_difference
from .._types import Array, PyTree


class _Structure(NamedTuple):
    """What is left of a tree without its leaves: around its nnx objects, and within them (None without objects)."""

    treedef: Any
    is_object: tuple[bool, ...]
    graph: Any
    variables: Any


_ARRAY: Any = object()
"""Stands for an array in a template."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PyTreeTemplate:
    """What is left of a pytree when its arrays are taken out, and how to put others in.

    Modules, optimizers and Variables of Flax nnx are taken apart by `nnx.split` and put together by `nnx.merge`: what
    two of them share stays shared.

    """

    example: PyTree
    paths: tuple[str, ...]  # of the leaves, those within nnx objects last, each once however often it is shared
    structure: _Structure
    fixed: tuple[Any, ...]  # for every leaf `_ARRAY`, or the leaf itself if it is none
    numbers: frozenset[int]  # positions of the Python numbers that count as arrays
    moved: set[int] = dataclasses.field(default_factory=set)  # of those that do not, but were others in a split tree

    @classmethod
    def of(cls, tree: PyTree, numbers: frozenset[int] = frozenset()) -> "PyTreeTemplate":
        """The template of a tree; a Python number stays fixed unless its position is among `numbers`."""
        leaves, paths, structure = _flatten(tree)
        fixed = tuple(_ARRAY if is_array(leaf) or i in numbers else leaf for i, leaf in enumerate(leaves))
        return cls(example=tree, paths=paths, structure=structure, fixed=fixed, numbers=numbers)

    def join(self, arrays: tuple[Array, ...]) -> PyTree:
        """The tree with these arrays."""
        rest = iter(arrays)
        leaves = [next(rest) if held is _ARRAY else held for held in self.fixed]
        treedef, is_object, graph, variables = self.structure
        objects, inside = iter(()), len(leaves)
        if graph is not None:
            inside -= variables.num_leaves
            objects = iter(_nnx().merge(graph, variables.unflatten(leaves[inside:])))
        outside = iter(leaves[:inside])
        return treedef.unflatten([next(objects) if place else next(outside) for place in is_object])

    def split(self, tree: PyTree) -> tuple[Any, ...]:
        """The arrays of a tree with leaves at the same paths; what it has besides them is left out."""
        arrays = []
        for index, (leaf, held) in enumerate(zip(_flatten(tree)[0], self.fixed, strict=True)):
            if held is _ARRAY:
                arrays.append(leaf)
            elif isinstance(held, (bool, int, float, complex)):
                if is_array(leaf) or type(leaf) is not type(held) or leaf != held:
                    self.moved.add(index)
            elif leaf is not held and is_array(leaf):
                raise TypeError(
                    f"The state must hold an array at {self.paths[index]} from the beginning, since an array comes to "
                    f"stand there, got {show_with_type(held)}."
                )
        return tuple(arrays)

    def has_leaves_of(self, tree: PyTree) -> bool:
        """Whether a tree has leaves at the same paths."""
        return _flatten(tree)[1] == self.paths

    def fits(self, tree: PyTree) -> bool:
        """Whether a tree has the same structure, in what is no array too."""
        return _flatten(tree)[2] == self.structure

    def difference(self, tree: PyTree) -> str:
        """Say where a tree that does not fit is another one."""
        return first_difference(_tidy(self.example), _tidy(tree), compare="structure") or (
            "what two parts of it share is shared otherwise"
        )

    @property
    def array_paths(self) -> list[str]:
        """Where the arrays are, in words."""
        return [path for path, held in zip(self.paths, self.fixed, strict=True) if held is _ARRAY]


def is_array(leaf: object) -> bool:
    """Whether a leaf is an array, of JAX or NumPy, traced or not."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _flatten(tree: PyTree) -> tuple[list[Any], tuple[str, ...], _Structure]:
    """Leaves, their paths, and the structure."""
    every, treedef = jax.tree_util.tree_flatten_with_path(_tidy(tree), is_leaf=_is_object)
    outside = [(path_of(path), leaf) for path, leaf in every if not _is_object(leaf)]
    objects = [(path_of(path) if path else "", leaf) for path, leaf in every if _is_object(leaf)]
    graph = variables = None
    if objects:
        graph, state = _nnx().split(tuple(leaf for _, leaf in objects))
        inside, variables = jax.tree_util.tree_flatten_with_path(state)
        outside += [(objects[path[0].key][0] + path_of(path[1:]), leaf) for path, leaf in inside]
    structure = _Structure(treedef, tuple(_is_object(leaf) for _, leaf in every), graph, variables)
    return [leaf for _, leaf in outside], tuple(path for path, _ in outside), structure


def _tidy(tree: PyTree) -> PyTree:
    """The tree without what its nnx objects have sown."""
    leaves, treedef = jax.tree.flatten(tree, is_leaf=_is_object)
    objects = tuple(leaf for leaf in leaves if _is_object(leaf))
    if not objects:
        return tree
    rest = iter(without_sown(objects))
    return treedef.unflatten([next(rest) if _is_object(leaf) else leaf for leaf in leaves])


def without_sown(objects: Any) -> Any:
    """The nnx objects, or a copy without the intermediates that were sown in them: every call sows others."""
    nnx = _nnx()
    if not jax.tree.leaves(nnx.state(objects, nnx.Intermediate)):
        return objects
    copies = nnx.clone(objects)
    nnx.pop(copies, nnx.Intermediate)
    return copies


def _is_object(leaf: object) -> bool:
    nnx = _nnx()
    return nnx is not None and nnx.graph.is_graph_node(leaf)


def _nnx() -> Any:
    """Flax's nnx, where it is in use: nothing is imported for it."""
    return sys.modules.get("flax.nnx")
