"""The door: `find_lr` checks its arguments, lets a strategy search, and makes a result of what it chose."""

import contextlib
import dataclasses
import os
import time
from typing import Any

import numpy as np
from jax.sharding import Mesh

from .._annotated import fitting
from .._checks import Mode, check_flag, check_key, show
from .._curve import METHODS, Outcome, WarningName
from .._engine import Executor, Task
from .._failure import LRNotFound, interruptible
from .._progress import ProgressLike, Reporter
from .._settings import on_host
from .._types import Key, OptimizerFactory
from ._budget import Budget
from ._check_search import check_search
from ._live import LiveTrainer
from ._lr_result import Cost, LRResult
from ._ranking import in_terms_of
from ._stage import Stage
from ._start import Checkpoint
from ._step_sampling import StepSampling
from ._strategy import Choice, Context, Strategy, run_stages

_NO_LR_IS_AN_ANSWER = (Outcome.found, Outcome.nothing_to_gain, Outcome.lost_in_noise)
"""Outcomes that answer the question of a checkpoint: whether there is anything to choose."""


_SETTINGS = {field.name: kind for kind in (Budget, StepSampling) for field in dataclasses.fields(kind)}
_HINTS = {
    name: f"{name} is a setting of the strategy: lrjax.{kind.__name__}({name}=...)." for name, kind in _SETTINGS.items()
} | {
    "budget": "The cost of the search is a setting of the strategy: lrjax.Budget(trainings=...).",
    "key": "Give key=jax.random.key(0).",
}
"""What to write where an argument of this name is left out, or was given and is none."""


@fitting(_HINTS)
@on_host
def find_lr(
    task: Task,
    make_optimizer: OptimizerFactory,
    strategy: Strategy | None = None,
    *,
    key: Key,
    train_steps: int | None = None,
    start: Checkpoint | None = None,
    metric: str = "loss",
    mode: Mode | None = None,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    directory: str | os.PathLike[str] | None = None,
    progress: ProgressLike = None,
    throw: bool = True,
) -> LRResult:
    """Find a good learning rate.

    Trains one copy of the model at every learning rate that the strategy asks for, all from the same parameters on the
    same batches, and reads the validation losses as a curve over log10(lr): where it is lowest after a part of the
    training, or, if its length is not known, where it begins to fall, where it is lowest, and the lr between them.

    Args:
      task: what is trained.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, for example `optax.adam`, or
        `lambda lr: optax.adamw(lr, weight_decay=0.1)`. One that changes lr with the step is refused, except from a
        checkpoint: `lrjax.peak_for` makes the peak of a schedule from the lr that is found.
      strategy: how to search: `lrjax.StepSampling`, `lrjax.Budget` or an object of your own with `propose` and
        `choose` (`lrjax.Strategy`). None: with `train_steps` a search that costs half a training, or 700 updates if
        that is more; without or from a checkpoint step sampling, the paper's search.
      key: PRNG key; the same key gives the same answer. From a checkpoint another one than the training's.
      train_steps: optimizer updates of the whole training that the learning rate is for. Give it if you can: what
        is best in the first updates is rarely best in the end.
      start: a checkpoint of a training under way: every learning rate goes on from it, the optimizer's moments and
        counters included. Then `train_steps` is needed, and no copy trains beyond it. Late in a training there is
        often nothing to choose: if no learning rate lowers the checkpoint's loss by 2 %, `lr` is nan, `outcome` is
        `nothing_to_gain`, and nothing is raised.
      metric: what learning rates are ranked by: "loss", or another name that the task's `eval_fn` returns. Where the
        loss over-fits, that of the best accuracy lies higher. `curve.losses` are then its values. A copy of which the
        loss is not finite or the metric infinite has diverged; a metric that alone is not a number, as a correlation
        of equal predictions, counts as that of the untouched parameters, and the summary says so.
      mode: which of its values are good, "min" or "max"; "loss" is minimised, any other metric needs one. Of "max"
        `curve.losses` are the negative values, of which the lowest is the best.
      executor: how the copies run; see `lrjax.sample_losses`. "auto" decides from the model and the machine.
      mesh: devices over whose first axis the copies are spread; None: all local devices.
      directory: in its folder lrjax-search a search with a budget keeps every finished stage, with its lanes. Run the
        same call again to resume where it was interrupted, to the same answer; another call, and other batches than
        before, are refused.
      progress: True for a bar, a function of a `lrjax.Progress`, or a list of these.
      throw: False returns a result with `lr` nan where nothing was found.

    Returns:
      The result: `lr`, `window`, `stages`, `warnings`, `cost`, `summary()`, `plot()`, `to_json(path)`.

    Raises:
      LRNotFound: nothing was found and `throw`; `.result` holds the stages.
      SearchInterrupted: Ctrl-C; `.result` is what the finished rounds give, None before the first.
      TypeError, ValueError: bad arguments; the message says what was wrong and what to do.
      OSError: `directory` cannot be written; what was finished before is kept.

    Source: "Learning rate optimization through step sampling"; the search with a budget and that from a checkpoint are
    ours, and docs/benchmark.md has their evidence.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> result = lrjax.find_lr(digits(), optax.adam, key=jax.random.key(0))
      >>> result.outcome.name, 1e-3 < result.lr < 1e-1
      ('found', True)
      >>> optimizer = optax.adam(result.lr)

      With the length of the training, for the price of one training:

      >>> result = lrjax.find_lr(
      ...     digits(), optax.adam, lrjax.Budget(trainings=1), key=jax.random.key(0), train_steps=400, executor="map"
      ... )
      >>> result.cost.trainings <= 1
      True
    """
    began = time.perf_counter()
    key, throw = check_key("find_lr(key=...)", key), check_flag("find_lr(throw=...)", throw)
    strategy, context = check_search(task, make_optimizer, strategy, train_steps, start)
    with Reporter(progress) as reporter:
        run: dict[str, Any] = {"executor": executor, "mesh": mesh, "directory": directory, "reporter": reporter}
        run |= {"start": start, "metric": metric, "mode": mode}
        trainer = LiveTrainer(task, make_optimizer, strategy, context, key=key, **run)
        stages: tuple[Stage, ...] = ()
        with contextlib.closing(trainer), interruptible("search", lambda: _so_far(strategy, trainer, stages, began)):
            for stages in run_stages(strategy, trainer):  # noqa: B007  (read where the loop is interrupted)
                pass
    if not stages:
        raise ValueError(f"`{show(strategy)}.propose((), context)` must ask for a first stage, got None.")
    result = _result(strategy, trainer, stages, began)
    if throw and result.outcome not in (_NO_LR_IS_AN_ANSWER if start is not None else (Outcome.found,)):
        raise LRNotFound(_message(result), result)
    return result


def _result(strategy: Strategy, trainer: LiveTrainer, stages: tuple[Stage, ...], began: float) -> LRResult:
    """What the stages so far give."""
    context = trainer.context
    choice = _as_choice(strategy, strategy.choose(stages, context), stages, context)
    choice = in_terms_of(choice, trainer.metric, trainer.mode, trainer.undefined)
    index = range(len(stages))[choice.stage]
    stage, outcome, steps = stages[index], choice.outcome, context.train_steps
    assert outcome is not None
    return LRResult(
        lr=choice.lr if outcome is Outcome.found else float("nan"),
        interval=choice.interval,
        outcome=outcome,
        strategy=type(strategy).__name__,
        rule=choice.rule,
        stages=stages,
        stage=index,
        selections={name: float(rule(stage.curve, stage.window)) for name, rule in METHODS.items()},
        drift=choice.drift,
        correction=choice.correction,
        reason=choice.reason,
        warnings=choice.warnings,
        metric=trainer.metric,
        mode=trainer.mode,
        train_steps=steps,
        start=context.start,
        cost=Cost(stages[-1].spent, None if steps is None else stages[-1].spent / steps, time.perf_counter() - began),
        execution=trainer.execution,
        fingerprint=trainer.fingerprint() | {"num_steps": stages[-1].num_steps},
    )


def _as_choice(strategy: Strategy, chosen: Any, stages: tuple[Stage, ...], context: Context) -> Choice:
    """The choice of any strategy; one that gives a learning rate alone gets the last stage's outcome and warnings."""
    name = type(strategy).__name__
    if isinstance(chosen, Choice):
        choice = chosen
    else:
        lr = np.asarray(chosen)
        if lr.shape != () or lr.dtype.kind not in "iuf" or not (np.isnan(lr) or 0 < lr < np.inf):
            raise ValueError(
                f"`{name}.choose(stages, context)` must return one learning rate, > 0 and finite, or nan, got "
                f"{show(chosen)}."
            )
        choice = Choice(lr=float(lr), rule=name, warnings=context.warnings(stages[-1]))
    stage, outcome = stages[choice.stage], choice.outcome
    if outcome is None:
        outcome = Outcome.nothing_moved if stage.nothing_moved is not None else stage.window.outcome
        outcome = Outcome.lost_in_noise if outcome is Outcome.found and np.isnan(choice.lr) else outcome
    found = outcome is Outcome.found
    reason = choice.reason or (f"Learning rate {choice.lr:.2e}, chosen by {name}." if found else outcome.value,)
    return dataclasses.replace(choice, outcome=outcome, reason=reason)


def _so_far(
    strategy: Strategy, trainer: LiveTrainer, stages: tuple[Stage, ...], began: float
) -> tuple[LRResult | None, str]:
    """What an interrupted search knows, and how its message ends."""
    if not stages:
        return None, "no round had finished."
    result = _result(strategy, trainer, stages, began)
    best = f"the best learning rate so far is {result.lr:.2e}" if result.outcome is Outcome.found else "none was found"
    known = f"{result.num_trials} learning rates were done, {best}."
    return result, f"{known} {trainer.how_to_resume()}".strip()


def _message(result: LRResult) -> str:
    """Why nothing was found, and what to do about it."""
    noisy = result.outcome is Outcome.lost_in_noise
    doubts = [one for one in result.warnings if one.name is WarningName.noisy or not noisy]
    return f"{result.in_terms(result.outcome.value)} {doubts[0].remedy if doubts else ''}".strip()
