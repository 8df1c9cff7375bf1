"""What a search keeps in its folder: a line with the losses of every stop, and the lanes that the last one left."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from .._engine import BatchSource, Chunked, Executor, Folder, Lane, check_directory, unread_note
from .._types import Float
from ._lane_trainer import LaneTrainer
from ._track import Carried, Pair


class SearchStore:
    """The folder of one search.

    Args:
      directory: made if there is none.
      call: what is asked, as strict JSON.
      difference: says how a call that began there differs from this one; empty if it does not.

    Raises:
      TypeError, ValueError: it is no folder, or holds another search; the message names the difference.
      OSError: it cannot be written, or another process is searching there.
    """

    def __init__(
        self, directory: str | os.PathLike[str], call: dict[str, Any], difference: Callable[[dict, dict], str]
    ):
        self._folder = Folder("find_lr", "search", check_directory("find_lr", directory))
        self._folder.open(call, difference)
        self.stops = self._read_stops()

    @property
    def directory(self) -> str:
        """The user's."""
        return self._folder.directory

    def take_notes(self) -> list[str]:
        """What was damaged, as far as it was not taken before."""
        notes, self._folder.notes = self._folder.notes, []
        return notes

    @property
    def executor(self) -> Executor | None:
        """How the lanes ran that are there; None if there are none."""
        if not self.stops:
            return None
        name = self.stops[-1]["executor"]
        return Chunked(name) if isinstance(name, int) else name

    def save(self, stop: dict[str, Any], carried: Carried) -> None:
        """Add a stop, and the lanes that it left.

        Args:
          stop: as `Remembered` makes it.
          carried: all lanes at its number of steps.

        Raises:
          OSError: it cannot be written; what was there before still is.
        """
        wanted = {(seed, x) for seed in range(stop["num_seeds"]) for x in stop["exponents"]}
        lanes = {pair: lane for pair, lane in carried.lanes.items() if pair in wanted}
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *lanes.values())
        meta = {"num_steps": stop["num_steps"], "pairs": list(lanes)}
        self._folder.save(self._folder.new_name("lanes"), meta, jax.tree.leaves(stacked))
        self._folder.append([{"stop": len(self.stops), **stop}])
        self.stops.append(stop)
        self._folder.remove("lanes", lambda stored: stored.meta.get("num_steps") != stop["num_steps"])

    def lanes(self, like: Lane) -> Carried:
        """The lanes at the last stop's number of steps; those whose file is damaged or gone are missing.

        Args:
          like: the shapes of a lane, with the axes (1, 1, ...).
        """
        last, lanes = self.stops[-1], {}
        shapes, treedef = jax.tree.flatten(like)
        for number, meta in self._folder.files("lanes"):
            if meta.get("num_steps") != last["num_steps"] or not _is_pairs(meta.get("pairs")):
                continue
            pairs: list[Pair] = [(seed, x) for seed, x in meta["pairs"]]
            stacked = [jax.ShapeDtypeStruct((len(pairs), *leaf.shape[2:]), leaf.dtype) for leaf in shapes]
            leaves = self._folder.load(f"lanes-{number:06d}", stacked)
            if leaves is None:
                self._folder.notes.append(f"lanes-{number:06d} is damaged: its lanes are trained again.")
                continue
            lanes |= {pair: treedef.unflatten([leaf[row] for leaf in leaves]) for row, pair in enumerate(pairs)}
        return Carried(last["num_steps"], last["position"], lanes)

    def close(self) -> None:
        """Let others search there."""
        self._folder.close()

    def _read_stops(self) -> list[dict[str, Any]]:
        """Every stop before the first that is missing or damaged."""
        found = {line["stop"]: line for line in self._folder.lines() if _is_stop(line)}
        stops = []
        while len(stops) in found:
            stops.append(found[len(stops)])
        return stops


class Remembered:
    """A trainer that answers from a folder what was trained before, and writes down the rest; see `Trainer`."""

    def __init__(self, trainer: LaneTrainer, store: SearchStore):
        self._trainer, self._store = trainer, store
        self._asked, self._restored = 0, False
        self._initial: dict[tuple[int, int], Float[np.ndarray, " seeds"]] = {}

    def train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> Float[np.ndarray, "seeds trials"]:
        """The losses there, or those of new training.

        Raises:
          ValueError: the batches are others than those that the lanes there were trained on.
        """
        stops, asked = self._store.stops, [list(exponents), num_seeds, num_steps]
        if self._asked == 0:
            self._trainer.note(*self._store.take_notes())
            self._read_again()
        there = stops[self._asked] if self._asked < len(stops) else None
        if there is not None and [there["exponents"], there["num_seeds"], there["num_steps"]] == asked:
            stop = there
        else:
            del stops[self._asked :]
            stop = self._train(exponents, num_seeds, num_steps)
        self._asked += 1
        self._initial[num_seeds, num_steps] = np.asarray(stop["initial_loss"])
        return np.asarray([[float(loss) for loss in losses] for losses in stop["losses"]])

    def initial_loss(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """Those that were measured with the losses."""
        return self._initial[num_seeds, num_steps]

    def _train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> dict[str, Any]:
        if not self._restored and self._store.stops:
            track = self._trainer.track(num_seeds, len(exponents))
            shapes = track.engine.lane_shapes(np.ones((1, 1), self._trainer.setup.dtype))
            self._trainer.carried = self._store.lanes(shapes)
            self._trainer.note(*self._store.take_notes())
        self._restored = True
        losses = self._trainer.train(exponents, num_seeds, num_steps)
        executor = self._trainer.executor
        stop = {
            "exponents": list(exponents),
            "num_seeds": num_seeds,
            "num_steps": num_steps,
            "losses": [[float(loss) if np.isfinite(loss) else repr(float(loss)) for loss in row] for row in losses],
            "initial_loss": np.asarray(self._trainer.initial_loss(num_seeds, num_steps), np.float64).tolist(),
            "position": self._trainer.carried.position,
            "executor": executor.size if isinstance(executor, Chunked) else executor,
        }
        self._store.save(stop, self._trainer.carried)
        return stop

    def _read_again(self) -> None:
        """Compare the batches with those that the stops there were trained on."""
        setup, stops = self._trainer.setup, self._store.stops
        if not stops:
            return
        longest = max(stop["num_steps"] for stop in stops)
        source = BatchSource(setup.task, [seed.data_key for seed in setup.seeds], longest, self._trainer.log)
        good = [source.accepts(stop["position"], stop["num_steps"]) for stop in stops]
        del stops[(*good, False).index(False) :]
        for stop in stops:
            self._trainer.log.remember(stop["num_steps"], stop["position"])
        until = source.read_again(longest)
        if until < longest:
            self._trainer.note(unread_note(until, longest))


def _is_stop(line: dict[str, Any]) -> bool:
    """Whether a line is one that `SearchStore.save` writes."""
    try:
        numbers = [line[name] for name in ("stop", "num_seeds", "num_steps")]
        lanes, executor = [len(line["exponents"])] * line["num_seeds"], line["executor"]
        return (
            all(type(number) is int and number >= 0 for number in numbers)
            and all(type(x) is float for x in line["exponents"])
            and [len(row) for row in line["losses"]] == lanes
            and all(isinstance(float(loss), float) for row in line["losses"] for loss in row)
            and all(type(loss) is float for loss in line["initial_loss"])
            and len(line["initial_loss"]) == line["num_seeds"]
            and (executor in ("map", "vmap", "loop") or (type(executor) is int and executor > 0))
        )
    except (KeyError, TypeError, ValueError):
        return False


def _is_pairs(value: Any) -> bool:
    """Whether a file's value can be the pairs of its lanes."""
    return isinstance(value, list) and all(
        isinstance(pair, list) and [type(one) for one in pair] == [int, float] for pair in value
    )
