"""How far from the best learning rate of a size a law and rules of thumb lie, and what that loses."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lrjax import LRNotFound
from lrjax.scaling import Optimum, ScalingLaw, fit

Sizes = Mapping[str, float]

RULES: dict[str, Callable[[str, float], float]] = {
    "as it is": lambda axis, factor: 1.0,
    "square root of the batch": lambda axis, factor: factor**0.5 if axis == "batch_size" else 1.0,
    "linear in the batch": lambda axis, factor: factor if axis == "batch_size" else 1.0,
    "1 / width": lambda axis, factor: 1 / factor if axis == "width" else 1.0,
    "steps^-0.32": lambda axis, factor: factor**-0.32 if axis == "train_steps" else 1.0,
}
"""What carries the base's lr on: linear, Goyal et al. 2017; square root, Krizhevsky 2014; 1 / width, what muP gives the
hidden layers under Adam, Yang et al. 2022; steps^-0.32, Bjorck et al. 2024."""


class Judged(NamedTuple):
    """The prediction of one size.

    Attributes:
      axis: whose largest size was left out.
      sizes: that are predicted.
      lr, error: the best that was measured, and its standard error in decades.
      predicted: by the law, nan if there was none, also where it is refused.
      refused: why; empty if it is not.
      off: name -> decades from the best, of "the law" and of the rules.
      lost: name -> percent of the range from the lowest loss to that of guessing.
    """

    axis: str
    sizes: dict[str, float]
    lr: float
    error: float
    predicted: float
    refused: str
    off: dict[str, float]
    lost: dict[str, float]


def judge(law: ScalingLaw, base: Sizes, guessing: float) -> list[Judged]:
    """Leave out the largest size of every axis, and predict it.

    Args:
      law: of all that was measured.
      base: from whose lr the rules start.
      guessing: the loss of a model that knows nothing.
    """
    judged = []
    for axis in law.exponents:
        largest = law.table[axis].max()
        kept = fit({name: column[law.table[axis] < largest] for name, column in law.table.items()})
        targets = [point for point in law.points if point.sizes[axis] == largest and not point.note]
        judged += [_judge_one(law, kept, axis, point, base, guessing) for point in targets]
    return judged


def _judge_one(law: ScalingLaw, kept: ScalingLaw, axis: str, point: Optimum, base: Sizes, guessing: float) -> Judged:
    try:
        predicted, refused = kept.lr(**point.sizes).lr, ""
    except LRNotFound as error:
        predicted, refused = error.result.lr, str(error)
    start = next(one.lr for one in law.points if one.sizes == dict(base))
    lrs = {"the law": predicted}
    for name, rule in RULES.items():
        lrs[name] = start * float(np.prod([rule(one, size / base[one]) for one, size in point.sizes.items()]))
    return Judged(
        axis=axis,
        sizes=point.sizes,
        lr=point.lr,
        error=point.error,
        predicted=predicted,
        refused=refused,
        off={name: float(np.log10(lr / point.lr)) for name, lr in lrs.items()},
        lost={name: _lost(law.table, point, lr, guessing) for name, lr in lrs.items()},
    )


def _lost(table: Mapping[str, Any], point: Optimum, lr: float, guessing: float) -> float:
    """Percent of the range; between trained learning rates interpolated in log lr, beyond them nan."""
    here = np.all([table[axis] == size for axis, size in point.sizes.items()], axis=0)
    lrs = np.unique(table["lr"][here])
    losses = np.asarray([table["loss"][here & (table["lr"] == one)].mean() for one in lrs])
    loss = np.interp(np.log10(lr), np.log10(lrs), losses, left=np.nan, right=np.nan)
    return float(100 * (loss - losses.min()) / (guessing - losses.min()))
