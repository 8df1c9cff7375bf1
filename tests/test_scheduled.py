"""Hyperparameters on schedules: what plain Optax does with them, in every place, type and way of running."""

import functools
import math
import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow
from tiny import check_message

import lrjax
from lrjax import schedules

STEPS = 8
LAST = 2**31 - 1
AT = np.arange(STEPS)
LR = schedules.one_cycle(0.1, total_steps=STEPS)
MOMENTUM = schedules.one_cycle_momentum(STEPS)
DECAY = schedules.linear_decay(0.1, 0.0, STEPS)

RNG = np.random.default_rng(0)
PARAMS = {"head": {"w": RNG.normal(size=(3, 2)), "none": None}, "trunk": {"w": RNG.normal(size=4), "deep": {"b": None}}}
GRADS = jax.tree.map(lambda leaf: RNG.normal(size=(STEPS, *leaf.shape)), PARAMS)


def cast(tree: Any, dtype: Any = jnp.float32) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def scan(optimizer: Any, params: Any, grads: Any, extra: Any) -> tuple[Any, Any]:
    """Parameters and state after every update; a scan demands that the state keeps its types."""

    def step(carry: Any, given: Any) -> Any:
        params, state = carry
        updates, state = optimizer.update(given[0], state, params, **given[1])
        new = (optax.apply_updates(params, updates), state)
        return new, new

    return jax.lax.scan(step, (params, optimizer.init(params)), (grads, extra))[1]


def compiled(optimizer: Any, dtype: Any = jnp.float32, **extra: Any) -> tuple[Any, Any]:
    return jax.jit(functools.partial(scan, optimizer))(cast(PARAMS, dtype), cast(GRADS, dtype), extra)


def history(optimizer: Any, **extra: Any) -> tuple[Any, Any]:
    """The same op by op: faster for most optimizers, not for those with a condition."""
    params, grads, after = cast(PARAMS), cast(GRADS), []
    state = optimizer.init(params)
    for step in range(STEPS):
        now, more = jax.tree.map(lambda leaf: leaf[step], (grads, extra))
        updates, state = optimizer.update(now, state, params, **more)
        params = optax.apply_updates(params, updates)
        after.append((params, state))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *after)


def states_of(optimizer: Any, count: int = 3) -> tuple[Any, list[Any]]:
    """The compiled update, and the states before the first and after every one."""
    if not isinstance(optimizer, optax.MultiSteps):  # which takes them by itself
        optimizer = optax.with_extra_args_support(optimizer)
    update = jax.jit(functools.partial(optimizer.update, value=1.0))
    states = [optimizer.init(cast(PARAMS))]
    for _ in range(count):
        states.append(update(cast(PARAMS), states[-1], cast(PARAMS))[1])
    return update, states


def dtypes(tree: Any) -> list[Any]:
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]


def check_same(ours: Any, expected: Any, rtol: float = 2e-6) -> None:
    chex.assert_trees_all_close(ours, expected, rtol=rtol, atol=rtol)


def clipped(learning_rate: Any, max_norm: Any) -> Any:
    return optax.chain(optax.clip_by_global_norm(max_norm), optax.adam(learning_rate))


def reduced_at_once(factor: Any) -> Any:
    return lrjax.schedules.reduce_on_plateau(factor=factor, patience=0)


NESTEROV = functools.partial(optax.sgd, nesterov=True)
OPTAX = {  # ours, and the same optimizer as Optax makes it
    "sgd": (lrjax.schedules.scheduled(optax.sgd, learning_rate=LR), optax.sgd(LR)),
    "momentum": (lrjax.schedules.scheduled(NESTEROV, learning_rate=LR, momentum=0.9), NESTEROV(LR, momentum=0.9)),
    "momentum schedule": (
        lrjax.schedules.scheduled(optax.sgd, learning_rate=LR, momentum=MOMENTUM),
        optax.inject_hyperparams(optax.sgd)(learning_rate=LR, momentum=MOMENTUM),
    ),
    "adam": (lrjax.schedules.scheduled(optax.adam, learning_rate=LR), optax.adam(LR)),
    "adam b1": (
        lrjax.schedules.scheduled(optax.adam, learning_rate=LR, b1=MOMENTUM),
        optax.inject_hyperparams(optax.adam)(learning_rate=LR, b1=MOMENTUM),
    ),
    "adam eps": (
        lrjax.schedules.scheduled(optax.adam, learning_rate=0.1, eps=DECAY),
        optax.inject_hyperparams(optax.adam)(learning_rate=0.1, eps=DECAY),
    ),
    "adamw": (
        lrjax.schedules.scheduled(optax.adamw, learning_rate=LR, weight_decay=DECAY),
        optax.adamw(LR, weight_decay=DECAY),
    ),
    "lion": (
        lrjax.schedules.scheduled(optax.lion, learning_rate=LR, weight_decay=0.1),
        optax.lion(LR, weight_decay=0.1),
    ),
    "around a chain": (
        lrjax.schedules.scheduled(clipped, learning_rate=LR, max_norm=schedules.linear_decay(2.0, 0.1, STEPS)),
        optax.inject_hyperparams(clipped)(learning_rate=LR, max_norm=optax.linear_schedule(2.0, 0.1, STEPS)),
    ),
}
SGD, ADAM = (
    lrjax.schedules.scheduled(optax.sgd, learning_rate=LR),
    lrjax.schedules.scheduled(optax.adam, learning_rate=DECAY),
)
PLAIN_SGD, PLAIN_ADAM = optax.sgd(LR), optax.adam(DECAY)
LABELS = {"head": "head", "trunk": "trunk"}


def groups(head: Any, trunk: Any) -> Any:
    return optax.partition({"head": head, "trunk": trunk}, LABELS)


PLACES = {
    "last in a chain": lambda sgd, adam: optax.chain(optax.clip_by_global_norm(0.5), adam),
    "first in a chain": lambda sgd, adam: optax.chain(adam, optax.add_decayed_weights(-0.01)),
    "two in a chain": lambda sgd, adam: optax.chain(adam, sgd),
    "groups": groups,
    "groups in a chain": lambda sgd, adam: optax.chain(optax.clip(1.0), groups(sgd, adam)),
    "masked": lambda sgd, adam: optax.masked(adam, {"head": True, "trunk": False}),
    "schedule free": lambda sgd, adam: optax.contrib.schedule_free(sgd, learning_rate=0.1),
    "MultiSteps": lambda sgd, adam: optax.MultiSteps(adam, 3),
    "if finite": lambda sgd, adam: optax.apply_if_finite(adam, 3),
}
CONDITIONAL = {"MultiSteps", "if finite"}


@pytest.mark.parametrize("name", OPTAX)
def test_as_optax_does_it(name):
    ours, expected = (history(optimizer)[0] for optimizer in OPTAX[name])
    check_same(ours, expected)


@pytest.mark.parametrize("name", PLACES)
def test_in_every_place(name):
    place, run = PLACES[name], compiled if name in CONDITIONAL else history
    check_same(run(place(SGD, ADAM))[0], run(place(PLAIN_SGD, PLAIN_ADAM))[0])


def test_sgd_is_optax_to_the_last_bit():
    chex.assert_trees_all_equal(history(SGD)[0], history(PLAIN_SGD)[0])


def test_scheduled_momentum_is_a_loop_in_numpy():
    velocity, w = np.zeros((3, 2)), PARAMS["head"]["w"]
    ours = history(OPTAX["momentum schedule"][0])[0]["head"]["w"]
    for step in range(STEPS):
        velocity = float(MOMENTUM(step)) * velocity + GRADS["head"]["w"][step]
        w = w - float(LR(step)) * velocity
        np.testing.assert_allclose(ours[step], w, rtol=1e-5, atol=1e-6)


HALVES = {
    "adam": lrjax.schedules.scheduled(optax.adam, learning_rate=LR, b1=MOMENTUM, b2=0.999, eps=1e-8),
    "adamw": lrjax.schedules.scheduled(
        functools.partial(optax.adamw, mu_dtype=jnp.float32), learning_rate=LR, weight_decay=DECAY
    ),
    "momentum": lrjax.schedules.scheduled(optax.sgd, learning_rate=LR, momentum=MOMENTUM),
    "lion": lrjax.schedules.scheduled(optax.lion, learning_rate=LR, b1=0.9, b2=0.99),
}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, slow(jnp.float16)], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", HALVES)
def test_half_precision_keeps_its_types_and_float32_hyperparams(name, dtype):
    optimizer, start = HALVES[name], cast(PARAMS, dtype)
    params, states = compiled(optimizer, dtype)
    before = optimizer.init(start)
    updates = jax.eval_shape(optimizer.update, start, before, start)[0]
    assert set(dtypes(params)) == set(dtypes(updates)) == {np.dtype(dtype)}
    assert dtypes(states) == dtypes(before)
    assert jax.tree.structure(states) == jax.tree.structure(before)
    used = lrjax.schedules.current_hyperparams(states)
    assert set(dtypes(used)) == {np.dtype(np.float32)}
    np.testing.assert_array_equal(used["learning_rate"], LR(AT))
    check_same(cast(params), history(optimizer)[0], rtol=16 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("rate", [0.1, optax.constant_schedule(0.1)], ids=["number", "schedule"])
def test_adam_in_bfloat16_is_finite_where_inject_hyperparams_is_not(rate):
    """optax#1414: the hyperparameters are cast to the parameters' type, and b2 = 0.999 to 1."""
    ones = jnp.ones(3, jnp.bfloat16)
    theirs = optax.inject_hyperparams(optax.adam)(learning_rate=rate)
    ours = lrjax.schedules.scheduled(optax.adam, learning_rate=rate, b1=0.9, b2=0.999, eps=1e-8)
    assert np.isnan(theirs.update(ones, theirs.init(ones), ones)[0].astype(jnp.float32)).all()
    with jax.debug_nans(True):
        updates, _ = ours.update(ones, ours.init(ones), ones)
        np.testing.assert_array_equal(updates, jnp.bfloat16(-0.1))
        with pytest.raises(FloatingPointError):
            theirs.update(ones, theirs.init(ones), ones)


def test_a_small_eps_survives_in_float16():
    zeros = jnp.zeros(2, jnp.float16)
    ours = lrjax.schedules.scheduled(optax.adam, learning_rate=0.1, eps=1e-8)
    np.testing.assert_array_equal(ours.update(zeros, ours.init(zeros))[0], zeros)
    theirs = optax.inject_hyperparams(optax.adam)(learning_rate=0.1, eps=1e-8)
    assert np.isnan(theirs.update(zeros, theirs.init(zeros), zeros)[0]).all()


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16], ids=["float64", "bfloat16"])
def test_x64_changes_no_type(dtype):
    with jax.enable_x64(True):
        optimizer = lrjax.schedules.scheduled(optax.sgd, learning_rate=LR, momentum=jnp.float64(0.9))
        params, states = compiled(optimizer, dtype)
        assert dtypes(states) == dtypes(optimizer.init(cast(PARAMS, dtype)))
        assert set(dtypes(params)) == {np.dtype(dtype)}
        assert set(dtypes((states.hyperparams, states.computed))) == {np.dtype(np.float32)}
        assert states.step.dtype == np.int32
        rates = np.asarray(LR(AT), np.float64)
    if dtype == jnp.float64:
        velocity, w = np.zeros(4), PARAMS["trunk"]["w"]
        for rate, grad in zip(rates, GRADS["trunk"]["w"], strict=True):
            velocity = float(np.float32(0.9)) * velocity + grad
            w = w - rate * velocity
        np.testing.assert_allclose(params["trunk"]["w"][-1], w, rtol=1e-13)


KINDS = {
    "ours": (DECAY, DECAY(AT)),
    "Optax's": (optax.exponential_decay(0.1, 3, 0.5), 0.1 * 0.5 ** (AT / 3)),
    "a function": (lambda step: 0.1 / (1 + step), 0.1 / (1 + AT)),
    "of integers": (lambda step: step // 2, AT // 2),
    "number": (0.3, np.full(STEPS, 0.3)),
    "integer": (1, np.ones(STEPS)),
    "NumPy": (np.float64(0.3), np.full(STEPS, 0.3)),
    "JAX, bfloat16": (jnp.bfloat16(0.5), np.full(STEPS, 0.5)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_hyperparam(kind):
    given, expected = KINDS[kind]
    params, states = history(lrjax.schedules.scheduled(optax.sgd, learning_rate=given))
    rates = lrjax.schedules.current_hyperparams(states)["learning_rate"]
    assert rates.dtype == np.float32
    assert not rates.weak_type
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    w = PARAMS["trunk"]["w"] - np.cumsum(np.asarray(expected)[:, None] * GRADS["trunk"]["w"], 0)
    np.testing.assert_allclose(params["trunk"]["w"], w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("given", [0.1, DECAY], ids=["number", "schedule"])
def test_traced_hyperparams(given):
    def train(rate: Any) -> Any:
        return scan(
            lrjax.schedules.scheduled(optax.sgd, learning_rate=rate, momentum=0.5), cast(PARAMS), cast(GRADS), {}
        )[0]

    check_same(jax.jit(train)(given), train(given))


def test_the_result_can_be_differentiated_by_the_peak():
    def loss(peak: Any) -> Any:
        optimizer = lrjax.schedules.scheduled(
            optax.sgd, learning_rate=schedules.cosine_decay(peak, STEPS), momentum=MOMENTUM
        )
        return jnp.sum(scan(optimizer, cast(PARAMS), cast(GRADS), {})[0]["trunk"]["w"][-1] ** 2)

    value, slope = jax.jit(loss), jax.jit(jax.grad(loss))(0.1)
    np.testing.assert_allclose(slope, (value(0.15) - value(0.05)) / 0.1, rtol=1e-4)  # a parabola: exact


def quadratic(learning_rate: Any, momentum: Any) -> Any:
    """Thirty steps down |w|^2 / 2."""
    optimizer = lrjax.schedules.scheduled(optax.sgd, learning_rate=learning_rate, momentum=momentum)

    def step(carry: Any, _: Any) -> Any:
        w, state = carry
        updates, state = optimizer.update(w, state, w)
        return (w + updates, state), None

    start = jnp.ones(2)
    return jax.lax.scan(step, (start, optimizer.init(start)), None, length=30)[0][0]


def test_one_trace_for_many_steps():
    chex.clear_trace_counter()
    optimizer, params = OPTAX["adamw"][0], cast(PARAMS)
    update = jax.jit(chex.assert_max_traces(optimizer.update, 1))
    state = optimizer.init(params)
    for _ in range(20):
        _, state = update(params, state, params)
    assert int(state.step) == 20


def test_one_trace_for_a_hundred_peaks():
    chex.clear_trace_counter()
    train = jax.jit(chex.assert_max_traces(quadratic, 1))
    ends = {
        float(train(schedules.one_cycle(peak, total_steps=30), MOMENTUM)[0]) for peak in np.linspace(0.01, 0.5, 100)
    }
    assert len(ends) == 100


def test_vmap_over_stacked_schedules_is_one_run_each():
    rates = [schedules.one_cycle(peak, total_steps=total) for peak, total in ((0.1, 30), (0.3, 20), (0.5, 40))]
    momenta = [schedules.one_cycle_momentum(total, min_momentum=low) for low, total in ((0.8, 30), (0.5, 20), (0.1, 9))]
    together = jax.jit(jax.vmap(quadratic))(schedules.stack(rates), schedules.stack(momenta))
    alone = [jax.jit(quadratic)(rate, momentum) for rate, momentum in zip(rates, momenta, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-7)


def test_multi_steps_advances_once_per_update():
    inner = compiled(optax.MultiSteps(SGD, 3))[1].inner_opt_state
    assert inner.step.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(
        lrjax.schedules.current_hyperparams(inner)["learning_rate"], LR(np.array([0, 0, 0, 0, 0, 1, 1, 1]))
    )


def test_a_rejected_update_is_no_step():
    update, states = states_of(optax.apply_if_finite(SGD, 5), 2)
    for bad in (np.nan, np.inf):
        _, state = update(jax.tree.map(lambda leaf: leaf + bad, cast(PARAMS)), states[-1], cast(PARAMS))
        assert int(state.inner_state.step) == 2
        assert lrjax.schedules.current_hyperparams(state) == {"learning_rate": LR(1)}


def test_extra_arguments_reach_the_optimizer_inside_and_the_one_after():
    inside = lrjax.schedules.scheduled(lambda rate: optax.chain(optax.sgd(rate), reduced_at_once(0.5)), rate=LR)
    w = PARAMS["trunk"]["w"] - np.cumsum((np.asarray(LR(AT)) * 0.5**AT)[:, None] * GRADS["trunk"]["w"], 0)
    for optimizer in (inside, optax.chain(SGD, reduced_at_once(0.5))):
        params, states = history(optimizer, value=jnp.ones(STEPS))
        np.testing.assert_allclose(params["trunk"]["w"], w, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(lrjax.schedules.current_hyperparams(states)["plateau_scale"], 0.5**AT)


def test_the_factor_of_a_plateau_may_be_scheduled():
    states = history(lrjax.schedules.scheduled(reduced_at_once, factor=DECAY), value=jnp.ones(STEPS))[1]
    np.testing.assert_allclose(states.inner.scale, np.cumprod([1, *np.asarray(DECAY(AT[1:]))]), rtol=1e-6)


def test_a_state_can_be_donated():
    number = jnp.float32(0.5)
    optimizer = lrjax.schedules.scheduled(optax.sgd, learning_rate=number, momentum=number)
    update = jax.jit(optimizer.update, donate_argnums=1)
    for _ in range(2):
        _, state = update(cast(PARAMS), optimizer.init(cast(PARAMS)), cast(PARAMS))
    assert lrjax.schedules.current_hyperparams(state) == {"learning_rate": number, "momentum": number}


def set_item(state: Any, name: str, value: Any) -> Any:
    return state._replace(hyperparams=state.hyperparams | {name: value})


def set_in_place(state: Any, name: str, value: Any) -> Any:
    state = jax.tree.map(lambda leaf: leaf, state)  # dicts of its own
    state.hyperparams[name] = value
    return state


SETTERS = {
    "tree_set": lambda state, name, value: optax.tree_utils.tree_set(state, **{name: value}),
    "_replace": set_item,
    "assigned": set_in_place,
    "jit": jax.jit(set_item, static_argnums=1),
    "pickled": lambda state, name, value: pickle.loads(pickle.dumps(set_item(state, name, np.float32(value)))),
}
SET_IN = {
    "alone": lambda make: make(),
    "chain": lambda make: optax.chain(optax.clip(10.0), make()),
    "groups": lambda make: groups(make(), make()),
    "masked": lambda make: optax.masked(make(), {"head": True, "trunk": True}),
    "MultiSteps": lambda make: optax.MultiSteps(make(), 1),
    "if finite": lambda make: optax.apply_if_finite(make(), 3),
    "inside scheduled": lambda make: lrjax.schedules.scheduled(
        lambda norm: optax.chain(optax.clip_by_global_norm(norm), make()), norm=DECAY
    ),
}


def with_numbers(learning_rate: Any = 0.1, momentum: Any = 0.9) -> Any:
    return lrjax.schedules.scheduled(optax.sgd, learning_rate=learning_rate, momentum=momentum)


@pytest.mark.parametrize("place", SET_IN)
def test_a_number_set_in_the_state_takes_effect(place):
    """As if the optimizer had been made with it: by eye, by `current_hyperparams`, and one update later still."""
    params = cast(PARAMS)
    other = {"learning_rate": 0.0, "momentum": 0.5}
    ours, expected = SET_IN[place](with_numbers), SET_IN[place](lambda: with_numbers(**other))
    ours, expected = (one if place == "MultiSteps" else optax.with_extra_args_support(one) for one in (ours, expected))
    update = jax.jit(ours.update)
    _, state = update(params, ours.init(params), params)
    for setter in SETTERS if place == "alone" else ["tree_set"]:
        changed = state
        for name, value in other.items():
            changed = SETTERS[setter](changed, name, value)
        for name, value in lrjax.schedules.current_hyperparams(changed).items():
            wanted = other.get(name.split("/")[-1])
            assert wanted is None or float(value) == wanted
        for run in (ours.update, update):
            first, later = run(params, changed, params)
            chex.assert_trees_all_equal(first, jax.tree.map(jnp.zeros_like, first))
            check_same(later, expected.update(params, later_of(changed, expected, params), params)[1])
            chex.assert_trees_all_equal(run(params, later, params)[0], jax.tree.map(jnp.zeros_like, first))


def later_of(state: Any, expected: Any, params: Any) -> Any:
    """A state of the other optimizer, with the moments and counters of ours."""
    return jax.tree.unflatten(jax.tree.structure(expected.init(params)), jax.tree.leaves(state))


def test_a_number_set_in_a_scan_and_mapped_over():
    optimizer, params = with_numbers(momentum=0.0), jnp.ones(3)

    def train(rate: Any) -> Any:
        def step(carry: Any, now: Any) -> Any:
            w, state = carry
            state = optax.tree_utils.tree_set(state, learning_rate=now * rate)
            updates, state = optimizer.update(jnp.ones(3), state, w)
            return (w + updates, state), lrjax.schedules.current_hyperparams(state)["learning_rate"]

        return jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(4.0))

    rates = jnp.array([0.5, 0.25])
    (w, _), used = jax.jit(jax.vmap(train))(rates)
    np.testing.assert_array_equal(used, rates[:, None] * np.arange(4))
    np.testing.assert_allclose(w, 1 - rates[:, None] * 6 * np.ones(3), rtol=1e-6)


def test_a_restored_state_brings_its_own_numbers():
    params = jnp.ones(2)
    _, saved = with_numbers(0.25, 0.5).update(params, with_numbers(0.25, 0.5).init(params), params)
    updates, state = with_numbers(0.1, 0.9).update(params, saved, params)
    assert lrjax.schedules.current_hyperparams(state) == {"learning_rate": 0.25, "momentum": 0.5}
    np.testing.assert_allclose(updates, -0.25 * (0.5 + 1) * np.ones(2), rtol=1e-6)


@pytest.mark.parametrize("value", [1, 0.5, np.float64(0.5), jnp.bfloat16(0.5), np.array(0.5), jnp.int32(1)])
def test_what_is_set_may_be_any_number_and_is_float32_afterwards(value):
    state = with_numbers(momentum=DECAY).init(jnp.ones(2))
    state.hyperparams["learning_rate"] = value
    _, after = with_numbers(momentum=DECAY).update(jnp.ones(2), state)
    assert after.hyperparams["learning_rate"] == float(value)
    assert after.hyperparams["learning_rate"].dtype == np.float32


def test_the_search_of_a_step_sets_the_number():
    batches = np.random.default_rng(0).normal(1.0, 1.0, (5, 8, 2)).astype(np.float32)
    loss = lambda w, x: jnp.mean((x @ w - 1.0) ** 2)  # noqa: E731
    optimizer = lrjax.schedules.scheduled(optax.sgd, learning_rate=0.0, momentum=DECAY)

    def step(state: Any, batch: Any) -> Any:
        updates, opt_state = optimizer.update(jax.grad(loss)(state[0], batch), state[1], state[0])
        return optax.apply_updates(state[0], updates), opt_state

    def set_lr(state: Any, lr: Any) -> Any:
        state[1].hyperparams["learning_rate"] = lr
        return state

    start = (jnp.zeros(2), optimizer.init(jnp.zeros(2)))
    read = lambda state: loss(state[0], batches[0])  # noqa: E731
    task = lrjax.integrations.step_task(step, start, list(batches), read, set_lr)
    strategy = lrjax.StepSampling(num_steps=5, num_seeds=1, min_lr=1e-3, max_lr=0.5)
    found = lrjax.find_lr(task, task.set_lr, strategy, key=jax.random.key(0), throw=False)
    for lr, final in list(zip(found.curve.lrs, found.curve.final[0], strict=True))[::5]:
        w = start[0]
        plain = optax.inject_hyperparams(optax.sgd)(learning_rate=float(lr), momentum=DECAY)
        state = plain.init(w)
        for batch in batches:
            updates, state = plain.update(jax.grad(loss)(w, batch), state)
            w = w + updates
        np.testing.assert_allclose(final, loss(w, batches[0]), rtol=1e-5)
    assert found.curve.final.min() < 0.6 * float(found.curve.final[0, 0])


COPIES = {
    "pickle": lambda state, start: pickle.loads(pickle.dumps(state)),
    "NumPy": lambda state, start: jax.tree.map(np.array, state),
    "leaves": lambda state, start: jax.tree.unflatten(jax.tree.structure(start), map(np.array, jax.tree.leaves(state))),
}
RESUMED = {
    "adamw": OPTAX["adamw"][0],
    "groups": groups(SGD, ADAM),
    "plateau": optax.chain(ADAM, reduced_at_once(0.5)),
}


@pytest.mark.parametrize("name", RESUMED)
def test_resumed_is_as_if_never_interrupted(name):
    update, states = states_of(RESUMED[name], STEPS)
    for copy in COPIES.values():
        state = copy(states[3], states[0])
        for expected in states[4:]:
            _, state = update(cast(PARAMS), state, cast(PARAMS))
            chex.assert_trees_all_equal(state, expected)


def test_the_step_saturates_and_the_schedule_holds():
    state = lrjax.schedules.at_step(SGD.init(jnp.ones(2)), LAST - 1)
    for _ in range(3):
        updates, state = SGD.update(jnp.ones(2), state)
        assert int(state.step) == LAST
        assert lrjax.schedules.current_hyperparams(state) == {"learning_rate": LR(LAST)}
        np.testing.assert_array_equal(updates, np.full(2, -LR(LAST)))


INJECTED = optax.inject_hyperparams(optax.adam)(learning_rate=DECAY)
MOVED = {
    "ours": ADAM,
    "Optax's inside ours": lrjax.schedules.scheduled(lambda b1: optax.adam(DECAY, b1=b1), b1=0.9),
    "scale_by_schedule": optax.adam(DECAY),
    "inject_hyperparams": INJECTED,
    "ours inside inject_hyperparams": optax.inject_hyperparams(lambda norm: optax.chain(optax.clip(norm), ADAM))(5.0),
    "groups": groups(ADAM, INJECTED),
    "MultiSteps": optax.MultiSteps(optax.chain(ADAM, lrjax.schedules.reduce_on_plateau(patience=9)), 1),
}


@pytest.mark.parametrize("name", MOVED)
def test_at_step_moves_schedules_and_nothing_else(name):
    update, states = states_of(MOVED[name])
    state, params = states[-1], cast(PARAMS)
    moved = lrjax.schedules.at_step(state, 5)
    chex.assert_trees_all_equal_structs(moved, state)
    chex.assert_trees_all_equal_dtypes(moved, state)
    chex.assert_trees_all_equal(jax.jit(lrjax.schedules.at_step)(state, 5), moved)
    (ours, late), (expected, _) = (update(params, one, params) for one in (moved, state))
    check_same(ours, jax.tree.map(lambda leaf: leaf * (DECAY(5) / DECAY(3)), expected))
    chex.assert_trees_all_equal(lrjax.schedules.at_step(late, 6), late)


@pytest.mark.parametrize("name", MOVED)
def test_at_step_keeps_the_boxes_of_a_state(name):
    """flax.nnx puts every leaf of an optimizer's state into a Variable, which is a node of its own."""
    nnx = pytest.importorskip("flax.nnx")
    state = MOVED[name].init(cast(PARAMS))
    boxed = jax.tree.map(nnx.Variable, state)
    moved = lrjax.schedules.at_step(boxed, 5)
    assert jax.tree.structure(moved) == jax.tree.structure(boxed)
    chex.assert_trees_all_equal(jax.tree.leaves(moved), jax.tree.leaves(lrjax.schedules.at_step(state, 5)))
    read = functools.partial(lrjax.schedules.current_hyperparams, schedule={"learning_rate": DECAY})
    assert read(moved) == read(lrjax.schedules.at_step(state, 5))


def test_an_optimizer_of_nnx_goes_on_from_the_step():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(
        model, lrjax.schedules.scheduled(optax.sgd, learning_rate=DECAY, momentum=0.0), wrt=nnx.Param
    )
    optimizer.opt_state = lrjax.schedules.at_step(optimizer.opt_state, 5)
    before = np.array(model.kernel[...])
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    np.testing.assert_allclose(model.kernel[...], before - DECAY(5), rtol=1e-6)
    optimizer.opt_state.hyperparams["momentum"][...] = 0.5
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    np.testing.assert_allclose(model.kernel[...], before - DECAY(5) - 1.5 * DECAY(6), rtol=1e-6)


def test_at_step_moves_every_counter_of_inject_hyperparams():
    moved = lrjax.schedules.at_step(INJECTED.init(jnp.ones(2)), 5)
    assert int(moved.count) == int(moved.hyperparams_states["learning_rate"].count) == 5
    assert int(moved.inner_state[0].count) == 0  # Adam's own


def test_at_step_moves_the_weight_decay_of_optax():
    optimizer = optax.adamw(LR, weight_decay=DECAY)
    state = lrjax.schedules.at_step(optimizer.init(jnp.ones(2)), 5)
    updates, _ = optimizer.update(jnp.zeros(2), state, jnp.ones(2))
    np.testing.assert_allclose(updates, np.full(2, -LR(5) * DECAY(5)), rtol=1e-6)


def test_at_step_moves_stacked_states():
    states = jax.vmap(SGD.init)(jnp.ones((4, 3)))
    chex.assert_trees_all_equal_shapes(lrjax.schedules.at_step(states, 5), states)


class Halving:
    """A schedule with a state of its own, as Optax calls it."""

    def init(self) -> Any:
        return {"rate": jnp.float32(1)}

    def update(self, state: Any, **extra: Any) -> Any:
        return {"rate": state["rate"] / 2}

    def __call__(self, state: Any, **extra: Any) -> Any:
        return state["rate"]


def test_a_stateful_schedule_is_read():
    _, states = states_of(optax.inject_hyperparams(optax.sgd)(Halving()))
    assert lrjax.schedules.current_hyperparams(states[-1]) == {"learning_rate": 0.25}


def test_at_step_names_a_stateful_schedule():
    state = optax.inject_hyperparams(optax.sgd)(Halving()).init(cast(PARAMS))
    check_message(
        lambda: lrjax.schedules.at_step(state, 5), ValueError, ["`at_step(opt_state)` cannot move learning_rate"]
    )


def test_at_step_names_a_step_beyond_the_counter_under_x64():
    with jax.enable_x64(True):
        state = SGD.init(cast(PARAMS))
        check_message(lambda: lrjax.schedules.at_step(state, 2**31), ValueError, ["`at_step(step)`", "2**31"])


MOMENTUM_SGD = OPTAX["momentum schedule"][0]
GROUPS = groups(MOMENTUM_SGD, ADAM)
OF_GROUPS = {"head/learning_rate": LR, "trunk/learning_rate": DECAY, "momentum": MOMENTUM}
READ: dict[str, tuple[Any, Any, dict[str, Any]]] = {  # optimizer, schedule=, what each name follows
    "one": (SGD, None, {"learning_rate": LR}),
    "several": (
        lrjax.schedules.scheduled(optax.adamw, learning_rate=LR, b1=MOMENTUM, weight_decay=0.1),
        None,
        {"learning_rate": LR, "b1": MOMENTUM, "weight_decay": 0.1},
    ),
    "groups": (GROUPS, None, OF_GROUPS),
    "deep": (optax.MultiSteps(optax.chain(optax.clip(1.0), optax.apply_if_finite(GROUPS, 3)), 1), None, OF_GROUPS),
    "groups of groups": (
        optax.partition({"x": groups(SGD, ADAM), "y": SGD}, "x"),
        None,
        {"x/head/learning_rate": LR, "x/trunk/learning_rate": DECAY, "y/learning_rate": LR},
    ),
    "two in a chain": (optax.chain(SGD, ADAM), None, {"[0]/learning_rate": LR, "[1]/learning_rate": DECAY}),
    "inject": (OPTAX["momentum schedule"][1], None, {"learning_rate": LR, "momentum": MOMENTUM}),
    "ours inside inject": (
        optax.inject_hyperparams(lambda norm: optax.chain(optax.clip(norm), SGD))(norm=2.0),
        None,
        {"norm": 2.0, "learning_rate": LR},
    ),
    "scale_by_schedule": (PLAIN_SGD, LR, {"learning_rate": LR}),
    "adamw of Optax": (
        OPTAX["adamw"][1],
        {"learning_rate": LR, "weight_decay": DECAY},
        {"learning_rate": LR, "weight_decay": DECAY},
    ),
    "scale_by_schedule in groups": (
        groups(PLAIN_ADAM, optax.sgd(DECAY)),
        DECAY,
        {"head/learning_rate": DECAY, "trunk/learning_rate": DECAY},
    ),
    "ours beside scale_by_schedule": (
        groups(SGD, PLAIN_ADAM),
        DECAY,
        {"head/learning_rate": LR, "trunk/learning_rate": DECAY},
    ),
    "plateau": (optax.chain(SGD, reduced_at_once(0.5)), None, {"learning_rate": LR, "plateau_scale": lambda t: 0.5**t}),
    "plateau of Optax": (
        optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(0.5, patience=1)),
        None,
        {"plateau_scale": lambda t: 0.5**t},
    ),
}


@pytest.mark.parametrize("name", READ)
def test_current_hyperparams(name):
    optimizer, schedule, expected = READ[name]
    read = functools.partial(lrjax.schedules.current_hyperparams, schedule=schedule)
    _, states = states_of(optimizer)
    for step, state in zip([0, 0, 1, 2], states, strict=True):
        ours = read(state)
        assert set(ours) == set(expected)
        for key, follows in expected.items():
            value = follows(step) if callable(follows) else follows
            np.testing.assert_allclose(ours[key], value, rtol=1e-6, err_msg=key)
            assert ours[key].shape == ()
    chex.assert_trees_all_equal(jax.jit(read)(states[-1]), read(states[-1]))


def test_one_name_twice_in_a_group_stands_behind_its_path():
    states = start(optax.MultiSteps(groups(optax.chain(SGD, SGD), ADAM), 2))
    found = lrjax.schedules.current_hyperparams(states)
    path = "inner_opt_state.inner_states['head'].inner_state"
    assert set(found) == {f"{path}[0]/learning_rate", f"{path}[1]/learning_rate", "trunk/learning_rate"}


NESTED = lrjax.schedules.scheduled(lambda learning_rate: MOMENTUM_SGD, learning_rate=DECAY)


def test_one_name_outside_and_inside_is_read_twice():
    found = lrjax.schedules.current_hyperparams(start(optax.chain(NESTED)))
    assert found == {"[0]/learning_rate": DECAY(0), "[0].inner/learning_rate": LR(0), "momentum": MOMENTUM(0)}


def test_the_outermost_of_one_name_needs_no_path():
    assert set(lrjax.schedules.current_hyperparams(start(NESTED))) == {
        "learning_rate",
        "inner/learning_rate",
        "momentum",
    }


@pytest.mark.parametrize("value", ["x", None, math.sin, {}])
def test_what_is_set_and_no_number_is_refused(value):
    optimizer = lrjax.schedules.scheduled(optax.sgd, learning_rate=0.1)
    state = optimizer.init(jnp.ones(2))
    state.hyperparams["learning_rate"] = value
    check_message(
        lambda: lrjax.schedules.current_hyperparams(state), TypeError, ["`current_hyperparams(opt_state)`", "numbers"]
    )
    check_message(lambda: optimizer.update(jnp.ones(2), state), TypeError, ["hyperparams['learning_rate']`"])


def test_inject_hyperparams_inside_ours_is_refused():
    def make(rate: Any) -> Any:
        return optax.inject_hyperparams(optax.sgd)(learning_rate=rate)

    check_message(
        lambda: history(lrjax.schedules.scheduled(make, rate=LR)), TypeError, ["inject_hyperparams", "learning_rate"]
    )


def test_inject_hyperparams_with_a_schedule_of_its_own_may_be_inside_ours():
    def make(weight_decay: Any) -> Any:
        inside = optax.inject_hyperparams(optax.sgd)(learning_rate=LR)
        return optax.chain(optax.add_decayed_weights(weight_decay), inside)

    params, _ = history(lrjax.schedules.scheduled(make, weight_decay=0.0))
    check_same(params, history(SGD)[0])


def start(optimizer: Any) -> Any:
    return optimizer.init(cast(PARAMS))


def updated(**values: Any) -> Any:
    optimizer = with_numbers(momentum=DECAY)
    state = optimizer.init(jnp.ones(2))
    return optimizer.update(jnp.ones(2), state._replace(hyperparams=state.hyperparams | values))


def branching(learning_rate: Any) -> Any:
    return optax.sgd(learning_rate if learning_rate > 0 else 0.1)


def branched() -> Any:
    optimizer = lrjax.schedules.scheduled(branching, learning_rate=0.1)
    return jax.jit(optimizer.update)(jnp.ones(2), optimizer.init(jnp.ones(2)))


ERRORS = {
    "no function": (
        lambda: lrjax.schedules.scheduled(PLAIN_SGD, learning_rate=LR),
        TypeError,
        ["`scheduled(make_optimizer)"],
    ),
    "nothing": (lambda: lrjax.schedules.scheduled(optax.sgd), TypeError, ["at least one hyperparameter"]),
    "typo": (
        lambda: lrjax.schedules.scheduled(optax.sgd, lr=LR),
        TypeError,
        ["take lr by keyword", "sgd takes learning_rate"],
    ),
    "choice": (
        lambda: lrjax.schedules.scheduled(optax.sgd, learning_rate=1, nesterov=True),
        TypeError,
        ["functools.partial"],
    ),
    "mask": (
        lambda: lrjax.schedules.scheduled(optax.adamw, learning_rate=0.1, mask=lambda params: params["w"]),
        TypeError,
        ["`scheduled(mask=...)`", "functools.partial"],
    ),
    "no optimizer": (
        lambda: start(lrjax.schedules.scheduled(lambda x: x, x=0.1)),
        TypeError,
        ["must return an Optax optimizer"],
    ),
    "inject": (
        lambda: start(lrjax.schedules.scheduled(optax.inject_hyperparams(optax.sgd), learning_rate=LR)),
        TypeError,
        ["must not use optax.inject_hyperparams", "keep the first learning_rate"],
    ),
    "no hyperparams": (
        lambda: lrjax.schedules.current_hyperparams(start(optax.adam(0.1))),
        ValueError,
        ["no hyperparameters"],
    ),
    "no schedule": (
        lambda: lrjax.schedules.current_hyperparams(start(groups(SGD, PLAIN_ADAM))),
        ValueError,
        ["scale_by_schedule", "trunk (step 0)", "schedule=...", "could read learning_rate"],
    ),
    "no schedule of the weight decay": (
        lambda: lrjax.schedules.current_hyperparams(start(optax.adamw(LR, weight_decay=DECAY)), schedule=LR),
        ValueError,
        ["weight_decay of the state (step 0)", "could read learning_rate"],
    ),
    "a number for a schedule": (
        lambda: lrjax.schedules.current_hyperparams(start(PLAIN_SGD), schedule=0.1),
        TypeError,
        ["`current_hyperparams(schedule=...)`", "schedules.constant(0.1)"],
    ),
    "a schedule set": (lambda: updated(momentum=0.5), ValueError, ["must not set momentum", "a schedule computes"]),
    "a schedule set under jit": (
        lambda: jax.jit(lambda value: updated(momentum=value))(0.5),
        ValueError,
        ["must not set momentum", "lrjax.schedules.at_step"],
    ),
    "an unknown name set": (
        lambda: updated(lr=0.5),
        ValueError,
        ["hyperparameters learning_rate", "got learning_rate, lr"],
    ),
    "text set": (lambda: updated(learning_rate="0.5"), TypeError, ["hyperparams['learning_rate']", "'0.5'"]),
    "a flag set": (lambda: updated(learning_rate=True), TypeError, ["hyperparams['learning_rate']"]),
    "a vector set": (lambda: updated(learning_rate=jnp.ones(2)), ValueError, ["hyperparams['learning_rate']"]),
    "NaN set": (lambda: updated(learning_rate=jnp.nan), ValueError, ["hyperparams['learning_rate']"]),
    "a branch": (
        branched,
        TypeError,
        ["needs the value of one of learning_rate", "functools.partial"],
    ),
    "NumPy": (
        lambda: rate_of(lambda step: 0.1 * np.exp(-step)),
        TypeError,
        ["`scheduled(learning_rate=...)`", "jnp for np"],
    ),
    "math": (lambda: rate_of(lambda step: math.cos(step)), TypeError, ["made of jax.numpy", "jnp for np and math"]),
    "if": (lambda: rate_of(lambda step: 0.1 if step < 5 else 0.01), TypeError, ["jnp.where for `if`"]),
    "table": (lambda: rate_of(lambda step: [0.1, 0.2][step]), TypeError, ["jnp.asarray(x)[step]"]),
    "NumPy table": (lambda: rate_of(lambda step: np.ones(3)[step]), TypeError, ["jnp.asarray(x)[step]"]),
    "NumPy interpolation": (lambda: rate_of(lambda step: np.interp(step, [0, 9], [0, 1])), TypeError, ["jnp for np"]),
    "nothing to move": (lambda: lrjax.schedules.at_step(start(optax.adam(0.1)), 5), ValueError, ["found no schedule"]),
    "negative": (lambda: lrjax.schedules.at_step(start(SGD), -1), ValueError, ["`at_step(step)`", "-1"]),
    "fraction": (lambda: lrjax.schedules.at_step(start(SGD), 5.0), TypeError, ["`at_step(step)`", "Write 5."]),
    "beyond": (lambda: lrjax.schedules.at_step(start(SGD), LAST + 1), ValueError, ["`at_step(step)`", "2**31"]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_to_do(name):
    check_message(*ERRORS[name])


def rate_of(given: Any) -> Any:
    state = lrjax.schedules.scheduled(optax.sgd, learning_rate=given).init(jnp.ones(2))
    return lrjax.schedules.current_hyperparams(state)["learning_rate"]


NOT_NUMBERS = {
    "flag": (lambda: rate_of(True), TypeError),
    "flag of NumPy": (lambda: rate_of(np.bool_(True)), TypeError),
    "traced flag": (lambda: jax.jit(rate_of)(True), TypeError),
    "text": (lambda: rate_of("0.1"), TypeError),
    "vector": (lambda: rate_of(np.ones(2)), ValueError),
    "traced vector": (lambda: jax.jit(rate_of)(jnp.ones(2)), ValueError),
    "schedule of flags": (lambda: rate_of(lambda step: step > 1), TypeError),
    "complex schedule": (lambda: rate_of(lambda step: 1j * step), TypeError),
    "schedule of vectors": (lambda: rate_of(lambda step: step + jnp.ones(2)), TypeError),
    "stacked schedules": (lambda: rate_of(schedules.stack([LR, LR])), TypeError),
    "NaN": (lambda: rate_of(np.nan), ValueError),
    "infinite": (lambda: rate_of(-np.inf), ValueError),
    "beyond float32": (lambda: rate_of(1e39), ValueError),
    "below float32": (lambda: rate_of(-1e39), ValueError),
}


@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_what_is_no_number_is_refused(name):
    call, error = NOT_NUMBERS[name]
    check_message(call, error, ["`scheduled(learning_rate=...)`"])


@pytest.mark.parametrize("number", [-1.0, 2**40, np.int64(2**40), jnp.int32(3), np.array(0.5)])
def test_every_number_is_one(number):
    assert rate_of(number) == float(number)


def test_a_float64_beyond_float32_is_refused():
    check_message(lambda: rate_of(np.float64(1e39)), ValueError, ["`scheduled(learning_rate=...)`"])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, "float32"])
def test_hyperparameters_have_the_type_that_is_asked_for(dtype):
    decay = schedules.linear_decay(0.5, 0.0, 8)
    optimizer = schedules.scheduled(optax.sgd, learning_rate=decay, momentum=0.9, hyperparam_dtype=dtype)
    state = optimizer.init(jnp.ones(2))
    updates, state = jax.jit(optimizer.update)(jnp.ones(2), state)
    found = schedules.current_hyperparams(state)
    assert {value.dtype for value in found.values()} == {jnp.dtype(dtype)}
    assert found["momentum"] == jnp.asarray(0.9, dtype)
    assert updates.dtype == np.float32


@pytest.mark.parametrize("dtype", [int, "floats", None, 3, jnp.complex64])
def test_a_type_of_hyperparameters_that_is_none_is_refused(dtype):
    with pytest.raises(TypeError, match=r"`scheduled\(hyperparam_dtype=...\)` must be a floating type"):
        schedules.scheduled(optax.sgd, learning_rate=0.1, hyperparam_dtype=dtype)
