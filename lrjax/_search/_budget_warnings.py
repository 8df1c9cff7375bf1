"""Doubts about what a search with a budget chose, each with a sentence and a remedy."""

from collections.abc import Sequence

from .._curve import LITTLE_PROGRESS, LRWarning, WarningName, find_warnings
from ._course import TOLERANCE, Course
from ._stage import Stage
from ._strategy import Choice, Context

SHORT = 0.1
"""Share of the training below which trials are short: the correction for the rest is an extrapolation."""

_REMEDIES = {
    WarningName.no_learning: "Check that the loss can fall: a larger budget, labels that match the inputs, a "
    "wider range (min_lr, max_lr); or the model is trained already.",
    WarningName.all_diverged: "Look at the loss and the scale of the inputs; lower min_lr.",
    WarningName.no_rung: "Raise the budget; or use lrjax.StepSampling(), which refines this curve with three seeds.",
    WarningName.lost: "Raise the budget: more seeds (trainings=4) tell the optimum from noise.",
    WarningName.not_started: "Raise the budget: what lowers the loss first need not train best.",
    WarningName.slow_start: "Nothing to do; the first moments of this training say little.",
    WarningName.unknown_start: "Give a loss that is positive, and Task(baseline_loss=...); or look at the picture.",
    WarningName.edge_low: "Lower min_lr: the best lr lies at the lowest one allowed.",
    WarningName.edge_high: "Raise max_lr: the best lr lies at the highest one allowed.",
    WarningName.open_end: "Raise the budget: the optimum may lie further on that side.",
    WarningName.short_horizon: "Raise the budget to 2 or more, so that trials become a quarter as long as the "
    "training and nothing has to be extrapolated.",
    WarningName.small_progress: "With so little progress the model may have learned the mean only. Raise the "
    "budget, or look at the picture.",
    WarningName.noisy: "Use more validation examples (256), or a budget of 4 or more for more seeds.",
    WarningName.stochastic_eval: "Give an eval_fn without dropout or sampling.",
}


def budget_warnings(stages: Sequence[Stage], choice: Choice, course: Course, context: Context) -> tuple[LRWarning, ...]:
    """Every doubt about a choice, the most serious first."""
    stage, baseline = stages[choice.stage], context.baseline_loss
    if stage.nothing_moved is not None:
        return (stage.nothing_moved,)
    if not stage.found:
        found = {WarningName[stage.window.outcome.name]: stage.window.outcome.value}
    else:
        found = _course_of(stages, choice, course, baseline) | _ends(stage, choice, course)
        found |= _curves([one for one in stages if one.name == "sweep"][-1], stage, course, baseline)
    if context.stochastic:
        message = "The evaluation loss depends on the random key, so the curves are those of one draw."
        found[WarningName.stochastic_eval] = message
    return tuple(
        LRWarning(name=name, message=found[name], remedy=remedy) for name, remedy in _REMEDIES.items() if name in found
    )


def _course_of(
    stages: Sequence[Stage], choice: Choice, course: Course, baseline_loss: float | None
) -> dict[WarningName, str]:
    """How the search went."""
    rung, found = stages[choice.stage], {}
    sweeps = [one for one in stages if one.name == "sweep"]
    if choice.rule == "midpoint" and choice.stage == len(stages) - 1:
        found[WarningName.no_rung] = (
            f"A budget of {course.budget:g} trainings of {course.train_steps} updates is used up by the first sweep: "
            f"this is the midpoint of its curve after {rung.num_steps} updates."
        )
    if choice.stage < len(stages) - 1:
        found[WarningName.lost] = (
            f"After {stages[-1].num_steps} updates no learning rate of the last rung was better than none "
            f"({stages[-1].window.outcome.name}): this is what the rung of {rung.num_steps} updates says."
        )
    progress = sweeps[-1].progress(baseline_loss)
    if progress is None:
        found[WarningName.unknown_start] = (
            "The loss is not positive, so whether learning had started in the sweep could not be told."
        )
    elif progress < course.constants.started:
        found[WarningName.not_started] = (
            f"At the end of the sweep, after {sweeps[-1].num_steps} updates, the best loss was {progress:.1%} below "
            "what an untrained model or a constant reaches."
        )
    if len(sweeps) > 1:
        found[WarningName.slow_start] = (
            f"After {sweeps[0].num_steps} updates learning had not started: the sweep was extended to "
            f"{sweeps[-1].num_steps}."
        )
    if choice.rule != "midpoint" and rung.num_steps < SHORT * course.train_steps:
        found[WarningName.short_horizon] = (
            f"The longest trials took {rung.num_steps / course.train_steps:.1%} of the training; the learning rate is "
            f"lowered by {choice.correction:.2f} decades for the rest."
        )
    return found


def _ends(rung: Stage, choice: Choice, course: Course) -> dict[WarningName, str]:
    """Whether the optimum lies at an end of the range, or of the last rung."""
    best = rung.minimum if choice.rule == "midpoint" else rung.best
    if best <= course.fine[0] + TOLERANCE:
        return {WarningName.edge_low: f"The lowest lr, {10.0**best:.1e}, is the best."}
    if best >= course.fine[-1] - TOLERANCE:
        return {WarningName.edge_high: f"The highest lr, {10.0**best:.1e}, is the best."}
    side = {0: "lowest", len(rung.log10_lrs) - 1: "highest"}.get(rung.lowest)
    if side is None or rung.name == "sweep":
        return {}
    message = f"The {side} lr of the last rung, {10.0 ** rung.log10_lrs[rung.lowest]:.1e}, has the lowest loss."
    return {WarningName.open_end: message}


def _curves(sweep: Stage, rung: Stage, course: Course, baseline_loss: float | None) -> dict[WarningName, str]:
    """How little the chosen rung learned, and how noisy the sweep was that all rungs began from."""
    found, progress = {}, rung.progress(baseline_loss)
    if progress is not None and progress < LITTLE_PROGRESS:
        found[WarningName.small_progress] = (
            f"After {rung.num_steps} updates ({rung.num_steps / course.train_steps:.0%} of the training) the best loss "
            f"is {progress:.0%} below what an untrained model or a constant reaches."
        )
    for warning in find_warnings(sweep.curve, sweep.window) if sweep.found else ():
        if warning.name is WarningName.noisy:
            found[WarningName.noisy] = warning.message
    return found
