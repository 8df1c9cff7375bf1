"""Lanes over devices: meshes, padding, placing inputs and reading outputs, on one host or many."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._types import Int, PyTree

Rows = Int[np.ndarray, "seeds rows"]
"""For every row of a program, the trial that it holds; -1 for none."""


def lane_mesh(where: str, mesh: object) -> Mesh | None:
    """The mesh whose first axis carries the lanes: the user's, else all local devices, else None for one device."""
    if mesh is None:
        devices = jax.local_devices()
        return Mesh(np.asarray(devices), ("trial",)) if len(devices) > 1 else None
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"`{where}` must be a jax.sharding.Mesh or None, got {type(mesh).__name__}. "
            'Write jax.sharding.Mesh(jax.devices(), ("trial",)).'
        )
    if not mesh.axis_names:
        raise ValueError(
            f'`{where}` must have an axis for the trials, got none. Write Mesh(jax.devices(), ("trial",)).'
        )
    return Mesh(mesh.devices, mesh.axis_names)  # auto axes, whatever they were


def lane_axis(mesh: Mesh) -> str:
    """The mesh axis over which lanes are spread."""
    return "trial" if "trial" in mesh.axis_names else mesh.axis_names[0]


def num_shards(mesh: Mesh | None) -> int:
    """Over how many shards the lanes are spread."""
    return 1 if mesh is None else mesh.shape[lane_axis(mesh)]


def lane_spec(mesh: Mesh, *rest: Any) -> PartitionSpec:
    """How an array with the axes (seeds, lanes, ...) lies on the mesh."""
    return PartitionSpec(None, lane_axis(mesh), *rest)


def place_lanes(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Spread arrays with the axes (seeds, lanes, ...) over the mesh."""
    return place_on(tree, mesh, None if mesh is None else lane_spec(mesh))


def place_on(tree: PyTree, mesh: Mesh | None, spec: PartitionSpec | None = None) -> PyTree:
    """Place a tree on the mesh, every leaf as `spec` says (None: whole, on every device); each host gives all of it."""
    if mesh is None:
        return jax.device_put(tree)
    sharding = NamedSharding(mesh, PartitionSpec() if spec is None else spec)
    if not spans_hosts(mesh):
        return jax.device_put(tree, sharding)

    def place(leaf: jax.Array) -> jax.Array:
        if is_key(leaf):
            implementation = jax.random.key_impl(leaf)
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=implementation)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place, tree)


def to_host(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """The whole of every array as numpy, the same on every host."""
    if mesh is not None and spans_hosts(mesh):
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)


def plain_keys(tree: PyTree) -> PyTree:
    """Typed PRNG keys as their numbers."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def is_key(leaf: Any) -> bool:
    """Whether it is an array of typed PRNG keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def agree_on_least(value: float, mesh: Mesh | None) -> float:
    """The least of the hosts' values: what depends on it must be the same program everywhere."""
    if mesh is None or not spans_hosts(mesh):
        return value
    from jax.experimental import multihost_utils

    return float(np.min(multihost_utils.process_allgather(np.float32(value))))


def spans_hosts(mesh: Mesh) -> bool:
    """Whether the mesh has devices of several processes."""
    return len({device.process_index for device in mesh.devices.flat}) > 1


def first_device(mesh: Mesh | None) -> Any:
    """A device of this process on which programs run."""
    return jax.local_devices()[0] if mesh is None else mesh.local_devices[0]


def check_one_host(where: str, mesh: Mesh | None) -> None:
    """Raise where the loop on the host was asked for on several hosts."""
    if mesh is not None and spans_hosts(mesh):
        raise ValueError(
            f'`{where}` runs on one device, but the mesh spans several hosts. Use "map", "vmap" or lrjax.Chunked(k).'
        )


def lane_order(width: int, shards: int) -> np.ndarray:
    """Row r of the program holds lane order[r]: lanes go to the shards in turn.

    So a round that fills only a part of the width still occupies every device.
    """
    return np.arange(width).reshape(-1, shards).T.ravel()


def assign_lanes(trials: Int[np.ndarray, "seeds lanes"], width: int, shards: int) -> Rows:
    """The rows of a program of some width that hold these trials, assigned to the shards in turn."""
    order = lane_order(width, shards)
    rows = np.full((trials.shape[0], width), -1)
    held = order < trials.shape[1]
    rows[:, held] = trials[:, order[held]]
    return rows


def narrowest(alive: int, width: int, unit: int) -> int:
    """The width that `alive` lanes are compacted to: the least of width, width / 2, width / 4, ... that holds them."""
    best = width
    while width > unit:
        width = -(-width // (2 * unit)) * unit
        if width < alive:
            break
        best = width
    return best
