"""Lanes over devices: meshes, padding, placing inputs and reading outputs, on one host or many."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._types import PyTree


def lane_mesh(where: str, mesh: object) -> Mesh | None:
    """The mesh whose first axis carries the lanes: the user's, else all local devices, else None for one device.

    Raises:
      TypeError: `mesh` is no Mesh.
    """
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


def replicate(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Place a tree on every device of the mesh; each host gives its own (equal) copy."""
    return place_on(tree, mesh)


def shard_lanes(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Spread a tree of numpy arrays over the mesh along its leading lane axis."""
    return place_on(tree, mesh, None if mesh is None else PartitionSpec(lane_axis(mesh)))


def place_on(tree: PyTree, mesh: Mesh | None, spec: PartitionSpec | None = None) -> PyTree:
    """Place a tree on the mesh, every leaf as `spec` says (None: whole, on every device); each host gives all of it."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)
    sharding = NamedSharding(mesh, PartitionSpec() if spec is None else spec)
    if not spans_hosts(mesh):
        return jax.device_put(tree, sharding)

    def place(leaf: jax.Array) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
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


def agree_on_least(value: float, mesh: Mesh | None) -> float:
    """The least of the hosts' values: what depends on it must be the same program everywhere."""
    if mesh is None or not spans_hosts(mesh):
        return value
    from jax.experimental import multihost_utils

    return float(np.min(multihost_utils.process_allgather(np.float32(value))))


def spans_hosts(mesh: Mesh) -> bool:
    """Whether the mesh has devices of several processes."""
    return len({device.process_index for device in mesh.devices.flat}) > 1


def lane_order(width: int, shards: int) -> np.ndarray:
    """Row r of the program holds lane order[r]: lanes are dealt out to the shards like cards.

    So a round that fills only a part of the width still occupies every device.
    """
    return np.arange(width).reshape(-1, shards).T.ravel()
