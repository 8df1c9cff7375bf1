"""What one trial is made of: values without behaviour, which programs, lanes and checks pass to each other."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import NamedSharding

from .._types import Array, Batch, Float, Int, Key, ModelState, OptimizerFactory, Params, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """What is fixed when a trial is compiled. Hashable, so that equal specs share one executable.

    Attributes:
      loss_fn, eval_fn, make_optimizer, eval_params: the user's functions.
      has_state: whether `loss_fn` threads a model state.
      trainable: for every leaf of the parameters, in tree order, whether it trains.
      horizons: numbers of steps after which to evaluate; the last is the length of the training.
      lr_leaves: which leaves of a checkpoint's optimizer state each trial has of its own, in tree order.
      step_fn: a training step of the user's, `(state, batch) -> (state, training loss)`, whose state stands in the
        place of the parameters; `make_optimizer(lr)` then returns the function that puts lr into the state, and
        `step_fn.state_of(state)` is the state as the user knows it. None: gradient and optimizer.
      shardings: of the leaves of a trial's state, where the trials keep the user's own.
    """

    loss_fn: Callable[..., Any]
    eval_fn: Callable[..., Any] | None
    make_optimizer: OptimizerFactory
    eval_params: Callable[[Any, Params], Params] | None
    has_state: bool
    trainable: tuple[bool, ...]
    horizons: tuple[int, ...]
    lr_leaves: tuple[int, ...] = ()
    step_fn: Callable[[PyTree, Batch], tuple[PyTree, Any]] | None = None
    shardings: tuple[tuple[Any, NamedSharding], ...] = ()


class SeedData(NamedTuple):
    """What all trials of one seed share; an input of the program, never copied per lane.

    Attributes:
      params: initial parameters that train; None where a leaf is frozen.
      frozen: the other leaves; None where a leaf trains.
      model_state: initial model state; () for a task without one.
      batches: training batches, leading step axis, of steps first_step, first_step + 1, ...
      first_step: the step that batches[0] belongs to.
      key: the dropout key of step t is fold_in(key, t).
      opt_state: a checkpoint's, from which every trial starts; None: the optimizer's first state.
      data_key: key of the batches; no program reads it.
    """

    params: Params
    frozen: Params
    model_state: ModelState
    batches: Batch
    first_step: Int[Array, ""]
    key: Key
    opt_state: PyTree = None
    data_key: PyTree = None


class EvalSet(NamedTuple):
    """The evaluation batches, grouped by shape so that each group is one array with a leading axis.

    Attributes:
      groups: pytrees of batches, leading axis = batches of one shape.
      shares: for each group, how much each of its batches counts in a mean, 1 in all; None where `eval_fn` says it.
    """

    groups: tuple[Batch, ...]
    shares: tuple[Float[Array, " batches"], ...] | None


class EvalData(NamedTuple):
    """The evaluation set and the one key that every evaluation uses."""

    batches: EvalSet
    key: Key


class TrialState(NamedTuple):
    """A trial between two steps: all that is needed to train on.

    Attributes:
      params: trained parameters; None where a leaf is frozen.
      model_state: the model's state.
      opt_state: the optimizer's state.
      step: updates done.
      diverged_at: first step whose loss was not finite; -1 for none.
      loss_sum: of the training losses since the last evaluation.
    """

    params: Params
    model_state: ModelState
    opt_state: optax.OptState
    step: Int[Array, ""]
    diverged_at: Int[Array, ""]
    loss_sum: Float[Array, ""]


class TrialRecord(NamedTuple):
    """What a trial reports.

    Attributes:
      metrics: name -> value at each horizon; always has "loss".
      diverged_at: as in `TrialState`; a loss that is not finite at a horizon counts as its last step.
    """

    metrics: dict[str, Float[Array, " horizons"]]
    diverged_at: Int[Array, ""]


class Checkpoint(NamedTuple):
    """Where trials start, instead of from the task's own parameters.

    Attributes:
      params, model_state: as `Task(init=...)` gives them; model_state is () for a task without one.
      opt_state: of the parameters that train.
      lr_leaves: positions in it, in tree order, of the leaves that hold the learning rate, which each trial has of its
        own: those of `optax.inject_hyperparams` and `lrjax.schedules.scheduled`.
    """

    params: Params
    model_state: ModelState
    opt_state: PyTree
    lr_leaves: tuple[int, ...]


class Block(NamedTuple):
    """Batches of some steps.

    Attributes:
      start: the first step.
      count: steps; the leading axis is as long as the longest block, and what follows is never read.
      batches: leaves (steps, ...) where all seeds share them, else (seeds, steps, ...).
      position: where the reader is after it, as strict JSON; None where no reader can go on from it.
    """

    start: int
    count: int
    batches: Batch
    position: dict[str, Any] | None


class BatchLayout(NamedTuple):
    """What the programs need to know of the batches before they are read.

    Attributes:
      shared: whether all seeds see the same batches.
      first: of step 0, on the host.
      one_step: shapes of the batches of a step, as a seed reads them, with a leading step axis.
      shardings: of the leaves of a batch, where the user has spread them over several devices.
      block: steps in a block, at most.
    """

    shared: bool
    first: Batch
    one_step: Batch
    shardings: tuple[NamedSharding | None, ...]
    block: int


class Shared(NamedTuple):
    """What the lanes of all seeds read in one call of a program; None where it does not.

    Attributes:
      batches: training batches that all seeds share, leading step axis; None if each seed has its own.
      first_step: the step of the first batch.
      count: updates of every lane.
      rows: first and stop: the rows of every seed that `map` runs on each shard; the other executors run all.
      evaluation: the evaluation set.
    """

    batches: Batch = None
    first_step: Int[Array, ""] | None = None
    count: Int[Array, ""] | None = None
    rows: tuple[Int[Array, ""], Int[Array, ""]] | None = None
    evaluation: EvalData | None = None


class Reading(NamedTuple):
    """What an evaluation says of a lane.

    Attributes:
      metrics: means over the evaluation examples, "loss" among them.
      loss_sum: of the training losses since the last evaluation.
      diverged_at: first step whose training loss was not finite; -1 for none.
    """

    metrics: dict[str, Float[Array, ""]]
    loss_sum: Float[Array, ""]
    diverged_at: Int[Array, ""]


def split_params(params: Params, trainable: tuple[bool, ...]) -> tuple[Params, Params]:
    """Split a tree into the leaves that train and those that do not; None stands for a leaf of the other part."""
    leaves, treedef = jax.tree.flatten(params)
    train = [leaf if keep else None for leaf, keep in zip(leaves, trainable, strict=True)]
    frozen = [None if keep else leaf for leaf, keep in zip(leaves, trainable, strict=True)]
    return treedef.unflatten(train), treedef.unflatten(frozen)


def join_params(train: Params, frozen: Params) -> Params:
    """Undo `split_params`."""
    return jax.tree.map(
        lambda one, other: other if one is None else one, train, frozen, is_leaf=lambda leaf: leaf is None
    )
