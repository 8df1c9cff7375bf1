"""Equinox: filtered modules, and layers with a state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import check_message
from toy_data import DATA, X, Y, curve, same, steps_of

import lrjax

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'lrjax[equinox]'")

from lrjax.integrations import equinox as lrjax_equinox


def mlp(key):
    return eqx.nn.MLP(4, "scalar", 6, 1, activation=jnp.tanh, key=key)


MODEL = mlp(jax.random.key(1))


def loss(model, batch):
    return jnp.mean((jax.vmap(model)(batch[0]) - batch[1]) ** 2)


class Net(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    last: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.first, self.norm = eqx.nn.Linear(4, 6, key=one), eqx.nn.BatchNorm(6, "batch", momentum=0.5, mode="batch")
        self.dropout, self.last = eqx.nn.Dropout(0.3), eqx.nn.Linear(6, "scalar", key=two)

    def __call__(self, x, state, key):
        x, state = self.norm(self.first(x), state)
        return self.last(self.dropout(jnp.tanh(x), key=key)), state


def stateful_loss(model, state, batch, key):
    keys = jax.random.split(key, len(batch[0]))
    call = jax.vmap(model, axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None))
    outputs, state = call(batch[0], state, keys)
    return jnp.mean((outputs - batch[1]) ** 2), state


def test_the_curve_is_that_of_the_same_problem_as_a_plain_task():
    layers = [(layer.weight, layer.bias) for layer in MODEL.layers]

    def plain(params, batch, key):
        (w, b), (v, c) = params
        return jnp.mean(((jnp.tanh(batch[0] @ w.T + b) @ v.T + c)[:, 0] - batch[1]) ** 2)

    task = lrjax.Task.from_arrays(layers, plain, **DATA)
    own = lrjax_equinox.task(MODEL, loss, **DATA)
    np.testing.assert_allclose(curve(own, optax.adam).losses, curve(task, optax.adam).losses, rtol=1e-5)


@pytest.mark.slow
def test_a_trial_with_a_state_is_the_training_written_by_hand_and_the_model_stays_as_it_was():
    model, state = eqx.nn.make_with_state(Net)(jax.random.key(2))
    before = jax.tree.map(np.array, eqx.filter((model, state), eqx.is_array))
    task = lrjax_equinox.task(model, stateful_loss, state=state, **DATA)
    got = curve(task, optax.sgd)
    assert same(before, eqx.filter((model, state), eqx.is_array))
    optimizer = optax.sgd(0.1)
    opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    for batch, key in steps_of(task):
        grads, state = eqx.filter_grad(stateful_loss, has_aux=True)(model, state, batch, key)
        updates, opt_state = optimizer.update(grads, opt_state)
        model = eqx.apply_updates(model, updates)
    wanted = stateful_loss(eqx.nn.inference_mode(model), state, (X[60:], Y[60:]), jax.random.key(0))[0]
    np.testing.assert_allclose(got.final[0, 1], wanted, rtol=1e-4)


def test_seeds_make_their_own_models():
    for task in (
        lrjax_equinox.task(mlp, loss, **DATA),
        lrjax_equinox.task(eqx.nn.make_with_state(Net), stateful_loss, **DATA),
    ):
        losses = curve(task, optax.sgd, num_steps=1, num_seeds=2).initial_loss
        assert losses[0] != losses[1]


def test_a_filter_spec_freezes_the_rest():
    spec = eqx.tree_at(lambda tree: tree.layers[1].weight, jax.tree.map(lambda _: False, MODEL), True)
    task = lrjax_equinox.task(MODEL, loss, trainable=spec, **DATA)
    where = lambda tree: tree.layers[1]  # noqa: E731
    only_weight = jax.tree.map(lambda _: False, MODEL.layers[1])
    only_weight = eqx.tree_at(lambda tree: tree.weight, only_weight, True)
    head = lrjax_equinox.task(
        MODEL.layers[1],
        lambda head, batch: loss(eqx.tree_at(where, MODEL, head), batch),
        trainable=only_weight,
        **DATA,
    )
    np.testing.assert_allclose(curve(task, optax.sgd).losses, curve(head, optax.sgd).losses, rtol=1e-5)


CASES = {
    "no module": (lambda: lrjax_equinox.task(3, loss, **DATA), TypeError, ["(model=...)", "got 3 (int)"]),
    "a class that needs more than a key": (
        lambda: lrjax_equinox.task(eqx.nn.MLP, loss, **DATA),
        TypeError,
        ["function of a key", "lambda key: Model(..., key=key)"],
    ),
    "a loss of the parts of a batch": (
        lambda: lrjax_equinox.task(MODEL, lambda model, x, y: 0.0, **DATA),
        TypeError,
        ["loss_fn(model, batch) -> loss", "(model, x, y)`", "(model, *batch)"],
    ),
    "a stateless loss with a state": (
        lambda: lrjax_equinox.task(MODEL, loss, state=eqx.nn.State(MODEL), **DATA),
        TypeError,
        ["loss_fn(model, state, batch) -> (loss, state)"],
    ),
    "a state that is none": (
        lambda: lrjax_equinox.task(MODEL, loss, state={}, **DATA),
        TypeError,
        ["(state=...)", "eqx.nn.State(model)"],
    ),
    "a loss without the state": (
        lambda: curve(
            lrjax_equinox.task(
                eqx.nn.make_with_state(Net), lambda m, s, b, key: stateful_loss(m, s, b, key)[0], **DATA
            ),
            optax.sgd,
        ),
        TypeError,
        ["must return (loss, state)"],
    ),
    "a filter_spec of another structure": (
        lambda: lrjax_equinox.task(MODEL, loss, trainable=(True, False), **DATA),
        ValueError,
        ["(trainable=...)", "filter_spec"],
    ),
    "no loss": (lambda: lrjax_equinox.task(MODEL, None, **DATA), TypeError, ["(loss_fn=...)", "got None"]),
}


@pytest.mark.parametrize(("bad", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_explained(bad, error, parts):
    check_message(bad, error, parts)
