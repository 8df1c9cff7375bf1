"""A progress bar on the terminal, which searches and sweeps share."""

from typing import Any


class Bar:
    """A rich progress bar on standard error, gone when it is closed.

    Args:
      *columns: what stands to the right of the description and the bar, as rich's columns.
    """

    def __init__(self, *columns: Any):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        everything = (TextColumn("{task.description}"), BarColumn(), *columns)
        self._progress = Progress(*everything, console=Console(stderr=True), transient=True)
        self._progress.start()
        self._task = self._progress.add_task("preparing", total=None, numbers="")

    def show(self, stage: str, done: int, planned: int, numbers: str = "") -> None:
        """Where it is; `planned` 0 is unknown, `numbers` go into the column of that field."""
        self._progress.update(self._task, description=stage, completed=done, total=planned or None, numbers=numbers)

    def close(self) -> None:
        """Remove it."""
        self._progress.stop()
