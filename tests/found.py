"""A search's result with the numbers that a test asks for, without a search."""

import jax.numpy as jnp
import numpy as np
from problems import curve_from

import lrjax

X = np.arange(-6.0, 1.5, 0.5)


def found(*, min_lr=1e-3, max_lr=0.1, lr=0.01, num_steps=20, warnings=(), outcome="found"):
    """An `LRFinderResult`; `warnings` are names, `outcome` is that of a curve which is all flat or all infinite."""
    losses = {
        "found": 1.0 - np.exp(-((X - np.log10(max_lr)) ** 2)),
        "no_learning": np.ones(len(X)),
        "all_diverged": np.full(len(X), np.inf),
    }[outcome]
    curve = curve_from(X, losses)._replace(horizons=jnp.asarray([num_steps]))
    window = lrjax.find_window(curve)
    if outcome == "found":
        window = window._replace(min_lr=jnp.asarray(min_lr), max_lr=jnp.asarray(max_lr))
    named = tuple(
        lrjax.LRWarning(name=lrjax.WarningName[name], message=f"Seen: {name}.", remedy=f"Cure {name}.")
        for name in warnings
    )
    return lrjax.LRFinderResult(
        lr=lr if outcome == "found" else float("nan"),
        interval=None,
        rule="midpoint",
        window=window,
        selections={},
        horizon_lrs={},
        curve=curve,
        warnings=named,
        outcome=window.outcome,
        num_trials=len(X),
        num_updates=len(X) * num_steps,
        seconds=0.0,
        execution=lrjax.Execution(requested="map"),
        fingerprint={},
    )
