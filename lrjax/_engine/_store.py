"""What a sweep or a search keeps in its folder, by one process or by several, and when it writes checkpoints."""

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import show
from .._types import PyTree
from ._folder import Folder, Stored
from ._record import Mark, read_arrays

KEPT = 2
"""Checkpoints kept: the last one, and one before it in case that is damaged."""


def check_directory(verb: str, directory: object) -> str:
    """The argument, if it can be a folder's name; raises `TypeError` or `ValueError`."""
    path = os.fspath(directory) if isinstance(directory, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path:
        raise TypeError(f"`{verb}(directory=...)` must be a path or None, got {show(directory)}.")
    if "://" in str(directory):
        raise ValueError(
            f"`{verb}(directory=...)` must be a folder of this machine or one that it mounts, got {show(directory)}. "
            "Mount the bucket, or write to a disk and copy."
        )
    try:
        named = b"\0" not in os.fsencode(path)
    except UnicodeError:
        named = False
    if not named:
        raise ValueError(f"`{verb}(directory=...)` must be the name of a folder, got {show(directory)}.")
    return path


class Store(Folder):
    """A folder that is written in the background, or by several processes.

    Several processes all call the same methods; the first one writes the table, and each one its own lanes. The methods
    of `Folder`, which the first one runs alone, must not call those that wait for the others here.
    """

    def __init__(self, verb: str, kind: str, directory: str | os.PathLike[str], *, several: bool = False):
        super().__init__(verb, kind, directory, writes=not several or jax.process_index() == 0)
        self._several = several
        self._processes = jax.process_count() if several else 1
        self._part = f"-p{jax.process_index()}" if several else ""
        self._worker: threading.Thread | None = None
        self._trouble: BaseException | None = None

    def open(self, call: dict[str, Any], grows: Sequence[str] = ()) -> dict[str, Any]:
        """As `Folder.open`; what it raises, it raises on all processes."""
        call = json.loads(json.dumps(call))  # tuples as lists, as a file gives them back
        if not self._several:
            return super().open(call, grows)
        begun, refused = {}, ""
        if self._writes:
            try:
                begun = super().open(call, grows)
            except (OSError, ValueError) as error:
                begun, refused = {"os": isinstance(error, OSError)}, str(error)
        begun, refused, mark, self.number = self._share([begun, refused, self.mark, self.number])
        if refused:
            raise (OSError if begun["os"] else ValueError)(refused)
        self.mark = Mark(*mark)
        return begun

    def write_call(self, decided: dict[str, Any]) -> None:
        """As `Folder.write_call`."""
        super().write_call(decided)
        self.number = self._share(self.number)

    def lines(self) -> list[dict[str, Any]]:
        """As `Folder.lines`."""
        return self._share(super().lines())

    def save(self, what: str, meta: dict[str, Any], lanes: PyTree, *, wait: bool = False) -> None:
        """Write lanes and `meta`, in the background unless several processes take part; raises `OSError`, also later.

        Of each "checkpoint" only the last ones are kept; of "waiting" and "lanes" all, until they are dropped.
        """
        self.finish()
        arguments = (what, self.new_name(what), meta, lanes)
        if self._several:
            self._write(*arguments)
            return
        self._worker = threading.Thread(target=self._work, args=arguments, name="lrjax-checkpoint")
        self._worker.start()
        if wait:
            self.finish()

    def finish(self) -> None:
        """Wait for what is being written, and raise what it raised."""
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    @property
    def busy(self) -> bool:
        """Whether the last checkpoint is still being written."""
        return self._worker is not None and self._worker.is_alive()

    def find(self, what: str, **wanted: Any) -> list[Stored]:
        """What was saved with these values in its meta, the newest first; what has others is removed."""
        found = []
        if self._writes:
            found = [one for one in self.files(what) if all(one.meta.get(name) == wanted[name] for name in wanted)]
            self._keep(what, found)
        return [Stored(*one) for one in self._share(found) if one[1].get("processes") == self._processes]

    def load(self, what: str, number: int, like: PyTree) -> PyTree | None:
        """Lanes of these shapes (and shardings where several processes take part), or None if they are damaged."""
        leaves, treedef = jax.tree.flatten(like)
        targets = [(one, _places_here(one)) for one in map(_numbers_like, leaves)]
        shapes = [
            jax.ShapeDtypeStruct(tuple(stop - start for start, stop in place), one.dtype)
            for one, places in targets
            for place in places
        ]
        parts = read_arrays(self.path / f"{what}-{number:06d}{self._part}", self.mark, shapes)
        good = parts is not None
        if self._several:
            from jax.experimental import multihost_utils

            good = bool(np.all(multihost_utils.process_allgather(np.asarray(good))))
        if not good or parts is None:
            return None
        left = iter(parts)
        return treedef.unflatten([_assemble(one, {place: next(left) for place in places}) for one, places in targets])

    def close(self) -> None:
        """Let go of the folder; what is being written is waited for, its trouble forgotten."""
        if self._worker is not None:
            self._worker.join()
        super().close()

    def _keep(self, what: str, kept: Sequence[Stored]) -> None:
        numbers = {one.number for one in kept}
        self.drop(what, lambda stored: stored.number not in numbers)

    def _share(self, value: Any) -> Any:
        """The first process's value on all: what they decide from it must be the same."""
        if not self._several:
            return value
        from jax.experimental import multihost_utils

        mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
        length = int(multihost_utils.broadcast_one_to_all(np.asarray(len(mine))))
        data = np.resize(mine, length) if len(mine) else np.zeros(length, np.uint8)
        return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(data))))

    def _work(self, *arguments: Any) -> None:
        try:
            self._write(*arguments)
        except BaseException as error:
            self._trouble = error

    def _write(self, what: str, name: str, meta: dict[str, Any], lanes: PyTree) -> None:
        parts = [part for leaf in jax.tree.leaves(lanes) for part in _parts_here(leaf)]
        self.write_arrays(name + self._part, {**meta, "processes": self._processes}, parts)
        if self._several:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(f"lrjax-{name}")
        if self._writes and what == "checkpoint":
            self._keep(what, self.files(what)[:KEPT])


def _parts_here(leaf: Any) -> list[np.ndarray]:
    """An array of the host, or the different parts of a distributed one that this process holds."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return [np.asarray(leaf)]
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    shards = {_place(shard.index, leaf.shape): shard for shard in leaf.addressable_shards}
    return [np.asarray(shards[place].data) for place in sorted(shards)]


def _numbers_like(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of an array as it is stored: a typed PRNG key as its numbers."""
    shape, dtype = leaf.shape, leaf.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        shape, dtype = jax.eval_shape(jax.random.key_data, leaf).shape, np.uint32
    return jax.ShapeDtypeStruct(shape, dtype, sharding=leaf.sharding)


def _places_here(leaf: jax.ShapeDtypeStruct) -> list[tuple[tuple[int, int], ...]]:
    """Of what `_parts_here` gives for an array like this."""
    if leaf.sharding is None:
        return [tuple((0, length) for length in leaf.shape)]
    indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
    return sorted({_place(index, leaf.shape) for index in indices})


def _assemble(leaf: jax.ShapeDtypeStruct, parts: dict[tuple[tuple[int, int], ...], np.ndarray]) -> Any:
    """The array of which these are the parts here."""
    if leaf.sharding is None:
        return next(iter(parts.values()))
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: parts[_place(index, leaf.shape)])


def _place(index: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Where a part begins and ends on each axis."""
    return tuple(one.indices(length)[:2] for one, length in zip(index, shape, strict=True))


class Cadence:
    """When to write the next checkpoint: every so many seconds of a clock, and so that it costs less than 5 %."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._clock = seconds, clock
        self._last, self._cost = clock(), 0.0

    def due(self) -> bool:
        """Whether it is time."""
        return self._clock() - self._last >= max(self._seconds, 25 * self._cost)

    def done(self, cost: float) -> None:
        """One was written, for which training waited `cost` seconds."""
        self._last, self._cost = self._clock(), cost
