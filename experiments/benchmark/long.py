"""Long trainings of tiny models: 20,000 updates, to see whether what holds at 1,000 still holds.

    taskset -c 0 python -m experiments.benchmark.long      # minutes a task; goes on where it stopped

Writes experiments/results/long/<task>.npz, recordings like those of the benchmark but with seven seeds and without
optimizers that need no learning rate. `python -m experiments.benchmark.frontier --folder long` replays them.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

from experiments.speed import machine

from . import tasks  # noqa: F401  registers them
from .problem import TASKS
from .recording import record, write
from .replay import RESULTS

STEPS = 20_000
SEEDS = 7
LONG = ("logistic_cancer_sgd", "logistic_digits_adagrad", "mlp_digits_sgd")


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "long")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    about = {**machine.describe_machine(), "date": machine.today()}
    for name in LONG:
        path = options.out / f"{name}.npz"
        if path.exists():
            continue
        started = time.perf_counter()

        def say(part: str, name: str = name) -> None:
            print(f"{name}: {part}", file=sys.stderr, flush=True)

        problem = dataclasses.replace(TASKS[name](), steps=STEPS)
        write(record(problem, num_seeds=SEEDS, say=say, about=about, rivals={}), path)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
