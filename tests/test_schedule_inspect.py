"""`describe` against closed forms and `validate` against schedules that are wrong in a known way, ours and Optax's."""

import math
import resource
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import FACTORIES

from lrjax import schedules
from lrjax.schedules import ProblemName, describe, validate

ONE, SLOW = schedules.constant(1.0), 0.5**0.1
UNTRACEABLE = {
    "an if": lambda step: 0.1 if step < 5 else 0.05,
    "math": lambda step: 1.0 + math.cos(step),
    "NumPy": lambda step: 1.0 + np.cos(step),
    "int": lambda step: 0.5 ** (int(step) // 3),
    "float": lambda step: 0.1 * (1.0 - float(step) / 20),
}
"""Schedules that work on a number only."""


class Course(NamedTuple):
    """What is described, and what is known of it: phases as kind and first step, the area in closed form."""

    schedule: Any
    total: int
    phases: list[tuple[str, int]]
    peak: tuple[float, int]
    values: tuple[float, ...]
    area: float


def line(first, last, steps):
    """The sum of a straight line over its first `steps` of `steps` + 1 values."""
    return steps * first + (last - first) * (steps - 1) / 2


COURSES = {
    "constant": Course(schedules.constant(0.25), 100, [("constant", 0)], (0.25, 0), (0.25,) * 5, 25.0),
    "linear": Course(
        schedules.linear_decay(1.0, 0.0, 100), 100, [("falling", 0)], (1, 0), (1, 0.75, 0.5, 0.25, 0), line(1, 0, 100)
    ),
    "linear, then constant": Course(
        schedules.linear_decay(1.0, 0.5, 40),
        100,
        [("falling", 0), ("constant", 40)],
        (1, 0),
        (1, 0.6875, 0.5, 0.5, 0.5),
        line(1, 0.5, 40) + 30,
    ),
    "a rise": Course(
        schedules.linear_decay(0.0, 1.0, 100),
        100,
        [("rising", 0)],
        (0.99, 99),
        (0, 0.25, 0.5, 0.75, 1),
        line(0, 1, 100),
    ),
    "cosine": Course(
        schedules.cosine_decay(1.0, 100),
        100,
        [("falling", 0)],
        (1, 0),
        tuple((1 + math.cos(math.pi * part / 4)) / 2 for part in range(5)),
        50.5,  # half of the steps, and half a step
    ),
    "warmup and cosine": Course(
        schedules.warmup_cosine(0.1, warmup_steps=20, total_steps=100),
        100,
        [("rising", 0), ("falling", 20)],
        (0.1, 20),
        (0.0, *(0.05 * (1 + math.cos(math.pi * part)) for part in (1 / 16, 6 / 16, 11 / 16)), 0.0),
        line(0, 0.1, 20) + 0.1 * 40.5,
    ),
    "trapezoid": Course(
        schedules.warmup_stable_decay(1.0, warmup_steps=10, stable_steps=50, decay_steps=40, cooldown="linear"),
        100,
        [("rising", 0), ("constant", 10), ("falling", 61)],  # step 60 still has the peak
        (1, 10),
        (0, 1, 1, 0.625, 0),
        line(0, 1, 10) + 50 + line(1, 0, 40),
    ),
    "triangles": Course(
        schedules.triangular(0.0, 1.0, 25),
        100,
        [("rising", 0), ("falling", 25), ("rising", 50), ("falling", 75)],
        (1, 25),
        (0, 1, 0, 1, 0),
        50.0,
    ),
    "stairs": Course(
        schedules.step_decay(1.0, factor=0.5, every=25),
        100,
        [("constant", 0), ("constant", 25), ("constant", 50), ("constant", 75)],
        (1, 0),
        (1, 0.5, 0.25, 0.125, 0.0625),
        25 * (1 + 0.5 + 0.25 + 0.125),
    ),
    "exponential": Course(
        schedules.exponential_decay(1.0, 10, 0.5),
        100,
        [("falling", 0)],
        (1, 0),
        tuple(SLOW**step for step in (0, 25, 50, 75, 100)),
        (1 - SLOW**100) / (1 - SLOW),
    ),
    "one cycle": Course(
        schedules.one_cycle(1.0, total_steps=100, div_factor=10.0, final_div_factor=10.0, shape="linear"),
        100,
        [("rising", 0), ("falling", 30)],
        (1, 30),
        (0.1, 0.85, 1 - 0.99 * 20 / 70, 1 - 0.99 * 45 / 70, 0.01),
        line(0.1, 1, 30) + line(1, 0.01, 70),
    ),
    "a leap": Course(
        schedules.join([ONE, schedules.constant(0.125)], [32]),
        64,
        [("constant", 0), ("constant", 32)],
        (1, 0),
        (1, 1, 0.125, 0.125, 0.125),
        36.0,
    ),
    "restarts": Course(
        schedules.cosine_restarts(1.0, 50, peak_decay=0.5),
        100,
        [("falling", 0), ("falling", 50)],
        (1, 0),
        (1, 0.5, 0.5, 0.25, 0.25),
        25.5 + 12.75,
    ),
    "one step": Course(ONE, 1, [("constant", 0)], (1, 0), (1,) * 5, 1.0),
}


@pytest.mark.parametrize("course", COURSES.values(), ids=COURSES.keys())
def test_described_as_it_is(course):
    found = describe(course.schedule, course.total)
    assert found.total_steps == course.total
    assert [(phase.kind, phase.start) for phase in found.phases] == course.phases
    assert (found.peak, found.peak_step) == (pytest.approx(course.peak[0], rel=1e-6), course.peak[1])
    assert tuple(found.values) == ("0%", "25%", "50%", "75%", "100%")
    np.testing.assert_allclose(list(found.values.values()), course.values, rtol=2e-6, atol=1e-9)
    assert found.area == pytest.approx(course.area, rel=1e-6)
    assert not found.sampled
    assert_tiled(found.phases, course.total)
    ends = np.array([(phase.start, phase.stop - 1) for phase in found.phases])
    found_ends = [(phase.start_value, phase.stop_value) for phase in found.phases]
    np.testing.assert_allclose(found_ends, course.schedule(ends), rtol=2e-6, atol=1e-9)


def assert_tiled(phases, total):
    assert phases[0].start == 0
    assert phases[-1].stop == total
    assert [phase.stop for phase in phases[:-1]] == [phase.start for phase in phases[1:]]
    assert all(phase.start < phase.stop for phase in phases)


@st.composite
def courses(draw):
    """A schedule through a few random points, and how many of its steps to describe."""
    pieces = draw(st.integers(1, 4))
    values = draw(st.lists(st.floats(0, 10).map(lambda x: round(x, 2)), min_size=pieces, max_size=pieces, unique=True))
    boundaries = draw(st.lists(st.integers(1, 300), min_size=pieces - 1, max_size=pieces - 1, unique=True))
    kind = draw(st.sampled_from(["linear", "cosine"]))
    return schedules.piecewise_interpolate(values, sorted(boundaries), kind=kind), draw(st.integers(1, 400))


def check_description(found, schedule, total):
    course = np.asarray(schedule(np.arange(401)), np.float64)[:total]
    tolerance = 4 * np.spacing(np.float32(course.max()))
    assert_tiled(found.phases, total)
    assert found.peak == pytest.approx(course.max(), rel=1e-6)
    assert course[found.peak_step] == pytest.approx(found.peak, rel=1e-6)
    assert found.area == pytest.approx(course.sum(), rel=1e-5)
    assert len(found.sparkline) == min(total, 32)
    for phase in found.phases:
        change = np.diff(course[phase.start : phase.stop])
        assert phase.kind == "rising" or (change <= tolerance).all()
        assert phase.kind == "falling" or (change >= -tolerance).all()


@given(course=courses())
@settings(max_examples=100, deadline=None)
def test_any_course_is_described(course):
    schedule, total = course
    table = np.asarray(schedule(np.arange(401)))
    found = describe(lambda step: table[int(step)], total)  # looked up, because every description is compiled anew
    check_description(found, schedule, total)
    assert found.peak_step == np.argmax(table[:total])


@given(course=courses())
@settings(max_examples=5, deadline=None)
def test_any_schedule_is_described(course):
    check_description(describe(*course), *course)


def test_as_text():
    found = describe(schedules.linear_decay(1.0, 0.5, 40), 100)
    assert str(found) == (
        "██▇▇▇▆▆▆▆▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅  100 steps\n"
        "peak 1 at step 0 (0 %)\n"
        "at 0% 1, 25% 0.6875, 50% 0.5, 75% 0.5, 100% 0.5\n"
        "area 60.25, mean 0.6025\n"
        "  falling  steps 0 to 39: 1 to 0.5125\n"
        "  constant steps 40 to 99: 0.5"
    )


def test_large_numbers_as_text():
    text = str(describe(schedules.linear_decay(0.0, 1.0, 8_000), 16_000))
    assert text.splitlines()[0].endswith("  16,000 steps")
    assert text.splitlines()[1] == "peak 1 at step 8,000 (50 %)"
    assert text.splitlines()[-1] == "  constant steps 8,000 to 15,999: 1"


@pytest.mark.parametrize("total", [1, 2, 32, 1000])
def test_a_line_of_bars(total):
    bars = describe(schedules.linear_decay(0.0, 1.0, total), total).sparkline
    assert len(bars) == min(total, 32)
    assert list(bars) == sorted(bars)  # the bars are in the order of their code points
    assert set(bars) <= set("▁▂▃▄▅▆▇█")
    assert bars[-1] == ("█" if total > 1 else "▁")


def test_bars_that_are_no_number_are_marked():
    assert describe(lambda step: jnp.where(step == 3, jnp.nan, 0.1), 10).sparkline == "███?██████"
    assert describe(lambda step: jnp.where(step == 3, jnp.inf, 0.1), 10).sparkline == "███?██████"
    assert describe(schedules.constant(0.0), 4).sparkline == "▁▁▁▁"


@pytest.mark.parametrize(("total", "sampled"), [(200_000, False), (200_001, True), (10**9, True)])
def test_long_trainings_are_sampled(total, sampled):
    found = describe(schedules.linear_decay(1.0, 0.0, total), total)
    assert found.sampled == sampled
    assert found.area == pytest.approx(total / 2, rel=1e-4)
    assert (found.peak, found.peak_step, len(found.phases)) == (1.0, 0, 1)
    assert (found.phases[0].start, found.phases[0].stop) == (0, total)
    np.testing.assert_allclose(list(found.values.values()), [1, 0.75, 0.5, 0.25, 0], rtol=1e-5)


def test_phases_are_fifty_at_most():
    phases = describe(schedules.step_decay(1.0, factor=0.9, every=3), 300).phases
    assert [(phase.kind, phase.start) for phase in phases] == [("constant", 3 * index) for index in range(50)]


# somebody else's schedules

OPTAX = {
    "constant": (optax.constant_schedule(0.1), ["constant"], 0),
    "linear": (optax.linear_schedule(0.1, 0.01, 100), ["falling"], 0),
    "polynomial": (optax.polynomial_schedule(0.1, 0.01, 2, 100), ["falling"], 0),
    "cosine": (optax.cosine_decay_schedule(0.1, 50, alpha=0.1), ["falling", "constant"], 0),
    "exponential": (optax.exponential_decay(0.1, 100, 0.01), ["falling"], 0),
    "stairs": (optax.piecewise_constant_schedule(0.1, {30: 0.1, 60: 0.1}), ["constant"] * 3, 0),
    "interpolated": (optax.piecewise_interpolate_schedule("linear", 0.1, {30: 2.0, 90: 0.1}), None, 30),
    "warmup and cosine": (optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100), ["rising", "falling"], 10),
    "joined": (
        optax.join_schedules([optax.constant_schedule(0.1), optax.linear_schedule(0.1, 0.01, 50)], [50]),
        ["constant", "falling"],
        0,
    ),
    "restarts": (
        optax.sgdr_schedule([{"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 10, "decay_steps": 50}] * 2),
        ["rising", "falling"] * 2,
        10,
    ),
    "linear one cycle": (optax.linear_onecycle_schedule(100, 0.1), ["rising", "falling"], 30),
    "cosine one cycle": (optax.cosine_onecycle_schedule(100, 0.1), ["rising", "falling"], 30),  # wrong on arrays
}


@pytest.mark.parametrize(("schedule", "kinds", "peak_step"), OPTAX.values(), ids=OPTAX.keys())
def test_schedules_of_optax(schedule, kinds, peak_step):
    found = describe(schedule, 100)
    jitted = jax.jit(lambda step: jnp.asarray(schedule(step)))
    one_by_one = [float(jitted(step)) for step in range(101)]
    np.testing.assert_allclose(list(found.values.values()), one_by_one[::25], rtol=1e-4, atol=1e-8)
    assert (found.peak, found.peak_step) == (pytest.approx(max(one_by_one), rel=1e-6), peak_step)
    assert found.area == pytest.approx(sum(one_by_one[:100]), rel=1e-5)
    assert_tiled(found.phases, 100)
    assert kinds is None or [phase.kind for phase in found.phases] == kinds


@pytest.mark.parametrize("schedule", UNTRACEABLE.values(), ids=UNTRACEABLE.keys())
def test_schedules_that_cannot_be_traced(schedule):
    found = describe(schedule, 10)
    one_by_one = [float(schedule(step)) for step in range(11)]
    assert list(found.values.values()) == [one_by_one[step] for step in (0, 2, 5, 8, 10)]
    assert (found.peak, found.peak_step) == (max(one_by_one[:10]), int(np.argmax(one_by_one[:10])))
    assert found.area == pytest.approx(sum(one_by_one[:10]))
    assert_tiled(found.phases, 10)


@pytest.mark.parametrize("number", [0.125, 1, np.float64(0.125), np.float32(0.125), jnp.bfloat16(0.125)], ids=repr)
def test_schedules_that_return_other_numbers(number):
    found = describe(lambda step: number, 10)
    assert (found.peak, found.area, found.phases[0].kind) == (float(number), 10 * float(number), "constant")


def test_a_plateau_between_equal_values_is_one_phase():
    plateau = schedules.piecewise_interpolate([0.0, 1.0, 1.0, 0.5], [20, 180, 200], kind="cosine")
    found = describe(plateau, 200)
    assert [(phase.kind, phase.start) for phase in found.phases] == [("rising", 0), ("constant", 20), ("falling", 181)]
    assert (found.peak, found.peak_step) == (1.0, 20)


@pytest.mark.parametrize("table", [[0.1] * 20, dict.fromkeys(range(20), 0.1)], ids=["list", "dict"])
def test_a_table_is_looked_up_step_by_step(table):
    assert describe(lambda step: table[step], 10).peak == 0.1


def test_bars_without_any_number_are_marked():
    assert describe(lambda step: jnp.nan, 4).sparkline == "????"


def test_several_infinities_are_described():
    assert describe(lambda step: jnp.where(step < 4, jnp.inf, 0.1), 8).sparkline == "????████"


def test_two_steps_may_fall():
    assert [phase.kind for phase in describe(schedules.linear_decay(1.0, 0.0, 2), 2).phases] == ["falling"]


# problems: a schedule, a length, at which step it is seen, and a part of the message
PROBLEMS = {
    ProblemName.not_finite: (
        lambda step: jnp.where(step == 3, jnp.nan, 0.1),
        10,
        3,
        "is nan at step 3. It would destroy",
    ),
    ProblemName.negative: (lambda step: 0.1 - 0.02 * step, 10, 6, "lrjax.schedules.clip(..., min_value=0.0)"),
    ProblemName.zero_first: (
        schedules.warmup_cosine(0.1, warmup_steps=10, total_steps=100),
        100,
        0,
        "lrjax.schedules.warmup(..., skip_zero=True)",
    ),
    ProblemName.always_zero: (schedules.constant(0.0), 10, 0, "0 at every step"),
    ProblemName.peak_not_reached: (
        schedules.warmup(schedules.constant(0.1), 1000, init_value=0.05),
        100,
        99,
        "it is 0.05495 there and would reach 0.1 later. Is the warmup longer than the training?",
    ),
    ProblemName.decay_ends_early: (
        optax.cosine_decay_schedule(0.1, 40),
        100,
        40,
        "from step 40 on (40 % of the training)",
    ),
    ProblemName.decay_does_not_end: (
        schedules.linear_decay(0.1, 0.0, 1000),
        100,
        99,
        "it is 0.0901 at the last step, 99, and would fall to 0 later",
    ),
    ProblemName.jump: (
        schedules.join([ONE, schedules.constant(0.1)], [50]),
        100,
        50,
        "leaps from 1 at step 49 to 0.1 at step 50. Do the two parts of a join meet?",
    ),
    ProblemName.not_traceable: (UNTRACEABLE["math"], 10, 0, "Use jnp.where instead of `if`, and jnp instead of math"),
    ProblemName.jit_differs: (optax.exponential_decay(0.1, 41, 0.5, staircase=True), 100, 41, "but 0.1 under jax.jit"),
}


@pytest.mark.parametrize(("name", "problem"), PROBLEMS.items(), ids=PROBLEMS.keys())
def test_a_problem_is_found(name, problem):
    schedule, total, step, part = problem
    found = {problem.name: problem for problem in validate(schedule, total)}
    assert (found[name].name, found[name].step) == (name, step)
    assert part in found[name].message
    assert str(found[name]) == f"{name}: {found[name].message}"


def test_every_problem_has_a_schedule():
    assert set(PROBLEMS) == set(ProblemName)


def test_problems_are_in_the_order_of_their_steps():
    warmup = schedules.join([schedules.linear_decay(0.0, 0.1, 10), schedules.linear_decay(0.9, 0.0, 400)], [10])
    names = ["zero_first", "jump", "decay_does_not_end"]
    assert [(problem.name, problem.step) for problem in validate(warmup, 100)] == list(
        zip(names, (0, 10, 99), strict=True)
    )


@pytest.mark.parametrize("steps", [41, 97])
def test_our_stairs_are_the_same_under_jit(steps):
    """T / T is not 1 under jit for these lengths: Optax's stairs come one step late."""
    stairs = schedules.exponential_decay(0.1, steps, 0.5, staircase=True)
    optax_stairs = optax.exponential_decay(0.1, steps, 0.5, staircase=True)
    assert ProblemName.jit_differs in {problem.name for problem in validate(optax_stairs, 10 * steps)}
    assert validate(stairs, 10 * steps) == ()


@pytest.mark.parametrize("schedule", UNTRACEABLE.values(), ids=UNTRACEABLE.keys())
def test_what_cannot_be_traced_is_reported(schedule):
    assert ProblemName.not_traceable in {problem.name for problem in validate(schedule, 10)}


DOWN = schedules.linear_decay(0.1, 0.0, 100)

# schedules that are as they should be for a training of 100 steps, by the function that makes them
HEALTHY = {
    "constant": [schedules.constant(0.1)],
    "linear_decay": [schedules.linear_decay(0.1, 0.001, 80, transition_begin=20)],
    "polynomial_decay": [schedules.polynomial_decay(0.1, 0.0, 2.0, 100)],
    "exponential_decay": [
        schedules.exponential_decay(0.1, 20, 0.5),
        schedules.exponential_decay(0.1, 41, 0.1, staircase=True),
    ],
    "inverse_time_decay": [schedules.inverse_time_decay(0.1, 100, 10.0)],
    "cosine_decay": [schedules.cosine_decay(0.1, 100)],
    "inverse_sqrt_decay": [schedules.inverse_sqrt_decay(0.1, timescale=2)],
    "tanh_decay": [schedules.tanh_decay(0.1, 100)],
    "k_decay": [schedules.k_decay(0.1, 100, k=1.5)],
    "power_decay": [schedules.power_decay(0.3, batch_size=8, tokens_per_step=8 * 4096)],
    "step_decay": [schedules.step_decay(0.1, factor=0.1, every=41)],
    "piecewise_constant": [schedules.piecewise_constant([0.1, 0.01, 0.001], [50, 80])],
    "piecewise_interpolate": [schedules.piecewise_interpolate([0.01, 0.1, 0.0], [10, 100], kind="cosine")],
    "warmup": [
        schedules.warmup(schedules.cosine_decay(0.1, 90), 10, skip_zero=True),
    ],
    "warmup_cosine": [
        schedules.warmup_cosine(0.1, warmup_steps=10, total_steps=100, init_value=0.001),
        schedules.warmup_cosine(0.1, warmup_steps=10, total_steps=100, convention="hf"),
    ],
    "warmup_stable_decay": [
        schedules.warmup_stable_decay(0.1, warmup_steps=0, stable_steps=80, decay_steps=20),
        schedules.warmup_stable_decay(
            0.1, warmup_steps=10, stable_steps=70, decay_steps=20, end_value=0.001, convention="hf"
        ),
    ],
    "cooldown_from": [schedules.cooldown_from(schedules.constant(0.1), 80, 20)],
    "cosine_restarts": [schedules.cosine_restarts(0.1, 20, peak_decay=0.9)],
    "triangular": [schedules.triangular(0.01, 0.1, 25)],
    "triangular2": [schedules.triangular2(0.01, 0.1, 10)],
    "exp_range": [schedules.exp_range(0.01, 0.1, 10, gamma=0.99)],
    "cyclic_exponential_decay": [
        schedules.cyclic_exponential_decay(0.1, decay_rate=0.5, transition_steps=20, cycle_steps=20)
    ],
    "one_cycle": [
        schedules.one_cycle(0.1, total_steps=100, convention="torch"),
        schedules.one_cycle(0.1, total_steps=100, shape="linear", three_phase=True),
    ],
    "one_cycle_momentum": [schedules.one_cycle_momentum(100)],
    "triangular_momentum": [schedules.triangular_momentum(25)],
    "range_test_ramp": [schedules.range_test_ramp(1e-7, 10.0, 100)],
    "join": [schedules.join([schedules.linear_decay(0.01, 0.1, 10), schedules.cosine_decay(0.1, 90)], [10])],
    "add": [schedules.add(DOWN, schedules.constant(0.001))],
    "multiply": [schedules.multiply(DOWN, schedules.step_decay(1.0, factor=0.5, every=25))],
    "clip": [schedules.clip(schedules.step_decay(0.1, factor=0.1, every=25), min_value=0.001)],
    "shift": [schedules.shift(schedules.linear_decay(0.1, 0.0, 90), 10)],
    "stretch": [schedules.stretch(schedules.piecewise_constant([0.1, 0.01], [25]), 50, 100)],
    "repeat": [schedules.repeat(schedules.linear_decay(0.1, 0.0, 25), 25)],
}


@pytest.mark.parametrize("name", FACTORIES)
def test_healthy_schedules_have_no_problem(name):
    for schedule in HEALTHY[name]:
        assert schedules.to_spec(schedule)["name"] == name
        assert validate(schedule, 100) == ()


HEALTHY_OPTAX = {
    "warmup and cosine": optax.warmup_cosine_decay_schedule(0.001, 0.1, 10, 100),
    "cosine one cycle": optax.cosine_onecycle_schedule(100, 0.1),
}


@pytest.mark.parametrize("schedule", HEALTHY_OPTAX.values(), ids=HEALTHY_OPTAX.keys())
def test_healthy_schedules_of_optax_have_no_problem(schedule):
    assert validate(schedule, 100) == ()


# a schedule, a length, and the problem that it does not have
NO_ALARM = {
    "a fall from zero is not always zero": (lambda step: -0.1 * step, 10, ProblemName.always_zero),
    "rounding of a high power": (schedules.polynomial_decay(0.1, 0.0, 10.0, 100), 100, ProblemName.jit_differs),
    "a line of three steps ends": (schedules.linear_decay(0.1, 0.0, 3), 3, ProblemName.decay_does_not_end),
    "two steps do not leap": (schedules.linear_decay(0.1, 0.0, 2), 2, ProblemName.jump),
    "a warmup of one step does not leap": (
        schedules.warmup_cosine(0.1, warmup_steps=1, total_steps=100),
        100,
        ProblemName.jump,
    ),
    "stairs of Optax": (optax.exponential_decay(0.1, 40, 0.5, staircase=True), 200, ProblemName.jump),
    "values of Optax": (optax.piecewise_constant_schedule(0.1, {30: 0.5, 60: 0.1}), 100, ProblemName.jump),
    "stairs up to the last step": (optax.piecewise_constant_schedule(0.1, {99: 0.1}), 100, ProblemName.jump),
    "stairs of two steps": (lambda step: 0.1 * 0.5 ** (step // 2), 20, ProblemName.jump),
    "stairs after a warmup": (
        optax.join_schedules(
            [optax.linear_schedule(0.001, 0.1, 10), optax.exponential_decay(0.1, 30, 0.1, staircase=True)], [10]
        ),
        100,
        ProblemName.jump,
    ),
    "stairs that go up": (lambda step: 0.01 * (1 + step // 25), 100, ProblemName.jump),
    "rounding below zero": (optax.linear_schedule(0.1, 0.0, 10), 20, ProblemName.negative),
}


@pytest.mark.parametrize(("schedule", "total", "name"), NO_ALARM.values(), ids=NO_ALARM.keys())
def test_no_false_alarm(schedule, total, name):
    assert name not in {problem.name for problem in validate(schedule, total)}


@pytest.mark.parametrize(
    "second", [optax.constant_schedule(1.0), optax.cosine_decay_schedule(0.01, 50), optax.linear_schedule(1.0, 0.0, 50)]
)
def test_parts_of_a_foreign_join_that_do_not_meet_are_reported(second):
    joined = optax.join_schedules([optax.linear_schedule(0.001, 0.1, 50), second], [50])
    assert [(one.name, one.step) for one in validate(joined, 100) if one.name == "jump"] == [("jump", 50)]


def test_memory_does_not_grow_with_the_kinds():
    """Compositions without end, as the explorer's server meets them; 9 MB for each once stayed."""
    here = Path("/proc/self/statm")
    if not here.exists():
        pytest.skip("the resident set is read from /proc")

    def resident() -> float:
        return int(here.read_text().split()[1]) * resource.getpagesize() / 1e6

    def look(index: int) -> None:
        schedule = schedules.cosine_decay(0.1, 100)
        for digit in format(index, "b"):
            schedule = schedules.clip(schedule, max_value=1.0) if digit == "1" else schedules.shift(schedule, 3)
        describe(schedule, 200)
        validate(schedule, 200)

    for index in (2, 3):
        look(index)
    before = resident()
    for index in range(4, 20):
        look(index)
    assert resident() - before < 30


def test_memory_does_not_grow_with_the_steps():
    tracemalloc.start()
    try:
        validate(schedules.constant(0.1), 500_000)
        assert tracemalloc.get_traced_memory()[1] < 3e7
    finally:
        tracemalloc.stop()
