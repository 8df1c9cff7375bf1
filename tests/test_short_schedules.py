"""What `recommend` rests on: its schedule is the one that was trained; a critical learning rate is 2 / curvature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrjax
from experiments.benchmark.problem import Problem
from experiments.schedules import short, warmup


def test_the_recommended_schedule_is_the_one_that_was_trained():
    arm, steps = short.ARMS["last 10 % to 0, same sum"], 60
    schedule = arm.make(steps)
    trained = np.asarray(schedule(np.arange(steps))) * arm.factor(schedule, steps)
    recommended = np.asarray(lrjax.recommend(1.0, steps).schedule(np.arange(steps)))
    np.testing.assert_allclose(recommended, trained, atol=0.005)  # its peak has three digits


def test_a_critical_lr_is_where_the_first_update_raises_the_loss():
    """Gradient descent on a parabola of curvature 50."""
    task = lrjax.Task.from_arrays(
        lambda key: jax.random.normal(key, (3,)),
        lambda params, batch, key: 25.0 * jnp.sum(params**2) + 0.0 * batch.sum(),
        train=np.zeros((8, 1), np.float32),
        validation=np.zeros((8, 1), np.float32),
        batch_size=4,
    )
    problem = Problem(name="parabola", task=task, optimizer="sgd", steps=10)
    step = warmup.ALONG[1] / warmup.ALONG[0]
    assert warmup.critical_lr(problem, jax.random.key(0)) == pytest.approx(2 / 50, rel=step - 1)


def test_a_warmup_from_the_critical_lr_rises_as_one_of_a_tenth():
    half = warmup.schedule_of(warmup.CRITICAL, 1.0, 0.5)
    tenth = warmup.schedule_of("10 %", 1.0, 0.5)
    np.testing.assert_allclose(half(np.arange(10)), tenth(np.arange(10, 20)), rtol=1e-6)
    assert float(warmup.schedule_of(warmup.CRITICAL, 1.0, 2.0)(0)) == 1.0
