"""The command itself: from the words to a function, and from what it does or raises to the exit status."""

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator, Sequence

from ._errors import UsageError, in_words
from ._standard_streams import INTERRUPTED, WRONG_USE, complain, files_since, give_up_output, usable_streams


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
    try:
        with usable_streams(), _search_path_restored():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        complain(str(error))
    except BrokenPipeError:  # `lrjax find | head`: nobody reads on
        give_up_output()
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
        if why := give_up_output():
            files = files_since(getattr(command, "out", None), start)
            kept = f" What was found is in {', '.join(files)}." if files else ""
            complain(f"Standard output could not be written: {why}.{kept}")
        elif command.debug:
            traceback.print_exc()
        else:
            complain(in_words(error))
        return WRONG_USE


@contextlib.contextmanager
def _search_path_restored() -> Iterator[None]:
    """Loading a module of the user's puts its folder on `sys.path`, as `python` would."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
