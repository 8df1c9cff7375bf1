"""A search's folder: what was asked, the losses of every stop, and the lanes that go on from the last one.

    search.json       the call, so that another one is refused
    stop-NNN.json     the N-th thing that was trained and its losses; its presence says that it is whole
    lanes-NNN.npz     the lanes it left, until the next rung is whole

Everything is arrays and strict JSON, written whole or not at all; nothing is executed when it is read.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._checks import show
from .._types import Float
from ..sweeps._program import Lane
from ..trials import Chunked, Executor
from ._lanes import LaneTrainer
from ._track import Carried, Pair


class SearchStore:
    """The folder of one search.

    Args:
      folder: made if there is none.
      call: what is asked, as strict JSON.
      difference: says how a call that began there differs from this one; empty if it does not.

    Raises:
      TypeError, ValueError: it is no folder, or holds another search; the message names the difference.
      OSError: it cannot be written.
    """

    def __init__(self, folder: object, call: dict[str, Any], difference: Callable[[dict, dict], str]):
        if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
            raise TypeError(f"`search_lr(directory=...)` must be a path or None, got {show(folder)}.")
        if "://" in str(folder):
            raise ValueError(
                f"`search_lr(directory=...)` must be a folder of this machine or one that it mounts, got "
                f"{show(folder)}. Mount the bucket, or write to a disk and copy."
            )
        self.folder = Path(os.path.abspath(folder))
        where = f"`search_lr(directory={os.fspath(self.folder)!r})`"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            here = self._read("search.json")
            if here is None and any(self.folder.glob("stop-*.json")):
                raise ValueError(
                    f"{where} holds a search whose search.json is damaged or gone, so what was asked there is not "
                    "known. Restore that file, or give another directory."
                )
            changed = "" if here is None else difference(here, call)
            if changed:
                raise ValueError(
                    f"{where} holds another search: {changed}. Repeat that call, or give another directory."
                )
            self._write("search.json", call)
        except OSError as error:
            raise type(error)(
                f"{where} must be a folder that can be written, but: {error.strerror or error}. Name another one."
            ) from error
        self.stops = self._read_stops()

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
        number = len(self.stops)
        try:
            wanted = {(seed, x) for seed in range(stop["num_seeds"]) for x in stop["exponents"]}
            self._write_lanes(number, {pair: lane for pair, lane in carried.lanes.items() if pair in wanted})
            self._write(f"stop-{number:03d}.json", stop)
        except OSError as error:
            raise type(error)(
                f"The search could not write to {os.fspath(self.folder)}: {error.strerror or error}. What was finished "
                "before is kept there. Make room, and start the same call again: it goes on from there."
            ) from error
        self.stops.append(stop)
        for old, other in enumerate(self.stops):
            if other["num_steps"] < stop["num_steps"]:
                self._lanes_path(old).unlink(missing_ok=True)

    def lanes(self, like: Lane) -> Carried:
        """The lanes at the last stop's number of steps; those whose file is damaged or gone are missing.

        Args:
          like: the structure of a lane.
        """
        last, lanes = self.stops[-1], {}
        for number, stop in enumerate(self.stops):
            if stop["num_steps"] == last["num_steps"]:
                lanes |= self._read_lanes(number, jax.tree.structure(like))
        return Carried(last["num_steps"], last["position"], lanes)

    def _read_stops(self) -> list[dict[str, Any]]:
        """Every stop before the first that is missing or damaged; later ones are removed."""
        stops = []
        while (stop := self._read(f"stop-{len(stops):03d}.json")) is not None:
            stops.append(stop)
        for path in [*self.folder.glob("stop-*.json"), *self.folder.glob("lanes-*.npz")]:
            number = path.stem.split("-")[1]
            if number.isdecimal() and int(number) >= len(stops):
                path.unlink(missing_ok=True)
        return stops

    def _lanes_path(self, number: int) -> Path:
        return self.folder / f"lanes-{number:03d}.npz"

    def _write_lanes(self, number: int, lanes: dict[Pair, Lane]) -> None:
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *lanes.values())
        leaves = jax.tree.leaves(stacked)
        head = {"pairs": list(lanes), "leaves": [[list(leaf.shape), str(leaf.dtype)] for leaf in leaves]}
        arrays: dict[str, Any] = {
            str(index): np.frombuffer(leaf.tobytes(), np.uint8) for index, leaf in enumerate(leaves)
        }
        draft = self.folder / ".draft"
        with open(draft, "wb") as file:
            np.savez(file, **arrays, head=np.frombuffer(json.dumps(head).encode(), np.uint8))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self._lanes_path(number))

    def _read_lanes(self, number: int, structure: Any) -> dict[Pair, Lane]:
        """The lanes of a file, each array's checksum checked; none if it is damaged."""
        try:
            with np.load(self._lanes_path(number)) as data:
                head = json.loads(data["head"].tobytes())
                leaves = [
                    np.frombuffer(data[str(index)].tobytes(), np.dtype(dtype)).reshape(shape)
                    for index, (shape, dtype) in enumerate(head["leaves"])
                ]
            pairs = [(int(seed), float(x)) for seed, x in head["pairs"]]
            lanes = [jax.tree.unflatten(structure, [leaf[row] for leaf in leaves]) for row in range(len(pairs))]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return {}
        return dict(zip(pairs, lanes, strict=True))

    def _write(self, name: str, value: dict[str, Any]) -> None:
        text = json.dumps(value, allow_nan=False)
        draft = self.folder / ".draft"
        with open(draft, "w") as file:
            file.write(f"{zlib.crc32(text.encode()):08x} {text}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.folder / name)

    def _read(self, name: str) -> dict[str, Any] | None:
        """A file's value; None if it is missing or damaged."""
        try:
            checksum, _, text = (self.folder / name).read_text().strip().partition(" ")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return json.loads(text) if f"{zlib.crc32(text.encode()):08x}" == checksum else None


class Remembered:
    """A trainer that answers from a folder what was trained before, and writes down the rest; see `Trainer`."""

    def __init__(self, trainer: LaneTrainer, store: SearchStore):
        self._trainer, self._store = trainer, store
        self._asked, self._restored = 0, not store.stops
        self._initial: dict[tuple[int, int], Float[np.ndarray, " seeds"]] = {}

    def train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> Float[np.ndarray, "seeds trials"]:
        """The losses there, or those of new training."""
        if self._asked < len(self._store.stops):
            stop = self._store.stops[self._asked]
        else:
            if not self._restored:
                track = self._trainer.track(num_seeds, len(exponents))
                shapes = track.engine.lane_shapes(np.ones((1, 1), self._trainer.setup.dtype))
                self._trainer.carried, self._restored = self._store.lanes(shapes), True
            stop = self._train(exponents, num_seeds, num_steps)
        self._asked += 1
        self._initial[num_seeds, num_steps] = np.asarray(stop["initial_loss"])
        return np.asarray([[float(loss) for loss in losses] for losses in stop["losses"]])

    def initial_loss(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """Those that were measured with the losses."""
        return self._initial[num_seeds, num_steps]

    def _train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> dict[str, Any]:
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
