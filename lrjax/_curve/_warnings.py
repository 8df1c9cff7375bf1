"""Warnings: what makes a chosen learning rate doubtful, each with a sentence and a remedy."""

import math

import jax
import numpy as np

from .._checks import check_flag, check_loss, check_number, check_type, describe, kind_of, show
from .._settings import on_host
from ._loss_curve import LossCurve
from ._lr_warning import AT_LENGTH, REMEDIES, LRWarning, WarningName
from ._reading import noise_of, shape_of
from ._window import Outcome, Window

LITTLE_PROGRESS = 0.25
"""Share of the initial loss, or of the best constant predictor's, below which a fall of the loss is small progress."""


@on_host
def find_warnings(
    curve: LossCurve,
    window: Window,
    *,
    baseline_loss: float | None = None,
    untouched_loss: np.ndarray | None = None,
    stochastic: bool = False,
    longest: float = math.inf,
) -> tuple[LRWarning, ...]:
    """Every doubt that the curve gives about its window.

    Args:
      curve: the step-sampled curve.
      window: its window.
      baseline_loss: loss of the best constant predictor, if known.
      untouched_loss: for a stateful task, loss of the untouched parameters and state, shape (seeds,).
      stochastic: whether two keys gave different evaluation losses.
      longest: updates that a trial can take, at most: those of the training, or those that there are batches for.

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
    longest = check_number("find_warnings(longest=...)", longest, rule="updates, > 0", accept=lambda count: count > 0)
    steps = int(curve.horizons[-1])
    remedies = REMEDIES | AT_LENGTH if steps >= longest else REMEDIES
    if window.outcome is not Outcome.found:
        name = WarningName[window.outcome.name]
        return (LRWarning(name=name, message=window.outcome.value, remedy=remedies[name]),)
    seen, noise = shape_of("find_warnings", window), noise_of(curve, window)
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
    if noise > 0.05:
        found[WarningName.noisy] = f"On the plateau the losses scatter by {noise:.0%} of the effect."
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
    least, most = (f"{min(times * steps, longest):.0f}" for times in (2.5, 5))
    more = {"more": most if least == most else f"{least} to {most}", "most": most}
    return tuple(
        LRWarning(name=name, message=found[name], remedy=remedies[name].format(**more))
        for name in WarningName
        if name in found
    )


def _check_untouched(loss: object, curve: LossCurve) -> None:
    if not isinstance(loss, (np.ndarray, jax.Array)) or kind_of(loss) != "f" or loss.shape != curve.initial_loss.shape:
        raise TypeError(
            f"`find_warnings(untouched_loss=...)` must be a loss for each seed, {describe(curve.initial_loss)}, or "
            f"None, got {describe(loss) if isinstance(loss, (np.ndarray, jax.Array)) else show(loss)}."
        )


def is_lost_in_noise(curve: LossCurve, window: Window) -> bool:
    """Whether the best lr lowers the loss by no more than the best of as many lrs does that learn nothing.

    The scatter on the plateau, s of the effect for one seed, is s / sqrt(seeds) for their mean, and the lowest of K
    normal draws lies sqrt(2 log K) standard deviations down: then another key would put the minimum elsewhere.
    """
    if window.outcome is not Outcome.found:
        return False
    lowest = math.sqrt(2.0 * math.log(curve.num_trials))
    return noise_of(curve, window) * lowest / math.sqrt(curve.losses.shape[1]) > 1.0


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
        side = "below" if best <= reference else "above"
        message = (
            f"The best loss, {best:.4g}, is {abs(reference - best) / reference:.0%} {side} the {name} {reference:.4g}."
        )
        return {WarningName.small_progress: message}
    return {}
