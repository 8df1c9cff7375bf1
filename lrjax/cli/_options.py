"""The kinds of options, and those that several commands share. Imported by the parser only."""

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter, Token

from .._checks import show
from ._errors import UsageError, as_options
from ._load import load_executor

NUMBERS = {int: "a whole number", float: "a number"}


def _read_number(kind: type, tokens: Sequence[Token]) -> Any:
    """A number as Python reads it; cyclopts would take 2.5 for 2 where an int is due."""
    text = tokens[0].value
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"`{tokens[0].keyword}` must be {NUMBERS[kind]}, got {show(text)}.{_whole(text)}") from None


def _whole(text: str) -> str:
    """For 1e4 where a whole number is due."""
    try:
        number = float(text)
    except ValueError:
        return ""
    return f" Write {int(number)}." if number.is_integer() and abs(number) < 1e15 else ""


def _read_place(kind: type, tokens: Sequence[Token]) -> Any:
    """A path, or what begins with one: ~ is the home directory, also where the shell leaves it (--out=~/runs)."""
    return kind(os.path.expanduser(tokens[0].value))


Count = Annotated[int, Parameter(converter=_read_number, metavar="N")]
Number = Annotated[float, Parameter(converter=_read_number)]
LR = Annotated[float, Parameter(converter=_read_number, metavar="LR")]
Place = Annotated[Path, Parameter(converter=_read_place)]
Folder = Annotated[Path, Parameter(converter=_read_place, metavar="FOLDER")]
Flag = Annotated[bool, Parameter(show_default=False)]
Words = Annotated[str, Parameter(converter=_read_place)]
Many = Annotated[tuple[str, ...], Parameter(show_default=False)]


def of(
    verb: Callable[..., Any], argument: str, name: str | None = None, *, help: str = "", default: str = ""
) -> Parameter:
    """An option that is an argument of a verb: the help is the first sentence of its docstring about it.

    The default of such an option here is None: it is not passed on, so the verb's own counts, and is shown.
    """
    own = inspect.signature(verb).parameters[argument].default
    if not default and not (own is None or own is inspect.Parameter.empty or isinstance(own, bool)):
        default = f"{own:g}" if isinstance(own, float) else str(own)
    return Parameter(name=name, help=help or sentence(verb, argument), show_default=default or False)


def sentence(verb: Callable[..., Any], argument: str) -> str:
    """The first sentence of a verb's docstring about an argument, which may be one of `min_lr, max_lr: ...`."""
    pattern = rf"^\s*(?:\w+, )*{argument}(?:, \w+)*: (.+?)(?:[.;:](?=\s)|\.?\Z|\n\s*[\w, ]+: |\n\n)"
    found = re.search(pattern, inspect.getdoc(verb) or "", re.MULTILINE | re.DOTALL)
    assert found is not None, (verb, argument)
    words = as_options(" ".join(found[1].split()).replace("`", ""))
    return f"{words[0].upper()}{words[1:]}."


HOW = Parameter(
    converter=lambda _, tokens: load_executor(tokens[0].value),
    metavar="auto|vmap|map|loop|chunked:K",
    help="How the copies run: side by side, one after another, in chunks of K, or by what suits the device.",
    show_default="auto",
)
DIRECTORY = Parameter(
    converter=_read_place,
    metavar="FOLDER",
    help="Folder for checkpoints: the same command goes on where it was interrupted.",
)
TASK = Parameter(  # of a Path, so that shells complete the names of files
    converter=_read_place,
    metavar="MODULE:TASK",
    show_default="the handwritten digits",
)
How = Annotated[Any, HOW]
Directory = Annotated[Path | None, DIRECTORY]

TRAINED = Parameter(group=Group("What is trained", sort_key=1))
TRIED = Parameter(group=Group("Which learning rates are tried", sort_key=2))
WRITTEN = Parameter(group=Group("What is printed and written", sort_key=9))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """Where the answer goes, and in which form."""

    out: Annotated[Folder, WRITTEN] = Path("lrjax-out")
    """Folder for the files, made if there is none."""
    plot: Annotated[Flag, WRITTEN, Parameter(negative="--no-plot")] = True
    """Draw pictures, or none."""
    json: Annotated[Flag, WRITTEN] = False
    """Print the result as JSON, and nothing else, on standard output."""
    quiet: Annotated[Flag, WRITTEN] = False
    """Print the answer alone, in one line."""
    debug: Annotated[Flag, WRITTEN] = False
    """Show the traceback of an error."""

    def given(self, *names: str) -> dict[str, Any]:
        """The options of these names that were given."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(Output):
    """What is trained."""

    task: Annotated[Path | None, TRAINED, TASK] = dataclasses.field(default=None, kw_only=False)
    """A module or a .py file, and in it a lrjax.Task or a function without arguments that returns one."""
    optimizer: Annotated[Words, TRAINED, Parameter(metavar="NAME")] = "adam"
    """Any optimizer of optax or optax.contrib that takes a learning rate, or MODULE:FUNCTION, a function of one that
    returns an optimizer."""
    optimizer_arg: Annotated[Many, TRAINED, Parameter(metavar="KEY=VALUE")] = ()
    """A further argument of the optimizer, for example weight_decay=0.1; may be repeated."""
    seed: Annotated[Count, TRAINED] = 0
    """Seed of the PRNG key: the same one gives the same answer."""

    @property
    def title(self) -> str:
        """The task and the optimizer."""
        return f"{self.task or 'handwritten digits'}, {self.optimizer}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range(Model):
    """Which learning rates are tried."""

    min_lr: Annotated[LR | None, TRIED, Parameter(show_default="1e-7")] = None
    """Lowest learning rate, > 0."""
    max_lr: Annotated[LR | None, TRIED, Parameter(show_default="10")] = None
    """Highest learning rate."""
