"""The law from trials to a whole training: the best learning rate falls as training goes on."""

import math

DRIFT = 0.4
"""Decades by which the best constant learning rate falls with every decade of updates; fitted in docs/benchmark.md."""


def drift(num_steps: float, train_steps: float) -> float:
    """Decades by which the best learning rate after `train_steps` updates lies below that after `num_steps`; >= 0."""
    return DRIFT * max(0.0, math.log10(train_steps / num_steps))
