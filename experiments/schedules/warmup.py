"""How long should a warmup be, and from where? Shares of the training, none, and the critical learning rate.

    taskset -c 0 python -m experiments.schedules.warmup          # minutes; goes on where it stopped
    python -m experiments.schedules.warmup --print               # the table again

Every warmup is linear and followed by half a cosine to 0. The critical learning rate is the lowest one at which the
first update raises the loss of its own batch, from forward passes along that update at untrained parameters; from it
the learning rate rises as fast as in a warmup of a tenth, so that this takes 10 % x (1 - critical / peak), and none
where it is above the peak (Kalra and Barkeshli 2024, arXiv:2406.09405). Peaks are trained in factors of 2; the tuned
one is the best of the mean over all warmups. Writes experiments/results/warmup.json.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrjax
from experiments.benchmark import tasks  # noqa: F401  registers them
from experiments.benchmark.judging import CAP, mean_and_error
from experiments.benchmark.problem import OPTIMIZERS, TASKS, Problem
from experiments.benchmark.replay import RESULTS
from experiments.blocks import markdown_table
from experiments.paper.store import Store
from experiments.speed import machine
from lrjax import schedules as s

from .short import train_rows
from .short_tasks import SHORT_TASKS

PLANS = {
    f"{name}, {optimizer}": (name, optimizer)
    for name in ("language_adamw", "lstm_waves_adam", "mlp_digits_adam", "deep_tanh_digits_sgd")
    for optimizer in ("adam", "momentum")
}
"""A transformer, a recurrent net and two nets of the benchmark, each with two optimizers."""

STEPS, SEEDS = 200, 3
SHARES = {"none": 0.0, "1 %": 0.01, "5 %": 0.05, "10 %": 0.1}
"""Of the training."""

CRITICAL = "critical lr"
ARMS = (*SHARES, CRITICAL)
FACTORS = 2.0 ** np.arange(-1, 4)
"""Peaks over the constant learning rate that a search finds."""

ALONG = 10.0 ** (np.arange(-48, 33) / 8)
"""Learning rates of the forward passes."""


def problem_of(plan: str) -> Problem:
    """A task with another optimizer and length."""
    name, optimizer = PLANS[plan]
    task = {**TASKS, **SHORT_TASKS}[name]().task
    return Problem(name=plan, task=task, optimizer=optimizer, steps=STEPS)


def critical_lr(problem: Problem, key: jax.Array) -> float:
    """The lowest one at which the first update raises its batch's loss, between two of ALONG; of one drawn net."""
    task, optimizer = problem.task, OPTIMIZERS[problem.optimizer].make(1.0)
    params = task.init(key)
    batch = jax.tree.map(lambda one: one[0], task.sample_batches(key, 1))
    loss, grads = jax.value_and_grad(task.loss_fn)(params, batch, key)
    update, _ = optimizer.update(grads, optimizer.init(params), params)

    @jax.jit
    def at(lr: jax.Array) -> jax.Array:
        return task.loss_fn(optax.apply_updates(params, jax.tree.map(lambda u: lr * u, update)), batch, key)

    raised = [not float(at(jnp.float32(lr))) <= float(loss) for lr in ALONG]
    first = raised.index(True)
    return float(np.sqrt(ALONG[first - 1] * ALONG[first]))


def schedule_of(arm: str, peak: float, critical: float) -> optax.Schedule:
    """A warmup, then half a cosine to 0 at STEPS."""
    share, start = (SHARES["10 %"] * max(0.0, 1 - critical / peak), critical) if arm == CRITICAL else (SHARES[arm], 0.0)
    steps = round(share * STEPS)
    decay = s.cosine_decay(peak, STEPS - steps)
    return s.warmup(decay, steps, init_value=start) if steps else decay


def record(problem: Problem) -> dict[str, Any]:
    """Test losses of all warmups and peaks, shape (arms, peaks, seeds)."""
    keys = jax.random.split(jax.random.key(7), SEEDS)
    each = [critical_lr(problem, key) for key in keys]
    critical = float(np.exp(np.mean(np.log(each))))
    lr = lrjax.find_lr(problem.task, problem.make_optimizer, key=jax.random.key(1), train_steps=STEPS).lr
    peaks = lr * FACTORS
    steps = jnp.arange(STEPS)
    rows = jnp.stack([schedule_of(arm, peak, critical)(steps) for arm in ARMS for peak in peaks])
    told = train_rows(problem, rows, seeds=SEEDS)["test_loss"]
    return {
        "arms": list(ARMS),
        "peaks": peaks.tolist(),
        "critical": each,
        "test_loss": told.reshape(len(ARMS), len(peaks), SEEDS).tolist(),
    }


def changes(told: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Percent of the test loss above that without a warmup, and its error over the seeds, shape (arms,), at a peak."""
    logs = 100 * np.log(np.asarray(told["test_loss"], float))
    logs = np.where(np.isfinite(logs), np.minimum(logs, 1000), 1000)
    means = logs.mean(-1)
    tuned = min(int(means.mean(0).argmin()), len(FACTORS) - 2)
    places = {"tuned": [tuned] * len(ARMS), "twice": [tuned + 1] * len(ARMS), "own": means.argmin(1).tolist()}
    out = {}
    for name, where in places.items():
        at = np.stack([logs[a, p] for a, p in enumerate(where)])
        off = at - at[0]
        out[name] = off.mean(-1), off.std(-1, ddof=1) / np.sqrt(off.shape[-1])
    return out


def table(plans: dict[str, dict[str, Any]]) -> str:
    """Every task: what each warmup changes at the tuned peak, at twice it, and at its own best."""
    rows = []
    for name, told in plans.items():
        critical = np.exp(np.mean(np.log(told["critical"]))) / told["peaks"][FACTORS.tolist().index(1.0)]
        for peak, parts in changes(told).items():
            cells = [f"{mean:+.1f} ± {error:.1f}" for mean, error in zip(*parts, strict=True)]
            rows.append([name, f"{critical:.0f}", peak, *cells[1:]])
    return markdown_table(["training", "critical / constant lr", "peak", *ARMS[1:]], rows)


def summary(plans: dict[str, dict[str, Any]]) -> str:
    """Over the trainings, at most 20 % of each: mean and error, and how many are better and worse by two errors."""
    rows = []
    told = [changes(one) for one in plans.values()]
    for peak in told[0]:
        means, errors = (np.stack([one[peak][part] for one in told]) for part in (0, 1))
        cells = [" ± ".join([f"{m:+.1f}", f"{e:.1f}"]) for m, e in map(mean_and_error, np.clip(means, -CAP, CAP).T[1:])]
        counts = zip((means < -2 * errors).sum(0)[1:], (means > 2 * errors).sum(0)[1:], strict=True)
        rows.append([peak, *(f"{cell} ({b}/{w})" for cell, (b, w) in zip(cells, counts, strict=True))])
    return markdown_table(["peak", *ARMS[1:]], rows)


def main() -> None:
    """Train what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "warmup.json")
    parser.add_argument("--print", action="store_true", help="only print the table")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=list(PLANS), metavar="PLAN")
    options = parser.parse_args()
    store = Store(options.out, {"date": machine.today(), "machine": machine.describe_machine()})
    for plan in () if options.print else options.plans:
        store.begin(plan, {"steps": STEPS, "seeds": SEEDS})
        print(f"{plan} ...", file=sys.stderr, flush=True)
        store.part(plan, "end", lambda p=plan: record(problem_of(p)))
    told = {name: one["parts"]["end"] for name, one in store.results["plans"].items() if "end" in one["parts"]}
    print(f"{table(told)}\n\n{summary(told)}")


if __name__ == "__main__":
    main()
