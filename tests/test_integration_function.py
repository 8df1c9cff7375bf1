"""function_task: a whole training that is one function, in a sweep and in find_lr."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import check_message
from toy_data import KEY

import lrjax
from lrjax.integrations import function_task


def train(lr, momentum, key):
    start = 1.0 + jax.random.uniform(key)

    def step(carry, _):
        w, speed = carry
        speed = momentum * speed + w
        return (w - lr * speed, speed), None

    (w, _), _ = jax.lax.scan(step, (start, jnp.float32(0.0)), length=10)
    return {"loss": w**2, "distance": jnp.abs(w)}


PLAIN = function_task(lambda lr, key: train(lr, 0.0, key)["loss"])


def test_a_sweep_is_the_function_itself_at_every_setting_and_seed():
    task, grid = function_task(train), {"lr": [0.01, 0.1], "momentum": [0.0, 0.5, 0.9]}
    got = lrjax.sweep(task, task.set_lr, grid, key=KEY, train_steps=1, num_seeds=2, executor="map")
    keys = [jax.random.split(jax.random.fold_in(KEY, seed), 3)[0] for seed in range(2)]
    wanted = [
        [train(lr, momentum, key)["distance"] for key in keys] for lr in grid["lr"] for momentum in grid["momentum"]
    ]
    np.testing.assert_allclose(got.metrics["distance"][:, :, 0], wanted, rtol=1e-5)
    assert keys[0] is not keys[1]
    assert got.best().settings["lr"] == 0.1


def test_find_lr_trains_to_the_end_at_every_learning_rate():
    strategy = lrjax.StepSampling(num_steps=1, num_seeds=2, refine=None, rule=lrjax.lowest_loss, min_lr=1e-3, max_lr=10)
    result = lrjax.find_lr(PLAIN, PLAIN.set_lr, strategy, key=KEY, executor="map")
    assert 0.3 < result.lr < 1.8  # 1 ends at 0
    assert result.curve.final.shape[0] == 2


def test_a_training_that_ends_at_nan_has_diverged():
    task = function_task(lambda lr, key: jnp.where(lr < 1.0, lr, jnp.nan))
    got = lrjax.sweep(task, task.set_lr, {"lr": [0.1, 2.0]}, key=KEY, train_steps=1, executor="map")
    assert "1 of 2 lanes diverged" in got.summary()
    assert got.best().settings["lr"] == 0.1


def sweep(**changed):
    options = {"train_steps": 1, "key": KEY, "grid": {"lr": [0.1]}, "executor": "map"} | changed
    return lambda: lrjax.sweep(PLAIN, PLAIN.set_lr, **options)


CASES = {
    "no function": (lambda: function_task(3), TypeError, ["(train)`", "train(lr, key) -> loss", "got 3 (int)"]),
    "no key": (lambda: function_task(lambda lr: lr), TypeError, ["whose last argument is the key", "<lambda>(lr)`"]),
    "no scalar": (lambda: function_task(lambda lr, key: jnp.ones(2)), ValueError, ["(train)(lr, key)`", "float32[2]"]),
    "a vector among the metrics": (
        lambda: function_task(lambda lr, key: {"loss": lr, "curve": jnp.ones(2)}),
        ValueError,
        ["(train)(lr, key)['curve']`", "float32[2]"],
    ),
    "no loss": (
        lambda: function_task(lambda lr, key: {"reward": lr}),
        ValueError,
        ['a dict with "loss"', "['reward']"],
    ),
    "nothing": (lambda: function_task(lambda lr, key: None), TypeError, ["(train)(lr, key)`", "got NoneType"]),
    "a branch": (
        lambda: function_task(lambda lr, key: lr if lr > 0 else 0.0),
        TypeError,
        ["`train` must be made of jax.numpy operations", "jnp.where"],
    ),
    "a schedule of Optax that branches": (
        lambda: function_task(lambda lr, key: optax.warmup_cosine_decay_schedule(0.0, lr, 1, 10)(5)),
        TypeError,
        ["`train` must be", "join_schedules", "accept a traced peak"],
    ),
    "several steps": (sweep(train_steps=10), ValueError, ["in one step, and 8 were asked for", "train_steps=1"]),
    "another name": (sweep(grid={"rate": [0.1]}), ValueError, ["names 'rate'", "does not take"]),
    "no length": (
        lambda: lrjax.find_lr(PLAIN, PLAIN.set_lr, key=KEY),
        ValueError,
        ["in one step, and 20 were", "StepSampling(num_steps=1, rule=lrjax.lowest_loss)"],
    ),
}


@pytest.mark.parametrize(("bad", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_functions_are_explained(bad, error, parts):
    check_message(bad, error, parts)
