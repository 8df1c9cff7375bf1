"""The peak of one schedule by short runs of the whole schedule, compressed. Not in the package: it gains nothing.

By the runs of experiments/results/live.json its peaks are no better than those of `lrjax.peak_for` from the same
search (docs/benchmark.md), and they cost a training.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax

import lrjax

DRIFT = 0.5
"""Decades by which the best peak falls with every decade of training."""

Family = Callable[[Any, int], optax.Schedule]
"""A function of a (traced) peak and a number of updates that returns a schedule."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedPeak:
    """The peak of one schedule, from compressed runs.

    Attributes:
      peak: the chosen one, for the whole training.
      schedule: with this peak, over the whole training.
      curve: losses of every peak tried (its `lrs`).
      compressed_peak: the peak with the lowest loss.
      num_steps: updates of a compressed run.
    """

    peak: float
    schedule: optax.Schedule
    curve: lrjax.LossCurve
    compressed_peak: float
    num_steps: int


def tune_peak(
    task: lrjax.Task,
    make_optimizer: Callable[[optax.Schedule], optax.GradientTransformation],
    family: Family,
    peaks: Sequence[float],
    *,
    key: jax.Array,
    train_steps: int,
    horizon: float = 0.1,
    **options: Any,
) -> TunedPeak:
    """Find the peak of one schedule by training with the whole of it, compressed to a part of the updates.

    Every peak trains one copy of the model for n = `horizon` * `train_steps` updates with `family(peak, n)`, all from
    the same parameters on the same batches. The one with the lowest validation loss, in the mean over seeds, wins; a
    peak at which any seed diverges is out. That peak is divided by (train_steps / n)**0.5, 3.2 at a tenth: compressed
    runs want peaks too high for the whole training.

    Do not compare the losses of two schedules by it: in short runs the order of the schedules, each at its best peak,
    correlated with that of whole trainings by 0.2, and schedules of large area won because short runs train too little.

    Args:
      task: what is trained.
      make_optimizer: `make_optimizer(schedule) -> optax optimizer`.
      family: all its lengths must follow the number of updates; it must not branch on the peak.
      peaks: those to try.
      key: PRNG key; the same key gives the same answer.
      train_steps: optimizer updates of the whole training.
      horizon: part of them that a compressed run has.
      **options: of `lrjax.sample_losses`; `num_seeds` is 1 if left out.

    Returns:
      The peak and what it was chosen by.

    Raises:
      LRNotFound: every peak diverged, or none lowered the loss; `.result` is the curve.
    """
    num_steps = round(horizon * train_steps)
    curve = lrjax.sample_losses(
        task,
        lambda peak: make_optimizer(family(peak, num_steps)),
        peaks,
        key=key,
        num_steps=num_steps,
        **({"num_seeds": 1} | options),
    )
    window = lrjax.find_window(curve)
    if window.outcome is not lrjax.Outcome.found:
        tried = f"{curve.num_trials} peaks from {float(curve.lrs[0]):.1e} to {float(curve.lrs[-1]):.1e}"
        raise lrjax.LRNotFound(f"No peak is better than none, of {tried}. {window.outcome.value}", curve)
    best = min(peaks, key=lambda peak: abs(np.log(float(peak) / float(window.best_lr))))
    peak = float(best) * (num_steps / train_steps) ** DRIFT
    return TunedPeak(
        peak=peak, schedule=family(peak, train_steps), curve=curve, compressed_peak=float(best), num_steps=num_steps
    )
