"""Compiled programs, kept from one call of the command to the next by JAX's persistent compilation cache."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax

LARGEST = 256 * 2**20
"""Bytes. A search of the digits leaves about 1 MB."""

_FOLDER = "jax_compilation_cache_dir"
_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,  # the programs of a search are many and small
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@contextlib.contextmanager
def programs_kept(wanted: bool) -> Iterator[None]:
    """Have JAX keep them in the user's cache folder, unless it has a folder already (JAX_COMPILATION_CACHE_DIR)."""
    folder = _folder() if wanted and getattr(jax.config, _FOLDER) is None else None
    settings = {} if folder is None else {_FOLDER: str(folder), **_SETTINGS}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def _folder() -> Path | None:
    """The folder, made and cut down to its size; None where there can be none."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lrjax" / "programs"
        folder.mkdir(parents=True, exist_ok=True)
        _drop_the_oldest(folder)
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return None
    return folder if os.access(folder, os.W_OK) else None


def _drop_the_oldest(folder: Path) -> None:
    """Delete what was not used for the longest time, beyond the size."""
    # JAX does it itself by jax_compilation_cache_max_size, but only where the package filelock is installed.
    found = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
    kept = 0
    for path, about in sorted(found, key=lambda one: -max(one[1].st_atime, one[1].st_mtime)):
        kept += about.st_size
        if kept > LARGEST:
            path.unlink(missing_ok=True)
