"""From a window to a schedule, in one click."""

import functools
import math
from typing import Any

from .._plan import peak_for
from ..schedules import one_cycle, to_spec, triangular, warmup_cosine
from ._paths import MAX_STEPS
from ._read import Fields, Refused

WARMUP, CYCLES = 10, 4
"""A tenth of the training is warmup; a cyclical schedule goes up and down so many times."""


def plan(body: dict[str, Any]) -> dict[str, Any]:
    """The schedule that goes with a window.

    Args:
      body: "kind", one of "one_cycle", "triangular" and "warmup_cosine"; "lr", the pick; "min_lr" and "max_lr", the
        window; "steps", optimizer updates of the training.

    Returns:
      "spec", and "why", a sentence.

    Raises:
      Refused: a number is out of its range.
    """
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
    return {"spec": to_spec(make(peak)), "why": f"Its peak is {peak / lr:.2g} times {lr:.2e}, by the area under it."}


def _short(lr: float) -> float:
    """Three digits."""
    return round(lr, 2 - math.floor(math.log10(lr)))
