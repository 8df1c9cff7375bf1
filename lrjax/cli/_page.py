"""The help pages, made from the options' own names, defaults and docstrings. Imported by `main` only."""

import ast
import dataclasses
import functools
import inspect
import itertools
import shutil
import textwrap
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

WIDTH, LEFT = 80, 26
"""Columns of a page at most, and of the options' names."""


class Option(NamedTuple):
    """One option of a command, or a word that it takes.

    Attributes:
      name: as on the command line, "--min-lr"; "" for words without a name.
      metavar: what stands for its value; "" for a flag.
      text: what it is, and its default.
      kind: the type of its value; bool for a flag.
      choices: the words allowed; none for any.
      required: whether it must be given.
      section: the heading that it stands under.
    """

    name: str
    metavar: str
    text: str
    kind: type
    choices: tuple[str, ...]
    required: bool
    section: str


@functools.cache
def options_of(command: type) -> tuple[Option, ...]:
    """The options of a command, under the first sentences of the classes that it is made of, the last base first."""
    hints, fields = get_type_hints(command, include_extras=True), {one.name: one for one in dataclasses.fields(command)}
    found = []
    for part in reversed(command.__mro__):
        if dataclasses.is_dataclass(part):
            section = "Options" if part is command else (part.__doc__ or "").strip().rstrip(".")
            for name, text in _docstrings(part).items():
                found.append(_option(fields[name], hints[name], section, text))
    return tuple(found)


def _docstrings(part: type) -> dict[str, str]:
    """Attribute -> the string below it, of this class alone."""
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(part)))
    pairs: Any = itertools.pairwise(tree.body[0].body)
    return {
        field.target.id: " ".join(ast.literal_eval(text.value).split())
        for field, text in pairs
        if hasattr(field, "annotation") and isinstance(text, ast.Expr)
    }


def _option(field: "dataclasses.Field[Any]", hint: Any, section: str, text: str) -> Option:
    said = next((one for one in getattr(hint, "__metadata__", ()) if hasattr(one, "help_behavior_hint")), None)
    kind = _value_of(hint)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    required = field.default is dataclasses.MISSING
    metavar = (getattr(said, "metavar", None) or "") if not choices else "NAME"
    if choices:
        text += f" One of {', '.join(choices[:-1])} or {choices[-1]}."
    default = getattr(said, "help_behavior_hint", None)
    if default is None:
        shown = f"{field.default:g}" if isinstance(field.default, float) else field.default
        default = (
            "(required)"
            if required
            else "(repeatable)"
            if field.default == ()
            else f"(default:\N{NO-BREAK SPACE}{shown})"
        )
    words = metavar.startswith("[")
    no = "no-" if field.default is True else ""
    return Option(
        name="" if words else f"--{no}{field.name.replace('_', '-')}",
        metavar=metavar,
        text=f"{text} {default}".strip(),
        kind=str if choices else kind,
        choices=choices,
        required=required,
        section=section,
    )


def _value_of(hint: Any) -> Any:
    """The type of one value: int of `int | None`, str of `tuple[str, ...]`."""
    while get_args(hint) and get_origin(hint) is not Literal:
        hint = get_args(hint)[0]
    return hint


def command_page(name: str, command: type) -> str:
    """What `lrjax NAME --help` prints."""
    summary, *rest = inspect.getdoc(command).split("\n\n")  # pyright: ignore[reportOptionalMemberAccess]
    options = options_of(command)
    words = next((option.metavar for option in options if not option.name), "")
    needed = [f"{option.name} {option.metavar}" for option in options if option.required]
    last = [part for part in rest if part.startswith("Exit status")]
    usage = " ".join(["Usage: lrjax", name, *filter(None, [words]), *needed, "[OPTIONS]"])
    parts = [summary, usage, *(part for part in rest if part not in last)]
    for section in dict.fromkeys(option.section for option in options):
        rows = [option for option in options if option.section == section]
        parts.append("\n".join([f"{section}:", *(_row(f"{one.name} {one.metavar}".strip(), one.text) for one in rows)]))
    return "\n\n".join(_wrap(part) for part in [*parts, *last])


def overview_page(title: str, sections: dict[str, dict[str, str]], examples: str) -> str:
    """What `lrjax --help` prints: a sentence, sections of names with their texts, and examples as they stand."""
    parts = [title, "Usage: lrjax COMMAND [MODULE:TASK] [OPTIONS]"]
    for heading, rows in sections.items():
        parts.append("\n".join([f"{heading}:", *(_row(name, text) for name, text in rows.items())]))
    return "\n\n".join([*parts, f"Examples:\n{textwrap.indent(examples, '  ')}".rstrip()])


def print_page(page: str) -> None:
    """On standard output, its headings bold where that is a terminal."""
    from rich.text import Text

    from ._screen import Screen

    console = Screen()
    for line in page.splitlines():
        heading = line.endswith(":") and not line.startswith(" ")
        console.print(Text(line, style="bold" if heading else ""), soft_wrap=True)


def summary_of(command: type) -> str:
    """The first line of a command's docstring."""
    return (command.__doc__ or "").split("\n")[0]


def _wrap(text: str) -> str:
    """A paragraph filled to the width; one that is indented, or has a heading and rows, stays as it is."""
    if text.startswith("  ") or ":\n  " in text:
        return text
    return textwrap.fill(" ".join(text.split()), _width(), break_on_hyphens=False, break_long_words=False)


def _row(name: str, text: str) -> str:
    """A name on the left and its text on the right, below it where the name is long."""
    lines = textwrap.wrap(text, _width() - LEFT, break_on_hyphens=False, break_long_words=False)
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
    if len(name) > LEFT - 4:
        return "\n".join([f"  {name}", *(" " * LEFT + line for line in lines)])
    return "\n".join([f"  {name}".ljust(LEFT) + lines[0], *(" " * LEFT + line for line in lines[1:])])


def _width() -> int:
    return max(50, min(WIDTH, shutil.get_terminal_size().columns))
