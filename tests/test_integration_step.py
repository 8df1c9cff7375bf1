"""step_task: a training step of one's own, in every verb."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import budgeted, sampled
from marks import slow
from problems import regression
from tiny import check_message
from toy_data import KEY, same

import lrjax
from lrjax.integrations import step_task

TASK = regression()
ADAM = optax.inject_hyperparams(optax.adam)(learning_rate=0.5)


def begin(key):
    params = TASK.init(key)
    return {"params": params, "opt": ADAM.init(params), "count": 0, "activation": jnp.tanh, "name": "net"}


def step(state, batch):
    loss, grads = jax.value_and_grad(TASK.loss_fn)(state["params"], batch, None)
    updates, opt = ADAM.update(grads, state["opt"])
    params = optax.apply_updates(state["params"], updates)
    return state | {"params": params, "opt": opt, "count": state["count"] + 1}, {"loss": loss}


def evaluate(state):
    return evaluate_params(state["params"])


def evaluate_params(params):
    return TASK.loss_fn(params, TASK.eval_batches[0], None)


def set_lr(state, lr):
    state["opt"].hyperparams["learning_rate"] = lr
    return state


def batches_of(key, seeds=1, num_steps=5):
    """The batches that find_lr gives its seeds, one after the other."""
    for seed in range(seeds):
        data_key = jax.random.split(jax.random.fold_in(key, seed), 3)[1]
        stacked = TASK.sample_batches(data_key, num_steps)
        yield from (jax.tree.map(lambda leaf, t=t: leaf[t], stacked) for t in range(num_steps))


OPTIONS = {"num_steps": 5, "executor": "map", "key": KEY, "min_lr": 1e-4, "refine": None, "extend_range": False}


@pytest.mark.parametrize("executor", ["map", slow("loop")])
def test_the_curve_is_that_of_the_same_problem_as_a_task(executor):
    task = step_task(step, begin, list(batches_of(KEY, 2)), evaluate, set_lr)
    how = {"key": KEY, "num_steps": 5, "num_seeds": 2, "horizons": (2,), "executor": executor}
    own = lrjax.sample_losses(task, task.set_lr, [1e-3, 0.1], **how)
    plain = lrjax.sample_losses(TASK, optax.adam, [1e-3, 0.1], **how)
    np.testing.assert_allclose(own.losses, plain.losses, rtol=1e-4)
    np.testing.assert_allclose(own.initial_loss, plain.initial_loss, rtol=1e-6)


LONG = {"key": KEY, "num_seeds": 1, "executor": "map"}
LRS = [1e-3, 0.03, 0.1]
VERBS = {
    "find_lr": lambda task, make: sampled(task, make, num_steps=5, refine=None, min_lr=1e-4, **LONG).curve.final,
    "sample_losses": lambda task, make: lrjax.sample_losses(task, make, LRS, **LONG, num_steps=5).final,
    "search": lambda task, make: budgeted(task, make, **LONG, train_steps=50).lr,
    "sweep": lambda task, make: lrjax.sweep(task, make, LRS, **LONG, train_steps=20, eval_every=10).metrics["loss"],
    "range_test": lambda task, make: lrjax.range_test(task, make, key=KEY, num_steps=20).losses,
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_it_and_finds_what_it_finds_for_the_same_problem(verb):
    task = step_task(step, begin, list(batches_of(KEY, 1, 60)), evaluate, set_lr)
    own, plain = VERBS[verb](task, task.set_lr), VERBS[verb](TASK, optax.adam)
    np.testing.assert_allclose(own, plain, rtol=1e-3)


def test_a_sweep_names_what_set_lr_takes_and_shows_the_loss_that_step_returns():
    momentum = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.5)

    def own(state, batch):
        loss, grads = jax.value_and_grad(TASK.loss_fn)(state[0], batch, None)
        updates, opt = momentum.update(grads, state[1])
        return (optax.apply_updates(state[0], updates), opt), loss

    def put(state, learning_rate, momentum):
        return optax.tree_utils.tree_set(state, learning_rate=learning_rate, momentum=momentum)

    state = TASK.init(jax.random.split(jax.random.fold_in(KEY, 0), 3)[0])
    task = step_task(
        own, (state, momentum.init(state)), list(batches_of(KEY, 1, 10)), lambda s: evaluate_params(s[0]), put
    )
    how = {"key": KEY, "train_steps": 10, "executor": "map"}
    grid = {"learning_rate": [0.01, 0.1], "momentum": [0.0, 0.9]}
    got, plain = lrjax.sweep(task, task.set_lr, grid, **how), lrjax.sweep(TASK, optax.sgd, grid, **how)
    for name in ("loss", "train_loss"):
        np.testing.assert_allclose(got.metrics[name], plain.metrics[name], rtol=1e-4)
    with pytest.raises(ValueError, match=r"names 'momemtum', which .* Did you mean 'momentum'"):
        lrjax.sweep(task, task.set_lr, {"learning_rate": [0.1], "momemtum": [0.9]}, **how)


def test_a_range_test_reads_evaluate_where_step_returns_no_loss():
    silent = step_task(lambda *now: step(*now)[0], begin, list(batches_of(KEY, 1, 20)), evaluate, set_lr)
    test = lrjax.range_test(silent, silent.set_lr, key=KEY, num_steps=20)
    state = begin(jax.random.split(jax.random.fold_in(KEY, 0), 3)[0])
    for lr, loss, batch in zip(test.lrs, test.losses, batches_of(KEY, 1, 20), strict=False):
        np.testing.assert_allclose(loss, evaluate(state), rtol=1e-3)
        state = step(set_lr(state, jnp.float32(lr)), batch)[0]


def test_inject_hyperparams_needs_no_set_lr():
    task = step_task(step, begin, list(batches_of(KEY)), evaluate)
    own = lrjax.sample_losses(task, task.set_lr, LRS, key=KEY, num_steps=5, executor="map")
    task = step_task(step, begin, list(batches_of(KEY)), evaluate, set_lr)
    given = lrjax.sample_losses(task, task.set_lr, LRS, key=KEY, num_steps=5, executor="map")
    np.testing.assert_array_equal(own.losses, given.losses)
    bad = lambda: step_task(lambda s, b: s, W, [np.zeros(1)], lambda s: s["w"].sum())  # noqa: E731
    check_message(bad, ValueError, ["(set_lr=...)", "none by the name learning_rate", "inject_hyperparams"])


def test_one_lr_is_a_plain_loop_of_the_step():
    state = begin(jax.random.key(7))
    task = step_task(step, state, list(batches_of(KEY)), evaluate, set_lr)
    got = lrjax.sample_losses(task, task.set_lr, [0.03], key=KEY, num_steps=5, executor="map").final[0, 0]
    state = set_lr(begin(jax.random.key(7)), jnp.float32(0.03))
    for batch in batches_of(KEY):
        state, _ = step(state, batch)
    np.testing.assert_allclose(got, evaluate(state), rtol=1e-6)


def test_the_result_is_a_whole_one_and_the_state_is_as_it_was():
    state, twin = begin(jax.random.key(7)), begin(jax.random.key(7))
    task = step_task(step, state, list(batches_of(KEY, 2)), evaluate, set_lr)
    result = sampled(task, task.set_lr, **OPTIONS)
    assert result.outcome.name == "found"
    assert result.window.min_lr <= result.lr <= result.window.max_lr
    assert "Learning rate" in result.summary()
    assert result.fingerprint["optimizer"] == "set_lr"
    assert result.curve.final.shape[0] == 2
    assert float(result.curve.final[0, 0]) != float(result.curve.final[1, 0])
    assert jax.tree.structure(state) == jax.tree.structure(twin)
    assert same(state["params"], twin["params"])
    assert same(state["opt"], twin["opt"])
    assert state["count"] == 0


def test_python_numbers_that_the_step_reads_in_python_stay_python_numbers():
    def branching(state, batch):
        assert isinstance(state["power"], int)
        rate = state["lr"] if state["power"] == 2 else 0.0
        return state | {"w": state["w"] - rate * jax.grad(lambda w: w ** state["power"])(state["w"])}

    task = step_task(
        branching,
        {"w": jnp.float32(1.0), "power": 2, "lr": 0.0},
        [jnp.zeros(1)] * 3,
        lambda state: state["w"] ** 2,
        lambda state, lr: state | {"lr": lr},
    )
    got = lrjax.sample_losses(task, task.set_lr, [0.1, 0.2], key=KEY, num_steps=3, executor="map").final[0]
    np.testing.assert_allclose(got, [(0.8**3) ** 2, (0.6**3) ** 2], rtol=1e-6)


def test_what_moves_without_the_lr_does_not_count():
    def drifting(state, batch):
        return state | {"w": state["w"] - state["lr"] * state["w"], "drift": state["drift"] + 1.0}

    task = step_task(
        drifting,
        {"w": jnp.float32(1.0), "drift": jnp.float32(0.0), "lr": jnp.float32(0.0)},
        [jnp.zeros(1)] * 3,
        lambda state: {"loss": state["w"] ** 2 + state["drift"], "drift": state["drift"]},
        lambda state, lr: state | {"lr": lr},
    )
    curve = lrjax.sample_losses(task, task.set_lr, [0.1, 0.5], key=KEY, num_steps=3, horizons=(1,), executor="map")
    np.testing.assert_allclose(curve.initial_loss, [1.0 + 3.0])
    np.testing.assert_allclose(curve.metrics["drift"][:, 0, 0], [1.0, 3.0])


def test_a_step_that_makes_its_own_data_needs_no_batches():
    def alone(state):
        key, now = jax.random.split(state["key"])
        return state | {"w": state["w"] - state["lr"] * (state["w"] + 0.1 * jax.random.normal(now)), "key": key}

    def begin(key):
        return {"w": jnp.float32(1.0), "key": key, "lr": jnp.float32(0.0)}

    how = (lambda s: s["w"] ** 2, lambda s, lr: s | {"lr": lr})
    own = step_task(alone, begin, None, *how)
    dummy = step_task(lambda state, batch: alone(state), begin, [jnp.zeros(1)] * 6, *how)
    found = [
        lrjax.sample_losses(task, task.set_lr, [0.1, 0.5], key=KEY, num_steps=3, num_seeds=2, executor="map").losses
        for task in (own, dummy)
    ]
    np.testing.assert_array_equal(*found)
    assert lrjax.sweep(own, own.set_lr, [0.1, 0.5], key=KEY, train_steps=5, executor="map").num_trials == 2
    bad = lambda: step_task(lambda state, batch: state, begin, None, *how)  # noqa: E731
    check_message(bad, TypeError, ["step(state) -> state", "<lambda>(state, batch)`"])


def test_random_keys_in_the_state_are_carried():
    def noisy(state, batch):
        key, now = jax.random.split(state["key"])
        return state | {"w": state["w"] + state["lr"] * jax.random.normal(now), "key": key}

    state = {"w": jnp.float32(0.0), "key": jax.random.key(9), "lr": jnp.float32(0.0)}
    how = (noisy, state, [jnp.zeros(1)] * 2, lambda s: s["w"], lambda s, lr: s | {"lr": lr})
    task = step_task(*how)
    got = lrjax.sample_losses(task, task.set_lr, [1.0, 2.0], key=KEY, num_steps=2, executor="vmap").final[0]
    keys = [jax.random.split(jax.random.key(9))]
    keys.append(jax.random.split(keys[0][0]))
    wanted = sum(float(jax.random.normal(now)) for _, now in keys)
    np.testing.assert_allclose(got, [wanted, 2 * wanted], rtol=1e-5)


W = {"w": jnp.ones(2), "lr": jnp.float32(0.0)}


def call(**changed):
    good = {
        "step": lambda state, batch: state | {"w": state["w"] * (1 - state["lr"])},
        "state": W,
        "batches": [np.zeros(1, np.float32)] * 6,
        "evaluate": lambda state: jnp.sum(state["w"] ** 2),
        "set_lr": lambda state, lr: state | {"lr": lr},
    }
    options = {name: changed.pop(name) for name in list(changed) if name not in good}
    arguments = good | changed

    def find():
        task = step_task(*arguments.values())
        return sampled(task, task.set_lr, **({"key": KEY, "num_steps": 2, "executor": "map"} | options))

    return find


CASES = {
    "a step of one argument": (call(step=lambda s: s), TypeError, ["step(state, batch) -> state", "<lambda>(s)`"]),
    "a step without return": (call(step=lambda s, b: None), ValueError, ["(step=...)", "forget its `return`?"]),
    "a step of another structure": (
        call(step=lambda s, b: {"w": s["w"]}),
        ValueError,
        ["(step=...)", "but ['lr'], float32[], is missing."],
    ),
    "a step that returns the state second": (
        call(step=lambda s, b: (0.0, s)),
        ValueError,
        ["returns the state second", "step(state, batch)[::-1]"],
    ),
    "a step of another dtype": (
        call(step=lambda s, b: s | {"w": s["w"].astype(jnp.bfloat16)}),
        ValueError,
        ["keep the shapes and dtypes", "bfloat16[2] at ['w'] instead of float32[2]", "Cast it back"],
    ),
    "a step of another shape": (
        call(step=lambda s, b: s | {"w": s["w"][:1]}),
        ValueError,
        ["float32[1] at ['w'] instead of float32[2]"],
    ),
    "a step that branches": (
        call(step=lambda s, b: s if s["w"][0] > 0 else W),
        TypeError,
        ["`step` must be made of jax.numpy operations", "test_integration_step.py"],
    ),
    "a set_lr that does nothing": (
        call(set_lr=lambda s, lr: s),
        ValueError,
        ["(set_lr=...)", "the same state for 0.001 and 1", "inject_hyperparams"],
    ),
    "a set_lr without return": (call(set_lr=lambda s, lr: None), ValueError, ["(set_lr=...)", "forget its `return`?"]),
    "a set_lr that changes a shape": (
        call(set_lr=lambda s, lr: s | {"lr": jnp.full(2, lr)}),
        ValueError,
        ["(set_lr=...)", "float32[2] at ['lr'] instead of float32[]", "jnp.full_like(old, lr)"],
    ),
    "a set_lr that loses a key": (
        call(set_lr=lambda s, lr: {"lr": lr}),
        ValueError,
        ["(set_lr=...)", "['w'], float32[2], is missing"],
    ),
    "a set_lr that adds a key": (
        call(set_lr=lambda s, lr: s | {"rate": lr}),
        ValueError,
        ["(set_lr=...)", "['rate'], float32[], is too much"],
    ),
    "a set_lr of one argument": (call(set_lr=lambda s: s), TypeError, ["set_lr(state, lr) -> state"]),
    "an evaluate that returns a vector": (
        call(evaluate=lambda s: s["w"]),
        ValueError,
        ["step_task(evaluate=...)(state)` must be a scalar", "float32[2]", "jnp.mean"],
    ),
    "an evaluate without loss": (call(evaluate=lambda s: {"fid": s["lr"]}), ValueError, ['"loss"', "['fid']"]),
    "an evaluate that returns None": (call(evaluate=lambda s: None), TypeError, ["(evaluate=...)", "got NoneType"]),
    "an evaluate with a batch": (call(evaluate=lambda s, b: 0.0), TypeError, ["evaluate(state) -> loss"]),
    "no arrays": (call(state={}), ValueError, ["(state=...)", "got {}", "holds none"]),
    "one array as batches": (call(batches=np.zeros((6, 1))), TypeError, ["(batches=...)", "list(array)"]),
    "an array for every epoch": (
        call(batches=lambda epoch: np.zeros((6, 1))),
        TypeError,
        ["(batches=...)", "(ndarray) for epoch 0", "list(array)"],
    ),
    "batches a number": (call(batches=3), TypeError, ["(batches=...)", "got 3 (int)"]),
    "too few batches": (
        call(batches=[np.zeros(1)]),
        ValueError,
        ["(batches=...)", "at least 2 batches", "ended after 1", "`batches=lambda"],
    ),
    "a key that is a number": (call(key=0), TypeError, ["find_lr(key=...)", "jax.random.key(0)"]),
    "a misspelt option": (call(steps=3), TypeError, ["steps"]),
    "an lr of 0 that the state cannot hold": (
        call(set_lr=lambda s, lr: s | {"lr": jnp.log(lr)}, step=lambda s, b: s | {"w": s["w"] * s["lr"]}),
        ValueError,
        ["at learning rate 0 must be finite", "can set_lr put 0 into the state?"],
    ),
}


@pytest.mark.parametrize("verb", [lrjax.find_lr, lrjax.range_test])
def test_an_optimizer_in_the_place_of_set_lr_is_answered_with_it(verb):
    with pytest.raises(TypeError, match=r"the task's own `set_lr`, .*, got adam\. Write find_lr\(task, task.set_lr"):
        verb(step_task(step, begin, [TASK.eval_batches[0]] * 200, evaluate), optax.adam, key=KEY)


@pytest.mark.parametrize(("bad", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_steps_are_explained(bad, error, parts):
    check_message(bad, error, parts)


def test_a_learning_rate_that_does_not_matter_is_nothing_moved():
    with pytest.raises(lrjax.LRNotFound) as caught:
        call(step=lambda s, b: s | {"w": 0.5 * s["w"]}, refine=None, extend_range=False)()
    assert caught.value.result.outcome.name == "nothing_moved"
