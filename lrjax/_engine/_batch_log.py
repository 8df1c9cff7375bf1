"""Checksums of the batches that were read, so that those that are read again can be compared with them."""

import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import jax

from .._types import Batch
from ._record import bytes_of, fits

Sums = list[list[int] | None]
"""For every seed (one, where all share the batches) the CRC-32 of each leaf of all batches until a step; None where it
is not known. It does not depend on the blocks in which they are read."""


def extend(sums: Sums, seeds: Sequence[Batch]) -> Sums:
    """The checksums after some more steps, whose batches on the host each seed has with a leading step axis."""
    return [
        None
        if known is None
        else [zlib.crc32(bytes_of(leaf), one) for leaf, one in zip(jax.tree.leaves(batches), known, strict=True)]
        for known, batches in zip(sums, seeds, strict=True)
    ]


def is_sums(value: Any) -> bool:
    """Whether a file's value can be checksums."""
    return fits(value, [(None, [int])])


class BatchLog:
    """What is known of the batches, by the step until which they were read."""

    def __init__(self) -> None:
        self._known: dict[int, Sums] = {}

    def remember(self, step: int, position: dict[str, Any] | None) -> None:
        """Take over what a file says of the batches before a step."""
        if position and "read" in position:
            self._known[step] = self.at(step, position)

    def at(self, step: int, position: dict[str, Any] | None) -> Sums:
        """The checksums at a step: those of a position, and what else is known."""
        given, known = (position or {}).get("read", []), self._known.get(step, [])
        return [one if one is not None else other for one, other in itertools.zip_longest(given, known)]

    def next_known(self, step: int, stop: int) -> int:
        """The first step after `step` of which something is known, at most `stop`."""
        return min((known for known in self._known if known > step), default=stop) if step < stop else stop

    def check(self, start: int, stop: int, sums: Sums, *, by_epoch: bool) -> None:
        """Compare the checksums at step `stop` with what is known; the last steps read begin at `start`.

        Raises:
          ValueError: they differ.
        """
        pairs = zip(sums, self._known.get(stop, []), strict=False)
        if any(one is not None and other is not None and one != other for one, other in pairs):
            same = max((step for step in self._known if step <= start), default=0)
            where = "Task.from_batches(train_batches=...)" if by_epoch else "Task(batches_between=...)"
            seed = "np.random.default_rng(epoch)" if by_epoch else "jax.random.fold_in(key, step)"
            raise ValueError(
                f"`{where}` must give the same batches whenever it is read, but among those of steps {same} to "
                f"{stop - 1} are others than the first time. Resuming, and lanes that do not run at once, need the "
                f"same ones: restore the data, or draw their order from {seed}. For new data give a new directory."
            )
        self.remember(stop, {"read": sums})
