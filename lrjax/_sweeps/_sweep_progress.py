"""Progress of a sweep: one event type, a display for terminals, and any number of listeners."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from .._checks import can_take, show
from .._engine import show_bytes
from .._progress import Bar
from .._repr import line_repr
from .._types import Float, Int


class Evaluation(NamedTuple):
    """What an evaluation gave, for the lanes that were alive.

    Attributes:
      step: updates done.
      trials, seeds: whose values they are.
      settings: name -> the trials' hyperparameters, as in the result's table.
      metrics: name -> values; "loss" and "train_loss" among them.
    """

    step: int
    trials: Int[np.ndarray, " lanes"]
    seeds: Int[np.ndarray, " lanes"]
    settings: dict[str, np.ndarray]
    metrics: dict[str, Float[np.ndarray, " lanes"]]

    __repr__ = line_repr

    def rows(self) -> Iterator[dict[str, Any]]:
        """One mapping for each trial and seed, as the result's table has them: for loggers."""
        for lane in range(len(self.trials)):
            row: dict[str, Any] = {"trial": int(self.trials[lane])}
            row |= {name: values[lane].item() for name, values in self.settings.items()}
            row |= {"seed": int(self.seeds[lane]), "step": self.step}
            yield row | {name: float(values[lane]) for name, values in self.metrics.items()}


class SweepProgress(NamedTuple):
    """Where a sweep is.

    Attributes:
      stage: what is being done, in words.
      step, num_steps: of the lanes that train now.
      updates: optimizer updates done, over all lanes, those of earlier processes included.
      planned: updates of the whole sweep, as far as is known: pruning takes some away.
      lanes: lanes alive.
      bytes: memory of the program per device, from the compiler.
      seconds: since the start of this process's part.
      rate: updates per second in this process.
      evaluation: what was just measured, or None.
    """

    stage: str
    step: int
    num_steps: int
    updates: int
    planned: int
    lanes: int
    bytes: int
    seconds: float
    rate: float
    evaluation: Evaluation | None

    __repr__ = line_repr

    @property
    def seconds_left(self) -> float:
        """At the present rate; nan before there is one."""
        return (self.planned - self.updates) / self.rate if self.rate > 0 else float("nan")


Listener = Callable[[SweepProgress], None]


class SweepReporter:
    """Tells whoever wants to know.

    Args:
      progress: True for a line on the terminal, a function of `SweepProgress`, a sequence of these, or None.
    """

    def __init__(self, progress: object):
        wanted: list[Any] = list(progress) if isinstance(progress, (list, tuple)) else [progress]
        self._listeners: list[Listener] = []
        self._bar: _SweepBar | None = None
        self._shown = False
        for one in wanted:
            if one is True:
                self._shown = True
            elif can_take(one, 1):
                self._listeners.append(one)
            elif one is not None and one is not False:
                raise TypeError(
                    "`sweep(progress=...)` must be True, None, a function of a SweepProgress or a list of these, got "
                    f"{show(one)}."
                )
        self._start, self._updates, self._before = time.perf_counter(), 0, 0
        self.planned, self.lanes, self.bytes, self.stage, self.num_steps = 0, 0, 0, "compiling", 0

    def begin(self, num_steps: int, *, silent: bool) -> None:
        """The sweep begins; `silent` tells nobody (all processes but the first)."""
        self.num_steps, self._start = num_steps, time.perf_counter()
        if silent:
            self._listeners = []
        elif self._shown:
            self._bar = _SweepBar()
            self._listeners.append(self._bar)
        self.advance(0, 0)

    def skip(self, updates: int) -> None:
        """So many updates were done by an earlier process."""
        self._before += updates

    def advance(self, step: int, updates: int, evaluation: Evaluation | None = None) -> None:
        """So many updates were done; the lanes are at `step`."""
        self._updates += updates
        if not self._listeners:
            return
        seconds = time.perf_counter() - self._start
        event = SweepProgress(
            stage=self.stage,
            step=step,
            num_steps=self.num_steps,
            updates=self._before + self._updates,
            planned=self.planned,
            lanes=self.lanes,
            bytes=self.bytes,
            seconds=seconds,
            rate=self._updates / seconds if seconds > 0 else 0.0,
            evaluation=evaluation,
        )
        for listener in self._listeners:
            listener(event)

    def __enter__(self) -> "SweepReporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class _SweepBar(Bar):
    """Updates of a sweep, with where the lanes are, how fast and how large."""

    def __init__(self) -> None:
        from rich.progress import TextColumn, TimeRemainingColumn

        super().__init__(TextColumn("{task.fields[numbers]}"), TimeRemainingColumn())

    def __call__(self, event: SweepProgress) -> None:
        numbers = (
            f"step {event.step}/{event.num_steps}  {event.lanes} lanes  {event.rate:,.0f} updates/s  "
            f"{show_bytes(event.bytes)}"
        )
        self.show(event.stage, event.updates, event.planned, numbers)
