"""Our schedules against what the peers' own schedules give, frozen by tests/oracles/regenerate_schedules.py."""

import functools
import inspect
import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrjax import schedules

FILE = Path(__file__).parent / "oracles" / "schedules.json"
CASES = json.loads(FILE.read_text())
BY_NAME = {case["name"]: case for case in CASES}
KEYS = {"name", "peer", "schedule", "arguments", "steps", "values"}
NUMPY, RAMPS = "float64 NumPy reference", "pytorch-lr-finder"
COVERED = {
    "constant": {"PyTorch", "transformers", "Optax"},
    "linear_decay": {"PyTorch", "transformers", "Keras", "Optax"},
    "polynomial_decay": {"PyTorch", "transformers", "Keras", "Optax", "timm"},
    "exponential_decay": {"PyTorch", "Keras", "Optax"},
    "inverse_time_decay": {"Keras"},
    "step_decay": {"PyTorch", "Keras", "Optax", "timm"},
    "piecewise_constant": {"PyTorch", "Keras", "Optax"},
    "piecewise_interpolate": {"Optax"},
    "cosine_decay": {"PyTorch", "Keras", "Optax", "timm"},
    "warmup": {"PyTorch", "transformers", "Optax", "timm"},
    "warmup_cosine": {"PyTorch", "transformers", "Keras", "Optax", "timm"},
    "warmup_stable_decay": {"transformers", "timm"},
    "cosine_restarts": {"PyTorch", "Keras", "Optax", "timm"},
    "triangular": {"PyTorch"},
    "triangular2": {"PyTorch"},
    "exp_range": {"PyTorch"},
    "triangular_momentum": {"PyTorch"},
    "one_cycle": {"PyTorch", "Optax"},
    "one_cycle_momentum": {"PyTorch", "Optax"},
    "inverse_sqrt_decay": {"transformers"},
    "tanh_decay": {"timm"},
    "k_decay": {"timm"},
    "range_test_ramp": {RAMPS},
    "join": {"PyTorch", "Optax"},
    "multiply": {"PyTorch"},
    "cyclic_exponential_decay": {NUMPY},
    "power_decay": {NUMPY},
}
"""Which peers have our schedule."""

each_name = pytest.mark.parametrize("name", [case["name"] for case in CASES])


def build(spec):
    """The schedule of a case; a dict among its arguments is a schedule too."""
    arguments = {name: _build_inside(value) for name, value in spec["arguments"].items()}
    if spec["schedule"] == "multiply":
        return schedules.multiply(*arguments["schedules"])
    return getattr(schedules, spec["schedule"])(**arguments)


def _build_inside(value):
    if isinstance(value, list):
        return [_build_inside(one) for one in value]
    return build(value) if isinstance(value, dict) else value


def tolerance(case):
    """How far a value may be off: 4 float32 ulp of the peak, more where the peer computes in float32 itself."""
    return case.get("tolerance_ulp", 4) * float(np.spacing(np.float32(max(case["values"]))))


def disagreements(case, ours):
    """Where ours is not the peer's; `ours` at the steps of the case."""
    off = np.abs(ours - np.asarray(case["values"]))
    return [
        f"step {case['steps'][index]}: {case['peer']} {case['values'][index]:.10g}, ours {ours[index]:.10g}"
        for index in np.flatnonzero(~(off <= tolerance(case)))
    ]


@functools.cache
def values_of(name):
    """Ours at all the steps of a case at once. The last step is repeated, so that few lengths are compiled."""
    case = BY_NAME[name]
    steps = case["steps"] + case["steps"][-1:] * (-len(case["steps"]) % 128)
    values = build(case)(jnp.asarray(steps, jnp.int32))
    assert values.dtype == jnp.float32
    return np.asarray(values, np.float64)[: len(case["steps"])]


@each_name
def test_as_the_peer_for_an_array_of_steps(name):
    assert disagreements(BY_NAME[name], values_of(name)) == []


@each_name
def test_as_the_peer_for_one_step(name):
    case = BY_NAME[name]
    schedule, peak, last = build(case), int(np.argmax(case["values"])), len(case["steps"]) - 1
    few = sorted({0, 1, last // 3, peak, last - 1, last})
    picked = {key: [case[key][index] for index in few] for key in ("steps", "values")}
    ours = np.array([schedule(step) for step in picked["steps"]], np.float64)
    assert disagreements(case | picked, ours) == []


@each_name
def test_a_changed_value_is_noticed(name):
    """For every value by itself; by four tolerances, because ours may be off by one of them."""
    case = BY_NAME[name]
    for index, value in enumerate(case["values"]):
        values = list(case["values"])
        values[index] = value + 4 * tolerance(case)
        found = disagreements(case | {"values": values}, values_of(name))
        assert [line.split(":")[0] for line in found] == [f"step {case['steps'][index]}"]


@each_name
def test_the_file_is_what_it_says(name):
    case = BY_NAME[name]
    assert KEYS <= set(case) <= KEYS | {"tolerance_ulp"}
    steps, values = case["steps"], case["values"]
    assert len(steps) == len(values) >= 2
    assert steps == sorted(set(steps))
    assert all(type(step) is int and 0 <= step < 2**31 for step in steps)
    assert all(type(value) is float and math.isfinite(value) and value == float(f"{value:.10g}") for value in values)
    assert max(values) > 0
    assert case["peer"] == NUMPY or any(character.isdigit() for character in case["peer"])
    assert case.get("tolerance_ulp", 8) == 8
    assert "tolerance_ulp" not in case or case["peer"].startswith(("Keras", "Optax"))
    known = inspect.signature(getattr(schedules, case["schedule"])).parameters
    assert set(case["arguments"]) <= set(known)


def test_names_are_unique_and_the_file_is_small():
    assert len(BY_NAME) == len(CASES) > 200
    assert FILE.stat().st_size < 400_000


@pytest.mark.parametrize("name", COVERED)
def test_every_peer_is_asked(name):
    peers = {
        peer for peer in COVERED[name] for case in CASES if case["schedule"] == name and case["peer"].startswith(peer)
    }
    assert peers == COVERED[name]


def test_no_schedule_is_unknown_to_the_table():
    assert {case["schedule"] for case in CASES} == set(COVERED)


IN_OPTAX = {  # our function, Optax's of the same concept, and its positional arguments, whole numbers where it can be
    "constant": (schedules.constant, optax.constant_schedule, (1,)),
    "linear": (schedules.linear_decay, optax.linear_schedule, (1, 2, 10)),
    "linear begin": (schedules.linear_decay, optax.linear_schedule, (1, 2, 10, 5)),
    "polynomial": (schedules.polynomial_decay, optax.polynomial_schedule, (1, 2, 3, 10)),
    "polynomial begin": (schedules.polynomial_decay, optax.polynomial_schedule, (1, 2, 3, 10, 5)),
    "exponential": (schedules.exponential_decay, optax.exponential_decay, (0.1, 10, 2)),
    "exponential begin": (schedules.exponential_decay, optax.exponential_decay, (1, 10, 2, 5)),
    "stairs": (schedules.step_decay, optax.exponential_decay, (1, 10, 2)),
    "cosine": (schedules.cosine_decay, optax.cosine_decay_schedule, (1, 10)),
    "cosine alpha": (schedules.cosine_decay, optax.cosine_decay_schedule, (2, 10, 1)),
    "1cycle": (schedules.one_cycle, optax.cosine_onecycle_schedule, (10, 1)),
    "warmup and cosine": (schedules.warmup_cosine, optax.warmup_cosine_decay_schedule, (1, 2, 5, 10)),
    "warmup": (schedules.warmup, optax.warmup_constant_schedule, (1, 2, 5)),
    "piecewise": (schedules.piecewise_constant, optax.piecewise_constant_schedule, (1, {10: 2})),
    "interpolated": (schedules.piecewise_interpolate, optax.piecewise_interpolate_schedule, ("linear", 1, {10: 2})),
    "restarts": (schedules.cosine_restarts, optax.sgdr_schedule, ([{"init_value": 1}],)),
    "joined": (
        schedules.join,
        optax.join_schedules,
        ([optax.linear_schedule(0, 1, 5), optax.constant_schedule(1.0)], [5]),
    ),
}
REFUSED = {"linear begin", "polynomial begin", "exponential begin", "stairs", "cosine alpha", "1cycle", "restarts"} | {
    "warmup and cosine",
    "warmup",
    "piecewise",
    "interpolated",
}


@pytest.mark.parametrize("name", IN_OPTAX)
def test_arguments_in_the_order_of_optax_mean_the_same_or_are_refused(name):
    ours, theirs, arguments = IN_OPTAX[name]
    if name in REFUSED:
        with pytest.raises(TypeError):
            ours(*arguments)
    else:
        expected = [float(theirs(*arguments)(step)) for step in range(12)]
        np.testing.assert_allclose([ours(*arguments)(step) for step in range(12)], expected, rtol=1e-6)


def test_inverse_time_decay_has_the_order_of_keras():
    np.testing.assert_allclose(schedules.inverse_time_decay(0.1, 1000, 2)(1000), 0.1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: schedules.step_decay(0.1, 30, 0.5),  # PyTorch's StepLR(step_size, gamma)
        lambda: schedules.exp_range(0.1, 0.5, 10, 1),  # CyclicLR(base_lr, max_lr, step_size_up, step_size_down)
        lambda: schedules.piecewise_constant([10], [1, 2]),  # Keras's PiecewiseConstantDecay(boundaries, values)
        lambda: schedules.cyclic_exponential_decay(1, 2, 3, 4),
    ],
)
def test_arguments_whose_order_could_be_another_are_named(call):
    with pytest.raises((TypeError, ValueError)):
        call()
