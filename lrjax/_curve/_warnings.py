"""Warnings: what makes a chosen learning rate doubtful, each with a sentence and a remedy."""

import dataclasses
import enum
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_flag, check_loss, check_type, describe, kind_of, show
from .._settings import on_host, without_alarms
from .._types import Array, Float, Scalar
from ._loss_curve import LossCurve, reduce_losses
from ._smooth import run_around
from ._window import Outcome, Window, pad_trials


class WarningName(enum.StrEnum):
    """Every warning that a search can give; the value is its name."""

    nothing_moved = enum.auto()
    no_learning = enum.auto()
    all_diverged = enum.auto()
    no_rung = enum.auto()
    lost = enum.auto()
    not_started = enum.auto()
    slow_start = enum.auto()
    unknown_start = enum.auto()
    tiny_effect = enum.auto()
    small_progress = enum.auto()
    no_plateau = enum.auto()
    edge_low = enum.auto()
    edge_high = enum.auto()
    open_end = enum.auto()
    short_horizon = enum.auto()
    flat_basin = enum.auto()
    narrow_window = enum.auto()
    multi_basin = enum.auto()
    noisy = enum.auto()
    stochastic_eval = enum.auto()
    stale_statistics = enum.auto()


LITTLE_PROGRESS = 0.25
"""Share of the initial loss, or of the best constant predictor's, below which a fall of the loss is small progress."""

_REMEDIES = {
    WarningName.no_learning: "Check that the loss can fall: more steps (num_steps), a larger validation set, labels "
    "that match the inputs; or the model is trained already.",
    WarningName.all_diverged: "Look at the loss and the scale of the inputs; lower min_lr.",
    WarningName.tiny_effect: "Use more steps (num_steps=100), so that the curve shows more than the first moment.",
    WarningName.small_progress: "Use more steps (num_steps=50 to 100); with so little progress the model may have "
    "learned the mean only, and the best lr of a long training lies higher.",
    WarningName.no_plateau: "Lower min_lr: the low end of the window is a guess.",
    WarningName.edge_low: "Lower min_lr: the best lr lies at the lowest one tried.",
    WarningName.edge_high: "Raise max_lr: the loss has not risen again, so max_lr is a lower bound.",
    WarningName.flat_basin: "Any lr of the flat part does; prefer its low end for long trainings.",
    WarningName.narrow_window: "Take care with schedules that go above the chosen lr; consider gradient clipping or "
    "warmup.",
    WarningName.multi_basin: "Look at the picture; more seeds (num_seeds) and validation examples tell a second basin "
    "from noise.",
    WarningName.noisy: "Use more validation examples (256), more seeds (num_seeds=5) or larger batches.",
    WarningName.stochastic_eval: "Give an eval_fn without dropout or sampling.",
    WarningName.stale_statistics: "Evaluate with statistics that fit the model (eval_fn with running statistics "
    "and more steps, or a faster momentum); the curve is measured against the loss at learning rate 0.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LRWarning:
    """One doubt about the result.

    Attributes:
      name: which of the `WarningName`s.
      message: what was seen, in a sentence with the numbers.
      remedy: what to do about it.
    """

    name: WarningName
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message} {self.remedy}"


class CurveMeasures(NamedTuple):
    """The shape of a curve, in numbers: what the warnings are read from.

    Attributes:
      first, last: normalised smoothed loss at both ends.
      at_first_cell: whether the minimum is the first cell.
      flat_decades: width of the part within 5 % of the minimum.
      second_basin: lr of another basin, nan for none.
      noise: robust standard deviation of a seed's losses on the plateau, as a share of the effect.
    """

    first: Scalar
    last: Scalar
    at_first_cell: Scalar
    flat_decades: Scalar
    second_basin: Scalar
    noise: Scalar


@jax.jit
def measure(
    lrs: Float[Array, " trials"],
    losses: Float[Array, "seeds trials"],
    initial_loss: Float[Array, " seeds"],
    window: Window,
) -> CurveMeasures:
    """Measure the shape of a curve at one horizon."""
    x, loss = window.log10_lr, window.loss
    inside = jnp.isfinite(loss)
    last = jnp.max(jnp.where(inside, jnp.arange(x.shape[0]), 0))
    bottom = jnp.argmin(jnp.where(inside, jnp.abs(x - jnp.log10(window.max_lr)), jnp.inf))
    left, right = run_around(bottom, ~inside | (loss > 0.05))
    return CurveMeasures(
        first=loss[0],
        last=loss[last],
        at_first_cell=bottom == 0,
        flat_decades=x[right] - x[left],
        second_basin=_second_basin(x, loss, inside, bottom),
        noise=_plateau_noise(lrs, losses, initial_loss, window.max_lr),
    )


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


def _plateau_noise(lrs: Array, losses: Array, initial_loss: Array, max_lr: Array) -> Array:
    """Spread of each seed's losses about the line through their neighbours, on the plateau left of the minimum."""
    if lrs.shape[0] < 5:
        return jnp.asarray(0.0)
    lrs, initial_loss, max_lr = (values.astype(losses.dtype) for values in (lrs, initial_loss, max_lr))
    x = jnp.log10(lrs)
    z, effect = reduce_losses(losses, initial_loss)
    each = 1.0 + (losses - initial_loss[:, None]) / effect
    gap = x[2:] - x[:-2]  # 0 where padding repeats the last trial: nan, not counted
    share = (x[1:-1] - x[:-2]) / jnp.where(gap > 0, gap, jnp.nan)
    line = (1.0 - share)[None] * each[:, :-2] + share[None] * each[:, 2:]
    residual = (each[:, 1:-1] - line) / jnp.sqrt(1.0 + share**2 + (1.0 - share) ** 2)[None]
    counts = (z[1:-1] > 0.85) & (lrs[1:-1] < max_lr) & jnp.isfinite(residual).all(axis=0)
    spread = 1.4826 * jnp.nanmedian(jnp.where(counts[None], jnp.abs(residual), jnp.nan))
    return jnp.where(counts.sum() >= 3, spread, 0.0)


@on_host
def find_warnings(
    curve: LossCurve,
    window: Window,
    *,
    baseline_loss: float | None = None,
    untouched_loss: np.ndarray | None = None,
    stochastic: bool = False,
) -> tuple[LRWarning, ...]:
    """Every doubt that the curve gives about its window.

    Args:
      curve: the step-sampled curve.
      window: its window.
      baseline_loss: loss of the best constant predictor, if known.
      untouched_loss: for a stateful task, loss of the untouched parameters and state, shape (seeds,).
      stochastic: whether two keys gave different evaluation losses.

    Returns:
      The warnings, the most serious first; after `no_learning` and `all_diverged` no other is given. `nothing_moved`
      is not told from a curve: a search trains once more for it.

    Examples:
      >>> import lrjax
      >>> [name.value for name in lrjax.WarningName][:4]
      ['nothing_moved', 'no_learning', 'all_diverged', 'no_rung']
    """
    check_type("find_warnings(curve)", curve, LossCurve, "a lrjax.LossCurve")
    check_type("find_warnings(window)", window, Window, "a lrjax.Window")
    baseline_loss = check_loss("find_warnings(baseline_loss=...)", baseline_loss)
    stochastic = check_flag("find_warnings(stochastic=...)", stochastic)
    if window.outcome is not Outcome.found:
        name = WarningName[window.outcome.name]
        return (LRWarning(name=name, message=window.outcome.value, remedy=_REMEDIES[name]),)
    seen = _measures_of(curve, window)
    found = _little_progress(curve, window, baseline_loss)
    lowest, highest = float(curve.lrs[0]), float(curve.lrs[-1])
    if not window.narrow:
        if not window.has_plateau or seen.first < 0.95:
            found[WarningName.no_plateau] = (
                f"At the lowest lr, {lowest:.1e}, the loss has already fallen by {1 - seen.first:.0%} of the effect."
            )
        if seen.at_first_cell:
            found[WarningName.edge_low] = f"The lowest lr tried, {lowest:.1e}, is the best."
        if seen.last < 0.25:
            found[WarningName.edge_high] = (
                f"At the highest lr tried, {highest:.1e}, the loss is still within {max(seen.last, 0):.0%} of the "
                "effect of the best."
            )
        if seen.flat_decades > 1.5:
            found[WarningName.flat_basin] = (
                f"The loss is within 5 % of its best over {seen.flat_decades:.1f} decades of lr."
            )
        if np.isfinite(seen.second_basin):
            found[WarningName.multi_basin] = f"The curve has a second basin near lr {seen.second_basin:.1e}."
    if window.narrow or float(window.decades) < 0.5:
        found[WarningName.narrow_window] = (
            f"The window is {float(window.decades):.2f} decades wide: between too slow and unstable there is little "
            "room."
        )
    if seen.noise > 0.05:
        found[WarningName.noisy] = f"On the plateau the losses scatter by {seen.noise:.0%} of the effect."
    if stochastic:
        found[WarningName.stochastic_eval] = (
            "The evaluation loss depends on the random key, so the curve is that of one draw."
        )
    if untouched_loss is not None:
        _check_untouched(untouched_loss, curve)
        before, after = float(np.mean(untouched_loss)), float(np.mean(np.asarray(curve.initial_loss)))
        if abs(after - before) > 0.5 * float(window.effect):
            found[WarningName.stale_statistics] = (
                f"At learning rate 0 the loss moves from {before:.4g} to {after:.4g}: the model state alone moves it."
            )
    return tuple(
        LRWarning(name=name, message=found[name], remedy=_REMEDIES[name]) for name in WarningName if name in found
    )


def _check_untouched(loss: object, curve: LossCurve) -> None:
    if not isinstance(loss, (np.ndarray, jax.Array)) or kind_of(loss) != "f" or loss.shape != curve.initial_loss.shape:
        raise TypeError(
            f"`find_warnings(untouched_loss=...)` must be a loss for each seed, {describe(curve.initial_loss)}, or "
            f"None, got {describe(loss) if isinstance(loss, (np.ndarray, jax.Array)) else show(loss)}."
        )


def _measures_of(curve: LossCurve, window: Window) -> CurveMeasures:
    trials = pad_trials(np.asarray(curve.lrs), np.asarray(curve.losses)[-1])
    return CurveMeasures(*map(float, measure(*trials, curve.initial_loss, window)))


@without_alarms()
def is_lost_in_noise(curve: LossCurve, window: Window) -> bool:
    """Whether the best lr lowers the loss by no more than the best of as many lrs does that learn nothing.

    The scatter on the plateau, s of the effect for one seed, is s / sqrt(seeds) for their mean, and the lowest of K
    normal draws lies sqrt(2 log K) standard deviations down: then another key would put the minimum elsewhere.
    """
    if window.outcome is not Outcome.found:
        return False
    lowest = math.sqrt(2.0 * math.log(curve.num_trials))
    return float(_measures_of(curve, window).noise) * lowest / math.sqrt(curve.losses.shape[1]) > 1.0


def _little_progress(curve: LossCurve, window: Window, baseline_loss: float | None) -> dict[WarningName, str]:
    """How little was learned; only where the loss it is measured against is positive."""
    initial, effect = float(np.mean(np.asarray(curve.initial_loss))), float(window.effect)
    best = initial - effect
    if initial > 0 and effect < 0.02 * initial:
        message = f"The best lr lowers the loss by {effect / initial:.1%} only, from {initial:.4g} to {best:.4g}."
        return {WarningName.tiny_effect: message}
    reference, name = initial, "untouched parameters'"
    if baseline_loss is not None and baseline_loss < initial:
        reference, name = baseline_loss, "best constant predictor's"
    if reference > 0 and reference - best < LITTLE_PROGRESS * reference:
        message = (
            f"The best loss, {best:.4g}, is {(reference - best) / reference:.0%} below the {name} {reference:.4g}."
        )
        return {WarningName.small_progress: message}
    return {}
