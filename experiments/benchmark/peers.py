"""The peers' finders on the recorded range tests, each stopped, smoothed and read as its own library does it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lrjax import range_rules

from .recording import LRS, RANGE_STEPS, RANGES, Recording
from .searching import Choice


class Peer(NamedTuple):
    """A rule and the run that it reads.

    Attributes:
      rule: gets learning rates and recorded losses, and gives a learning rate.
      run: which of `RANGES`.
      smooth: the library's average of the losses so far.
      stop: the library stops where the average is above this multiple of its lowest; inf: never.
    """

    rule: Callable[[np.ndarray, np.ndarray], float]
    run: int
    smooth: Callable[[np.ndarray], np.ndarray]
    stop: float


def _fastai(rule: Callable[..., range_rules.Suggestion]) -> Peer:
    return Peer(lambda lrs, losses: rule(lrs, losses, num_steps=RANGE_STEPS).lr, 0, range_rules.debiased_ema, 4.0)


def _lightning_average(losses: np.ndarray) -> np.ndarray:
    """0.98 of the past, its start corrected for one step too many."""
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses):
        average = 0.98 * average + 0.02 * loss
        smoothed.append(average / (1 - 0.98 ** (step + 2)))
    return np.asarray(smoothed)


def _light_average(losses: np.ndarray) -> np.ndarray:
    """torch-lr-finder's: 0.05 of the new loss, 0.95 of the past."""
    smoothed = [losses[0]]
    for loss in losses[1:]:
        smoothed.append(0.05 * loss + 0.95 * smoothed[-1])
    return np.asarray(smoothed)


PEERS = {
    "fastai valley": _fastai(range_rules.fastai_valley),
    "fastai slide": _fastai(range_rules.fastai_slide),
    "fastai minimum": _fastai(range_rules.fastai_minimum),
    "fastai steep": _fastai(range_rules.fastai_steep),
    "Lightning <= 2.5.2": Peer(lambda x, y: range_rules.lightning_index(x, y).lr, 1, _lightning_average, 4.0),
    "Lightning >= 2.5.3": Peer(lambda x, y: range_rules.lightning(x, y).lr, 1, _lightning_average, 4.0),
    "torch-lr-finder": Peer(lambda x, y: range_rules.torch_lr_finder(x, y).lr, 0, _light_average, 5.0),
    "our steepest on a range test": Peer(
        lambda x, y: range_rules.steepest_log(x, y).lr, 0, lambda losses: losses, np.inf
    ),
}


def choose(peer: Peer, recording: Recording, seed: int) -> Choice:
    """What the peer suggests for one seed; nan where it has no answer."""
    low, high = RANGES[peer.run]
    lrs = low * (high / low) ** (np.arange(RANGE_STEPS) / (RANGE_STEPS - 1))
    losses = recording.range_losses[peer.run, seed].astype(np.float64)
    finite = np.isfinite(losses)
    count = RANGE_STEPS if finite.all() else int(np.argmin(finite))
    smoothed = peer.smooth(losses[:count]) if count else losses[:0]
    for step in range(1, count if np.isfinite(peer.stop) else 0):
        if smoothed[step] > peer.stop * smoothed[:step].min() > 0:
            count = step + 1
            break
    try:
        return Choice(peer.rule(lrs[:count], smoothed[:count]), count)
    except ValueError:
        return Choice(float("nan"), count)


WITTMANN_BATCHES = 5


def wittmann(recording: Recording, seed: int) -> Choice:
    """Weights reset for every learning rate, five batches each; its average runs on from one to the next.

    It draws a picture and selects nothing: its reader takes the lowest point. It stops at 4 times the lowest.
    """
    losses = recording.train_loss["constant"][:, seed, recording.horizons.index(WITTMANN_BATCHES)]
    average, smoothed = float(losses[0]), []
    for loss in losses.astype(np.float64):
        average = 0.9 * average + 0.1 * loss
        smoothed.append(average)
        if not np.isfinite(average) or average > 4 * min(smoothed) > 0:
            break
    finite = np.where(np.isfinite(smoothed), smoothed, np.inf)
    return Choice(float(LRS[int(np.argmin(finite))]), len(smoothed) * WITTMANN_BATCHES)
