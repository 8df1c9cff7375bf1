"""What one update is where an optimizer accumulates gradients: as many training batches as it takes to hold none.

`num_steps` counts training batches, each a call of the optimizer. Without accumulation that is an update each. Under
`optax.MultiSteps(optimizer, k)` or `optax.apply_every(k)`, wherever they stand in the optimizer, one update is k
batches: results, ramps and `train_steps` count updates.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._types import Array, Bool, Int

_FIRST_LENGTH, _MOST_PER_UPDATE = 256, 4096


class Accumulation:
    """When the updates of an optimizer are complete."""

    def __init__(
        self,
        name: str,  # the optimizer's, for messages
        kinds: tuple[str, ...] = (),  # the states of Optax that accumulate; empty where every batch is an update
        follow: Callable[[int, Any], tuple[Any, Bool[Array, " batches"]]] | None = None,
        counters: Any = None,
    ):
        """`follow(length, counters)` gives those after so many batches, and after which of them nothing is held."""
        self.name, self.kinds = name, kinds
        self._follow, self._counters, self._done = follow, counters, np.zeros(1, np.int64)

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def done(self, batches: int) -> Int[np.ndarray, " batches"]:
        """Updates that are complete after 0, 1, ..., `batches` batches."""
        if self._follow is None:
            return np.arange(batches + 1)
        while len(self._done) <= batches:
            length = max(_FIRST_LENGTH, len(self._done) - 1)
            self._counters, rests = self._follow(length, self._counters)
            self._done = np.append(self._done, self._done[-1] + np.cumsum(np.asarray(rests)))
        return self._done[: batches + 1]

    def updates(self, batches: int) -> int:
        """Updates that are complete after so many batches."""
        return int(self.done(batches)[-1])

    def batches(self, updates: int) -> int:
        """Batches of so many updates."""
        if not self or updates == 0:
            return updates
        length = _FIRST_LENGTH
        while self.updates(length) < updates:
            length *= 2
            if length > _MOST_PER_UPDATE * (updates + 1):
                raise ValueError(
                    f"`make_optimizer` must return an optimizer that updates, but that of {self.name} accumulates "
                    f"({', '.join(self.kinds)}): {length // 2} batches are not enough for {updates} updates."
                )
        return int(np.argmax(self.done(length) >= updates))

    def check(self, where: str, batches: int) -> None:
        """Raise unless so many batches end with an update."""
        done = self.done(batches)
        if not self or (batches > 0 and done[-1] > done[-2]):
            return
        before, after = self.batches(int(done[-1])), self.batches(int(done[-1]) + 1)
        write = f"{before} or {after}" if done[-1] else f"{after}, or as many for each update"
        made = f"{done[-1]} update{'' if done[-1] == 1 else 's'}, and no update uses the last {batches - before}"
        raise ValueError(
            f"`{where}` counts training batches and must end with an update, but {self.name} accumulates gradients "
            f"({', '.join(self.kinds)}): {batches} batches make {made}. Write {write}."
        )
