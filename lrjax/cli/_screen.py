"""The console that commands print on. Imported by `main` only."""

import os
import shutil
import sys

from rich.console import Console

NARROWEST = 50
"""Columns of a table at least: a narrower one shows nothing."""

PIPED = 120
"""Columns of a table in a file."""


class Screen(Console):
    """rich's console on standard output; of a closed pipe it tells like any other writer, instead of ending Python."""

    def __init__(self) -> None:
        super().__init__(file=sys.stdout, highlight=False, markup=False)
        columns = os.environ.get("COLUMNS", "")[:6]
        if columns.isdecimal() and int(columns) > 0:
            self.width = max(NARROWEST, int(columns))
        else:  # where COLUMNS is 0 rich prints nothing
            self.width = max(NARROWEST, shutil.get_terminal_size().columns) if self.is_terminal else PIPED

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
