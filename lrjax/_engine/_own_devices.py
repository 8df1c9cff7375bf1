"""Whether a task uses several devices by itself: its trials then run one after the other and keep that."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec, Sharding

from .._types import PyTree
from ._choice import Choice
from ._executor import Executor
from ._sharding import sharding_of
from ._trial import evaluate, init_trial, update_with_loss
from ._trial_data import EvalData, SeedData, TrialSpec


class _LaneMesh(NamedTuple):
    mesh: Mesh | None
    axes: tuple[str, ...]


class _Trial(NamedTuple):
    spec: TrialSpec
    hyperparameters: PyTree
    data: SeedData
    evaluation: EvalData


def loop_on_own_devices(
    where: str,
    spec: TrialSpec,
    setting: PyTree,
    seed: SeedData,
    evaluation: EvalData,
    *,
    executor: Executor,
    asked_mesh: Mesh | None,
    mesh: Mesh | None,
    axes: tuple[str, ...],
) -> Choice | None:
    """The loop on the host for a task that uses several devices by itself; None for one that does not."""
    trial = _Trial(spec, setting, seed._replace(data_key=None), evaluation)
    devices = _own_devices(trial, _LaneMesh(None, ()) if executor == "loop" else _LaneMesh(mesh, axes))
    if not devices:
        return None
    if executor == "loop":
        return Choice("loop", "")
    if asked_mesh is not None:
        raise ValueError(
            f"`{where}(mesh=...)` spreads trials over the mesh {dict(asked_mesh.shape)}, but {devices}. Leave mesh "
            "out: then the trials run one after the other, each on the devices that the task itself asks for."
        )
    if executor != "auto":
        raise ValueError(
            f'`{where}(executor=...)` must be "loop" or "auto" where {devices}, got {executor}: the others run trials '
            "in programs of their own, spread over all devices."
        )
    return Choice("loop", f"{devices}, so the trials run one after the other, each on those devices")


def _own_devices(trial: _Trial, lanes: _LaneMesh) -> str:
    """How a task uses several devices in ways that programs over lanes would not keep, as a clause; else empty.

    Looks at the mesh that is set, the arrays, and the jaxpr of a trial.
    """
    if jax.device_count() == 1:
        return ""
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and (lanes.mesh is None or mesh != lanes.mesh.abstract_mesh):
        return f"a mesh of {mesh.size} device{'s' * (mesh.size > 1)} is set"
    return _in_arrays(trial, lanes) or _in_jaxpr(trial, lanes)


def _in_arrays(trial: _Trial, lanes: _LaneMesh) -> str:
    data = trial.data
    trees = {
        "state" if trial.spec.step_fn is not None else "parameters": (data.params, data.frozen),
        "model state": data.model_state,
        "optimizer state": data.opt_state,
        "training batches": data.batches,
        "evaluation batches": trial.evaluation.batches.groups,
    }
    for name, tree in trees.items():
        for sharding in map(sharding_of, jax.tree.leaves(tree)):
            if sharding is not None and not _kept(sharding, lanes):
                verb = "are" if name.endswith("s") else "is"
                return f"the {name} {verb} sharded over {sharding.num_devices} devices"
    return ""


def _in_jaxpr(trial: _Trial, lanes: _LaneMesh) -> str:
    spec, *arguments = trial

    def run(hyperparameters: PyTree, data: SeedData, evaluation: EvalData) -> Any:
        state = init_trial(spec, hyperparameters, data)
        state, loss = update_with_loss(spec, hyperparameters, state, data)
        return loss, evaluate(spec, state, data, evaluation)

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
    for name, value in _mentioned(jax.make_jaxpr(run)(*shapes)):
        if isinstance(value, jax.Array):
            sharding = sharding_of(value)
            if sharding is not None and not _kept(sharding, lanes):
                return f"the task's functions read an array that is sharded over {sharding.num_devices} devices"
        elif _size(value) > 1 and (name == "shard_map" or not _kept(value, lanes)):
            return f"the task's functions use `{name}` over {_size(value)} devices"
    return ""


def _mentioned(jaxpr: Any) -> Iterator[tuple[str, Any]]:
    """The meshes and shardings that equations name, and the arrays that functions close over, at any depth."""
    equations = getattr(jaxpr, "jaxpr", jaxpr).eqns
    written_out = [getattr(variable, "val", None) for equation in equations for variable in equation.invars]
    for constant in (*getattr(jaxpr, "consts", ()), *written_out):
        if isinstance(constant, jax.Array):  # not one of NumPy
            yield "", constant
    for equation in equations:
        values = jax.tree.leaves(equation.params, is_leaf=_is_program)
        yield from ((equation.primitive.name, value) for value in values if isinstance(value, _NAMED))
        for inner in filter(_is_program, values):
            yield from _mentioned(inner)


_NAMED = (Mesh, AbstractMesh, Sharding)


def _is_program(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")


def _size(value: Any) -> int:
    """Over how many devices a mesh or a sharding goes."""
    mesh = value.mesh if isinstance(value, NamedSharding) else value
    return mesh.num_devices if isinstance(mesh, Sharding) else mesh.size


def _kept(value: Any, lanes: _LaneMesh) -> bool:
    """Whether a mesh or a sharding is that of the lanes, and not over the axes that these use by hand."""
    mesh = value.mesh if isinstance(value, NamedSharding) else value
    if lanes.mesh is None or not isinstance(mesh, (Mesh, AbstractMesh)) or mesh.shape != lanes.mesh.shape:
        return False
    if isinstance(mesh, Mesh) and (mesh.devices != lanes.mesh.devices).any():
        return False
    spec = value.spec if isinstance(value, NamedSharding) else PartitionSpec()
    names = {name for part in spec for name in (part if isinstance(part, tuple) else (part,))}
    return not names & set(lanes.axes)
