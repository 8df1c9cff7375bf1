"""The search end to end: on a quadratic, whose curve has a closed form, and on a small regression."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from definition import close, expected
from doors import budgeted, sampled
from problems import CURVATURES, START, quadratic, quadratic_loss, regression

import lrjax
from lrjax import LRNotFound, Outcome, find_lr, find_window, midpoint, sample_losses
from lrjax.integrations import step_task

KEY = jax.random.key(0)
TASK, NOISY = quadratic(), regression()
find = functools.partial(sampled, TASK, optax.sgd, key=KEY, num_seeds=1, executor="map")
find_noisy = functools.partial(sampled, NOISY, optax.adam, key=KEY, executor="map")


@pytest.fixture(scope="module")
def result():
    return find()


@pytest.fixture(scope="module")
def noisy():
    return find_noisy(horizons=(5, 10))


def test_every_loss_is_that_of_the_closed_form(result):
    lrs = np.asarray(result.curve.lrs, np.float64)
    sane = lrs < 2 / CURVATURES.max()
    np.testing.assert_allclose(result.curve.final[0, sane], quadratic_loss(lrs[sane], 20), rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(result.curve.initial_loss, quadratic_loss(np.array(0.0), 20), rtol=1e-6)


def test_gradient_descent_diverges_above_two_over_the_largest_curvature(result):
    lrs, losses = np.asarray(result.curve.lrs), np.asarray(result.curve.final[0])
    np.testing.assert_array_equal(losses > float(result.curve.initial_loss[0]), lrs > 2 / CURVATURES.max())
    assert losses[-1] > 1e37  # 9^40 at lr 10
    curve = sample_losses(TASK, optax.sgd, [1.0, 100.0], key=KEY, executor="map")
    assert np.isinf(curve.final[0, 1])
    assert curve.diverged_at.tolist() == [[-1, 10]]  # 99^20 is beyond float32


def test_the_window_is_that_of_the_closed_form(result):
    x = np.round(4 * np.log10(np.asarray(result.curve.lrs, np.float64))) / 4
    losses = np.minimum(quadratic_loss(10.0**x, 20), 1e30)[None]
    wanted = expected(x, losses, quadratic_loss(np.zeros(1), 20))
    assert close(result.window.min_lr, wanted.low)
    assert close(result.window.max_lr, wanted.high)
    assert close(result.lr, max(wanted.midpoint, wanted.high - 0.8))
    assert close(result.selections["half_loss"], wanted.half_loss, 1e-3)
    fine = 10 ** np.arange(-2, 0.3, 0.001)
    assert close(result.window.max_lr, math.log10(fine[quadratic_loss(fine, 20).argmin()]), 0.35)
    assert result.warnings == ()


def test_a_default_search_takes_about_24_trials_and_records_the_rounds(result):
    assert result.num_trials == result.curve.num_trials == 24
    assert result.cost.updates == 24 * 20
    x, rounds = np.asarray(result.curve.log10_lrs), np.asarray(result.curve.rounds)
    np.testing.assert_allclose(x[rounds == 0], np.arange(-14, 3) / 2, atol=1e-6)
    np.testing.assert_allclose(x[rounds == 1], np.arange(-2.75, 0.3, 0.5), atol=1e-5)  # around 1e-2.05 to 1e-0.05
    assert (np.diff(x) > 0).all()
    assert result.outcome is Outcome.found
    assert result.rule == "capped_midpoint"  # 2 decades: a wide window
    assert result.lr == pytest.approx(10.0**-0.8 * float(result.window.max_lr))
    assert result.interval is None


@pytest.mark.parametrize(
    ("options", "num_trials", "rounds"),
    [({"refine": None}, 17, 1), ({"refine": "paper"}, 31, 3), ({"refine": "paper", "threshold": 0.3}, 23, 2)],
)
def test_other_refinements(result, options, num_trials, rounds):
    other = find(**options)
    assert abs(other.num_trials - num_trials) <= 3
    assert np.asarray(other.curve.rounds).max() + 1 == rounds
    assert close(other.lr, math.log10(result.lr), 0.25)  # half decades do not tell the high end better


def test_the_literal_estimator_reads_trials():
    other = find(literal=True)
    lrs = np.asarray(other.curve.lrs)
    assert float(other.window.min_lr) == pytest.approx(lrs[np.abs(lrs - float(other.window.min_lr)).argmin()], rel=1e-5)
    assert other.window.max_lr == pytest.approx(float(other.window.best_lr))
    assert 1e-2 < other.lr < 1


@pytest.mark.parametrize("end", ["min_lr", "max_lr"])
def test_an_end_of_the_range_that_is_given_is_kept_and_the_other_grows(result, end):
    short = {"min_lr": 0.05, "max_lr": 0.2}[end]
    lrs = np.asarray(find(**{end: short}).curve.lrs)
    assert {"min_lr": lrs[0], "max_lr": lrs[-1]}[end] == pytest.approx(short)
    assert len(lrs) > 3
    grown = np.asarray(find(**{end: short}, extend_range=True).curve.lrs)
    assert (grown < short * 0.99).any() if end == "min_lr" else (grown > short * 1.01).any()


def noise():
    """A task whose validation loss is another number for every learning rate, and no lower for any."""
    return lrjax.Task(
        init=lambda key: jax.random.normal(key, (1,)),
        loss_fn=lambda w, batch, key: jnp.sum(w),
        eval_fn=lambda w, batch: 1.0 + 0.1 * jnp.sin(1e7 * jnp.sum(w)),
        sample_batches=lambda key, num_steps: np.zeros((num_steps, 1), np.float32),
        batches_between=lambda key, start, stop: np.zeros((stop - start, 1), np.float32),
        eval_batches=[np.zeros(1, np.float32)],
    )


def test_a_minimum_that_is_noise_is_not_found(tmp_path):
    options = {"num_steps": 2, "executor": "map", "min_lr": 1e-6, "max_lr": 1.0}
    result = sampled(noise(), optax.sgd, key=jax.random.key(2), throw=False, **options)
    assert result.outcome is Outcome.lost_in_noise
    assert np.isnan(result.lr)
    assert result.interval is None
    result.to_json(tmp_path / "result.json")
    assert lrjax.LRResult.from_json(tmp_path / "result.json").outcome is Outcome.lost_in_noise
    assert result.summary().startswith("The best learning rate lowers the validation loss by no more than the losses")
    with pytest.raises(lrjax.LRNotFound, match=r"no more than the losses scatter\. Use more validation examples"):
        sampled(noise(), optax.sgd, key=jax.random.key(2), **options)
    limits = {"train_steps": 100, "trainings": 0.1, "executor": "map", "min_lr": 1e-6, "max_lr": 1.0}  # the sweep alone
    short = budgeted(noise(), optax.sgd, key=jax.random.key(7), throw=False, **limits)
    assert short.rule == "lowest_risk"
    assert (short.outcome, np.isnan(short.lr)) == (Outcome.lost_in_noise, True)
    assert repr(short).startswith(f"LRResult(outcome=lost_in_noise, num_trials={short.num_trials}, cost=")


@pytest.mark.parametrize(
    ("min_lr", "max_lr"),
    [(1e-7, 1e-5), (1.0, 100.0), (100.0, 1000.0), (0.05, 0.5)],
    ids=["far too low", "far too high", "everything diverges", "too narrow"],
)
def test_a_wrong_range_grows_to_the_same_answer(result, min_lr, max_lr):
    other = find(min_lr=min_lr, max_lr=max_lr, extend_range=True)
    assert other.outcome is Outcome.found
    assert close(other.lr, math.log10(result.lr), 0.06)
    rounds = np.asarray(other.curve.rounds)
    lrs = np.asarray(other.curve.lrs)[rounds == 0]
    assert lrs[0] == pytest.approx(min_lr)
    assert lrs[-1] == pytest.approx(max_lr)
    assert rounds.max() >= 3


def test_the_range_stays_where_it_may_not_grow():
    other = find(min_lr=1e-7, max_lr=1e-5, extend_range=False)
    assert float(other.curve.lrs[-1]) == pytest.approx(1e-5)
    assert "edge_high" in [warning.name for warning in other.warnings]


def useless(loss):
    """A task whose parameters matter to nothing, or only to their own ruin."""
    return lrjax.Task(
        init=jnp.ones(2),
        loss_fn=loss,
        sample_batches=lambda key, num_steps: jnp.ones((num_steps, 4)),
        eval_batches=[jnp.zeros(4)],
    )


CONTRARY = useless(lambda w, batch, key: jnp.sum((w - 3.0 * batch[0]) ** 2))  # evaluated at 0
FATAL = useless(lambda w, batch, key: jnp.sum(w**2) / jnp.where(batch[0] > 0, 0.0, 1.0))


def test_no_learning_grows_both_ways_and_fills_the_grid_to_quarter_decades_once():
    with pytest.raises(LRNotFound, match=r"No learning rate lowered .* Check that") as caught:
        find_lr(CONTRARY, optax.sgd, lrjax.StepSampling(num_steps=3, num_seeds=1), key=KEY, executor="map")
    result = caught.value.result
    assert result.outcome is Outcome.no_learning
    assert [warning.name for warning in result.warnings] == ["no_learning"]
    x, rounds = np.asarray(result.curve.log10_lrs), np.asarray(result.curve.rounds)
    np.testing.assert_allclose(x, np.arange(-48, 13) / 4, atol=1e-5)
    last = x[rounds == rounds.max()]
    np.testing.assert_allclose(last, np.arange(-47, 12, 2) / 4, atol=1e-5)
    assert math.isnan(result.lr)
    assert np.isnan([*result.selections.values(), result.window.min_lr, result.window.max_lr]).all()
    assert result.interval is None


def test_all_diverged_grows_down_only_and_fills_once():
    result = find_lr(
        FATAL,
        optax.sgd,
        lrjax.StepSampling(num_steps=3, num_seeds=2, max_lr=1e-3),
        key=KEY,
        executor="map",
        throw=False,
    )
    assert result.outcome is Outcome.all_diverged
    assert [warning.name for warning in result.warnings] == ["all_diverged"]
    np.testing.assert_allclose(result.curve.log10_lrs, np.arange(-48, -11) / 4, atol=1e-5)
    assert np.isinf(result.curve.losses).all()
    assert (np.asarray(result.curve.diverged_at) == 0).all()
    assert np.isnan(list(result.drift.values())).all()


@pytest.mark.parametrize("refine", [None, "paper"])
def test_only_fill_fills_where_nothing_was_found(refine):
    result = find_lr(
        CONTRARY,
        optax.sgd,
        lrjax.StepSampling(num_steps=3, num_seeds=1, refine=refine),
        key=KEY,
        executor="map",
        throw=False,
    )
    np.testing.assert_allclose(result.curve.log10_lrs, np.arange(-24, 7) / 2, atol=1e-5)


def test_the_interval_is_that_of_the_seeds_picks(noisy):
    picks = [float(midpoint(curve, find_window(curve))) for curve in map(noisy.curve.seed, range(3))]
    assert noisy.interval == (min(picks), max(picks))
    assert noisy.interval[0] < noisy.interval[1]
    assert noisy.curve.final.shape == (3, noisy.num_trials)
    assert noisy.cost.updates == 3 * 20 * noisy.num_trials


def test_horizons_show_the_drift_of_the_optimum(noisy):
    assert list(noisy.drift) == [5, 10, 20]
    assert noisy.drift[20] == noisy.lr
    assert noisy.drift[5] > noisy.drift[10] > noisy.drift[20]
    for index, steps in enumerate(noisy.drift):
        curve = noisy.curve.at(index)
        assert noisy.drift[steps] == float(midpoint(curve, find_window(curve)))
    lrs = list(np.asarray(noisy.curve.lrs[:3], np.float64))
    shorter = sample_losses(NOISY, optax.adam, lrs, key=KEY, num_steps=5, num_seeds=3, executor="map")
    np.testing.assert_array_equal(shorter.final, noisy.curve.losses[0, :, :3])


def test_a_stateful_task_is_measured_against_learning_rate_0_at_each_horizon():
    """The model state alone takes the loss from 3 to 1.3; against the last horizon's y0 no early lr would be good."""

    def loss_fn(w, drift, batch, key):
        return jnp.mean((batch @ w - 1.0) ** 2) + 2 * jnp.exp(-jnp.sum(drift)), drift + 0.1

    task = lrjax.Task.stateful(
        init=(jnp.zeros(2), jnp.zeros(1)),
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: jnp.ones((num_steps, 8, 2)),
        eval_batches=[jnp.ones((8, 2))],
    )
    search = functools.partial(sampled, task, optax.sgd, key=KEY, num_seeds=1, executor="map", refine=None)
    drift = search(horizons=(5, 10)).drift
    for steps in (5, 10):
        assert close(drift[steps], math.log10(search(num_steps=steps).lr), 1e-3)


def test_a_schedule_inside_the_factory_is_run_as_it_is():
    """Linear decay from lr to 0: coordinate i is multiplied by 1 - lr (1 - t/20) c_i."""
    lrs = np.array([0.01, 0.1, 0.5])
    curve = sample_losses(TASK, lambda lr: optax.sgd(optax.linear_schedule(lr, 0.0, 20)), lrs, key=KEY, executor="map")
    factors = 1 - lrs[:, None, None] * (1 - np.arange(20) / 20)[:, None] * CURVATURES
    losses = np.sum(CURVATURES * (START * factors.prod(axis=1)) ** 2, axis=-1) / 2
    np.testing.assert_allclose(curve.final[0], losses, rtol=1e-4)


def wsd(lr, steps):
    return lrjax.schedules.warmup_stable_decay(lr, warmup_steps=steps, stable_steps=500, decay_steps=200)


SCHEDULES = {
    "cosine": lambda lr: optax.cosine_decay_schedule(lr, 1000),
    "ours": lambda lr: lrjax.schedules.cosine_decay(lr, 1000),
    "1cycle": lambda lr: lrjax.schedules.one_cycle(lr, total_steps=1000),
    "joined": lambda lr: optax.join_schedules(
        [optax.linear_schedule(0.0, lr, 5), optax.cosine_decay_schedule(lr, 9)], [5]
    ),
    "your own": lambda lr: lambda step: lr / (1 + step),
} | {f"warmup of {n}": functools.partial(wsd, steps=n) for n in (1, 2, 20, 100, 200)}
FACTORIES = {
    "sgd": optax.sgd,
    "adamw": optax.adamw,
    "accumulated": lambda lr: optax.MultiSteps(optax.adam(lr), 2),
    "injected": lambda lr: optax.inject_hyperparams(optax.adam)(lr),
    "scheduled": lambda lr: lrjax.schedules.scheduled(optax.sgd, learning_rate=lr),
    "chained": lambda lr: optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(lambda step: -lr(step))),
    "schedule-free": optax.contrib.schedule_free_sgd,
    "sophia": optax.contrib.sophia,
    "lbfgs": lambda lr: optax.lbfgs(lr, memory_size=2, linesearch=None),
}


@pytest.mark.parametrize("shape", SCHEDULES)
def test_a_schedule_inside_the_factory_is_refused(shape):
    with pytest.raises(ValueError, match=r"must keep the learning rate constant, .* lrjax.peak_for\(result"):
        lrjax.find_lr(TASK, lambda lr: optax.adamw(SCHEDULES[shape](lr)), key=KEY)


@pytest.mark.parametrize("name", FACTORIES)
def test_it_is_refused_wherever_it_stands_in_the_optimizer(name):
    with pytest.raises(ValueError, match="changes it with the step"):
        lrjax.find_lr(TASK, lambda lr: FACTORIES[name](SCHEDULES["cosine"](lr)), key=KEY, train_steps=1000)


def hand_written(size, start=0):
    """An optimizer whose learning rate is multiplied by a function of the step, as Kingma and Ba write theirs."""

    def make(lr):
        def update(grads, state, params=None):
            step, mean, square = state[0] + 1, 0.9 * state[1] + 0.1 * grads, 0.999 * state[2] + 0.001 * grads**2
            return -lr * size(step) * mean / (jnp.sqrt(square) + 1e-8), (step, mean, square)

        return optax.GradientTransformation(lambda w: (jnp.asarray(start), 0 * w, 0 * w), update)

    return make


@pytest.mark.parametrize("at", [1, 100, 50_000])
def test_a_change_by_hand_is_refused_whenever_it_comes(at):
    optimizer = hand_written(lambda t: jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t) * jnp.where(t > at, 0.5, 1.0))
    with pytest.raises(ValueError, match="changes it with the step"):
        lrjax.find_lr(TASK, optimizer, key=KEY)


@pytest.mark.parametrize("shape", ["cosine", "your own", "warmup of 20"])
def test_a_counter_need_not_be_a_whole_number(shape):
    with pytest.raises(ValueError, match="changes it with the step"):
        lrjax.find_lr(TASK, hand_written(SCHEDULES[shape](1.0), start=0.0), key=KEY)


def by_hand(size):
    """A step of one's own, of Adam in which the learning rate is multiplied by a function of the step."""

    def step(state, batch):
        grad, count = state["w"] - batch, state["count"] + 1
        mean, square = 0.9 * state["mean"] + 0.1 * grad, 0.999 * state["square"] + 0.001 * grad**2
        w = state["w"] - state["lr"] * size(count) * mean / (jnp.sqrt(square) + 1e-8)
        return {"w": w, "count": count, "mean": mean, "square": square, "lr": state["lr"]}

    state = dict.fromkeys(("w", "mean", "square"), jnp.zeros(2)) | {"count": 0, "lr": 0.0}
    return step_task(jax.jit(step), state, list(np.ones((40, 2), np.float32)), _distance, lambda s, lr: s | {"lr": lr})


def by_optax(*before):
    """A step of one's own with an optimizer of Optax."""
    optimizer = optax.chain(*before, optax.inject_hyperparams(optax.adam)(learning_rate=0.1))

    def step(state, batch):
        updates, opt_state = optimizer.update(state["w"] - batch, state["opt_state"], state["w"])
        return {"w": state["w"] + updates, "opt_state": opt_state}

    state = {"w": jnp.zeros(2), "opt_state": optimizer.init(jnp.zeros(2))}
    return step_task(step, state, list(np.ones((40, 2), np.float32)), _distance)


def _distance(state):
    return jnp.sum((state["w"] - 1.0) ** 2)


@pytest.mark.parametrize("shape", SCHEDULES)
def test_a_schedule_in_a_step_of_one_s_own_is_refused(shape):
    task = by_hand(SCHEDULES[shape](1.0))
    with pytest.raises(ValueError, match=r"`step_task\(step=...\)` must keep .* step changes it with the step"):
        lrjax.find_lr(task, task.set_lr, key=KEY)


def test_a_schedule_of_optax_in_such_a_step_is_refused():
    task = by_optax(optax.scale_by_schedule(optax.linear_schedule(0.1, 1.0, 9)))
    with pytest.raises(ValueError, match="changes it with the step"):
        lrjax.find_lr(task, task.set_lr, key=KEY, train_steps=100)


@pytest.mark.parametrize(
    "task",
    [
        by_hand(lambda t: jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)),
        by_optax(),
        by_optax(optax.scale_by_schedule(optax.constant_schedule(0.5))),
        step_task(  # a weight that falls by the same with every step is no counter
            lambda state, batch: state | {"w": state["w"] - state["lr"]},
            {"w": jnp.ones(()), "lr": 0.0},
            list(np.ones((40, 2), np.float32)),
            lambda state: state["w"] ** 2,
            lambda state, lr: state | {"lr": lr},
        ),
    ],
    ids=["bias corrected by lr", "adam", "constant", "a slope"],
)
def test_a_bias_correction_in_such_a_step_is_not_refused(task):
    assert lrjax.preview(lrjax.find_lr, task, task.set_lr, key=KEY).updates > 0


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam,
        hand_written(lambda t: jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)),
        optax.contrib.momo_adam,
        lambda lr: optax.adam(optax.constant_schedule(lr)),
        lambda lr: optax.adam(lambda step: lr + 0.0 * step),
        lambda lr: optax.MultiSteps(optax.sgd(optax.linear_schedule(lr, lr, 100)), 2),
        lambda lr: optax.inject_hyperparams(optax.adam)(lr),
        lambda lr: lrjax.schedules.scheduled(optax.sgd, learning_rate=lr, momentum=optax.linear_schedule(0.9, 0.5, 9)),
        lambda lr: optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(lr)),
        optax.contrib.schedule_free_sgd,
        optax.contrib.madgrad,
        optax.contrib.sophia,
    ],
    ids=[
        "adam",
        "bias corrected by lr",
        "momo",
        "constant",
        "constant by hand",
        "constant line",
        "injected",
        "scheduled momentum",
        "annealed noise",
        "schedule-free",
        "madgrad",
        "sophia",
    ],
)
def test_what_changes_something_else_with_the_step_is_not_refused(optimizer):
    assert lrjax.preview(lrjax.find_lr, TASK, optimizer, key=KEY).updates > 0
