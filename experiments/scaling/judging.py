"""How far from the best learning rate of a size a law and rules of thumb lie, and what that loses."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lrjax import LRNotFound
from lrjax.scaling import Optimum, ScalingLaw, fit

Sizes = Mapping[str, float]

LAW, SAME = "the law", "the base's lr as it is"

RULES = {
    "width": {"1 / width": -1.0},
    "batch_size": {"square root": 0.5, "linear": 1.0},
    "train_steps": {"steps^-0.32": -0.32},
}
"""Axis -> powers with which the base's lr is carried on. 1 / width is what muP gives the hidden layers under Adam, Yang
et al. 2022; square root, Krizhevsky 2014; linear, Goyal et al. 2017; steps^-0.32, Bjorck et al. 2024."""


class Judged(NamedTuple):
    """The prediction of one size.

    Attributes:
      axis: whose largest size was left out.
      sizes: that are predicted.
      lr, error: the best that was measured, and its standard error in decades.
      predicted: by the law, nan if there was none, also where it is refused.
      refused: why; empty if it is not.
      off: name -> decades from the best, of the law and of the rules of this axis.
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
      base: its size of every axis, from whose lr the rules start: that of the same size of the other axes.
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
    start = next(one.lr for one in law.points if one.sizes == {**point.sizes, axis: base[axis]})
    factor = point.sizes[axis] / base[axis]
    carried = {name: start * factor**power for name, power in ({SAME: 0.0} | RULES[axis]).items()}
    lrs = {LAW: predicted} | carried
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
