"""Failures that carry a result: no learning rate was found, or Ctrl-C came first."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


class LRNotFound(RuntimeError):
    """No learning rate was found; `throw=False` returns the result instead.

    Attributes:
      result: the whole result, its `lr` nan: the curve and the reason. For a schedule's peak, the `LossCurve`.
    """

    def __init__(self, message: str, result: Any = None):
        super().__init__(message)
        self.result = result


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C during a search, a range test or a sweep.

    Attributes:
      result: what was measured until then, as the call would have returned it; None if there is nothing yet.
    """

    def __init__(self, message: str, result: Any = None):
        super().__init__(message)
        self.result = result


@contextlib.contextmanager
def interruptible(what: str, so_far: Callable[[], tuple[Any, str]]) -> Iterator[None]:
    """Turn Ctrl-C into a `SearchInterrupted` with the result `so_far`, or None, and the end of the message."""
    try:
        yield
    except KeyboardInterrupt:
        result, words = so_far()
        raise SearchInterrupted(f"The {what} was interrupted; {words}", result) from None
