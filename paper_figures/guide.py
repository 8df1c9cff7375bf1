"""The pictures of docs/how.md, from runs on the handwritten digits.

python -m paper_figures.guide                        # half a minute; writes docs/images/guide_*.png
"""

from pathlib import Path

import jax
import numpy as np
import optax
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lrjax
from lrjax.demos import digits
from paper_figures.style import CHOSEN, GREEN, GREY, INK, SETTINGS, WASH, lr_axis, new_figure

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
KEY = jax.random.key(0)
COLOURS = (INK, CHOSEN, GREEN)
WIDTH, DPI = 7.6, 130
MARKERS = {"midpoint": "o", "half_loss": "s", "steepest": "D"}


def draw_one_run() -> None:
    """Range tests of three lengths beside step sampling on three grids: the same model, the same key."""
    figure, (left, right) = new_figure(WIDTH, 2.9, ncols=2)
    for steps, colour in zip((30, 100, 300), COLOURS, strict=True):
        test = lrjax.range_test(digits(), optax.adam, key=KEY, num_steps=steps)
        left.plot(test.lrs, test.smoothed, color=colour, linewidth=1.1, label=f"{steps} steps")
    grids = ((-7.0, 1.0, 17), (-5.0, 0.0, 11), (-3.25, 0.75, 9))
    for (low, high, count), colour, marker in zip(grids, COLOURS, "oDs", strict=True):
        lrs = 10.0 ** np.linspace(low, high, count)
        curve = sample(lrs)
        label = f"{count} copies, {lrs[0]:.0e} to {lrs[-1]:.0e}"
        right.plot(lrs, curve.final[0], marker, color=colour, markersize=4, markerfacecolor="none", label=label)
    left.set(title="one model, the learning rate rising", ylabel="training loss, smoothed")
    right.set(title="one copy for each learning rate", ylabel="validation loss after 20 updates")
    for ax in (left, right):
        lr_axis(ax, 1e-7, 10.0)
        ax.set_ylim(0.0, 4.5)
        ax.legend(loc="upper left")
    save(figure, "one_run")


def sample(lrs: np.ndarray, horizons: tuple[int, ...] = ()) -> lrjax.LossCurve:
    """Copies that train for 20 updates each."""
    return lrjax.sample_losses(digits(), optax.adam, lrs, key=KEY, executor="vmap", horizons=horizons)


def draw_copies() -> None:
    """What every copy does, step by step, and the curve that their ends make."""
    lrs, horizons = 10.0 ** np.arange(-5.0, 0.6, 0.5), tuple(range(1, 20))
    curve = sample(lrs, horizons)
    figure, (left, right) = new_figure(WIDTH, 2.9, ncols=2, sharey=True)
    losses, initial = np.asarray(curve.losses)[:, 0], float(curve.initial_loss[0])
    colours = colormaps["viridis"](np.linspace(0.0, 0.92, len(lrs)))
    for index, colour in enumerate(colours):
        left.plot([0, *horizons, 20], [initial, *losses[:, index]], color=colour)
        right.plot(lrs[index], losses[-1, index], "o", color=colour, markersize=5)
    right.plot(lrs, losses[-1], color=GREY, linewidth=0.9, zorder=0)
    left.set(title=f"{len(lrs)} copies, from the same parameters", xlabel="update", ylabel="validation loss")
    left.set(xlim=(0, 20), ylim=(0.0, 4.5))
    right.set_title("their ends, in the same colours")
    right.axhline(initial, color=GREY, linewidth=0.8, linestyle=":")
    lr_axis(right, lrs[0], lrs[-1])
    save(figure, "copies")


def draw_reading(result: lrjax.LRResult) -> None:
    """From the losses to the window and the rules, in four pictures."""
    curve, window = result.curve, result.window
    lrs, losses = np.asarray(curve.lrs), np.asarray(curve.final)[0]
    change = losses - float(curve.initial_loss[0])
    normalised = np.minimum(1.0 + change / float(window.effect), 1.5)
    cells = np.isfinite(np.asarray(window.loss))
    x, loss = 10.0 ** np.asarray(window.log10_lr)[cells], np.asarray(window.loss)[cells]
    figure, ((one, two), (three, four)) = new_figure(WIDTH, 5.2, nrows=2, ncols=2)
    one.plot(lrs, change, "o-", color=INK, markersize=3)
    one.axhline(0.0, color=GREY, linewidth=0.8, linestyle=":")
    one.set(title="1. loss less the untouched model's", ylim=(-2.6, 2.6), ylabel="d (nats)")
    two.plot(lrs, normalised, "o", color=INK, markersize=3)
    two.plot(x, loss, color=CHOSEN)
    two.set(title="2. normalised, cut at 1.5, smoothed", ylabel="z")
    three.plot(x, np.asarray(window.curvature)[cells], color=INK)
    three.axvspan(10.0 ** float(lrjax.crossing(window, 0.97)), 10.0 ** float(lrjax.crossing(window, 0.5)), color=WASH)
    three.axhline(0.0, color=GREY, linewidth=0.6)
    three.set(title="3. the curvature; the knee is min_lr", ylabel="curvature")
    four.plot(x, loss, color=INK)
    four.axvspan(float(window.min_lr), float(window.max_lr), color=WASH)
    for name, lr in result.selections.items():
        mark_rule(four, name, lr, float(np.interp(np.log10(lr), np.log10(x), loss)))
    four.set(title="4. the window and the three rules", ylabel="z")
    four.legend(loc="upper left")
    for ax in (two, four):
        ax.set_ylim(-0.1, 1.6)
    for ax in (three, two, one, four):
        lr_axis(ax, 1e-5, 10.0, label=ax in (three, four))
    three.plot(float(window.min_lr), float(np.nanmin(knee_of(window))), "o", color=CHOSEN)
    save(figure, "reading")


def knee_of(window: lrjax.Window) -> np.ndarray:
    """The curvature where the knee is looked for; nan elsewhere."""
    x = np.asarray(window.log10_lr)
    between = (x >= float(lrjax.crossing(window, 0.97))) & (x < float(lrjax.crossing(window, 0.5)))
    return np.where(between, np.asarray(window.curvature), np.nan)


def mark_rule(ax: Axes, name: str, lr: float, height: float) -> None:
    """What a rule picks, on the smoothed curve."""
    chosen = name == "midpoint"
    style = {"color": CHOSEN if chosen else "white", "markeredgecolor": CHOSEN, "markersize": 6}
    ax.plot(lr, height, MARKERS[name], linestyle="none", label=f"{name} {lr:.1e}", **style)


def save(figure: Figure, name: str) -> None:
    figure.savefig(IMAGES / f"guide_{name}.png", dpi=DPI)


def main() -> None:
    with rc_context(SETTINGS):
        draw_one_run()
        draw_copies()
        draw_reading(lrjax.find_lr(digits(), optax.adam, lrjax.StepSampling(num_seeds=1), key=KEY, executor="vmap"))


if __name__ == "__main__":
    main()
