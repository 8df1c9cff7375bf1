"""The losses of a live search: the one place where strategies meet the engine."""

import dataclasses
import os
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._curve import LossCurve, LRWarning, WarningName
from .._engine import (
    NO_GRADIENT,
    Execution,
    Executor,
    SeedData,
    Task,
    TrialRunner,
    all_the_same,
    check_checkpoint,
    count_seeds,
    fingerprint,
    why_unmoved,
)
from .._types import Float, Key, OptimizerFactory
from ._lane_trainer import LaneTrainer
from ._reporter import Reporter
from ._sample import sample_round
from ._search_digest import describe_search
from ._search_setup import make_setup
from ._search_store import RememberedRounds
from ._stage import Stage
from ._start import Checkpoint
from ._strategy import Context, Request, Strategy, curve_of_losses


class LiveTrainer:
    """Trains what a strategy asks for; see `Trainer`.

    Args:
      task, make_optimizer, key, executor, mesh, directory: as for `lrjax.find_lr`.
      strategy: who asks.
      context: what is known before anything is trained.
      start: the checkpoint that every learning rate starts from, if any.
      reporter: who is told.
    """

    def __init__(
        self,
        task: Task,
        make_optimizer: OptimizerFactory,
        strategy: Strategy,
        context: Context,
        *,
        key: Key,
        start: Checkpoint | None,
        executor: Executor,
        mesh: Mesh | None,
        directory: str | os.PathLike[str] | None,
        reporter: Reporter,
    ):
        self.task, self.make_optimizer, self.strategy, self.context = task, make_optimizer, strategy, context
        self.key, self.directory, self.reporter = key, directory, reporter
        self._run: dict[str, Any] = {"executor": executor, "mesh": mesh}
        self._start = start
        self._runners: dict[Any, TrialRunner] = {}
        self._lanes: LaneTrainer | None = None
        self._store: RememberedRounds | None = None
        self._carried: LaneTrainer | RememberedRounds | None = None
        self._last: TrialRunner | LaneTrainer | None = None
        self._request: Request | None = None

    def train(self, request: Request) -> LossCurve:
        """The curve of a request's learning rates."""
        self._request = request
        return self._train_on(request) if request.carry else self._train_from_start(request)

    def inspect(self, stages: tuple[Stage, ...]) -> LRWarning | None:
        """Why no loss of the last stage moved, if none did.

        Raises:
          ValueError: the learning rate does not matter.
        """
        stage = stages[-1]
        losses, initial = np.asarray(stage.curve.final), np.asarray(stage.curve.initial_loss)
        if all_the_same(losses, initial):
            found = self._why_unmoved(stage)
            if found is not None and (found is not NO_GRADIENT or self.context.start is None):
                return LRWarning(name=WarningName.nothing_moved, **found._asdict())
            return None
        if len(stages) == 1:
            check_lr_matters("find_lr", np.asarray(stage.curve.lrs), losses, initial)
        return None

    @property
    def execution(self) -> Execution:
        """How the lanes of the last request were run."""
        assert self._last is not None
        return self._last.execution

    def fingerprint(self) -> dict[str, Any]:
        """What another run must share to give the same numbers."""
        last = self._last
        assert last is not None
        made = last.setup if isinstance(last, LaneTrainer) else last.experiment
        return fingerprint(made.spec, made.seeds, self.key, last.executor)

    @property
    def lanes(self) -> LaneTrainer:
        """The programs whose lanes are carried."""
        assert self._lanes is not None
        return self._lanes

    def how_to_resume(self) -> str:
        """What an interrupted search is told about its folder."""
        return "" if self._store is None else f"The same call with directory={self._store.directory!r} goes on."

    def close(self) -> None:
        """Let go of the folder."""
        if self._store is not None:
            self._store.close()

    def _train_from_start(self, request: Request) -> LossCurve:
        """One fused program, from step 0 or from the checkpoint."""
        runner = self._last = self.runner_for(request)
        updates = len(request.log10_lrs) * runner.num_seeds * runner.num_updates
        self.reporter.stage(request.round or _words(request), updates)
        reference = runner.reference
        self.context = dataclasses.replace(
            self.context,
            untouched_loss=reference.untouched_loss if self.task.has_state else None,
            stochastic=reference.stochastic,
            horizon_losses=reference.horizon_losses,
        )
        return sample_round(runner, np.asarray([10.0**x for x in request.log10_lrs]))

    def runner_for(self, request: Request) -> TrialRunner:
        """The program of a number of steps."""
        if self.directory is not None:
            raise ValueError(
                f"`find_lr(directory=...)` keeps lanes that are carried on, and lrjax.{type(self.strategy).__name__} "
                "carries none: it trains anew from step 0. Leave directory out, or search with lrjax.Budget."
            )
        horizons = (*request.horizons, request.num_steps)
        return self._runner(horizons, request)

    def probe(self, request: Request, num_steps: int) -> TrialRunner:
        """The program of a request, with fewer updates."""
        return self._runner((num_steps,), dataclasses.replace(request, num_steps=num_steps, in_batches=False))

    def _runner(self, horizons: tuple[int, ...], request: Request) -> TrialRunner:
        kind = (horizons, request.in_batches, request.num_seeds)
        if kind not in self._runners:
            self.reporter.stage("preparing")
            if self._start is not None:
                checked = vars(self._start).copy()
                del checked["step"]
                checkpoint = check_checkpoint("Checkpoint", self.task, self.make_optimizer, key=self.key, **checked)
            else:
                checkpoint = None
            where, steps, seeds = type(self.strategy).__name__, request.num_steps, request.num_seeds
            self._runners[kind] = TrialRunner(
                "find_lr",
                self.task,
                self.make_optimizer,
                key=self.key,
                horizons=horizons,
                num_seeds=count_seeds(where, self.task, steps, seeds) if request.in_batches else seeds,
                progress=self.reporter.advance,
                checkpoint=checkpoint,
                in_updates=not request.in_batches,
                **self._run,
            )
        return self._runners[kind]

    def _train_on(self, request: Request) -> LossCurve:
        """Lanes that go on from where they are."""
        trainer = self._carried or self.carried_for(request)
        seeds = request.num_seeds or 1
        losses = trainer.train(list(request.log10_lrs), seeds, request.num_steps)
        initial = trainer.initial_loss(seeds, request.num_steps)
        return curve_of_losses(request.log10_lrs, losses, initial, request.num_steps)

    def carried_for(self, request: Request) -> LaneTrainer | RememberedRounds:
        """Programs whose lanes are carried from stage to stage, with their folder."""
        self.reporter.stage("preparing")
        seeds = max((one for one, _ in request.programs), default=request.num_seeds or 1)
        setup = make_setup("find_lr", self.task, self.make_optimizer, seeds, key=self.key, **self._run)
        self.context = dataclasses.replace(self.context, stochastic=setup.stochastic)
        shapes = request.programs or ((seeds, len(request.log10_lrs)),)
        longest = request.longest or self.context.train_steps or request.num_steps
        self._lanes = self._last = LaneTrainer(setup, shapes, longest, self.reporter)
        if self.directory is not None:
            course = getattr(self.strategy, "_course", None)
            if course is None:
                raise ValueError("`find_lr(directory=...)` is for lrjax.Budget. Leave it out with another strategy.")
            call = describe_search(setup, course(self.context))
            self._store = RememberedRounds(self._lanes, "find_lr", self.directory, call)
        self._carried = self._store or self._lanes
        return self._carried

    def _why_unmoved(self, stage: Stage) -> Any:
        """From one more training of the stage's length, at a high learning rate."""
        last, request = self._last, self._request
        assert last is not None
        assert request is not None
        lr = max(float(stage.curve.lrs[-1]), 1.0 if request.may_grow else 0.0)
        if isinstance(last, TrialRunner):
            made = last.experiment
            return why_unmoved(made.spec, made.seeds[0], made.evaluation, jnp.asarray(lr, made.dtype))
        setup, batches = last.setup, last.setup.accumulation.batches(stage.num_steps)
        seed, spec = setup.seeds[0], dataclasses.replace(setup.spec, horizons=(batches,))
        read = setup.task.training_batches(0, seed.data_key, 0, batches)
        data = SeedData(*seed[:3], read, jnp.asarray(np.int32(0)), seed.train_key)
        return why_unmoved(spec, data, setup.evaluation, jnp.asarray(lr, setup.dtype))


def check_lr_matters(
    where: str,
    lrs: Float[np.ndarray, " trials"],
    losses: Float[np.ndarray, "seeds trials"],
    initial_loss: Float[np.ndarray, " seeds"],
) -> None:
    """Raise if the learning rates learned something, but all of them the same; `lrs` in increasing order."""
    moved = np.abs(losses - initial_loss[:, None]) > 1e-3 * np.abs(initial_loss[:, None])
    if len(lrs) > 2 and moved.all() and (losses == losses[:, :1]).all() and np.isfinite(losses).all():
        raise ValueError(
            f"`{where}(make_optimizer=...)` must use its argument, but all {len(lrs)} learning rates from "
            f"{lrs[0]:.1e} to {lrs[-1]:.1e} gave the same loss, {losses[0, 0]:.4g}. "
            "Pass it on: lambda lr: optax.sgd(lr, momentum=0.9)."
        )


def _words(request: Request) -> str:
    return f"{len(request.log10_lrs)} learning rates to step {request.num_steps}"
