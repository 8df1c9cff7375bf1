"""Training batches in blocks of several steps, read ahead of the device by a thread."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from .._checks import describe
from .._settings import current_settings, with_settings
from .._trees import first_difference
from .._types import Batch, Key, PyTree
from ._batch_log import BatchLog, Sums, extend, is_sums
from ._data import check_batches_finite, check_prefix
from ._sharding import lead, sharding_of
from ._trial_data import Block

CALL_SECONDS = 0.5
"""About how long one call of the training program lasts: between calls come progress, checkpoints and Ctrl-C."""

FIRST_STEPS = 8
"""Steps of the first calls, before it is known how long a step takes."""

BLOCK_BYTES = 64 * 2**20
"""Memory that the batches of one block may take, all seeds together."""

PADDING_BYTES = 2**20
"""Memory of the batches of a block that may be padding: copying it takes less than a tenth of a millisecond."""

LONGEST_BLOCK = 256
"""Steps in a block, at most."""


class BatchSource:
    """The training batches of all seeds, step after step; raises `ValueError` if there are none from any step on."""

    def __init__(self, task: Any, data_keys: Sequence[Key], num_steps: int, log: BatchLog | None = None):
        self._task, self._keys, self._num_steps = task, tuple(data_keys), num_steps
        self.shared, self.arrays = task._stream is not None, task._arrays  # whether all seeds see the same batches
        # of what other sources of the same batches have read
        self.log = None if _is_in_the_call(task) or not self.resumes else log or BatchLog()
        if task._stream is None and task.batches_between is None:
            raise ValueError(
                "`sweep(task=...)` must give batches from any step on, since a sweep reads them in parts. Use "
                "Task.from_arrays or Task.from_batches, or give Task(batches_between=...), "
                "a function of (key, start, stop)."
            )
        self._reader, self._next = None if task._stream is None else task._stream.open(), 0
        axis = 0 if self.shared else 1
        some = self._reader.read(1, num_steps)[0] if self._reader else task._host_batches(0, self._keys[0], 0, 1)
        self.shardings = tuple(_sharding_from(leaf, axis) for leaf in jax.tree.leaves(some))
        self._held = [some]  # of a stream: `read` gives step 0 again
        first, self._held = self._read_next(1, 1), [some]
        self.first = jax.tree.map(lambda leaf: leaf[0, 0] if self.shared else leaf[:, 0], first)
        self._sums = self._no_sums()
        if not self.shared and task._arrays is None and num_steps > 1:
            _check_access(task, self._keys[0], min(num_steps, CHECKED_STEPS))

    @property
    def resumes(self) -> bool:
        """Whether the same batches can be read again from any place on, also by another process."""
        return self._task._stream is None or self._task._stream.resumes

    def longest_block(self, at_most: int) -> int:
        """Steps in a block of at least `at_most` where they fit; trainings of other lengths share its programs."""
        each = max(1, sum(leaf.nbytes for leaf in jax.tree.leaves(self.first)))
        even = max(1 << (at_most - 1).bit_length(), PADDING_BYTES // each)
        return max(1, min(LONGEST_BLOCK, even, BLOCK_BYTES // each))

    def one_step(self) -> Batch:
        """Shapes of the batches of a step, as a seed reads them, with a leading step axis."""

        def shape(leaf: np.ndarray, sharding: NamedSharding | None) -> jax.ShapeDtypeStruct:
            shape = leaf.shape if self.shared else leaf.shape[1:]
            return jax.ShapeDtypeStruct((1, *shape), leaf.dtype, sharding=lead(sharding, 1))

        leaves, treedef = jax.tree.flatten(self.first)
        return treedef.unflatten(map(shape, leaves, self.shardings))

    def seek(self, step: int, position: dict[str, Any] | None) -> None:
        """Read from `step` on; `position` is that of the block that ends there."""
        if step == self._next:
            return
        if self.shared:
            if step > 0 and position is None:
                raise ValueError(f"No position of the batches of step {step} is known.")
            self._reader = self._task._stream.open()
            if position is not None and step > 0:
                self._reader.seek(position)
        if self.log is not None:
            self._sums = self.log.at(step, position) if step else self._no_sums()
        self._next, self._held = step, []

    def read(self, count: int, length: int) -> Block:
        """The next `count` steps, padded to `length`."""
        start = self._next
        padded = self._read_next(count, length)
        rows = range(jax.tree.leaves(padded)[0].shape[0])
        seeds = [jax.tree.map(lambda leaf, r=row: leaf[r, :count], padded) for row in rows]
        for batches in seeds:
            check_batches_finite(batches, start)
        if self.log is not None:
            self._sums = extend(self._sums, seeds)
            self.log.check(start, start + count, self._sums, by_epoch=self.shared)
        position = None
        if self.resumes:
            position = {} if self._reader is None else self._reader.position()
            position |= {} if self.log is None else {"read": self._sums}
        self._next = start + count
        return Block(start, count, jax.tree.map(lambda leaf: leaf[0], padded) if self.shared else padded, position)

    def read_again(self, step: int) -> int:
        """Compare the batches before `step` with those that were read, for a minute at most."""
        if self.log is None:
            return step
        deadline = time.monotonic() + REREAD_SECONDS
        self.seek(0, None)
        while self._next < step and time.monotonic() < deadline:
            stop = self.log.next_known(self._next, step)
            count = min(stop - self._next, self.longest_block(step))
            self.read(count, count)
        return self._next

    def accepts(self, position: object, step: int) -> bool:
        """Whether `seek` can take such a position, as a file gives it."""
        stream = self._task._stream
        if not self.resumes:
            return position is None
        if not isinstance(position, dict) or (self.log is not None and not is_sums(position.get("read"))):
            return False
        return stream is None or (position.get("total") == step and stream.accepts(position))

    def _read_next(self, count: int, length: int) -> Batch:
        """The next batches, with the axes (seeds, steps, ...), one seed where all share them; padded to `length`."""
        if self._reader is None:
            stop = self._next + count
            seeds = [self._task._host_batches(seed, key, self._next, stop) for seed, key in enumerate(self._keys)]
            if self._next > 0:
                self._check_shapes(seeds)
            fill = lambda *leaves: _fill(leaves, (len(seeds), length), leaves[0].shape[1:])  # noqa: E731
            return jax.tree.map(fill, *seeds)
        held, self._held = self._held[:count], self._held[count:]
        steps = [*held, *self._reader.read(count - len(held), self._num_steps)]
        return jax.tree.map(lambda *leaves: _fill(leaves, (length,), leaves[0].shape)[None], *steps)

    def _no_sums(self) -> Sums:
        """Before anything is read."""
        return [[0] * len(jax.tree.leaves(self.first)) for _ in range(1 if self.shared else len(self._keys))]

    def _check_shapes(self, seeds: Sequence[Batch]) -> None:
        first = jax.tree.map(lambda leaf: leaf[0], self.first)
        for batches in seeds:
            difference = first_difference(first, jax.tree.map(lambda leaf: leaf[0], batches))
            if difference:
                raise ValueError(
                    "`batches_between(key, start, stop)` must give batches of one shape, but that of step "
                    f"{self._next} differs from that of step 0: {difference}."
                )


def _fill(leaves: Sequence[Any], axes: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Arrays in the first rows of a new one, the rest of which is 0."""
    filled = np.zeros((*axes, *shape), leaves[0].dtype)
    for row, leaf in enumerate(leaves):
        filled[(row, slice(len(leaf))) if len(axes) > 1 else row] = leaf
    return filled


def _sharding_from(leaf: Any, axis: int) -> NamedSharding | None:
    """How the axes of an array from one on are spread over devices."""
    sharding = sharding_of(leaf)
    if not isinstance(sharding, NamedSharding):
        return None
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[axis:]))


REREAD_SECONDS = 60.0
"""Time for reading again what was trained on before an interruption."""


def unread_note(until: int, step: int) -> str:
    """What to report where `BatchSource.read_again` ran out of time."""
    return (
        f"The batches of steps {until} to {step - 1} were not read again, since that takes longer than "
        f"{REREAD_SECONDS:g} s: they are taken to be those that were trained on."
    )


CHECKED_STEPS = 8
"""Steps on which random access is compared with the batches in their order."""


def _is_in_the_call(task: Any) -> bool:
    """Whether the description of a call has all numbers that the batches are made of."""
    if task._stream is not None:
        return task._arrays is task._stream.source
    sampler = getattr(task.batches_between, "__self__", None)  # that of `Task.from_arrays`
    return task._arrays is not None and task._arrays is getattr(sampler, "arrays", None)


def _check_access(task: Any, key: Key, steps: int) -> None:
    """Raise unless `sample_batches` gives a prefix of itself, and `batches_between` what follows."""
    middle = steps // 2
    every, later = (task._host_batches(0, key, start, steps) for start in (0, middle))
    check_prefix(task.sample_batches, key, every, steps)
    expected = jax.tree.map(lambda leaf: leaf[middle:], every)
    pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(later), strict=False)
    difference = first_difference(expected, later) or any(
        not np.array_equal(np.asarray(a), np.asarray(b), equal_nan=jnp.issubdtype(a.dtype, jnp.floating))
        for a, b in pairs
    )
    if difference:
        raise ValueError(
            f"`Task(batches_between=...)` must give the batches of sample_batches, but batches_between(key, {middle}, "
            f"{steps}) is not the end of sample_batches(key, {steps}). Draw the batch of step t from "
            "jax.random.fold_in(key, t) in both."
        )


class ReadAhead:
    """Reads blocks in a thread while the device works on earlier ones; a context manager."""

    def __init__(
        self,
        source: BatchSource,  # used by the thread alone until the context ends
        place: Callable[[PyTree], PyTree],  # puts a block's batches on the devices
        start: int,
        boundaries: Sequence[int],  # increasing steps at which a block must end; the last is the end
        length: int,  # steps of the padded block
        *,
        even: bool = False,  # every block has as many steps as there are: several hosts must make the same calls
    ):
        self.steps_at_once = length if even else min(FIRST_STEPS, length)
        self._even, self._source, self._place, self._length = even, source, place, length
        self._start, self._boundaries = start, boundaries
        self._blocks: queue.Queue[Block | BaseException] = queue.Queue(maxsize=2)
        self._closed = threading.Event()
        self._settings = current_settings()
        self._thread = threading.Thread(target=self._work, name="lrjax-batches", daemon=True)
        self._thread.start()

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._blocks.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)

    def pace(self, seconds: float) -> None:
        """Choose the steps of the next blocks, where a step takes so long."""
        if not self._even:
            self.steps_at_once = max(1, min(self._length, int(CALL_SECONDS / max(seconds, 1e-9))))

    def __call__(self) -> Block:
        """The next block."""
        block = self._blocks.get()
        if isinstance(block, BaseException):
            raise block
        return block

    def _work(self) -> None:
        step = self._start
        try:
            with with_settings(self._settings):
                for boundary in self._boundaries:
                    while step < boundary and not self._closed.is_set():
                        count = min(self.steps_at_once, boundary - step)
                        block = self._source.read(count, self._length)
                        self._blocks.put(block._replace(batches=self._place(block.batches)))
                        step += count
        except BaseException as error:
            self._blocks.put(error)


def check_divides(batches: Batch, axis: int, parts: int) -> None:
    """Raise unless the examples of a batch can be spread over the mesh's "data" axis."""
    for leaf in jax.tree.leaves(batches):
        if leaf.ndim > axis and leaf.shape[axis] % parts:
            raise ValueError(
                f'`sweep(mesh=...)` has {parts} devices along "data", which must divide the {leaf.shape[axis]} '
                f"examples of a training batch ({describe(leaf)}). Choose another batch size or another mesh."
            )
