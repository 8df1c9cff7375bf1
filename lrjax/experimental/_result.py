"""What piecewise step sampling returns: the training, its schedule, and every choice."""

import dataclasses

from .._engine import Execution
from .._types import ModelState, Params, PyTree, Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class PiecewiseWindow:
    """One choice.

    Attributes:
      start, stop: steps from which and up to which the learning rates were tried.
      lrs: those of the copies, increasing.
      losses: validation loss of each after its cooldown; inf where it diverged.
      chosen: position of the one with which the training went on.
    """

    start: int
    stop: int
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    chosen: int

    @property
    def lr(self) -> float:
        """The chosen learning rate."""
        return self.lrs[self.chosen]

    def __str__(self) -> str:
        forks = zip(self.lrs, self.losses, strict=True)
        told = [f"{lr:.2e} {loss:.4g}{'*' if index == self.chosen else ''}" for index, (lr, loss) in enumerate(forks)]
        return f"step {self.start}: {', '.join(told)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PiecewiseResult:
    """A training that looked for its learning rate.

    Attributes:
      params: the trained parameters.
      model_state: that of the model after the training; () for a task without one.
      opt_state: that of the optimizer.
      schedule: the learning rates of the training, for another one of the same length.
      windows: what was tried when, and what was chosen.
      initial_loss: validation loss of the untouched parameters.
      loss: validation loss at the end.
      train_steps: updates of the training.
      num_updates: updates of all copies.
      seconds: wall time, compilation included.
      execution: how the copies were run, and what did not go as asked.
    """

    params: Params
    model_state: ModelState
    opt_state: PyTree
    schedule: Schedule
    windows: tuple[PiecewiseWindow, ...]
    initial_loss: float
    loss: float
    train_steps: int
    num_updates: int
    seconds: float
    execution: Execution

    @property
    def cost(self) -> float:
        """Updates of all copies, as a multiple of the training's."""
        return self.num_updates / self.train_steps

    def summary(self) -> str:
        """The choices, the end and the cost, in sentences."""
        return "\n".join(
            [
                "Learning rates and validation losses after the cooldown; * went on:",
                *map(str, self.windows),
                f"The training took the loss from {self.initial_loss:.4g} to {self.loss:.4g}.",
                f"Cost: {self.num_updates} updates, {self.cost:.2g} trainings, in {self.seconds:.1f} s, executor "
                f"{self.execution.used}.",
            ]
        )

    def __repr__(self) -> str:
        path = ", ".join(f"{window.lr:.2g}" for window in self.windows)
        return f"PiecewiseResult(loss={self.loss:.4g}, lrs=[{path}])"
