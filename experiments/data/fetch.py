"""One file from a server, whole or not at all; one zip archive, unpacked inside its folder or not at all."""

import hashlib
import http.client
import os
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as silent."""


def fetch(url: str, target: str | Path, *, size: int | None = None, sha256: str | None = None) -> Path:
    """Download `url` to `target`, by way of `target.part`, which is renamed when it is whole.

    Args:
      url: an address of http or https.
      target: the file to write; its folder is made. An existing file is replaced.
      size: the number of bytes it must have, where known.
      sha256: the hexadecimal digest it must have, where known.

    Returns:
      `target`.

    Raises:
      FileNotFoundError: the server has no such file (404 or 410).
      ConnectionError: no network, a silent server, another refusal, or a connection that broke off.
      ValueError: the file is not the one that was wanted (size or digest).
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        count, digest = _stream(url, part)
        if size is not None and count != size:
            raise ValueError(f"`{url}` must have {size:,} bytes, got {count:,}. {_changed(target)}")
        if sha256 is not None and digest != sha256:
            raise ValueError(f"`{url}` must have the SHA-256 {sha256}, got {digest}. {_changed(target)}")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _changed(target: Path) -> str:
    return f"It broke on the way or was changed: try again, or get it from elsewhere and save it as {target}."


def _stream(url: str, part: Path) -> tuple[int, str]:
    """Bytes and digest of what the server sent."""
    digest, count = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, part.open("wb") as file:
            promised = response.headers.get("Content-Length")
            while chunk := response.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                count += len(chunk)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(url, error.code, error.reason) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise ConnectionError(
            f"`{url}` could not be downloaded: {getattr(error, 'reason', None) or error or type(error).__name__}. "
            "Check the network (and https_proxy, where there is a proxy), or copy the file from another machine."
        ) from None
    if promised is not None and count != int(promised):
        raise ConnectionError(
            f"`{url}` broke off: the server promised {int(promised):,} bytes, got {count:,}. Try again."
        )
    return count, digest.hexdigest()


def _refusal(url: str, code: int, reason: str) -> OSError:
    if code in (404, 410):
        return FileNotFoundError(f"`{url}` does not exist on the server ({code} {reason}). Check the name.")
    advice = "It may be private." if code in (401, 403) else "Try again later."
    return ConnectionError(f"`{url}` was refused by the server ({code} {reason}). {advice}")


_AGAIN = "Delete it and download it again."


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack the one top folder of a zip archive to `folder`, by way of `folder.part`.

    Args:
      archive: a zip file whose entries all lie in one top folder named like `folder` (macOS's own are passed over).
      folder: the folder to make, which must not exist.

    Returns:
      `folder`.

    Raises:
      ValueError: no zip file, a broken one, one with an entry that leads outside its top folder, or another layout.
    """
    archive, folder = Path(archive), Path(folder)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.filename.startswith("__MACOSX/")]
            if not entries:
                raise ValueError(f"`{archive}` must hold one top folder {folder.name}/, got no entries. {_AGAIN}")
            for entry in entries:
                _check_entry(archive, entry, folder.name)
            opened.extractall(part, entries)
        os.replace(part / folder.name, folder)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(
            f"`{archive}` must be a zip archive, got {archive.stat().st_size:,} bytes that are none or a broken one: "
            f"{error}. {_AGAIN}"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _check_entry(archive: Path, entry: zipfile.ZipInfo, top: str) -> None:
    """Raise unless the entry is a plain file or folder inside the top folder, by the rules of every system."""
    name = entry.orig_filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    outside = ".." in parts or name.startswith(("/", "\\")) or bool(PureWindowsPath(name).drive)
    if outside or stat.S_ISLNK(entry.external_attr >> 16):
        kind = "leads outside the folder" if outside else "is a link"
        raise ValueError(
            f"`{archive}` must hold plain files inside {top}/, got the entry {name!r}, which {kind}. "
            "Nothing was unpacked. This is not the public archive: delete it and download it again."
        )
    if parts[:1] != (top,):
        raise ValueError(f"`{archive}` must hold one top folder {top}/, got the entry {name!r}. Is it another archive?")
