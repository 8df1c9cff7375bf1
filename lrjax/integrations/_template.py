"""A pytree taken apart into the arrays that a program carries and everything else, which stays as it is."""

import dataclasses
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import path_of, show
from .._trees import first_difference
from .._types import Array, PyTree


class _Parts(NamedTuple):
    """A flat tree.

    Attributes:
      leaves, paths: of the tree, then those within its nnx objects, each once however often it is shared.
      treedef: the structure around the nnx objects.
      is_object: for every leaf of it whether it is an nnx object.
      graph, variables: structure within them; None where there are none.
    """

    leaves: list[Any]
    paths: tuple[str, ...]
    treedef: Any
    is_object: tuple[bool, ...]
    graph: Any
    variables: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class PyTreeTemplate:
    """What is left of a pytree when its arrays are taken out, and how to put others in.

    Modules, optimizers and Variables of Flax nnx are taken apart by `nnx.split` and put together by `nnx.merge`: what
    two of them share stays shared.

    Attributes:
      example: the tree.
      parts: the tree, flat.
      fixed: for every leaf None, if it is an array, or the leaf itself in a list of one.
      numbers: positions of the Python numbers that count as arrays.
      moved: positions of those that do not, but were others in a tree that was split.
    """

    example: PyTree
    parts: _Parts
    fixed: tuple[list[Any] | None, ...]
    numbers: frozenset[int]
    moved: set[int] = dataclasses.field(default_factory=set)

    @classmethod
    def of(cls, tree: PyTree, numbers: frozenset[int] = frozenset()) -> "PyTreeTemplate":
        """The template of a tree; a Python number stays fixed unless its position is among `numbers`."""
        parts = _flatten(tree)
        fixed = [None if is_array(leaf) or i in numbers else [leaf] for i, leaf in enumerate(parts.leaves)]
        return cls(example=tree, parts=parts, fixed=tuple(fixed), numbers=numbers)

    def join(self, arrays: tuple[Array, ...]) -> PyTree:
        """The tree with these arrays."""
        rest = iter(arrays)
        leaves = [next(rest) if held is None else held[0] for held in self.fixed]
        parts, objects, outside = self.parts, iter(()), iter(leaves)
        if parts.graph is not None:
            inside = len(leaves) - parts.variables.num_leaves
            objects, outside = _nnx().merge(parts.graph, parts.variables.unflatten(leaves[inside:])), leaves[:inside]
            objects, outside = iter(objects), iter(outside)
        return parts.treedef.unflatten([next(objects) if place else next(outside) for place in parts.is_object])

    def split(self, tree: PyTree) -> tuple[Any, ...]:
        """The arrays of a tree with leaves at the same paths; what it has besides them is left out.

        Raises:
          TypeError: what is neither number nor array became an array.
        """
        arrays = []
        for index, (leaf, held) in enumerate(zip(_flatten(tree).leaves, self.fixed, strict=True)):
            if held is None:
                arrays.append(leaf)
            elif leaf is not held[0]:
                self._note(index, leaf, held[0])
        return tuple(arrays)

    def _note(self, index: int, leaf: Any, held: Any) -> None:
        """Keep in mind that another leaf than before stands there, where that matters."""
        if isinstance(held, (bool, int, float, complex)):
            if is_array(leaf) or type(leaf) is not type(held) or leaf != held:
                self.moved.add(index)
        elif is_array(leaf):
            raise TypeError(
                f"The state must hold an array at {self.parts.paths[index]} from the beginning, since an array comes "
                f"to stand there, got {show(held)} ({type(held).__name__})."
            )

    def has_leaves_of(self, tree: PyTree) -> bool:
        """Whether a tree has leaves at the same paths."""
        return _flatten(tree).paths == self.parts.paths

    def fits(self, tree: PyTree) -> bool:
        """Whether a tree has the same structure, in what is no array too."""
        parts = _flatten(tree)
        mine = self.parts
        return (parts.treedef, parts.graph, parts.variables) == (mine.treedef, mine.graph, mine.variables)

    def difference(self, tree: PyTree) -> str:
        """Say where a tree that does not fit is another one."""
        return first_difference(_tidy(self.example), _tidy(tree), compare="structure") or (
            "what two parts of it share is shared otherwise"
        )

    @property
    def array_paths(self) -> list[str]:
        """Where the arrays are, in words."""
        return [path for path, held in zip(self.parts.paths, self.fixed, strict=True) if held is None]


def is_array(leaf: object) -> bool:
    """Whether a leaf is an array, of JAX or NumPy, traced or not."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _flatten(tree: PyTree) -> _Parts:
    every, treedef = jax.tree_util.tree_flatten_with_path(_tidy(tree), is_leaf=_is_object)
    outside = [(path_of(path), leaf) for path, leaf in every if not _is_object(leaf)]
    objects = [(path_of(path) if path else "", leaf) for path, leaf in every if _is_object(leaf)]
    graph = variables = None
    if objects:
        graph, state = _nnx().split(tuple(leaf for _, leaf in objects))
        inside, variables = jax.tree_util.tree_flatten_with_path(state)
        outside += [(objects[path[0].key][0] + path_of(path[1:]), leaf) for path, leaf in inside]
    paths, leaves = zip(*outside, strict=True) if outside else ((), ())
    return _Parts(list(leaves), tuple(paths), treedef, tuple(_is_object(leaf) for _, leaf in every), graph, variables)


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
