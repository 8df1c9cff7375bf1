"""Doubts about what a search with a budget chose, each with a sentence and a remedy."""

import math

import numpy as np

from .._curve import LITTLE_PROGRESS, LRWarning, WarningName, find_warnings
from ._lane_curve import MEMORIES, SAME, State, fall, read_lanes
from ._stage import Stage
from ._strategy import Choice, Context

FAR, APART = 0.3, 0.5
"""Share of the best trial's reduction of the loss that the choice lacks, and decades between what rungs and seeds ask
for, from which on picks were bad ones on the tasks of experiments/results/benchmark."""

_LONGER = "Raise the budget, so that trials become longer and less has to be extrapolated."

_REMEDIES = {
    WarningName.no_learning: "Check that the loss can fall: a larger budget, labels that match the inputs, a "
    "wider range (min_lr, max_lr); or the model is trained already.",
    WarningName.all_diverged: "Look at the loss and the scale of the inputs; lower min_lr.",
    WarningName.no_rung: "Raise the budget; or use lrjax.StepSampling(), which refines this curve with three seeds.",
    WarningName.lost: "Raise the budget: more seeds (num_seeds=2) tell the optimum from noise.",
    WarningName.not_started: "Raise the budget: what lowers the loss first need not train best.",
    WarningName.unknown_start: "Give a loss that is positive, and Task(baseline_loss=...); or look at the picture.",
    WarningName.edge_low: "Lower min_lr: the best lr lies at the lowest one allowed.",
    WarningName.edge_high: "Raise max_lr: the best lr lies at the highest one allowed.",
    WarningName.unsettled: "Raise the budget, or try both ends: early and later updates want different lrs.",
    WarningName.extrapolated: _LONGER,
    WarningName.short_horizon: _LONGER,
    WarningName.small_progress: "With so little progress the model may have learned the mean only. Raise the "
    "budget, or look at the picture.",
    WarningName.noisy: "Use more validation examples (256), or num_seeds=2.",
    WarningName.stochastic_eval: "Give an eval_fn without dropout or sampling.",
}


_AT_LENGTH = {
    WarningName.no_learning: "Check that the loss can fall: labels that match the inputs, a wider range (min_lr, "
    "max_lr); or the model is trained already.",
} | dict.fromkeys(
    (
        WarningName.not_started,
        WarningName.unsettled,
        WarningName.extrapolated,
        WarningName.short_horizon,
        WarningName.small_progress,
    ),
    "More budget makes trials no longer. Train a few learning rates around this one to the end of the training, with "
    "lrjax.sweep.",
)
"""The same where trials are as long as they get."""


def budget_warnings(
    stages: tuple[Stage, ...],
    choice: Choice,
    budget: float,
    lr_range: tuple[float, float],
    longest: float,
    context: Context,
) -> tuple[LRWarning, ...]:
    """Every doubt about a choice, the most serious first; a trial of over `longest` updates is made no longer."""
    stage = stages[choice.stage]
    if stage.nothing_moved is not None:
        return (stage.nothing_moved,)
    if not stage.found:
        found = {WarningName[stage.window.outcome.name]: stage.window.outcome.value}
    else:
        found = _of_search(stages, choice, budget, context) | _ends(stage, lr_range) | _curves(stages, stage, context)
    if context.stochastic:
        message = "The evaluation loss depends on the random key, so the curves are those of one draw."
        found[WarningName.stochastic_eval] = message
    at_length = stages[-1].num_steps > longest
    if at_length:  # no rung would have followed
        found.pop(WarningName.no_rung, None)
    return tuple(
        LRWarning(name=name, message=found[name], remedy=remedy)
        for name, remedy in (_REMEDIES | _AT_LENGTH if at_length else _REMEDIES).items()
        if name in found
    )


def _of_search(stages: tuple[Stage, ...], choice: Choice, budget: float, context: Context) -> dict[WarningName, str]:
    """How the search went."""
    stage, found, steps = stages[choice.stage], {}, context.train_steps
    assert steps is not None
    lanes = read_lanes(stages[: choice.stage + 1], context.baseline_loss)
    lacks = float(np.interp(math.log10(choice.lr), lanes.known, lanes.badness))
    if lacks > FAR:
        found[WarningName.extrapolated] = (
            f"After {stage.num_steps} updates {choice.lr:.1e} is {lacks:.0%} of the best trial's reduction of the loss "
            f"behind {10.0**stage.best:.1e}: that it is better in the end is extrapolated."
        )
    if choice.interval is not None and (apart := math.log10(choice.interval[1] / choice.interval[0])) > APART:
        low, high = choice.interval
        found[WarningName.unsettled] = f"Rungs and seeds ask for {low:.1e} to {high:.1e}, {apart:.1f} decades apart."
    if len(stages) == 1 and lacks > FAR:
        found[WarningName.no_rung] = (
            f"A budget of {budget:g} trainings of {steps} updates is used up by the first sweep, which took "
            f"{stage.spent / steps:.2g}: this is read off its curve after {stage.num_steps} updates."
        )
    if choice.stage < len(stages) - 1:
        found[WarningName.lost] = (
            f"After {stages[-1].num_steps} updates no learning rate of the last rung was better than none "
            f"({stages[-1].window.outcome.name}): this is what the stage of {stage.num_steps} updates says."
        )
    if lanes.reference <= 0:
        found[WarningName.unknown_start] = "The loss is not positive, so whether learning has started cannot be told."
    elif lanes.state is not State.learning:
        what = "a plateau at which learning rates tie" if lanes.state is State.plateau else "what no learning gives"
        found[WarningName.not_started] = (
            f"After {stage.num_steps} updates no learning rate has taken the loss 5 % below {what}, "
            f"{lanes.reference:.4g}."
        )
    if stage.num_steps < MEMORIES * (context.memory or 0.0):
        found[WarningName.short_horizon] = (
            f"The longest trials took {stage.num_steps / steps:.1%} of the training; the learning rate is lowered by "
            f"{fall(stages[: choice.stage + 1], steps):.2f} decades for the rest. The optimizer remembers a gradient "
            f"for {context.memory:.0f} updates, and trials of {stage.num_steps} say little of how it trains."
        )
    return found


def _ends(stage: Stage, lr_range: tuple[float, float]) -> dict[WarningName, str]:
    """Whether the optimum lies at an end of the range."""
    low, high = 10.0 ** stage.log10_lrs[[0, -1]]
    lowest, highest = stage.lowest == 0, stage.lowest == len(stage.log10_lrs) - 1
    if lowest and low <= lr_range[0] * (1 + SAME):
        return {WarningName.edge_low: f"The lowest lr, {low:.1e}, is the best."}
    if highest and high >= lr_range[1] * (1 - SAME):
        return {WarningName.edge_high: f"The highest lr, {high:.1e}, is the best."}
    return {}


def _curves(stages: tuple[Stage, ...], stage: Stage, context: Context) -> dict[WarningName, str]:
    """How little the chosen stage learned, and how noisy the sweep was that all rungs began from."""
    found, progress, sweep = {}, stage.progress(context.baseline_loss), stages[0]
    if progress is not None and progress < LITTLE_PROGRESS:
        side = "below" if progress >= 0 else "above"
        found[WarningName.small_progress] = (
            f"After {stage.num_steps} updates the best loss is {abs(progress):.0%} {side} what an untrained model or a "
            "constant reaches."
        )
    for warning in find_warnings(sweep.curve, sweep.window) if sweep.found else ():
        if warning.name is WarningName.noisy:
            found[WarningName.noisy] = warning.message
    return found
