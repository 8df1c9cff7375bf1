"""The user's own shardings of what a trial holds, kept through its initialisation and its steps."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding

from .._types import PyTree

if TYPE_CHECKING:
    from ._trial import TrialState

Shardings = tuple[tuple[Any, NamedSharding], ...]
"""Paths of leaves of a `TrialState`, and their shardings."""

_PARAMS = jax.tree_util.GetAttrKey("params")


def sharding_of(leaf: Any) -> Sharding | None:
    """How an array is spread over several devices; None if each of its devices holds all of it."""
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(sharding, Sharding) or sharding.num_devices == 1 or sharding.is_fully_replicated:
        return None
    return sharding


def lead(sharding: NamedSharding | None, axes: int) -> NamedSharding | None:
    """That of the same array behind further axes."""
    if sharding is None:
        return None
    return NamedSharding(sharding.mesh, PartitionSpec(*[None] * axes, *sharding.spec))


def shardings_of(state: "TrialState") -> Shardings:
    """The shardings of a state's leaves that are spread over several devices by name."""
    found = [(path, sharding_of(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
    return tuple((path, sharding) for path, sharding in found if isinstance(sharding, NamedSharding))


def constrain(state: "TrialState", shardings: Shardings) -> "TrialState":
    """A traced state with the user's shardings, what the optimizer holds for a parameter like the parameter.

    Without it the zeros that an optimizer begins with are on every device. Axes of the type Explicit need none: there
    the sharding is a part of the type.
    """

    def keep(leaf: Any, sharding: NamedSharding | None) -> Any:
        automatic = sharding is not None and all(kind == AxisType.Auto for kind in sharding.mesh.axis_types)
        return lax.with_sharding_constraint(leaf, sharding) if automatic else leaf

    return _apply(keep, state, shardings)


def place(state: "TrialState", shardings: Shardings) -> "TrialState":
    """A state, from the host or another place, on its devices."""
    return _apply(lambda leaf, sharding: leaf if sharding is None else jax.device_put(leaf, sharding), state, shardings)


def _apply(function: Any, state: "TrialState", shardings: Shardings) -> "TrialState":
    """`function(leaf, sharding or None)` of every leaf."""
    if not shardings:
        return state
    known, shapes = dict(shardings), {path: leaf.shape for path, leaf in _leaves(state.params)}

    def sharding_at(path: Any, shape: tuple[int, ...]) -> NamedSharding | None:
        """Of the leaf itself, or of the parameter whose path ends its path, such as that of Adam's `mu`."""
        if path in known:
            return known[path]
        ends = (path[start:] for start in range(1, len(path) + 1))
        like = next((end for end in ends if shapes.get(end) == shape), None)
        return None if like is None else known.get((_PARAMS, *like))

    leaves = [function(leaf, sharding_at(path, jnp.shape(leaf))) for path, leaf in _leaves(state)]
    return jax.tree.structure(state).unflatten(leaves)


def _leaves(tree: PyTree) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)
