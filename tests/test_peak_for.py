"""The area rule: against its own formula in NumPy, against the study it was fitted in, and on anybody's schedules."""

import dataclasses
import json
import math
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from found import found
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import check_message

from experiments.benchmark.replay import RESULTS
from lrjax import peak_for, schedules

TOTAL = 1400
"""Divisible by 4, 7, 8 and 10, where the schedules of the study have their parts."""

NAN, STEPS = float("nan"), np.arange(TOTAL)
U = STEPS / TOTAL
ONE_CYCLE = schedules.one_cycle(1.0, total_steps=1000)
WARM_COSINE = schedules.warmup_cosine(1.0, warmup_steps=100, total_steps=1000)
STABLE = schedules.warmup_stable_decay(1.0, warmup_steps=100, stable_steps=700, decay_steps=200)


def cosine(u):
    return (1 + np.cos(np.pi * u)) / 2


def triangles(u):
    return 1 - np.abs(2 * (4 * u % 1) - 1)


def rule(m):
    """The area rule, once more."""
    return np.mean(m) ** -0.65 * (1.3 if m[0] < 0.5 else 1.0)


class Row(NamedTuple):
    """A row of the study: ours, its definition in u, log10(1/mean m), whether it starts low, its fitted multiplier."""

    schedule: object
    m: np.ndarray
    area: float
    warm: bool
    fitted: float


RESTARTS = np.select([U < 1 / 7, U < 3 / 7], [cosine(7 * U), cosine(3.5 * (U - 1 / 7))], cosine(1.75 * (U - 3 / 7)))
STUDY = {
    "constant": Row(schedules.constant(1.0), np.ones(TOTAL), 0, False, 1),
    "linear": Row(schedules.linear_decay(1.0, 0.0, TOTAL), 1 - U, 0.30, False, 1.7),
    "cosine": Row(schedules.cosine_decay(1.0, TOTAL), cosine(U), 0.30, False, 1.6),
    "exp1%": Row(schedules.exponential_decay(1.0, TOTAL, 0.01), 0.01**U, 0.67, False, 2.7),
    "step": Row(
        schedules.piecewise_constant([1.0, 0.1, 0.01], [TOTAL // 2, 3 * TOTAL // 4]),
        np.select([U < 0.5, U < 0.75], [1, 0.1], 0.01),
        0.28,
        False,
        1.5,
    ),
    "1cycle": Row(
        schedules.one_cycle(1.0, total_steps=TOTAL),
        np.where(U < 0.3, 0.04 + 0.96 * cosine(1 - U / 0.3), 4e-6 + (1 - 4e-6) * cosine((U - 0.3) / 0.7)),
        0.30,
        True,
        2.2,
    ),
    "triangular": Row(schedules.triangular(0.1, 1.0, TOTAL // 8), 0.1 + 0.9 * triangles(U), 0.26, True, 1.9),
    "triangular2": Row(
        schedules.triangular2(0.1, 1.0, TOTAL // 8), 0.1 + 0.9 * triangles(U) / 2 ** np.floor(4 * U), 0.51, True, 3.0
    ),
    "restarts": Row(schedules.cosine_restarts(1.0, TOTAL // 7, cycle_mult=2), RESTARTS, 0.30, False, 1.6),
    "cycexp": Row(
        schedules.cyclic_exponential_decay(1.0, decay_rate=0.05, transition_steps=TOTAL, cycle_steps=TOTAL // 5),
        0.05**U * (0.1 + 0.9 * cosine(10 * U)),
        0.76,
        False,
        3.0,
    ),
    "wcos": Row(
        schedules.warmup_cosine(1.0, warmup_steps=TOTAL // 10, total_steps=TOTAL),
        np.where(U < 0.1, U / 0.1, cosine((U - 0.1) / 0.9)),
        0.30,
        True,
        1.9,
    ),
    "wsd": Row(
        schedules.warmup_stable_decay(
            1.0, warmup_steps=TOTAL // 10, stable_steps=7 * TOTAL // 10, decay_steps=TOTAL // 5
        ),
        np.select([U < 0.1, U < 0.8], [U / 0.1, 1], 1 - np.sqrt(np.maximum(U - 0.8, 0) / 0.2)),
        0.09,
        True,
        1.4,
    ),
    "invsqrt": Row(
        schedules.inverse_sqrt_decay(1.0, warmup_steps=TOTAL // 10, timescale=TOTAL // 10),
        np.where(U < 0.1, U / 0.1, np.sqrt(0.1 / np.maximum(U, 0.1))),
        0.32,
        True,
        2.3,
    ),
}


@pytest.mark.parametrize("row", STUDY.values(), ids=STUDY.keys())
def test_the_studys_schedules(row):
    factor = peak_for(1.0, row.schedule, TOTAL)
    assert factor == pytest.approx(rule(row.m), rel=1e-5)
    assert -np.log10(row.m.mean()) == pytest.approx(row.area, abs=0.012)
    assert factor == pytest.approx(10 ** (0.65 * row.area) * (1.3 if row.warm else 1), rel=0.02)
    assert factor == pytest.approx(row.fitted, rel=0.1)


def test_the_rules_error_over_the_study():
    shifts = [math.log10(rule(row.m) / row.fitted) for row in STUDY.values()]
    assert np.std(shifts) < 0.03
    assert abs(np.mean(shifts)) < 0.02


# anybody's schedules

UNTRACEABLE = {
    "an if": lambda step: 0.1 if step < 5 else 0.05,
    "math": lambda step: 1.0 + math.cos(step / 7),
    "NumPy": lambda step: np.exp(-step / 10),
    "a table": lambda step: [0.2, 0.4, 0.1, 0.0, 0.3][step % 5],
}
TRACEABLE = {
    "optax constant": optax.constant_schedule(0.3),
    "optax cosine": optax.cosine_decay_schedule(3e-4, 60, alpha=0.1),
    "optax warmup and cosine": optax.warmup_cosine_decay_schedule(0.0, 7.0, 10, 60),
    "optax stairs": optax.piecewise_constant_schedule(1e-6, {20: 0.5, 40: 0.1}),
    "optax one cycle": optax.cosine_onecycle_schedule(60, 0.1),  # wrong on arrays of steps
    "optax joined": optax.join_schedules([optax.linear_schedule(0.0, 1.0, 5), optax.constant_schedule(1.0)], [5]),
    "composed": schedules.multiply(schedules.cosine_decay(1.0, 60), optax.exponential_decay(2.0, 30, 0.5)),
    "an integer": lambda step: 2,
    "bfloat16": lambda step: jnp.bfloat16(0.125),
    "jitted": jax.jit(optax.linear_schedule(0.5, 0.1, 60)),
}


def assert_rule_on(schedule, one_by_one):
    wanted = 0.01 * rule(one_by_one / one_by_one.max())
    assert peak_for(0.01, schedule, 60) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("schedule", TRACEABLE.values(), ids=TRACEABLE.keys())
def test_any_callable(schedule):
    jitted = jax.jit(lambda step: jnp.asarray(schedule(step), jnp.float32))
    assert_rule_on(schedule, np.array([float(jitted(step)) for step in range(60)]))


@pytest.mark.parametrize("schedule", UNTRACEABLE.values(), ids=UNTRACEABLE.keys())
def test_any_callable_that_cannot_be_traced(schedule):
    assert_rule_on(schedule, np.array([schedule(step) for step in range(60)]))


TABLE = np.array([0.2, 0.9, 1.0, 0.7, 0.7, 0.1, 0.0, 0.05])


@given(lr=st.floats(-12, 3), height=st.floats(-12, 6))
@settings(max_examples=10, deadline=None)
def test_the_height_does_not_matter_and_the_lr_is_a_factor(lr, height):
    peak = peak_for(10**lr, lambda step: 10**height * TABLE[int(step)], 8)
    assert peak == pytest.approx(10**lr * rule(TABLE), rel=1e-6)


@given(values=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12))
@settings(max_examples=10, deadline=None)
def test_any_values(values):
    m = np.array(values) / max(values)
    assert peak_for(0.1, lambda step: values[int(step)], len(m)) == pytest.approx(0.1 * rule(m), rel=1e-6)


@pytest.mark.parametrize(("first", "factor"), [(0.49, 1.3), (0.5, 1.0), (0.51, 1.0), (0.0, 1.3)])
def test_a_low_start_is_below_half_of_the_peak(first, factor):
    peak = peak_for(1.0, lambda step: first if step == 0 else 1.0, 50)
    assert peak == pytest.approx(((49 + first) / 50) ** -0.65 * factor)


def test_only_the_steps_of_the_training_count():
    schedule = schedules.cosine_decay(1.0, 1000)
    half = float(np.mean(schedule(np.arange(500))))
    assert peak_for(1.0, schedule, 500) == pytest.approx(half**-0.65, rel=1e-6)
    assert peak_for(0.3, schedule, 1) == 0.3


@pytest.mark.parametrize("total", [200_000, 200_001, 10**9])
def test_long_trainings_are_sampled_evenly(total):
    peak = peak_for(1.0, schedules.linear_decay(1.0, 0.0, total), total)
    assert peak == pytest.approx(bound_rule(1 - np.arange(200_000) / 200_000), rel=1e-3)


# Long trainings


def bound_rule(m):
    """The peak with the lowest bound of the last iterate's loss, as it is published, over that of a constant."""

    def best(m):
        left, squares = np.cumsum(m[::-1])[::-1], np.cumsum(m[::-1] ** 2)[::-1]
        noise = squares[0] / left[0] + np.sum(m[:-1] * squares[:-1] / (left[1:] * left[:-1]))
        return 1 / np.sqrt(left[0] * noise)

    return best(m) / best(np.ones(len(m)))


LONG = {
    "linear": lambda n: schedules.linear_decay(1.0, 0.0, n),
    "cosine": lambda n: schedules.cosine_decay(1.0, n),
    "stable, decay": lambda n: schedules.warmup_stable_decay(
        1.0, warmup_steps=0, stable_steps=n - n // 5, decay_steps=n // 5
    ),
    "exponential": lambda n: schedules.exponential_decay(1.0, n, 0.01),
}


@pytest.mark.parametrize("total", [15_000, 50_000])
@pytest.mark.parametrize("make", LONG.values(), ids=LONG.keys())
def test_a_long_training_takes_the_peak_with_the_lowest_bound(make, total):
    m = np.asarray(make(total)(np.arange(total)), np.float64)
    assert peak_for(1.0, make(total), total) == pytest.approx(bound_rule(m), rel=5e-3)


@pytest.mark.parametrize("make", LONG.values(), ids=LONG.keys())
def test_from_short_to_long_the_factor_grows_without_a_jump(make):
    lengths = np.unique(np.geomspace(500, 60_000, 40).astype(int))
    factors = [peak_for(1.0, make(int(n)), int(n)) for n in lengths]
    steps = np.diff(np.log(factors))
    assert (steps > -1e-3).all()
    assert steps.max() < 0.1
    at_2000, beyond = (peak_for(1.0, make(n), n) for n in (2000, 2001))
    assert beyond == pytest.approx(at_2000, rel=2e-3)


@pytest.mark.parametrize("total", [1, 2000, 8000, 10**6])
def test_a_constant_keeps_its_learning_rate(total):
    assert peak_for(0.3, schedules.constant(1.0), total) == 0.3


def test_a_low_start_counts_in_a_long_training_too():
    low, high = (peak_for(1.0, lambda step, v=v: jnp.where(step == 0, v, 1.0), 20_000) for v in (0.1, 0.9))
    assert low / high == pytest.approx(1.3, rel=1e-3)


@pytest.mark.parametrize("last", [0.0, 1e-6, 1e-30])
def test_a_last_step_of_almost_0_does_no_harm(last):
    peak = peak_for(1.0, lambda step: jnp.where(step == 19_999, last, 1.0), 20_000)
    assert 1.0 <= peak < 1.1


def test_what_was_measured():
    rules = json.loads((RESULTS / "long_peaks.json").read_text())["rules"]
    ours, area = rules["lrjax.peak_for"], rules["the area"]
    assert max(ours["nats"].values()) <= 0.006 < min(area["nats"].values())
    for table in ("home", "judged"):
        assert ours[table] == pytest.approx(area[table], rel=1e-6)


def test_the_recorded_language_models():
    """A cosine after 300 updates of warmup: its best recorded peak of 50,000 updates is 1.6e-3 to 2e-3."""
    factor = peak_for(1.0, schedules.warmup_cosine(1.0, warmup_steps=300, total_steps=50_000), 50_000)
    assert 3e-4 * factor < 1.6e-3 < 2e-3 < 5e-4 * factor


def test_rounding_below_0_is_0():
    tiny = -1e-9  # as 1 + cos(pi) in float32 may be
    peak = peak_for(1.0, lambda step: 1.0 if step < 5 else tiny, 10)
    assert peak == pytest.approx(0.5**-0.65, rel=1e-12)


@pytest.mark.parametrize(
    "lr", [0.25, jnp.float32(0.25), np.float64(0.25), types.SimpleNamespace(lr=0.25), found(lr=0.25)], ids=type
)
def test_an_lr_or_a_result(lr):
    peak = peak_for(lr, schedules.linear_decay(1.0, 0.0, 100), 100)
    assert type(peak) is float
    assert peak == pytest.approx(0.25 * 0.505**-0.65, rel=1e-6)


def test_steps_in_words():
    with schedules.Durations(batch_size=10, dataset_size=500):
        peak = peak_for(1.0, schedules.linear_decay(1.0, 0.0, "2 epochs"), "2 epochs")
    assert peak == peak_for(1.0, schedules.linear_decay(1.0, 0.0, 100), 100)


# What a result was read from


def constant_lr(result, total):
    """The learning rate that `peak_for` takes of a result."""
    return peak_for(result, lambda step: TABLE[0], total)


@given(num_steps=st.integers(100, 3000), total=st.integers(1, 300_000))
@settings(max_examples=10, deadline=None)
def test_the_minimum_of_long_trials_is_moved_down_by_the_law(num_steps, total):
    wanted = 0.1 * min(1.0, (num_steps / total) ** 0.4)
    assert constant_lr(found(max_lr=0.1, num_steps=num_steps), total) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("total", [50, 1000, 100_000])
def test_after_short_trials_the_lr_is_taken(total):
    assert constant_lr(found(lr=0.02, num_steps=99), total) == pytest.approx(0.02)


def test_a_rule_of_the_user_s_is_respected():
    result = dataclasses.replace(found(lr=0.02, num_steps=100), rule="half_loss")
    assert constant_lr(result, 1000) == pytest.approx(0.02)


@pytest.mark.parametrize(("total", "factor"), [(1000, 1.0), (10_000, 10**-0.4), (100, 10**0.4)])
def test_the_lr_for_another_length_is_moved_by_the_law(total, factor):
    result = dataclasses.replace(found(lr=0.02, num_steps=250), strategy="Budget", rule="lowest_risk", train_steps=1000)
    assert constant_lr(result, total) == pytest.approx(0.02 * factor, rel=1e-6)


def test_the_lr_from_a_checkpoint_is_taken():
    result = dataclasses.replace(found(lr=0.02, num_steps=500), train_steps=10_000, start=100)
    assert constant_lr(result, 10_000) == pytest.approx(0.02)


def test_the_stage_that_was_chosen_from_is_read():
    last = found(max_lr=0.1, num_steps=100)
    both = dataclasses.replace(last, stages=(*found(max_lr=3.0).stages, *last.stages), stage=1)
    assert peak_for(both, ONE_CYCLE, 1000) == peak_for(last, ONE_CYCLE, 1000)


# bad input


def late_nan(step):
    return jnp.where(step == 70, jnp.nan, 0.1)


def traced(call):
    return lambda: jax.jit(call)(0.1)


LINE = schedules.linear_decay(1.0, 0.0, 100)
CASES = {
    "no schedule": (
        lambda: peak_for(0.1, 0.1, 9),
        TypeError,
        ["must be a schedule", "got 0.1", "constant"],
    ),
    "a class": (lambda: peak_for(0.1, dict, 9), TypeError, ["`peak_for(schedule)`", "got <class 'dict'>"]),
    "what makes a schedule": (
        lambda: peak_for(0.1, schedules.cosine_decay, 9),
        TypeError,
        ["must be `schedule(step) -> lr`", "got `cosine_decay(init_value", "which makes one", "Call it"],
    ),
    "what makes a schedule of one number": (
        lambda: peak_for(0.1, schedules.constant, 9),
        TypeError,
        ["must be `schedule(step) -> lr`", "got `constant`", "which makes one"],
    ),
    "Optax's": (lambda: peak_for(0.1, optax.constant_schedule, 9), TypeError, ["got `constant_schedule`"]),
    "arguments swapped": (lambda: peak_for(LINE, 0.1, 9), TypeError, ["`peak_for(result_or_lr)`", "> 0"]),
    "zero": (
        lambda: peak_for(0.1, schedules.constant(0.0), 1234),
        ValueError,
        ["`peak_for(schedule)` must be above 0 at some step", "got 0 at all 1,234 steps", "peak of 1"],
    ),
    "negative": (
        lambda: peak_for(0.1, lambda step: 0.1 - 0.01 * step, 50),
        ValueError,
        ["not negative", "got -0.01 at step 11", "clip(..., min_value=0.0)"],
    ),
    "never positive": (lambda: peak_for(0.1, lambda step: -1.0, 5), ValueError, ["got -1 at step 0"]),
    "nan": (
        lambda: peak_for(0.1, late_nan, 100),
        ValueError,
        ["finite", "all 100 steps", "nan at step 70"],
    ),
    "inf": (
        lambda: peak_for(0.1, lambda step: 1 / jnp.sqrt(step), 9),
        ValueError,
        ["must be finite", "got inf at step 0", "division by 0"],
    ),
    "a vector": (
        lambda: peak_for(0.1, lambda step: jnp.ones(2), 9),
        TypeError,
        ["must return one number for one step", "float32[2]"],
    ),
    "nothing": (lambda: peak_for(0.1, lambda step: None, 9), TypeError, ["one number", "got None"]),
    "several schedules": (
        lambda: peak_for(0.1, schedules.stack([LINE, LINE]), 9),
        ValueError,
        ["must be one schedule", "(2,)"],
    ),
    "a duration of nothing": (
        lambda: peak_for(0.1, lambda step: schedules.cosine_decay(1.0, "3 epochs")(step), 9),
        ValueError,
        ["is '3 epochs'", "not known here", "with lrjax.schedules.Durations("],
    ),
    "total_steps in words": (
        lambda: peak_for(0.1, LINE, "3 epochs"),
        ValueError,
        ["`peak_for(train_steps)` is '3 epochs'", "with lrjax.schedules.Durations("],
    ),
    "train_steps 0": (lambda: peak_for(0.1, LINE, 0), ValueError, ["(train_steps)", ">= 1", "got 0"]),
    "train_steps a float": (lambda: peak_for(0.1, LINE, 1e3), TypeError, ["got 1000.0", "Write 1000"]),
    "total_steps traced": (
        traced(lambda x: peak_for(0.1, LINE, jnp.int32(x))),
        TypeError,
        ["`peak_for` reads numbers on the host"],
    ),
    "lr 0": (lambda: peak_for(0.0, LINE, 9), ValueError, ["`peak_for(result_or_lr)`", "> 0", "got 0"]),
    "lr negative": (lambda: peak_for(-3, LINE, 9), ValueError, ["> 0 and finite", "got -3"]),
    "lr inf": (lambda: peak_for(math.inf, LINE, 9), ValueError, ["> 0 and finite", "got inf"]),
    "lr a string": (lambda: peak_for("1e-3", LINE, 9), TypeError, ["a learning rate", "got '1e-3' (str)"]),
    "lr a bool": (lambda: peak_for(True, LINE, 9), TypeError, ["a learning rate", "got True (bool)"]),
    "lr traced": (traced(lambda x: peak_for(x, LINE, 9)), TypeError, ["`peak_for` reads numbers on"]),
    "a result without lr": (
        lambda: peak_for(types.SimpleNamespace(lr=NAN), LINE, 9),
        ValueError,
        ["or a result that has found one", "got nan"],
    ),
    "a search that found nothing": (
        lambda: peak_for(found(outcome="no_learning", warnings=["no_learning"]), LINE, 9),
        ValueError,
        ["has found a learning rate", "outcome=no_learning", "No learning rate lowered", "Cure no_learning."],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_messages(call, error, parts):
    check_message(call, error, parts)
