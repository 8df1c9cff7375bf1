"""Write plateau.json: the learning rates that the ReduceLROnPlateau of PyTorch and of Keras give for random metrics.

    pip install torch==2.13.0 keras jax
    KERAS_BACKEND=jax python tests/oracles/regenerate_plateau.py  # seconds; 120 kB

It writes the JSON next to itself: the peers' versions and a list of traces, each with its options, the metrics, and the
learning rate after each of them. (Optax's is there when the tests run.) `tests/test_plateau.py` reads it. Every
combination of mode, threshold_mode, patience, cooldown and with or without min_lr occurs once, with metrics of one
kind. All metrics are positive, because PyTorch's relative threshold has the wrong sign for negative ones; those that
are not finite are strings, "nan" and "inf". `eps` is 0: ours has no least change. Keras, whose threshold is absolute,
gets metrics of either sign, all of them finite: it takes a first one that is NaN for the best ever.

PyTorch and Keras are imported where they are needed, because pytest imports this file when it looks for doctests.
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).with_name("plateau.json")
LENGTH = 40
BASE_LR = 0.3
KINDS = ("improving", "plateauing", "noisy", "broken")


def metrics_of(kind: str, mode: str, rng: np.random.Generator) -> list[float]:
    """Positive numbers of six digits that fall, or rise if `mode` is "max", as the kind says."""
    step = np.arange(LENGTH)
    noise = rng.normal(size=LENGTH)
    fall = {
        "improving": 2 * 0.95**step * np.exp(0.03 * noise),
        "plateauing": np.maximum(2 * 0.8**step, rng.choice([0.5, 0.1])) * np.where(step % 3, 1, np.exp(0.001 * noise)),
        "noisy": np.exp(0.3 * noise),
        "broken": np.exp(-0.02 * step + 0.1 * noise),
    }[kind]
    metrics = [float(f"{value:.6g}") for value in (fall if mode == "min" else 1 / fall)]
    if kind == "broken":
        worst = float("inf") if mode == "min" else float("-inf")
        for index in rng.choice(LENGTH, size=12, replace=False):
            metrics[index] = float(rng.choice([float("nan"), worst]))
    return metrics


def lrs_of(metrics: list[float], options: dict[str, Any]) -> list[float]:
    """The learning rate after every metric."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE_LR)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **options)
    lrs = []
    for metric in metrics:
        scheduler.step(metric)
        lrs.append(float(f"{optimizer.param_groups[0]['lr']:.8g}"))
    return lrs


def traces() -> list[dict[str, Any]]:
    """All combinations of the options, in random order, so that the kinds fall on them by chance."""
    rng = np.random.default_rng(0)
    choices = list(product(("min", "max"), ("rel", "abs"), range(4), range(3), (0.0, 0.004)))
    found = []
    for index, which in enumerate(rng.permutation(len(choices))):
        mode, threshold_mode, patience, cooldown, min_lr = choices[which]
        options = {
            "mode": mode,
            "threshold_mode": threshold_mode,
            "patience": patience,
            "cooldown": cooldown,
            "min_lr": min_lr,
            "factor": float(rng.choice([0.1, 0.5, 0.9])),
            "threshold": float(rng.choice([0.0, 1e-4, 0.01, 0.1])),
        }
        kind = KINDS[index % len(KINDS)]
        metrics = metrics_of(kind, mode, rng)
        shown = [metric if np.isfinite(metric) else str(metric) for metric in metrics]
        found.append({"kind": kind, "options": options, "metrics": shown, "lrs": lrs_of(metrics, options)})
    return found


def lrs_of_keras(metrics: list[float], options: dict[str, Any]) -> list[float]:
    """The learning rate after every metric."""
    from types import SimpleNamespace

    from keras.callbacks import ReduceLROnPlateau

    renamed = {"min_delta" if name == "threshold" else name: value for name, value in options.items()}
    callback = ReduceLROnPlateau(monitor="loss", **renamed)
    optimizer = SimpleNamespace(learning_rate=BASE_LR)
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_train_begin()
    lrs = []
    for epoch, metric in enumerate(metrics):
        callback.on_epoch_end(epoch, {"loss": metric})
        lrs.append(float(f"{optimizer.learning_rate:.8g}"))
    return lrs


def traces_of_keras() -> list[dict[str, Any]]:
    """All combinations of mode, patience, cooldown and min_lr; every other one with metrics around zero."""
    rng = np.random.default_rng(1)
    choices = list(product(("min", "max"), range(4), range(4), (0.0, 0.004)))
    found = []
    for index, which in enumerate(rng.permutation(len(choices))):
        mode, patience, cooldown, min_lr = choices[which]
        options = {"mode": mode, "patience": patience, "cooldown": cooldown, "min_lr": min_lr}
        options |= {"factor": float(rng.choice([0.1, 0.5, 0.9])), "threshold": float(rng.choice([0.0, 1e-4, 0.1]))}
        kind = KINDS[index % 3]
        metrics = [round(metric - index % 2, 6) for metric in metrics_of(kind, mode, rng)]
        found.append({"kind": kind, "options": options, "metrics": metrics, "lrs": lrs_of_keras(metrics, options)})
    return found


def main() -> None:
    """Write the file, one trace a line."""
    import keras
    import torch

    write(torch.__version__.split("+")[0], traces(), keras.__version__, traces_of_keras())


def write(torch: str, of_torch: list[dict[str, Any]], keras: str, of_keras: list[dict[str, Any]]) -> None:
    """The traces of either, one a line."""
    lists = [",\n".join(json.dumps(trace, allow_nan=False) for trace in some) for some in (of_torch, of_keras)]
    OUT.write_text(
        f'{{"base_lr": {BASE_LR},\n"torch": {{"peer": "PyTorch {torch}", "traces": [\n{lists[0]}\n]}},\n'
        f'"keras": {{"peer": "Keras {keras}", "traces": [\n{lists[1]}\n]}}}}\n'
    )


if __name__ == "__main__":
    main()
