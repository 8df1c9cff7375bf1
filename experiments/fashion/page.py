"""The numbers of docs/fashion.md: `python -m experiments.fashion.page`.

Reads experiments/results/fashion.json; the picture is drawn by `python -m paper_figures.fashion`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.blocks import fill, markdown_table
from experiments.fashion.live import RESULTS, SUBJECTS
from experiments.paper.run import ROOT

PAGE = ROOT / "docs" / "fashion.md"

WITHIN = 1.0
"""Points below the best score that are as good as it."""

SHORT = 20
"""Updates after which the curves are compared, beside the longest."""


class Ending(NamedTuple):
    """How the whole recorded training at a learning rate ended, interpolated in log10(lr).

    Attributes:
      points: lost against the best learning rate: of accuracy, or percent of the reduction of the test loss.
      test_loss: at the end.
      decades: from the learning rates of the most points and of the lowest test loss.
    """

    points: float
    test_loss: float
    decades: tuple[float, float]


def read_results(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Name of a subject that is measured whole -> its parts."""
    plans = json.loads(path.read_text())["plans"]
    return {name: plans[name]["parts"] for name in SUBJECTS if "search" in plans.get(name, {"parts": {}})["parts"]}


def ending(records: Mapping[str, Any], log10_lr: float) -> Ending:
    """What a choice comes to."""
    x, scores, losses = (np.asarray(records[name], float) for name in ("log10_lrs", "scores", "last_test_losses"))
    points = scores.max() - np.interp(log10_lr, x, scores)
    test_loss = np.interp(log10_lr, x, losses)
    highest, lowest = best_exponents(records)
    return Ending(float(points), float(test_loss), (log10_lr - highest, log10_lr - lowest))


def best_exponents(records: Mapping[str, Any]) -> tuple[float, float]:
    """log10(lr) of the most points, and of the lowest test loss, at the end of the recorded trainings."""
    x, scores, losses = (np.asarray(records[name], float) for name in ("log10_lrs", "scores", "last_test_losses"))
    return float(x[scores.argmax()]), float(x[np.nanargmin(losses)])


def good_range(records: Mapping[str, Any]) -> tuple[float, float]:
    """Lowest and highest recorded log10(lr) within a point of the best, without a gap."""
    x, scores = np.asarray(records["log10_lrs"], float), np.asarray(records["scores"], float)
    low = high = int(scores.argmax())
    good = scores >= scores.max() - WITHIN
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(x) - 1 and good[high + 1]:
        high += 1
    return float(x[low]), float(x[high])


def shares(part: Mapping[str, Any], horizon: str) -> np.ndarray:
    """Losses of the learning rates as shares of the first loss; not finite where diverged."""
    losses = part["losses"]
    return np.asarray(losses[horizon], float) / np.nanmean(np.asarray(losses["1"], float))


def picture(_: Mapping[str, Mapping[str, Any]]) -> str:
    """The picture and what it shows."""
    return (
        "![Our curves beside the recorded ones](../paper_figures/images/fashion.png)\n\n"
        f"*Training loss, share of the first: after {SHORT} updates (dashed) and more. Ticks: five shifts of the grid.*"
    )


def curves(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Our curves beside the recorded ones, at the same learning rates."""
    rows = []
    for name, parts in results.items():
        records, live = parts["records"], parts["curve"]
        x = np.asarray(live["log10_lrs"])
        at = np.abs(np.asarray(records["log10_lrs"])[:, None] - x).argmin(axis=0)
        horizon = max(live["losses"], key=int)
        theirs, ours = shares(records, horizon)[at], shares(live, horizon)
        first = np.nanmean(np.asarray(records["losses"]["1"], float))
        seeds = np.asarray(records["repeated"]["losses"][horizon], float) / first
        rows.append(
            [
                name,
                horizon,
                "/".join(f"{10.0 ** x[np.nanargmin(values)]:.1e}" for values in (theirs, ours)),
                "/".join(f"{np.nanmin(values):.3f}" for values in (theirs, ours)),
                f"{np.nanmedian(np.abs(theirs - ours)[(theirs < 1) & (ours < 1)]):.3f}",
                f"{seeds.std(ddof=1):.3f}",
            ]
        )
    heads = ["", "updates", "best lr, recorded/live", "loss there", "curves apart, median", "recorded seeds apart"]
    return markdown_table(heads, rows)


def searches(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What the search found live and in the records, and how the recorded trainings ended there."""
    rows = []
    for name, parts in results.items():
        records, found = parts["records"], parts["search"]
        live = ending(records, float(np.log10(found["lr"])))
        fed = [float(one["log10_lr"]) for one in records["found"]]
        there = [ending(records, x) for x in fed]
        rows.append(
            [
                name,
                "/".join(f"{10.0**x:.1e}" for x in best_exponents(records)),
                f"{found['lr']:.1e}" + (" (warned)" if found["warnings"] else ""),
                "/".join(f"{x:+.1f}" for x in live.decades),
                f"{live.points:.2f}",
                f"{live.test_loss:.3g} ({np.nanmin(np.asarray(records['last_test_losses'], float)):.3g})",
                f"{10.0 ** min(fed):.1e} to {10.0 ** max(fed):.1e}",
                f"{np.mean([one.points for one in there]):.2f}",
            ]
        )
    heads = ["", "best: points/test loss", "found live", "decades off", "points lost", "test loss (lowest)"]
    return markdown_table([*heads, "found in records", "points lost"], rows)


def cost(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What was trained."""
    updates = {part: sum(parts[part]["updates"] for parts in results.values()) for part in ("curve", "search")}
    minutes = sum(parts[part]["seconds"] for parts in results.values() for part in updates) / 60
    missing = [name for name in SUBJECTS if name not in results]
    shares = sorted({round(100 * parts["search"]["trainings"]) for parts in results.values()})
    return (
        f"Curves: {updates['curve']:,} updates; searches: {updates['search']:,} ({' or '.join(map(str, shares))} % of "
        f"a training each); {minutes:.0f} minutes on a shared core."
        + (f" Not measured yet: {'; '.join(missing)}." if missing else "")
    )


def blocks(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Callable[[], str]]:
    """Name of a block of the page -> what stands in it."""
    return {make.__name__: lambda make=make: make(results) for make in (picture, curves, searches, cost)}


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(), blocks(read_results())))
