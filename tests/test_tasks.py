"""Models with a state, parameters that do not train, batches from anywhere."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batch_norm import BatchNorm, X, Y, batch_norm, train_batch_norm
from lanes import SampledRounds, train_lanes
from marks import slow
from sequential import EVALUATION, seed_keys

import lrjax

KEY = jax.random.key(21)
LRS = np.array([0.01, 0.1, 0.3])
RNG = np.random.default_rng(3)


def runner_of(task: lrjax.Task, executor: Any = "map", *, steps: int = 5, seeds: int = 1, factory: Any = optax.adam):
    return SampledRounds(task, factory, key=KEY, horizons=[steps], num_seeds=seeds, executor=executor)


STATEFUL = batch_norm(eval_fn=BatchNorm.eval_fn)


@pytest.mark.parametrize("executor", ["map", slow("vmap")])
def test_every_lane_has_a_state_of_its_own(executor):
    result = train_lanes(STATEFUL, optax.adam, LRS[:2], key=KEY, num_steps=5, num_seeds=2, executor=executor)
    for seed in range(2):
        for lane in range(2):
            params, state = train_batch_norm(float(LRS[lane]), key=21, num_steps=5, seed=seed)
            expected = BatchNorm.eval_fn(params, state, STATEFUL.eval_batches[0])
            np.testing.assert_allclose(result.metrics["loss"][0, seed, lane], expected, rtol=1e-5)
            got = jax.tree.map(lambda leaf, i=lane: leaf[i], result.states[seed].model_state)
            rtol = 1e-5 if executor == "vmap" else 0
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol), got, state)
    assert result.states[0].model_state["count"].tolist() == [5, 5]


def test_the_reference_of_a_stateful_task_is_the_loss_after_the_steps_at_lr_zero():
    runner = runner_of(STATEFUL, seeds=2)
    for seed in range(2):
        params, state = train_batch_norm(0.0, key=21, num_steps=5, seed=seed)
        expected = BatchNorm.eval_fn(params, state, STATEFUL.eval_batches[0])
        np.testing.assert_allclose(runner.reference.initial_loss[seed], expected, rtol=1e-6)
        untouched = BatchNorm.eval_fn(*BatchNorm.init(seed_keys(KEY, seed)[0]), STATEFUL.eval_batches[0])
        np.testing.assert_allclose(runner.reference.untouched_loss[seed], untouched, rtol=1e-6)
    assert np.abs(runner.reference.initial_loss - runner.reference.untouched_loss).min() > 0.01
    curve = lrjax.sample_losses(STATEFUL, optax.adam, [1e-9], key=KEY, num_steps=5, executor="map")
    np.testing.assert_allclose(curve.final[0], curve.initial_loss, rtol=1e-5)


def test_without_eval_fn_the_state_that_evaluation_returns_is_discarded():
    result = train_lanes(batch_norm(), optax.adam, LRS[:1], key=KEY, num_steps=5)
    state = jax.tree.map(lambda leaf: leaf[0], result.states[0])
    key = jax.random.fold_in(KEY, EVALUATION)
    loss, _ = BatchNorm.loss_fn(state.params, state.model_state, batch_norm().eval_batches[0], key)
    np.testing.assert_allclose(result.metrics["loss"][0, 0, 0], loss, rtol=1e-6)
    assert state.model_state["count"] == 5


def test_every_epoch_of_arrays_has_an_order_of_its_own():
    """Every example once an epoch, in another order each time, as far as one reads and from any step on."""
    rows = np.arange(12)
    task = lrjax.Task.from_arrays(
        jnp.zeros(2), lambda w, batch, key: jnp.sum(w), train=rows, validation=rows, batch_size=4
    )
    epochs = np.asarray(task.sample_batches(KEY, 30)).reshape(10, 12)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(rows, (10, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 10
    np.testing.assert_array_equal(np.ravel(task.training_batches(0, KEY, 3, 30)), epochs[1:].ravel())


@pytest.mark.parametrize("dtype", [">i4", ">f4", ">f8"])
def test_arrays_may_have_the_other_order_of_bytes(dtype):
    """As those of files often have."""
    rows = np.arange(12, dtype=dtype)
    task = lrjax.Task.from_arrays(
        jnp.zeros(2), lambda w, batch, key: jnp.sum(w), train=rows, validation=rows, batch_size=4
    )
    np.testing.assert_array_equal(np.sort(np.ravel(task.sample_batches(KEY, 3))), np.arange(12))


def test_every_epoch_of_a_function_is_asked_for():
    """In a search and in a sweep: w ends at the sum of the batches, 0 0 1 1 2 2 3."""

    def task() -> lrjax.Task:
        return lrjax.Task.from_batches(
            jnp.zeros(()),
            lambda w, batch, key: -w * batch.sum(),
            train_batches=lambda epoch: [np.full(1, epoch, np.float32)] * 2,
            eval_batches=[np.zeros(1, np.float32)],
            eval_fn=lambda w, batch: w,
        )

    options = {"key": KEY, "num_seeds": 1, "executor": "loop"}
    assert lrjax.sample_losses(task(), optax.sgd, [1.0], num_steps=7, **options).final[0, 0] == 9
    assert lrjax.sweep(task(), optax.sgd, {"learning_rate": [1.0]}, train_steps=7, **options).final()[0, 0] == 9


@pytest.mark.parametrize("trainable", [None, "w", "prefix", "all"])
def test_which_leaves_train_is_told_by_bools(trainable):
    """Not by numbers that are equal to them, whatever the mask is made of."""
    task = embedding(
        {
            None: None,
            "w": ONLY_W,
            "prefix": ONLY_W | {"keys": False},
            "all": jax.tree.map(np.bool_, dict.fromkeys(ONLY_W, True) | {"keys": (True,) * 2}),
        }[trainable]
    )
    chosen = runner_of(task, "loop").experiment.spec.trainable
    assert all(type(one) is bool for one in chosen)
    assert chosen == (False, False, False, trainable not in ("w", "prefix"), False, True)


def embedding(trainable: Any = None) -> lrjax.Task:
    """Parameters of all kinds: weights, a frozen scale, a table of integers, PRNG keys of both types."""
    params = {
        "w": jnp.asarray(RNG.normal(size=4), jnp.float32),
        "scale": jnp.float32(1.7),
        "table": jnp.array([2, 0, 3, 1]),
        "keys": (jax.random.key(5), jax.random.PRNGKey(6)),
        "flag": jnp.array([True, False]),
    }

    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        noise = jax.random.normal(params["keys"][0], (4,)) + jax.random.normal(params["keys"][1], (4,))
        x = batch[0][:, params["table"]] + 0.1 * noise
        return jnp.mean((params["scale"] * x @ params["w"] * params["flag"][0] - batch[1]) ** 2)

    split = {"train": (X[:60], Y[:60]), "validation": (X[60:], Y[60:]), "batch_size": 16, "eval_batch_size": 20}
    return lrjax.Task.from_arrays(params, loss_fn, trainable=trainable, **split)


ONLY_W = {"w": True, "scale": False, "table": False, "keys": (False, False), "flag": False}


@pytest.mark.parametrize(
    ("executor", "trainable"), [slow("map", lambda params: ONLY_W), ("loop", ONLY_W), ("vmap", ONLY_W)]
)
def test_frozen_parameters_pass_through_untouched(trainable, executor):
    task = embedding(trainable)
    result = train_lanes(task, optax.adam, LRS, key=KEY, num_steps=5, executor=executor)
    states = result.states[0]
    assert {name for name, leaf in states.params.items() if jax.tree.leaves(leaf)} == {"w"}
    assert [leaf.shape for leaf in jax.tree.leaves(states.opt_state)] == [(3,), (3, 4), (3, 4)]  # count, two moments
    frozen = result.runner.experiment.seeds[0].frozen
    for name in ("scale", "table", "keys", "flag"):
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), frozen[name], task.init[name])), name

    def loss_of(w: jax.Array, batch: Any) -> jax.Array:
        return task.loss_fn(task.init | {"w": w}, batch, KEY)

    data = task.sample_batches(seed_keys(KEY, 0)[1], 5)
    w, optimizer = task.init["w"], optax.adam(LRS[1])
    opt_state = optimizer.init(w)
    for index in range(5):
        gradient = jax.grad(loss_of)(w, jax.tree.map(lambda leaf: leaf[index], data))
        updates, opt_state = optimizer.update(gradient, opt_state)
        w = optax.apply_updates(w, updates)
    np.testing.assert_allclose(states.params["w"][1], w, rtol=1e-4)
    np.testing.assert_allclose(result.metrics["loss"][0, 0, 1], loss_of(w, task.eval_batches[0]), rtol=1e-4)


def test_every_floating_parameter_trains_unless_told_otherwise():
    states = train_lanes(embedding(), optax.adam, LRS[:1], key=KEY, num_steps=5).states[0]
    assert {name for name, leaf in states.params.items() if jax.tree.leaves(leaf)} == {"w", "scale"}
    assert states.params["scale"][0] != 1.7


@pytest.mark.parametrize(
    "factory",
    [
        lambda lr: optax.adamw(lr, mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 0, params)),
        lambda lr: optax.masked(optax.adam(lr), ONLY_W),
        lambda lr: optax.chain(optax.clip_by_global_norm(1.0), optax.contrib.schedule_free_adamw(lr)),
    ],
    ids=["decay mask", "masked", "schedule_free"],
)
def test_optimizers_with_masks_meet_frozen_parameters(factory):
    result = runner_of(embedding(ONLY_W), factory=factory).run(LRS)
    assert np.isfinite(result.metrics["loss"]).all()


def linear_loss(w: Any, batch: Any, key: jax.Array) -> jax.Array:
    x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
    return jnp.mean((x.astype(jnp.float32) @ w - y) ** 2)


BATCHES = [(X[i : i + 8].astype(np.float64), (Y[i : i + 8] > 0).astype(np.int64)) for i in range(0, 80, 8)]
SOURCES = {
    "list": lambda: list(BATCHES),
    "generator": lambda: (batch for batch in BATCHES),
    "iterator": lambda: iter(BATCHES),
    "dicts": lambda: [{"x": x, "y": y} for x, y in BATCHES],
    "lists of lists": lambda: [[x, y] for x, y in BATCHES],
    "jax": lambda: [(jnp.asarray(x), jnp.asarray(y)) for x, y in BATCHES],
    "endless": lambda: (BATCHES[i % 10] for i in range(10**9)),
}


def from_batches(source: str, **options: Any) -> lrjax.Task:
    evaluation = SOURCES[source if source in ("dicts", "lists of lists") else "list"]()[-2:]
    return lrjax.Task.from_batches(
        jnp.zeros(4), linear_loss, train_batches=SOURCES[source](), eval_batches=evaluation, **options
    )


@pytest.mark.parametrize("source", SOURCES)
def test_batches_come_from_any_iterable_and_seeds_are_slices_of_the_stream(source):
    curve = lrjax.sample_losses(
        from_batches(source), optax.sgd, [0.001, 0.01], key=KEY, num_steps=3, num_seeds=None, executor="map"
    )
    assert curve.losses.shape == (1, 3, 2)
    for seed in range(3):
        w = np.zeros(4)
        for x, y in BATCHES[3 * seed : 3 * seed + 3]:
            w = w - 0.01 * 2 / 8 * x.T @ (x @ w - y)
        expected = np.mean([np.mean((x @ w - y) ** 2) for x, y in BATCHES[-2:]])
        np.testing.assert_allclose(curve.final[seed, 1], expected, rtol=1e-4)


def test_batches_are_read_once_and_only_as_many_as_are_needed():
    read = []
    stream = (read.append(index) or batch for index, batch in enumerate(BATCHES))
    task = lrjax.Task.from_batches(jnp.zeros(4), linear_loss, train_batches=stream, eval_batches=BATCHES[:1])
    curves = [lrjax.sample_losses(task, optax.sgd, [0.01], key=KEY, num_steps=3, num_seeds=2) for _ in range(2)]
    assert read == list(range(6))
    np.testing.assert_array_equal(curves[0].losses, curves[1].losses)


def test_a_stream_of_batches_cannot_be_carried_on_and_says_so():
    task = from_batches("list")
    with pytest.raises(ValueError, match=r"from step 4 on need random access.* Use Task\.from_arrays"):
        task.training_batches(0, KEY, 4, 8)


def test_with_fixed_parameters_seeds_differ_in_their_batches_alone():
    made = train_lanes(embedding(), optax.adam, LRS[:1], key=KEY, num_steps=5, num_seeds=2)
    (one, other), runner = made.states, made.runner
    assert runner.reference.initial_loss[0] == runner.reference.initial_loss[1]
    assert not np.array_equal(one.params["w"], other.params["w"])
