"""A search in mid-training: every learning rate goes on from a checkpoint, its optimizer's state included. Ours."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from jax.sharding import Mesh

from .._checks import check_count, check_flag, check_key
from .._curve import LossCurve, LRWarning, Outcome, WarningName, Window
from .._decode import require
from .._engine import NO_GRADIENT, Executor, Task, check_checkpoint, check_factory, check_task
from .._failure import interruptible
from .._html import Shown
from .._json import JsonResult
from .._progress import ProgressLike, Reporter
from .._settings import on_host, without_alarms
from .._types import Array, Float, Key, ModelState, OptimizerFactory, Params, PyTree
from ._find import Search, lr_range, open_ends, so_far
from ._finder_result import LRFinderResult, not_found

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARE = 0.05
"""Part of the whole training that every learning rate trains on for."""

_NO_ANSWER = (Outcome.nothing_moved, Outcome.all_diverged)
"""Outcomes that say nothing about the training; that there is nothing to choose does."""

NOT_DOUBTS = frozenset((WarningName.small_progress, WarningName.no_plateau))
"""Warnings that say nothing here: little is left to learn, and the rule does not read the low end."""


@on_host
def refind_lr(
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    params: Params,
    opt_state: PyTree,
    step: int,
    train_steps: int,
    model_state: ModelState | None = None,
    num_seeds: int | None = 1,
    min_lr: float | None = None,
    max_lr: float | None = None,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    progress: ProgressLike = None,
    throw: bool = True,
) -> "RefindResult":
    """Find the learning rate to go on with, in the middle of a training.

    Every learning rate trains a copy of the checkpoint, with the optimizer's moments and counters as they are, for 5 %
    of the whole training. The minimum of the smoothed curve wins: in mid-training the middle of the window, which
    `lrjax.find_lr` takes, is too low. If none lowers the checkpoint's validation loss by 2 %, there is nothing to
    choose: `found` is False, `lr` is nan, and nothing is raised. That is normal late in a training.

    The evidence (docs/benchmark.md) is 16 small tasks, 300 to 2,000 updates long, one seed. It rescues a training: from
    a quarter of one at a tenth of the best constant learning rate, going on with what was found instead gained 6.6 +-
    2.8 points (12 tasks better, 3 worse). It does not improve a good one: at a tenth and at half of a training at the
    best rate what was found was 0.3 +- 0.2 decades above it and at it, and going on with it lost 1.3 +- 0.8 and 0.9 +-
    0.5 points; half of the tasks had nothing to choose at half of the training, 10 of 16 at 95 % of it.

    A search trains 17 to about 20 copies for each seed, so it costs about as much as one whole training.

    Args:
      task: what is trained. The copies of seed s train on the first batches that the task gives for `fold_in(key, s)`:
        those of another order of the data if the training had another key. With `Task.from_batches`, on the first
        batches of the iterable: give those that come next.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, the training's own. A schedule in it goes on from the
        state's counter, and lr is its peak.
      key: PRNG key, another one than the training's; the same key gives the same answer.
      params: the checkpoint's parameters, as `Task(init=...)` gives them.
      opt_state: of `make_optimizer`, for these parameters or for those of them that train. All of it is kept, except
        the learning rate itself where the state holds one (`optax.inject_hyperparams`, `lrjax.schedules.scheduled`):
        each copy has its own. That of an `nnx.Optimizer` is its `opt_state`, with params=nnx.state(model, nnx.Param).
      step: optimizer updates that the checkpoint has behind it, from 0 to train_steps - 1.
      train_steps: optimizer updates of the whole training; no copy trains beyond it.
      model_state: of a stateful task, as `Task.stateful(init=...)` gives it; None for others.
      num_seeds: seeds, >= 1, which differ in batches and dropout; None: 3, or as many as the data allow.
      min_lr, max_lr: the range, > 0. An end that is given is kept; None: 1e-7 and 10, and beyond where the curve asks
        for it.
      executor: how the copies run; see `lrjax.sample_losses`.
      mesh: devices over whose first axis the copies are spread; None: all local devices.
      progress: True for a bar, a function of a `lrjax.Progress`, or a list of these.
      throw: False returns a result with `lr` nan where every learning rate diverged or none moved the loss.

    Returns:
      The result: `lr`, `found`, `search`, `warnings`, `summary()`, `plot()`, `to_json(path)`.

    Raises:
      LRNotFound: every learning rate diverged, or none moved the loss, and `throw`; `.result` holds the curve.
      SearchInterrupted: Ctrl-C; `.result` holds what the finished rounds tell.
      TypeError, ValueError: bad arguments, or a checkpoint that is not of this task and optimizer; the message names
        the first leaf that differs.

    Examples:
      >>> import jax, jax.numpy as jnp, optax, lrjax
      >>> from lrjax.demos import digits
      >>> task, optimizer, key = digits(), optax.adam(0.01), jax.random.key(0)
      >>> params = task.init(key)
      >>> opt_state = optimizer.init(params)
      >>> grad = jax.jit(jax.grad(task.loss_fn))
      >>> for batch in zip(*task.sample_batches(key, 20)):  # any training loop
      ...     updates, opt_state = optimizer.update(grad(params, batch, key), opt_state)
      ...     params = optax.apply_updates(params, updates)
      >>> checkpoint = {"params": params, "opt_state": opt_state, "step": 20}
      >>> result = lrjax.refind_lr(
      ...     task, optax.adam, key=jax.random.key(1), train_steps=200, executor="map", **checkpoint
      ... )
      >>> result.found, 1e-3 < result.lr < 1e-1
      (True, True)
    """
    key = check_key("refind_lr(key=...)", key)
    low, high = lr_range("refind_lr", min_lr, max_lr)
    grow = open_ends(min_lr, max_lr)
    throw = check_flag("refind_lr(throw=...)", throw)
    check_task("refind_lr(task=...)", task)
    check_factory("refind_lr(make_optimizer=...)", make_optimizer)
    step, total = _check_place(step, train_steps)
    num_steps = min(max(1, round(SHARE * total)), total - step)
    state = {"params": params, "opt_state": opt_state, "model_state": model_state}
    search = None
    with Reporter(progress) as reporter, interruptible("search", lambda: so_far(search)):
        search = Search(
            "refind_lr",
            task,
            make_optimizer,
            reporter,
            smoothed_minimum,
            key=key,
            horizons=(num_steps,),
            num_seeds=num_seeds,
            executor=executor,
            mesh=mesh,
            low_end=False,
            in_updates=True,
            checkpoint=check_checkpoint("refind_lr", task, make_optimizer, key=key, **state),
        )
        search.scan(low, high, extend_range=grow.high)
        if search.unmoved is NO_GRADIENT:  # in mid-training that is the answer: it has arrived
            search.unmoved = None
        if search.unmoved is None and search.window().outcome is not Outcome.no_learning:
            search.extend_range(grow)
            search.fill(grow)
    result = RefindResult(step=step, train_steps=total, search=search.result())
    if throw and result.outcome in _NO_ANSWER:
        raise not_found(result.search)
    return result


def smoothed_minimum(curve: LossCurve, window: Window) -> Float[Array, ""]:
    """The minimum of the smoothed curve; the best trial where that has no basin."""
    return window.max_lr


def _check_place(step: object, train_steps: object) -> tuple[int, int]:
    total = check_count("refind_lr(train_steps=...)", train_steps, unit="optimizer updates of the whole training")
    done = check_count("refind_lr(step=...)", step, minimum=0, unit="optimizer updates before the checkpoint")
    if done >= total:
        raise ValueError(
            f"`refind_lr(step=...)` must be below train_steps={total}, got {done}: nothing is left to train. "
            "train_steps counts the updates of the whole training, not those that are left."
        )
    return done, total


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefindResult(JsonResult, Shown):
    """What a search in mid-training found.

    Attributes:
      step: optimizer updates that the checkpoint had behind it.
      train_steps: optimizer updates of the whole training.
      search: the search itself, with its curve and its window. `search.curve.initial_loss` is that of the checkpoint,
        for a stateful task after as many steps at learning rate 0; `search.lr` is the minimum even where `found` is
        False because it is not low enough.
    """

    _FORMAT = "lrjax.RefindResult"

    step: int
    train_steps: int
    search: LRFinderResult

    @property
    def lr(self) -> float:
        """The chosen learning rate; nan unless `found`."""
        return self.search.lr if self.found else float("nan")

    @property
    def found(self) -> bool:
        """Whether there is something to choose."""
        return self.outcome is Outcome.found

    @property
    def outcome(self) -> Outcome:
        """`found`, `nothing_to_gain`, `nothing_moved`, `lost_in_noise` or `all_diverged`."""
        names = {warning.name for warning in self.search.warnings}
        if self.search.outcome is Outcome.no_learning or WarningName.tiny_effect in names:
            return Outcome.nothing_to_gain
        return self.search.outcome

    @property
    @without_alarms()
    def gain(self) -> float:
        """By which share of the checkpoint's loss the best trial lowers it, < 0 if none does; nan if not positive."""
        initial = self._initial_loss
        return float(self.search.window.effect) / initial + 0.0 if initial > 0 else float("nan")  # no -0.0

    @property
    def warnings(self) -> tuple[LRWarning, ...]:
        """Doubts about the chosen learning rate, or why nothing moved."""
        given = self.found or self.outcome is Outcome.nothing_moved
        return tuple(one for one in self.search.warnings if given and one.name not in NOT_DOUBTS)

    @property
    def _initial_loss(self) -> float:
        return float(np.mean(np.asarray(self.search.curve.initial_loss)))

    @without_alarms()
    def summary(self) -> str:
        """The result, its reason and its doubts, in sentences."""
        lines = [*self._reason(), *(f"Warning, {warning}" for warning in self.warnings)]
        updates, share = self.search.num_updates, self.search.num_updates / self.train_steps
        cost = f"Cost: {updates} updates, {share:.2f} of the training, in {self.search.seconds:.1f} s"
        return "\n".join([*lines, f"{cost}, executor {self.search.execution.used}."])

    def _reason(self) -> list[str]:
        curve, window, initial = self.search.curve, self.search.window, self._initial_loss
        tried = (
            f"{curve.num_trials} learning rates from {float(curve.lrs[0]):.1e} to {float(curve.lrs[-1]):.1e}, "
            f"{int(curve.horizons[-1])} updates each from step {self.step} of {self.train_steps}"
        )
        best = initial - float(window.effect)
        if self.outcome in (*_NO_ANSWER, Outcome.lost_in_noise):
            return [f"{self.outcome.value} Tried: {tried}."]
        if not self.found:
            return [
                f"Nothing to choose: no learning rate lowers the checkpoint's validation loss, {initial:.4g}, by 2 %; "
                f"the best trial has {best:.4g}. This is normal late in a training: of 16 small tasks 8 had nothing to "
                "choose at half of it, 10 at 95 %.",
                f"Tried: {tried}.",
            ]
        share = f" ({self.gain:.1%})" if initial > 0 else ", a loss of which no share can be taken, not being positive"
        return [
            f"Learning rate {self.lr:.2e}: the smoothed validation loss is lowest there. The best trial took it from "
            f"the checkpoint's {initial:.4g} to {best:.4g}{share}.",
            f"The loss begins to fall at {float(window.min_lr):.1e}. A window lower than at the start of the training "
            "is normal. Where training goes well, keep to it: a new learning rate helps where the old one is far off.",
            f"Tried: {tried}.",
        ]

    @without_alarms()
    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the curve; see `lrjax.plots.plot_finder`. Its initial loss is the checkpoint's.

        Args:
          ax: axes to draw into; None makes a new figure, which is neither shown nor kept by pyplot.

        Returns:
          The axes.
        """
        return dataclasses.replace(self.search, outcome=self.outcome, warnings=self.warnings).plot(ax)

    def _check(self) -> None:
        require("step", 0 <= self.step < self.train_steps, f"from 0 to below train_steps={self.train_steps}", self.step)

    @without_alarms()
    def __repr__(self) -> str:
        if not self.found:
            return f"RefindResult(outcome={self.outcome.name}, gain={self.gain:.3g})"
        names = ", ".join(warning.name for warning in self.warnings)
        return f"RefindResult(lr={self.lr:.3g}, gain={self.gain:.3g}, warnings=[{names}])"
