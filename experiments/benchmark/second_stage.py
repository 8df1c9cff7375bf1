"""Which learning rates step sampling trains for longer, where its first stage is in doubt and the length is known."""

from collections.abc import Sequence

import numpy as np

from lrjax import LossCurve, Outcome, WarningName, Window, half_loss

SECOND_STEPS = 100
"""Updates of the second stage."""

DOUBTS = frozenset(
    (
        WarningName.nothing_moved,
        WarningName.no_learning,
        WarningName.tiny_effect,
        WarningName.small_progress,
        WarningName.flat_basin,
        WarningName.multi_basin,
        WarningName.narrow_window,
        WarningName.noisy,
    )
)
"""Warnings of the first stage after which there is a second."""

MARGIN = 0.25
"""Decades by which the survivors' range is wider than the part of the curve that looks good, on each side."""

RIGHT_EDGE = 0.75
"""Normalised loss up to which a learning rate above the minimum may still turn out well."""


def survivors(curve: LossCurve, window: Window) -> list[float]:
    """The exponents, log10(lr), that the second stage trains on; all of them where the first found nothing.

    From a quarter decade below method 2 to a quarter decade above where the loss has risen by 3/4 of the effect.
    """
    tried = np.log10(np.asarray(curve.lrs, np.float64))
    if window.outcome is not Outcome.found:
        return tried.tolist()
    x, z = np.asarray(window.log10_lr, np.float64), np.asarray(window.loss, np.float64)
    inside = np.isfinite(z)
    risen = x[inside & (x > np.log10(float(window.max_lr))) & (np.where(inside, z, 0.0) > RIGHT_EDGE)]
    low = np.log10(float(half_loss(curve, window))) - MARGIN
    high = (risen[0] if len(risen) else tried[-1]) + MARGIN
    return tried[(tried >= low - 1e-6) & (tried <= high + 1e-6)].tolist()


def beyond(tried: Sequence[float], kept: Sequence[float], warnings: frozenset[WarningName]) -> list[float]:
    """The next two of the first stage's exponents beyond an end of the second where its best is; empty if not there."""
    above = sorted(x for x in tried if x > max(kept) + 1e-6) if WarningName.edge_high in warnings else []
    below = sorted((x for x in tried if x < min(kept) - 1e-6), reverse=True)
    return [*above[:2], *(below[:2] if WarningName.edge_low in warnings else [])]
