"""The command itself: what is run, what is written, and the exit status."""

import contextlib
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import finder
from .._version import __version__
from ..finder import LRFinderResult, Outcome, SearchInterrupted, find_lr, preview_lr, range_test
from ..plots import plot_curvature, plot_finder, plot_range_test
from ..trials import Task
from ._load import (
    UsageError,
    as_options,
    load_executor,
    load_key,
    load_optimizer,
    load_task,
    make_folder,
    read_horizons,
)
from ._status import FOUND, INTERRUPTED, NOT_FOUND, WRONG_USE, complain, write_result

if TYPE_CHECKING:
    from ._options import Find, Output, RangeTest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `lrjax` command.

    Args:
      arguments: the words after `lrjax`; None takes those of this process.

    Returns:
      The exit status: 0 found, 1 not found, 2 wrong use or an error, 130 interrupted.

    Examples:
      >>> import lrjax.cli
      >>> status = lrjax.cli.main(["--version"])
      lrjax ...
      >>> status
      0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--version"], ["-V"]):
        print(f"lrjax {__version__}")
        return FOUND
    from ._budget import run_search
    from ._options import Budgeted, Explore, RangeTest, Schedules, Sweep, parse
    from ._schedules import show_schedules
    from ._sweep import run_sweep

    try:
        options = parse(words)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else WRONG_USE
    try:
        with _search_path_restored():
            if isinstance(options, Explore):
                from ._explore import run_explorer

                status = run_explorer(options)
            elif isinstance(options, Schedules):
                status = show_schedules(options)
            elif isinstance(options, RangeTest):
                status = _range_test(options)
            elif isinstance(options, Budgeted):
                with _standard_output_kept(options):
                    told = run_search(options)
                status = told()
            elif isinstance(options, Sweep):
                with _standard_output_kept(options):
                    told = run_sweep(options)
                status = told()
            else:
                status = _preview(options) if options.dry_run else _find(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `lrjax find | head`: nobody reads on, and Python must not complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG_USE
    except KeyboardInterrupt:
        complain("Interrupted before there was a result.")
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        else:
            complain(str(error) if isinstance(options, Schedules) and str(error) else _in_words(error))
        return WRONG_USE


def _find(options: "Find") -> int:
    from ._report import Printer, print_json, result_document

    make_optimizer, call = load_optimizer(options.optimizer, options.optimizer_arg)
    arguments = _arguments(options)
    folder = make_folder(options.out)
    with _standard_output_kept(options):
        result, interrupted = _search(options, load_task(options.task), make_optimizer, arguments)
    found = result.outcome is Outcome.found
    pictures = {"lr_finder.png": lambda: plot_finder(result), "lr_curvature.png": lambda: plot_curvature(result)}
    files, trouble = write_result(folder / "lr_finder.json", result, pictures if options.plot else {})
    if options.json:
        print_json(result_document(result, call, files))
    elif options.quiet:
        print(f"{result.lr:.6g}") if found else complain(result.outcome.value)
    else:
        printer = Printer()
        if interrupted:
            printer.say("Interrupted. This is what the finished rounds tell.", "bold yellow")
        printer.result(result, _title(options))
        printer.files(files)
        if found:
            printer.line_to_paste(call, result.lr)
    if trouble:
        complain(trouble)
        return WRONG_USE
    return INTERRUPTED if interrupted else FOUND if found else NOT_FOUND


def _arguments(options: "Find") -> dict[str, Any]:
    """What `find_lr` and `preview_lr` both take."""
    return {
        "key": load_key(options.seed),
        "num_steps": options.steps,
        "num_seeds": options.seeds,
        "min_lr": options.min_lr,
        "max_lr": options.max_lr,
        "refine": None if options.refine == "none" else options.refine,
        "executor": load_executor(options.executor),
        "horizons": read_horizons(options.horizons),
    }


def _search(
    options: "Find", task: Task, make_optimizer: Callable[[Any], Any], arguments: dict[str, Any]
) -> tuple[LRFinderResult, bool]:
    """The result, and whether the search was interrupted."""
    try:
        result = find_lr(
            task,
            make_optimizer,
            **arguments,
            rule=getattr(finder, options.rule),
            extend_range=options.extend_range,
            literal=options.literal,
            progress=sys.stderr.isatty() and not options.quiet,
            throw=False,
        )
        return result, False
    except SearchInterrupted as stop:
        if stop.result is None:
            raise
        return stop.result, True


def _preview(options: "Find") -> int:
    from ._report import Printer, preview_document, print_json

    make_optimizer, _ = load_optimizer(options.optimizer, options.optimizer_arg)
    arguments = _arguments(options)
    with _standard_output_kept(options):
        preview = preview_lr(load_task(options.task), make_optimizer, **arguments)
    print_json(preview_document(preview)) if options.json else Printer().say(preview.summary())
    return FOUND


def _range_test(options: "RangeTest") -> int:
    from ._report import PEERS, Printer, print_json, range_test_document

    make_optimizer, call = load_optimizer(options.optimizer, options.optimizer_arg)
    if options.suggest not in ("all", *PEERS):
        raise UsageError(f"`--suggest` must be all or one of {', '.join(PEERS)}, got {options.suggest!r}.")
    folder = make_folder(options.out)
    with _standard_output_kept(options):
        test = range_test(
            load_task(options.task),
            make_optimizer,
            key=load_key(options.seed),
            min_lr=options.min_lr,
            max_lr=options.max_lr,
            num_steps=options.steps,
            mode=options.mode,
            smoothing=options.smoothing,
            stop_factor=None if options.stop_factor == math.inf else options.stop_factor,
        )
    pictures = {"range_test.png": lambda: plot_range_test(test)}
    files, trouble = write_result(folder / "range_test.json", test, pictures if options.plot else {})
    lrs = test.suggestions().lrs
    lr = lrs.get("steepest_log" if options.suggest == "all" else options.suggest)
    if options.json:
        print_json(range_test_document(test, files))
    elif options.quiet:
        print(f"{lr:.6g}") if lr is not None else complain("No learning rate was found.")
    else:
        printer = Printer()
        printer.range_test(test, options.suggest, _title(options))
        printer.files(files)
        if lr is not None:
            printer.line_to_paste(call, lr)
    if trouble:
        complain(trouble)
        return WRONG_USE
    return NOT_FOUND if lr is None else FOUND


def _title(options: "Find | RangeTest") -> str:
    return f"{options.task or 'handwritten digits'}, {options.optimizer}"


@contextlib.contextmanager
def _standard_output_kept(options: "Output") -> Iterator[None]:
    """Where a machine reads standard output, what the user's code prints goes to standard error."""
    if not (options.json or options.quiet):
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _search_path_restored() -> Iterator[None]:
    """Loading a module of the user's puts its folder on `sys.path`, as `python` would."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def _in_words(error: Exception) -> str:
    """An error as one would like to read it on a command line, options named as they are there."""
    words = str(error).strip()
    if isinstance(error, UsageError):
        return words
    if not words.startswith("`"):
        return f"{type(error).__name__}: {words or 'no message'}\nAdd --debug to see where."
    argument = r"`(?:find_lr|search_lr|plan_search|range_test|sweep|Durations|explore)\((?:num_)?(\w+)=\.\.\.\)`"
    words = re.sub(r"`(?:search_lr|sweep)\(directory=('[^`]*')\)`", r"`--directory \1`", words)
    words = re.sub(r"`sweep\(grid=\.\.\.\)\['(\w+)'\]`", r"`--grid \1=...`", words)
    return as_options(re.sub(argument, lambda match: f"`--{match[1].replace('_', '-')}`", words))
