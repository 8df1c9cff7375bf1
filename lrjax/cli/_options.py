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
from ._errors import FOUND, UsageError, as_options
from ._load import load_executor

NUMBERS = {int: "a whole number", float: "a number"}


def _read_number(kind: type, tokens: Sequence[Token]) -> Any:
    """A number as Python reads it; cyclopts would take 2.5 for 2 where an int is due."""
    text = tokens[0].value
    try:
        return kind(text)
    except ValueError:
        whole = re.fullmatch(r"(\d+)e(\d)", text)  # 1e4 where a whole number is due
        hint = f" Write {int(float(text))}." if whole else ""
        raise UsageError(f"`{tokens[0].keyword}` must be {NUMBERS[kind]}, got {show(text)}.{hint}") from None


Count = Annotated[int, Parameter(converter=_read_number, metavar="N")]
Number = Annotated[float, Parameter(converter=_read_number)]
PLACE = Parameter(converter=lambda kind, tokens: kind(os.path.expanduser(tokens[0].value)))
"""A path, or what begins with one: ~ is the home directory, also where the shell leaves it (--out=~/runs)."""
Place = Annotated[Path, PLACE]
Flag = Annotated[bool, Parameter(show_default=False)]
Many = Annotated[tuple[str, ...], Parameter(show_default=False)]


def of(verb: Callable[..., Any], argument: str, name: str | None = None, **others: Any) -> Parameter:
    """An option that is an argument of a verb, with its help and default; here it is None, which is not passed on."""
    default = inspect.signature(verb).parameters[argument].default
    if not (default is None or default is inspect.Parameter.empty or isinstance(default, bool)):
        others = {"show_default": f"{default:g}" if isinstance(default, float) else str(default), **others}
    return Parameter(name=name, **{"help": sentence(verb, argument), "show_default": False, **others})


def sentence(verb: Callable[..., Any], argument: str) -> str:
    """The first sentence of a verb's docstring about an argument, which may be one of `min_lr, max_lr: ...`."""
    pattern = rf"^\s*(?:\w+, )*{argument}(?:, \w+)*: (.+?)(?:[.;:](?=\s)|\.?\Z|\n\s*[\w, ]+: |\n\n)"
    found = re.search(pattern, inspect.getdoc(verb) or "", re.MULTILINE | re.DOTALL)
    if found is None:  # `python -OO` has no docstrings
        return ""
    words = as_options(" ".join(found[1].split()).replace("`", ""))
    return f"{words[0].upper()}{words[1:]}."


TRAINED = Parameter(group=Group("What is trained", sort_key=1))
TRIED = Parameter(group=Group("Which learning rates are tried", sort_key=2))
RUN = Parameter(group=Group("How it runs", sort_key=8))
WRITTEN = Parameter(group=Group("What is printed and written", sort_key=9))
EXECUTOR = Parameter(
    converter=lambda _, tokens: load_executor(tokens[0].value),
    metavar="auto|vmap|map|loop|chunked:K",
    show_default="auto",
)
TASK = Parameter(metavar="MODULE:TASK", show_default="the handwritten digits")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """What every command has."""

    debug: Annotated[Flag, WRITTEN] = False
    """Show the traceback of an error."""

    @property
    def resumes(self) -> bool:
        """Whether --directory would let it go on where it was interrupted."""
        return False

    def __call__(self) -> int:
        return FOUND

    def given(self, *names: str) -> dict[str, Any]:
        """The options of these names that were given."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def how_to_go_on(self) -> str:
        """What the same command does after Ctrl-C."""
        directory = getattr(self, "directory", None)
        if directory is not None:
            return f"The same command goes on with what is in {directory}."
        return "The same command begins anew" + ("; with --directory FOLDER it would go on." if self.resumes else ".")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output(Command):
    """Where the answer goes, and in which form."""

    out: Annotated[Place, WRITTEN, Parameter(metavar="FOLDER")] = Path("lrjax-out")
    """Folder for the files, made if there is none."""
    plot: Annotated[Flag, WRITTEN, Parameter(negative="--no-plot")] = True
    """Draw pictures, or none."""
    json: Annotated[Flag, WRITTEN] = False
    """Print the result as JSON, and nothing else, on standard output."""
    quiet: Annotated[Flag, WRITTEN] = False
    """Print the answer alone, in one line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Output):
    """What is trained."""

    task: Annotated[Place | None, TRAINED, TASK] = dataclasses.field(default=None, kw_only=False)
    """A module or a .py file, and in it a lrjax.Task or a function without arguments that returns one."""
    optimizer: Annotated[str, TRAINED, PLACE, Parameter(metavar="NAME")] = "adam"
    """Any optimizer of optax or optax.contrib that takes a learning rate, or MODULE:FUNCTION, a function of one that
    returns an optimizer."""
    optimizer_arg: Annotated[Many, TRAINED, Parameter(metavar="KEY=VALUE")] = ()
    """A further argument of the optimizer, for example weight_decay=0.1; may be repeated."""
    seed: Annotated[Count, TRAINED] = 0
    """Seed of the PRNG key: the same one gives the same answer."""
    cache: Annotated[Flag, RUN, Parameter(negative="--no-cache")] = True
    """Keep compiled programs in the user's cache folder, so that the next call begins sooner, or not."""

    @property
    def title(self) -> str:
        """The task and the optimizer."""
        return f"{self.task or 'handwritten digits'}, {self.optimizer}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range(Training):
    """Which learning rates are tried."""

    min_lr: Annotated[Number | None, TRIED, Parameter(metavar="LR", show_default="1e-7")] = None
    """Lowest learning rate, > 0."""
    max_lr: Annotated[Number | None, TRIED, Parameter(metavar="LR", show_default="10")] = None
    """Highest learning rate."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lanes(Training):
    """How the copies of the model are trained."""

    executor: Annotated[Any, RUN, EXECUTOR] = "auto"
    """How the copies run: side by side, one after another, in chunks of K, or by what suits the device."""
    directory: Annotated[Place | None, RUN, Parameter(metavar="FOLDER")] = None
    """Folder for checkpoints of a sweep, or of a search with a budget: the same command goes on from them."""
