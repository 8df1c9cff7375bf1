"""Which schedule is recommended, how high, in which words; and the line of code makes the same one."""

import dataclasses
import json
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from found import found
from tiny import check_message

import lrjax
from experiments.benchmark.judging import mean_and_error
from experiments.benchmark.replay import RESULTS
from experiments.schedules import short
from lrjax import Recommendation, peak_for, recommend, schedules

DOUBTFUL, SURE = found(warnings=["noisy", "edge_high"]), found()
LONG = found(num_steps=100)


def kind(recommendation):
    return recommendation.schedule.func.name


def same_schedule(one, other):
    return jax.tree.structure(one) == jax.tree.structure(other) and jax.tree.leaves(one) == jax.tree.leaves(other)


def three_digits(number):
    return pytest.approx(number, rel=5.1e-3)


@pytest.mark.parametrize("total", [1, 19, 20, 60, 1000, 2000])
@pytest.mark.parametrize("result", [DOUBTFUL, SURE, 0.01, jnp.float32(0.01), types.SimpleNamespace(lr=0.01)], ids=type)
def test_a_short_training_is_constant_but_for_its_last_tenth(result, total):
    recommendation, last = recommend(result, total), max(1, total // 10)
    assert kind(recommendation) == "warmup_stable_decay"
    values = np.asarray(recommendation.schedule(np.arange(total + 1)))
    assert np.ptp(values[: total - last + 1]) == 0
    assert values[total] == 0
    assert values[:total].sum() == three_digits(getattr(result, "lr", 0.01) * total)
    assert ("short trainings end 4.2 ± 1.5 % below a constant lr's loss" in recommendation.reason) == (total >= 20)


@pytest.mark.parametrize(("total", "warmup"), [(2001, 200), (3000, 300), (100_000, 300)])
@pytest.mark.parametrize("result", [DOUBTFUL, SURE, 0.01], ids=["doubtful", "sure", "a number"])
def test_a_long_one_gains_by_a_warmup_and_a_cosine(result, total, warmup):
    recommendation = recommend(result, total)
    assert kind(recommendation) == "warmup_cosine"
    assert recommendation.schedule.keywords["warmup_steps"] == warmup
    assert "end 0.14 ± 0.01 nats below a constant lr" in recommendation.reason


def test_the_gains_are_those_that_were_measured():
    plans = json.loads((RESULTS / "short.json").read_text())["plans"].values()
    told = [plan["parts"]["end"] for plan in plans if plan["config"]["role"] == "judges"]
    pairs = [short.pair(one, "last 10 % to 0, same sum") for one in told]
    mean, error = mean_and_error(np.asarray([one.change for one in pairs]))
    assert ([round(-mean, 1), round(error, 1)], len(pairs)) == ([4.2, 1.5], 8)
    assert sorted(one.change > 0 for one in pairs) == [False] * 7 + [True]
    assert not any(one.worse for one in pairs)
    report = json.loads((RESULTS / "long_peaks.json").read_text())
    assert [round(value, 2) for value in report["gain_of_llamas"]["nats"]] == [0.14, 0.01]


@pytest.mark.parametrize("total", [1, 19, 2000, 2001, 50_000])
@pytest.mark.parametrize("result", [DOUBTFUL, SURE, 0.01], ids=["doubtful", "sure", "a number"])
def test_the_code_makes_the_schedule(result, total):
    recommendation = recommend(result, total)
    again = eval(recommendation.code, {"lrjax": lrjax})
    assert same_schedule(again, recommendation.schedule)
    assert recommendation.code.startswith("lrjax.schedules.")
    assert recommendation.train_steps == total
    assert float(recommendation.schedule(total // 10)) <= recommendation.peak * (1 + 1e-6)


@pytest.mark.parametrize("total", [4, 1900, 5000, 100_000])
@pytest.mark.parametrize("result", [DOUBTFUL, SURE, LONG], ids=["doubtful", "sure", "long trials"])
def test_the_peak_is_that_of_peak_for_or_keeps_the_sum(result, total):
    recommendation = recommend(result, total)
    values = np.asarray(recommendation.schedule(np.arange(total)))
    level = peak_for(result, schedules.constant(1.0), total)
    wanted = peak_for(result, recommendation.schedule, total) if total > 2000 else level * values.max() / values.mean()
    assert recommendation.peak == three_digits(wanted)
    assert values.max() == pytest.approx(recommendation.peak, rel=1e-6)
    assert recommendation.peak == float(f"{recommendation.peak:.3g}")
    if result is LONG:
        assert f"For {total} updates the learning rate is " in recommendation.reason
    else:
        assert (f"{wanted / result.lr:.3g} times the learning rate" in recommendation.reason) == (total > 4)
        better = f"A search with train_steps={total} would tell it better."
        assert (better in recommendation.reason) == (total >= 20)  # find_lr refuses shorter ones


def test_two_stages():
    """The last one's window."""
    last = found(max_lr=0.05, num_steps=100)
    both = dataclasses.replace(last, stages=(*SURE.stages, *last.stages), stage=1)
    assert recommend(both, 5000).code == recommend(last, 5000).code


def test_in_words():
    recommendation = recommend(found(warnings=["noisy", "edge_high"], num_steps=100), 20_000)
    assert recommendation.summary() == (
        f"lrjax.schedules.warmup_cosine({recommendation.peak:.3g}, warmup_steps=300, total_steps=20000)\n"
        "Warmup and cosine: with it, language models of 25,000 to 50,000 updates end 0.14 ± 0.01 nats below a constant "
        "lr. For 20000 updates the learning rate is 0.012, by the law of `lrjax.peak_for`. The peak is 4.27 times the "
        "learning rate, by `lrjax.peak_for`."
    )
    assert repr(recommendation) == f"Recommendation({recommendation.code})"
    assert [field.name for field in dataclasses.fields(Recommendation)] == [
        "schedule",
        "peak",
        "code",
        "reason",
        "train_steps",
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        recommendation.peak = 1.0


def test_an_optimizer_takes_it():
    optimizer = optax.adamw(recommend(SURE, 1000).schedule)
    params = jnp.ones(3)
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert np.isfinite(updates).all()


def test_steps_in_words():
    with schedules.Durations(batch_size=10, dataset_size=500):
        assert recommend(SURE, "20 epochs").code == recommend(SURE, 1000).code


CASES = {
    "nothing found": (
        lambda: recommend(found(outcome="all_diverged", warnings=["all_diverged"]), 1000),
        ValueError,
        [
            "`recommend(result_or_lr)` must be a result that has found",
            "Every learning rate diverged",
            "Cure all_diverged",
        ],
    ),
    "nothing found, without warnings": (
        lambda: recommend(found(outcome="no_learning"), 1000),
        ValueError,
        ["`recommend(result_or_lr)`", "No learning rate lowered", "Search again"],
    ),
    "no result": (lambda: recommend(None, 1000), TypeError, ["`recommend(result_or_lr)`", "or a result", "got None"]),
    "a task": (lambda: recommend(lrjax.Task, 1000), TypeError, ["`recommend(result_or_lr)`", "got <class"]),
    "lr nan": (
        lambda: recommend(math.nan, 1000),
        ValueError,
        ["`recommend(result_or_lr)`", "> 0 and finite", "got nan"],
    ),
    "lr 0": (lambda: recommend(0, 1000), ValueError, ["`recommend(result_or_lr)`", "got 0"]),
    "train_steps 0": (lambda: recommend(0.1, 0), ValueError, ["`recommend(train_steps)`", ">= 1", "got 0"]),
    "train_steps a float": (lambda: recommend(0.1, 10.0), TypeError, ["`recommend(train_steps)`", "Write 10"]),
    "train_steps a bool": (lambda: recommend(0.1, True), TypeError, ["`recommend(train_steps)`", "got the bool"]),
    "train_steps in words": (lambda: recommend(0.1, "9 epochs"), ValueError, ["is '9 epochs'", "Durations("]),
    "train_steps too many": (lambda: recommend(0.1, 2**31), ValueError, ["below 2**31 steps", "jax_enable_x64"]),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_messages(call, error, parts):
    check_message(call, error, parts)
