"""What a command prints: tables for people, JSON for machines, one line for scripts; and the files it writes."""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._failure import SearchInterrupted
from .._json import encode
from ._errors import FOUND, INTERRUPTED, NOT_FOUND, WRONG_USE, as_options, complain
from ._options import Output

NARROWEST, PIPED = 50, 120
"""Columns of a table at least, and of one in a file."""

ASCII_BARS = str.maketrans("▁▂▃▄▅▆▇█", "_.,-=+*#")
"""The heights of a described schedule for an encoding that has no blocks."""


class Screen(Console):
    """rich's console on standard output, which raises where the pipe is closed, instead of ending Python."""

    def __init__(self, most: int = 2**31) -> None:
        super().__init__(file=sys.stdout, highlight=False, markup=False)
        columns = os.environ.get("COLUMNS", "")[:6]
        if columns.isdecimal() and int(columns) > 0:
            width = int(columns)
        else:  # where COLUMNS is 0 rich prints nothing
            width = shutil.get_terminal_size().columns if self.is_terminal else PIPED
        self.width = max(NARROWEST, min(most, width))

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def say(self, text: str = "", style: str = "") -> None:
        """One paragraph, wrapped on a terminal only."""
        if self.options.ascii_only:
            text = text.translate(ASCII_BARS)
        self.print(Text(text, style=style), soft_wrap=not self.is_terminal)

    def summary(self, text: str) -> None:
        """A result's own sentences, a warning in yellow."""
        for line in text.splitlines():
            self.say(as_options(line), "bold yellow" if line.startswith("Warning, ") else "")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], bold: Sequence[int] = (), whole: int = 1
    ) -> None:
        """Rows of words; of the columns `whole` is never wrapped."""
        table = Table(show_header=any(columns))
        for place, name in enumerate(columns):
            table.add_column(name, no_wrap=place == whole)
        for place, row in enumerate(rows):
            table.add_row(*row, style="bold" if place in bold else None)
        self.print(table)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command found, in the forms in which it can be asked for."""

    document: Mapping[str, Any]  # for --json
    show: Callable[[Screen], object]  # prints it for people
    line: str = ""  # for --quiet; empty where nothing was found
    why: str = ""  # nothing was found
    optimizer: str = ""  # in Python, to paste; empty where nothing was found


def deliver(answer: Answer, output: Output, writers: Mapping[str, Callable[[Path], Any]], kept: str = "") -> int:
    """Write the files (name -> writer), the document first, print the answer, and return the exit status.

    After Ctrl-C `kept` says what there is, as in "The history until then".
    """
    wanted = {name: write for name, write in writers.items() if output.plot or not name.endswith(".png")}
    files, trouble = _write(output.out, wanted)
    screen = Screen()
    if kept:
        where = f"{kept} is in {next(iter(files.values()))}. " if files else ""
        notice = f"Interrupted. {where}{output.how_to_go_on()}"
        complain(notice) if output.json or output.quiet else screen.say(notice, "bold yellow")
    if output.json:
        print_json({**answer.document, "files": {name: str(path) for name, path in files.items()}})
    elif output.quiet:
        print(answer.line) if answer.line else complain(answer.why)
    else:
        answer.show(screen)
        if files:
            screen.say(f"Written: {', '.join(map(str, files.values()))}")
        if answer.optimizer:
            screen.say()
            screen.say(f"    optimizer = {answer.optimizer}", "bold")
    if trouble:
        complain(trouble)
        return WRONG_USE
    return INTERRUPTED if kept else FOUND if answer.line else NOT_FOUND


def _write(folder: Path, writers: Mapping[str, Callable[[Path], Any]]) -> tuple[dict[str, Path], str]:
    """What was written, and what went wrong if anything did: what was found must be printed all the same."""
    files: dict[str, Path] = {}
    try:
        for name, write in writers.items():
            write(folder / name)
            files[name] = folder / name
    except Exception as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        return files, f"Not everything could be written to {folder}: {words}."
    return files, ""


def picture(draw: Callable[[], Any]) -> Callable[[Path], None]:
    """A writer of what `draw` draws."""
    return lambda path: draw().figure.savefig(path)


def or_what_there_is(verb: Callable[[], Any]) -> tuple[Any, bool]:
    """What a verb returns, and whether it was interrupted; Ctrl-C before there was any result goes on."""
    try:
        return verb(), False
    except SearchInterrupted as stop:
        if stop.result is None:
            raise
        return stop.result, True


@contextlib.contextmanager
def only_the_answer(output: Output) -> Iterator[bool]:
    """What the user's code prints goes to standard error where a machine reads; yields whether to show a bar."""
    with contextlib.redirect_stdout(sys.stderr if output.json or output.quiet else sys.stdout):
        yield sys.stderr.isatty() and not output.quiet


def print_json(document: Mapping[str, Any]) -> None:
    """Strict JSON: numbers that are not finite are the strings "inf", "-inf", "nan"."""
    print(json.dumps(encode(document), indent=1, allow_nan=False))
