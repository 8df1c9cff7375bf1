"""Training batches by step: drawn from arrays, or read from an iterable, once or from any place on."""

import base64
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import jax
import numpy as np

from .._checks import attribute, check_signature, name_of, show
from .._types import Batch, Key, PyTree
from ._data import check_arrays, check_like_first, stack_batches
from ._devices import plain_keys

FACTORY = "train_batches(epoch) -> iterable of batches"


class EpochSampler:
    """Batches of arrays in a fresh random order every epoch, with random access by step.

    Batch t belongs to epoch t // (examples // batch_size); an incomplete last batch is left out.
    """

    def __init__(self, arrays: PyTree, num_examples: int, batch_size: int, *, shuffle: bool):
        self.arrays, self.batch_size, self.shuffle = arrays, batch_size, shuffle
        self.num_examples, self.steps_per_epoch = num_examples, num_examples // batch_size
        self._orders: dict[Any, np.ndarray] = {}

    def between(self, key: Key, start: int, stop: int) -> Batch:
        """Batches start..stop-1 of the stream of `key`, leading step axis; NumPy's where the arrays are."""
        rows = self.rows(key, start, stop)
        return jax.tree.map(lambda leaf: leaf[rows], self.arrays)

    def rows(self, key: Key, start: int, stop: int) -> np.ndarray:
        """Which examples are in these batches, shape (steps, examples)."""
        words = _key_words(key)
        return np.stack([self._rows(words, step) for step in range(start, stop)])

    def first(self, key: Key, num_steps: int) -> Batch:
        """The first `num_steps` batches of the stream of `key`."""
        return self.between(key, 0, num_steps)

    def _rows(self, words: tuple[int, ...], step: int) -> np.ndarray:
        epoch, index = divmod(step, self.steps_per_epoch)
        order = self._order(words, epoch) if self.shuffle else np.arange(self.num_examples)
        return order[index * self.batch_size : (index + 1) * self.batch_size]

    def _order(self, words: tuple[int, ...], epoch: int) -> np.ndarray:
        """A permutation that depends on the key's bits and the epoch alone, the same on every backend."""
        known = self._orders.get((words, epoch))
        if known is None:
            if len(self._orders) >= _ORDERS_KEPT:
                self._orders.pop(next(iter(self._orders)), None)
            known = np.random.Generator(np.random.PCG64([*words, epoch])).permutation(self.num_examples)
            self._orders[words, epoch] = known
        return known


_ORDERS_KEPT = 8
"""Epochs (of all seeds) whose order is kept: steps come one after the other."""


def _key_words(key: Key) -> tuple[int, ...]:
    return tuple(np.asarray(plain_keys(key)).ravel().tolist())


class BatchStream:
    """Batches of an iterable, or of a function that gives one for every epoch.

    `between` keeps what it read, so that every learning rate sees the same batches. `open` gives a reader of its own,
    which keeps nothing.
    """

    def __init__(self, where: str, source: Iterable[Batch] | Callable[[int], Iterable[Batch]]):
        self.where, self.source = where, source
        self.by_epoch = callable(source) and (isinstance(source, type) or not hasattr(source, "__iter__"))
        if self.by_epoch:
            signature = check_signature(where, source, FACTORY)
            if signature is not None:
                raise TypeError(f"`{where}` must be an iterable or `{FACTORY}`, got `{name_of(source)}{signature}`.")
            first: Iterator[Batch] = itertools.chain.from_iterable(map(self._epoch, itertools.count()))
        elif isinstance(source, dict) or attribute(source, "shape") is not None:
            raise TypeError(
                f"`{where}` must be an iterable of batches, got {type(source).__name__} (one batch?). Put batches into "
                "a list (an array with a leading step axis: list(array)), or use Task.from_arrays for whole arrays."
            )
        elif not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
            raise TypeError(
                f"`{where}` must be an iterable of batches or a function of the epoch that returns one, got "
                f"{show(source)} ({type(source).__name__})."
            )
        else:
            first = iter(cast(Iterable[Batch], source))
        self.is_iterator = not self.by_epoch and first is source
        self.has_state = hasattr(first, "get_state") and hasattr(first, "set_state")
        self.is_sequence = isinstance(source, Sequence)
        self._iterator = first
        self._start = first.get_state() if self.is_iterator and self.has_state else None  # pyright: ignore[reportAttributeAccessIssue]
        self._kept: list[Batch] = []
        self._used_up = self._ended = False

    @property
    def resumes(self) -> bool:
        """Whether a reader gets the same batches again, from any place on, also in another process."""
        return self.by_epoch or self.has_state or self.is_sequence

    def accepts(self, position: dict[str, Any]) -> bool:
        """Whether a reader can go to a position, as a file gives it."""
        numbers = [position.get(name) for name in ("epoch", "index", "total")]
        whole = all(type(number) is int and number >= 0 for number in numbers)
        return whole and (not self.has_state or isinstance(position.get("state"), dict))

    @property
    def endless(self) -> str:
        """Advice: how to give as many batches as are wanted."""
        argument = self.where.partition("(")[2].removesuffix("=...)")
        return (
            f"Give a function of the epoch, which is called again when an epoch ends, `{argument}=lambda epoch: loader`"
        )

    def available(self, count: int) -> int:
        """How many batches there are, counting no further than `count`."""
        while len(self._kept) < count:
            try:
                batch = next(self._iterator)
            except StopIteration:
                self._ended = True
                break
            self._kept.append(check_arrays(f"{self.where}[{len(self._kept)}]", batch))
        return min(len(self._kept), count)

    @property
    def length(self) -> int | None:
        """How many batches there are, if that is known without reading on."""
        return len(self._kept) if self._ended else len(cast(Sequence, self.source)) if self.is_sequence else None

    def require(self, count: int) -> None:
        """Raise a ValueError unless there are so many batches."""
        held = self.available(count)
        if held < count:
            raise ValueError(
                f"`{self.where}` must give at least {count} batches (one for each step and seed), but ended after "
                f"{held}. {self.endless}, or take fewer steps (`num_steps`) or fewer seeds (`num_seeds`)."
            )

    def between(self, start: int, stop: int) -> Batch:
        """Batches start..stop-1, stacked."""
        self.require(stop)
        return stack_batches(self.where, self._kept[start:stop])

    def open(self) -> "StreamReader":
        """A reader from the first batch on."""
        if self._used_up and self.is_iterator and not self.has_state:
            raise ValueError(
                f"`{self.where}` is an iterator that was read before, and it cannot be read again. Give a function "
                "of the epoch, `lambda epoch: loader`, or a list."
            )
        self._used_up = True
        return StreamReader(self)

    def epoch_batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch (the only one unless `by_epoch`) but the first; an iterator begins anew."""
        if self.by_epoch:
            return itertools.islice(self._epoch(epoch), skip, None)
        if self.is_iterator and not self.has_state:
            return itertools.chain(self._kept, self._iterator)
        if self.is_sequence:
            return iter(cast(Sequence[Batch], self.source)[skip:])
        batches: Any = iter(cast(Iterable[Batch], self.source))
        if self._start is not None:
            batches.set_state(self._start)
        return batches

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        made = cast(Callable[[int], Any], self.source)(epoch)
        if not hasattr(made, "__iter__") or hasattr(made, "shape") or isinstance(made, dict):
            raise TypeError(
                f"`{self.where}` must be a function of the epoch that returns an iterable of batches, got "
                f"{show(made)} ({type(made).__name__}) for epoch {epoch}. An array of batches is list(array)."
            )
        empty = True
        for batch in made:
            empty = False
            yield batch
        if empty:
            raise ValueError(
                f"`{self.where}` gave no batch in epoch {epoch}. Return a new iterator every time, not one that was "
                "read before."
            )


class StreamReader:
    """Reads batches one after the other, and can say where it is."""

    def __init__(self, stream: BatchStream):
        self._stream, self._first = stream, None
        self._epoch = self._index = self._total = 0
        self._batches: Any = stream.epoch_batches(0)

    def read(self, count: int, needed: int) -> Iterator[Batch]:
        """The next `count` batches, as arrays of one shape; `needed` is what the caller wants in all.

        Each is to be copied before the next one: the loader may use its arrays again.
        """
        return (self._next(needed) for _ in range(count))

    def position(self) -> dict[str, Any]:
        """Where it is, as strict JSON."""
        place: dict[str, Any] = {"epoch": self._epoch, "index": self._index, "total": self._total}
        if self._stream.has_state:
            state: Any = self._batches.get_state()
            as_text = isinstance(state, bytes) and {"bytes": base64.b64encode(state).decode()}
            place["state"] = as_text or {"json": state}
        return place

    def seek(self, position: dict[str, Any]) -> None:
        """Go where another reader of the same source was."""
        self._epoch, self._index, self._total = (int(position[name]) for name in ("epoch", "index", "total"))
        if not self._stream.has_state:
            self._batches = self._stream.epoch_batches(self._epoch, self._index)
            return
        try:
            held = position["state"]
            self._batches.set_state(base64.b64decode(held["bytes"]) if "bytes" in held else held["json"])
        except Exception:  # some states hold what differs from process to process: the same batches once more
            self._batches = self._stream.epoch_batches(0)
            for _ in range(self._total):
                next(self._batches)

    def _next(self, needed: int) -> Batch:
        where = self._stream.where
        try:
            batch = next(self._batches)
        except StopIteration:
            if not self._stream.by_epoch:
                raise ValueError(
                    f"`{where}` must give a batch for each of the {needed} steps, but ended after {self._total}. "
                    f"{self._stream.endless}, or train for fewer steps."
                ) from None
            self._epoch, self._index = self._epoch + 1, 0
            self._batches = self._stream.epoch_batches(self._epoch)
            batch = next(self._batches)
        batch = check_arrays(f"{where}[{self._total}]", batch)
        self._first = batch if self._first is None else self._first
        check_like_first(where, self._first, self._total, batch)
        self._index, self._total = self._index + 1, self._total + 1
        return batch
