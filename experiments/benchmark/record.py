"""Record every task of the benchmark: 33 learning rates x 8 seeds x 2 schedules, range tests, and rivals without lr.

    LRJAX_DATA=... python -m experiments.benchmark.record             # all tasks: hours
    LRJAX_DATA=... python -m experiments.benchmark.record --tasks mlp_digits_sgd cnn_digits_momentum --fresh

Writes experiments/results/benchmark/<task>.npz after every task, and goes on from there when it is started again. The
tasks recorded so far took 1 to 40 minutes each on one core of a busy machine. Beside other programs give each its own
(`taskset -c 0 python -m ...`): XLA's threads wait for each other, and an MLP on a table took 9 minutes with two cores
that were busy, another one with one core to itself 76 seconds.
The scripts beside this one read these files only, so that a rule is tried on all tasks in seconds.
"""

import argparse
from pathlib import Path
from typing import Any

from . import tasks  # noqa: F401  registers them
from .problem import TASKS
from .recording import CURVE_SEEDS, TRUTH_SEEDS, Recording, Say, record, write_missing

FOLDER = Path(__file__).resolve().parent.parent / "results" / "benchmark"


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--fresh", action="store_true", help="record again what is there")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()

    def make(name: str, about: dict[str, Any], say: Say) -> Recording:
        return record(TASKS[name](), num_seeds=TRUTH_SEEDS + CURVE_SEEDS, say=say, about=about)

    write_missing(options.tasks, options.out, make, fresh=options.fresh)


if __name__ == "__main__":
    main()
