"""The classic range test: its ramp, its one carried state, when it stops, and what every rule reads off it."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import quadratic, regression
from sequential import seed_keys

import lrjax
from lrjax import RangeTest, range_rules, range_test
from lrjax.demos import digits

KEY = jax.random.key(0)
TASK, NOISY = quadratic(), regression()
run = functools.partial(range_test, TASK, optax.sgd, key=KEY)
FASTAI = ["fastai_valley", "fastai_slide", "fastai_minimum", "fastai_steep"]
RULES = ["steepest_log", *FASTAI, "lightning", "lightning_index", "torch_lr_finder", "ignite"]


@pytest.fixture(scope="module")
def history():
    return range_test(digits(), optax.adam, key=KEY, eval_every=1)


# the ramp


def test_a_schedule_inside_the_factory_is_refused():
    told = r"`range_test\(make_optimizer=...\)` must keep the learning rate constant, .* changes it with the step"
    with pytest.raises(ValueError, match=told):
        range_test(TASK, lambda lr: optax.sgd(optax.cosine_decay_schedule(lr, 100)), key=KEY)


@pytest.mark.parametrize("mode", ["exponential", "linear"])
@pytest.mark.parametrize("num_steps", [2, 5, 100])
def test_the_ramp_reaches_both_ends_exactly(mode, num_steps):
    test = run(min_lr=3e-7, max_lr=0.7, num_steps=num_steps, mode=mode)
    assert test.lrs.dtype == np.float64
    assert len(test.lrs) == len(test.losses) == num_steps
    assert (test.lrs[0], test.lrs[-1]) == (3e-7, 0.7)
    steps = np.diff(np.log(test.lrs) if mode == "exponential" else test.lrs)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


def test_torch_lr_finder_grids():
    """torch-lr-finder, TestScheduler: five points from 1e-5, exponential to 0.1 and linear to 5e-5."""
    exponential = run(min_lr=1e-5, max_lr=0.1, num_steps=5)
    np.testing.assert_allclose(exponential.lrs, [1e-5, 1e-4, 1e-3, 1e-2, 0.1], rtol=1e-12)
    linear = run(min_lr=1e-5, max_lr=5e-5, num_steps=5, mode="linear")
    np.testing.assert_allclose(linear.lrs, [1e-5, 2e-5, 3e-5, 4e-5, 5e-5], rtol=1e-12)


@pytest.mark.parametrize("num_steps", [0, 1])
@pytest.mark.parametrize("mode", ["exponential", "linear"])
def test_torch_lr_finder_too_few_steps(num_steps, mode):
    with pytest.raises(
        ValueError, match=rf"`range_test\(num_steps=...\)` must be a whole number >= 2 .* got {num_steps}"
    ):
        run(num_steps=num_steps, mode=mode)


@pytest.mark.parametrize("make_optimizer", [optax.adam, functools.partial(optax.sgd, momentum=0.9)])
@pytest.mark.parametrize("mode", ["exponential", "linear"])
def test_one_state_is_carried_through_all_steps(make_optimizer, mode):
    """A plain Python loop: every step another lr, the moments kept."""
    test = range_test(NOISY, make_optimizer, key=KEY, min_lr=1e-4, max_lr=0.3, num_steps=12, mode=mode)
    init_key, data_key, train_key = seed_keys(KEY, 0)
    params, batches = NOISY.init(init_key), NOISY.sample_batches(data_key, 12)
    state = make_optimizer(1.0).init(params)

    @jax.jit
    def step(params, state, lr, batch, key):
        loss, grads = jax.value_and_grad(NOISY.loss_fn)(params, batch, key)
        updates, state = make_optimizer(lr).update(grads, state, params)
        return loss, optax.apply_updates(params, updates), state

    for index, lr in enumerate(test.lrs):
        batch = jax.tree.map(lambda leaf, i=index: leaf[i], batches)
        loss, params, state = step(params, state, jnp.float32(lr), batch, jax.random.fold_in(train_key, index))
        assert test.losses[index] == pytest.approx(float(loss), rel=1e-6)


def test_a_loss_belongs_to_the_step_before_its_update():
    """The first loss is that of the untouched parameters (Wittmann's labels are one off)."""
    test = run(num_steps=5)
    assert test.losses[0] == pytest.approx(float(TASK.loss_fn(TASK.init, jnp.zeros(1), KEY)))


# when it stops


def test_it_stops_where_it_diverges():
    test = range_test(NOISY, optax.sgd, key=KEY)
    assert 50 < len(test.lrs) < 100
    assert len(test.losses) == len(test.smoothed) == len(test.lrs)
    assert test.num_steps == 100
    assert "smoothed loss rose to" in test.stopped
    assert f"at step {len(test.lrs) - 1}" in test.stopped
    assert test.smoothed[-1] > test.smoothed[0] + 4 * (test.smoothed[0] - test.smoothed.min())
    assert test.lrs[-1] > 3 * test.lrs[test.smoothed.argmin()]


def test_a_loss_that_is_not_finite_ends_it_in_any_case():
    test = run(max_lr=1e4, stop_factor=None)
    assert np.isinf(test.losses[-1])
    assert np.isfinite(test.losses[:-1]).all()
    assert test.stopped == f"The loss was inf at step {len(test.losses) - 1}."
    assert np.isfinite(test.suggest().lr)


def test_lightning_without_early_stop_it_goes_to_the_end():
    """Lightning, test_lr_finder_early_stop: early_stop_threshold=None gives num_training points."""
    test = range_test(NOISY, optax.sgd, key=KEY, stop_factor=None)
    assert len(test.lrs) == len(test.losses) == 100
    assert test.stopped is None


@pytest.mark.parametrize("offset", [4.0, -8.0, -100.0])
def test_fastai_962_a_shifted_or_negative_loss_stops_at_the_same_step(offset):
    """fastai#962: four times the best loss is nonsense for negative losses."""
    options = {"key": KEY, "max_lr": 100.0, "smoothing": 0.9}
    plain = range_test(TASK, optax.sgd, **options)
    shifted = range_test(quadratic(offset=offset), optax.sgd, **options)
    assert plain.stopped is not None
    assert len(plain.lrs) < 100
    assert len(shifted.lrs) == len(plain.lrs)
    np.testing.assert_allclose(shifted.smoothed - offset, plain.smoothed, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_noise_does_not_stop_it_before_the_descent(seed):
    test = range_test(digits(batch_size=4), optax.sgd, key=jax.random.key(seed))
    assert test.lrs[-1] > 0.5


# what is recorded


def test_the_smoothing_is_the_debiased_average(history):
    np.testing.assert_array_equal(history.smoothed, range_rules.debiased_ema(history.losses, 0.98))
    assert history.smoothed[0] == history.losses[0]
    np.testing.assert_array_equal(run(smoothing=0.0, num_steps=20).smoothed, run(num_steps=20).losses)


def test_lightning_14167_a_flat_loss_reads_flat():
    """Lightning#14167: its average of a flat loss L starts at 0.505 L and rises."""
    flat = dataclasses.replace(TASK, loss_fn=lambda w, batch, key: 2.5 + 0.0 * jnp.sum(w))
    test = range_test(flat, optax.sgd, key=KEY)
    np.testing.assert_allclose(test.smoothed, 2.5, rtol=1e-12)
    assert test.stopped is not None
    assert test.stopped.startswith("No parameter changed: the gradient was 0")
    with pytest.raises(ValueError, match="No parameter changed: the gradient was 0"):
        test.suggest()
    assert "steepest_log" in test.suggestions()[1]


def test_metrics_are_measured_after_their_steps():
    every = range_test(digits(), optax.sgd, key=KEY, num_steps=12, max_lr=0.1, eval_every=1)
    third = range_test(digits(), optax.sgd, key=KEY, num_steps=12, max_lr=0.1, eval_every=3)
    np.testing.assert_array_equal(every.metric_steps, range(12))
    np.testing.assert_array_equal(third.metric_steps, [2, 5, 8, 11])
    assert set(every.metrics) == {"loss", "accuracy"}
    np.testing.assert_array_equal(third.metrics["accuracy"], every.metrics["accuracy"][2::3])
    curve = lrjax.sample_losses(digits(), optax.sgd, [0.01], key=KEY, num_steps=1)
    once = range_test(digits(), optax.sgd, key=KEY, num_steps=2, min_lr=0.01, max_lr=0.02, eval_every=1)
    assert once.metrics["accuracy"][0] == pytest.approx(float(curve.metrics["accuracy"][0, 0, 0]))


def test_three_calls_give_one_answer_and_leave_the_inputs_alone():
    """Lightning, test_lr_find_with_ckpt and consecutive calls; fastai: parameters and optimizer restored."""
    params = {"w": jnp.ones(3)}
    task = dataclasses.replace(TASK, init=params, loss_fn=lambda p, batch, key: jnp.sum(p["w"] ** 2) + jnp.sum(batch))
    tests = [range_test(task, optax.adam, key=KEY, num_steps=20) for _ in range(3)]
    for test in tests[1:]:
        np.testing.assert_array_equal(test.losses, tests[0].losses)
    assert params["w"].tolist() == [1, 1, 1]
    other = range_test(NOISY, optax.adam, key=jax.random.key(1), num_steps=3)
    assert not np.array_equal(other.losses, range_test(NOISY, optax.adam, key=KEY, num_steps=3).losses)


# the rules


@pytest.mark.parametrize("name", RULES)
def test_every_rule_answers_within_the_range_on_a_real_history(history, name):
    suggestion = history.suggest(getattr(range_rules, name))
    assert 1e-7 <= suggestion.lr <= 10
    assert history.suggestions()[0][name] == suggestion.lr
    assert suggestion.lr == history.lrs[suggestion.index] or name == "fastai_minimum"


def test_the_table_has_every_rule_once(history):
    lrs, refusals = history.suggestions()
    assert sorted([*lrs, *refusals]) == sorted(RULES)
    assert refusals == {}
    lrs, refusals = run(num_steps=4).suggestions()
    assert sorted([*lrs, *refusals]) == sorted(RULES)
    assert "fastai_slide" in refusals
    assert all(sentence.endswith(".") for sentence in refusals.values())


def test_every_rule_sees_the_history_that_its_own_library_would_show_it(history):
    seen = {}

    def spy(rule):
        @functools.wraps(rule)
        def spying(lrs, losses, **options):
            seen[rule.__name__] = losses, options
            return rule(lrs, losses, **options)

        return spying

    for name in ("fastai_valley", "steepest_log"):
        history.suggest(spy(getattr(range_rules, name)))
    np.testing.assert_array_equal(seen["fastai_valley"][0], history.smoothed)
    np.testing.assert_array_equal(seen["steepest_log"][0], history.losses)
    assert seen["fastai_valley"][1] == {"num_steps": 100}
    average = [history.losses[0]]
    for loss in history.losses[1:]:
        average.append(0.05 * loss + 0.95 * average[-1])
    wanted = range_rules.torch_lr_finder(history.lrs, np.array(average)).lr
    assert history.suggest(range_rules.torch_lr_finder).lr == wanted
    assert history.suggest(range_rules.lightning).lr == range_rules.lightning(history.lrs, history.smoothed).lr


def test_options_partials_and_rules_of_ones_own(history):
    """fastai: a user's function or partial works as a suggestion method."""
    minimum = functools.partial(range_rules.fastai_minimum, num_steps=200)
    assert history.suggest(minimum) == history.suggest(range_rules.fastai_minimum, num_steps=200)
    late = history.suggest(range_rules.lightning, skip_begin=60)
    assert late.index >= 60
    own = history.suggest(lambda lrs, losses: range_rules.steepest_log(lrs[:50], losses[:50]))
    assert own.index < 50


def test_smiths_bounds_from_the_loss_and_from_the_accuracy(history):
    for bounds in (history.bounds(), history.bounds("accuracy", mode="max"), history.bounds("loss")):
        assert 1e-4 < bounds.base_lr < bounds.max_lr < 1
    with pytest.raises(ValueError, match=r"must be one of \['accuracy', 'loss'\], got 'f1'"):
        history.bounds("f1")


# the file


def test_a_file_is_lossless(history, tmp_path):
    diverged = run(max_lr=1e4, stop_factor=None)
    for test in (history, diverged):
        test.to_json(tmp_path / "test.json")
        json.loads((tmp_path / "test.json").read_text(), parse_constant=pytest.fail)
        read = RangeTest.from_json(tmp_path / "test.json")
        for name in ("lrs", "losses", "smoothed", "metric_steps"):
            one, other = getattr(read, name), getattr(test, name)
            assert type(one) is np.ndarray
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()
        assert read.metrics.keys() == test.metrics.keys()
        assert all(read.metrics[name].tobytes() == test.metrics[name].tobytes() for name in test.metrics)
        for name in ("smoothing", "num_steps", "mode", "stopped"):
            assert getattr(read, name) == getattr(test, name)
        assert read.suggestions() == test.suggestions()


def test_a_file_damaged_by_hand(tmp_path):
    run(num_steps=5).to_json(tmp_path / "test.json")
    document = json.loads((tmp_path / "test.json").read_text())
    document["losses"]["data"].pop()
    (tmp_path / "test.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"is damaged: `losses` must have 5 steps, as `lrs` has, got 4"):
        RangeTest.from_json(tmp_path / "test.json")
