"""An experiment on its devices: where what its lanes read lies, and the programs that run them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._types import Array, Batch, PyTree
from ._data import on_device, stack_leaves
from ._devices import check_one_host, lane_spec, num_shards, place_lanes, place_on, spans_hosts
from ._execution import Execution, compiling
from ._executor import Chunked, Executor
from ._experiment import Experiment
from ._loop_types import strengthen
from ._memory import admit, memory_budget
from ._programs import Program, compile_program
from ._sharding import Shardings, lead, sharding_of, shardings_like, shardings_of
from ._source import BatchSource
from ._trial import ONE_LANE, Kind, begin_lane, evaluate_lane
from ._trial_data import Block, EvalData, SeedData, Shared, TrialState


class LoopData(NamedTuple):
    """What the loop on the host reads on a device."""

    seeds: tuple[SeedData, ...]  # with batches where no source has them
    evaluation: EvalData
    arrays: PyTree  # of which the source gives rows
    device: Any = None  # None: where the data are

    def here(self, tree: PyTree) -> PyTree:
        """A tree on the device."""
        return tree if self.device is None else jax.device_put(tree, self.device)


class Engine:
    """Programs over the lanes of an experiment: of whole trainings ("train"), or of parts that are carried on.

    The batches of parts come from a `source`, at most `longest` steps between two stops; those of whole trainings are
    the seeds' own. With `own_devices` batches stay as the user spread them, since the task uses several devices itself.
    """

    def __init__(
        self,
        experiment: Experiment,
        executor: Executor,
        mesh: Mesh | None,
        execution: Execution,
        *,
        source: BatchSource | None = None,
        longest: int = 0,
        own_devices: bool = False,
    ):
        self.experiment, self.spec, self.mesh, self.execution = experiment, experiment.spec, mesh, execution
        self.executor: Executor = executor
        self.num_seeds, self.source, self._own_devices = len(experiment.seeds), source, own_devices
        self.shared = source is not None and source.shared
        self._arrays: PyTree = None
        if source is not None and not own_devices and not self.several_hosts:
            self._arrays = source.arrays_within(self.budget())
        self.block = 0 if source is None else source.longest_block(longest)
        self._shardings: Shardings = shardings_of(experiment.seeds[0])
        self._loop_devices: tuple[Any, ...] = (None,)
        self._executables: dict[Any, Any] = {}  # finding one among all of them takes time, and what is free too
        self._placed: dict[Any, Any] = {}

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

    def settle(self, where: str = 'executor="loop"') -> Executor:
        """Where the loop on the host runs the lanes, each lies on a device of the mesh; report how they run."""
        if self.executor == "loop" and self.mesh is not None:
            check_one_host(where, self.mesh)
            self._loop_devices, self.mesh = tuple(self.mesh.local_devices), None
            self._placed.clear()
        self.execution.used = str(self.executor)
        return self.executor

    # What is placed on the devices.

    @property
    def evaluation(self) -> EvalData:
        """The evaluation set."""
        if "evaluation" not in self._placed:
            self._placed["evaluation"] = place_on(self.experiment.evaluation, self.mesh)
        return self._placed["evaluation"]

    def seeds(self, part: int | None = None) -> SeedData:
        """What the lanes of all seeds read, or of one, with a leading seed axis; batches if no source has them."""
        if part not in self._placed:
            chosen = self.experiment.seeds if part is None else self.experiment.seeds[part : part + 1]
            held = [one._replace(data_key=None, batches=None if self.source else one.batches) for one in chosen]
            leaves, treedef = jax.tree.flatten(stack_leaves(held))
            specs = [PartitionSpec(None, *_spec_of(sharding_of(leaf))) for leaf in jax.tree.leaves(held[0])]
            placed = [place_on(leaf, self.mesh, spec) for leaf, spec in zip(leaves, specs, strict=True)]
            self._placed[part] = treedef.unflatten(placed)
        return self._placed[part]

    @property
    def arrays(self) -> PyTree:
        """The arrays that the source gives rows of; None where it gives batches."""
        if "arrays" not in self._placed:
            self._placed["arrays"] = None if self._arrays is None else place_on(strengthen(self._arrays), self.mesh)
        return self._placed["arrays"]

    @functools.cached_property
    def on_loop_devices(self) -> list[LoopData]:
        """What the loop on the host reads, on each of its devices."""
        seeds = [seed._replace(data_key=None) for seed in self.experiment.seeds]
        if self.source is not None:
            seeds = [seed._replace(batches=None) for seed in seeds]
        held = LoopData(tuple(seeds), self.experiment.evaluation, self.arrays)
        there = [held._replace(device=device) for device in self._loop_devices]
        return [LoopData._make([*one.here(held[:-1]), one.device]) for one in there]

    def place_settings(self, settings: PyTree) -> PyTree:
        """Arrays with the axes (seeds, lanes, ...) on the devices."""
        return place_lanes(settings, self.mesh)

    def place_states(self, states: TrialState) -> TrialState:
        """States of lanes on the devices, from the host; those of several hosts are there already."""
        if self.mesh is None:
            return on_device(states)
        if self.several_hosts and all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(states)):
            return states
        leaves, treedef = jax.tree.flatten(states)
        return treedef.unflatten(map(place_on, leaves, [self.mesh] * len(leaves), self._specs_like(states)))

    def constrain(self, states: TrialState) -> TrialState:
        """States that are on the devices, where the programs want them."""
        if self.mesh is None:
            return states
        leaves, treedef = jax.tree.flatten(states)
        return treedef.unflatten(_move(tuple(leaves), self.mesh, tuple(self._specs_like(states))))

    def place_batches(self, batches: Batch) -> Batch:
        """A block's batches on the devices, as the user spread them, or the examples over "data"."""
        axis = 1 if self.shared else 2
        if self._own_devices and self.source is not None and any(self.source.shardings):
            leaves, treedef = jax.tree.flatten(batches)
            where = [lead(sharding, axis) for sharding in self.source.shardings]
            return treedef.unflatten(map(jax.device_put, leaves, where))
        if self.mesh is None or "data" not in self.mesh.axis_names:
            return place_on(batches, self.mesh)

        def put(leaf: np.ndarray) -> Array:
            spec = PartitionSpec(*([None] * axis), "data") if leaf.ndim > axis else PartitionSpec()
            return place_on(leaf, self.mesh, spec)

        return jax.tree.map(put, batches)

    # Programs.

    def arguments(
        self,
        kind: Kind,
        settings: PyTree,
        states: Any,
        rows: tuple[int, int],
        block: Block | None = None,
        part: int | None = None,
    ) -> tuple:
        """What a program is called with: (settings, states, seeds, shared)."""
        seeds = self.seeds(part)
        if rows not in self._placed:
            self._placed[rows] = place_on(tuple(map(np.int32, rows)), self.mesh)
        bounds = self._placed[rows]
        if kind == "train":
            return settings, None, seeds, Shared(rows=bounds, evaluation=self.evaluation)
        if kind == "begin":
            return settings, None, seeds._replace(frozen=None, key=None), Shared(rows=bounds)
        seeds = seeds._replace(params=None, model_state=None, opt_state=None)
        if kind == "evaluate":
            return None, states, seeds._replace(key=None), Shared(rows=bounds, evaluation=self.evaluation)
        assert block is not None
        own, shared = (None, block.batches) if self.shared else (block.batches, self.arrays)
        return (
            settings,
            states,
            seeds._replace(batches=own),
            Shared(shared, place_on(np.int32(block.count), self.mesh), bounds),
        )

    def run(self, kind: Kind, settings: PyTree, states: Any, rows: int, block: Block | None = None) -> Any:
        """Call a program on so many rows of every seed; see `arguments`."""
        arguments = self.arguments(kind, settings, states, (0, rows), block)
        return self.executable(kind, arguments)(*arguments)

    def compile(self, kind: Kind, arguments: tuple, executor: Executor | None = None) -> Any:
        """The compiled program for these arguments."""
        program = Program(
            ONE_LANE[kind],
            self.spec,
            executor or self.executor,
            self.mesh,
            self._result_specs(kind, arguments),
            in_place=kind == "advance",
        )
        with compiling(self.execution):
            return compile_program(program, arguments)

    def executable(self, kind: Kind, arguments: tuple, refuse: Callable[[Any], None] | None = None) -> Any:
        """The compiled program for these arguments, which fits into memory; a new one may be refused before."""
        leaves, treedef = jax.tree.flatten(arguments)
        known = (kind, self.executor, treedef, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if known not in self._executables:
            compiled = self.compile(kind, arguments)
            if refuse is not None:
                refuse(compiled)
            what = "Training one copy" if kind == "train" else f"The {kind} program"
            held = self._held_by(kind, arguments)
            needed = admit(compiled, self.budget(), f"{what} with executor {self.executor}", held)
            self.execution.bytes = max(self.execution.bytes, needed)
            self._executables[known] = compiled
        return self._executables[known]

    def _held_by(self, kind: Kind, arguments: tuple) -> int:
        """Bytes of arguments that are on the device already."""
        leaves = [leaf for leaf in jax.tree.leaves(arguments) if isinstance(leaf, jax.Array)]
        return sum(leaf.nbytes // (self.shards if kind != "begin" else 1) for leaf in leaves)

    def _result_specs(self, kind: Kind, arguments: tuple) -> tuple[PartitionSpec, ...] | None:
        """The user's own sharding of the states that a program returns, leaf by leaf; None where there is no mesh."""
        if self.mesh is None or kind in ("evaluate", "train"):
            return None
        states = arguments[1] if kind == "advance" else self.state_shapes(arguments[0])
        return tuple(map(_spec_of, shardings_like(states, self._shardings)))

    def _specs_like(self, states: TrialState) -> list[PartitionSpec]:
        """How the leaves of states lie on the mesh."""
        assert self.mesh is not None
        return [lane_spec(self.mesh, *_spec_of(one)) for one in shardings_like(states, self._shardings)]

    # Shapes and memory.

    def budget(self) -> float:
        """Bytes that a program may take on a device, the same on every host."""
        return memory_budget(self.mesh)

    def state_shapes(self, settings: PyTree) -> TrialState:
        """Shapes of the states of lanes for settings with the axes (seeds, lanes, ...)."""
        axes = jax.tree.leaves(settings)[0].shape[:2]
        setting = _shapes_within(settings, 2)
        begin = functools.partial(begin_lane, self.spec, shared=Shared())
        one = jax.eval_shape(lambda setting, seed: begin(setting, None, seed), setting, self._seed_shapes())
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype), one)

    def state_targets(self, settings: PyTree) -> TrialState:
        """`state_shapes`, with shardings where several processes hold the lanes."""
        return self._shard_shapes(self.state_shapes(settings), self.several_hosts)

    def _shard_shapes(self, states: TrialState, spread: bool) -> TrialState:
        if self.mesh is None or not spread:
            return states
        leaves, treedef = jax.tree.flatten(states)
        return treedef.unflatten(map(functools.partial(_sharded, self.mesh), leaves, self._specs_like(states)))

    def one_step_data(self) -> SeedData:
        """Shapes of what a seed's lanes read in one step at least."""
        batches = self.source.one_step() if self.source else _shapes_within(self.experiment.seeds[0].batches, 0)
        return self._seed_shapes()._replace(batches=batches)

    def _seed_shapes(self) -> SeedData:
        return _shapes_within(self.experiment.seeds[0]._replace(data_key=None, batches=None), 0)

    def example_arguments(self, kind: Kind, setting: PyTree, width: int) -> tuple:
        """What a program is called with, as shapes; `setting` is that of one trial."""

        def widen(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self.num_seeds, width, *np.shape(leaf)), leaf.dtype)

        settings = jax.tree.map(widen, setting)
        states = self._shard_shapes(self.state_shapes(settings), spread=True)
        if (mesh := self.mesh) is not None:
            settings = jax.tree.map(lambda leaf: _sharded(mesh, leaf, lane_spec(mesh)), settings)
        return self.arguments(kind, settings, states, (0, 0), self.example_block() if kind == "advance" else None)

    def example_block(self) -> Block:
        """The batches of step 0 in the place of a whole block's."""
        assert self.source is not None
        return Block(0, self.block, self.place_batches(self.source.example(self.block)), None)

    def metric_names(self, setting: PyTree) -> tuple[str, ...]:
        """What evaluations of such a setting give, before anything is compiled."""
        settings = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, 1, *np.shape(leaf)), leaf.dtype), setting)
        state = _shapes_within(self.state_shapes(settings), 2)
        evaluate = lambda state, seed, shared: evaluate_lane(self.spec, None, state, seed, shared)  # noqa: E731
        reading = jax.eval_shape(evaluate, state, self._seed_shapes(), Shared(evaluation=self.evaluation))
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


def _spec_of(sharding: Any) -> PartitionSpec:
    return sharding.spec if isinstance(sharding, NamedSharding) else PartitionSpec()


def _sharded(mesh: Mesh, leaf: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))


def _shapes_within(tree: PyTree, axes: int) -> PyTree:
    """The shapes of what arrays hold behind their first axes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype), tree)
