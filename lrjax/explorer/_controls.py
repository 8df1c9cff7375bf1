"""What the page shows for every argument of every schedule: a slider with its range, a list, or a box to tick."""

import inspect
from typing import Any

from ..schedules._spec import FACTORIES
from ..schedules._stable import COOLDOWNS

LR = {"kind": "lr", "low": 1e-7, "high": 10.0}
STEPS = {"kind": "steps", "low": 1}
"""The highest is twice the training's length, which the page knows."""

_FRACTION = {"kind": "number", "low": 0.0, "high": 1.0}
_FACTOR = {"kind": "ratio", "low": 1.0, "high": 1e6}
_POWER = {"kind": "number", "low": 0.1, "high": 5.0}
_SIZE = {"kind": "ratio", "low": 1, "high": 10_000_000, "whole": True}

_BY_NAME: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("value", "init_value", "end_value", "peak_value", "base_value"), LR),
    **dict.fromkeys(("min_lr", "max_lr", "min_value", "max_value"), LR),
    **dict.fromkeys(("decay_steps", "total_steps", "transition_steps", "first_cycle_steps", "cycle_steps"), STEPS),
    **dict.fromkeys(("up_steps", "down_steps", "every", "old_steps", "new_steps", "num_steps", "timescale"), STEPS),
    **dict.fromkeys(("transition_begin", "warmup_steps", "stable_steps", "begin_step", "steps"), STEPS | {"low": 0}),
    **dict.fromkeys(("pct_start", "peak_decay", "floor_fraction", "factor", "decay_rate"), _FRACTION),
    **dict.fromkeys(("max_momentum", "min_momentum"), _FRACTION),
    **dict.fromkeys(("div_factor", "final_div_factor"), _FACTOR),
    **dict.fromkeys(("batch_size", "tokens_per_step"), _SIZE),
    **dict.fromkeys(("exponent", "power", "k"), _POWER),
    "gamma": {"kind": "number", "low": 0.9, "high": 1.0},
    "lower": {"kind": "number", "low": -10.0, "high": 0.0},
    "upper": {"kind": "number", "low": 0.0, "high": 10.0},
    "amplitude": {"kind": "number", "low": 0.1, "high": 20.0},
    "cycle_mult": {"kind": "number", "low": 1, "high": 4, "whole": True},
    "times": {"kind": "number", "low": 1, "high": 20, "whole": True},
    "values": {"kind": "list", "of": LR},
    "boundaries": {"kind": "list", "of": STEPS},
    "schedule": {"kind": "schedule"},
    "schedules": {"kind": "list", "of": {"kind": "schedule"}},
}

_BY_PLACE: dict[tuple[str, str], dict[str, Any]] = {
    ("power_decay", "exponent"): {"kind": "number", "low": -2.0, "high": -0.01},
    ("cyclic_exponential_decay", "decay_rate"): {"kind": "number", "low": 0.01, "high": 1.0},
    ("exponential_decay", "decay_rate"): {"kind": "number", "low": 0.01, "high": 1.0},
    ("inverse_time_decay", "decay_rate"): {"kind": "number", "low": 0.0, "high": 10.0},
}

_CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("warmup", "shape"): ("linear", "cosine", "exponential"),
    ("one_cycle", "shape"): ("cosine", "linear"),
    ("one_cycle_momentum", "shape"): ("cosine", "linear"),
    ("k_decay", "shape"): ("cosine", "polynomial"),
    ("range_test_ramp", "mode"): ("exponential", "linear"),
    ("piecewise_interpolate", "kind"): ("linear", "cosine"),
    ("join", "clock"): ("local", "absolute"),
    ("one_cycle", "convention"): ("optax", "torch"),
    ("one_cycle_momentum", "convention"): ("optax", "torch"),
    ("cosine_restarts", "convention"): ("optax", "keras"),
    ("piecewise_constant", "convention"): ("optax", "keras"),
    ("warmup_cosine", "convention"): ("optax", "hf"),
    ("warmup_stable_decay", "convention"): ("optax", "hf"),
    ("warmup_stable_decay", "cooldown"): COOLDOWNS,
    ("cooldown_from", "cooldown"): COOLDOWNS,
}
"""Conventions that agree with another one are left out."""

EXAMPLE_STEPS = 200
"""Length of the training that the examples are for."""

_COSINE = {"name": "cosine_decay", "init_value": 0.08, "decay_steps": 200}

EXAMPLES: dict[str, dict[str, Any]] = {
    "constant": {"value": 0.05},
    "linear_decay": {"init_value": 0.08, "end_value": 0.0, "transition_steps": 200},
    "polynomial_decay": {"init_value": 0.08, "end_value": 0.0, "power": 2.0, "transition_steps": 200},
    "exponential_decay": {"init_value": 0.08, "decay_rate": 0.5, "transition_steps": 50},
    "inverse_time_decay": {"init_value": 0.08, "decay_rate": 1.0, "transition_steps": 50},
    "cosine_decay": {"init_value": 0.08, "decay_steps": 200},
    "inverse_sqrt_decay": {"peak_value": 0.08, "warmup_steps": 20, "timescale": 20},
    "tanh_decay": {"init_value": 0.08, "decay_steps": 200},
    "k_decay": {"init_value": 0.08, "decay_steps": 200, "k": 1.5},
    "power_decay": {"max_value": 0.08, "batch_size": 1, "tokens_per_step": 100},
    "step_decay": {"init_value": 0.08, "factor": 0.5, "every": 50},
    "piecewise_constant": {"values": [0.08, 0.02, 0.005], "boundaries": [100, 150]},
    "piecewise_interpolate": {"values": [0.01, 0.08, 0.001], "boundaries": [60, 200]},
    "warmup": {"schedule": _COSINE | {"decay_steps": 180}, "warmup_steps": 20},
    "warmup_cosine": {"peak_value": 0.08, "warmup_steps": 20, "total_steps": 200},
    "warmup_stable_decay": {"peak_value": 0.08, "warmup_steps": 20, "stable_steps": 140, "decay_steps": 40},
    "cooldown_from": {"schedule": {"name": "constant", "value": 0.08}, "begin_step": 140, "decay_steps": 60},
    "cosine_restarts": {"peak_value": 0.08, "first_cycle_steps": 50},
    "triangular": {"base_value": 0.005, "peak_value": 0.08, "up_steps": 25},
    "triangular2": {"base_value": 0.005, "peak_value": 0.08, "up_steps": 25},
    "exp_range": {"base_value": 0.005, "peak_value": 0.08, "up_steps": 25, "gamma": 0.99},
    "cyclic_exponential_decay": {"init_value": 0.08, "decay_rate": 0.5, "transition_steps": 50, "cycle_steps": 50},
    "one_cycle": {"peak_value": 0.08, "total_steps": 200},
    "range_test_ramp": {"min_lr": 1e-4, "max_lr": 1.0, "num_steps": 200},
    "join": {
        "schedules": [{"name": "constant", "value": 0.08}, _COSINE | {"decay_steps": 100}],
        "boundaries": [100],
    },
    "multiply": {"schedules": [_COSINE, {"name": "step_decay", "init_value": 1.0, "factor": 0.5, "every": 50}]},
    "clip": {"schedule": _COSINE, "min_value": 0.01, "max_value": 0.06},
    "shift": {"schedule": _COSINE | {"decay_steps": 160}, "steps": 40},
    "stretch": {"schedule": _COSINE | {"decay_steps": 100}, "old_steps": 100, "new_steps": 200},
    "repeat": {"schedule": _COSINE | {"decay_steps": 50}, "cycle_steps": 50},
}
"""Every schedule as the page first shows it. A new schedule is added here and, if its arguments are new, above."""

GROUPS = {
    "Constant and decays": (
        "constant linear_decay cosine_decay exponential_decay polynomial_decay inverse_time_decay inverse_sqrt_decay "
        "tanh_decay k_decay power_decay step_decay piecewise_constant piecewise_interpolate"
    ),
    "With warmup": "warmup warmup_cosine warmup_stable_decay one_cycle",
    "Cycles": "cosine_restarts triangular triangular2 exp_range cyclic_exponential_decay range_test_ramp",
    "Made of others": "join multiply clip shift stretch repeat cooldown_from",
}

PAIRS = {
    "one_cycle": "one_cycle_momentum",
    "triangular": "triangular_momentum",
    "triangular2": "triangular_momentum",
    "exp_range": "triangular_momentum",
}
"""Schedules of a learning rate that have a schedule of momentum beside them."""


def controls(name: str) -> list[dict[str, Any]]:
    """The controls of one schedule, in the order of its arguments, ready for JSON."""
    return [_control(name, each) for each in inspect.signature(FACTORIES[name]).parameters.values()]


def _control(schedule: str, argument: inspect.Parameter) -> dict[str, Any]:
    place, default = (schedule, argument.name), argument.default
    if isinstance(default, bool):
        found: dict[str, Any] = {"kind": "flag"}
    elif place in _CHOICES:
        found = {"kind": "choice", "choices": list(_CHOICES[place])}
    else:
        found = _BY_PLACE.get(place) or _BY_NAME[argument.name]
    has_default = default is not argument.empty
    return {
        "name": argument.name,
        **found,
        "default": default if has_default else None,
        "optional": has_default and default is None,
    }
