"""The step-sampled curve, as figures 3 and 5 to 8 draw it."""

import numpy as np
from matplotlib.axes import Axes

import lrjax
from paper_figures.style import GREY, INK, LOSS_LABEL, WASH, loss_limits, lr_axis, mark_off_scale, show_lr


def mean_losses(curve: lrjax.LossCurve, horizon: int = -1) -> np.ndarray:
    """The mean over the seeds at a horizon, float64."""
    return np.asarray(curve.losses[horizon], np.float64).mean(axis=0)


def initial_loss(curve: lrjax.LossCurve) -> float:
    """Of the untouched parameters, the mean over the seeds."""
    return float(np.mean(np.asarray(curve.initial_loss, np.float64)))


def draw_curve(ax: Axes, result: lrjax.LRResult, *, label: str, label_lrs: bool = True) -> None:
    """The trials of a search, joined, on axes that end half the effect above the untouched loss."""
    curve = result.curve
    lrs, losses, initial = np.asarray(curve.lrs, np.float64), mean_losses(curve), initial_loss(curve)
    loss_limits(ax, initial, float(result.window.effect))
    lr_axis(ax, lrs[0], lrs[-1], label=label_lrs)
    ax.set_ylabel(f"{LOSS_LABEL[:-7]}\nafter {int(curve.horizons[-1])} updates (nats)")
    ax.axhline(initial, color=GREY, linewidth=0.8, linestyle=":", label=f"untouched model {initial:.2f}", zorder=1)
    ax.plot(lrs, np.where(np.isfinite(losses), losses, np.nan), "o-", color=INK, markersize=3.2, label=label, zorder=3)
    mark_off_scale(ax, lrs, losses)


def draw_window(ax: Axes, window: tuple[float, float]) -> None:
    """The window, shaded."""
    ax.axvspan(*window, color=WASH, linewidth=0, zorder=0, label=f"window {show_lr(window[0])} to {show_lr(window[1])}")
