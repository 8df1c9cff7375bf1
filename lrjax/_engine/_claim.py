"""Whether a folder may be used: its name, whose it is, that nobody else works there."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .._checks import show
from ._record import Damaged, Mark, digest_of, is_regular, read_head

VERSION = 2
"""Of the folder's format."""

CALL = "call.json"
_LOCK = "lock"


def check_directory(verb: str, directory: object) -> str:
    """The argument, if it can be a folder's name; raises `TypeError` or `ValueError`."""
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
    """Raise `ValueError` if a folder holds anything without saying for what call."""
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
    """The open file that keeps others out until it is closed; raises `BlockingIOError` if they are in."""
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
    where: str, folder: Path, mark: Mark, call: dict[str, Any], grows: Sequence[str]
) -> tuple[Mark, dict[str, Any]] | None:
    """The mark and the content of call.json, or None if there is none; raises `ValueError` if it is not of this call.

    The parts of a call that `grows` names may differ: the caller looks at them.
    """
    path = folder / CALL
    if not os.path.lexists(path):
        return None
    try:
        there, content = read_head(path)
    except (OSError, Damaged) as error:
        raise _damaged(where, folder, words_of(error)) from None
    asked = content.get("asked")
    if there.kind != mark.kind or content.get("version") != VERSION:
        raise ValueError(
            f"{where} holds a {there.kind} of the folder's format {content.get('version')!r}, and this is a "
            f"{mark.kind} of format {VERSION}. Give another directory."
        )
    if not isinstance(asked, dict) or digest_of(asked) != there.call:
        raise _damaged(where, folder, "it does not say what was asked")
    changed = difference(asked, call, grows)
    if changed:
        raise another(where, mark.kind, changed)
    return there, content


def difference(there: dict[str, Any], now: dict[str, Any], grows: Sequence[str]) -> str:
    """The first way in which two calls differ, in words, but for what may grow; empty if they do not."""
    for name in (*now, *(there.keys() - now.keys())):
        if name not in grows and there.get(name) != now.get(name):
            if re.fullmatch(r"#[0-9a-f]{8}", str(there.get(name))):
                return f"{name} changed"
            return f"{name}: {there.get(name)} there, {now.get(name)} now"
    return ""


def another(where: str, kind: str, changed: str) -> ValueError:
    """What to raise where a folder is of another call, which differs by what `changed` says."""
    return ValueError(f"{where} holds another {kind}: {changed}. Repeat that call, or give another directory.")


def words_of(error: Exception) -> str:
    """What an error says, without the number and the path of the system's."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _damaged(where: str, folder: Path, why: str) -> ValueError:
    return ValueError(
        f"{where} holds a damaged {folder.name}/{CALL} ({why}), so what was asked there is not known. Restore that "
        "file, or give another directory."
    )
