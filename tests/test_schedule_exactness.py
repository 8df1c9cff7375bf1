"""Every schedule is exact, eagerly, under jit, vmap, as an argument and on arrays, at every edge and beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import slow, slow_but_for
from schedule_cases import CASES, FACTORIES, PEAK, count_mismatches

from lrjax import schedules

LENGTHS = [1, 41, 999_999_999]
MORE_LENGTHS = [2, 97, 400]
"""T / T under jit is not 1 for 41 and 97."""

FIRST = {case.make(20).func.name: name for name, case in reversed(CASES.items())}.values()
"""The first case of every schedule."""


def test_every_schedule_has_a_case():
    made = {case.make(20).func.name for case in CASES.values()}
    assert made == set(FACTORIES)


@pytest.mark.parametrize("lengths", [LENGTHS, slow(MORE_LENGTHS)], ids=["", "more"])
@pytest.mark.parametrize("name", slow_but_for(CASES, FIRST))
def test_exact_at_and_beside_every_edge(name, lengths):
    case = CASES[name]
    lengths = [T if case.longest >= T else case.longest for T in lengths if case.shortest <= T]
    count = count_mismatches(case, case.make, lengths)
    assert count.compared > 150
    assert count.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_horizon_up_to_400(name):
    case = CASES[name]
    for start in range(1, 401, 50):
        lengths = [T for T in range(start, start + 50) if case.shortest <= T]
        assert count_mismatches(case, case.make, lengths, compile_each=False).wrong == []


@pytest.mark.parametrize("name", CASES)
def test_op_by_op_too(name):
    case = CASES[name]
    schedule = case.make(41)
    steps = [0, 1, 20, 40, 41, 42, 123]
    with jax.disable_jit():
        found = [float(schedule(step)) for step in steps]
    np.testing.assert_allclose(
        found, [case.reference(41, step) for step in steps], rtol=0, atol=4 * np.spacing(np.float32(case.peak))
    )


@pytest.mark.parametrize("name", CASES)
def test_held_after_the_end_and_before_the_beginning(name):
    schedule = CASES[name].make(41)
    beyond = np.asarray(schedule(np.array([2**31 - 2, 2**31 - 1, 2**40, 2**62])))
    assert np.isfinite(beyond).all()
    assert (beyond >= 0).all()
    assert beyond[1] == beyond[2] == beyond[3]
    assert float(schedule(-5)) == float(schedule(0)) == float(schedule(jnp.int8(-5))) == float(schedule(-0.5))


CYCLES = ("polynomial_decay cycle", "cosine_restarts", "triangular", "exp_range", "cyclic", "repeat")


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(CYCLES)])
def test_never_rises_again(name):
    case = CASES[name]
    schedule = case.make(41)
    late = np.asarray(schedule(np.unique(np.linspace(41 * 7, 2**31 - 1, 5001).astype(np.int64))))
    assert (np.diff(late) <= 0).all()


@given(
    first=st.integers(1, 1000),
    mult=st.integers(1, 12),
    cycle=st.integers(0, 40),
)
@settings(max_examples=200, deadline=None)
def test_restarts_are_counted_in_integers(first, mult, cycle):
    start = first * cycle if mult == 1 else first * (mult**cycle - 1) // (mult - 1)
    if start >= 2**31:
        return
    schedule = schedules.cosine_restarts(PEAK, first, cycle_mult=mult)
    assert schedule(start) == np.float32(PEAK)
    if start > 0 and (length := first * mult ** (cycle - 1)) > 1:
        assert float(schedule(start - 1)) < PEAK / 2 + PEAK / length


@given(step=st.integers(0, 10**9), old=st.integers(1, 10**6), new=st.integers(1, 10**6))
@settings(max_examples=300, deadline=None)
def test_stretch_counts_exactly(step, old, new):
    schedule = schedules.stretch(schedules.piecewise_constant([1.0, 2.0], [old]), old, new)
    assert float(schedule(step)) == (2.0 if step >= new else 1.0)
    assert float(schedule(new - 1)) == 1.0
    assert float(schedule(new)) == 2.0


def test_a_float_step_is_not_rounded():
    schedule = schedules.linear_decay(1.0, 0.0, 10)
    assert float(schedule(2.5)) == 0.75
    assert float(schedules.step_decay(1.0, factor=0.5, every=10)(9.99)) == 1.0
    assert float(schedules.cosine_restarts(1.0, 10)(10.0)) == 1.0
