"""A task, an optimizer and its seeds, ready to run, and what its trials are measured against."""

import dataclasses
from typing import NamedTuple

import numpy as np

from ._accumulation import Accumulation
from ._sharding import shardings_of
from ._trial_data import EvalData, SeedData, TrialSpec

EXAMPLE_LR = 1e-3
"""Of a trial that is only looked at: small, so that its numbers stay ordinary."""


class Experiment(NamedTuple):
    """A task, an optimizer and its seeds, ready to run.

    Attributes:
      spec: what is compiled.
      seeds: what the trials of each seed share.
      evaluation: the evaluation set and key.
      dtype: of the hyperparameters: float32, or float64 where a parameter is.
      accumulation: when an update is complete.
    """

    spec: TrialSpec
    seeds: tuple[SeedData, ...]
    evaluation: EvalData
    dtype: np.dtype
    accumulation: Accumulation

    def keep_shardings(self) -> "Experiment":
        """The same experiment, whose trials keep the user's own shardings."""
        return self._replace(spec=dataclasses.replace(self.spec, shardings=shardings_of(self.seeds[0])))


class Reference(NamedTuple):
    """The losses that a trial is measured against, one for each seed.

    Attributes:
      initial_loss: after the last horizon at learning rate 0 for a stateful task or a step of one's own, else of the
        untouched parameters.
      horizon_losses: the same after every horizon, shape (horizons, seeds).
      untouched_loss: of the untouched parameters and state.
      stochastic: whether two keys give different evaluation losses.
    """

    initial_loss: np.ndarray
    horizon_losses: np.ndarray
    untouched_loss: np.ndarray
    stochastic: bool
