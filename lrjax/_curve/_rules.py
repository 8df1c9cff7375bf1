"""Rules: functions of (curve, window) that choose one learning rate. A user's own function is a rule too."""

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from .._checks import check_count, check_number, check_type
from .._settings import without_alarms
from .._types import Array, Float
from ._drift import DRIFT
from ._loss_curve import LossCurve
from ._smooth import crossing_below
from ._window import Window

Rule = Callable[[LossCurve, Window], Any]
"""`rule(curve, window) -> lr`."""


def of_window(rule: Rule) -> Rule:
    """Make a rule of a formula that reads the window alone: checked, and compiled once, whatever the curve's shape."""
    compiled = jax.jit(functools.partial(rule, cast(LossCurve, None)))  # a curve has another shape after every round

    @functools.wraps(rule)
    @without_alarms()
    def read(curve: LossCurve, window: Window) -> Float[Array, ""]:
        check_window(rule.__name__, window)
        return compiled(window)

    return read


@of_window
def midpoint(curve: LossCurve, window: Window) -> Float[Array, ""]:
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
    return 10.0 ** (0.5 * (jnp.log10(window.min_lr) + jnp.log10(window.max_lr)))


@of_window
def half_loss(curve: LossCurve, window: Window) -> Float[Array, ""]:
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
    return _unless_narrow(window, 10.0 ** _crossing(window, 0.5))


@of_window
def steepest(curve: LossCurve, window: Window) -> Float[Array, ""]:
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
    slack = 1e-4  # for a cell that is the window's own end, after a round trip through 10**x
    low, high = jnp.log10(window.min_lr) - slack, jnp.log10(window.max_lr) + slack
    within = (window.log10_lr >= low) & (window.log10_lr <= high)
    index = jnp.argmin(jnp.where(within & jnp.isfinite(window.slope), window.slope, jnp.inf))
    return _unless_narrow(window, 10.0 ** window.log10_lr[index])


@of_window
def lowest_loss(curve: LossCurve, window: Window) -> Float[Array, ""]:
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
    return jnp.where(window.outcome_index == 0, window.best_lr, jnp.nan)


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

    @without_alarms()
    def lowest_for(curve: LossCurve, window: Window) -> Float[Array, ""]:
        longer = jnp.maximum(1.0, steps / curve.horizons[-1].astype(window.max_lr.dtype))
        return window.max_lr * longer**-DRIFT

    lowest_for.__qualname__ = "lowest_for"
    return lowest_for


@without_alarms()
def crossing(window: Window, level: float) -> Float[Array, ""]:
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
    check_window("crossing", window)
    between = "between 0 (the minimum) and 1 (the plateau)"
    level = check_number("crossing(level)", level, rule=between, accept=lambda x: 0 < x < 1)
    return _crossing(window, level)


def _crossing(window: Window, level: float) -> Float[Array, ""]:
    bottom = jnp.argmin(jnp.abs(window.log10_lr - jnp.log10(window.max_lr)))
    cells, loss = jnp.asarray(window.log10_lr), jnp.asarray(window.loss)  # a file from x64 has them on the host
    return crossing_below(cells, loss, bottom, level)[0]


def check_window(where: str, window: object) -> None:
    """Raise unless a rule was given a window."""
    check_type(f"{where}(window)", window, Window, "a lrjax.Window, as lrjax.find_window returns it")


def _unless_narrow(window: Window, lr: Float[Array, ""]) -> Float[Array, ""]:
    lr = jnp.where(window.narrow, window.best_lr, lr)
    return jnp.where(window.outcome_index == 0, lr, jnp.nan)


METHODS: dict[str, Rule] = {"midpoint": midpoint, "half_loss": half_loss, "steepest": steepest}
"""The paper's three, by name."""

REASONS = {
    "midpoint": "the middle of the window, in decades",
    "half_loss": "half of the reduction of the loss is reached",
    "steepest": "the loss falls fastest here",
    "lowest_loss": "the trial with the lowest loss",
    "smoothed_minimum": "the lowest loss, smoothed",
    "lowest_for": "the lowest loss, moved down to the training's length",
}
"""Rule -> why its learning rate is chosen, in the words of a summary. A rule that is missing is a user's own."""
