"""Every lane of a sweep is a plain sequential Optax training to the end, evaluated on the way."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from marks import slow
from sweep_oracle import KEY, REGRESSION, Curve, check_lane, follow, momentum, regress, same_numbers

import lrjax
from lrjax import Chunked
from lrjax.demos import digits

LONG, SHORT = (100, 200, 300), (4, 8, 10)

DIGITS = digits(hidden=8, batch_size=16)
OPTIMIZERS = {"adamw": optax.adamw, "momentum": momentum}
GRIDS = {
    "adamw": {"learning_rate": [1e-3, 1e-2], "weight_decay": [1e-4, 0.1]},
    "momentum": {"learning_rate": [0.01, 0.1], "momentum": [0.5, 0.9]},
}


def settings_of(grid: dict[str, Any], trial: int) -> dict[str, jax.Array]:
    values = list(itertools.product(*grid.values()))[trial]
    return {name: jnp.float32(value) for name, value in zip(grid, values, strict=True)}


def digits_sweep(name: str, executor: Any) -> lrjax.SweepResult:
    options = {"key": KEY, "train_steps": 300, "num_seeds": 2, "eval_every": 100}
    return lrjax.sweep(DIGITS, OPTIMIZERS[name], GRIDS[name], executor=executor, **options)


@functools.cache
def digits_lane(name: str) -> Curve:
    optimizer = OPTIMIZERS[name](**settings_of(GRIDS[name], 2))
    return follow(DIGITS, optimizer, evaluations=LONG, seed=1)


@pytest.mark.parametrize(
    ("name", "executor"),
    [
        slow("adamw", "map"),
        ("adamw", "loop"),
        slow("adamw", "vmap"),
        ("momentum", "map"),
        slow("momentum", Chunked(2)),
    ],
    ids=str,
)
def test_lanes_of_a_network_are_sequential_trainings_to_the_end(name, executor):
    result = digits_sweep(name, executor)
    assert (result.num_trials, result.num_seeds, result.steps.tolist()) == (4, 2, list(LONG))
    curve = digits_lane(name)
    if executor in ("map", "loop"):
        check_lane(result, 2, 1, curve)
    else:
        np.testing.assert_allclose(result.metrics["loss"][2, 1], curve.metrics["loss"], rtol=1e-5)
        # counted in examples of 256: two may change sides
        np.testing.assert_allclose(result.metrics["accuracy"][2, 1], curve.metrics["accuracy"], atol=2.1 / 256)


RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(48, 5, 5, 1)).astype(np.float32)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).astype(np.int32)


class ConvNet:
    """A convolution, BatchNorm and a linear layer, by hand."""

    @staticmethod
    def init(key: jax.Array) -> tuple[dict, dict]:
        one, other = jax.random.split(key)
        params = {"kernel": jax.random.normal(one, (3, 3, 1, 2)) / 3, "head": jax.random.normal(other, (2, 2))}
        return params, {"mean": jnp.zeros(2), "var": jnp.ones(2)}

    @staticmethod
    def filtered(params: Any, images: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(images, params["kernel"], (1, 1), "SAME", dimension_numbers=layout)

    @staticmethod
    def scores(params: Any, hidden: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
        return jax.nn.relu((hidden - mean) * lax.rsqrt(var + 1e-5)).mean((1, 2)) @ params["head"]

    @classmethod
    def loss_fn(cls, params: Any, state: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict]:
        hidden = cls.filtered(params, batch[0])
        mean, var = hidden.mean((0, 1, 2)), hidden.var((0, 1, 2))
        loss = optax.softmax_cross_entropy_with_integer_labels(cls.scores(params, hidden, mean, var), batch[1]).mean()
        moved = {"mean": 0.9 * state["mean"] + 0.1 * mean, "var": 0.9 * state["var"] + 0.1 * var}
        return loss, lax.stop_gradient(moved)

    @classmethod
    def eval_fn(cls, params: Any, state: Any, batch: Any) -> jax.Array:
        scores = cls.scores(params, cls.filtered(params, batch[0]), state["mean"], state["var"])
        return optax.softmax_cross_entropy_with_integer_labels(scores, batch[1]).mean()


CONV = lrjax.Task.from_arrays(
    ConvNet.init,
    ConvNet.loss_fn,
    train=(IMAGES[:32], LABELS[:32]),
    validation=(IMAGES[32:], LABELS[32:]),
    batch_size=8,
    eval_batch_size=16,
    eval_fn=ConvNet.eval_fn,
    stateful=True,
)
CONV_GRID = {"learning_rate": [0.003, 0.03], "weight_decay": [1e-4]}


@functools.cache
def conv_lane(in_one_program: bool) -> Curve:
    optimizer = optax.adamw(**settings_of(CONV_GRID, 1))
    return follow(CONV, optimizer, evaluations=LONG, in_one_program=in_one_program)


@pytest.mark.parametrize("executor", [slow("loop"), slow("map"), "vmap"])
def test_convolutions_with_batch_norm_are_sequential_trainings_to_the_end(executor):
    result = lrjax.sweep(CONV, optax.adamw, CONV_GRID, key=KEY, train_steps=300, eval_every=100, executor=executor)
    check_lane(result, 1, 0, conv_lane(False), rtol=0 if executor == "loop" else 1e-4)
    if executor == "map":
        # XLA on CPU compiles a convolution inside a loop to other code, which rounds otherwise: map has the bits of a
        # sequential training whose loop over the steps is compiled too.
        check_lane(result, 1, 0, conv_lane(True))


def test_auto_takes_the_loop_for_convolutions_on_a_cpu():
    options = {"key": KEY, "train_steps": 300, "eval_every": 100}
    result = lrjax.sweep(CONV, optax.adamw, CONV_GRID, executor="auto", **options)
    assert (result.execution.requested, result.execution.used) == ("auto", "loop")
    check_lane(result, 1, 0, conv_lane(False))


class DropoutNet:
    """A classifier with dropout; of its three evaluation batches the last is smaller."""

    X = RNG.normal(size=(61, 5)).astype(np.float32)
    Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)

    @staticmethod
    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {"w": jax.random.normal(key, (5, 8)) / 2, "v": jax.random.normal(key, (8, 2)) / 3}

    @staticmethod
    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        keep = 0.5 + jax.random.key_data(key)[-1] % 16 / 16  # random enough, and compiled in no time
        scores = (jnp.tanh(batch[0] @ params["w"]) * keep) @ params["v"]
        return optax.softmax_cross_entropy_with_integer_labels(scores, batch[1]).mean()

    @staticmethod
    def eval_fn(params: Any, batch: Any) -> dict[str, jax.Array]:
        scores = jnp.tanh(batch[0] @ params["w"]) @ params["v"]
        loss = optax.softmax_cross_entropy_with_integer_labels(scores, batch[1]).mean()
        return {"accuracy": jnp.mean(scores.argmax(-1) == batch[1]), "loss": loss, "margin": jnp.abs(scores).mean()}

    @classmethod
    def task(cls, **options: Any) -> lrjax.Task:
        split = {"train": (cls.X[:32], cls.Y[:32]), "validation": (cls.X[32:], cls.Y[32:])}
        return lrjax.Task.from_arrays(cls.init, cls.loss_fn, batch_size=8, eval_batch_size=12, **split, **options)


RATES = {"learning_rate": [0.003, 0.03]}
MEASURED = {"eval_fn": DropoutNet.task(eval_fn=DropoutNet.eval_fn), "loss_fn": DropoutNet.task()}


@pytest.mark.parametrize(("name", "executor"), [slow("eval_fn", "map"), ("loss_fn", "loop")])
def test_dropout_ragged_evaluation_batches_and_a_last_shorter_interval_are_the_oracles(name, executor):
    task = MEASURED[name]
    options = {"key": KEY, "train_steps": 10, "num_seeds": 2, "eval_every": 4}
    result = lrjax.sweep(task, optax.adam, RATES, executor=executor, **options)
    assert result.steps.tolist() == list(SHORT)
    assert [len(batch[1]) for batch in task.eval_batches] == [12, 12, 5]
    assert set(result.metrics) - {"loss", "train_loss"} == ({"accuracy", "margin"} if name == "eval_fn" else set())
    curve = follow(task, optax.adam(jnp.float32(0.03)), evaluations=SHORT, seed=1)
    check_lane(result, 1, 1, curve, rtol=3e-7)  # a mean over three batches is rounded


def test_one_step_is_one_evaluation():
    result = regress("loop", train_steps=1, eval_every=None)
    curve = follow(REGRESSION, momentum(jnp.float32(0.03)), evaluations=(1,))
    assert (result.steps.tolist(), result.train_steps, result.metrics["loss"].shape) == ([1], 1, (3, 2, 1))
    check_lane(result, 1, 0, curve)


@pytest.mark.parametrize("executor", ["loop", "vmap"])
def test_a_sweep_leaves_its_inputs_alone(executor):
    params = {"w": jnp.ones(6), "b": jnp.zeros(()), "table": jnp.arange(3), "key": jax.random.key(1)}
    rates = np.array([0.01, 0.1])
    x, y = np.ones((20, 6), np.float32), np.ones(20, np.float32)
    task = lrjax.Task.from_arrays(
        params,
        lambda p, batch, key: jnp.mean((batch[0] @ p["w"] + p["b"] - batch[1]) ** 2),
        train=(x[:16], y[:16]),
        validation=(x[16:], y[16:]),
        batch_size=4,
    )
    grid = {"learning_rate": rates}
    one, two = (lrjax.sweep(task, optax.sgd, grid, key=KEY, train_steps=4, executor=executor) for _ in range(2))
    same_numbers(one, two)
    assert not any(leaf.is_deleted() for leaf in params.values())
    assert (params["w"] == 1).all()
    assert (x == 1).all()
    assert rates.tolist() == [0.01, 0.1]


@pytest.mark.parametrize("where", ["jax", "numpy"])
def test_the_settings_of_jax_hold_for_the_batches_too(where):
    with jax.enable_x64(True):
        batches = np.random.default_rng(3).normal(size=(12, 8, 4))
        convert = jnp.asarray if where == "jax" else np.asarray
        task = lrjax.Task(
            init=jnp.zeros(4),
            loss_fn=lambda w, batch, key: jnp.mean((batch @ w - 1) ** 2),
            sample_batches=lambda key, num_steps: convert(batches[:num_steps]),
            batches_between=lambda key, start, stop: convert(batches[start:stop]),
            eval_batches=[jnp.eye(4)],
        )
        result = lrjax.sweep(task, optax.sgd, [0.1], key=KEY, train_steps=12, executor="loop")
        check_lane(result, 0, 0, follow(task, optax.sgd(jnp.float64(0.1)), evaluations=result.steps.tolist()))


def test_a_bad_eval_fn_is_found_before_the_training():
    seen = set()
    task = DropoutNet.task(eval_fn=lambda params, batch: {"accuracy": jnp.float32(0.5)})
    with pytest.raises(ValueError, match='dict of names with "loss"'):
        lrjax.sweep(
            task, optax.sgd, [0.1], key=KEY, train_steps=9, executor="loop", progress=lambda event: seen.add(event.step)
        )
    assert seen <= {0}
