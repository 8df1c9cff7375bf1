"""The user's own shardings of what a trial holds, kept through its initialisation and its steps."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding

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


def shardings_of(seed: Any) -> Shardings:
    """The shardings of what a seed's states begin from, where that is spread over several devices by name."""
    fields = ("params", "model_state", "opt_state")
    found = [
        ((jax.tree_util.GetAttrKey(field), *path), sharding_of(leaf))
        for field in fields
        for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(seed, field))
    ]
    return tuple((path, sharding) for path, sharding in found if isinstance(sharding, NamedSharding))


def constrain(state: Any, shardings: Shardings) -> Any:
    """A traced state with the user's shardings, what the optimizer holds for a parameter like the parameter.

    Without it the zeros that an optimizer begins with are on every device. Axes of the type Explicit need none: there
    the sharding is a part of the type.
    """

    def keep(leaf: Any, sharding: NamedSharding | None) -> Any:
        automatic = sharding is not None and all(kind == AxisType.Auto for kind in sharding.mesh.axis_types)
        return lax.with_sharding_constraint(leaf, sharding) if automatic else leaf

    leaves, treedef = jax.tree.flatten(state)
    return treedef.unflatten(map(keep, leaves, shardings_like(state, shardings)))


def place(state: Any, shardings: Shardings) -> Any:
    """A state, from the host or another place, on its devices."""
    leaves, treedef = jax.tree.flatten(state)
    pairs = zip(leaves, shardings_like(state, shardings), strict=True)
    return treedef.unflatten([leaf if one is None else jax.device_put(leaf, one) for leaf, one in pairs])


def shardings_like(state: Any, shardings: Shardings) -> list[NamedSharding | None]:
    """For every leaf of a state its own sharding, or that of the parameter whose path ends its path, as of Adam's `mu`.

    The state may have further axes in front, the same for all leaves.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    if not shardings:
        return [None] * len(leaves)
    known = dict(shardings)
    shapes = {path: jnp.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)}

    def sharding_at(path: Any, shape: tuple[int, ...]) -> NamedSharding | None:
        if path in known:
            return known[path]
        ends = (path[start:] for start in range(1, len(path) + 1))
        like = next((end for end in ends if shapes.get(end) == shape), None)
        return None if like is None else known.get((_PARAMS, *like))

    return [sharding_at(path, jnp.shape(leaf)) for path, leaf in leaves]
