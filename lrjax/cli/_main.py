"""The command: a cyclopts app, which parses, prints help and completes, and the exit status of what it does."""

import dataclasses
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from .._engine import keep_programs
from .._version import __version__
from ..explorer import explore
from ._doctor_command import DoctorCommand
from ._errors import FOUND, INTERRUPTED, WRONG_USE, UsageError, complain, in_words
from ._find_command import FindCommand
from ._options import Command, Count, Flag, Many, Place
from ._output import give_up_output, usable_streams
from ._range_test_command import RangeTestCommand
from ._report import Screen
from ._schedules_command import ListCommand, PlotCommand
from ._sweep_command import SweepCommand

HELP_WIDTH = 80
"""Columns of a help page at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExploreCommand(Command):
    """Open the explorer in the browser: schedules with sliders, and the finder.

    Everything runs on this machine; the page asks nothing of any other, and needs no extra package. Ctrl-C ends it.

        lrjax explore lrjax-out/lr_finder.json
    """

    file: Place | None = dataclasses.field(default=None, kw_only=False)
    """A lr_finder.json, or a schedule's spec as JSON; without it the page begins with three schedules."""
    host: Annotated[str, Parameter(metavar="ADDRESS")] = "127.0.0.1"
    """Address to listen at. With another one, other machines can use the page, without a password."""
    name: Annotated[Many, Parameter(metavar="NAME")] = ()
    """A further host name under which browsers reach the page, as through a proxy; may be repeated."""
    port: Count = 8571
    """Port to listen at; 0 takes any that is free."""
    browser: Annotated[Flag, Parameter(negative="--no-browser")] = True
    """Open it in the browser, or not."""

    def __call__(self) -> int:
        explore(self.file, host=self.host, port=self.port, names=self.name, browser=self.browser)
        return FOUND


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompletionCommand(Command):
    """Print the completion for a shell; in bash: eval "$(lrjax --print-completion bash)"."""

    shell: Literal["bash", "zsh", "fish"] = dataclasses.field(kw_only=False)
    """Whose completion."""

    def __call__(self) -> int:
        print(app.generate_completion(shell=self.shell).replace("…", "..."))  # for every encoding
        return FOUND


app = App(
    name="lrjax",
    help="The learning-rate toolkit for JAX: find a good learning rate, give it a schedule, prove both by a sweep.",
    help_epilogue="Exit status: 0 an answer was found, 1 none was, 2 wrong use or an error, 130 interrupted.",
    help_format="markdown",
    version=f"lrjax {__version__}",
    version_flags=("--version", "-V"),
    default_parameter=Parameter(negative=(), allow_repeating=True),  # the last one counts
    exit_on_error=False,
    print_error=False,
)
app.command(FindCommand, name="find", sort_key=1)
app.command(RangeTestCommand, name="range-test", sort_key=3)
app.command(SweepCommand, name="sweep", sort_key=2)
app.command(schedules := App(name="schedules", default_command=ListCommand, sort_key=4))
schedules.command(PlotCommand, name="plot")
app.command(ExploreCommand, name="explore", sort_key=5)
app.command(DoctorCommand, name="doctor", sort_key=6)
app.command(CompletionCommand, name="--print-completion")


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
    path = list(sys.path)  # loading a module of the user's puts its folder there, as `python` would
    try:
        with usable_streams():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        complain(str(error))
    except BrokenPipeError:  # `lrjax find | head`: nobody reads on
        give_up_output()
    finally:
        sys.path[:] = path
    return WRONG_USE


def _run(words: list[str]) -> int:
    """Run a command; the exit status, whatever happens."""
    start, command = time.time(), Command()
    try:
        command = _parse(words)
        if getattr(command, "cache", False):
            keep_programs()
        status = command()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        complain(f"Interrupted before there was a result. {command.how_to_go_on()}")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if why := give_up_output():
            folder = getattr(command, "out", None)
            paths = sorted(folder.glob("*")) if folder is not None else ()
            files = [str(path) for path in paths if path.is_file() and path.stat().st_mtime >= start]
            kept = f" What was found is in {', '.join(files)}." if files else ""
            complain(f"Standard output could not be written: {why}.{kept}")
        elif command.debug:
            traceback.print_exc()
        else:
            complain(in_words(error))
        return WRONG_USE


def _parse(words: Sequence[str]) -> Command:
    """The command that the words ask for; help and the version are printed."""
    if not words:
        names = ", ".join(name for name in app if not name.startswith("-"))
        raise UsageError(f"`lrjax` needs a command: {names}. `lrjax --help` says what they do.")
    try:
        make, bound, _ = app.parse_args(words, console=Screen(HELP_WIDTH))
    except CycloptsError as error:
        raise UsageError(str(error)) from None
    made = make(*bound.args, **bound.kwargs)
    return made if isinstance(made, Command) else Command()
