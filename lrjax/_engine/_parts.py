"""What several processes hold together: the parts of an array that are here, and values that all agree on."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def parts_here(leaf: Any) -> list[np.ndarray]:
    """An array of the host, or the different parts of a distributed one that this process holds."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return [np.asarray(leaf)]
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    shards = {_place(shard.index, leaf.shape): shard for shard in leaf.addressable_shards}
    return [np.asarray(shards[place].data) for place in sorted(shards)]


def numbers_like(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of an array as it is stored: a typed PRNG key as its numbers."""
    shape, dtype = leaf.shape, leaf.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        shape, dtype = jax.eval_shape(jax.random.key_data, leaf).shape, np.uint32
    return jax.ShapeDtypeStruct(shape, dtype, sharding=getattr(leaf, "sharding", None))


def places_here(leaf: jax.ShapeDtypeStruct) -> list[tuple[tuple[int, int], ...]]:
    """Of what `parts_here` gives for an array like this."""
    if leaf.sharding is None:
        return [tuple((0, length) for length in leaf.shape)]
    indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
    return sorted({_place(index, leaf.shape) for index in indices})


def assemble(leaf: jax.ShapeDtypeStruct, parts: dict[tuple[tuple[int, int], ...], np.ndarray]) -> Any:
    """The array of which these are the parts here."""
    if leaf.sharding is None:
        return next(iter(parts.values()))
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: parts[_place(index, leaf.shape)])


def _place(index: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Where a part begins and ends on each axis."""
    return tuple(one.indices(length)[:2] for one, length in zip(index, shape, strict=True))


def from_the_first(value: Any) -> Any:
    """The first process's value, which is JSON, on all: what they decide from it must be the same."""
    from jax.experimental import multihost_utils

    mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.asarray(len(mine))))
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(np.resize(mine, length)))))


def all_say(yes: bool) -> bool:
    """Whether every process says so; each waits for the others."""
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.asarray(yes))))
