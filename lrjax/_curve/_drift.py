"""The law from trials to a whole training: the best learning rate falls as training goes on."""

import math
from collections.abc import Mapping

import numpy as np

DRIFT = 0.4
"""Decades by which the best constant learning rate falls with every decade of updates; fitted in docs/benchmark.md."""

STEEPEST = 1.0
"""The same where a training over-fits, at most: the learning rate times the updates is what is best, and stays."""

SHORTEST_TRAINING = 20
"""Updates of the shortest training that a learning rate is searched for."""

PRIOR = 0.2
"""How firmly the law holds against what is seen, in squared decades of updates: as if a minimum were off by 0.2 decades
and the falls of tasks differed by 0.45 a decade. Half as firm is as good (experiments/results/constants.json)."""


def drift(num_steps: float, train_steps: float) -> float:
    """Decades by which the best learning rate after `train_steps` updates lies below that after `num_steps`; >= 0."""
    return DRIFT * max(0.0, math.log10(train_steps / num_steps))


def seen_drift(minima: Mapping[int, float], train_steps: float) -> float:
    """The same from the last of these, number of updates -> exponent of the best learning rate then.

    Where the minima fell faster than by the law, in the earlier and in the later half alike, they are taken to go on so
    for as many decades of updates as they were seen to. That they fell slower says nothing of instabilities to come.
    """
    x, y = np.log10(list(minima)), np.asarray(list(minima.values()))
    by_law, half = drift(10.0 ** x[-1], train_steps), len(x) // 2
    if len(x) < 3:
        return by_law
    steeper = min(_steeper(x[: half + 1], y[: half + 1]), _steeper(x[half:], y[half:]))
    return by_law + max(0.0, min(steeper, STEEPEST - DRIFT)) * min(by_law / DRIFT, x[-1] - x[0])


def _steeper(x: np.ndarray, y: np.ndarray) -> float:
    """Decades a decade by which a line falls faster than the law, shrunk towards it."""
    away = x - x.mean()
    return float((away @ (-y - DRIFT * x)) / (PRIOR + away @ away))
