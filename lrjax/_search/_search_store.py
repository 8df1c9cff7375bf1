"""What a search keeps in its folder: every round that was trained, and the lanes that the last one left."""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .._checks import name_of
from .._engine import (
    EXAMPLE_LR,
    BatchSource,
    LaneRunner,
    LaneStates,
    Store,
    Stored,
    describe_call,
    fits,
    read_executor,
    unread_note,
)
from .._types import Float
from .._version import __version__
from ._strategy import Context, Strategy

_ROUND = {"lrs": [float], "num_seeds": int, "num_steps": int}


def describe_search(runner: LaneRunner, strategy: Strategy, context: Context) -> dict[str, Any]:
    """The call, so that an equal description promises an equal answer. Traces a training step."""
    made = runner.carried
    source = BatchSource(runner.task, [seed.data_key for seed in made.seeds], runner.longest)
    fields: Any = strategy
    asked = dataclasses.asdict(fields) if dataclasses.is_dataclass(strategy) else {"strategy": name_of(type(strategy))}
    settings, executor = [np.asarray(EXAMPLE_LR, made.dtype)], runner.execution.requested
    call = describe_call(made, source, settings, key=runner.key, executor=executor, mesh=runner.mesh)
    asked = json.loads(json.dumps(asked, default=repr))
    return {"train_steps": context.train_steps} | asked | {"lrjax": __version__} | call


class RememberedRounds:
    """A trainer that answers from a folder what was trained before, and writes down the rest; see `Trainer`.

    The rounds must be asked for in the same order. The first that differs is trained, with all that come after it.
    `call` is what is asked, as strict JSON; raises as `Store` where the folder is of another one.
    """

    def __init__(self, runner: LaneRunner, verb: str, directory: str | os.PathLike[str], call: dict[str, Any]):
        self._runner, self._asked = runner, 0
        self._store = Store(verb, "search", directory)
        self._store.open(call)
        self._rounds: list[dict[str, Any]] = []
        self._answers: list[Any] = []  # for each round, the losses and the initial loss
        self._unread: Stored | None = None
        self._initial: dict[tuple[int, int], Float[np.ndarray, " seeds"]] = {}
        for stored in self._store.find():
            if self._is_of_a_search(stored.meta) and (answers := self._store.load(stored.number, [_like(stored)])):
                self._unread, self._rounds, self._answers = stored, stored.meta["rounds"], answers[0]
                runner.executor = read_executor(stored.meta["executor"]) or runner.executor
                break

    @property
    def directory(self) -> str:
        """The user's."""
        return self._store.directory

    def close(self) -> None:
        """Let others search there."""
        self._store.close()

    def train(self, lrs: Sequence[float], num_steps: int, num_seeds: int) -> Float[np.ndarray, "seeds trials"]:
        """The losses there, or those of new training; raises `ValueError` if the batches are others than then."""
        request = {"lrs": list(lrs), "num_seeds": num_seeds, "num_steps": num_steps}
        if self._asked == 0:
            self._read_again()
        known = self._rounds[self._asked] if self._asked < len(self._rounds) else {}
        if {name: known.get(name) for name in request} != request:
            self._train(request)
        losses, self._initial[num_seeds, num_steps] = self._answers[self._asked]
        self._asked += 1
        return losses

    def initial_loss(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """Those that were measured with the losses."""
        return self._initial[num_seeds, num_steps]

    def _train(self, request: dict[str, Any]) -> None:
        """Train a round, and write it down with all rounds before it and the lanes that it left; raises `OSError`."""
        runner, num_steps, num_seeds = self._runner, request["num_steps"], request["num_seeds"]
        if self._unread is not None:
            self._restore(self._unread, num_seeds, len(request["lrs"]))
        answer = runner.train(request["lrs"], num_steps, num_seeds), runner.initial_loss(num_seeds, num_steps)
        self._answers = [*self._answers[: self._asked], [np.asarray(values, np.float64) for values in answer]]
        self._rounds = [*self._rounds[: self._asked], {**request, "position": runner.states.position}]
        meta = {"rounds": self._rounds, "executor": str(runner.executor), "lanes": list(runner.states.lanes)}
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runner.states.lanes.values())
        self._store.save(meta, [self._answers, stacked], wait=True)

    def _restore(self, stored: Stored, num_seeds: int, num_lanes: int) -> None:
        """Give the runner the lanes that the last round left; where their file is damaged none are there."""
        self._unread, runner, pairs = None, self._runner, stored.meta["lanes"]
        shapes = runner.slot(num_seeds, num_lanes).engine.state_shapes(np.ones((1, 1), runner.carried.dtype))
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(pairs), *leaf.shape[2:]), leaf.dtype), shapes)
        loaded, last = self._store.load(stored.number, [_like(stored), like]), self._rounds[-1]
        lanes = {
            (seed, lr): jax.tree.map(lambda leaf, r=row: leaf[r], loaded[1])
            for row, (seed, lr) in enumerate(pairs)
            if loaded is not None
        }
        runner.states = LaneStates(last["num_steps"], last["position"], lanes)
        self._take_notes()

    def _is_of_a_search(self, meta: dict[str, Any]) -> bool:
        """Whether a checkpoint says what a search writes."""
        if not fits(meta, {"rounds": [_ROUND], "executor": str, "lanes": [list]}) or not meta["rounds"]:
            return False
        source, lanes = self._source(), [[*map(type, pair)] for pair in meta["lanes"]]
        batches = self._runner.carried.accumulation.batches
        return (
            read_executor(meta["executor"]) is not None
            and all(pair == [int, float] for pair in lanes)
            and all(source.accepts(one.get("position"), batches(one["num_steps"])) for one in meta["rounds"])
        )

    def _source(self) -> BatchSource:
        """The batches until the end of the last round."""
        runner = self._runner
        return BatchSource(runner.task, [seed.data_key for seed in runner.carried.seeds], runner.longest, runner.log)

    def _read_again(self) -> None:
        """Compare the batches with those that the rounds were trained on."""
        source, batches, until = self._source(), self._runner.carried.accumulation.batches, 0
        for one in self._rounds:
            step = batches(one["num_steps"])
            until = max(until, step)
            if source.log is not None:
                source.log.remember(step, one["position"])
        read = source.read_again(until)
        if read < until:
            self._runner.execution.notes.append(unread_note(read, until))
        self._take_notes()

    def _take_notes(self) -> None:
        self._runner.execution.notes.extend(self._store.notes)
        self._store.notes = []


def _like(stored: Stored) -> list[Any]:
    """Of the answers in a checkpoint."""
    shapes = [((one["num_seeds"], len(one["lrs"])), (one["num_seeds"],)) for one in stored.meta["rounds"]]
    return [[jax.ShapeDtypeStruct(shape, np.float64) for shape in pair] for pair in shapes]
