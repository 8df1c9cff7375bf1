"""Trials that end early: the others keep their bits, and those that go on are those of a literal successive halving."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inside import programs as kept
from inside import sweeps_run
from marks import slow
from sweep_oracle import KEY, REGRESSION, compiled, momentum, regress, same_numbers

import lrjax
from lrjax import Chunked, StopDiverged, SuccessiveHalving, schedules

STEPS = 24
NUMBERS = [0.003, 1e30, 0.1, 2.0, 0.01, 1e4, 0.3, 0.03, 0.001]
KINDS = [
    schedules.cosine_decay(rate, 30)
    if place % 2
    else schedules.polynomial_decay(rate, 0.0, power=2.0, transition_steps=40)
    for place, rate in enumerate(NUMBERS)
]
GRIDS: dict[str, list[Any]] = {"numbers": NUMBERS, "two kinds of schedules": KINDS}
HALVING = SuccessiveHalving(first=4, factor=2)
STOPS = {"diverged": StopDiverged(), "halving": HALVING, "thirds": SuccessiveHalving(first=2, factor=3)}


@functools.cache
def unpruned(grid: str) -> lrjax.SweepResult:
    """Every trial to the end, evaluated at every step that any rung may need."""
    return regress("loop", {"learning_rate": GRIDS[grid]}, eval_every=2)


def literal_halving(
    stop: SuccessiveHalving, metric: np.ndarray, steps: np.ndarray, diverged_at: np.ndarray, train_steps: int
) -> np.ndarray:
    """Updates of every trial, from the metric (trials, seeds, evaluations) of a run in which none was stopped."""
    updates, going_on, rung = np.full(len(metric), train_steps), list(range(len(metric))), stop.first
    while rung < train_steps and going_on:
        now = metric[:, :, list(steps).index(rung)].mean(axis=1) * (-1 if stop.mode == "max" else 1)
        lost = ((diverged_at >= 0) & (diverged_at < rung)).any(axis=1) | ~np.isfinite(now)
        ranked = sorted((now[trial], trial) for trial in going_on if not lost[trial])
        kept = [trial for _, trial in ranked[: max(1, math.ceil(len(going_on) / stop.factor))]]
        for trial in set(going_on) - set(kept):
            updates[trial] = rung
        going_on, rung = sorted(kept), rung * stop.factor
    return updates


def check_stopped(result: lrjax.SweepResult, whole: lrjax.SweepResult, stop: Any, *, rtol: float) -> None:
    """A sweep with `stop` against one without: who goes on and how long, and that nobody's numbers change."""
    updates = np.full(whole.diverged_at.shape, STEPS)
    if isinstance(stop, SuccessiveHalving):
        updates[:] = literal_halving(stop, whole.metrics["loss"], whole.steps, whole.diverged_at, STEPS)[:, None]
    for lane, step in np.ndenumerate(whole.diverged_at):
        if step >= 0:  # seen at the next evaluation
            updates[lane] = min(updates[lane], result.steps[result.steps > step][0])
    np.testing.assert_array_equal(result.stopped_at, np.where(updates < STEPS, updates, -1))
    np.testing.assert_array_equal(result.diverged_at, np.where(whole.diverged_at < updates, whole.diverged_at, -1))
    assert result.execution.updates == updates.sum()
    assert result.execution.updates_saved == updates.size * STEPS - updates.sum()
    there = result.steps <= updates[..., None]
    same = np.isin(whole.steps, result.steps)
    got, expected = result.metrics["loss"], whole.metrics["loss"][..., same]
    assert np.isnan(got[~there]).all()
    sane = there & (expected < 1e3) if rtol else there
    np.testing.assert_allclose(got[sane], expected[sane], rtol=rtol)


@pytest.mark.parametrize(
    ("executor", "grid", "at_once", "stop"),
    [
        ("map", "numbers", None, "diverged"),
        ("map", "numbers", None, "halving"),
        slow("map", "numbers", None, "thirds"),
        slow("map", "numbers", 4, "halving"),
        slow("map", "two kinds of schedules", 2, "diverged"),
        ("map", "two kinds of schedules", 2, "halving"),
        ("loop", "numbers", None, "thirds"),
        slow("loop", "two kinds of schedules", None, "halving"),
        slow("vmap", "numbers", None, "halving"),
        ("vmap", "numbers", 4, "thirds"),
        slow(Chunked(3), "numbers", None, "thirds"),
    ],
    ids=str,
)
def test_survivors_keep_their_bits_and_are_those_of_a_literal_halving(executor, grid, at_once, stop, monkeypatch):
    whole = unpruned(grid)
    assert len(np.unique(whole.diverged_at)) >= 3  # at once, later, and not at all
    if at_once is not None:
        monkeypatch.setattr(sweeps_run, "lanes_that_fit", lambda engine, setting, lanes: min(lanes, at_once))
    result = regress(executor, {"learning_rate": GRIDS[grid]}, stop=STOPS[stop])
    check_stopped(result, whole, STOPS[stop], rtol=0 if executor in ("map", "loop") else 1e-4)
    with compiled() as names:
        same_numbers(regress(executor, {"learning_rate": GRIDS[grid]}, stop=STOPS[stop]), result)
    assert names == []


def test_rungs_are_evaluations_too():
    result = regress("loop", {"learning_rate": NUMBERS}, stop=HALVING)
    assert result.steps.tolist() == [4, 6, 8, 12, 16, 18, 24]
    assert SuccessiveHalving(first=3, factor=3).rungs(27) == (3, 9)
    assert SuccessiveHalving(first=27, factor=3).rungs(28) == (27,)


def test_training_losses_are_means_since_the_rung_too():
    result = regress("loop", {"learning_rate": [0.003, 0.01, 0.03]}, stop=HALVING)
    whole = regress("loop", {"learning_rate": [0.003, 0.01, 0.03]}, eval_every=1)
    for start, stop, place in zip((0, *result.steps), result.steps, range(99), strict=False):
        expected = whole.metrics["train_loss"][..., start:stop].mean(axis=-1)
        got = result.metrics["train_loss"][..., place]
        there = ~np.isnan(got)
        np.testing.assert_allclose(got[there], expected[there], rtol=2e-6)


@pytest.mark.parametrize(("metric", "mode"), [("train_loss", "min"), ("smallness", "max")])
def test_trials_are_compared_by_any_metric(metric, mode):
    def eval_fn(params: Any, batch: Any) -> dict[str, jax.Array]:
        loss = REGRESSION.loss_fn(params, batch, KEY)
        return {"loss": loss, "smallness": -sum(jnp.abs(leaf).sum() for leaf in params.values())}

    task = dataclasses.replace(REGRESSION, eval_fn=eval_fn)
    stop = SuccessiveHalving(first=6, factor=2, metric=metric, mode=mode)
    options = {"key": KEY, "train_steps": STEPS, "eval_every": 6, "executor": "loop"}
    rates = [0.003, 0.3, 0.01, 0.1, 0.03]
    whole = lrjax.sweep(task, momentum, rates, **options)
    result = lrjax.sweep(task, momentum, rates, stop=stop, **options)
    updates = literal_halving(stop, whole.metrics[metric], whole.steps, whole.diverged_at, STEPS)
    by_loss = literal_halving(HALVING_AT_SIX, whole.metrics["loss"], whole.steps, whole.diverged_at, STEPS)
    np.testing.assert_array_equal(result.stopped_at[:, 0], np.where(updates < STEPS, updates, -1))
    assert metric == "train_loss" or (updates != by_loss).any()


HALVING_AT_SIX = SuccessiveHalving(first=6, factor=2)


def test_an_unknown_metric_is_refused_before_the_training():
    seen = []
    with pytest.raises(
        ValueError, match=r"SuccessiveHalving\(metric=...\)` must be one of loss, train_loss, got 'acc'"
    ):
        regress("loop", stop=SuccessiveHalving(first=4, metric="acc", mode="max"), progress=seen.append)
    assert seen == []


class Values:
    """Metrics at a rung, as (seeds, trials)."""

    TIES = np.array([[3.0, 1.0, 1.0, 1.0]])
    SEEDS = np.array([[1.0, 5.0, 3.0], [np.nan, 5.0, 3.0]])


def test_ties_go_to_the_first_trial_and_a_trial_lost_in_one_seed_is_lost():
    everyone = np.ones(4, bool)
    assert SuccessiveHalving(first=1, factor=2).keep(Values.TIES, everyone).tolist() == [False, True, True, False]
    assert SuccessiveHalving(first=1, factor=4).keep(Values.TIES, everyone).tolist() == [False, True, False, False]
    assert SuccessiveHalving(first=1, factor=9).keep(Values.SEEDS, everyone[:3]).tolist() == [False, False, True]
    assert not SuccessiveHalving(first=1).keep(np.full((1, 3), np.inf), everyone[:3]).any()


def test_a_trial_whose_training_loss_was_lost_goes_first_whatever_its_metric():
    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        """Infinite, and without a gradient, once the bias has moved: the weights stay as good as they are."""
        return jnp.where(jnp.abs(params["b"]) > 0.01, jnp.inf, REGRESSION.loss_fn(params, batch, key))

    task = lrjax.Task(
        init=REGRESSION.init,
        loss_fn=loss_fn,
        sample_batches=REGRESSION.sample_batches,
        batches_between=REGRESSION.batches_between,
        eval_batches=REGRESSION.eval_batches,
        eval_fn=lambda params, batch: REGRESSION.loss_fn(params, batch, KEY),
    )
    options = {"key": KEY, "train_steps": STEPS, "eval_every": 4, "executor": "loop"}
    whole = lrjax.sweep(task, momentum, [1e-7, 0.03, 0.01], **options)
    assert (whole.diverged_at[:, 0] >= 0).tolist() == [False, True, True]
    assert whole.metrics["loss"][:, 0, 0].argmin() != 0
    result = lrjax.sweep(task, momentum, [1e-7, 0.03, 0.01], stop=HALVING, **options)
    assert (result.stopped_at[:, 0] < 0).tolist() == [True, False, False]


@pytest.mark.parametrize("executor", ["map", "loop", "vmap"])
@pytest.mark.parametrize("stop", [StopDiverged(), HALVING], ids=["diverged", "halving"])
def test_a_sweep_in_which_all_diverge_ends_at_once(executor, stop):
    seen = []
    grid = {"learning_rate": [1e30, 1e25, 3e28]}
    result = regress(executor, grid, stop=stop, progress=lambda event: seen.append(event.step))
    first = int(result.steps[0])
    assert (result.stopped_at == first).all()
    assert (result.diverged_at >= 0).all()
    assert max(seen) == first
    assert (result.execution.updates, result.execution.updates_saved) == (6 * first, 6 * (STEPS - first))
    assert np.isnan(result.final()).all()
    assert "6 of 6 lanes diverged, 6 were stopped early" in result.summary()
    with pytest.raises(ValueError, match="must have a trial with a finite value"):
        result.best()


def test_a_lane_that_diverges_in_one_seed_leaves_its_other_seed_alone():
    def spoiled(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        """Infinite from where the bias is large on, which some seeds begin closer to."""
        return REGRESSION.loss_fn(params, batch, key) * jnp.where(params["b"] > 0.2, jnp.inf, 1.0)

    task = lrjax.Task(
        init=lambda key: REGRESSION.init(key) | {"b": jax.random.uniform(key, (), minval=-0.5, maxval=0.5)},
        loss_fn=spoiled,
        sample_batches=REGRESSION.sample_batches,
        batches_between=REGRESSION.batches_between,
        eval_batches=REGRESSION.eval_batches,
        eval_fn=lambda params, batch: REGRESSION.loss_fn(params, batch, KEY),
    )
    options = {"key": KEY, "train_steps": STEPS, "num_seeds": 5, "eval_every": 6}
    grid = {"learning_rate": [0.001, 0.01, 0.02]}
    whole = lrjax.sweep(task, momentum, grid, executor="loop", **options)
    some = (whole.diverged_at >= 0).any(axis=1) & (whole.diverged_at < 0).any(axis=1)
    assert some.any()
    result = lrjax.sweep(task, momentum, grid, executor="map", stop=StopDiverged(), **options)
    there = np.isfinite(result.metrics["loss"])
    np.testing.assert_array_equal(there[..., -1], whole.diverged_at < 0)
    np.testing.assert_array_equal(result.metrics["loss"][there], whole.metrics["loss"][there])
    np.testing.assert_array_equal(result.diverged_at, whole.diverged_at)


@pytest.mark.parametrize("executor", ["vmap", "map"])
def test_there_are_as_many_programs_as_widths_and_those_are_halved(executor):
    lanes = len(NUMBERS)
    before = kept.misses
    grid = {"learning_rate": [0.003 * (place + 1) for place in range(lanes)]}
    result = regress(executor, grid, stop=SuccessiveHalving(first=1, factor=2))
    widths = result.execution.widths
    assert widths == ([9, 5, 3, 2, 1] if executor == "vmap" else [9])
    assert len(widths) <= math.ceil(math.log2(lanes)) + 1
    assert kept.misses - before <= 2 * len(widths) + 1  # to advance and to evaluate, and to begin
    assert (result.stopped_at < 0).all(axis=1).sum() == 1


def test_a_stopped_lane_gives_its_memory_back():
    counts, before = [], len(jax.live_arrays())

    def count(event: lrjax.Progress) -> None:
        counts.append(len(jax.live_arrays()) - before)

    result = regress("loop", {"learning_rate": [0.01, 1e30, 1e29, 1e28, 1e27]}, stop=StopDiverged(), progress=count)
    assert (result.stopped_at > 0).sum() == 8
    assert counts[-1] < max(counts) / 2
