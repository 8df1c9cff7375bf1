"""Files that say what they are: a line of JSON behind its checksum, then the bytes of arrays.

    8f0c1d2e {"lrjax": "sweep", "call": "5d41...", "arrays": [["float32", [2, 8], 907060870]], ...}

Nothing is executed when one is read, and nothing but a regular file is ever opened.
"""

import errno
import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Damaged(ValueError):
    """A line is not what was written."""


def words_of(error: Exception) -> str:
    """What an error says, without the number and the path of the system's."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


class Mark(NamedTuple):
    """Whose a file is, which every line of JSON says: "sweep" or "search", and the digest of the call."""

    kind: str
    call: str


def digest_of(call: dict[str, Any]) -> str:
    """Equal descriptions have equal digests."""
    return hashlib.sha256(json.dumps(call, sort_keys=True).encode()).hexdigest()[:32]


def difference(there: dict[str, Any], now: dict[str, Any], grows: Sequence[str]) -> str:
    """The first way in which two calls differ, in words, but for what may grow; empty if they do not."""
    for name in (*now, *(there.keys() - now.keys())):
        if name not in grows and there.get(name) != now.get(name):
            if re.fullmatch(r"#[0-9a-f]{8}", str(there.get(name))):
                return f"{name} changed"
            return f"{name}: {there.get(name)} there, {now.get(name)} now"
    return ""


def fits(value: Any, form: Any) -> bool:
    """Whether JSON has a form: a type, a tuple of forms to choose from, [form of all items] or {name: form}."""
    if isinstance(form, tuple):
        return any(fits(value, one) for one in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(item, form[0]) for item in value)
    if isinstance(form, dict):
        return isinstance(value, dict) and all(name in value and fits(value[name], one) for name, one in form.items())
    return type(value) is form if isinstance(form, type) else value == form


def encode_line(mark: Mark, value: dict[str, Any]) -> bytes:
    """A line with its mark and its checksum."""
    text = json.dumps({"lrjax": mark.kind, "call": mark.call, **value}, allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_line(line: bytes) -> tuple[Mark, dict[str, Any]]:
    """The mark and the value of a line; raises `Damaged`."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise Damaged("its checksum is wrong")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged("it is no JSON of lrjax") from None
    if not fits(value, {"lrjax": str, "call": str}):
        raise Damaged("it does not say what it is")
    return Mark(value["lrjax"], value["call"]), value


def is_regular(path: Path) -> bool:
    """Whether it is a file: a pipe would wait for ever, and a link leads out of the folder."""
    return stat.S_ISREG(os.lstat(path).st_mode)


def _open(path: Path) -> Any:
    if not is_regular(path):
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)), "rb")


def read_head(path: Path) -> tuple[Mark, dict[str, Any]]:
    """The first line of a file; raises `OSError` or `Damaged`."""
    with _open(path) as file:
        return decode_line(file.readline())


def write_new(path: Path, mark: Mark, value: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
    """Write a file that is not there yet, down to the disk; where that fails nothing of it is left."""
    parts = [bytes_of(array) for array in arrays]
    if arrays:
        described = zip(arrays, parts, strict=True)
        value = value | {"arrays": [[str(x.dtype), list(x.shape), zlib.crc32(part)] for x, part in described]}
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(encode_line(mark, value))
            file.flush()  # from here on the file says whose it is
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(path)
        raise


def read_arrays(path: Path, mark: Mark, like: Sequence[Any]) -> list[np.ndarray] | None:
    """The first arrays of a file of this mark; None if they are damaged, or not of these shapes and dtypes."""
    try:
        with _open(path) as file:
            found, value = decode_line(file.readline())
            described = [[str(np.dtype(leaf.dtype)), list(leaf.shape)] for leaf in like]
            if found != mark or [one[:2] for one in value["arrays"][: len(like)]] != described:
                return None
            arrays = [np.empty(leaf.shape, leaf.dtype) for leaf in like]
            for array, (*_, checksum) in zip(arrays, value["arrays"], strict=False):
                part = bytes_of(array)
                if file.readinto(part) != part.nbytes or zlib.crc32(part) != checksum:
                    return None
            return arrays
    except (OSError, ValueError, KeyError, TypeError):
        return None


def bytes_of(array: np.ndarray) -> memoryview:
    """The memory of an array, as bytes; bfloat16 and the like have no buffer of their own."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
