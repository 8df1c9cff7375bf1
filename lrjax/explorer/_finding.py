"""The second half of the page: a step-sampled curve, read at any horizon by any rule, and a schedule made of it."""

import collections
import functools
import itertools
import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._curve import METHODS, REASONS, LossCurve, Outcome, crossing, find_warnings, find_window, lowest_for, lowest_loss
from .._plan import peak_for
from .._search import LRResult, RangeTest
from ..schedules import one_cycle, to_spec, triangular, warmup_cosine
from ._paths import DIGITS_OPTIMIZERS, MAX_STEPS
from ._read import Fields, Refused, read_document, read_schedule, rounded

MOST = {"lrs": 2000, "seeds": 200, "horizons": 200}
"""The largest curve that a file may hold."""

KEPT = 8
"""Curves that are remembered: the last so many."""

WARMUP, CYCLES = 10, 4
"""A tenth of the training is warmup; a cyclical schedule goes up and down so many times."""


class Evidence(NamedTuple):
    """The curve of a problem or a file of this title, and the classic range test of the same problem, if any.

    The result is the one that the curve is of.
    """

    title: str
    curve: LossCurve
    result: LRResult
    test: RangeTest | None = None


def read_result(document: dict[str, Any], title: str) -> Evidence:
    """The curve of a saved `LRResult`. Everything is checked; of the rest of the file its cost and metric are shown."""
    try:
        result = LRResult._from_document("This file", document)
        curve = _checked(result.curve)
        find_window(curve)
    except (TypeError, ValueError, OverflowError) as error:
        message = str(error)  # a file can make it long
        raise Refused(message if len(message) <= 600 else message[:600] + "...") from None
    return Evidence(title=title, curve=curve, result=result)


def _checked(curve: LossCurve) -> LossCurve:
    """The curve with the types that the maths takes."""
    sizes = dict(zip(("horizons", "seeds", "lrs"), np.shape(curve.losses), strict=True))
    for name, size in sizes.items():
        if size > MOST[name]:
            raise Refused(f"This file holds {size:,} {name}; at most {MOST[name]:,} can be shown.")
    whole = {name: np.asarray(getattr(curve, name), np.int32) for name in ("horizons", "rounds", "diverged_at")}
    single = {name: np.asarray(getattr(curve, name), np.float32) for name in ("lrs", "losses", "initial_loss")}
    return curve._replace(**whole, **single, metrics={})


def reading(evidence: Evidence, body: dict[str, Any]) -> dict[str, Any]:
    """What the rules say of the curve at one horizon: the window, every rule's pick, the warnings, the peers' picks.

    "horizon" is an index, "share" the part of the reduction that the rule of one's own asks for.
    """
    fields, horizons = Fields(body), np.asarray(evidence.curve.horizons)
    curve = evidence.curve.at(fields.whole("horizon", 0, len(horizons) - 1))
    share, steps = fields.number("share", 0.01, 0.99), fields.whole("steps", 1, MAX_STEPS)
    window = find_window(curve)
    found = window.outcome is Outcome.found
    losses, in_terms = np.asarray(curve.final, np.float64), evidence.result.in_terms
    return {
        "title": evidence.title,
        "ranked": in_terms("validation loss"),
        "updates": evidence.result.cost.updates,
        "horizons": horizons.tolist(),
        "lrs": rounded(np.asarray(curve.lrs)),
        "loss": rounded(losses.mean(axis=0)),
        "low": rounded(losses.min(axis=0)),
        "high": rounded(losses.max(axis=0)),
        "initial": float(np.mean(np.asarray(curve.initial_loss))),
        "outcome": in_terms(window.outcome.value),
        "window": rounded(np.asarray([window.min_lr, window.max_lr])) if found else None,
        "effect": rounded(np.asarray(window.effect)),
        "picks": _picks(curve, window, share, steps) if found else [],
        "warnings": [in_terms(str(one)) for one in find_warnings(curve, window)],
        "test": None if evidence.test is None else _classic(evidence.test),
    }


def _picks(curve: LossCurve, window: Any, share: float, steps: int) -> list[dict[str, Any]]:
    rules = {name: (rule, REASONS[name]) for name, rule in (METHODS | {"lowest_loss": lowest_loss}).items()}
    rules |= {
        "lowest_for": (lowest_for(steps), f"the minimum, moved down to a training of {steps:,} updates"),
        "share": (
            lambda curve, window: 10.0 ** crossing(window, 1 - share),
            f"{100 * share:.0f} % of the reduction is reached",
        ),
    }
    picks = {name: (float(rule(curve, window)), meaning) for name, (rule, meaning) in rules.items()}
    return [{"rule": name, "lr": lr, "meaning": meaning} for name, (lr, meaning) in picks.items() if np.isfinite(lr)]


def _classic(test: RangeTest) -> dict[str, Any]:
    lrs, refusals = test.suggestions()
    return {
        "lrs": rounded(test.lrs),
        "losses": rounded(test.losses),
        "smoothed": rounded(test.smoothed),
        "picks": [{"rule": name, "lr": lr} for name, lr in lrs.items()],
        "refusals": refusals,
    }


class Curves:
    """The curves that the page may ask about, by an id that it was given; `search` finds those of the digits."""

    def __init__(self, search: Callable[[str], Evidence]) -> None:
        self._search_for = search
        self._evidence: collections.OrderedDict[str, Evidence] = collections.OrderedDict()
        self._count, self._lock, self._search = itertools.count(1), threading.Lock(), threading.Lock()

    def digits(self, body: dict[str, Any]) -> dict[str, Any]:
        """Search the digits; one search at a time."""
        optimizer = Fields(body).choice("optimizer", tuple(DIGITS_OPTIMIZERS))
        with self._search:
            return {"id": self._keep(self._search_for(optimizer))}

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


def plan(body: dict[str, Any]) -> dict[str, Any]:
    """The schedule that goes with a pick and its window, and a sentence that says why."""
    fields = Fields(body)
    kind = fields.choice("kind", ("one_cycle", "triangular", "warmup_cosine"))
    total = fields.whole("steps", 1, MAX_STEPS)
    lr, low, high = (fields.number(name, 1e-12, 1e3) for name in ("lr", "min_lr", "max_lr"))
    if low > high:
        raise Refused(f"`min_lr` must not be above max_lr={high:g}, got {low:g}.")
    if kind == "triangular":
        schedule = triangular(_short(low), _short(high), max(total // (2 * CYCLES), 1))
        return {"spec": to_spec(schedule), "why": f"Between the ends of the window, {CYCLES} times up and down."}
    options = {"total_steps": total} | ({"warmup_steps": total // WARMUP} if kind == "warmup_cosine" else {})
    make = functools.partial(one_cycle if kind == "one_cycle" else warmup_cosine, **options)
    peak = _short(peak_for(lr, make(1.0), total))
    return {"spec": to_spec(make(peak)), "why": f"Its peak is {peak / lr:.2g} times {lr:.2e}, by lrjax.peak_for."}


def _short(lr: float) -> float:
    """Three digits."""
    return round(lr, 2 - math.floor(math.log10(lr)))
