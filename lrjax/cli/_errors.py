"""An error in words: what went wrong, in which line of the user's, with the options named as they are here."""

import contextlib
import difflib
import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from .._checks import show

FOUND, NOT_FOUND, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""

LINES = 8
"""Lines of an error's words that are shown; XLA's can be hundreds."""

VERBS = "find_lr|StepSampling|Budget|range_test|sweep|Durations|explore"
"""What an error of the library names with the argument that is an option here."""

LIBRARIES = [Path(__file__).resolve().parents[1]]
LIBRARIES += [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]


class UsageError(Exception):
    """The command line asks for something that cannot be done; the message is for its user."""


def complain(words: str) -> None:
    """On standard error."""
    with contextlib.suppress(OSError):  # nobody reads it, or the device is full: the exit status tells
        print(f"lrjax: {words}", file=sys.stderr, flush=True)


def in_words(error: Exception) -> str:
    """An error as one would like to read it on a command line."""
    words = str(error).strip()
    if isinstance(error, UsageError):
        return words
    if not words.startswith("`"):
        more = "the rest of it, and the traceback" if len(words.splitlines()) > LINES else "the traceback"
        return f"{with_place(error, LINES)}\nAdd --debug to see {more}."
    words = re.sub(r"`(?:find_lr|sweep)\(directory=('[^`]*')\)`", r"`--directory \1`", words)
    words = re.sub(r"`sweep\(grid=\.\.\.\)\['(\w+)'\]`", r"`--grid \1=...`", words)
    words = re.sub(rf"`(?:{VERBS})\((?:num_)?(\w+)=\.\.\.\)`", lambda m: f"`--{m[1].replace('_', '-')}`", words)
    return as_options(words.replace("`--task`", "`MODULE:TASK`").replace("`--trainings`", "`--budget`"))


def as_options(words: str) -> str:
    """Arguments of the verbs as the options they are here: `num_steps=100` is `--steps 100`."""
    named = re.sub(r"\b(?:num_(steps|seeds)|train_steps)\b", lambda m: f"--{m[1] or 'train-steps'}", words)
    return re.sub(r"(--[a-z-]+)=(\w+)", r"\1 \2", named)


def split_pair(word: str, rule: str, advice: str) -> tuple[str, str]:
    """The name and the text of `NAME=TEXT`; `rule` and `advice` are for whoever wrote another thing."""
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"{rule}, got {show(word)}. {advice}")
    return name, text


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence with what is spelt alike, after a space; empty if nothing is."""
    close = difflib.get_close_matches(name, [one for one in known if not one.startswith("_")])
    return f" Did you mean {' or '.join(close)}?" if close else ""


def with_place(error: BaseException, lines: int = 1) -> str:
    """`TypeError at my_model.py:12: ...`, the last line on the way to the error that no library has."""
    place, words = user_place(error), str(error)
    if isinstance(error, SyntaxError) and error.filename:
        place, words = f"{Path(error.filename).name}:{error.lineno}", error.msg
    shown = "\n".join(words.strip().splitlines()[:lines]) or "no message"
    return f"{type(error).__name__}{f' at {place}' if place else ''}: {shown}"


def user_place(error: BaseException) -> str:
    """The file's name and the line; empty if all are libraries'."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename).resolve()
        library = any(file.is_relative_to(folder) for folder in LIBRARIES) or "site-packages" in file.parts
        if file.is_file() and not library:
            return f"{file.name}:{frame.lineno}"
    return ""
