"""The command itself: from the words to a function, and from what it does or raises to the exit status.

Standard output and standard error are as a command needs them: there, and able to take every character.
"""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ._errors import INTERRUPTED, WRONG_USE, UsageError, complain, in_words


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
        with _usable_streams():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        complain(str(error))
    except BrokenPipeError:  # `lrjax find | head`: nobody reads on
        _give_up_output()
    finally:
        sys.path[:] = path
    return WRONG_USE


def _run(words: list[str]) -> int:
    """Run a command; the exit status, whatever happens."""
    from ._app import Command, parse

    start, command = time.time(), Command()
    try:
        command = parse(words)
        status = command()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        complain(f"Interrupted before there was a result. {command.how_to_go_on()}")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if why := _give_up_output():
            files = _files_since(getattr(command, "out", None), start)
            kept = f" What was found is in {', '.join(files)}." if files else ""
            complain(f"Standard output could not be written: {why}.{kept}")
        elif command.debug:
            traceback.print_exc()
        else:
            complain(in_words(error))
        return WRONG_USE


@contextlib.contextmanager
def _usable_streams() -> Iterator[None]:
    """Around a command: what an encoding lacks is escaped instead of raised, and a closed standard error is silent.

    Raises:
      UsageError: standard output is closed or full, before any work is done.
    """
    streams: list[Any] = [sys.stdout, sys.stderr]  # of a notebook or a test they may be of any kind
    before = [(stream, stream.errors) for stream in streams if hasattr(stream, "reconfigure")]
    with contextlib.ExitStack() as stack:
        if sys.stderr is None:
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(open(os.devnull, "w"))))
        try:
            for stream, errors in before:
                stream.reconfigure(errors=_lenient(stream.encoding, errors))
            _check_output()
            yield
        finally:
            for stream, errors in before:
                with contextlib.suppress(ValueError, OSError):  # it was closed, or cannot be written
                    stream.reconfigure(errors=errors)


def _lenient(encoding: str, errors: str) -> str:
    """UTF-8 keeps the undecodable bytes of a file's name where Python has chosen so."""
    keeps = errors == "surrogateescape" and encoding.lower().replace("-", "") == "utf8"
    return errors if keeps else "backslashreplace" if errors in ("strict", "surrogateescape") else errors


def _check_output() -> None:
    if sys.stdout is None:
        raise UsageError("Standard output is closed. Send it to a file, or to /dev/null.")
    number = _number(sys.stdout)
    if number is not None:
        try:
            os.write(number, b"")  # tells of a full device, or one that is not open for writing
        except OSError as error:
            raise UsageError(f"Standard output cannot be written: {error.strerror}.") from None


def _number(stream: Any) -> int | None:
    """The file descriptor; None for a stream that has none."""
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _give_up_output() -> str:
    """Why standard output cannot be written; empty if it can. After that nothing more is written to it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        why = "nobody reads it"
    except OSError as error:
        why = error.strerror or str(error)
    else:
        return ""
    number = _number(sys.stdout)
    if number is not None:  # else Python complains at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return why


def _files_since(folder: Path | None, start: float) -> list[str]:
    """The files in a folder that were written since a time."""
    files = folder.glob("*") if folder is not None else ()
    return sorted(str(path) for path in files if path.is_file() and path.stat().st_mtime >= start)
