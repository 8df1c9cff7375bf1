"""The commands as a cyclopts app, which parses, prints help and completes."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

from cyclopts import App, CycloptsError, Parameter

from .._version import __version__
from ._errors import UsageError
from ._explore_command import explore_command
from ._find_command import FindCommand
from ._range_test_command import RangeTestCommand
from ._report import Screen
from ._schedules_command import PlotCommand, list_schedules
from ._sweep_command import SweepCommand

HELP_WIDTH = 80
"""Columns of a help page at most."""

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
    suppress_keyboard_interrupt=False,
)
schedules = App(name="schedules", default_command=list_schedules, sort_key=4)
schedules.command(PlotCommand, name="plot")
app.command(FindCommand, name="find", sort_key=1)
app.command(RangeTestCommand, name="range-test", sort_key=3)
app.command(SweepCommand, name="sweep", sort_key=2)
app.command(schedules)
app.command(explore_command, name="explore", sort_key=5)


@app.command(name="--print-completion")
def print_completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion for a shell; in bash: eval "$(lrjax --print-completion bash)"."""
    print(app.generate_completion(shell=shell).replace("…", "..."))  # for every encoding


def parse(words: Sequence[str]) -> tuple[Callable[..., Any], inspect.BoundArguments]:
    """The function that the words ask for, and its arguments.

    Raises:
      UsageError: what is wrong with them, and the nearest word that is known.
    """
    if not words:
        names = ", ".join(name for name in app if not name.startswith("-"))
        raise UsageError(f"`lrjax` needs a command: {names}. `lrjax --help` says what they do.")
    try:
        command, bound, _ = app.parse_args(words, console=Screen(HELP_WIDTH))
    except CycloptsError as error:
        raise UsageError(str(error)) from None
    bound.apply_defaults()
    return command, bound
