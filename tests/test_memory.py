"""Memory is predicted before it is used; the chunk follows from it; running out of it makes the chunk smaller."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import sampled
from inside import (
    SHARE_OF_FREE,
    MemoryModel,
    Program,
    Shared,
    compile_program,
    engine_memory,
    engine_rounds,
    free_bytes,
    out_of_memory,
    program_bytes,
    show_bytes,
    train_lane,
)
from lanes import SampledRounds
from marks import slow

import lrjax
from lrjax import Chunked

KEY = jax.random.key(8)
LRS = np.geomspace(1e-4, 1e-2, 8)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 64, 32)).astype(np.float32)


def loss_fn(params: Any, batch: jax.Array, key: jax.Array) -> jax.Array:
    hidden = jnp.tanh(jnp.tanh(batch @ params["w"]) @ params["v"])
    return jnp.mean((hidden.sum(-1) - batch[:, 0]) ** 2)


TASK = lrjax.Task(
    init={"w": jnp.asarray(RNG.normal(size=(32, 48)) / 8, jnp.float32), "v": jnp.eye(48)},
    loss_fn=loss_fn,
    sample_batches=lambda key, num_steps: X[:num_steps],
    eval_batches=X[:1],
)


def runner_of(executor: Any, factory: Any = optax.sgd, num_seeds: int = 1) -> SampledRounds:
    return SampledRounds(TASK, factory, key=KEY, horizons=[3], num_seeds=num_seeds, executor=executor)


def bytes_of(runner: SampledRounds, executor: Any, lanes: int) -> int:
    seeds = runner.experiment.seeds if executor == "vmap" else runner.experiment.seeds[:1]
    data = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    shared = Shared(rows=(jnp.int32(0), jnp.int32(lanes)), evaluation=runner.experiment.evaluation)
    arguments = (jnp.zeros((len(seeds), lanes)), None, data, shared)
    return program_bytes(compile_program(Program(train_lane, runner.experiment.spec, executor), arguments))


@pytest.fixture(scope="module")
def losses() -> np.ndarray:
    return runner_of("map").run(LRS).metrics["loss"]


@pytest.mark.parametrize(
    ("executor", "num_seeds"),
    [("vmap", 1), slow("vmap", 3), slow("chunked", 1)],
)
def test_the_prediction_from_two_and_four_lanes_is_safe_and_close(executor, num_seeds):
    runner = runner_of("vmap", optax.adamw, num_seeds)
    model = runner.memory_model(chunked=executor == "chunked")
    for lanes in (16, 64):
        used = "vmap" if executor == "vmap" else Chunked(lanes)
        assert 1.0 <= model.predict(lanes) / bytes_of(runner, used, lanes) <= 1.1


def test_a_mapped_program_needs_no_more_for_more_lanes():
    runner = runner_of("map")
    few, many = bytes_of(runner, "map", 2), bytes_of(runner, "map", 64)
    assert many - few <= 62 * 4 * 4  # an lr, a loss and where it diverged


def test_the_lanes_that_fit_follow_from_the_model():
    model = MemoryModel(fixed=1000, per_lane=100)
    assert model.predict(5) == 1500
    assert [model.lanes_within(budget) for budget in (0, 1100, 1199, 1200, 2000)] == [1, 1, 1, 2, 10]
    assert MemoryModel(fixed=1, per_lane=0).lanes_within(11) == 10


@pytest.mark.parametrize("lanes", [3, slow(2)])
def test_a_program_that_would_not_fit_is_chunked_before_it_runs(lanes, monkeypatch, losses):
    runner = runner_of("vmap")
    allowed = runner.memory_model(chunked=True).predict(lanes) + 1
    monkeypatch.setattr(engine_memory, "free_bytes", lambda device: allowed / SHARE_OF_FREE)
    ran = []
    run = lambda *call: ran.append(call) or jax.block_until_ready(call[0](*call[1]))  # noqa: E731
    monkeypatch.setattr(engine_rounds, "execute", run)
    result = runner.run(LRS)
    assert runner.execution.used == f"chunked({lanes})"
    assert runner.execution.requested == "vmap"
    assert 0 < runner.execution.bytes <= allowed
    assert len(ran) == 1
    (note,) = runner.execution.notes
    pattern = rf"vmap with 8 lanes at once needs .*B, more than the .*B allowed: went on with chunked\({lanes}\)\."
    assert re.fullmatch(pattern, note)
    np.testing.assert_allclose(result.metrics["loss"], losses, rtol=1e-5)


def test_what_does_not_fit_at_all_is_refused(monkeypatch):
    monkeypatch.setattr(engine_memory, "free_bytes", lambda device: 1000.0)
    for executor in ("vmap", "map"):
        with pytest.raises(MemoryError, match=r"one copy .* needs .* and 1000 B are free\. Use smaller"):
            runner_of(executor).run(LRS)


@pytest.mark.parametrize(
    ("executor", "num_seeds", "failures", "chunks"),
    [("vmap", 1, 2, [4, 2]), slow("vmap", 2, 1, [8]), slow("vmap", 1, 3, [4, 2, 1]), (Chunked(6), 1, 1, [3])],
    ids=str,
)
def test_running_out_of_memory_halves_the_chunk(executor, num_seeds, failures, chunks, monkeypatch, losses):
    left = [failures]

    def exhausted(compiled: Any, arguments: tuple) -> Any:
        if left[0]:
            left[0] -= 1
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")
        return jax.block_until_ready(compiled(*arguments))

    monkeypatch.setattr(engine_rounds, "execute", exhausted)
    runner = runner_of(executor, num_seeds=num_seeds)
    result = runner.run(LRS)
    assert runner.execution.used == f"chunked({chunks[-1]})"
    assert [int(note.split("chunked(")[-1].rstrip(").")) for note in runner.execution.notes] == chunks
    assert all("ran out of memory" in note for note in runner.execution.notes)
    np.testing.assert_allclose(result.metrics["loss"][:, :1], losses, rtol=1e-5)
    runner.run(LRS[:2])
    assert runner.execution.used == f"chunked({chunks[-1]})"  # and stays


@pytest.mark.parametrize(
    ("executor", "error"),
    [
        ("map", jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")),  # nothing smaller to go on with
        (Chunked(1), MemoryError()),
        ("vmap", jax.errors.JaxRuntimeError("INTERNAL: a bug")),
    ],
    ids=str,
)
def test_other_errors_are_not_hidden(executor, error, monkeypatch):
    def fail(compiled: Any, arguments: tuple) -> Any:
        raise error

    monkeypatch.setattr(engine_rounds, "execute", fail)
    with pytest.raises(type(error)):
        runner_of(executor).run(LRS)


def test_the_search_reports_what_memory_made_of_it(monkeypatch):
    allowed = runner_of("vmap").memory_model(chunked=True).predict(2) + 1
    monkeypatch.setattr(engine_memory, "free_bytes", lambda device: allowed / SHARE_OF_FREE)
    options = {"key": KEY, "num_steps": 3, "num_seeds": 1, "refine": None, "extend_range": False, "throw": False}
    result = sampled(TASK, optax.sgd, min_lr=1e-3, max_lr=1e-1, executor="vmap", **options)
    assert result.execution.used == "chunked(2)"
    assert "went on with chunked(2)" in result.execution.notes[0]


def test_errors_that_say_that_memory_ran_out_are_recognised():
    runtime = jax.errors.JaxRuntimeError
    assert out_of_memory(runtime("RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes"))
    assert out_of_memory(runtime("INTERNAL: Failed to allocate: CUDA out of memory"))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(runtime("INVALID_ARGUMENT"))
    assert not out_of_memory(ValueError("RESOURCE_EXHAUSTED"))


def test_free_memory_is_known_and_shown():
    assert 2**20 < free_bytes(jax.local_devices()[0]) < 2**50
    assert [show_bytes(n) for n in (0, 1023, 1536, 3 * 2**30, 2**50)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "3.0 GiB",
        "1024.0 TiB",
    ]
