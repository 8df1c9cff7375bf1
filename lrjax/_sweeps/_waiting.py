"""Lanes that wait at a rung while other waves run: in memory, and in the folder if there is one."""

import jax
import numpy as np

from .._engine import Lanes, Rows, TrialState
from ._ledger import Ledger, Wave
from ._sweep_setup import Setup

Held = tuple[Rows, TrialState]
"""The trials that the rows of a wave hold, and the states of its lanes on the host."""

Waiting = dict[tuple[int, int], Held]
"""By (segment, wave)."""


class WaitingLanes:
    """The lanes of waves that have reached a rung; `held` are those that the folder has."""

    def __init__(self, setup: Setup, held: Waiting):
        self._setup, self._held = setup, held

    def put(self, segment: int, number: int, lanes: Lanes) -> None:
        """Take a wave's lanes; raises `ValueError` if other processes hold a part of them."""
        if self._setup.engine.several_hosts:
            raise ValueError(
                "`sweep(stop=SuccessiveHalving(...))` on several hosts must have all lanes at once, but they do not "
                "fit in memory together, or have schedules of different kinds. Use more devices, or fewer trials."
            )
        self._held[segment, number] = (lanes.rows, lanes.state())
        if self._setup.store is not None:
            meta = {"plan": self._setup.plan, "segment": segment, "wave": number, "rows": lanes.rows.tolist()}
            self._setup.store.save("waiting", meta, self._held[segment, number][1], wait=True)

    def get(self, segment: int, wave: Wave, rows: Rows, ledger: Ledger) -> TrialState:
        """The lanes for some rows of a wave, from all waves of an earlier segment."""
        waves = ledger.waves(segment, self._setup.engine)
        parts = [self._held[segment, number] for number, one in enumerate(waves) if one.family == wave.family]
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
            later = range(segment + 1, len(self._setup.timetable.rungs))
            self._setup.store.drop("waiting", lambda stored: stored.meta.get("segment") not in later)
