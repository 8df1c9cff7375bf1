"""The gallery of all schedules, for the README, and each of them alone, for docs/gallery.md.

    python paper_figures/schedules.py                    # a few seconds

Writes docs/images/schedules.png and docs/images/schedules/. Every panel is one function of lrjax.schedules over 100
steps.
"""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrjax import schedules as s
from lrjax.plots import plot_schedules

OUT = Path(__file__).parents[1] / "docs/images/schedules.png"
SINGLE = OUT.with_suffix("")

COOLDOWNS = ("sqrt", "linear", "cosine", "square", "mirror_cosine", "exponential")

PANELS: dict[str, Any] = {
    "constant": s.constant(0.7),
    "linear_decay": s.linear_decay(1.0, 0.1, 70),
    "polynomial_decay": {f"power {p:g}": s.polynomial_decay(1.0, 0.0, p, 100) for p in (0.5, 2.0)},
    "exponential_decay": {
        "smooth": s.exponential_decay(1.0, 20, 0.5),
        "staircase": s.exponential_decay(1.0, 20, 0.5, staircase=True),
    },
    "inverse_time_decay": s.inverse_time_decay(1.0, 15, 1.0),
    "step_decay": s.step_decay(1.0, factor=0.4, every=30),
    "piecewise_constant": s.piecewise_constant([0.4, 1.0, 0.6, 0.1], [15, 50, 80]),
    "piecewise_interpolate": {
        kind: s.piecewise_interpolate([0.1, 1.0, 0.4, 0.0], [20, 60, 100], kind=kind) for kind in ("linear", "cosine")
    },
    "cosine_decay": s.cosine_decay(1.0, 100),
    "inverse_sqrt_decay": s.inverse_sqrt_decay(1.0, warmup_steps=10, timescale=10),
    "tanh_decay": s.tanh_decay(1.0, 100),
    "k_decay": {f"k = {k:g}": s.k_decay(1.0, 100, k=k) for k in (0.6, 1.0, 2.5)},
    "power_decay": s.power_decay(1.0, batch_size=1, tokens_per_step=2),
    "warmup": {
        shape: s.warmup(s.constant(1.0), 60, init_value=0.02, shape=shape)
        for shape in ("linear", "cosine", "exponential")
    },
    "warmup_cosine": s.warmup_cosine(1.0, warmup_steps=10, total_steps=100),
    "warmup_stable_decay": {
        cooldown: s.warmup_stable_decay(
            1.0, warmup_steps=8, stable_steps=32, decay_steps=60, end_value=0.01, cooldown=cooldown
        )
        for cooldown in COOLDOWNS
    },
    "cosine_restarts": s.cosine_restarts(1.0, 14, cycle_mult=2, peak_decay=0.8),
    "triangular": s.triangular(0.1, 1.0, 15),
    "triangular2": s.triangular2(0.1, 1.0, 15),
    "exp_range": s.exp_range(0.1, 1.0, 15, gamma=0.98),
    "one_cycle": {
        "two phases": s.one_cycle(1.0, total_steps=100),
        "three phases": s.one_cycle(1.0, total_steps=100, three_phase=True, shape="linear", div_factor=8.0),
    },
    "one_cycle_momentum": s.one_cycle_momentum(100),
    "triangular_momentum": s.triangular_momentum(15),
    "cyclic_exponential_decay": s.cyclic_exponential_decay(1.0, decay_rate=0.5, transition_steps=50, cycle_steps=20),
    "range_test_ramp": {mode: s.range_test_ramp(1e-3, 1.0, 101, mode=mode) for mode in ("exponential", "linear")},
    "join": s.join(
        [s.linear_decay(0.0, 1.0, 20), s.step_decay(1.0, factor=0.5, every=20), s.cosine_decay(0.25, 20)], [20, 80]
    ),
    "add": s.add(s.constant(0.1), s.triangular2(0.0, 0.9, 15)),
    "multiply": s.multiply(s.cosine_decay(1.0, 100), s.triangular(0.4, 1.0, 5)),
    "clip": s.clip(s.cosine_decay(1.2, 100), min_value=0.2, max_value=1.0),
    "shift": s.shift(s.cosine_decay(1.0, 60), 30),
    "stretch": s.stretch(s.step_decay(1.0, factor=0.5, every=10), 30, 100),
    "repeat": s.repeat(s.warmup_cosine(1.0, warmup_steps=5, total_steps=25), 25, times=3),
    "extend": {
        name: s.extend(s.warmup_stable_decay(1.0, warmup_steps=5, stable_steps=35, decay_steps=20), more)
        for name, more in (("before", 0), ("extended by 40", 40))
    },
    "cooldown_from": s.cooldown_from(s.inverse_sqrt_decay(1.0, warmup_steps=5, timescale=20), 70, 30),
}


def main() -> None:
    gallery().savefig(OUT)
    SINGLE.mkdir(exist_ok=True)
    for name in PANELS:
        figure = _figure(4.2, 1.9)
        draw(figure.subplots(), name)
        figure.savefig(SINGLE / f"{name}.png")


def gallery(columns: int = 4) -> Figure:
    """All panels, and no others."""
    rows = -(-len(PANELS) // columns)
    figure = _figure(11, 1.45 * rows)
    axes = figure.subplots(rows, columns, sharex=True).flat
    for ax, name in zip(axes, PANELS, strict=False):
        draw(ax, name)
        ax.set_title(name, loc="left", fontsize=9, fontfamily="monospace")
    axes = figure.axes
    for ax in axes[len(PANELS) :]:
        ax.remove()
    for ax in axes[len(PANELS) - columns : len(PANELS)]:  # the last one of its column
        ax.tick_params(labelbottom=True)
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def draw(ax: Axes, name: str) -> None:
    """One panel, without a title."""
    shown = PANELS[name]
    plot_schedules(shown if isinstance(shown, dict) else {name: shown}, 100, ax=ax)
    if isinstance(shown, dict):
        crowded = len(shown) > 3
        place = {"loc": (0.1, 0.02), "fontsize": 5} if crowded else {"fontsize": 6.5}
        ax.legend(**place, framealpha=0.7, edgecolor="none", handlelength=2.0, borderpad=0.2, labelspacing=0.3)
    else:
        ax.get_legend().remove()
    ax.set(xlabel="", ylabel="")
    ax.tick_params(labelsize=7)
    ax.set_ylim(*((0.75, 1.0) if "momentum" in name else (-0.04, 1.08)))


if __name__ == "__main__":
    main()
