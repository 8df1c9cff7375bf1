"""The selector benchmark: what is replayed from a table is what the finder does, and choices are judged rightly."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import lrjax
from experiments.benchmark import page, replay
from experiments.benchmark import recording as recordings
from experiments.benchmark.judging import settled, truth_of
from experiments.benchmark.methods import rows
from experiments.benchmark.modules import MLP
from experiments.benchmark.peers import PEERS, choose, wittmann
from experiments.benchmark.problem import Problem, classifier
from experiments.benchmark.recording import LRS, RIVALS, Recording, horizons_of, read, record, write
from experiments.benchmark.searching import DOUBTS, curve_of, losses_at, search, stages, survivors, two_stages
from experiments.benchmark.sources import wine

SEEDS = (3, 4, 5)
STEPS = 120


@pytest.fixture(scope="module")
def problem() -> Problem:
    task = classifier(MLP(3, (8,)), wine(), batch_size=16)
    return Problem(name="tiny_wine_adam", task=task, optimizer="adam", steps=STEPS)


@pytest.fixture(scope="module")
def recording(problem) -> Recording:
    rivals = {"cocob": RIVALS["cocob"]}
    return record(problem, num_seeds=6, say=lambda part: None, about={}, rivals=rivals)


@pytest.mark.slow
def test_a_recording_is_what_separate_trials_give(problem, recording):
    assert recording.horizons == horizons_of(STEPS)
    lrs, seeds = [1e-4, 1e-2, 1.0], 3
    curve = lrjax.sample_losses(
        problem.task,
        problem.make_optimizer,
        lrs,
        key=jax.random.key(0),
        num_steps=100,
        horizons=(5, 20),
        num_seeds=seeds,
        executor="map",
    )
    places = [recording.horizons.index(step) for step in (5, 20, 100)]
    recorded = losses_at(recording, np.log10(lrs), range(seeds), 20)
    np.testing.assert_allclose(curve.losses[1], recorded, rtol=2e-5)
    np.testing.assert_allclose(curve.initial_loss, recording.initial_loss[:seeds, places[-1]], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_replayed_finder_is_the_finder(seeds, problem, recording):
    found = lrjax.find_lr(
        problem.task,
        problem.make_optimizer,
        lrjax.StepSampling(num_seeds=seeds, extend_range=False),
        key=jax.random.key(0),
        executor="map",
    )
    replayed = search(recording, range(seeds))
    assert (replayed.trials, replayed.updates) == (found.num_trials, found.cost.updates)
    for name, rule in (("midpoint", lrjax.midpoint), ("half_loss", lrjax.half_loss), ("steepest", lrjax.steepest)):
        np.testing.assert_allclose(rule(replayed.curve, replayed.window), found.selections[name], rtol=1e-3)
    assert replayed.warnings == {warning.name.value for warning in found.warnings}


@pytest.mark.slow
def test_a_file_keeps_everything(recording, tmp_path):
    write(recording, tmp_path / "one.npz")
    back = read(tmp_path / "one.npz")
    for field in dataclasses.fields(Recording):
        jax.tree.map(np.testing.assert_array_equal, getattr(back, field.name), getattr(recording, field.name))


def test_losses_between_recorded_rates_are_interpolated_and_next_to_divergence_the_nearer_one():
    losses = np.full((33, 1, 1), 2.0, np.float32)
    losses[:2, 0, 0], losses[20:] = (1.0, 3.0), np.nan
    table = _made(losses=losses)
    between = losses_at(table, [-7.0, -6.9375, -6.875, -2.3, -2.2, -2.1, 1.0], [0], 5)
    np.testing.assert_allclose(between, [[1.0, 1.5, 2.0, 2.0, 2.0, np.inf, np.inf]])


def _made(scores=None, losses=None, name="made_digits_sgd"):
    """A recording of one horizon with made numbers."""
    shape = (33, 3, 1)
    scores = np.zeros(shape, np.float32) if scores is None else scores
    losses = np.ones(shape, np.float32) if losses is None else losses
    both = {"constant": scores, "cosine": scores}
    return Recording(
        name=name,
        optimizer="sgd",
        steps=5,
        baseline_loss=1.0,
        test_examples=341,
        horizons=(5,),
        loss={"constant": losses, "cosine": losses},
        test_loss=both,
        score=both,
        train_loss=both,
        initial_loss=np.ones((losses.shape[1], 1)),
        range_losses=np.ones((2, 3, 100), np.float32),
        rivals={},
        seconds={"constant": 1.0},
        about={},
    )


def test_the_best_range_is_around_the_best_and_regret_is_read_between():
    scores = np.zeros((33, 3, 1), np.float32)
    scores[16:21] = np.array([80, 99.5, 100, 99.2, 80])[:, None, None]
    scores[5] = 99.9  # an island
    truth = truth_of(_made(scores), "constant")
    assert truth.best == 100
    np.testing.assert_allclose([truth.low, truth.high], [-2.75, -2.25])
    np.testing.assert_allclose(truth.regret(10**-2.5), 0, atol=1e-4)
    np.testing.assert_allclose(truth.regret(10**-2.125), 0.5 * (0.8 + 20), atol=1e-4)
    assert truth.in_range(10**-2.3)
    assert not truth.in_range(LRS[5])
    np.testing.assert_allclose(truth.distance(1e-1), 1.5)
    assert truth.regret(float("nan")) == 100
    assert not truth.in_range(float("nan"))


def test_what_diverged_scores_nothing():
    scores, losses = np.full((33, 3, 1), 50, np.float32), np.ones((33, 3, 1), np.float32)
    losses[30:] = np.nan
    scores[0] = -400
    kept = settled(_made(scores, losses), "constant")
    assert (kept[30:] == 0).all()
    assert (kept[0] == 0).all()
    assert (kept[1:30] == 50).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_every_peer_answers_within_its_range_or_says_nothing(name, recording):
    choice = choose(PEERS[name], recording, 3)
    assert np.isnan(choice.lr) or 1e-8 <= choice.lr <= 10
    assert 1 <= choice.updates <= 100
    assert wittmann(recording, 3).lr in LRS


@pytest.mark.slow
def test_two_stages_are_method_1_unless_it_is_doubted(recording):
    first = search(recording, SEEDS)
    assert not first.warnings & DOUBTS
    sure = two_stages(recording, SEEDS)
    np.testing.assert_allclose(sure.lr, lrjax.midpoint(first.curve, first.window))
    assert sure.updates == first.updates


@pytest.mark.slow
def test_the_replayed_second_stage_follows_the_law_of_the_library(recording):
    """Its trials, those beyond an end, its minimum and its correction, from the recorded losses after 100 updates."""
    first, second = stages(recording, SEEDS)
    kept = survivors(first.curve, first.window)
    tried = np.round(4 * np.asarray(second.curve.log10_lrs)) / 4
    assert set(np.round(4 * np.asarray(kept)) / 4) <= set(tried)
    assert second.trials == len(kept) or max(tried) > max(kept) + 0.2 or min(tried) < min(kept) - 0.2
    curve = curve_of(recording, tried, SEEDS, 100)
    lowest = lrjax.lowest_for(recording.steps)(curve, lrjax.find_window(curve))
    choice = two_stages(recording, SEEDS, always=True)
    assert choice.updates == first.updates + 100 * second.trials * len(SEEDS)
    assert choice.lr == pytest.approx(float(lowest), rel=1e-5)


@pytest.mark.slow
def test_the_table_has_a_line_for_every_method(recording):
    chosen = [row for row in rows() if row.name in replay.QUICK]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "RIVALS", {"cocob": RIVALS["cocob"]})
        table = replay.judge([recording, recording], chosen, "constant")
    text = replay.markdown(table)
    assert len(text.splitlines()) == 2 + len(table)
    assert {"cocob", *replay.QUICK} == {row["name"] for row in table}
    for row in table:
        assert row["standard_error"] == 0
        assert 0 <= row["mean_regret"] <= 20


COMMITTED = sorted((replay.RESULTS / "benchmark").glob("*.npz"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_recording_is_whole_and_can_be_replayed(path):
    one = read(path)
    shape = (len(LRS), one.num_seeds, len(one.horizons))
    assert one.name == path.stem
    assert one.horizons == horizons_of(one.steps)
    for table in (one.loss, one.test_loss, one.score, one.train_loss):
        assert {name: values.shape for name, values in table.items()} == dict.fromkeys(recordings.SCHEDULES, shape)
    assert set(one.rivals) == set(RIVALS)
    truth = truth_of(one, "constant")
    assert truth.best > truth.scores[0]  # 1e-7 teaches nothing
    assert replay.judge([one], [row for row in rows() if row.name == replay.AGAINST], "constant")


@pytest.mark.slow
@pytest.mark.parametrize("schedule", recordings.SCHEDULES)
def test_the_committed_table_comes_from_the_committed_recordings(schedule):
    """The quick rows, replayed anew, are those of experiments/results/benchmark.json to rounding."""
    committed = json.loads((replay.RESULTS / "benchmark.json").read_text())
    assert committed["tasks"] == [path.stem for path in COMMITTED]
    again = replay.judge(
        replay.load(replay.RESULTS / "benchmark"), [row for row in rows() if row.name in replay.QUICK], schedule
    )
    for row in again:
        place = (row["name"], row["group"], row["seeds"])
        old = next(one for one in committed[schedule] if (one["name"], one["group"], one["seeds"]) == place)
        for task, before in zip(row["tasks"], old["tasks"], strict=True):
            assert task["regret"] == pytest.approx(before["regret"], abs=0.02), (place, task["task"])
            assert task["updates"] == before["updates"]


def test_all_committed_reports_are_of_the_committed_recordings():
    for name in ("benchmark", "benchmark_ablations", "benchmark_defaults", "frontier"):
        report = json.loads((replay.RESULTS / f"{name}.json").read_text())
        assert report["tasks"] == [path.stem for path in COMMITTED], f"replay anew: {name}.json"


@pytest.mark.slow
@pytest.mark.parametrize("name", page.PAGES)
def test_a_committed_page_is_up_to_date(name):
    text = (page.DOCS / name).read_text()
    again = page.render(text, page.Benchmark(replay.RESULTS), page.PAGES[name])
    assert text == again, "run `python -m experiments.benchmark.page`"


def test_a_page_with_a_mistyped_block_is_refused():
    text = (page.DOCS / "benchmark.md").read_text().replace("begin warned", "begin warning")
    with pytest.raises(ValueError, match=r"must have each of the blocks .*'warned'.* once, got .*'warning'"):
        page.render(text, page.Benchmark(replay.RESULTS), page.PAGES["benchmark.md"])
