"""A sweep's folder: what was asked, an append-only table of what was measured, and checkpoints.

    sweep.json            the call, so that another one is refused
    table.jsonl           one line for each evaluation, with its checksum
    checkpoints/N/        the lanes, written by Orbax
    checkpoints/N.json    what they are and their checksums; written last, so that its presence makes N valid
    parked/...            the same for waves that wait at a rung

Everything is arrays and strict JSON; nothing is executed when it is read.
"""

import contextlib
import json
import os
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._types import PyTree

KEPT = 2
"""Checkpoints kept: the last one, and one before it in case that is damaged."""


class Checkpoint(NamedTuple):
    """A valid checkpoint's number, and what its JSON says."""

    number: int
    meta: dict[str, Any]


class SweepStore:
    """The folder of one sweep.

    Args:
      folder: made if there is none.
      several: whether several processes share it; then all of them call the same methods, and the first one writes.

    Raises:
      OSError: it cannot be written, or another process is running a sweep in it.
    """

    def __init__(self, folder: str | os.PathLike[str], *, several: bool = False):
        self.folder = Path(os.path.abspath(folder))
        self._several, self._writes = several, not several or jax.process_index() == 0
        self._worker: threading.Thread | None = None
        self._trouble: BaseException | None = None
        self._lock: Any = None
        self._table: Any = None
        if self._writes:
            self._open()
        taken = [path.name.split(".")[0] for path in (self.folder / "checkpoints").glob("*")] if self._writes else []
        numbers = [int(name) for name in taken if name.isdecimal()]
        self._number = self._share(max(numbers, default=0))
        self._checkpointer = _checkpointer()

    # What was asked.

    def agree(self, call: dict[str, Any]) -> dict[str, Any] | None:
        """Compare the call with the one that began here; write it if there was none.

        Returns:
          The call that began here, or None for a new folder.

        Raises:
          ValueError: they differ, or the file is damaged.
        """
        path = self.folder / "sweep.json"
        text = self._share(_read(path) if self._writes and path.exists() else None)
        if text is None:
            if self._writes:
                write_whole(path, _with_checksum(call))
            return None
        try:
            return _without_checksum(text)
        except ValueError:
            raise ValueError(
                f"`sweep(directory={os.fspath(self.folder)!r})` holds a damaged sweep.json, so what was swept there is "
                "not known. Restore that file, or give another directory."
            ) from None

    def settle(self, call: dict[str, Any]) -> None:
        """Write the call again, with what was decided on the way."""
        if self._writes:
            write_whole(self.folder / "sweep.json", _with_checksum(call))

    # What was measured.

    def read_table(self) -> Iterator[dict[str, Any]]:
        """Every undamaged line; a torn last one is cut off first."""
        path = self.folder / "table.jsonl"
        content = path.read_bytes() if self._writes and path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        for line in self._share(whole.decode(errors="replace")).splitlines():
            with contextlib.suppress(ValueError):
                yield _without_checksum(line)

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Add lines to the table; they are on the disk when this returns.

        Raises:
          OSError: they could not be written.
        """
        if not self._writes:
            return
        with explained(self.folder):
            if self._table is None:
                self._table = open(self.folder / "table.jsonl", "ab", buffering=0)  # noqa: SIM115
            data = "".join(_with_checksum(line) + "\n" for line in lines).encode()
            written = 0
            while written < len(data):
                written += self._table.write(data[written:])
            os.fsync(self._table.fileno())

    # The lanes.

    def save(self, place: str, number: int, meta: dict[str, Any], lanes: PyTree, *, wait: bool = False) -> None:
        """Write lanes in the background (at once where several processes take part).

        Args:
          place: "checkpoints" or "parked".
          number: of the checkpoint; larger than any before.
          meta: strict JSON that `find` gives back.
          lanes: arrays of the host, or of devices of several processes.
          wait: until it is on the disk.

        Raises:
          OSError: this one or the one before could not be written.
        """
        self.finish()
        path = self.folder / place / str(number)
        if self._several:
            with explained(self.folder):
                self._write(path, meta, lanes)
            return
        self._worker = threading.Thread(target=self._work, args=(path, meta, lanes), name="lrjax-checkpoint")
        self._worker.start()
        if wait:
            self.finish()

    def next_number(self) -> int:
        """A number larger than that of every checkpoint until now."""
        self._number += 1
        return self._number

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
            with explained(self.folder):
                raise trouble

    @property
    def busy(self) -> bool:
        """Whether the last checkpoint is still being written."""
        return self._worker is not None and self._worker.is_alive()

    def find(self, place: str, plan: str) -> list[Checkpoint]:
        """The checkpoints of a plan whose JSON is whole, the newest first; the others are removed."""
        folder, found = self.folder / place, {}
        for path in folder.glob("*.json") if self._writes else ():
            with contextlib.suppress(ValueError, OSError):
                meta = _without_checksum(path.read_text())
                if meta["plan"] == plan:
                    found[int(path.stem)] = meta
        for path in folder.glob("*") if self._writes else ():
            if path.name.split(".")[0] not in map(str, found):
                _remove(path)
        shared = self._share([[number, found[number]] for number in sorted(found, reverse=True)])
        return [Checkpoint(number, meta) for number, meta in shared]

    def load(self, place: str, checkpoint: Checkpoint, like: PyTree) -> PyTree | None:
        """The lanes of a checkpoint, or None if they are damaged.

        Args:
          place: as for `save`.
          checkpoint: one that `find` gave.
          like: shapes and dtypes, with shardings where several processes take part.
        """
        import orbax.checkpoint as ocp

        path = self.folder / place / str(checkpoint.number)
        leaves = jax.tree.leaves(like)
        try:
            if self._several:
                target: Any = {str(i): leaf for i, leaf in enumerate(leaves)}
            else:
                target = {str(i): np.empty(_data_shape(leaf), _data_dtype(leaf)) for i, leaf in enumerate(leaves)}
            named = self._checkpointer.restore(path, args=ocp.args.StandardRestore(target))
        except Exception:
            named = None
        wanted = checkpoint.meta["checksums"][jax.process_index() if self._several else 0]
        good = named is not None and checksums([named[str(i)] for i in range(len(leaves))]) == wanted
        if self._several:
            good = _all_agree(good)
        if not good or named is None:
            return None
        return jax.tree.unflatten(jax.tree.structure(like), [named[str(i)] for i in range(len(leaves))])

    def drop(self, place: str, which: Callable[[int], bool] = lambda number: True) -> None:
        """Remove the checkpoints there whose number `which` takes."""
        if not self._writes:
            return
        for path in sorted((self.folder / place).glob("*"), key=lambda path: path.suffix != ".json"):
            number = path.name.split(".")[0]
            if number.isdecimal() and which(int(number)):
                _remove(path)

    def close(self) -> None:
        """Let go of the folder; what is being written is waited for, its trouble forgotten."""
        if self._worker is not None:
            self._worker.join()
        for file in (self._table, self._lock):
            if file is not None:
                file.close()
        self._checkpointer.close()

    def _share(self, value: Any) -> Any:
        """The first process's value on all: what they decide from it must be the same."""
        if not self._several:
            return value
        from jax.experimental import multihost_utils

        mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
        length = int(multihost_utils.broadcast_one_to_all(np.asarray(len(mine))))
        data = np.resize(mine, length) if len(mine) else np.zeros(length, np.uint8)
        return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(data))))

    def _open(self) -> None:
        where = f"`sweep(directory={os.fspath(self.folder)!r})`"
        try:
            for place in ("checkpoints", "parked"):
                (self.folder / place).mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / "lock", "a")  # noqa: SIM115
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            raise type(error)(
                f"{where} must be a folder that can be written, but: "
                f"{getattr(error, 'strerror', None) or error}. Name another one."
            ) from error
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise BlockingIOError(
                f"{where} is in use: another process is running a sweep there. Wait for it, or name another folder."
            ) from None

    def _work(self, path: Path, meta: dict[str, Any], lanes: PyTree) -> None:
        try:
            self._write(path, meta, lanes)
        except BaseException as error:
            self._trouble = error

    def _write(self, path: Path, meta: dict[str, Any], lanes: PyTree) -> None:
        import orbax.checkpoint as ocp

        named = {str(index): leaf for index, leaf in enumerate(jax.tree.leaves(lanes))}
        sums = _gather_checksums(checksums(list(named.values())), self._several)
        if self._writes:
            _remove(path)  # of a process that was killed before it could write the JSON
        if self._several:
            _barrier(f"lrjax-sweep-{path.parent.name}-{path.name}")
        self._checkpointer.save(path, args=ocp.args.StandardSave(named))
        self._checkpointer.wait_until_finished()
        if self._writes:
            write_whole(path.parent / f"{path.name}.json", _with_checksum({**meta, "checksums": sums}))
            if path.parent.name == "checkpoints":
                for old in sorted((int(p.stem) for p in path.parent.glob("*.json")), reverse=True)[KEPT:]:
                    _remove(path.parent / f"{old}.json")
                    _remove(path.parent / str(old))


def require_orbax(where: str) -> None:
    """Raise unless Orbax can be imported."""
    try:
        import orbax.checkpoint  # noqa: F401
    except ImportError as error:
        raise ImportError(f"`{where}` needs Orbax. Install it: pip install 'lrjax[sweep]'.") from error


def _checkpointer() -> Any:
    import orbax.checkpoint as ocp

    return ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler(), timeout_secs=600)


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say what to do where writing fails."""
    try:
        yield
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        words = str(error)
        if cause is None and not any(sign in words for sign in _DISK_SIGNS):
            raise
        why = (cause.strerror if isinstance(cause, OSError) and cause.strerror else words).strip()
        kind = type(cause) if isinstance(cause, OSError) else OSError
        raise kind(
            f"The sweep could not write to {os.fspath(folder)}: {why}. What was measured until now is kept there. Make "
            "room or mend the folder, and start the same call again: it goes on from the last good checkpoint."
        ) from error


_DISK_SIGNS = ("RESOURCE_EXHAUSTED", "No space left", "File too large", "Disk quota", "Read-only", "PERMISSION_DENIED")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, also after a crash."""
    with explained(path.parent):
        draft = path.with_name(f".{path.name}.draft")
        with open(draft, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)


def _with_checksum(value: dict[str, Any]) -> str:
    text = json.dumps(value, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}"


def _without_checksum(text: str) -> dict[str, Any]:
    """The value of a line; ValueError if it is damaged."""
    checksum, _, rest = text.strip().partition(" ")
    if f"{zlib.crc32(rest.encode()):08x}" != checksum:
        raise ValueError("wrong checksum")
    return json.loads(rest)


def checksums(leaves: list[Any]) -> list[int]:
    """Of every array, or of the parts of it that this process holds."""
    return [_checksum(leaf) for leaf in leaves]


def _checksum(leaf: Any) -> int:
    if isinstance(leaf, np.ndarray) or not hasattr(leaf, "addressable_shards"):
        return zlib.crc32(np.ascontiguousarray(leaf).tobytes()) if np.size(leaf) else 0
    total = 0
    for shard in leaf.addressable_shards:
        if shard.replica_id == 0:
            total = zlib.crc32(np.asarray(shard.data).tobytes(), total)
    return total


def _gather_checksums(mine: list[int], several: bool) -> list[list[int]]:
    if not several:
        return [mine]
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.asarray(mine, np.uint32)).tolist()


def _all_agree(good: bool) -> bool:
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.asarray(good))))


def _barrier(name: str) -> None:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def _data_shape(leaf: Any) -> tuple[int, ...]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.eval_shape(jax.random.key_data, leaf).shape
    return leaf.shape


def _data_dtype(leaf: Any) -> Any:
    return np.uint32 if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype


def _read(path: Path) -> str:
    """A file's text; empty where it cannot be read, which no checksum accepts."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


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
