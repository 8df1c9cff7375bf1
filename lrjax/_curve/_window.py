"""From the curve to the viable window: a Gaussian-smoothed interpolant in closed form, its minimum and its knee."""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from .._checks import MAX_DECADES, check_flag, check_type, is_lr
from .._decode import require
from .._repr import line_repr
from .._settings import without_alarms
from .._types import Array, Bool, Float, Int
from ._loss_curve import LossCurve, check_shapes, reduce_losses

CELL = 0.025
"""Decades between two cells of the smoothed curve, which are the integer multiples of it."""

SIGMA = 0.15
"""Standard deviation of the Gaussian, in decades."""

SPAN = MAX_DECADES
"""Decades that a curve may cover."""

FLAT = 1e-4
"""Cells this close to the minimum count as one flat bottom."""

PLATEAU = 0.97
"""Above this the loss has not begun to fall: the knee is looked for below it."""

_CELLS = int(SPAN / CELL) + 1
_PAD = 32


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
        return (literal_window if literal else smooth_window)(curve.lrs, curve.final, curve.initial_loss)
    _check_curve(curve)
    lrs, losses = np.asarray(curve.lrs), np.asarray(curve.losses)[-1]
    if literal:
        return _literal_window(lrs, losses, curve.initial_loss)
    lrs, losses = pad_trials(lrs, losses)
    return _window_of(lrs, *_reduce(losses, curve.initial_loss))


def _check_curve(curve: LossCurve) -> None:
    """Raise unless the values of a concrete curve fit together."""
    check_shapes("find_window(curve)", curve)
    lrs = np.asarray(curve.lrs, np.float64)
    if not ((lrs[:-1] < lrs[1:]).all() and lrs[0] > 0 and np.isfinite(lrs[-1])):
        raise ValueError(
            f"`find_window(curve)` needs learning rates > 0 that rise, got {lrs.tolist()}. "
            "Sort them, with their losses, and remove duplicates."
        )
    if np.log10(lrs[-1]) - np.log10(lrs[0]) > SPAN:
        raise ValueError(
            f"`find_window(curve)` takes learning rates within {SPAN} decades, got {lrs[0]:g} to {lrs[-1]:g}. "
            "Leave the extreme ones out."
        )
    if not np.isfinite(np.asarray(curve.initial_loss)).all():
        raise ValueError(
            f"`find_window(curve)` needs finite initial losses, got {np.asarray(curve.initial_loss).tolist()}. "
            "The losses are measured against them: look for nan in the data or the initial parameters."
        )


class Smooth(NamedTuple):
    """A smoothed curve and its derivatives on the cells."""

    log10_lr: Float[Array, " cells"]
    z: Float[Array, " cells"]
    slope: Float[Array, " cells"]
    second: Float[Array, " cells"]
    inside: Bool[Array, " cells"]


def smooth(x: Float[Array, " trials"], z: Float[Array, " trials"]) -> Smooth:
    """Convolve the linear interpolant of (x, z), constant beyond both ends, with a Gaussian.

    The integral over each segment is exact, and written so that far segments vanish term by term (no
    cancellation between large terms, so float32 is enough).

    Args:
      x: log10 lr, increasing; repeated last points are allowed.
      z: values there.

    Returns:
      Values and the first two derivatives on the multiples of 0.025 in [x_1, x_K]; `inside` marks them.
    """
    first = jnp.ceil(x[0] / CELL - 1e-3)
    last = jnp.floor(x[-1] / CELL + 1e-3)
    index = first + jnp.arange(_CELLS, dtype=x.dtype)
    cells = index * CELL
    width = x[1:] - x[:-1]
    slopes = jnp.where(width > 0, (z[1:] - z[:-1]) / jnp.where(width > 0, width, 1.0), 0.0)
    u = (cells[:, None] - x[None]) / SIGMA
    below = 0.5 * (1.0 + lax.erf(u * 0.5**0.5))
    density = jnp.exp(-0.5 * u**2) * (2 * np.pi) ** -0.5
    mass = below[:, :-1] - below[:, 1:]
    edge = density[:, :-1] - density[:, 1:]
    lines = z[None, :-1] + slopes[None] * (cells[:, None] - x[None, :-1])
    parts = lines * mass + slopes[None] * SIGMA * edge
    value = z[0] * (1.0 - below[:, 0]) + jnp.sum(parts, axis=1) + z[-1] * below[:, -1]
    return Smooth(cells, value, mass @ slopes, edge @ slopes / SIGMA, index <= last)


def smooth_window(
    lrs: Float[Array, " trials"], losses: Float[Array, "seeds trials"], initial_loss: Float[Array, " seeds"]
) -> Window:
    """The window by the smoothed curve."""
    return window_of(lrs, *reduce_losses(losses, initial_loss))


def window_of(lrs: Float[Array, " trials"], z: Float[Array, " trials"], effect: Float[Array, ""]) -> Window:
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
    return _make_window(
        jnp.where(narrow, x[best], knee),
        jnp.where(narrow, x[best], top),
        curve.log10_lr,
        *(jnp.where(curve.inside, values, jnp.nan) for values in (loss, slope, curvature)),
        best_lr=lrs[best].astype(x.dtype),
        effect=effect,
        narrow=narrow,
        has_plateau=has_plateau,
    )


def literal_window(
    lrs: Float[Array, " trials"], losses: Float[Array, "seeds trials"], initial_loss: Float[Array, " seeds"]
) -> Window:
    """The window by the paper's own text, on the trials: raw losses, finite differences, footnote 1."""
    z, effect = reduce_losses(losses, initial_loss)
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
    return _make_window(
        knee,
        x[best],
        x,
        z,
        slope,
        curvature,
        best_lr=lrs[best].astype(x.dtype),
        effect=effect,
        narrow=jnp.asarray(False),
        has_plateau=has_plateau,
    )


_reduce = jax.jit(reduce_losses)
_window_of = jax.jit(window_of)
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
    log10_lr: Array,
    loss: Array,
    slope: Array,
    curvature: Array,
    *,
    effect: Array,
    **rest,
) -> Window:
    """Points of interest are nan where nothing was learned."""
    outcome = jnp.where(jnp.isnan(effect), 2, jnp.where(effect > 0, 0, 1))
    found = outcome == 0
    return Window(
        min_lr=jnp.where(found, 10.0**knee, jnp.nan),
        max_lr=jnp.where(found, 10.0**top, jnp.nan),
        log10_lr=log10_lr,
        loss=loss,
        slope=slope,
        curvature=curvature,
        effect=effect,
        outcome_index=outcome,
        **rest,
    )


def flat_minimum(z: Float[Array, " cells"], inside: Bool[Array, " cells"]) -> Int[Array, ""]:
    """The middle of the run of cells around the first minimum that lie within 1e-4 of it."""
    values = jnp.where(inside, z, jnp.inf)
    index = jnp.arange(z.shape[0])
    first = jnp.argmin(values)
    outside = values > values[first] + FLAT
    left = jnp.max(jnp.where(outside & (index < first), index, -1)) + 1
    right = jnp.min(jnp.where(outside & (index > first), index, z.shape[0])) - 1
    return (left + right) // 2


def crossing_below(
    x: Float[Array, " cells"], loss: Float[Array, " cells"], bottom: Int[Array, ""], level: float
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The largest x left of the bottom where the loss rises through a level (going left), interpolated.

    Args:
      x: cells, increasing.
      loss: values on them.
      bottom: index of the minimum.
      level: the level, above loss[bottom].

    Returns:
      The crossing (x[0] if there is none), and whether there is one.
    """
    if x.shape[0] < 2:
        return x[0], jnp.asarray(False)
    rises = (loss[:-1] >= level) & (loss[1:] < level) & (jnp.arange(x.shape[0] - 1) < bottom)
    index = jnp.max(jnp.where(rises, jnp.arange(x.shape[0] - 1), -1))
    crossed, index = index >= 0, jnp.maximum(index, 0)
    above, below = loss[index], loss[index + 1]
    share = jnp.where(crossed, (above - level) / jnp.where(above > below, above - below, 1.0), 0.0)
    return jnp.where(crossed, x[index] + share * (x[index + 1] - x[index]), x[0]), crossed


def finite_differences(
    x: Float[Array, " trials"], y: Float[Array, " trials"]
) -> tuple[Float[Array, " trials"], Float[Array, " trials"]]:
    """First and second derivative by three-point formulas on uneven points; nan second derivative at the ends."""
    if x.shape[0] < 3:
        slope = jnp.full(x.shape, (y[-1] - y[0]) / (x[-1] - x[0])) if x.shape[0] == 2 else jnp.zeros(x.shape)
        return slope, jnp.full(x.shape, jnp.nan)
    step = x[1:] - x[:-1]
    chord = (y[1:] - y[:-1]) / step
    before, after = step[:-1], step[1:]
    inner = (after * chord[:-1] + before * chord[1:]) / (before + after)
    second = 2.0 * (chord[1:] - chord[:-1]) / (before + after)
    nan = jnp.full((1,), jnp.nan)
    return jnp.concatenate([chord[:1], inner, chord[-1:]]), jnp.concatenate([nan, second, nan])
