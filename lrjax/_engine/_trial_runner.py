"""Rounds of one experiment, until the searches use `LaneRunner` themselves."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._types import Float, Int, PyTree
from ._experiment import Experiment
from ._memory import MemoryModel
from ._programs import Executor
from ._runner import LaneRunner


class TrialRound(NamedTuple):
    """Metrics at each horizon, and the first batch with a loss that is not finite."""

    metrics: dict[str, Float[np.ndarray, "horizons seeds trials"]]
    diverged_at: Int[np.ndarray, "seeds trials"]


class _Advance:
    def __init__(self, advance: Callable[[int], None]):
        self.advance = advance

    def stage(self, name: str, updates: int = 0) -> None:
        """Nothing."""


class TrialRunner:
    """`LaneRunner.sample` at fixed horizons."""

    def __init__(
        self,
        where: str,
        task: Any,
        make_optimizer: Any,
        *,
        key: Any,
        horizons: tuple[int, ...],
        num_seeds: int | None,
        executor: Executor = "auto",
        mesh: Any = None,
        progress: Callable[[int], None] | None = None,
        checkpoint: Any = None,
        in_updates: bool = False,
        example: PyTree = None,
    ):
        self._runner = LaneRunner(
            where,
            task,
            make_optimizer,
            key=key,
            executor=executor,
            mesh=mesh,
            checkpoint=checkpoint,
            reporter=_Advance(progress or (lambda updates: None)),
        )
        self.execution = self._runner.execution
        self.rounds, self.reference = self._runner.rounds(horizons, num_seeds, not in_updates, example)

    @property
    def experiment(self) -> Experiment:
        """What is trained."""
        return self.rounds.experiment

    @property
    def executor(self) -> Executor:
        """How the lanes run."""
        return self.rounds.executor

    @property
    def num_seeds(self) -> int:
        """Seeds in the experiment."""
        return len(self.experiment.seeds)

    @property
    def num_steps(self) -> int:
        """Training batches of a lane in a round."""
        return self.experiment.spec.horizons[-1]

    @property
    def num_updates(self) -> int:
        """Updates of a lane in a round."""
        return self.experiment.accumulation.updates(self.num_steps)

    def memory_model(self, *, chunked: bool = False) -> MemoryModel:
        """As that of the rounds."""
        return self.rounds.memory_model(chunked=chunked)

    def run(self, hyperparameters: PyTree) -> TrialRound:
        """Train and evaluate one lane for each entry."""
        record = self.rounds.run(hyperparameters)
        metrics = {name: np.moveaxis(np.asarray(values), -1, 0) for name, values in record.metrics.items()}
        return TrialRound(metrics, np.asarray(record.diverged_at))
