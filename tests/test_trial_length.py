"""How long the trials of step sampling are: the optimizer's memory, doubling while nothing is learned, warnings."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from definition import HALVES
from doors import sampled
from problems import curve_from, quadratic, quadratic_loss, regression

import lrjax
from lrjax import WarningName, find_window

KEY = jax.random.key(0)
find = functools.partial(sampled, executor="vmap")


def steps_of(result):
    return [stage.num_steps for stage in result.stages]


def names_of(result):
    return {warning.name for warning in result.warnings}


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [
        (optax.sgd, 20),
        (optax.adam, 20),
        (optax.contrib.muon, 40),
        (optax.lion, 200),
        (lambda lr: optax.sgd(lr, momentum=0.99), 200),
        (lambda lr: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(lr, momentum=0.95, nesterov=True)), 40),
        (lambda lr: optax.MultiSteps(optax.sgd(lr, momentum=0.98), 3), 100),
    ],
    ids=["sgd", "adam", "muon", "lion", "momentum", "clipped nesterov", "accumulated"],
)
def test_trials_take_twice_the_optimizer_s_memory_and_20_updates_at_least(optimizer, steps):
    result = find(regression(), optimizer, key=KEY, num_seeds=1, refine=None)
    assert result.stages[0].num_steps == steps
    assert WarningName.short_horizon not in names_of(result)
    assert ("find_lr with train_steps costs half of one" in result.summary()) == (steps > 20)


def test_trials_that_are_shorter_than_the_memory_are_warned_of():
    slow = lambda lr: optax.sgd(lr, momentum=0.99)  # noqa: E731
    result = find(quadratic(), slow, key=KEY, num_seeds=1, num_steps=20)
    (warning,) = [one for one in result.warnings if one.name is WarningName.short_horizon]
    assert "20 updates, and the optimizer remembers a gradient for 100." in warning.message
    assert "num_steps=200" in warning.remedy
    assert names_of(find(quadratic(), optax.adam, key=KEY, num_seeds=1, num_steps=20)).isdisjoint({warning.name})
    whole = find(quadratic(), slow, key=KEY, num_seeds=1, num_steps=20, train_steps=20)
    assert "no longer" in next(one.remedy for one in whole.warnings if one.name is WarningName.short_horizon)
    assert steps_of(find(quadratic(), slow, key=KEY, num_seeds=1, train_steps=50))[0] == 50


def test_what_has_learned_something_has_one_stage_with_or_without_the_length():
    known = find(regression(), optax.adam, key=KEY, num_seeds=2, train_steps=1000)
    result = find(regression(), optax.adam, key=KEY, num_seeds=2)
    assert steps_of(result) == steps_of(known) == [20]
    assert result.lr == known.lr
    assert (result.cost.updates, result.cost.trainings) == (known.cost.updates, None)
    assert known.cost.trainings == known.cost.updates / 1000
    assert f"{known.cost.trainings:.2f} of the training" in known.summary()
    assert "Not known: how long the training is" in result.summary()
    assert "Not known" not in known.summary()


@pytest.mark.parametrize(
    ("train_steps", "steps"), [(None, [20, 40, 80, 160]), (1000, [20, 40, 80, 160]), (60, [20, 40, 60])]
)
def test_trials_become_longer_while_nothing_is_learned(train_steps, steps):
    """A loss that is all offset: it cannot fall by 5 %."""
    result = find(quadratic(offset=1000.0), optax.sgd, key=KEY, train_steps=train_steps, num_seeds=1)
    assert steps_of(result) == steps
    last = result.stages[-1]
    lrs = np.asarray(last.curve.lrs, np.float64)
    expected = np.where(lrs < 2, quadratic_loss(lrs, steps[-1]) + 1000, np.inf)
    np.testing.assert_allclose(last.curve.final[0], expected, rtol=1e-5)
    assert result.cost.updates == sum(stage.num_steps * len(stage.log10_lrs) for stage in result.stages)
    assert names_of(result) >= {WarningName.tiny_effect}
    assert f"Nothing was learned yet: after {steps[-1]} updates" in result.summary()


def test_a_length_that_was_asked_for_is_kept():
    result = find(quadratic(offset=1000.0), optax.sgd, key=KEY, num_seeds=1, num_steps=20)
    assert steps_of(result) == [20]


def late(after: int) -> lrjax.Task:
    """One weight falls from the first step on, by a share of the loss that does not count; the other after a while."""

    def loss_fn(w, step, key):
        return 0.01 * w[0] ** 2 + w[1] ** 2 * jnp.where(step >= after, 1.0, 0.0)

    return lrjax.Task(
        init=jnp.array([1.0, 1.0]),
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: jnp.arange(num_steps),
        eval_batches=[jnp.asarray(10_000)],
    )


def test_what_learns_only_after_the_first_trials_is_found_by_longer_ones():
    result = find(late(after=30), optax.sgd, key=KEY, num_seeds=1)
    assert steps_of(result) == [20, 40]
    assert "After 20 updates learning had not started." in result.summary()
    assert 1e-2 < result.lr < 1


@pytest.mark.parametrize(
    ("batches", "steps"), [(15, [15]), (25, [20, 25]), (45, [20, 40, 45]), (500, [20, 40, 80, 160])]
)
def test_trials_become_no_longer_than_there_are_batches(batches, steps):
    task = lrjax.Task.from_batches(
        jnp.ones(2),
        lambda w, batch, key: 1.0 + 1e-3 * jnp.mean((w - batch) ** 2),
        train_batches=[np.zeros((4, 2), np.float32)] * batches,
        eval_batches=[np.zeros((4, 2), np.float32)],
    )
    if batches < 20:
        with pytest.raises(ValueError, match="must give at least 20 batches"):
            find(task, optax.sgd, key=KEY)
        return
    result = find(task, optax.sgd, key=KEY)
    assert steps_of(result) == steps
    longer = f"num_steps={min(5 * steps[-1], batches)}" if steps[-1] < batches else "Trials can be no longer"
    assert longer in result.warnings[0].remedy


def test_a_loss_that_is_not_positive_is_not_called_little_progress_and_that_is_said():
    for train_steps in (None, 1000):
        result = find(quadratic(offset=-1000.0), optax.sgd, key=KEY, train_steps=train_steps, num_seeds=1)
        assert len(result.stages) == 1
        assert "Not judged, as the loss is not positive: tiny_effect, small_progress." in result.summary()
    positive = find(quadratic(), optax.sgd, key=KEY, train_steps=1000, num_seeds=1)
    assert "Not judged" not in positive.summary()


def test_progress_is_measured_against_the_best_constant_predictor_where_it_is_known():
    """The loss falls from 0.95 to about 0: learned; against a constant predictor that has 0.0002, it is not."""
    initial = float(quadratic_loss(np.array(0.0), 20))
    task = quadratic()
    assert steps_of(find(task, optax.sgd, key=KEY, train_steps=1000, num_seeds=1)) == [20]
    known = lrjax.Task(
        init=task.init,
        loss_fn=task.loss_fn,
        sample_batches=task.sample_batches,
        eval_batches=task.eval_batches,
        baseline_loss=1e-4 * initial,
    )
    assert len(find(known, optax.sgd, key=KEY, train_steps=1000, num_seeds=1).stages) > 1


def test_json_gives_back_the_same(tmp_path):
    for offset, stages in ((0.0, 1), (1000.0, 4)):
        result = find(quadratic(offset=offset), optax.sgd, key=KEY, train_steps=300, num_seeds=1)
        result.to_json(tmp_path / "result.json")
        again = lrjax.LRResult.from_json(tmp_path / "result.json")
        assert again.lr == result.lr
        assert again.summary() == result.summary()
        assert len(again.stages) == stages


def test_progress_and_interrupts_in_every_stage():
    seen: list[str] = []

    def stop_in(stage: str):
        def progress(event: lrjax.Progress) -> None:
            seen.append(event.stage)
            if event.stage == stage and event.updates:
                raise KeyboardInterrupt

        return progress

    for stage, steps in (("first grid", None), ("longer trials", 20), ("refining", 160)):
        with pytest.raises(lrjax.SearchInterrupted) as caught:
            find(quadratic(offset=1000.0), optax.sgd, key=KEY, train_steps=300, progress=stop_in(stage))
        result = caught.value.result
        assert (result is None) is (steps is None)
        if result is not None:
            assert int(result.curve.horizons[-1]) == steps
    assert {"first grid", "longer trials", "refining"} <= {*seen}


@pytest.mark.parametrize("scale", [1.0, 0.7, 0.3, 0.1])
def test_in_a_wide_window_the_choice_is_near_its_high_end(scale):
    """Curvatures from `scale` to 1: the lower the lowest of them, the wider the window."""

    def loss_fn(w, batch, key):
        return jnp.sum(jnp.geomspace(scale**4, 1.0, 4) * w**2)

    task = lrjax.Task(
        init=jnp.ones(4), loss_fn=loss_fn, sample_batches=lambda key, n: jnp.zeros((n, 1)), eval_batches=[jnp.zeros(1)]
    )
    result = find(task, optax.sgd, key=KEY, num_seeds=1)
    low, high = (math.log10(float(end)) for end in (result.window.min_lr, result.window.max_lr))
    assert math.log10(result.lr) == pytest.approx(max((low + high) / 2, high - 0.8), abs=1e-3)
    assert result.rule == ("midpoint" if high - low <= 1.6 else "capped_midpoint")


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"train_steps": 0}, ValueError, r"`find_lr\(train_steps=...\)` must be a whole number >= 1 .*got 0"),
        (
            {"train_steps": 1e3},
            TypeError,
            r"`find_lr\(train_steps=...\)` must be a whole number.*got 1000.0.*Write 1000",
        ),
        ({"key": 0}, TypeError, r"`find_lr\(key=...\)` must be a JAX PRNG key, got the number 0"),
        ({"min_lr": 0.0}, ValueError, r"`StepSampling\(min_lr=...\)`"),
        ({"num_seeds": 0}, ValueError, r"`StepSampling\(num_seeds=...\)`"),
        ({"executor": "pmap"}, ValueError, r"`find_lr\(executor=...\)`"),
        ({"progress": "bar"}, TypeError, "`progress` must be True"),
    ],
)
def test_bad_arguments_are_named(changed, error, message):
    with pytest.raises(error, match=message):
        find(quadratic(), optax.sgd, **{"key": KEY, "train_steps": 100, **changed})


def test_bad_tasks_and_factories_are_named_as_this_function_s():
    with pytest.raises(TypeError, match=r"`find_lr\(task=...\)`"):
        find(None, optax.sgd, key=KEY, train_steps=100)  # pyright: ignore
    with pytest.raises(TypeError, match=r"`find_lr\(make_optimizer=...\)`"):
        find(quadratic(), optax.sgd(0.1), key=KEY, train_steps=100)  # pyright: ignore


@pytest.mark.parametrize(
    ("train_steps", "steps", "decades"), [(10, 100, 0), (400, 100, 0.241), (1000, 100, 0.4), (8000, 20, 1.041)]
)
def test_lowest_for_moves_the_minimum_down_by_four_tenths_of_a_decade_for_every_one_left(train_steps, steps, decades):
    curve = curve_from(HALVES, np.interp(HALVES, [-3, -1, 1], [1, 0, 1]))._replace(horizons=jnp.array([steps]))
    window = find_window(curve)
    for rule in (lrjax.lowest_for(train_steps), jax.jit(lrjax.lowest_for(train_steps))):
        assert math.log10(float(window.max_lr) / float(rule(curve, window))) == pytest.approx(decades, abs=1e-3)


def test_lowest_for_wants_a_count():
    with pytest.raises(ValueError, match=r"`lowest_for\(train_steps\)` must be a whole number >= 1"):
        lrjax.lowest_for(0)
