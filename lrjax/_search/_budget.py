"""The search with a budget: a coarse sweep, then rungs twice as long each, of ever fewer learning rates."""

import dataclasses
import math

import numpy as np

from .._annotated import fitting
from .._checks import MAX_SEEDS, check_count, check_number
from .._curve import SHORTEST_TRAINING, Outcome, drift, first_grid, is_lost_in_noise
from .._lrs import check_lr_range
from ._budget_warnings import budget_warnings
from ._lane_curve import MEMORIES, SAME, LaneCurve, State, fall, means, read_lanes
from ._stage import Stage
from ._strategy import Choice, Context, Request, keep_plain

SHARE, LEAST_UPDATES = 0.5, 700
"""Cost of a search that is told none: trainings, and updates at least. A sweep of 17 learning rates for 20 updates is
half of these; half of a training of 300 updates would show five updates of each (docs/benchmark.md)."""

SWEEP_SHARE, SWEEP_LEAST, SWEEP_MOST = 0.3, 5, 20
"""Share of the budget that the sweep may take; its updates, at least and, but for the optimizer's memory, at most."""

DWINDLE, FEWEST = 0.5, 3
"""Share of the lanes that the next rung keeps, and lanes of a rung, at least."""

LONGEST = 0.35
"""Share of the training that a trial takes, at most."""

LATE = 0.1
"""Share of the training from which on the best learning rate is known well enough to add higher ones, and for seeds."""

WAIT = 0.25
"""Share of what is left that all lanes may take to go on while nothing is learned."""

EDGES = 3
"""Learning rates that may be added beyond a rung's ends."""

LEAST_GROWTH = 1.2
"""A rung that the budget makes shorter than this many times the one before is not run."""

BELOW_PLATEAU, BESIDE_HARM = 0.75, 0.25
"""Decades below the highest learning rate that does no harm: of the choice from a plateau, and before learning starts;
rungs then lie as far above as the choice lies below."""

SWEEP, RUNG = "sweep", "rung"


@fitting({"budget": "Write Budget(trainings=...).", "train_steps": "Give train_steps to lrjax.find_lr."})
@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """Spend the cost of so many trainings on a learning rate for a training of known length.

    A coarse sweep, twice as long as the optimizer remembers a gradient, then rungs: every one twice as long as the one
    before, with fewer learning rates around the minimum, until trials are 35 % of the training. Learning rates that
    stay go on from where they are. Where nothing is learned yet all go on while that can be paid for, and those on a
    plateau stay spread. What remains of the way to the whole training is corrected for: the best learning rate falls as
    training goes on.

    Attributes:
      trainings: updates of the search, over all learning rates and seeds, as a multiple of `train_steps`, > 0. Never
        exceeded, except by the shortest sweep (5 updates of every learning rate). None: half a training, but 700
        updates at least, which for a training below 1,400 is more.
      num_seeds: of the rungs from a tenth of the training on, as far as the budget has them; before, one.
      min_lr, max_lr: the range, > 0, which is not left.

    Source: ours; docs/benchmark.md has its evidence.
    """

    trainings: float | None = None
    num_seeds: int = 1
    min_lr: float = 1e-7
    max_lr: float = 10.0

    def __post_init__(self) -> None:
        check_lr_range("Budget", self.min_lr, self.max_lr)
        trainings = "the cost of the search as a multiple of the training's, > 0 and finite (without: StepSampling)"
        if self.trainings is not None:
            check_number("Budget(trainings=...)", self.trainings, rule=trainings, accept=lambda x: 0 < x < math.inf)
        check_count("Budget(num_seeds=...)", self.num_seeds, maximum=MAX_SEEDS, unit="seeds")
        keep_plain(self)

    def propose(self, stages: tuple[Stage, ...], context: Context) -> Request | None:
        """The sweep, then rungs until they are long enough or the budget is spent."""
        steps = _train_steps(context)
        if not stages:
            return self._request(first_grid(self.min_lr, self.max_lr), self._first(context), 1, SWEEP, context)
        last = stages[-1]
        if last.nothing_moved is not None or not np.isfinite(means(last)).any():
            return None
        lanes = read_lanes(stages, None)  # on the way down to the baseline the minimum means something already
        beyond = self._beyond(last, lanes, steps)
        if beyond is not None:
            return self._request([beyond], last.num_steps, last.num_seeds, RUNG, context, joins=True)
        ahead = self._ahead(last.num_steps, steps)
        if not ahead:
            return None
        kept, (num_steps, seeds) = self._kept(last, lanes, ahead, steps), ahead[0]
        if self._affordable(last, len(kept), seeds, steps) < num_steps:
            seeds = min(seeds, last.num_seeds)
        num_steps = min(num_steps, self._affordable(last, len(kept), seeds, steps), self._bound(context))
        if num_steps < LEAST_GROWTH * last.num_steps:
            return None
        return self._request(kept, num_steps, seeds, RUNG, context)

    def choose(self, stages: tuple[Stage, ...], context: Context) -> Choice:
        """The learning rate of the lowest risk for the whole training, by the last stage in which something lived."""
        steps = _train_steps(context)
        found = [index for index, stage in enumerate(stages) if stage.found and stage.nothing_moved is None]
        index = found[-1] if found and stages[-1].nothing_moved is None else len(stages) - 1
        stage, log10_lr = stages[index], math.nan
        outcome = Outcome.nothing_moved if stage.nothing_moved is not None else stage.window.outcome
        if outcome is Outcome.found:
            log10_lr = _pick(stages[: index + 1], context)
            if stage.name == SWEEP and is_lost_in_noise(stage.curve, stage.window):
                log10_lr, outcome = math.nan, Outcome.lost_in_noise
        picks = [_pick(stages[: one + 1], context) for one in found if stages[one].name == RUNG]
        if stage.num_seeds > 1 and outcome is Outcome.found:
            alone = [stage.seed(seed) for seed in range(stage.num_seeds)]
            picks += [_pick((*stages[:index], one), context) for one in alone if one.found]
        choice = Choice(
            lr=10.0**log10_lr,
            outcome=outcome,
            stage=index,
            rule="lowest_risk",
            interval=(10.0 ** min(picks), 10.0 ** max(picks)) if len(picks) > 1 and not math.isnan(log10_lr) else None,
            drift={one.num_steps: 10.0**one.minimum for one in stages if one.found},
            correction=0.0 if math.isnan(log10_lr) else stage.best - log10_lr,
        )
        ends = self.min_lr, self.max_lr
        warnings = budget_warnings(
            stages, choice, self._updates(steps) / steps, ends, _longest(steps) / LEAST_GROWTH, context
        )
        return dataclasses.replace(choice, warnings=warnings, reason=_reason(choice, stages, steps, self.num_seeds))

    def _updates(self, steps: int) -> float:
        """What the search may cost."""
        return max(SHARE * steps, LEAST_UPDATES) if self.trainings is None else self.trainings * steps

    def _first(self, context: Context) -> int:
        """Updates of the sweep."""
        steps = _train_steps(context)
        most = min(max(SWEEP_MOST, round(MEMORIES * (context.memory or 1.0))), _longest(steps))
        share = SWEEP_SHARE * self._updates(steps) / len(first_grid(self.min_lr, self.max_lr))
        return max(SWEEP_LEAST, min(most, int(share)))

    def _bound(self, context: Context) -> int:
        """Updates of a trial, at most: the lanes of a rung share the budget."""
        steps, lanes = _train_steps(context), min(FEWEST, len(first_grid(self.min_lr, self.max_lr)))
        return min(_longest(steps), max(self._first(context), int(self._updates(steps) / lanes)))

    def _ahead(self, num_steps: int, steps: int) -> list[tuple[int, int]]:
        """Updates and seeds of all rungs that are still to come."""
        longest, rungs = _longest(steps), []
        while num_steps < longest:
            num_steps = 2 * num_steps if 2 * LEAST_GROWTH * num_steps <= longest else longest
            late = num_steps >= LATE * steps or num_steps == longest
            rungs.append((num_steps, self.num_seeds if late else 1))
        return rungs

    def _kept(self, last: Stage, lanes: LaneCurve, ahead: list[tuple[int, int]], steps: int) -> list[float]:
        """The learning rates of the next rung."""
        left, alive = self._updates(steps) - last.spent, lanes.x.tolist()
        if lanes.state is not State.learning and len(alive) * (ahead[0][0] - last.num_steps) <= WAIT * left:
            return alive

        def cost(count: int) -> float:
            total, done, had = 0, last.num_steps, last.num_seeds
            for rung, (num_steps, seeds) in enumerate(ahead):
                kept = max(FEWEST, math.ceil(count * DWINDLE**rung))
                total += kept * (seeds * num_steps - min(seeds, had) * done)
                done, had = num_steps, seeds
            return total

        count = next((one for one in range(len(alive), FEWEST, -1) if cost(one) <= left), min(FEWEST, len(alive)))
        if lanes.state is State.plateau or lanes.ties():
            return _spread(alive, lanes.harmless().tolist(), count)
        centre = lanes.lowest(drift(last.num_steps, ahead[0][0]))
        if lanes.state is State.flat:
            centre = float(lanes.harmless()[-1]) + BESIDE_HARM
        best = float(lanes.x[np.argmin(lanes.rise)])
        nearest = sorted(alive, key=lambda x: (round(abs(x - centre), 6), x))[:count]
        keeps_best = lanes.state is State.flat or best in nearest
        return sorted(nearest if keeps_best else [best, *nearest[:-1]])

    def _beyond(self, last: Stage, lanes: LaneCurve, steps: int) -> float | None:
        """The next learning rate beyond the end of a rung that is its best, where the budget has it."""
        if last.name == SWEEP or lanes.state is not State.learning or len(last.rounds) > EDGES:
            return None
        grid, best = first_grid(self.min_lr, self.max_lr), last.log10_lrs[np.argmin(means(last))]
        further: list[float] = []
        if best == last.log10_lrs[0]:
            further = [x for x in grid if x < best - SAME][-1:]
        elif best == last.log10_lrs[-1] and last.num_steps >= LATE * steps:
            further = [x for x in grid if x > best + SAME][:1]
        affordable = last.num_seeds * last.num_steps <= self._updates(steps) - last.spent
        return further[0] if further and affordable else None

    def _affordable(self, last: Stage, count: int, seeds: int, steps: int) -> int:
        """Updates up to which so many lanes of the last stage can be trained."""
        known = min(seeds, last.num_seeds) * count * last.num_steps
        return int((self._updates(steps) - last.spent + known) // (count * seeds))

    def _request(
        self, lanes: list[float], num_steps: int, seeds: int, name: str, context: Context, *, joins: bool = False
    ) -> Request:
        width = len(first_grid(self.min_lr, self.max_lr))
        return Request(
            log10_lrs=lanes,
            num_steps=num_steps,
            num_seeds=seeds,
            carry=True,
            name=name,
            joins=joins,
            longest=self._bound(context),
            programs=((self.num_seeds, min(2 * FEWEST, width)), (self.num_seeds, width)),
        )


def _train_steps(context: Context) -> int:
    """Updates of the training that the learning rate is for; raises where it is too short, unknown or under way."""
    if context.train_steps is None:
        raise ValueError(
            "`find_lr(train_steps=...)` is needed with lrjax.Budget, whose trials are shares of the training, got "
            "None. Give the optimizer updates of the whole training, or search with lrjax.StepSampling."
        )
    if context.start is not None:
        raise ValueError(
            "`find_lr(start=...)` must be None with lrjax.Budget, which trains from step 0 on. From a checkpoint "
            "search with lrjax.StepSampling, the default there."
        )
    if context.train_steps < SHORTEST_TRAINING:
        raise ValueError(
            f"`find_lr(train_steps=...)` must be at least {SHORTEST_TRAINING} optimizer updates with lrjax.Budget, got "
            f"{context.train_steps}: the first sweep takes 5, a quarter of them. Is it the number of epochs? Give "
            "epochs * steps_per_epoch. So short a training is run whole: lrjax.sweep, or lrjax.StepSampling(num_steps="
            f"{context.train_steps}, rule=lrjax.lowest_loss)."
        )
    return context.train_steps


def _longest(steps: int) -> int:
    """Updates of a trial, at most."""
    return max(SWEEP_LEAST, int(LONGEST * steps))


def _spread(alive: list[float], harmless: list[float], count: int) -> list[float]:
    """So many lanes, evenly over those that do no harm, and the nearest others where these are too few."""
    others = sorted(set(alive) - set(harmless), key=lambda x: min(abs(x - one) for one in harmless))
    lanes = sorted([*harmless, *others[: max(0, count - len(harmless))]])
    return [lanes[index] for index in np.unique(np.linspace(0, len(lanes) - 1, count).round().astype(int))]


def _pick(stages: tuple[Stage, ...], context: Context) -> float:
    """The exponent that the stages ask for."""
    lanes = read_lanes(stages, None)
    if lanes.state is State.learning:
        return lanes.lowest(fall(stages, _train_steps(context)))
    down = BELOW_PLATEAU if lanes.state is State.plateau else BESIDE_HARM
    return max(float(lanes.harmless()[-1]) - down, float(lanes.known[0]))


def _reason(choice: Choice, stages: tuple[Stage, ...], steps: int, num_seeds: int) -> tuple[str, ...]:
    """Why it was chosen, and what every stage found."""
    assert choice.outcome is not None
    lines, stage = [choice.outcome.value], stages[choice.stage]
    if math.isfinite(choice.lr):
        share, down = f"{stage.num_steps / steps:.0%}", fall(stages[: choice.stage + 1], steps)
        lines = [
            f"Learning rate {choice.lr:.2e} for {steps} updates. Of those trained for {stage.num_steps} ({share} of "
            f"that), {10.0**stage.best:.2e} was the best: it took the loss from {stage.initial:.4g} to "
            f"{stage.reached:.4g}.",
            f"The best learning rate falls while training goes on: by {down:.2f} decades from update "
            f"{stage.num_steps} to {steps}.",
        ]
    if choice.interval is not None:
        lines.append(f"Rungs and seeds ask for {choice.interval[0]:.1e} to {choice.interval[1]:.1e}.")
    most = max(one.num_seeds for one in stages)
    if most < num_seeds:
        lines.append(f"The budget has no room for {num_seeds} seeds: no rung has more than {_seeds_in_words(most)}.")
    return (*lines, *map(_stage_in_words, stages))


def _seeds_in_words(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _stage_in_words(stage: Stage) -> str:
    count, seeds = len(stage.log10_lrs), _seeds_in_words(stage.num_seeds)
    lowest = f", lowest at {10.0**stage.minimum:.1e}" if stage.found else f", {stage.window.outcome.name}"
    low, high = 10.0 ** stage.log10_lrs[[0, -1]]
    return (
        f"{stage.name.capitalize()}: {count} learning rates from {low:.1e} to {high:.1e}, {seeds}, after "
        f"{stage.num_steps} updates{lowest}."
    )
