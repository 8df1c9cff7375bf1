"""The command itself: what is run, what is written, and the exit status."""

import contextlib
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import _curve
from .._curve import Outcome
from .._engine import Task
from .._failure import SearchInterrupted
from .._preview import preview
from .._search import LRResult, StepSampling, find_lr, plot_curvature, plot_lr, plot_range_test, range_test
from .._version import __version__
from ._errors import in_words, in_words_of_schedules
from ._load import UsageError, load_executor, load_key, load_optimizer, load_task, make_folder, read_horizons
from ._status import FOUND, INTERRUPTED, NOT_FOUND, WRONG_USE, complain, interruption, write_result
from ._streams import files_since, give_up_output, usable_streams

if TYPE_CHECKING:
    from ._options import Find, Options, Output, RangeTest


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
    try:
        with usable_streams():
            return _main(list(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        complain(str(error))
    except BrokenPipeError:  # `lrjax find | head`: nobody reads on
        give_up_output()
    return WRONG_USE


def _main(words: list[str]) -> int:
    if words in (["--version"], ["-V"]):
        print(f"lrjax {__version__}")
        return FOUND
    from ._page import print_page
    from ._parse import page_for, parse

    try:
        page = page_for(words)
        if page is not None:
            print(page, flush=True) if words[0] == "--print-completion" else print_page(page)
            return FOUND
        options = parse(words)
    except UsageError as error:
        complain(str(error))
        return WRONG_USE
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else WRONG_USE
    return _run(options)


def _run(options: "Options") -> int:
    """Run a command; the exit status, whatever happens."""
    from ._budget import run_search
    from ._options import Budgeted, Explore, RangeTest, Schedules, Sweep
    from ._schedules import show_schedules
    from ._sweep import run_sweep

    start = time.time()
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
    except KeyboardInterrupt:
        directory = getattr(options, "directory", None)
        complain(interruption("", {}, directory, resumable=hasattr(options, "directory")))
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if why := give_up_output():
            files = files_since(getattr(options, "out", None), start)
            kept = f" What was found is in {', '.join(files)}." if files else ""
            complain(f"Standard output could not be written: {why}.{kept}")
        elif options.debug:
            traceback.print_exc()
        else:
            complain(in_words_of_schedules(error) if isinstance(options, Schedules) else in_words(error))
        return WRONG_USE


def _find(options: "Find") -> int:
    from ._report import Printer, print_json, result_document

    make_optimizer, call = load_optimizer(options.optimizer, options.optimizer_arg)
    arguments = _arguments(options)
    folder = make_folder(options.out)
    with _standard_output_kept(options):
        result, interrupted = _search(options, load_task(options.task), make_optimizer, arguments)
    found = result.outcome is Outcome.found
    pictures = {"lr_finder.png": lambda: plot_lr(result), "lr_curvature.png": lambda: plot_curvature(result)}
    files, trouble = write_result(folder / "lr_finder.json", result, pictures if options.plot else {})
    notice = interruption("what the finished rounds tell", files, resumable=False) if interrupted else ""
    if notice and (options.json or options.quiet):
        complain(notice)
    if options.json:
        print_json(result_document(result, call, files))
    elif options.quiet:
        print(f"{result.lr:.6g}") if found else complain(result.outcome.value)
    else:
        printer = Printer()
        printer.notice(notice)
        printer.result(result, _title(options))
        printer.files(files)
        if found:
            printer.line_to_paste(call, result.lr)
    if trouble:
        complain(trouble)
        return WRONG_USE
    return INTERRUPTED if interrupted else FOUND if found else NOT_FOUND


def _arguments(options: "Find") -> dict[str, Any]:
    """What `find_lr` and its preview both take."""
    strategy = StepSampling(
        num_steps=options.steps,
        num_seeds=options.seeds,
        **options.limits(),
        rule=getattr(_curve, options.rule),
        refine=None if options.refine == "none" else options.refine,
        horizons=read_horizons(options.horizons),
        extend_range=None if options.extend_range else False,
        literal=options.literal,
    )
    executor = load_executor(options.executor)
    return {"strategy": strategy, "key": load_key(options.seed), "executor": executor}


def _search(
    options: "Find", task: Task, make_optimizer: Callable[[Any], Any], arguments: dict[str, Any]
) -> tuple[LRResult, bool]:
    """The result, and whether the search was interrupted."""
    return _or_what_there_is(
        lambda: find_lr(
            task,
            make_optimizer,
            **arguments,
            progress=sys.stderr.isatty() and not options.quiet,
            throw=False,
        )
    )


def _or_what_there_is(search: Callable[[], Any]) -> tuple[Any, bool]:
    """A search's result, and whether it was interrupted; Ctrl-C before there was any goes on."""
    try:
        return search(), False
    except SearchInterrupted as stop:
        if stop.result is None:
            raise
        return stop.result, True


def _preview(options: "Find") -> int:
    from ._report import Printer, plan_document, print_json

    make_optimizer, _ = load_optimizer(options.optimizer, options.optimizer_arg)
    arguments = _arguments(options)
    with _standard_output_kept(options):
        plan = preview(find_lr, load_task(options.task), make_optimizer, **arguments)
    print_json(plan_document(plan)) if options.json else Printer().say(plan.summary())
    return FOUND


def _range_test(options: "RangeTest") -> int:
    from ._report import PEERS, Printer, print_json, range_test_document

    make_optimizer, call = load_optimizer(options.optimizer, options.optimizer_arg)
    if options.suggest not in ("all", *PEERS):
        raise UsageError(f"`--suggest` must be all or one of {', '.join(PEERS)}, got {options.suggest!r}.")
    folder = make_folder(options.out)
    with _standard_output_kept(options):
        test, interrupted = _ramp(options, load_task(options.task), make_optimizer)
    pictures = {"range_test.png": lambda: plot_range_test(test)}
    files, trouble = write_result(folder / "range_test.json", test, pictures if options.plot else {})
    lrs = test.suggestions()[0]
    lr = lrs.get("steepest_log" if options.suggest == "all" else options.suggest)
    notice = interruption("the history until then", files, resumable=False) if interrupted else ""
    if notice and (options.json or options.quiet):
        complain(notice)
    if options.json:
        print_json(range_test_document(test, files))
    elif options.quiet:
        print(f"{lr:.6g}") if lr is not None else complain("No learning rate was found.")
    else:
        printer = Printer()
        printer.notice(notice)
        printer.range_test(test, options.suggest, _title(options))
        printer.files(files)
        if lr is not None:
            printer.line_to_paste(call, lr)
    if trouble:
        complain(trouble)
        return WRONG_USE
    return INTERRUPTED if interrupted else NOT_FOUND if lr is None else FOUND


def _ramp(options: "RangeTest", task: Task, make_optimizer: Callable[[Any], Any]) -> tuple[Any, bool]:
    """The range test, and whether it was interrupted."""
    return _or_what_there_is(
        lambda: range_test(
            task,
            make_optimizer,
            key=load_key(options.seed),
            **options.limits(),
            num_steps=options.steps,
            mode=options.mode,
            smoothing=options.smoothing,
            stop_factor=None if options.stop_factor == math.inf else options.stop_factor,
        )
    )


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
