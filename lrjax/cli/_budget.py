"""`lrjax search`: the search with a budget, its files, and the line of Python. Imported by `main` only."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._curve import Outcome
from .._failure import SearchInterrupted
from .._plan import code_of, peak_for, recommend
from .._preview import preview
from .._search import Budget, LRResult, StepSampling, find_lr, plot_lr
from ..schedules import cosine_decay, linear_decay, one_cycle, warmup_cosine, warmup_stable_decay
from ._load import load_executor, load_key, load_optimizer, load_task, make_folder
from ._status import FOUND, INTERRUPTED, NOT_FOUND, WRONG_USE, complain, interruption, write_result

if TYPE_CHECKING:
    from ._options import Budgeted

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


def run_search(options: "Budgeted") -> Callable[[], int]:
    """Run the search and write its files; what is returned prints the result and gives the exit status."""
    from ._report import Printer

    make_optimizer, call = load_optimizer(options.optimizer, options.optimizer_arg)
    arguments: dict[str, Any] = {
        "strategy": _strategy(options),
        "key": load_key(options.seed),
        "train_steps": options.train_steps,
        "executor": load_executor(options.executor),
    }
    folder, task, interrupted = make_folder(options.out), load_task(options.task), False
    speaks = not (options.json or options.quiet)
    if options.dry_run or speaks:
        plan = preview(find_lr, task, make_optimizer, **arguments)
        if speaks:
            Printer().say(f"Plan\n{plan.summary()}\n")
        if options.dry_run:
            return lambda: _tell_plan(options, plan)
    bar = sys.stderr.isatty() and not options.quiet
    try:
        result = find_lr(task, make_optimizer, **arguments, directory=options.directory, progress=bar, throw=False)
    except SearchInterrupted as stop:
        if not isinstance(stop.result, LRResult):
            raise
        result, interrupted = stop.result, True
    pictures = {"lr_search.png": lambda: plot_lr(result)}
    files, trouble = write_result(folder / "lr_search.json", result, pictures if options.plot else {})
    return lambda: _tell(options, result, call, files, trouble, interrupted)


def _strategy(options: "Budgeted") -> Budget | StepSampling:
    """A budget of 0 is step sampling."""
    given: dict[str, Any] = {"num_seeds": options.seeds, **options.limits()}
    return Budget(trainings=options.budget, **given) if options.budget else StepSampling(**given)


def schedule_for(name: str, result: LRResult, total_steps: int) -> tuple[str, str]:
    """What goes where the optimizer takes a learning rate, and why; for a result that has found one."""
    if name == "constant":
        return f"{result.lr:.2e}", ""
    if name == "recommended":
        recommendation = recommend(result, total_steps)
        return recommendation.code, recommendation.reason
    make = SCHEDULES[name](total_steps)
    peak = peak_for(result, make(1.0), total_steps)
    return code_of(make, peak), f"Its peak is {peak / result.lr:.2g} times the learning rate, by the area under it."


def _tell_plan(options: "Budgeted", plan: Any) -> int:
    from ._report import plan_document, print_json

    if options.json:
        print_json(plan_document(plan))
    elif options.quiet:
        print(plan.updates)
    return FOUND


def _tell(
    options: "Budgeted", result: LRResult, call: str, files: dict[str, Path], trouble: str, interrupted: bool
) -> int:
    """Print it."""
    from ._report import Printer, print_json, search_document

    found = result.outcome is Outcome.found
    code, why = schedule_for(options.schedule, result, options.train_steps) if found else ("", "")
    notice = interruption("what the finished rungs tell", files, options.directory) if interrupted else ""
    if notice and (options.json or options.quiet):
        complain(notice)
    if options.json:
        print_json(search_document(result, call.format(code) if found else None, files))
    elif options.quiet:
        print(f"{result.lr:.6g}") if found else complain(result.outcome.value)
    else:
        printer = Printer()
        printer.notice(notice)
        printer.search(result)
        printer.files(files)
        if found:
            printer.code_to_paste(call, code, why)
    if trouble:
        complain(trouble)
        return WRONG_USE
    return INTERRUPTED if interrupted else FOUND if found else NOT_FOUND
