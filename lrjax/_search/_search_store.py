"""What a search keeps in its folder: a line for every round that was trained, and the lanes that the last one left."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from .._engine import (
    BatchSource,
    LaneRunner,
    LaneStates,
    Store,
    TrialState,
    check_directory,
    fits,
    read_executor,
    strict,
    unread_note,
)
from .._types import Float

_ROUND = {"round": int, "request": {"num_steps": int}, "answer": dict, "executor": str}


class RememberedRounds:
    """A trainer that answers from a folder what was trained before, and writes down the rest; see `Trainer`.

    The rounds must be asked for in the same order. The first that differs is trained, with all that come after it.

    Args:
      trainer: what trains; its lanes run as those in the folder did.
      verb: the function whose argument `directory` is.
      directory: made if there is none.
      call: what is asked, as strict JSON.

    Raises:
      TypeError, ValueError: it is no folder, or holds another search; the message names the difference.
      OSError: it cannot be written, or another process is searching there.
    """

    def __init__(self, trainer: LaneRunner, verb: str, directory: str | os.PathLike[str], call: dict[str, Any]):
        self._trainer, self._asked, self._restored = trainer, 0, False
        self._store = Store(verb, "search", check_directory(verb, directory))
        self._store.open(call)
        self._rounds = self._read_rounds()
        self._initial: dict[tuple[int, int], Float[np.ndarray, " seeds"]] = {}
        if self._rounds:
            trainer.executor = read_executor(self._rounds[-1]["executor"]) or trainer.executor

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
        answer = self.recall(request, {"losses": (num_seeds, len(lrs)), "initial_loss": (num_seeds,)})
        if answer is None:
            self._restore(num_seeds, len(lrs))
            losses = self._trainer.train(lrs, num_steps, num_seeds)
            answer = {"losses": losses, "initial_loss": self._trainer.initial_loss(num_seeds, num_steps)}
            wanted = {(seed, lr) for seed in range(num_seeds) for lr in lrs}
            lanes = {pair: lane for pair, lane in self._trainer.states.lanes.items() if pair in wanted}
            self.keep(request, answer, self._trainer.states._replace(lanes=lanes))
        self._initial[num_seeds, num_steps] = np.asarray(answer["initial_loss"], np.float64)
        return np.asarray(answer["losses"], np.float64)

    def initial_loss(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """Those that were measured with the losses."""
        return self._initial[num_seeds, num_steps]

    def recall(self, request: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray] | None:
        """The answer to the next request, arrays of these shapes; None if it is to be trained."""
        self._take_notes()
        there = self._rounds[self._asked] if self._asked < len(self._rounds) else None
        if there is not None and there["request"] == request and self._read_again(there):
            answer = {name: np.asarray(values, np.float64) for name, values in there["answer"].items()}
            if {name: values.shape for name, values in answer.items()} == dict(shapes):
                self._asked += 1
                return answer
        del self._rounds[self._asked :]
        return None

    def keep(self, request: dict[str, Any], answer: dict[str, np.ndarray], carried: LaneStates | None = None) -> None:
        """Write down the answer to a request, and the lanes that it left; raises `OSError`."""
        found = {
            "request": request,
            "answer": {name: strict(np.asarray(values, np.float64)) for name, values in answer.items()},
            "position": None if carried is None else carried.position,
            "executor": str(self._trainer.executor),
        }
        number = len(self._rounds)
        if carried is not None:
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *carried.lanes.values())
            meta = {"num_steps": carried.step, "pairs": list(carried.lanes)}
            self._store.save("lanes", meta, stacked, wait=True)
        self._store.append([{"round": number, **found}])
        self._rounds.append(found)
        self._asked += 1
        if carried is not None:
            self._store.drop("lanes", lambda stored: stored.meta.get("num_steps") != carried.step)

    def _restore(self, num_seeds: int, num_lanes: int) -> None:
        """Give the trainer the lanes that the last round left; those whose file is damaged or gone are missing."""
        if not self._restored and self._rounds:
            engine = self._trainer.slot(num_seeds, num_lanes).engine
            states = self._lanes(engine.state_shapes(np.ones((1, 1), self._trainer.carried.dtype)))
            self._trainer.restore(states, self._trainer.executor)
            self._take_notes()
        self._restored = True

    def _lanes(self, like: TrialState) -> LaneStates:
        last, lanes = self._rounds[-1], {}
        num_steps = last["request"]["num_steps"]
        for number, meta in self._store.find("lanes", num_steps=num_steps):
            pairs: Any = meta.get("pairs")
            if not fits(pairs, [list]) or any([*map(type, pair)] != [int, float] for pair in pairs):
                continue
            shapes = [jax.ShapeDtypeStruct((len(pairs), *leaf.shape[2:]), leaf.dtype) for leaf in jax.tree.leaves(like)]
            stacked = self._store.load("lanes", number, jax.tree.structure(like).unflatten(shapes))
            if stacked is None:
                self._store.notes.append(f"lanes-{number:06d} is damaged: its lanes are trained again.")
                continue
            for row, (seed, x) in enumerate(pairs):
                lanes[seed, x] = jax.tree.map(lambda leaf, r=row: leaf[r], stacked)
        return LaneStates(num_steps, last["position"], lanes)

    def _read_rounds(self) -> list[dict[str, Any]]:
        """Every round before the first that is missing or damaged."""
        lines = [line for line in self._store.lines() if fits(line, _ROUND) and read_executor(line["executor"])]
        found = {line["round"]: line for line in lines}
        rounds = []
        while len(rounds) in found:
            rounds.append(found[len(rounds)])
        return rounds

    def _read_again(self, there: dict[str, Any]) -> bool:
        """Compare the batches with those that a round was trained on; False if its file does not say which."""
        experiment, position, step = self._trainer.carried, there.get("position"), there["request"]["num_steps"]
        source = BatchSource(self._trainer.task, [seed.data_key for seed in experiment.seeds], step, self._trainer.log)
        if not source.accepts(position, step):
            return False
        self._trainer.log.remember(step, position)
        until = source.read_again(step)
        if until < step:
            self._trainer.execution.notes.append(unread_note(until, step))
        return True

    def _take_notes(self) -> None:
        self._trainer.execution.notes.extend(self._store.notes)
        self._store.notes = []
