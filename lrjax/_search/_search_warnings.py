"""Doubts about what a search with a budget chose, each with a sentence and a remedy."""

import dataclasses
import enum
from collections.abc import Sequence

from .._curve import WarningName, find_warnings
from ._algorithm import Choice
from ._course import TOLERANCE, Course
from ._rung import SearchRung

SHORT = 0.1
"""Share of the training below which the horizon correction matters."""

LITTLE = 0.25
"""By what share of an untrained model's loss the best trial must lower it at least."""


class SearchWarningName(enum.StrEnum):
    """Every warning that a search with a budget can give; the value is its name."""

    nothing_moved = enum.auto()
    no_learning = enum.auto()
    all_diverged = enum.auto()
    no_rung = enum.auto()
    lost = enum.auto()
    not_started = enum.auto()
    slow_start = enum.auto()
    unknown_start = enum.auto()
    edge_low = enum.auto()
    edge_high = enum.auto()
    open_end = enum.auto()
    short_horizon = enum.auto()
    small_progress = enum.auto()
    noisy = enum.auto()
    stochastic_eval = enum.auto()


_REMEDIES = {
    SearchWarningName.no_learning: "Check that the loss can fall: a larger budget, labels that match the inputs, a "
    "wider range (min_lr, max_lr); or the model is trained already.",
    SearchWarningName.all_diverged: "Look at the loss and the scale of the inputs; lower min_lr.",
    SearchWarningName.no_rung: "Raise the budget; or use lrjax.find_lr, which refines this curve with three seeds.",
    SearchWarningName.lost: "Raise the budget: more seeds (budget=4) tell the optimum from noise.",
    SearchWarningName.not_started: "Raise the budget: what lowers the loss first need not train best.",
    SearchWarningName.slow_start: "Nothing to do; the first moments of this training say little.",
    SearchWarningName.unknown_start: "Give a loss that is positive, and Task(baseline_loss=...); or look at the "
    "picture.",
    SearchWarningName.edge_low: "Lower min_lr: the best lr lies at the lowest one allowed.",
    SearchWarningName.edge_high: "Raise max_lr: the best lr lies at the highest one allowed.",
    SearchWarningName.open_end: "Raise the budget: the optimum may lie further on that side.",
    SearchWarningName.short_horizon: "Raise the budget to 2 or more, so that trials become a quarter as long as the "
    "training and nothing has to be extrapolated.",
    SearchWarningName.small_progress: "With so little progress the model may have learned the mean only. Raise the "
    "budget, or look at the picture.",
    SearchWarningName.noisy: "Use more validation examples (256), or a budget of 4 or more for more seeds.",
    SearchWarningName.stochastic_eval: "Give an eval_fn without dropout or sampling.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchWarning:
    """One doubt about a search with a budget.

    Attributes:
      name: which of the `SearchWarningName`s.
      message: what was seen, in a sentence with the numbers.
      remedy: what to do about it.
    """

    name: SearchWarningName
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message} {self.remedy}"


def search_warnings(
    rungs: Sequence[SearchRung],
    choice: Choice,
    course: Course,
    *,
    baseline_loss: float | None = None,
    stochastic: bool = False,
) -> tuple[SearchWarning, ...]:
    """Every doubt about a choice.

    Args:
      rungs: what was trained.
      choice: what was taken.
      course: what was allowed.
      baseline_loss: loss of the best constant predictor, if known.
      stochastic: whether two keys gave different evaluation losses.

    Returns:
      The warnings, the most serious first.
    """
    rung = rungs[choice.rung]
    if not rung.found:
        found = {SearchWarningName[rung.window.outcome.name]: rung.window.outcome.value}
    else:
        found = _course_of(rungs, choice, course, baseline_loss) | _ends(rung, choice, course)
        sweep = [one for one in rungs if one.is_sweep][-1]
        found |= _curves(sweep, rung, course, baseline_loss)
    if stochastic:
        message = "The evaluation loss depends on the random key, so the curves are those of one draw."
        found[SearchWarningName.stochastic_eval] = message
    return tuple(
        SearchWarning(name=name, message=found[name], remedy=_REMEDIES[name])
        for name in SearchWarningName
        if name in found
    )


def _course_of(
    rungs: Sequence[SearchRung], choice: Choice, course: Course, baseline_loss: float | None
) -> dict[SearchWarningName, str]:
    """How the search went."""
    rung, found = rungs[choice.rung], {}
    sweeps = [one for one in rungs if one.is_sweep]
    if choice.by_midpoint and choice.rung == len(rungs) - 1:
        found[SearchWarningName.no_rung] = (
            f"A budget of {course.budget:g} trainings of {course.train_steps} updates is used up by the first sweep: "
            f"this is the midpoint of its curve after {rung.num_steps} updates."
        )
    if choice.rung < len(rungs) - 1:
        found[SearchWarningName.lost] = (
            f"After {rungs[-1].num_steps} updates no learning rate of the last rung was better than none "
            f"({rungs[-1].window.outcome.name}): this is what the rung of {rung.num_steps} updates says."
        )
    progress = sweeps[-1].progress(baseline_loss)
    if progress is None:
        found[SearchWarningName.unknown_start] = (
            "The loss is not positive, so whether learning had started in the sweep could not be told."
        )
    elif progress < course.constants.started:
        found[SearchWarningName.not_started] = (
            f"At the end of the sweep, after {sweeps[-1].num_steps} updates, the best loss was {progress:.1%} below "
            "what an untrained model or a constant reaches."
        )
    if len(sweeps) > 1:
        found[SearchWarningName.slow_start] = (
            f"After {sweeps[0].num_steps} updates learning had not started: the sweep was extended to "
            f"{sweeps[-1].num_steps}."
        )
    if not choice.by_midpoint and rung.num_steps < SHORT * course.train_steps:
        found[SearchWarningName.short_horizon] = (
            f"The longest trials took {rung.num_steps / course.train_steps:.1%} of the training; the learning rate is "
            f"lowered by {choice.correction:.2f} decades for the rest."
        )
    return found


def _ends(rung: SearchRung, choice: Choice, course: Course) -> dict[SearchWarningName, str]:
    """Whether the optimum lies at an end of the range, or of the last rung."""
    best = rung.minimum if choice.by_midpoint else rung.best
    if best <= course.fine[0] + TOLERANCE:
        return {SearchWarningName.edge_low: f"The lowest lr, {10.0**best:.1e}, is the best."}
    if best >= course.fine[-1] - TOLERANCE:
        return {SearchWarningName.edge_high: f"The highest lr, {10.0**best:.1e}, is the best."}
    side = {0: "lowest", len(rung.log10_lrs) - 1: "highest"}.get(rung.lowest)
    if side is None or rung.is_sweep:
        return {}
    message = f"The {side} lr of the last rung, {10.0 ** rung.log10_lrs[rung.lowest]:.1e}, has the lowest loss."
    return {SearchWarningName.open_end: message}


def _curves(
    sweep: SearchRung, rung: SearchRung, course: Course, baseline_loss: float | None
) -> dict[SearchWarningName, str]:
    """How little the chosen rung learned, and how noisy the sweep was that all rungs began from."""
    found, progress = {}, rung.progress(baseline_loss)
    if progress is not None and progress < LITTLE:
        found[SearchWarningName.small_progress] = (
            f"After {rung.num_steps} updates ({rung.num_steps / course.train_steps:.0%} of the training) the best loss "
            f"is {progress:.0%} below what an untrained model or a constant reaches."
        )
    for warning in find_warnings(sweep.curve, sweep.window) if sweep.found else ():
        if warning.name is WarningName.noisy:
            found[SearchWarningName.noisy] = warning.message
    return found
