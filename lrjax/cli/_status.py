"""How a command ends: the exit status, complaints, and the files of a result."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOUND, NOT_FOUND, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def complain(words: str) -> None:
    """On standard error."""
    with contextlib.suppress(OSError):  # nobody reads it, or the device is full: the exit status tells
        print(f"lrjax: {words}", file=sys.stderr, flush=True)


def interruption(told: str, files: dict[str, Path], directory: str | None = None, *, resumable: bool = True) -> str:
    """What Ctrl-C left, where it lies, and how to go on.

    Args:
      told: what it is, as in "what was measured until then"; "" if there is nothing.
      files: what was written, the document first.
      directory: the folder of checkpoints; None without.
      resumable: whether the command has an option for such a folder.
    """
    when = "." if told else " before there was a result."
    kept = f"{told[0].upper()}{told[1:]} is in {next(iter(files.values()))}." if files else ""
    if directory is not None:
        how = f"The same command goes on with what is in {directory}."
    else:
        how = "The same command begins anew" + ("; with --directory FOLDER it would go on." if resumable else ".")
    return " ".join(filter(None, [f"Interrupted{when}", kept, how]))


def write_result(document: Path, value: Any, pictures: dict[str, Callable[[], Any]]) -> tuple[dict[str, Path], str]:
    """Write the JSON file and the pictures beside it; return what was written, and what went wrong if anything did."""
    files: dict[str, Path] = {}
    try:
        value.to_json(document)
        files[document.name] = document
        for name, draw in pictures.items():
            draw().figure.savefig(document.parent / name)
            files[name] = document.parent / name
    except Exception as error:  # what was found must be printed all the same
        return files, not_written(document.parent, error)
    return files, ""


def not_written(folder: Path, error: Exception) -> str:
    """That files are missing, and why."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
    return f"Not everything could be written to {folder}: {words}."
