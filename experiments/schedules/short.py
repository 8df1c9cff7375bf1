"""Is any schedule never worse than the constant learning rate that a search finds, in 60 to 1,500 updates?

    taskset -c 0 python -m experiments.schedules.short           # minutes; goes on where it stopped
    python -m experiments.schedules.short --print                # the tables again

Every task is searched once (`lrjax.find_lr` with its `train_steps` and defaults), then trained with each schedule
below, the same seeds for all: differences are those of one seed. The tasks of the benchmark choose, those of
short_tasks.py, which chose nothing, judge. Writes experiments/results/short.json.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrjax
from experiments.benchmark import loss_tasks, tasks  # noqa: F401  registers them
from experiments.benchmark.judging import mean_and_error
from experiments.benchmark.loss_problem import LOSS_TASKS
from experiments.benchmark.problem import TASKS, Problem
from experiments.benchmark.replay import RESULTS
from experiments.blocks import markdown_table
from experiments.paper.store import Store
from experiments.speed import machine
from lrjax import schedules as s

from .short_tasks import SHORT_TASKS

CHOOSING = (
    "autoencoder_photos_lion",
    "noisy_labels_digits_adam",
    "graph_blocks_adamw",
    "pinn_heat_adam",
    "overfit_digits_momentum",
    "raw_diabetes_rmsprop",
    "mlp_wine_lion",
    "mlp_diabetes_adam",
    "mlp_cancer_rmsprop",
    "mlp_digits_sgd",
    "mlp_digits_adam",
    "finetune_digits_momentum",
)
"""The quick tasks of the benchmark and of those that are judged by their loss."""

SEEDS = 6


class Arm(NamedTuple):
    """A schedule: of a length with its peak 1, and how many times the constant learning rate its peak is."""

    make: Callable[[int], optax.Schedule]
    factor: Callable[[optax.Schedule, int], float]


def cooldown(share: float) -> Callable[[int], optax.Schedule]:
    """Constant, then linear to 0 over the last share."""

    def make(steps: int) -> optax.Schedule:
        last = max(1, round(share * steps))
        return s.join([s.constant(1.0), s.linear_decay(1.0, 0.0, last)], [steps - last])

    return make


def same(schedule: optax.Schedule, steps: int) -> float:
    """The peak is the constant learning rate."""
    return 1.0


def same_sum(schedule: optax.Schedule, steps: int) -> float:
    """The learning rates of all updates add up to those of the constant one."""
    return steps / float(jnp.sum(jax.vmap(schedule)(jnp.arange(steps))))


def rule(schedule: optax.Schedule, steps: int) -> float:
    """`lrjax.peak_for`."""
    return lrjax.peak_for(1.0, schedule, steps)


ARMS = {
    "constant": Arm(lambda n: s.constant(1.0), same),
    "last 10 % to 0": Arm(cooldown(0.1), same),
    "last 10 % to 0, same sum": Arm(cooldown(0.1), same_sum),
    "last 20 % to 0": Arm(cooldown(0.2), same),
    "last 20 % to 0, same sum": Arm(cooldown(0.2), same_sum),
    "last 40 % to 0": Arm(cooldown(0.4), same),
    "last 40 % to 0, same sum": Arm(cooldown(0.4), same_sum),
    "warmup, stable, decay by peak_for": Arm(
        lambda n: s.warmup_stable_decay(
            1.0, warmup_steps=n // 10, stable_steps=n - n // 10 - n // 5, decay_steps=n // 5
        ),
        rule,
    ),
    "warmup, cosine by peak_for": Arm(lambda n: s.warmup_cosine(1.0, warmup_steps=n // 10, total_steps=n), rule),
}
"""Name -> a schedule of a training."""


def record(problem: Problem) -> dict[str, Any]:
    """What a search finds, and the end of every training with it: arrays of shape (arms, seeds)."""
    found = lrjax.find_lr(
        problem.task, problem.make_optimizer, key=jax.random.key(1), train_steps=problem.steps, throw=False
    )
    rows = []
    for arm in ARMS.values():
        schedule = arm.make(problem.steps)
        rows.append(jnp.asarray(jax.vmap(schedule)(jnp.arange(problem.steps))) * arm.factor(schedule, problem.steps))
    table = jnp.stack([jnp.broadcast_to(row, problem.steps) for row in rows]) * found.lr
    told = train_rows(problem, table, seeds=SEEDS)
    return {
        "lr": found.lr,
        "steps": problem.steps,
        "optimizer": problem.optimizer,
        "arms": list(ARMS),
        **{name: told[name].tolist() for name in ("test_loss", "score") if name in told},
    }


def train_rows(problem: Problem, table: jax.Array, *, seeds: int) -> dict[str, np.ndarray]:
    """The metrics at the end of trainings whose learning rates are rows of a table, shape (rows, seeds)."""

    def make_optimizer(row: jax.Array) -> optax.GradientTransformation:
        lrs = table[jnp.asarray(row, jnp.int32)]
        return problem.make_optimizer(lambda step: lrs[jnp.minimum(step, problem.steps - 1)])

    result = lrjax.sweep(
        problem.task,
        make_optimizer,
        {"row": [float(i) for i in range(len(table))]},
        key=jax.random.key(100),
        train_steps=problem.steps,
        num_seeds=seeds,
        eval_every=problem.steps,
    )
    return {name: values[..., -1] for name, values in result.metrics.items()}


class Pair(NamedTuple):
    """A schedule against the constant learning rate on a task: percent of the last test loss, below it negative.

    Attributes:
      change, error: mean over the seeds, and its standard error.
      spread: standard deviation over the seeds of the constant one's loss.
    """

    change: float
    error: float
    spread: float

    @property
    def better(self) -> bool:
        """By two standard errors."""
        return self.change < -2 * self.error

    @property
    def worse(self) -> bool:
        """By two standard errors."""
        return self.change > 2 * self.error


def pair(told: dict[str, Any], arm: str) -> Pair:
    """Of the logarithms of the losses."""
    losses = np.asarray(told["test_loss"], float)
    logs = 100 * np.log(np.where(np.isfinite(losses), losses, np.inf))
    gained = logs[told["arms"].index(arm)] - logs[told["arms"].index("constant")]
    return Pair(*mean_and_error(gained), float(logs[0].std(ddof=1)))


def arm_table(told: Sequence[dict[str, Any]]) -> str:
    """Every schedule over the tasks."""
    rows = []
    for arm in list(ARMS)[1:]:
        pairs = [pair(one, arm) for one in told]
        changes = np.asarray([one.change for one in pairs])
        mean, error = mean_and_error(changes)
        beyond = sum(one.change > max(one.spread, 2 * one.error) for one in pairs)
        rows.append([arm, f"{mean:+.1f} ± {error:.1f}", f"{np.median(changes):+.1f}", f"{changes.max():+.1f}"])
        rows[-1] += [str(sum(one.better for one in pairs)), str(sum(one.worse for one in pairs)), str(beyond)]
    heads = ["schedule", "change of the test loss, %", "median", "worst", "better", "worse", "worse than the spread"]
    return markdown_table(heads, rows)


def task_table(told: dict[str, dict[str, Any]]) -> str:
    """Every task: what each schedule changes."""
    rows = []
    for name, one in told.items():
        pairs = [pair(one, arm) for arm in list(ARMS)[1:]]
        rows.append([f"`{name}`", str(one["steps"]), f"{one['lr']:.2g}", f"{pairs[0].spread:.1f}"])
        rows[-1] += [f"{p.change:+.1f} ± {p.error:.1f}" for p in pairs]
    return markdown_table(["task", "updates", "lr found", "spread of seeds, %", *list(ARMS)[1:]], rows)


def main() -> None:
    """Train what is missing, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "short.json")
    parser.add_argument("--print", action="store_true", help="only print the tables")
    parser.add_argument("--tasks", nargs="+", default=[*CHOOSING, *SHORT_TASKS], metavar="TASK")
    options = parser.parse_args()
    store = Store(options.out, {"date": machine.today(), "machine": machine.describe_machine()})
    for name in () if options.print else options.tasks:
        make = {**TASKS, **LOSS_TASKS, **SHORT_TASKS}[name]
        store.begin(name, {"seeds": SEEDS, "role": "judges" if name in SHORT_TASKS else "chooses"})
        print(f"{name} ...", file=sys.stderr, flush=True)
        store.part(name, "end", lambda m=make: record(m()))
    for names in (CHOOSING, tuple(SHORT_TASKS)):
        told = {
            name: plan["parts"]["end"]
            for name, plan in store.results["plans"].items()
            if name in names and "end" in plan["parts"]
        }
        if told:
            print(f"\n{arm_table(list(told.values()))}\n\n{task_table(told)}")


if __name__ == "__main__":
    main()
