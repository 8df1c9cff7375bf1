"""`search_lr`: the wiring of course, trainer, driver and folder. No maths of its own."""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from .._checks import check_flag
from .._curve import Outcome
from .._engine import Executor, Task, Unmoved, all_the_same, fingerprint, why_unmoved
from .._failure import SearchInterrupted, interruptible
from .._progress import ProgressLike, Reporter
from .._settings import on_host
from .._types import Key, OptimizerFactory
from ._algorithm import Trainer, choose, interval_of, run_rungs
from ._course import Course
from ._find import check_lr_matters, find_lr
from ._finder_result import LRFinderResult
from ._lane_trainer import LaneTrainer
from ._result import SearchResult, finished_rungs, no_lr_found
from ._rung import SearchRung
from ._search_digest import describe_search
from ._search_setup import Setup, check_course, make_setup
from ._search_store import RememberedRounds
from ._search_warnings import SearchWarning, SearchWarningName, search_warnings


@on_host
def search_lr(
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    train_steps: int,
    budget: float = 2.0,
    num_seeds: int | None = None,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    directory: str | os.PathLike[str] | None = None,
    progress: ProgressLike = None,
    throw: bool = True,
) -> SearchResult:
    """Find a good learning rate for a training of known length, at a cost of so many trainings.

    A coarse sweep as in `lrjax.find_lr`, then rungs: a few learning rates around the minimum, trained four times as
    long, until trials are a quarter of the training (half of it from budget 8 on). Learning rates that stay go on
    from where they are, and the rungs follow the minimum where it moves. From budget 4 on they have two seeds, from 8
    on four. What remains of the way to the whole training is corrected for.

    Args:
      task: what is trained. Its batches must be readable from any step on (`Task.from_arrays`, `batches_between`, or
        a list or function of the epoch in `Task.from_batches`, whose batches all seeds share).
      make_optimizer: `make_optimizer(lr) -> optax optimizer`. The search trains at what it gives from step 0 on; with
        a schedule, lr is its peak.
      key: PRNG key; the same key gives the same answer.
      train_steps: optimizer updates of the training that the learning rate is for, >= 20.
      budget: updates of the search, over all learning rates and seeds, as a multiple of `train_steps`. Never exceeded,
        except by the shortest sweep (5 updates of every learning rate). 2 is a good start, 4 where seeds differ much;
        0 is `lrjax.find_lr` itself.
      num_seeds: of the rungs; None: one, from budget 4 on two, from 8 on four. With budget 0 those of `find_lr`.
      min_lr, max_lr: the range, > 0; with a budget it is not left.
      executor: how lanes run; see `lrjax.sweep`.
      mesh: devices of this host, with one axis "trial"; None: all of them.
      directory: in its folder lrjax-search every finished rung is kept, with its lanes. The same call goes on where it
        was interrupted, to the same answer; another call, and other batches than before, are refused.
      progress: True for a bar, a function of a `lrjax.Progress`, or a list of these.
      throw: False returns a result with `lr` nan where nothing was found.

    Returns:
      The result: `lr`, `interval`, `rungs`, `warnings`, `summary()`, `plot()`, `to_json(path)`.

    Raises:
      LRNotFound: nothing was found and `throw`; `.result` holds the rungs.
      SearchInterrupted: Ctrl-C; `.result.lr` is the best so far.
      TypeError, ValueError: a bad argument; the message says what was wrong and what to do.
      OSError: `directory` cannot be written; what was finished before is kept.

    Source: ours; docs/benchmark.md has its evidence. With budget 0 "Learning rate optimization through step sampling".

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> result = lrjax.search_lr(digits(), optax.adam, key=jax.random.key(0), train_steps=400, executor="map")
      >>> result.outcome.name, 1e-3 < result.lr < 1e-1, result.cost <= 2
      ('found', True, True)
    """
    throw = check_flag("search_lr(throw=...)", throw)
    limits = {"num_seeds": num_seeds, "min_lr": min_lr, "max_lr": max_lr}
    course = check_course("search_lr", task=task, train_steps=train_steps, budget=budget, **limits)
    start = time.perf_counter()
    if course.budget == 0:
        if directory is not None:
            raise ValueError(
                "`search_lr(directory=...)` keeps rungs, and budget=0 runs none: it is lrjax.find_lr. Leave directory "
                "out, or give a budget."
            )
        run: dict[str, Any] = {"executor": executor, "mesh": mesh, "progress": progress, "throw": False}
        result = _without_budget(course, lambda: find_lr(task, make_optimizer, key=key, **limits, **run))
    else:
        with Reporter(progress) as reporter:
            reporter.stage("preparing")
            setup = make_setup("search_lr", task, make_optimizer, course, key=key, executor=executor, mesh=mesh)
            with contextlib.closing(_Search(setup, course, reporter, directory, start)) as running:
                result = running.run()
    if throw and result.outcome is not Outcome.found:
        raise no_lr_found(result)
    return result


class _Search:
    """One search under way."""

    def __init__(
        self, setup: Setup, course: Course, reporter: Reporter, directory: str | os.PathLike[str] | None, start: float
    ):
        self.setup, self.course, self.start = setup, course, start
        self.lanes = LaneTrainer(setup, shapes_of(course), course.longest, reporter)
        self.store = None
        if directory is not None:
            self.store = RememberedRounds(self.lanes, "search_lr", directory, describe_search(setup, course))
        self.trainer: Trainer = self.lanes if self.store is None else self.store
        self.unmoved: Unmoved | None = None

    def close(self) -> None:
        """Let go of the folder."""
        if self.store is not None:
            self.store.close()

    def run(self) -> SearchResult:
        """Run every rung.

        Raises:
          SearchInterrupted: Ctrl-C.
        """
        rungs: list[SearchRung] = []
        so_far = lambda: finished_rungs(self.result(rungs) if rungs else None, self._how_to_go_on())  # noqa: E731
        with interruptible("search", so_far):
            for rung in run_rungs(self.trainer, self.course, baseline_loss=self.setup.task.baseline_loss):
                rungs.append(rung)
                if all_the_same(rung.losses, rung.initial_loss):
                    self.unmoved = self._why_unmoved(rung)
                if self.unmoved is not None:
                    break
                if len(rungs) == 1:
                    check_lr_matters("search_lr", 10.0**rung.log10_lrs, rung.losses, rung.initial_loss)
        return self.result(rungs)

    def result(self, rungs: Sequence[SearchRung]) -> SearchResult:
        """What the rungs so far tell."""
        course, baseline = self.course, self.setup.task.baseline_loss
        choice, unmoved = choose(rungs, course), self.unmoved
        options: dict[str, Any] = {"baseline_loss": baseline, "stochastic": self.setup.stochastic}
        warnings, outcome = search_warnings(rungs, choice, course, **options), rungs[choice.rung].window.outcome
        if rungs[choice.rung].found and math.isnan(choice.log10_lr):
            outcome = Outcome.lost_in_noise
        if unmoved is not None:
            choice, outcome = dataclasses.replace(choice, log10_lr=math.nan), Outcome.nothing_moved
            warnings = (SearchWarning(name=SearchWarningName.nothing_moved, **unmoved._asdict()),)
        return SearchResult(
            lr=10.0**choice.log10_lr,
            interval=interval_of(rungs, choice, course),
            outcome=outcome,
            rungs=tuple(rungs),
            rung=choice.rung,
            by_midpoint=choice.by_midpoint,
            correction=choice.correction,
            drift={rung.num_steps: 10.0**rung.minimum for rung in rungs if rung.found},
            train_steps=course.train_steps,
            budget=course.budget,
            finder=None,
            warnings=warnings,
            num_trials=len({float(x) for rung in rungs for x in rung.log10_lrs}),
            num_updates=rungs[-1].spent,
            seconds=time.perf_counter() - self.start,
            execution=self.lanes.execution,
            fingerprint=fingerprint(self.setup.spec, self.setup.seeds, self.setup.key, self.lanes.executor),
        )

    def _why_unmoved(self, rung: SearchRung) -> Unmoved | None:
        """From a training as long as the rung, at its highest learning rate."""
        setup, batches = self.setup, self.setup.accumulation.batches(rung.num_steps)
        seed, spec = setup.seeds[0], dataclasses.replace(setup.spec, horizons=(batches,))
        read = setup.task.training_batches(0, seed.data_key, 0, batches)
        data = seed._replace(batches=read)
        lr = jnp.asarray(10.0 ** rung.log10_lrs[-1], setup.dtype)
        return why_unmoved(spec, data, setup.evaluation, lr)

    def _how_to_go_on(self) -> str:
        return "" if self.store is None else f"The same call with directory={self.store.directory!r} goes on."


def shapes_of(course: Course) -> tuple[tuple[int, int], tuple[int, int]]:
    """(seeds, lanes) of the programs: the rungs', and the sweep's."""
    return (course.num_seeds, course.widest), (1, len(course.coarse))


def _without_budget(course: Course, find: Callable[[], LRFinderResult]) -> SearchResult:
    """The finder's result, with nothing added.

    Raises:
      SearchInterrupted: Ctrl-C.
    """
    try:
        return _of_finder(course, find())
    except SearchInterrupted as stopped:
        result, words = finished_rungs(stopped.result and _of_finder(course, stopped.result))
        raise SearchInterrupted(f"The search was interrupted; {words}", result) from None


def _of_finder(course: Course, found: LRFinderResult) -> SearchResult:
    return SearchResult(
        lr=found.lr,
        interval=found.interval,
        outcome=found.outcome,
        rungs=(),
        rung=-1,
        by_midpoint=found.rule == "midpoint",
        correction=0.0,
        drift=found.horizon_lrs,
        train_steps=course.train_steps,
        budget=course.budget,
        finder=found,
        warnings=(),
        num_trials=found.num_trials,
        num_updates=found.num_updates,
        seconds=found.seconds,
        execution=found.execution,
        fingerprint=found.fingerprint,
    )
