"""Lanes that wait at a rung while other waves run: in memory, and in the folder if there is one."""

import jax
import numpy as np

from .._engine import Lanes, Rows, TrialState
from ._ledger import Ledger, Wave
from ._resume import is_rows, lanes_like, wave_of
from ._sweep_setup import Setup


class LostLanes(Exception):
    """Parked lanes are damaged or gone: they have to be trained again."""


class ParkedLanes:
    """The lanes of waves that have reached a rung."""

    def __init__(self, setup: Setup):
        self._setup = setup
        self._held: dict[tuple[int, int], tuple[Rows, TrialState]] = {}

    def put(self, segment: int, number: int, lanes: Lanes) -> None:
        """Take a wave's lanes.

        Raises:
          ValueError: other processes hold a part of them.
        """
        if self._setup.engine.several_hosts:
            raise ValueError(
                "`sweep(stop=SuccessiveHalving(...))` on several hosts must have all lanes at once, but they do not "
                "fit in memory together, or have schedules of different kinds. Use more devices, or fewer trials."
            )
        self._held[segment, number] = (lanes.rows, lanes.state())
        if self._setup.store is not None:
            place = {"segment": segment, "wave": number}
            meta = {"plan": self._setup.plan, **place, "rows": lanes.rows.tolist()}
            self._setup.store.save("waiting", meta, self._held[segment, number][1], wait=True)

    def get(self, segment: int, wave: Wave, rows: Rows, ledger: Ledger) -> TrialState:
        """The lanes for some rows of a wave, from all waves of an earlier segment."""
        waves = ledger.waves(segment, self._setup.engine)
        numbers = [number for number, one in enumerate(waves) if one.family == wave.family]
        parts = [self._part(segment, number, waves[number]) for number in numbers]
        where = {}
        for part, (held, _) in enumerate(parts):
            for seed, row in np.argwhere(held >= 0):
                where[seed, held[seed, row]] = (part, row)

        def gather(*leaves: np.ndarray) -> np.ndarray:
            result = np.empty((*rows.shape, *leaves[0].shape[2:]), leaves[0].dtype)
            for (seed, row), trial in np.ndenumerate(rows):
                part, place = where[seed, trial if trial >= 0 else rows[seed].max()]
                result[seed, row] = leaves[part][seed, place]
            return result

        return jax.tree.map(gather, *[state for _, state in parts])

    def forget(self, segment: int) -> None:
        """Let go of a segment's lanes."""
        self._held = {place: held for place, held in self._held.items() if place[0] > segment}
        if self._setup.store is not None:
            self._setup.store.drop("waiting", lambda meta: (wave_of(meta) or (0, 0))[0] <= segment)

    def _part(self, segment: int, number: int, wave: Wave) -> tuple[Rows, TrialState]:
        if (segment, number) not in self._held:
            self._held[segment, number] = self._load(segment, number, wave)
        return self._held[segment, number]

    def _load(self, segment: int, number: int, wave: Wave) -> tuple[Rows, TrialState]:
        store = self._setup.store
        assert store is not None
        for stored in store.find("waiting", self._setup.plan):
            meta = stored.meta
            if wave_of(meta) == (segment, number) and is_rows(self._setup, wave, meta.get("rows")):
                rows = np.asarray(meta["rows"])
                state = store.load("waiting", stored.number, lanes_like(self._setup, wave, rows))
                if state is not None:
                    return rows, state
        store.drop("waiting", lambda meta: wave_of(meta) == (segment, number))
        raise LostLanes
