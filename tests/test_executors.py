"""All executors give one curve: that of a plain Python loop of Optax updates."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanes import train_lanes
from marks import slow
from problems import CURVATURES, START, quadratic, quadratic_loss, regression
from sequential import EVALUATION, seed_keys, train

import lrjax
from lrjax import Chunked

EXECUTORS = {"vmap": "vmap", "chunked": Chunked(2), "map": "map", "loop": "loop", "auto": "auto"}
every_executor = pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS.keys())
KEY = jax.random.key(11)
LRS = np.array([1e-4, 1e-3, 1e-2, 1e-1, 0.3])
HORIZONS = (2, 3, 6)
SEEDS = 2


def dropout_net() -> lrjax.Task:
    """A classifier with dropout, metrics and three evaluation batches, the last of which is smaller."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(61, 5)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {"w": jax.random.normal(key, (5, 8)) / 2, "v": jax.random.normal(key, (8, 2)) / 3, "b": jnp.zeros(2)}

    def scores(params: Any, x: jax.Array, keep: Any = 1.0) -> jax.Array:
        return (jnp.tanh(x @ params["w"]) * keep) @ params["v"] + params["b"]

    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        keep = jax.random.bernoulli(key, 0.8, (8,)) / 0.8
        return optax.softmax_cross_entropy_with_integer_labels(scores(params, batch[0], keep), batch[1]).mean()

    def eval_fn(params: Any, batch: Any) -> dict[str, jax.Array]:
        x, y = batch
        z = scores(params, x)
        loss = optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
        return {"loss": loss, "accuracy": jnp.mean(z.argmax(-1) == y)}

    split = {"train": (x[:32], y[:32]), "validation": (x[32:], y[32:])}
    return lrjax.Task.from_arrays(init, loss_fn, eval_fn=eval_fn, batch_size=8, eval_batch_size=12, **split)


NET, REGRESSION, QUADRATIC = dropout_net(), regression(), quadratic()
GRID = tuple(np.geomspace(1e-4, 1.0, 9).tolist())


def adam_curve(executor: Any, lrs: Any = LRS, **options: Any) -> lrjax.LossCurve:
    options = {"num_steps": HORIZONS[-1], "num_seeds": SEEDS, "horizons": HORIZONS, "key": KEY} | options
    return lrjax.sample_losses(NET, optax.adam, lrs, executor=executor, **options)


@pytest.fixture(scope="module")
def mapped() -> lrjax.LossCurve:
    return adam_curve("map")


@every_executor
def test_all_executors_give_the_same_curve(executor, mapped):
    curve = adam_curve(executor)
    assert curve.losses.shape == (len(HORIZONS), SEEDS, len(LRS))
    np.testing.assert_allclose(curve.losses, mapped.losses, rtol=1e-3)
    np.testing.assert_allclose(curve.metrics["accuracy"], mapped.metrics["accuracy"], atol=1 / 29 + 1e-6)
    for field in ("lrs", "initial_loss", "horizons", "rounds", "diverged_at"):
        np.testing.assert_array_equal(getattr(curve, field), getattr(mapped, field))
    if executor == "loop":
        np.testing.assert_array_equal(curve.losses, mapped.losses)


@pytest.mark.parametrize("executor", ["vmap", Chunked(3)])
def test_without_adaptivity_vectorised_lanes_agree_to_rounding(executor):
    options = {"key": KEY, "num_steps": 5, "num_seeds": 2}
    curve = lrjax.sample_losses(REGRESSION, optax.sgd, LRS, executor=executor, **options)
    expected = lrjax.sample_losses(REGRESSION, optax.sgd, LRS, executor="loop", **options)
    np.testing.assert_allclose(curve.losses, expected.losses, rtol=1e-5)


@pytest.mark.parametrize(
    "factory", [optax.adam, slow(lambda lr: optax.sgd(lr, momentum=0.9))], ids=["adam", "momentum"]
)
def test_mapped_and_looped_trials_are_a_sequential_run_bit_for_bit(factory):
    lanes = LRS[1:4:2]
    for seed, executor in ((0, "map"), (1, "map"), (1, "loop")):
        made = train_lanes(NET, factory, lanes, key=KEY, num_steps=6, num_seeds=SEEDS, executor=executor)
        states = made.states[seed]
        assert (states.step == 6).all()
        for lane, lr in enumerate(lanes):
            expected = _sequential_run(factory, float(lr), seed)
            got = jax.tree.map(lambda leaf, i=lane: leaf[i], (states.params, states.opt_state))
            jax.tree.map(np.testing.assert_array_equal, got, expected)


@functools.cache
def _sequential_run(factory: Any, lr: float, seed: int) -> Any:
    return train(NET, factory(jnp.float32(lr)), key=KEY, seed=seed, num_steps=6)


def test_evaluation_weights_the_batches_by_their_examples(mapped):
    for seed in range(SEEDS):
        params = NET.init(seed_keys(KEY, seed)[0])
        parts = [NET.eval_fn(params, batch) for batch in NET.eval_batches]
        sizes = [len(batch[1]) for batch in NET.eval_batches]
        assert sizes == [12, 12, 5]
        expected = np.average([float(part["loss"]) for part in parts], weights=sizes)
        np.testing.assert_allclose(mapped.initial_loss[seed], expected, rtol=1e-6)
        params, _ = _sequential_run(optax.adam, float(LRS[1]), seed)
        parts = [NET.eval_fn(params, batch) for batch in NET.eval_batches]
        for name, values in (("loss", mapped.losses), ("accuracy", mapped.metrics["accuracy"])):
            expected = np.average([float(part[name]) for part in parts], weights=sizes)
            np.testing.assert_allclose(values[-1, seed, 1], expected, rtol=1e-6)


def test_without_eval_fn_all_lanes_are_evaluated_with_one_key():
    task = lrjax.Task(
        init=NET.init, loss_fn=NET.loss_fn, sample_batches=NET.sample_batches, eval_batches=NET.eval_batches[:1]
    )
    curve = lrjax.sample_losses(task, optax.sgd, LRS[:2], key=KEY, num_steps=3, executor="map")
    params, _ = train(task, optax.sgd(jnp.float32(LRS[0])), key=KEY, num_steps=3)
    expected = jax.jit(task.loss_fn)(params, task.eval_batches[0], jax.random.fold_in(KEY, EVALUATION))
    np.testing.assert_array_equal(curve.final[0, 0], expected)


@pytest.mark.parametrize("executor", ["map", slow("loop"), "vmap"])
def test_a_horizon_equals_a_separate_shorter_run(executor, mapped):
    curve = mapped if executor == "map" else adam_curve(executor)
    shorter = adam_curve(executor, num_steps=HORIZONS[1], horizons=())
    compare = np.testing.assert_array_equal
    if executor == "vmap":
        compare = lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-3)  # noqa: E731
    compare(curve.losses[1], shorter.final)


@pytest.mark.parametrize("executor", ["vmap", "map", "loop"])
def test_a_lane_that_diverges_leaves_the_bits_of_the_others_alone(executor, mapped):
    def momentum(lr: Any) -> Any:
        return optax.chain(optax.sgd(lr, momentum=0.9), optax.scale(jnp.where(lr > 1, jnp.inf, 1.0)))

    options = {"key": KEY, "num_steps": 4, "num_seeds": 2, "executor": executor}
    sane = lrjax.sample_losses(NET, momentum, LRS, **options)
    mixed = lrjax.sample_losses(NET, momentum, [*LRS[:3], 1e3, 1e30], **options)
    assert np.isinf(mixed.final[:, 3:]).all()
    assert (np.asarray(mixed.diverged_at) == [-1, -1, -1, 1, 1]).all()
    np.testing.assert_array_equal(mixed.losses[..., :3], sane.losses[..., :3])


@every_executor
def test_gradient_descent_on_a_quadratic_has_its_closed_form_and_diverges_where_it_must(executor):
    lrs, steps = np.array([1e-3, 0.5, 1.99, 2.01, 1e3, 1e6, 1e15]), 12
    curve = lrjax.sample_losses(QUADRATIC, optax.sgd, lrs, key=KEY, num_steps=steps, executor=executor)
    np.testing.assert_allclose(curve.final[0, :4], quadratic_loss(lrs[:4], steps), rtol=1e-5)
    weights = START * (1 - lrs[:, None, None] * CURVATURES) ** np.arange(steps)[:, None]
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.sum(CURVATURES * weights**2, axis=-1).astype(np.float32))
    expected = np.where(finite.all(axis=1), -1, finite.argmin(axis=1))
    np.testing.assert_array_equal(curve.diverged_at[0], expected)
    np.testing.assert_array_equal(np.isinf(curve.final[0]), expected >= 0)


def test_an_optimizer_with_a_state_without_numbers_runs_in_chunks():
    """For what is no matrix galore holds a projection of size 0."""
    curves = [
        lrjax.sample_losses(QUADRATIC, optax.contrib.galore, [0.01, 0.1, 1.0], key=KEY, num_steps=3, executor=executor)
        for executor in ("vmap", Chunked(2))
    ]
    np.testing.assert_allclose(curves[1].losses, curves[0].losses, rtol=1e-5)


def test_the_threshold_of_divergence_is_two_over_the_largest_curvature():
    made = train_lanes(QUADRATIC, optax.sgd, np.array([1.99, 2.01]) / CURVATURES.max(), key=KEY, num_steps=50)
    weights = np.abs(made.states[0].params[:, 0])
    assert weights[0] < np.abs(START[0]) < weights[1]


def test_a_loss_that_is_lost_only_at_the_end_counts_as_the_last_step():
    curve = lrjax.sample_losses(QUADRATIC, optax.sgd, [0.1, 1e6], key=KEY, num_steps=4, executor="map")
    assert curve.diverged_at.tolist() == [[-1, 3]]  # finite before steps 0 to 3, infinite after step 3


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(GRID), min_size=1, max_size=5, unique=True))
def test_a_point_does_not_depend_on_order_or_company(lrs):
    whole, curve = _looped(GRID), _looped(tuple(lrs))
    assert (np.diff(curve.lrs) > 0).all()
    np.testing.assert_array_equal(curve.losses, whole.losses[..., np.isin(whole.lrs, curve.lrs)])


@functools.cache
def _looped(lrs: tuple[float, ...]) -> lrjax.LossCurve:
    return lrjax.sample_losses(REGRESSION, optax.sgd, lrs, key=KEY, num_steps=3, executor="loop")


@pytest.mark.parametrize("executor", ["map", "vmap", slow(Chunked(2))])
def test_subsets_and_extensions_leave_shared_points_unchanged(executor, mapped):
    exact = {"rtol": 0} if executor == "map" else {"rtol": 1e-3}
    if executor != "vmap":
        wider = adam_curve(executor, [0.9, *LRS[::-1], 1e-6])
        np.testing.assert_allclose(wider.losses[..., 1:-1], mapped.losses, **exact)
    if executor != Chunked(2):
        fewer = adam_curve(executor, LRS[1:3][::-1])
        np.testing.assert_allclose(fewer.losses, mapped.losses[..., 1:3], **exact)


@pytest.mark.parametrize("executor", ["vmap", "map", "loop"])
def test_the_same_key_gives_the_same_answer_and_another_key_another(executor):
    curves = [adam_curve(executor, key=key) for key in (KEY, KEY, jax.random.key(12))]
    np.testing.assert_array_equal(curves[0].losses, curves[1].losses)
    assert (np.asarray(curves[0].losses) != np.asarray(curves[2].losses)).all()


def test_a_legacy_key_gives_what_the_typed_one_gives(mapped):
    np.testing.assert_array_equal(adam_curve("map", key=jax.random.PRNGKey(11)).losses, mapped.losses)


@every_executor
def test_inputs_are_unchanged_afterwards(executor):
    params = {"w": jnp.ones((3, 2)), "table": jnp.arange(4), "key": jax.random.key(1)}
    batches, evaluation = jnp.linspace(0.0, 1.0, 4 * 5 * 3).reshape(4, 5, 3), [jnp.ones((5, 3))]
    key = jax.random.key(9)
    task = lrjax.Task(
        init=params,
        loss_fn=lambda params, batch, key: jnp.mean((batch @ params["w"] - 2.0) ** 2),
        sample_batches=lambda key, num_steps: batches[:num_steps],
        eval_batches=evaluation,
    )
    inputs = (params, batches, evaluation, key)
    before = [np.asarray(leaf).copy() for leaf in jax.tree.leaves(_raw(inputs))]
    for _ in range(2):
        lrjax.sample_losses(task, optax.adam, LRS[:2], key=key, num_steps=4, executor=executor)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(inputs))
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.leaves(_raw(inputs)))


def _raw(tree: Any) -> Any:
    """Keys as their bits."""
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)
