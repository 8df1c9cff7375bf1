"""How fast is the trial engine? Every executor against hand-written JAX loops and PyTorch, on five models.

    python experiments/speed/engine.py            # about 50 minutes on two cores; --quick takes about 4
    python experiments/speed/engine.py --models mlp --widths 1 16 --fresh

Writes experiments/results/speed_engine_<backend>.json after every cell (a run that was stopped goes on from there)
and prints the tables as Markdown. `pip install lrjax[bench]` adds the PyTorch column. On a GPU several chunk sizes
are compared; show it one device only.

Expected: `auto` within 1.10x of the best JAX engine on every model; a search of 32 learning rates on the MLP at
least 20x faster than a fresh jit for each, compilation included; predicted memory 1.0-1.2x of the actual one.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from cells import clear_caches, measure_cell, measure_facts, say
from contenders import fresh_jit, make_problem
from machine import describe_machine, matmul_peak, today
from models import MODELS
from report import markdown

import lrjax

RESULTS = Path(__file__).resolve().parent.parent / "results"
HEADLINE_LRS = 32
ORDER = {4: 1, 64: 2}
"""Numbers of learning rates that come after the others."""


def main() -> None:
    """Run what is missing, then print the tables."""
    options = parse()
    setting = {"quick": options.quick, "models": options.models, "widths": options.widths}
    name = f"speed_engine_{jax.default_backend()}{'_quick' if options.quick else ''}.json"
    path = options.results or RESULTS / name
    results = load(path, options)
    results["setting"] = setting
    if "peak" not in results:
        results["peak"] = matmul_peak()
    deadline = time.perf_counter() + 60 * options.budget_minutes
    work = [(model, width) for model in options.models for width in widths_of(model, options)]
    work.sort(key=lambda cell: ORDER.get(cell[1], 0))  # what matters most first, so that half a run says something
    missing = [(model, width) for model, width in work if f"{model}/{width}" not in results["cells"]]
    for index, (model, width) in enumerate(missing):
        if model not in results["models"]:
            results["models"][model] = measure_facts(MODELS[model], fresh_lrs=1 if options.quick else 3)
            save(path, results)
            clear_caches()
        allowance = max(5.0, (deadline - time.perf_counter()) / (len(missing) - index))
        say(f"{model}, {width} learning rates: {allowance:.0f} s allowed")
        results["cells"][f"{model}/{width}"] = measure_cell(
            MODELS[model],
            width,
            results["cells"],
            allowance=allowance,
            limit=10.0 if options.quick else 60.0,
            with_torch=not options.no_torch,
        )
        save(path, results)
        clear_caches()
    if "mlp" in options.models and "headline" not in results:
        results["headline"] = measure_headline(1 if options.quick else 3, fresh_lrs=3 if options.quick else 11)
        save(path, results)
    tables = markdown(results)
    print(tables)
    if options.markdown:
        options.markdown.write_text(tables + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), help="models (all; --quick: without resnet18)")
    parser.add_argument("--widths", nargs="+", type=int, help="numbers of learning rates (1 4 16 64)")
    parser.add_argument("--budget-minutes", type=float, help="about how long all cells may take (50)")
    parser.add_argument(
        "--quick", action="store_true", help="about 4 minutes: no ResNet18, one learning rate for big models"
    )
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--results", type=Path, help="the JSON file")
    parser.add_argument("--markdown", type=Path, help="write the tables here as well")
    options = parser.parse_args()
    options.models = options.models or [name for name in MODELS if not (options.quick and name == "resnet18")]
    options.widths = sorted(options.widths or ([1, 4, 16] if options.quick else [1, 4, 16, 64]))
    options.budget_minutes = options.budget_minutes or (2.5 if options.quick else 50.0)
    return options


def widths_of(model: str, options: argparse.Namespace) -> list[int]:
    """The numbers of learning rates to run; in the quick setting only the MLPs take several."""
    return options.widths if "mlp" in model or not options.quick else options.widths[:1]


def load(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Earlier results of this machine and these versions, or a new file."""
    machine = describe_machine()
    new = {"format": 1, "date": today(), "lrjax": lrjax.__version__, "machine": machine, "models": {}, "cells": {}}
    if options.fresh or not path.exists():
        return new
    results = json.loads(path.read_text())
    if results["machine"] != machine:
        say(f"{path.name} comes from another machine or other versions: measuring everything again")
        return new
    say(f"{path.name} has {len(results['cells'])} cells: measuring what is missing (--fresh measures all)")
    return results


def save(path: Path, results: dict[str, Any]) -> None:
    """Write the JSON, in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)


def measure_headline(repeats: int, *, fresh_lrs: int) -> dict[str, Any]:
    """A whole search on the MLP against a fresh jit for each learning rate, with nothing compiled before either."""
    model = MODELS["mlp"]
    say(f"headline: {HEADLINE_LRS} learning rates on {model.name}, compilation included")
    ours, fresh = [], []
    for _ in range(repeats):
        task, make_optimizer, lrs = model.task(), model.make_optimizer(), model.lrs(HEADLINE_LRS).tolist()
        clear_caches()
        start = time.perf_counter()
        lrjax.sample_losses(task, make_optimizer, lrs, key=jax.random.key(0), num_steps=model.num_steps)
        ours.append(time.perf_counter() - start)
        problem, some = make_problem(model), model.lrs(fresh_lrs)
        clear_caches()
        start = time.perf_counter()
        train = fresh_jit(problem)
        train(some[:1])  # compiles what all share as well, so only the others are extrapolated
        first = time.perf_counter()
        train(some[1:])
        each = (time.perf_counter() - first) / (fresh_lrs - 1)
        fresh.append(first - start + (HEADLINE_LRS - 1) * each)
    return {
        "model": model.name,
        "lrs": HEADLINE_LRS,
        "num_steps": model.num_steps,
        "ours_seconds": ours,
        "fresh_seconds": fresh,
        "fresh_lrs_measured": fresh_lrs,
        "ratio": float(np.median(np.asarray(fresh) / np.asarray(ours))),
    }


if __name__ == "__main__":
    main()
