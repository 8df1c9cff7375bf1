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
    """What is fixed when a trial is compiled. Hashable, so that equal specs share one executable."""

    loss_fn: Callable[..., Any]
    eval_fn: Callable[..., Any] | None
    make_optimizer: OptimizerFactory
    eval_params: Callable[[Any, Params], Params] | None
    has_state: bool  # whether `loss_fn` threads a model state
    trainable: tuple[bool, ...]  # of every leaf of the parameters, in tree order
    horizons: tuple[int, ...]  # steps after which to evaluate; the last is the length of the training
    lr_leaves: tuple[int, ...] = ()  # those of a checkpoint's optimizer state that each trial has of its own
    # A step of the user's, whose state stands in the place of the parameters: `make_optimizer(lr)` returns the function
    # that puts lr into it, `step_fn.state_of(state)` is the state as the user knows it. None: gradient and optimizer.
    step_fn: Callable[[PyTree, Batch], tuple[PyTree, Any]] | None = None
    shardings: tuple[tuple[Any, NamedSharding], ...] = ()  # of a trial's state, where trials keep the user's own


class SeedData(NamedTuple):
    """What all trials of one seed share; an input of the program, never copied per lane."""

    params: Params  # initial ones that train; None where a leaf is frozen
    frozen: Params  # the other leaves; None where a leaf trains
    model_state: ModelState  # () for a task without one
    batches: Batch  # of training, leading step axis
    key: Key  # the dropout key of step t is fold_in(key, t)
    opt_state: PyTree = None  # a checkpoint's, from which every trial starts; None: the optimizer's first state
    data_key: PyTree = None  # of the batches; no program reads it


class RowsOf(NamedTuple):
    """Batches that are rows of arrays: each is gathered in its step, and no copy of it is made before."""

    arrays: PyTree  # leading axis = examples
    rows: Int[Array, "steps examples"]


class EvalSet(NamedTuple):
    """The evaluation batches, grouped by shape so that each group is one array with a leading axis."""

    groups: tuple[Batch, ...]
    shares: tuple[Float[Array, " batches"], ...] | None  # of each batch in a mean, 1 in all; None: `eval_fn` says it


class EvalData(NamedTuple):
    """The evaluation set and the one key that every evaluation uses."""

    batches: EvalSet
    key: Key


class TrialState(NamedTuple):
    """A trial between two steps: all that is needed to train on."""

    params: Params  # trained ones; None where a leaf is frozen
    model_state: ModelState
    opt_state: optax.OptState
    step: Int[Array, ""]  # updates done
    diverged_at: Int[Array, ""]  # first step whose loss was not finite; -1 for none
    loss_sum: Float[Array, ""]  # of the training losses since the last evaluation


class TrialRecord(NamedTuple):
    """What a trial reports."""

    metrics: dict[str, Float[Array, " horizons"]]  # always has "loss"
    diverged_at: Int[Array, ""]  # as in `TrialState`; a loss that is not finite at the end counts as its last step


class Checkpoint(NamedTuple):
    """Where trials start, instead of from the task's own parameters."""

    params: Params
    model_state: ModelState  # () for a task without one
    opt_state: PyTree  # of the parameters that train
    lr_leaves: tuple[int, ...]  # positions in it of what holds the learning rate, which each trial has of its own


class Block(NamedTuple):
    """Batches of some steps."""

    start: int  # the first step
    count: int  # steps; the leading axis is as long as the longest block, and what follows is never read
    batches: Batch  # leaves (steps, ...) where all seeds share them, else (seeds, steps, ...); or rows of arrays alone
    position: dict[str, Any] | None  # of the reader after it, as strict JSON; None where no reader can resume from it


class Shared(NamedTuple):
    """What the lanes of all seeds read in one call of a program; None where it does not."""

    batches: Batch = None  # of training, leading step axis; or the arrays of which the seeds have rows; or None
    count: Int[Array, ""] | None = None  # updates of every lane
    rows: tuple[Int[Array, ""], Int[Array, ""]] | None = None  # first and stop, on each shard, of what `map` runs
    evaluation: EvalData | None = None


class Reading(NamedTuple):
    """What an evaluation says of a lane."""

    metrics: dict[str, Float[Array, ""]]  # means over the evaluation examples, "loss" among them
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
