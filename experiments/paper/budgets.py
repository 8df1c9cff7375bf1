"""What a search with a budget picks, at every budget, for the paper's models, beside the best of their grid searches.

    python -m experiments.paper.budgets --weights sentence-transformers/all-MiniLM-L6-v2     # after the others

The plans are those of the other scripts (`--weights` is for BERT). Each pick is trained in full with the seeds of the
grid search, which the search never saw. Took 75 minutes on one core of a busy machine with other plans; a run that is
stopped goes on where it was. Writes experiments/results/paper_budgets.json, of which `markdown` makes a table.
"""

import argparse
import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lrjax
from experiments.blocks import markdown_table
from experiments.data.ag_news import load_ag_news
from experiments.data.places import data_folder
from experiments.paper import bart, bert, efficientnet, resnet
from experiments.paper.run import FINDER_KEY, PLANS, Lines, Plan, final_scores, parse, say, smaller, train_fully
from experiments.paper.store import Store
from experiments.speed.machine import describe_machine, today

BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, the small budgets of every model first."""
    options = parse("budgets", __doc__ or "", arguments)
    installed = argparse.Namespace(**vars(options) | {"weights": None})  # EfficientNet's are not those of BERT
    news = functools.cache(lambda: load_ag_news(data_folder(options.data)))
    makers: dict[tuple[str, str], Callable[[], Plan]] = {
        ("bert", "pretrained"): lambda: bert.pretrained(news(), options),
        ("bert", "scratch"): lambda: bert.scratch(news(), options),
        ("bart", "denoising"): lambda: bart.denoising(news(), options),
        ("efficientnet", "pretrained"): lambda: efficientnet.pretrained(installed),
        ("resnet", "scratch"): lambda: resnet.scratch(options),
    }
    about = {"experiment": "budgets", "scale": options.scale, "date": today(), "lrjax": lrjax.__version__}
    store = Store(options.out, {**about, "machine": describe_machine()})
    plans = {"_".join(names): smaller(make(), options) for names, make in makers.items() if _wanted(names, options)}
    for name, plan in plans.items():
        store.begin(name, plan.describe())
    for budget in BUDGETS:
        for name, plan in plans.items():
            folder = options.work / "budgets" / name
            store.part(name, f"{budget:g}", lambda plan=plan, folder=folder, b=budget: spend(plan, b, folder))
            shutil.rmtree(folder, ignore_errors=True)
            say(f"{name}, budget {budget:g}: done")
    say(markdown(options.out.parent, options.out.name))


def _wanted(names: tuple[str, str], options: argparse.Namespace) -> bool:
    return not options.only or "_".join(names) in options.only


def spend(plan: Plan, budget: float, folder: Path) -> dict[str, Any]:
    """One search, and the full trainings at what it picked."""
    task = plan.task
    if plan.finder_batches is not None:
        task = dataclasses.replace(task, eval_batches=task.eval_batches[: plan.finder_batches])
    found = lrjax.find_lr(
        task,
        plan.make_optimizer,
        lrjax.Budget(trainings=budget),
        key=jax.random.key(FINDER_KEY),
        train_steps=plan.num_steps,
        executor=plan.executor,
        progress=Lines(f"{plan.name}, budget {budget:g}"),
        throw=False,
    )
    say(found.summary())
    told = {
        "outcome": found.outcome.name,
        "lr": found.lr,
        "interval": found.interval,
        "trial_steps": found.cost.updates,
        "cost": found.cost.trainings,
        "num_steps": found.stages[found.stage].num_steps,
        "drift": found.drift,
        "warnings": [warning.name.value for warning in found.warnings],
        "seconds": found.cost.seconds,
    }
    picked = math.isfinite(found.lr)
    return {**told, "trained": train_fully(plan, [found.lr], folder, f"budget {budget:g}") if picked else None}


def markdown(folder: Path, name: str = "paper_budgets.json") -> str:
    """The table: for every model and budget what was picked and what it loses against the best of the grid."""
    plans = json.loads((folder / name).read_text())["plans"]
    rows = []
    for (experiment, plan), title in PLANS.items():
        path = folder / name.replace("budgets", experiment)
        if f"{experiment}_{plan}" not in plans or not path.exists():
            continue
        summary = json.loads(path.read_text())["plans"][plan]["summary"]
        best, midpoint = summary["best_on_grid"], _midpoint(summary)
        rows.append([title, "grid search", "", f"{best['lr']:.1e}", f"{best['mean']:.1%}", ""])
        rows.append([title, "0", _cost_of_midpoint(summary, plans[f"{experiment}_{plan}"])])
        rows[-1] += [f"{midpoint['lr']:.1e}", f"{midpoint['mean']:.1%}", _lost(best, midpoint["accuracy"])]
        for budget, part in plans[f"{experiment}_{plan}"]["parts"].items():
            row = [title, budget, f"{part['cost']:.2f}"]
            if part["trained"] is None:
                rows.append([*row, part["outcome"], "", ""])
                continue
            scores = final_scores(part["trained"], "accuracy")[0]
            rows.append([*row, f"{part['lr']:.1e}", f"{scores.mean():.1%}", _lost(best, scores)])
    return markdown_table(["model", "budget", "cost", "lr", "accuracy", "points below the grid's best"], rows)


def _midpoint(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Our default search's pick, which is budget 0."""
    picks = summary["at_picks"]
    return next(pick for pick in picks if (pick["search"], pick["name"]) == ("finder_default", "midpoint"))


def _cost_of_midpoint(summary: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    return f"{summary['cost']['finder_default']['trial_steps'] / plan['config']['num_steps']:.2f}"


def _lost(best: Mapping[str, Any], scores: Any) -> str:
    """Points, with the standard error over the seeds, which both share."""
    lost = 100 * (np.asarray(best["accuracy"]) - np.asarray(scores))
    error = f" ± {lost.std(ddof=1) / math.sqrt(len(lost)):.1f}" if len(lost) > 1 else ""
    return f"{lost.mean():.1f}{error}"


if __name__ == "__main__":
    main()
