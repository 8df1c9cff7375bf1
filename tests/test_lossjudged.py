"""The tasks that are judged by a loss: they are recorded rightly, and what a search finds on them is judged rightly."""

import jax
import numpy as np
import pytest

import lrjax
from experiments.benchmark import lossjudged
from experiments.benchmark.families import FAMILIES
from experiments.benchmark.judging import LOG_LRS, truth_of
from experiments.benchmark.loss_modules import GPT
from experiments.benchmark.loss_problem import LOSS_TASKS, language_model, loss_judged
from experiments.benchmark.loss_record import FOLDER, SEEDS, SHAPES, log_loss, record_losses
from experiments.benchmark.loss_sources import ALPHABET, CONTEXT, source_code
from experiments.benchmark.problem import Problem, Split
from experiments.benchmark.recording import LRS, horizons_of, read, write

STEPS = 20


@pytest.fixture(scope="module")
def problem() -> Problem:
    """A line through noisy points."""
    random = np.random.default_rng(0)
    x = random.normal(size=(96, 4)).astype(np.float32)
    y = x.sum(1) + 0.1 * random.normal(size=96).astype(np.float32)
    data = Split(*((x[part], y[part]) for part in (slice(32), slice(32, 64), slice(64, None))))

    def example_losses(params, x, y, key):
        return (x @ params - y) ** 2

    task = loss_judged(lambda key: 0.1 * jax.random.normal(key, (4,)), example_losses, data, batch_size=8)
    return Problem(name="line", task=task, optimizer="sgd", steps=STEPS)


@pytest.fixture(scope="module")
def recording(problem):
    return record_losses(problem, {})


def test_a_recording_holds_what_single_trainings_give_and_reads_back(problem, recording, tmp_path):
    peaks = LRS[np.flatnonzero(np.isfinite(recording.loss["wsd"][:, 0, -1]))]
    assert 10 <= len(peaks) <= 14  # those of 14 that are on the grid and did not diverge
    peak, place = float(peaks[5]), int(np.argmin(abs(LRS - peaks[5])))
    shape = FAMILIES["warmup, stable, decay"](STEPS)
    for schedule, lr in (("constant", peak), ("wsd", lambda step: peak * shape(step))):
        alone = lrjax.sweep(
            problem.task,
            lambda factor, lr=lr: problem.make_optimizer(lr),
            {"factor": [1.0]},
            key=jax.random.key(0),
            train_steps=STEPS,
            num_seeds=SEEDS,
        )
        told = recording.test_loss[schedule][place, :, -1]
        np.testing.assert_allclose(told, alone.metrics["test_loss"][0, :, -1], rtol=1e-4)
    write(recording, tmp_path / "line.npz")
    jax.tree.map(np.testing.assert_array_equal, read(tmp_path / "line.npz").score, recording.score)


def test_the_score_is_the_way_to_the_lowest_loss_in_percent(recording):
    best = max(truth_of(recording, schedule, SEEDS).best for schedule in ("constant", *SHAPES))
    assert best == pytest.approx(100, abs=0.01)
    assert recording.score["constant"][0].mean() == pytest.approx(0, abs=0.1)  # 1e-7 teaches nothing


def test_an_answer_is_judged_by_schedule(recording):
    constant = log_loss(recording.test_loss["constant"])[:, -1]
    best = int(np.nanargmin(constant))
    lrs = {"constant": 10 ** LOG_LRS[best - 2], "cosine": float("nan"), "wsd": 1e-7}
    told = lossjudged.judge(recording, {"lrs": lrs, "cost": 1.0, "warnings": []})
    assert told["constant"]["excess"] == pytest.approx(100 * np.expm1(constant[best - 2] - constant[best]), rel=1e-4)
    assert told["constant"]["decades"] < 0 < told["constant"]["regret"]
    assert told["cosine"]["regret"] > 20  # nothing chosen loses all
    assert told["wsd"]["regret"] > 20  # so does what was not trained


def test_a_call_says_its_cost_and_a_peak_for_every_schedule(problem, recording):
    answer = lossjudged.call(problem, "2 trainings")
    assert 0 < answer["cost"] <= 5 * 17 / STEPS  # the shortest sweep is dearer than two trainings of 20 updates
    assert answer["lrs"].keys() == {"constant", *SHAPES}
    judged = {"line": {"2 trainings": lossjudged.judge(recording, answer)}}
    assert lossjudged.summary_table(judged).count("\n") == 2
    assert "2 trainings" in lossjudged.task_table(judged)


@pytest.mark.slow
def test_a_language_model_knows_the_next_byte_only_from_those_before():
    data = source_code()
    (x, y), module = data.train, GPT(ALPHABET, width=8)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    task = language_model(module, data, batch_size=4)
    params = task.init(jax.random.key(0))
    changed = x[:1].copy()
    changed[0, CONTEXT // 2 :] = 0
    before, after = (
        np.asarray(module.apply({"params": params}, tokens))[0, : CONTEXT // 2] for tokens in (x[:1], changed)
    )
    np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.stem)
def test_a_committed_recording_is_whole(path):
    one, problem = read(path), LOSS_TASKS[path.stem]
    assert one.horizons == horizons_of(one.steps)
    assert one.about["judged"] == "loss"
    assert one.loss["constant"].shape == (len(LRS), SEEDS, len(one.horizons))
    assert problem.__doc__
    for schedule in ("constant", *SHAPES):
        truth = truth_of(one, schedule, SEEDS)
        assert truth.best > 50
        assert 0 < truth.scores.argmax() < len(LRS) - 1
