"""Step sampling with a training's length: when there is a second stage, of what, and what it makes of it."""

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
from lrjax._search import DOUBTS, beyond, survivors

KEY = jax.random.key(0)
find = functools.partial(sampled, executor="vmap")


def doubts(result):
    """Warnings of the first stage, which are the result's where there is no second."""
    first = result.stages[0]
    found = lrjax.find_warnings(first.curve, first.window)
    names = [one.name for one in (found if first.nothing_moved is None else [first.nothing_moved])]
    return tuple(name for name in names if name in DOUBTS)


def test_without_doubt_there_is_one_stage():
    known = sampled(regression(), optax.adam, key=KEY, executor="vmap", num_seeds=2)
    result = find(regression(), optax.adam, key=KEY, train_steps=1000, num_seeds=2)
    assert len(result.stages) == 1
    assert doubts(result) == ()
    assert result.lr == known.lr
    assert result.cost.updates == known.cost.updates
    np.testing.assert_array_equal(result.curve.losses, known.curve.losses)


@pytest.mark.parametrize("train_steps", [100, 400, 20_000])
def test_a_doubtful_search_ends_at_the_minimum_of_the_survivors_moved_to_the_length_of_the_training(train_steps):
    """A loss that is all offset: little progress. The survivors' curve has a closed form."""
    result = find(quadratic(offset=1000.0), optax.sgd, key=KEY, train_steps=train_steps, num_seeds=1)
    assert doubts(result) == (WarningName.tiny_effect,)
    first, second = result.stages
    lrs = np.asarray(second.curve.lrs, np.float64)
    assert int(second.curve.horizons[-1]) == 100
    expected = np.where(lrs < 2, quadratic_loss(lrs, 100) + 1000, np.inf)
    np.testing.assert_allclose(second.curve.final[0], expected, rtol=1e-5)
    lowest = float(second.window.max_lr)
    assert math.log10(result.lr / lowest) == pytest.approx(-0.4 * math.log10(max(1, train_steps / 100)), abs=1e-3)
    assert result.cost.updates == 20 * len(first.log10_lrs) + 100 * len(lrs)
    assert set(np.round(4 * np.log10(lrs))) <= set(np.round(4 * np.log10(first.curve.lrs)))


def test_a_training_shorter_than_the_second_stage_is_looked_at_to_its_end():
    result = find(quadratic(offset=1000.0), optax.sgd, key=KEY, train_steps=40, num_seeds=1)
    second = result.stages[-1]
    assert int(second.curve.horizons[-1]) == 40
    assert result.lr == float(second.window.max_lr)


def test_survivors_go_from_below_half_the_reduction_to_above_the_right_edge():
    """Down from -5 to -1 and up to +1 by lines: half of it at -3, three quarters up again at 0.5."""
    curve = curve_from(HALVES, np.interp(HALVES, [-5, -1, 1], [1, 0, 1]))
    kept = survivors(curve, find_window(curve))
    tried = np.log10(np.asarray(curve.lrs, np.float64))
    np.testing.assert_allclose(kept, tried[(tried > -3.3) & (tried < 0.8)], atol=1e-6)


def test_survivors_have_a_quarter_decade_to_spare_on_both_sides():
    """On a grid fine enough to tell a quarter decade from a fifth or none."""
    x = np.arange(-140, 41) / 20
    curve = curve_from(x, np.interp(x, [-5, -1, 1], [1, 0, 1]))
    window = find_window(curve)
    kept = np.asarray(survivors(curve, window))
    half = math.log10(float(lrjax.half_loss(curve, window)))
    cells, loss = np.asarray(window.log10_lr, float), np.asarray(window.loss, float)
    risen = cells[(cells > math.log10(float(window.max_lr))) & (loss > 0.75)][0]
    assert half - 0.25 <= kept[0] + 1e-6 < half - 0.2
    assert risen + 0.2 < kept[-1] - 1e-6 <= risen + 0.25
    np.testing.assert_allclose(np.diff(kept), 0.05, atol=1e-5)


def test_survivors_of_a_curve_that_does_not_rise_go_to_its_end():
    curve = curve_from(HALVES, np.interp(HALVES, [-5, 0], [1, 0]))
    assert survivors(curve, find_window(curve))[-1] == pytest.approx(HALVES[-1], abs=1e-6)


def test_where_nothing_was_learned_everything_survives():
    curve = curve_from(HALVES, np.full(len(HALVES), 2.0))
    assert len(survivors(curve, find_window(curve))) == len(HALVES)


def rising(after: int) -> lrjax.Task:
    """Learns nothing before a step: the gradient is 0 until then."""

    def loss_fn(w: jax.Array, step: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.sum(w**2) * jnp.where(step >= after, 1.0, 0.0)

    return lrjax.Task(
        init=jnp.array([1.0, -2.0]),
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: jnp.arange(num_steps),
        eval_batches=[jnp.asarray(10_000)],
    )


def test_what_learns_only_after_the_first_stage_is_found_by_the_second():
    result = find(rising(after=50), optax.sgd, key=KEY, train_steps=100, num_seeds=1)
    assert doubts(result) == (WarningName.nothing_moved,)
    assert result.outcome is lrjax.Outcome.found
    assert 1e-2 < result.lr < 1
    assert "in doubt (nothing_moved): after" not in result.summary()
    assert "and gave" not in result.summary()


def test_what_never_learns_is_an_error_with_the_last_stage():
    with pytest.raises(lrjax.LRNotFound) as caught:
        find(rising(after=500), optax.sgd, key=KEY, train_steps=1000, num_seeds=1)
    assert int(caught.value.result.curve.horizons[-1]) == 100
    result = find(rising(after=500), optax.sgd, key=KEY, train_steps=1000, num_seeds=1, throw=False)
    assert math.isnan(result.lr)
    assert repr(result).startswith("LRResult(outcome=nothing_moved, ")
    assert result.summary().startswith(lrjax.Outcome.nothing_moved.value)


def test_a_loss_that_is_not_positive_is_not_called_little_progress_and_that_is_said():
    result = find(quadratic(offset=-1000.0), optax.sgd, key=KEY, train_steps=1000, num_seeds=1)
    assert len(result.stages) == 1
    assert "Not judged, as the loss is not positive: tiny_effect, small_progress." in result.summary()
    positive = find(quadratic(), optax.sgd, key=KEY, train_steps=1000, num_seeds=1)
    assert "Not judged" not in positive.summary()


def test_progress_is_measured_against_the_best_constant_predictor_where_it_is_known():
    """The loss falls from 0.95 to about 0: no doubt; against a constant predictor that has 0.0002, there is."""
    initial = float(quadratic_loss(np.array(0.0), 20))
    task = quadratic()
    assert len(find(task, optax.sgd, key=KEY, train_steps=1000, num_seeds=1).stages) == 1
    known = lrjax.Task(
        init=task.init,
        loss_fn=task.loss_fn,
        sample_batches=task.sample_batches,
        eval_batches=task.eval_batches,
        baseline_loss=1e-4 * initial,
    )
    doubtful = find(known, optax.sgd, key=KEY, train_steps=1000, num_seeds=1)
    assert len(doubtful.stages) == 2
    assert "is in doubt (small_progress)" in doubtful.summary()


def test_warnings_of_the_second_stage_leave_out_its_low_end():
    result = find(quadratic(offset=1000.0), optax.sgd, key=KEY, train_steps=1000, num_seeds=1)
    second = result.stages[-1]
    names = {warning.name for warning in lrjax.find_warnings(second.curve, second.window)}
    assert WarningName.no_plateau in names  # the survivors begin at half of the reduction
    assert {warning.name for warning in result.warnings} == names - {WarningName.no_plateau, WarningName.narrow_window}


def test_json_gives_back_the_same(tmp_path):
    for offset, stages in ((0.0, 1), (1000.0, 2)):
        result = find(quadratic(offset=offset), optax.sgd, key=KEY, train_steps=300, num_seeds=1)
        result.to_json(tmp_path / "result.json")
        again = lrjax.LRResult.from_json(tmp_path / "result.json")
        assert again.lr == result.lr
        assert again.summary() == result.summary()
        assert len(again.stages) == stages
        assert again.plot().get_ylabel() == ("validation loss after 20 updates" if stages == 1 else "validation loss")


def test_progress_and_interrupts_in_both_stages():
    seen: list[str] = []

    def stop_in(stage: str):
        def progress(event: lrjax.Progress) -> None:
            seen.append(event.stage)
            if event.stage == stage and event.updates:
                raise KeyboardInterrupt

        return progress

    for stage in ("first grid", "refining", "survivors"):
        with pytest.raises(lrjax.SearchInterrupted) as caught:
            find(quadratic(offset=1000.0), optax.sgd, key=KEY, train_steps=300, progress=stop_in(stage))
        result = caught.value.result
        assert (result is None) is (stage == "first grid")
        if result is not None:
            assert int(result.curve.horizons[-1]) == 20
    assert "survivors" in seen


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


def test_a_second_stage_whose_best_is_at_an_end_goes_on_there():
    tried, kept = [-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0], [-3.0, -2.0]
    assert beyond(tried, kept, frozenset([WarningName.edge_high])) == [-1.0, 0.0]
    assert beyond(tried, kept, frozenset([WarningName.edge_low])) == [-4.0, -5.0]
    assert beyond(tried, kept, frozenset([WarningName.no_plateau, WarningName.noisy])) == []
    assert beyond(tried, [0.0, 1.0], frozenset([WarningName.edge_high])) == []


def test_what_is_best_later_at_higher_rates_is_followed_there():
    """w0 counts 20 updates, w1 those after them: w0 wants a rate of 1e-3, w1 the higher the better."""

    def eval_fn(w: jax.Array, batch: jax.Array) -> jax.Array:
        early = jnp.minimum(jnp.abs(jnp.log10(w[0] / 20e-3 + 1e-9)) / 2, 1.0)
        return 10.0 + early - jnp.clip(jnp.log10(w[1] / 80e-3 + 1e-9), 0.0, 10.0)

    task = lrjax.Task(
        init=jnp.zeros(2),
        loss_fn=lambda w, step, key: jnp.where(step < 20, -w[0], -w[1]),
        sample_batches=lambda key, num_steps: jnp.arange(num_steps),
        eval_batches=[jnp.zeros(1)],
        eval_fn=eval_fn,
    )
    result = find(task, optax.sgd, key=KEY, train_steps=100, num_seeds=1)
    first, second = result.stages
    assert 0.5e-3 < float(first.window.max_lr) < 2e-3
    assert survivors(first.curve, first.window)[-1] < -1
    assert float(second.curve.lrs[-1]) == float(first.curve.lrs[-1])
    assert result.lr > 1
