"""The gradient noise scale against closed forms: a linear loss, whose gradient's mean and covariance are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inside import noise_ratio, noise_statistics, noise_without_one

import lrjax
from lrjax.scaling import noise_scale

RNG = np.random.default_rng(0)
SIGMA = 10 ** RNG.uniform(-1, 1, 30)
GRADIENT = RNG.normal(size=30) * SIGMA * 0.2
SIZE = 16
TRUE = {
    "sgd": (SIGMA**2).sum() / (GRADIENT**2).sum(),
    "sign": np.pi / 2 * SIGMA.sum() / (GRADIENT**2 / SIGMA).sum(),
}


def examples(key, shape):
    return jnp.asarray(GRADIENT) + jnp.asarray(SIGMA) * jax.random.normal(key, (*shape, 30))


def quadratic(**options):
    """0.5 |w - x|^2 over examples x: at w = 0 the gradient is minus the mean of x."""
    arguments = {
        "init": jnp.zeros(30),
        "loss_fn": lambda w, batch, key: 0.5 * jnp.mean(jnp.sum((w - batch) ** 2, axis=1)),
        "sample_batches": lambda key, steps: examples(key, (steps, SIZE)),
        "eval_batches": [jnp.zeros((1, 30))],
    }
    return lrjax.Task(**(arguments | options))


def test_it_holds_the_closed_form_of_a_quadratic():
    scales = noise_scale(quadratic(), jnp.zeros(30), key=jax.random.key(0))
    for name, true in TRUE.items():
        assert getattr(scales, name).low < true < getattr(scales, name).high
    assert (scales.batch_size, scales.num_batches) == (SIZE, 64)
    assert scales.summary().startswith("For updates along the gradient the critical batch at these parameters is ")


def test_the_parts_are_unbiased_and_the_intervals_hold_nine_times_in_ten():
    count = 16

    @jax.jit
    @jax.vmap
    def measure(key):
        gradients = examples(key, (count, SIZE)).mean(axis=1)
        mean, squares = [gradients.mean(axis=0)], [((gradients - gradients.mean(axis=0)) ** 2).sum(axis=0)]
        part = lambda one: noise_statistics(*noise_without_one(mean, squares, [one], count), count - 1, SIZE)  # noqa: E731
        return noise_statistics(mean, squares, count, SIZE), jax.vmap(part)(gradients)

    whole, parts = (np.asarray(one, np.float64) for one in measure(jax.random.split(jax.random.key(1), 400)))
    sums = [[(SIGMA**2).sum(), (GRADIENT**2).sum()], [np.pi / 2 * SIGMA.sum(), (GRADIENT**2 / SIGMA).sum()]]
    error = whole.std(axis=0) / np.sqrt(len(whole))
    assert (abs(whole.mean(axis=0) - sums) < 3.5 * error).all()
    for kind, true in enumerate(TRUE.values()):
        found = [noise_ratio(one[kind], each[:, kind]) for one, each in zip(whole, parts, strict=True)]
        assert 0.86 < np.mean([scale.low <= true <= scale.high for scale in found]) < 0.95


def test_a_gradient_lost_in_its_noise_has_no_upper_end():
    def lost(key, steps):
        return examples(key, (steps, SIZE)) - jnp.asarray(GRADIENT)

    scales = [noise_scale(quadratic(sample_batches=lost), jnp.zeros(30), key=jax.random.key(key)) for key in range(3)]
    assert sum(np.isinf(scale.sgd.high) for scale in scales) >= 2
    assert all(scale.sgd.low > 50 for scale in scales)
    assert "measure more batches" in "".join(scale.summary() for scale in scales)


def test_what_does_not_train_and_a_model_state_are_left_alone():
    def loss_fn(params, state, batch, key):
        return jnp.mean((params["w"] - batch) ** 2) * state + 1e3 * jnp.sum(params["frozen"] * batch), state

    task = lrjax.Task.stateful(
        init=lambda key: ({"w": jnp.zeros(30), "frozen": jnp.ones(30), "table": jnp.arange(3)}, jnp.float32(1)),
        loss_fn=loss_fn,
        sample_batches=lambda key, steps: examples(key, (steps, SIZE)),
        eval_batches=[jnp.zeros((1, 30))],
        trainable={"w": True, "frozen": False, "table": False},
    )
    params, state = task.init(jax.random.key(0))
    scales = noise_scale(task, params, key=jax.random.key(0), model_state=state)
    same = noise_scale(quadratic(), jnp.zeros(30), key=jax.random.key(0))
    np.testing.assert_allclose(scales.sgd, same.sgd, rtol=1e-4)


WRONG = {
    "no task": ((lambda: 0, jnp.zeros(3)), {}, TypeError, "must be a `lrjax.Task`"),
    "no key": ((quadratic(), jnp.zeros(30)), {"key": 3}, TypeError, r"Write `jax.random.key\(3\)`"),
    "too few batches": ((quadratic(), jnp.zeros(30)), {"num_batches": 7}, ValueError, "a whole number >= 8"),
    "batches without examples": (
        (quadratic(sample_batches=lambda key, steps: jnp.ones(steps)), jnp.zeros(30)),
        {},
        ValueError,
        r"share their first axis, that of the examples, got the lengths \[\]",
    ),
    "two sizes": (
        (quadratic(sample_batches=lambda key, n: (jnp.ones((n, 4, 30)), jnp.ones((n, 5)))), jnp.zeros(30)),
        {},
        ValueError,
        r"got the lengths \[4, 5\]",
    ),
    "too few came": (
        (quadratic(sample_batches=lambda key, n: jnp.ones((3, 4, 30))), jnp.zeros(30)),
        {},
        ValueError,
        r"a leading axis of 64 batches, got float32\[3,4,30\]",
    ),
    "one batch again and again": (
        (quadratic(sample_batches=lambda key, n: jnp.ones((n, 4, 30))), jnp.zeros(30)),
        {},
        ValueError,
        "the gradient is the same on all of them",
    ),
    "one batch but for rounding": (
        (quadratic(sample_batches=lambda key, n: 1 + 1e-6 * jax.random.normal(key, (n, 4, 30))), jnp.zeros(30)),
        {},
        ValueError,
        "Draw them at random, and smaller than the data",
    ),
    "a gradient that is not finite": (
        (quadratic(), jnp.full(30, jnp.inf)),
        {},
        ValueError,
        "a finite gradient on every batch",
    ),
    "whole numbers": ((quadratic(), jnp.zeros(30, jnp.int32)), {}, ValueError, "at least one floating parameter"),
    "no scalar": (
        (quadratic(loss_fn=lambda w, batch, key: (w - batch) ** 2), jnp.zeros(30)),
        {},
        ValueError,
        "`loss_fn` must be a scalar",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused(case):
    arguments, options, kind, words = WRONG[case]
    with pytest.raises(kind, match=words):
        noise_scale(*arguments, **{"key": jax.random.key(0), **options})
