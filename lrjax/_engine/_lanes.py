"""The lanes of one wave: begun or loaded, advanced block by block, evaluated, and compacted when some stop."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Bool, Float, Int, PyTree
from ._devices import lane_order, spans_hosts, to_host
from ._executors import evaluate_on_host
from ._lane_engine import Engine
from ._lane_program import Lane, Origin, begin_lane
from ._sharding import place
from ._source import Block
from ._trial import SeedData, TrialSpec, update_with_loss
from ._weak import JittedFor

Rows = Int[np.ndarray, "seeds rows"]
"""For every row of a program, the trial (of the family) that it holds; -1 for none."""


class Lanes(Protocol):
    """What a wave of lanes can do."""

    rows: Rows

    def advance(self, block: Block) -> None:
        """Train on a block."""
        ...

    def evaluate(self) -> tuple[dict[str, Float[np.ndarray, "seeds family"]], Int[np.ndarray, "seeds family"]]:
        """Metrics, and the first step that diverged (-1 none), for every trial of the family; nan for others."""
        ...

    def keep(self, alive: Bool[np.ndarray, "seeds family"]) -> None:
        """Drop the lanes that are not alive."""
        ...

    def state(self) -> Lane:
        """Everything to go on from, with the axes of `rows`: arrays of the devices, or of the host."""
        ...

    def wait(self) -> None:
        """Until all that was asked for is done."""
        ...


def make_lanes(engine: Engine, settings: PyTree, rows: Rows, state: Lane | None) -> Lanes:
    """Lanes for some rows.

    Args:
      engine: what they share.
      settings: of the family, leading trial axis.
      rows: which trial each row holds.
      state: what an earlier `state()` gave for the same rows; None begins at step 0.
    """
    if state is not None:
        state = _typed(engine, settings, rows, state)
    kind = HostLanes if engine.executor == "loop" else ProgramLanes
    return kind(engine, settings, rows, state)


def deal(engine: Engine, trials: Int[np.ndarray, "seeds lanes"], width: int) -> Rows:
    """The rows of a program that hold these trials, dealt out to the devices like cards."""
    order = lane_order(width, engine.shards)
    rows = np.full((trials.shape[0], width), -1)
    held = order < trials.shape[1]
    rows[:, held] = trials[:, order[held]]
    return rows


class ProgramLanes:
    """Lanes in one compiled program; see `Lanes`."""

    def __init__(self, engine: Engine, settings: PyTree, rows: Rows, state: Lane | None):
        self._engine, self._family, self.rows = engine, settings, rows
        self._first_width = rows.shape[1]
        self._settings = self._place_settings()
        self._lanes = engine.begin(self._settings, self._local_rows()) if state is None else engine.place_lanes(state)

    def advance(self, block: Block) -> None:
        """Train on a block."""
        engine = self._engine
        call = engine.call(block.batches, block.start, block.count, self._local_rows())
        arguments = (self._settings, self._lanes, engine.feeds(block.batches), call)
        self._lanes = engine.executable("advance", arguments)(*arguments)

    def evaluate(self) -> tuple[dict[str, Float[np.ndarray, "seeds family"]], Int[np.ndarray, "seeds family"]]:
        """Metrics and divergence of every lane; the sums of training losses begin anew."""
        engine = self._engine
        common = (engine.evaluation, engine.scalar(self._local_rows()))
        arguments = (self._lanes, engine.origins.frozen, common)
        reading = to_host(engine.executable("evaluate", arguments)(*arguments), engine.mesh)
        self._lanes = self._lanes._replace(loss_sum=engine.place_settings(np.zeros(self.rows.shape, np.float32)))
        values = {**reading.metrics, "train_loss": reading.loss_sum}
        metrics = {name: self._by_trial(value, np.nan) for name, value in values.items()}
        return metrics, self._by_trial(reading.diverged_at, -1)

    def keep(self, alive: Bool[np.ndarray, "seeds family"]) -> None:
        """Drop lanes, and compact the others if they fit a narrower program or, under map, into the first rows."""
        rows = np.where((self.rows >= 0) & np.take_along_axis(alive, self.rows.clip(0), axis=1), self.rows, -1)
        count = max(1, int((rows >= 0).sum(axis=1).max()))
        width, engine = rows.shape[1], self._engine
        new_width = width if engine.executor == "map" else bucket(count, width, engine.unit)
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
        self._lanes = _gather(self._lanes, engine.place_settings(order))
        if engine.mesh is not None:
            self._lanes = engine.constrain(self._lanes)
        self.rows = new_rows
        self._settings = self._place_settings()
        if new_width != width:
            engine.execution.widths.append(new_width)

    def state(self) -> Lane:
        """The lanes, on the host unless other processes hold a part."""
        mesh = self._engine.mesh
        several = mesh is not None and spans_hosts(mesh)
        return self._lanes if several else jax.device_get(jax.tree.map(_plain, self._lanes))

    def wait(self) -> None:
        """Until the device is done."""
        jax.block_until_ready(self._lanes.loss_sum)

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
def _gather(lanes: Lane, order: Int[Any, "seeds rows"]) -> Lane:
    return jax.tree.map(lambda leaf: jax.vmap(lambda rows, places: rows[places])(leaf, order), lanes)


def _plain(leaf: Any) -> Any:
    """A typed PRNG key as its numbers."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _typed(engine: Engine, settings: PyTree, rows: Rows, state: Lane) -> Lane:
    """Numbers that were typed PRNG keys as such again."""
    shapes = engine.lane_shapes(jax.tree.map(lambda leaf: leaf[rows.clip(0)], settings))

    def type_key(shape: Any, leaf: Any) -> Any:
        if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.asarray(leaf), impl=_key_impl(shape))
        return leaf

    return jax.tree.map(type_key, shapes, state)


def _key_impl(shape: Any) -> Any:
    """How a typed PRNG key of this shape and dtype is made; `jax.random.key_impl` takes keys only."""
    found = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), shape)
    return found[0]


class HostLanes:
    """Lanes trained one after the other by a loop on the host; see `Lanes`."""

    def __init__(self, engine: Engine, settings: PyTree, rows: Rows, state: Lane | None):
        self._engine, self._family, self.rows = engine, settings, rows
        self._states: dict[tuple[int, int], Lane] = {}
        for seed, row in np.argwhere(rows >= 0).tolist():
            if state is None:
                setting, origin = self._setting(seed, row), _seed_of(engine.origins, seed)
                self._states[seed, row] = _begin(engine.spec, setting, origin)
            else:
                lane = jax.tree.map(lambda leaf, s=seed, r=row: jnp.asarray(leaf[s, r]), state)
                self._states[seed, row] = lane._replace(state=place(lane.state, engine.spec.shardings))

    def advance(self, block: Block) -> None:
        """Train on a block, lane after lane."""
        engine = self._engine
        for seed in range(self.rows.shape[0]):
            batches = block.batches if engine.shared else _seed_of(block.batches, seed)
            frozen, key = _seed_of((engine.origins.frozen, engine.keys), seed)
            data = SeedData(None, frozen, (), batches, engine.scalar(block.start), key)
            for row in map(int, np.flatnonzero(self.rows[seed] >= 0)):
                setting = self._setting(seed, row)
                lane = self._states[seed, row]
                for _ in range(block.count):
                    lane = _step(engine.spec, setting, lane, data)
                self._states[seed, row] = jax.block_until_ready(lane)

    def evaluate(self) -> tuple[dict[str, Float[np.ndarray, "seeds family"]], Int[np.ndarray, "seeds family"]]:
        """Metrics and divergence of every lane; the sums of training losses begin anew."""
        engine = self._engine
        shape = (self.rows.shape[0], jax.tree.leaves(self._family)[0].shape[0])
        metrics: dict[str, np.ndarray] = {}
        diverged = np.full(shape, -1)
        for (seed, row), lane in self._states.items():
            trial = self.rows[seed, row]
            if trial < 0:
                continue
            data = SeedData(None, _seed_of(engine.origins.frozen, seed), (), (), jnp.int32(0), None)  # pyright: ignore[reportArgumentType]
            values = evaluate_on_host(engine.spec, lane.state, data, engine.evaluation)
            for name, value in {**values, "train_loss": lane.loss_sum}.items():
                metrics.setdefault(name, np.full(shape, np.nan, np.asarray(value).dtype))[seed, trial] = value
            diverged[seed, trial] = lane.state.diverged_at
            self._states[seed, row] = lane._replace(loss_sum=jnp.float32(0))
        return metrics, diverged

    def keep(self, alive: Bool[np.ndarray, "seeds family"]) -> None:
        """Drop lanes, and their memory."""
        self.rows = np.where((self.rows >= 0) & np.take_along_axis(alive, self.rows.clip(0), axis=1), self.rows, -1)
        living = {place: lane for place, lane in self._states.items() if self.rows[place] >= 0}
        self._states = living or dict([next(iter(self._states.items()))])  # `state` wants the shapes of one

    def state(self) -> Lane:
        """The lanes on the host; rows without a lane repeat another one."""
        some = next(iter(self._states.values()))
        lanes = [
            [self._states.get((seed, row), some) for row in range(self.rows.shape[1])]
            for seed in range(self.rows.shape[0])
        ]
        host = jax.device_get(jax.tree.map(_plain, lanes))
        return jax.tree.map(
            lambda *leaves: np.stack(leaves).reshape(*self.rows.shape, *np.shape(leaves[0])),
            *[lane for seed in host for lane in seed],
        )

    def wait(self) -> None:
        """Nothing is left to wait for."""

    def _setting(self, seed: int, row: int) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[self.rows[seed, row]]), self._family)


def _seed_of(tree: PyTree, seed: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[seed], tree)


def _begin_lane(spec: TrialSpec, setting: PyTree, origin: Origin) -> Lane:
    # copied, since the steps donate their lane and these are the seed's own parameters
    return jax.tree.map(jnp.copy, begin_lane(spec, setting, origin))


def _advance_lane(spec: TrialSpec, setting: PyTree, lane: Lane, data: SeedData) -> Lane:
    state, loss = update_with_loss(spec, setting, lane.state, data)
    return Lane(state, lane.loss_sum + loss.astype(jnp.float32))


_begin = JittedFor(_begin_lane)
_step = JittedFor(_advance_lane, donate_argnums=1)


def bucket(alive: int, width: int, unit: int) -> int:
    """The width that `alive` lanes are compacted to: the least of width, width / 2, width / 4, ... that holds them.

    Args:
      alive: lanes that go on, >= 1.
      width: the first width, a multiple of `unit`.
      unit: what a width must be a multiple of (shards times chunk).
    """
    best = width
    while width > unit:
        width = -(-width // (2 * unit)) * unit
        if width < alive:
            break
        best = width
    return best
