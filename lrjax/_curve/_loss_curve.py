"""The step-sampled curve: loss against learning rate, and what is read off it before any smoothing."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import check_index, check_type
from .._decode import require
from .._lrs import MAX_DECADES, is_lr
from .._repr import line_repr
from .._types import Array, Bool, Float, Int

CEILING = 1.5
"""Where the normalised loss is cut: a diverged lr is bad, how bad does not matter."""

ROUNDING = 4.0
"""Units in the last place of the initial loss: a smaller effect may come from another order of summation."""


class LossCurve(NamedTuple):
    """What every learning rate reached. Arrays of NumPy; a NamedTuple, so that it crosses jit and vmap.

    Attributes:
      lrs: candidates, strictly increasing, linear scale (not log).
      losses: validation loss at each horizon, in the units of `loss_fn`; inf where diverged.
      initial_loss: the loss to measure against: of the untouched parameters, or after the last horizon at
        learning rate 0 for a stateful task.
      horizons: numbers of optimizer updates after which the losses were recorded, increasing.
      rounds: the round in which each learning rate was tried; 0 is the first grid.
      diverged_at: first step with a loss that is not finite; -1 for none.
      metrics: further metrics of `eval_fn`, by name, shaped like losses.
    """

    lrs: Float[np.ndarray, " trials"]
    losses: Float[np.ndarray, "horizons seeds trials"]
    initial_loss: Float[np.ndarray, " seeds"]
    horizons: Int[np.ndarray, " horizons"]
    rounds: Int[np.ndarray, " trials"]
    diverged_at: Int[np.ndarray, "seeds trials"]
    metrics: dict[str, Float[np.ndarray, "horizons seeds trials"]] = {}  # noqa: RUF012

    __repr__ = line_repr

    @property
    def final(self) -> Float[np.ndarray, "seeds trials"] | Float[Array, "seeds trials"]:
        """The losses at the last horizon."""
        return on_host(self.losses)[-1]

    @property
    def log10_lrs(self) -> Float[np.ndarray, " trials"]:
        """x = log10(lr) (concrete values only)."""
        return np.log10(np.asarray(self.lrs))

    @property
    def num_trials(self) -> int:
        """Learning rates on the curve."""
        return self.lrs.shape[0]

    def _check(self) -> None:
        """Raise unless a curve from a file can be read by the rules."""
        lrs = np.asarray(self.lrs, np.float64)
        rises = lrs.size > 0 and (np.diff(lrs.astype(np.float32)) > 0).all() and all(map(is_lr, lrs[[0, -1]]))
        near = rises and np.log10(lrs[-1]) - np.log10(lrs[0]) <= MAX_DECADES
        require("lrs", near, f"learning rates that rise, within {MAX_DECADES} decades", lrs.tolist())
        horizons = np.asarray(self.horizons, np.int64)
        counts = horizons.size > 0 and horizons[0] >= 0 and (np.diff(horizons) > 0).all()
        require("horizons", counts, "numbers of updates that rise", horizons.tolist())
        initial = np.asarray(self.initial_loss, np.float64)
        require("initial_loss", initial.size and (np.abs(initial) < 1e150).all(), "finite losses", initial.tolist())
        for name, least in (("rounds", 0), ("diverged_at", -1)):
            lowest = int(np.min(np.asarray(getattr(self, name))))
            require(name, lowest >= least, f"at least {least}", lowest)

    def at(self, horizon: int) -> "LossCurve":
        """The curve as it was at one horizon (an index into `horizons`), for the drift of the optimum.

        `initial_loss` stays that of the last horizon; for a stateful task `LRResult.drift` uses each
        horizon's own.
        """
        horizon = check_index("LossCurve.at(horizon)", horizon, len(self.horizons))
        pick = slice(horizon, horizon + 1)
        return self._picked(pick, horizons=on_host(self.horizons)[pick])

    def seed(self, index: int) -> "LossCurve":
        """The curve of one seed alone."""
        index = check_index("LossCurve.seed(index)", index, len(self.initial_loss))
        pick = slice(index, index + 1)
        initial_loss, diverged_at = on_host(self.initial_loss)[pick], on_host(self.diverged_at)[pick]
        return self._picked((slice(None), pick), initial_loss=initial_loss, diverged_at=diverged_at)

    def _picked(self, index: Any, **others: Any) -> "LossCurve":
        metrics = {name: on_host(values)[index] for name, values in self.metrics.items()}
        return self._replace(losses=on_host(self.losses)[index], metrics=metrics, **others)

    def merge(self, other: "LossCurve") -> "LossCurve":
        """Both curves' trials in one, sorted; they must be of one experiment."""
        check_type("LossCurve.merge(other)", other, LossCurve, "another lrjax.LossCurve")
        order = np.argsort(np.concatenate([np.asarray(self.lrs), np.asarray(other.lrs)]), kind="stable")

        def join(one: Any, two: Any) -> np.ndarray:
            return np.concatenate([np.asarray(one), np.asarray(two)], axis=-1)[..., order]

        per_trial = ("lrs", "losses", "rounds", "diverged_at")
        joined = {name: join(getattr(self, name), getattr(other, name)) for name in per_trial}
        metrics = {name: join(values, other.metrics[name]) for name, values in self.metrics.items()}
        return self._replace(**joined, metrics=metrics)


def on_host(values: Any) -> Any:
    """The values in NumPy, for which nothing is compiled; a tracer as it is."""
    return values if isinstance(values, Tracer) else np.asarray(values)


def reduce_losses(
    losses: Float[Array, "seeds trials"], initial_loss: Float[Array, " seeds"], counts: Bool[Array, " seeds"]
) -> tuple[Float[Array, " trials"], Float[Array, ""]]:
    """The curve on a scale that knows no units, 1 on the plateau and 0 at the best learning rate, and its effect.

    With d_i the mean over the seeds that count of y[s, i] - y0[s] (inf where any is not finite) and A = -min d,
    z_i = min(1 + d_i / A, 1.5); a constant added to all losses and a factor change nothing. The effect A is <= 0 where
    none learns, beyond rounding, and nan if all diverged.
    """
    rise = jnp.where(counts[:, None], losses - initial_loss.astype(losses.dtype)[:, None], 0.0)
    d = jnp.sum(rise, axis=0) / counts.sum().astype(losses.dtype)
    finite = jnp.isfinite(rise).all(axis=0) & jnp.isfinite(d)
    effect = jnp.where(finite.any(), -jnp.min(jnp.where(finite, d, jnp.inf)), jnp.nan)
    rounding = ROUNDING * jnp.finfo(losses.dtype).eps * jnp.max(jnp.abs(initial_loss)).astype(losses.dtype)
    effect = jnp.where((effect > 0) & (effect <= rounding), 0.0, effect)
    scale = jnp.where(effect > 0, effect, 1.0)
    z = jnp.where(finite, jnp.minimum(1.0 + jnp.where(finite, d, 0.0) / scale, CEILING), CEILING)
    return z, effect
