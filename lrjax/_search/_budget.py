"""The search with a budget: a coarse sweep, then rungs of a few learning rates around the minimum, ever longer."""

import dataclasses
import math
from collections.abc import Sequence

from .._checks import MAX_SEEDS, check_count, check_number, check_type
from .._curve import Outcome, is_lost_in_noise, midpoint
from .._lrs import check_lr_range
from ._budget_warnings import budget_warnings
from ._course import TOLERANCE, Constants, Course, make_course, near
from ._stage import Stage
from ._strategy import Choice, Context, Request

SHORTEST = 20
"""Updates of the shortest training that a learning rate is searched for: a sweep takes 5, a quarter of them."""

CONSTANTS = Constants()

SWEEP, RUNG = "sweep", "rung"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """Spend the cost of so many trainings on a learning rate for a training of known length.

    A coarse sweep as in `lrjax.StepSampling`, then rungs: a few learning rates around the minimum, trained four times
    as long, until trials are a quarter of the training (half of it from 8 trainings on). Learning rates that stay go
    on from where they are, and the rungs follow the minimum where it moves. From 4 trainings on they have two seeds,
    from 8 on four. What remains of the way to the whole training is corrected for.

    Attributes:
      trainings: updates of the search, over all learning rates and seeds, as a multiple of `train_steps`, > 0. Never
        exceeded, except by the shortest sweep (5 updates of every learning rate). 2 is a good start, 4 where seeds
        differ much.
      num_seeds: of the rungs; None: one, from 4 trainings on two, from 8 on four. The sweep has one.
      min_lr, max_lr: the range, > 0, which is not left.
      constants: the numbers of the algorithm, for experiments with it.

    Source: ours; docs/benchmark.md has its evidence.
    """

    trainings: float = 2.0
    num_seeds: int | None = None
    min_lr: float = 1e-7
    max_lr: float = 10.0
    constants: Constants = CONSTANTS

    def __post_init__(self) -> None:
        check_type("Budget(constants=...)", self.constants, Constants, "the constants of another Budget, changed")
        check_lr_range("Budget", self.min_lr, self.max_lr)
        trainings = "the cost of the search as a multiple of the training's, > 0 and finite (without: StepSampling)"
        check_number("Budget(trainings=...)", self.trainings, rule=trainings, accept=lambda x: 0 < x < math.inf)
        if self.num_seeds is not None:
            check_count("Budget(num_seeds=...)", self.num_seeds, maximum=MAX_SEEDS, unit="seeds")

    def _course(self, context: Context) -> Course:
        """What the search may do, for a training of so many updates.

        Raises:
          ValueError: the training is too short, or its length is not known, or it has begun.
        """
        steps = context.train_steps
        if steps is None:
            raise ValueError(
                "`find_lr(train_steps=...)` is needed with lrjax.Budget, whose trials are shares of the training, got "
                "None. Give the optimizer updates of the whole training, or search with lrjax.StepSampling."
            )
        if context.start is not None:
            raise ValueError(
                "`find_lr(start=...)` must be None with lrjax.Budget, which trains from step 0 on. From a checkpoint "
                "search with lrjax.StepSampling, the default there."
            )
        if steps < SHORTEST:
            raise ValueError(
                f"`find_lr(train_steps=...)` must be at least {SHORTEST} optimizer updates with lrjax.Budget, got "
                f"{steps}: the first sweep takes 5, a quarter of them. Is it the number of epochs? Give epochs * "
                "steps_per_epoch."
            )
        limits = {"min_lr": float(self.min_lr), "max_lr": float(self.max_lr), "constants": self.constants}
        course = make_course(train_steps=steps, budget=float(self.trainings), num_seeds=self.num_seeds, **limits)
        if self.num_seeds is None and context.max_seeds is not None:
            return dataclasses.replace(course, num_seeds=min(course.num_seeds, context.max_seeds))
        return course

    def propose(self, stages: tuple[Stage, ...], context: Context) -> Request | None:
        """The sweep, a longer one while learning has not started, then rungs that follow the minimum."""
        course = self._course(context)
        if not stages:
            return self._sweep(course, course.first_steps)
        last = stages[-1]
        if last.nothing_moved is not None:
            return None
        if last.name == SWEEP:
            steps = _longer_sweep(last, course, context.baseline_loss)
            if steps is not None:
                return self._sweep(course, steps)
        else:
            beyond = _beyond(stages, course)
            if beyond is not None:
                return self._rung(course, [beyond], last.num_steps, joins=True)
        if not last.found or last.num_steps >= course.longest:
            return None
        first = last.name == SWEEP
        grid, decades = (course.coarse, course.first_window) if first else (course.fine, self.constants.window)
        lanes = near(grid, last.minimum, decades, self.constants.fewest)
        wanted = min(int(self.constants.growth * last.num_steps), course.longest)
        steps = _affordable(last, course, lanes, wanted)
        return self._rung(course, lanes, steps) if steps >= self.constants.least_growth * last.num_steps else None

    def choose(self, stages: tuple[Stage, ...], context: Context) -> Choice:
        """A trained learning rate, lowered to where the optimum of the whole training is.

        It is where the smoothed curve is lowest, in the last stage in which something was learned. If that is the
        sweep: the middle of its window.
        """
        course = self._course(context)
        stuck = stages[-1].nothing_moved is not None
        found = [] if stuck else [index for index, stage in enumerate(stages) if stage.found]
        index = found[-1] if found else len(stages) - 1
        stage = stages[index]
        log10_lr, outcome, down = math.nan, stage.window.outcome, 0.0
        by_midpoint = stage.name == SWEEP and stage.num_steps <= self.constants.sweep_steps[1]
        if stuck:
            outcome = Outcome.nothing_moved
        elif found and by_midpoint and is_lost_in_noise(stage.curve, stage.window):
            outcome = Outcome.lost_in_noise
        elif found and by_midpoint:
            log10_lr = math.log10(float(midpoint(stage.curve, stage.window)))
        elif found:
            down = course.correction(stage.num_steps)
            log10_lr = stage.best - down
        choice = Choice(
            lr=10.0**log10_lr,
            outcome=outcome,
            stage=index,
            rule="midpoint" if by_midpoint else "lowest_smoothed",
            interval=None if by_midpoint or not found else _interval(stages, stage, down, course),
            drift={one.num_steps: 10.0**one.minimum for one in stages if one.found},
            correction=down,
        )
        warnings = budget_warnings(stages, choice, course, context)
        return dataclasses.replace(choice, warnings=warnings, reason=_reason(choice, stages, course))

    def _sweep(self, course: Course, steps: int) -> Request:
        """All of the coarse grid, one seed."""
        return self._request(course, course.coarse, steps, 1, SWEEP)

    def _rung(self, course: Course, lanes: list[float], steps: int, *, joins: bool = False) -> Request:
        return self._request(course, lanes, steps, course.num_seeds, RUNG, joins=joins)

    def _request(
        self, course: Course, lanes: Sequence[float], steps: int, seeds: int, name: str, *, joins: bool = False
    ) -> Request:
        return Request(
            log10_lrs=lanes,
            num_steps=steps,
            num_seeds=seeds,
            carry=True,
            name=name,
            joins=joins,
            longest=course.longest,
            programs=((course.num_seeds, course.widest), (1, len(course.coarse))),
        )


def _longer_sweep(sweep: Stage, course: Course, baseline_loss: float | None) -> int | None:
    """To how many steps the sweep is extended, because learning has not started; None if it is not."""
    constants, progress = course.constants, sweep.progress(baseline_loss)
    if progress is None or not progress < constants.started or sweep.num_steps >= course.longest:
        return None
    steps = min(int(constants.extend * sweep.num_steps), course.longest)
    cost = len(course.coarse) * (steps - sweep.num_steps)
    share = constants.sweep_share if sweep.found else 1.0  # there is no rung to keep the rest for
    return steps if sweep.spent + cost <= share * course.updates else None


def _beyond(stages: tuple[Stage, ...], course: Course) -> float | None:
    """The grid's next exponent beyond the end of a rung that is its best, where the budget has it."""
    rung = stages[-1]
    side = {0: -1, len(rung.log10_lrs) - 1: 1}.get(rung.lowest)
    if side is None or len(rung.rounds) > course.constants.edges:
        return None
    first = sum(stage.name == RUNG for stage in stages) == 1
    grid, x = (course.coarse if first else course.fine), float(rung.log10_lrs[rung.lowest])
    beyond = [one for one in grid if side * (one - x) > TOLERANCE]
    if not beyond or course.num_seeds * rung.num_steps > course.updates - rung.spent:
        return None
    return min(beyond) if side > 0 else max(beyond)


def _affordable(last: Stage, course: Course, lanes: Sequence[float], steps: int) -> int:
    """The largest number of steps, up to `steps`, that the budget allows for these learning rates."""
    known = min(course.num_seeds, last.num_seeds) * sum(x in last.log10_lrs for x in lanes)
    left = course.updates - last.spent + known * last.num_steps
    return min(steps, int(left // (len(lanes) * course.num_seeds)))


def _interval(stages: tuple[Stage, ...], chosen: Stage, down: float, course: Course) -> tuple[float, float] | None:
    """The lowest and the highest learning rate that a rung, or one seed of the chosen stage alone, asks for."""
    picks = [one.best - course.correction(one.num_steps) for one in stages if one.found and one.name != SWEEP]
    if chosen.num_seeds > 1:
        seeds = [chosen.seed(index) for index in range(chosen.num_seeds)]
        picks += [one.best - down for one in seeds if one.found]
    return (10.0 ** min(picks), 10.0 ** max(picks)) if len(picks) > 1 else None


def _reason(choice: Choice, stages: tuple[Stage, ...], course: Course) -> tuple[str, ...]:
    """Why it was chosen, and what every stage found."""
    return (*_choice_in_words(choice, stages[choice.stage], course), *map(_stage_in_words, stages))


def _choice_in_words(choice: Choice, stage: Stage, course: Course) -> list[str]:
    if not math.isfinite(choice.lr):
        assert choice.outcome is not None
        return [choice.outcome.value]
    if choice.rule == "midpoint":
        return [f"Learning rate {choice.lr:.2e} (the middle of the window after {stage.num_steps} updates)."]
    lines = [
        f"Learning rate {choice.lr:.2e} for {course.train_steps} updates. Of those trained for {stage.num_steps} "
        f"({stage.num_steps / course.train_steps:.0%} of that), {10.0**stage.best:.2e} was the best: it took the loss "
        f"from {stage.initial:.4g} to {stage.reached:.4g}."
    ]
    if choice.correction > 0:
        lines.append(
            f"The best learning rate falls while training goes on: {choice.correction:.2f} decades were taken off."
        )
    if choice.interval is not None:
        lines.append(f"Rungs and seeds ask for {choice.interval[0]:.1e} to {choice.interval[1]:.1e}.")
    return lines


def _stage_in_words(stage: Stage) -> str:
    lowest = f", lowest at {10.0**stage.minimum:.1e}" if stage.found else f", {stage.window.outcome.name}"
    low, high = 10.0 ** stage.log10_lrs[[0, -1]]
    return (
        f"{stage.name.capitalize()}: {_count(len(stage.log10_lrs), 'learning rate')} from {low:.1e} to {high:.1e}, "
        f"{_count(stage.num_seeds, 'seed')}, after {stage.num_steps} updates{lowest}."
    )


def _count(count: int, what: str) -> str:
    return f"one {what}" if count == 1 else f"{count} {what}s"
