"""JAX's persistent compilation cache, in a folder of the user's that does not grow without end."""

import os
from pathlib import Path

import jax

MOST_BYTES = 256 * 2**20
"""Of the folder; a small search takes 0.2 MiB on CPU. Beyond it the oldest half goes."""


def keep_programs(folder: Path | None = None) -> Path | None:
    """Let later processes read the programs that this one compiles; a folder that the user gave JAX stays.

    Args:
      folder: None: lrjax/programs in the user's cache folder.

    Returns:
      The folder; None where it cannot be written.
    """
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if given is not None:
        return Path(given)
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = folder or Path(home, "lrjax", "programs")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_room(folder)
    except (OSError, RuntimeError):  # a home that is missing or read-only
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _make_room(folder: Path) -> None:
    """Remove the oldest programs of a folder that is too large; JAX's own limit needs the package filelock."""
    files = sorted(((found := path.stat()).st_mtime, found.st_size, path) for path in folder.glob("*-cache"))
    left = sum(size for _, size, _ in files)
    if left <= MOST_BYTES:
        return
    for _, size, path in files:
        if left <= MOST_BYTES / 2:
            break
        path.unlink(missing_ok=True)
        left -= size
