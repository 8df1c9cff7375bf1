"""`explore`: the page, served on this machine and opened in its browser."""

import contextlib
import errno
import functools
import os
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from .._checks import check_count, show
from .._search import StepSampling, find_lr, range_test
from ..demos import digits
from ._contents import START, contents
from ._finding import Curves, Evidence, plan
from ._paths import DIGITS_OPTIMIZERS, OPTIMIZERS
from ._read import MAX_BODY, Refused
from ._server import Routes, Server, is_local, name_in
from ._training import course

PORT = 8571

HORIZONS = (1, 2, 5, 10, 20, 50, 100)
"""Numbers of steps at which the page can read the digits' curve."""

EXPOSED = (
    "Warning: every machine that reaches this address can use the page, without a password and unencrypted: keep this "
    "one computing, and see the curves of the files that are opened here."
)
"""What another host than this machine's own means."""


def explore(
    file: str | os.PathLike[str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    names: Sequence[str] = (),
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the explorer until Ctrl-C: sliders for every schedule, what it does to an optimizer, and the finder.

    Everything is computed on this machine, and nothing is asked of any other.

    Args:
      file: a result that `LRResult.to_json` wrote, or a schedule's spec as JSON, to begin with.
      host: address to listen at; with the default nobody else's machine can reach it. There is no password and no
        encryption.
      port: TCP port; 0 takes any that is free.
      names: further host names under which browsers reach the page, as through a proxy. It answers to localhost, to
        `host`, to this machine's name and to addresses, so that no page of another site can ask under its own name.
      browser: whether to open the page.
      say: what tells the user where it is.

    Raises:
      ValueError: the port is taken or none at all, the address is not this machine's, a name is none, or the file is
        neither.
    """
    routes = make_routes(file)
    stopped = threading.Event()
    with _listen(host, port, routes, names) as server:
        compiling = threading.Thread(target=_compile, args=(stopped,), daemon=True)
        compiling.start()
        say(f"The explorer is at {server.url} (Ctrl-C ends it)")
        if not is_local(host):
            say(EXPOSED)
        if browser:
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.1)
            return
        stopped.set()
        say("Stopping after what is being computed.")
        compiling.join()
        server.wait()
        say("Stopped.")


def search_digits(optimizer: str, *, num_steps: int = HORIZONS[-1], num_seeds: int = 3) -> Evidence:
    """Search the handwritten digits, and run the classic range test on them."""
    task, make_optimizer, key = digits(), DIGITS_OPTIMIZERS[optimizer], jax.random.key(0)
    horizons = tuple(steps for steps in HORIZONS if steps < num_steps)
    strategy = StepSampling(num_steps=num_steps, num_seeds=num_seeds, horizons=horizons)
    result = find_lr(task, make_optimizer, strategy, key=key, throw=False)
    test = range_test(task, make_optimizer, key=key)
    return Evidence(title=f"handwritten digits, {optimizer}", curve=result.curve, result=result, test=test)


_digits = functools.cache(search_digits)


def make_routes(file: str | os.PathLike[str] | None = None) -> Routes:
    """What answers the page's questions. It opens with the file."""
    curves = Curves(lambda optimizer: _digits(optimizer))
    opened = None if file is None else _open(curves, Path(file))
    return {
        "/api/start": lambda body: contents() | {"opened": opened},
        "/api/course": course,
        "/api/digits": curves.digits,
        "/api/open": curves.open,
        "/api/reading": curves.reading,
        "/api/plan": plan,
    }


def _compile(stopped: threading.Event) -> None:
    """Compile what the page will ask, before it does."""
    for optimizer in OPTIMIZERS:
        if not stopped.is_set():
            course(START | {"optimizer": optimizer})


def _open(curves: Curves, path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BODY:
            raise Refused(f"it is larger than {MAX_BODY:,} bytes")
        return curves.open({"text": path.read_text("utf-8"), "name": path.name})
    except OSError as error:
        raise ValueError(f"`explore(file)` must be a file that can be read, got {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ValueError(
            f"`explore(file)` must be a lr_finder.json or a schedule's spec, got {path}: {error}"
        ) from None


def _listen(host: str, port: int, routes: Routes, names: Sequence[str]) -> Server:
    _check_names(names)
    _check_host(host)
    port = check_count("explore(port=...)", port, minimum=0)
    if port > 65535:
        raise ValueError(f"`explore(port=...)` must be at most 65535, got {port}.")
    try:
        return Server(host, port, routes, names)
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


def _check_host(host: object) -> None:
    rule = "`explore(host=...)` must be an address or a name of this machine"
    if not isinstance(host, str):
        raise TypeError(f"{rule}, got {show(host)}.")
    known = name_in(f"[{host}]" if ":" in host else host)
    if not (known and host.isprintable() and known == host.lower()):  # the system takes "" for every address
        raise ValueError(
            f"{rule}, got {show(host)}. Write 127.0.0.1 for this machine alone, or 0.0.0.0 for all that reach it."
        )


def _check_names(names: Sequence[str]) -> None:
    rule = "`explore(names=...)` must be a list of host names"
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f'{rule}, got {show(names)}. Write names=["box.example"].')
    wrong = next((name for name in names if not name or name_in(name) != name.lower()), None)
    if wrong is not None:
        raise ValueError(f"{rule} without scheme, port and path, got {show(wrong)}. Write for example box.example.")
