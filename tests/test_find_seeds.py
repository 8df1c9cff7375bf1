"""The search's seeds and keys: how many, which, the same again; and inputs that stay as they were."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import sampled
from problems import regression

import lrjax
from lrjax import find_lr, sample_losses

KEY = jax.random.key(0)
NOISY = regression()
find_noisy = functools.partial(sampled, NOISY, optax.adam, key=KEY, executor="map")


@pytest.fixture(scope="module")
def noisy():
    return find_noisy(horizons=(5, 10))


def batches(count):
    task = lrjax.Task.from_batches(
        jnp.zeros(2),
        lambda w, batch, key: jnp.mean((batch @ w - 1.0) ** 2),
        train_batches=(np.full((8, 2), 1.0 + i / count, np.float32) for i in range(count)),
        eval_batches=[np.ones((8, 2), np.float32)],
    )
    return functools.partial(sampled, task, optax.sgd, key=KEY, num_steps=4, executor="map", refine=None, min_lr=1e-3)


@pytest.mark.parametrize(("count", "seeds"), [(4, 1), (11, 2), (12, 3), (40, 3)])
def test_from_batches_gives_as_many_seeds_as_it_has_batches_at_most_three(count, seeds):
    assert batches(count)().curve.final.shape[0] == seeds


@pytest.mark.slow
def test_more_seeds_may_be_asked_for_where_there_are_batches():
    assert batches(20)(num_seeds=5).curve.final.shape[0] == 5
    assert find_noisy(num_seeds=4, num_steps=2, refine=None, throw=False).curve.final.shape[0] == 4


def same(one, other):
    for name in ("lr", "interval", "selections", "drift", "warnings", "outcome", "num_trials", "fingerprint"):
        assert getattr(one, name) == getattr(other, name)
    jax.tree.map(np.testing.assert_array_equal, (one.curve, one.window), (other.curve, other.window))


def test_the_same_key_gives_the_same_answer_and_another_key_another(noisy):
    same(noisy, find_noisy(horizons=(5, 10)))
    same(noisy, find_noisy(horizons=(5, 10), key=jax.random.PRNGKey(0)))  # the legacy form of the same key
    other = find_noisy(horizons=(5, 10), key=jax.random.key(1))
    assert not np.array_equal(other.curve.initial_loss, noisy.curve.initial_loss)


def test_adding_seeds_keeps_the_old_ones(noisy):
    lrs = list(np.asarray(noisy.curve.lrs[10:13], np.float64))
    for seeds in (1, 2, 4):
        curve = sample_losses(NOISY, optax.adam, lrs, key=KEY, num_seeds=seeds, executor="map")
        known = min(seeds, 3)
        np.testing.assert_array_equal(curve.final[:known], noisy.curve.final[:known, 10:13])
        np.testing.assert_array_equal(curve.initial_loss[:known], noisy.curve.initial_loss[:known])


@pytest.mark.parametrize("executor", ["vmap", "map", "loop"])
def test_inputs_are_unchanged(executor):
    params = {"w": jnp.array([1.0, -2.0]), "table": jnp.arange(3)}
    evaluation = [np.ones((4, 2), np.float32)]
    given = [np.full((4, 2), float(i), np.float32) for i in range(4)]
    task = lrjax.Task.from_batches(
        params,
        lambda params, batch, key: jnp.mean((batch @ params["w"]) ** 2),
        train_batches=given,
        eval_batches=evaluation,
    )
    key = jax.random.key(7)
    find_lr(
        task,
        optax.adam,
        lrjax.StepSampling(num_steps=4, refine=None, extend_range=False),
        key=key,
        executor=executor,
        throw=False,
    )
    assert params["w"].tolist() == [1, -2]
    assert params["table"].tolist() == [0, 1, 2]
    assert jax.random.key_data(key).tolist() == jax.random.key_data(jax.random.key(7)).tolist()
    assert [batch[0, 0] for batch in given] == [0, 1, 2, 3]
    assert (evaluation[0] == 1).all()


def test_the_fingerprint_says_what_another_run_must_share(noisy):
    fingerprint = noisy.fingerprint
    assert fingerprint["lrjax"] == lrjax.__version__
    assert fingerprint["jax"] == jax.__version__
    assert fingerprint["optimizer"] == "adam"
    assert fingerprint["executor"] == "map"
    assert fingerprint["key"] == [0, 0]
    assert fingerprint["trained_parameters"] == 6 * 8 + 8 + 1
    assert (fingerprint["num_steps"], fingerprint["num_seeds"]) == (20, 3)
    assert "float32[16,6]" in fingerprint["batch_shapes"]
