"""`lrjax explore`: the interactive page."""

import dataclasses
from typing import Annotated

from cyclopts import Parameter

from ..explorer import explore
from ._options import Command, Count, Flag, Many, Place
from ._standard_streams import FOUND


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExploreCommand(Command):
    """Open the explorer in the browser: schedules with sliders, and the finder.

    Everything runs on this machine; the page asks nothing of any other, and needs no extra package. Ctrl-C ends it.

        lrjax explore lrjax-out/lr_finder.json
    """

    file: Place | None = dataclasses.field(default=None, kw_only=False)
    """A lr_finder.json, or a schedule's spec as JSON; without it the page begins with three schedules."""
    host: Annotated[str, Parameter(metavar="ADDRESS")] = "127.0.0.1"
    """Address to listen at. With another one, other machines can use the page, without a password."""
    name: Annotated[Many, Parameter(metavar="NAME")] = ()
    """A further host name under which browsers reach the page, as through a proxy; may be repeated."""
    port: Count = 8571
    """Port to listen at; 0 takes any that is free."""
    browser: Annotated[Flag, Parameter(negative="--no-browser")] = True
    """Open it in the browser, or not."""

    def __call__(self) -> int:
        explore(self.file, host=self.host, port=self.port, names=self.name, browser=self.browser)
        return FOUND
