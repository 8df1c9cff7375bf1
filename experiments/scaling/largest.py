"""Is the best learning rate of the largest size that of the law measured on sizes up to half?

    python -m experiments.scaling.largest --data DIR     # 20 minutes of one core; goes on where it stopped

A transformer that reads source code, and an MLP and a CNN on Fashion-MNIST, which DIR holds.

Writes experiments/results/scaling/<name>.json, the table of every training, as each is measured.
"""

import argparse
import tempfile
from pathlib import Path

import jax

import lrjax

from .tasks import subjects

RESULTS = Path(__file__).parents[1] / "results" / "scaling"


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--data", help="folder around fashion-mnist")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lrjax-largest", help="checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, subject in subjects(options.data).items():
        if options.names and name not in options.names:
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


if __name__ == "__main__":
    main()
