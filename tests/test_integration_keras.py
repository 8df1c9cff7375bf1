"""Keras 3 on the JAX backend: compiled models."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import check_message
from toy_data import KEY, X, Y, curve, steps_of

import lrjax

os.environ["KERAS_BACKEND"] = "jax"
keras = pytest.importorskip("keras", reason="Keras is not installed: pip install 'lrjax[keras]'")

from lrjax.integrations import keras as lrjax_keras

K = keras.optimizers
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def net(optimizer="sgd", loss="mse", dropout=0.0):
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(6, activation="tanh", kernel_regularizer="l2"),
        keras.layers.BatchNormalization(momentum=0.5),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential(layers)
    model.compile(optimizer, loss, metrics=["mae"])
    return model


def weights_of(model):
    return [np.array(variable.value) for variable in [*model.variables, *model.optimizer.variables]]


OPTIMIZERS = {
    "sgd": lambda: K.SGD(0.05),
    "nesterov": lambda: K.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "momentum, clipped": lambda: K.SGD(0.05, momentum=0.9, clipvalue=0.1),
    "adam": lambda: K.Adam(0.05, global_clipnorm=0.1),
    "adam, large epsilon": lambda: K.Adam(0.05, epsilon=0.1, clipnorm=0.1),
    "adamw": lambda: K.AdamW(0.05),
    "rmsprop": lambda: K.RMSprop(0.01),
    "rmsprop, all": lambda: K.RMSprop(0.01, momentum=0.5, centered=True, weight_decay=0.1),
    "adagrad": lambda: K.Adagrad(0.1),
    "adadelta": lambda: K.Adadelta(1.0),
    "lion": lambda: K.Lion(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_a_trial_is_keras_own_training(make):
    model = net(make())
    lr = float(model.optimizer.learning_rate)
    task = lrjax_keras.task(model, X, Y, batch_size=16)
    got = curve(task, lrjax_keras.optimizer_factory(model.optimizer), [lr], num_steps=6)
    for (inputs, targets), _ in steps_of(task, 6):
        model.train_on_batch(np.asarray(inputs), np.asarray(targets))
    wanted = model.evaluate(X[64:], Y[64:], verbose=0, batch_size=16, return_dict=True)["loss"]
    np.testing.assert_allclose(got.final[0, 0], wanted, rtol=2e-5)


def test_dropout_differs_from_seed_to_seed_only():
    model = net(dropout=0.5)
    task = lrjax_keras.task(model, X[:20], Y[:20], batch_size=16, shuffle=False)
    losses = curve(task, optax.sgd, num_seeds=2)
    assert losses.final[0, 1] != losses.final[1, 1]
    assert losses.initial_loss.shape == (2,)
    np.testing.assert_array_equal(losses.final, curve(task, optax.sgd, num_seeds=2).final)


def test_find_lr_leaves_the_model_as_it_was_and_set_lr_changes_the_optimizer_alone():
    model = net("adam", dropout=0.2)
    before, config = weights_of(model), model.optimizer.get_config()
    strategy = lrjax.StepSampling(num_seeds=1, num_steps=5, refine=None)
    task, make_optimizer = lrjax_keras.task(model, X, Y), lrjax_keras.optimizer_factory(model.optimizer)
    result = lrjax.find_lr(task, make_optimizer, strategy, key=KEY, executor="map")
    for one, other in zip(before, weights_of(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.optimizer.get_config() == config
    assert result.outcome.name == "found"
    lrjax_keras.set_lr(model, result.lr)
    np.testing.assert_allclose(float(model.optimizer.learning_rate), result.lr, rtol=1e-6)


def test_the_task_is_of_the_model_as_it_was_also_after_fit():
    model = net()
    task = lrjax_keras.task(model, X, Y)
    before = curve(task, optax.sgd).final
    model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(curve(task, optax.sgd).final, before)


def test_a_schedule_is_followed_saved_and_replaced(tmp_path):
    model = net("sgd")
    rates = []
    lrjax_keras.set_lr(model, lrjax.schedules.linear_decay(0.08, 0.0, 8))
    for _ in range(4):
        model.train_on_batch(X[:16], Y[:16])
        rates.append(float(model.optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.07, 0.06, 0.05, 0.04], rtol=1e-5)
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_allclose(float(again.optimizer.learning_rate), 0.04, rtol=1e-5)
    lrjax_keras.set_lr(model, 0.5)
    assert float(model.optimizer.learning_rate) == 0.5
    lrjax_keras.set_lr(model, optax.constant_schedule(0.25))
    model.fit(X[:64], Y[:64], batch_size=16, verbose=0)
    assert float(model.optimizer.learning_rate) == 0.25


def test_several_outputs_and_losses_are_those_of_compile():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = {"a": keras.layers.Dense(1, name="a")(inputs), "b": keras.layers.Dense(2, name="b")(inputs)}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"a": "mse", "b": "mae"}, loss_weights={"a": 2.0, "b": 0.5})
    targets = {"a": Y[:, None], "b": X[:, :2]}
    task = lrjax_keras.task(model, X, targets, batch_size=16)
    got = curve(task, optax.sgd, num_steps=1).initial_loss[0]
    part = {name: values[64:] for name, values in targets.items()}
    wanted = model.evaluate(X[64:], part, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def untouched(**changed):
    arguments = {"model": net(), "x": X, "y": Y} | changed
    task, factory = lrjax_keras.task(**arguments), lrjax_keras.optimizer_factory(arguments["model"].optimizer)
    return lrjax.find_lr(task, factory, lrjax.StepSampling(num_steps=1), key=KEY)


def excluding():
    optimizer = K.AdamW(0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


class Mine(K.SGD):
    """A subclass may do anything."""


CASES = {
    "no model": (lambda: untouched(model=3), TypeError, ["keras.Model", "got 3 (int)"]),
    "an uncompiled model": (
        lambda: untouched(model=keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])),
        ValueError,
        ["must be compiled", "model.compile(optimizer, loss)"],
    ),
    "an unbuilt model": (
        lambda: untouched(model=_compiled(keras.Sequential([keras.layers.Dense(1)]))),
        ValueError,
        ["must be built", "keras.Input(shape)"],
    ),
    "no loss": (lambda: untouched(model=net(loss=None)), ValueError, ["must have a loss", "loss=..."]),
    "labels of other length": (
        lambda: untouched(y=Y[:70]),
        ValueError,
        ["as many targets as inputs", "[(80, 4), (70,)]"],
    ),
    "no targets": (lambda: untouched(y=None), TypeError, ["(y=...)", "got None"]),
    "validation_data no pair": (lambda: untouched(validation_data=X), TypeError, ["(validation_data=...)", "(x, y)"]),
    "validation_split 1": (
        lambda: untouched(validation_split=1),
        ValueError,
        ["(validation_split=...)", "> 0 and < 1"],
    ),
    "an optimizer of another class": (
        lambda: untouched(model=net(K.Nadam())),
        TypeError,
        ["an equal in Optax", "SGD, Adam, AdamW", "got Nadam", "make_optimizer=lambda lr"],
    ),
    "a subclass": (lambda: lrjax_keras.optimizer_factory(Mine()), TypeError, ["got Mine"]),
    "amsgrad": (lambda: lrjax_keras.optimizer_factory(K.Adam(amsgrad=True)), ValueError, ["got amsgrad=True"]),
    "use_ema": (lambda: lrjax_keras.optimizer_factory(K.SGD(use_ema=True)), ValueError, ["got use_ema=True"]),
    "excluded weights": (lambda: lrjax_keras.optimizer_factory(excluding()), ValueError, ["exclude_from_weight_decay"]),
    "an Optax optimizer": (lambda: lrjax_keras.optimizer_factory(optax.sgd(1.0)), TypeError, ["a Keras optimizer"]),
    "lr 0": (lambda: lrjax_keras.set_lr(net(), 0.0), ValueError, ["(lr=...)", "> 0 and finite", "got 0"]),
}


def _compiled(model):
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(("bad", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_explained(bad, error, parts):
    check_message(bad, error, parts)


def test_another_backend_is_refused():
    code = "try: import lrjax.integrations.keras\nexcept ImportError as error: print(error)"
    environment = os.environ | {"KERAS_BACKEND": "numpy"}
    root = Path(lrjax.__file__).parent.parent
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=environment,
    )
    assert "got the backend 'numpy'" in output.stdout
    assert "KERAS_BACKEND=jax" in output.stdout


def test_an_optax_optimizer_takes_the_place_of_the_models_optimizer():
    task, strategy = lrjax_keras.task(net(K.Nadam()), X, Y), lrjax.StepSampling(num_steps=3, num_seeds=1, refine=None)
    result = lrjax.find_lr(task, optax.nadam, strategy, key=KEY, executor="map")
    assert result.fingerprint["optimizer"] == "adam"  # optax.nadam is a partial of it
    assert jax.tree.leaves(result.curve)[0].dtype == jnp.float32
