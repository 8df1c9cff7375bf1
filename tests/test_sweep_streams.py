"""Where a sweep's batches come from: one stream gives one result, memory stays flat, and whatever fails arrives."""

import itertools
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from inside import engine_source, sweeps_run
from sweep_oracle import KEY, check_lane, follow, same_numbers

import lrjax
from lrjax import schedules

STEPS = 12
RNG = np.random.default_rng(6)
DATA = RNG.normal(size=(STEPS, 8, 3)).astype(np.float32)
EVALUATION = [RNG.normal(size=(8, 3)).astype(np.float32)]
PARAMS = jnp.asarray([0.5, -0.5, 1.0])
RATES = {"learning_rate": [0.03, 0.1]}


def loss_fn(w: jax.Array, batch: jax.Array, key: jax.Array) -> jax.Array:
    return jnp.mean((jnp.tanh(batch @ w) - 0.5) ** 2)


class Reiterable:
    """Gives the same batches whenever it is asked."""

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(list(DATA))


class Records:
    """A data source of Grain."""

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> np.ndarray:
        return DATA[index]


def loader() -> grain.DataLoader:
    sampler = grain.IndexSampler(STEPS, shard_options=grain.NoSharding(), shuffle=False, num_epochs=1)
    return grain.DataLoader(data_source=Records(), sampler=sampler, worker_count=0)


def single_threaded(dataset: grain.MapDataset) -> grain.IterDataset:
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))


SOURCES: dict[str, Callable[[], Any]] = {
    "list": lambda: list(DATA),
    "tuple of jax arrays": lambda: tuple(map(jnp.asarray, DATA)),
    "generator": lambda: (batch for batch in DATA),
    "re-iterable": Reiterable,
    "function of the epoch": lambda: lambda epoch: list(DATA[5 * epoch : 5 * epoch + 5]),
    "endless": lambda: itertools.cycle(DATA),
    "grain loader": loader,
    "grain dataset": lambda: grain.MapDataset.source(DATA),
    "grain iterator": lambda: iter(single_threaded(grain.MapDataset.source(DATA))),
}
READ_ONCE = ("generator", "endless")
WITH_PLACES = [name for name in SOURCES if name not in (*READ_ONCE, "re-iterable")]
"""Those that can be read on from any place, so that several waves see the same batches."""


def streamed(source: Any) -> lrjax.Task:
    return lrjax.Task.from_batches(PARAMS, loss_fn, train_batches=source, eval_batches=EVALUATION)


def by_step() -> lrjax.Task:
    return lrjax.Task(
        init=PARAMS,
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: DATA[:num_steps],
        batches_between=lambda key, start, stop: DATA[start:stop],
        eval_batches=EVALUATION,
    )


def arrays() -> lrjax.Task:
    return lrjax.Task.from_arrays(
        PARAMS, loss_fn, train=DATA.reshape(-1, 3), validation=EVALUATION[0], batch_size=8, shuffle=False
    )


def sweep(task: lrjax.Task, grid: Any = RATES, **options: Any) -> lrjax.SweepResult:
    good = {"key": KEY, "train_steps": STEPS, "eval_every": 4, "executor": "loop"}
    return lrjax.sweep(task, optax.sgd, grid, **good | options)


def readers() -> list[str]:
    """Threads that still read batches."""
    return [thread.name for thread in threading.enumerate() if thread.name == "lrjax-batches"]


@pytest.fixture(scope="module")
def expected() -> lrjax.SweepResult:
    result = sweep(by_step(), executor="map")
    check_lane(result, 1, 0, follow(by_step(), optax.sgd(jnp.float32(0.1)), evaluations=(4, 8, 12)))
    return result


@pytest.mark.parametrize("executor", ["map", "loop"])
@pytest.mark.parametrize("name", [*SOURCES, "arrays"])
def test_the_same_batches_give_the_same_numbers_wherever_they_come_from(name, executor, expected):
    task = arrays() if name == "arrays" else streamed(SOURCES[name]())
    same_numbers(sweep(task, executor=executor), expected)
    assert readers() == []


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in READ_ONCE])
def test_what_can_be_read_again_is_read_from_its_beginning_by_every_sweep(name, expected):
    task = streamed(SOURCES[name]())
    for _ in range(2):
        same_numbers(sweep(task), expected)


@pytest.mark.parametrize("name", READ_ONCE)
def test_an_iterator_is_read_by_one_sweep_only(name):
    task = streamed(SOURCES[name]())
    sweep(task)
    with pytest.raises(ValueError, match="is an iterator that was read before"):
        sweep(task)


def test_all_seeds_see_the_batches_of_a_stream(expected):
    result = sweep(streamed(list(DATA)), num_seeds=3)
    for seed in range(3):
        np.testing.assert_array_equal(result.metrics["loss"][:, seed], expected.metrics["loss"][:, 0])


def test_an_iterator_that_was_begun_goes_on_from_there():
    begun = SOURCES["grain iterator"]()
    next(begun), next(begun)
    same_numbers(sweep(streamed(begun), train_steps=10), sweep(streamed(list(DATA[2:])), train_steps=10))


def two_lanes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps_run, "lanes_that_fit", lambda engine, setting, lanes: min(lanes, 2))


FIVE = {"learning_rate": [0.01, 0.03, 0.1, 0.3, 0.5]}
HALVING = lrjax.SuccessiveHalving(first=3, factor=2)


@pytest.mark.parametrize("name", ["function of the epoch", "grain loader", "grain iterator"])
def test_each_wave_reads_the_batches_from_the_beginning(name, monkeypatch):
    whole = sweep(by_step(), FIVE, executor="map")
    two_lanes_at_once(monkeypatch)
    result = sweep(streamed(SOURCES[name]()), FIVE, executor="map")
    assert result.execution.widths == [2, 2, 2]
    same_numbers(result, whole)


@pytest.mark.parametrize("name", WITH_PLACES)
def test_waves_between_rungs_read_on_where_the_rung_was(name, monkeypatch):
    whole = sweep(by_step(), FIVE, stop=HALVING, executor="map")
    two_lanes_at_once(monkeypatch)
    same_numbers(sweep(streamed(SOURCES[name]()), FIVE, stop=HALVING, executor="map"), whole)
    assert len(np.unique(whole.stopped_at)) == 3


@pytest.mark.parametrize("stop", [lrjax.StopDiverged(), HALVING], ids=["diverged", "halving"])
def test_one_wave_reads_an_iterator_through_all_rungs(stop):
    result = sweep(streamed(SOURCES["generator"]()), FIVE, stop=stop)
    same_numbers(result, sweep(by_step(), FIVE, stop=stop))


@pytest.mark.parametrize("why", ["memory", "schedules"])
@pytest.mark.parametrize("kind", ["iterator", "loader that may shuffle anew"])
def test_more_than_one_wave_of_what_gives_its_batches_once_is_refused_before_it_begins(kind, why, monkeypatch):
    read = []

    class Shuffling:
        """As torch's DataLoader(shuffle=True): other batches every time."""

        def __iter__(self) -> Iterator[np.ndarray]:
            for step in RNG.permutation(STEPS):
                read.append(step)
                yield DATA[step]

    if why == "memory":
        two_lanes_at_once(monkeypatch)
        grid = FIVE
    else:
        grid = {"learning_rate": [schedules.constant(0.1), schedules.cosine_decay(0.1, 9)]}
    task = streamed(iter(Shuffling()) if kind == "iterator" else Shuffling())
    with pytest.raises(ValueError, match=r"the trials run in [23] groups, one after the other"):
        sweep(task, grid, executor="map")
    assert len(read) == 1


def test_one_wave_may_read_a_loader_that_shuffles_anew():
    class Shuffling(Reiterable):
        def __init__(self) -> None:
            self.orders = []

        def __iter__(self) -> Iterator[np.ndarray]:
            self.orders.append(RNG.permutation(STEPS))
            return iter(DATA[self.orders[-1]])

    loader = Shuffling()
    result = sweep(streamed(loader), FIVE, stop=HALVING, executor="map")
    same_numbers(result, sweep(streamed(list(DATA[loader.orders[-1]])), FIVE, stop=HALVING, executor="map"))


@pytest.mark.parametrize("longest", [4, 16])
def test_batches_are_read_ahead_by_four_blocks_at_most_and_never_more_than_needed(longest, monkeypatch):
    monkeypatch.setattr(engine_source, "LONGEST_BLOCK", longest)
    read, trained, ahead = [0], [0], [0]

    def source() -> Iterator[np.ndarray]:
        while True:
            read[0] += 1
            ahead[0] = max(ahead[0], read[0] - trained[0])
            yield DATA[0]

    def follow_steps(event: lrjax.Progress) -> None:
        trained[0] = event.step

    sweep(streamed(source()), train_steps=200, eval_every=100, progress=follow_steps)
    assert read[0] == 200  # one block is trained on, two wait, and one is on its way
    assert ahead[0] <= 4 * longest


def test_once_all_lanes_are_stopped_no_more_is_read(monkeypatch):
    monkeypatch.setattr(engine_source, "LONGEST_BLOCK", 4)
    read = []

    def source() -> Iterator[np.ndarray]:
        while True:
            read.append(None)
            yield np.full((8, 3), 1e30, np.float32)

    task = lrjax.Task.from_batches(
        PARAMS, lambda w, batch, key: jnp.mean((batch @ w) ** 2), train_batches=source(), eval_batches=EVALUATION
    )
    result = sweep(task, train_steps=400, eval_every=4, stop=lrjax.StopDiverged())
    assert (result.stopped_at == 4).all()
    assert len(read) <= 5 * 4
    assert readers() == []


def memory_of(train_steps: int) -> tuple[int, int]:
    """Peaks of the host's memory and of JAX's arrays while a stream of 12,800 bytes a step is trained on."""

    def source() -> Iterator[np.ndarray]:
        for step in range(train_steps):
            yield np.full((32, 100), step % 7, np.float32)

    task = lrjax.Task.from_batches(
        jnp.zeros(100), loss_fn, train_batches=source(), eval_batches=[np.ones((32, 100), np.float32)]
    )
    arrays, before = [], sum(leaf.nbytes for leaf in jax.live_arrays())

    def measure(event: lrjax.Progress) -> None:
        if event.step > 0 and not tracemalloc.is_tracing():  # compiling is no part of it
            tracemalloc.start()
        arrays.append(sum(leaf.nbytes for leaf in jax.live_arrays()))

    try:
        sweep(task, train_steps=train_steps, eval_every=20, executor="map", progress=measure)
        return tracemalloc.get_traced_memory()[1], max(arrays) - before
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_steps():
    (host, device), (host_long, device_long) = memory_of(200), memory_of(2000)
    step, block = 12_800, engine_source.PADDING_BYTES
    assert host_long - host < 2_000_000 < 1800 * step / 10
    assert max(device, device_long) < 6 * block


class Broken(Exception):
    """Of a loader."""


@pytest.mark.parametrize("executor", ["map", "loop"])
@pytest.mark.parametrize(
    "error", [Broken("disk"), KeyError("image"), MemoryError("host")], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("good", [0, 1, 5, 11])
def test_a_loader_that_fails_is_heard(good, error, executor):
    def source() -> Iterator[np.ndarray]:
        yield from DATA[:good]
        raise error

    seen = [0]
    with pytest.raises(type(error)) as caught:
        sweep(streamed(source()), executor=executor, progress=lambda event: seen.append(event.step))
    assert caught.value is error
    assert max(seen) <= good
    assert readers() == []


@pytest.mark.parametrize("name", ["list", "generator", "re-iterable"])
@pytest.mark.parametrize("there", [0, 1, 9, 11])
def test_a_loader_that_ends_early_is_an_error_that_says_how_early(name, there):
    class Short(Reiterable):
        def __iter__(self) -> Iterator[np.ndarray]:
            return iter(list(DATA[:there]))

    source = {"list": list(DATA[:there]), "generator": (x for x in DATA[:there]), "re-iterable": Short()}[name]
    with pytest.raises(
        ValueError, match=rf"a batch for each of the 12 steps, but ended after {there}\. Give a function"
    ):
        sweep(streamed(source))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((8, 3), np.nan, np.float32), "must be finite, got nan or inf in step 9"),
        (np.zeros((7, 3), np.float32), "batch 9 differs from batch 0"),
        ([1.0, "a"], "must hold arrays of numbers"),
        ({"x": np.zeros((8, 3), np.float32)}, r"batch 9 differs from batch 0: \(root\) is a dict"),
    ],
    ids=["nan", "shape", "text", "structure"],
)
def test_a_bad_batch_in_the_middle_is_named(bad, message):
    with pytest.raises((TypeError, ValueError), match=message):
        sweep(streamed([*DATA[:9], bad, *DATA[10:]]))


def test_ctrl_c_in_a_loader_is_an_interruption_with_what_was_measured(expected):
    def source() -> Iterator[np.ndarray]:
        yield from DATA[:9]
        raise KeyboardInterrupt

    with pytest.raises(lrjax.SearchInterrupted) as caught:
        sweep(streamed(source()))
    loss = caught.value.result.metrics["loss"]
    np.testing.assert_array_equal(loss[..., :2], expected.metrics["loss"][..., :2])
    assert np.isnan(loss[..., 2]).all()


def test_a_loader_may_use_its_buffer_again(expected):
    def source() -> Iterator[np.ndarray]:
        buffer = np.empty_like(DATA[0])
        for batch in DATA:
            buffer[:] = batch
            yield buffer

    same_numbers(sweep(streamed(source())), expected)


def drawn(key: jax.Array, count: int) -> jax.Array:
    return jax.random.normal(key, (count, 8, 3))


def shuffled(key: jax.Array, count: int) -> jax.Array:
    return jnp.asarray(DATA)[jax.random.permutation(key, count)]


SAMPLED = {
    "always the first ones": (drawn, lambda key, start, stop: drawn(key, stop - start)),
    "others whenever more are asked for": (shuffled, lambda key, start, stop: shuffled(key, stop)[start:stop]),
    "of another structure": (drawn, lambda key, start, stop: (drawn(key, stop)[start:stop],) * 2),
    "of another shape": (drawn, lambda key, start, stop: drawn(key, stop)[start:stop, :4]),
}


@pytest.mark.parametrize("case", SAMPLED)
def test_random_access_that_does_not_fit_the_first_batches_is_refused(case):
    sample_batches, batches_between = SAMPLED[case]
    task = lrjax.Task(
        init=PARAMS,
        loss_fn=loss_fn,
        sample_batches=sample_batches,
        batches_between=batches_between,
        eval_batches=EVALUATION,
    )
    with pytest.raises(ValueError, match=r"batches_between|sample_batches"):
        sweep(task, train_steps=STEPS)


@pytest.mark.parametrize("step", [0, 1, 2, 9])
def test_a_batch_that_is_not_finite_is_named_by_its_step(step):
    batches = DATA.copy()
    batches[step, 3, 1] = np.nan
    task = lrjax.Task(
        init=PARAMS,
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: batches[:num_steps],
        batches_between=lambda key, start, stop: batches[start:stop],
        eval_batches=EVALUATION,
    )
    with pytest.raises(ValueError, match=rf"must be finite, got nan or inf in step {step} "):
        sweep(task)


def test_without_random_access_a_sweep_says_what_to_give():
    task = lrjax.Task(
        init=PARAMS,
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: DATA[:num_steps],
        eval_batches=EVALUATION,
    )
    with pytest.raises(ValueError, match=r"Task\(batches_between=...\)"):
        sweep(task)
