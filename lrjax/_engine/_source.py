"""Training batches in blocks of several steps, read ahead of the device by a thread."""

import itertools
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
from ._block import fill, take, zeros
from ._data import check_batches_finite, check_prefix, examples_not_finite, not_finite
from ._sharding import lead, sharding_of
from ._trial_data import Block

CALL_SECONDS, LONGEST_CALL = 0.5, 5.0
"""About how long one call of the training program lasts, and at most: between calls come progress, checkpoints and
Ctrl-C."""

OVERHEAD = 0.05
"""Share of a call's time, at most, in which it does no step but copies the states of lanes, in calls that last no
longer than `LONGEST_CALL`."""

FIRST_STEPS = 8
"""Steps of the first calls, before it is known how long a step takes."""

BLOCK_BYTES = 64 * 2**20
"""Memory that the batches of one block may take, all seeds together."""

PADDING_BYTES = 2**20
"""Memory of the batches of a block that may be padding: copying it takes less than a tenth of a millisecond."""

LONGEST_BLOCK, LONGEST_LIST = 256, 4096
"""Steps in a block, at most: of batches, and of rows of arrays that are on the device."""


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
        some = next(self._reader.read(1, num_steps)) if self._reader else task._host_batches(0, self._keys[0], 0, 1)
        self.shardings = tuple(_sharding_from(leaf, axis) for leaf in jax.tree.leaves(some))
        self._sampler = _sampler_of(task)
        self._keeps_arrays, self._not_finite = False, []
        self._held = [some]
        first = self._read_next(1, 1)
        self.first = jax.tree.map(lambda leaf: leaf[0, 0] if self.shared else leaf[:, 0], first)
        self._held = [self.first] if self.shared else []  # of a stream: `read` gives step 0 again
        self._sums = self._no_sums()
        if not self.shared and task._arrays is None and num_steps > 1:
            _check_access(task, self._keys[0], min(num_steps, CHECKED_STEPS))

    @property
    def resumes(self) -> bool:
        """Whether the same batches can be read again from any place on, also by another process."""
        return self._task._stream is None or self._task._stream.resumes

    def arrays_within(self, budget: float) -> PyTree | None:
        """The arrays that batches are rows of, if they may stay on the device: then `read` gives rows alone.

        They are small, or take less than half of what is free and are read once at least.
        """
        if self._sampler is None or any(map(sharding_of, jax.tree.leaves(self._sampler.arrays))):
            return None
        arrays, read = self._sampler.arrays, self._num_steps * self._sampler.batch_size * len(self._keys)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        if size > budget / 2 or (size > BLOCK_BYTES and read < self._sampler.num_examples):
            return None
        self._keeps_arrays, self._not_finite = True, examples_not_finite(arrays)
        return arrays

    def longest_block(self, at_most: int) -> int:
        """Steps in a block of at least `at_most` where they fit; trainings of other lengths share its programs."""
        each = max(1, sum(leaf.nbytes for leaf in jax.tree.leaves(self.example(1))))
        even = max(1 << (at_most - 1).bit_length(), PADDING_BYTES // each)
        return max(1, min(LONGEST_LIST if self._keeps_arrays else LONGEST_BLOCK, even, BLOCK_BYTES // each))

    def example(self, length: int) -> Batch:
        """What `read` gives, of step 0 again and again."""
        if self._keeps_arrays:
            return np.zeros((len(self._keys), length, self._sampler.batch_size), np.int32)
        axis = 0 if self.shared else 1
        return jax.tree.map(lambda leaf: np.repeat(np.expand_dims(leaf, axis), length, axis), self.first)

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
        if self._keeps_arrays:
            rows = self._read_rows(count, length)
            self._next = start + count
            return Block(start, count, rows, {})
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

    def _read_rows(self, count: int, length: int) -> np.ndarray:
        """Of which examples the next batches are, as `example`; raises `ValueError` where one is not finite."""
        rows = self.example(length)
        for each, key in zip(rows, self._keys, strict=True):
            each[:count] = self._sampler.rows(key, self._next, self._next + count)
            for path, bad in self._not_finite:
                if (steps := bad[each[:count]].any(axis=1)).any():
                    raise not_finite(path, self._next + int(np.flatnonzero(steps)[0]))
        return rows

    def _read_next(self, count: int, length: int) -> Batch:
        """The next batches, with the axes (seeds, steps, ...), one seed where all share them; padded to `length`."""
        if self._sampler is not None:
            rows = [self._sampler.rows(key, self._next, self._next + count) for key in self._keys]
            return jax.tree.map(lambda leaf: take(leaf, rows, length), self._sampler.arrays)
        if self._reader is None:
            stop = self._next + count
            seeds = [self._task._host_batches(seed, key, self._next, stop) for seed, key in enumerate(self._keys)]
            if self._next > 0:
                self._check_shapes(seeds)
            return jax.tree.map(lambda *leaves: fill(leaves, length), *seeds)
        held, self._held = self._held[:count], self._held[count:]
        block = None
        for step, batch in enumerate(itertools.chain(held, self._reader.read(count - len(held), self._num_steps))):
            if block is None:
                block = jax.tree.map(lambda leaf: zeros((1, length, *leaf.shape), leaf.dtype), batch)
            jax.tree.map(lambda whole, leaf, step=step: whole[0].__setitem__(step, leaf), block, batch)
        return block

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
    return _sampler_of(task) is not None


def _sampler_of(task: Any) -> Any:
    """What draws the batches where `Task.from_arrays` made the task, and both its functions are still those."""
    sampler, other = (getattr(one, "__self__", None) for one in (task.sample_batches, task.batches_between))
    arrays = getattr(sampler, "arrays", None)
    return sampler if sampler is other and arrays is not None and arrays is task._arrays else None


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
        self._fixed: float | None = None
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

    def pace(self, block: Block, train: Callable[[Block], float]) -> None:
        """Train on a block, and choose the steps of the next ones; `train` says how many seconds it took.

        That is a + b k for k steps; a is measured by one call without any.
        """
        seconds = train(block)
        if self._even or block.start + block.count == self._boundaries[-1]:
            return
        self._fixed = train(block._replace(count=0)) if self._fixed is None else self._fixed
        step = max(seconds - self._fixed, 1e-9) / block.count
        wanted = min(max(CALL_SECONDS, self._fixed * (1 / OVERHEAD - 1)), LONGEST_CALL)
        self.steps_at_once = max(1, min(self._length, int(wanted / step)))

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
