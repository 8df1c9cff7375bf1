"""The peak by compressed runs: on a quadratic, whose losses have a closed form, and on a small regression."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import CURVATURES, START, quadratic, regression
from tiny import task

from experiments.benchmark.tuning import tune_peak
from lrjax import LRNotFound, sample_losses, schedules

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
    good = {"peaks": PEAKS, "key": KEY, "train_steps": 200, "executor": "map"}
    return tune_peak(given, optax.sgd, family, **(good | options))


def quadratic_losses(family, peaks, num_steps):
    """Gradient descent multiplies coordinate i by 1 - lr c_i at every step."""
    rates = np.array([[float(family(peak, num_steps)(step)) for step in range(num_steps)] for peak in peaks])
    factors = np.prod(1 - rates[:, :, None] * CURVATURES, axis=1)
    return np.sum(CURVATURES * (START * factors) ** 2, axis=-1) / 2


@pytest.mark.parametrize("name", FAMILIES)
def test_the_lowest_loss_of_the_closed_form_wins(name):
    family = FAMILIES[name]
    tuned = tune(family)
    losses = quadratic_losses(family, PEAKS, 20)
    sane = losses < 1e3
    np.testing.assert_allclose(tuned.curve.final[0, sane], losses[sane], rtol=1e-3, atol=1e-6)
    assert tuned.compressed_peak == PEAKS[losses.argmin()]
    assert tuned.peak == pytest.approx(tuned.compressed_peak / 10**0.5)
    assert float(tuned.schedule(60)) == pytest.approx(float(family(tuned.peak, 200)(60)), rel=1e-6)
    assert tuned.num_steps == 20


@pytest.mark.parametrize(("horizon", "num_steps"), [(0.0725, 14), (1, 200)])
def test_the_correction_follows_the_steps_that_were_run(horizon, num_steps):
    tuned = tune(schedules.cosine_decay, horizon=horizon)
    assert tuned.num_steps == num_steps
    assert tuned.curve.horizons.tolist() == [num_steps]
    assert tuned.compressed_peak / tuned.peak == pytest.approx((200 / num_steps) ** 0.5)


def test_the_curve_is_that_of_sample_losses():
    options = {"key": KEY, "num_seeds": 2, "executor": "map"}
    peaks = 10.0 ** (np.arange(-6, 1) / 3)
    tuned = tune_peak(regression(), optax.sgd, one_cycle, peaks, train_steps=100, horizon=0.2, **options)
    wanted = sample_losses(
        regression(), lambda peak: optax.sgd(schedules.one_cycle(peak, total_steps=20)), peaks, num_steps=20, **options
    )
    np.testing.assert_array_equal(tuned.curve.final, wanted.final)
    np.testing.assert_array_equal(tuned.curve.lrs, wanted.lrs)
    mean = np.mean(wanted.final - wanted.initial_loss[:, None], axis=0)
    assert 0 < mean.argmin() < len(peaks) - 1
    assert tuned.compressed_peak == peaks[int(mean.argmin())]


def test_the_same_key_gives_the_same_answer():
    tuned, again = tune(schedules.cosine_decay), tune(schedules.cosine_decay)
    assert again.peak == tuned.peak
    np.testing.assert_array_equal(again.curve.final, tuned.curve.final)


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


def _draws(key):
    """What `bad` is for the first two seeds."""
    return [bool(jax.random.bernoulli(jax.random.split(jax.random.fold_in(key, seed), 3)[0])) for seed in range(2)]


def test_where_no_peak_learns():
    constant = task(loss_fn=lambda w, batch, key: 2.0 + 0.0 * jnp.sum(w))
    with pytest.raises(
        LRNotFound, match=r"5 peaks from 5\.0e-02 .* No learning rate lowered the validation loss"
    ) as caught:
        tune(one_cycle, constant)
    assert caught.value.result.num_trials == 5


def test_where_every_peak_diverges():
    fatal = task(
        loss_fn=lambda w, batch, key: jnp.sum(w + 1) / jnp.where(batch.sum() >= 0, 0.0, 1.0),
        eval_batches=[-jnp.ones((4, 2))],
    )
    with pytest.raises(LRNotFound, match=r"5 peaks .* Every learning rate diverged") as caught:
        tune(one_cycle, fatal)
    assert np.isinf(caught.value.result.final).all()
