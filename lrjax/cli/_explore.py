"""`lrjax explore`: the interactive page. Imported by `main` only."""

from typing import TYPE_CHECKING

from ..explorer import explore
from ._status import FOUND

if TYPE_CHECKING:
    from ._options import Explore


def run_explorer(options: "Explore") -> int:
    """Serve the page until Ctrl-C."""
    explore(options.file, host=options.host, port=options.port, names=options.name, browser=options.browser)
    return FOUND
