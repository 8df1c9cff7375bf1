"""The two-stage rule: method 1 after 20 updates and, where that is doubtful, the survivors after 100. Ours."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jax.sharding import Mesh

from .._checks import check_count, check_flag, check_key
from .._curve import LossCurve, LRWarning, Outcome, WarningName, Window, half_loss, lowest_for, midpoint
from .._decode import require_counts
from .._engine import Executor, Task
from .._failure import interruptible
from .._html import Shown
from .._json import JsonResult
from .._progress import ProgressLike, Reporter
from .._settings import on_host, without_alarms
from .._types import Key, OptimizerFactory
from ._find import Search, lr_range, open_ends, so_far
from ._finder_result import LRFinderResult, not_found

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_STEPS, SECOND_STEPS = 20, 100

DOUBTS = frozenset(
    (
        WarningName.nothing_moved,
        WarningName.no_learning,
        WarningName.tiny_effect,
        WarningName.small_progress,
        WarningName.flat_basin,
        WarningName.multi_basin,
        WarningName.narrow_window,
        WarningName.noisy,
    )
)
"""Warnings of the first stage after which there is a second."""

OF_THE_LOW_END = frozenset((WarningName.no_plateau, WarningName.narrow_window))
"""Warnings about min_lr, which the second stage neither looks for nor reads."""

MARGIN = 0.25
"""Decades by which the survivors' range is wider than the part of the curve that looks good, on each side."""

RIGHT_EDGE = 0.75
"""Normalised loss up to which a learning rate above the minimum may still turn out well."""


@on_host
def auto(
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    train_steps: int,
    always: bool = False,
    num_seeds: int | None = None,
    min_lr: float | None = None,
    max_lr: float | None = None,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    progress: ProgressLike = None,
    throw: bool = True,
) -> "AutoResult":
    """Find a learning rate for a training of known length, with a second look where the first is doubtful.

    First `find_lr`: 20 updates at about 24 learning rates, method 1. If it warns of no learning, little progress, a
    flat, narrow, noisy or double basin, the learning rates that may still win are trained for 100 updates, more of
    them where the best is at an end, and the minimum of that curve is moved down to where a training of `train_steps`
    has it (`lrjax.lowest_for`).

    This rule is ours, not the paper's. docs/benchmark.md has what it gains over method 1 and what it costs.

    Args:
      task: what is trained.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`.
      key: PRNG key; the same key gives the same answer.
      train_steps: optimizer updates of the training that the learning rate is for, >= 20.
      always: True looks twice in any case.
      num_seeds: None: 3, or as many as the data allow.
      min_lr, max_lr: the range, > 0. An end that is given is kept; None: 1e-7 and 10, and beyond where the curve asks
        for it.
      executor: how the copies run; see `lrjax.sample_losses`.
      mesh: devices over whose first axis the copies are spread; None: all local devices.
      progress: True for a bar, a function of a `lrjax.Progress`, or a list of these.
      throw: False returns a result with `lr` nan where nothing was found.

    Returns:
      The result: `lr`, `first`, `second`, `doubts`, `warnings`, `summary()`, `plot()`, `to_json(path)`.

    Raises:
      LRNotFound: nothing was found and `throw`; `.result` is the last stage's.
      SearchInterrupted: Ctrl-C; `.result` is what the first stage tells.
      TypeError, ValueError: bad arguments; the message says what was wrong and what to do.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> result = lrjax.auto(digits(), optax.adam, key=jax.random.key(0), train_steps=2000, num_seeds=1)
      >>> result.second is None, result.lr == result.first.lr
      (True, True)
    """
    start = time.perf_counter()
    key = check_key("auto(key=...)", key)
    low, high = lr_range("auto", min_lr, max_lr)
    train_steps = check_count("auto(train_steps=...)", train_steps, minimum=FIRST_STEPS, unit="optimizer updates")
    throw = check_flag("auto(throw=...)", throw)
    always = check_flag("auto(always=...)", always)
    search = first = second = None
    doubts: tuple[WarningName, ...] = ()
    with Reporter(progress) as reporter, interruptible("search", lambda: so_far(search, first)):
        start_search = functools.partial(
            Search,
            "auto",
            task,
            make_optimizer,
            reporter,
            key=key,
            num_seeds=num_seeds,
            executor=executor,
            mesh=mesh,
            in_updates=True,
        )
        search = start_search(midpoint, horizons=(FIRST_STEPS,))
        search.look(low, high, grow=open_ends(min_lr, max_lr))
        first = search.result()
        doubts = tuple(warning.name for warning in first.warnings if warning.name in DOUBTS)
        if first.outcome is not Outcome.all_diverged and (doubts or always):
            search = start_search(lowest_for(train_steps), horizons=(min(SECOND_STEPS, train_steps),))
            tried = np.log10(np.asarray(first.curve.lrs, np.float64)).tolist()
            more = survivors(first.curve, first.window)
            while more:
                search.sample(more, "survivors")
                search.check_moved(extend_range=False)
                names = frozenset(warning.name for warning in search.warnings(search.window()))
                more = beyond(tried, search.tried, names)
            second = search.result()
    result = AutoResult(
        train_steps=train_steps,
        first=first,
        second=second,
        doubts=doubts,
        unjudged=_unjudged(first, task.baseline_loss),
        seconds=time.perf_counter() - start,
    )
    if throw and result.outcome is not Outcome.found:
        raise not_found(result.last)
    return result


def survivors(curve: LossCurve, window: Window) -> list[float]:
    """The exponents, log10(lr), that the second stage trains on.

    Args:
      curve: the first stage's.
      window: its window.

    Returns:
      Those tried from a quarter decade below method 2 to a quarter decade above where the loss has risen by 3/4 of
      the effect again; all where nothing was found.
    """
    tried = np.log10(np.asarray(curve.lrs, np.float64))
    if window.outcome is not Outcome.found:
        return tried.tolist()
    x, z = np.asarray(window.log10_lr, np.float64), np.asarray(window.loss, np.float64)
    inside = np.isfinite(z)
    risen = x[inside & (x > np.log10(float(window.max_lr))) & (np.where(inside, z, 0.0) > RIGHT_EDGE)]
    low = np.log10(float(half_loss(curve, window))) - MARGIN
    high = (risen[0] if len(risen) else tried[-1]) + MARGIN
    return tried[(tried >= low - 1e-6) & (tried <= high + 1e-6)].tolist()


def beyond(tried: Sequence[float], kept: Sequence[float], warnings: frozenset[WarningName]) -> list[float]:
    """What the second stage trains on as well, because its best is at an end.

    Args:
      tried: exponents of the first stage.
      kept: those of the second until now.
      warnings: of the second until now.

    Returns:
      The next two of the first stage's beyond that end; empty where the curve rises again or nothing is left.
    """
    above = sorted(x for x in tried if x > max(kept) + 1e-6) if WarningName.edge_high in warnings else []
    below = sorted((x for x in tried if x < min(kept) - 1e-6), reverse=True)
    return [*above[:2], *(below[:2] if WarningName.edge_low in warnings else [])]


def _unjudged(first: LRFinderResult, baseline_loss: float | None) -> tuple[WarningName, ...]:
    """The warnings that are shares of a loss, where that loss is not positive."""
    if first.outcome is not Outcome.found:
        return ()
    initial = float(np.mean(np.asarray(first.curve.initial_loss)))
    reference = initial if baseline_loss is None else min(initial, baseline_loss)
    return () if reference > 0 else (WarningName.tiny_effect, WarningName.small_progress)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoResult(JsonResult, Shown):
    """What the two-stage rule found.

    Attributes:
      train_steps: the length of the training that the learning rate is for, in updates.
      first: the first stage, method 1 after 20 updates.
      second: the second, on the survivors after 100 updates; None if the first was not in doubt. Its `lr` is moved
        to a training of `train_steps`.
      doubts: the first stage's warnings that asked for a second.
      unjudged: warnings that could not be judged, because they are shares of the loss and the loss is not positive.
      seconds: wall time of both.
    """

    _FORMAT = "lrjax.AutoResult"

    train_steps: int
    first: LRFinderResult
    second: LRFinderResult | None
    doubts: tuple[WarningName, ...]
    unjudged: tuple[WarningName, ...]
    seconds: float

    @property
    def last(self) -> LRFinderResult:
        """The stage that the learning rate is from."""
        return self.first if self.second is None else self.second

    @property
    def lr(self) -> float:
        """The chosen learning rate; nan unless `outcome` is `found`."""
        return self.last.lr

    @property
    def outcome(self) -> Outcome:
        """`found`, `nothing_moved`, `no_learning` or `all_diverged`."""
        return self.last.outcome

    @property
    def warnings(self) -> tuple[LRWarning, ...]:
        """The doubts that are left; of a second stage without those about the window's low end, which it leaves out."""
        return tuple(one for one in self.last.warnings if self.second is None or one.name not in OF_THE_LOW_END)

    @property
    def num_updates(self) -> int:
        """Optimizer updates of both stages, all learning rates and seeds."""
        return self.first.num_updates + (0 if self.second is None else self.second.num_updates)

    @without_alarms()
    def summary(self) -> str:
        """The result, its reason and its doubts, in sentences."""
        lines = [self._reason(), *(f"Warning, {warning}" for warning in self.warnings)]
        if self.unjudged:
            lines.append(f"Not judged, as the loss is not positive: {', '.join(self.unjudged)}.")
        trials = self.first.num_trials + (0 if self.second is None else self.second.num_trials)
        return "\n".join([*lines, f"Cost: {self.num_updates} updates of {trials} trials in {self.seconds:.1f} s."])

    def _reason(self) -> str:
        doubts = ", ".join(self.doubts)
        if self.second is None:
            if self.outcome is not Outcome.found:
                return self.outcome.value
            return f"Learning rate {self.lr:.2e}: method 1 after {FIRST_STEPS} updates, which nothing puts in doubt."
        why = f"Method 1 is in doubt ({doubts})" if doubts else "Nothing puts method 1 in doubt"
        known = f" and gave {self.first.lr:.2e}" if self.first.outcome is Outcome.found else ""
        steps = int(self.second.curve.horizons[-1])
        if self.outcome is not Outcome.found:
            return (
                f"{self.outcome.value} {why}{known}; {steps} updates at {self.second.num_trials} lrs found no better."
            )
        return (
            f"Learning rate {self.lr:.2e}: after {steps} updates the loss is lowest at "
            f"{float(self.second.window.max_lr):.2e}, and a training of {self.train_steps} has its best lr there or "
            f"lower. {why}{known}."
        )

    @without_alarms()
    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the stage that the learning rate is from; see `lrjax.plots.plot_finder`.

        Args:
          ax: axes to draw into; None makes a new figure, which is neither shown nor kept by pyplot.

        Returns:
          The axes.
        """
        return self.last.plot(ax)

    def _check(self) -> None:
        require_counts(self, "train_steps", minimum=1)

    @without_alarms()
    def __repr__(self) -> str:
        if self.outcome is not Outcome.found:
            return f"AutoResult(outcome={self.outcome.name})"
        names = ", ".join(warning.name for warning in self.warnings)
        return f"AutoResult(lr={self.lr:.3g}, stages={1 if self.second is None else 2}, warnings=[{names}])"
