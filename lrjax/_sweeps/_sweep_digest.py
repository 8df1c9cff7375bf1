"""What a sweep was asked to do, as strict JSON that another process can compare."""

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from .._checks import describe, name_of
from .._engine import EvalData, SeedData, TrialSpec, evaluate, hyperparameter_dtype, init_trial, train_step
from .._types import Batch, Key, PyTree
from ._grid import Axis, Family, Grid
from ._stop import Stop

_WORDS = {
    "train_steps": "train_steps",
    "num_seeds": "num_seeds",
    "eval_every": "eval_every",
    "stop": "stop",
    "key": "the key",
    "grid": "the grid's names",
    "kinds": "the kinds of the grid's values",
    "executor": "executor",
    "mesh": "the mesh",
    "optimizer": "make_optimizer",
    "parameters": "the shapes of the parameters",
    "initial": "the initial parameters",
    "batches": "the training batches",
    "evaluation": "the evaluation batches",
    "weights": "how much each evaluation batch counts",
    "program": "what a training step computes (loss_fn, eval_fn, the model or the optimizer)",
    "backend": "the backend",
    "jax": "the version of jax",
    "optax": "the version of optax",
}


def describe_call(
    *,
    spec: TrialSpec,
    grid: Grid,
    key: Key,
    train_steps: int,
    eval_every: int | list[int],
    stop: Stop | None,
    executor: object,
    mesh: Mesh | None,
    seeds: Sequence[SeedData],
    first_batches: Batch,
    arrays: PyTree,
    shared: bool,
    evaluation: EvalData,
) -> dict[str, Any]:
    """The call, so that an equal description promises equal results; its "values" may grow, see `lacking`."""
    dtype = hyperparameter_dtype(seeds[0].params)
    shapes = {describe(leaf) for leaf in jax.tree.leaves(seeds[0].params)}
    mesh_axes = None if mesh is None else dict(zip(mesh.axis_names, mesh.devices.shape, strict=True))
    return {
        "train_steps": train_steps,
        "num_seeds": len(seeds),
        "eval_every": eval_every,
        "stop": repr(stop),
        "key": _digest([key]),
        "grid": " x ".join(map(_axis_name, grid.axes)),
        "kinds": _kinds(grid),
        "values": [[_axis_name(axis), _axis_values(axis, dtype)] for axis in grid.axes],
        "executor": str(executor),
        "mesh": mesh_axes,
        "optimizer": name_of(spec.make_optimizer),
        "parameters": sorted(shapes),
        "initial": _digest([seed[:3] for seed in seeds]),
        "batches": _digest([first_batches, arrays]),
        "evaluation": _digest([evaluation.batches.groups, evaluation.key]),
        "weights": _digest([evaluation.batches.shares]),
        "program": _program_digest(spec, grid, seeds[0], first_batches, shared, evaluation),
        "backend": jax.default_backend(),
        "jax": jax.__version__,
        "optax": optax.__version__,
    }


def difference(here: dict[str, Any], now: dict[str, Any]) -> str:
    """The first way in which two calls differ, in words, but for their "values"; empty if they do not."""
    for name, words in _WORDS.items():
        before, after = here.get(name), now.get(name)
        if before != after:
            if isinstance(before, str) and re.fullmatch(r"#[0-9a-f]{8}", before):
                return f"{words} changed"
            return f"{words}: {before} there, {after} now"
    return ""


Values = list[Any]
"""[name, a text for every setting] for each axis of a grid; functions of one name with equal numbers have one text."""


def lacking(there: Values, now: Values) -> str:
    """In words what a grid lacks of another one with the same axes; empty if it has all its values."""
    for (name, old), (_, new) in zip(there, now, strict=True):
        known = set(new)
        missing = [place for place, text in enumerate(old) if text not in known]
        if missing:
            text = old[missing[0]]
            which = f"the one at index {missing[0]}" if "#" in text else text
            return f"{counts(name, old, new)}, of which {which} is missing now"
    return ""


def counts(name: str, there: Sequence[str], now: Sequence[str]) -> str:
    """`learning_rate: 3 values now, 2 there`."""
    return f"{name}: {len(now)} value{'s' * (len(now) != 1)} now, {len(there)} there"


def _axis_name(axis: Axis) -> str:
    return axis.names[0] if len(axis.names) == 1 else f"zipped({', '.join(axis.names)})"


def _axis_values(axis: Axis, dtype: np.dtype) -> list[str]:
    rows = zip(*axis.values.values(), strict=True)
    texts = [[_text(item, dtype) for item in row] for row in rows]
    return [row[0] if len(row) == 1 else f"({', '.join(row)})" for row in texts]


def _text(item: PyTree, dtype: np.dtype) -> str:
    """Of a setting: the number as the optimizer gets it, or a digest of all numbers of a schedule."""
    leaves = [leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf for leaf in jax.tree.leaves(item)]
    if isinstance(item, np.ndarray) and item.ndim == 0:
        return str(leaves[0])
    digest = hashlib.sha256(_structure(item).encode())
    for leaf in leaves:
        digest.update(f"{leaf.dtype}{leaf.shape}".encode() + np.ascontiguousarray(leaf).tobytes())
    return f"#{digest.hexdigest()[:32]}"


def _structure(tree: PyTree) -> str:
    return _ADDRESS.sub("", str(jax.tree.structure(tree)))


_ADDRESS = re.compile(r"0x[0-9a-f]+")


def _kind(family: Family) -> str:
    """What all settings of a family share."""
    settings = family.settings
    if isinstance(settings, dict) and all(
        isinstance(leaf, np.ndarray) and leaf.ndim == 1 for leaf in settings.values()
    ):
        return ", ".join(f"{name}: {leaf.dtype}" for name, leaf in settings.items())
    shapes = [f"{leaf.dtype}{leaf.shape[1:]}" for leaf in jax.tree.leaves(settings)]
    return f"#{zlib.crc32((_structure(settings) + str(shapes)).encode()):08x}"


def _kinds(grid: Grid) -> str:
    kinds = " and ".join(map(_kind, _sorted_families(grid)))
    return f"#{zlib.crc32(kinds.encode()):08x}" if "#" in kinds else kinds


def _sorted_families(grid: Grid) -> list[Family]:
    """By kind: the order of the values does not count."""
    return sorted(grid.families, key=_kind)


def _digest(trees: PyTree) -> str:
    total = zlib.crc32(str(jax.tree.structure(trees)).encode())
    for leaf in jax.tree.leaves(trees):
        if jnp.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf) if getattr(leaf, "is_fully_addressable", True) else np.zeros(leaf.shape)
        total = zlib.crc32(f"{array.dtype}{array.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return f"#{total:08x}"


def _program_digest(
    spec: TrialSpec, grid: Grid, seed: SeedData, first_batches: Batch, shared: bool, evaluation: EvalData
) -> str:
    """Of the program text of a step and an evaluation, and of the constants in it."""

    def step(setting: PyTree, params: PyTree, batches: Batch) -> Any:
        data = seed._replace(params=params, batches=batches, first_step=jnp.int32(0), data_key=None)
        state = train_step(spec, setting, init_trial(spec, setting, data), data)
        return evaluate(spec, state, data, evaluation)

    batch = jax.tree.map(lambda leaf: leaf[None] if shared else leaf[0][None], first_batches)
    total = 0
    for family in _sorted_families(grid):
        setting = jax.tree.map(lambda leaf: leaf[0], family.settings)
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), (setting, seed.params, batch)
        )
        closed = jax.make_jaxpr(step)(*shapes)
        total = zlib.crc32(_ADDRESS.sub("", str(closed.jaxpr)).encode(), total)
        total = zlib.crc32(_digest(list(_constants(closed))).encode(), total)
    return f"#{total:08x}"


def _constants(closed: Any) -> Iterator[Any]:
    """The arrays in a program and in the functions that it calls."""
    yield from (const for const in getattr(closed, "consts", ()) if hasattr(const, "dtype"))
    for equation in getattr(closed, "jaxpr", closed).eqns:
        for inner in jax.tree.leaves(equation.params, is_leaf=_is_program):
            if _is_program(inner):
                yield from _constants(inner)


def _is_program(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")
