"""Durations in words: what they are in optimizer updates, where they are taken, and which block they belong to."""

import asyncio
import contextlib
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import FACTORIES

import lrjax
from lrjax import schedules
from lrjax.schedules import Durations

FLAT = schedules.constant(0.1)
KNOWN = {"batch_size": 128, "dataset_size": 50_000, "sequence_length": 512, "accumulation_steps": 2}
LONG = Durations(**KNOWN, total_steps=10_000)
"""An update sees 256 examples, 131,072 tokens; an epoch is 390 batches, 195 updates."""

TEN = Durations(batch_size=10, dataset_size=100, sequence_length=8, total_steps=200)
"""An epoch is 10 updates, 1 % is 2."""

IN_UPDATES = {
    # every name of every unit
    **{f"7 {name}": 7 for name in ("step", "steps", "update", "updates")},
    **{f"2 {name}": 390 for name in ("epoch", "epochs", "ep")},
    **{f"1024 {name}": 4 for name in ("example", "examples", "ex", "sample", "samples")},
    **{f"1e9 {name}": 7629 for name in ("token", "tokens", "tok")},
    **{f"10 {name}": 1000 for name in ("%", "percent")},
    # how a number is written
    "1_000 steps": 1000,
    "1,000,000 steps": 1_000_000,
    "1e3 steps": 1000,
    "1.5E3 steps": 1500,
    "25e-1 epochs": 488,
    "3. steps": 3,
    ".5 %": 50,
    "  3  EPOCHS ": 585,
    "3epochs": 585,
    "10%": 1000,
    # to the nearest update, halves up, and at least one
    "1.49 steps": 1,
    "1.5 steps": 2,
    "2.5 steps": 3,
    "0.1 epochs": 20,
    "2.5 epochs": 488,
    "384 examples": 2,
    "383 examples": 1,
    "0.015%": 2,
    "0.01 steps": 1,
    "1 token": 1,
    "1e-9 %": 1,
    "0 steps": 0,
    "0.0 epochs": 0,
    "0%": 0,
    # beyond the end, and far
    "150%": 15_000,
    "1e6 examples": 3906,
    "90 epochs": 17_550,
    "900_000_000_000_000_001 steps": 900_000_000_000_000_001,
}


@pytest.mark.parametrize(("duration", "updates"), IN_UPDATES.items(), ids=IN_UPDATES.keys())
def test_in_updates(duration, updates):
    found = LONG.steps(duration)
    assert found == updates
    assert type(found) is int


@pytest.mark.parametrize("number", [0, 7, np.int64(7), np.uint8(7), jnp.int32(7)], ids=repr)
def test_a_number_is_itself(number):
    assert LONG.steps(number) == int(number)


@given(thousandths=st.integers(0, 10**6), batches=st.integers(1, 50), accumulation_steps=st.integers(1, 50))
@settings(deadline=None)
def test_rounded_to_the_nearest_update(thousandths, batches, accumulation_steps):
    durations = Durations(batch_size=1, dataset_size=batches, accumulation_steps=accumulation_steps)
    found = durations.steps(f"{thousandths // 1000}.{thousandths % 1000:03} epochs")
    exact, update = thousandths * batches, 1000 * accumulation_steps  # in thousandths of a batch
    assert found == max((2 * exact + update) // (2 * update), exact > 0)


# dataset_size, batch_size, accumulation_steps -> updates of two epochs, without and with the incomplete batch
EPOCHS = {
    (100, 10, 1): (20, 20),
    (105, 10, 1): (20, 22),
    (105, 10, 2): (10, 11),
    (105, 10, 4): (5, 6),  # 5 and 5.5
    (109, 10, 3): (7, 7),  # 6.67 and 7.33
    (10, 10, 1): (2, 2),
    (50_000, 128, 1): (780, 782),
}


@pytest.mark.parametrize(("known", "updates"), EPOCHS.items(), ids=repr)
def test_the_incomplete_batch_of_an_epoch(known, updates):
    names = dict(zip(("dataset_size", "batch_size", "accumulation_steps"), known, strict=True))
    found = tuple(Durations(**names, drop_last=drop_last).steps("2 epochs") for drop_last in (True, False))
    assert found == updates
    assert Durations(**names).steps("2 epochs") == updates[0]


def test_a_dataset_smaller_than_a_batch():
    assert Durations(batch_size=128, dataset_size=100, drop_last=False).steps("3 epochs") == 3


def test_examples_and_tokens_know_no_incomplete_batch():
    for drop_last in (True, False):
        durations = Durations(batch_size=10, dataset_size=105, sequence_length=4, drop_last=drop_last)
        assert durations.steps("105 examples") == 11
        assert durations.steps("420 tokens") == 11


@pytest.mark.parametrize(
    ("total", "updates"),
    {100: 100, "100 steps": 100, "2 epochs": 390, "1e6 examples": 3906, "1e9 tokens": 7629, None: None}.items(),
    ids=repr,
)
def test_the_whole_in_words(total, updates):
    durations = Durations(**KNOWN, total_steps=total)
    assert durations.total_steps == updates
    if updates is not None:
        assert durations.steps("100%") == updates
        assert durations.steps("50%") == (updates + 1) // 2


def test_the_whole_is_not_taken_from_the_block_around():
    with LONG, pytest.raises(ValueError, match="batch_size is not known"):
        Durations(total_steps="2 epochs")


# factory -> a schedule all of whose numbers of steps are n(...) of an even number
PLACES = {
    "linear_decay": lambda n: schedules.linear_decay(1.0, 0.0, n(20), transition_begin=n(6)),
    "polynomial_decay": lambda n: schedules.polynomial_decay(1.0, 0.0, 2.0, n(20), transition_begin=n(6)),
    "exponential_decay": lambda n: schedules.exponential_decay(1.0, n(20), 0.5, transition_begin=n(6)),
    "inverse_time_decay": lambda n: schedules.inverse_time_decay(1.0, n(20), 0.5),
    "cosine_decay": lambda n: schedules.cosine_decay(1.0, n(20)),
    "inverse_sqrt_decay": lambda n: schedules.inverse_sqrt_decay(1.0, warmup_steps=n(6), timescale=n(20)),
    "tanh_decay": lambda n: schedules.tanh_decay(1.0, n(20)),
    "k_decay": lambda n: schedules.k_decay(1.0, n(20), k=2.0),
    "step_decay": lambda n: schedules.step_decay(1.0, factor=0.5, every=n(20)),
    "piecewise_constant": lambda n: schedules.piecewise_constant([1.0, 0.5, 0.1], [n(6), n(20)]),
    "piecewise_interpolate": lambda n: schedules.piecewise_interpolate([1.0, 0.5, 0.1], [n(6), n(20)]),
    "warmup": lambda n: schedules.warmup(FLAT, n(6)),
    "warmup_cosine": lambda n: schedules.warmup_cosine(1.0, warmup_steps=n(6), total_steps=n(20)),
    "warmup_stable_decay": lambda n: schedules.warmup_stable_decay(
        1.0, warmup_steps=n(6), stable_steps=n(20), decay_steps=n(10)
    ),
    "cooldown_from": lambda n: schedules.cooldown_from(FLAT, n(20), n(6)),
    "cosine_restarts": lambda n: schedules.cosine_restarts(1.0, n(20)),
    "triangular": lambda n: schedules.triangular(0.0, 1.0, n(20), down_steps=n(6)),
    "triangular2": lambda n: schedules.triangular2(0.0, 1.0, n(20), down_steps=n(6)),
    "exp_range": lambda n: schedules.exp_range(0.0, 1.0, n(20), gamma=0.9, down_steps=n(6)),
    "cyclic_exponential_decay": lambda n: schedules.cyclic_exponential_decay(
        1.0, decay_rate=0.5, transition_steps=n(20), cycle_steps=n(6)
    ),
    "one_cycle": lambda n: schedules.one_cycle(1.0, total_steps=n(20)),
    "one_cycle_momentum": lambda n: schedules.one_cycle_momentum(n(20)),
    "triangular_momentum": lambda n: schedules.triangular_momentum(n(20), down_steps=n(6)),
    "range_test_ramp": lambda n: schedules.range_test_ramp(1e-7, 1.0, n(20)),
    "join": lambda n: schedules.join([FLAT, FLAT, FLAT], [n(6), n(20)]),
    "shift": lambda n: schedules.shift(FLAT, n(20)),
    "stretch": lambda n: schedules.stretch(FLAT, n(6), n(20)),
    "repeat": lambda n: schedules.repeat(FLAT, n(20)),
}

# 20 -> the same in words, under TEN
WRITTEN = {
    "steps": lambda steps: f"{steps} steps",
    "epochs": lambda steps: f"{steps / 10:g} epochs",
    "examples": lambda steps: f"{10 * steps} examples",
    "tokens": lambda steps: f"{80 * steps} tokens",
    "percent": lambda steps: f"{steps / 2:g}%",
}

each_place = pytest.mark.parametrize("make", PLACES.values(), ids=PLACES.keys())


def number(steps):
    return steps


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN.keys())
@each_place
def test_words_and_numbers_make_one_schedule(make, write):
    with TEN:
        assert schedules.to_spec(make(write)) == schedules.to_spec(make(number))


@each_place
def test_steps_in_words_need_no_block(make):
    assert schedules.to_spec(make(WRITTEN["steps"])) == schedules.to_spec(make(number))
    with pytest.raises(ValueError, match=r"is '2 epochs', and how many|is '0.6 epochs', and how many"):
        make(WRITTEN["epochs"])


def step_counts(factory):
    parameters = inspect.signature(factory).parameters.values()
    return {
        each.name for each in parameters if "StepCount" in str(each.annotation) or "int | str" in str(each.annotation)
    }


@pytest.mark.parametrize("name", FACTORIES)
def test_every_number_of_steps_has_a_place(name):
    counts = step_counts(FACTORIES[name]) - {"tokens_per_step"}  # tokens, not updates
    assert bool(counts) == (name in PLACES), f"{name}: PLACES needs it if it has numbers of steps, written n(20)"
    if counts:
        once, twice = (schedules.to_spec(PLACES[name](lambda steps: scale * steps)) for scale in (1, 2))
        assert {key for key in once if once[key] != twice[key]} >= counts


def test_the_functions_around_take_words_too():
    trapezoid = schedules.warmup_stable_decay(1.0, warmup_steps=2, stable_steps=2, decay_steps=2)
    state = optax.sgd(FLAT).init(jnp.ones(2))
    with TEN:
        assert schedules.to_spec(schedules.extend(trapezoid, "2 epochs"))["stable_steps"] == 22
        assert schedules.describe(FLAT, "2 epochs").total_steps == 20
        assert schedules.validate(FLAT, "2 epochs") == ()
        assert [int(leaf) for leaf in jax.tree.leaves(lrjax.schedules.at_step(state, "2 epochs"))] == [20]


def test_a_spec_keeps_words_until_it_is_read():
    spec = {"name": "warmup", "schedule": {"name": "cosine_decay", "init_value": 1.0, "decay_steps": "9 epochs"}}
    with TEN:
        found = schedules.to_spec(schedules.from_spec({**spec, "warmup_steps": "5%"}))
    assert (found["warmup_steps"], found["schedule"]["decay_steps"]) == (10, 90)


def test_a_traced_count_works_inside_a_block():
    def value(steps):
        return schedules.warmup(schedules.cosine_decay(1.0, steps), "1 epoch")(20)

    with TEN:
        assert float(jax.jit(value)(20)) == 0.5
        np.testing.assert_allclose(jax.vmap(value)(jnp.array([20, 40])), [0.5, np.cos(np.pi / 8) ** 2], rtol=1e-6)


def test_a_block_entered_while_tracing_ends_with_it():
    @jax.jit
    def value(step):
        with TEN:
            return schedules.linear_decay(1.0, 0.0, "1 epoch")(step)

    assert float(value(5)) == 0.5
    assert updates_of_an_epoch() is None


# blocks


def updates_of_an_epoch():
    """What an epoch is here; None outside a block."""
    with contextlib.suppress(ValueError):
        return schedules.to_spec(schedules.cosine_decay(1.0, "1 epoch"))["decay_steps"]
    return None


def test_the_innermost_block_counts():
    with LONG as outer:
        assert outer is LONG
        assert updates_of_an_epoch() == 195
        with TEN:
            assert updates_of_an_epoch() == 10
            with TEN, LONG:
                assert updates_of_an_epoch() == 195
            assert updates_of_an_epoch() == 10
        assert updates_of_an_epoch() == 195
    assert updates_of_an_epoch() is None


def test_restored_after_an_exception():
    with LONG:
        with pytest.raises(ValueError, match="whole number"), TEN:
            schedules.cosine_decay(1.0, "0 epochs")
        assert updates_of_an_epoch() == 195
    with pytest.raises(KeyboardInterrupt), TEN:
        raise KeyboardInterrupt
    assert updates_of_an_epoch() is None


def test_a_schedule_outlives_its_block():
    with TEN:
        schedule = schedules.linear_decay(1.0, 0.0, "1 epoch")
    assert float(schedule(5)) == 0.5


def test_the_method_needs_no_block_and_heeds_none():
    with TEN:
        assert LONG.steps("1 epoch") == 195


def test_another_thread_does_not_see_the_block():
    def with_its_own():
        with LONG:
            return updates_of_an_epoch()

    with TEN, ThreadPoolExecutor(1) as thread:
        assert thread.submit(updates_of_an_epoch).result() is None
        assert thread.submit(with_its_own).result() == 195
        assert updates_of_an_epoch() == 10


# two blocks of two threads, or of two tasks: the first one entered is the first one left


def thread_inside(durations, enter, entered, leave, left):
    enter.wait(10)
    try:
        with durations:
            entered.set()
            leave.wait(10)
            return updates_of_an_epoch()
    finally:
        left.set()


def in_two_threads(first, second):
    start, one, two, three, end = (threading.Event() for _ in range(5))
    start.set()
    with ThreadPoolExecutor(2) as threads:
        found = [
            threads.submit(thread_inside, first, start, one, two, three),
            threads.submit(thread_inside, second, one, two, three, end),
        ]
        return [each.result() for each in found]


async def task_inside(durations, enter, entered, leave, left):
    await enter.wait()
    try:
        with durations:
            entered.set()
            await leave.wait()
            return updates_of_an_epoch()
    finally:
        left.set()


def in_two_tasks(first, second):
    async def both():
        start, one, two, three, end = (asyncio.Event() for _ in range(5))
        start.set()
        return await asyncio.gather(
            task_inside(first, start, one, two, three), task_inside(second, one, two, three, end)
        )

    return asyncio.run(both())


@pytest.mark.parametrize("in_two", [in_two_threads, in_two_tasks])
def test_blocks_do_not_mix(in_two):
    assert in_two(TEN, LONG) == [10, 195]
    assert updates_of_an_epoch() is None


@pytest.mark.parametrize("in_two", [in_two_threads, in_two_tasks])
def test_one_object_may_be_entered_twice_at_a_time(in_two):
    durations = Durations(**KNOWN)
    assert in_two(durations, durations) == [195, 195]
