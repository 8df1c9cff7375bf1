"""What a search with a budget returns: the learning rate, every rung, the doubts and the cost."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._curve import Outcome
from .._decode import require, require_counts
from .._engine import Execution, show_bytes
from .._failure import LRNotFound
from .._html import Shown
from .._json import JsonResult
from .._settings import without_alarms
from ._finder_result import LRFinderResult
from ._rung import SearchRung
from ._search_warnings import SearchWarning

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchResult(JsonResult, Shown):
    """The outcome of a search with a budget.

    Attributes:
      lr: the chosen learning rate; nan unless `outcome` is `found`.
      interval: the lowest and the highest learning rate that the rungs, and the seeds of the chosen one, ask for;
        None where there is only one.
      outcome: `found`, `nothing_moved`, `no_learning`, `lost_in_noise` or `all_diverged`.
      rungs: what was trained, in its order; the first are the sweep. Empty with budget 0.
      rung: index of the rung that `lr` was read from; -1 with budget 0.
      by_midpoint: whether `lr` is the midpoint of that rung's window: it is the sweep, and no other rung was run.
      correction: decades by which `lr` lies below the best trained one, because the training is longer than a trial.
      drift: number of updates -> where the smoothed loss was lowest after them.
      train_steps: updates of the training that `lr` is for.
      budget: what the search was allowed to cost, as a multiple of that training.
      finder: with budget 0 the result of `lrjax.find_lr`, else None.
      warnings: doubts, the most serious first; with budget 0 they are in `finder`.
      num_trials: learning rates tried.
      num_updates: optimizer updates, over all learning rates and seeds, padding not counted.
      seconds: wall time of this call, compilation included.
      execution: how the lanes were run, and what did not go as asked.
      fingerprint: versions, shapes and checksums: what to compare when two results differ.
    """

    _FORMAT = "lrjax.SearchResult"

    lr: float
    interval: tuple[float, float] | None
    outcome: Outcome
    rungs: tuple[SearchRung, ...]
    rung: int
    by_midpoint: bool
    correction: float
    drift: Mapping[int, float]
    train_steps: int
    budget: float
    finder: LRFinderResult | None
    warnings: tuple[SearchWarning, ...]
    num_trials: int
    num_updates: int
    seconds: float
    execution: Execution
    fingerprint: Mapping[str, Any]

    @property
    def num_steps(self) -> int:
        """Updates of the trials that `lr` was read from."""
        return self.rungs[self.rung].num_steps if self.finder is None else int(self.finder.curve.horizons[-1])

    @property
    def horizon(self) -> float:
        """How long those trials were, as a share of the training."""
        return self.num_steps / self.train_steps

    @property
    def cost(self) -> float:
        """What the search cost, as a multiple of the training."""
        return self.num_updates / self.train_steps

    @without_alarms()
    def summary(self) -> str:
        """The result, how it came about, its doubts and its cost, in sentences."""
        if self.finder is not None:
            return self.finder.summary()
        doubts = [f"Warning, {warning}" for warning in self.warnings]
        return "\n".join([*self._reason(), *self._course(), *doubts, self._cost()])

    def _reason(self) -> list[str]:
        if self.outcome is not Outcome.found:
            return [self.outcome.value]
        rung = self.rungs[self.rung]
        if self.by_midpoint:
            return [f"Learning rate {self.lr:.2e} (the middle of the window after {rung.num_steps} updates)."]
        initial = float(np.mean(rung.initial_loss))
        lines = [
            f"Learning rate {self.lr:.2e} for {self.train_steps} updates. Of those trained for {rung.num_steps} "
            f"({self.horizon:.0%} of that), {10.0**rung.best:.2e} was the best: it took the loss from {initial:.4g} to "
            f"{initial - float(rung.window.effect):.4g}."
        ]
        if self.correction > 0:
            lines.append(
                f"The best learning rate falls while training goes on: {self.correction:.2f} decades were taken off."
            )
        if self.interval is not None:
            lines.append(f"Rungs and seeds ask for {self.interval[0]:.1e} to {self.interval[1]:.1e}.")
        return lines

    def _course(self) -> list[str]:
        lines = []
        for rung in self.rungs:
            low, high = 10.0 ** rung.log10_lrs[[0, -1]]
            lowest = f", lowest at {10.0**rung.minimum:.1e}" if rung.found else f", {rung.window.outcome.name}"
            lines.append(
                f"{'Sweep' if rung.is_sweep else 'Rung'}: {_count(len(rung.log10_lrs), 'learning rate')} from "
                f"{low:.1e} to {high:.1e}, {_count(len(rung.losses), 'seed')}, after {rung.num_steps} updates{lowest}."
            )
        return lines

    def _cost(self) -> str:
        run = self.execution
        memory = f", {show_bytes(run.bytes)}" if run.bytes else ""
        devices = f" on each of {run.devices} devices" if run.devices > 1 else ""
        return (
            f"Cost: {self.num_updates} updates, {self.cost:.2f} of the training, in {self.seconds:.1f} s "
            f"({run.compile_seconds:.1f} s of it compiling), executor {run.used}{memory}{devices}."
            + "".join(f" {note}" for note in run.notes)
        )

    @without_alarms()
    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw every rung; see `lrjax.plots.plot_search`.

        Args:
          ax: axes to draw into; None makes a new figure, which is neither shown nor kept by pyplot.

        Returns:
          The axes; `ax.figure.savefig(path)` writes the picture.
        """
        from ._search_picture import plot_search

        return plot_search(self, ax=ax)

    def _check(self) -> None:
        require_counts(self, "train_steps", minimum=1)
        require_counts(self, "num_trials", "num_updates")
        found, count = self.outcome is Outcome.found, len(self.rungs)
        require("lr", found == (0 < self.lr < math.inf), "a learning rate" if found else "nan", self.lr)
        if self.finder is not None:
            require("outcome", self.outcome is self.finder.outcome, "that of the finder", self.outcome.name)
            return
        require("rung", 0 <= self.rung < count, f"the index of one of {count} rungs", self.rung)
        chosen = self.rungs[self.rung].window.outcome
        require("outcome", not found or chosen is Outcome.found, f"that of the chosen rung, {chosen.name}", "found")

    @without_alarms()
    def __repr__(self) -> str:
        if self.outcome is not Outcome.found:
            return f"SearchResult(outcome={self.outcome.name}, num_trials={self.num_trials})"
        names = ", ".join(warning.name for warning in self.warnings)
        return (
            f"SearchResult(lr={self.lr:.3g}, horizon={self.horizon:.3g}, cost={self.cost:.3g}, "
            f"rungs={len(self.rungs)}, warnings=[{names}])"
        )


def _count(count: int, what: str) -> str:
    return f"one {what}" if count == 1 else f"{count} {what}s"


def no_lr_found(result: SearchResult) -> LRNotFound:
    """The error of a search with a budget that found nothing."""
    remedies = result.warnings if result.finder is None else result.finder.warnings
    return LRNotFound(f"{result.outcome.value} {remedies[0].remedy if remedies else ''}".strip(), result)


def finished_rungs(result: SearchResult | None, how: str = "") -> tuple[SearchResult | None, str]:
    """What an interrupted search with a budget holds, and what its message says of it."""
    told = "no rung had finished" if result is None else f"the best learning rate so far is {result.lr:.2e}"
    return result, f"{told}. {how}".strip()
