"""What cannot be replayed: `tune_peak`, `piecewise` and searches from a checkpoint.

    LRJAX_DATA=... taskset -c 0 python -m experiments.benchmark.live     # minutes a task; goes on where it stopped
    python -m experiments.benchmark.live --print                         # the tables again

Reads the recordings of the benchmark, experiments/results/families/*.npz and, for the tables, peaks.json; writes
experiments/results/live.json.
- tune_peak: 1cycle, cosine, and warmup, stable, decay; nine peaks, three a decade, around the paper's method 1, in a
  tenth of the updates; two keys. Its regret is that of the schedule at the peak it chose, against the schedule's best;
  the results hold the peak of the compressed runs, before it is divided for the whole training.
- from a checkpoint: at 10, 50 and 95 % of a training at the best constant learning rate, and at 25 % of one at a
  tenth of it. The training then goes on twice, with what was found and as before: the gain is the difference of their
  scores.
- piecewise: whole runs, started at the paper's method 1; two keys. All regrets of its table are against the best score
  that any schedule reached at any peak.
"""

import argparse
import functools
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrjax
from experiments.blocks import markdown_table
from experiments.paper.store import Store
from experiments.speed import machine
from lrjax import schedules as s

from . import tasks  # noqa: F401  registers them
from .families import FAMILIES, read_trained
from .judging import CAP, mean_and_error
from .methods import RULES, seeds_of
from .peaks import Case, below_any, best_constant, case_of
from .piecewise import piecewise
from .problem import TASKS, Problem
from .recording import read
from .replay import RESULTS
from .searching import search
from .tuning import DRIFT, tune_peak

KEYS = 2
TUNED: dict[str, Callable[[Any, int], optax.Schedule]] = {
    "1cycle": lambda peak, n: s.one_cycle(peak, total_steps=n),
    "cosine": s.cosine_decay,
    "warmup, stable, decay": lambda peak, n: s.warmup_stable_decay(
        peak, warmup_steps=n // 10, stable_steps=n - n // 10 - n // 5, decay_steps=n // 5
    ),
}
"""The families whose peak is tuned."""

PLACES = ((0.1, 1.0), (0.5, 1.0), (0.95, 1.0), (0.25, 0.1))
"""Checkpoints: share of the training, and its learning rate as a multiple of the best constant one."""


class Checkpoint(NamedTuple):
    """A training, stopped."""

    params: Any
    opt_state: Any


def method_1(case: Case, run: int) -> float:
    """The learning rate of a search of 20 updates with one seed."""
    return RULES["method 1 (midpoint)"](search(case.recording, seeds_of(case.recording, run, 1)))


def tune(problem: Problem, case: Case) -> dict[str, Any]:
    """Family -> log10 of the peak that is best in compressed runs, for every key; nan where none was."""
    told: dict[str, Any] = {}
    for name, family in TUNED.items():
        chosen = []
        for run in range(KEYS):
            around = method_1(case, run) * 10.0 ** (np.arange(-3, 6) / 3)
            try:
                tuned = tune_peak(
                    problem.task,
                    problem.make_optimizer,
                    family,
                    around.tolist(),
                    key=jax.random.key(1 + run),
                    train_steps=problem.steps,
                )
            except lrjax.LRNotFound:
                chosen.append(float("nan"))
            else:
                chosen.append(float(np.log10(tuned.compressed_peak)))
        told[name] = chosen
    return told


@functools.cache
def _steps(problem: Problem) -> Callable[..., Checkpoint]:
    """A jitted function that trains on some batches; the learning rate is an argument."""

    @jax.jit
    def run(checkpoint: Checkpoint, lr: Any, batches: Any, key: Any, first: Any) -> Checkpoint:
        optimizer = problem.make_optimizer(lr)

        def step(carry: Checkpoint, xs: Any) -> tuple[Checkpoint, None]:
            batch, index = xs
            grads = jax.grad(problem.task.loss_fn)(carry.params, batch, jax.random.fold_in(key, index))
            updates, opt_state = optimizer.update(grads, carry.opt_state, carry.params)
            return Checkpoint(optax.apply_updates(carry.params, updates), opt_state), None

        count = jax.tree.leaves(batches)[0].shape[0]
        return jax.lax.scan(step, checkpoint, (batches, first + jnp.arange(count)))[0]

    return run


def go_on(problem: Problem, checkpoint: Checkpoint, lr: float, start: int, stop: int, key: jax.Array) -> Checkpoint:
    """Train from one step to another at a constant learning rate."""
    data_key, train_key = jax.random.split(key)
    batches = problem.task.training_batches(0, data_key, start, stop)
    return _steps(problem)(checkpoint, lr, batches, train_key, start)


def score(problem: Problem, params: Any) -> float:
    """Points; 0 where the model diverged or is worse than nothing."""
    told = problem.task.eval_fn(params, problem.task.eval_batches[0])
    return max(0.0, float(told["score"])) if np.isfinite(float(told["loss"])) else 0.0


def refind(problem: Problem, case: Case) -> list[dict[str, Any]]:
    """For every checkpoint: what was found, and what going on with it gains."""
    told, best, key = [], 10.0 ** best_constant(case), jax.random.key(7)
    params = problem.task.init(key) if callable(problem.task.init) else problem.task.init
    for share, multiple in PLACES:
        lr, step = best * multiple, int(share * problem.steps)
        begun = Checkpoint(params, problem.make_optimizer(lr).init(params))
        there = go_on(problem, begun, lr, 0, step, key)
        found = lrjax.find_lr(
            problem.task,
            problem.make_optimizer,
            start=lrjax.Checkpoint(params=there.params, opt_state=there.opt_state, step=step),
            key=jax.random.key(8),
            train_steps=problem.steps,
            throw=False,
        )
        ends = {
            name: score(problem, go_on(problem, there, rate, step, problem.steps, key).params)
            for name, rate in (("kept", lr), ("found", found.lr))
            if np.isfinite(rate)
        }
        told.append(
            {
                "share": share,
                "multiple": multiple,
                "found": found.outcome is lrjax.Outcome.found,
                "lr": found.lr,
                "best": best,
                "score": ends,
            }
        )
    return told


def run_piecewise(problem: Problem, case: Case) -> list[float]:
    """The score of every key's training."""
    told = []
    for run in range(KEYS):
        result = piecewise(
            problem.task,
            problem.make_optimizer,
            key=jax.random.key(1 + run),
            lr=method_1(case, run),
            train_steps=problem.steps,
        )
        told.append(score(problem, result.params))
    return told


def regrets_from_finders(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What peaks computed from a search lose, from peaks.json: way -> shape (tasks, families)."""
    report = json.loads(path.read_text())
    rows = [report["tasks"].index(name) for name in names]
    return {way: np.asarray(table)[rows] for way, table in report["from_finders"].items()}


def tuned_table(cases: Sequence[Case], told: Sequence[dict[str, Any]], found: dict[str, np.ndarray]) -> str:
    """`tune_peak` beside `peak_for`, with and without its correction."""
    names, rows = list(FAMILIES), []
    for family, (word, shift) in itertools.product(TUNED, {"as it is": 0.0, "divided by 3.2": -DRIFT}.items()):
        f = names.index(family)
        lost = np.asarray(
            [
                np.mean([case.regret(f, float(x) + shift) for x in one["tune_peak"][family]])
                for case, one in zip(cases, told, strict=True)
            ]
        )
        row = [family, word, f"{lost.mean():.2f}", f"{np.median(lost):.2f}"]
        for way in ("method 1, the rule", "minimum after 100, the law and the rule"):
            row.append("{:+.2f} ± {:.2f}".format(*mean_and_error(lost - found[way][:, f])))
        rows.append(row)
    heads = ["schedule", "best compressed peak", "regret", "median", "- peak_for after method 1"]
    return markdown_table([*heads, "- peak_for after 100 updates"], rows)


def refound_table(told: Sequence[dict[str, Any]]) -> str:
    """Searches from a checkpoint by place in the training."""
    rows = []
    for place, (share, multiple) in enumerate(PLACES):
        ones = [one["refind"][place] for one in told]
        found = [one for one in ones if one["found"]]
        shift = np.asarray([np.log10(one["lr"] / one["best"]) for one in found])
        gain = np.asarray([one["score"]["found"] - one["score"]["kept"] for one in found])
        where = f"{share:.0%} at {'the best lr' if multiple == 1 else 'a tenth of it'}"
        row = [where, f"{len(found)} of {len(ones)}"]
        if found:
            row += ["{:+.2f} ± {:.2f}".format(*mean_and_error(values)) for values in (shift, gain)]
            row.append(f"{(gain > 0.1).sum()}/{(gain < -0.1).sum()}")
        rows.append([*row, *[""] * (5 - len(row))])
    heads = ["checkpoint", "found", "found / best lr, decades", "gain of going on with it, points", "better/worse"]
    return markdown_table(heads, rows)


def piecewise_table(cases: Sequence[Case], told: Sequence[dict[str, Any]], found: dict[str, np.ndarray]) -> str:
    """`piecewise` beside single trainings."""
    tops, names = np.asarray([case.scores.max() for case in cases]), list(FAMILIES)
    best = below_any(cases, np.zeros((len(cases), len(FAMILIES))))
    ways = {
        "piecewise, 6.2 trainings": [
            np.mean([min(t - x, CAP) for x in one["piecewise"]]) for t, one in zip(tops, told, strict=True)
        ]
    }
    for family, way in (
        ("constant", "method 1, as it is"),
        ("cosine", "method 1, the rule"),
        ("1cycle", "minimum after 100, the law and the rule"),
    ):
        ways[f"one {family}, {way}"] = below_any(cases, found[way])[:, names.index(family)]
    for family in ("cosine", "1cycle"):
        ways[f"{family} at its best peak of 8"] = best[:, names.index(family)]
    base = np.asarray(ways["piecewise, 6.2 trainings"])
    rows = []
    for name, lost in ways.items():
        values = np.asarray(lost)
        difference = "{:+.2f} ± {:.2f}".format(*mean_and_error(values - base)) if values is not base else ""
        rows.append([name, f"{values.mean():.2f}", f"{np.median(values):.2f}", difference])
    return markdown_table(["", "regret", "median", "- piecewise"], rows)


def tables(results: Path) -> dict[str, str]:
    """Name -> table, from the results."""
    plans = json.loads((results / "live.json").read_text())["plans"]
    out = {}
    for part in ("tune_peak", "refind", "piecewise"):
        names = [name for name in sorted(plans) if part in plans[name]["parts"]]
        told = [{part: _plain(plans[name]["parts"][part])} for name in names]
        cases = [
            case_of(read_trained(results / "families" / f"{name}.npz"), read(results / "benchmark" / f"{name}.npz"))
            for name in names
        ]
        found = regrets_from_finders(results / "peaks.json", names)
        if part == "tune_peak":
            out[part] = tuned_table(cases, told, found)
        elif part == "refind":
            out[part] = refound_table(told)
        else:
            out[part] = piecewise_table(cases, told, found)
    return out


def main() -> None:
    """Run what is missing, part by part, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of benchmark/*.npz and of families/")
    parser.add_argument("--print", action="store_true", help="only print the tables")
    parser.add_argument(
        "--tasks", nargs="+", metavar="TASK", choices=list(TASKS), help="those with families if left out"
    )
    options = parser.parse_args()
    if not options.print:
        run_missing(options)
    for name, table in tables(options.results).items():
        print(f"{name}\n\n{table}\n")


def run_missing(options: argparse.Namespace) -> None:
    """Every part of every task that the results do not have yet, one part for all tasks first."""
    about = {"date": machine.today(), "machine": machine.describe_machine()}
    store = Store(options.results / "live.json", about)
    paths = {path.stem: path for path in sorted((options.results / "families").glob("*.npz"))}
    cases = {
        name: case_of(read_trained(paths[name]), read(options.results / "benchmark" / f"{name}.npz"))
        for name in options.tasks or paths
    }
    makers = {"tune_peak": tune, "refind": refind, "piecewise": run_piecewise}
    for part, make in makers.items():
        for name, case in cases.items():
            problem = TASKS[name]()
            store.begin(name, {"steps": problem.steps, "optimizer": problem.optimizer})
            store.part(name, part, lambda p=problem, c=case, make=make: {"told": make(p, c)})
            print(f"{part}: {name}", file=sys.stderr, flush=True)


def _plain(part: dict[str, Any]) -> Any:
    """What a part told, with numbers that are not finite as numbers again."""

    def read_back(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: read_back(item) for key, item in value.items()}
        if isinstance(value, list):
            return [read_back(item) for item in value]
        return float(value) if value in ("nan", "inf", "-inf") else value

    return read_back(part["told"])


if __name__ == "__main__":
    main()
