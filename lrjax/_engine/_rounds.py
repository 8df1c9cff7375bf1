"""Rounds of lanes: where each lane sits in a program, and how the parts that ran become one result."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Array, Bool, Float, Int, PyTree
from ._devices import lane_order
from ._trial import TrialRecord, TrialState


class Round(NamedTuple):
    """What a round of trials reached.

    Attributes:
      metrics: name -> value at each horizon; always has "loss". As the program gave it, nan and inf included.
      diverged_at: first step with a loss that is not finite; -1 for none.
      states: for each seed, the lanes' states with a leading trial axis; None unless asked for.
    """

    metrics: dict[str, Float[np.ndarray, "horizons seeds trials"]]
    diverged_at: Int[np.ndarray, "seeds trials"]
    states: tuple[TrialState, ...] | None


class SeedRound(NamedTuple):
    """One seed's part of a round; leading axis = trials."""

    record: TrialRecord
    states: TrialState | None


class Layout(NamedTuple):
    """Where lanes sit in a program of fixed width.

    Attributes:
      width: lanes of the widest round.
      shards: devices over which they are spread.
      chunk: lanes that run at a time on a device, 1 where that does not matter.
    """

    width: int
    shards: int
    chunk: int

    @property
    def local(self) -> int:
        """Rows of the program on each shard: a multiple of the chunk."""
        return -(-self.width // (self.shards * self.chunk)) * self.chunk

    @property
    def rows(self) -> int:
        """Rows of the program."""
        return self.local * self.shards

    def lanes(self, count: int) -> Int[np.ndarray, " rows"]:
        """Which of `count` lanes each row holds; rows left over repeat the last lane."""
        return np.minimum(lane_order(self.rows, self.shards), count - 1)

    def rows_of(self, count: int) -> Int[np.ndarray, " lanes"]:
        """The row of each lane."""
        return np.argsort(lane_order(self.rows, self.shards), kind="stable")[:count]

    def groups(self, rows: Int[np.ndarray, " parts"]) -> Int[np.ndarray, " rows"]:
        """For every row, the part that ran it; part p ran the local rows below rows[p] on each shard."""
        local = np.arange(self.rows) % self.local
        return np.searchsorted(rows, local, side="right").clip(max=len(rows) - 1)


def take(tree: PyTree, index: Int[np.ndarray, " lanes"] | slice | int, axis: int = 0) -> PyTree:
    """Rows of every leaf along an axis."""
    where = (slice(None),) * axis + (index,)
    return jax.tree.map(lambda leaf: leaf[where], tree)


def join_groups(parts: Sequence[PyTree], owner: Int[np.ndarray, " rows"]) -> PyTree:
    """Row r of parts[owner[r]], for every leaf."""
    if len(parts) == 1:
        return parts[0]

    def pick(*leaves: Any) -> Any:
        numpy: Any = np if isinstance(leaves[0], np.ndarray) else jnp
        result = leaves[0]
        for index, leaf in enumerate(leaves[1:], start=1):
            mine: Bool[np.ndarray, " rows"] = (owner == index).reshape((-1,) + (1,) * (leaf.ndim - 1))
            result = numpy.where(mine, leaf, result)
        return result

    return jax.tree.map(pick, *parts)


def join_seeds(rounds: Sequence[SeedRound]) -> Round:
    """The round of all seeds."""
    records = [one.record for one in rounds]
    metrics = {name: np.stack([record.metrics[name].T for record in records], axis=1) for name in records[0].metrics}
    states = tuple(one.states for one in rounds if one.states is not None)
    return Round(metrics, np.stack([record.diverged_at for record in records]), states or None)


def join_pieces(pieces: Sequence[Round]) -> Round:
    """The round whose lanes did not fit into one width."""
    if len(pieces) == 1:
        return pieces[0]
    metrics = {name: np.concatenate([piece.metrics[name] for piece in pieces], axis=-1) for name in pieces[0].metrics}
    states = None
    if pieces[0].states is not None:
        by_seed = zip(*[piece.states for piece in pieces if piece.states is not None], strict=True)
        states = tuple(jax.tree.map(_concatenate, *parts) for parts in by_seed)
    return Round(metrics, np.concatenate([piece.diverged_at for piece in pieces], axis=-1), states)


def _concatenate(*leaves: Array) -> Array:
    return jnp.concatenate(leaves)
