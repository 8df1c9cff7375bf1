"""`lrjax find`: a search with a budget for a training of known length, or by step sampling."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Group, Parameter, Token

from .._checks import show
from .._curve import METHODS, REASONS, Outcome, lowest_loss
from .._plan import code_of, peak_for, recommend
from .._preview import preview
from .._search import Budget, LRResult, StepSampling, find_lr, plot_curvature, plot_lr
from ..schedules import cosine_decay, linear_decay, one_cycle, warmup_cosine, warmup_stable_decay
from ._errors import UsageError
from ._load import load_key, load_optimizer, load_task, make_folder
from ._options import RUN, Count, Flag, Lanes, Number, Range, of
from ._report import Answer, Screen, deliver, only_the_answer, or_what_there_is, picture

SCHEDULES: dict[str, Callable[[int], functools.partial[Any]]] = {
    "one-cycle": lambda n: functools.partial(one_cycle, total_steps=n),
    "warmup-cosine": lambda n: functools.partial(warmup_cosine, warmup_steps=n // 10, total_steps=n),
    "warmup-stable-decay": lambda n: functools.partial(
        warmup_stable_decay, warmup_steps=n // 10, stable_steps=n - n // 10 - n // 5, decay_steps=n // 5
    ),
    "cosine": lambda n: functools.partial(cosine_decay, decay_steps=n),
    "linear": lambda n: functools.partial(linear_decay, end_value=0.0, transition_steps=n),
}
"""Name -> a function of the training's updates that gives a function of the peak."""

Peak = Literal["constant", "recommended", "one-cycle", "warmup-cosine", "warmup-stable-decay", "cosine", "linear"]
REFINE = "What follows the first grid: quarter decades around the window, the paper's midpoints, or nothing."
STEPS = "20, or twice the optimizer's memory"
BUDGET = (
    "Cost of the search as a multiple of that training's, by default 0.5, or 700 updates if that is more; 0 is step "
    "sampling."
)


def _read_horizons(_: object, tokens: Sequence[Token]) -> tuple[int, ...]:
    """`5,10`: numbers of updates."""
    text = tokens[0].value
    try:
        return tuple(int(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(
            f"`--horizons` must be whole numbers with commas between, such as 5,10, got {show(text)}."
        ) from None


HORIZONS = Parameter(converter=_read_horizons, metavar="N,N,...")
KNOWN = Parameter(group=Group("For a training of known length", sort_key=0))
SAMPLED = Parameter(group=Group("Without --train-steps: step sampling", sort_key=3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindCommand(Range, Lanes):
    """Find a good learning rate: with --train-steps for that training, without by step sampling.

    With --train-steps it is a search with a budget: a coarse sweep, then rungs of a few learning rates around the
    minimum, each longer than the last, up to 35 % of the training. Writes lr_finder.json and lr_finder.png.

    Without, it trains one copy of the model for a few steps at every learning rate of a grid, all from the same
    parameters on the same batches, and reads the validation losses as a curve: where it begins to fall, where it is
    lowest, and the learning rate between them. Writes lr_curvature.png too.

        lrjax find my_model.py:task --train-steps 10000 --schedule one-cycle
        lrjax find my_model.py:task --optimizer adamw
    """

    train_steps: Annotated[Count | None, KNOWN, of(find_lr, "train_steps")] = None
    schedule: Annotated[Peak, KNOWN] = "constant"
    """The schedule that the peak is computed for; recommended takes the one that suits the result."""
    trainings: Annotated[Number | None, KNOWN, of(Budget, "trainings", "--budget", help=BUDGET)] = None
    num_steps: Annotated[Count | None, SAMPLED, of(StepSampling, "num_steps", "--steps", show_default=STEPS)] = None
    rule: Annotated[Literal["midpoint", "half_loss", "steepest", "lowest_loss"] | None, SAMPLED] = None
    """Which method chooses; by default the middle of the window, in decades, or 0.8 below its end where it is wide."""
    refine: Annotated[Literal["fill", "paper", "none"] | None, SAMPLED, of(StepSampling, "refine", help=REFINE)] = None
    extend_range: Annotated[bool | None, SAMPLED, Parameter(negative="--no-extend-range")] = None
    """Whether the search may leave the range; by default it may beyond the ends that are not given."""
    horizons: Annotated[Any, SAMPLED, HORIZONS, of(StepSampling, "horizons", show_default=False)] = None
    literal: Annotated[Flag | None, SAMPLED, of(StepSampling, "literal")] = None
    metric: Annotated[str, RUN, Parameter(metavar="NAME")] = "loss"
    """What learning rates are ranked by: the loss, or another metric of the task's evaluation."""
    mode: Annotated[Literal["min", "max"] | None, RUN] = None
    """Which values of the metric are good: min, as of a loss, or max, as of accuracy."""
    num_seeds: Annotated[Count | None, RUN, Parameter(name="--seeds")] = None
    """Draws of initial parameters and batches; by default 3, or as many as the data allow, and with a budget 1."""
    dry_run: Annotated[Flag, RUN] = False
    """Predict the cost of the search, and do not run it."""

    @property
    def resumes(self) -> bool:
        """A search with a budget has checkpoints."""
        return self.train_steps is not None and self.trainings != 0

    def __call__(self) -> int:
        make_optimizer, call = load_optimizer(self.optimizer, self.optimizer_arg)
        run = {"strategy": self._strategy(), "key": load_key(self.seed), "executor": self.executor}
        run |= {"metric": self.metric, **self.given("train_steps", "directory", "mode")}
        if not self.dry_run:
            make_folder(self.out)
        with only_the_answer(self) as bar:
            task, plan = load_task(self.task), None
            if self.dry_run or (self.train_steps is not None and not (self.json or self.quiet)):
                plan = preview(find_lr, task, make_optimizer, **run)
        if plan is not None and self.dry_run:
            document = {**dataclasses.asdict(plan), "rounds": [one._asdict() for one in plan.rounds]}
            summary = plan.summary()
            return deliver(Answer(document=document, show=lambda s: s.say(summary), line=str(plan.updates)), self, {})
        if plan is not None:
            Screen().say(f"Plan\n{plan.summary()}\n")
        with only_the_answer(self):
            search = functools.partial(find_lr, task, make_optimizer, **run, progress=bar, throw=False)
            result, interrupted = or_what_there_is(search)
        writers = {"lr_finder.json": result.to_json, "lr_finder.png": picture(lambda: plot_lr(result))}
        if len(result.stages) == 1:
            writers["lr_curvature.png"] = picture(lambda: plot_curvature(result))
        kept = f"What the finished {'rungs' if self.resumes else 'rounds'} tell" if interrupted else ""
        return deliver(self._answer(result, call), self, writers, kept)

    def _strategy(self) -> StepSampling | Budget:
        given = self.given("num_seeds", "min_lr", "max_lr")
        sampling = self.given("num_steps", "rule", "refine", "extend_range", "horizons", "literal")
        if self.resumes:
            if sampling:
                option = f"--{next(iter(sampling)).replace('_', '-').removeprefix('num-')}"
                raise UsageError(f"`{option}` is for step sampling, without --train-steps or with --budget 0.")
            return Budget(**given, **self.given("trainings"))
        for name in ("trainings", "schedule") if self.train_steps is None else ():
            if getattr(self, name) not in (None, "constant"):
                option = {"trainings": "--budget"}.get(name, f"--{name}")
                raise UsageError(f"`{option}` needs the length of the training. Add --train-steps N.")
        if self.rule is not None:
            sampling["rule"] = (METHODS | {"lowest_loss": lowest_loss})[self.rule]
        if self.refine == "none":
            sampling["refine"] = None
        return StepSampling(**given, **sampling)

    def _answer(self, result: LRResult, call: str) -> Answer:
        found, curve = result.outcome is Outcome.found, result.curve
        code, why = self._schedule(result) if found else ("", "")
        optimizer = call.format(code) if found else ""
        precise = call.format(repr(result.lr)) if found and self.schedule == "constant" else optimizer
        document = {
            "lr": result.lr,
            "outcome": result.outcome.name,
            "strategy": result.strategy,
            "rule": result.rule,
            "metric": result.metric,
            "mode": result.mode,
            "optimizer": precise or None,
            "window": {"min_lr": float(result.window.min_lr), "max_lr": float(result.window.max_lr)},
            "selections": dict(result.selections),
            "interval": result.interval,
            "drift": {str(steps): lr for steps, lr in result.drift.items()},
            "warnings": [dataclasses.asdict(warning) for warning in result.warnings],
            "curve": {
                "lrs": np.asarray(curve.lrs).tolist(),
                "losses": np.asarray(curve.final).mean(axis=0).tolist(),
                "initial_loss": float(np.mean(np.asarray(curve.initial_loss))),
            },
            "stages": [
                {
                    "name": stage.name,
                    "num_steps": stage.num_steps,
                    "lrs": (10.0**stage.log10_lrs).tolist(),
                    "losses": stage.losses.mean(axis=0).tolist(),
                    "seeds": stage.num_seeds,
                }
                for stage in result.stages
            ],
            "train_steps": result.train_steps,
            "num_trials": result.num_trials,
            "num_updates": result.cost.updates,
            "cost": result.cost.trainings,
            "seconds": result.cost.seconds,
            "executor": result.execution.used,
        }
        return Answer(
            document=document,
            show=functools.partial(self._show, result, why),
            line=f"{result.lr:.6g}" if found else "",
            why=result.outcome.value,
            optimizer=optimizer,
        )

    def _schedule(self, result: LRResult) -> tuple[str, str]:
        """What goes where the optimizer takes a learning rate, and why."""
        if self.schedule == "constant" or self.train_steps is None:
            return f"{result.lr:.2e}", ""
        if self.schedule == "recommended":
            recommendation = recommend(result, self.train_steps)
            return recommendation.code, recommendation.reason
        make = SCHEDULES[self.schedule](self.train_steps)
        peak = peak_for(result, make(1.0), self.train_steps)
        return code_of(make, peak), f"Its peak is {peak / result.lr:.2g} times the learning rate, by `lrjax.peak_for`."

    def _show(self, result: LRResult, why: str, screen: Screen) -> None:
        screen.say(self.title, "bold")
        if len(result.stages) == 1:
            found = result.outcome is Outcome.found
            screen.table(("", "learning rate", ""), _rows(result, found), bold=(0,) if found else ())
        screen.summary(result.summary())
        if why:
            screen.say(why)


def _rows(result: LRResult, found: bool) -> list[tuple[str, str, str]]:
    """The picks of the methods, the window and what the seeds say."""
    rows = []
    if found:
        for name, lr in ({result.rule: result.lr} | dict(result.selections)).items():
            chosen = " (chosen)" if name == result.rule else ""
            rows.append((f"{name}{chosen}", f"{lr:.2e}", REASONS.get(name, "")))
        low, high = float(result.window.min_lr), float(result.window.max_lr)
        decades = f"{float(result.window.decades):.1f} decades in which training works"
        rows.append(("window", f"{low:.1e} to {high:.1e}", decades))
        if result.interval is not None:
            ends = f"{result.interval[0]:.1e} to {result.interval[1]:.1e}"
            rows.append(("seed by seed", ends, f"the picks of {result.stages[0].num_seeds} seeds alone"))
    return [*rows, ("outcome", result.outcome.name, "")]
