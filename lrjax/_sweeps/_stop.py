"""When trials are evaluated and compared, and which of them end early."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._checks import Mode, check_count, check_mode, show
from .._types import Bool, Float


@dataclasses.dataclass(frozen=True, kw_only=True)
class StopDiverged:
    """Stop lanes whose training loss was not finite. Seen at evaluations.

    A stopped lane's metrics are nan from then on; the others go on, unchanged, in less time (and, but
    for `map`, in less memory).

    Examples:
      >>> import lrjax
      >>> lrjax.StopDiverged()
      StopDiverged()
    """

    def rungs(self, train_steps: int) -> tuple[int, ...]:
        """Steps at which trials are compared: none."""
        check_count("StopDiverged.rungs(train_steps)", train_steps, unit="optimizer updates")
        return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuccessiveHalving:
    """Keep the best 1 / `factor` of the trials at rungs first, first * factor, first * factor**2, ...

    Trials are compared by the mean over their seeds of one metric; a trial that diverged or whose metric is not
    finite goes first. Diverged lanes are stopped between the rungs too.

    Attributes:
      first: updates before the first cut, >= 1.
      factor: what part of the trials is kept, 1 / factor; at least one. An integer >= 2.
      metric: name of the metric.
      mode: which of its values are good, "min" or "max"; "loss" is minimised, any other metric needs one.

    Raises:
      ValueError: `first` < 1, `factor` < 2, or a metric without a mode.

    Source: Jamieson & Talwalkar 2016, Non-stochastic best arm identification and hyperparameter optimization.

    Examples:
      >>> import lrjax
      >>> lrjax.SuccessiveHalving(first=100, factor=3).rungs(train_steps=1000)
      (100, 300, 900)
    """

    first: int
    factor: int = 3
    metric: str = "loss"
    mode: Mode | None = None

    def __post_init__(self) -> None:
        check_count("SuccessiveHalving(first=...)", self.first, unit="optimizer updates")
        check_count("SuccessiveHalving(factor=...)", self.factor, minimum=2)
        if not isinstance(self.metric, str):
            raise TypeError(f"`SuccessiveHalving(metric=...)` must be a metric's name, got {show(self.metric)}.")
        object.__setattr__(self, "mode", check_mode("SuccessiveHalving", self.metric, self.mode))

    def rungs(self, train_steps: int) -> tuple[int, ...]:
        """Steps below `train_steps` at which trials are compared."""
        train_steps = check_count("SuccessiveHalving.rungs(train_steps)", train_steps, unit="optimizer updates")
        rungs, step = [], self.first
        while step < train_steps:
            rungs.append(step)
            step *= self.factor
        return tuple(rungs)

    def keep(self, values: Float[np.ndarray, "seeds trials"], alive: Bool[np.ndarray, " trials"]) -> np.ndarray:
        """Which of the trials that are alive go on, as a mask over all trials."""
        scores = np.mean(-values if self.mode == "max" else values, axis=0)
        scores = np.where(alive & np.isfinite(scores), scores, np.inf)
        count = max(1, int(np.ceil(alive.sum() / self.factor)))
        best = np.argsort(scores, kind="stable")[:count]
        mask = np.zeros_like(alive)
        mask[best] = np.isfinite(scores[best])
        return mask & alive


Stop = StopDiverged | SuccessiveHalving


def check_stop(where: str, stop: object, train_steps: int) -> Stop | None:
    """Return `stop`, or say which there are."""
    if stop is None or isinstance(stop, StopDiverged):
        return stop
    if isinstance(stop, SuccessiveHalving):
        if not stop.rungs(train_steps):
            raise ValueError(
                f"`{where}` must have its first rung before train_steps={train_steps}, got SuccessiveHalving(first="
                f"{stop.first}). Lower it, for example to {max(1, train_steps // stop.factor**2)}."
            )
        return stop
    raise TypeError(
        f"`{where}` must be None, lrjax.StopDiverged() or lrjax.SuccessiveHalving(first=...), got {show(stop)}."
        + (" Call it: add the brackets." if stop is StopDiverged or stop is SuccessiveHalving else "")
    )


EVALUATIONS = 10
"""By default."""


class Timetable(NamedTuple):
    """When lanes are evaluated and cut."""

    evaluations: tuple[int, ...]  # increasing steps; the last is the end
    rungs: tuple[int, ...]  # steps at which trials are compared, and the end

    def span(self, segment: int) -> tuple[int, int]:
        """First step of a segment, and the step at which it ends."""
        return (self.rungs[segment - 1] if segment else 0), self.rungs[segment]

    def boundaries(self, segment: int) -> tuple[int, ...]:
        """Evaluations in a segment."""
        start, stop = self.span(segment)
        return tuple(step for step in self.evaluations if start < step <= stop)


def check_eval_every(eval_every: int | Sequence[int] | None, train_steps: int) -> int | list[int]:
    """The interval, or the steps themselves."""
    if eval_every is None:
        return max(1, -(-train_steps // EVALUATIONS))
    if isinstance(eval_every, Sequence) and not isinstance(eval_every, str):
        steps = [
            check_count(f"sweep(eval_every=...)[{index}]", step, unit="optimizer updates")
            for index, step in enumerate(eval_every)
        ]
        if not steps or steps[-1] > train_steps or any(late <= early for early, late in itertools.pairwise(steps)):
            raise ValueError(
                "`sweep(eval_every=...)` given as a sequence must hold increasing steps up to "
                f"train_steps={train_steps}, got {show(list(eval_every))}."
            )
        return steps
    every = check_count("sweep(eval_every=...)", eval_every, unit="optimizer updates")
    if every > train_steps:
        raise ValueError(
            f"`sweep(eval_every=...)` must be at most train_steps={train_steps}, got {every}. "
            "For one evaluation at the end give train_steps."
        )
    return every


def make_timetable(train_steps: int, eval_every: int | Sequence[int], stop: Stop | None) -> Timetable:
    """Evaluate every so many steps or at the steps given, at every rung and at the end."""
    rungs = stop.rungs(train_steps) if stop is not None else ()
    regular = range(eval_every, train_steps + 1, eval_every) if isinstance(eval_every, int) else eval_every
    evaluations = {*regular, *rungs, train_steps}
    return Timetable(tuple(sorted(evaluations)), (*rungs, train_steps))
