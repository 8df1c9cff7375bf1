"""One update is as many batches as the optimizer accumulates, in every verb."""

import doors
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import check_message

import lrjax
from lrjax.integrations import step_task

KEY = jax.random.key(0)
K = 4
X = np.random.default_rng(0).normal(size=(512, 2)).astype(np.float32)


def loss_fn(w, batch, key):
    return jnp.mean((batch @ w - batch @ jnp.asarray([1.0, -2.0])) ** 2)


def task_of(batch_size):
    """Batches in their order: K small ones are one large one."""
    data = {"train": X, "validation": X[:32], "batch_size": batch_size, "eval_batch_size": 32}
    return lrjax.Task.from_arrays(jnp.zeros(2), loss_fn, **data, shuffle=False)


SMALL, LARGE = task_of(4), task_of(4 * K)


def accumulated(lr):
    return optax.MultiSteps(optax.adam(lr), K)


def by_hand(optimizer, updates):
    """The losses of small batches, with the learning rate of each update put into the optimizer."""
    w, state, losses = jnp.zeros(2), optimizer(0.0).init(jnp.zeros(2)), []
    for index, batch in enumerate(SMALL.sample_batches(KEY, K * len(updates))):
        loss, grad = jax.value_and_grad(loss_fn)(w, batch, None)
        change, state = optimizer(updates[index // K]).update(grad, state, w)
        w, losses = optax.apply_updates(w, change), [*losses, float(loss)]
    return np.asarray(losses).reshape(-1, K).mean(1)


@pytest.mark.parametrize(
    "optimizer",
    [accumulated, lambda lr: optax.chain(optax.sgd(lr), optax.apply_every(K))],
    ids=["MultiSteps", "apply_every"],
)
def test_a_range_test_has_one_point_for_each_update(optimizer):
    test = lrjax.range_test(
        SMALL, optimizer, key=KEY, num_steps=3 * K, min_lr=0.01, max_lr=1.0, stop_factor=None, eval_every=K
    )
    np.testing.assert_allclose(test.lrs, [0.01, 0.1, 1.0])
    np.testing.assert_allclose(test.losses, by_hand(optimizer, test.lrs), rtol=1e-5)
    assert (test.num_steps, test.metric_steps.tolist()) == (3, [0, 1, 2])


def test_the_curve_is_that_of_larger_batches_and_counts_updates():
    how = {"key": KEY, "executor": "map"}
    got = lrjax.sample_losses(SMALL, accumulated, [0.1, 0.3], num_steps=6 * K, horizons=(2 * K,), **how)
    wanted = lrjax.sample_losses(LARGE, optax.adam, [0.1, 0.3], num_steps=6, horizons=(2,), **how)
    np.testing.assert_allclose(got.losses, wanted.losses, rtol=1e-4)
    assert got.horizons.tolist() == wanted.horizons.tolist() == [2, 6]


def test_a_search_with_a_budget_is_that_of_larger_batches():
    how = {"key": KEY, "train_steps": 40, "trainings": 2.0, "min_lr": 1e-3, "executor": "map"}
    got = doors.budgeted(SMALL, accumulated, **how)
    wanted = doors.budgeted(LARGE, optax.adam, **how)
    assert got.cost.updates == wanted.cost.updates <= 2 * 40
    for one, other in zip(got.stages, wanted.stages, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-3)


def test_a_sweep_is_that_of_larger_batches_and_counts_updates():
    grid, how = {"lr": [0.1, 0.3, 1e30]}, {"key": KEY, "train_steps": 6, "eval_every": 2, "executor": "map"}
    got = lrjax.sweep(SMALL, lambda lr: accumulated(lr), grid, **how, stop=lrjax.SuccessiveHalving(first=4, factor=2))
    wanted = lrjax.sweep(LARGE, lambda lr: optax.adam(lr), grid, **how, stop=lrjax.SuccessiveHalving(first=4, factor=2))
    np.testing.assert_allclose(got.metrics["loss"], wanted.metrics["loss"], rtol=1e-4)
    assert got.steps.tolist() == wanted.steps.tolist() == [2, 4, 6]
    assert got.stopped_at.tolist() == wanted.stopped_at.tolist()
    assert got.diverged_at.max() <= 6
    assert (got.train_steps, got.execution.updates) == (6, wanted.execution.updates)


def test_a_sweep_under_accumulation_is_resumed_and_previewed(tmp_path):
    call = {"key": KEY, "train_steps": 6, "eval_every": 3, "executor": "map"}
    grid, events = {"k": [2, 3]}, []
    first = lrjax.sweep(SMALL, of_k, grid, directory=tmp_path, progress=events.append, **call)
    again = lrjax.sweep(SMALL, of_k, grid, directory=tmp_path, **call)
    assert first.steps.tolist() == again.steps.tolist() == [3, 6]
    np.testing.assert_array_equal(first.metrics["loss"], again.metrics["loss"])
    assert again.execution.updates == 0
    assert (events[-1].step, events[-1].train_steps, events[-1].updates) == (6, 6, 12)
    plan = lrjax.preview(lrjax.sweep, SMALL, of_k, grid, **call)
    assert (plan.updates, plan.trainings) == (12, 2)


@pytest.mark.slow
def test_two_stages_and_a_search_in_mid_training_are_those_of_larger_batches():
    how = {"key": KEY, "train_steps": 1000, "num_seeds": 1, "executor": "map"}
    got, wanted = doors.sampled(SMALL, accumulated, **how), doors.sampled(LARGE, optax.adam, **how)
    np.testing.assert_allclose(got.lr, wanted.lr, rtol=1e-3)
    assert got.cost.updates == wanted.cost.updates
    start, params = {"step": 0} | how, jnp.zeros(2)
    opt_states = accumulated(0.1).init(params), optax.adam(0.1).init(params)
    got = doors.resumed(SMALL, accumulated, params=params, opt_state=opt_states[0], **start)
    wanted = doors.resumed(LARGE, optax.adam, params=params, opt_state=opt_states[1], **start)
    np.testing.assert_allclose(got.lr, wanted.lr, rtol=1e-3)


def sampled(optimizer, num_steps, **options):
    return lambda: lrjax.sample_losses(SMALL, optimizer, [0.1], key=KEY, num_steps=num_steps, **options)


def nested(lr):
    inner = optax.MultiSteps(optax.adam(lr), 2).gradient_transformation()
    return optax.chain(optax.clip(1.0), optax.MultiSteps(inner, 3).gradient_transformation())


def rising(lr):
    return optax.MultiSteps(optax.adam(lr), lambda update: jnp.where(update < 2, 2, 3))


def of_k(k):
    return optax.MultiSteps(optax.sgd(0.1), lambda update: k)


def of_groups(lr):
    slow = optax.MultiSteps(optax.sgd(lr), 2, should_skip_update_fn=optax.skip_not_finite).gradient_transformation()
    return optax.apply_if_finite(optax.multi_transform({"all": slow}, "all"), 3)


def own_step():
    optimizer = optax.MultiSteps(optax.inject_hyperparams(optax.adam)(learning_rate=0.1), K)

    def step(state, batch):
        updates, opt = optimizer.update(jax.grad(loss_fn)(state["w"], batch, None), state["opt"])
        return {"w": optax.apply_updates(state["w"], updates), "opt": opt}

    def set_lr(state, lr):
        inner = state["opt"].inner_opt_state
        inner = inner._replace(hyperparams=inner.hyperparams | {"learning_rate": lr})
        return state | {"opt": state["opt"]._replace(inner_opt_state=inner)}

    state = {"w": jnp.zeros(2), "opt": optimizer.init(jnp.zeros(2))}
    task = step_task(step, state, list(X.reshape(-1, 4, 2)), lambda state: loss_fn(state["w"], X[:32], None), set_lr)
    return task


def search_own_step(num_steps):
    options = {"num_seeds": 1, "refine": None, "executor": "map", "num_steps": num_steps}
    return doors.sampled(OWN, OWN.set_lr, key=KEY, **options)


OWN = own_step()
CASES = {
    "fewer than one update": (
        sampled(accumulated, 3),
        ["(num_steps=...)", "MultiSteps", "0 updates", "Write 4,"],
    ),
    "a part of an update": (
        sampled(accumulated, 10),
        ["10 batches make 2 updates, and no update uses the last 2", "Write 8 or 12."],
    ),
    "a horizon within an update": (sampled(accumulated, 8, horizons=(6,)), ["(horizons=...)", "Write 4 or 8."]),
    "nested in a chain": (sampled(nested, 9), ["9 batches make 1 update,", "Write 6 or 12."]),
    "a k that changes": (sampled(rising, 6), ["6 batches make 2 updates", "Write 4 or 7."]),
    "within wrappers": (sampled(of_groups, 3), ["3 batches make 1 update,", "Write 2 or 4."]),
    "a range test": (
        lambda: lrjax.range_test(SMALL, accumulated, key=KEY, num_steps=K),
        ["at least 2 updates", "got 1"],
    ),
    "a preview": (
        lambda: lrjax.preview(
            lrjax.find_lr, SMALL, accumulated, lrjax.StepSampling(num_steps=10, num_seeds=1), key=KEY, executor="map"
        ),
        ["`StepSampling(num_steps=...)`", "Write 8 or 12."],
    ),
    "a step of one's own": (
        lambda: search_own_step(10),
        ["`StepSampling(num_steps=...)`", "set_lr accumulates", "Write 8 or 12."],
    ),
}


@pytest.mark.parametrize(("call", "parts"), CASES.values(), ids=CASES.keys())
def test_batches_that_no_update_uses_are_refused(call, parts):
    check_message(call, ValueError, parts)


def test_a_step_of_ones_own_counts_updates():
    assert search_own_step(10 * K).curve.horizons.tolist() == [10]
    swept = lrjax.sweep(OWN, OWN.set_lr, {"lr": [0.1, 0.2]}, key=KEY, train_steps=3, executor="map")
    assert swept.steps[-1] == 3
