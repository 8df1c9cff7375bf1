"""From the curve to the viable window: the minimum of the smoothed curve, and its knee."""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import check_flag, check_type
from .._decode import require
from .._lrs import MAX_DECADES, is_lr
from .._repr import line_repr
from .._settings import without_alarms
from .._types import Array, Bool, Float, Int
from ._loss_curve import LossCurve, reduce_losses
from ._smooth import crossing_below, finite_differences, flat_minimum, smooth

PLATEAU = 0.97
"""Above this the loss has not begun to fall: the knee is looked for below it."""

_PAD = 32
"""Trials are padded to a multiple of it, so that all rounds share one program."""


class Outcome(enum.Enum):
    """How a search ended; the value is the sentence."""

    found = "A learning rate was found."
    no_learning = "No learning rate lowered the validation loss below that of the untouched parameters."
    all_diverged = "Every learning rate diverged."
    nothing_to_gain = "No learning rate lowers the validation loss enough to be worth a change."
    nothing_moved = "No learning rate moved the validation loss."
    lost_in_noise = "The best learning rate lowers the validation loss by no more than the losses scatter."


_OUTCOMES = tuple(Outcome)


class Window(NamedTuple):
    """The viable range of learning rates and the smoothed curve it was read from.

    Attributes:
      min_lr: the knee, where the loss begins to fall. nan unless an lr was found.
      max_lr: the minimum of the smoothed curve.
      log10_lr: the cells, integer multiples of 0.025 decade (the trials themselves for the literal estimator).
      loss: normalised smoothed loss: 1 on the plateau, 0 at max_lr. nan beyond the highest trial.
      slope: its derivative, per decade.
      curvature: curvature of its graph, per decade.
      best_lr: the trial with the lowest loss.
      effect: by how much the best trial lowers the loss, in its units.
      outcome_index: position in `Outcome`, an integer so that it crosses jit.
      narrow: the smoothed curve has no basin of its own: min_lr = max_lr = best_lr.
      has_plateau: the curve reaches 0.97 on the low side.
    """

    min_lr: Float[Array, ""]
    max_lr: Float[Array, ""]
    log10_lr: Float[Array, " cells"]
    loss: Float[Array, " cells"]
    slope: Float[Array, " cells"]
    curvature: Float[Array, " cells"]
    best_lr: Float[Array, ""]
    effect: Float[Array, ""]
    outcome_index: Int[Array, ""]
    narrow: Bool[Array, ""]
    has_plateau: Bool[Array, ""]

    __repr__ = line_repr

    @property
    @without_alarms()
    def outcome(self) -> Outcome:
        """How the search ended (concrete values only)."""
        return _OUTCOMES[int(self.outcome_index)]

    def _check(self) -> None:
        """Raise unless a window from a file can be shown."""
        index, effect = int(self.outcome_index), float(self.effect)
        require("outcome_index", 0 <= index < 3, "0, 1 or 2", index)
        cells, loss = np.asarray(self.log10_lr, np.float64), np.asarray(self.loss, np.float64)
        rise = cells.size > 0 and np.isfinite(cells).all() and (np.diff(cells) > 0).all()
        require("log10_lr", rise, "finite exponents that rise", cells.tolist())
        last = int(np.isfinite(loss).sum())
        require("loss", last and np.isfinite(loss[:last]).all(), "finite up to the highest trial", loss.tolist())
        if self.outcome is not Outcome.found:
            require("effect", not effect > 0, "nan or at most 0 where nothing was found", effect)
            return
        for name in ("min_lr", "max_lr", "best_lr"):
            lr = float(getattr(self, name))
            require(name, is_lr(lr), "a learning rate", lr)
        require("min_lr", self.min_lr <= self.max_lr, f"at most max_lr, {float(self.max_lr):g}", float(self.min_lr))
        require("effect", 0 < effect < 1e150, "finite and above 0 where a learning rate was found", effect)

    @property
    @without_alarms()
    def decades(self) -> Float[Array, ""]:
        """The width of the window, in decades."""
        return jnp.log10(self.max_lr) - jnp.log10(self.min_lr)


@without_alarms()
def find_window(curve: LossCurve, *, literal: bool = False) -> Window:
    """The viable window of learning rates, (min_lr, max_lr).

    The points (log10 lr, z), z = 1 + d/A cut at 1.5, are joined by lines, held constant beyond both ends and
    convolved with a Gaussian of 0.15 decades. max_lr is the minimum; min_lr is where the curvature
    Z'' / (1 + Z'^2)^1.5 is most negative between the end of the plateau (0.97) and half of the reduction (0.5).

    Args:
      curve: losses of at least one learning rate; the last horizon is read, the mean over its seeds.
      literal: the paper's own text instead: finite differences of the raw losses at the trials, no smoothing and
        no restriction to the end of the plateau. Depends on the loss's units and on the grid.

    Returns:
      The window; its cells go 20 decades up from the lowest lr, and values beyond the highest lr are nan.
      Jittable and vmappable.

    Raises:
      ValueError: the learning rates do not rise or cover more than 20 decades, the losses do not fit them, or an
        initial loss is not finite.

    Source: "Learning rate optimization through step sampling", equation 1 and footnote 1; the restriction and the
    smoothing are ours (measured: with 10 % noise the spread of min_lr falls from 1.49 to 0.25 decades).

    Examples:
      >>> import jax.numpy as jnp, lrjax
      >>> lrs = 10.0 ** jnp.arange(-5, 1.0)
      >>> losses = jnp.array([1.0, 1.0, 0.9, 0.4, 0.0, 1.0])
      >>> curve = lrjax.LossCurve(lrs, losses[None, None], jnp.ones(1), jnp.array([20]),
      ...                         jnp.zeros(6, int), -jnp.ones((1, 6), int))
      >>> window = lrjax.find_window(curve)
      >>> f"{window.min_lr:.1e} {window.max_lr:.1e}"
      '9.4e-04 8.4e-02'
    """
    check_type("find_window(curve)", curve, LossCurve, "a lrjax.LossCurve, as lrjax.sample_losses returns it")
    literal = check_flag("find_window(literal=...)", literal)
    if isinstance(curve.lrs, Tracer) or isinstance(curve.losses, Tracer):
        read = literal_window if literal else smooth_window
        return read(curve.lrs, *reduce_losses(curve.final, curve.initial_loss))
    _check_curve(curve)
    lrs, losses = np.asarray(curve.lrs), np.asarray(curve.losses)[-1]
    if literal:
        return _literal_window(lrs, *_reduce(losses, curve.initial_loss))
    lrs, losses = pad_trials(lrs, losses)
    return _smooth_window(lrs, *_reduce(losses, curve.initial_loss))


def _check_curve(curve: LossCurve) -> None:
    """Raise unless the values of a concrete curve fit together."""
    sizes = [np.shape(values) for values in (curve.horizons, curve.initial_loss, curve.lrs)]
    horizons, seeds, trials = sizes
    tables = [("losses", curve.losses, horizons + seeds + trials), ("rounds", curve.rounds, trials)]
    tables += [("diverged_at", curve.diverged_at, seeds + trials)]
    tables += [(f"metrics[{name!r}]", values, tables[0][2]) for name, values in curve.metrics.items()]
    wrong = [table for table in tables if np.shape(table[1]) != table[2]]
    if wrong or any(len(size) != 1 or 0 in size for size in sizes):
        name, values, wanted = [*wrong, tables[0]][0]
        raise ValueError(
            f"`find_window(curve)` needs {name} of shape {wanted} for horizons {horizons}, initial_loss {seeds} and "
            f"lrs {trials}, got {np.shape(values)}. Take the curve of `sample_losses` as it is."
        )
    lrs = np.asarray(curve.lrs, np.float64)
    if not ((lrs[:-1] < lrs[1:]).all() and lrs[0] > 0 and np.isfinite(lrs[-1])):
        raise ValueError(
            f"`find_window(curve)` needs learning rates > 0 that rise, got {lrs.tolist()}. "
            "Sort them, with their losses, and remove duplicates."
        )
    if np.log10(lrs[-1]) - np.log10(lrs[0]) > MAX_DECADES:
        raise ValueError(
            f"`find_window(curve)` takes learning rates within {MAX_DECADES} decades, got {lrs[0]:g} to {lrs[-1]:g}. "
            "Leave the extreme ones out."
        )
    if not np.isfinite(np.asarray(curve.initial_loss)).all():
        raise ValueError(
            f"`find_window(curve)` needs finite initial losses, got {np.asarray(curve.initial_loss).tolist()}. "
            "The losses are measured against them: look for nan in the data or the initial parameters."
        )


def smooth_window(lrs: Float[Array, " trials"], z: Float[Array, " trials"], effect: Float[Array, ""]) -> Window:
    """The window of a reduced curve; values of cells outside the range are nan."""
    x = jnp.log10(lrs).astype(z.dtype)
    curve = smooth(x, z)
    best = jnp.argmin(z)
    bottom = flat_minimum(curve.z, curve.inside)
    depth = 1.0 - curve.z[bottom]
    narrow = (depth < 0.1) | ~curve.inside.any()  # no cell between trials closer than a cell
    scale = jnp.where(narrow, 1.0, depth)
    loss, slope = (curve.z - curve.z[bottom]) / scale, curve.slope / scale
    curvature = curve.second / scale / (1.0 + slope**2) ** 1.5
    half, _ = crossing_below(curve.log10_lr, loss, bottom, 0.5)
    low, has_plateau = crossing_below(curve.log10_lr, loss, bottom, PLATEAU)
    between = (curve.log10_lr >= low) & (curve.log10_lr < half) & curve.inside
    knee = curve.log10_lr[jnp.argmin(jnp.where(between, curvature, jnp.inf))]
    knee = jnp.where(between.any(), knee, low)
    knee = jnp.where(has_plateau, knee, curve.log10_lr[0])
    top = curve.log10_lr[bottom]
    loss, slope, curvature = (jnp.where(curve.inside, values, jnp.nan) for values in (loss, slope, curvature))
    lines = curve.log10_lr, loss, slope, curvature
    knee, top = jnp.where(narrow, x[best], knee), jnp.where(narrow, x[best], top)
    return _make_window(knee, top, lines, lrs[best].astype(x.dtype), effect, narrow, has_plateau)


def literal_window(lrs: Float[Array, " trials"], z: Float[Array, " trials"], effect: Float[Array, ""]) -> Window:
    """The window by the paper's own text, on the trials: raw losses, finite differences, footnote 1."""
    x = jnp.log10(lrs).astype(z.dtype)
    best = jnp.argmin(z)
    scale = jnp.where(effect > 0, effect, 1.0)
    loss = z * scale  # in the loss's units, up to a constant; diverged trials half the effect above the plateau
    slope, second = finite_differences(x, loss)
    curvature = second / (1.0 + slope**2) ** 1.5
    half, _ = crossing_below(x, z, best, 0.5)
    left = (x < half) & jnp.isfinite(curvature)
    knee = jnp.where(left.any(), x[jnp.argmin(jnp.where(left, curvature, jnp.inf))], x[0])
    _, has_plateau = crossing_below(x, z, best, PLATEAU)
    best_lr, narrow = lrs[best].astype(x.dtype), jnp.asarray(False)
    return _make_window(knee, x[best], (x, z, slope, curvature), best_lr, effect, narrow, has_plateau)


_reduce = jax.jit(reduce_losses)
_smooth_window = jax.jit(smooth_window)
_literal_window = jax.jit(literal_window)


def pad_trials(
    lrs: Float[np.ndarray, " trials"], losses: Float[np.ndarray, "seeds trials"]
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat the last trial up to a multiple of 32, so that all rounds share one executable.

    A repeated point makes a segment of no length, which adds nothing to the smoothed curve.
    """
    padding = (0, -len(lrs) % _PAD)
    return np.pad(lrs, padding, mode="edge"), np.pad(losses, [(0, 0), padding], mode="edge")


def _make_window(
    knee: Array,
    top: Array,
    lines: tuple[Array, Array, Array, Array],
    best_lr: Array,
    effect: Array,
    narrow: Array,
    has_plateau: Array,
) -> Window:
    """Points of interest are nan where nothing was learned; `lines`: exponents, loss, slope, curvature of the cells."""
    outcome = jnp.where(jnp.isnan(effect), 2, jnp.where(effect > 0, 0, 1))
    low, high = (jnp.where(outcome == 0, 10.0**end, jnp.nan) for end in (knee, top))
    return Window(low, high, *lines, best_lr, effect, outcome, narrow, has_plateau)
