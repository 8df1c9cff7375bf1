"""How a command ends: the exit status, complaints, and the files of a result."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOUND, NOT_FOUND, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def complain(words: str) -> None:
    """On standard error."""
    print(f"lrjax: {words}", file=sys.stderr)


def write_result(document: Path, value: Any, pictures: dict[str, Callable[[], Any]]) -> tuple[dict[str, Path], str]:
    """Write the JSON file and the pictures beside it; return what was written, and what went wrong if anything did."""
    files: dict[str, Path] = {}
    try:
        value.to_json(document)
        files[document.name] = document
        for name, draw in pictures.items():
            draw().figure.savefig(document.parent / name)
            files[name] = document.parent / name
    except OSError as error:
        return files, f"Not everything could be written to {document.parent}: {error.strerror or error}."
    return files, ""
