"""Step sampling, the paper's search: few steps at every learning rate of a grid, refined where it matters."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .._checks import MAX_SEEDS, check_choice, check_count, check_flag, check_number, check_signature, name_of, show
from .._curve import (
    FILL_ROUNDS,
    LossCurve,
    LRWarning,
    Outcome,
    Rule,
    WarningName,
    Window,
    extend,
    fill_window,
    find_warnings,
    find_window,
    first_grid,
    is_lost_in_noise,
    lowest_for,
    midpoint,
    new_ones,
    paper_points,
)
from .._lrs import check_lr_range
from .._types import Float
from ._reasons import reason_for
from ._stage import Stage
from ._strategy import Choice, Context, Request, check_horizons
from ._survivors import DOUBTS, SECOND_STEPS, beyond, survivors

DEFAULT_STEPS = 20
"""Steps of every learning rate: the paper's."""

RESUMED_SHARE = 0.05
"""Part of the whole training that every learning rate is trained for, from a checkpoint."""

PAPER_ROUNDS = 10
"""Rounds of the paper's refinement, at most."""

FIRST, WIDER, REFINING, SECOND = "first grid", "wider range", "refining", "survivors"

_LOW_END = frozenset((WarningName.no_plateau, WarningName.narrow_window))
"""Warnings about min_lr, which the second stage neither looks for nor reads."""

_EXPECTED = frozenset((WarningName.small_progress, WarningName.no_plateau))
"""Warnings that say nothing in mid-training: little is left to learn, and the rule does not read the low end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSampling:
    """Train a few steps at every learning rate of a grid, and read the losses as a curve over log10(lr).

    The grid is refined where it matters, and extended if it was too short. With the defaults: 3 seeds, about 24
    learning rates, 20 steps each. From a checkpoint every learning rate trains for 5 % of the whole training, and the
    minimum of the smoothed curve is taken: in mid-training the middle of the window is too low.

    With `train_steps`, and where the first stage warns of no learning, little progress, or a flat, narrow, noisy or
    double basin, there is a second stage: the learning rates that may still win are trained for 100 updates, more of
    them where the best is at an end, and the minimum of that curve is moved down to where a training of `train_steps`
    has it (`lrjax.lowest_for`). The second stage is ours, not the paper's; docs/benchmark.md has what it gains.

    Attributes:
      num_steps: training batches at every learning rate: optimizer updates, or k for each where gradients are
        accumulated (`optax.MultiSteps(..., k)`), of which it must be a multiple; with `train_steps` updates in any
        case. None: 20, which suit trainings of about a thousand. More lower the window's low end.
      num_seeds: None: 3, or as many as the data allow.
      rule: function of (curve, window) that chooses; `lrjax.half_loss`, `lrjax.steepest`, `lrjax.lowest_loss` or your
        own, in NumPy if you like. None: `lrjax.midpoint`, and the minimum of the curve from a checkpoint.
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

    def propose(self, stages: tuple[Stage, ...], context: Context) -> Request | None:
        """The first grid, a wider one if it was too short, finer ones where it matters, then the survivors."""
        if not stages:
            low, high = self._range()
            return self._request(first_grid(low, high), FIRST, context)
        first, last = stages[0], stages[-1]
        if len(stages) > 1:
            names = frozenset(warning.name for warning in context.warnings(last))
            more = beyond(first.log10_lrs.tolist(), last.log10_lrs.tolist(), names)
            return self._second(more, context, joins=True) if more else None
        more, why = self._more(first, context)
        if more:
            return self._request(more, why, context, joins=True)
        if context.train_steps is None or context.start is not None or first.window.outcome is Outcome.all_diverged:
            return None
        return self._second(survivors(first.curve, first.window), context) if self._doubts(first, context) else None

    def choose(self, stages: tuple[Stage, ...], context: Context) -> Choice:
        """What the rule says of the last stage."""
        stage, rule = stages[-1], self._rule_for(stages, context)
        window, warnings = stage.window, context.warnings(stage)
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
            warnings=self._kept(warnings, stages, outcome, context),
        )
        first = float("nan")
        if len(stages) > 1:
            first = self._pick(self.rule or midpoint, stages[0].curve)
            choice = dataclasses.replace(choice, doubts=self._doubts(stages[0], context))
        return dataclasses.replace(choice, reason=reason_for(choice, stages, context, first))

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

    def _rule_for(self, stages: tuple[Stage, ...], context: Context) -> Rule:
        if len(stages) > 1 and context.train_steps is not None:
            return lowest_for(context.train_steps)
        return self.rule or (midpoint if context.start is None else smoothed_minimum)

    def _request(self, exponents: list[float], why: str, context: Context, *, joins: bool = False) -> Request:
        steps = DEFAULT_STEPS if self.num_steps is None else self.num_steps
        if context.start is not None and context.train_steps is not None:
            left = context.train_steps - context.start
            steps = max(1, round(RESUMED_SHARE * context.train_steps)) if self.num_steps is None else steps
            steps = min(steps, left)
        return Request(
            log10_lrs=exponents,
            num_steps=steps,
            num_seeds=self.num_seeds,
            name="step sampling",
            round=why,
            joins=joins,
            horizons=tuple(n for n in self.horizons if n < steps),
            in_batches=context.train_steps is None,
            literal=self.literal,
            may_grow=self._may_leave()[1],
        )

    def _second(self, exponents: list[float], context: Context, *, joins: bool = False) -> Request:
        assert context.train_steps is not None
        steps = min(SECOND_STEPS, context.train_steps)
        kept: dict[str, Any] = {"num_seeds": self.num_seeds, "literal": self.literal, "joins": joins}
        return Request(log10_lrs=exponents, num_steps=steps, name=SECOND, round=SECOND, **kept)

    def _more(self, stage: Stage, context: Context) -> tuple[list[float], str]:
        """Learning rates that the curve asks for, and why; none where it is good as it is."""
        if stage.nothing_moved is not None:
            return [], ""
        if context.start is not None and stage.window.outcome is Outcome.no_learning:
            return [], ""
        tried, refined = stage.log10_lrs.tolist(), stage.rounds.count(REFINING)
        wanted = stage.window
        if not self._reads_low_end(context):
            wanted = wanted._replace(min_lr=wanted.max_lr)
        if not refined:
            more = self._beyond_the_range(stage, wanted, context)
            if more:
                return more, WIDER
        if self.refine == "fill" and refined < FILL_ROUNDS:
            return self._allowed(fill_window(tried, wanted), tried), REFINING
        if self.refine == "paper" and refined < PAPER_ROUNDS:
            return new_ones(paper_points(stage.curve, stage.window, self.threshold), tried), REFINING
        return [], ""

    def _beyond_the_range(self, stage: Stage, wanted: Window, context: Context) -> list[float]:
        """Half decades beyond the ends that may be left, where the curve asks for them."""
        tried = stage.log10_lrs.tolist()
        grid = stage.log10_lrs[np.asarray(stage.curve.rounds) == 0]
        names = frozenset(warning.name for warning in find_warnings(stage.curve, stage.window))
        names -= frozenset() if self._reads_low_end(context) else {WarningName.no_plateau}
        wider = extend(tried, (float(grid[0]), float(grid[-1])), wanted, names)
        return self._allowed(new_ones(wider, tried), tried)

    def _allowed(self, exponents: list[float], tried: list[float]) -> list[float]:
        """Those that lie in the range, or beyond an end that may be left."""
        down, up = self._may_leave()
        return [x for x in exponents if (down or x >= tried[0]) and (up or x <= tried[-1])]

    def _doubts(self, first: Stage, context: Context) -> tuple[WarningName, ...]:
        """Warnings of the first stage that ask for a second."""
        return tuple(one.name for one in context.warnings(first) if one.name in DOUBTS)

    def _kept(
        self, warnings: tuple[LRWarning, ...], stages: tuple[Stage, ...], outcome: Outcome, context: Context
    ) -> tuple[LRWarning, ...]:
        """The warnings that matter to the choice."""
        if context.start is not None and outcome not in (Outcome.found, Outcome.nothing_moved):
            return ()
        left_out = _LOW_END if len(stages) > 1 else _EXPECTED if context.start is not None else frozenset()
        return tuple(one for one in warnings if one.name not in left_out)

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
