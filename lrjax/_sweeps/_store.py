"""What a sweep keeps in its folder, by one process or by several, and when it writes checkpoints."""

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._engine import Folder, Stored
from .._types import PyTree

KEPT = 2
"""Checkpoints kept: the last one, and one before it in case that is damaged."""


class SweepStore:
    """The folder of one sweep.

    Args:
      directory: made if there is none.
      several: whether several processes share it; then all of them call the same methods, the first one writes the
        table, and each one its own lanes.
    """

    def __init__(self, directory: str | os.PathLike[str], *, several: bool = False):
        self._folder = Folder("sweep", "sweep", directory)
        self._several, self._writes = several, not several or jax.process_index() == 0
        self._part = f"-p{jax.process_index()}" if several else ""
        self._asked: dict[str, Any] = {}
        self._worker: threading.Thread | None = None
        self._trouble: BaseException | None = None

    @property
    def directory(self) -> str:
        """The user's."""
        return self._folder.directory

    @property
    def notes(self) -> list[str]:
        """What was damaged."""
        return self._folder.notes

    def open(
        self, call: dict[str, Any], difference: Callable[[dict, dict], str], grows: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Take the folder over; see `Folder.open`.

        Returns:
          The runs that `settle` wrote down.

        Raises:
          ValueError, OSError: as there, on all processes.
        """
        told: dict[str, Any] = {}
        if self._writes:
            try:
                begun = self._folder.open(call, difference, grows) or {"asked": call}
                told = {name: begun.get(name) for name in ("asked", "runs")}
                told |= {"mark": self._folder.mark, "number": self._folder.number}
            except (OSError, ValueError) as error:
                if not self._several:
                    raise
                told = {"refused": str(error), "os": isinstance(error, OSError)}
        told = self._share(told)
        if "refused" in told:
            raise (OSError if told["os"] else ValueError)(told["refused"])
        self._folder.join(told["mark"], told["number"])
        self._asked = told["asked"]
        return told["runs"] or []

    def another(self, changed: str) -> ValueError:
        """What to raise where the folder turns out to be of another call."""
        return self._folder.another(changed)

    def settle(self, runs: list[dict[str, Any]]) -> None:
        """Write down what was decided on the way, for each grid that was asked for."""
        if self._writes:
            self._folder.write_call({"asked": self._asked, "runs": runs})
        self._folder.number = self._share(self._folder.number)

    # What was measured.

    def read_table(self) -> list[dict[str, Any]]:
        """Every undamaged line."""
        return self._share(list(self._folder.lines()) if self._writes else [])

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Add lines to the table; they are on the disk when this returns.

        Raises:
          OSError: they could not be written.
        """
        if self._writes:
            self._folder.append(lines)

    # The lanes.

    def save(self, what: str, meta: dict[str, Any], lanes: PyTree, *, wait: bool = False) -> None:
        """Write lanes in the background (at once where several processes take part).

        Args:
          what: "checkpoint", or "waiting" for those that wait at a rung.
          meta: strict JSON that `find` gives back.
          lanes: arrays of the host, or of devices of several processes.
          wait: until it is on the disk.

        Raises:
          OSError: this one or the one before could not be written.
        """
        self.finish()
        name = self._folder.new_name(what)
        if self._several:
            self._write(what, name, meta, lanes)
            return
        self._worker = threading.Thread(target=self._work, args=(what, name, meta, lanes), name="lrjax-checkpoint")
        self._worker.start()
        if wait:
            self.finish()

    def finish(self) -> None:
        """Wait for what is being written.

        Raises:
          OSError: it could not be written.
        """
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

    def find(self, what: str, plan: str) -> list[Stored]:
        """What was saved under a plan, the newest first; what was under others is removed."""
        found = []
        if self._writes:
            processes = jax.process_count() if self._several else 1
            found = [one for one in self._folder.files(what) if one.meta.get("plan") == plan]
            numbers = {one.number for one in found}
            self._folder.remove(what, lambda stored: stored.number not in numbers)
            found = [one for one in found if one.meta.get("processes") == processes]
        return [Stored(*one) for one in self._share(found)]

    def load(self, what: str, number: int, like: PyTree) -> PyTree | None:
        """Lanes, or None if they are damaged.

        Args:
          what: as for `save`.
          number: as `find` gives it.
          like: shapes and dtypes, with shardings where several processes take part.
        """
        leaves, treedef = jax.tree.flatten(like)
        parts = self._folder.load(
            f"{what}-{number:06d}{self._part}", [one for leaf in leaves for one in _shapes_here(leaf)]
        )
        good = parts is not None
        if self._several:
            good = _all_agree(good)
        if not good or parts is None:
            return None
        left = iter(parts)
        return treedef.unflatten([_assemble(leaf, [next(left) for _ in _shapes_here(leaf)]) for leaf in leaves])

    def drop(self, what: str, which: Callable[[dict[str, Any]], bool] = lambda meta: True) -> None:
        """Remove what was saved and whose meta `which` takes."""
        if self._writes:
            self._folder.remove(what, lambda stored: which(stored.meta))

    def close(self) -> None:
        """Let go of the folder; what is being written is waited for, its trouble forgotten."""
        if self._worker is not None:
            self._worker.join()
        self._folder.close()

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
        meta = {**meta, "processes": jax.process_count() if self._several else 1}
        parts = [part for leaf in jax.tree.leaves(lanes) for part in _parts_here(leaf)]
        self._folder.save(name + self._part, meta, parts)
        if self._several:
            _barrier(f"lrjax-sweep-{name}")
        if self._writes and what == "checkpoint":
            kept = {one.number for one in self._folder.files(what)[:KEPT]}
            self._folder.remove(what, lambda stored: stored.number not in kept)


def _parts_here(leaf: Any) -> list[np.ndarray]:
    """An array of the host, or the different parts of a distributed one that this process holds."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return [np.asarray(leaf)]
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    shards = {_place(shard.index, leaf.shape): shard for shard in leaf.addressable_shards}
    return [np.asarray(shards[place].data) for place in sorted(shards)]


def _shapes_here(leaf: Any) -> list[Any]:
    """Of what `_parts_here` gives for an array like this."""
    if getattr(leaf, "sharding", None) is None:
        return [leaf]
    numbers = _numbers_of(leaf)
    shapes = [tuple(stop - start for start, stop in place) for place in _places_here(numbers)]
    return [jax.ShapeDtypeStruct(shape, numbers.dtype) for shape in shapes]


def _assemble(leaf: Any, parts: list[np.ndarray]) -> Any:
    """The array of which these are the parts here."""
    if getattr(leaf, "sharding", None) is None:
        return parts[0]
    numbers = _numbers_of(leaf)
    known = dict(zip(_places_here(numbers), parts, strict=True))
    return jax.make_array_from_callback(
        numbers.shape, numbers.sharding, lambda index: known[_place(index, numbers.shape)]
    )


def _numbers_of(leaf: Any) -> Any:
    """The shape of a typed PRNG key's numbers; of others their own."""
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    shape = jax.eval_shape(jax.random.key_data, leaf).shape
    return jax.ShapeDtypeStruct(shape, np.uint32, sharding=leaf.sharding)


def _places_here(leaf: Any) -> list[tuple[tuple[int, int], ...]]:
    indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
    return sorted({_place(index, leaf.shape) for index in indices})


def _place(index: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Where a part begins and ends on each axis."""
    return tuple(one.indices(length)[:2] for one, length in zip(index, shape, strict=True))


def _all_agree(good: bool) -> bool:
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.asarray(good))))


def _barrier(name: str) -> None:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


class Cadence:
    """When to write the next checkpoint: every so many seconds, and rarely enough to cost less than 5 %.

    Args:
      seconds: between two checkpoints, at least.
      clock: what tells the time.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._clock = seconds, clock
        self._last, self._cost = clock(), 0.0

    def due(self) -> bool:
        """Whether it is time."""
        return self._clock() - self._last >= max(self._seconds, 25 * self._cost)

    def done(self, cost: float) -> None:
        """One was written, for which training waited `cost` seconds."""
        self._last, self._cost = self._clock(), cost
