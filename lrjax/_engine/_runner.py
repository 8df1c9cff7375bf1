"""The one runner of searches: lanes sampled from step 0 in rounds, and lanes that are trained on from stop to stop."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._checks import check_key
from .._progress import Reporter
from .._types import Float, Int, Key, OptimizerFactory
from ._batch_log import BatchLog
from ._choice import Choice
from ._devices import lane_mesh, num_shards, spans_hosts
from ._execution import Execution
from ._executor import Executor, check_executor
from ._experiment import EXAMPLE_LR, Experiment, Reference
from ._host_loop import without_updates
from ._lanes import NO_LANES, ProgramSlot
from ._optimizer import check_factory
from ._own_devices import loop_on_own_devices
from ._prepare import measure_reference, prepare
from ._rounds import Rounds
from ._task import Task, check_task
from ._trial_data import Checkpoint
from ._unmoved import Unmoved, why_unmoved


class Round(NamedTuple):
    """What trials reached that were trained from step 0."""

    metrics: dict[str, Float[np.ndarray, "horizons seeds trials"]]  # always has "loss"; as the program gave it, nan too
    diverged_at: Int[np.ndarray, "seeds trials"]  # first update with a loss that is not finite; -1 for none
    horizons: Int[np.ndarray, " horizons"]  # updates after which it was evaluated
    reference: Reference  # the losses to measure against


class LaneRunner:
    """Trains lanes of a task: new ones in rounds (`sample`), or the same ones longer and longer (`train`)."""

    def __init__(
        self,
        where: str,  # the caller's name, for messages
        task: Task,
        make_optimizer: OptimizerFactory,
        *,
        key: Key,
        num_seeds: int | None = None,  # where a call does not say; None: 3, or as many as the data allow
        executor: Executor = "auto",
        mesh: Mesh | None = None,  # lanes are spread over its first axis, or "trial"; None: all local devices
        settings: str = "",  # whose num_steps and num_seeds messages name; "": the caller's
        checkpoint: Checkpoint | None = None,  # where new lanes start, instead of from the task's own parameters
        longest: int = 0,  # updates of a lane of `train`, at most
        shapes: Sequence[tuple[int, int]] = (),  # (seeds, lanes) of the programs of `train`; (): of its first call
        reporter: Reporter | None = None,
    ):
        check_task(f"{where}(task=...)", task)
        check_factory(f"{where}(make_optimizer=...)", make_optimizer)
        self._settings = settings or where
        self.where, self.task, self.key = where, task, check_key(f"{where}(key=...)", key)
        self.executor: Executor = check_executor(f"{where}(executor=...)", executor)
        self._asked: Executor = self.executor
        self._asked_mesh = mesh
        self.mesh = lane_mesh(f"{where}(mesh=...)", mesh)
        self.execution = Execution(requested=str(executor), devices=num_shards(self.mesh))
        self.longest, self.log, self.states = longest, BatchLog(), NO_LANES
        self._make_optimizer, self._checkpoint, self._num_seeds = make_optimizer, checkpoint, num_seeds
        self._shapes, self._reporter = tuple(shapes), reporter or Reporter(None)
        self._loop: Choice | None = None
        self._sampled: dict[Any, tuple[Rounds, Reference]] = {}
        self._slots: dict[tuple[int, int], ProgramSlot] = {}
        self._observer: ProgramSlot | None = None
        self._observed = NO_LANES
        self._initial: dict[tuple[int, int], Any] = {}
        self._last: Experiment | None = None

    @property
    def experiment(self) -> Experiment:
        """What was trained last: task, optimizer, seeds and evaluation."""
        return self.carried if self._last is None else self._last

    def sample(
        self,
        lrs: Float[np.ndarray, " trials"] | Sequence[float],
        horizons: Sequence[int],
        num_seeds: int | None = None,
        *,
        in_batches: bool = False,
    ) -> Round:
        """Train one lane for each entry from step 0, in one program; nothing is kept of them."""
        num_seeds = self._num_seeds if num_seeds is None else num_seeds
        rounds, reference = self.rounds(tuple(horizons), num_seeds, in_batches)
        self._last = rounds.experiment
        record = rounds.run(np.asarray(lrs))
        self._last, self.executor = rounds.experiment, rounds.executor
        done = self._last.accumulation.done(self._last.spec.horizons[-1])
        metrics = {name: np.moveaxis(np.asarray(values), -1, 0) for name, values in record.metrics.items()}
        diverged = np.where(record.diverged_at < 0, record.diverged_at, done[record.diverged_at])
        return Round(metrics, diverged, done[list(self._last.spec.horizons)], reference)

    def rounds(
        self, horizons: tuple[int, ...], num_seeds: int | None = None, in_batches: bool = False
    ) -> tuple[Rounds, Reference]:
        """What `sample` runs; made once for each number of steps and seeds."""
        known = (horizons, num_seeds, in_batches)
        if known not in self._sampled:
            experiment = self._prepare(horizons, num_seeds, in_updates=not in_batches)
            reference = measure_reference(experiment)
            executor, mesh = self._placement(self._asked)
            rounds = Rounds(experiment, executor, mesh, self.execution, self._reporter.advance, self._loop is not None)
            self._sampled[known] = rounds, reference
        return self._sampled[known]

    def _prepare(self, horizons: tuple[int, ...], num_seeds: int | None, *, in_updates: bool) -> Experiment:
        """The experiment of some horizons, and whether it uses several devices by itself."""
        experiment = prepare(
            self._settings,
            self.task,
            self._make_optimizer,
            key=self.key,
            horizons=horizons,
            num_seeds=num_seeds,
            checkpoint=self._checkpoint,
            in_updates=in_updates,
        )
        self._loop = loop_on_own_devices(
            self.where,
            experiment,
            np.asarray(EXAMPLE_LR, experiment.dtype),
            executor=self._asked,
            asked_mesh=self._asked_mesh,
            mesh=self.mesh,
            axes=() if self.mesh is None else self.mesh.axis_names,
        )
        if self._loop is None:
            return experiment
        self.execution.reason, self.execution.devices = self._loop.reason, 1
        return experiment.keep_shardings()

    def _placement(self, executor: Executor) -> tuple[Executor, Mesh | None]:
        """How lanes run, and on which devices."""
        return (executor, self.mesh) if self._loop is None else (self._loop.executor, None)

    # Lanes that are trained on.

    @functools.cached_property
    def carried(self) -> Experiment:
        """The experiment of `train`."""
        _check_batches(self.where, self.task)
        _check_mesh(f"{self.where}(mesh=...)", self.mesh)
        seeds = max((seeds for seeds, _ in self._shapes), default=self._num_seeds)
        return self._prepare((1,), seeds, in_updates=True)

    @functools.cached_property
    def reference(self) -> Reference:
        """The losses of what every lane of `train` starts from."""
        return measure_reference(self.carried)

    def train(self, lrs: Sequence[float], num_steps: int, num_seeds: int) -> Float[np.ndarray, "seeds trials"]:
        """Bring every lane to `num_steps` updates, and evaluate it there.

        New lanes are first brought to where the others are, then all are trained on together: a lane's numbers are
        those of a training without a break.
        """
        self._last = self.carried
        wanted = [(seed, lr) for seed in range(num_seeds) for lr in map(float, lrs)]
        start = self.states if num_steps > self.states.step else NO_LANES
        new = [pair for pair in wanted if pair not in start.lanes]
        known = len(wanted) - len(new)
        start = start if known else NO_LANES
        updates = len(new) * num_steps + known * (num_steps - start.step)
        self._reporter.stage(f"{len(lrs)} learning rates to step {num_steps}", updates)
        slot, advance = self.slot(num_seeds, len(lrs)), self._reporter.advance
        if known and new:
            level, _ = slot.train(new, NO_LANES, start.step, advance, evaluate=False)
            start = start._replace(lanes=start.lanes | level.lanes)
        after, losses = slot.train(wanted, start, num_steps, advance, evaluate=True)
        if num_steps == self.states.step:
            after = after._replace(lanes=self.states.lanes | after.lanes)
        self.states = after
        return np.asarray([[losses[seed, lr] for lr in map(float, lrs)] for seed in range(num_seeds)])

    def initial_loss(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """Of the untouched parameters; of a stateful task or an own step after steps at learning rate 0."""
        spec = self.carried.spec
        if not spec.has_state and spec.step_fn is None:
            return self.reference.untouched_loss[:num_seeds]
        if (num_seeds, num_steps) not in self._initial:
            self._initial[num_seeds, num_steps] = self._observe(num_seeds, num_steps)
        return self._initial[num_seeds, num_steps]

    def _observe(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """The loss after steps at learning rate 0, from lanes of their own."""
        if self._observer is None:
            spec = without_updates(self.carried.spec, self.carried.seeds[0])
            execution = Execution(requested=str(self.executor))
            self._observer = self._make_slot(self.carried._replace(spec=spec), execution, BatchLog(), 1)
        wanted = [(seed, 0.0) for seed in range(num_seeds)]
        start = self._observed if num_steps > self._observed.step else NO_LANES
        start = start if all(pair in start.lanes for pair in wanted) else NO_LANES
        self._observed, found = self._observer.train(wanted, start, num_steps, lambda updates: None, evaluate=True)
        losses = np.asarray([found[pair] for pair in wanted])
        if not np.isfinite(losses).all():
            seed = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise ValueError(
                f"The validation loss after {num_steps} steps at learning rate 0 must be finite, got {losses[seed]} "
                f"for seed {seed}: the model state that loss_fn returns goes bad by itself."
            )
        return losses

    def slot(self, num_seeds: int, lanes: int) -> ProgramSlot:
        """The program for so many lanes of so many seeds."""
        fitting = [shape for shape in self._shapes if shape[0] >= num_seeds and shape[1] >= lanes]
        if not fitting:  # more than was announced
            fitting = [(num_seeds, lanes)]
            self._shapes = (*self._shapes, *fitting)
        made = [shape for shape in fitting if shape in self._slots and self._slots[shape].serves_fewer]
        seeds, width = shape = [*made, *fitting][0]
        if shape not in self._slots:
            experiment = self.carried._replace(seeds=self.carried.seeds[:seeds])
            self._slots[shape] = self._make_slot(experiment, self.execution, self.log, width)
            self.executor = self._slots[shape].executor
        return self._slots[shape]

    def _make_slot(self, experiment: Experiment, execution: Execution, log: BatchLog, lanes: int) -> ProgramSlot:
        options: dict[str, Any] = {"lanes": lanes, "longest": self.longest, "own_devices": self._loop is not None}
        return ProgramSlot(self.task, experiment, *self._placement(self.executor), execution, log, **options)

    def why_unmoved(self, lr: float, num_steps: int, *, in_batches: bool = False) -> Unmoved | None:
        """Why no learning rate moved the loss, from a training of `num_steps` steps at a high one."""
        experiment = self.experiment
        batches = num_steps if in_batches else experiment.accumulation.batches(num_steps)
        seed, spec = experiment.seeds[0], dataclasses.replace(experiment.spec, horizons=(batches,))
        data = seed._replace(batches=self.task.training_batches(0, seed.data_key, 0, batches))
        return why_unmoved(spec, data, experiment.evaluation, jnp.asarray(lr, experiment.dtype))


def _check_batches(where: str, task: Task) -> None:
    """A search reads the batches of any step, again for every rung."""
    if task._stream is None and task.batches_between is None:
        raise ValueError(
            f"`{where}(task=...)` must give batches from any step on, since lanes are carried on from rung to rung. "
            "Use Task.from_arrays, or give Task(batches_between=...), a function of (key, start, stop); "
            "lrjax.StepSampling does without."
        )
    if task._stream is not None and not task._stream.resumes:
        raise ValueError(
            f"`{where}(train_steps=...)` must read the same batches again for every rung, and "
            f"`{task._stream.where}` is an iterator, or a loader that may give others the next time. "
            f"{task._stream.endless}. A list or a Grain iterator does too, and lrjax.StepSampling takes any loader."
        )


def _check_mesh(where: str, mesh: Mesh | None) -> None:
    """One axis "trial" over the devices of this host."""
    if mesh is not None and mesh.axis_names != ("trial",):
        raise ValueError(
            f'`{where}` must have the one axis "trial", got {mesh.axis_names}. Write '
            'jax.sharding.Mesh(jax.local_devices(), ("trial",)).'
        )
    if mesh is not None and spans_hosts(mesh):
        raise ValueError(
            f"`{where}` must be of this host's devices, got those of {jax.process_count()} processes: a search decides "
            "after every rung what to train. Search on one host, or use lrjax.sweep."
        )
