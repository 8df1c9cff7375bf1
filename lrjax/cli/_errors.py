"""An error in words: what went wrong, in which line of the user's, with the options named as they are here."""

import re
import sysconfig
import traceback
from pathlib import Path

from ._load import UsageError, as_options

LINES = 8
"""Lines of an error's words that are shown; XLA's can be hundreds."""

OURS = Path(__file__).resolve().parents[1]


def in_words(error: Exception) -> str:
    """An error as one would like to read it on a command line."""
    words = str(error).strip()
    if isinstance(error, UsageError):
        return words
    if not words.startswith("`"):
        return _not_ours(error, words)
    argument = r"`(?:find_lr|StepSampling|Budget|range_test|sweep|Durations|explore)\((?:num_)?(\w+)=\.\.\.\)`"
    words = re.sub(r"`(?:find_lr|sweep)\(directory=('[^`]*')\)`", r"`--directory \1`", words)
    words = re.sub(r"`sweep\(grid=\.\.\.\)\['(\w+)'\]`", r"`--grid \1=...`", words)
    words = re.sub(argument, lambda match: f"`--{match[1].replace('_', '-')}`", words)
    return as_options(words.replace("`--task`", "`MODULE:TASK`").replace("`--trainings`", "`--budget`"))


def in_words_of_schedules(error: Exception) -> str:
    """The same for `lrjax schedules`, whose arguments are those of Python; its options are those of `Durations`."""
    words = re.sub(r"`Durations\((\w+)=\.\.\.\)`", lambda m: f"`--{m[1].replace('_', '-')}`", str(error))
    return words or in_words(error)


def _not_ours(error: Exception, words: str) -> str:
    """An error of the user's code, or of JAX on the way to it."""
    lines = words.splitlines()
    shown = "\n".join(lines[:LINES]) or "no message"
    place = user_place(error)
    more = "the rest of it, and the traceback" if len(lines) > LINES else "the traceback" if place else "where"
    return f"{type(error).__name__}{f' at {place}' if place else ''}: {shown}\nAdd --debug to see {more}."


def user_place(error: BaseException) -> str:
    """`my_model.py:12`, the last line on the way to the error that no library has; empty if there is none."""
    libraries = (OURS, *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename).resolve()
        library = any(file.is_relative_to(folder) for folder in libraries) or "site-packages" in file.parts
        if file.is_file() and not library:
            return f"{file.name}:{frame.lineno}"
    return ""
