"""What is compiled: one training program for a search, nothing the second time, no batch copied for each lane."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import sampled
from inside import Program, Shared, lower_program, train_lane
from inside import engine_compilation_cache as cache
from inside import programs as kept
from lanes import SampledRounds

import lrjax
from lrjax import Chunked

KEY = jax.random.key(2)
PROGRAMS = {"vmap": "vmap", "chunked": Chunked(7), "map": "map"}
every_program = pytest.mark.parametrize("executor", PROGRAMS.values(), ids=PROGRAMS.keys())
LANES, BATCH, FEATURES, HIDDEN = 7, 13, 17, 11  # primes, so that a buffer's shape says what it holds


class Counted:
    """A function that counts how often it is traced."""

    def __init__(self, function: Callable[..., Any]):
        self.function, self.calls = function, 0

    def __call__(self, params: Any, batch: Any, key: Any) -> Any:
        self.calls += 1
        return self.function(params, batch, key)


def mlp_loss(params: Any, batch: Any, key: jax.Array) -> jax.Array:
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w"]) @ params["v"] - y) ** 2)


def mlp(num_steps: int = 5, num_evals: int = 2, loss_fn: Any = mlp_loss) -> lrjax.Task:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_steps + num_evals, BATCH, FEATURES)).astype(np.float32)
    y = x.sum(-1)
    return lrjax.Task(
        init={"w": jnp.asarray(rng.normal(size=(FEATURES, HIDDEN)), jnp.float32) / 4, "v": jnp.ones(HIDDEN) / 4},
        loss_fn=loss_fn,
        sample_batches=lambda key, count: (x[:count], y[:count]),
        eval_batches=(x[num_steps:], y[num_steps:]),
    )


def arguments_of(runner: SampledRounds, executor: Any, lanes: int = LANES) -> tuple[Program, tuple]:
    """A program of one seed and what it is called with."""
    data = jax.tree.map(lambda leaf: leaf[None], runner.experiment.seeds[0])
    shared = Shared(rows=(jnp.int32(0), jnp.int32(lanes)), evaluation=runner.experiment.evaluation)
    rates = jnp.linspace(0.01, 0.1, lanes)[None]
    return Program(train_lane, runner.experiment.spec, executor), (rates, None, data, shared)


def runner_of(task: lrjax.Task, executor: Any, *, num_steps: int = 5, num_seeds: int = 1) -> SampledRounds:
    return SampledRounds(task, optax.adam, key=KEY, horizons=[num_steps], num_seeds=num_seeds, executor=executor)


@pytest.fixture
def compilations() -> Iterator[list[float]]:
    """Seconds of every compilation by XLA since the test began."""
    seconds: list[float] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seconds
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("executor", ["vmap", "map", "loop", Chunked(4), "auto"], ids=str)
def test_a_search_compiles_its_training_program_once_and_a_second_search_nothing(executor, compilations):
    loss_fn = Counted(mlp_loss)
    task, programs = mlp(loss_fn=loss_fn), kept.misses
    search = {"key": KEY, "num_steps": 5, "num_seeds": 2, "min_lr": 1e-4, "max_lr": 1.0, "executor": executor}
    first = sampled(task, optax.adam, **search, throw=False)
    assert len(np.unique(first.curve.rounds)) > 1
    assert kept.misses - programs == (executor != "loop")
    assert 0 < loss_fn.calls <= 14
    del compilations[:]
    calls, programs = loss_fn.calls, kept.misses
    second = sampled(task, optax.adam, **search, throw=False)
    assert (loss_fn.calls, kept.misses, compilations) == (calls, programs, [])
    np.testing.assert_array_equal(first.curve.losses, second.curve.losses)


@every_program
def test_rounds_of_other_sizes_are_padded_to_the_first_width(executor, compilations):
    runner = runner_of(mlp(), executor, num_seeds=2)
    whole = runner.run(np.geomspace(1e-3, 1e-1, 7))
    runner.run(np.array([0.2]))
    programs = kept.misses
    del compilations[:]
    few = runner.run(np.geomspace(1e-3, 1e-1, 7)[2:5])
    many = runner.run(np.geomspace(1e-3, 1e-1, 7)[[*range(7), *range(5)]])
    assert kept.misses == programs
    np.testing.assert_array_equal(few.metrics["loss"], whole.metrics["loss"][..., 2:5])
    np.testing.assert_array_equal(many.metrics["loss"][..., 7:], whole.metrics["loss"][..., :5])
    padded = 0 if executor == "map" else (6 + 4 + 2) * 5 * 2
    assert runner.execution.padded_updates == padded


def test_equal_tasks_with_other_data_share_the_program():
    runner_of(mlp(), "map").run(np.array([0.01, 0.02]))
    programs = kept.misses
    runner_of(mlp(), "map").run(np.array([0.3, 0.4]))
    assert kept.misses == programs


def test_the_settings_of_jax_belong_to_the_program():
    task = mlp()
    runner_of(task, "map").run(np.array([0.01]))
    programs = kept.misses
    with jax.default_matmul_precision("highest"):
        runner_of(task, "map").run(np.array([0.01]))
    assert kept.misses == programs + 1


def shapes_in(text: str) -> set[tuple[int, ...]]:
    """The shapes of all buffers in the text of a compiled program."""
    return {tuple(map(int, found.split(","))) for found in re.findall(r"\w\d+\[(\d+(?:,\d+)*)\]", text)}


@pytest.mark.parametrize("executor", ["vmap", Chunked(LANES)], ids=str)
def test_batches_are_not_copied_for_each_lane(executor):
    program, arguments = arguments_of(runner_of(mlp(), executor), executor)
    shapes = shapes_in(lower_program(program, arguments).compile().as_text())
    assert any({LANES, BATCH, HIDDEN} <= set(shape) or LANES * HIDDEN in shape for shape in shapes)  # activations
    batch_of = {BATCH, FEATURES}
    assert any(batch_of <= set(shape) for shape in shapes)
    copied = [shape for shape in shapes if np.prod(shape) % (LANES * BATCH * FEATURES) == 0]
    assert not copied


@every_program
def test_the_program_does_not_grow_with_the_data(executor):
    few, many = (runner_of(mlp(steps, evals), executor, num_steps=steps) for steps, evals in ((5, 2), (50, 20)))
    lengths = [len(lower_program(*arguments_of(runner, executor)).as_text()) for runner in (few, many)]
    assert abs(lengths[1] - lengths[0]) < 0.02 * lengths[0]


@every_program
def test_the_program_is_compiled_in_one_piece_whatever_the_lanes(executor):
    lengths = []
    for lanes in (LANES, 8 * LANES):
        program, arguments = arguments_of(runner_of(mlp(), executor), executor, lanes)
        lengths.append(len(lower_program(program, arguments).as_text()))
    assert abs(lengths[1] - lengths[0]) < 0.1 * lengths[0]


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@every_program
def test_the_training_program_lowers_for_accelerators(executor, platform):
    program, arguments = arguments_of(runner_of(mlp(), executor), executor)
    exported = jax.export.export(jax.jit(program.function()), platforms=[platform])(*arguments)
    assert exported.platforms == (platform,)
    assert "while" in exported.mlir_module()


@pytest.fixture
def no_folder():
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    names += ("jax_persistent_cache_min_entry_size_bytes",)
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache_folder(no_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.keep_programs() == tmp_path / "lrjax" / "programs"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "lrjax" / "programs")


def test_a_folder_of_the_users_choice_stays(no_folder, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert cache.keep_programs(tmp_path / "other") == tmp_path
    assert not (tmp_path / "other").exists()


def test_the_folder_is_bounded_and_only_programs_are_removed(no_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MOST_BYTES", 40)
    for index in range(6):
        (tmp_path / f"{index}-cache").write_bytes(b"1234567890")
    (tmp_path / "mine.txt").write_text("kept")
    cache.keep_programs(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4-cache", "5-cache", "mine.txt"]


def test_without_a_place_for_it_nothing_is_kept(no_folder, tmp_path):
    (tmp_path / "file").write_text("")
    assert cache.keep_programs(tmp_path / "file" / "folder") is None
    assert jax.config.jax_compilation_cache_dir is None
