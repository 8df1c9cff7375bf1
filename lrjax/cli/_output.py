"""Standard output and standard error as a command needs them: there, and able to take every character."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from ._errors import UsageError


@contextlib.contextmanager
def usable_streams() -> Iterator[None]:
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


def give_up_output() -> str:
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
