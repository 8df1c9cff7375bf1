"""The loss of the best constant predictor, inferred from the labels where that is sure."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Array, Float
from ._trial_data import EvalData

UNTRAINED = (0.95, 1.3)
"""An untrained classifier's loss, as a multiple of the log of the number of classes: within it the loss is taken for a
cross-entropy in nats without a penalty."""

PER_CLASS = 10
"""Labels for each class, in the mean and at least: with fewer their entropy is underestimated."""

ALIKE = 1.05
"""Ratio up to which the entropies of several leaves, such as inputs and the same tokens one place on, count as one."""


def trivial_loss(evaluation: EvalData, untouched_loss: Float[np.ndarray, " seeds"]) -> float | None:
    """The entropy of the validation labels, in nats; None where they, or the loss, may be something else.

    Labels are integers from 0 on, of which an untrained model's loss is that of guessing. What has their shape, or one
    place less, and is no such labels may be a mask that leaves some out.
    """
    initial = float(np.mean(untouched_loss))
    leaves = list(zip(*map(jax.tree.leaves, evaluation.batches.groups), strict=True))  # each with its groups
    entropies = [(parts[0].shape, _entropy(parts, initial)) for parts in leaves]
    masks = [shape for shape, entropy in entropies if entropy is None]
    known = [entropy for shape, entropy in entropies if entropy and not any(_alike(shape, mask) for mask in masks)]
    return max(known) if known and max(known) < ALIKE * min(known) else None


def _alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(abs(size - size_) <= 1 for size, size_ in zip(one, other, strict=True))


def _entropy(parts: Sequence[Array], initial: float) -> float | None:
    """Of labels from 0 on, if an untrained model that guesses them has this loss."""
    whole = all(jnp.issubdtype(part.dtype, jnp.integer) for part in parts)
    if not whole or not all(part.is_fully_addressable for part in parts):
        return None
    values = np.concatenate([np.ravel(part) for part in parts])
    if values.min() < 0 or not 0 < values.max() < len(values) / PER_CLASS:
        return None
    low, high = (share * math.log(int(values.max()) + 1) for share in UNTRAINED)
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(-np.sum(shares * np.log(shares))) if low <= initial <= high else None
