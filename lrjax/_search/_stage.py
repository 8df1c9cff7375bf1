"""One stage of a search: learning rates trained to one number of steps, and what their losses say."""

import dataclasses

import numpy as np

from .._checks import check_index, check_loss
from .._curve import CELL, LossCurve, LRWarning, Outcome, Window, find_window
from .._decode import require, require_counts
from .._repr import line_repr
from .._types import Float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """Learning rates that were trained to the same number of updates.

    Attributes:
      name: what the stage is, as its strategy calls it: "sweep", "rung".
      log10_lrs: the learning rates' exponents, increasing.
      curve: their losses; `curve.rounds` says in which round each was trained.
      window: the viable range, `window.min_lr` to `window.max_lr`, and the smoothed curve.
      rounds: why each round was trained, in words.
      spent: updates of the whole search until here, over all learning rates and seeds.
      nothing_moved: why no learning rate moved the loss, if none did.
    """

    name: str
    log10_lrs: Float[np.ndarray, " trials"]
    curve: LossCurve
    window: Window
    rounds: tuple[str, ...]
    spent: int
    nothing_moved: LRWarning | None = None

    __repr__ = line_repr

    @property
    def num_steps(self) -> int:
        """Updates of every learning rate, counted from step 0."""
        return int(self.curve.horizons[-1])

    @property
    def num_seeds(self) -> int:
        """Seeds of every learning rate."""
        return len(self.curve.initial_loss)

    @property
    def losses(self) -> Float[np.ndarray, "seeds trials"]:
        """Validation losses after the last step; inf where diverged."""
        return np.asarray(self.curve.final, np.float64)

    @property
    def found(self) -> bool:
        """Whether some learning rate lowered the loss."""
        return self.window.outcome is Outcome.found

    @property
    def minimum(self) -> float:
        """log10 of where the smoothed curve is lowest."""
        return float(np.log10(float(self.window.max_lr)))

    @property
    def best(self) -> float:
        """log10 of the learning rate, of those trained, where the smoothed curve is lowest."""
        cells, loss = np.asarray(self.window.log10_lr, np.float64), np.asarray(self.window.loss)
        last = int(np.isfinite(loss).sum()) - 1
        nearest = np.round((self.log10_lrs - cells[0]) / CELL).astype(int).clip(0, max(last, 0))
        sane = np.isfinite(self.losses).all(axis=0) & np.isfinite(loss[nearest])
        if not sane.any():  # no cell between learning rates closer than a cell
            return float(np.log10(float(self.window.best_lr)))
        return float(self.log10_lrs[np.argmin(np.where(sane, loss[nearest], np.inf))])

    @property
    def lowest(self) -> int:
        """Index of the lowest mean over the seeds, unsmoothed; a learning rate with a diverged seed counts as inf."""
        rise = self.losses - np.asarray(self.curve.initial_loss, np.float64)[:, None]
        return int(np.argmin(rise.mean(axis=0)))

    @property
    def lr_range(self) -> str:
        """The lowest and the highest learning rate, in words."""
        return f"from {float(self.curve.lrs[0]):.1e} to {float(self.curve.lrs[-1]):.1e}"

    @property
    def initial(self) -> float:
        """Mean over the seeds of the loss that all are measured against."""
        return float(np.mean(np.asarray(self.curve.initial_loss, np.float64)))

    @property
    def reached(self) -> float:
        """Mean over the seeds of the best learning rate's loss."""
        return self.initial - float(self.window.effect)

    def progress(self, baseline_loss: float | None) -> float | None:
        """The best learning rate's drop of the loss, relative to what no learning gives.

        Args:
          baseline_loss: loss of the best constant predictor, if known.

        Returns:
          The share of the initial loss, or of the baseline where that is lower; None where it is not positive, since
          there is no scale; nan if everything diverged.
        """
        baseline_loss = check_loss("Stage.progress(baseline_loss)", baseline_loss)
        reference = self.initial if baseline_loss is None else min(self.initial, baseline_loss)
        return (reference - self.reached) / reference if reference > 0 else None

    def seed(self, index: int) -> "Stage":
        """The stage of one seed alone."""
        curve = self.curve.seed(check_index("Stage.seed(index)", index, self.num_seeds))
        return dataclasses.replace(self, curve=curve, window=find_window(curve))

    def _check(self) -> None:
        """Raise unless a stage from a file is one that a search can have run."""
        require_counts(self, "spent")
        self.curve._check()
        lrs = np.asarray(self.curve.lrs, np.float64)
        same = self.log10_lrs.shape == lrs.shape and np.allclose(self.log10_lrs, np.log10(lrs), atol=1e-4)
        require("log10_lrs", same, "the exponents of the curve's learning rates", self.log10_lrs.tolist())
