"""Schedules under the settings that forbid implicit promotion of shapes and types, with and without x64."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow
from schedule_cases import CASES

import lrjax
from lrjax import schedules

ONE_OF_EACH = {case.make(20).func.name: name for name, case in reversed(CASES.items())}
KINDS = [name if name in ONE_OF_EACH.values() else slow(name) for name in CASES]
STEPS = np.append(np.arange(29), 500)


@contextlib.contextmanager
def strict(x64: bool) -> Iterator[None]:
    with jax.enable_x64(x64), jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.mark.parametrize("name", KINDS)
def test_a_schedule_is_the_same_under_strict_settings(name):
    schedule = CASES[name].make(20)
    expected = schedule(STEPS)
    for x64 in (False, True):
        with strict(x64):
            found = schedule(STEPS)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.spacing(np.float32(CASES[name].peak)))


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_hyperparameters_are_set_read_and_moved_under_strict_settings(dtype, x64):
    decay = schedules.linear_decay(0.5, 0.0, 8)
    optimizer = optax.chain(
        lrjax.schedules.scheduled(optax.sgd, learning_rate=decay, momentum=0.0),
        lrjax.schedules.reduce_on_plateau(factor=0.5, patience=0, min_lr=0.1, base_lr=0.5, accumulation_size=2),
    )
    with strict(x64):
        params = {"w": jnp.ones((3, 2), dtype)}
        state = lrjax.schedules.at_step(optimizer.init(params), 4)
        state = optax.tree_utils.tree_set(state, momentum=0.25)
        for value in (1.0, np.float64(1.0), jnp.bfloat16(1.0), jnp.float32(1.0)):
            updates, state = optimizer.update(params, state, params, value=value)
        read = lrjax.schedules.current_hyperparams(state)
        assert {name: float(one) for name, one in read.items()} == {
            "learning_rate": 0.0625,
            "momentum": 0.25,
            "plateau_scale": 0.5,
        }
        trace = 1 + 0.25 * (1 + 0.25 * (1 + 0.25))
        np.testing.assert_allclose(np.float32(updates["w"]), -0.5 * 0.0625 * trace, rtol=1e-2)


@pytest.mark.parametrize("x64", [False, True])
def test_schedules_are_described_and_checked_under_strict_settings(x64):
    ours = schedules.warmup_cosine(0.1, warmup_steps=10, total_steps=100, init_value=0.01)
    theirs = optax.linear_schedule(0.1, 0.0, 100)
    with strict(x64):
        for schedule in (ours, theirs, schedules.join([ours, schedules.constant(0.0)], [100])):
            assert schedules.describe(schedule, 100).peak == pytest.approx(0.1)
            assert schedules.validate(schedule, 100) == ()
        stacked = schedules.stack([schedules.constant(0.5), schedules.constant(jnp.float32(0.25))])
        np.testing.assert_array_equal(jax.vmap(lambda one: one(3))(stacked), [0.5, 0.25])
        assert schedules.from_spec(schedules.to_spec(ours))(10) == np.float32(0.1)
