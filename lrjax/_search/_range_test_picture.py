"""The picture of a range test: its losses, and what the peers' rules read off them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .._axes import CHOSEN, GREY, INK, axes_for, draw_legend, draw_title, gaps, tidy
from .._types import Float
from ._picture import check_result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">")
"""One for each rule, in the order of `RangeTest.suggestions`; the first is filled."""


def plot_range_test(test: Any, ax: "Axes | None" = None) -> "Axes":
    """Draw the raw and the smoothed loss against learning rate, with the suggestions on the smoothed one.

    Args:
      test: what `lrjax.range_test` returned.
      ax: axes to draw into; None makes a new figure, unknown to pyplot.

    Returns:
      The axes; the lr axis is linear for a linear test.

    Examples:
      >>> import jax, optax, lrjax.plots
      >>> from lrjax.demos import digits
      >>> test = lrjax.range_test(digits(), optax.adam, key=jax.random.key(0))
      >>> axes = lrjax.plots.plot_range_test(test)
      >>> axes.get_xscale()
      'log'
    """
    check_result("plot_range_test", test, "RangeTest")
    ax = axes_for("plot_range_test", ax)
    lrs = np.asarray(test.lrs, np.float64)
    losses, smoothed = (gaps(np.asarray(part, np.float64)) for part in (test.losses, test.smoothed))
    ax.set(xlabel="learning rate of the step", ylabel="training loss", ylim=_limits(losses, smoothed))
    ax.set_xscale("linear" if test.mode == "linear" else "log")
    ax.plot(lrs, losses, color="0.72", linewidth=0.9, label="loss of the step's batch", zorder=2)
    ax.plot(lrs, smoothed, color=INK, linewidth=1.8, label=f"smoothed ({test.smoothing:g})", zorder=3)
    if test.stopped is not None:
        ax.axvline(lrs[-1], color=GREY, linewidth=1.0, linestyle=":", label=f"stopped at {lrs[-1]:.1e}", zorder=1)
    suggestions, _ = test.suggestions()
    known = np.isfinite(smoothed)
    for index, (name, lr) in enumerate(suggestions.items()):
        style = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.1, "s": 46}
        if index == 0:
            style = {"facecolor": CHOSEN, "edgecolor": "none", "s": 80}
        height = np.interp(lr, lrs[known], smoothed[known])
        ax.scatter(lr, height, marker=MARKERS[index % len(MARKERS)], label=f"{name} {lr:.1e}", zorder=4, **style)
    count = f"{len(suggestions)} rules" if suggestions else "no rule finds a learning rate"
    draw_title(ax, f"range test, {len(lrs)} of {test.num_steps} steps", count)
    tidy(ax)
    draw_legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))  # outside: a noisy history leaves no room
    return ax


def _limits(losses: Float[np.ndarray, " steps"], smoothed: Float[np.ndarray, " steps"]) -> tuple[float, float]:
    """The reach of the smoothed loss up to half the reduction above its start, and nearly all of the raw ones."""
    smooth, raw = smoothed[np.isfinite(smoothed)], losses[np.isfinite(losses)]
    if not smooth.size:
        return 0.0, 1.0
    reduction = smooth[0] - smooth.min()
    top = min(smooth.max(), smooth[0] + max(0.5 * reduction, 0.0)) if reduction > 0 else smooth.max()
    low, high = raw.min(), max(top, np.quantile(raw[: len(raw) // 2 + 1], 0.98))
    margin = 0.06 * (high - low) or 0.5
    return float(low - margin), float(high + margin)
