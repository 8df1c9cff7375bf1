"""What the page begins with: its controls, surfaces, limits, and examples that show one thing each."""

import functools
from typing import Any

from .._version import __version__
from ..schedules import constant, cosine_decay, cosine_restarts, from_spec, one_cycle, to_spec, warmup_cosine
from ._controls import EXAMPLE_STEPS, EXAMPLES, GROUPS, PAIRS, controls
from ._paths import DIGITS_OPTIMIZERS, MAX_SCHEDULES, MAX_SEEDS, MAX_STEPS, OPTIMIZERS, WITHOUT_MOMENTUM
from ._read import MAX_BODY
from ._surfaces import BANDS, SURFACES, heights


def _state(
    surface: str,
    *schedules: Any,
    steps: int = 200,
    optimizer: str = "sgd",
    noise: float = 0.0,
    start: tuple[float, float] | None = None,
) -> dict[str, Any]:
    asked = [one if isinstance(one, tuple) else (one, None) for one in schedules]
    return {
        "steps": steps,
        "surface": surface,
        "optimizer": optimizer,
        "momentum": 0.9,
        "noise": noise,
        "seeds": 16,
        "start": list(start or SURFACES[surface].start),
        "schedules": [{"spec": to_spec(schedule), "momentum": momentum} for schedule, momentum in asked],
    }


START = _state(
    "ravine",
    constant(0.09),
    warmup_cosine(0.09, warmup_steps=20, total_steps=200, init_value=0.009),
    one_cycle(0.09, total_steps=200),
    noise=1.0,
)
"""What the page opens with."""

PRESETS = (
    {
        "name": "Stability",
        "sentence": "Above 2 / curvature every step overshoots by more than the last one, so the rate is bounded by "
        "the steepest direction and the progress is made in the flattest.",
        "state": _state("ravine", constant(0.01), constant(0.09), constant(0.105)),
    },
    {
        "name": "Warmup",
        "sentence": "The start is often steeper than the valley after it: a rate that diverges there at once is good "
        "once a few small steps have led out of it.",
        "state": _state(
            "beale",
            cosine_decay(0.08, 200),
            warmup_cosine(0.08, warmup_steps=20, total_steps=200, init_value=0.0008),
            noise=0.5,
            start=(2.0, 1.5),
        ),
    },
    {
        "name": "Restarts",
        "sentence": "A restart raises the rate again and shakes the parameters out of the minimum that they had "
        "settled in, so that each cycle ends in another one.",
        "state": _state("rastrigin", cosine_decay(0.1, 400), cosine_restarts(0.1, 100), steps=400, noise=2.0),
    },
    {
        "name": "Exploration and exploitation",
        "sentence": "A high rate explores but never settles, a low one settles in the nearest minimum, and a decay "
        "does first the one and then the other.",
        "state": _state("rastrigin", constant(0.1), constant(0.01), cosine_decay(0.1, 400), steps=400, noise=4.0),
    },
    {
        "name": "1cycle with momentum",
        "sentence": "1cycle lowers the momentum while the rate is high, where both together would overshoot.",
        "state": _state(
            "ravine",
            one_cycle(0.09, total_steps=200),
            (one_cycle(0.09, total_steps=200), {"max_momentum": 0.95, "min_momentum": 0.5}),
            optimizer="momentum",
            noise=2.0,
        ),
    },
)


@functools.cache
def contents() -> dict[str, Any]:
    """Everything that the page is made of."""
    names = sorted({*EXAMPLES, *PAIRS.values()})
    return {
        "version": __version__,
        "groups": GROUPS,
        "controls": {name: controls(name) for name in names},
        "examples": {name: to_spec(from_spec({"name": name, **spec})) for name, spec in EXAMPLES.items()},
        "example_steps": EXAMPLE_STEPS,
        "pairs": PAIRS,
        "surfaces": {name: _surface(name) for name in SURFACES},
        "optimizers": list(OPTIMIZERS),
        "without_momentum": list(WITHOUT_MOMENTUM),
        "digits_optimizers": list(DIGITS_OPTIMIZERS),
        "limits": {"steps": MAX_STEPS, "schedules": MAX_SCHEDULES, "seeds": MAX_SEEDS, "file": MAX_BODY},
        "presets": PRESETS,
        "first": START,
    }


def _surface(name: str) -> dict[str, Any]:
    surface, grid = SURFACES[name], heights(name)
    shown = {field: getattr(surface, field) for field in ("title", "sentence", "start", "minimum", "box")}
    return shown | {"columns": grid.shape[1], "heights": grid.reshape(-1).tolist(), "highest": BANDS - 1}
