"""Whether a folder may be used: its name, whose it is, that nobody else works there."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .._checks import show
from ._record import Damaged, Mark, digest_of, is_regular, read_head

VERSION = 2
"""Of the folder's format."""

CALL = "call.json"
_LOCK = "lock"


def check_directory(verb: str, directory: object) -> str:
    """The argument, if it can be a folder's name.

    Raises:
      TypeError, ValueError: it cannot.
    """
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


@contextlib.contextmanager
def usable(where: str) -> Iterator[None]:
    """Say what to do where a folder cannot be made or locked; `where` begins the message, here and below."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        place = "" if error.filename is None else f" ({error.filename})"
        raise type(error)(
            f"{where} must be a folder that can be written, but: {error.strerror or error}{place}. Name another one."
        ) from error


def refuse_strangers(where: str, folder: Path) -> None:
    """Raise if a folder holds anything without saying for what call.

    Raises:
      ValueError: it does.
    """
    names = sorted(os.listdir(folder))
    if CALL in names:
        return
    for name in names:
        if name != _LOCK and not name.startswith("draft-"):  # all that a killed process may leave
            raise ValueError(
                f"{where} holds {folder.name}/{name} but no {folder.name}/{CALL}, so whose it is is not known. Restore "
                "that file, move the folder away, or give another directory."
            )


def take_lock(where: str, folder: Path, kind: str) -> Any:
    """The open file that keeps others out until it is closed.

    Raises:
      BlockingIOError: another process works there.
      ValueError: what is there in its place is no file.
    """
    path = folder / _LOCK
    if os.path.lexists(path) and not is_regular(path):
        raise ValueError(
            f"{where} holds {folder.name}/{_LOCK}, which is no regular file. Move it away, or give another directory."
        )
    lock = open(path, "a")  # noqa: SIM115
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise BlockingIOError(
            f"{where} is in use: another process is running a {kind} there. Wait for it, or name another folder."
        ) from None
    return lock


def read_call(
    where: str,
    folder: Path,
    mark: Mark,
    call: dict[str, Any],
    difference: Callable[[dict, dict], str],
    grows: Sequence[str] = (),
) -> tuple[Mark, dict[str, Any]] | None:
    """The mark and the content of call.json, or None if there is none.

    Args:
      where: for messages.
      folder: ours.
      mark: of the call that is made.
      call: what is asked.
      difference: says how two calls differ.
      grows: the parts of a call that may change.

    Raises:
      ValueError: another call began there, or the file is damaged.
    """
    path = folder / CALL
    if not os.path.lexists(path):
        return None
    try:
        there, content = read_head(path)
    except (OSError, Damaged) as error:
        raise ValueError(_damaged(where, path, words_of(error))) from None
    asked = content.get("asked")
    if there.kind != mark.kind or content.get("version") != VERSION:
        raise ValueError(
            f"{where} holds a {there.kind} of the folder's format {content.get('version')!r}, and this is a "
            f"{mark.kind} of format {VERSION}. Give another directory."
        )
    if not isinstance(asked, dict) or digest_of(asked) != there.call:
        raise ValueError(_damaged(where, path, "it does not say what was asked"))
    same = digest_of({**call, **{name: asked.get(name) for name in grows}}) == there.call
    changed = difference(asked, call) or ("" if same else "something in the call changed")
    if changed:
        raise another(where, mark.kind, changed)
    return there, content


def another(where: str, kind: str, changed: str) -> ValueError:
    """What to raise where a folder is of another call, which differs by what `changed` says."""
    return ValueError(f"{where} holds another {kind}: {changed}. Repeat that call, or give another directory.")


def words_of(error: Exception) -> str:
    """What an error says, without the number and the path of the system's."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _damaged(where: str, path: Path, why: str) -> str:
    return (
        f"{where} holds a damaged {path.parent.name}/{path.name} ({why}), so what was asked there is not known. "
        "Restore that file, or give another directory."
    )
