"""What every experiment of the paper does: two searches, a full grid search, trainings at the picks, a range test.

The scripts `bert`, `bart` and `resnet` say which models and data; each part is written to the results as soon as it is
done, and the long ones go on from checkpoints.

The searches have a key of their own: what they choose never saw the parameters and batches of the grid search. The
grid search and the trainings at the picks share theirs, so that a pick and its neighbours on the grid differ in the
learning rate alone.
"""

import argparse
import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import lrjax
from experiments.paper.store import Store, to_document
from experiments.speed.machine import describe_machine, today

ROOT = Path(__file__).resolve().parents[2]
FINDER_KEY, GRID_KEY, RANGE_KEY = 1, 0, 2
HORIZONS = (5, 10, 20)
WHOLE_RANGE = -7.0, 1.0
METHODS = ("midpoint", "half_loss", "steepest")
SECONDS_BETWEEN_LINES = 15.0

PLANS = {
    ("bert", "pretrained"): "BERT, pretrained",
    ("bert", "scratch"): "BERT, from scratch",
    ("bart", "denoising"): "BART, denoising",
    ("efficientnet", "pretrained"): "EfficientNet-Lite0, pretrained",
    ("resnet", "scratch"): "ResNet18, from scratch",
}
"""Experiment and plan -> what it is called on the pages."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One model on one data set, and how much is measured.

    Attributes:
      name: of the plan in the results.
      task: what is trained; its evaluation set is the whole validation set.
      make_optimizer: factory of the optimizer.
      num_steps: updates of a full training, T.
      exponents: the lowest and the highest log10(lr) of the grid search, which goes in half decades.
      num_seeds: seeds of the grid search and of the trainings at the picks.
      finder_seeds: seeds of our default search; the paper's has one.
      finder_steps: updates of a trial of the searches.
      finder_exponents: the first range of the searches; ours extends it if it is the whole of it, 1e-7 to 10.
      finder_batches: evaluation batches of the searches; None: all.
      eval_every: updates between evaluations of full trainings.
      executor: how trials run.
      range_steps, range_seeds: of the range test.
      config: everything else that the results depend on, for the record.
      more: further parts, name -> function of the plan and the parts so far.
    """

    name: str
    task: lrjax.Task
    make_optimizer: Callable[[Any], optax.GradientTransformation]
    num_steps: int
    exponents: tuple[float, float]
    num_seeds: int
    finder_seeds: int
    finder_batches: int | None
    eval_every: int
    executor: str | lrjax.Chunked
    finder_steps: int = HORIZONS[-1]
    finder_exponents: tuple[float, float] = WHOLE_RANGE
    range_steps: int = 100
    range_seeds: int = 2
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    more: Mapping[str, Callable[["Plan", Mapping[str, Any]], Mapping[str, Any]]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def lrs(self) -> list[float]:
        """Of the grid search."""
        low, high = (round(2 * exponent) for exponent in self.exponents)
        return [10.0 ** (k / 2) for k in range(low, high + 1)]

    def describe(self) -> dict[str, Any]:
        """Its settings, for the results."""
        left_out = ("name", "task", "make_optimizer", "config", "more")
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        own = {name: value for name, value in fields.items() if name not in left_out}
        return {**self.config, **own, "executor": str(self.executor), "optimizer": self.make_optimizer.__name__}


def parse(name: str, about: str, arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of an experiment's script."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("small", "paper"), default="small", help="sizes; see above")
    parser.add_argument("--data", help="folder of the data; else LRJAX_DATA, else data/ in the repository")
    parser.add_argument("--weights", help="pretrained weights; see above")
    parser.add_argument("--out", type=Path, help=f"the results, by default experiments/results/paper_{name}.json")
    parser.add_argument("--work", type=Path, default=ROOT / "lrjax-out" / "paper", help="folder of checkpoints")
    parser.add_argument("--only", nargs="+", help="names of plans; the others are left out")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results and checkpoints")
    parser.add_argument("--one-step", action="store_true", help="only build each model and train it for one step")
    for option in ("--steps", "--lrs", "--seeds"):  # fewer of these, to try the script
        parser.add_argument(option, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    suffix = "" if options.scale == "small" else f"_{options.scale}"
    options.out = options.out or ROOT / "experiments" / "results" / f"paper_{name}{suffix}.json"
    return options


def run_experiment(name: str, plans: Mapping[str, Callable[[], Plan]], options: argparse.Namespace) -> None:
    """Run what is missing of every plan and write it to the results.

    Args:
      name: of the experiment.
      plans: name -> function that loads the data and builds the plan.
      options: of `parse`.
    """
    unknown = sorted(set(options.only or ()) - set(plans))
    if unknown:
        raise ValueError(f"`--only` must be of {', '.join(plans)}, got {', '.join(unknown)}.")
    chosen = [smaller(make(), options) for plan, make in plans.items() if plan in (options.only or plans)]
    if options.one_step:
        for plan in chosen:
            say(f"{name}/{plan.name}: {try_one_step(plan)}")
        return
    work = options.work / options.out.stem
    if options.fresh:
        options.out.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)
    about = {"experiment": name, "scale": options.scale, "date": today(), "lrjax": lrjax.__version__}
    store = Store(options.out, {**about, "machine": describe_machine()})
    for plan in chosen:
        run_plan(plan, store, work / plan.name)
    say(f"Written: {options.out}")


def smaller(plan: Plan, options: argparse.Namespace) -> Plan:
    """The plan with fewer steps, lrs (around the middle of the grid) and seeds, where asked for."""
    if options.steps:
        plan = dataclasses.replace(
            plan,
            num_steps=options.steps,
            eval_every=min(plan.eval_every, options.steps),
            range_steps=min(plan.range_steps, max(5, options.steps)),
            finder_steps=min(plan.finder_steps, options.steps),
        )
    if options.lrs:
        first = (sum(plan.exponents) - (options.lrs - 1) / 2) / 2
        first = round(2 * first) / 2
        exponents = first, first + (options.lrs - 1) / 2
        plan = dataclasses.replace(plan, exponents=exponents, finder_exponents=exponents)
    if options.seeds:
        plan = dataclasses.replace(plan, num_seeds=options.seeds, finder_seeds=options.seeds, range_seeds=1)
    return plan


def run_plan(plan: Plan, store: Store, work: Path) -> None:
    """Every part of a plan that the results do not have yet, and the summary."""
    store.begin(plan.name, plan.describe())
    parts: dict[str, Callable[[], Mapping[str, Any]]] = {
        "finder_paper": lambda: find(plan, literal=True),
        "finder_default": lambda: find(plan, literal=False),
        "range_test": lambda: test_range(plan),
        "grid": lambda: train_fully(plan, plan.lrs, work / "grid", "grid"),
        "picks": lambda: train_at_picks(plan, done, work / "picks"),
    }
    parts |= {name: lambda make=make: make(plan, done) for name, make in plan.more.items()}
    done: dict[str, Any] = {}
    for name, make in parts.items():
        say(f"{plan.name}: {name} ...")
        done[name] = store.part(plan.name, name, make)
    store.summarise(plan.name, summarise(plan, done))
    shutil.rmtree(work, ignore_errors=True)
    say(show_summary(plan.name, store.results["plans"][plan.name]["summary"]))


def find(plan: Plan, *, literal: bool) -> dict[str, Any]:
    """The search: the paper's own (its grid, refinement and finite differences), or ours as it is by default."""
    task = plan.task
    if plan.finder_batches is not None:
        task = dataclasses.replace(task, eval_batches=task.eval_batches[: plan.finder_batches])
    whole = plan.finder_exponents == WHOLE_RANGE
    papers = {"refine": "paper", "literal": True, "extend_range": False, "num_seeds": 1}
    ours = {"num_seeds": plan.finder_seeds, "extend_range": whole, "refine": "fill" if whole else None}
    low, high = plan.finder_exponents
    result = lrjax.find_lr(
        task,
        plan.make_optimizer,
        lrjax.StepSampling(
            num_steps=plan.finder_steps,
            min_lr=10.0**low,
            max_lr=10.0**high,
            horizons=[steps for steps in HORIZONS if steps < plan.finder_steps],
            **(papers if literal else ours),
        ),
        key=jax.random.key(FINDER_KEY),
        executor=plan.executor,
        throw=False,
        progress=Lines(f"{plan.name}, {'paper' if literal else 'default'} search"),
    )
    say(result.summary())
    picks = {name: result.selections[name] for name in METHODS}
    picks |= {"min_lr": float(result.window.min_lr), "max_lr": float(result.window.max_lr)}
    cost = {"trial_steps": result.cost.updates, "seconds": result.cost.seconds, "lrs": result.num_trials}
    return {"picks": picks, **cost, "result": to_document(result)}


def test_range(plan: Plan) -> dict[str, Any]:
    """The classic range test, once for each of some keys."""
    start, tests = time.perf_counter(), []
    for seed in range(plan.range_seeds):
        key = jax.random.fold_in(jax.random.key(RANGE_KEY), seed)
        test = lrjax.range_test(plan.task, plan.make_optimizer, key=key, num_steps=plan.range_steps)
        lrs, refusals = test.suggestions()
        tests.append({"lrs": lrs, "refusals": refusals, "result": to_document(test)})
    steps = sum(len(test["result"]["losses"]["data"]) for test in tests)
    return {"tests": tests, "trial_steps": steps, "seconds": time.perf_counter() - start}


def train_fully(plan: Plan, lrs: list[float], folder: Path, title: str) -> dict[str, Any]:
    """Trainings of T updates at some learning rates, evaluated on the whole validation set on the way."""
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    swept = lrjax.sweep(
        plan.task,
        plan.make_optimizer,
        {"lr": lrs},
        key=jax.random.key(GRID_KEY),
        train_steps=plan.num_steps,
        num_seeds=plan.num_seeds,
        eval_every=plan.eval_every,
        executor=plan.executor,
        directory=folder,
        progress=Lines(f"{plan.name}, {title}"),
    )
    say(swept.summary())
    return {
        "lrs": lrs,
        "steps": swept.steps,
        "metrics": swept.metrics,  # lrs, seeds, evaluations
        "diverged_at": swept.diverged_at,
        "trial_steps": len(lrs) * plan.num_seeds * plan.num_steps,
        "seconds": time.perf_counter() - start,  # of the last process, if there were several
        "execution": dataclasses.asdict(swept.execution),
    }


def train_at_picks(plan: Plan, done: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Full trainings at what both searches picked, and at the ends of their windows."""
    picked = [{"search": search, "name": name, "lr": lr} for search, name, lr in _picks(done)]
    lrs = sorted({pick["lr"] for pick in picked})
    if not lrs:
        return {"picks": [], "lrs": [], "trial_steps": 0, "seconds": 0.0}
    return {"picks": picked, **train_fully(plan, lrs, folder, "picks")}


def _picks(done: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Search, name and learning rate of everything that was found."""
    return [
        (search, name, float(lr))
        for search in ("finder_paper", "finder_default")
        for name, lr in done[search]["picks"].items()
        if np.isfinite(float(lr))
    ]


def summarise(plan: Plan, done: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy at the picks beside the best of the grid, and what the searches cost of it."""
    grid = done["grid"]
    means = final_scores(grid, "accuracy").mean(axis=1)
    best = int(np.argmax(means))
    at_picks = []
    for pick in done["picks"]["picks"]:
        values = final_scores(done["picks"], "accuracy")[done["picks"]["lrs"].index(pick["lr"])]
        regret = 100 * float(means[best] - values.mean())
        at_picks.append({**pick, "accuracy": values, "mean": float(values.mean()), "regret_points": regret})
    per_step = len(plan.lrs) * plan.num_seeds
    costs = {
        name: {
            "trial_steps": done[name]["trial_steps"],
            "seconds": done[name]["seconds"],
            "share_of_grid_trial_steps": done[name]["trial_steps"] / grid["trial_steps"],
            "num_steps_for_one_percent": int(np.ceil(100 * done[name]["trial_steps"] / per_step)),
        }
        for name in ("finder_paper", "finder_default")
    }
    return {
        "best_on_grid": {
            "lr": plan.lrs[best],
            "accuracy": final_scores(grid, "accuracy")[best],
            "mean": float(means[best]),
        },
        "at_picks": at_picks,
        "cost": {**costs, "grid": {"trial_steps": grid["trial_steps"], "seconds": grid["seconds"]}},
    }


def final_scores(part: Mapping[str, Any], metric: str) -> np.ndarray:
    """A metric after the last step, (lrs, seeds); of a model that diverged as bad as can be."""
    values = np.asarray(part["metrics"][metric], float)[:, :, -1]  # "nan" and "inf" are numbers to NumPy
    return np.nan_to_num(np.where(np.asarray(part["diverged_at"]) >= 0, 0.0, values), posinf=0.0, neginf=0.0)


def show_summary(name: str, summary: Mapping[str, Any]) -> str:
    """The summary as a Markdown table."""
    best = summary["best_on_grid"]
    lines = [f"\n{name}: best of the grid {best['mean']:.4f} at {best['lr']:.1e}", "| pick | lr | accuracy | regret |"]
    lines.append("|---|---|---|---|")
    for pick in summary["at_picks"]:
        where = f"{pick['search'].removeprefix('finder_')} {pick['name']}"
        lines.append(f"| {where} | {pick['lr']:.2e} | {pick['mean']:.4f} | {pick['regret_points']:.1f} points |")
    for search in ("finder_paper", "finder_default"):
        cost = summary["cost"][search]
        lines.append(
            f"{search}: {cost['trial_steps']} trial-steps, {100 * cost['share_of_grid_trial_steps']:.1f} % of the grid "
            f"search's; under 1 % from T = {cost['num_steps_for_one_percent']} on."
        )
    return "\n".join(lines)


def train(
    task: lrjax.Task, make_optimizer: Callable[[Any], Any], lr: float, *, num_steps: int, seed: int = 0
) -> tuple[Any, float]:
    """One sequential training of a task without model state, as the grid search's lane at `lr` trains.

    Returns:
      The parameters, and the last training loss.
    """
    init_key, data_key, train_key = jax.random.split(jax.random.fold_in(jax.random.key(GRID_KEY), seed), 3)
    params = task.init(init_key) if callable(task.init) else task.init
    optimizer = make_optimizer(np.float32(lr))

    @jax.jit
    def step(params: Any, state: Any, batch: Any, index: Any) -> tuple[Any, Any, Any]:
        loss, grads = jax.value_and_grad(task.loss_fn)(params, batch, jax.random.fold_in(train_key, index))
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    state, loss = optimizer.init(params), float("nan")
    for index in range(num_steps):
        batch = jax.tree.map(lambda leaf: leaf[0], task.training_batches(seed, data_key, index, index + 1))
        params, state, loss = step(params, state, batch, np.int32(index))
    return params, float(loss)


def try_one_step(plan: Plan) -> str:
    """Build the model, train it for one step, and say how large it is."""
    start = time.perf_counter()
    small = dataclasses.replace(plan.task, eval_batches=plan.task.eval_batches[:1])
    swept = lrjax.sweep(
        small, plan.make_optimizer, {"lr": [1e-4]}, key=jax.random.key(GRID_KEY), train_steps=1, executor="loop"
    )
    made = jax.eval_shape(plan.task.init, jax.random.key(0)) if callable(plan.task.init) else plan.task.init
    params = made[0] if plan.task.has_state else made
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    losses = swept.metrics["train_loss"].item(), swept.metrics["loss"].item()
    return (
        f"{size:,} parameters, one step in {time.perf_counter() - start:.0f} s, losses {losses[0]:.4f}, {losses[1]:.4f}"
    )


class Lines:
    """Progress as a line every few seconds: for terminals and for log files.

    Args:
      title: what is running.
    """

    def __init__(self, title: str):
        self._title, self._last = title, time.perf_counter()

    def __call__(self, event: lrjax.Progress) -> None:
        now = time.perf_counter()
        if now - self._last < SECONDS_BETWEEN_LINES or not event.planned:
            return
        self._last = now
        say(f"{self._title}, {event.stage}: {event.updates} of {event.planned} updates, {event.seconds:.0f} s")


def say(text: str) -> None:
    """To the terminal; results go to the file."""
    print(text, file=sys.stderr, flush=True)
