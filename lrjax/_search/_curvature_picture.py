"""The paper's curvature plot: how the low end of the window was found."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .._axes import CHOSEN, GREY, INK, WASH, axes_for, draw_legend, draw_title, plain
from .._curve import Outcome, crossing
from .._types import Float
from ._picture import Pictured, check_result, subtitle_of, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_curvature(result: Pictured, ax: "Axes | None" = None) -> "Axes":
    """Draw the normalised smoothed loss and its curvature against learning rate: how min_lr was found.

    The loss reads 1 on the plateau and 0 at its minimum, max_lr. min_lr is where the curvature is most negative
    between the end of the plateau (0.97) and half of the reduction (0.5), the part shaded here.

    Args:
      result: what `lrjax.find_lr` returned.
      ax: axes to draw into, which get a twin for the curvature; None makes a new figure.

    Returns:
      The axes of the loss.

    Source: "Learning rate optimization through step sampling", the curvature plot.

    Examples:
      >>> import jax, optax, lrjax.plots
      >>> from lrjax.demos import digits
      >>> result = lrjax.find_lr(digits(), optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))
      >>> axes = lrjax.plots.plot_curvature(result)
      >>> axes.get_ylabel()
      'normalised loss'
    """
    check_result("plot_curvature", result)
    ax = axes_for("plot_curvature", ax)
    window, curve = result.window, result.curve
    x, loss, bend = (np.asarray(part, np.float64) for part in (window.log10_lr, window.loss, window.curvature))
    inside = np.isfinite(loss)
    lrs = 10.0 ** x[inside]
    twin = ax.twinx()
    ax.set_zorder(twin.get_zorder() + 1)
    ax.patch.set_visible(False)
    (left,) = ax.plot(
        lrs, loss[inside], color=INK, linewidth=1.8, label=plain(result.in_terms("loss (left axis)")), zorder=3
    )
    (right,) = twin.plot(
        lrs, bend[inside], color=CHOSEN, linewidth=1.4, linestyle=(0, (4, 1.5)), label="curvature (right axis)"
    )
    ax.set(
        xscale="log",
        xlabel="learning rate",
        ylabel=plain(result.in_terms("normalised loss")),
        ylim=(-0.08, min(max(1.5, loss[inside].max()), 3.0) + 0.08),
    )
    ax.set_xlim(float(curve.lrs[0]) / 1.5, float(curve.lrs[-1]) * 1.5)
    twin.set_ylabel("curvature")
    twin.axhline(0.0, color=CHOSEN, linewidth=0.5, alpha=0.6)
    handles = [left, right]
    title = title_of(result)
    if result.outcome is Outcome.found:
        handles += _draw_knee(ax, twin, result, lrs, loss[inside], bend[inside])
        title = plain(result.in_terms(f"min_lr {float(window.min_lr):.2e}, the knee of the loss"), 80)
    draw_title(ax, title, subtitle_of(result))
    for axes, hidden in ((ax, ["top", "right"]), (twin, ["top", "left"])):
        axes.spines[hidden].set_visible(False)
        axes.tick_params(labelsize=9)
    draw_legend(ax, handles=handles)
    return ax


def _draw_knee(
    ax: "Axes",
    twin: "Axes",
    result: Pictured,
    lrs: Float[np.ndarray, " cells"],
    loss: Float[np.ndarray, " cells"],
    bend: Float[np.ndarray, " cells"],
) -> list[Any]:
    """min_lr on both curves, max_lr, and the part in which the knee was looked for."""
    window, curve = result.window, result.curve
    low, high = float(window.min_lr), float(window.max_lr)
    knee = int(np.argmin(np.abs(np.log10(lrs / low))))
    drawn: list[Any] = [ax.axvline(low, color="black", linewidth=1.4, label=f"min_lr {low:.2e}")]
    drawn.append(ax.axvline(high, color=GREY, linewidth=1.2, linestyle="--", label=f"max_lr {high:.2e}"))
    if not window.narrow:
        literal = window.log10_lr.shape == curve.lrs.shape  # which looks for the knee from the lowest lr on
        searched = [lrs[0] if literal else 10.0 ** float(crossing(window, 0.97)), 10.0 ** float(crossing(window, 0.5))]
        label = "where the knee is looked for"
        drawn.append(twin.axvspan(*searched, color=WASH, linewidth=0, zorder=0, label=label))
        ax.plot(lrs[knee], loss[knee], "o", color=INK, markersize=7, zorder=4)
        twin.plot(lrs[knee], bend[knee], "D", color=CHOSEN, markersize=6, zorder=4)
    return drawn
