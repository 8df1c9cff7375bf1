"""The programs of docs/programs.md: the learning rate that each finds, beside seven full trainings at others.

    python -m experiments.examples.grid [NAME ...] [--weights MODEL --news CSV]

Every program of `examples` runs as it stands, in a process of its own, and is then trained in full (with constant
learning rates, as the search means them) at what it found and at seven learning rates, half a decade apart, that were
set before: 1e-4 to 1e-1. Seeds: three, but one for the programs whose training is slow. `lora` needs weights and news,
as its first lines say, and `keras_cnn` Keras; what is not named is not run. Writes
experiments/results/examples.json after every program, keeping the others' rows. About 12 minutes on one core; expected:
the table of docs/programs.md.
"""

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results" / "examples.json"
GRID = [10.0 ** (exponent / 2) for exponent in range(-8, -1)]


class Program(NamedTuple):
    """A file of `examples`; what makes its optimizer (a name in it or in Optax, "" for the task's `set_lr`)."""

    optimizer: str = ""
    seeds: int = 3


PROGRAMS = {
    "actor_critic": Program(),
    "gan": Program(),
    "diffusion": Program(),
    "pinn": Program("adam"),
    "fsdp": Program("make_optimizer", seeds=1),
    "lora": Program("adamw", seeds=1),
    "accumulation": Program("make_optimizer"),
    "padded_text": Program("adam", seeds=1),
    "keras_cnn": Program("adam"),
}


def main() -> None:
    """Run the programs that were named, each in a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--news", type=Path)
    parser.add_argument("--row", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = sorted({*options.names} - {*PROGRAMS})
    if unknown:
        parser.error(f"{unknown[0]!r} is none of {', '.join(PROGRAMS)}")
    if "lora" in options.names and not (options.weights and options.news):
        parser.error("lora needs --weights and --news")
    given = [str(options.weights), str(options.news)]
    if options.row:
        options.row.write_text(json.dumps(measure(options.names[0], given)))
        return
    for name in options.names or [name for name in PROGRAMS if name not in ("lora", "keras_cnn")]:
        with tempfile.TemporaryDirectory() as folder:
            row = Path(folder) / "row.json"
            command = [sys.executable, "-m", "experiments.examples.grid", name, "--row", row]
            command += ["--weights", given[0], "--news", given[1]]
            subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "jax"})
            known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            known[name] = json.loads(row.read_text())
        RESULTS.write_text(json.dumps({one: known[one] for one in PROGRAMS if one in known}, indent=1) + "\n")
        print(name, {key: value for key, value in known[name].items() if not isinstance(value, dict)}, flush=True)


def measure(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run a program, then train it at what it found and on the grid."""
    program, sys.argv = PROGRAMS[name], [name, *arguments]
    began = time.process_time()
    scope = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    seconds = time.process_time() - began
    import jax  # after the program, which may set how many devices there are
    import numpy as np
    import optax

    import lrjax

    task, result = scope["task"], scope["result"]
    optimizer = program.optimizer
    make_optimizer = (
        (scope[optimizer] if optimizer in scope else getattr(optax, optimizer)) if optimizer else task.set_lr
    )
    known = [place for place, lr in enumerate(GRID) if np.float32(lr) == np.float32(result.lr)]
    swept = lrjax.sweep(
        task,
        make_optimizer,
        GRID if known else [*GRID, result.lr],
        key=jax.random.key(1),
        train_steps=result.train_steps,
        num_seeds=program.seeds,
        eval_every=[result.train_steps],
    )
    losses = swept.metrics["loss"][:, :, -1]
    means = np.where(np.isfinite(losses), losses, np.inf).mean(axis=1)
    found, best = means[known[0] if known else -1], int(np.argmin(means[: len(GRID)]))
    first = float(np.mean(result.stages[0].curve.initial_loss))
    return {
        "lr": result.lr,
        "train_steps": result.train_steps,
        "trainings": result.cost.trainings,
        "cpu_seconds": round(seconds, 1),
        "warnings": [warning.name.value for warning in result.warnings],
        "seeds": program.seeds,
        "first_loss": first,
        "loss": float(found),
        "best_lr": GRID[best],
        "best_loss": float(means[best]),
        "lost": float((found - means[best]) / (first - means[best])),
        "grid": {f"{lr:.2e}": [float(one) for one in row] for lr, row in zip(GRID, losses, strict=False)},
    }


if __name__ == "__main__":
    main()
