"""`lrjax schedules`: the list, and a look at one. Imported by `main` only."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import schedules
from .._checks import show
from .._types import Schedule
from ..schedules import _FACTORIES as FACTORIES
from ..schedules import _GROUPS as GROUPS
from ..schedules import Durations
from ..schedules import _known_steps as known_steps
from ..schedules import _make as make
from ..schedules import _plot_schedules as plot_schedules
from ..schedules import _signature_text as signature_text
from ._load import UsageError, make_folder

if TYPE_CHECKING:
    from ._options import Schedules

EXAMPLE = "lrjax schedules plot one_cycle peak_value=0.1 total_steps=1000"


def show_schedules(options: "Schedules") -> int:
    """List the schedules, or draw and describe one."""
    if not options.words:
        _list(options.json)
        return 0
    verb, *rest = options.words
    if verb != "plot" or not rest:
        raise UsageError(f"`lrjax schedules` takes nothing, or plot and a schedule's name: {EXAMPLE}")
    name, *pairs = rest
    arguments = dict(_pair(word) for word in pairs)
    with _durations(options, arguments.get("total_steps")):
        schedule = _read(name, arguments)
        total = _total(options.steps, schedule)
    _show(options, Path(name).stem, schedule, total)
    return 0


def _list(as_json: bool) -> None:
    from ._report import Printer, print_json

    made = {name: FACTORIES[name] for names in GROUPS.values() for name in names}
    if as_json:
        print_json({name: signature_text(make) for name, make in made.items()})
        return
    Printer().schedules({name: (signature_text(make), make.__doc__ or "") for name, make in made.items()})
    Printer().say(f"Draw one: {EXAMPLE}")


def _durations(options: "Schedules", own: Any) -> Durations:
    """What durations are counted in; the whole length is that of --steps, else the schedule's own total_steps."""
    counted = {
        "batch_size": options.batch_size,
        "dataset_size": options.dataset_size,
        "sequence_length": options.sequence_length,
        "accumulation_steps": options.accumulation_steps,
    }
    total, where = (own, "total_steps") if options.steps is None else (_number(options.steps), "--steps")
    return Durations(**counted, total_steps=None if total is None else Durations(**counted).steps(total, where=where))


def _pair(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals or not key.isidentifier():
        raise UsageError(f"An argument of a schedule is written KEY=VALUE, got {show(word)}. For example: {EXAMPLE}")
    return key, _number(value)


def _number(text: str) -> Any:
    """A JSON value, one of Python's words, or the text itself, which may be a choice or a duration."""
    python = {"True": True, "False": False, "None": None}
    if text in python:
        return python[text]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read(name: str, arguments: dict[str, Any]) -> Schedule:
    if name not in FACTORIES and Path(name).is_file():
        if arguments:
            raise UsageError(f"`{name}` is a file and has its own arguments, got {', '.join(arguments)} as well.")
        return schedules.from_spec(Path(name))
    return make(name, {key: _inside(value) for key, value in arguments.items()})


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return schedules.from_spec(value)
    return [_inside(one) for one in value] if isinstance(value, list) else value


LENGTHS = ("transition_begin", "transition_steps", "decay_steps", "warmup_steps", "stable_steps", "begin_step")
CYCLES = ("first_cycle_steps", "cycle_steps", "up_steps", "down_steps", "every", "timescale", "new_steps", "steps")


def _total(given: str | None, schedule: Schedule) -> int:
    """How many steps to show: as asked, or the schedule's own length, or a few of its cycles."""
    if given is not None:
        return known_steps("--steps", _number(given))
    spec = schedules.to_spec(schedule)
    for key in ("total_steps", "num_steps"):
        if key in spec:
            return spec[key]
    inside = [one for one in [spec.get("schedule"), *(spec.get("schedules") or [])] if one]
    own = sum(spec.get(key) or 0 for key in LENGTHS) + 4 * sum(int(spec.get(key) or 0) for key in CYCLES)
    own += max(spec.get("boundaries") or [0]) * 5 // 4
    length = own + max((_total(None, schedules.from_spec(one)) for one in inside), default=0)
    return length or 100


def _show(options: "Schedules", name: str, schedule: Schedule, total: int) -> None:
    from ._report import Printer, print_json

    description, problems = schedules.describe(schedule, total), schedules.validate(schedule, total)
    files = {}
    if options.plot:
        path = make_folder(options.out) / f"{name}.png"
        axes: Any = plot_schedules({name: schedule}, total, log=options.log)
        axes.figure.savefig(path)
        files[path.name] = path
    if options.json:
        print_json(
            {
                "spec": schedules.to_spec(schedule),
                "description": dataclasses.asdict(description),
                "problems": [dataclasses.asdict(problem) for problem in problems],
                "files": {key: str(path) for key, path in files.items()},
            }
        )
        return
    if options.quiet:
        for path in files.values():
            print(path)
        return
    printer = Printer()
    printer.say(str(description))
    for problem in problems:
        printer.say(f"Warning, {problem}", "bold yellow")
    printer.files(files)
