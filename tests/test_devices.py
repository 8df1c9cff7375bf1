"""Lanes spread over devices and over processes: the numbers of one device, and no communication between lanes."""

import functools
import threading
import time
from typing import Any

import jax
import numpy as np
import optax
import pytest
from inside import LaneRunner, Program, compile_program, engine_lane_engine, spread
from jax.sharding import AxisType, Mesh
from problems import regression
from processes import finish, free_port, start, tell

import lrjax
from lrjax import Chunked

EXECUTORS = {"vmap": "vmap", "chunked": Chunked(2), "map": "map", "loop": "loop", "auto": "auto"}
LRS = np.geomspace(1e-4, 0.5, 7)
COLLECTIVES = ("all-gather", "all-reduce", "collective-permute", "all-to-all", "reduce-scatter", "collective-broadcast")
KEY, STEPS, SEEDS = 4, 4, 2
task = functools.cache(regression)  # made late: jax.distributed comes before the first array


def momentum(lr: Any) -> Any:
    return optax.sgd(lr, momentum=0.9)


def losses(executor: Any, lrs: Any = LRS, mesh: Mesh | None = None) -> list:
    options = {"key": jax.random.key(KEY), "num_steps": STEPS, "num_seeds": SEEDS, "horizons": [2]}
    return lrjax.sample_losses(task(), momentum, lrs, executor=executor, mesh=mesh, **options).losses.tolist()


def carried_losses(executor: Any, mesh: Mesh | None = None) -> list:
    """Half the steps, then the other half from the states of the first."""
    key, shapes = jax.random.key(KEY), [(SEEDS, len(LRS))]
    runner = LaneRunner("test", task(), momentum, key=key, executor=executor, mesh=mesh, longest=4, shapes=shapes)
    return [runner.train(LRS, steps, SEEDS).tolist() for steps in (2, 4)]


def on_four_devices() -> dict[str, Any]:
    """What is measured in a process with four devices."""
    devices = np.asarray(jax.devices())
    meshes = {
        "second axis": Mesh(devices.reshape(2, 2), ("model", "trial")),
        "three devices": Mesh(devices[:3], ("x",)),
        "another device": Mesh(devices[2:3], ("trial",)),
    }
    explicit = jax.make_mesh((4,), ("trial",), axis_types=(AxisType.Explicit,))
    programs: dict[str, Any] = {}
    steps: list[str] = []

    def count_steps(event: str, duration_secs: float, **options: Any) -> None:
        if event.endswith("backend_compile_duration") and options["fun_name"] == "jit(train_step)":
            steps.append(event)

    jax.monitoring.register_event_duration_secs_listener(count_steps)

    def compile_and_keep(program: Program, arguments: tuple) -> Any:
        programs[str(program.executor)] = compiled = compile_program(program, arguments)
        return compiled

    engine_lane_engine.compile_program = compile_and_keep
    return {
        "devices": len(devices),
        "executors": {name: losses(executor) for name, executor in EXECUTORS.items()},
        "collectives": {
            name: [word for word in COLLECTIVES if word in compiled.as_text()] for name, compiled in programs.items()
        },
        "few": losses("map", LRS[:2]),
        "meshes": {name: losses("map", mesh=mesh) for name, mesh in meshes.items()},
        "explicit axes": losses("vmap", mesh=explicit),
        "carried": {name: carried_losses(name) for name in ("map", "loop")},
        "steps compiled": len(steps),
    }


def on_two_processes(port: str, process: str) -> dict[str, Any]:
    """What each of two processes measures, with two devices each."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(process))
    mesh = Mesh(jax.devices(), ("trial",))
    measured: dict[str, Any] = {"devices": len(jax.devices())}
    for name, executor in EXECUTORS.items():
        if name != "loop":
            measured[name] = losses(executor, mesh=mesh)
    refusals = {"loop": functools.partial(losses, "loop"), "carried": functools.partial(carried_losses, "map")}
    for name, refused in refusals.items():
        try:
            refused(mesh=mesh)
        except ValueError as error:
            measured[name] = str(error)
    return measured


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return finish(start(__file__, 4, "on_four_devices"))[0]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What one device gives, with the executor that is a sequential run."""
    return np.asarray(losses("map"))


@pytest.mark.parametrize("name", EXECUTORS)
def test_four_devices_give_the_numbers_of_one(name, measured, expected):
    assert measured["devices"] == 4
    rtol = 0 if name in ("map", "loop") else 1e-5
    np.testing.assert_allclose(measured["executors"][name], expected, rtol=rtol)


def test_lanes_may_be_fewer_than_devices(measured, expected):
    np.testing.assert_array_equal(measured["few"], expected[..., :2])


@pytest.mark.parametrize("name", ["second axis", "three devices", "another device"])
def test_any_mesh_gives_the_same_numbers(name, measured, expected):
    np.testing.assert_array_equal(measured["meshes"][name], expected)


def test_a_mesh_of_explicit_axes_is_taken_too(measured, expected):
    np.testing.assert_allclose(measured["explicit axes"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["map", "loop"])
def test_lanes_on_many_devices_are_carried_on(name, measured, expected):
    np.testing.assert_array_equal(measured["carried"][name], expected)


def test_the_loop_on_the_host_runs_on_every_device(measured):
    assert measured["steps compiled"] == 4 + 4  # of `sample_losses`, whose batches are those of all steps, and carried


def test_an_error_on_one_device_ends_the_trials_on_the_others():
    def run(index: int, stopped: threading.Event) -> None:
        if index == 0:
            raise ZeroDivisionError
        assert stopped.wait(60)

    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        dict(spread(run, count=5, devices=2))
    assert time.monotonic() - began < 30


def test_lanes_never_communicate(measured):
    assert measured["collectives"] == {"vmap": [], "chunked(2)": [], "map": []}


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(expected):
    port = free_port()
    one, other = finish(*(start(__file__, 2, "on_two_processes", port, str(index)) for index in range(2)))
    assert one == other
    assert one["devices"] == 4
    assert "one device, but the mesh spans several hosts" in one["loop"]
    for name in ("vmap", "chunked", "map", "auto"):
        np.testing.assert_allclose(one[name], expected, rtol=0 if name == "map" else 1e-5)
    assert "Search on one host, or use lrjax.sweep" in one["carried"]


if __name__ == "__main__":
    tell(globals())
