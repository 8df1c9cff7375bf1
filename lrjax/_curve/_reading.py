"""The one reading of a curve: its window, what the rules choose and what the warnings measure, in two small programs.

All curves of a search share them: trials and seeds are padded to fixed numbers by repeating the last one. A repeated
trial makes a segment of no length, which adds nothing to the smoothed curve; a repeated seed does not count.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import check_flag, check_type
from .._lrs import MAX_DECADES
from .._settings import QUICK, without_alarms
from .._types import Array, Bool, Float, Scalar
from ._loss_curve import LossCurve, reduce_losses
from ._smooth import crossing_below, finite_differences, flat_minimum, run_around, smooth
from ._window import Window

PLATEAU = 0.97
"""Above this the loss has not begun to fall: the knee is looked for below it."""

TRIALS, SEEDS = 64, 4
"""Trials and seeds are padded to multiples of them."""


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
    if any(isinstance(values, Tracer) for values in curve[:3]):
        arguments: Any = (curve.lrs, curve.final, curve.initial_loss, jnp.ones(curve.initial_loss.shape, bool))
        return read_window(*arguments, literal=literal)
    _check_curve(curve)
    return run_on_host(_READ[literal], *_padded(curve, trials=1 if literal else TRIALS))


def noise_of(curve: LossCurve, window: Window) -> float:
    """Robust standard deviation of a seed's losses, as a share of the effect; 0 where there are few.

    They are measured from the line through their neighbours, on the plateau left of the minimum.
    """
    losses = np.asarray(curve.final)
    x = np.log10(curve.lrs).astype(losses.dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # diverged neighbours: inf - inf, or nearly so
        each = 1.0 + (losses - np.asarray(curve.initial_loss, losses.dtype)[:, None]) / window.effect
        share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
        residual = each[:, 1:-1] - (1.0 - share) * each[:, :-2] - share * each[:, 2:]
        residual /= np.sqrt(1.0 + share**2 + (1.0 - share) ** 2)
        plateau = (each[:, 1:-1].mean(axis=0) > 0.85) & (x[1:-1] < np.log10(window.max_lr))
    found = np.abs(residual[:, plateau & np.isfinite(residual).all(axis=0)])
    return 1.4826 * float(np.median(found)) if found.shape[1] >= 3 else 0.0


def _padded(curve: LossCurve, trials: int = TRIALS) -> tuple[np.ndarray, ...]:
    """Learning rates, losses, initial losses, which seeds count: of multiples of `trials` and `SEEDS`."""
    losses = np.asarray(curve.final)
    seeds, more = (0, -losses.shape[0] % SEEDS), (0, -losses.shape[1] % trials)
    lrs, initial_loss = np.pad(curve.lrs, more, mode="edge"), np.pad(curve.initial_loss, seeds, mode="edge")
    return lrs, np.pad(losses, (seeds, more), mode="edge"), initial_loss, np.pad(np.ones(len(losses), bool), seeds)


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


def read_window(
    lrs: Float[Array, " trials"],
    losses: Float[Array, "seeds trials"],
    initial_loss: Float[Array, " seeds"],
    counts: Bool[Array, " seeds"],
    *,
    literal: bool,
) -> Window:
    """The window of the losses at one horizon, nan where nothing was learned; as is what lies outside the range."""
    z, effect = reduce_losses(losses, initial_loss, counts)
    x = jnp.log10(lrs).astype(z.dtype)
    best, narrow = jnp.argmin(z), jnp.asarray(False)
    if literal:  # raw losses up to a constant; diverged trials half the effect above the plateau
        cells, loss, bottom = x, z, best
        slope, second = finite_differences(x, z * jnp.where(effect > 0, effect, 1.0))
        inside = jnp.isfinite(second)
    else:
        cells, value, slope, second, inside = smooth(x, z)
        bottom = flat_minimum(value, inside)
        depth = 1.0 - value[bottom]
        narrow = (depth < 0.1) | ~inside.any()  # no cell between trials closer than a cell
        scale = jnp.where(narrow, 1.0, depth)
        loss, slope, second = (jnp.where(inside, y / scale, jnp.nan) for y in (value - value[bottom], slope, second))
    curvature = second / (1.0 + slope**2) ** 1.5
    half, _ = crossing_below(cells, loss, bottom, 0.5)
    low, has_plateau = crossing_below(cells, loss, bottom, PLATEAU)
    begin = cells[0] if literal else low
    between = (cells >= begin) & (cells < half) & inside & (literal | has_plateau)
    knee = jnp.where(between.any(), cells[jnp.argmin(jnp.where(between, curvature, jnp.inf))], begin)
    knee, top = (jnp.where(narrow, x[best], end) for end in (knee, cells[bottom]))
    outcome = jnp.where(jnp.isnan(effect), 2, jnp.where(effect > 0, 0, 1))
    low, high = (jnp.where(outcome == 0, 10.0**end, jnp.nan) for end in (knee, top))
    lines = cells, loss, slope, curvature
    values: Any = (low, high, *lines, lrs[best].astype(x.dtype), effect, outcome, narrow, has_plateau)
    return Window(*values)


_READ = {literal: functools.partial(read_window, literal=literal) for literal in (False, True)}


class Shape(NamedTuple):
    """What the smoothed curve of a window says: the choices of the rules, and what the warnings measure."""

    midpoint: Scalar  # the learning rate that the rule of this name chooses; of the next three likewise
    half_loss: Scalar
    steepest: Scalar
    lowest_loss: Scalar
    crossing: Scalar  # log10 of the largest lr below max_lr where the loss is at the level asked for
    first: Scalar  # normalised smoothed loss at the low end; `last` at the high one
    last: Scalar
    at_first_cell: Scalar  # whether the minimum is the first cell
    flat_decades: Scalar  # width of the part within 5 % of the minimum
    second_basin: Scalar  # lr of another basin, nan for none


@without_alarms()
def shape_of(where: str, window: Window, level: float = 0.5) -> Shape:
    """The shape of a window's curve, in floats where it is concrete; `where`: the caller's name, for the message."""
    check_type(f"{where}(window)", window, Window, "a lrjax.Window, as lrjax.find_window returns it")
    if any(isinstance(value, Tracer) for value in window):
        return describe(window, level)
    return Shape(*map(float, run_on_host(describe, Window(*map(np.asarray, window)), np.float32(level))))


def describe(window: Window, level: Scalar) -> Shape:
    """The shape of a window's curve, as a program."""
    x, loss, slope = map(jnp.asarray, (window.log10_lr, window.loss, window.slope))
    low, high = jnp.log10(window.min_lr), jnp.log10(window.max_lr)
    inside = jnp.isfinite(loss)
    last = jnp.max(jnp.where(inside, jnp.arange(x.shape[0]), 0))
    bottom = jnp.argmin(jnp.where(inside, jnp.abs(x - high), jnp.inf))
    left, right = run_around(bottom, ~inside | (loss > 0.05))
    slack = 1e-4  # for a cell that is the window's own end, after a round trip through 10**x
    within = (x >= low - slack) & (x <= high + slack) & jnp.isfinite(slope)
    steepest = x[jnp.argmin(jnp.where(within, slope, jnp.inf))]

    def pick(lr: Array, *, of_basin: bool = True) -> Any:
        lr = jnp.where(window.narrow & of_basin, window.best_lr, lr)
        return jnp.where(window.outcome_index == 0, lr, jnp.nan)

    values: Any = (
        pick(10.0 ** (0.5 * (low + high)), of_basin=False),
        pick(10.0 ** crossing_below(x, loss, bottom, 0.5)[0]),
        pick(10.0**steepest),
        pick(jnp.asarray(window.best_lr)),
        crossing_below(x, loss, bottom, level)[0],
        loss[0],
        loss[last],
        bottom == 0,
        x[right] - x[left],
        _second_basin(x, loss, inside, bottom),
    )
    return Shape(*values)


def _second_basin(x: Array, loss: Array, inside: Array, bottom: Array) -> Array:
    """Going away from the minimum: after rising above 0.5 the loss falls again by more than 0.25 to below 0.75."""
    index = jnp.arange(x.shape[0])

    def side(order: Array, on_side: Array) -> Array:
        values = jnp.where(on_side & inside, loss, -jnp.inf)[order]
        so_far = index[None] <= index[:, None]  # lax.cummax takes much longer to compile
        highest = jnp.max(jnp.where(so_far, values[None], -jnp.inf), axis=1)
        falls = (highest > 0.5) & (highest - values > 0.25) & (values < 0.75) & jnp.isfinite(values)
        lowest = jnp.argmin(jnp.where(falls, values, jnp.inf))
        return jnp.where(falls.any(), 10.0 ** x[order][lowest], jnp.nan)

    right = side(index, index >= bottom)
    left = side(index[::-1], index <= bottom)
    return jnp.where(jnp.isnan(left), right, left)


def run_on_host(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of one of the programs above, in NumPy; on the CPU where there is one beside the accelerator."""
    with jax.default_device(_host()):
        return jax.device_get(_jitted(function)(*arguments))


@functools.cache
def _host() -> Any:
    """A device of the host's CPU; None where JAX_PLATFORMS leaves it out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


@functools.cache
def _jitted(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=None if _host() is None else dict(QUICK))
