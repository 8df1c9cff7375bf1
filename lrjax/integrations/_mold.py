"""A pytree taken apart into the arrays that a program carries and everything else, which stays as it is."""

import dataclasses
from typing import Any

import jax
import numpy as np

from .._checks import describe, path_of, show
from .._types import Array, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mold:
    """What is left of a pytree when its arrays are taken out, and how to put others in.

    Attributes:
      treedef: the structure.
      paths: where each leaf is, in words.
      fixed: for every leaf None, if it is an array, or the leaf itself in a list of one.
    """

    treedef: Any
    paths: tuple[str, ...]
    fixed: tuple[list[Any] | None, ...]

    @classmethod
    def of(cls, tree: PyTree, numbers: frozenset[int] = frozenset()) -> "Mold":
        """The mold of a tree; a Python number stays fixed unless its position is among `numbers`."""
        leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
        fixed = [None if is_array(leaf) or i in numbers else [leaf] for i, (_, leaf) in enumerate(leaves)]
        return cls(treedef=treedef, paths=tuple(path_of(path) for path, _ in leaves), fixed=tuple(fixed))

    def join(self, arrays: tuple[Array, ...]) -> PyTree:
        """The tree with these arrays."""
        rest = iter(arrays)
        return self.treedef.unflatten([next(rest) if held is None else held[0] for held in self.fixed])

    def split(self, tree: PyTree) -> tuple[Any, ...]:
        """The arrays of a tree of this structure."""
        leaves = self.treedef.flatten_up_to(tree)
        return tuple(leaf for leaf, held in zip(leaves, self.fixed, strict=True) if held is None)

    def moved(self, tree: PyTree) -> frozenset[int]:
        """The positions of Python numbers that are others in `tree`.

        Raises:
          TypeError: what is no number became an array.
        """
        positions = set()
        for index, (leaf, held) in enumerate(zip(self.treedef.flatten_up_to(tree), self.fixed, strict=True)):
            if held is None or leaf is held[0]:
                continue
            if not isinstance(held[0], (bool, int, float, complex)):
                if is_array(leaf):
                    raise TypeError(
                        f"The state must hold an array at {self.paths[index]} from the beginning, since an array comes "
                        f"to stand there, got {show(held[0])} ({type(held[0]).__name__})."
                    )
            elif is_array(leaf) or type(leaf) is not type(held[0]) or leaf != held[0]:
                positions.add(index)
        return frozenset(positions)

    def difference(self, expected: tuple[Any, ...], got: tuple[Any, ...]) -> str:
        """Say which array has another shape or dtype; empty if none has."""
        paths = [path for path, held in zip(self.paths, self.fixed, strict=True) if held is None]
        for path, one, other in zip(paths, expected, got, strict=True):
            shown = describe(one), describe(np.asarray(other) if not is_array(other) else other)
            if shown[0] != shown[1]:
                return f"{shown[1]} at {path} instead of {shown[0]}"
        return ""


def is_array(leaf: object) -> bool:
    """Whether a leaf is an array, of JAX or NumPy, traced or not."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))
