"""The scripts around a budget: what is looked up, what it costs, and what is left out."""

import dataclasses
import math

import jax
import numpy as np
import pytest

import lrjax
from experiments.benchmark import families, frontier, peaks, replay
from experiments.benchmark.judging import LOG_LRS
from experiments.benchmark.modules import MLP
from experiments.benchmark.problem import Problem, classifier
from experiments.benchmark.recording import Recording, read
from experiments.benchmark.sources import wine


@pytest.fixture(scope="module")
def recording() -> Recording:
    return read(replay.RESULTS / "benchmark" / "mlp_digits_sgd.npz")


def test_a_recorded_number_of_steps_is_looked_up_and_one_between_is_mixed(recording):
    table = frontier.Table(recording, (3, 4))
    first, second = recording.horizons[2:4]
    lanes = [float(LOG_LRS[8]), float(LOG_LRS[12])]
    at = {n: table.train(lanes, 2, n) for n in (first, second, round(math.sqrt(first * second)))}
    np.testing.assert_allclose(at[first], recording.loss["constant"][[8, 12], 3:5, 2].T, rtol=1e-6)
    share = math.log(round(math.sqrt(first * second)) / first) / math.log(second / first)
    between = (1 - share) * at[first] + share * at[second]
    np.testing.assert_allclose(at[round(math.sqrt(first * second))], between, rtol=1e-6)
    assert table.initial_loss(2, first).shape == (2,)


def test_what_diverges_between_two_recorded_steps_has_diverged(recording):
    loss = recording.loss["constant"].copy()
    loss[20, :, 5:] = np.nan
    spoiled = dataclasses.replace(recording, loss={**recording.loss, "constant": loss})
    table = frontier.Table(spoiled, (3,))
    lane = [float(LOG_LRS[20])]
    assert np.isfinite(table.train(lane, 1, recording.horizons[4])).all()
    assert np.isinf(table.train(lane, 1, recording.horizons[4] + 1)).all()


@pytest.mark.parametrize("budget", [0.5, 1.0, 2.0, 4.0, 8.0])
def test_no_way_costs_more_than_its_budget_except_the_shortest(budget, recording):
    longer = dataclasses.replace(recording, steps=4000, horizons=(5, 10, *np.geomspace(20, 4000, 16).astype(int)))
    assert frontier.budgeted(longer, 0, budget).updates <= budget * 4000 * (1 + 1e-9)
    assert frontier.halving(longer, 0, budget).updates <= 1.02 * budget * 4000 + 64
    assert frontier.full_grid(longer, 0, budget).updates == max(1, budget) * 4000 or budget < 1


def test_every_schedule_has_a_peak_of_1_and_all_its_steps():
    table = families.multipliers_of(200)
    assert table.shape == (len(families.FAMILIES), 200)
    np.testing.assert_allclose(table.max(1), 1.0, atol=0.02)
    assert (table >= 0).all()


@pytest.mark.slow
def test_a_row_of_the_table_trains_as_the_schedule_does(tmp_path):
    """One lane of the sweep over all schedules, against a training with the cosine itself."""
    task = classifier(MLP(3, (8,)), wine(), batch_size=16)
    short = Problem(name="tiny", task=task, optimizer="adam", steps=30)
    trained = families.train(short, -2.0)
    row, column = list(families.FAMILIES).index("cosine"), 3
    alone = lrjax.sweep(
        short.task,
        lambda peak: short.make_optimizer(lrjax.schedules.cosine_decay(peak, 30)),
        [10.0 ** float(trained.log10_peaks[column])],
        key=jax.random.key(0),
        train_steps=30,
        num_seeds=3,
        eval_every=30,
    )
    np.testing.assert_allclose(trained.loss[row, column], alone.metrics["loss"][0, :, -1], rtol=2e-4)
    families.write_trained(trained, tmp_path / "one.npz", {})
    again = families.read_trained(tmp_path / "one.npz")
    np.testing.assert_array_equal(again.score, trained.score)
    np.testing.assert_array_equal(again.multipliers, trained.multipliers)


def test_peaks_are_judged_by_what_their_schedule_loses(recording):
    """Scores made so that every schedule is best exactly where the rule says: no regret by it, some without."""
    shape = (len(families.FAMILIES), len(families.OFFSETS), 3)
    places = -2.0 + families.OFFSETS
    made = families.Trained(
        name="made",
        steps=200,
        multipliers=families.multipliers_of(200),
        log10_peaks=places,
        loss=np.ones(shape),
        score=np.zeros(shape),
        seconds=0.0,
    )
    shifts = peaks.case_of(made, recording).ours
    score = 90.0 - 20.0 * np.abs(places - (-2.0 + shifts[:, None]))
    case = peaks.case_of(made._replace(score=np.repeat(score[..., None], 3, axis=2)), recording)
    for f, shift in enumerate(shifts):
        off_grid = np.abs(places - (-2.0 + shift)).min()
        assert case.regret(f, -2.0 + shift) <= 20.0 * off_grid + 1e-6
        assert case.regret(f, -2.0) == pytest.approx(score[f].max() - np.interp(-2.0, places, score[f]))
    assert case.regret(0, math.nan) == 20.0
    values = peaks.surface([case, case, case], peaks.best_constant)
    lost, chosen = peaks.left_out(values)
    assert lost.mean() < values[0, 0].mean()
    assert np.abs(chosen[..., 0] - 0.65).max() <= 0.3
