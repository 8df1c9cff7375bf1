"""A sweep over devices and processes: the numbers of one device, and communication along "data" only."""

import functools
import os
import re
import signal
import time
from typing import Any

import jax
import numpy as np
import optax
import pytest
from inside import compile_program, engine_lane_engine
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from problems import regression
from processes import finish, free_port, start, tell

import lrjax
from lrjax import Chunked

pytestmark = pytest.mark.slow  # CI runs them

EXECUTORS = {"vmap": "vmap", "chunked": Chunked(2), "map": "map"}
SHAPES = {"8 x 1": (8, 1), "4 x 2": (4, 2), "1 x 8": (1, 8)}
GRID = {"learning_rate": np.geomspace(1e-4, 0.03, 6), "momentum": [0.0, 0.9]}
KEY, STEPS, SEEDS = 4, 30, 2
MASKED = [0.01, 0.05, 0.1]
task = functools.cache(regression)  # made late: jax.distributed comes before the first array
COLLECTIVE = re.compile(
    r"(all-gather|all-reduce|collective-permute|all-to-all|reduce-scatter|collective-broadcast)(?:-start)?\("
)


def sweep(mesh: Mesh | None = None, executor: Any = "map", **options: Any) -> lrjax.SweepResult:
    good = {"key": jax.random.key(KEY), "train_steps": STEPS, "num_seeds": SEEDS, "eval_every": 10}
    problem, grid = options.pop("task", None) or task(), options.pop("grid", GRID)
    return lrjax.sweep(problem, optax.sgd, grid, mesh=mesh, executor=executor, **good | options)


def numbers(result: lrjax.SweepResult) -> list:
    return result.metrics["loss"].tolist()


def collectives(text: str) -> list[tuple[str, str]]:
    """Each collective of a compiled program, with its groups of devices."""
    found = []
    for line in text.splitlines():
        match = COLLECTIVE.search(line)
        if match and "=" in line.split(match[0])[0]:
            groups = re.search(r"replica_groups=(\{\{.*?\}\}|\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?)", line)
            found.append((match[1], groups[1] if groups else "all"))
    return found


def groups_of(words: str, devices: int) -> list[set[int]]:
    """The devices that talk to each other: `{{0,1},{2,3}}` or `[4,2]<=[8]`."""
    if words == "all":
        return [set(range(devices))]
    if words.startswith("{"):
        return [set(map(int, part.split(","))) for part in re.findall(r"\{([\d,]+)\}", words)]
    shape, source, turn = re.fullmatch(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", words).groups()
    order = np.arange(devices).reshape([int(n) for n in source.split(",")])
    if turn:
        order = order.transpose([int(n) for n in turn.split(",")])
    return [set(map(int, row)) for row in order.reshape([int(n) for n in shape.split(",")])]


def sharded_task() -> lrjax.Task:
    """The same problem, its weights spread over a third axis of the mesh."""
    plain, mesh = task(), Mesh(np.asarray(jax.devices()).reshape(2, 2, 2), ("trial", "data", "model"))

    def init(key: Any) -> Any:
        params = plain.init(key) if callable(plain.init) else plain.init
        return jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, _spec(leaf))), params)

    return lrjax.Task(
        init=init,
        loss_fn=plain.loss_fn,
        sample_batches=plain.sample_batches,
        batches_between=plain.batches_between,
        eval_batches=plain.eval_batches,
    )


def _spec(leaf: jax.Array) -> PartitionSpec:
    axis = next((i for i, length in enumerate(leaf.shape) if length % 2 == 0), None)
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "model")


def on_eight_devices() -> dict[str, Any]:
    """What is measured in a process with eight devices."""
    devices = np.asarray(jax.devices())
    meshes = {name: Mesh(devices.reshape(shape), ("trial", "data")) for name, shape in SHAPES.items()}
    programs: dict[str, Any] = {}

    def compile_and_keep(program: Any, arguments: tuple) -> Any:
        compiled = compile_program(program, arguments)
        if program.in_place:  # the one that trains
            programs[str(program.executor)] = compiled.as_text()
        return compiled

    engine_lane_engine.compile_program = compile_and_keep
    measured: dict[str, Any] = {"devices": len(devices)}
    for name, mesh in meshes.items():
        for executor, value in EXECUTORS.items():
            measured[f"{name} {executor}"] = numbers(sweep(mesh, value))
        measured[f"{name} collectives"] = {kind: collectives(text) for kind, text in programs.items()}
        programs.clear()
    measured["no mesh"] = numbers(sweep(None, "map"))
    try:
        sweep(Mesh(devices[:3].reshape(1, 3), ("trial", "data")))
    except ValueError as error:
        measured["not divisible"] = str(error)
    few = Mesh(devices[:3], ("trial",))
    measured["three devices"] = numbers(sweep(few, "map"))
    three_axes = Mesh(devices.reshape(2, 2, 2), ("trial", "data", "model"))
    result = sweep(three_axes, "vmap", task=sharded_task())
    measured["sharded"], measured["sharded on"] = numbers(result), result.execution.mesh
    measured["sharded program"] = [words for one in programs.values() for words in collectives(one)]
    measured["batch norm"] = batch_norm_losses(meshes["4 x 2"])
    measured["batch norm alone"] = batch_norm_losses(Mesh(devices[:1], ("trial",)))
    halving = {"stop": lrjax.SuccessiveHalving(first=10, factor=2)}
    measured["halving"] = numbers(sweep(meshes["4 x 2"], "vmap", **halving))
    measured["masked"] = masked_losses(meshes["4 x 2"])
    measured["halving alone"] = numbers(sweep(Mesh(devices[:1], ("trial",)), "vmap", **halving))
    return measured


def masked_losses(mesh: Mesh) -> list:
    from test_eval_means import CASES, masked_and_weight, task

    problem = task(CASES["padding to several lengths"][0], masked_and_weight, batch_size=2)
    return numbers(sweep(mesh, "vmap", task=problem, grid={"learning_rate": MASKED}))


def batch_norm_losses(mesh: Mesh) -> list:
    from batch_norm import batch_norm

    return numbers(sweep(mesh, "vmap", task=batch_norm()))


def on_two_processes(port: str, process: str, folder: str, pause: str) -> dict[str, Any]:
    """What each of two processes measures, with two devices each."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        f"127.0.0.1:{port}", num_processes=2, process_id=int(process), heartbeat_timeout_seconds=10
    )
    devices = np.asarray(jax.devices())
    if folder:
        return stored(Mesh(devices, ("trial",)), folder, float(pause))
    measured: dict[str, Any] = {"devices": len(devices), "process": int(process)}
    for name, executor in EXECUTORS.items():
        measured[name] = numbers(sweep(Mesh(devices, ("trial",)), executor))
    measured["data"] = numbers(sweep(Mesh(devices.reshape(2, 2), ("trial", "data")), "map"))
    measured["data over processes"] = numbers(sweep(Mesh(devices.reshape(2, 2).T, ("trial", "data")), "map"))
    events: list = []
    measured["halving"] = numbers(
        sweep(
            Mesh(devices, ("trial",)), "vmap", stop=lrjax.SuccessiveHalving(first=10, factor=2), progress=events.append
        )
    )
    measured["told"] = len(events) > 0
    measured["errors"] = {}
    for name, options in {"loop": {"executor": "loop"}, "few": {"grid": {"learning_rate": [0.1]}}}.items():
        try:
            sweep(Mesh(devices, ("trial",)), **options)
        except ValueError as error:
            measured["errors"][name] = str(error)
    return measured


def stored(mesh: Mesh, folder: str, pause: float) -> dict[str, Any]:
    """A sweep with a folder, so slow that another process can be killed meanwhile."""

    def wait(event: lrjax.Progress) -> None:
        if event.rows:
            print(f"step {event.step}", flush=True)
            time.sleep(pause)

    result = sweep(mesh, "map", directory=folder, progress=wait, checkpoint_seconds=0, eval_every=3)
    return {"loss": numbers(result), "resumed_at": result.execution.resumed_at}


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return finish(start(__file__, 8, "on_eight_devices"))[0]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What one device gives, with the executor that is a sequential run."""
    return np.asarray(sweep().metrics["loss"])


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_mesh_gives_the_numbers_of_one_device(shape, executor, measured, expected):
    assert measured["devices"] == 8
    exact = executor == "map" and shape == "8 x 1"  # the mean over the data axis is summed in another order
    np.testing.assert_allclose(measured[f"{shape} {executor}"], expected, rtol=0 if exact else 2e-5)


@pytest.mark.parametrize("executor", ["vmap", "chunked(2)", "map"])
@pytest.mark.parametrize("shape", SHAPES)
def test_lanes_never_talk_to_each_other(shape, executor, measured):
    found = [words for name, words in measured[f"{shape} collectives"].items() if name == executor or executor in name]
    trial, data = SHAPES[shape]
    rows = [set(range(row * data, (row + 1) * data)) for row in range(trial)]
    for kind, words in (one for several in found for one in several):
        assert kind == "all-reduce"
        assert all(any(group <= row for row in rows) for group in groups_of(words, 8)), words
    assert bool([one for several in found for one in several]) == (data > 1)


def test_all_local_devices_are_used_without_a_mesh(measured, expected):
    np.testing.assert_array_equal(measured["no mesh"], expected)
    np.testing.assert_array_equal(measured["three devices"], expected)


def test_parameters_keep_their_own_sharding(measured, expected):
    np.testing.assert_allclose(measured["sharded"], expected, rtol=2e-5)
    assert measured["sharded on"] == "2 trial x 2 data x 2 model"
    for _, words in map(tuple, measured["sharded program"]):
        for group in groups_of(words, 8):
            assert group <= set(range(4)) or group <= set(range(4, 8)), words


def test_a_batch_that_cannot_be_spread_is_said(measured):
    assert '3 devices along "data", which must divide the 16 examples' in measured["not divisible"]


def test_batch_norm_sees_the_whole_batch(measured):
    np.testing.assert_allclose(measured["batch norm"], measured["batch norm alone"], rtol=1e-4)


def test_padding_counts_nothing_on_a_mesh(measured):
    from test_eval_means import expected

    wanted = np.stack([expected(MASKED, steps) for steps in (10, 20, 30)], axis=-1)
    np.testing.assert_allclose(measured["masked"], np.stack([wanted, wanted], axis=1), rtol=1e-5)


def test_halving_keeps_the_same_trials_on_a_mesh(measured):
    here, alone = np.asarray(measured["halving"], float), np.asarray(measured["halving alone"], float)
    np.testing.assert_array_equal(np.isnan(here), np.isnan(alone))
    np.testing.assert_allclose(here, alone, rtol=2e-5)


@pytest.fixture(scope="module")
def two() -> list[dict[str, Any]]:
    port = free_port()
    return finish(*(start(__file__, 2, "on_two_processes", port, str(i), "", "0") for i in range(2)))


@pytest.mark.parametrize("name", [*EXECUTORS, "data", "data over processes"])
def test_two_processes_give_the_numbers_of_one(name, two, expected):
    assert [one["devices"] for one in two] == [4, 4]
    assert two[0][name] == two[1][name]
    np.testing.assert_allclose(two[0][name], expected, rtol=0 if name == "map" else 2e-5)


def test_two_processes_prune_alike_and_one_tells(two):
    np.testing.assert_array_equal(np.asarray(two[0]["halving"], float), np.asarray(two[1]["halving"], float))
    assert [one["told"] for one in two] == [True, False]


def test_what_several_hosts_cannot_do_is_said(two):
    for one in two:
        assert "spans several hosts" in one["errors"]["loop"]
        assert "at least as many trials as the mesh has hosts, 2, got 1" in one["errors"]["few"]


def test_a_killed_process_ends_the_other_and_a_restart_resumes(tmp_path):
    port = free_port()
    first, second = (start(__file__, 2, "on_two_processes", port, str(i), str(tmp_path), "0.5") for i in range(2))
    try:
        for line in first.stdout:
            if line.startswith("step 12"):
                break
        os.kill(second.pid, signal.SIGKILL)
        _, errors = first.communicate(timeout=120)
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert first.returncode != 0
    assert "lost contact with another process" in errors or "distributed service detected fatal errors" in errors
    port = free_port()
    results = finish(*(start(__file__, 2, "on_two_processes", port, str(i), str(tmp_path), "0") for i in range(2)))
    assert results[0]["resumed_at"] > 0
    expected = np.asarray(sweep(eval_every=3).metrics["loss"])
    for one in results:
        np.testing.assert_array_equal(one["loss"], expected)


if __name__ == "__main__":
    tell(globals())
