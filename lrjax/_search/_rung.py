"""One stop of a search: learning rates trained to one number of steps, and what their losses say."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from .._checks import check_index, check_loss
from .._curve import CELL, LossCurve, Outcome, Window, find_window
from .._decode import require, require_counts
from .._repr import line_repr
from .._types import Float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SearchRung:
    """Learning rates that were trained to the same number of updates.

    Attributes:
      num_steps: n, updates of every learning rate, counted from step 0.
      log10_lrs: the learning rates' exponents, increasing.
      losses: validation loss after n updates, in the units of `loss_fn`; inf where diverged.
      initial_loss: the loss to measure against: of the untouched parameters, or after n updates at learning rate 0
        for a stateful task.
      is_sweep: whether these are all learning rates of the coarse grid, before any choice.
      edges: how many learning rates were added because the lowest or the highest one was the best.
      spent: updates of the whole search until here, over all learning rates and seeds.
    """

    num_steps: int
    log10_lrs: Float[np.ndarray, " trials"]
    losses: Float[np.ndarray, "seeds trials"]
    initial_loss: Float[np.ndarray, " seeds"]
    is_sweep: bool
    edges: int
    spent: int

    __repr__ = line_repr

    def _check(self) -> None:
        """Raise unless a rung from a file can be read as a curve."""
        require("num_steps", 0 < self.num_steps < 2**31, "from 1 to 2**31 - 1", self.num_steps)
        require_counts(self, "edges", "spent")
        finite = np.isfinite(self.log10_lrs).all() and np.abs(self.log10_lrs).max(initial=0) < 50
        require("log10_lrs", finite, "exponents of learning rates", self.log10_lrs.tolist())
        self.curve._check()

    @functools.cached_property
    def curve(self) -> LossCurve:
        """The rung as the finder's curve; a loss that is not finite counts as divergence at the last step."""
        with np.errstate(over="ignore"):  # numbers of x64, or of a file, may be larger than any float32
            losses = np.where(np.isfinite(self.losses), self.losses, np.inf).astype(np.float32)
            return LossCurve(
                lrs=jnp.asarray(10.0**self.log10_lrs, jnp.float32),
                losses=jnp.asarray(losses[None]),
                initial_loss=jnp.asarray(self.initial_loss, jnp.float32),
                horizons=jnp.asarray([self.num_steps], jnp.int32),
                rounds=jnp.zeros(len(self.log10_lrs), jnp.int32),
                diverged_at=jnp.asarray(np.where(np.isfinite(losses), -1, self.num_steps - 1).astype(np.int32)),
            )

    @functools.cached_property
    def window(self) -> Window:
        """What the finder reads off the curve."""
        return find_window(self.curve)

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
        rise = np.where(np.isfinite(self.losses), self.losses, np.inf) - self.initial_loss[:, None]
        return int(np.argmin(rise.mean(axis=0)))

    def seed(self, index: int) -> "SearchRung":
        """The rung of one seed alone."""
        index = check_index("SearchRung.seed(index)", index, len(self.initial_loss))
        pick = slice(index, index + 1)
        return dataclasses.replace(self, losses=self.losses[pick], initial_loss=self.initial_loss[pick])

    def progress(self, baseline_loss: float | None) -> float | None:
        """By what share the best learning rate lowers the loss.

        Args:
          baseline_loss: loss of the best constant predictor, if known.

        Returns:
          The share of the initial loss, or of the baseline where that is lower; None where it is not positive, since
          there is no scale; nan if everything diverged.
        """
        baseline_loss = check_loss("SearchRung.progress(baseline_loss)", baseline_loss)
        initial = float(np.mean(self.initial_loss))
        reference = initial if baseline_loss is None else min(initial, baseline_loss)
        if reference <= 0:
            return None
        return (reference - (initial - float(self.window.effect))) / reference
