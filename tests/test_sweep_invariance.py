"""What changes no number of a sweep: calls, blocks, company, order, seeds and memory; and what is compiled."""

import functools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from inside import Block, Engine, engine_source, sweeps_run
from marks import slow
from sweep_oracle import KEY, REGRESSION, THREE, compiled, momentum, regress, same_numbers

import lrjax

every_executor = pytest.mark.parametrize("executor", ["map", "loop", "vmap"])
one_by_one = pytest.mark.parametrize("executor", ["map", "loop"])


@functools.cache
def regressed(executor: Any) -> lrjax.SweepResult:
    return regress(executor)


@every_executor
@pytest.mark.parametrize("cut", [slow(1), 4, slow(6)])
def test_how_steps_are_cut_into_calls_changes_no_bit(executor, cut, monkeypatch):
    class Cut(engine_source.ReadAhead):
        """Reads so many steps at once, however fast they are."""

        steps_at_once = property(lambda self: cut, lambda self, steps: None)

    expected = regressed(executor)
    monkeypatch.setattr(sweeps_run, "ReadAhead", Cut)
    seen = set()
    same_numbers(regress(executor, progress=lambda event: seen.add(event.step)), expected)
    assert seen == {0, 6, 12, 18, 24, *(step + cut * n for step in (0, 6, 12, 18) for n in range(6 // cut + 1))}


@pytest.mark.parametrize(("first", "seconds"), [(1, 0.0), (8, 1e9)])
def test_how_long_a_call_lasts_changes_no_bit(first, seconds, monkeypatch):
    expected = regressed("map")
    monkeypatch.setattr(engine_source, "FIRST_STEPS", first)
    monkeypatch.setattr(engine_source, "CALL_SECONDS", seconds)
    monkeypatch.setattr(engine_source, "LONGEST_CALL", seconds)
    same_numbers(regress("map"), expected)


@one_by_one
def test_how_long_a_block_of_batches_is_changes_no_bit(executor, monkeypatch):
    expected = regressed(executor)
    monkeypatch.setattr(engine_source, "LONGEST_LIST", 4)
    result = regress(executor)
    assert result.execution.steps_per_call <= 4
    same_numbers(result, expected)


@pytest.mark.parametrize("executor", ["map", slow("loop"), "vmap"])
def test_of_arrays_only_rows_are_sent_and_the_numbers_are_those_of_their_batches(executor, monkeypatch):
    sent: list[Any] = []
    place = Engine.place_batches
    monkeypatch.setattr(Engine, "place_batches", lambda self, batches: sent.append(batches) or place(self, batches))
    monkeypatch.setattr(engine_source, "check_batches_finite", lambda batches, first_step: 1 / 0)
    result = regress(executor)
    size, seeds, longest = 16, 2, max(rows.shape[1] for rows in sent)
    assert {(rows.dtype.name, rows.shape) for rows in sent} == {("int32", (seeds, longest, size))}
    monkeypatch.undo()
    monkeypatch.setattr(engine_source.BatchSource, "arrays_within", lambda self, budget: None)
    same_numbers(regress(executor), result)


def test_arrays_that_do_not_fit_or_of_which_little_is_read_stay_on_the_host(monkeypatch):
    source = lambda steps: engine_source.BatchSource(REGRESSION, [KEY], steps)  # noqa: E731
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(REGRESSION._arrays))
    assert source(1).arrays_within(2.0 * size) is REGRESSION._arrays
    assert source(1).arrays_within(2.0 * size - 1) is None
    monkeypatch.setattr(engine_source, "BLOCK_BYTES", size - 1)
    assert source(5).arrays_within(2.0 * size) is None  # an epoch is 6 steps
    assert source(6).arrays_within(2.0 * size) is REGRESSION._arrays


@pytest.mark.parametrize("executor", ["map", "loop"])
def test_arrays_of_jax_with_a_weak_type_are_trained_on_as_those_of_numpy(executor):
    def train(x: Any) -> lrjax.SweepResult:
        task = lrjax.Task.from_arrays(
            jnp.full(3, 0.7, jnp.bfloat16),
            lambda w, x, key: jnp.mean((x * w - 1) ** 2),
            train=x,
            validation=np.ones((4, 3), np.float32),
            batch_size=4,
        )
        return lrjax.sweep(task, optax.sgd, [0.1], key=KEY, train_steps=4, executor=executor)

    weak = jnp.full((20, 3), 0.3)
    assert weak.weak_type
    same_numbers(train(weak), train(np.asarray(weak)))


@pytest.mark.parametrize("kept", [True, False])
def test_an_example_that_is_not_finite_is_an_error_in_the_step_that_reads_it(kept, monkeypatch):
    x = np.ones((21, 3), np.float32)
    x[20] = np.nan
    task = lrjax.Task.from_arrays(
        jnp.zeros(3), lambda w, x, key: jnp.mean((x @ w - 1) ** 2), train=x, validation=x[:4], batch_size=4
    )
    if not kept:
        monkeypatch.setattr(engine_source.BatchSource, "arrays_within", lambda self, budget: None)
    seed_key = jax.random.split(jax.random.fold_in(KEY, 0), 3)[1]
    step = int(np.argmax(np.isnan(task.sample_batches(seed_key, 40)).any(axis=(1, 2))))
    options = {"key": KEY, "executor": "map", "eval_every": 40}
    if step:
        lrjax.sweep(task, optax.sgd, [0.1], train_steps=step, **(options | {"eval_every": step}))
    with pytest.raises(ValueError, match=rf"must be finite, got nan or inf in step {step} "):
        lrjax.sweep(task, optax.sgd, [0.1], train_steps=40, **options)


def test_batches_are_copied_once_from_a_loader_to_a_cpu(monkeypatch):
    placed = []

    def place(self: Engine, batches: np.ndarray) -> Any:
        made = jax.device_put(batches)
        placed.append(made.unsafe_buffer_pointer() == batches.ctypes.data)
        return made

    monkeypatch.setattr(Engine, "place_batches", place)
    task = lrjax.Task.from_batches(
        jnp.zeros(3),
        lambda w, x, key: jnp.mean((x @ w - 1) ** 2),
        train_batches=[np.ones((5, 3), np.float32)] * 9,
        eval_batches=[np.ones((5, 3), np.float32)],
    )
    lrjax.sweep(task, optax.sgd, [0.1], key=KEY, train_steps=9, executor="map")
    assert placed[-2:] == [True, True]  # before them come those that programs are made for


@pytest.mark.parametrize(("fixed", "step"), [(0.0, 0.01), (0.1, 0.01), (2.0, 0.01), (0.001, 30.0)])
def test_a_call_is_so_long_that_what_it_costs_by_itself_is_a_twentieth_of_it(fixed, step):
    class Source:
        def read(self, count: int, length: int) -> Any:
            return Block(0, count, np.zeros(count), None)

    counts = []

    def train(block: Any) -> float:
        counts.append(block.count)
        return fixed + step * block.count

    with engine_source.ReadAhead(Source(), lambda batches: batches, 0, [10_000], 10_000) as reader:  # pyright: ignore
        reader.pace(reader(), train)
        reader.pace(reader(), train)
        assert counts == [8, 0, 8]
        seconds = fixed + step * reader.steps_at_once
        if 19 * fixed < engine_source.LONGEST_CALL and step < engine_source.LONGEST_CALL:
            assert seconds + step >= engine_source.CALL_SECONDS
            assert fixed <= 0.0505 * seconds + 0.05 * step
        else:
            assert seconds <= engine_source.LONGEST_CALL + fixed + step


def test_the_first_call_is_short(monkeypatch):
    begun = threading.Event()

    class Eager(threading.Thread):
        """A thread that has done something when its start returns."""

        def start(self) -> None:
            super().start()
            if self.name == "lrjax-batches":
                begun.wait(10)

    def batches_between(key: jax.Array, start: int, stop: int) -> Any:
        return REGRESSION.batches_between(key, start, stop)

    def sample_batches(key: jax.Array, num_steps: int) -> Any:
        if threading.current_thread().name == "lrjax-batches":
            begun.set()
        return REGRESSION.sample_batches(key, num_steps)

    task = lrjax.Task(
        init=REGRESSION.init,
        loss_fn=REGRESSION.loss_fn,
        sample_batches=sample_batches,
        batches_between=batches_between,
        eval_batches=REGRESSION.eval_batches,
    )
    monkeypatch.setattr(threading, "Thread", Eager)
    steps = []
    options = {"key": KEY, "train_steps": 24, "eval_every": 24, "executor": "loop"}
    lrjax.sweep(task, momentum, [0.1], progress=lambda event: steps.append(event.step), **options)
    assert steps[1] == engine_source.FIRST_STEPS == 8


@pytest.mark.parametrize(
    ("executor", "kept"), [("map", [2, 0]), ("map", [1, 2, 0]), ("loop", [1]), ("loop", [2, 0, 1])], ids=str
)
def test_neither_company_nor_order_changes_a_bit(executor, kept):
    grid = {"learning_rate": [THREE["learning_rate"][trial] for trial in kept]}
    same_numbers(regress(executor, grid), regressed(executor), trials=kept)


@one_by_one
def test_more_seeds_leave_the_numbers_of_the_old_ones(executor):
    few, many = regressed(executor), regress(executor, num_seeds=3)
    for name, values in few.metrics.items():
        np.testing.assert_array_equal(many.metrics[name][:, :2], values)
    assert (np.diff(many.final(), axis=1) != 0).all()


def test_what_does_not_fit_runs_in_waves_with_the_same_numbers(monkeypatch):
    whole = regressed("map")
    assert (whole.execution.waves, whole.execution.width, whole.execution.widths) == (1, 3, [3])
    two = regress("map", {"learning_rate": THREE["learning_rate"][:2]})
    monkeypatch.setattr(Engine, "budget", lambda self: (two.execution.bytes + whole.execution.bytes) / 2)
    result = regress("map")
    assert (result.execution.waves, result.execution.width, result.execution.widths) == (2, 2, [2, 2])
    assert result.execution.bytes == two.execution.bytes < whole.execution.bytes
    assert result.execution.updates == whole.execution.updates == 3 * 2 * 24
    same_numbers(result, whole)


def test_what_can_never_fit_is_a_memory_error(monkeypatch):
    monkeypatch.setattr(Engine, "budget", lambda self: 100.0)
    with pytest.raises(MemoryError, match=r"program with executor map needs .* and 143 B are free"):
        regress("map")


def run_out_of_memory(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Let the first call of a program fail as the runtime does."""
    executable, failed = Engine.executable, []

    def fail_once(self: Engine, asked: Any, arguments: tuple) -> Any:
        if asked == kind and not failed:
            failed.append(kind)
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.")
        return executable(self, asked, arguments)

    monkeypatch.setattr(Engine, "executable", fail_once)


@pytest.mark.parametrize("kind", ["begin", "advance", "evaluate"])
def test_running_out_of_memory_halves_the_lanes_and_goes_on(kind, monkeypatch):
    run_out_of_memory(monkeypatch, kind)
    result = regress("map")
    same_numbers(result, regressed("map"))
    assert result.execution.notes == ["3 lanes at once ran out of memory: went on with 1."]
    assert result.execution.widths[-3:] == [1, 1, 1]


@pytest.mark.parametrize("case", ["rungs", "memory"])
def test_waves_are_groups_of_lanes_that_ran_one_after_the_other(case, monkeypatch):
    if case == "memory":
        run_out_of_memory(monkeypatch, "advance")
        assert regress("map").execution.waves == 3
    else:
        assert regress("map", stop=lrjax.SuccessiveHalving(first=4, factor=2)).execution.waves == 1


@every_executor
def test_a_second_sweep_with_the_same_functions_compiles_nothing(executor):
    first = regressed(executor)
    with compiled() as names:
        same_numbers(regress(executor), first)
    assert names == []


def test_a_loop_compiles_its_step_once():
    x = np.ones((20, 5), np.float32)
    task = lrjax.Task.from_arrays(
        {"w": jnp.full(5, 0.3)},  # weakly typed, as no result of a step is
        lambda params, batch, key: jnp.mean((batch @ params["w"] - 1) ** 2),
        train=x[:16],
        validation=x[16:],
        batch_size=4,
    )
    with compiled() as names:
        lrjax.sweep(task, optax.sgd, THREE, key=KEY, train_steps=3, executor="loop")
    assert names.count("jit(train_step)") == 1
