"""The three programs of a sweep: begin, advance and evaluate all lanes of all seeds.

Each is one lane's pure function lifted over two axes, (seeds, lanes). The number of steps is an argument, so that
how a training is cut into calls changes no bit of it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._types import Array, Batch, Float, Int, Key, ModelState, Params, PyTree
from ._devices import lane_axis
from ._executors import Chunked, Executor
from ._trial import EvalData, SeedData, TrialSpec, TrialState, evaluate, init_trial, update_with_loss


class Lane(NamedTuple):
    """One trial of one seed between two steps.

    Attributes:
      state: parameters, model state, optimizer state and step.
      loss_sum: of the training losses since the last evaluation.
    """

    state: TrialState
    loss_sum: Float[Array, ""]


class Origin(NamedTuple):
    """What a seed's lanes begin from."""

    params: Params
    frozen: Params
    model_state: ModelState


class Feed(NamedTuple):
    """What a seed's lanes read while they train.

    Attributes:
      frozen: parameters that do not train.
      key: the dropout key of step t is fold_in(key, t).
      batches: of some steps, leading step axis; None if all seeds share them.
    """

    frozen: Params
    key: Key
    batches: Batch


class Call(NamedTuple):
    """What a call of `advance` is about.

    Attributes:
      batches: of some steps for all seeds, leading step axis; None if each seed has its own.
      first_step: the step of the first batch.
      count: updates of every lane.
      rows: lanes that `map` runs on each shard, the first ones; the other executors run all.
    """

    batches: Batch
    first_step: Int[Array, ""]
    count: Int[Array, ""]
    rows: Int[Array, ""]


class Reading(NamedTuple):
    """What an evaluation tells about a lane.

    Attributes:
      metrics: means over the evaluation examples, "loss" among them.
      loss_sum: of the training losses since the last evaluation.
      diverged_at: first step whose training loss was not finite; -1 for none.
    """

    metrics: dict[str, Float[Array, ""]]
    loss_sum: Float[Array, ""]
    diverged_at: Int[Array, ""]


def begin_lane(spec: TrialSpec, setting: PyTree, origin: Origin) -> Lane:
    """A lane before step 0."""
    data = SeedData(origin.params, origin.frozen, origin.model_state, (), jnp.int32(0), None)  # pyright: ignore[reportArgumentType]
    return Lane(init_trial(spec, setting, data), jnp.float32(0))


def advance_lane(spec: TrialSpec, setting: PyTree, lane: Lane, feed: Feed, call: Call) -> Lane:
    """`call.count` updates."""
    batches = call.batches if feed.batches is None else feed.batches
    data = SeedData(None, feed.frozen, (), batches, call.first_step, feed.key)

    def body(_: Array, lane: Lane) -> Lane:
        state, loss = update_with_loss(spec, setting, lane.state, data)
        return Lane(state, lane.loss_sum + loss.astype(jnp.float32))

    return lax.fori_loop(0, call.count, body, lane)


def evaluate_lane(spec: TrialSpec, lane: Lane, frozen: Params, evaluation: EvalData) -> Reading:
    """The metrics of a lane."""
    data = SeedData(None, frozen, (), (), jnp.int32(0), None)  # pyright: ignore[reportArgumentType]
    return Reading(evaluate(spec, lane.state, data, evaluation), lane.loss_sum, lane.state.diverged_at)


@dataclasses.dataclass(frozen=True)
class SweepProgram:
    """One of the three, for an executor and a mesh. Equal ones on equal shapes share one executable.

    Attributes:
      kind: which.
      spec: the trial; its horizons do not matter.
      executor: "vmap", "map" or a `Chunked`, whose size divides the lanes of a shard.
      mesh: the devices; lanes are spread over its "trial" axis by hand, all other axes are XLA's.
      shardings: of the leaves of `Lane` beyond its first two axes, in tree order; None for
        `evaluate` and where there is no mesh.
    """

    kind: Literal["begin", "advance", "evaluate"]
    spec: TrialSpec
    executor: Executor
    mesh: Mesh | None
    shardings: tuple[PartitionSpec, ...] | None = None

    def jitted(self) -> Any:
        """The program of (lanes..., seeds, common), ready to be lowered."""
        donated = (1,) if self.kind == "advance" else ()
        return jax.jit(self._placed if self.shardings is not None else self.function(), donate_argnums=donated)

    def _placed(self, *arguments: Any) -> Lane:
        """The program, its lanes where `shardings` says."""
        assert self.mesh is not None
        assert self.shardings is not None
        leaves, treedef = jax.tree.flatten(self.function()(*arguments))
        axis = lane_axis(self.mesh)
        placed = [
            lax.with_sharding_constraint(leaf, NamedSharding(self.mesh, PartitionSpec(None, axis, *spec)))
            for leaf, spec in zip(leaves, self.shardings, strict=True)
        ]
        return treedef.unflatten(placed)

    def function(self) -> Callable[..., Any]:
        """begin(settings, origins, rows), advance(settings, lanes, feeds, call) or
        evaluate(lanes, frozen, (evaluation, rows)).

        Settings, lanes and results have the axes (seeds, lanes, ...), origins, feeds and frozen (seeds, ...).
        """
        lifted = {"begin": self._begin, "advance": self._advance, "evaluate": self._evaluate}[self.kind]
        if self.mesh is None:
            return lifted
        lanes, all_of_it = PartitionSpec(None, lane_axis(self.mesh)), PartitionSpec()
        inputs = (lanes, lanes) if self.kind == "advance" else (lanes,)
        return jax.shard_map(
            lifted,
            mesh=self.mesh,
            in_specs=(*inputs, all_of_it, all_of_it),
            out_specs=lanes,
            axis_names={lane_axis(self.mesh)},
            check_vma=False,  # a loop's carry starts equal on all devices and ends different
        )

    def _begin(self, settings: PyTree, origins: Origin, rows: Array) -> Lane:
        return self._compute(functools.partial(begin_lane, self.spec), settings, origins, rows)

    def _advance(self, settings: PyTree, lanes: Lane, feeds: Feed, call: Call) -> Lane:
        def one(lane: tuple[PyTree, Lane], feed: Feed) -> Lane:
            return advance_lane(self.spec, *lane, feed, call)

        if self.executor == "map":
            return _update_rows(one, settings, lanes, feeds, call.rows)
        return self._compute(one, (settings, lanes), feeds, call.rows)

    def _evaluate(self, lanes: Lane, frozen: Params, common: tuple[EvalData, Array]) -> Reading:
        evaluation, rows = common

        def one(lane: Lane, frozen: Params) -> Reading:
            return evaluate_lane(self.spec, lane, frozen, evaluation)

        return self._compute(one, lanes, frozen, rows)

    def _compute(self, one: Callable[..., Any], lanes: PyTree, seeds: PyTree, rows: Array) -> Any:
        """`one(lane, seed)` for all lanes of all seeds."""
        if self.executor == "vmap":
            return jax.vmap(jax.vmap(one, in_axes=(0, None)))(lanes, seeds)
        if isinstance(self.executor, Chunked):
            size = self.executor.size

            def seed_lanes(seed: tuple[PyTree, PyTree]) -> Any:
                return lax.map(lambda lane: one(lane, seed[1]), seed[0], batch_size=size)

            return lax.map(seed_lanes, (lanes, seeds))
        return _compute_rows(one, lanes, seeds, rows)


def _at(tree: PyTree, *index: Array) -> PyTree:
    for place in index:
        tree = jax.tree.map(lambda leaf, i=place: lax.dynamic_index_in_dim(leaf, i, keepdims=False), tree)
    return tree


def _put(tree: PyTree, new: PyTree, seed: Array, row: Array) -> PyTree:
    def put(leaf: Array, value: Array) -> Array:
        zero = jnp.zeros_like(row)  # under x64 a Python 0 is an int64, and the indices must be of one type
        return lax.dynamic_update_slice(leaf, value[None, None], (seed, row) + (zero,) * value.ndim)

    return jax.tree.map(put, tree, new)


def _compute_rows(one: Callable[..., Any], lanes: PyTree, seeds: PyTree, rows: Array) -> Any:
    """One lane after the other, the first `rows` of every seed; the rest of the output is zeros."""
    axes = jax.tree.leaves(lanes)[0].shape[:2]
    shapes = jax.eval_shape(lambda: one(_at(lanes, 0, 0), _at(seeds, 0)))  # pyright: ignore[reportArgumentType]
    outputs = jax.tree.map(lambda shape: jnp.zeros((*axes, *shape.shape), shape.dtype), shapes)

    def body(index: Array, outputs: PyTree) -> PyTree:
        seed, row = index // rows, index % rows
        return _put(outputs, one(_at(lanes, seed, row), _at(seeds, seed)), seed, row)

    return lax.fori_loop(0, axes[0] * rows, body, outputs)


def _update_rows(one: Callable[..., Any], settings: PyTree, lanes: Lane, feeds: Feed, rows: Array) -> Lane:
    """The same for `advance`, in place: the other lanes stay as they are."""
    num_seeds = jax.tree.leaves(lanes)[0].shape[0]

    def body(index: Array, lanes: Lane) -> Lane:
        seed, row = index // rows, index % rows
        lane = (_at(settings, seed, row), _at(lanes, seed, row))
        return _put(lanes, one(lane, _at(feeds, seed)), seed, row)

    return lax.fori_loop(0, num_seeds * rows, body, lanes)
