"""Every question of the page and its answer, as functions from JSON to JSON. What is remembered is the curves."""

import collections
import functools
import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from .._version import __version__
from ..schedules import to_spec
from ._controls import EXAMPLE_STEPS, EXAMPLES, GROUPS, PAIRS, controls
from ._course import course
from ._finding import OPTIMIZERS as DIGITS_OPTIMIZERS
from ._finding import Evidence, read_result, reading, search_digits
from ._paths import MAX_SCHEDULES, MAX_SEEDS, MAX_STEPS, OPTIMIZERS, WITHOUT_MOMENTUM
from ._plan import plan
from ._presets import PRESETS, START
from ._read import Fields, Refused, read_document, read_schedule
from ._schedule_view import rounded
from ._surfaces import SURFACES, heights

KEPT = 8
"""Curves that are remembered: the last so many."""


class Answers:
    """The answers, and the curves that they are about.

    Attributes:
      routes: path -> function of the request's JSON object.
      opened: the answer to the file that the page opens with, or None.
    """

    def __init__(self) -> None:
        self.opened: dict[str, Any] | None = None
        self._evidence: collections.OrderedDict[str, Evidence] = collections.OrderedDict()
        self._count, self._lock, self._search = itertools.count(1), threading.Lock(), threading.Lock()
        self.routes: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "/api/start": lambda body: _contents() | {"opened": self.opened},
            "/api/course": course,
            "/api/digits": self.digits,
            "/api/open": self.open,
            "/api/reading": self.reading,
            "/api/plan": plan,
        }

    def digits(self, body: dict[str, Any]) -> dict[str, Any]:
        """Search the digits; one search at a time."""
        optimizer = Fields(body).choice("optimizer", tuple(DIGITS_OPTIMIZERS))
        with self._search:
            return {"id": self._keep(_digits(optimizer))}

    def open(self, body: dict[str, Any]) -> dict[str, Any]:
        """A file, as "text" and "name": a saved result or the spec of a schedule."""
        fields = Fields(body)
        document = read_document(fields.text("text"))
        if "format" not in document and "name" in document:
            return {"spec": to_spec(read_schedule(document))}
        return {"id": self._keep(read_result(document, fields.text("name")[:80]))}

    def reading(self, body: dict[str, Any]) -> dict[str, Any]:
        """Read a curve."""
        name = Fields(body).text("id")
        with self._lock:
            evidence = self._evidence.get(name)
        if evidence is None:
            raise Refused("This curve is no longer here. Open the file again.")
        return reading(evidence, body)

    def _keep(self, evidence: Evidence) -> str:
        with self._lock:
            name = str(next(self._count))
            self._evidence[name] = evidence
            while len(self._evidence) > KEPT:
                self._evidence.popitem(last=False)
            return name


_digits = functools.cache(search_digits)


@functools.cache
def _contents() -> dict[str, Any]:
    names = sorted({*EXAMPLES, *PAIRS.values()})
    return {
        "version": __version__,
        "groups": GROUPS,
        "controls": {name: controls(name) for name in names},
        "examples": {name: to_spec(read_schedule({"name": name, **spec})) for name, spec in EXAMPLES.items()},
        "example_steps": EXAMPLE_STEPS,
        "pairs": PAIRS,
        "surfaces": {name: _surface(name) for name in SURFACES},
        "optimizers": list(OPTIMIZERS),
        "without_momentum": list(WITHOUT_MOMENTUM),
        "digits_optimizers": list(DIGITS_OPTIMIZERS),
        "limits": {"steps": MAX_STEPS, "schedules": MAX_SCHEDULES, "seeds": MAX_SEEDS},
        "presets": PRESETS,
        "first": START,
    }


def _surface(name: str) -> dict[str, Any]:
    surface, grid = SURFACES[name], heights(name)
    shown = {field: getattr(surface, field) for field in ("title", "sentence", "start", "minimum", "box")}
    return shown | {"columns": grid.shape[1], "heights": rounded(grid.reshape(-1))}
