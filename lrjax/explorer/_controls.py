"""What the page shows for every argument of every schedule: a slider with its range, a list, or a box to tick."""

from typing import Any

from .._annotated import arguments_of
from ..schedules import _FACTORIES as FACTORIES
from ..schedules import _GROUPS

TITLES = {
    "decays": "Constant and decays",
    "warmup": "With warmup",
    "cycles": "Cycles",
    "composed": "Made of others",
}
GROUPS = {title: tuple(_GROUPS[group]) for group, title in TITLES.items()}
"""Title -> the names of the schedules below it."""

PAIRS = {
    "one_cycle": "one_cycle_momentum",
    "triangular": "triangular_momentum",
    "triangular2": "triangular_momentum",
    "exp_range": "triangular_momentum",
}
"""Schedules of a learning rate that have a schedule of momentum beside them."""


EXAMPLE_STEPS = 200
"""Length of the training that the examples are for."""

_COSINE = {"name": "cosine_decay", "init_value": 0.08, "decay_steps": 200}
_TRIANGLE = {"base_value": 0.005, "up_steps": 25}

_SHOWN: dict[str, dict[str, Any]] = {
    "linear_decay": {"end_value": 0.0, "transition_steps": 200},
    "polynomial_decay": {"end_value": 0.0, "power": 2.0, "transition_steps": 200},
    "exponential_decay": {"decay_rate": 0.5, "transition_steps": 50},
    "inverse_time_decay": {"decay_rate": 1.0, "transition_steps": 50},
    "inverse_sqrt_decay": {"warmup_steps": 20, "timescale": 20},
    "k_decay": {"k": 1.5},
    "power_decay": {"batch_size": 1, "tokens_per_step": 100},
    "step_decay": {"factor": 0.5, "every": 50},
    "piecewise_constant": {"values": [0.08, 0.02, 0.005], "boundaries": [100, 150]},
    "piecewise_interpolate": {"values": [0.01, 0.08, 0.001], "boundaries": [60, 200]},
    "warmup": {"schedule": _COSINE | {"decay_steps": 180}},
    "warmup_stable_decay": {"stable_steps": 140, "decay_steps": 40},
    "cosine_restarts": {"first_cycle_steps": 50},
    "triangular": _TRIANGLE,
    "triangular2": _TRIANGLE,
    "exp_range": _TRIANGLE | {"gamma": 0.99},
    "cyclic_exponential_decay": {"decay_rate": 0.5, "transition_steps": 50, "cycle_steps": 50},
    "range_test_ramp": {"min_lr": 1e-4, "max_lr": 1.0},
    "cooldown_from": {"schedule": {"name": "constant", "value": 0.08}, "begin_step": 140, "decay_steps": 60},
    "join": {
        "schedules": [{"name": "constant", "value": 0.08}, _COSINE | {"decay_steps": 100}],
        "boundaries": [100],
    },
    "add": {"schedules": [_COSINE, {"name": "constant", "value": 0.01}]},
    "multiply": {"schedules": [_COSINE, {"name": "step_decay", "init_value": 1.0, "factor": 0.5, "every": 50}]},
    "clip": {"schedule": _COSINE, "min_value": 0.01, "max_value": 0.06},
    "shift": {"schedule": _COSINE | {"decay_steps": 160}, "steps": 40},
    "stretch": {"schedule": _COSINE | {"decay_steps": 100}, "old_steps": 100, "new_steps": 200},
    "repeat": {"schedule": _COSINE | {"decay_steps": 50}, "cycle_steps": 50},
}
"""Arguments of the examples, where the first guess of their control would not show what the schedule does."""


def controls(name: str) -> list[dict[str, Any]]:
    """The controls of one schedule, in the order of its arguments, ready for JSON."""
    return [
        {
            "name": argument,
            **rule.shown,
            "default": None if parameter.default is parameter.empty else parameter.default,
            "optional": parameter.default is None,
        }
        for argument, (_, parameter, rule) in arguments_of(FACTORIES[name]).items()
        if rule is not None
    ]


def _example(name: str) -> dict[str, Any]:
    """Learning rates of 0.08, the whole training where at least a step is due, a tenth where none is."""
    guesses = {("lr", 1e-7): 0.08, ("steps", 1): EXAMPLE_STEPS, ("steps", 2): EXAMPLE_STEPS, ("steps", 0): 20}
    needed = [one for one in controls(name) if one["default"] is None and not one["optional"]]
    return {one["name"]: guesses.get((one["kind"], one.get("low"))) for one in needed} | _SHOWN.get(name, {})


EXAMPLES = {name: _example(name) for names in GROUPS.values() for name in names}
"""The arguments of every schedule as the page first shows it."""
