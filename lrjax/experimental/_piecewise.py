"""Piecewise step sampling with a cooled score: a training that looks for its learning rate on the way."""

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from .._checks import brief, check_count, check_key, check_lr, name_of, on_host
from .._engine import Executor, Task, TrialRunner, TrialState, check_factory, check_task, join_params, take
from .._search import ProgressCallback, Reporter
from .._types import Array, Float, Key, OptimizerFactory, Schedule
from ..schedules import cooldown_from, piecewise_constant
from ._result import PiecewiseResult, PiecewiseWindow

PARTS = 20
"""The training has so many parts: two are a window, one is the cooldown of a score."""

WINDOWS = 8
"""Windows in which the learning rate is chosen; in the rest of the training it falls to 0."""

FIRST = np.asarray([0.1, 10**-0.5, 1.0, 10**0.5, 10.0])
"""The first forks, as multiples of the given learning rate."""

LATER = np.asarray([0.25, 0.5, 1.0, 2.0, 4.0])
"""The other forks, as multiples of the current learning rate."""

MOST_STEPS = 2**24
"""Steps that float32 tells apart."""


@on_host
def piecewise(
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    lr: float,
    train_steps: int,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    progress: ProgressCallback | bool | None = None,
) -> PiecewiseResult:
    """Experimental: train, and look for the learning rate on the way, at the cost of 6.2 trainings.

    In every tenth of the training, up to 80 %, five copies go on from the current model and optimizer state, on the
    same batches, at 1/4, 1/2, 1, 2 and 4 times the current learning rate (at first at 0.1, 0.32, 1, 3.2 and 10 times
    `lr`). Each is scored by its validation loss after 5 % more, in which its learning rate falls linearly to 0; the
    training goes on from where the best of them was before that. In the last 20 % the learning rate falls to 0.

    The evidence (docs/benchmark.md) is 16 small tasks, 300 to 2,000 updates long, two keys. This came within 1.1 points
    of the best that any of 13 schedules reached at its best peak. Single trainings with what a search says: constant
    2.4, cosine 2.4, 1cycle by a search of 100 updates 1.9 (+0.8 +- 0.5 against this). Where full trainings at 8 peaks
    are paid for, which cost a little more, their best cosine loses 1.0 and their best 1cycle 0.4. So this is for a task
    whose search is in doubt; try `lrjax.recommend` first.

    The cooldown shows progress without the noise of a high learning rate: in an earlier study copies that were scored
    right after their windows lost twice as much, and in shorter windows their learning rate collapsed for good. All in
    all 40 validation losses decide: report that of other data.

    Args:
      task: what is trained. Its batches must be readable from any step on (`Task.from_arrays`, `batches_between`);
        without random access they are drawn from step 0 again for every part.
      make_optimizer: `make_optimizer(schedule) -> optax optimizer`, for example `optax.adam`.
      key: PRNG key; the training is that of seed 0. The same key gives the same answer.
      lr: learning rate to begin around, > 0; that of `lrjax.find_lr`.
      train_steps: optimizer updates of the training, a multiple of 20.
      executor: how the copies run; see `lrjax.sample_losses`.
      mesh: devices over whose first axis the copies are spread; None: all local devices.
      progress: True for a bar, or a function of a `lrjax.SearchProgress`.

    Returns:
      The result: `params`, `schedule`, `windows`, `loss`, `cost`, `summary()`.

    Raises:
      RuntimeError: every copy diverged.
      TypeError, ValueError: bad arguments; the message says what was wrong and what to do.

    Source: "Learning rate optimization through step sampling", section 6, as future work; the cooled score is ours.

    Examples:
      >>> import jax, optax, lrjax.experimental
      >>> from lrjax.demos import digits
      >>> result = lrjax.experimental.piecewise(
      ...     digits(), optax.adam, key=jax.random.key(0), lr=0.01, train_steps=60, executor="map"
      ... )
      >>> len(result.windows), result.cost, result.loss < 0.5
      (8, 6.2, True)
      >>> optimizer = optax.adam(result.schedule)  # the same training again
    """
    start = time.perf_counter()
    key = check_key("piecewise(key=...)", key)
    lr = check_lr("piecewise(lr=...)", lr)
    part = _check_steps(train_steps) // PARTS
    check_task("piecewise(task=...)", task)
    check_factory("piecewise(make_optimizer=...)", make_optimizer)
    _check_access(task)
    _check_optimizer(make_optimizer)
    with Reporter(progress) as reporter:
        reporter.stage("preparing")
        runner = TrialRunner(
            "piecewise",
            task,
            _OfPiece(make_optimizer),
            key=key,
            horizons=(part,),
            num_seeds=1,
            executor=executor,
            mesh=mesh,
            progress=reporter.advance,
            in_updates=True,
            example=_Piece(1e-3, 1.0, 1.0),
        )
        _check_accumulation(runner, make_optimizer)
        states, windows = None, []
        for index in range(WINDOWS):
            reporter.stage(f"window {index + 1} of {WINDOWS}", 3 * part * len(LATER))
            lrs = lr * (LATER if windows else FIRST)
            states, losses = _fork(runner, lrs, states, 2 * part * index)
            windows.append(_window(index, part, lrs, losses, make_optimizer))
            states, lr = _pick(states, windows[-1].chosen), windows[-1].lr
        assert states is not None
        reporter.stage("cooldown", (PARTS - 2 * WINDOWS) * part)
        state, loss = _finish(runner, lr, states)
    return PiecewiseResult(
        params=join_params(state.params, runner.experiment.seeds[0].frozen),
        model_state=state.model_state,
        opt_state=state.opt_state,
        schedule=_schedule_of(windows, part),
        windows=tuple(windows),
        initial_loss=float(runner.reference.untouched_loss[0]),
        loss=loss,
        train_steps=PARTS * part,
        num_updates=(3 * WINDOWS * len(LATER) + PARTS - 2 * WINDOWS) * part,
        seconds=time.perf_counter() - start,
        execution=runner.execution,
    )


class _Piece(NamedTuple):
    """A learning rate, constant and then falling linearly to 0 in the last steps before an end. Traced numbers."""

    lr: Any
    end: Any
    fall: Any

    def at(self, step: Array) -> Array:
        left = self.end - step.astype(self.end.dtype)
        return self.lr * jnp.clip(left / self.fall, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class _OfPiece:
    """The factory of the engine; equal to another one of the same function, so that nothing compiles twice.

    Attributes:
      func: the user's own, whose name stands in messages.
    """

    func: OptimizerFactory

    def __call__(self, piece: _Piece) -> optax.GradientTransformation:
        return self.func(piece.at)


def _fork(
    runner: TrialRunner, lrs: Float[np.ndarray, " trials"], states: tuple[TrialState, ...] | None, step: int
) -> tuple[tuple[TrialState, ...], Float[np.ndarray, " trials"]]:
    """The states after a window at each learning rate, and the losses after a cooldown from there."""
    part, ones = runner.num_steps, np.ones(len(lrs))
    for begin in (step, step + part):
        forks = runner.run(_Piece(lrs, MOST_STEPS * ones, ones), states=states, start=begin, keep=True)
        states = forks.states
    assert states is not None
    stop = step + 2 * part
    piece = _Piece(lrs, (stop + part) * ones, part * ones)
    losses = runner.run(piece, states=states, start=stop, keep=True).metrics["loss"][-1, 0]  # kept: the same program
    return states, np.where(np.isfinite(losses), losses, np.inf)


def _window(
    index: int, part: int, lrs: Float[np.ndarray, " trials"], losses: Float[np.ndarray, " trials"], make_optimizer: Any
) -> PiecewiseWindow:
    """The choice: the lowest loss, of equal ones the highest learning rate.

    Raises:
      RuntimeError: every copy diverged.
      ValueError: the learning rate does not matter.
    """
    if not np.isfinite(losses).any():
        raise RuntimeError(
            f"`piecewise` needs a copy that does not diverge, but from step {2 * part * index} on all {len(lrs)} did, "
            f"at learning rates from {lrs[0]:.1e} to {lrs[-1]:.1e}. Start lower (lr=...)."
        )
    if index == 0 and (losses == losses[0]).all():
        raise ValueError(
            f"`piecewise(make_optimizer=...)` must use its argument, but {name_of(make_optimizer)} gave the same loss, "
            f"{losses[0]:.4g}, for learning rates from {lrs[0]:.1e} to {lrs[-1]:.1e}. Pass the schedule on: "
            "lambda schedule: optax.sgd(schedule, momentum=0.9)."
        )
    return PiecewiseWindow(
        start=2 * part * index,
        stop=2 * part * (index + 1),
        lrs=tuple(lrs.tolist()),
        losses=tuple(losses.tolist()),
        chosen=int(np.flatnonzero(losses == losses.min())[-1]),
    )


def _pick(states: tuple[TrialState, ...], lane: int) -> tuple[TrialState, ...]:
    """One lane in the place of all."""
    return tuple(take(state, np.full(len(LATER), lane)) for state in states)


def _finish(runner: TrialRunner, lr: float, states: tuple[TrialState, ...]) -> tuple[TrialState, float]:
    """The state at the end of the training and its loss."""
    part, loss = runner.num_steps, np.nan
    piece = _Piece(*np.asarray([[lr], [PARTS * part], [(PARTS - 2 * WINDOWS) * part]], np.float64))
    states = tuple(take(state, slice(0, 1)) for state in states)
    for step in range(2 * WINDOWS * part, PARTS * part, part):
        done = runner.run(piece, states=states, start=step, keep=True)
        assert done.states is not None
        states, loss = done.states, done.metrics["loss"][-1, 0, 0]
    return take(states[0], 0), float(loss)


def _schedule_of(windows: list[PiecewiseWindow], part: int) -> Schedule:
    stairs = piecewise_constant([window.lr for window in windows], [window.start for window in windows[1:]])
    return cooldown_from(stairs, windows[-1].stop, (PARTS - 2 * WINDOWS) * part, cooldown="linear")


def _check_steps(train_steps: object) -> int:
    where, unit = "piecewise(train_steps=...)", "optimizer updates of the training"
    steps = check_count(where, train_steps, minimum=PARTS, unit=unit)
    if steps % PARTS or steps >= MOST_STEPS:
        raise ValueError(
            f"`{where}` must be a multiple of {PARTS} (windows are a tenth of it, cooldowns a twentieth) and below "
            f"{MOST_STEPS}, got {steps}. Write {min(steps, MOST_STEPS - 1) // PARTS * PARTS}."
        )
    return steps


def _check_access(task: Task) -> None:
    if task._stream is not None:
        raise ValueError(
            "`piecewise(task=...)` must give batches from any step on, since copies go on from step to step, and "
            "`Task.from_batches` reads an iterable once. Use Task.from_arrays, or Task(batches_between=...)."
        )


def _check_optimizer(make_optimizer: OptimizerFactory) -> None:
    """Raise unless the optimizer takes a schedule."""
    piece = _Piece(*[jax.ShapeDtypeStruct((), np.float32)] * 3)
    try:
        jax.eval_shape(lambda piece: (make_optimizer(piece.at), None)[1], piece)
    except TypeError as error:
        raise TypeError(
            "`piecewise(make_optimizer=...)` must take a schedule for its learning rate, a function of the step, but "
            f"{name_of(make_optimizer)} failed on one: {brief(error)}"
        ) from error


def _check_accumulation(runner: TrialRunner, make_optimizer: OptimizerFactory) -> None:
    """Raise unless every batch is an update."""
    accumulation = runner.experiment.accumulation
    if accumulation:
        raise ValueError(
            f"`piecewise(make_optimizer=...)` must make an update of every batch, but {name_of(make_optimizer)} "
            f"accumulates gradients ({', '.join(accumulation.kinds)}). Use larger batches instead."
        )
