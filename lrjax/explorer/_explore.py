"""`explore`: the page, served on this machine and opened in its browser."""

import errno
import os
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from .._checks import check_count, show
from ._answers import Answers
from ._course import course
from ._paths import OPTIMIZERS
from ._presets import START
from ._read import Refused
from ._server import MAX_BODY, Server, is_local

PORT = 8571


def explore(
    file: str | os.PathLike[str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the explorer until Ctrl-C: sliders for every schedule, what it does to an optimizer, and the finder.

    Everything is computed on this machine, and nothing is asked of any other.

    Args:
      file: a result that `LRFinderResult.to_json` wrote, or a schedule's spec as JSON, to begin with.
      host: address to listen at; with the default nobody else's machine can reach it.
      port: TCP port; 0 takes any that is free.
      browser: whether to open the page.
      say: what tells the user where it is.

    Raises:
      ValueError: the port is taken or none at all, the address is not this machine's, or the file is neither.
    """
    answers = Answers()
    if file is not None:
        answers.show(_open(answers, Path(file)))
    stopped = threading.Event()
    with _listen(host, port, answers) as server:
        compiling = threading.Thread(target=_compile, args=(stopped,), daemon=True)
        compiling.start()
        say(f"The explorer is at {server.url} (Ctrl-C ends it)")
        if not is_local(host):
            say("Whoever can reach this machine can use it.")
        if browser:
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            stopped.set()
            say("Stopping after what is being computed.")
            compiling.join()
            server.wait()
            say("Stopped.")


def _compile(stopped: threading.Event) -> None:
    """Compile what the page will ask, before it does."""
    for optimizer in OPTIMIZERS:
        if not stopped.is_set():
            course(START | {"optimizer": optimizer})


def _open(answers: Answers, path: Path) -> dict:
    try:
        if path.stat().st_size > MAX_BODY:
            raise Refused(f"it is larger than {MAX_BODY:,} bytes")
        return answers.open_file(path.read_text(), path.name)
    except OSError as error:
        raise ValueError(f"`explore(file)` must be a file that can be read, got {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ValueError(
            f"`explore(file)` must be a lr_finder.json or a schedule's spec, got {path}: {error}"
        ) from None


def _listen(host: str, port: int, answers: Answers) -> Server:
    port = check_count("explore(port=...)", port, minimum=0)
    if port > 65535:
        raise ValueError(f"`explore(port=...)` must be at most 65535, got {port}.")
    try:
        return Server(host, port, answers)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(
                f"`explore(port=...)` must be a free port, but {port} is taken, perhaps by another explorer. "
                "Give another one, or 0 for any that is free."
            ) from None
        raise ValueError(
            f"`explore(host=...)` must be an address of this machine, and the port one that you may use, got "
            f"{show(host)} and {port}: {error.strerror}."
        ) from None
