"""The law of recorded Llamas: the best peak at 50,000 updates from trainings of 35,000 and less.

    LRJAX_DATA=... python -m experiments.scaling.llamas            # seconds; no training

Reads LRJAX_DATA/recorded/llama_schedules (12-layer Llamas of 124 M parameters, 15,000 to 50,000 updates, 3 to 6
peaks); writes experiments/results/scaling_llamas.json. A kind is a form of the schedule: the part of the training in
which the lr falls, or a cosine. What a peak loses at 50,000 updates is its loss there above the lowest, by the
parabola in log10(peak) through the best peak and its neighbours, beyond them by lines; in nats, and in percent of the
range from the lowest to the worst loss.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lrjax
from experiments.benchmark.long_peaks import cooldown_of, ours_to_compare, read_runs
from experiments.data.places import data_folder
from lrjax.scaling import ScalingLaw, fit

RESULT = Path(__file__).parents[1] / "results/scaling_llamas.json"

BEFORE, TARGET = 35_000, 50_000
"""Updates of the longest training that the law may see, and of those that it predicts."""

DIVERGED = 5.0
"""Nats: one training ended at 7.6, which was untrained; all others ended below 3.3."""

LAWS: dict[str, float] = {
    "the lr of 35,000 as it is": 0.0,
    "T^-0.32, Bjorck et al. 2024": -0.32,
    "T^-0.5, the bound of Schaipp et al. 2025": -0.5,
}
"""Power of the number of updates T that carries the best lr of 35,000 updates on."""

Kinds = dict[str, dict[str, np.ndarray]]


def read_kinds(path: Path) -> Kinds:
    """Kind -> its trainings as columns; with a linear cooldown, or a cosine to 0."""
    rows: dict[str, list[tuple[float, float, int]]] = {}
    for run in filter(ours_to_compare, read_runs(path)):
        kind, config = cooldown_of(run["config"]), run["config"]
        if kind is not None and not kind.endswith("sqrt"):
            row = (config["lr"], run["summary"]["final-val/loss"], config["iterations"])
            rows.setdefault(kind.removesuffix(" linear"), []).append(row)
    columns = {kind: np.asarray(found, np.float64).T for kind, found in sorted(rows.items())}
    return {kind: dict(zip(("lr", "loss", "train_steps"), one, strict=True)) for kind, one in columns.items()}


def up_to(table: dict[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """The trainings of at most so many updates."""
    return {name: column[table["train_steps"] <= steps] for name, column in table.items()}


def together(kinds: Kinds) -> dict[str, np.ndarray]:
    """The trainings of all kinds with a cooldown, which is an axis."""
    tables = [one | {"cooldown": np.full(len(one["lr"]), float(kind))} for kind, one in kinds.items() if kind[0] == "0"]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def curve_at(table: dict[str, np.ndarray], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """log10 of the peaks of that length, and the mean losses."""
    here = (table["train_steps"] == steps) & np.isfinite(table["loss"])
    lrs = np.unique(table["lr"][here])
    return np.log10(lrs), np.asarray([table["loss"][here & (table["lr"] == lr)].mean() for lr in lrs])


def parabola(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Coefficients of the parabola through the lowest point and its neighbours; None where it has one only."""
    best = int(np.argmin(y))
    return np.polyfit(x[best - 1 : best + 2], y[best - 1 : best + 2], 2) if 0 < best < len(y) - 1 else None


def optimum_at(table: dict[str, np.ndarray], steps: int) -> float:
    """log10 of the best peak of a length: the vertex of the parabola; where the best peak is the last, it itself."""
    x, y = curve_at(table, steps)
    curve = parabola(x, y)
    return float(x[np.argmin(y)] if curve is None else -curve[1] / (2 * curve[0]))


def lost(table: dict[str, np.ndarray], lr: float) -> dict[str, float]:
    """What a peak loses at 50,000 updates."""
    x, y = curve_at(table, TARGET)
    x, y = x[y < DIVERGED], y[y < DIVERGED]
    best, curve, place = int(np.argmin(y)), parabola(x, y), np.log10(lr)
    if curve is not None and x[best - 1] <= place <= x[best + 1]:
        nats = float(np.polyval(curve, place) - np.polyval(curve, optimum_at(table, TARGET)))
    else:
        nats = float(np.interp(place, x, y) - y.min())
    return {"lr": float(lr), "nats": nats, "percent": 100 * nats / float(np.ptp(y))}


def attempt(ask: Callable[[], Any]) -> tuple[Any, str]:
    """What it returns, or why it does not."""
    try:
        return ask(), ""
    except (ValueError, lrjax.LRNotFound) as error:
        return None, str(error)


def prediction(law: ScalingLaw | None, why: str, table: dict[str, np.ndarray], **sizes: float) -> dict[str, Any]:
    """A law's lr for 50,000 updates and what it loses; or why there is none, and what it would have lost."""
    if law is None:
        return {"refused": why}
    try:
        found, refused = law.lr(**sizes), ""
    except lrjax.LRNotFound as error:
        found, refused = error.result, str(error)
    return {**lost(table, found.lr), "low": found.low, "high": found.high, "refused": refused}


def judge(kinds: Kinds) -> dict[str, Any]:
    """Every kind at 50,000 updates: its own law, the law of all, and the peak of 35,000 carried on."""
    joint, why = attempt(lambda: fit(up_to(together(kinds), BEFORE)))
    told: dict[str, Any] = {}
    for kind, table in kinds.items():
        if not {BEFORE, TARGET} <= {*table["train_steps"].astype(int).tolist()} or len(curve_at(table, BEFORE)[0]) < 2:
            continue
        own, own_why = attempt(lambda table=table: fit(up_to(table, BEFORE)))
        start = 10 ** optimum_at(table, BEFORE)
        told[kind] = {
            "best lr": 10 ** optimum_at(table, TARGET),
            "its own law": prediction(own, own_why, table, train_steps=TARGET),
            **{name: lost(table, start * (TARGET / BEFORE) ** power) for name, power in LAWS.items()},
        }
        if kind[0] == "0":
            told[kind]["the law of all"] = prediction(joint, why, table, train_steps=TARGET, cooldown=float(kind))
            told[kind]["the exponent in the length"] = own.exponents["train_steps"]._asdict() if own else None
    summary = joint.summary() if joint else why
    return {
        "the law of all": summary,
        "points": [one._asdict() for one in joint.points] if joint else [],
        "kinds": told,
    }


def show(results: dict[str, Any]) -> None:
    """The law, and a line for each kind."""
    print(results["the law of all"])
    for kind, rows in results["kinds"].items():
        print(f"{kind}: best lr {rows['best lr']:.3g}")
        for name in ("its own law", "the law of all", *LAWS):
            if name in rows:
                one = rows[name]
                told = f"lr {one['lr']:.3g} loses {one['nats']:.4f} nats, {one['percent']:.2f} %" if "lr" in one else ""
                print(f"  {name}: {told} {'REFUSED ' * bool(one.get('refused'))}{one.get('refused', '')[:300]}")


if __name__ == "__main__":
    data = data_folder(None) / "recorded/llama_schedules/runs_124m.jsonl.gz"
    results = judge(read_kinds(data))
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
