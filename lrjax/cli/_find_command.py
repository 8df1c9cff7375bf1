"""`lrjax find`: a search by step sampling, or with a budget for a training of known length."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Group, Parameter

from .. import _curve
from .._curve import Outcome
from .._plan import code_of, peak_for, recommend
from .._search import find_lr, plan_search, plot_curvature, plot_finder, plot_search, preview_lr, search_lr
from ..schedules import cosine_decay, linear_decay, one_cycle, warmup_cosine, warmup_stable_decay
from ._errors import as_options
from ._load import load_key, load_optimizer, load_task, make_folder, read_horizons
from ._options import Count, Directory, Flag, How, Number, Output, Range, of
from ._report import Answer, Screen, deliver, only_the_answer, or_what_there_is, picture, print_json
from ._standard_streams import FOUND, how_to_go_on

METHODS = {
    "midpoint": "middle of the window, in decades",
    "half_loss": "half of the reduction is reached",
    "steepest": "the loss falls fastest here",
    "lowest_loss": "trial with the lowest loss",
}

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
SEEDS = "Draws of initial parameters and batches."
SEEDS_DEFAULT = "3, or as many as the data allow; with a budget by that, 1 to 4"
REFINE = "What follows the first grid: quarter decades around the window, the paper's midpoints, or nothing."
HORIZONS = Parameter(
    converter=lambda _, tokens: read_horizons(tokens[0].value),
    metavar="N,N,...",
    help="Further numbers of updates after which to read the curve, to see how the best learning rate moves.",
)
SAMPLED = Parameter(group=Group("How it is searched, without --train-steps", sort_key=3))
BUDGETED = Parameter(group=Group("How it is searched, for a training of known length", sort_key=4))
SAMPLING = ("num_steps", "rule", "refine", "extend_range", "horizons", "literal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindCommand(Range):
    """Find a good learning rate by step sampling.

    Trains one copy of the model for a few steps at every learning rate of a grid, all from the same parameters on the
    same batches, and reads the validation losses as a curve: where it begins to fall, where it is lowest, and the
    learning rate between them. Writes lr_finder.json, lr_finder.png and lr_curvature.png.

    With --train-steps it is a search with a budget: a coarse sweep, then rungs of a few learning rates around the
    minimum, each four times as long, up to a quarter of the training. Writes lr_search.json and lr_search.png.

        lrjax find my_model.py:task --optimizer adamw
        lrjax find my_model.py:task --train-steps 10000 --schedule one-cycle
    """

    num_steps: Annotated[Count | None, SAMPLED, of(find_lr, "num_steps", "--steps")] = None
    rule: Annotated[Literal["midpoint", "half_loss", "steepest", "lowest_loss"], SAMPLED] = "midpoint"
    """Which method chooses."""
    refine: Annotated[Literal["fill", "paper", "none"] | None, SAMPLED, of(find_lr, "refine", help=REFINE)] = None
    extend_range: Annotated[bool | None, SAMPLED, Parameter(negative="--no-extend-range")] = None
    """Whether the search may leave the range; by default it may beyond the ends that are not given."""
    horizons: Annotated[Any, SAMPLED, HORIZONS] = None
    literal: Annotated[Flag | None, SAMPLED, of(find_lr, "literal")] = None
    train_steps: Annotated[Count | None, BUDGETED, of(search_lr, "train_steps")] = None
    budget: Annotated[Number | None, BUDGETED, of(search_lr, "budget")] = None
    schedule: Annotated[Peak | None, BUDGETED, Parameter(show_default="constant")] = None
    """The schedule that the peak is computed for; recommended takes the one that suits the result."""
    directory: Annotated[Directory, BUDGETED] = None
    num_seeds: Annotated[Count | None, of(find_lr, "num_seeds", "--seeds", help=SEEDS, default=SEEDS_DEFAULT)] = None
    executor: How = "auto"
    dry_run: Flag = False
    """Predict the cost of the search, and do not run it."""

    def __call__(self) -> int:
        """Run it; the exit status."""
        budgeted = self.train_steps is not None
        make_optimizer, call = load_optimizer(self.optimizer, self.optimizer_arg)
        key = load_key(self.seed)
        arguments = {"key": key, "executor": self.executor, **self.given("num_seeds", "min_lr", "max_lr")}
        arguments |= self.given("train_steps", "budget") if budgeted else self._sampling()
        if not self.dry_run:
            make_folder(self.out)
        with only_the_answer(self) as bar:
            task = load_task(self.task)
            plan = _preview(task, make_optimizer, arguments) if self.dry_run or budgeted else None
        if self.dry_run:
            return _deliver_plan(plan, self)
        if plan is not None and not (self.json or self.quiet):
            Screen().say(f"Plan\n{plan.summary()}\n")
        if budgeted:
            arguments["directory"] = self.directory
        search = search_lr if budgeted else find_lr
        with only_the_answer(self):
            result, interrupted = or_what_there_is(
                lambda: search(task, make_optimizer, **arguments, progress=bar, throw=False)
            )
        answer, writers = (_budgeted_answer if budgeted else _sampling_answer)(result, call, self)
        if interrupted:
            kept = f"what the finished {'rungs' if budgeted else 'rounds'} tell"
            answer = dataclasses.replace(answer, kept=kept, how=how_to_go_on(self.directory, resumable=budgeted))
        return deliver(answer, self, writers)

    def _sampling(self) -> dict[str, Any]:
        words = {**self.given(*SAMPLING), "rule": getattr(_curve, self.rule)}
        return words | ({"refine": None} if self.refine == "none" else {})


def _preview(task: Any, make_optimizer: Any, arguments: dict[str, Any]) -> Any:
    if "train_steps" in arguments:
        return plan_search(task, make_optimizer, **arguments)
    others = ("rule", "extend_range", "literal")
    words = {name: value for name, value in arguments.items() if name not in others}
    return preview_lr(task, make_optimizer, **words)


def _deliver_plan(plan: Any, output: Output) -> int:
    if output.json:
        rungs = {"rungs": [rung._asdict() for rung in plan.rungs]} if hasattr(plan, "rungs") else {}
        print_json({**dataclasses.asdict(plan), **rungs})
    elif output.quiet:
        print(getattr(plan, "num_updates", None) or plan.updates_expected)
    else:
        Screen().say(plan.summary())
    return FOUND


def _sampling_answer(result: Any, call: str, options: FindCommand) -> tuple[Answer, dict[str, Any]]:
    found, curve = result.outcome is Outcome.found, result.curve

    def show(screen: Screen) -> None:
        screen.say(options.title, "bold")
        rows = []
        if found:
            for name, lr in ({result.rule: result.lr} | dict(result.selections)).items():
                chosen = " (chosen)" if name == result.rule else ""
                rows.append((f"{name}{chosen}", f"{lr:.2e}", METHODS.get(name, "")))
            low, high = float(result.window.min_lr), float(result.window.max_lr)
            decades = f"{float(result.window.decades):.1f} decades in which training works"
            rows.append(("window", f"{low:.1e} to {high:.1e}", decades))
            if result.interval is not None:
                ends = f"{result.interval[0]:.1e} to {result.interval[1]:.1e}"
                rows.append(("seed by seed", ends, f"the picks of {curve.final.shape[0]} seeds alone"))
        rows.append(("outcome", result.outcome.name, ""))
        screen.table(("", "learning rate", ""), rows, bold=(0,) if found else ())
        screen.summary(result.summary())

    document = {
        "lr": result.lr,
        "outcome": result.outcome.name,
        "rule": result.rule,
        "optimizer": call.format(repr(result.lr)) if found else None,
        "window": {"min_lr": float(result.window.min_lr), "max_lr": float(result.window.max_lr)},
        "selections": dict(result.selections),
        "interval": result.interval,
        "horizon_lrs": {str(steps): lr for steps, lr in result.horizon_lrs.items()},
        "warnings": [dataclasses.asdict(warning) for warning in result.warnings],
        "curve": {
            "lrs": np.asarray(curve.lrs).tolist(),
            "losses": np.asarray(curve.final).mean(axis=0).tolist(),
            "initial_loss": float(np.mean(np.asarray(curve.initial_loss))),
        },
        "num_trials": result.num_trials,
        "num_updates": result.num_updates,
        "seconds": result.seconds,
        "executor": result.execution.used,
    }
    answer = Answer(
        document=document,
        show=show,
        line=f"{result.lr:.6g}" if found else "",
        why=result.outcome.value,
        optimizer=call.format(f"{result.lr:.2e}") if found else "",
    )
    pictures = {
        "lr_finder.png": picture(lambda: plot_finder(result)),
        "lr_curvature.png": picture(lambda: plot_curvature(result)),
    }
    return answer, {"lr_finder.json": result.to_json, **pictures}


def _budgeted_answer(result: Any, call: str, options: FindCommand) -> tuple[Answer, dict[str, Any]]:
    found = result.outcome is Outcome.found
    code, why = schedule_for(options.schedule or "constant", result, options.train_steps or 0) if found else ("", "")

    def show(screen: Screen) -> None:
        for line in result.summary().splitlines():
            screen.say(as_options(line), "bold" if line.startswith("Learning rate ") else "")
        if why:
            screen.say(why)

    rungs = [
        {
            "num_steps": rung.num_steps,
            "lrs": (10.0**rung.log10_lrs).tolist(),
            "losses": rung.losses.mean(axis=0).tolist(),
            "seeds": len(rung.losses),
        }
        for rung in result.rungs
    ]
    names = ("lr", "interval", "train_steps", "budget", "cost", "num_steps", "num_updates", "seconds")
    document = {
        **{name: getattr(result, name) for name in names},
        "outcome": result.outcome.name,
        "optimizer": call.format(code) if found else None,
        "rungs": rungs,
        "warnings": [dataclasses.asdict(warning) for warning in result.warnings],
        "executor": result.execution.used,
    }
    answer = Answer(
        document=document,
        show=show,
        line=f"{result.lr:.6g}" if found else "",
        why=result.outcome.value,
        optimizer=call.format(code) if found else "",
    )
    draw = picture(lambda: plot_search(result) if result.finder is None else plot_finder(result.finder))
    return answer, {"lr_search.json": result.to_json, "lr_search.png": draw}


def schedule_for(name: str, result: Any, total_steps: int) -> tuple[str, str]:
    """What goes where the optimizer takes a learning rate, and why; for a result that has found one."""
    if name == "constant":
        return f"{result.lr:.2e}", ""
    if name == "recommended":
        recommendation = recommend(result, total_steps)
        return recommendation.code, recommendation.reason
    make = SCHEDULES[name](total_steps)
    peak = peak_for(make(1.0), result, total_steps=total_steps)
    return code_of(make, peak), f"Its peak is {peak / result.lr:.2g} times the learning rate, by the area under it."
