"""`lrjax explore`: the interactive page."""

from typing import Annotated

from cyclopts import Parameter

from ..explorer import explore
from ._options import Count, Flag, Many, Place


def explore_command(
    file: Place | None = None,
    /,
    *,
    host: Annotated[str, Parameter(metavar="ADDRESS")] = "127.0.0.1",
    name: Annotated[Many, Parameter(metavar="NAME")] = (),
    port: Count = 8571,
    browser: Annotated[Flag, Parameter(negative="--no-browser")] = True,
    debug: Flag = False,
) -> None:
    """Open the explorer in the browser: schedules with sliders, and the finder.

    Everything runs on this machine; the page asks nothing of any other, and needs no extra package. Ctrl-C ends it.

        lrjax explore lrjax-out/lr_finder.json

    Args:
      file: A lr_finder.json, or a schedule's spec as JSON; without it the page begins with three schedules.
      host: Address to listen at. With another one, other machines can use the page, without a password.
      name: A further host name under which browsers reach the page, as through a proxy; may be repeated.
      port: Port to listen at; 0 takes any that is free.
      browser: Open it in the browser, or not.
      debug: Show the traceback of an error.
    """
    explore(file, host=host, port=port, names=name, browser=browser)
