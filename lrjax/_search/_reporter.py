"""Progress of a search: one event type, and a display for terminals."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from .._checks import can_take, show
from .._progress import Bar


class SearchProgress(NamedTuple):
    """Where a search is.

    Attributes:
      stage: what is being done, in words.
      updates: optimizer updates done, over all lanes and seeds.
      planned: updates of the rounds known so far; later rounds add to it.
      seconds: since the start.
    """

    stage: str
    updates: int
    planned: int
    seconds: float


ProgressCallback = Callable[[SearchProgress], None]


class Reporter:
    """Counts updates and tells whoever wants to know.

    Args:
      progress: a function of `SearchProgress`, True for a bar on the terminal, None or False for silence.
    """

    def __init__(self, progress: ProgressCallback | bool | None):
        if progress is not None and not isinstance(progress, bool) and not can_take(progress, 1):
            raise TypeError(f"`progress` must be True, None or a function of a SearchProgress, got {show(progress)}.")
        self._bar = _SearchBar() if progress is True else None
        self._tell: ProgressCallback | None = self._bar or (progress if callable(progress) else None)
        self._stage, self._updates, self._planned, self._start = "", 0, 0, time.perf_counter()

    def stage(self, name: str, updates: int = 0) -> None:
        """A new stage begins that will do so many updates."""
        self._stage, self._planned = name, self._planned + updates
        self.advance(0)

    def advance(self, updates: int) -> None:
        """So many updates were done."""
        self._updates += updates
        if self._tell is not None:
            seconds = time.perf_counter() - self._start
            self._tell(SearchProgress(self._stage, self._updates, self._planned, seconds))

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class _SearchBar(Bar):
    """Updates of a search."""

    def __init__(self) -> None:
        from rich.progress import MofNCompleteColumn, TextColumn, TimeElapsedColumn

        super().__init__(MofNCompleteColumn(), TextColumn("updates"), TimeElapsedColumn())

    def __call__(self, event: SearchProgress) -> None:
        self.show(event.stage, event.updates, event.planned)
