"""Trials ranked by a metric: what the best trial, the pictures and the command read of a sweep's result."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from .._checks import Mode, check_mode, show
from .._types import Float, Int

FORMAT = "lrjax-sweep-result"
"""Names a sweep's result in files, and tells it from other results."""


class Swept(Protocol):
    """What is read of a `SweepResult`, whose attributes these are."""

    @property
    def names(self) -> tuple[tuple[str, ...], ...]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def columns(self) -> Mapping[str, np.ndarray]: ...
    @property
    def steps(self) -> Int[np.ndarray, " evaluations"]: ...
    @property
    def metrics(self) -> Mapping[str, Float[np.ndarray, "trials seeds evaluations"]]: ...
    @property
    def diverged_at(self) -> Int[np.ndarray, "trials seeds"]: ...
    @property
    def train_steps(self) -> int: ...


def metric_values(result: Swept, name: Any) -> Float[np.ndarray, "trials seeds evaluations"]:
    """A metric by its name."""
    if not result.metrics:
        raise ValueError("Nothing was measured: the sweep ended before its first evaluation.")
    if not isinstance(name, str) or name not in result.metrics:
        raise ValueError(
            f"`metric` must be one that was measured: there is no metric {show(name)} in this sweep. It has "
            f"{', '.join(result.metrics)}."
        )
    return result.metrics[name]


def trial_scores(where: str, result: Swept, metric: str, mode: Mode | None) -> Float[np.ndarray, "trials evaluations"]:
    """What trials are ranked by: the mean over the seeds, small is good; inf for a trial lost in any seed."""
    values = metric_values(result, metric)
    sign = 1.0 if check_mode(where, metric, mode) == "min" else -1.0
    means = np.where((result.diverged_at >= 0)[:, :, None], np.nan, values).mean(axis=1)
    return np.where(np.isfinite(means), sign * means, np.inf)


def settings_along(result: Swept, axis: int) -> Int[np.ndarray, " settings"]:
    """For each place of an axis of the grid, a trial that is there."""
    return np.arange(result.shape[axis]) * int(np.prod(result.shape[axis + 1 :]))
