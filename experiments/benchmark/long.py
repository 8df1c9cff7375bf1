"""Long trainings of tiny models: 20,000 updates, to see whether what holds at 1,000 still holds.

    taskset -c 0 python -m experiments.benchmark.long      # minutes a task; goes on where it stopped

Writes experiments/results/long/<task>.npz, recordings like those of the benchmark but with seven seeds and without
optimizers that need no learning rate. `python -m experiments.benchmark.frontier --folder long` replays them.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from . import tasks  # noqa: F401  registers them
from .problem import TASKS
from .recording import Recording, Say, record, write_missing
from .replay import RESULTS

STEPS = 20_000
SEEDS = 7
LONG = ("logistic_cancer_sgd", "logistic_digits_adagrad", "mlp_digits_sgd")


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "long")
    options = parser.parse_args()

    def make(name: str, about: dict[str, Any], say: Say) -> Recording:
        problem = dataclasses.replace(TASKS[name](), steps=STEPS)
        return record(problem, num_seeds=SEEDS, say=say, about=about, rivals={})

    write_missing(LONG, options.out, make)


if __name__ == "__main__":
    main()
