"""What a call was asked to do, as strict JSON that another process can compare, and what another run must share."""

import re
import zlib
from collections.abc import Sequence
from typing import Any, cast

import jax
import jaxlib
import numpy as np
import optax
from jax.sharding import Mesh

from .._checks import describe, name_of
from .._types import Batch, Key, PyTree
from .._version import __version__
from ._devices import plain_keys
from ._executor import EXECUTOR_WORDS, Chunked, Executor
from ._experiment import Experiment
from ._jaxprs import every_jaxpr
from ._source import BatchSource
from ._trial import evaluate, init_trial, train_step
from ._trial_data import SeedData, TrialSpec


def describe_call(
    made: Experiment, source: BatchSource, settings: Sequence[PyTree], *, key: Key, executor: object, mesh: Mesh | None
) -> dict[str, Any]:
    """The engine's part of a call, by words for messages: equal descriptions promise equal results.

    `settings` has one of each program, of which a training step is traced.
    """
    batches = made.evaluation.batches
    return {
        "the key": checksum([key]),
        "executor": str(executor),
        "the mesh": None if mesh is None else dict(mesh.shape),
        "make_optimizer": name_of(made.spec.make_optimizer),
        "the shapes of the parameters": sorted({describe(leaf) for leaf in jax.tree.leaves(made.seeds[0].params)}),
        "the initial parameters": checksum([seed[:3] for seed in made.seeds]),
        "the training batches": checksum([source.first, source.arrays]),
        "the evaluation batches": checksum([batches.groups, made.evaluation.key]),
        "how much each evaluation batch counts": checksum([batches.shares]),
        "what a training step computes (loss_fn, eval_fn, the model or the optimizer)": _program_checksum(
            made, source, settings
        ),
        "the backend": jax.default_backend(),
        "the version of jax": jax.__version__,
        "the version of optax": optax.__version__,
    }


def fingerprint(spec: TrialSpec, seeds: Sequence[SeedData], key: Key, executor: object) -> dict[str, Any]:
    """What another run must share to give the same numbers, for the reader of a result."""
    device = jax.local_devices()[0]
    return {
        "lrjax": __version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "optax": optax.__version__,
        "numpy": np.__version__,
        "backend": device.platform,
        "device": device.device_kind,
        "executor": str(executor),
        "optimizer": name_of(spec.make_optimizer),
        "loss_fn": name_of(spec.loss_fn),
        "parameter_shapes": [describe(leaf) for leaf in jax.tree.leaves(seeds[0].params)],
        "num_seeds": len(seeds),
        "key": np.asarray(plain_keys(key)).ravel().tolist(),
    }


def read_executor(words: object) -> Executor | None:
    """The executor that a description has in these words; None if there is none."""
    if chunked := re.fullmatch(r"chunked\(([1-9]\d*)\)", str(words)):
        return Chunked(int(chunked[1]))
    return cast(Executor, words) if words in EXECUTOR_WORDS and words != "auto" else None


def checksum(trees: PyTree) -> str:
    """Of the structure, the dtypes, the shapes and the numbers of arrays: # and 8 hex digits."""
    total = zlib.crc32(str(jax.tree.structure(trees)).encode())
    for leaf in jax.tree.leaves(plain_keys(trees)):
        array = np.asarray(leaf) if getattr(leaf, "is_fully_addressable", True) else np.zeros(leaf.shape)
        total = zlib.crc32(f"{array.dtype}{array.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return f"#{total:08x}"


def without_addresses(text: str) -> str:
    """Text of a program or a tree, without what differs from process to process."""
    return re.sub(r"0x[0-9a-f]+", "", text)


def _program_checksum(made: Experiment, source: BatchSource, settings: Sequence[PyTree]) -> str:
    """Of the text of a step and an evaluation, and of the constants in it."""
    spec, seed = made.spec, made.seeds[0]

    def step(setting: PyTree, params: PyTree, batches: Batch) -> Any:
        data = seed._replace(params=params, batches=batches, data_key=None)
        state, _ = train_step(spec, setting, init_trial(spec, setting, data), data)
        return evaluate(spec, state, data, made.evaluation)

    batch = jax.tree.map(lambda leaf: leaf[None] if source.shared else leaf[0][None], source.first)
    found = []
    for setting in settings:
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), (setting, seed.params, batch)
        )
        closed = jax.make_jaxpr(step)(*shapes)
        held = [const for one in every_jaxpr(closed) for const in getattr(one, "consts", ()) if hasattr(const, "dtype")]
        found.append(without_addresses(str(closed.jaxpr)) + checksum(held))
    return f"#{zlib.crc32(''.join(sorted(found)).encode()):08x}"
