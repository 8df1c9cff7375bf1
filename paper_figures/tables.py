"""The tables of docs/paper.md: the paper's claims, in numbers of what was measured."""

from itertools import groupby

import numpy as np

from experiments.blocks import markdown_table
from paper_figures.figure_2 import spread
from paper_figures.figure_8 import adaptive_numbers
from paper_figures.results import METHODS, NEAR_BEST, SEARCHES, Pick, PlanResults

ORDERS = {"midpoint": "1", "half_loss": "2", "steepest": "3"}


def order_table(plans: list[PlanResults]) -> str:
    """Regret of the three methods, and the order that follows."""
    rows, orders = [], []
    for plan in plans:
        for search, title in SEARCHES.items():
            picks = plan.picks_of(search)
            cells = [_regret(picks.get(name)) for name in METHODS]
            order = order_of(picks)
            orders.append(order)
            rows.append([plan.title, title, f"{_best(plan):.1f} %", *cells, order or "-"])
    heads = ["", "search", "best of the grid", "1, midpoint", "2, half loss", "3, steepest", "order"]
    known = [order for order in orders if order]
    counts = {order: known.count(order) for order in sorted(set(known), key=lambda one: (-known.count(one), one))}
    told = ", ".join(f"{order} in {count}" for order, count in counts.items())
    summary = f"Orders: {told or 'none'} of {len(known)} searches that found a learning rate; the paper's is 1 > 2 > 3."
    note = (
        "Points of accuracy below the best of the grid, which is the best of many: mean, ± standard error over the "
        "seeds where there are several (negative: better than the grid). `=`: equal to a tenth of a point. Orders "
        "whose differences are within two standard errors are not established."
    )
    return f"{markdown_table(heads, rows)}\n\n{summary}\n\n{note}"


def order_of(picks: dict[str, Pick]) -> str:
    """Such as "1 > 3 = 2": the methods by their mean regret, to a tenth of a point; empty without picks."""
    if not set(METHODS) <= set(picks):
        return ""
    regrets = sorted((round(float(picks[name].regret.mean()), 1), ORDERS[name]) for name in METHODS)
    return " > ".join(" = ".join(name for _, name in same) for _, same in groupby(regrets, key=lambda one: one[0]))


def middle_table(plans: list[PlanResults]) -> str:
    """Where the best learning rates lie in the window, and what its ends and its middle give."""
    rows, inside, near = [], [], []
    for plan in plans:
        for search, title in SEARCHES.items():
            window, picks = plan.window_of(search), plan.picks_of(search)
            good = plan.good_lrs()
            cells = [f"{_lr(good[0])} to {_lr(good[1])}", _lr(plan.best_lr)]
            if window is None:
                rows.append([plan.title, title, "nothing found", *cells, "-", "-", "-", "-"])
                continue
            place = place_in(window, plan.best_lr)
            inside.append(-0.01 <= place <= 1.01)
            near.append("midpoint" in picks and picks["midpoint"].regret.mean() <= NEAR_BEST)
            regrets = [_regret(picks.get(name)) for name in ("min_lr", "midpoint", "max_lr")]
            rows.append([plan.title, title, f"{_lr(window[0])} to {_lr(window[1])}", *cells, f"{place:.2f}", *regrets])
    heads = ["", "search", "window", f"grid within {NEAR_BEST:g} point of its best", "best", "its place"]
    heads += ["at min_lr", "at the midpoint", "at max_lr"]
    summary = (
        f"The best learning rate of the grid, which goes in half decades, lies within the window in {sum(inside)} of "
        f"{len(inside)} searches; training at the midpoint comes within {NEAR_BEST:g} point of it in {sum(near)}."
    )
    note = (
        "Place: 0 is min_lr, 0.5 the midpoint, 1 max_lr, in decades. The last three columns are points below the best."
    )
    return f"{markdown_table(heads, rows)}\n\n{summary}\n\n{note}"


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
        for search, title in SEARCHES.items():
            cost = plan.costs[search]
            rows.append(
                [
                    plan.title,
                    title,
                    f"{cost['trial_steps']:,}",
                    f"{plan.grid.trial_steps:,}",
                    f"{100 * cost['share_of_grid_trial_steps']:.1f} %",
                    f"{cost['num_steps_for_one_percent']:,}",
                    f"{plan.grid.steps[-1]:,}",
                ]
            )
    heads = ["", "search", "its trial-steps", "of the grid search", "share", "under 1 % from T =", "T here"]
    note = "A trial-step is one update of one model. T: updates of a full training; grid and seeds as in the runs."
    return f"{markdown_table(heads, rows)}\n\n{note}"


def adaptive_table(plans: list[PlanResults]) -> str:
    """Trials of the refinement and of a grid that is everywhere as fine."""
    rows = []
    for plan in plans:
        found = adaptive_numbers(plan)
        rounds = " + ".join(str(count) for count in found["trials_of_rounds"])
        uniform = found["trials_of_uniform_grid"]
        saved = f"{uniform / found['trials']:.1f}x"
        spacing = f"{found['finest_spacing_decades']:.3g}"
        rows.append([plan.title, f"{rounds} = {found['trials']}", spacing, f"{uniform}", saved])
        rows[-1].append(str(found["trials_of_our_default"]))
    heads = ["", "trials by round", "finest spacing, decades", "uniform grid as fine", "saved", "trials of our default"]
    note = (
        "This compares the spacing, not the precision: the refinement never goes back to what the coarse grid got "
        "wrong, and the curvature wants evenly spaced neighbours."
    )
    return f"{markdown_table(heads, rows)}\n\n{note}"


def range_table(plans: list[PlanResults]) -> str:
    """How far range tests scatter, beside the seeds of step sampling."""
    rows = []
    for plan in plans:
        found = spread(plan)
        keys = list(found["decades_between_keys"].values())
        between = f"{np.median(keys):.2f} (up to {max(keys):.2f})" if keys else "one key"
        rules = max(found["decades_between_rules"])
        default = plan.searches["finder_default"]
        seeds = default.curve.final.shape[0]
        sampled = "-"
        if default.interval is not None:
            sampled = f"{np.log10(default.interval[1] / default.interval[0]):.2f} ({seeds} seeds)"
        elif seeds == 1:
            sampled = "one seed"
        rows.append(
            [
                plan.title,
                str(found["keys"]),
                f"{found['noise']:.2f}" if np.isfinite(found["noise"]) else "gained nothing",
                between,
                f"{rules:.2f}",
                sampled,
            ]
        )
    heads = ["", "keys", "change from step to step", "between keys, decades", "between rules, decades"]
    heads += ["step sampling between seeds, decades"]
    note = (
        "Change: the median difference of two losses in a row, as a share of what the smoothed loss gained. Between "
        "keys: highest over lowest suggestion of one rule, the median of the rules. Between rules: on one key, of the "
        "rules that answered, the worst key. Step sampling: the midpoint of our default search."
    )
    return f"{markdown_table(heads, rows)}\n\n{note}"


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
