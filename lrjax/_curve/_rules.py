"""Rules: functions of (curve, window) that choose one learning rate. A user's own function is a rule too."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import check_count, check_number
from .._types import Scalar
from ._drift import DRIFT
from ._loss_curve import LossCurve
from ._reading import shape_of
from ._window import Window

Rule = Callable[[LossCurve, Window], Any]
"""`rule(curve, window) -> lr`."""


def midpoint(curve: LossCurve, window: Window) -> Scalar:
    """Method 1, the default: the middle of min_lr and max_lr in log10.

    Args:
      curve: the step-sampled curve (not read).
      window: the viable window.

    Returns:
      sqrt(min_lr * max_lr), shape (); nan if nothing was found.

    Source: "Learning rate optimization through step sampling", method 1.

    Examples:
      >>> import jax.numpy as jnp, lrjax
      >>> losses = jnp.array([1.0, 1.0, 0.9, 0.4, 0.0, 1.0])
      >>> curve = lrjax.LossCurve(10.0 ** jnp.arange(-5, 1.0), losses[None, None], jnp.ones(1), jnp.array([20]),
      ...                         jnp.zeros(6, int), -jnp.ones((1, 6), int))
      >>> print(f"{lrjax.midpoint(curve, lrjax.find_window(curve)):.2g}")
      0.0089
    """
    return shape_of("midpoint", window).midpoint


BELOW_MAX = 0.8
"""Decades below max_lr, at most, of the rule of a search that was given none: in a window more than twice as wide the
middle lies too low (docs/choosing.md)."""


def capped_midpoint(curve: LossCurve, window: Window) -> Scalar:
    """The middle of the window in log10, but at most 0.8 decades below max_lr."""
    return max(midpoint(curve, window), window.max_lr * 10.0**-BELOW_MAX)


def half_loss(curve: LossCurve, window: Window) -> Scalar:
    """Method 2: where half of the reduction of the loss is reached, below max_lr.

    Args:
      curve: the step-sampled curve (not read).
      window: the viable window.

    Returns:
      The largest lr below max_lr where the smoothed normalised loss is 0.5, shape (); the lowest lr if it never is.

    Source: "Learning rate optimization through step sampling", method 2.

    Examples:
      >>> import jax.numpy as jnp, lrjax
      >>> losses = jnp.array([1.0, 1.0, 0.9, 0.4, 0.0, 1.0])
      >>> curve = lrjax.LossCurve(10.0 ** jnp.arange(-5, 1.0), losses[None, None], jnp.ones(1), jnp.array([20]),
      ...                         jnp.zeros(6, int), -jnp.ones((1, 6), int))
      >>> print(f"{lrjax.half_loss(curve, lrjax.find_window(curve)):.2g}")
      0.0054
    """
    return shape_of("half_loss", window).half_loss


def steepest(curve: LossCurve, window: Window) -> Scalar:
    """Method 3: where the loss falls fastest per decade of lr, within the window.

    Args:
      curve: the step-sampled curve (not read).
      window: the viable window.

    Returns:
      The cell of the window with the most negative slope, shape ().

    Source: "Learning rate optimization through step sampling", method 3.

    Examples:
      >>> import jax.numpy as jnp, lrjax
      >>> losses = jnp.array([1.0, 1.0, 0.9, 0.4, 0.0, 1.0])
      >>> curve = lrjax.LossCurve(10.0 ** jnp.arange(-5, 1.0), losses[None, None], jnp.ones(1), jnp.array([20]),
      ...                         jnp.zeros(6, int), -jnp.ones((1, 6), int))
      >>> print(f"{lrjax.steepest(curve, lrjax.find_window(curve)):.2g}")
      0.0033
    """
    return shape_of("steepest", window).steepest


def lowest_loss(curve: LossCurve, window: Window) -> Scalar:
    """Wittmann's rule: the trial with the lowest loss, unsmoothed.

    Args:
      curve: the step-sampled curve (not read).
      window: the viable window.

    Returns:
      The tried lr with the lowest mean loss, shape (). On average too high for constant-lr training: at 20 steps it
      lies at the edge of stability.

    Source: Wittmann, LRFinder (github.com/WittmannF/LRFinder), which reads this point off the plot.

    Examples:
      >>> import jax.numpy as jnp, lrjax
      >>> losses = jnp.array([1.0, 1.0, 0.9, 0.4, 0.0, 1.0])
      >>> curve = lrjax.LossCurve(10.0 ** jnp.arange(-5, 1.0), losses[None, None], jnp.ones(1), jnp.array([20]),
      ...                         jnp.zeros(6, int), -jnp.ones((1, 6), int))
      >>> print(f"{lrjax.lowest_loss(curve, lrjax.find_window(curve)):.2g}")
      0.1
    """
    return shape_of("lowest_loss", window).lowest_loss


def lowest_for(train_steps: int) -> Rule:
    """The minimum of the curve, moved down to where a training of this length has it.

    log10 lr = log10 max_lr - 0.4 max(0, log10(train_steps / n)) for a curve after n updates. For curves of 50
    updates and more: after 20 the minimum lies at the edge of stability, and the rule takes rates that are too high.

    Args:
      train_steps: optimizer updates of the training.

    Returns:
      The rule; for a training no longer than the curve's updates it gives max_lr itself.

    Raises:
      TypeError, ValueError: `train_steps` is not a whole number >= 1.

    Source: ours; docs/benchmark.md has its evidence.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> strategy = lrjax.StepSampling(num_steps=100, num_seeds=1, rule=lrjax.lowest_for(1000))
      >>> result = lrjax.find_lr(digits(), optax.adam, strategy, key=jax.random.key(0))
      >>> print(f"{result.lr / result.window.max_lr:.3f}")
      0.398
    """
    steps = check_count("lowest_for(train_steps)", train_steps, unit="optimizer updates")

    def lowest_for(curve: LossCurve, window: Window) -> Any:
        numpy = jnp if isinstance(curve.horizons, Tracer) else np
        longer = numpy.maximum(1.0, steps / curve.horizons[-1].astype(window.max_lr.dtype))
        return window.max_lr * longer**-DRIFT

    lowest_for.__qualname__ = "lowest_for"
    return lowest_for


def crossing(window: Window, level: float) -> Scalar:
    """log10 of the largest lr below max_lr where the normalised smoothed loss is at a level.

    Args:
      window: the viable window.
      level: 1 is the plateau, 0 the minimum; between them.

    Returns:
      The crossing, interpolated between cells, shape (); the lowest cell if there is none.

    Raises:
      ValueError: `level` is not between 0 and 1.

    Examples:
      A rule of one's own, the lr that reaches 95 % of the reduction:

      >>> import lrjax
      >>> def almost_best(curve, window):
      ...     return 10.0 ** lrjax.crossing(window, 0.05)
    """
    between = "between 0 (the minimum) and 1 (the plateau)"
    level = check_number("crossing(level)", level, rule=between, accept=lambda x: 0 < x < 1)
    return shape_of("crossing", window, level).crossing


METHODS: dict[str, Rule] = {"midpoint": midpoint, "half_loss": half_loss, "steepest": steepest}
"""The paper's three, by name."""

REASONS = {
    "midpoint": "the middle of the window, in decades",
    "capped_midpoint": "0.8 decades below the end of the window, whose middle lies too low where it is so wide",
    "half_loss": "half of the reduction of the loss is reached",
    "steepest": "the loss falls fastest here",
    "lowest_loss": "the trial with the lowest loss",
    "smoothed_minimum": "the lowest loss, smoothed",
    "lowest_for": "the lowest loss, moved down to the training's length",
}
"""Rule -> why its learning rate is chosen, in the words of a summary. A rule that is missing is a user's own."""
