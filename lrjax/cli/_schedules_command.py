"""`lrjax schedules`: the list, and a look at one."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .. import schedules
from .._annotated import signature_text
from .._types import Schedule
from ..schedules import _FACTORIES as FACTORIES
from ..schedules import _GROUPS as GROUPS
from ..schedules import Durations
from ..schedules import _plot_schedules as plot_schedules
from ._errors import FOUND, NOT_FOUND, UsageError, split_pair
from ._load import make_folder, value_of
from ._options import Command, Count, Flag, Many, Output, Place
from ._report import Answer, Screen, deliver, picture, print_json

EXAMPLE = "lrjax schedules plot one_cycle peak_value=0.1 total_steps=1000"

LENGTHS = ("transition_begin", "transition_steps", "decay_steps", "warmup_steps", "stable_steps", "begin_step")
CYCLES = ("first_cycle_steps", "cycle_steps", "up_steps", "down_steps", "every", "timescale", "new_steps", "steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListCommand(Command):
    """List the learning-rate schedules with their arguments; `plot` draws and describes one."""

    words: Annotated[Many, Parameter(show=False)] = dataclasses.field(default=(), kw_only=False)
    """A misspelt `plot`, to say so."""
    json: Flag = False
    """Print the list as JSON."""

    def __call__(self) -> int:
        if self.words:
            raise UsageError(f"`lrjax schedules` takes nothing, or plot and a schedule's name: {EXAMPLE}")
        factories = {name: FACTORIES[name] for names in GROUPS.values() for name in names}
        signatures = {name: signature_text(factory) for name, factory in factories.items()}
        if self.json:
            print_json(signatures)
            return FOUND
        screen, rows = Screen(), []
        for name, factory in factories.items():
            what = re.sub(r"[`$\\]", "", (factory.__doc__ or "").splitlines()[0])
            rows.append((name, f"{what}\n{signatures[name][1:-1]}"))
        screen.say("lrjax.schedules", "bold")
        screen.table(("", ""), rows, whole=0)
        screen.say(f"Draw one: {EXAMPLE}")
        return FOUND


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlotCommand(Output):
    """Draw a schedule, describe its phases, and say what is probably wrong with it.

    A schedule inside another is written as JSON. Numbers of steps may be durations: "3 epochs", 10%, "1e9 tokens".

        lrjax schedules plot warmup_cosine peak_value=0.1 warmup_steps=5% total_steps=9000
    """

    name: Place = dataclasses.field(kw_only=False)
    """A schedule, or the path of a JSON file that lrjax.schedules.to_spec wrote."""
    arguments: Annotated[Many, Parameter(metavar="KEY=VALUE")] = dataclasses.field(default=(), kw_only=False)
    """The schedule's arguments in Python, as peak_value=0.1; `lrjax schedules` lists them."""
    steps: Annotated[str | None, Parameter(metavar="N", show_default="total_steps, or from its lengths")] = None
    """Optimizer updates to look at."""
    log: Flag = False
    """Draw the learning rate on a logarithmic axis."""
    batch_size: Count | None = None
    """Examples in a batch, for durations."""
    dataset_size: Count | None = None
    """Examples in the dataset, for epochs."""
    sequence_length: Count | None = None
    """Tokens in an example, for tokens."""
    accumulation_steps: Count = 1
    """Batches in an optimizer update."""

    def __call__(self) -> int:
        rule = "An argument of a schedule is written KEY=VALUE"
        pairs = [split_pair(word, rule, f"For example: {EXAMPLE}") for word in self.arguments]
        values = {key: value_of(text) for key, text in pairs}
        counted = self.given("batch_size", "dataset_size", "sequence_length", "accumulation_steps")
        own, where = (
            (values.get("total_steps"), "total_steps") if self.steps is None else (value_of(self.steps), "--steps")
        )
        whole = None if own is None else Durations(**counted).steps(own, where=where)
        with Durations(**counted, total_steps=whole):
            schedule = _read(self.name, values)
        total = _length(schedule) if self.steps is None or whole is None else whole
        description, problems = schedules.describe(schedule, total), schedules.validate(schedule, total)
        lines = [(str(description), ""), *((f"Warning, {problem}", "bold yellow") for problem in problems)]
        name = f"{self.name.stem}.png"
        answer = Answer(
            document={
                "spec": schedules.to_spec(schedule),
                "description": dataclasses.asdict(description),
                "problems": [dataclasses.asdict(problem) for problem in problems],
            },
            show=lambda screen: [screen.say(*line) for line in lines],
            line=str(make_folder(self.out) / name) if self.plot else "",
        )
        draw = picture(lambda: plot_schedules({self.name.stem: schedule}, total, log=self.log))
        status = deliver(answer, self, {name: draw})
        return FOUND if status == NOT_FOUND else status  # there is always an answer, with a file or without


def _read(name: Path, arguments: dict[str, Any]) -> Schedule:
    """The schedule; what is wrong with its arguments is told in their names in Python."""
    if str(name) not in FACTORIES and name.is_file():
        if arguments:
            raise UsageError(f"`{name}` is a file and has its own arguments, got {', '.join(arguments)} as well.")
        return schedules.from_spec(name)
    try:
        return schedules.from_spec({"name": str(name), **arguments})
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _length(schedule: Schedule) -> int:
    """The schedule's own length, or a few of its cycles."""
    spec = schedules.to_spec(schedule)
    for key in ("total_steps", "num_steps"):
        if key in spec:
            return spec[key]
    inside = [one for one in [spec.get("schedule"), *(spec.get("schedules") or [])] if one]
    own = sum(spec.get(key) or 0 for key in LENGTHS) + 4 * sum(int(spec.get(key) or 0) for key in CYCLES)
    own += max(spec.get("boundaries") or [0]) * 5 // 4
    length = own + max((_length(schedules.from_spec(one)) for one in inside), default=0)
    return length or 100
