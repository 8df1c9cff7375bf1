"""Our own folder inside a directory of the user's, for a sweep or a search.

    lrjax-sweep/                 or lrjax-search/
        lock                     held while a process works there; empty
        call.json                what was asked
        table-000001.jsonl       a line for everything that was measured, appended to
        checkpoint-000007, ...   arrays

Whose a file is, its content says: every first line, and every line of the table, holds the digest of the call (of the
first one, where later ones had more settings). A new file has a number that none had before, so that nothing is
overwritten, and only a file that says that it is of this call is removed.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._record import (
    Damaged,
    Mark,
    append_lines,
    cut_torn_line,
    digest_of,
    is_regular,
    read_head,
    read_lines,
    write_new,
)

VERSION = 2
"""Of the folder's format."""

CALL, _LOCK = "call.json", "lock"

_NAME = re.compile(r"(table|checkpoint|waiting|lanes|draft)-([0-9]{6,})(-p[0-9]+)?(\.jsonl)?")


class Stored(NamedTuple):
    """A file of arrays: the number in its name, and what its first line says."""

    number: int
    meta: dict[str, Any]


class Folder:
    """The folder of one call; `verb` has the argument `directory`, `kind` is "sweep" or "search".

    Where several processes share it, one writes the table and removes files, and reads for all.
    """

    def __init__(self, verb: str, kind: str, directory: str | os.PathLike[str], *, writes: bool = True):
        self._writes = writes
        self.directory = os.path.abspath(directory)
        self.path = Path(self.directory) / f"lrjax-{kind}"
        self.mark, self.number, self.notes = Mark(kind, ""), 0, list[str]()
        self._where = f"`{verb}(directory={self.directory!r})`"
        self._asked: dict[str, Any] = {}
        self._lock: Any = None
        self._table: Path | None = None

    def open(self, call: dict[str, Any], grows: Sequence[str] = ()) -> dict[str, Any]:
        """Make the folder or take it over, until `close`; what `write_call` wrote, nothing in a new folder.

        The parts of the call that `grows` names may have changed: the caller looks at them. Raises `ValueError` where
        the folder or a file in it is not of this call, `OSError` where it cannot be written or another process works.
        """
        mine = self.mark._replace(call=digest_of(call))
        try:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
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
            self.mark, begun = self._read_call(mine, call, grows) or (mine, {})
            self._asked = begun.get("asked", call)
            self._look_around()
            if not begun:
                self._write_call({})
            self._open_table(made="table" in begun)
            if "table" not in begun:  # a process that is killed before this leaves a new folder
                self._write_call({"table": True})
            return begun
        except BaseException:
            self.close()
            raise

    def another(self, changed: str) -> ValueError:
        """What to raise where the folder turns out to be of another call."""
        return self._holds(f"another {self.mark.kind}: {changed}. Repeat that call")

    def _holds(self, what: str, error: type[Exception] = ValueError) -> Any:
        """The error that says what is there, and what to do but for taking another folder."""
        return error(f"{self._where} holds {what}, or give another directory.")

    def close(self) -> None:
        """Let others take the folder over."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_call(self, decided: dict[str, Any]) -> None:
        """Write what was decided on the way, beside what was asked."""
        if self._writes:
            self._write_call({**decided, "table": True})

    # The table.

    def lines(self) -> list[dict[str, Any]]:
        """Every undamaged line of this call."""
        return [line for path in self._named("table") for line in self._lines(path)] if self._writes else []

    def append(self, lines: Sequence[dict[str, Any]]) -> None:
        """Add lines to the table; they are on the disk when this returns."""
        if not self._writes:
            return
        assert self._table is not None
        with self._writing():
            append_lines(self._table, self.mark, lines)

    # Arrays.

    def new_name(self, what: str) -> str:
        """A name that no file had before."""
        self.number += 1
        return f"{what}-{self.number:06d}"

    def write_arrays(self, name: str, meta: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
        """Write arrays of the host under a new name; several processes add "-p" and their number."""
        with self._writing():
            draft = self.path / re.sub(r"^[a-z]+", "draft", name)
            write_new(draft, self.mark, meta, arrays)
            self._put(draft, self.path / name)

    def files(self, what: str) -> list[Stored]:
        """The files of arrays of this call, the newest first; of those of several processes the first one's."""
        found = [(path, self._meta(path)) for path in self._named(what) if not re.search(r"-p[1-9]", path.name)]
        return [Stored(_number(path), meta) for path, meta in reversed(found) if meta is not None]

    def drop(self, what: str, which: Callable[[Stored], bool] = lambda stored: True) -> None:
        """Remove the files of arrays of a kind that `which` takes."""
        for path in self._named(what) if self._writes else ():
            if (meta := self._meta(path)) is not None and which(Stored(_number(path), meta)):
                with contextlib.suppress(OSError):
                    path.unlink()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Say what to do where writing fails."""
        try:
            yield
        except OSError as error:
            advice = (
                "What was measured until now is kept there. Make room or mend the folder, and start the same call "
                "again: it goes on from the last good checkpoint."
            )
            if self._table is not None and not self._table.exists():
                advice = (
                    "It was removed meanwhile, and what was measured with it. Restore it and start the same call again "
                    "to resume, or start it in another directory."
                )
            raise type(error)(
                f"The {self.mark.kind} could not write to {self.path}: {_words_of(error)}. {advice}"
            ) from error

    # Taking over.

    def _refuse_strangers(self) -> None:
        """Raise if the folder holds anything without saying for what call."""
        names = sorted(os.listdir(self.path))
        for name in names if CALL not in names else ():
            if name != _LOCK and not name.startswith("draft-"):  # all that a killed process may leave
                raise self._holds(
                    f"{self.path.name}/{name} but no {self.path.name}/{CALL}, so whose it is is not known. Restore "
                    "that file, move the folder away"
                )

    def _take_lock(self) -> None:
        """Keep others out until `close`; raises `BlockingIOError` if they are in."""
        path = self.path / _LOCK
        if os.path.lexists(path) and not is_regular(path):
            raise self._holds(f"{self.path.name}/{_LOCK}, which is no regular file. Move it away")
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

    def _read_call(self, mine: Mark, call: dict[str, Any], grows: Sequence[str]) -> tuple[Mark, dict[str, Any]] | None:
        """The mark and the content of call.json, or None if there is none; raises `ValueError` if it is of others."""
        if not os.path.lexists(self.path / CALL):
            return None
        damaged = "a damaged {}/{} ({}), so what was asked there is not known. Restore that file"
        try:
            there, content = read_head(self.path / CALL)
        except (OSError, Damaged) as error:
            raise self._holds(damaged.format(self.path.name, CALL, _words_of(error))) from None
        asked = content.get("asked")
        if there.kind != mine.kind or content.get("version") != VERSION:
            raise ValueError(
                f"{self._where} holds a {there.kind} of the folder's format {content.get('version')!r}, and this is a "
                f"{mine.kind} of format {VERSION}. Give another directory."
            )
        if not isinstance(asked, dict) or digest_of(asked) != there.call:
            raise self._holds(damaged.format(self.path.name, CALL, "it does not say what was asked"))
        changed = _difference(asked, call, grows)
        if changed:
            raise self.another(changed)
        return there, content

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
                    self.notes.append(f"{path.name} is damaged ({_words_of(error)}): it was left out.")
            else:
                if is_draft:
                    path.unlink()

    def _open_table(self, *, made: bool) -> None:
        """Find the table to append to, or make it; a torn last line is cut off."""
        paths = self._named("table")
        if made and not paths:
            raise self._holds(
                f"{self.path.name}/{CALL} but no {self.path.name}/table, so what was measured there is not known. "
                "Restore it, move the folder away"
            )
        for path in paths:
            if self._lines(path):
                self._table = path
            else:
                self.notes.append(f"{path.name} is damaged: it was left out.")
        if self._table is None:
            name = f"{self.new_name('table')}.jsonl"
            self.write_arrays(name, {}, ())
            self._table = self.path / name
        else:
            cut_torn_line(self._table)

    def _write_call(self, content: dict[str, Any]) -> None:
        path = self.path / CALL
        with self._writing():
            if os.path.lexists(path) and self._meta(path) is None:
                raise FileExistsError(f"{CALL} was changed meanwhile")
            draft = self.path / self.new_name("draft")
            write_new(draft, self.mark, {"version": VERSION, "asked": self._asked, **content})
            self._put(draft, path)

    def _lines(self, path: Path) -> list[dict[str, Any]]:
        """The undamaged lines of a table, its first line too."""
        try:
            lines = read_lines(path) if is_regular(path) else []
        except OSError as error:
            what = f"{self.path.name}/{path.name}, which cannot be read: {_words_of(error)}. Make it readable"
            raise self._holds(what, type(error)) from error
        for mark, _ in lines:
            self._check_mark(path, mark)
        return [value for _, value in lines]

    def _check_mark(self, path: Path, mark: Mark) -> None:
        if mark != self.mark:
            other = f"another {mark.kind}" if mark.kind == self.mark.kind else f"a {mark.kind}"
            raise self._holds(f"{self.path.name}/{path.name}, which is of {other}. Move that file away")

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
        if path.name != CALL and os.path.lexists(path):
            raise FileExistsError(f"{path.name} is there already")
        os.replace(draft, path)
        with contextlib.suppress(OSError):  # not every system can
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _number(path: Path) -> int:
    return int(path.name.split("-")[1].split(".")[0])


def _difference(there: dict[str, Any], now: dict[str, Any], grows: Sequence[str]) -> str:
    """The first way in which two calls differ, in words, but for what may grow; empty if they do not."""
    for name in (*now, *(there.keys() - now.keys())):
        if name not in grows and there.get(name) != now.get(name):
            if re.fullmatch(r"#[0-9a-f]{8}", str(there.get(name))):
                return f"{name} changed"
            return f"{name}: {there.get(name)} there, {now.get(name)} now"
    return ""


def _words_of(error: Exception) -> str:
    """What an error says, without the number and the path of the system's."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
