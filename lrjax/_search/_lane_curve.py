"""What the lanes of a search with a budget say together: how bad each learning rate is, and whether learning began."""

import enum
import itertools
from typing import NamedTuple

import numpy as np

from .._curve import CELL, drift, seen_drift
from .._types import Float
from ._stage import Stage

MEMORIES = 2.0
"""Times that the optimizer remembers a gradient, which a trial must last to tell how it trains: with momentum 0.99 the
loss after 20 updates says nothing yet of the learning rate (docs/findings.md)."""

STARTED = 0.05
"""By what share of the reference the best loss lies below it once learning has started."""

HARMLESS = 0.1
"""By what share of the reference a loss may lie above the best one before learning starts, and do no harm."""

TIED, FLAT = 0.02, 0.01
"""Lanes tie whose losses differ by less than this share of the reduction, and this share of the loss."""

WORSE = 0.15
"""By what share of the reduction a lane lies above a plateau that it has left."""

WIDE, STILL = 1.0, 0.5
"""Decades of lanes that tie on a plateau, and of those among them that have not moved since the stage before."""

DIVERGED = 2.0
"""How bad a diverged lane is, where 0 is the best one and 1 the untouched model."""

SIGMA = 0.15
"""Decades by which the optimum is uncertain: standard deviation of the Gaussian that the curve is smoothed with."""

SAME = 1e-6
"""Exponents closer than this are equal."""

_OFFSETS = np.linspace(-2.5, 2.5, 21) * SIGMA
_WEIGHTS = np.exp(-0.5 * (_OFFSETS / SIGMA) ** 2)


class State(enum.Enum):
    """Where learning is; the value says what is trained next."""

    learning = "around the minimum"
    plateau = "spread over the plateau"
    flat = "the highest learning rates that do no harm"


class LaneCurve(NamedTuple):
    """What is known of every learning rate after the last stage."""

    state: State  # where learning is
    reference: float  # loss below which something was learned
    x: Float[np.ndarray, " alive"]  # exponents of the last stage's lanes that live, increasing
    rise: Float[np.ndarray, " alive"]  # their mean losses, minus the best
    effect: float  # by how much the best lies below the initial loss; tiny where none does
    known: Float[np.ndarray, " known"]  # exponents of all lanes, those that were left earlier too, increasing
    # of each: 0 best, 1 the untouched model or worse, 2 diverged; of lanes that were left at least the nearest's
    badness: Float[np.ndarray, " known"]

    def harmless(self) -> Float[np.ndarray, " harmless"]:
        """Exponents that are as good as the best, as far as can be told, increasing; at least one."""
        near = {State.learning: TIED * self.effect, State.plateau: WORSE * self.effect}
        return self.x[self.rise <= near.get(self.state, HARMLESS * abs(self.reference))]

    def ties(self) -> bool:
        """Whether learning rates that are far apart have learned the same."""
        same = self.harmless()
        return self.state is State.learning and bool(same[-1] - same[0] >= WIDE - SAME)

    def lowest(self, down: float) -> float:
        """The exponent of the lowest risk, where the optimum will fall by so many decades, more or less."""
        low, high = self.known[[0, -1]]
        cells = np.clip(np.arange(round(low / CELL), round(high / CELL) + 1) * CELL, low, high)
        risk = np.interp(cells[:, None] + down + _OFFSETS, self.known, self.badness) @ _WEIGHTS
        return float(cells[np.argmin(risk)])


def means(stage: Stage) -> Float[np.ndarray, " trials"]:
    """Mean over the seeds of the loss minus the initial one; inf where one diverged."""
    return (stage.losses - np.asarray(stage.curve.initial_loss, np.float64)[:, None]).mean(axis=0)


def read_lanes(stages: tuple[Stage, ...], baseline_loss: float | None) -> LaneCurve:
    """What the stages say; in the last one a lane must live."""
    last, loss = stages[-1], means(stages[-1])
    alive, best = np.isfinite(loss), float(loss.min())
    reference = last.initial if baseline_loss is None else min(last.initial, baseline_loss)
    levels = [level for pair in itertools.pairwise(stages) if (level := _plateau(*pair)) is not None]
    state = State.flat
    if levels:
        state, reference = State.plateau, min(reference, last.initial + min(levels))
    if reference <= 0 or reference - (last.initial + best) > STARTED * reference:
        state = State.learning
    known: dict[float, float] = dict(zip(last.log10_lrs.tolist(), _badness(last), strict=True))
    kept, level = last.log10_lrs, _badness(last)
    for stage in reversed(stages[:-1]):
        for x, bad in zip(stage.log10_lrs.tolist(), _badness(stage), strict=True):
            known.setdefault(x, max(bad, level[np.argmin(np.abs(kept - x))]))
    order = sorted(known)
    return LaneCurve(
        state=state,
        reference=reference,
        x=last.log10_lrs[alive],
        rise=loss[alive] - best,
        effect=max(-best, 1e-30),
        known=np.asarray(order),
        badness=np.asarray([known[x] for x in order]),
    )


def fall(stages: tuple[Stage, ...], train_steps: int) -> float:
    """Decades by which the best learning rate will fall until the end, by the law and by what the stages saw."""
    minima, last = {}, stages[-1].num_steps
    for index, stage in enumerate(stages):
        if np.isfinite(means(stage)).any() and (lanes := read_lanes(stages[: index + 1], None)).state is State.learning:
            minima[stage.num_steps] = lanes.lowest(0.0)
    return seen_drift(minima, train_steps) if last in minima else drift(last, train_steps)


def _badness(stage: Stage) -> Float[np.ndarray, " trials"]:
    loss = means(stage)
    best = float(loss.min())
    if not best < 0:
        return np.where(np.isfinite(loss), 1.0, DIVERGED)
    return np.where(np.isfinite(loss), np.minimum(1.0 - loss / best, 1.0), DIVERGED)


def _plateau(before: Stage, after: Stage) -> float | None:
    """The loss, minus the initial one, at which lanes stand that should differ; None if they do not."""
    loss = means(after)
    best = float(loss.min())
    if not best < 0:
        return None
    tied = loss - best <= min(TIED * -best, FLAT * abs(after.initial + best))
    x, earlier = after.log10_lrs[tied], dict(zip(before.log10_lrs.tolist(), means(before), strict=True))
    still = [one for one, now in zip(x, loss[tied], strict=True) if abs(earlier.get(one, np.inf) - now) <= TIED * -best]
    wide = x[-1] - x[0] >= WIDE - SAME and len(still) > 1 and still[-1] - still[0] >= STILL - SAME
    return float(np.median(loss[tied])) if wide else None
