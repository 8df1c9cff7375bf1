"""Parameters of tests that take long."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """A case that only `-m slow` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_but_for(names: Iterable[Any], quick: Iterable[Any]) -> list[Any]:
    """All of `names`, slow cases but for those in `quick`."""
    quick = list(quick)
    return [name if name in quick else slow(name) for name in names]
