"""`sweep`: full trainings of many settings at once, streamed, resumable, pruned and spread over devices."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from .._checks import check_number
from .._engine import Executor, Task
from .._preview import previewed_by
from .._progress import ProgressLike, Reporter
from .._settings import on_host
from .._types import Key, OptimizerFactory, PyTree
from ._grid import Zipped
from ._result import SweepResult
from ._resume import take_over
from ._run import SweepRun
from ._stop import Stop
from ._sweep_preview import preview_sweep
from ._sweep_setup import make_setup


@previewed_by(preview_sweep)
@on_host
def sweep(
    task: Task,
    make_optimizer: OptimizerFactory,
    grid: Mapping[str, Any] | Zipped | PyTree,
    *,
    key: Key,
    train_steps: int,
    num_seeds: int = 1,
    eval_every: int | Sequence[int] | None = None,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    directory: str | os.PathLike[str] | None = None,
    progress: ProgressLike = None,
    stop: Stop | None = None,
    checkpoint_seconds: float = 60.0,
) -> SweepResult:
    """Train a model to the end with every setting of a grid, many settings at once.

    All trials of a seed start from identical parameters and see identical batches and dropout keys. Batches are
    streamed: memory does not grow with the number of steps.

    Args:
      task: what is trained. Batches come from arrays, from `batches_between`, or from what `Task.from_batches` was
        given: a list, a Grain loader, a function of the epoch, or (without `directory`) any iterator. All seeds see
        the batches of one stream; from arrays each seed draws its own order.
      make_optimizer: `make_optimizer(**hyperparameters)`, for example `optax.adamw`; called with traced numbers by
        the names of the grid. With stacked values instead of a mapping it gets them as its one argument.
      grid: name -> sequence of values, or list of `lrjax.schedules`, or stacked pytree: every combination is a trial.
        `lrjax.zipped(...)` for values that change together; a list of mappings and zips for their product.
      key: PRNG key. Seed s uses fold_in(key, s).
      train_steps: training batches of every trial: optimizer updates, or k for each under `optax.MultiSteps(..., k)`.
      num_seeds: draws of initial parameters, batch order and dropout keys, >= 1.
      eval_every: updates between evaluations on the whole evaluation set, or the increasing steps at which to
        evaluate; None: a tenth of the training. There is always one at the end.
      executor: "auto", "vmap", "map", "loop" or `lrjax.Chunked(k)`: how lanes run. They give the same numbers up to
        rounding; "loop" bitwise those of a loop of one jitted step, "map" too but for convolutions on a CPU.
      mesh: devices. Lanes are spread over its axis "trial" (the first, if there is none of that name), the examples
        of a batch over "data"; parameters keep their own sharding on other axes. None: all local devices.
      directory: in its folder lrjax-sweep go checkpoints and measurements. The same call goes on where it was
        interrupted, to the same bits; once it has ended, the same call with more settings in its grid trains only
        those. Any other call, and other batches than those that were trained on, are refused. On several hosts it must
        be on a file system that all of them see.
      progress: True for a bar, a function of a `lrjax.Progress`, or a list of these.
      stop: `lrjax.StopDiverged()` or `lrjax.SuccessiveHalving(first=...)` ends trials early; None runs all to the end.
      checkpoint_seconds: time between checkpoints; more where writing them would cost over 5 %.

    Returns:
      One row per trial, seed and evaluation, and how it was run.

    Raises:
      TypeError, ValueError: a bad argument; the message says which and what to do.
      SearchInterrupted: Ctrl-C; `.result` holds what was measured until then.
      OSError: `directory` cannot be written; what was measured before is kept.

    Source: "Learning rate optimization through step sampling", figure 9 (its grid search).

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> result = lrjax.sweep(
      ...     digits(), optax.adamw, {"learning_rate": [1e-4, 1e-2], "weight_decay": [0.0, 0.1]},
      ...     key=jax.random.key(0), train_steps=20, executor="map",
      ... )
      >>> result.num_trials, result.best().settings["learning_rate"]
      (4, 0.01)
    """
    seconds = check_number(
        "sweep(checkpoint_seconds=...)",
        checkpoint_seconds,
        rule="seconds between checkpoints, >= 0",
        accept=lambda number: number >= 0,
    )
    reporter = Reporter(progress, "sweep(progress=...)")
    setup = make_setup(
        task,
        make_optimizer,
        grid,
        key=key,
        train_steps=train_steps,
        num_seeds=num_seeds,
        eval_every=eval_every,
        executor=executor,
        mesh=mesh,
        directory=directory,
        stop=stop,
    )
    try:
        take_over(setup)
        with reporter:
            return SweepRun(setup, reporter, seconds).run()
    finally:
        if setup.store is not None:
            setup.store.close()
