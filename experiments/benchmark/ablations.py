"""What each part of the finder is worth: one thing changed at a time, replayed on the recorded tasks.

    python -m experiments.benchmark.ablations         # minutes; no data and no training

Reads experiments/results/benchmark/*.npz; writes experiments/results/benchmark_ablations.json and prints a table for
every part: the three methods' mean regret (capped at 20 points), the spread of their choices over seeds, and the cost.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.blocks import markdown_table

from .judging import CAP, truth_of
from .methods import RULES, seeds_of
from .recording import CURVE_SEEDS, Recording
from .replay import load, make_parser, write_report
from .searching import Search, search

METHODS = ("method 1 (midpoint)", "method 2 (half loss)", "method 3 (steepest)", "min_lr", "max_lr")
Change = Callable[[np.ndarray, np.ndarray, Sequence[float]], tuple[np.ndarray, np.ndarray]]


def scaled(factor: float) -> Change:
    """Losses in other units."""
    return lambda losses, initial, exponents: (losses * factor, initial * factor)


def noisy(share: float, run: int) -> Change:
    """Gaussian noise of a share of the effect, the same for a learning rate whenever it is looked up."""

    def change(losses: np.ndarray, initial: np.ndarray, exponents: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        finite = np.where(np.isfinite(losses), losses, np.inf)
        effect = np.maximum(initial - finite.min(axis=1), 0.0)
        noise = np.stack(
            [
                np.random.default_rng([run, round(1e6 * (exponent + 20))]).normal(size=len(losses))
                for exponent in exponents
            ],
            axis=1,
        )
        return losses + share * effect[:, None] * noise, initial

    return change


Variant = Callable[[Recording, int], Search]


def variants() -> dict[str, dict[str, Variant]]:
    """Part -> what it was changed to -> a search."""

    def plain(seeds: int = 1, **options: Any) -> Variant:
        return lambda recording, run: search(recording, seeds_of(recording, run, seeds), **options)

    def noise(share: float, **options: Any) -> Variant:
        return lambda recording, run: search(
            recording, seeds_of(recording, run, 1), change=noisy(share, run), **options
        )

    return {
        "steps": {str(steps): plain(horizon=steps) for steps in (5, 10, 20, 35, 50, 70, 100)},
        "seeds": {str(seeds): plain(seeds) for seeds in range(1, CURVE_SEEDS + 1)},
        "grid": {
            "half decades": plain(scheme="half"),
            "half decades, then quarters in the window (default)": plain(),
            "quarter decades": plain(scheme="quarter"),
        },
        "paper's refinement, literal": {
            f"until {threshold:g} decades": plain(scheme="paper", literal=True, threshold=threshold)
            for threshold in (0.25, 0.125, 0.0625)
        },
        "estimator, quarter decades": {
            "smoothed": plain(scheme="quarter"),
            "literal": plain(scheme="quarter", literal=True),
        },
        "unit of the loss, smoothed": {f"x {factor:g}": plain(change=scaled(factor)) for factor in (0.1, 1, 10, 100)},
        "unit of the loss, literal": {
            f"x {factor:g}": plain(scheme="quarter", literal=True, change=scaled(factor))
            for factor in (0.1, 1, 10, 100)
        },
        "noise, smoothed": {f"{share:.0%}": noise(share) for share in (0.0, 0.02, 0.1)},
        "noise, literal": {f"{share:.0%}": noise(share, scheme="quarter", literal=True) for share in (0.0, 0.02, 0.1)},
    }


def measure(recordings: Sequence[Recording], make: Variant) -> dict[str, Any]:
    """One line: means over the tasks of the constant learning rate."""
    regrets: dict[str, list[float]] = {name: [] for name in METHODS}
    spreads: dict[str, list[float]] = {name: [] for name in METHODS}
    trials, updates = [], []
    for recording in recordings:
        truth = truth_of(recording, "constant")
        found = [make(recording, run) for run in range(CURVE_SEEDS)]
        trials.append(np.mean([one.trials for one in found]))
        updates.append(np.mean([one.updates for one in found]))
        for name in METHODS:
            lrs = [RULES[name](one) for one in found]
            regrets[name].append(float(np.mean([min(truth.regret(lr), CAP) for lr in lrs])))
            exponents = [np.log10(lr) for lr in lrs if np.isfinite(lr) and lr > 0]
            spreads[name].append(float(np.std(exponents, ddof=1)) if len(exponents) > 1 else 0.0)
    return {
        "regret": {name: float(np.mean(values)) for name, values in regrets.items()},
        "spread": {name: float(np.mean(values)) for name, values in spreads.items()},
        "by_task": {name: [round(value, 4) for value in values] for name, values in regrets.items()},
        "trials": float(np.mean(trials)),
        "updates": float(np.mean(updates)),
    }


def markdown(part: str, lines: dict[str, dict[str, Any]]) -> str:
    """A table."""
    rows = []
    for name, line in lines.items():
        cells = [f"{line['regret'][method]:.2f} ({line['spread'][method]:.2f})" for method in METHODS]
        rows.append([name, f"{line['trials']:.1f}", *cells])
    return markdown_table([part, "trials", *(method.split(" (")[0] for method in METHODS)], rows)


def main() -> None:
    """Replay, write, print."""
    options = make_parser(__doc__).parse_args()
    started = time.perf_counter()
    recordings = load(options.results / "benchmark")
    report: dict[str, Any] = {}
    for part, lines in variants().items():
        report[part] = {name: measure(recordings, make) for name, make in lines.items()}
        print(f"\n{markdown(part, report[part])}", flush=True)
    write_report(options.results / "benchmark_ablations.json", recordings, report)
    print(f"\nmean regret (spread over seeds, decades); {len(recordings)} tasks, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
