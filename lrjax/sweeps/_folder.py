"""Our own folder inside a directory of the user's, for a sweep or a search.

    lrjax-sweep/                 or lrjax-search/
        lock                     held while a process works there; empty
        call.json                what was asked
        table-000001.jsonl       a line for everything that was measured, appended to
        checkpoint-000007, ...   arrays

Whose a file is, its content says: every first line, and every line of the table, holds the digest of the call. A new
file has a number that none had before, so that nothing is overwritten, and only a file that says that it is of this
call is removed.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._checks import show
from ._record import Damaged, Mark, decode_line, digest_of, encode_line, open_file, read_arrays, read_head, write_new

VERSION = 2
"""Of the folder's format."""

_NAME = re.compile(r"(table|checkpoint|waiting|lanes|draft)-(\d{6,12})(-p\d+)?(\.jsonl)?")
_CALL, _LOCK = "call.json", "lock"


class Stored(NamedTuple):
    """A file of arrays.

    Attributes:
      number: of its name.
      meta: what its first line says.
    """

    number: int
    meta: dict[str, Any]


class Folder:
    """The folder of one call.

    Args:
      verb: the function whose argument `directory` is, for messages.
      kind: "sweep" or "search".
      directory: of the user; ours is made in it.
    """

    def __init__(self, verb: str, kind: str, directory: str | os.PathLike[str]):
        self.directory = os.path.abspath(directory)
        self.path = Path(self.directory) / f"lrjax-{kind}"
        self.mark, self.number, self.notes = Mark(kind, ""), 0, list[str]()
        self._where = f"`{verb}(directory={self.directory!r})`"
        self._lock: Any = None
        self._table: Path | None = None

    def open(self, call: dict[str, Any], difference: Callable[[dict, dict], str]) -> dict[str, Any] | None:
        """Make the folder or take it over; nobody else can until `close`.

        Args:
          call: what is asked, as strict JSON.
          difference: says how a call that began there differs from this one; empty if it does not.

        Returns:
          The content of call.json, or None for a new folder.

        Raises:
          ValueError: the folder is not of this call, or something in it is not; the message names what.
          OSError: it cannot be written, or another process works there.
        """
        self.mark = self.mark._replace(call=digest_of(call))
        try:
            with self._usable():
                self.path.mkdir(parents=True, exist_ok=True)
                self._refuse_strangers()
                self._read_call(call, difference)  # before the first file is made there
                self._take_lock()
            begun = self._read_call(call, difference)
            self._look_around()
            whole = begun is not None and "table" in begun
            if begun is None:
                self._write_call({"asked": call})
            self._open_table(made=whole)
            if not whole:  # a process that is killed before this leaves a new folder
                self.write_call({"asked": call})
            return begun
        except BaseException:
            self.close()
            raise

    def join(self, mark: Mark, number: int) -> None:
        """Take part in a folder that another process has opened."""
        self.mark, self.number = Mark(*mark), number

    def close(self) -> None:
        """Let others take the folder over."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_call(self, content: dict[str, Any]) -> None:
        """Write what was asked, and what was decided on the way.

        Raises:
          OSError: it cannot be written.
        """
        self._write_call({**content, "table": True})

    # The table.

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every undamaged line of this call."""
        for path in self._named("table"):
            yield from self._lines(path)

    def append(self, lines: Sequence[dict[str, Any]]) -> None:
        """Add lines to the table; they are on the disk when this returns.

        Raises:
          OSError: they could not be written, or the table is gone.
        """
        assert self._table is not None
        data = b"".join(encode_line(self.mark, line) for line in lines)
        with self.writing(), open_file(self._table, os.O_WRONLY | os.O_APPEND) as file:
            written = 0
            while written < len(data):
                written += file.write(data[written:])
            os.fsync(file.fileno())

    # Arrays.

    def new_name(self, what: str) -> str:
        """A name that no file had before."""
        self.number += 1
        return f"{what}-{self.number:06d}"

    def save(self, name: str, meta: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
        """Write arrays.

        Args:
          name: a new one; several processes add "-p" and their number.
          meta: strict JSON that `files` gives back.
          arrays: of the host.

        Raises:
          OSError: they cannot be written.
        """
        with self.writing():
            draft = self.path / re.sub(r"^[a-z]+", "draft", name)
            write_new(draft, self.mark, meta, arrays)
            self._put(draft, self.path / name)

    def files(self, what: str) -> list[Stored]:
        """The files of arrays of this call, the newest first; of those of several processes the first one's."""
        found = [(path, self._meta(path)) for path in self._named(what) if not re.search(r"-p[1-9]", path.name)]
        return [Stored(_number(path), meta) for path, meta in reversed(found) if meta is not None]

    def load(self, name: str, like: Sequence[Any]) -> list[np.ndarray] | None:
        """Arrays, or None if they are damaged; see `read_arrays`."""
        return read_arrays(self.path / name, self.mark, like)

    def remove(self, what: str, which: Callable[[Stored], bool] = lambda stored: True) -> None:
        """Remove the files of arrays of a kind that `which` takes."""
        for path in self._named(what):
            if (meta := self._meta(path)) is not None and which(Stored(_number(path), meta)):
                with contextlib.suppress(OSError):
                    path.unlink()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Say what to do where writing fails."""
        try:
            yield
        except OSError as error:
            raise type(error)(
                f"The {self.mark.kind} could not write to {self.path}: {error.strerror or error}. What was measured "
                "until now is kept there. Make room or mend the folder, and start the same call again: it goes on from "
                "the last good checkpoint."
            ) from error

    # Taking over.

    def _refuse_strangers(self) -> None:
        """Raise if the folder holds anything without saying for what call; before anything is written there."""
        names = sorted(os.listdir(self.path))
        if _CALL in names:
            return
        for name in names:
            if name != _LOCK and not name.startswith("draft-"):  # all that a killed process may leave
                raise ValueError(
                    f"{self._where} holds {self.path.name}/{name} but no {self.path.name}/{_CALL}, so whose it is is "
                    "not known. Restore that file, move the folder away, or give another directory."
                )

    def _take_lock(self) -> None:
        path = self.path / _LOCK
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise ValueError(
                f"{self._where} holds {self.path.name}/{_LOCK}, which is no regular file. Move it away, or give "
                "another directory."
            )
        self._lock = open(path, "a")  # noqa: SIM115
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BlockingIOError(
                f"{self._where} is in use: another process is running a {self.mark.kind} there. Wait for it, or name "
                "another folder."
            ) from None

    def _read_call(self, call: dict[str, Any], difference: Callable[[dict, dict], str]) -> dict[str, Any] | None:
        path, kind = self.path / _CALL, self.mark.kind
        if not os.path.lexists(path):
            return None
        try:
            mark, content = read_head(path)
        except (OSError, Damaged) as error:
            raise ValueError(self._damaged(_words(error))) from None
        asked = content.get("asked")
        if mark.kind != kind or content.get("version") != VERSION:
            raise ValueError(
                f"{self._where} holds a {mark.kind} of the folder's format {content.get('version')!r}, and this is a "
                f"{kind} of format {VERSION}. Give another directory."
            )
        if not isinstance(asked, dict) or digest_of(asked) != mark.call:
            raise ValueError(self._damaged("it does not say what was asked"))
        changed = difference(asked, call) or ("" if mark == self.mark else "something in the call changed")
        if changed:
            raise ValueError(
                f"{self._where} holds another {kind}: {changed}. Repeat that call, or give another directory."
            )
        return content

    def _damaged(self, why: str) -> str:
        return (
            f"{self._where} holds a damaged {self.path.name}/{_CALL} ({why}), so what was asked there is not known. "
            "Restore that file, or give another directory."
        )

    def _look_around(self) -> None:
        """Refuse the files of other calls, and remove what a killed process has not finished."""
        paths = sorted(path for path in self.path.iterdir() if _NAME.fullmatch(path.name))
        self.number = max(map(_number, paths), default=0)
        for path in paths:
            is_draft = path.name.startswith("draft-")
            if path.name.startswith("table-"):
                continue
            try:
                self._check_mark(path, read_head(path)[0])
            except (OSError, Damaged) as error:
                if not is_draft:
                    self.notes.append(f"{path.name} is damaged ({_words(error)}): it was left out.")
                elif _is_empty(path):
                    path.unlink()
            else:
                if is_draft:
                    path.unlink()

    def _open_table(self, *, made: bool) -> None:
        """Find the table to append to, or make it; a torn last line is cut off."""
        paths = self._named("table")
        if made and not paths:
            raise ValueError(
                f"{self._where} holds {self.path.name}/{_CALL} but no {self.path.name}/table, so what was measured "
                "there is not known. Restore it, move the folder away, or give another directory."
            )
        for path in paths:
            if any(True for _ in self._lines(path)):
                self._table = path
            else:
                self.notes.append(f"{path.name} is damaged: it was left out.")
        if self._table is None:
            self._new_table()
            return
        content = self._table.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._table, whole)

    def _new_table(self) -> None:
        name = self.new_name("table")
        self.save(f"{name}.jsonl", {}, ())
        self._table = self.path / f"{name}.jsonl"

    def _write_call(self, content: dict[str, Any]) -> None:
        path = self.path / _CALL
        with self.writing():
            if os.path.lexists(path) and self._meta(path) is None:
                raise FileExistsError(f"{_CALL} was changed meanwhile")
            draft = self.path / self.new_name("draft")
            write_new(draft, self.mark, {"version": VERSION, **content})
            self._put(draft, path)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Say what to do where the folder cannot be made or locked."""
        try:
            yield
        except BlockingIOError:
            raise
        except OSError as error:
            raise type(error)(
                f"{self._where} must be a folder that can be written, but: {error.strerror or error}. Name another one."
            ) from error

    def _lines(self, path: Path) -> Iterator[dict[str, Any]]:
        """The undamaged lines of a table, its first line too."""
        try:
            with open_file(path) as file:
                content = file.read()
        except OSError:
            return
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            try:
                mark, value = decode_line(line)
            except Damaged:
                continue
            self._check_mark(path, mark)
            yield value

    def _check_mark(self, path: Path, mark: Mark) -> None:
        if mark != self.mark:
            other = f"another {mark.kind}" if mark.kind == self.mark.kind else f"a {mark.kind}"
            raise ValueError(
                f"{self._where} holds {self.path.name}/{path.name}, which is of {other}. Move that file away, or give "
                "another directory."
            )

    # Paths.

    def _named(self, what: str) -> list[Path]:
        """The files of a kind, by their numbers; there is no telling yet whose they are."""
        found = [path for path in self.path.iterdir() if (m := _NAME.fullmatch(path.name)) and m[1] == what]
        return sorted(found, key=lambda path: (_number(path), path.name))

    def _meta(self, path: Path) -> dict[str, Any] | None:
        """What the first line says of a file of this call; None if it is not known to be one."""
        try:
            mark, meta = read_head(path)
        except (OSError, Damaged):
            return None
        return meta if mark == self.mark else None

    def _put(self, draft: Path, path: Path) -> None:
        """Give a whole file its name."""
        if path.name != _CALL and os.path.lexists(path):
            raise FileExistsError(f"{path.name} is there already")
        os.replace(draft, path)
        with contextlib.suppress(OSError):  # not every system can
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def check_directory(verb: str, directory: object) -> str | os.PathLike[str]:
    """Raise unless it can be a folder's name.

    Raises:
      TypeError, ValueError: it cannot.
    """
    if not isinstance(directory, (str, os.PathLike)) or not os.fspath(directory):
        raise TypeError(f"`{verb}(directory=...)` must be a path or None, got {show(directory)}.")
    if "://" in str(directory):
        raise ValueError(
            f"`{verb}(directory=...)` must be a folder of this machine or one that it mounts, got {show(directory)}. "
            "Mount the bucket, or write to a disk and copy."
        )
    try:
        os.fsencode(directory)
        usable = "\0" not in os.fsdecode(directory)
    except UnicodeError:
        usable = False
    if not usable:
        raise ValueError(f"`{verb}(directory=...)` must be the name of a folder, got {show(directory)}.")
    return directory


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _number(path: Path) -> int:
    return int(path.name.split("-")[1].split(".")[0])


def _is_empty(path: Path) -> bool:
    found = os.lstat(path)
    return stat.S_ISREG(found.st_mode) and found.st_size == 0
