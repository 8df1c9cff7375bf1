"""Progress of a search or a sweep: one event, and who gets it, a bar among them."""

import dataclasses
import html
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ._checks import can_take, show
from ._repr import line_repr

NOTEBOOK_SECONDS = 0.25
"""Time between two updates of the bar in a notebook, where each is a message to the browser."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Progress:
    """Where a search or a sweep is.

    Attributes:
      stage: what is being done, in words.
      updates: optimizer updates done, over all trials and seeds; of a sweep that is resumed, those before too.
      planned: updates of what is known so far: the rounds of a search add to it, and rungs of a sweep cut trials.
      seconds: since the start of this process's part.
      rate: updates per second in this process.
      step, train_steps: of a sweep: updates that the lanes training now have done, of how many.
      lanes: of a sweep: copies (trial and seed) that train now.
      bytes: of a sweep: memory of the program on each device, from the compiler.
      rows: of a sweep that has just evaluated: a mapping for each trial and seed, as the result's table has them.
      metrics: the names among them of what was measured, "loss" and "train_loss" included.
    """

    stage: str
    updates: int = 0
    planned: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    step: int = 0
    train_steps: int = 0
    lanes: int = 0
    bytes: int = 0
    rows: tuple[Mapping[str, Any], ...] = ()
    metrics: tuple[str, ...] = ()

    __repr__ = line_repr

    @property
    def seconds_left(self) -> float:
        """At the present rate; nan before there is one."""
        return (self.planned - self.updates) / self.rate if self.rate > 0 else float("nan")


Listener = Callable[[Progress], None]
ProgressLike = Listener | bool | Sequence[Listener | bool] | None
"""What `progress=` takes: True for a bar, a function of a `Progress`, a list of these, or None."""


class Reporter:
    """Counts updates and calls the listeners; `where` names the argument in messages."""

    def __init__(self, progress: ProgressLike, where: str = "progress"):
        self._listeners: list[Listener] = []
        self._bar: _Bar | _NotebookLine | None = None
        for one in progress if isinstance(progress, (list, tuple)) else [progress]:
            if one is True:
                self._listeners.append(self._show)
            elif can_take(one, 1):
                self._listeners.append(cast(Listener, one))
            elif one is not None and one is not False:
                raise TypeError(
                    f"`{where}` must be True, None or a function of a lrjax.Progress, or a list of these, got "
                    f"{show(one)}."
                )
        self._event, self._done, self._start = Progress(stage="preparing"), 0, 0.0

    @property
    def silent(self) -> bool:
        """Whether nobody listens."""
        return not self._listeners

    def mute(self) -> None:
        """Report nothing: another process does."""
        self._listeners = []

    def set(self, **fields: Any) -> None:
        """Change fields of the next events."""
        self._event = dataclasses.replace(self._event, **fields)

    def stage(self, name: str, updates: int = 0) -> None:
        """A new stage begins, with so many updates."""
        self.set(stage=name, planned=self._event.planned + updates)
        self.advance(0)

    def advance(self, updates: int, *, rows: Sequence[Mapping[str, Any]] = (), metrics: Sequence[str] = ()) -> None:
        """So many updates were done; `rows` were measured."""
        now = time.perf_counter()
        self._start, self._done = self._start or now, self._done + updates
        seconds = now - self._start
        rate = self._done / seconds if seconds > 0 else 0.0
        self.set(updates=self._event.updates + updates, seconds=seconds, rate=rate)
        event = dataclasses.replace(self._event, rows=tuple(rows), metrics=tuple(metrics))
        for listener in self._listeners:
            listener(event)

    def _show(self, event: Progress) -> None:
        self._bar = self._bar or _open_bar()
        self._bar.show(event)

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _open_bar() -> "_Bar | _NotebookLine":
    from rich.console import Console

    console = Console(stderr=True)
    return _NotebookLine() if console.is_jupyter else _Bar(console)


class _Bar:
    """A rich progress bar on standard error, gone when it is closed."""

    def __init__(self, console: Any):
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        texts = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[numbers]}")
        columns = (*texts, TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = RichProgress(*columns, console=console, transient=True)
        self._progress.start()
        self._task = self._progress.add_task("preparing", total=None, numbers="")

    def show(self, event: Progress) -> None:
        """Redraw it."""
        fields = {"description": event.stage, "completed": event.updates, "numbers": _numbers(event)}
        self._progress.update(self._task, total=event.planned or None, **fields)

    def close(self) -> None:
        """Remove it."""
        self._progress.stop()


class _NotebookLine:
    """One line in a notebook, rewritten in place; rich would ask for ipywidgets."""

    def __init__(self) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        self._handle: Any = display(_html("preparing"), raw=True, display_id=True)
        self._next = 0.0

    def show(self, event: Progress) -> None:
        """Rewrite it, unless it was just done."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + NOTEBOOK_SECONDS
        share = f' value="{event.updates}" max="{event.planned}"' if event.planned else ""
        self._handle.update(_html(f"{event.stage}, {_numbers(event)}", f"<progress{share}></progress> "), raw=True)

    def close(self) -> None:
        """Leave nothing to be seen."""
        self._handle.update(_html(""), raw=True)


def _numbers(event: Progress) -> str:
    planned = f" of {event.planned:,}" if event.planned else ""
    numbers = [f"{event.updates:,}{planned} updates"]
    if event.train_steps:
        numbers += [f"step {event.step} of {event.train_steps}", f"{event.lanes} lanes", f"{event.rate:,.0f} updates/s"]
    return ", ".join([*numbers, *([f"{event.bytes / 2**20:,.1f} MiB"] if event.bytes else [])])


def _html(text: str, before: str = "") -> dict[str, str]:
    return {"text/plain": text, "text/html": f"<span>{before}{html.escape(text)}</span>"}
