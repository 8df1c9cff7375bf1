"""Whether a task uses several devices by itself: its trials then run one after the other and keep that."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec, Sharding

from .._types import PyTree
from ._choice import Choice
from ._executor import Executor
from ._experiment import Experiment
from ._jaxprs import inner_jaxprs
from ._sharding import sharding_of
from ._trial import evaluate, init_trial, train_step
from ._trial_data import EvalData, SeedData

_NAMED = (Mesh, AbstractMesh, Sharding)

_Kept = Callable[[Any], bool]
"""Whether programs over lanes would keep a mesh or a sharding."""


def loop_on_own_devices(
    where: str,
    experiment: Experiment,
    setting: PyTree,
    *,
    executor: Executor,
    asked_mesh: Mesh | None,
    mesh: Mesh | None,
    axes: tuple[str, ...],
) -> Choice | None:
    """The loop on the host for a task that uses several devices by itself; None for one that does not.

    Otherwise lanes would run on `mesh`, whose `axes` they use by hand. The first seed is looked at.
    """
    lanes = (None, ()) if executor == "loop" else (mesh, axes)
    devices = _own_devices(experiment, setting, lanes[0], functools.partial(_is_kept, *lanes))
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


def _own_devices(experiment: Experiment, setting: PyTree, lane_mesh: Mesh | None, kept: _Kept) -> str:
    """How a task uses several devices in ways that programs over lanes would not keep, as a clause; else empty.

    Looks at the mesh that is set, the arrays, and the jaxpr of a trial.
    """
    if jax.device_count() == 1:
        return ""
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and (lane_mesh is None or mesh != lane_mesh.abstract_mesh):
        return f"a mesh of {mesh.size} device{'s' * (mesh.size > 1)} is set"
    return _in_arrays(experiment, kept) or _in_jaxpr(experiment, setting, kept)


def _in_arrays(experiment: Experiment, kept: _Kept) -> str:
    data = experiment.seeds[0]
    trees = {
        "state" if experiment.spec.step_fn is not None else "parameters": (data.params, data.frozen),
        "model state": data.model_state,
        "optimizer state": data.opt_state,
        "training batches": data.batches,
        "evaluation batches": experiment.evaluation.batches.groups,
    }
    for name, tree in trees.items():
        for sharding in map(sharding_of, jax.tree.leaves(tree)):
            if sharding is not None and not kept(sharding):
                verb = "are" if name.endswith("s") else "is"
                return f"the {name} {verb} sharded over {sharding.num_devices} devices"
    return ""


def _in_jaxpr(experiment: Experiment, setting: PyTree, kept: _Kept) -> str:
    spec = experiment.spec

    def run(hyperparameters: PyTree, data: SeedData, evaluation: EvalData) -> Any:
        state, loss = train_step(spec, hyperparameters, init_trial(spec, hyperparameters, data), data)
        return loss, evaluate(spec, state, data, evaluation)

    arguments = (setting, experiment.seeds[0]._replace(data_key=None), experiment.evaluation)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
    for name, value in _mentioned(jax.make_jaxpr(run)(*shapes)):
        if isinstance(value, jax.Array):
            sharding = sharding_of(value)
            if sharding is not None and not kept(sharding):
                return f"the task's functions read an array that is sharded over {sharding.num_devices} devices"
        elif _size(value) > 1 and (name == "shard_map" or not kept(value)):
            return f"the task's functions use `{name}` over {_size(value)} devices"
    return ""


def _mentioned(jaxpr: Any) -> Iterator[tuple[str, Any]]:
    """The meshes and shardings that equations name, and the arrays that functions close over, as they are met."""
    equations = getattr(jaxpr, "jaxpr", jaxpr).eqns
    written_out = [getattr(variable, "val", None) for equation in equations for variable in equation.invars]
    held = (*getattr(jaxpr, "consts", ()), *written_out)
    yield from (("", constant) for constant in held if isinstance(constant, jax.Array))  # not one of NumPy
    for equation in equations:
        values = [value for value in jax.tree.leaves(equation.params) if isinstance(value, _NAMED)]
        yield from ((equation.primitive.name, value) for value in values)
        for inner in inner_jaxprs(equation):
            yield from _mentioned(inner)


def _size(value: Any) -> int:
    """Over how many devices a mesh or a sharding goes."""
    mesh = value.mesh if isinstance(value, NamedSharding) else value
    return mesh.num_devices if isinstance(mesh, Sharding) else mesh.size


def _is_kept(lane_mesh: Mesh | None, axes: tuple[str, ...], value: Any) -> bool:
    """Whether a mesh or a sharding is that of the lanes, and not over the axes that these use by hand."""
    mesh = value.mesh if isinstance(value, NamedSharding) else value
    if lane_mesh is None or not isinstance(mesh, (Mesh, AbstractMesh)) or mesh.shape != lane_mesh.shape:
        return False
    if isinstance(mesh, Mesh) and (mesh.devices != lane_mesh.devices).any():
        return False
    spec = value.spec if isinstance(value, NamedSharding) else PartitionSpec()
    names = {name for part in spec for name in (part if isinstance(part, tuple) else (part,))}
    return not names & set(axes)
