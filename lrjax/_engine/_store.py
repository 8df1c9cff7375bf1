"""Our own folder inside a directory of the user's: what a sweep or a search has done, by one process or by several.

    lrjax-sweep/                 or lrjax-search/
        lock                     held while a process works there; empty
        call.json                what was asked
        checkpoint-000007, ...   everything that was measured, and the lanes that go on

Whose a file is, its content says: every first line holds the digest of the call (of the first one, where later ones had
more settings). A new file has a number that none had before, so that nothing is overwritten, and only a file that says
that it is of this call is removed.
"""

import contextlib
import json
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import show
from .._types import PyTree
from ._parts import all_say, assemble, from_the_first, numbers_like, parts_here, places_here
from ._record import Damaged, Mark, difference, digest_of, is_regular, read_arrays, read_head, words_of, write_new

VERSION = 3
"""Of the folder's format."""

CALL, _LOCK = "call.json", "lock"

KEPT = 2
"""Checkpoints kept: the last one, and one before it in case that is damaged."""

_NAME = re.compile(r"(checkpoint|draft)-([0-9]{6,})(-p[0-9]+)?")


class Stored(NamedTuple):
    """A checkpoint: the number in its name, and what its first line says."""

    number: int
    meta: dict[str, Any]


class Store:
    """The folder of one call, written in the background or by several processes.

    Several processes all call the same methods: each writes its own part of the lanes, and the first one does the rest.

    Args:
      verb: whose argument `directory` is.
      kind: "sweep" or "search".
      directory: the user's.

    Attributes:
      notes: what was found damaged, in sentences.

    Raises:
      TypeError, ValueError: it can be no folder's name.
    """

    def __init__(self, verb: str, kind: str, directory: object):
        self.directory = os.path.abspath(_check_directory(verb, directory))
        self.notes: list[str] = []
        self._path = Path(self.directory) / f"lrjax-{kind}"
        self._where = f"`{verb}(directory={self.directory!r})`"
        self._mark, self._number, self._processes, self._part = Mark(kind, ""), 0, 1, ""
        self._lock: Any = None
        self._worker: threading.Thread | None = None
        self._trouble: BaseException | None = None

    def open(self, call: dict[str, Any], grows: Sequence[str] = (), *, several: bool = False) -> None:
        """Make the folder or take it over, until `close`; what this raises, it raises on all of several processes.

        The parts of the call that `grows` names may have changed: the caller looks at them. Raises `ValueError` where
        the folder or a file in it is not of this call, `OSError` where it cannot be written or another process works.
        """
        if several:
            self._processes, self._part = jax.process_count(), f"-p{jax.process_index()}"
        call, failed = json.loads(json.dumps(call)), ["", ""]  # tuples as lists, as a file gives them back
        try:
            if self._is_first:
                self._take_over(call, grows)
        except BaseException as error:
            self.close()
            if not several or not isinstance(error, (OSError, ValueError)):
                raise
            failed = ["os" if isinstance(error, OSError) else "value", str(error)]
        (kind, words), mark, self._number = self._share([failed, self._mark, self._number])
        if kind:
            raise (OSError if kind == "os" else ValueError)(words)
        self._mark = Mark(*mark)

    def another(self, changed: str) -> ValueError:
        """What to raise where the folder turns out to be of another call."""
        return self._holds(f"another {self._mark.kind}: {changed}. Repeat that call")

    def close(self) -> None:
        """Let others take the folder over; what is being written is waited for, its trouble forgotten."""
        if self._worker is not None:
            self._worker.join()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def find(self) -> list[Stored]:
        """The checkpoints, the newest first."""
        found = self._checkpoints() if self._is_first else []
        return [Stored(*one) for one in self._share(found) if one[1].get("processes") == self._processes]

    def load(self, number: int, like: PyTree) -> PyTree | None:
        """The first arrays of a checkpoint, of these shapes (and shardings where several processes take part).

        None if they are damaged.
        """
        leaves, treedef = jax.tree.flatten(like)
        targets = [(leaf, places_here(leaf)) for leaf in map(numbers_like, leaves)]
        shapes = [
            jax.ShapeDtypeStruct([stop - start for start, stop in place], leaf.dtype)
            for leaf, places in targets
            for place in places
        ]
        parts = read_arrays(self._path / f"checkpoint-{number:06d}{self._part}", self._mark, shapes)
        good = parts is not None
        if (self._processes > 1 and not all_say(good)) or parts is None:
            self.notes.append(f"checkpoint-{number:06d} is damaged: it was left out.")
            return None
        left = iter(parts)
        return treedef.unflatten([assemble(leaf, {place: next(left) for place in places}) for leaf, places in targets])

    def save(self, meta: dict[str, Any], arrays: PyTree, *, wait: bool = False) -> None:
        """Write a checkpoint, in the background unless several processes take part; raises `OSError`, also later."""
        self.finish()
        self._number += 1
        arguments = (f"{self._number:06d}{self._part}", meta, arrays)
        if self._processes > 1:
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

    # Taking over.

    def _take_over(self, call: dict[str, Any], grows: Sequence[str]) -> None:
        mine = self._mark._replace(call=digest_of(call))
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._refuse_strangers()
            self._read_call(mine, call, grows)  # before a file is made there
            self._take_lock()
        except BlockingIOError:
            raise
        except OSError as error:
            place = "" if error.filename is None else f" ({error.filename})"
            raise type(error)(
                f"{self._where} must be a folder that can be written, but: {error.strerror or error}{place}. Name "
                "another one."
            ) from error
        there = self._read_call(mine, call, grows)
        self._mark = there or mine
        self._look_around()
        if there is None:
            self._number += 1
            self._put(f"{self._number:06d}", CALL, {"version": VERSION, "asked": call})

    def _refuse_strangers(self) -> None:
        """Raise if the folder holds anything without saying for what call."""
        names = sorted(os.listdir(self._path))
        for name in names if CALL not in names else ():
            if name != _LOCK and not name.startswith("draft-"):  # all that a killed process may leave
                raise self._holds(
                    f"{self._path.name}/{name} but no {self._path.name}/{CALL}, so whose it is is not known. Restore "
                    "that file, move the folder away"
                )

    def _take_lock(self) -> None:
        """Keep others out until `close`; raises `BlockingIOError` if they are in."""
        path = self._path / _LOCK
        if os.path.lexists(path) and not is_regular(path):
            raise self._holds(f"{self._path.name}/{_LOCK}, which is no regular file. Move it away")
        self._lock = open(path, "a")  # noqa: SIM115
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BlockingIOError(
                f"{self._where} is in use: another process is running a {self._mark.kind} there. Wait for it, or name "
                "another folder."
            ) from None

    def _read_call(self, mine: Mark, call: dict[str, Any], grows: Sequence[str]) -> Mark | None:
        """The mark of call.json, or None if there is none; raises `ValueError` if it is of others."""
        if not os.path.lexists(self._path / CALL):
            return None
        damaged = "a damaged {}/{} ({}), so what was asked there is not known. Restore that file"
        try:
            there, content = read_head(self._path / CALL)
        except (OSError, Damaged) as error:
            raise self._holds(damaged.format(self._path.name, CALL, words_of(error))) from None
        asked = content.get("asked")
        if there.kind != mine.kind or content.get("version") != VERSION:
            raise ValueError(
                f"{self._where} holds a {there.kind} of the folder's format {content.get('version')!r}, and this is a "
                f"{mine.kind} of format {VERSION}. Give another directory."
            )
        if not isinstance(asked, dict) or digest_of(asked) != there.call:
            raise self._holds(damaged.format(self._path.name, CALL, "it does not say what was asked"))
        changed = difference(asked, call, grows)
        if changed:
            raise self.another(changed)
        return there

    def _look_around(self) -> None:
        """Refuse the files of other calls, and remove what a killed process has not finished."""
        for path in self._named("checkpoint", "draft"):
            self._number = max(self._number, _number(path))
            is_draft = path.name.startswith("draft-")
            try:
                mark, _ = read_head(path)
            except (OSError, Damaged) as error:
                if not is_draft:
                    self.notes.append(f"{path.name} is damaged ({words_of(error)}): it was left out.")
                continue
            if mark != self._mark:
                other = f"another {mark.kind}" if mark.kind == self._mark.kind else f"a {mark.kind}"
                raise self._holds(f"{self._path.name}/{path.name}, which is of {other}. Move that file away")
            if is_draft:
                path.unlink()

    def _holds(self, what: str) -> ValueError:
        """The error that says what is there, and what to do but for taking another folder."""
        return ValueError(f"{self._where} holds {what}, or give another directory.")

    # Files.

    def _named(self, *kinds: str) -> list[Path]:
        """Files by their numbers; there is no telling yet whose they are."""
        found = [path for path in self._path.iterdir() if (m := _NAME.fullmatch(path.name)) and m[1] in kinds]
        return sorted(found, key=lambda path: (_number(path), path.name))

    def _checkpoints(self) -> list[Stored]:
        """Those of this call, the newest first; of those of several processes the first one's."""
        found = []
        for path in self._named("checkpoint"):
            with contextlib.suppress(OSError, Damaged):
                mark, meta = read_head(path)
                if mark == self._mark and not re.search(r"-p[1-9]", path.name):
                    found.append(Stored(_number(path), meta))
        return found[::-1]

    def _work(self, *arguments: Any) -> None:
        try:
            self._write(*arguments)
        except BaseException as error:
            self._trouble = error

    def _write(self, number: str, meta: dict[str, Any], arrays: PyTree) -> None:
        """Write this process's part of a checkpoint; the first one removes those that are too many."""
        parts = [part for leaf in jax.tree.leaves(arrays) for part in parts_here(leaf)]
        self._put(number, f"checkpoint-{number}", {**meta, "processes": self._processes}, parts)
        if self._processes > 1:
            all_say(True)  # have written theirs
        if self._is_first:
            for stored in self._checkpoints()[KEPT:]:
                for path in self._path.glob(f"checkpoint-{stored.number:06d}*"):
                    with contextlib.suppress(OSError, Damaged):
                        if read_head(path)[0] == self._mark:
                            path.unlink()

    def _put(self, number: str, name: str, meta: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
        """Write a file that is not there yet, whole or not at all."""
        draft, path = self._path / f"draft-{number}", self._path / name
        try:
            if os.path.lexists(path):
                raise FileExistsError(f"{name} is there already")
            write_new(draft, self._mark, meta, arrays)
            os.replace(draft, path)
        except OSError as error:
            advice = (
                "What the last good checkpoint holds is kept there. Make room or mend the folder, and start the same "
                "call again: it goes on from there."
            )
            if not self._path.exists():
                advice = (
                    "It was removed meanwhile, and what was measured with it. Restore it and start the same call again "
                    "to resume, or start it in another directory."
                )
            raise type(error)(
                f"The {self._mark.kind} could not write to {self._path}: {words_of(error)}. {advice}"
            ) from error
        with contextlib.suppress(OSError):  # not every system can
            handle = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @property
    def _is_first(self) -> bool:
        """Whether this process does what is done once."""
        return self._processes == 1 or jax.process_index() == 0

    def _share(self, value: Any) -> Any:
        return value if self._processes == 1 else from_the_first(value)


def _check_directory(verb: str, directory: object) -> str:
    """The argument, if it can be a folder's name."""
    path = os.fspath(directory) if isinstance(directory, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path:
        raise TypeError(f"`{verb}(directory=...)` must be a path or None, got {show(directory)}.")
    if "://" in str(directory):
        raise ValueError(
            f"`{verb}(directory=...)` must be a folder of this machine or one that it mounts, got {show(directory)}. "
            "Mount the bucket, or write to a disk and copy."
        )
    with contextlib.suppress(UnicodeError):
        if b"\0" not in os.fsencode(path):
            return path
    raise ValueError(f"`{verb}(directory=...)` must be the name of a folder, got {show(directory)}.")


def _number(path: Path) -> int:
    return int(path.name.split("-")[1])
