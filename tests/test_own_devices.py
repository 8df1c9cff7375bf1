"""Tasks that use several devices by themselves: found out, told, left as they are, with the numbers of one device."""

import contextlib
import functools
import io
import os
import runpy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import sampled
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import regression
from processes import finish, start, tell

import lrjax

KEY = 4
BASE = functools.cache(regression)  # made late: a process that sets a mesh makes its arrays under it
WORDS = {
    "sharded parameters": "the parameters are sharded over 4 devices",
    "sharded parameters, explicit": "the parameters are sharded over 4 devices",
    "parameters on two devices": "the parameters are sharded over 2 devices",
    "sharded batches": "the training batches are sharded over 4 devices",
    "sharded evaluation": "the evaluation batches are sharded over 4 devices",
    "closed-over array": "the task's functions read an array that is sharded over 4 devices",
    "constraint": "the task's functions use `sharding_constraint` over 4 devices",
    "shard_map": "the task's functions use `shard_map` over 4 devices",
    "pmap": "the task's functions use `shard_map` over 4 devices",
    "jit with shardings": "the task's functions use `jit` over 4 devices",
    "a mesh is set": "a mesh of 4 devices is set",
    "an explicit mesh is set": "a mesh of 4 devices is set",
    "a mesh is set, constraint by name": "a mesh of 4 devices is set",
    "an explicit mesh is set, sharded parameters": "a mesh of 4 devices is set",
    "a mesh in the old way, constraint by name": "the task's functions use `sharding_constraint` over 4 devices",
    "a mesh is set for good": "a mesh of 4 devices is set",
}
KEPT = "so the trials run one after the other, each on those devices"
QUICK = ("sharded parameters", "an explicit mesh is set")


def task(**fields: Any) -> lrjax.Task:
    """The same regression, with other fields."""
    base = BASE()
    good = {name: getattr(base, name) for name in ("init", "loss_fn", "sample_batches", "batches_between")}
    return lrjax.Task(**(good | {"eval_batches": base.eval_batches} | fields))


def mesh_of(count: int = 0, name: str = "data") -> Mesh:
    return Mesh(np.asarray(jax.devices()[: count or None]), (name,))


def explicit_mesh() -> Mesh:
    return jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(AxisType.Explicit,))


def put(tree: Any, mesh: Mesh, axis: int = 0) -> Any:
    """Every leaf spread over the mesh along an axis, where that is possible."""

    def place(leaf: Any) -> Any:
        divides = leaf.ndim > axis and leaf.shape[axis] % mesh.size == 0
        return jax.device_put(leaf, NamedSharding(mesh, P(*[None] * axis, "data") if divides else P()))

    return jax.tree.map(place, tree)


def sharded(mesh: Mesh) -> lrjax.Task:
    """FSDP: parameters spread along their leading axes, "w" (8, 6) and "v" (8,)."""

    def init(key: Any) -> Any:
        params = BASE().init(key)
        return put(params | {"w": params["w"].T}, mesh)

    def loss_fn(params: Any, batch: Any, key: Any) -> Any:
        if mesh.axis_types == (AxisType.Explicit,):  # where types say it, the gathering has to be written down
            params = jax.tree.map(lambda leaf: jax.sharding.reshard(leaf, NamedSharding(mesh, P())), params)
        return BASE().loss_fn(params | {"w": params["w"].T}, batch, key)

    return task(init=init, loss_fn=loss_fn)


def with_batches(mesh: Mesh) -> lrjax.Task:
    base = BASE()
    return task(
        sample_batches=lambda key, n: put(base.sample_batches(key, n), mesh, 1),
        batches_between=lambda key, a, b: put(base.batches_between(key, a, b), mesh, 1),
    )


def constrained(sharding: Any) -> lrjax.Task:
    def loss_fn(params: Any, batch: Any, key: Any) -> Any:
        return BASE().loss_fn(params, jax.lax.with_sharding_constraint(batch, sharding), key)

    return task(loss_fn=loss_fn)


def mapped(mesh: Mesh) -> lrjax.Task:
    def part(params: Any, batch: Any) -> Any:
        return jax.lax.pmean(BASE().loss_fn(params, batch, None), "data")

    whole = jax.shard_map(part, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    return task(loss_fn=lambda params, batch, key: whole(params, batch))


def pmapped() -> lrjax.Task:
    def part(params: Any, batch: Any) -> Any:
        return jax.lax.pmean(BASE().loss_fn(params, batch, None), "i")

    def loss_fn(params: Any, batch: Any, key: Any) -> Any:
        parts = jax.tree.map(lambda leaf: leaf.reshape(len(jax.devices()), -1, *leaf.shape[1:]), batch)
        return jax.pmap(part, axis_name="i", in_axes=(None, 0))(params, parts)[0]

    return task(loss_fn=loss_fn)


def closed_over(mesh: Mesh) -> lrjax.Task:
    shift = put(jnp.zeros((16, 6)), mesh)
    base = BASE()
    return task(
        loss_fn=lambda p, batch, key: base.loss_fn(p, (batch[0] + shift, batch[1]), key),
        eval_fn=lambda p, batch: base.loss_fn(p, batch, None),
    )


def closing_over_numpy() -> lrjax.Task:
    """Uses one device, whatever arrays of the host its functions read."""
    shift = np.zeros((16, 6), np.float32)
    base = BASE()
    return task(
        loss_fn=lambda p, batch, key: base.loss_fn(p, (jax.jit(jnp.add)(batch[0], shift), batch[1]), key),
        eval_fn=lambda p, batch: base.loss_fn(p, batch, None),
    )


def cases() -> dict[str, tuple[Callable[[], Any], Callable[[], lrjax.Task]]]:
    """Name -> what is around the call, and the task."""
    mesh, none = mesh_of(), contextlib.nullcontext
    data = NamedSharding(mesh, P("data"))
    old = lambda: mesh  # noqa: E731
    return {
        "sharded parameters": (none, lambda: sharded(mesh)),
        "sharded parameters, explicit": (none, lambda: sharded(explicit_mesh())),
        "parameters on two devices": (none, lambda: sharded(mesh_of(2))),
        "sharded batches": (none, lambda: with_batches(mesh)),
        "sharded evaluation": (none, lambda: task(eval_batches=put(BASE().eval_batches, mesh))),
        "closed-over array": (none, lambda: closed_over(mesh)),
        "constraint": (none, lambda: constrained(data)),
        "shard_map": (none, lambda: mapped(mesh)),
        "pmap": (none, pmapped),
        "jit with shardings": (none, lambda: task(loss_fn=jax.jit(BASE().loss_fn, in_shardings=(None, data, None)))),
        "a mesh is set": (lambda: jax.set_mesh(mesh), task),
        "an explicit mesh is set": (lambda: jax.set_mesh(explicit_mesh()), task),
        "a mesh is set, constraint by name": (lambda: jax.set_mesh(mesh), lambda: constrained(P("data"))),
        "an explicit mesh is set, sharded parameters": (
            lambda: jax.set_mesh(explicit_mesh()),
            lambda: sharded(explicit_mesh()),
        ),
        "a mesh in the old way, constraint by name": (old, lambda: constrained(P("data"))),
    }


def find(problem: lrjax.Task, make_optimizer: Any = optax.adam, **options: Any) -> lrjax.LRResult:
    good = {"num_steps": 4, "num_seeds": 1, "refine": None, "throw": False, "min_lr": 1e-4, "max_lr": 1.0}
    return sampled(problem, make_optimizer, key=jax.random.key(KEY), **good | options)


def told(result: Any) -> dict[str, Any]:
    run = result.execution
    return {
        "losses": result.curve.losses.tolist(),
        "used": run.used,
        "reason": run.reason,
        "notes": run.notes,
        "devices": run.devices,
    }


def error_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def watched(seen: set[str]) -> Callable[[Any], Any]:
    """Adam that notes how its first moments and the parameters lie on the devices when it begins and at each step."""

    def note(name: str, array: Any) -> None:
        if array.size <= 4:  # of the small parameters on which the optimizer's memory is read
            return
        jax.debug.inspect_array_sharding(
            array, callback=lambda sharding: seen.add(f"{name} {sharding.shard_shape(array.shape)}")
        )

    def make_optimizer(lr: Any) -> Any:
        adam = optax.adam(lr)

        def update(gradients: Any, state: Any, params: Any) -> Any:
            note("moment", state[0].mu["w"])
            note("parameter", params["w"])
            return adam.update(gradients, state, params)

        return optax.GradientTransformation(adam.init, update)

    return make_optimizer


def run_case(name: str, make_optimizer: Any = optax.adam) -> dict[str, Any]:
    around, make = cases()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # `with mesh:`
        with around():
            return told(find(make(), make_optimizer))


def on_four_devices(which: str) -> dict[str, Any]:
    """What is measured in a process with four devices."""
    if which == "all ways":
        measured = {name: run_case(name) for name in cases() if name not in QUICK}
        jax.set_mesh(mesh_of())
        return measured | {"a mesh is set for good": told(find(task()))}
    if which == "all verbs":
        return everything_else()
    seen: set[str] = set()
    measured = {name: run_case(name, watched(seen) if name == "sharded parameters" else optax.adam) for name in QUICK}
    measured["seen"] = sorted(seen)
    measured["vmap"] = error_of(lambda: find(mapped(mesh_of()), executor="vmap"))
    measured["numpy"] = error_of(lambda: find(closing_over_numpy(), num_steps=1, executor="map"))
    return measured


def everything_else() -> dict[str, Any]:
    """The verbs, the conflicts, and what is spread as ever."""
    mesh = mesh_of()
    measured: dict[str, Any] = {"verbs": {name: verb(sharded(mesh)) for name, verb in VERBS.items()}}
    seen: set[str] = set()
    sweep(sharded(mesh), watched(seen))
    measured["seen by sweep"] = sorted(seen)
    measured["batches of sweep"] = batches_of_sweep(mesh)
    measured["errors"] = {
        "map": error_of(lambda: find(constrained(NamedSharding(mesh, P("data"))), executor="map")),
        "chunked": error_of(lambda: find(mapped(mesh), executor=lrjax.Chunked(2))),
        "mesh": error_of(lambda: find(sharded(mesh), mesh=mesh_of(name="trial"))),
        "sweep": error_of(lambda: sweep(sharded(mesh), executor="vmap")),
        "sweep mesh": error_of(lambda: sweep(sharded(mesh), mesh=mesh_of(name="trial"))),
        "search": error_of(lambda: search(sharded(mesh), executor="map")),
        "preview": error_of(
            lambda: lrjax.preview(
                lrjax.sweep, sharded(mesh), optax.adam, {"learning_rate": [0.1]}, key=jax.random.key(KEY), train_steps=6
            )
        ),
    }
    both = Mesh(np.asarray(jax.devices()).reshape(2, 2), ("trial", "data"))
    measured["same mesh"] = {}
    for executor in ("vmap", "map", "loop"):
        own = {"constraint": constrained(NamedSharding(both, P("data"))), "sharded": sharded(both)}
        losses = {name: sweep(one, executor=executor, mesh=both)["losses"] for name, one in own.items()}
        with jax.set_mesh(both):
            losses["set"] = sweep(task(), executor=executor, mesh=both)["losses"]
        measured["same mesh"][executor] = losses
    measured["preview"] = lrjax.preview(
        lrjax.find_lr, sharded(mesh), optax.adam, lrjax.StepSampling(num_steps=4, num_seeds=1), key=jax.random.key(KEY)
    ).executor
    measured["nnx"] = nnx_losses(mesh)
    measured["a step of one's own"] = own_step(mesh)
    measured["a step of pmap"] = own_step(None, by_pmap=True)
    measured["example"] = run_example()
    measured["one device of a set"] = told(find(task(init=lambda key: put(BASE().init(key), mesh_of(1)))))["used"]
    return measured


def sweep(problem: lrjax.Task, make_optimizer: Any = optax.adam, **options: Any) -> dict[str, Any]:
    good = {"key": jax.random.key(KEY), "train_steps": 6, "eval_every": 2}
    result = lrjax.sweep(problem, make_optimizer, np.float32([1e-3, 1e-2]), **good | options)
    return {"losses": result.metrics["loss"].tolist(), "used": result.execution.used, "reason": result.execution.reason}


def resumed(problem: lrjax.Task) -> dict[str, Any]:
    """A sweep that is interrupted, and goes on from its folder."""

    def interrupt(event: lrjax.Progress) -> None:
        if event.step >= 4:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        options = {"directory": str(Path(folder) / "sweep"), "checkpoint_seconds": 0}
        with contextlib.suppress(lrjax.SearchInterrupted):
            sweep(problem, progress=interrupt, **options)
        return sweep(problem, **options)


def search(problem: lrjax.Task, **options: Any) -> dict[str, Any]:
    result = lrjax.find_lr(
        problem,
        optax.adam,
        lrjax.Budget(trainings=4.0),
        key=jax.random.key(KEY),
        train_steps=20,
        throw=False,
        **options,
    )
    losses = [value for rung in result.stages for value in np.ravel(rung.losses).tolist()]
    return {"losses": losses, "used": result.execution.used, "reason": result.execution.reason}


def range_test(problem: lrjax.Task) -> dict[str, Any]:
    return {"losses": lrjax.range_test(problem, optax.adam, key=jax.random.key(KEY), num_steps=8).losses.tolist()}


def second_stage(problem: lrjax.Task) -> dict[str, Any]:
    result = sampled(problem, optax.adam, key=jax.random.key(KEY), train_steps=200, num_seeds=1, throw=False)
    return {"losses": [float(np.log10(result.lr))]}


def refind(problem: lrjax.Task) -> dict[str, Any]:
    make_optimizer = optax.inject_hyperparams(optax.adam)
    params = problem.init(jax.random.key(KEY))
    result = lrjax.find_lr(
        problem,
        make_optimizer,
        start=lrjax.Checkpoint(params=params, opt_state=make_optimizer(1e-3).init(params), step=0),
        key=jax.random.key(KEY),
        train_steps=80,
        throw=False,
    )
    return {"losses": result.curve.losses.tolist(), "used": result.execution.used}


VERBS = {
    "sweep": sweep,
    "resumed": resumed,
    "budget": search,
    "range_test": range_test,
    "second stage": second_stage,
    "checkpoint": refind,
}


def batches_of_sweep(mesh: Mesh) -> list[str]:
    """How batches that the user spread lie on the devices in a sweep's steps."""
    seen: set[str] = set()
    base = with_batches(mesh)

    def loss_fn(params: Any, batch: Any, key: Any) -> Any:
        jax.debug.inspect_array_sharding(
            batch[0], callback=lambda sharding: seen.add(str(sharding.shard_shape(batch[0].shape)))
        )
        return BASE().loss_fn(params, batch, key)

    eval_fn = lambda params, batch: BASE().loss_fn(params, batch, None)  # noqa: E731
    fields = {"sample_batches": base.sample_batches, "batches_between": base.batches_between}
    sweep(task(loss_fn=loss_fn, eval_fn=eval_fn, **fields))
    return sorted(seen)


def nnx_losses(mesh: Mesh | None) -> dict[str, Any]:
    """A Flax model whose Variables are spread over devices."""
    from flax import nnx

    from lrjax.integrations.flax import nnx_task

    model = nnx.Linear(8, 1, rngs=nnx.Rngs(0))
    if mesh is not None:
        nnx.update(model, put(nnx.state(model), mesh))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(96, 8)).astype(np.float32), rng.normal(size=(96, 1)).astype(np.float32)
    problem = nnx_task(
        model,
        lambda model, batch: jnp.mean((model(batch[0]) - batch[1]) ** 2),
        train=(x[:64], y[:64]),
        validation=(x[64:], y[64:]),
        batch_size=16,
    )
    return told(find(problem))


def own_step(mesh: Mesh | None, *, by_pmap: bool = False) -> dict[str, Any]:
    """A step on a state that is spread over devices, or one of `pmap`; else on one device."""
    from lrjax.integrations import step_task

    def step(state: Any, batch: Any) -> Any:
        grads = jax.grad(BASE().loss_fn)(state["params"], batch, None)
        return state | {"params": jax.tree.map(lambda p, g: p - state["lr"] * g, state["params"], grads)}

    def step_of_parts(state: Any, batch: Any) -> Any:
        def part(params: Any, lr: Any, batch: Any) -> Any:
            grads = jax.lax.pmean(jax.grad(BASE().loss_fn)(params, batch, None), "i")
            return jax.tree.map(lambda p, g: p - lr * g, params, grads)

        parts = jax.tree.map(lambda leaf: leaf.reshape(len(jax.devices()), -1, *leaf.shape[1:]), batch)
        params = jax.pmap(part, axis_name="i", in_axes=(None, None, 0))(state["params"], state["lr"], parts)
        return state | {"params": jax.tree.map(lambda leaf: leaf[0], params)}

    state = {"params": BASE().init(jax.random.key(0)), "lr": jnp.zeros(())}
    batches = BASE().sample_batches(jax.random.key(1), 8)
    task = step_task(
        step_of_parts if by_pmap else step,
        state if mesh is None else put(state, mesh, 1) | {"lr": jnp.zeros(())},
        [jax.tree.map(lambda leaf, i=i: leaf[i], batches) for i in range(8)],
        lambda state: BASE().loss_fn(state["params"], BASE().eval_batches[0], None),
        lambda state, lr: state | {"lr": lr},
    )
    strategy = lrjax.StepSampling(num_steps=4, num_seeds=1, refine=None)
    return told(lrjax.find_lr(task, task.set_lr, strategy, key=jax.random.key(0), throw=False))


def run_example() -> dict[str, Any]:
    """`examples/fsdp.py`, and what a device holds of its parameters."""
    with contextlib.redirect_stdout(io.StringIO()), mock.patch.dict(os.environ):  # the example sets XLA_FLAGS
        scope = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "fsdp.py"))
    w = scope["init"](jax.random.key(0))["qkv"]
    parts = [shard.data.nbytes for shard in w.addressable_shards]
    return told(scope["result"]) | {"lr": scope["result"].lr, "parts": parts}


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What one device gives."""
    return np.asarray(find(task(), executor="loop").curve.losses)


def check_case(name: str, measured: dict[str, Any], expected: np.ndarray) -> None:
    got = measured[name]
    assert (got["used"], got["notes"], got["devices"]) == ("loop", [], 1)
    assert got["reason"] == f"{WORDS[name]}, {KEPT}"
    np.testing.assert_allclose(got["losses"], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def quick() -> dict[str, Any]:
    return finish(start(__file__, 4, "on_four_devices", "quick"))[0]


@pytest.mark.parametrize("name", QUICK)
def test_the_trials_run_as_they_are_and_give_the_numbers_of_one_device(name, quick, expected):
    check_case(name, quick, expected)


def test_parameters_and_moments_stay_sharded_from_the_first_step_on(quick):
    assert quick["seen"] == ["moment (2, 6)", "parameter (2, 6)"]


def test_an_executor_that_would_not_keep_them_is_refused(quick):
    assert quick["vmap"] == (
        '`find_lr(executor=...)` must be "loop" or "auto" where the task\'s functions use `shard_map` over 4 '
        "devices, got vmap: the others run trials in programs of their own, spread over all devices."
    )


def test_what_uses_one_device_is_spread_as_ever(quick):
    assert quick["numpy"] == ""


@pytest.fixture(scope="module")
def ways() -> dict[str, Any]:
    return finish(start(__file__, 4, "on_four_devices", "all ways"))[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WORDS if name not in QUICK])
def test_every_way_to_use_devices_is_seen(name, ways, expected):
    check_case(name, ways, expected)


@pytest.fixture(scope="module")
def slow() -> dict[str, Any]:
    return finish(start(__file__, 4, "on_four_devices", "all verbs"))[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_every_verb_gives_the_numbers_of_one_device(name, slow):
    got = slow["verbs"][name]
    assert got.get("used", "loop") == "loop"
    assert got.get("reason", WORDS["sharded parameters"]).startswith(WORDS["sharded parameters"])
    np.testing.assert_allclose(got["losses"], VERBS[name](task())["losses"], rtol=2e-3)


@pytest.mark.slow
def test_results_and_sweeps_keep_the_sharding(slow):
    assert slow["seen by sweep"] == ["moment (2, 6)", "parameter (2, 6)"]
    assert slow["batches of sweep"] == ["(4, 6)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parts"),
    {
        "map": ['"loop" or "auto"', "`sharding_constraint` over 4 devices", "got map"],
        "chunked": ['"loop" or "auto"', "`shard_map` over 4 devices", "got chunked(2)"],
        "mesh": ["`find_lr(mesh=...)`", "{'trial': 4}", "the parameters are sharded over 4 devices. Leave mesh out"],
        "sweep": ["`sweep(executor=...)`", "the parameters are sharded over 4 devices", "got vmap"],
        "sweep mesh": ["`sweep(mesh=...)`", "{'trial': 4}", "Leave mesh out"],
        "search": ["`find_lr(executor=...)`", "the parameters are sharded over 4 devices", "got map"],
        "preview": ["`preview(lrjax.sweep, task=...)`", "the parameters are sharded over 4 devices"],
    }.items(),
)
def test_what_would_not_keep_the_devices_is_refused(name, parts, slow):
    for part in parts:
        assert part in slow["errors"][name]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["vmap", "map", "loop"])
def test_a_sweep_over_the_very_mesh_of_the_task_is_no_conflict(executor, slow):
    expected = np.asarray(sweep(task(), executor="loop")["losses"])
    for losses in slow["same mesh"][executor].values():
        np.testing.assert_allclose(losses, expected, rtol=1e-4)


@pytest.mark.slow
def test_the_example_gives_the_answer_of_one_device(slow):
    here, there = run_example(), slow["example"]
    assert there["lr"] == pytest.approx(here["lr"], rel=1e-3)
    assert (there["used"], there["reason"]) == ("loop", f"{WORDS['sharded parameters']}, {KEPT}")
    assert there["parts"] == [64 * 2 * 192 * 4 // 4] * 4


@pytest.mark.slow
def test_models_and_steps_of_ones_own(slow):
    for name, alone in {"nnx": nnx_losses, "a step of one's own": own_step}.items():
        assert slow[name]["used"] == "loop"
        np.testing.assert_allclose(slow[name]["losses"], alone(None)["losses"], rtol=1e-4)
    assert "the parameters are sharded" in slow["nnx"]["reason"]
    assert "the state is sharded" in slow["a step of one's own"]["reason"]
    assert slow["a step of pmap"]["reason"] == f"{WORDS['pmap']}, {KEPT}"
    np.testing.assert_allclose(slow["a step of pmap"]["losses"], own_step(None)["losses"], rtol=1e-4)


@pytest.mark.slow
def test_the_preview_knows_and_one_device_needs_nothing(slow):
    assert slow["preview"] == "loop"
    assert slow["one device of a set"] != "loop"


if __name__ == "__main__":
    tell(globals())
