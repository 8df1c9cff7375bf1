"""What a grid means: the order of its trials, what reaches the optimizer, the columns of the table, the programs."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sweep_oracle import KEY, check_lane, follow

import lrjax
from lrjax import schedules, zipped

STEPS = 4


def told(*values: Any) -> optax.GradientTransformation:
    """An optimizer that only says what it was given: every update adds `values` to the parameters."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[jax.Array, Any]:
        given = [jnp.asarray(value, jnp.float32) for value in values]
        return jnp.stack([*given, *[jnp.float32(0)] * (3 - len(given))]), state

    return optax.GradientTransformation(lambda params: (), update)


def tell(a: Any, b: Any = 0.0, c: Any = 0.0) -> optax.GradientTransformation:
    return told(a, b, c)


def descend(learning_rate: Any, scale: Any = 1.0) -> optax.GradientTransformation:
    return optax.chain(optax.sgd(learning_rate), optax.scale(scale))


class Counted:
    """The sum of the parameters as the loss, so that all gradients are 1; counts how often it is traced."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, params: jax.Array, batch: Any, key: Any) -> jax.Array:
        self.calls += 1
        return jnp.sum(params) + 0 * jnp.sum(batch)


def task(loss_fn: Callable[..., Any] | None = None) -> lrjax.Task:
    batches = np.zeros((8, 1), np.float32)
    return lrjax.Task(
        init=jnp.zeros(3),
        loss_fn=loss_fn or Counted(),
        sample_batches=lambda key, num_steps: batches[:num_steps],
        batches_between=lambda key, start, stop: batches[start:stop],
        eval_batches=[np.zeros(1, np.float32)],
        eval_fn=lambda params, batch: {"loss": jnp.sum(params), "x": params[0], "y": params[1], "z": params[2]},
    )


TASK = task()


def sweep(make_optimizer: Any, grid: Any, *, steps: int = 1, **options: Any) -> lrjax.SweepResult:
    good = {"key": KEY, "train_steps": steps, "executor": "loop", "task": TASK} | options
    return lrjax.sweep(good.pop("task"), make_optimizer, grid, **good)


def given(result: lrjax.SweepResult, names: str = "xyz") -> list[tuple[float, ...]]:
    """What the optimizer of every trial was given."""
    return list(zip(*(result.final(name)[:, 0].tolist() for name in names), strict=True))


def single(values: Any) -> list[float]:
    return np.asarray(values, np.float32).tolist()


@pytest.mark.parametrize("executor", ["loop", "map", "vmap", lrjax.Chunked(5)], ids=str)
def test_the_product_is_in_order_with_the_last_name_fastest(executor):
    a, b, c = [0.5, 0.25], [1, 2, 3], [8.0, 4.0]
    result = sweep(tell, {"b": b, "a": a, "c": c}, executor=executor)
    expected = list(itertools.product(b, a, c))
    assert given(result, "yxz") == expected
    assert (result.names, result.shape) == ((("b",), ("a",), ("c",)), (3, 2, 2))
    assert {name: column.tolist() for name, column in result.columns.items()} == {
        name: [values[place] for values in expected] for place, name in enumerate("bac")
    }
    assert result.columns["b"].dtype.kind == "i"
    assert result.settings(5) == {"b": 2, "a": 0.5, "c": 4.0}


def test_zipped_values_change_together():
    result = sweep(tell, zipped(a=[1.0, 2.0, 3.0], b=[5.0, 5.0, 7.0]))
    assert given(result, "xy") == [(1, 5), (2, 5), (3, 7)]
    assert (result.names, result.shape) == ((("a", "b"),), (3,))


def test_a_list_of_mappings_and_zips_is_their_product_in_order():
    result = sweep(tell, [zipped(a=[1.0, 2.0], c=[3.0, 4.0]), {"b": [7.0, 5.0, 6.0]}])
    expected = [(a, b, c) for (a, c) in ((1, 3), (2, 4)) for b in (7, 5, 6)]
    assert given(result) == expected
    assert (result.names, result.shape) == ((("a", "c"), ("b",)), (2, 3))
    assert list(zip(*(result.columns[name].tolist() for name in "abc"), strict=True)) == expected


ARRAYS = {
    "list": [0.1, 3e-8, 2.0],
    "tuple": (0.1, 3e-8, 2.0),
    "numpy": np.array([0.1, 3e-8, 2.0]),
    "jax": jnp.array([0.1, 3e-8, 2.0]),
    "half": jnp.array([0.5, 0.25], jnp.bfloat16),
    "scalars": [np.float32(0.1), jnp.float32(0.2), np.float64(0.3)],
    "range": range(3, 9, 2),
    "ints": np.array([3, -4], np.int64),
    "bytes": np.array([3, 4], np.uint8),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_values_come_as_any_sequence(kind):
    values = ARRAYS[kind]
    result = sweep(tell, {"a": values})
    assert [value for (value,) in given(result, "x")] == single([float(value) for value in values])
    np.testing.assert_allclose(result.columns["a"], [float(value) for value in values], rtol=1e-7)
    assert (result.columns["a"].dtype.kind == "i") == (kind in ("range", "ints", "bytes"))


class Pair(NamedTuple):
    a: Any
    c: Any


def tell_pair(pair: Any) -> optax.GradientTransformation:
    return told(pair.a, 0.0, pair.c)


def test_a_factory_of_one_argument_gets_stacked_values():
    for values in ([0.5, 0.25], jnp.array([0.5, 0.25])):
        result = sweep(lambda rate: told(rate), values)
        assert given(result, "x") == [(0.5,), (0.25,)]
        assert (result.names, result.shape) == ((("rate",),), (2,))
        assert result.columns["rate"].tolist() == [0.5, 0.25]
    result = sweep(tell_pair, Pair(a=np.array([1.0, 2.0, 3.0]), c=jnp.array([6, 5, 4])))
    assert given(result, "xz") == [(1, 6), (2, 5), (3, 4)]
    assert (result.names, result.shape) == ((("pair",),), (3,))
    assert {name: column.tolist() for name, column in result.columns.items()} == {
        "pair": [0, 1, 2],
        "pair.a": [1.0, 2.0, 3.0],
        "pair.c": [6, 5, 4],
    }
    assert result.best().settings == {"pair": {"a": 1.0, "c": 6}}


def test_a_list_of_pytrees_is_an_axis_too():
    result = sweep(lambda pair, b: told(pair.a, b, pair.c), {"pair": [Pair(1.0, 2.0), Pair(3.0, 4.0)], "b": [5.0, 6.0]})
    assert given(result) == [(1, 5, 2), (1, 6, 2), (3, 5, 4), (3, 6, 4)]
    assert result.columns["pair"].tolist() == [0, 0, 1, 1]
    assert result.columns["pair.c"].tolist() == [2, 2, 4, 4]


def applied(schedule: Any) -> float:
    """What plain gradient descent has done to a parameter of gradient 1."""
    return -sum(float(schedule(step)) for step in range(STEPS))


def check_schedules(result: lrjax.SweepResult, expected: list[Any]) -> None:
    np.testing.assert_allclose(result.final("x")[:, 0], [applied(schedule) for schedule in expected], rtol=1e-6)


COSINES = [schedules.cosine_decay(0.1 * (number + 1), STEPS) for number in range(5)]
WARMUPS = [schedules.warmup_cosine(peak, warmup_steps=2, total_steps=8) for peak in (0.3, 0.4)]


def test_schedules_of_one_family_compile_once_whatever_their_number():
    calls = []
    for number in (2, 5):
        options = {"steps": STEPS, "task": task(loss := Counted()), "executor": "vmap"}
        result = sweep(descend, {"learning_rate": COSINES[:number]}, **options)
        check_schedules(result, COSINES[:number])
        assert result.execution.waves == 1
        calls.append(loss.calls)
    assert calls == [1, 1]
    assert {name: column.tolist() for name, column in result.columns.items()} == {
        "learning_rate": [0, 1, 2, 3, 4],
        "learning_rate.kind": ["cosine_decay"] * 5,
        "learning_rate.decay_steps": [STEPS] * 5,
        "learning_rate.end_value": [0.0] * 5,
        "learning_rate.exponent": [1.0] * 5,
        "learning_rate.init_value": pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5]),
    }


def test_each_family_of_schedules_compiles_once_and_trials_keep_their_order():
    mixed = [COSINES[0], WARMUPS[0], COSINES[1], WARMUPS[1], COSINES[2]]
    loss = Counted()
    grid = {"learning_rate": mixed, "scale": [1.0, 2.0]}
    result = sweep(descend, grid, steps=STEPS, task=task(loss), executor="vmap")
    assert (loss.calls, result.execution.waves) == (2, 2)
    expected = [scale * applied(schedule) for schedule in mixed for scale in (1, 2)]
    np.testing.assert_allclose(result.final("x")[:, 0], expected, rtol=1e-6)
    assert result.columns["learning_rate"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    kinds = [schedule.func.__name__.strip("_") for schedule in mixed for _ in range(2)]
    assert result.columns["learning_rate.kind"].tolist() == kinds
    peaks = result.columns["learning_rate.peak_value"]
    assert np.isnan(peaks).tolist() == [kind == "cosine_decay" for kind in kinds]
    assert result.columns["scale"].tolist() == [1.0, 2.0] * 5


@pytest.mark.parametrize("named", [True, False])
def test_a_stacked_schedule_is_as_many_schedules(named):
    stacked = schedules.stack(COSINES[:3])
    result = sweep(descend, {"learning_rate": stacked} if named else stacked, steps=STEPS)
    check_schedules(result, COSINES[:3])
    np.testing.assert_allclose(result.columns["learning_rate.init_value"], [0.1, 0.2, 0.3], rtol=1e-6)


def test_a_list_of_schedules_is_a_grid_by_itself():
    result = sweep(descend, WARMUPS, steps=STEPS)
    check_schedules(result, WARMUPS)
    assert result.names == (("learning_rate",),)


def test_schedules_zip_with_numbers():
    result = sweep(descend, zipped(learning_rate=COSINES[:2], scale=[3.0, 1.0]), steps=STEPS)
    np.testing.assert_allclose(result.final("x")[:, 0], [3 * applied(COSINES[0]), applied(COSINES[1])], rtol=1e-6)


def test_integers_among_floats_are_floats():
    loss = Counted()
    result = sweep(tell, {"a": [0, 0.1, 1]}, task=task(loss), executor="vmap")
    assert given(result, "x") == [(value,) for value in single([0, 0.1, 1])]
    assert (result.execution.waves, loss.calls) == (1, 1)


def test_one_and_one_point_zero_are_one_value():
    with pytest.raises(ValueError, match="must all be different"):
        sweep(tell, {"a": [1, 1.0]})


def test_seeds_are_an_axis_of_their_own():
    spread = lrjax.Task(
        init=lambda key: jax.random.normal(key, (3,)),
        loss_fn=TASK.loss_fn,
        sample_batches=TASK.sample_batches,
        batches_between=TASK.batches_between,
        eval_batches=TASK.eval_batches,
        eval_fn=TASK.eval_fn,
    )
    result = sweep(tell, {"a": [0.5, 0.25]}, num_seeds=3, task=spread)
    starts = [jax.random.normal(jax.random.split(jax.random.fold_in(KEY, seed), 3)[0], (3,)) for seed in range(3)]
    expected = [[float(start[0] + a) for start in starts] for a in (0.5, 0.25)]
    np.testing.assert_allclose(result.final("x"), expected, rtol=1e-6)
    assert dict(result.to_xarray().sizes) == {"a": 2, "seed": 3, "step": 1}
    assert [(row["trial"], row["seed"]) for row in result.to_rows()] == list(itertools.product(range(2), range(3)))


@pytest.mark.parametrize("name", ["seed", "step", "trial", "diverged_at", "x", "loss"])
def test_a_name_of_the_table_is_refused_or_kept_apart(name):
    def make_optimizer(**values: Any) -> optax.GradientTransformation:
        return told(*(2 * value for value in values.values()))

    try:  # optax.contrib.dpsgd has an argument `seed`
        result = sweep(make_optimizer, {name: [7.0, 9.0]})
    except ValueError:
        return
    table = {tuple(column) for column in result.to_pandas().to_numpy(float).T}
    trial, seed, step, loss, nowhere = (0, 1), (0, 0), (1, 1), (14, 18), (-1, -1)
    assert table >= {(7, 9), trial, seed, step, loss, nowhere}
    assert result.to_xarray()["z"].ndim == 3


def test_the_argument_of_a_factory_may_have_a_name_of_the_table():
    result = sweep(lambda step: told(2 * step), [7.0, 9.0])
    assert [row["step"] for row in result.to_rows()] == [1, 1]
    assert result.to_pandas()["step"].tolist() == [1, 1]
    assert (7.0, 9.0) in {tuple(column) for column in result.to_pandas().to_numpy(float).T}


def adversarial_loss(params: Any, batch: Any, key: jax.Array) -> jax.Array:
    """Two players in one loss: each one's gradient sees the other as a constant."""
    fixed = jax.lax.stop_gradient
    made = lambda w: jnp.tanh(batch[0] @ w)  # noqa: E731
    judged = lambda w, x: jax.nn.sigmoid(x @ w)  # noqa: E731
    maker, judge = params["maker"], params["judge"]
    fooled = -jnp.log(judged(fixed(judge), made(maker)) + 1e-3).mean()
    seen = -jnp.log(judged(judge, batch[1]) + 1e-3).mean() - jnp.log(1.001 - judged(judge, fixed(made(maker)))).mean()
    return fooled + seen


@functools.cache
def adversarial() -> lrjax.Task:
    rng = np.random.default_rng(4)
    noise, real = rng.normal(size=(40, 3)).astype(np.float32), rng.normal(1.0, 0.3, (40, 2)).astype(np.float32)
    params = {"maker": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32), "judge": jnp.full((2,), 0.1, jnp.float32)}
    return lrjax.Task.from_arrays(
        params, adversarial_loss, train=(noise[:32], real[:32]), validation=(noise[32:], real[32:]), batch_size=8
    )


def two_players(maker_lr: Any, judge_lr: Any, split: Any = optax.partition) -> optax.GradientTransformation:
    labels = {"maker": "maker", "judge": "judge"}
    return split({"maker": optax.adam(maker_lr, b1=0.5), "judge": optax.sgd(judge_lr, momentum=0.5)}, labels)


@pytest.mark.parametrize("split", [optax.partition, optax.multi_transform], ids=["partition", "multi_transform"])
def test_two_optimizers_with_a_learning_rate_each_are_swept_together(split):
    make_optimizer = functools.partial(two_players, split=split)
    rates = {"maker_lr": [0.001, 0.03], "judge_lr": [0.01, 0.1, 0.3]}
    options = {"key": KEY, "train_steps": 12, "eval_every": 6, "executor": "loop"}
    result = lrjax.sweep(adversarial(), make_optimizer, rates, **options)
    assert (result.shape, list(result.columns)) == ((2, 3), ["maker_lr", "judge_lr"])
    optimizer = make_optimizer(jnp.float32(0.03), jnp.float32(0.01))
    check_lane(result, 3, 0, follow(adversarial(), optimizer, evaluations=(6, 12)))
    assert len(np.unique(result.final())) == 6
