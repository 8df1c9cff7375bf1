"""Can a law of the loss, fitted on a constant learning rate and one cooldown, choose a schedule?

    LRJAX_DATA=... python -m experiments.schedules.forecast     # five minutes; no training

Three laws with at most seven numbers are fitted on the curves of two trainings, a constant learning rate and a cooldown
over the last fifth from the same learning rate, and forecast the last loss of all others: the recorded Llamas (the rest
of their model's, other schedules, peaks and lengths), the tasks judged by a loss, and those with thirteen schedules.
What a law chooses is compared with a schedule that needs no forecast. A loss is judged as recorded at the end; no law
knows of divergence, so what diverged (one Llama, 7.6 nats) is left out of errors and correlations, not of choices.

Writes experiments/results/forecast.json and prints the table of docs/findings.md.
"""

import argparse
import gzip
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

import lrjax
from experiments.benchmark.families import FAMILIES, multipliers_of, read_trained
from experiments.benchmark.judging import CAP, mean_and_error
from experiments.benchmark.loss_record import SHAPES
from experiments.benchmark.peaks import points
from experiments.benchmark.recording import LRS, read
from experiments.benchmark.replay import RESULTS
from experiments.blocks import markdown_table

from .laws import LAWS, Fitted, Run, fit, late, pieces

DIVERGED = 5.0
"""Nats, above which a Llama has diverged."""

MODEL, WARMUP = "slimpajama, 768", 300
"""Most of the recorded Llamas, and their warmup in updates."""

LENGTHS = (15_000, 25_000, 35_000, 50_000)
"""Updates at which schedules are chosen for the Llamas."""

PAIRS = tuple(itertools.product((5e-4, 1e-3, 2e-3), (15_000, 50_000)))
"""Peak and length of the two trainings on which a law is fitted."""

OTHER_PAIRS = (
    ("openwebtext2, 640", 1e-3, 25_000),
    ("openwebtext2, 896", 5e-4, 30_000),
    ("slimpajama, 640", 1e-3, 17_500),
)
"""The same of the other models."""

BEST = 5e-4
"""The best constant learning rate of the recorded Llamas after 50,000 updates."""

WSD, KNOWN = "warmup, stable, decay", "the last losses"


def error_line(forecast: npt.ArrayLike, truth: npt.ArrayLike) -> dict[str, float]:
    """Correlation of ranks and errors."""
    off = np.abs(np.asarray(forecast) - np.asarray(truth))
    rank = float(np.corrcoef(rankdata(forecast), rankdata(truth))[0, 1])
    errors = {"median": np.median(off), "mean": off.mean(), "worst": off.max()}
    return {"runs": len(off), "rank": rank} | {name: float(error) for name, error in errors.items()}


# The recorded Llamas.


class Llama(NamedTuple):
    """A recorded Llama: `shape` is its schedule's name, `model` its data and width, `curve` steps and losses."""

    model: str
    shape: str
    peak: float
    steps: int
    rates: np.ndarray
    final: float
    curve: tuple[np.ndarray, np.ndarray]


def llama_rates(config: dict[str, Any], last: float) -> np.ndarray:
    """Learning rates of all steps, shape (steps,); `last` is the recorded one of the end."""
    steps, warmup, peak = config["iterations"], config["warmup_steps"], config["lr"]
    step = np.arange(steps)
    if config["scheduler"] == "cos":
        gone = np.clip((step - warmup) / (steps - warmup), 0, 1)
        rates = last + (peak - last) * 0.5 * (1 + np.cos(np.pi * gone))
    else:
        cooldown = int(config["wsd_fract_decay"] * steps)
        gone = np.clip((step - steps + cooldown) / max(cooldown, 1), 0, 1)
        rates = peak * (1 - (np.sqrt(gone) if config.get("decay_type") == "sqrt" else gone))
    return rates * np.minimum((step + 1) / warmup, 1.0)


def llama_shape(config: dict[str, Any], last: float) -> str:
    """The schedule's name."""
    if config["scheduler"] == "cos":
        return "cosine" if last < 0.01 * config["lr"] else "cosine to 10 %"
    share = config["wsd_fract_decay"]
    if not share:
        return "constant"
    return f"{100 * share:.0f} %" + (", 1 - sqrt" if config.get("decay_type") == "sqrt" else "")


def llamas(path: Path) -> list[Llama]:
    """All but two, whose second stage is not described by their record."""
    found = []
    with gzip.open(path, "rt") as file:
        for run in map(json.loads, file):
            config, summary, curve = run["config"], run["summary"], run["history"]["val"]
            if config["scheduler"] == "wsd_twostage":
                continue
            at, first = np.unique(curve["iter"][::-1], return_index=True)
            losses = np.asarray(curve["val_loss"][::-1])[first]
            found.append(
                Llama(
                    model=f"{config['dataset']}, {config['n_embd']}",
                    shape=llama_shape(config, summary["lr"]),
                    peak=config["lr"],
                    steps=config["iterations"],
                    rates=pieces(llama_rates(config, summary["lr"])),
                    final=summary["final-val/loss"],
                    curve=(at, losses),
                )
            )
    return found


def llama_pair(runs: Sequence[Llama], peak: float, steps: int) -> tuple[Run, Run]:
    """The constant learning rate, cut after `steps`, and its cooldown over the last fifth.

    The curves are of fewer examples than the last losses: they are moved by the cooldown's difference.
    """
    alike = [run for run in runs if run.peak == peak and np.isfinite(run.final)]
    constant = max((run for run in alike if run.shape == "constant"), key=lambda run: len(run.curve[0]))
    cooled = next(run for run in alike if run.shape == "20 %" and run.steps == steps)
    at, losses = cooled.curve
    moved = cooled.final - losses[at < steps][-1]
    warm = {"lr": peak, "iterations": steps, "warmup_steps": WARMUP, "scheduler": "wsd", "wsd_fract_decay": 0}
    pair = []
    for rates, (at, losses) in ((pieces(llama_rates(warm, peak)), constant.curve), (cooled.rates, cooled.curve)):
        pair.append(Run(rates, steps, *late(at[at <= steps], losses[at <= steps] + moved, steps)))
    return pair[0], pair[1]


def llama_table(runs: Sequence[Llama]) -> dict[tuple[int, str, float], tuple[float, Llama]]:
    """(length, shape, peak) -> mean last loss of its repetitions, and one of them."""
    table: dict[tuple[int, str, float], list[Llama]] = {}
    for run in runs:
        table.setdefault((run.steps, run.shape, run.peak), []).append(run)
    return {key: (float(np.mean([run.final for run in same])), same[0]) for key, same in table.items()}


def llama_choices(runs: Sequence[Llama], peak: float, forecast: Callable[[Llama], float]) -> list[dict[str, Any]]:
    """What every way of choosing loses against the best recorded, for every length: nats."""
    table, found = llama_table(runs), []
    for steps, peaks in itertools.product(LENGTHS, ("the same peak", "any peak")):
        here = {key[1:]: value for key, value in table.items() if key[0] == steps}
        open_ = {key: value for key, value in here.items() if peaks == "any peak" or key[1] == peak}
        best = min(loss for loss, _ in open_.values())
        chosen = min(open_, key=lambda key: forecast(open_[key][1]))
        lost = {"forecast": open_[chosen][0] - best}
        for name, schedule in simple_schedules(steps).items():
            wanted = peak if peaks == "the same peak" else float(lrjax.peak_for(peak, schedule, steps))
            recorded = [key for key in open_ if key[0] in (name, f"{name} to 10 %")]
            if recorded:
                near = min(recorded, key=lambda key: (abs(np.log(key[1] / wanted)), len(key[0])))
                lost[name] = open_[near][0] - best
        found.append({"steps": steps, "peaks": peaks, "chosen": [*chosen], "lost": lost})
    return found


def simple_schedules(steps: int) -> dict[str, Callable[[Any], Any]]:
    """What needs no forecast, by the name of its shape, the highest 1."""
    decays = {f"{100 * share:.0f} %": round(share * steps) for share in (0.2, 0.4)}
    s = lrjax.schedules
    return {"cosine": s.warmup_cosine(1.0, warmup_steps=WARMUP, total_steps=steps)} | {
        name: s.warmup_stable_decay(
            1.0, warmup_steps=WARMUP, stable_steps=steps - WARMUP - decay, decay_steps=decay, cooldown="linear"
        )
        for name, decay in decays.items()
    }


def judge_llamas(path: Path) -> dict[str, Any]:
    """Every law from every pair: errors over the other runs of the model, and choices."""
    everything = llamas(path)
    runs = [run for run in everything if run.model == MODEL]
    longer = [run for run in everything if run.model == f"slimpajama_chunk1, {MODEL[-3:]}"]
    lines = []
    for (peak, steps), name in itertools.product(PAIRS, LAWS):
        pair = llama_pair(runs, peak, steps)
        law = fit(name, pair)

        def forecast(run: Llama, law: Fitted = law) -> float:
            return law.last(run.rates, run.steps)

        told = [run for run in runs if run.final < DIVERGED and not _of_pair(run, peak, steps)]
        groups = {
            "all": told,
            "same peak": [run for run in told if run.peak == peak],
            "same length": [run for run in told if run.steps == steps],
            "up to 200,000 updates": longer,
        }
        errors = {
            key: error_line([forecast(run) for run in of], [run.final for run in of]) for key, of in groups.items()
        }
        choices = llama_choices(runs, peak, forecast)
        lines.append(
            {
                "law": name,
                "peak": peak,
                "steps": steps,
                "numbers": law.numbers.tolist(),
                "errors": errors,
                "choices": choices,
            }
        )
    others = []
    for (model, peak, steps), name in itertools.product(OTHER_PAIRS, LAWS):
        alike = [run for run in everything if run.model == model]
        law = fit(name, llama_pair(alike, peak, steps))
        rest = [run for run in alike if not _of_pair(run, peak, steps)]
        errors = error_line([law.last(run.rates, run.steps) for run in rest], [run.final for run in rest])
        others.append({"law": name, "model": model, "errors": errors})
    return {"pairs": lines, "other models": others}


def _of_pair(run: Llama, peak: float, steps: int) -> bool:
    return run.peak == peak and ((run.shape, run.steps) == ("20 %", steps) or run.shape == "constant")


# Our own tasks: schedules that are rows of multipliers, at many peaks.


class Task(NamedTuple):
    """A task's trainings.

    Attributes:
      name: of the task.
      steps: of a training.
      multipliers: schedule -> shape (steps,).
      peaks: of the trainings, shape (peaks,).
      losses: validation losses at the end, schedule -> shape (peaks,); nan where diverged or not trained.
      lost: points lost against the best training of all, schedule -> shape (peaks,); nan where not trained.
      centre: the place of the best constant learning rate among the peaks.
      pair: of the constant and of warmup, stable, decay there.
    """

    name: str
    steps: int
    multipliers: dict[str, np.ndarray]
    peaks: np.ndarray
    losses: dict[str, np.ndarray]
    lost: dict[str, np.ndarray]
    centre: int
    pair: tuple[Run, Run]


def task_of_losses(path: Path) -> Task:
    """A recording of `loss_record`: the curve of the cooldown is known."""
    told = read(path)
    rows = dict(zip(FAMILIES, multipliers_of(told.steps), strict=True))
    names = {"constant": "constant", **SHAPES}
    test = {shape: told.score[short].mean(1)[:, -1] for short, shape in names.items()}
    best = max(float(np.nanmax(score)) for score in test.values())
    curves = {shape: told.loss[short].mean(1) for short, shape in names.items()}
    trained = np.isfinite(told.loss["cosine"]).any((1, 2))
    lost = {
        shape: np.where(trained, np.nan_to_num(np.minimum(best - score, CAP), nan=CAP), np.nan)
        for shape, score in test.items()
    }
    centre = int(np.nanargmin(np.where(trained, curves["constant"][:, -1], np.nan)))
    at = np.asarray(told.horizons)
    pair = [
        Run(pieces(rows[shape] * LRS[centre]), told.steps, *late(at, curves[shape][centre], told.steps))
        for shape in ("constant", WSD)
    ]
    losses = {shape: np.where(trained, curve[:, -1], np.nan) for shape, curve in curves.items()}
    return Task(
        path.stem, told.steps, {name: rows[name] for name in losses}, LRS, losses, lost, centre, (pair[0], pair[1])
    )


def task_of_families(path: Path) -> Task:
    """Of the thirteen schedules only the ends are known; the constant's curve is in the benchmark's recording."""
    trained, told = read_trained(path), read(RESULTS / "benchmark" / path.name)
    rows = dict(zip(FAMILIES, trained.multipliers, strict=True))
    scores = dict(zip(FAMILIES, points(trained).mean(-1), strict=True))
    best = max(float(score.max()) for score in scores.values())
    losses = dict(zip(FAMILIES, trained.loss.mean(-1), strict=True))
    peaks = 10.0**trained.log10_peaks
    centre = int(np.nanargmin(np.where(np.isfinite(losses[WSD]), losses["constant"], np.nan)))
    lr = int(np.argmin(np.abs(LRS - peaks[centre])))
    seeds = trained.loss.shape[-1]
    at, curve = late(np.asarray(told.horizons), told.loss["constant"][lr, :seeds].mean(0), told.steps)
    constant = Run(pieces(rows["constant"] * peaks[centre]), told.steps, at, curve)
    end = np.asarray([losses[WSD][centre]])
    cooled = Run(pieces(rows[WSD] * peaks[centre]), told.steps, np.asarray([told.steps]), end, float(np.sqrt(len(at))))
    lost = {name: np.minimum(best - score, CAP) for name, score in scores.items()}
    return Task(path.stem, told.steps, rows, peaks, losses, lost, centre, (constant, cooled))


def judge_task(task: Task) -> list[dict[str, Any]]:
    """Every law: errors in the logarithm of the loss, and points lost by what is chosen; what needs no law likewise."""
    lines = []
    open_ = [(name, i) for name, lost in task.lost.items() for i in np.flatnonzero(np.isfinite(lost)).tolist()]
    known = [key for key in open_ if np.isfinite(task.losses[key[0]][key[1]])]
    told = [key for key in known if not (key[1] == task.centre and key[0] in ("constant", WSD))]
    truth = {key: float(task.losses[key[0]][key[1]]) for key in known}
    for name in LAWS:
        law = fit(name, task.pair)
        ends = {key: law.last(pieces(task.multipliers[key[0]] * task.peaks[key[1]]), task.steps) for key in open_}
        logs = np.log(np.maximum([ends[key] for key in told], 1e-9))
        errors = error_line(logs, np.log([truth[key] for key in told]))
        lines.append({"task": task.name, "law": name, "errors": errors, "lost": lost_by(task, ends)})
    lines.append({"task": task.name, "law": KNOWN, "lost": lost_by(task, truth)})
    for name in ("warmup, cosine", WSD):
        row = jnp.asarray(task.multipliers[name])
        peak = float(lrjax.peak_for(task.peaks[task.centre], row.__getitem__, task.steps))
        near = min((i for other, i in open_ if other == name), key=lambda i: abs(np.log(task.peaks[i] / peak)))
        lost = {"the same peak": float(task.lost[name][task.centre]), "any peak": float(task.lost[name][near])}
        lines.append({"task": task.name, "law": f"always {name}", "lost": lost})
    return lines


def lost_by(task: Task, ends: dict[tuple[str, int], float]) -> dict[str, float]:
    """Points lost by the lowest of the last losses, at the best constant learning rate and anywhere."""
    here = {key: end for key, end in ends.items() if key[1] == task.centre}
    chosen = {"the same peak": min(here, key=here.__getitem__), "any peak": min(ends, key=ends.__getitem__)}
    return {what: float(task.lost[name][i]) for what, (name, i) in chosen.items()}


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the tasks, and what a law loses against always warmup, stable, decay, with its standard error."""
    found: dict[str, Any] = {}
    of_law: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        of_law.setdefault(line["law"], []).append(line)
    for name, mine in of_law.items():
        found[name] = {"tasks": len(mine)}
        if "errors" in mine[0]:
            found[name] |= {
                what: float(np.median([line["errors"][what] for line in mine])) for what in ("rank", "median")
            }
        for what in ("the same peak", "any peak"):
            lost, rule = (np.asarray([line["lost"][what] for line in of]) for of in (mine, of_law[f"always {WSD}"]))
            found[name][what] = {"lost": float(lost.mean()), "more_than_wsd": mean_and_error(lost - rule)}
    return found


def llama_summary(pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the pairs of a length; choices only where all simple schedules are recorded.

    The peak is chosen from the best constant learning rate, of which alone `lrjax.peak_for` knows the others.
    """
    found: dict[str, Any] = {}
    for steps, name in itertools.product(sorted({steps for _, steps in PAIRS}), LAWS):
        mine = [line for line in pairs if line["law"] == name and line["steps"] == steps]
        told = {
            key: {what: float(np.mean([line["errors"][key][what] for line in mine])) for what in ("rank", "mean")}
            for key in mine[0]["errors"]
        }
        lost = {}
        for peaks in ("the same peak", "any peak"):
            choices = [
                choice["lost"]
                for line in mine
                for choice in line["choices"]
                if choice["peaks"] == peaks
                and len(choice["lost"]) == 4
                and (peaks == "the same peak" or line["peak"] == BEST)
            ]
            lost[peaks] = {who: float(np.mean([choice[who] for choice in choices])) for who in choices[0]}
            lost[peaks]["choices"] = len(choices)
        found[f"{name}, {steps}"] = {"errors": told, "lost": lost}
    return found


def table(report: dict[str, Any]) -> str:
    """For the page: what a choice at the pair's peak loses, of the laws that were fitted on the shorter pairs."""
    llama, tasks = report["llamas"]["summary"], [report[name]["summary"] for name in ("families", "lossjudged")]

    def line(title: str, nats: float, name: str | None) -> list[str]:
        points = [f"{of[name]['the same peak']['lost']:.1f}" if name else "" for of in tasks]
        return [title, f"{nats:.3f}", *points]

    shorter = {
        key.rsplit(", ", 1)[0]: one["lost"]["the same peak"]
        for key, one in llama.items()
        if key.endswith(f", {PAIRS[0][1]}")
    }
    rows = [line(name, lost["forecast"], name) for name, lost in shorter.items()]
    first = next(iter(shorter.values()))
    rows.append(line("always cosine", first["cosine"], "always warmup, cosine"))
    rows.append(line("always a cooldown of 20 %", first["20 %"], f"always {WSD}"))
    rows.append(line("always a cooldown of 40 %", first["40 %"], None))
    return markdown_table(["", "Llamas", "17 tasks", "13 tasks"], rows)


def main() -> None:
    """Judge, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LRJAX_DATA", ".")) / "recorded")
    parser.add_argument("--out", type=Path, default=RESULTS / "forecast.json")
    options = parser.parse_args()
    started = time.perf_counter()
    report: dict[str, Any] = {"llamas": judge_llamas(options.data / "llama_schedules" / "runs_124m.jsonl.gz")}
    report["llamas"]["summary"] = llama_summary(report["llamas"]["pairs"])
    for folder, read_task in (("families", task_of_families), ("lossjudged", task_of_losses)):
        lines = [line for path in sorted((RESULTS / folder).glob("*.npz")) for line in judge_task(read_task(path))]
        report[folder] = {"tasks": lines, "summary": summary(lines)}
    options.out.write_text(json.dumps(report, allow_nan=False) + "\n")
    print(table(report))
    print(json.dumps({name: of["summary"] for name, of in report.items()}, indent=1))
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
