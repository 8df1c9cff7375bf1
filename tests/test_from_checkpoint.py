"""The search in mid-training: every lane goes on from the checkpoint, and nothing to choose is an answer."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batch_norm import BatchNorm, batch_norm
from doors import resumed
from inside import LaneRunner, check_checkpoint
from marks import slow_but_for
from problems import CURVATURES, quadratic, regression
from sequential import evaluation_loss, seed_keys
from tiny import check_message

import lrjax
from lrjax import Outcome, schedules

KEY, NEW = jax.random.key(3), jax.random.key(4)
REGRESSION, STATEFUL = regression(), batch_norm(eval_fn=BatchNorm.eval_fn)
PLAIN, FLAT = quadratic(), quadratic(offset=1.0)
DONE, TOTAL, STEPS = 12, 100, 5
RANGE = {"min_lr": 1e-3, "max_lr": 1e-1}
find = functools.partial(resumed, key=NEW, executor="map", step=DONE, train_steps=TOTAL)


def injected(lr: Any) -> Any:
    return optax.inject_hyperparams(optax.adam)(learning_rate=lr)


def injected_schedule(lr: Any) -> Any:
    return optax.inject_hyperparams(optax.adam)(learning_rate=schedules.linear_decay(lr, 0.0, TOTAL))


def scheduled(lr: Any) -> Any:
    return lrjax.schedules.scheduled(optax.adam, learning_rate=schedules.linear_decay(lr, 0.0, TOTAL), b1=0.8)


FACTORIES = {
    "adam": optax.adam,
    "schedule": lambda lr: optax.chain(
        optax.add_noise(0.01, 0.5, jax.random.key(1)), optax.adam(schedules.linear_decay(lr, 0.0, TOTAL))
    ),
    "injected": injected,
    "injected schedule": injected_schedule,
    "scheduled": scheduled,
    "schedule_free": optax.contrib.schedule_free_adamw,
}


@functools.partial(jax.jit, static_argnums=(0, 1))
def one_step(task: Any, name: str, lr: Any, params: Any, opt_state: Any, batch: Any, key: jax.Array) -> Any:
    updates, opt_state = FACTORIES[name](lr).update(jax.grad(task.loss_fn)(params, batch, key), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def train(name: str, lr: Any, params: Any, opt_state: Any, *, key: jax.Array, num_steps: int) -> tuple[Any, Any]:
    """A plain loop on the first batches of a key."""
    _, data_key, train_key = seed_keys(key, 0)
    batches = REGRESSION.sample_batches(data_key, num_steps)
    for index in range(num_steps):
        batch = jax.tree.map(lambda leaf: leaf[index], batches)
        step_key = jax.random.fold_in(train_key, index)
        params, opt_state = one_step(REGRESSION, name, jnp.float32(lr), params, opt_state, batch, step_key)
    return params, opt_state


@functools.cache
def checkpoint(name: str, lr: float = 0.02) -> dict[str, Any]:
    """Of `regression`, after a plain loop."""
    params = jax.tree.map(np.asarray, REGRESSION.init(KEY))
    params, opt_state = train(name, lr, params, FACTORIES[name](lr).init(params), key=KEY, num_steps=DONE)
    return {"params": params, "opt_state": opt_state}


@functools.cache
def searched(name: str) -> lrjax.LRResult:
    return find(REGRESSION, FACTORIES[name], **checkpoint(name), **RANGE)


def with_lr(name: str, opt_state: Any, lr: Any) -> Any:
    return (
        opt_state._replace(hyperparams=opt_state.hyperparams | {"learning_rate": jnp.float32(lr)})
        if name == "injected"
        else opt_state
    )


@pytest.mark.parametrize("name", slow_but_for(FACTORIES, ["adam", "injected schedule"]))
def test_a_lane_goes_on_from_the_checkpoint_as_a_plain_optax_loop_does(name):
    curve, start = searched(name).curve, checkpoint(name)
    assert int(curve.horizons[-1]) == STEPS
    average = optax.contrib.schedule_free_eval_params if name == "schedule_free" else lambda state, params: params
    untouched = evaluation_loss(REGRESSION, average(start["opt_state"], start["params"]), key=NEW)
    np.testing.assert_allclose(curve.initial_loss[0], untouched, rtol=1e-5)
    for index in (0, 3):
        lr = float(curve.lrs[index])
        state = with_lr(name, start["opt_state"], lr)
        params, state = train(name, lr, start["params"], state, key=NEW, num_steps=STEPS)
        expected = evaluation_loss(REGRESSION, average(state, params), key=NEW)
        np.testing.assert_allclose(curve.final[0, index], expected, rtol=1e-5)
    assert len(np.unique(curve.final)) == curve.num_trials


def test_moments_and_counters_are_kept():
    start, kept = checkpoint("adam"), searched("adam").curve
    fresh = find(REGRESSION, optax.adam, **start | {"opt_state": optax.adam(1.0).init(start["params"])}, **RANGE)
    assert np.abs(np.asarray(fresh.curve.final[:, :3]) / np.asarray(kept.final[:, :3]) - 1).min() > 1e-3


def test_a_state_that_holds_the_learning_rate_gets_that_of_each_lane():
    """With the moments of a plain Adam the curve is its curve; the learning rate in the checkpoint does not matter."""
    moments, held = checkpoint("adam")["opt_state"], checkpoint("injected")["opt_state"]
    for lr in (0.5, jnp.asarray(7.0)):
        state = with_lr("injected", held._replace(inner_state=moments), lr)
        result = find(REGRESSION, injected, params=checkpoint("adam")["params"], opt_state=state, **RANGE)
        np.testing.assert_allclose(result.curve.final, searched("adam").curve.final, rtol=1e-5)


def test_other_held_hyperparameters_are_kept():
    start = checkpoint("injected")
    changed = start["opt_state"]._replace(hyperparams=start["opt_state"].hyperparams | {"b1": 0.0})
    result = find(REGRESSION, injected, **start | {"opt_state": changed}, **RANGE)
    assert result.curve.final[0, 0] != searched("injected").curve.final[0, 0]


@pytest.mark.parametrize("executor", ["vmap", "loop"])
def test_executors_agree_and_leave_the_checkpoint_alone(executor):
    start = jax.tree.map(jnp.copy, checkpoint("injected"))
    result = find(REGRESSION, injected, **start, **RANGE, executor=executor)
    np.testing.assert_allclose(result.curve.final, searched("injected").curve.final, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, start, checkpoint("injected"))


@functools.cache
def batch_norm_checkpoint() -> dict[str, Any]:
    params, model_state = BatchNorm.init(KEY)
    state = {"params": params, "model_state": model_state, "opt_state": optax.adam(0.01).init(params)}
    return train_batch_norm(state, 0.01, key=KEY, num_steps=DONE)


@jax.jit
def batch_norm_step(params: Any, model_state: Any, opt_state: Any, lr: Any, batch: Any, key: jax.Array) -> Any:
    grads, model_state = jax.grad(BatchNorm.loss_fn, has_aux=True)(params, model_state, batch, key)
    updates, opt_state = optax.adam(lr).update(grads, opt_state)
    return {"params": optax.apply_updates(params, updates), "model_state": model_state, "opt_state": opt_state}


def train_batch_norm(state: dict[str, Any], lr: Any, *, key: Any, num_steps: int) -> dict[str, Any]:
    _, data_key, train_key = seed_keys(key, 0)
    x, y = STATEFUL.sample_batches(data_key, num_steps)
    for index in range(num_steps):
        batch, step_key = (x[index], y[index]), jax.random.fold_in(train_key, index)
        state = batch_norm_step(**state, lr=jnp.float32(lr), batch=batch, key=step_key)
    return state


@pytest.mark.slow
def test_a_stateful_task_goes_on_from_its_statistics_and_is_measured_against_learning_rate_0():
    start = batch_norm_checkpoint()
    curve = find(STATEFUL, optax.adam, **start, **RANGE).curve
    for lr, loss in ((0.0, curve.initial_loss[0]), (curve.lrs[2], curve.final[0, 2])):
        after = train_batch_norm(start, lr, key=NEW, num_steps=STEPS)
        expected = BatchNorm.eval_fn(after["params"], after["model_state"], STATEFUL.eval_batches[0])
        np.testing.assert_allclose(loss, expected, rtol=1e-4)


def carried(task: Any, factory: Any, start: dict[str, Any]) -> LaneRunner:
    """Lanes that are trained on, from a checkpoint."""
    given = {"model_state": None} | start
    at = check_checkpoint("Checkpoint", task, factory, key=NEW, **given)
    return LaneRunner("test", task, factory, key=NEW, executor="map", checkpoint=at, longest=2 * STEPS, num_seeds=1)


@pytest.mark.parametrize("name", ["adam", "schedule_free", "every third"])
def test_lanes_that_are_trained_on_are_measured_against_learning_rate_0_from_the_checkpoint(name):
    factories = {"adam": optax.adam, "schedule_free": optax.contrib.schedule_free_adamw}
    factory = factories.get(name, lambda lr: optax.MultiSteps(optax.adam(lr), 3))
    start = batch_norm_checkpoint()
    other = jax.tree.map(lambda leaf: leaf + 0.1, start["params"])
    batches = STEPS * (3 if name == "every third" else 1)
    observed = train_batch_norm(start, 0.0, key=NEW, num_steps=batches)
    start = start | {"opt_state": factory(0.01).init(other)}
    params = start["params"]
    if name == "schedule_free":
        params = optax.contrib.schedule_free_eval_params(start["opt_state"], params)
    expected = BatchNorm.eval_fn(params, observed["model_state"], STATEFUL.eval_batches[0])
    loss = carried(STATEFUL, factory, start).initial_loss(1, STEPS)
    np.testing.assert_allclose(loss, [expected], rtol=1e-4)


@pytest.mark.parametrize(("step", "total", "steps"), [(12, 1000, 50), (998, 1000, 2), (3, 7, 1)])
def test_lanes_train_for_a_twentieth_but_not_beyond_the_end(step, total, steps):
    place = {"params": jnp.array([0.5, -1.0, 1.0]), "opt_state": None, "step": step, "train_steps": total}
    result = find(PLAIN, optax.sgd, **place)
    assert int(result.curve.horizons[-1]) == steps
    assert result.cost.updates == steps * result.num_trials
    assert f"{steps} updates each from step {step} of {total}" in result.summary()


def test_the_minimum_of_the_curve_is_chosen():
    """Gradient descent from a checkpoint has a closed form, and so has the best learning rate."""
    start, steps = np.array([0.5, 0.0, 0.0]), 50
    place = {"params": jnp.asarray(start, jnp.float32), "opt_state": optax.sgd(0.1).init(start), "train_steps": 1000}
    result = find(PLAIN, optax.sgd, **place, num_seeds=2)
    lrs = np.asarray(result.curve.lrs, np.float64)
    expected = CURVATURES[0] * (start[0] * (1 - lrs) ** steps) ** 2 / 2
    finite = lrs < 1.9
    np.testing.assert_allclose(result.curve.final[1, finite], expected[finite], rtol=1e-3, atol=1e-12)
    assert result.outcome is Outcome.found
    assert result.lr == float(result.window.max_lr) > 2 * float(lrjax.midpoint(result.curve, result.window))
    assert 0.9 < result.gain <= 1
    assert "A window lower than at the start of the training is normal" in result.summary()
    assert lrjax.WarningName.small_progress not in {warning.name for warning in result.warnings}


def at(*coordinates: float) -> dict[str, Any]:
    params = jnp.asarray(coordinates, jnp.float32)
    return {"params": params, "opt_state": optax.sgd(0.1).init(params)}


def test_at_the_optimum_there_is_nothing_to_choose_and_that_is_no_error(tmp_path):
    result = find(FLAT, optax.sgd, **at(0.0, 0.0, 0.0))
    assert result.outcome is not Outcome.found
    assert result.outcome is Outcome.nothing_to_gain
    assert math.isnan(result.lr)
    assert result.gain == 0
    assert result.warnings == ()
    assert result.num_trials == 17  # no learning rate helps: none is looked for between those of the first grid
    assert result.summary().startswith(
        "Nothing to choose: no learning rate lowers the checkpoint's validation loss, 1, by"
    )
    assert "normal late in a training" in result.summary()
    cost = f"{result.cost.trainings:.2f} trainings"
    assert repr(result) == f"LRResult(outcome=nothing_to_gain, num_trials=17, cost={cost})"


def test_a_gain_below_a_fiftieth_is_nothing_to_choose():
    result = find(quadratic(offset=1000.0), optax.sgd, **at(1.0, -2.0, 3.0))
    assert result.outcome is not Outcome.found
    assert 0 < result.gain < 0.02
    assert float(result.window.max_lr) > 0
    assert result.plot().get_title(loc="left") == "no learning rate: nothing_to_gain"


def test_of_a_loss_that_is_not_positive_no_share_is_asked_for():
    result = find(quadratic(offset=-1000.0), optax.sgd, **at(1.0, -2.0, 3.0))
    assert result.outcome is Outcome.found
    assert math.isnan(result.gain)
    assert "no share can be taken" in result.summary()


def test_only_where_everything_diverges_it_raises():
    """A momentum that is nan spoils every lane, not the checkpoint itself."""
    broken = {"opt_state": _adam(mu=jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), _adam()[0].mu))}
    with pytest.raises(lrjax.LRNotFound) as caught:
        find(REGRESSION, optax.adam, **checkpoint("adam") | broken, **RANGE)
    assert caught.value.result.outcome is Outcome.all_diverged
    result = find(REGRESSION, optax.adam, **checkpoint("adam") | broken, **RANGE, throw=False)
    assert result.outcome is Outcome.all_diverged
    assert math.isnan(result.lr)
    assert result.summary().startswith("Every learning rate diverged. Tried: ")


def test_the_same_key_gives_the_same_answer_and_another_one_other_batches():
    same, other = (find(REGRESSION, optax.adam, **checkpoint("adam"), **RANGE, key=key) for key in (NEW, KEY))
    np.testing.assert_array_equal(same.curve.losses, searched("adam").curve.losses)
    assert same.lr == searched("adam").lr
    assert np.all(other.curve.final[:, -3:] != same.curve.final[:, -3:])


@pytest.mark.parametrize("found", [True, False])
def test_json_gives_back_the_same(tmp_path, found):
    result = searched("adam") if found else find(FLAT, optax.sgd, **at(0.0, 0.0, 0.0))
    result.to_json(tmp_path / "refind.json")
    again = lrjax.LRResult.from_json(tmp_path / "refind.json")
    assert (again.outcome is Outcome.found) is (result.outcome is Outcome.found) is found
    assert again.summary() == result.summary()
    assert repr(again) == repr(result)
    np.testing.assert_array_equal(again.curve.losses, result.curve.losses)
    assert again.plot().get_ylabel() == f"validation loss after {STEPS} updates"


def test_frozen_parameters_stay_and_their_moments_are_left_out():
    task = lrjax.Task(
        init=REGRESSION.init,
        loss_fn=REGRESSION.loss_fn,
        sample_batches=REGRESSION.sample_batches,
        eval_batches=REGRESSION.eval_batches,
        trainable={"w": True, "v": False, "b": True},
    )
    start = checkpoint("adam")
    adam, rest = start["opt_state"]
    without = adam._replace(mu=adam.mu | {"v": None}, nu=adam.nu | {"v": None})
    of_all = find(task, optax.adam, **start, **RANGE)
    of_some = find(task, optax.adam, params=start["params"], opt_state=(without, rest), **RANGE)
    np.testing.assert_array_equal(of_all.curve.losses, of_some.curve.losses)
    assert of_all.curve.final[0, 0] != searched("adam").curve.final[0, 0]


def test_what_a_restored_checkpoint_may_be_is_taken_as_it_is():
    """Lists for tuples, NumPy for JAX, a Python number for a learning rate."""
    start = checkpoint("injected")
    restored = jax.tree.map(np.asarray, start["opt_state"])
    held = restored.hyperparams | {"learning_rate": 0.02}
    restored = restored._replace(hyperparams=held, inner_state=list(restored.inner_state))
    result = find(REGRESSION, injected, params=jax.tree.map(np.asarray, start["params"]), opt_state=restored, **RANGE)
    np.testing.assert_array_equal(result.curve.losses, searched("injected").curve.losses)


def test_a_checkpoint_of_flax_nnx_is_taken_as_it_is():
    """Each leaf in a Variable, as `nnx.Optimizer.opt_state` and `nnx.state(model)` have them."""
    nnx = pytest.importorskip("flax.nnx")
    boxed = jax.tree.map(nnx.Param, checkpoint("adam"))
    result = find(REGRESSION, optax.adam, **boxed, **RANGE)
    np.testing.assert_array_equal(result.curve.losses, searched("adam").curve.losses)


def test_a_learning_rate_held_in_another_precision_does_not_matter():
    """`inject_hyperparams` makes a Python number of the parameters' type, a traced one stays float32."""
    task = lrjax.Task(
        init=jnp.ones(3, jnp.bfloat16),
        loss_fn=lambda w, batch, key: jnp.sum(w.astype(jnp.float32) ** 2),
        sample_batches=lambda key, num_steps: jnp.zeros((num_steps, 1)),
        eval_batches=[jnp.zeros(1)],
    )
    factory = optax.inject_hyperparams(optax.sgd)
    state = factory(0.01).init(task.init)
    assert state.hyperparams["learning_rate"].dtype == jnp.bfloat16
    assert find(task, factory, params=task.init, opt_state=state).outcome is Outcome.found


def test_batches_of_an_iterable_are_the_next_ones():
    batches = [(x, y) for x, y in zip(*REGRESSION.sample_batches(seed_keys(NEW, 0)[1], STEPS), strict=True)]
    task = lrjax.Task.from_batches(
        REGRESSION.init, REGRESSION.loss_fn, train_batches=batches, eval_batches=REGRESSION.eval_batches
    )
    result = find(task, optax.adam, **checkpoint("adam"), **RANGE)
    np.testing.assert_array_equal(result.curve.losses, searched("adam").curve.losses)


def test_ctrl_c_gives_what_is_known():
    def stop(event: lrjax.Progress) -> None:
        if event.stage == "refining" and event.updates:
            raise KeyboardInterrupt

    with pytest.raises(lrjax.SearchInterrupted) as caught:
        find(REGRESSION, optax.adam, **checkpoint("adam"), **RANGE, progress=stop)
    assert caught.value.result.num_trials >= 5


def _bad(task: Any = REGRESSION, factory: Any = optax.adam, **changed: Any) -> Any:
    return lambda: find(task, factory, **checkpoint("adam") | RANGE | changed)


def _params(**changed: Any) -> Any:
    return checkpoint("adam")["params"] | changed


def _adam(**changed: Any) -> Any:
    adam, rest = checkpoint("adam")["opt_state"]
    return (adam._replace(**changed), rest)


def _stateful(**changed: Any) -> Any:
    return lambda: find(STATEFUL, optax.adam, **batch_norm_checkpoint() | changed)


def momentum(lr: Any) -> Any:
    return optax.sgd(lr, momentum=0.9)


OF_ADAM = "must be a state of adam for these parameters, but "
CASES = {
    "no task": (lambda: _bad(None)(), TypeError, ["`find_lr(task=...)`", "got None"]),
    "an optimizer": (
        lambda: _bad(factory=optax.adam(0.1))(),
        TypeError,
        ["`find_lr(make_optimizer=...)`", "optax.adam"],
    ),
    "a number for a key": (lambda: _bad(key=0)(), TypeError, ["`find_lr(key=...)`", "jax.random.key(0)"]),
    "step after the end": (
        lambda: _bad(step=100)(),
        ValueError,
        ["`Checkpoint(step=...)` must be below train_steps=100, got 100", "the whole training"],
    ),
    "negative step": (lambda: _bad(step=-1)(), ValueError, ["`Checkpoint(step=...)`", ">= 0", "got -1"]),
    "step as a float": (lambda: _bad(step=12.0)(), TypeError, ["`Checkpoint(step=...)`", "got 12.0", "Write 12"]),
    "no training": (lambda: _bad(train_steps=0)(), ValueError, ["`find_lr(train_steps=...)`", ">= 1", "got 0"]),
    "exponents": (lambda: _bad(min_lr=-5)(), ValueError, ["`StepSampling(min_lr=...)`", "write 1e-5"]),
    "no seeds": (lambda: _bad(num_seeds=0)(), ValueError, ["`StepSampling(num_seeds=...)`", "got 0"]),
    "executor": (lambda: _bad(executor="pmap")(), ValueError, ["`find_lr(executor=...)`", "'pmap'"]),
    "parameters of another shape": (
        lambda: _bad(params=_params(v=jnp.zeros(9)))(),
        ValueError,
        ["`Checkpoint(params=...)` must be like that of Task(init=...)", "['v'] is float32[9] instead of float32[8]"],
    ),
    "parameters of another type": (
        lambda: _bad(params=_params(b=jnp.zeros((), jnp.bfloat16)))(),
        ValueError,
        ["`Checkpoint(params=...)`", "['b'] is bfloat16[] instead of float32[]"],
    ),
    "a parameter too few": (lambda: _bad(params={"w": _params()["w"]})(), ValueError, ["['b'], float32[], is missing"]),
    "a parameter too many": (
        lambda: _bad(params=_params(c=jnp.zeros(2)))(),
        ValueError,
        ["['c'], float32[2], is too much"],
    ),
    "a string among the parameters": (
        lambda: _bad(params=_params(v="v"))(),
        TypeError,
        ["`Checkpoint(params=...)`", "'v'"],
    ),
    "no state": (
        lambda: _bad(opt_state=None)(),
        ValueError,
        [OF_ADAM + "(root) is None instead of a tuple", "restore a saved"],
    ),
    "a state of another shape": (
        lambda: _bad(opt_state=_adam(mu=_params(v=jnp.zeros(9))))(),
        ValueError,
        ["`Checkpoint(opt_state=...)` " + OF_ADAM, "[0].mu['v'] is float32[9] instead of float32[8]"],
    ),
    "a state of another optimizer": (
        lambda: _bad(opt_state=momentum(0.1).init(_params()))(),
        ValueError,
        [OF_ADAM + "[0].count, int32[], is missing"],
    ),
    "a state of a larger optimizer": (
        lambda: _bad(factory=momentum, opt_state=(optax.TraceState(_params()), (jnp.zeros(2),)))(),
        ValueError,
        ["a state of momentum for", "[1][0], float32[2], is too much"],
    ),
    "an injected constant": (
        lambda: _bad(factory=lambda lr: injected(0.05), **checkpoint("injected"))(),
        ValueError,
        ["`find_lr(make_optimizer=...)` must use its argument", "all 5 learning rates"],
    ),
    "rprop": (
        lambda: _bad(factory=optax.rprop, opt_state=optax.rprop(0.1).init(_params()))(),
        ValueError,
        ["must ask for its learning rate at every update", "rprop makes float32[8] of it at [0].step_sizes['v']"],
    ),
    "no model state": (
        lambda: _stateful(model_state=None)(),
        ValueError,
        ["`Checkpoint(model_state=...)` is needed", "got None"],
    ),
    "a model state for nothing": (
        lambda: _bad(model_state={})(),
        ValueError,
        ["`Checkpoint(model_state=...)` must be None", "described by `Task.stateful`"],
    ),
    "a model state of another shape": (
        lambda: _stateful(model_state=batch_norm_checkpoint()["model_state"] | {"var": jnp.ones(7)})(),
        ValueError,
        ["`Checkpoint(model_state=...)` must be like that of", "['var'] is float32[7] instead of float32[6]"],
    ),
    "parameters that are nan": (
        lambda: _bad(params=_params(b=jnp.asarray(jnp.nan)))(),
        ValueError,
        ["must be finite, got nan"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_arguments_are_named(call, error, parts):
    check_message(call, error, parts)
