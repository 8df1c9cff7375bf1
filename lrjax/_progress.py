"""A progress bar on the terminal or in a notebook, which searches and sweeps share."""

import html
import time
from typing import Any

NOTEBOOK_SECONDS = 0.25
"""Between two updates in a notebook, where each is a message to the browser."""


class Bar:
    """A rich progress bar on standard error, gone when it is closed; in a notebook a line of HTML, likewise.

    Args:
      *columns: what stands to the right of the description and the bar, as rich's columns.
    """

    def __init__(self, *columns: Any):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        self._line = _NotebookLine() if console.is_jupyter else None
        if self._line is None:
            everything = (TextColumn("{task.description}"), BarColumn(), *columns)
            self._progress = Progress(*everything, console=console, transient=True)
            self._progress.start()
            self._task = self._progress.add_task("preparing", total=None, numbers="")

    def show(self, stage: str, done: int, planned: int, numbers: str = "") -> None:
        """Where it is; `planned` 0 is unknown, `numbers` go into the column of that field."""
        if self._line is not None:
            self._line.show(stage, done, planned, numbers)
        else:
            self._progress.update(self._task, description=stage, completed=done, total=planned or None, numbers=numbers)

    def close(self) -> None:
        """Remove it."""
        if self._line is not None:
            self._line.close()
        else:
            self._progress.stop()


class _NotebookLine:
    """One line in a notebook, rewritten in place; rich would ask for ipywidgets."""

    def __init__(self) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        self._handle: Any = display(_html("preparing"), raw=True, display_id=True)
        self._next = 0.0

    def show(self, stage: str, done: int, planned: int, numbers: str) -> None:
        """Rewrite it, unless it was just done."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + NOTEBOOK_SECONDS
        share = f' value="{done}" max="{planned}"' if planned else ""
        text = " ".join(filter(None, [f"{stage}, {done:,}" + (f" of {planned:,}" if planned else ""), numbers]))
        self._handle.update(_html(text, f"<progress{share}></progress> "), raw=True)

    def close(self) -> None:
        """Leave nothing to be seen."""
        self._handle.update(_html(""), raw=True)


def _html(text: str, before: str = "") -> dict[str, str]:
    return {"text/plain": text, "text/html": f"<span>{before}{html.escape(text)}</span>"}
