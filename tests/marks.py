"""Parameters of tests that take long."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """A case that only `-m slow` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


def first_of(names: Iterable[Any], quick: Iterable[Any]) -> list[Any]:
    """All of `names`; those not in `quick` are slow cases."""
    quick = list(quick)
    return [name if name in quick else slow(name) for name in names]
