"""Step sampling, the paper's search: few steps at every learning rate of a grid, refined where it matters."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .._annotated import fitting
from .._checks import MAX_SEEDS, check_choice, check_count, check_flag, check_number, check_signature, name_of, show
from .._curve import (
    BELOW_MAX,
    FILL_ROUNDS,
    NO_LONGER,
    LossCurve,
    LRWarning,
    Outcome,
    Rule,
    WarningName,
    Window,
    capped_midpoint,
    extend,
    fill_window,
    find_warnings,
    find_window,
    first_grid,
    is_lost_in_noise,
    midpoint,
    new_ones,
    paper_points,
)
from .._lrs import check_lr_range
from .._types import Float
from ._lane_curve import MEMORIES, STARTED
from ._reasons import DEFAULT_STEPS, reason_for
from ._stage import Stage
from ._strategy import Choice, Context, Request, check_horizons, keep_plain

DOUBLINGS = 3
"""How often trials are made twice as long while learning has not started, at most."""

RESUMED_SHARE = 0.05
"""Part of the whole training that every learning rate is trained for, from a checkpoint."""

PAPER_ROUNDS = 10
"""Rounds of the paper's refinement, at most."""

FIRST, WIDER, LONGER, REFINING = "first grid", "wider range", "longer trials", "refining"

_EXPECTED = frozenset((WarningName.small_progress, WarningName.no_plateau))
"""Warnings that say nothing in mid-training: little is left to learn, and the rule does not read the low end."""


@fitting({"trainings": "A search of so much cost is lrjax.Budget(trainings=...)."})
@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSampling:
    """Train a few steps at every learning rate of a grid, and read the losses as a curve over log10(lr).

    The grid is refined where it matters, and extended if it was too short. With the defaults: 3 seeds, about 24
    learning rates, 20 updates each, or twice as many as those for which the optimizer remembers a gradient (200 with
    momentum 0.99). While no learning rate is 5 % below what an untrained model and a constant predictor reach, the
    trials are made twice as long, three times at most. From a checkpoint every learning rate trains for 5 % of the
    whole training, and the minimum of the smoothed curve is taken: in mid-training the middle of the window is too low.

    Attributes:
      num_steps: training batches at every learning rate: optimizer updates, or k for each where gradients are
        accumulated (`optax.MultiSteps(..., k)`), of which it must be a multiple; with `train_steps` updates in any
        case. None: as many updates as said above. More lower the window's low end.
      num_seeds: None: 3, or as many as the data allow.
      rule: function of (curve, window) that chooses; `lrjax.half_loss`, `lrjax.steepest`, `lrjax.lowest_loss` or your
        own, in NumPy if you like. None: `lrjax.midpoint`, but at most 0.8 decades below the window's high end, and
        the minimum of the curve from a checkpoint.
      refine: "fill": half decades over the range, then quarter decades around the window. "paper": log-midpoints
        around the points of interest until each is known within `threshold`. None: the half-decade grid alone.
      min_lr, max_lr: the range, > 0. An end that is given is kept; None: 1e-7 and 10, and beyond where the curve asks
        for it.
      horizons: further numbers of steps at which to read the curve, for the drift of the optimum.
      extend_range: None: as `min_lr` and `max_lr` say. True: the ends that are given may be left too; False: none is.
        The range grows by up to 5 decades a side within 1e-12 to 1e3.
      literal: the paper's finite differences instead of the smoothed estimator; see `lrjax.find_window`.
      threshold: decades, for refine="paper".

    Source: "Learning rate optimization through step sampling".
    """

    num_steps: int | None = None
    num_seeds: int | None = None
    rule: Rule | None = None
    refine: Literal["fill", "paper"] | None = "fill"
    min_lr: float | None = None
    max_lr: float | None = None
    horizons: Sequence[int] = ()
    extend_range: bool | None = None
    literal: bool = False
    threshold: float = 0.125

    def __post_init__(self) -> None:
        where = "StepSampling"
        self._range()
        steps = DEFAULT_STEPS if self.num_steps is None else self.num_steps
        horizons = check_horizons(where, steps, self.horizons)
        if self.num_seeds is not None:
            check_count(f"{where}(num_seeds=...)", self.num_seeds, maximum=MAX_SEEDS, unit="seeds")
        if self.extend_range is not None:
            check_flag(f"{where}(extend_range=...)", self.extend_range)
        if self.rule is not None:
            signature = check_signature(f"{where}(rule=...)", self.rule, "rule(curve, window) -> lr")
            if signature is not None:
                got = f"{name_of(self.rule)}{signature}"
                raise TypeError(f"`{where}(rule=...)` must be `rule(curve, window) -> lr`, got `{got}`.")
        check_choice(f"{where}(refine=...)", self.refine, ("fill", "paper", None))
        check_flag(f"{where}(literal=...)", self.literal)
        decades: dict[str, Any] = {"rule": "decades, > 0", "accept": lambda x: 0 < x < np.inf}
        check_number(f"{where}(threshold=...)", self.threshold, **decades)
        object.__setattr__(self, "horizons", horizons[:-1])
        keep_plain(self)

    def propose(self, stages: tuple[Stage, ...], context: Context) -> Request | None:
        """The first grid, a wider one if it was too short, a longer one if nothing was learned, then finer ones."""
        if not stages:
            low, high = self._range()
            return self._request(first_grid(low, high), self._first_steps(context), FIRST, context)
        last, refined = stages[-1], stages[-1].rounds.count(REFINING)
        if last.nothing_moved is not None or (context.start is not None and last.window.outcome is Outcome.no_learning):
            return None
        if not refined:
            more = self._beyond_the_range(stages, context)
            if more:
                return self._request(more, last.num_steps, WIDER, context, joins=True)
            longer = min(2 * last.num_steps, context.longest)
            if len(stages) <= DOUBLINGS and longer > last.num_steps and self._goes_on(last, context):
                return self._request(last.log10_lrs.tolist(), int(longer), LONGER, context)
        more = self._finer(last, refined, context)
        return self._request(more, last.num_steps, REFINING, context, joins=True) if more else None

    def choose(self, stages: tuple[Stage, ...], context: Context) -> Choice:
        """What the rule says of the last stage."""
        stage = stages[-1]
        rule, window, warnings = self._rule_for(stage, context), stage.window, context.warnings(stage)
        outcome = window.outcome
        if stage.nothing_moved is not None:
            outcome = Outcome.nothing_moved
        elif is_lost_in_noise(stage.curve, window):
            outcome = Outcome.lost_in_noise
        names = {warning.name for warning in warnings}
        if context.start is not None and (outcome is Outcome.no_learning or WarningName.tiny_effect in names):
            outcome = Outcome.nothing_to_gain
        found = outcome is Outcome.found
        picks = [self._pick(rule, stage.curve.seed(s)) for s in range(stage.num_seeds)]
        finite = [lr for lr in picks if np.isfinite(lr)]
        curves = [self._at(stage.curve, i, context) for i in range(len(stage.curve.horizons))]
        choice = Choice(
            lr=_checked(rule, stage.curve, window) if found else float("nan"),
            outcome=outcome,
            rule=name_of(rule),
            interval=(min(finite), max(finite)) if found and finite and len(picks) > 1 else None,
            drift={int(curve.horizons[-1]): self._pick(rule, curve) for curve in curves},
            warnings=self._kept(warnings, stage, outcome, context),
        )
        reason = reason_for(choice, stages, context, started=self._started(stage, context))
        return dataclasses.replace(choice, reason=reason)

    def _range(self) -> tuple[float, float]:
        low, high = (1e-7 if self.min_lr is None else self.min_lr), (10.0 if self.max_lr is None else self.max_lr)
        return check_lr_range("StepSampling", low, high)

    def _may_leave(self) -> tuple[bool, bool]:
        """Whether the low and the high end of the range may be left: one that was given is kept."""
        if self.extend_range is not None:
            return self.extend_range, self.extend_range
        return self.min_lr is None, self.max_lr is None

    def _reads_low_end(self, context: Context) -> bool:
        return context.start is None or self.rule is not None

    def _rule_for(self, stage: Stage, context: Context) -> Rule:
        if self.rule is not None or context.start is not None:
            return self.rule or smoothed_minimum
        return capped_midpoint if float(stage.window.decades) > 2 * BELOW_MAX else midpoint

    def _first_steps(self, context: Context) -> int:
        """Updates of the first grid; batches if they were asked for without the length of the training."""
        if self.num_steps is not None:
            steps = self.num_steps
        elif context.start is not None and context.train_steps is not None:
            steps = max(1, round(RESUMED_SHARE * context.train_steps))
        else:
            steps = max(DEFAULT_STEPS, round(MEMORIES * (context.memory or 0)))
        if context.train_steps is None or (self.num_steps is not None and context.start is None):
            return steps
        return int(min(steps, context.longest))

    def _request(
        self, exponents: list[float], steps: int, why: str, context: Context, *, joins: bool = False
    ) -> Request:
        return Request(
            log10_lrs=exponents,
            num_steps=steps,
            num_seeds=self.num_seeds,
            name="step sampling",
            round=why,
            joins=joins,
            horizons=tuple(n for n in self.horizons if n < steps),
            in_batches=self.num_steps is not None and context.train_steps is None,
            literal=self.literal,
            may_grow=self._may_leave()[1],
        )

    def _goes_on(self, stage: Stage, context: Context) -> bool:
        """Whether trials that were not asked to have a length become longer, as nothing was learned yet."""
        asked = self.num_steps is not None or context.start is not None
        return not (asked or stage.window.outcome is Outcome.all_diverged or self._started(stage, context))

    def _started(self, stage: Stage, context: Context) -> bool:
        """Whether some learning rate has learned more than a constant, as far as that can be told."""
        progress = stage.progress(context.baseline_loss)
        return progress is None or progress >= STARTED

    def _finer(self, stage: Stage, refined: int, context: Context) -> list[float]:
        """Learning rates between those that were tried, as the refinement wants them."""
        tried = stage.log10_lrs.tolist()
        if self.refine == "fill" and refined < FILL_ROUNDS:
            return self._allowed(fill_window(tried, self._wanted(stage, context)), tried)
        if self.refine == "paper" and refined < PAPER_ROUNDS:
            return new_ones(paper_points(stage.curve, stage.window, self.threshold), tried)
        return []

    def _wanted(self, stage: Stage, context: Context) -> Window:
        """What must lie within the range: the window, its high end alone where the low end is not read."""
        window = stage.window
        return window if self._reads_low_end(context) else window._replace(min_lr=window.max_lr)

    def _beyond_the_range(self, stages: tuple[Stage, ...], context: Context) -> list[float]:
        """Half decades beyond the ends that may be left, where the curve asks for them."""
        stage, first = stages[-1], stages[0]
        tried, grid = stage.log10_lrs.tolist(), first.log10_lrs[np.asarray(first.curve.rounds) == 0]
        names = frozenset(warning.name for warning in find_warnings(stage.curve, stage.window))
        names -= frozenset() if self._reads_low_end(context) else {WarningName.no_plateau}
        wider = extend(tried, (float(grid[0]), float(grid[-1])), self._wanted(stage, context), names)
        return self._allowed(new_ones(wider, tried), tried)

    def _allowed(self, exponents: list[float], tried: list[float]) -> list[float]:
        """Those that lie in the range, or beyond an end that may be left."""
        down, up = self._may_leave()
        return [x for x in exponents if (down or x >= tried[0]) and (up or x <= tried[-1])]

    def _kept(
        self, warnings: tuple[LRWarning, ...], stage: Stage, outcome: Outcome, context: Context
    ) -> tuple[LRWarning, ...]:
        """The warnings that matter to the choice, and that of trials that are shorter than the optimizer's memory."""
        if context.start is not None:
            known = outcome in (Outcome.found, Outcome.nothing_moved)
            return tuple(one for one in warnings if one.name not in _EXPECTED) if known else ()
        if self._rule_for(stage, context) is capped_midpoint:  # which does not read the low end
            warnings = tuple(one for one in warnings if one.name is not WarningName.no_plateau)
        wanted = round(MEMORIES * (context.memory or 0))
        if wanted <= MEMORIES or stage.num_steps >= wanted or outcome is not Outcome.found:  # 1: it remembers nothing
            return warnings
        more = f"Use StepSampling(num_steps={min(wanted, context.longest)}) or more: until then the loss says little."
        short = LRWarning(
            name=WarningName.short_horizon,
            message=f"Trials take {stage.num_steps} updates, and the optimizer remembers a gradient for "
            f"{context.memory:.0f}.",
            remedy=NO_LONGER if stage.num_steps >= context.longest else more,
        )
        order = list(WarningName)
        return tuple(sorted((*warnings, short), key=lambda warning: order.index(warning.name)))

    def _at(self, curve: LossCurve, index: int, context: Context) -> LossCurve:
        """The curve at one horizon, against what that horizon is to be measured against."""
        if len(curve.horizons) == 1 or context.horizon_losses is None:
            return curve.at(index)
        initial = np.asarray(context.horizon_losses[index], curve.initial_loss.dtype)
        return curve.at(index)._replace(initial_loss=initial)

    def _pick(self, rule: Rule, curve: LossCurve) -> float:
        """What the rule says of one seed or horizon; nan if nothing."""
        window = find_window(curve, literal=self.literal)
        lr = rule(curve, window) if window.outcome is Outcome.found else None
        return float(np.asarray(lr)) if _is_lr(lr) else float("nan")


def smoothed_minimum(curve: LossCurve, window: Window) -> Float[np.ndarray, ""]:
    """The minimum of the smoothed curve; the best trial where that has no basin."""
    return window.max_lr


def _checked(rule: Rule, curve: LossCurve, window: Window) -> float:
    pick = rule(curve, window)
    if not _is_lr(pick):
        raise ValueError(
            f"`StepSampling(rule=...)` must return one learning rate, > 0 and finite, got {show(pick)} from "
            f"{name_of(rule)}. See `lrjax.midpoint`; `lrjax.crossing` reads levels off the window."
        )
    return float(np.asarray(pick))


def _is_lr(pick: Any) -> bool:
    """Whether a rule gave one learning rate."""
    value = np.asarray(pick)
    return value.shape == () and value.dtype.kind in "iuf" and bool(0 < value < np.inf)
