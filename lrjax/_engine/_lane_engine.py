"""What all waves of a sweep share: seeds, evaluation set, programs, and where things lie on the devices."""

import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._types import Array, Batch, Key, PyTree
from ._data import stack_leaves
from ._devices import agree_on_least, num_shards, place_on, spans_hosts
from ._execution import Execution
from ._executors import Chunked, Executor, compile_program
from ._lane_program import Call, Feed, Lane, Origin, SweepProgram, begin_lane, evaluate_lane
from ._memory import SHARE_OF_FREE, free_bytes, program_bytes, show_bytes
from ._seeds import Seed
from ._sharding import lead
from ._trial import EvalData, TrialSpec


class Engine:
    """Programs and data that every wave uses.

    Args:
      spec: what is compiled.
      executor: how lanes run; "auto" is resolved by `resolve`.
      mesh: the devices, or None for one.
      seeds: the seeds.
      evaluation: the evaluation set.
      first_batches: of one step, (seeds, ...) unless shared.
      shared: whether all seeds see the same batches.
      batch_shardings: the user's own, of the leaves of a batch, where they are kept.
      block: steps of the longest block.
      execution: what is reported.
    """

    def __init__(
        self,
        spec: TrialSpec,
        executor: Executor,
        mesh: Mesh | None,
        *,
        seeds: Sequence[Seed],
        evaluation: EvalData,
        first_batches: Batch,
        shared: bool,
        batch_shardings: Sequence[NamedSharding | None],
        block: int,
        execution: Execution,
    ):
        self.spec, self.mesh, self.execution = spec, mesh, execution
        self.executor: Executor = executor
        self.num_seeds, self.shared, self.block = len(seeds), shared, block
        self.first_batches, self.batch_shardings = first_batches, tuple(batch_shardings)
        self._params_specs = _specs_of(seeds[0].params)
        self._state_specs = _specs_of(seeds[0].model_state)
        self._frozen_specs = _specs_of(seeds[0].frozen)
        origin = [Origin(seed.params, seed.frozen, seed.model_state) for seed in seeds]
        specs = Origin(self._params_specs, self._frozen_specs, self._state_specs)
        self.origins: Origin = self._stack_seeds(origin, specs)
        self.keys: Key = place_on(stack_leaves([seed.train_key for seed in seeds]), mesh)
        self.evaluation: EvalData = place_on(evaluation, mesh)
        self._admitted: set[Any] = set()

    @property
    def shards(self) -> int:
        """Over how many devices the lanes are spread."""
        return num_shards(self.mesh)

    @property
    def unit(self) -> int:
        """What the width of a program must be a multiple of."""
        return self.shards * (self.executor.size if isinstance(self.executor, Chunked) else 1)

    @property
    def several_hosts(self) -> bool:
        """Whether other processes run the same programs."""
        return self.mesh is not None and spans_hosts(self.mesh)

    def width_for(self, lanes: int) -> int:
        """The narrowest program that holds so many lanes of a seed."""
        return -(-lanes // self.unit) * self.unit

    def fit_chunk(self, lanes: int) -> None:
        """Make a chunk no wider than what a device has to run."""
        if isinstance(self.executor, Chunked):
            self.executor = Chunked(min(self.executor.size, -(-lanes // self.shards)))

    # What goes to the devices.

    def place_settings(self, settings: PyTree) -> PyTree:
        """Settings with the axes (seeds, lanes, ...) on the devices."""
        return place_on(settings, self.mesh, None if self.mesh is None else self.lane_spec())

    def place_lanes(self, lanes: Lane) -> Lane:
        """Lanes on the devices, from the host; those of several hosts are there already."""
        if self.mesh is None:
            return jax.tree.map(jnp.asarray, lanes)
        if self.several_hosts and all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(lanes)):
            return lanes
        leaves, treedef = jax.tree.flatten(lanes)
        specs = self._lane_specs(treedef, leaves)
        return treedef.unflatten(
            [place_on(leaf, self.mesh, self.lane_spec(*spec)) for leaf, spec in zip(leaves, specs, strict=True)]
        )

    def constrain(self, lanes: Lane) -> Lane:
        """Lanes that are on the devices, where the programs want them."""
        assert self.mesh is not None
        leaves, treedef = jax.tree.flatten(lanes)
        specs = [self.lane_spec(*spec) for spec in self._lane_specs(treedef, leaves)]
        return treedef.unflatten(_move(tuple(leaves), self.mesh, tuple(specs)))

    def place_batches(self, batches: Batch) -> Batch:
        """A block's batches on the devices, as the user spread them, or the examples over "data"."""
        axis = 1 if self.shared else 2
        if any(self.batch_shardings):
            leaves, treedef = jax.tree.flatten(batches)
            where = [lead(sharding, axis) for sharding in self.batch_shardings]
            return treedef.unflatten(map(jax.device_put, leaves, where))
        if self.mesh is None or "data" not in self.mesh.axis_names:
            return place_on(batches, self.mesh)

        def put(leaf: np.ndarray) -> Array:
            spec = PartitionSpec(*([None] * axis), "data") if leaf.ndim > axis else PartitionSpec()
            return place_on(leaf, self.mesh, spec)

        return jax.tree.map(put, batches)

    def lane_spec(self, *rest: Any) -> PartitionSpec:
        """How an array with the axes (seeds, lanes, ...) lies on the mesh."""
        assert self.mesh is not None
        return PartitionSpec(None, "trial", *rest)

    def scalar(self, value: int) -> Array:
        """A number for a program."""
        return place_on(np.int32(value), self.mesh)

    def feeds(self, batches: Batch) -> Feed:
        """What the seeds' lanes read."""
        return Feed(self.origins.frozen, self.keys, None if self.shared else batches)

    def call(self, batches: Batch, first_step: int, count: int, rows: int) -> Call:
        """What a call of the program is about."""
        shared = batches if self.shared else None
        return Call(shared, self.scalar(first_step), self.scalar(count), self.scalar(rows))

    # Programs.

    def program(self, kind: Any, shardings: Any = None) -> SweepProgram:
        """A program of this sweep."""
        return SweepProgram(kind, self.spec, self.executor, self.mesh, shardings)

    def begin(self, settings: PyTree, rows: int) -> Lane:
        """New lanes for settings with the axes (seeds, lanes, ...)."""
        arguments = (settings, self.origins, self.scalar(rows))
        return self.executable("begin", arguments)(*arguments)

    def executable(self, kind: Any, arguments: tuple) -> Any:
        """The compiled program for these arguments.

        Raises:
          MemoryError: it does not fit.
        """
        started = time.perf_counter()
        compiled = compile_program(self.program(kind, shardings=self.shardings(kind, arguments)), arguments)
        self.execution.compile_seconds += time.perf_counter() - started
        if compiled not in self._admitted:
            needed, budget = program_bytes(compiled), self.budget() / SHARE_OF_FREE
            if needed - self._held_by(kind, arguments) > budget:
                raise MemoryError(
                    f"The sweep's {kind} program with executor {self.executor} needs {show_bytes(needed)}, and "
                    f"{show_bytes(budget)} are free."
                )
            self._admitted.add(compiled)
            self.execution.bytes = max(self.execution.bytes, needed)
        return compiled

    def _held_by(self, kind: Any, arguments: tuple) -> int:
        """Bytes of arguments that are on the device already."""
        leaves = [leaf for leaf in jax.tree.leaves(arguments) if isinstance(leaf, jax.Array)]
        return sum(leaf.nbytes // (self.shards if kind != "begin" else 1) for leaf in leaves)

    def shardings(self, kind: Any, arguments: tuple) -> tuple[PartitionSpec, ...] | None:
        """The user's own sharding of what a program gives back, leaf by leaf; None where there is no mesh."""
        if self.mesh is None or kind == "evaluate":
            return None
        lanes = arguments[1] if kind == "advance" else self.lane_shapes(arguments[0])
        leaves, treedef = jax.tree.flatten(lanes)
        return tuple(self._lane_specs(treedef, leaves))

    def _lane_specs(self, treedef: Any, leaves: Sequence[Any]) -> list[PartitionSpec]:
        """The user's own sharding of every leaf of the lanes: parameters, what the optimizer keeps like them, state."""
        if not any(spec for spec in _spec_leaves((self._params_specs, self._state_specs))):
            return [PartitionSpec()] * len(leaves)
        lane = treedef.unflatten(list(range(len(leaves))))
        where: dict[int, PartitionSpec] = dict.fromkeys(range(len(leaves)), PartitionSpec())
        params = jax.tree.leaves(lane.state.params)
        where |= zip(params, _spec_leaves(self._params_specs), strict=True)
        where |= zip(jax.tree.leaves(lane.state.model_state), _spec_leaves(self._state_specs), strict=True)
        structure = jax.tree.structure(lane.state.params)
        for node in jax.tree.leaves(lane.state.opt_state, is_leaf=lambda n: jax.tree.structure(n) == structure):
            if jax.tree.structure(node) == structure and len(params) > 0:
                for place, like in zip(jax.tree.leaves(node), params, strict=True):
                    if leaves[place].ndim == leaves[like].ndim:  # moments are shaped like their parameters
                        where[place] = where[like]
        return [where[place] for place in range(len(leaves))]

    # Shapes and memory.

    def lane_shapes(self, settings: PyTree) -> Lane:
        """Shapes of the lanes for settings with the axes (seeds, lanes, ...)."""
        axes = jax.tree.leaves(settings)[0].shape[:2]
        one_setting = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), settings)
        one_origin = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self.origins)
        lane = jax.eval_shape(functools.partial(begin_lane, self.spec), one_setting, one_origin)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype), lane)

    def lane_targets(self, settings: PyTree) -> Lane:
        """`lane_shapes`, with shardings where several processes hold the lanes."""
        shapes = self.lane_shapes(settings)
        return self._shard_shapes(shapes) if self.several_hosts else shapes

    def _shard_shapes(self, lanes: Lane) -> Lane:
        assert self.mesh is not None
        leaves, treedef = jax.tree.flatten(lanes)
        specs = self._lane_specs(treedef, leaves)
        return treedef.unflatten(
            [_sharded(leaf, self.mesh, self.lane_spec(*spec)) for leaf, spec in zip(leaves, specs, strict=True)]
        )

    def leave_mesh(self) -> None:
        """Go on with one device."""
        self.mesh = None
        self.origins, self.keys, self.evaluation = jax.tree.map(
            jnp.asarray, jax.device_put((self.origins, self.keys, self.evaluation), jax.local_devices()[0])
        )

    def shapes(self, setting: PyTree, width: int) -> tuple[tuple, tuple]:
        """Shapes of the arguments of `advance` and of `evaluate` at a width; `setting` is that of one trial."""

        def widen(leaf: Any, *axes: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*axes, *np.shape(leaf)), leaf.dtype)

        settings = jax.tree.map(lambda leaf: widen(leaf, self.num_seeds, width), setting)
        lanes = self.lane_shapes(settings)
        if self.mesh is not None:
            mesh = self.mesh
            settings = jax.tree.map(lambda leaf: _sharded(leaf, mesh, self.lane_spec()), settings)
            lanes = self._shard_shapes(lanes)
        batches = self.place_batches(self._blank_block())
        rows = self.scalar(0)
        advance = (settings, lanes, self.feeds(batches), self.call(batches, 0, 0, 0))
        return advance, (lanes, self.origins.frozen, (self.evaluation, rows))

    def _blank_block(self) -> Batch:
        axis = 0 if self.shared else 1

        def blank(leaf: np.ndarray) -> np.ndarray:
            return np.zeros((*leaf.shape[:axis], self.block, *leaf.shape[axis:]), leaf.dtype)

        return jax.tree.map(blank, self.first_batches)

    def budget(self) -> float:
        """Bytes that a program may take on a device, the same on every host."""
        device = jax.local_devices()[0] if self.mesh is None else self.mesh.local_devices[0]
        sharers = len(self.mesh.local_devices) if self.mesh is not None and device.platform == "cpu" else 1
        return agree_on_least(SHARE_OF_FREE * free_bytes(device) / sharers, self.mesh)

    def _stack_seeds(self, seeds: list[Origin], specs: Origin) -> Origin:
        stacked = stack_leaves(seeds)
        if self.mesh is None:
            return stacked
        leaves, treedef = jax.tree.flatten(stacked)
        return treedef.unflatten(
            [
                place_on(leaf, self.mesh, PartitionSpec(None, *spec))
                for leaf, spec in zip(leaves, _spec_leaves(specs), strict=True)
            ]
        )

    def metric_names(self, setting: PyTree) -> tuple[str, ...]:
        """What evaluations of such a setting give, before anything is compiled.

        Raises:
          TypeError, ValueError: the optimizer, the loss or the evaluation cannot be used.
        """
        origin = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self.origins)
        lane = jax.eval_shape(functools.partial(begin_lane, self.spec), jax.tree.map(shape_of, setting), origin)
        evaluate = functools.partial(evaluate_lane, self.spec)
        reading = jax.eval_shape(evaluate, lane, origin.frozen, self.evaluation)
        if "train_loss" in reading.metrics:
            raise ValueError(
                '`eval_fn` must not name a metric "train_loss", which a sweep gives to the mean of training losses. '
                'Call it "eval_train_loss".'
            )
        return (*reading.metrics, "train_loss")


@functools.partial(jax.jit, static_argnums=(1, 2))
def _move(leaves: tuple, mesh: Mesh, specs: tuple[PartitionSpec, ...]) -> list[Array]:
    """A program of its own, since lanes of several processes cannot be moved by one."""
    pairs = zip(leaves, specs, strict=True)
    return [jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec)) for leaf, spec in pairs]


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of an array or a number."""
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype)


def _sharded(leaf: Any, mesh: Mesh, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))


def _specs_of(tree: PyTree) -> PyTree:
    """The user's sharding of every array, () where there is none."""

    def spec(leaf: Any) -> PartitionSpec:
        sharding = getattr(leaf, "sharding", None)
        return sharding.spec if isinstance(sharding, NamedSharding) else PartitionSpec()

    return jax.tree.map(spec, tree)


def _spec_leaves(tree: PyTree) -> list[PartitionSpec]:
    return jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, PartitionSpec))
