"""How exact are schedules? Ours and Optax's against float64, in every way of evaluating them, at every edge.

    python experiments/schedules/exactness.py            # about 45 minutes on two busy cores; see --quick

For every horizon T = 1 to 400, and a sample up to 10**9: all steps at and beside the edges (0, T, boundaries, stairs,
cycle starts), evaluated step by step eagerly, as an array, as an array under jit (the schedule a constant of the
program, as in a training step), as an argument of a jitted function, the same under vmap; and, for a few horizons and
the long ones, step by step under jit. A value is far off if it differs from the float64 reference by more than 4 units
in the last place of the peak, and inexact if the formula pins it (step 0, T, joins, stairs, cycle starts) and it
differs in any bit. The cases are those of the tests. Optax is not asked for arrays of steps, which not all of its
schedules take; its piecewise schedules take factors, so that their values cannot be exact.

Writes experiments/results/schedules_exactness.json after every schedule (a run that was stopped goes on from there) and
prints a table.

Expected: none for ours; some for several of Optax's, its staircase and polynomial first.
"""

import argparse
import datetime
import functools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import optax

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from schedule_cases import CASES, END, PEAK, count_mismatches, thirds  # noqa: E402

OPTAX: dict[str, Callable[[int], Any]] = {
    "constant": lambda T: optax.constant_schedule(PEAK),
    "linear_decay": lambda T: optax.linear_schedule(PEAK, END, T),
    "linear_decay begin": lambda T: optax.linear_schedule(PEAK, END, T, transition_begin=7),
    "linear warmup": lambda T: optax.linear_schedule(0.0, PEAK, T),
    "polynomial_decay 2": lambda T: optax.polynomial_schedule(PEAK, END, 2.0, T),
    "polynomial_decay 0.5": lambda T: optax.polynomial_schedule(PEAK, END, 0.5, T),
    "exponential_decay": lambda T: optax.exponential_decay(PEAK, T, 0.5),
    "exponential_decay begin": lambda T: optax.exponential_decay(PEAK, T, 0.9, transition_begin=5, end_value=END),
    "exponential_decay staircase": lambda T: optax.exponential_decay(PEAK, T, 0.5, staircase=True),
    "piecewise_constant": lambda T: optax.piecewise_constant_schedule(
        PEAK, dict(zip(thirds(T), (0.1 / PEAK, END / 0.1), strict=True))
    ),
    "piecewise_interpolate linear": lambda T: optax.piecewise_interpolate_schedule(
        "linear", 0.1, dict(zip(thirds(T), (PEAK / 0.1, END / PEAK), strict=True))
    ),
    "piecewise_interpolate cosine": lambda T: optax.piecewise_interpolate_schedule(
        "cosine", 0.1, dict(zip(thirds(T), (PEAK / 0.1, END / PEAK), strict=True))
    ),
    "cosine_decay": lambda T: optax.cosine_decay_schedule(PEAK, T, alpha=END / PEAK),
    "cosine_decay exponent": lambda T: optax.cosine_decay_schedule(PEAK, T, exponent=1.5),
    "warmup_cosine": lambda T: optax.warmup_cosine_decay_schedule(0.002, PEAK, T // 10, T, END),
    "one_cycle cosine 2 optax": lambda T: optax.cosine_onecycle_schedule(T, PEAK, 0.3, 8.0, 64.0),
    "one_cycle linear 3 optax": lambda T: optax.linear_onecycle_schedule(T, PEAK, 0.3, 0.6, 8.0, 64.0),
    "join": lambda T: optax.join_schedules(
        [
            optax.linear_schedule(0.0, PEAK, T),
            optax.exponential_decay(PEAK, T, 0.5, staircase=True),
            optax.constant_schedule(END),
        ],
        [T, 4 * T],
    ),
}
"""Optax's own form of our cases."""

STEP_BY_STEP = [1, 2, 3, 41, 47, 97, 400]
LONG = [10_001, 100_003, 1_000_003, 10_000_019, 99_999_999, 999_999_999]


def measure(key: tuple[str, str], *, lengths: list[int]) -> dict[str, Any]:
    """Compared and wrong values of one schedule, named with whose it is."""
    name, of = key
    case, start = CASES[name], time.perf_counter()
    make = case.make if of == "lrjax" else OPTAX[name]
    compared, far, inexact = 0, [], []
    groups = [(lengths[at : at + 50], {"compile_each": False}) for at in range(0, len(lengths), 50)]
    groups += [(STEP_BY_STEP, {}), (LONG, {})]
    for group, modes in groups:
        fitting = [T for T in group if case.shortest <= T <= case.longest]
        count = count_mismatches(case, make, fitting, foreign=of != "lrjax", **modes)
        compared, far, inexact = compared + count.compared, far + count.far, inexact + count.inexact
    return {
        "schedule": name,
        "of": of,
        "compared": compared,
        "far": len(far),
        "inexact": len(inexact),
        "horizons": len({line.split("T=")[1].split(",")[0] for line in far + inexact}),
        "examples": far[:5] + inexact[:3],
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: what is far off or inexact anywhere, and all together."""
    lines = [
        "| schedule | of | values | far off | pinned, but inexact | horizons T with any |",
        "|---|---|---|---|---|---|",
    ]
    for row in (row for row in results if row["far"] or row["inexact"]):
        lines.append("| {schedule} | {of} | {compared:,} | {far:,} | {inexact:,} | {horizons} |".format(**row))
    for of in ("lrjax", "optax"):
        compared, far, inexact = (
            sum(row[key] for row in results if row["of"] == of) for key in ("compared", "far", "inexact")
        )
        lines.append(f"| **all** | **{of}** | {compared:,} | {far:,} | {inexact:,} | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="T = 1 to 20 only, not written down")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (one for each core)")
    parser.add_argument("--results", type=Path, default=ROOT / "experiments/results/schedules_exactness.json")
    options = parser.parse_args()
    lengths = list(range(1, 21 if options.quick else 401))
    document = {
        "date": str(datetime.date.today()),
        "jax": jax.__version__,
        "optax": optax.__version__,
        "backend": jax.default_backend(),
        "horizons": [lengths[0], lengths[-1]],
        "results": [],
    }
    if options.results.exists() and not (options.quick or options.fresh):
        document["results"] = json.loads(options.results.read_text())["results"]
    done = {(row["schedule"], row["of"]) for row in document["results"]}
    wanted = [(name, of) for name in CASES for of in ("lrjax", "optax") if of == "lrjax" or name in OPTAX]
    order = {key: index for index, key in enumerate(wanted)}
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for row in pool.map(functools.partial(measure, lengths=lengths), [key for key in wanted if key not in done]):
            document["results"].append(row)
            document["results"].sort(key=lambda row: order[row["schedule"], row["of"]])
            print("{schedule}, {of}: of {compared} {far} far off, {inexact} inexact".format(**row), flush=True)
            if not options.quick:
                options.results.write_text(json.dumps(document, indent=1) + "\n")
    print(table(document["results"]))


if __name__ == "__main__":
    main()
