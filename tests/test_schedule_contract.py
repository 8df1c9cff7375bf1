"""What holds for every schedule: a pytree, an Optax callable, the types of its values, gradients, specs."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from schedule_cases import CASES, END, PEAK, steps_of

from lrjax import schedules
from lrjax.demos import digits

pytestmark = pytest.mark.slow

STEPS = np.array([0, 1, 7, 12, 13, 39, 40, 41, 42, 60, 81, 82, 123, 500])
ONE_OF_EACH = {case.make(20).func.name: name for name, case in reversed(CASES.items())}
"""A case for every function that makes a schedule."""


@pytest.fixture(params=CASES)
def schedule(request):
    return CASES[request.param].make(41)


@pytest.fixture(params=ONE_OF_EACH.values(), ids=ONE_OF_EACH.keys())
def one_of_each(request):
    return CASES[request.param].make(40)


def numbers_of(schedule):
    return [leaf for leaf in jax.tree.leaves(schedule) if isinstance(leaf, float)]


# pytrees


def test_a_hundred_peaks_are_one_trace():
    traces = []

    @jax.jit
    def last_value(schedule):
        traces.append(1)
        return schedule(17)

    found = [float(last_value(schedules.one_cycle(peak, total_steps=100))) for peak in np.linspace(0.1, 1.0, 100)]
    assert len(traces) == 1
    assert len(set(found)) == 100


def test_leaves_are_numbers(schedule):
    assert isinstance(schedule, Partial)
    assert all(isinstance(leaf, (int, float)) for leaf in jax.tree.leaves(schedule))


def test_goes_through_jit_and_scan(one_of_each):
    @jax.jit
    def walk(schedule):
        return jax.lax.scan(lambda step, _: (step + 1, schedule(step)), jnp.int32(0), length=50)[1]

    np.testing.assert_allclose(walk(one_of_each), one_of_each(np.arange(50)), rtol=3e-6, atol=1e-12)


def test_pickles(schedule):
    again = pickle.loads(pickle.dumps(schedule))
    assert jax.tree.structure(again) == jax.tree.structure(schedule)
    np.testing.assert_array_equal(again(STEPS), schedule(STEPS))


def test_has_a_spec(schedule):
    spec = json.loads(json.dumps(schedules.to_spec(schedule)))
    again = schedules.from_spec(spec)
    assert jax.tree.structure(again) == jax.tree.structure(schedule)
    assert jax.tree.leaves(again) == jax.tree.leaves(schedule)
    assert schedules.to_spec(again) == spec


def test_a_spec_reads_files_and_text(tmp_path):
    schedule = schedules.warmup(schedules.cosine_decay(0.1, 100), 10)
    text = json.dumps(schedules.to_spec(schedule), indent=1)
    (tmp_path / "schedule.json").write_text(text)
    for source in (text, tmp_path / "schedule.json", str(tmp_path / "schedule.json")):
        np.testing.assert_array_equal(schedules.from_spec(source)(STEPS), schedule(STEPS))


def test_a_spec_keeps_every_bit_of_an_array():
    single = schedules.constant(jnp.float32(0.1))
    assert schedules.to_spec(single) == {"name": "constant", "value": 0.1}
    assert schedules.from_spec(schedules.to_spec(single))(0) == single(0)
    with jax.enable_x64():
        double = schedules.constant(np.float64(0.1) + jnp.float64(1e-12))
        again = schedules.from_spec(schedules.to_spec(double))
        assert again(0) == double(0)
        assert again(0).dtype == np.float64


def test_stacked_schedules_train_as_separate_ones():
    task = digits(hidden=8)
    key = jax.random.key(0)
    params = task.init(key)
    batches = task.sample_batches(key, 12)

    def train(schedule):
        optimizer = optax.adam(schedule)

        def step(carry, batch):
            params, state = carry
            gradient = jax.grad(task.loss_fn)(params, batch, key)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), batches)[0][0]

    each = [schedules.one_cycle(peak, total_steps=total) for peak, total in ((0.001, 10), (0.01, 12), (0.1, 30))]
    together = jax.jit(jax.vmap(train))(schedules.stack(each))
    for index, schedule in enumerate(each):
        alone = jax.jit(train)(schedule)
        for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(many[index], one, rtol=1e-4, atol=1e-5)


def test_gradients_are_finite(schedule):
    numbers, structure = jax.tree.flatten(schedule)
    floats = [index for index, leaf in enumerate(numbers) if isinstance(leaf, float)]

    def values(changed):
        leaves = list(numbers)
        for index, value in zip(floats, changed, strict=True):
            leaves[index] = value
        return jax.tree.unflatten(structure, leaves)(STEPS)

    jacobian = jax.jacobian(values)([jnp.float32(numbers[index]) for index in floats])
    for leaf in jacobian:
        assert np.isfinite(np.asarray(leaf)).all()


def test_the_peak_can_be_learned():
    slope = jax.grad(lambda peak: schedules.warmup_cosine(peak, warmup_steps=10, total_steps=100)(10))
    assert float(slope(0.3)) == 1.0


# types


def test_integer_steps_of_every_width(one_of_each):
    row = np.array([0, 5, 100])
    expected = one_of_each(row)
    assert not expected.weak_type
    for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        np.testing.assert_array_equal(one_of_each(row.astype(kind)), expected)
        np.testing.assert_array_equal(one_of_each(jnp.asarray(row.astype(kind))), expected)
        found = one_of_each(np.dtype(kind).type(100))
        assert found.dtype == np.float32
        assert found == one_of_each(100)


def test_small_integers_do_not_wrap():
    schedule = schedules.warmup_cosine(1.0, warmup_steps=400, total_steps=1000)
    assert schedule(np.int8(100)) == schedule(jnp.int8(100)) == 0.25
    assert jax.jit(schedule)(jnp.uint8(200)) == 0.5


@pytest.mark.parametrize("shape", [(), (2, 3), (0,)])
def test_the_shape_is_that_of_the_step(shape, one_of_each):
    for step in (np.ones(shape, int), jnp.ones(shape)):
        found = one_of_each(step)
        assert found.shape == shape
        assert found.dtype == np.float32


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_float_steps_and_numbers_of_every_width(kind):
    schedule = schedules.cosine_decay(jnp.asarray(0.5, kind), 100)
    assert schedule(jnp.asarray(50, kind)).dtype == np.float32
    assert float(schedule(jnp.asarray(50, kind))) == 0.25


def test_x64_widens_only_what_is_double(one_of_each):
    expected = np.asarray(one_of_each(STEPS))
    with jax.enable_x64():
        single = one_of_each(STEPS)
        assert single.dtype == one_of_each(5).dtype == np.float32
        np.testing.assert_allclose(single, expected, rtol=0, atol=4 * np.spacing(expected.max()))
        assert jax.jit(lambda schedule: schedule(5))(one_of_each).dtype == np.float32
        assert one_of_each(jnp.float64(5.0)).dtype == one_of_each(STEPS.astype(np.float64)).dtype == np.float64


def test_x64_counts_in_64_bits():
    with jax.enable_x64():
        schedule = schedules.linear_decay(1.0, 0.0, 3_000_000_000)
        assert float(schedule(jnp.int32(1_500_000_000))) == 0.5
        assert float(schedule(3_000_000_000)) == 0.0
        restarts = schedules.cosine_restarts(1.0, 1, cycle_mult=2)
        assert float(restarts(2**40 - 1)) == 1.0


@pytest.mark.parametrize("mult", [2**31 - 1, 2**31, 2**63, 3e38])
def test_cycles_that_grow_beyond_any_training_restart_once(mult):
    restarts = schedules.cosine_restarts(1.0, 10, cycle_mult=mult)
    assert float(restarts(9)) == pytest.approx(0.024471742)
    assert [float(restarts(step)) for step in (0, 10, 25, 10**6)] == [1.0, 1.0, 1.0, 1.0]


def test_double_numbers_keep_their_precision():
    with jax.enable_x64():
        schedule = schedules.linear_decay(jnp.float64(1.0), jnp.float64(0.0), 3)
        assert float(schedule(1)) == pytest.approx(2 / 3, abs=1e-15)


def test_no_nan_is_made_on_the_way(schedule):
    with jax.debug_nans(True):
        schedule(STEPS)
        jax.jit(schedule)(41)
        jax.jit(lambda one: one(41))(schedule)


def test_traced_numbers_are_accepted():
    @jax.jit
    def value(peak, steps, mult):
        return (
            schedules.cosine_restarts(peak, steps, cycle_mult=mult)(15),
            schedules.one_cycle(peak, total_steps=steps, pct_start=0.5)(5),
            schedules.piecewise_constant([peak, 0.5 * peak], [steps])(10),
            schedules.warmup(schedules.constant(peak), steps)(5),
        )

    found = [float(one) for one in value(1.0, 10, 2)]
    assert found == pytest.approx([0.853553, 1.0, 0.5, 0.5])


def test_a_traced_factor_of_cycles_may_be_one_or_no_whole_number():
    restarts = lambda mult: schedules.cosine_restarts(1.0, 10, cycle_mult=mult)(np.array([0, 10, 20, 25, 30]))  # noqa: E731
    for mult in (1.0, 1.5, 2.0):
        np.testing.assert_allclose(jax.jit(restarts)(mult), restarts(mult), atol=1e-6)


def test_lengths_can_be_mapped_over():
    found = jax.vmap(lambda steps: schedules.linear_decay(1.0, 0.0, steps)(5))(jnp.array([5, 10, 20]))
    np.testing.assert_array_equal(found, [0.0, 0.5, 0.75])


# other people's callables


def test_foreign_callables_are_held_as_they_are():
    foreign = optax.cosine_onecycle_schedule(100, 1.0)  # wrong for arrays of two steps, unless asked one by one
    joined = schedules.join([foreign, schedules.constant(0.5)], [50])
    np.testing.assert_allclose(joined(np.arange(2)), [foreign(0), foreign(1)], rtol=1e-6)
    assert float(joined(50)) == 0.5
    assert float(schedules.multiply(lambda step: 0.25, schedules.constant(2.0))(3)) == 0.5
    traced = jax.jit(lambda one: one(10))
    assert float(traced(joined)) == pytest.approx(float(foreign(10)), rel=1e-6)


def test_a_piece_is_not_asked_outside_its_part():
    asked = []

    def piece(step):
        asked.append(int(step))
        return jnp.float32(1.0)

    joined = schedules.join([schedules.constant(0.5), piece, schedules.constant(0.25)], [10, 20])
    assert [float(joined(step)) for step in (0, 9, 10, 19, 20, 99)] == [0.5, 0.5, 1.0, 1.0, 0.25, 0.25]
    assert set(asked) <= set(range(10))


def test_a_joined_root_has_no_nan_gradient():
    root = lambda step: 1.0 / jnp.sqrt(jnp.asarray(step, jnp.float32) - 0.0 + (step == 0))  # noqa: E731
    joined = schedules.join([schedules.constant(0.5), root], [10])
    with jax.debug_nans(True):
        assert float(joined(3)) == 0.5


# in an optimizer


@pytest.fixture(scope="module")
def problem():
    task, key = digits(hidden=8), jax.random.key(0)
    return task, task.init(key), task.sample_batches(key, 30), key


WRAPPERS = {
    "sgd": lambda schedule: optax.sgd(schedule, momentum=0.5),
    "adamw": lambda schedule: optax.adamw(schedules.multiply(schedule, schedules.constant(0.05)), weight_decay=0.01),
    "chain": lambda schedule: optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_learning_rate(schedule)),
    "inject_hyperparams": lambda schedule: optax.inject_hyperparams(optax.sgd)(learning_rate=schedule),
}


def every_kind_with_one_wrapper():
    """All pairs; those beyond one wrapper for each kind are slow."""
    for index, name in enumerate(ONE_OF_EACH):
        for place, wrapper in enumerate(WRAPPERS):
            first = place == index % len(WRAPPERS)
            yield pytest.param(name, wrapper, marks=[] if first else [pytest.mark.slow], id=f"{name}-{wrapper}")


@pytest.mark.parametrize(("name", "wrapper"), list(every_kind_with_one_wrapper()))
def test_trains_the_digits_in_optax(name, wrapper, problem):
    task, params, batches, key = problem
    schedule = CASES[ONE_OF_EACH[name]].make(30)
    optimizer = WRAPPERS[wrapper](schedule)

    @jax.jit
    def train(params):
        def step(carry, batch):
            params, state = carry
            loss, gradient = jax.value_and_grad(task.loss_fn)(params, batch, key)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(step, (params, optimizer.init(params)), batches)

    (trained, _), losses = train(params)
    assert np.isfinite(np.asarray(losses)).all()
    assert task.loss_fn(trained, jax.tree.map(lambda leaf: leaf[0], batches), key) < losses[0]
    assert not np.array_equal(trained["w1"], params["w1"])


# the particular


def test_extending_keeps_the_prefix():
    short = schedules.warmup_stable_decay(PEAK, warmup_steps=10, stable_steps=50, decay_steps=20, end_value=END)
    long = schedules.extend(short, 1000)
    before = np.arange(61)
    np.testing.assert_array_equal(short(before), long(before))
    assert long(1060) == np.float32(PEAK)
    assert long(1080) == np.float32(END)
    assert jax.tree.structure(long) == jax.tree.structure(short)


@pytest.mark.parametrize("cooldown", ["sqrt", "linear", "cosine", "square", "mirror_cosine", "exponential"])
def test_cooling_down_early_is_the_same_decay(cooldown):
    whole = schedules.warmup_stable_decay(
        PEAK, warmup_steps=10, stable_steps=30, decay_steps=20, end_value=END, cooldown=cooldown
    )
    longer = schedules.extend(whole, 500)
    cooled = schedules.cooldown_from(longer, 40, 20, end_value=END, cooldown=cooldown)
    rounding = 4 * np.spacing(np.float32(PEAK))
    np.testing.assert_allclose(cooled(np.arange(100)), whole(np.arange(100)), rtol=0, atol=rounding)
    for step in (39, 40, 60, 61):
        assert cooled(step) == whole(step)


def test_noam_and_t5_are_inverse_square_roots():
    width, warm = 512, 4000
    noam = schedules.inverse_sqrt_decay((width * warm) ** -0.5, warmup_steps=warm, timescale=warm)
    steps = np.arange(1, 20_000, 97)
    np.testing.assert_allclose(noam(steps), width**-0.5 * np.minimum(steps**-0.5, steps * warm**-1.5), rtol=1e-6)
    t5 = schedules.join([schedules.constant(0.01), schedules.inverse_sqrt_decay(0.01, timescale=10_000)], [10_000])
    np.testing.assert_allclose(t5(steps), 1 / np.sqrt(np.maximum(steps, 10_000)), rtol=1e-6)


def test_warmup_without_a_wasted_update():
    schedule = schedules.warmup(schedules.constant(1.0), 4, skip_zero=True)
    np.testing.assert_array_equal(schedule(np.arange(6)), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("steps", [1_000, 100_000, 10_000_000])
def test_the_first_steps_of_a_rise_are_accurate_too(steps):
    straight = [
        schedules.linear_decay(0.0, PEAK, steps),
        schedules.warmup(schedules.constant(PEAK), steps),
        schedules.warmup_cosine(PEAK, warmup_steps=steps, total_steps=2 * steps),
        schedules.warmup_stable_decay(PEAK, warmup_steps=steps, stable_steps=0, decay_steps=0),
        schedules.inverse_sqrt_decay(PEAK, warmup_steps=steps, timescale=1),
        schedules.piecewise_interpolate([0.0, PEAK], [steps]),
    ]
    for schedule in straight:
        assert float(schedule(1)) == pytest.approx(PEAK / steps, rel=3e-7)
    cosine = schedules.warmup(schedules.constant(PEAK), steps, shape="cosine")
    assert float(cosine(1)) == pytest.approx(PEAK * np.sin(np.pi / (2 * steps)) ** 2, rel=1e-6)


def test_neighbours_are_looked_at():
    case = CASES["step_decay"]
    assert {40, 41, 42} <= set(steps_of(case, 41))
