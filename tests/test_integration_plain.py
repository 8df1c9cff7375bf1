"""Plain functions and pairs (init, apply): Haiku's, stax's, one's own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.example_libraries import stax
from tiny import check_message
from toy_data import DATA, KEY, X, Y, curve, steps_of

import lrjax
from lrjax.integrations.plain import loss_task, pair_task

W = jnp.full(4, 0.1)


def squares(outputs, batch):
    return jnp.mean((outputs - batch[1]) ** 2)


def plain(params, batch, key):
    return squares(batch[0] @ params, batch)


def test_a_loss_of_params_and_batch_is_a_task():
    wanted = curve(lrjax.Task.from_arrays(W, plain, **DATA), optax.adam).losses
    for loss_fn in (lambda p, batch: plain(p, batch, None), lambda p, batch: (plain(p, batch, None), "aux"), plain):
        np.testing.assert_array_equal(curve(loss_task(W, loss_fn, **DATA), optax.adam).losses, wanted)


def test_a_pair_of_ones_own_is_a_task():
    pair = (lambda key, x: jax.random.normal(key, x.shape[1:]), lambda params, x: x @ params)
    wanted = curve(lrjax.Task.from_arrays(lambda key: jax.random.normal(key, (4,)), plain, **DATA), optax.adam).losses
    np.testing.assert_allclose(curve(pair_task(pair, squares, **DATA), optax.adam).losses, wanted, rtol=1e-6)
    fixed = curve(lrjax.Task.from_arrays(W, plain, **DATA), optax.adam).losses
    np.testing.assert_allclose(curve(pair_task(pair, squares, params=W, **DATA), optax.adam).losses, fixed, rtol=1e-6)


def test_stax_gets_its_shape_and_its_key():
    init, apply = stax.serial(stax.Dense(6), stax.Tanh, stax.Dense(1))
    losses = curve(pair_task((init, apply), lambda out, batch: squares(out[:, 0], batch), **DATA), optax.sgd)
    params = init(jax.random.split(jax.random.fold_in(KEY, 0), 3)[0], (-1, 4))[1]
    np.testing.assert_allclose(
        losses.initial_loss[0], squares(apply(params, X[60:])[:, 0], (X[60:], Y[60:])), rtol=1e-6
    )


CASES = {
    "no pair": (lambda: pair_task(3, squares, **DATA), TypeError, ["(init, apply)", "got 3 (int)", "haiku.transform"]),
    "one function": (lambda: pair_task(plain, squares, **DATA), TypeError, ["(init, apply)"]),
    "a loss of the parts of a batch": (
        lambda: loss_task(W, lambda params, x, y: 0.0, **DATA),
        TypeError,
        ["loss_fn(params, batch) -> loss", "(params, x, y)`"],
    ),
    "no loss": (lambda: loss_task(W, None, **DATA), TypeError, ["plain.loss_task(loss_fn=...)", "got None"]),
    "an apply without its state": (
        lambda: curve(
            pair_task((lambda k, x: 0, lambda params, state, x: x @ params), squares, params=(W, W), **DATA), optax.sgd
        ),
        TypeError,
        ["an apply that returns (outputs, state)"],
    ),
}


@pytest.mark.parametrize(("bad", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_explained(bad, error, parts):
    check_message(bad, error, parts)


def test_haiku_with_state_is_the_training_written_by_hand():
    hk = pytest.importorskip("haiku", reason="Haiku is not installed: pip install 'lrjax[haiku]'")

    def forward(x, is_training):
        hidden = jnp.tanh(hk.BatchNorm(True, True, 0.5)(hk.Linear(6)(x), is_training))
        hidden = hk.dropout(hk.next_rng_key(), 0.3, hidden) if is_training else hidden
        return hk.Linear(1)(hidden)[:, 0]

    pair = hk.transform_with_state(forward)
    task = pair_task(pair, squares, **DATA)
    got = curve(task, optax.sgd)
    params, state = task.init(jax.random.split(jax.random.fold_in(KEY, 0), 3)[0])

    def loss(params, state, batch, key):
        out, state = pair.apply(params, state, key, batch[0], is_training=True)
        return squares(out, batch), state

    for batch, key in steps_of(task):
        grads, state = jax.grad(loss, has_aux=True)(params, state, batch, key)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    out, _ = pair.apply(params, state, None, X[60:], is_training=False)
    np.testing.assert_allclose(got.final[0, 1], squares(out, (X[60:], Y[60:])), rtol=1e-4)


def test_a_haiku_function_may_be_the_loss_itself():
    hk = pytest.importorskip("haiku", reason="Haiku is not installed: pip install 'lrjax[haiku]'")
    pair = hk.without_apply_rng(hk.transform(lambda x, y: jnp.mean((hk.Linear(1)(x)[:, 0] - y) ** 2)))
    task = pair_task(pair, **DATA)
    params = task.init(KEY)[0]
    wanted = squares(X[60:] @ params["linear"]["w"][:, 0] + params["linear"]["b"], (X[60:], Y[60:]))
    np.testing.assert_allclose(task.eval_fn(params, (), (X[60:], Y[60:])), wanted, rtol=1e-5)


def test_a_named_tuple_is_one_argument_of_a_function_that_is_the_loss():
    class Examples(NamedTuple):
        x: Any
        y: Any

    pair = (lambda rng, batch: jnp.ones(batch.x.shape[1]), lambda params, batch: jnp.mean((batch.x @ params) * batch.y))
    task = pair_task(pair, train=Examples(X[:60], Y[:60]), validation=Examples(X[60:], Y[60:]), batch_size=16)
    params, state = task.init(KEY)
    wanted = jnp.mean(X[60:].sum(1) * Y[60:])
    np.testing.assert_allclose(task.eval_fn(params, state, Examples(X[60:], Y[60:])), wanted, rtol=1e-5)
