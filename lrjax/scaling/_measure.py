"""`measure`: sweeps at several sizes, and the law that they give."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import check_key, check_path
from .._engine import Executor, Task, check_executor
from .._failure import LRNotFound, interruptible
from .._preview import PlannedRound, Preview, asked_of, preview, previewed_by
from .._progress import Progress, ProgressLike, Reporter
from .._settings import on_host
from .._sweeps import run_sweep, sweep
from .._types import Key, OptimizerFactory
from ._design import LENGTH, Run, Sizes, base_of, describe, first_quarters, lowest_quarter, lr_of, next_quarters
from ._fit import fit
from ._law import ScalingLaw
from ._measure_plan import MeasurePlan, make_plan

FOLDER = "lrjax-measure"
"""In the user's directory; a folder for every size and round in it."""


@on_host
def preview_measure(*arguments: Any, **options: Any) -> Preview:
    """See `lrjax.preview`: seconds and bytes are those of the largest size, the seconds of the others by their cost."""
    asked = asked_of(measure, arguments, options)
    key, executor, *_ = (asked.pop(name) for name in ("key", "executor", "directory", "progress"))
    plan, num_seeds = make_plan(**asked), asked["num_seeds"]
    largest = max(plan.runs, key=lambda run: run.cost / run.lengths[-1] / run.most)
    one = preview(
        sweep,
        plan.task_of(largest.sizes),
        plan.optimizer_of(largest.sizes),
        {"lr": [lr_of(quarter) for quarter in range(-12, -12 + largest.most)]},
        key=key,
        train_steps=largest.lengths[-1],
        num_seeds=num_seeds,
        eval_every=largest.lengths,
        executor="map" if executor in ("auto", "loop") else executor,
    )
    rounds = [
        PlannedRound(run.lengths[-1], run.most, num_seeds, run.most * num_seeds * run.lengths[-1]) for run in plan.runs
    ]
    trainings = sum(run.cost for run in plan.runs)
    notes = [
        f"{describe(plan.axes, run.sizes)}: at most {run.cost:.3g} trainings of the base"
        + (f", read after {', '.join(map(str, run.lengths[:-1]))} updates too." if run.lengths[:-1] else ".")
        for run in plan.runs
    ]
    return Preview(
        rounds=tuple(rounds),
        updates=sum(each.updates for each in rounds),
        trainings=trainings,
        seconds=one.seconds * trainings / largest.cost,
        bytes=one.bytes,
        lane_bytes=one.lane_bytes,
        executor=one.executor,
        notes=tuple(notes),
    )


@previewed_by(preview_measure)
@on_host
def measure(
    make_task: Callable[..., Task],
    make_optimizer: OptimizerFactory,
    axes: Mapping[str, Any],
    *,
    key: Key,
    train_steps: int | None = None,
    budget: float | None = None,
    num_seeds: int = 2,
    executor: Executor = "auto",
    directory: str | os.PathLike[str] | None = None,
    progress: ProgressLike = None,
) -> ScalingLaw:
    """Measure how the best learning rate changes with the size of a training, and fit the law.

    The design is not the full product: one axis at a time around a base, the middle of every axis, and then corners,
    where two or more axes are at their largest together, as far as the budget goes. At each size learning rates on a
    lattice of quarter decades are trained side by side, first half decades around where the sizes before lead to, then
    those around the minimum.

    Args:
      make_task: `make_task(**sizes) -> lrjax.Task`, for example `make_task(width, batch_size)`. Every axis is given to
        whichever of `make_task` and `make_optimizer` has an argument of that name.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, or with axes, `make_optimizer(lr, train_steps)`.
      axes: name -> at least two sizes, numbers > 0; better three or more: a law of n axes takes n + 2 sizes. The name
        "train_steps" is the length, in optimizer updates, which nobody need take: where neither function takes it, a
        short training is the beginning of a long one, and all lengths are read from one training. A schedule knows its
        length: let `make_optimizer` take it, and every length is trained by itself.
      key: PRNG key; all sizes share it, so all seeds of data.
      train_steps: optimizer updates of every training, where it is no axis.
      budget: trainings of the base, of all learning rates and seeds, which is not exceeded; None for one axis at a
        time and no corners. A training at another size counts by its updates, its parameters and the numbers in a
        batch. `lrjax.preview` says what would be trained.
      num_seeds: of every learning rate, >= 1.
      executor: see `lrjax.sweep`.
      directory: in its folder lrjax-measure every sweep keeps its own; the same call goes on where it was interrupted.
        With a larger budget or further values what is there is read and not trained again, as far as the base is the
        same.
      progress: True for a bar, a function of a `lrjax.Progress`, or a list of these.

    Returns:
      The law; `.table` holds every trial: a column for each axis, "lr", "seed" and "loss", inf where it diverged.

    Raises:
      LRNotFound: the base diverged at every learning rate, or `lrjax.scaling.fit` refuses the table; `.result` is the
        table.
      SearchInterrupted: Ctrl-C; `.result` is the table so far.
      TypeError, ValueError: a bad argument, fewer sizes than a law takes, a budget too small for one axis at a time, or
        an axis that changes nothing (the losses of two sizes are equal to the last bit).

    Source: ours; docs/scaling.md has its evidence.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> law = lrjax.scaling.measure(
      ...     digits, optax.adam, {"batch_size": [16, 32, 64], "train_steps": [20, 40, 80]}, key=jax.random.key(0),
      ...     executor="loop",
      ... )
      >>> sorted(law.exponents)
      ['batch_size', 'train_steps']
    """
    key, executor = check_key("measure(key=...)", key), check_executor("measure(executor=...)", executor)
    folder = None if directory is None else check_path("measure(directory=...)", directory) / FOLDER
    plan = make_plan(make_task, make_optimizer, axes, train_steps=train_steps, budget=budget, num_seeds=num_seeds)
    measurement = _Measurement(plan, {"key": key, "num_seeds": num_seeds, "executor": executor}, folder)
    with Reporter(progress, "measure(progress=...)") as reporter:
        reporter.set(planned=sum(run.most * num_seeds * run.lengths[-1] for run in plan.runs))
        with interruptible("measurement", measurement.so_far):
            for run in plan.runs:
                measurement.add(run, reporter)
    try:
        return fit(measurement.table())
    except ValueError as error:
        raise LRNotFound(f"{error} What was measured is in the `.result` of this error.", measurement.table()) from None


class _Measurement:
    """The table as it grows, of sweeps that share `options` and a `folder`."""

    def __init__(self, plan: MeasurePlan, options: dict[str, Any], folder: Path | None):
        self._plan, self._options, self._folder = plan, options, folder
        self._base = base_of(plan.axes)
        self._losses: dict[tuple[Sizes, int], np.ndarray] = {}  # of a point and a quarter, shape (seeds,)
        self._best: dict[Sizes, int] = {}

    def table(self) -> dict[str, np.ndarray]:
        """One row for every size, learning rate and seed."""
        rows = [
            (*sizes, lr_of(quarter), seed, loss)
            for (sizes, quarter), losses in self._losses.items()
            for seed, loss in enumerate(losses)
        ]
        names = [*self._plan.axes, "lr", "seed", "loss"]
        return {name: np.asarray(column) for name, column in zip(names, zip(*rows, strict=True), strict=False)}

    def so_far(self) -> tuple[dict[str, np.ndarray] | None, str]:
        """The table, and how the message of an interruption ends."""
        again = "" if self._folder is None else " Run the same call again to resume."
        return self.table() or None, f"sizes measured: {len(self._best)}.{again}"

    def add(self, run: Run, reporter: Reporter) -> None:
        """Train at one size until every length has its minimum, or `run.most` learning rates were tried."""
        task, make = self._plan.task_of(run.sizes), self._plan.optimizer_of(run.sizes)
        name = describe(self._plan.axes, run.sizes)
        quarters, tried, rounds = first_quarters(run.sizes, self._best, self._base), {}, 0
        while quarters:
            reporter.stage(f"{name}: {len(quarters)} learning rate{'s' * (len(quarters) > 1)}")
            result = run_sweep(
                Reporter(_passed_on(reporter)),
                task,
                make,
                {"lr": [lr_of(quarter) for quarter in quarters]},
                train_steps=run.lengths[-1],
                eval_every=run.lengths,
                directory=None if self._folder is None else self._folder / name / f"round-{rounds}",
                mesh=None,
                stop=None,
                verb="measure",
                **self._options,
            )
            losses = np.where(np.isfinite(result.metrics["loss"]), result.metrics["loss"], np.inf)
            for quarter, of_quarter in zip(quarters, losses, strict=True):
                tried[quarter] = of_quarter.mean(axis=0)
                for place, length in enumerate(run.lengths):
                    self._losses[self._sizes_at(run, length), quarter] = of_quarter[:, place]
            quarters, rounds = next_quarters(tried, run.most), rounds + 1
        for place, length in enumerate(run.lengths):
            best = lowest_quarter(tried, place)
            if best is not None:
                self._best[self._sizes_at(run, length)] = best
        self._check(run)

    def _sizes_at(self, run: Run, length: int) -> Sizes:
        return tuple(length if name == LENGTH else size for name, size in zip(self._plan.axes, run.sizes, strict=True))

    def _check(self, run: Run) -> None:
        """A base that lives, and no size that trains exactly as the base does."""
        axes, lowest = self._plan.axes, min(quarter for _, quarter in self._losses)
        if self._base not in self._best:
            raise LRNotFound(
                f"At the base, {describe(axes, self._base)}, every learning rate from {lr_of(lowest):.1e} on diverged. "
                "Look at the losses and the units of the task: lrjax.find_lr says more.",
                self.table(),
            )
        own = {quarter: losses for (sizes, quarter), losses in self._losses.items() if sizes == run.sizes}
        of_base = {quarter: losses for (sizes, quarter), losses in self._losses.items() if sizes == self._base}
        both = [quarter for quarter in own if quarter in of_base and np.isfinite(own[quarter]).all()]
        if run.sizes != self._base and both and all(np.array_equal(own[quarter], of_base[quarter]) for quarter in both):
            raise ValueError(
                f"`measure(axes)` must change the training, but {describe(axes, run.sizes)} and "
                f"{describe(axes, self._base)} give the same losses to the last bit. Does make_task use all of its "
                "arguments?"
            )


def _passed_on(reporter: Reporter) -> Callable[[Progress], None]:
    """A listener of one sweep that adds its updates to those of all."""
    done = 0

    def listen(event: Progress) -> None:
        nonlocal done
        reporter.set(step=event.step, train_steps=event.train_steps, lanes=event.lanes, bytes=event.bytes)
        reporter.advance(event.updates - done, rows=event.rows, metrics=event.metrics)
        done = event.updates

    return listen
