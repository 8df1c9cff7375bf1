"""The lanes of one wave in a program: begun or loaded, advanced, evaluated, and compacted when some stop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Bool, Float, Int, PyTree
from ._devices import Rows, lane_order, narrowest, plain_keys, to_host
from ._programs import key_impl
from ._trial import Kind
from ._trial_data import Block, TrialState


class ProgramLanes:
    """Lanes in one compiled program; see `make_lanes`."""

    def __init__(self, engine: Any, settings: PyTree, rows: Rows, state: TrialState | None):
        self._engine, self._family, self.rows = engine, settings, rows
        self._settings = self._place_settings()
        self._states: TrialState = self._run("begin") if state is None else engine.place_states(state)

    def advance(self, block: Block) -> None:
        """Train on a block."""
        self._states = self._run("advance", self._states, block)

    def evaluate(self) -> tuple[dict[str, Float[np.ndarray, "seeds family"]], Int[np.ndarray, "seeds family"]]:
        """Metrics and divergence of every lane; the sums of training losses begin anew."""
        engine = self._engine
        reading = to_host(self._run("evaluate", self._states), engine.mesh)
        self._states = self._states._replace(loss_sum=engine.place_settings(np.zeros(self.rows.shape, np.float32)))
        values = {**reading.metrics, "train_loss": reading.loss_sum}
        metrics = {name: self._by_trial(value, np.nan) for name, value in values.items()}
        return metrics, self._by_trial(reading.diverged_at, -1)

    def keep(self, alive: Bool[np.ndarray, "seeds family"]) -> None:
        """Drop lanes, and compact the others if they fit a narrower program or, under map, into the first rows."""
        rows = np.where((self.rows >= 0) & np.take_along_axis(alive, self.rows.clip(0), axis=1), self.rows, -1)
        count = max(1, int((rows >= 0).sum(axis=1).max()))
        width, engine = rows.shape[1], self._engine
        new_width = width if engine.executor == "map" else narrowest(count, width, engine.unit)
        if new_width == width and (engine.executor != "map" or count == self._count()):
            self.rows = rows
            return
        order = np.zeros((rows.shape[0], new_width), np.int32)
        new_rows = np.full(order.shape, -1)
        held = lane_order(new_width, engine.shards)
        for seed in range(rows.shape[0]):
            living = np.flatnonzero(rows[seed] >= 0)
            places = np.argsort(held, kind="stable")[: len(living)]
            order[seed, places] = living
            new_rows[seed, places] = rows[seed, living]
        self._states = engine.constrain(_gather(self._states, engine.place_settings(order)))
        self.rows = new_rows
        self._settings = self._place_settings()
        if new_width != width:
            engine.execution.widths.append(new_width)

    def state(self) -> TrialState:
        """The lanes, on the host unless other processes hold a part."""
        held = self._states
        return held if self._engine.several_hosts else jax.device_get(plain_keys(held))

    def wait(self) -> None:
        """Until the device is done."""
        jax.block_until_ready(self._states.loss_sum)

    def _run(self, kind: Kind, states: TrialState | None = None, block: Block | None = None) -> Any:
        return self._engine.run(kind, self._settings, states, self._local_rows(), block)

    def _count(self) -> int:
        return int((self.rows >= 0).sum(axis=1).max())

    def _local_rows(self) -> int:
        """Rows that hold a lane on the fullest shard."""
        return max(1, -(-self._count() // self._engine.shards))

    def _place_settings(self) -> PyTree:
        filled = self.rows.clip(0)
        return self._engine.place_settings(jax.tree.map(lambda leaf: leaf[filled], self._family))

    def _by_trial(self, values: np.ndarray, missing: float) -> np.ndarray:
        family = jax.tree.leaves(self._family)[0].shape[0]
        result = np.full((self.rows.shape[0], family), missing, np.result_type(values, type(missing)(0)))
        for seed, row in enumerate(self.rows):
            result[seed, row[row >= 0]] = values[seed, row >= 0]
        return result


@jax.jit
def _gather(states: TrialState, order: Int[Any, "seeds rows"]) -> TrialState:
    return jax.tree.map(lambda leaf: jax.vmap(lambda rows, places: rows[places])(leaf, order), states)


def typed_keys(engine: Any, settings: PyTree, rows: Rows, state: TrialState) -> TrialState:
    """Numbers that were typed PRNG keys as such again."""
    shapes = engine.state_shapes(jax.tree.map(lambda leaf: leaf[rows.clip(0)], settings))

    def type_key(shape: Any, leaf: Any) -> Any:
        if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.asarray(leaf), impl=key_impl(shape))
        return leaf

    return jax.tree.map(type_key, shapes, state)
