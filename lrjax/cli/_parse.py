"""From the words of the command line to the options of a subcommand, or to a page. Imported by `main` only."""

import difflib
from collections.abc import Iterable, Sequence
from typing import get_args

import tyro

from .._checks import show
from ._completion import SHELLS, completion
from ._load import UsageError, did_you_mean
from ._options import EXAMPLES, Command, Options
from ._page import Option, command_page, options_of, overview_page, summary_of

COMMANDS: dict[str, type] = {one.__metadata__[0].name: one.__origin__ for one in get_args(Command)}
MAIN = ("find", "search", "sweep")
"""The commands that one needs."""

NUMBERS = {int: "a whole number", float: "a number"}

OVERVIEW_OPTIONS = {
    "-h, --help": "Show this page; after a command, that command's.",
    "-V, --version": "Print the version.",
    "--print-completion SHELL": f"Print the completion for {', '.join(SHELLS)}. In bash: "
    'eval "$(lrjax --print-completion bash)"',
}


def page_for(words: Sequence[str]) -> str | None:
    """The page that the words ask for: help, or the completion of a shell; None if they ask for neither."""
    if words[:1] == ["--print-completion"]:
        return _completion(words[1:])
    if words[:1] == ["help"] or {"-h", "--help"} & set(words):
        name = next((word for word in words if word in COMMANDS), None)
        return _overview() if name is None else command_page(name, COMMANDS[name])
    return None


def parse(words: Sequence[str]) -> Options:
    """The options that the words say.

    Raises:
      UsageError: what is wrong with them, and what is meant in all likelihood.
    """
    if not words:
        raise UsageError(f"`lrjax` needs a command: {_and(COMMANDS)}. `lrjax --help` says what they do.")
    if words[0] not in COMMANDS:
        raise UsageError(_no_command(words[0]))
    _check(words[0], COMMANDS[words[0]], words[1:])
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    return tyro.cli(Command, prog="lrjax", args=words, config=config)


def _completion(words: Sequence[str]) -> str:
    if len(words) != 1 or words[0] not in SHELLS:
        got = " ".join(words) or "nothing"
        raise UsageError(f"`--print-completion` must be followed by {_and(SHELLS, 'or')}, got {got}.")
    return completion(words[0], COMMANDS, {name: options_of(command) for name, command in COMMANDS.items()})


def _overview() -> str:
    first = {name: summary_of(COMMANDS[name]) for name in MAIN}
    others = {name: summary_of(command) for name, command in COMMANDS.items() if name not in MAIN}
    sections = {"The three that you need": first, "And": others, "Options": OVERVIEW_OPTIONS}
    return overview_page(
        "lrjax, the learning-rate toolkit for JAX: find a good learning rate, give it a\n"
        "schedule, prove both by a sweep.",
        sections,
        EXAMPLES,
    )


def _no_command(word: str) -> str:
    if word.startswith("-"):
        return f"`lrjax` has no option {word}. A command comes first: {_and(COMMANDS)}."
    if ":" in word or word.endswith(".py"):
        return f"`lrjax` needs a command first, got {show(word)}. Did you mean lrjax find {word}?"
    close = _near(word, COMMANDS)
    return f"`lrjax` has no command {show(word)}. " + (
        f"Did you mean {close}?" if close else f"It has {_and(COMMANDS)}."
    )


def _check(name: str, command: type, words: Sequence[str]) -> None:
    """Every word has a place, and every option the value that it needs."""
    options = options_of(command)
    known, free, rest = {option.name: option for option in options if option.name}, [], iter(words)
    given = set()
    for word in rest:
        if not word.startswith("-") or word == "-":
            free.append(word)
            continue
        flag, equals, value = word.partition("=")
        option = known.get(flag.replace("_", "-"))
        if option is None:
            raise UsageError(_no_option(name, flag, known, options))
        given.add(option.name)
        if option.metavar:
            _check_value(option, value if equals else next(rest, None), known)
        elif equals:
            raise UsageError(f"`{option.name}` takes no value, got {show(value)}.")
    _check_number_of_words(name, free, options)
    missing = [_shown(option) for option in options if option.required and option.name not in given]
    if missing:
        raise UsageError(f"`lrjax {name}` needs {_and(missing)}. `lrjax {name} --help` says what it is.")


def _check_value(option: Option, value: str | None, known: dict[str, Option]) -> None:
    if value is None or value in known:
        got = "nothing" if value is None else f"the option {value}"
        raise UsageError(f"`{option.name}` needs a value, {option.metavar}, got {got}.")
    if option.choices and value not in option.choices:
        raise UsageError(
            f"`{option.name}` must be {_and(option.choices, 'or')}, got {show(value)}."
            + did_you_mean(value, option.choices)
        )
    if option.kind in NUMBERS:
        try:
            option.kind(value)
        except ValueError:
            raise UsageError(
                f"`{option.name}` must be {NUMBERS[option.kind]}, got {show(value)}.{_whole(value)}"
            ) from None


def _whole(value: str) -> str:
    """For 1e4 where a whole number is due."""
    try:
        number = float(value)
        return f" Write {int(number)}." if number.is_integer() and abs(number) < 1e15 else ""
    except ValueError:
        return ""


def _check_number_of_words(name: str, free: list[str], options: Sequence[Option]) -> None:
    place = next((option for option in options if not option.name), None)
    if place is not None and "..." in place.metavar:
        return
    allowed = 0 if place is None else 1
    if len(free) > allowed:
        takes = "no words without an option" if place is None else f"one {place.metavar.strip('[]')}"
        raise UsageError(f"`lrjax {name}` takes {takes}, got {_and([show(word) for word in free])}.")


def _no_option(name: str, flag: str, known: dict[str, Option], options: Sequence[Option]) -> str:
    elsewhere = [other for other, command in COMMANDS.items() if flag in {one.name for one in options_of(command)}]
    if elsewhere:
        return f"`lrjax {name}` has no option {flag}, which belongs to {_and(f'lrjax {one}' for one in elsewhere)}."
    names = {one.lstrip("-"): option for one, option in known.items()}
    close = _near(flag.replace("_", "-").lstrip("-"), names)
    if close:
        return f"`lrjax {name}` has no option {flag}. Did you mean {_shown(names[close])}?"
    if any("KEY=VALUE" in option.metavar and not option.name for option in options):
        return f"`lrjax {name}` has no option {flag}. Write an argument of the schedule as peak_value=0.1."
    return f"`lrjax {name}` has no option {flag}. `lrjax {name} --help` lists those that it has."


def _shown(option: Option) -> str:
    return f"{option.name} {option.metavar}".strip()


def _near(word: str, known: Iterable[str]) -> str | None:
    """The one that is meant in all likelihood: the first that begins so, or the one that is spelt most like it."""
    known = list(known)
    begins = [one for one in known if len(word) > 1 and one.startswith(word)]
    close = begins or difflib.get_close_matches(word, known, n=1)
    return close[0] if close else None


def _and(words: Iterable[str], last: str = "and") -> str:
    """`a, b and c`."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
