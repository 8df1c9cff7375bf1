"""Figure 2: the range test, raw and smoothed, with several keys, and what the peers' rules read off it.

    python -m paper_figures.figure_2                     # seconds; of results only

One model trains while its learning rate rises. Keys differ in the initial parameters and the order of the batches.
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper_figures.results import PlanResults, Results
from paper_figures.script import run
from paper_figures.style import CHOSEN, COLUMN, GREEN, GREY, INK, draw_legend, lr_axis, new_figure, show_lr

KEYS = (
    {"color": INK, "linestyle": "-", "marker": "o"},
    {"color": CHOSEN, "linestyle": (0, (4, 1.2)), "marker": "s"},
    {"color": GREEN, "linestyle": (0, (1, 1)), "marker": "D"},
)


def compute(results: Results) -> dict[str, Any]:
    """What every rule says of every key, and how far that scatters."""
    plan = results.shown(2)
    return {"plan": plan.title, "best_of_grid_lr": plan.best_lr, **spread(plan)}


def spread(plan: PlanResults) -> dict[str, Any]:
    """Of one plan's range tests: the suggestions, and their distances in decades.

    `noise` is the median change of the raw loss from step to step as a share of what the smoothed loss gained, the
    mean over the keys.
    """
    told = [test.suggestions() for test in plan.range_tests]
    rules = sorted({rule for one in told for part in one for rule in part})
    lrs = {rule: [one.get(rule) for one, _ in told] for rule in rules}
    answered = {rule: [lr for lr in values if lr is not None] for rule, values in lrs.items()}
    between_keys = {rule: _decades(values) for rule, values in answered.items() if len(values) > 1}
    noise = []
    for test in plan.range_tests:
        losses, smoothed = test.losses[np.isfinite(test.losses)], test.smoothed[np.isfinite(test.smoothed)]
        gained = smoothed[0] - smoothed.min()
        noise.append(np.median(np.abs(np.diff(losses))) / gained if gained > 0 else np.inf)
    return {
        "keys": len(told),
        "steps_done": [len(test.losses) for test in plan.range_tests],
        "suggestions": lrs,
        "decades_between_keys": between_keys,
        "decades_between_rules": [_decades(list(one.values())) for one, _ in told],
        "noise": float(np.mean(noise)),
    }


def _decades(lrs: list[float]) -> float:
    return float(np.log10(max(lrs) / min(lrs))) if lrs else 0.0


def draw(results: Results) -> Figure:
    """Raw, smoothed, suggestions."""
    plan = results.shown(2)
    tests = plan.range_tests[: len(KEYS)]
    figure, axes = new_figure(COLUMN, 4.7, nrows=3, sharex=True, gridspec_kw={"height_ratios": [1, 1, 1.15]})
    raw, smoothed, below = axes
    for index, test in enumerate(tests):
        style = {name: KEYS[index][name] for name in ("color", "linestyle")} | {"label": f"key {index}"}
        raw.plot(test.lrs, _finite(test.losses), linewidth=0.8, **style)
        smoothed.plot(test.lrs, _finite(test.smoothed), **style)
    reach = np.concatenate([_finite(test.smoothed) for test in tests])
    start = np.mean([test.smoothed[0] for test in tests])
    for ax, histories in ((raw, [test.losses for test in tests]), (smoothed, [reach])):
        values = np.concatenate([_finite(one) for one in histories])
        gained = start - np.nanmin(values)
        ax.set_ylim(np.nanmin(values) - 0.1 * gained, start + max(gained, 0.05 * abs(start)))
        ax.set_ylabel("training loss (nats)")
    rules = list(dict.fromkeys(name for part in plan.range_tests[0].suggestions() for name in part))
    for index, test in enumerate(tests):
        told, _ = test.suggestions()
        rows = [row for row, rule in enumerate(rules) if rule in told]
        style = {"color": KEYS[index]["color"], "marker": KEYS[index]["marker"], "linestyle": "none"}
        filled = {"markerfacecolor": KEYS[index]["color"] if index == 0 else "none"}
        below.plot([told[rules[row]] for row in rows], rows, label=f"key {index}", **style, **filled)
    best = f"best of the grid {show_lr(plan.best_lr)}"
    below.axvline(plan.best_lr, color=GREY, linewidth=1.0, linestyle="--", zorder=0, label=best)
    below.set_yticks(range(len(rules)), rules, fontsize=6.5)
    below.set_ylim(len(rules) - 0.4, -0.6)
    below.grid(axis="y", color="0.93", linewidth=0.6)
    lrs = np.concatenate([test.lrs for test in tests])
    for ax in axes:
        lr_axis(ax, float(lrs.min()), float(max(lrs.max(), plan.best_lr)), label=ax is below)
    below.set_xlabel("learning rate of the step (log scale)")
    titles = "(a) raw", f"(b) smoothed ({plan.range_tests[0].smoothing:g})", "(c) what each rule suggests"
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    figure.align_ylabels([raw, smoothed])
    draw_legend(figure, *below.get_legend_handles_labels(), ncols=len(tests) + 1)
    return figure


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def main(arguments: list[str] | None = None) -> None:
    run("figure_2", __doc__, compute, draw, arguments)


if __name__ == "__main__":
    main()
