"""The laws of a loss under a schedule: each finds its own forecasts again, and their sums are those of every step."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.schedules import forecast, laws

ROOT = Path(__file__).parents[1]

STEPS, PEAK = 5_000, 2e-3
NUMBERS = {
    "functional scaling law": (0.8, 0.06, 0.5, 12.0, 40.0, 1.6),
    "multi-power law": (0.8, 0.08, 0.5, 0.12, 20.0, 0.6, 0.4),
    "last-iterate bound": (0.85, 0.02, 0.008),
}


def rates_of(cooldown: float, steps: int = STEPS, peak: float = PEAK) -> np.ndarray:
    gone = np.clip((np.arange(steps) / steps - 1 + cooldown) / max(cooldown, 1e-9), 0, 1)
    return laws.pieces(peak * np.minimum((np.arange(steps) + 1) / 50, 1) * (1 - gone))


@pytest.mark.parametrize("name", laws.LAWS)
def test_a_law_fitted_on_a_constant_and_a_cooldown_forecasts_the_other_schedules_of_its_own(name):
    law = laws.Fitted(laws.LAWS[name][0], np.asarray(NUMBERS[name]), PEAK, STEPS, 3.0)
    at = np.linspace(0.05, 1, 20) * STEPS
    pair = [laws.Run(rates_of(c), STEPS, at, law.losses(rates_of(c), STEPS, at)) for c in (0.0, 0.2)]
    found = laws.fit(name, pair)
    for cooldown, steps in ((0.5, STEPS), (1.0, STEPS), (0.2, 2 * STEPS)):
        rates = rates_of(cooldown, steps)
        assert found.last(rates, steps) == pytest.approx(law.last(rates, steps), rel=5e-3)


def test_the_pieces_of_a_schedule_keep_its_area():
    rates = np.random.default_rng(0).random(1_234)
    pieces = laws.pieces(rates)
    assert pieces.shape == (laws.CELLS,)
    assert pieces.mean() == pytest.approx(rates.mean())


@pytest.mark.parametrize("cooldown", [0.0, 0.4, 1.0])
def test_the_bound_is_that_of_every_single_step(cooldown):
    steps = 2_000
    gone = np.clip((np.arange(steps) / steps - 1 + cooldown) / max(cooldown, 1e-9), 0, 1)
    rates = 1.0 - gone
    area, squares = np.cumsum(rates[::-1])[::-1], np.cumsum((rates**2)[::-1])[::-1]
    tails = (rates[:-1] / area[1:] * squares[:-1] / area[:-1]).sum()
    bound = 1.0 + 2.0 / area[0] + 3.0 * (squares[0] / area[0] + tails)
    told = laws.sums(laws.pieces(rates), steps, np.asarray([steps]), 1.0, 1.0)
    assert laws.last_iterate_bound(np.asarray([1.0, 2.0, 3.0]), told)[0] == pytest.approx(bound, rel=0.01)


def test_the_page_has_the_table_of_the_results():
    report = json.loads((forecast.RESULTS / "forecast.json").read_text())
    assert forecast.table(report) in (ROOT / "docs" / "findings.md").read_text()
