"""A search's result with the numbers that a test asks for, without a search."""

import typing

import numpy as np
from problems import curve_from

import lrjax

Cost = typing.get_type_hints(lrjax.LRResult)["cost"]

X = np.arange(-6.0, 1.5, 0.5)


def stage(curve, window=None, *, name="step sampling", rounds=("first grid",), spent=None):
    """A `Stage` of a curve."""
    return lrjax.Stage(
        name=name,
        log10_lrs=np.log10(np.asarray(curve.lrs, np.float64)),
        curve=curve,
        window=lrjax.find_window(curve) if window is None else window,
        rounds=rounds,
        spent=curve.num_trials * int(curve.horizons[-1]) if spent is None else spent,
    )


def result_of(*stages, lr=0.01, warnings=(), **changes):
    """An `LRResult` of these stages; `warnings` are names."""
    named = tuple(
        lrjax.LRWarning(name=lrjax.WarningName[name], message=f"Seen: {name}.", remedy=f"Cure {name}.")
        for name in warnings
    )
    outcome = stages[-1].window.outcome
    fields = {
        "lr": lr if outcome is lrjax.Outcome.found else float("nan"),
        "interval": None,
        "outcome": outcome,
        "strategy": "StepSampling",
        "rule": "midpoint",
        "stages": stages,
        "stage": len(stages) - 1,
        "selections": {},
        "drift": {},
        "correction": 0.0,
        "reason": (f"Learning rate {lr:.2e} (midpoint).",),
        "warnings": named,
        "metric": "loss",
        "mode": "min",
        "train_steps": None,
        "start": None,
        "cost": Cost(stages[-1].spent, None, 0.0),
        "execution": lrjax.Execution(requested="map"),
        "fingerprint": {},
    }
    return lrjax.LRResult(**fields | changes)


def found(*, min_lr=1e-3, max_lr=0.1, lr=0.01, num_steps=20, warnings=(), outcome="found"):
    """A result; `warnings` are names, `outcome` is that of a curve which is all flat or all infinite."""
    losses = {
        "found": 1.0 - np.exp(-((X - np.log10(max_lr)) ** 2)),
        "no_learning": np.ones(len(X)),
        "all_diverged": np.full(len(X), np.inf),
    }[outcome]
    curve = curve_from(X, losses)._replace(horizons=np.asarray([num_steps], np.int32))
    window = lrjax.find_window(curve)
    if outcome == "found":
        window = window._replace(min_lr=np.asarray(min_lr, np.float32), max_lr=np.asarray(max_lr, np.float32))
    return result_of(stage(curve, window), lr=lr, warnings=warnings)
