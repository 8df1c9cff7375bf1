"""Optax's own tests of its schedules, from its installed package, word for word on ours under its names."""

import importlib
import re
import unittest
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from optax_names import MODULES

PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
BY_OPTIMIZER = "ScheduleAsLearningRateTest"

NUM_CASES = 56

DIFFER = {
    "CosineDecayTest.test_with_giant_int_steps": (
        1,
        "10,000,000,000 steps are refused without x64: int32 cannot count to them",
    ),
    "ExponentialTest.test_end_value_with_staircase": (
        2,
        "a rate of 1 stays: `end_value` is a floor for rates below 1 and a ceiling above; Optax's jumps to it",
    ),
    "ExponentialTest.test_nonvalid_decay_rate": (2, "a rate of 0 is refused, Optax logs and is constant"),
    "ExponentialTest.test_nonvalid_transition_steps": (2, "-1 and 0 steps are refused, Optax logs and is constant"),
    "PiecewiseConstantTest.test_negative": (1, "a negative learning rate is refused"),
    "PiecewiseInterpolateTest.test_invalid_type": (1, "a shape that is no string is a TypeError"),
    "PiecewiseInterpolateTest.test_zero_interval_size": (
        1,
        "a boundary at step 0 is refused: the first value is the one there",
    ),
    "PolynomialTest.test_zero_steps_schedule": (
        1,
        "-1 steps are refused; 0 steps are over at once, in Optax they never end",
    ),
    "WarmupCosineDecayTest.test_with_exponent": (1, "a negative end is refused"),
    "WarmupCosineDecayTest.test_zero_peak_value": (1, "a negative end is refused"),
}
"""Those that fail, how many cases of each, and why. docs/comparison.md sums them up."""


def cases_of(name: str) -> Iterator[unittest.TestCase]:
    """The tests of a module of Optax's, which stay as they are; what they test is ours."""
    module = pytest.importorskip(name, reason="this Optax comes without its tests")
    found = unittest.defaultTestLoader.loadTestsFromModule(module)
    return (case for suite in found for case in suite)  # pyright: ignore[reportGeneralTypeIssues]


def short(case: unittest.TestCase) -> str:
    """The class and the method, without the number of its parameters."""
    return f"{type(case).__name__}.{re.sub(r'[0-9]+$', '', case._testMethodName)}"


def run(name: str, monkeypatch: pytest.MonkeyPatch, *, by_optimizer: bool) -> tuple[list[str], list[str]]:
    """What ran, and what failed."""
    cases = [case for case in cases_of(name) if (type(case).__name__ == BY_OPTIMIZER) == by_optimizer]
    module = importlib.import_module(name)
    for attribute, ours in MODULES[name].items():
        monkeypatch.setattr(module, attribute, ours)
    result = unittest.TestResult()
    for case in cases:
        case.run(result)
    return [short(case) for case in cases], [short(case) for case, _ in result.failures + result.errors]


def test_the_tests_of_optax_hold_for_ours(monkeypatch):
    ran, failed = [], []
    for name in MODULES:
        some, wrong = run(name, monkeypatch, by_optimizer=False)
        ran, failed = ran + some, failed + wrong
    assert len(ran) == NUM_CASES
    assert Counter(failed) == {name: count for name, (count, _) in DIFFER.items()}


def test_the_page_says_how_many_hold():
    differ = sum(count for count, _ in DIFFER.values())
    assert f"{NUM_CASES - differ} of the {NUM_CASES} cases hold. The other {differ} differ" in " ".join(
        PAGE.read_text().split()
    )


@pytest.mark.slow
def test_our_constant_is_a_learning_rate_of_every_optimizer_of_optax(monkeypatch):
    ran, failed = run("optax.schedules._schedule_test", monkeypatch, by_optimizer=True)
    assert len(ran) > 20
    assert failed == []
