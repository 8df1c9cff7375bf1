"""The noise scale during the training of the base, beside the power of the batch size that was measured around it.

    python -m experiments.scaling.noise --data DIR     # a minute, after experiments.scaling.largest

Writes experiments/results/scaling/noise.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

import lrjax
from lrjax.scaling import ScalingLaw, noise_scale

from .largest import RESULTS
from .tasks import Subject, subjects

NUM_BATCHES = 128
"""Batches of the base for each estimate."""


def scales_of(subject: Subject, law: ScalingLaw) -> dict[str, Any]:
    """The noise scale of the kind of the optimizer after the smallest, the base's and the largest length."""
    width, batch_size, steps = (subject.axes[axis] for axis in ("width", "batch_size", "train_steps"))
    base = {"width": width[2], "batch_size": batch_size[2]}
    task, at = subject.make_task(width[2], batch_size[2]), (0, steps[0], steps[2], steps[-1])
    lr = next(one.lr for one in law.points if one.sizes == {**base, "train_steps": steps[2]})
    optimizer = subject.make_optimizer(lr)
    batches = task.training_batches(0, jax.random.key(1), 0, at[-1])

    @jax.jit
    def update(params: Any, state: Any, index: Any) -> tuple[Any, Any]:
        grads = jax.grad(task.loss_fn)(params, jax.tree.map(lambda leaf: leaf[index], batches), jax.random.key(0))
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params: Any = task.init(jax.random.key(0))
    state, found = optimizer.init(params), {}
    for step in range(at[-1] + 1):
        if step in at:
            scales = noise_scale(task, params, key=jax.random.key(2), num_batches=NUM_BATCHES)
            found[step] = {"sgd": scales.sgd._asdict(), "sign": scales.sign._asdict()}
        if step < at[-1]:
            params, state = update(params, state, jnp.asarray(step))
    power = law.exponents["batch_size"]._asdict()
    return {"lr": lr, "batch_sizes": batch_size, "power": power, "scales": found}


def main() -> None:
    """Measure those whose law is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder around fashion-mnist")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = {}
    for name, subject in subjects(options.data).items():
        if (options.out / f"{name}.json").exists():
            found[name] = scales_of(subject, lrjax.scaling.ScalingLaw.from_json(options.out / f"{name}.json"))
            print(name, json.dumps(found[name]))
    (options.out / "noise.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
