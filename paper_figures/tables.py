"""The tables of docs/paper.md: the paper's claims, in numbers of what was measured."""

from collections.abc import Iterable
from itertools import groupby

import numpy as np

from experiments.blocks import markdown_table
from paper_figures.figure_2 import spread
from paper_figures.figure_8 import adaptive_numbers
from paper_figures.results import METHODS, NEAR_BEST, SEARCHES, Pick, PlanResults

ORDERS = {"midpoint": "1", "half_loss": "2", "steepest": "3"}
PAPERS_ORDER = ">".join(ORDERS.values())
SHORT = {"finder_paper": "paper", "finder_default": "ours"}


def picks_table(plans: list[PlanResults]) -> str:
    """Where the best learning rate lies in the window, what the three methods lose, and the order that follows."""
    rows, orders, inside, near = [], [], [], []
    for plan in plans:
        best = [plan.title, f"{_lr(plan.best_lr)}: {_best(plan):.1f} %"]
        for search, title in SHORT.items():
            window, picks = plan.window_of(search), plan.picks_of(search)
            if window is None:
                rows.append([*best, title, "nothing found", *["-"] * 4])
            else:
                place = place_in(window, plan.best_lr)
                inside.append(-0.01 <= place <= 1.01)
                near.append("midpoint" in picks and picks["midpoint"].regret.mean() <= NEAR_BEST)
                orders.append(order_of(picks))
                cells = [f"{_lr(window[0])} to {_lr(window[1])}", f"{place:.2f}"]
                rows.append([*best, title, *cells, *(_regret(picks.get(name)) for name in METHODS)])
            best = ["", ""]
    heads = ["", "best of the grid", "search", "window", "its place", "1, midpoint", "2, half loss", "3, steepest"]
    first = [sum(order.startswith(number) for order in orders) for number in ORDERS.values()]
    summary = (
        f"The best of the grid lies within the window in {sum(inside)} of {len(inside)} searches; the midpoint comes "
        f"within {NEAR_BEST:g} point of it in {sum(near)}. Method 1 comes first in {first[0]}, 2 in {first[1]}, 3 in "
        f"{first[2]}, and the paper's order came out in {orders.count(PAPERS_ORDER)}."
    )
    return f"{markdown_table(heads, rows)}\n\n{summary}"


def order_of(picks: dict[str, Pick]) -> str:
    """Such as "1>3=2": the methods by their mean regret, to a tenth of a point; empty without picks."""
    if not set(METHODS) <= set(picks):
        return ""
    regrets = sorted((round(float(picks[name].regret.mean()), 1), ORDERS[name]) for name in METHODS)
    return ">".join("=".join(name for _, name in same) for _, same in groupby(regrets, key=lambda one: one[0]))


def place_in(window: tuple[float, float], lr: float) -> float:
    """0 at its low end, 1 at its high end, in decades; a window without width has its learning rate at 0.5."""
    low, high, x = np.log10([*window, lr])
    if high - low < 0.01:
        return 0.5 if abs(x - low) < 0.01 else float(np.sign(x - low) * np.inf)
    return float((x - low) / (high - low))


def cost_table(plans: list[PlanResults]) -> str:
    """Trial-steps of the searches and of the grid search."""
    rows = []
    for plan in plans:
        rows.append([plan.title, f"{plan.grid.steps[-1]:,}", f"{plan.grid.trial_steps:,}"])
        costs = [plan.costs[search] for search in SEARCHES]
        rows[-1] += [f"{cost['trial_steps']:,} ({100 * cost['share_of_grid_trial_steps']:.1f} %)" for cost in costs]
        rows[-1] += [" or ".join(f"{cost['num_steps_for_one_percent']:,}" for cost in costs)]
    heads = ["", "T", "grid search", "the paper's search", "ours", "under 1 % from T ="]
    return markdown_table(heads, rows)


def adaptive_line(plans: list[PlanResults]) -> str:
    """Trials of the refinement and of a grid that is everywhere as fine."""
    found = [adaptive_numbers(plan) for plan in plans]

    def span(name: str) -> str:
        return _span(one[name] for one in found)

    return (
        f"The paper's refinement reached a spacing of {span('finest_spacing_decades')} decades with {span('trials')} "
        f"trials, where a uniform grid has {span('trials_of_uniform_grid')}. Our default took "
        f"{span('trials_of_our_default')}."
    )


def range_table(plans: list[PlanResults]) -> str:
    """How far range tests scatter, beside the seeds of step sampling."""
    rows = []
    for plan in plans:
        found = spread(plan)
        keys = list(found["decades_between_keys"].values())
        between = f"{np.median(keys):.2f} (up to {max(keys):.2f})" if keys else "one key"
        default = plan.searches["finder_default"]
        seeds = default.curve.final.shape[0]
        sampled = "-"
        if default.interval is not None:
            sampled = f"{np.log10(default.interval[1] / default.interval[0]):.2f} ({seeds} seeds)"
        elif seeds == 1:
            sampled = "one seed"
        noise = f"{found['noise']:.2f}" if np.isfinite(found["noise"]) else "gained nothing"
        rows.append([plan.title, noise, between, f"{max(found['decades_between_rules']):.2f}", sampled])
    heads = ["", "step to step", "between keys", "between rules", "step sampling, between seeds"]
    return markdown_table(heads, rows)


def _span(values: Iterable[float]) -> str:
    """From the lowest to the highest."""
    known = sorted(values)
    low, high = f"{known[0]:.3g}", f"{known[-1]:.3g}"
    return low if low == high else f"{low} to {high}"


def _best(plan: PlanResults) -> float:
    """The best mean accuracy of the grid, in percent."""
    return float(plan.grid.final_accuracy()[plan.grid.lrs == plan.best_lr].mean())


def _regret(pick: Pick | None) -> str:
    if pick is None:
        return "-"
    mean, count = float(pick.regret.mean()), len(pick.regret)
    error = f" ± {pick.regret.std(ddof=1) / np.sqrt(count):.1f}" if count > 1 else ""
    return f"{mean + 0.0:.1f}{error}".replace("-0.0", "0.0")


def _lr(lr: float) -> str:
    return f"{lr:.1e}"
