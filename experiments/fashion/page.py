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
    return Ending(float(points), float(test_loss), tuple(log10_lr - best for best in best_exponents(records)))


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


def picture(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The picture and what it shows."""
    longest = sorted({max(parts["curve"]["losses"], key=int) for parts in results.values()}, key=int)
    return (
        "![Our curves beside the recorded ones](../paper_figures/images/fashion.png)\n\n"
        f"*Training loss as a share of the first, after {SHORT} updates (dashed) and after {' or '.join(longest)}, "
        "recorded (grey) and live (black), against the learning rate. Green: the recorded "
        "learning rates within a point of the best at the end; dotted: of the lowest test loss. Orange: found live; "
        "ticks: found in the records, for five shifts of the search's grid.*"
    )


def curves(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Our curves beside the recorded ones, at the same learning rates."""
    rows = []
    for name, parts in results.items():
        records, live = parts["records"], parts["curve"]
        x = np.asarray(live["log10_lrs"])
        at = np.abs(np.asarray(records["log10_lrs"])[:, None] - x).argmin(axis=0)
        for horizon in (str(SHORT), max(live["losses"], key=int)):
            theirs, ours = shares(records, horizon)[at], shares(live, horizon)
            learning = (theirs < 1) & (ours < 1)
            apart = np.abs(theirs - ours)[learning]
            first = [np.nanmean(np.asarray(part["losses"]["1"], float)) for part in (records, live)]
            seeds = np.asarray(records["repeated"]["losses"][horizon], float) / first[0]
            rows.append(
                [
                    name,
                    horizon,
                    " / ".join(f"{value:.3g}" for value in first),
                    " / ".join(f"{10.0 ** x[np.nanargmin(values)]:.1e}" for values in (theirs, ours)),
                    " / ".join(f"{np.nanmin(values):.3f}" for values in (theirs, ours)),
                    f"{np.median(apart):.3f} ({apart.max():.3f})",
                    f"{seeds.std(ddof=1):.3f}",
                ]
            )
    heads = ["", "updates", "first loss, recorded / live", "best lr", "loss there, share of the first"]
    return markdown_table([*heads, "apart: median (most)", "recorded seeds apart"], rows)


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
                " / ".join(f"{10.0**x:.1e}" for x in best_exponents(records)),
                f"{found['lr']:.1e}" + (" (warned)" if found["warnings"] else ""),
                " / ".join(f"{x:+.1f}" for x in live.decades),
                f"{live.points:.2f}",
                f"{live.test_loss:.3g} ({np.nanmin(np.asarray(records['last_test_losses'], float)):.3g})",
                f"{10.0 ** min(fed):.1e} to {10.0 ** max(fed):.1e}",
                f"{np.mean([one.points for one in there]):.2f}",
                f"{np.mean([one.test_loss for one in there]):.3g}",
            ]
        )
    heads = ["", "recorded best: points / test loss", "found live", "decades off", "points lost", "test loss (lowest)"]
    return markdown_table([*heads, "found in the records", "points lost", "test loss"], rows)


def cost(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What was trained."""
    updates = {part: sum(parts[part]["updates"] for parts in results.values()) for part in ("curve", "search")}
    minutes = sum(parts[part]["seconds"] for parts in results.values() for part in updates) / 60
    missing = [name for name in SUBJECTS if name not in results]
    shares = sorted({round(100 * parts["search"]["trainings"]) for parts in results.values()})
    return (
        f"The curves took {updates['curve']:,} updates, the searches {updates['search']:,} "
        f"({' or '.join(map(str, shares))} % of a training each): {minutes:.0f} minutes on a shared core."
        + (f" Not measured yet: {'; '.join(missing)}." if missing else "")
    )


def blocks(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Callable[[], str]]:
    """Name of a block of the page -> what stands in it."""
    return {make.__name__: lambda make=make: make(results) for make in (picture, curves, searches, cost)}


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(), blocks(read_results())))
