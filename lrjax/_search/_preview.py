"""What a search will cost, before it is run."""

import dataclasses
import time
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from .._checks import check_choice, check_key
from .._curve import first_grid
from .._engine import Executor, Task, TrialRunner, check_task, count_seeds, show_bytes
from .._settings import on_host
from .._types import Key, OptimizerFactory
from ._find import REFINEMENTS, Refinement, lr_range
from ._sample import check_horizons

REFINED = 8
"""Learning rates that filling the window usually adds to the first grid."""

_PROBES = (2, 4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """The predicted cost of a search.

    Attributes:
      trials_first: learning rates of the first grid.
      trials_expected: of the whole search; the refinement decides, and a range that must grow adds more.
      num_steps: updates at each learning rate.
      num_seeds: seeds.
      updates_expected: trials_expected * num_steps * num_seeds.
      seconds: predicted wall time, compilation included; from short runs of the same program here and now.
      bytes: predicted memory of the training program, per device.
      executor: which one would run.
    """

    trials_first: int
    trials_expected: int
    num_steps: int
    num_seeds: int
    updates_expected: int
    seconds: float
    bytes: int
    executor: str

    def summary(self) -> str:
        """The cost in one sentence."""
        return (
            f"About {self.trials_expected} learning rates ({self.trials_first} on the first grid), {self.num_steps} "
            f"updates each, {self.num_seeds} {'seed' if self.num_seeds == 1 else 'seeds'}: {self.updates_expected} "
            f"updates, about {self.seconds:.1f} s, {show_bytes(self.bytes)}, executor {self.executor}."
        )


@on_host
def preview_lr(
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    num_steps: int = 20,
    num_seeds: int | None = None,
    min_lr: float | None = None,
    max_lr: float | None = None,
    refine: Refinement = "fill",
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    horizons: Sequence[int] = (),
) -> Preview:
    """Predict the cost of `find_lr` with the same arguments.

    Compiles the training program for 2 and for 4 steps, runs each on the first grid, and extrapolates.

    Args:
      task, make_optimizer, key, num_steps, num_seeds, min_lr, max_lr, refine, executor, mesh, horizons: as for
        `lrjax.find_lr`.

    Returns:
      Trials, updates, seconds and bytes.

    Raises:
      TypeError, ValueError: as `find_lr`.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> preview = lrjax.preview_lr(digits(), optax.adam, key=jax.random.key(0), executor="map", num_seeds=1)
      >>> preview.trials_first, preview.updates_expected
      (17, 500)
    """
    check_task("preview_lr(task=...)", task)
    key = check_key("preview_lr(key=...)", key)
    wanted = check_horizons("preview_lr", num_steps, horizons)
    num_steps = wanted[-1]
    exponents = first_grid(*lr_range("preview_lr", min_lr, max_lr))
    refine = check_choice("preview_lr(refine=...)", refine, REFINEMENTS)
    lrs = np.asarray([10.0**x for x in exponents])
    num_seeds = count_seeds("preview_lr", task, num_steps, num_seeds)
    seconds, compile_seconds, runner = [], 0.0, None
    for steps in _PROBES:
        runner = TrialRunner(
            "preview_lr",
            task,
            make_optimizer,
            key=key,
            horizons=(min(steps, num_steps),),
            num_seeds=num_seeds,
            executor=executor,
            mesh=mesh,
            in_updates=True,
        )
        for horizon in wanted[::-1]:
            runner.experiment.accumulation.check("find_lr(num_steps=...)", horizon)
        start = time.perf_counter()
        runner.run(lrs)
        first = time.perf_counter() - start
        start = time.perf_counter()
        runner.run(lrs)
        seconds.append(time.perf_counter() - start)
        compile_seconds = max(first - seconds[-1], 0.0)
        executor = runner.executor
    assert runner is not None
    num_updates = runner.experiment.accumulation.updates(num_steps)
    per_update = max(seconds[1] - seconds[0], 0.0) / (_PROBES[1] - _PROBES[0])
    round_seconds = seconds[1] + per_update * max(num_updates - _PROBES[1], 0)
    trials = len(lrs) + (0 if refine is None else REFINED)
    return Preview(
        trials_first=len(lrs),
        trials_expected=trials,
        num_steps=num_updates,
        num_seeds=runner.num_seeds,
        updates_expected=trials * num_updates * runner.num_seeds,
        seconds=compile_seconds + round_seconds * trials / len(lrs),
        bytes=_predict_bytes(runner, num_steps),
        executor=str(runner.executor),
    )


def _predict_bytes(runner: TrialRunner, num_steps: int) -> int:
    """The program's memory, with the batches of all the steps."""
    program = runner.execution.bytes or runner.memory_model().predict(1)
    batches = jax.tree.leaves(runner.experiment.seeds[0].batches)
    per_step = sum(leaf.nbytes // leaf.shape[0] for leaf in batches)
    seeds = runner.num_seeds if runner.executor == "vmap" else 1
    return int(program + per_step * seeds * max(num_steps - runner.num_steps, 0))
