"""The losses of a live search: the one place where strategies meet the engine."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from .._checks import Mode, describe
from .._curve import LossCurve, LRWarning, WarningName
from .._engine import (
    NO_GRADIENT,
    EvalData,
    Execution,
    Executor,
    LaneRunner,
    Reference,
    Round,
    Task,
    all_the_same,
    check_checkpoint,
    fingerprint,
    trivial_loss,
)
from .._progress import Reporter
from .._types import Float, Key, OptimizerFactory
from ._ranking import rank_by
from ._search_store import RememberedRounds, describe_search
from ._stage import Stage
from ._start import Checkpoint
from ._strategy import Context, Request, Strategy, curve_of_losses


class LiveTrainer:
    """Trains what a strategy asks for; see `Trainer`, and for the arguments `lrjax.find_lr`."""

    def __init__(
        self,
        task: Task,
        make_optimizer: OptimizerFactory,
        strategy: Strategy,
        context: Context,
        *,
        key: Key,
        start: Checkpoint | None,
        metric: str,
        mode: Mode | None,
        executor: Executor,
        mesh: Mesh | None,
        directory: str | os.PathLike[str] | None,
        reporter: Reporter,
    ):
        ranked = rank_by(task, metric, mode)
        self.task, self.metric = ranked.task, metric
        self.mode: Mode = ranked.mode
        self.undefined: set[float] = set()  # learning rates at which the metric is not a number
        self.strategy, self.directory = strategy, directory
        self.context = context if metric == "loss" else dataclasses.replace(context, baseline_loss=None)
        self.key, self.reporter, self._start, self._make_optimizer = key, reporter, start, make_optimizer
        self._run: dict[str, Any] = {"executor": executor, "mesh": mesh}
        self._runner: LaneRunner | None = None
        self._store: RememberedRounds | None = None
        self._request: Request | None = None

    def train(self, request: Request) -> LossCurve:
        """The curve of a request's learning rates."""
        self._request = request
        runner = self.runner_for(request)
        return self._carry(runner, request) if request.carry else self._sample(runner, request)

    def inspect(self, stages: tuple[Stage, ...]) -> LRWarning | None:
        """Why no loss of the last stage moved, if none did. Raises `ValueError`: the learning rate does not matter."""
        stage, request = stages[-1], self._request
        losses, initial = np.asarray(stage.curve.final), np.asarray(stage.curve.initial_loss)
        if all_the_same(losses, initial):
            assert self._runner is not None
            assert request is not None
            lr = max(float(stage.curve.lrs[-1]), 1.0 if request.may_grow else 0.0)
            found = self._runner.why_unmoved(lr, request.num_steps, in_batches=request.in_batches)
            if found is not None and (found is not NO_GRADIENT or self.context.start is None):
                return LRWarning(name=WarningName.nothing_moved, **found._asdict())
        elif len(stages) == 1:
            check_lr_matters(np.asarray(stage.curve.lrs), losses, initial)
        return None

    @property
    def execution(self) -> Execution:
        """How the lanes were run."""
        assert self._runner is not None
        return self._runner.execution

    def fingerprint(self) -> dict[str, Any]:
        """What another run must share to give the same numbers."""
        assert self._runner is not None
        made = self._runner.experiment
        batches, params = jax.tree.leaves(made.seeds[0].batches), jax.tree.leaves(made.seeds[0].params)
        return fingerprint(made.spec, made.seeds, self.key, self._runner.executor) | {
            "devices": self.execution.devices,
            "trained_parameters": sum(leaf.size for leaf in params),
            "batch_shapes": [describe(jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)) for leaf in batches],
        }

    def how_to_resume(self) -> str:
        """What an interrupted search is told about its folder."""
        return "" if self._store is None else f"The same call with directory={self._store.directory!r} goes on."

    def close(self) -> None:
        """Let go of the folder."""
        if self._store is not None:
            self._store.close()

    def runner_for(self, request: Request) -> LaneRunner:
        """The runner of all requests, made for the first one."""
        if self.directory is not None and not request.carry:
            raise ValueError(
                f"`find_lr(directory=...)` keeps lanes that are carried on, and {type(self.strategy).__name__} "
                "carries none: it trains anew from step 0. Leave directory out, search with lrjax.Budget, or ask with "
                "Request(carry=True)."
            )
        if self._runner is None:
            self.reporter.stage("preparing")
            checkpoint = None
            if self._start is not None:
                given = {name: getattr(self._start, name) for name in ("params", "opt_state", "model_state")}
                checkpoint = check_checkpoint("Checkpoint", self.task, self._make_optimizer, key=self.key, **given)
            self._runner = LaneRunner(
                "find_lr",
                self.task,
                self._make_optimizer,
                key=self.key,
                num_seeds=request.num_seeds,
                settings=type(self.strategy).__name__,
                checkpoint=checkpoint,
                longest=request.longest or self.context.train_steps or request.num_steps,
                shapes=request.programs,
                reporter=self.reporter,
                **self._run,
            )
            if request.carry:
                self._check_length(self._runner)
                # what every lane starts from is looked at before anything is trained
                self._know(self._runner.carried.evaluation, self._runner.reference)
            if self.directory is not None:
                call = describe_search(self._runner, self.strategy, self.context)
                self._store = RememberedRounds(self._runner, "find_lr", self.directory, call)
        return self._runner

    def _check_length(self, runner: LaneRunner) -> None:
        """Raise where there are fewer batches than the longest lane may need."""
        stream, needed = self.task._stream, runner.carried.accumulation.batches(runner.longest)
        if stream is not None and stream.length is not None and stream.length < needed:
            raise ValueError(
                f"`{stream.where}` must give a batch for each of the {needed} steps of the longest trial, got "
                f"{stream.length}. {stream.endless}, or search for a shorter training."
            )

    def _sample(self, runner: LaneRunner, request: Request) -> LossCurve:
        """One fused program, from step 0 or from the checkpoint."""
        lrs, horizons = np.sort([10.0**x for x in request.log10_lrs]), (*request.horizons, request.num_steps)
        seeds, in_batches = request.num_seeds, request.in_batches
        rounds, reference = runner.rounds(horizons, seeds, in_batches)
        made = rounds.experiment
        updates = made.accumulation.updates(made.spec.horizons[-1])
        self.reporter.stage(request.round or _in_words(request), len(lrs) * len(made.seeds) * updates)
        self._know(made.evaluation, reference)
        untouched = reference.untouched_loss if self.task.has_state else None
        batches = None if self.task._stream is None else self.task._stream.length
        most = None if batches is None else made.accumulation.updates(batches // (seeds or 1))
        losses = reference.horizon_losses
        self.context = dataclasses.replace(
            self.context, untouched_loss=untouched, horizon_losses=losses, max_steps=most
        )
        result = runner.sample(lrs, horizons, seeds, in_batches=in_batches)
        return curve_of(lrs, result if self.metric == "loss" else self._defined(lrs, result), made.dtype)

    def _know(self, evaluation: EvalData, reference: Reference) -> None:
        """Take into the context what the untouched parameters show; those of a checkpoint are not untrained."""
        baseline = self.context.baseline_loss
        if baseline is None and self._start is None and self.metric == "loss":
            baseline = trivial_loss(evaluation, reference.untouched_loss)
        stochastic = reference.stochastic
        self.context = dataclasses.replace(self.context, stochastic=stochastic, baseline_loss=baseline)

    def _carry(self, runner: LaneRunner, request: Request) -> LossCurve:
        """Lanes that are trained on from where they are."""
        trainer, seeds, lrs = self._store or runner, request.num_seeds or 1, [10.0**x for x in request.log10_lrs]
        drawn = len(runner.carried.seeds)
        if seeds > drawn:
            raise ValueError(
                f"`Request(num_seeds=...)` must be at most {drawn}, those of the first request, got {seeds}. "
                f"Name the largest program in the first one: programs=[({seeds}, {len(lrs)})]."
            )
        losses = trainer.train(lrs, request.num_steps, seeds)
        initial = trainer.initial_loss(seeds, request.num_steps)
        if self.metric != "loss":
            losses = self._fill(lrs, losses, initial)
        return curve_of_losses(request.log10_lrs, losses, initial, request.num_steps)

    def _defined(self, lrs: np.ndarray, result: Round) -> Round:
        """A round in which a metric that is not a number at the end is no divergence there."""
        losses, last = result.metrics["loss"], result.horizons[-1] - 1
        diverged = np.where(np.isnan(losses[-1]) & (result.diverged_at == last), -1, result.diverged_at)
        losses = self._fill(lrs, losses, result.reference.initial_loss)
        return result._replace(metrics=result.metrics | {"loss": losses}, diverged_at=diverged)

    def _fill(self, lrs: Sequence[float] | np.ndarray, losses: np.ndarray, initial: np.ndarray) -> np.ndarray:
        """Values of a metric; where it is not a number, of which it takes note, those of the untouched parameters."""
        lost = np.isnan(losses)
        self.undefined |= {float(lr) for lr in np.asarray(lrs)[lost.reshape(-1, len(lrs)).any(axis=0)]}
        return np.where(lost, initial[:, None].astype(losses.dtype), losses)


def curve_of(lrs: np.ndarray, result: Round, dtype: np.dtype) -> LossCurve:
    """The curve of a round, `lrs` in increasing order; a loss that is not finite reads inf."""
    losses = result.metrics["loss"]
    return LossCurve(
        lrs=lrs.astype(dtype),
        losses=np.where(np.isfinite(losses), losses, np.inf).astype(losses.dtype),
        initial_loss=np.asarray(result.reference.initial_loss, losses.dtype),
        horizons=np.asarray(result.horizons, np.int32),
        rounds=np.zeros(len(lrs), np.int32),
        diverged_at=np.asarray(result.diverged_at, np.int32),
        metrics={name: np.asarray(values) for name, values in result.metrics.items() if name != "loss"},
    )


def check_lr_matters(
    lrs: Float[np.ndarray, " trials"],
    losses: Float[np.ndarray, "seeds trials"],
    initial_loss: Float[np.ndarray, " seeds"],
) -> None:
    """Raise if the learning rates learned something, but all of them the same; `lrs` in increasing order."""
    moved = np.abs(losses - initial_loss[:, None]) > 1e-3 * np.abs(initial_loss[:, None])
    if len(lrs) > 2 and moved.all() and (losses == losses[:, :1]).all() and np.isfinite(losses).all():
        raise ValueError(
            f"`find_lr(make_optimizer=...)` must use its argument, but all {len(lrs)} learning rates from "
            f"{lrs[0]:.1e} to {lrs[-1]:.1e} gave the same loss, {losses[0, 0]:.4g}. "
            "Pass it on: lambda lr: optax.sgd(lr, momentum=0.9)."
        )


def _in_words(request: Request) -> str:
    return f"{len(request.log10_lrs)} learning rates to step {request.num_steps}"
