"""The peak by compressed runs: on a quadratic, whose losses have a closed form, and on a small regression."""

import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from found import found
from problems import CURVATURES, START, quadratic, regression
from tiny import check_message, task

from lrjax import LRNotFound, SearchProgress, sample_losses, schedules, tune_peak
from lrjax._plan import _peaks

KEY = jax.random.key(0)
TASK = quadratic()
PEAKS = [0.05, 0.4, 1.6, 3.2, 12.8]


def one_cycle(peak, total_steps):
    return schedules.one_cycle(peak, total_steps=total_steps)


FAMILIES = {
    "cosine": schedules.cosine_decay,
    "constant": lambda peak, total_steps: schedules.constant(peak),
    "one cycle": one_cycle,
    "Optax's": lambda peak, total_steps: optax.linear_schedule(peak, 0.0, total_steps),
}


def tune(family, given=TASK, **options):
    good = {"key": KEY, "train_steps": 200, "peaks": PEAKS, "executor": "map"}
    return tune_peak(given, optax.sgd, family, **(good | options))


def quadratic_losses(family, peaks, num_steps):
    """Gradient descent multiplies coordinate i by 1 - lr c_i at every step."""
    rates = np.array([[float(family(peak, num_steps)(step)) for step in range(num_steps)] for peak in peaks])
    factors = np.prod(1 - rates[:, :, None] * CURVATURES, axis=1)
    return np.sum(CURVATURES * (START * factors) ** 2, axis=-1) / 2


@pytest.fixture(scope="module")
def tuned():
    return tune(schedules.cosine_decay)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_lowest_loss_of_the_closed_form_wins(name):
    family = FAMILIES[name]
    tuned = tune(family)
    losses = quadratic_losses(family, PEAKS, 20)
    sane = losses < 1e3
    np.testing.assert_allclose(tuned.curve.final[0, sane], losses[sane], rtol=1e-3, atol=1e-6)
    assert tuned.compressed_peak == PEAKS[losses.argmin()]
    assert tuned.correction == pytest.approx(10**0.5)
    assert tuned.peak == pytest.approx(tuned.compressed_peak / tuned.correction)
    assert float(tuned.schedule(60)) == pytest.approx(float(family(tuned.peak, 200)(60)), rel=1e-6)
    assert (tuned.num_steps, tuned.train_steps, tuned.warnings) == (20, 200, ())


@pytest.mark.parametrize(("horizon", "num_steps"), [(0.0725, 14), (1, 200)])
def test_the_correction_follows_the_steps_that_were_run(horizon, num_steps):
    tuned = tune(schedules.cosine_decay, horizon=horizon)
    assert tuned.num_steps == num_steps
    assert tuned.curve.horizons.tolist() == [num_steps]
    assert tuned.correction == pytest.approx((200 / num_steps) ** 0.5)
    assert ("divided by" in tuned.reason) == (horizon < 1)


def test_after_a_search_the_curve_is_that_of_sample_losses():
    options = {"key": KEY, "num_seeds": 2, "executor": "map"}
    events: list[SearchProgress] = []
    search = found(min_lr=0.02, max_lr=0.19)
    tuned = tune_peak(
        regression(),
        optax.sgd,
        one_cycle,
        train_steps=100,
        horizon=0.2,
        result=search,
        progress=events.append,
        **options,
    )
    peaks = 10.0 ** (np.arange(-6, 1) / 3)
    wanted = sample_losses(
        regression(), lambda peak: optax.sgd(schedules.one_cycle(peak, total_steps=20)), peaks, num_steps=20, **options
    )
    np.testing.assert_array_equal(tuned.curve.final, wanted.final)
    np.testing.assert_array_equal(tuned.curve.lrs, wanted.lrs)
    mean = np.mean(wanted.final - wanted.initial_loss[:, None], axis=0)
    assert 0 < mean.argmin() < len(peaks) - 1
    assert tuned.compressed_peak == peaks[int(mean.argmin())]
    assert "mean of 2 seeds" in tuned.reason
    assert (tuned.execution.used, events[-1].stage) == ("map", "compressed runs")
    assert events[-1].updates == events[-1].planned == len(peaks) * 2 * 20


def test_the_same_key_gives_the_same_answer_and_compiles_nothing_again(tuned):
    again = tune(schedules.cosine_decay)
    assert again.peak == tuned.peak
    np.testing.assert_array_equal(again.curve.final, tuned.curve.final)
    assert again.execution.compile_seconds < 0.05


def test_a_peak_at_which_one_seed_diverges_is_out():
    """Its mean over the other seeds would be the lowest."""

    def init(key):
        return {"w": jnp.ones(2), "bad": jax.random.bernoulli(key).astype(jnp.float32)}

    def loss_fn(params, batch, key):
        fatal = jnp.where((params["bad"] > 0.5) & (params["w"][0] < 0.5), jnp.inf, 0.0)
        return jnp.sum(params["w"] ** 2) / 2 + fatal

    key = next(key for key in map(jax.random.key, range(50)) if len(set(_draws(key))) == 2)
    tuned = tune_peak(
        task(init=init, loss_fn=loss_fn),
        optax.sgd,
        FAMILIES["constant"],
        key=key,
        train_steps=100,
        peaks=[1e-3, 1e-2, 0.5],
        num_seeds=2,
        executor="map",
    )
    assert np.isinf(tuned.curve.final[:, 2]).any()
    assert np.isfinite(tuned.curve.final[:, 2]).any()
    assert tuned.compressed_peak == 0.01
    assert tuned.warnings == ()  # the highest one that can be trained with, but not the highest one tried


def _draws(key):
    """What `bad` is for the first two seeds."""
    return [bool(jax.random.bernoulli(jax.random.split(jax.random.fold_in(key, seed), 3)[0])) for seed in range(2)]


@pytest.mark.parametrize(("peaks", "name"), [([2e-3, 2e-2, 0.2], "edge_high"), ([3.2, 5.0, 6.4], "edge_low")])
def test_the_edges_warn(peaks, name):
    tuned = tune(one_cycle, peaks=peaks)
    assert [warning.name for warning in tuned.warnings] == [name]
    which, direction = ("highest", "higher") if name == "edge_high" else ("lowest", "lower")
    assert f"The {which} peak tried, {tuned.compressed_peak:.1e}, has the lowest loss." in tuned.summary()
    assert f"Try {direction} peaks" in tuned.warnings[0].remedy


# the window


def peaks_tried(result):
    return np.log10(_peaks(result, None))


@pytest.mark.parametrize(
    ("min_lr", "max_lr", "first", "last"), [(1e-2, 0.1, -6, 0), (0.011, 0.9, -6, 2), (0.3, 0.3, -2, 1)]
)
def test_peaks_are_third_decades_over_the_window_and_above(min_lr, max_lr, first, last):
    exponents = peaks_tried(found(min_lr=min_lr, max_lr=max_lr))
    np.testing.assert_allclose(exponents, np.arange(first, last + 1) / 3, atol=1e-6)
    assert exponents[0] <= math.log10(min_lr) + 1e-3
    assert exponents[-1] >= math.log10(max_lr) + 0.7 - 1e-3


def test_the_first_stage_of_two_has_the_whole_window():
    wide, narrow, lost = found(min_lr=1e-2), found(min_lr=0.1, num_steps=100), found(outcome="no_learning")
    two = functools.partial(types.SimpleNamespace, last=narrow)
    np.testing.assert_array_equal(peaks_tried(two(first=wide)), peaks_tried(wide))
    np.testing.assert_array_equal(peaks_tried(two(first=lost)), peaks_tried(narrow))


# words


def test_in_words(tuned):
    assert tuned.reason == (
        f"Of 5 peaks from 5.0e-02 to 1.3e+01, {tuned.compressed_peak:.2e} had the lowest validation loss after 20 "
        "updates (10 % of 200), one seed. For the whole training it is divided by 3.16."
    )
    lines = tuned.summary().splitlines()
    assert lines[0] == f"Peak {tuned.peak:.2e}."
    assert lines[1] == tuned.reason
    assert lines[2].startswith("Cost: 100 updates, 0.5 trainings, in ")
    assert lines[2].endswith(" s, executor map.")
    assert repr(tuned) == f"TunedPeak(peak={tuned.peak:.3g}, correction=3.16, warnings=[])"


# nothing found, bad input


def test_where_no_peak_learns():
    constant = task(loss_fn=lambda w, batch, key: 2.0 + 0.0 * jnp.sum(w))
    with pytest.raises(LRNotFound, match=r"No peak lowered the validation loss .* 5 peaks from 5\.0e-02") as caught:
        tune(one_cycle, constant)
    assert caught.value.result.num_trials == 5


def test_where_every_peak_diverges():
    fatal = task(
        loss_fn=lambda w, batch, key: jnp.sum(w + 1) / jnp.where(batch.sum() >= 0, 0.0, 1.0),
        eval_batches=[-jnp.ones((4, 2))],
    )
    with pytest.raises(LRNotFound, match=r"Every peak diverged: 5 peaks .* Try lower ones") as caught:
        tune(one_cycle, fatal)
    assert np.isinf(caught.value.result.final).all()


def branching(peak, total_steps):
    return schedules.one_cycle(peak, total_steps=total_steps) if peak > 0.1 else schedules.constant(peak)


OPTAX_WARMUP = lambda peak, total: optax.warmup_cosine_decay_schedule(0.0, peak, total // 10, total)  # noqa: E731
SEARCHED = found()

CASES = {
    "no task": (
        lambda: tune(one_cycle, 3),
        TypeError,
        ["`tune_peak(task=...)` must be a lrjax.Task", "got 3 (int)"],
    ),
    "an optimizer for a factory": (
        lambda: tune_peak(TASK, optax.sgd(0.1), one_cycle, key=KEY, train_steps=100, peaks=PEAKS),
        TypeError,
        ["`tune_peak(make_optimizer=...)`", "already has one", "Pass optax.adam"],
    ),
    "a factory without return": (
        lambda: tune_peak(TASK, lambda schedule: None, one_cycle, key=KEY, train_steps=100, peaks=PEAKS),
        TypeError,
        ["must return an Optax optimizer", "got None (NoneType) from", "<lambda>"],
    ),
    "no family": (lambda: tune(3), TypeError, ["`schedule_family(peak, total_steps) -> schedule`", "got 3 (int)"]),
    "a schedule for a family": (
        lambda: tune(schedules.one_cycle(1.0, total_steps=100)),
        TypeError,
        ["`schedule_family(peak, total_steps) -> schedule`", "Fix the other arguments"],
    ),
    "a family of one argument": (
        lambda: tune(schedules.constant),
        TypeError,
        ["`tune_peak(schedule_family)`", "got `constant(value", "lambda peak, total_steps:"],
    ),
    "a family of numbers": (
        lambda: tune(lambda peak, total_steps: peak),
        TypeError,
        ["`tune_peak(schedule_family)(peak, total_steps)` must be a schedule", "got 0.05"],
    ),
    "a family that ignores its peak": (
        lambda: tune(lambda peak, total_steps: schedules.one_cycle(0.1, total_steps=total_steps)),
        ValueError,
        ["must use its argument peak", "for 0.05 and 12.8", "gave the same schedule", "Pass it on"],
    ),
    "a family that ignores the length": (
        lambda: tune(lambda peak, total_steps: schedules.one_cycle(peak, total_steps=200)),
        ValueError,
        ["must use its argument total_steps", "for 20 and 200", "see only the beginning", "follow total_steps"],
    ),
    "a family of negative values": (
        lambda: tune(lambda peak, total_steps: lambda step: peak * (0.5 - step / total_steps)),
        ValueError,
        ["must be not negative at all 200 steps", "at step 101", "clip("],
    ),
    "a family of nan": (
        lambda: tune(lambda peak, total_steps: lambda step: peak * jnp.log(step / total_steps)),
        ValueError,
        ["`tune_peak(schedule_family)(peak, total_steps)` must be finite", "got -inf at step 0"],
    ),
    "a family in unknown units": (
        lambda: tune(lambda peak, total_steps: schedules.warmup(schedules.cosine_decay(peak, total_steps), "5%")),
        ValueError,
        ["`warmup(warmup_steps)` is '5%'", "Durations("],
    ),
    "a family that branches on the peak": (
        lambda: tune(branching),
        TypeError,
        ["must accept a traced learning rate", "sgd needs its concrete value at test_tune_peak.py", "if peak > 0.1"],
    ),
    "Optax's warmup and cosine": (
        lambda: tune(OPTAX_WARMUP),
        TypeError,
        ["must accept a traced learning rate", "in Optax's", "optax.join_schedules"],
    ),
    "a key that is a number": (lambda: tune(one_cycle, key=7), TypeError, ["`tune_peak(key=...)`", "key(7)"]),
    "train_steps 0": (lambda: tune(one_cycle, train_steps=0), ValueError, ["(train_steps=...)", "got 0"]),
    "train_steps a float": (lambda: tune(one_cycle, train_steps=1e3), TypeError, ["Write 1000"]),
    "horizon 0": (lambda: tune(one_cycle, horizon=0), ValueError, ["(horizon=...)", "at most 1", "got 0"]),
    "horizon in steps": (lambda: tune(one_cycle, horizon=20), ValueError, ["a part of", "got 20"]),
    "horizon in words": (lambda: tune(one_cycle, horizon="10%"), TypeError, ["a part of", "got '10%'"]),
    "horizon too short": (
        lambda: tune(one_cycle, horizon=0.02),
        ValueError,
        ["at least 10 updates", "got 0.02 of train_steps=200, which is 4", "Write horizon=0.05"],
    ),
    "a training too short": (
        lambda: tune(one_cycle, train_steps=8, horizon=1),
        ValueError,
        ["at least 10 updates", "got 1 of train_steps=8", "Train longer"],
    ),
    "neither result nor peaks": (
        lambda: tune(one_cycle, peaks=None),
        TypeError,
        ["`tune_peak(result=..., peaks=...)` needs one of the two", "got neither", "peaks=np.logspace"],
    ),
    "both result and peaks": (lambda: tune(one_cycle, result=SEARCHED), TypeError, ["got both"]),
    "a number for a result": (
        lambda: tune(one_cycle, peaks=None, result=0.1),
        TypeError,
        ["`tune_peak(result=...)` needs a result of lrjax.find_lr", "got 0.1 (float)", "not its lr"],
    ),
    "a result that found nothing": (
        lambda: tune(one_cycle, peaks=None, result=found(outcome="all_diverged")),
        ValueError,
        ["`tune_peak(result=...)`", "Every learning rate diverged"],
    ),
    "two peaks": (lambda: tune(one_cycle, peaks=[0.1, 1]), ValueError, ["at least 3", "got 2", "logspace"]),
    "a peak of 0": (lambda: tune(one_cycle, peaks=[0.0, 1, 2]), ValueError, ["(peaks=...)", "0 at index 0"]),
    "equal peaks": (lambda: tune(one_cycle, peaks=[1, 0.1, 1]), ValueError, ["all be different", "Remove"]),
    "exponents": (lambda: tune(one_cycle, peaks=[-3, -2, -1]), ValueError, ["got -3", "10.0 ** x"]),
    "num_seeds 0": (
        lambda: tune(one_cycle, num_seeds=0),
        ValueError,
        ["`tune_peak(num_seeds=...)`", "got 0"],
    ),
    "an unknown executor": (
        lambda: tune(one_cycle, executor="gpu"),
        ValueError,
        ["`tune_peak(executor=...)`"],
    ),
    "progress a string": (
        lambda: tune(one_cycle, progress="yes"),
        TypeError,
        ["`progress` must be", "'yes'"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_messages(call, error, parts):
    check_message(call, error, parts)
