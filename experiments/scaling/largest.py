"""Is the best learning rate of the largest size that of the law measured on sizes up to half?

    python -m experiments.scaling.largest --data DIR     # six minutes of one core; goes on where it stopped

A transformer that reads source code, and an MLP and a CNN on Fashion-MNIST, which DIR holds. Writes the law of each
with the table of its trainings, experiments/results/scaling/<name>.json, the judgement of all that are there,
experiments/results/scaling/largest.json, docs/images/scaling_law.png, and the numbers of docs/scaling.md.
"""

import argparse
import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import lrjax
from experiments.blocks import fill, markdown_table

from .judging import LAW, RULES, SAME, judge
from .tasks import subjects

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments/results/scaling"
PAGE = ROOT / "docs/scaling.md"
PICTURE = ROOT / "docs/images/scaling_law.png"


def judge_all(out: Path) -> dict[str, Any]:
    """Name -> the law in words, the cost, and every size that was predicted."""
    judged = {}
    for name, subject in subjects(None).items():
        if (out / f"{name}.json").exists():
            law = lrjax.scaling.ScalingLaw.from_json(out / f"{name}.json")
            base = {axis: float(sizes[2]) for axis, sizes in subject.axes.items()}
            longest = {key: max(steps) for key, steps in _lengths(law).items()}
            judged[name] = {
                "exponents": {axis: power._asdict() for axis, power in law.exponents.items()},
                "trainings": len(longest),
                "updates": sum(longest.values()),
                "predicted": [one._asdict() for one in judge(law, base, subject.guessing)],
            }
    return judged


def _lengths(law: lrjax.scaling.ScalingLaw) -> dict[tuple[float, ...], list[float]]:
    """What tells a training apart -> the lengths at which it was read."""
    lengths: dict[tuple[float, ...], list[float]] = {}
    columns = [law.table[name].tolist() for name in (*law.exponents, "lr", "seed")]
    place = list(law.exponents).index("train_steps")
    for row in zip(*columns, strict=True):
        lengths.setdefault((*row[:place], *row[place + 1 :]), []).append(row[place])
    return lengths


def table_of_laws(judged: dict[str, Any]) -> str:
    """The powers that all sizes gave, with their intervals, and how many trainings that took."""
    axes = ["width", "batch_size", "train_steps"]
    rows = [
        [
            name.replace("_", ", "),
            *("{value:.2f} ({low:.2f} to {high:.2f})".format(**subject["exponents"][axis]) for axis in axes),
            str(subject["trainings"]),
        ]
        for name, subject in judged.items()
    ]
    return markdown_table(["", *axes, "trainings"], rows)


def table_of_rules(judged: dict[str, Any]) -> str:
    """What the law, where it answers, and the rules lose on the same sizes, axis by axis: the median and the worst."""
    every = [one for subject in judged.values() for one in subject["predicted"] if not one["refused"]]

    def told(axis: str, name: str) -> str:
        lost = [one["lost"][name] for one in every if one["axis"] == axis]
        return f"{_percent(lost, np.median)} ({_percent(lost)})"

    rows = [[name, *(told(axis, name) for axis in RULES)] for name in (LAW, SAME)]
    powers = ["; ".join(f"{name}: {told(axis, name)}" for name in rules) for axis, rules in RULES.items()]
    counts = [f"{axis}, {sum(one['axis'] == axis for one in every)} sizes" for axis in RULES]
    return markdown_table(["lost, %: median (worst)", *counts], [*rows, ["a published power", *powers]])


def _percent(lost: list[float], of: Any = np.max) -> str:
    """Where the lr lies beyond what was trained, more than the loss at the end of it: not known."""
    value = of([np.inf if np.isnan(one) else one for one in lost]) if lost else np.nan
    return "" if np.isnan(value) else "off the grid" if np.isinf(value) else f"{value:.2f}"


def blocks(judged: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """The tables of docs/scaling.md."""
    tables = {"laws": table_of_laws, "rules": table_of_rules}
    return {f"largest_{name}": functools.partial(table, judged) for name, table in tables.items()}


def write_page(judged: dict[str, Any], out: Path) -> None:
    """Fill in the tables, and draw the transformer's law of the width."""
    PAGE.write_text(fill(PAGE.read_text(), blocks(judged)))
    table = lrjax.scaling.ScalingLaw.from_json(out / "transformer_adam.json").table
    axes = subjects(None)["transformer_adam"].axes
    at_base = (table["batch_size"] == axes["batch_size"][2]) & (table["train_steps"] == axes["train_steps"][2])
    law = lrjax.scaling.fit({name: column[at_base] for name, column in table.items()}, axes=["width"])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    law.plot(figure.subplots())
    figure.savefig(PICTURE, dpi=130, metadata={"Software": None})


def main() -> None:
    """Measure what is missing, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="what to measure; default: all")
    parser.add_argument("--data", help="folder around fashion-mnist")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lrjax-largest", help="checkpoints")
    parser.add_argument("--judge", action="store_true", help="measure nothing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, subject in subjects(options.data).items():
        if options.judge or (options.names and name not in options.names):
            continue
        law = lrjax.scaling.measure(
            subject.make_task,
            subject.make_optimizer,
            subject.axes,
            key=jax.random.key(0),
            num_seeds=subject.seeds,
            budget=subject.trainings,
            executor="loop",  # one program for each size, however many learning rates
            directory=options.work / name,
            progress=lambda event: print(f"{event.updates:>8} of {event.planned}  {event.stage}", flush=True),
        )
        law.to_json(options.out / f"{name}.json")
        print(law.summary())
    judged = judge_all(options.out)
    (options.out / "largest.json").write_text(json.dumps(judged, indent=1) + "\n")
    write_page(judged, options.out)


if __name__ == "__main__":
    main()
