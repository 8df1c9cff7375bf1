"""The lanes of one wave, and a program for those that are trained on from where they are."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Bool, Float, Int, PyTree
from ._batch_log import BatchLog
from ._choice import is_padding_cheap, resolve
from ._data import on_device
from ._devices import Rows, assign_lanes, is_key, lane_order, narrowest, plain_keys, to_host
from ._execution import Execution, running
from ._executor import Executor
from ._experiment import EXAMPLE_LR, Experiment
from ._host_loop import evaluate_on_host, spread
from ._lane_engine import Engine, LoopData
from ._memory import halved, halved_note, lanes_that_fit, out_of_memory
from ._programs import key_impl
from ._sharding import place
from ._source import BatchSource, ReadAhead
from ._trial import Kind, begin_on_host, step_on_host
from ._trial_data import Block, RowsOf, TrialState

Reading = tuple[dict[str, Float[np.ndarray, "seeds family"]], Int[np.ndarray, "seeds family"]]
"""Metrics of every lane, and the step at which it diverged; nan and -1 where there is none."""


class _Lanes:
    """Some trials of a family in the rows of a program; `settings` are the family's, with a leading trial axis."""

    def __init__(self, engine: Engine, settings: PyTree, rows: Rows):
        self._engine, self._family, self.rows = engine, settings, rows

    def _living(self, alive: Bool[np.ndarray, "seeds family"]) -> Rows:
        return np.where((self.rows >= 0) & np.take_along_axis(alive, self.rows.clip(0), axis=1), self.rows, -1)

    def _by_trial(self, values: np.ndarray, missing: float) -> np.ndarray:
        """What rows have, for the trials that they hold."""
        family = jax.tree.leaves(self._family)[0].shape[0]
        result = np.full((self.rows.shape[0], family), missing, np.result_type(values, type(missing)(0)))
        seeds, rows = np.nonzero(self.rows >= 0)
        result[seeds, self.rows[seeds, rows]] = values[seeds, rows]
        return result


class ProgramLanes(_Lanes):
    """Lanes in one compiled program; see `make_lanes`."""

    def __init__(self, engine: Engine, settings: PyTree, rows: Rows, state: TrialState | None):
        super().__init__(engine, settings, rows)
        self._settings = self._place_settings()
        self._states: TrialState = self._run("begin") if state is None else engine.place_states(state)

    def advance(self, block: Block) -> None:
        """Train on a block, until the device is done."""
        self._states = self._run("advance", self._states, block)
        jax.block_until_ready(self._states.loss_sum)

    def evaluate(self) -> Reading:
        """Metrics and divergence of every lane; the sums of training losses begin anew."""
        engine = self._engine
        reading = to_host(self._run("evaluate", self._states), engine.mesh)
        self._states = self._states._replace(loss_sum=engine.place_settings(np.zeros(self.rows.shape, np.float32)))
        values = {**reading.metrics, "train_loss": reading.loss_sum}
        metrics = {name: self._by_trial(value, np.nan) for name, value in values.items()}
        return metrics, self._by_trial(reading.diverged_at, -1)

    def keep(self, alive: Bool[np.ndarray, "seeds family"]) -> None:
        """Drop lanes, and compact the others if they fit a narrower program or, under map, into the first rows."""
        rows, engine = self._living(alive), self._engine
        count, width = _most(rows), rows.shape[1]
        new_width = width if engine.executor == "map" else narrowest(count, width, engine.unit)
        if new_width == width and (engine.executor != "map" or count == _most(self.rows)):
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

    def _run(self, kind: Kind, states: TrialState | None = None, block: Block | None = None) -> Any:
        """Call a program on as many rows as the fullest shard has lanes."""
        return self._engine.run(kind, self._settings, states, -(-_most(self.rows) // self._engine.shards), block)

    def _place_settings(self) -> PyTree:
        filled = self.rows.clip(0)
        return self._engine.place_settings(jax.tree.map(lambda leaf: leaf[filled], self._family))


Place = tuple[int, int]
"""Seed and row of a lane."""


class HostLanes(_Lanes):
    """Lanes trained by a loop on the host, one after the other on each device; see `make_lanes`."""

    def __init__(self, engine: Engine, settings: PyTree, rows: Rows, state: TrialState | None):
        super().__init__(engine, settings, rows)

        def begin(at: Place, data: LoopData) -> TrialState:
            if state is None:
                lane = begin_on_host(engine.spec, self._setting(at), data.seeds[at[0]])
            else:
                lane = data.here(on_device(jax.tree.map(lambda leaf: leaf[at], state)))
            return place(lane, engine.spec.shardings)

        self._states = self._each(begin, self._places())

    def advance(self, block: Block) -> None:
        """Train on a block."""
        engine, update = self._engine, step_on_host.of(self._engine.spec)
        blocks = {data.device: data.here(block.batches) for data in engine.on_loop_devices}

        def train(at: Place, data: LoopData) -> TrialState:
            own = blocks[data.device]
            own = own if engine.shared else jax.tree.map(lambda leaf: leaf[at[0]], own)
            own = own if data.arrays is None else RowsOf(data.arrays, own)
            setting, lane = self._setting(at), data.here(self._states[at])
            for index in range(block.count):
                lane, _ = update(setting, lane, data.seeds[at[0]]._replace(batches=own), index)
            return jax.block_until_ready(lane)

        self._states |= self._each(train, self._places())

    def evaluate(self) -> Reading:
        """Metrics and divergence of every lane; the sums of training losses begin anew."""

        def read(at: Place, data: LoopData) -> dict[str, Any]:
            lane = data.here(self._states[at])
            # read at once: programs of several lanes in flight that use the same devices can wait for each other
            return jax.device_get(evaluate_on_host(self._engine.spec, lane, data.seeds[at[0]], data.evaluation))

        metrics, diverged = dict[str, np.ndarray](), np.full(self.rows.shape, -1)
        for at, values in self._each(read, list(self._states)).items():
            lane = self._states[at]
            for name, value in {**values, "train_loss": lane.loss_sum}.items():
                metrics.setdefault(name, np.full(self.rows.shape, np.nan, value.dtype))[at] = value
            diverged[at] = lane.diverged_at
            self._states[at] = lane._replace(loss_sum=jnp.float32(0))
        by_trial = {name: self._by_trial(value, np.nan) for name, value in metrics.items()}
        return by_trial, self._by_trial(diverged, -1)

    def keep(self, alive: Bool[np.ndarray, "seeds family"]) -> None:
        """Drop lanes, and their memory."""
        self.rows = self._living(alive)
        living = {place: lane for place, lane in self._states.items() if self.rows[place] >= 0}
        self._states = living or dict([next(iter(self._states.items()))])  # `state` wants the shapes of one

    def state(self) -> TrialState:
        """The lanes on the host; rows without a lane repeat another one."""
        some = next(iter(self._states.values()))
        host = jax.device_get(plain_keys([self._states.get(place, some) for place in np.ndindex(self.rows.shape)]))
        return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(*self.rows.shape, *np.shape(leaves[0])), *host)

    def _setting(self, at: Place) -> PyTree:
        return on_device(jax.tree.map(lambda leaf: leaf[self.rows[at]], self._family))

    def _places(self) -> list[Place]:
        return [(seed, row) for seed, row in np.argwhere(self.rows >= 0).tolist()]

    def _each(self, run: Callable[[Place, LoopData], Any], places: list[Place]) -> dict[Place, Any]:
        """What is run for every lane, on the devices in turn."""
        held = self._engine.on_loop_devices
        found = spread(lambda index, _: run(places[index], held[index % len(held)]), len(places), len(held))
        return {places[index]: result for index, result in found}


Lanes = ProgramLanes | HostLanes
"""The lanes of one wave."""


def make_lanes(engine: Engine, settings: PyTree, rows: Rows, state: TrialState | None) -> Lanes:
    """Lanes for some rows, before step 0 or with the states that they had."""
    if state is not None:
        state = _typed_keys(engine, settings, rows, state)
    kind = HostLanes if engine.executor == "loop" else ProgramLanes
    return kind(engine, settings, rows, state)


def train_block(lanes: Lanes, block: Block, execution: Execution) -> float:
    """Train on a block; the seconds that it takes, but for what is compiled."""
    before = execution.run_seconds
    with running(execution):
        lanes.advance(block)
    return execution.run_seconds - before


def _most(rows: Rows) -> int:
    """Lanes of the seed that has most of them."""
    return max(1, int((rows >= 0).sum(axis=1).max()))


@jax.jit
def _gather(states: TrialState, order: Int[Any, "seeds rows"]) -> TrialState:
    return jax.tree.map(lambda leaf: jax.vmap(lambda rows, places: rows[places])(leaf, order), states)


def _typed_keys(engine: Engine, settings: PyTree, rows: Rows, state: TrialState) -> TrialState:
    """Numbers that were typed PRNG keys as such again."""
    shapes = engine.state_shapes(jax.tree.map(lambda leaf: leaf[rows.clip(0)], settings))

    def type_key(shape: Any, leaf: Any) -> Any:
        if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key) and not is_key(leaf):
            return jax.random.wrap_key_data(jnp.asarray(leaf), impl=key_impl(shape))
        return leaf

    return jax.tree.map(type_key, shapes, state)


Pair = tuple[int, float]
"""A lane: its seed, and its learning rate."""


class LaneStates(NamedTuple):
    """States of lanes, to resume from."""

    step: int  # updates that all of them have done
    position: dict[str, Any] | None  # of the reader of a stream there; None for batches with random access
    lanes: dict[Pair, TrialState]  # on the host


NO_LANES = LaneStates(0, None, {})
"""Where new lanes begin."""


class ProgramSlot:
    """A program for some lanes of every seed, with the batches that they read; it tells what `auto` took."""

    def __init__(
        self,
        task: Any,
        experiment: Experiment,
        executor: Executor,
        mesh: Any,
        execution: Execution,
        log: BatchLog,
        *,
        lanes: int,  # of each seed, at a time; fewer if memory asks for it
        longest: int,  # updates of a lane, at most
        own_devices: bool,
    ):
        self.execution, self._dtype, self._accumulation = execution, experiment.dtype, experiment.accumulation
        longest = self._accumulation.batches(longest)
        self.source = BatchSource(task, [seed.data_key for seed in experiment.seeds], longest, log)
        options: dict[str, Any] = {"source": self.source, "longest": longest, "own_devices": own_devices}
        self.engine = Engine(experiment, executor, mesh, execution, **options)
        settings = np.full(lanes, EXAMPLE_LR, self._dtype)
        resolve(self.engine, settings, lanes)
        self.executor: Executor = self.engine.settle()
        self.engine.fit_chunk(lanes)
        self.lanes = lanes_that_fit(self.engine, settings[0], lanes)
        wide_is_cheap = self.executor in ("map", "loop")  # they run no more rows than hold a lane
        self.serves_fewer = wide_is_cheap or is_padding_cheap(self.engine, settings, lanes, options["longest"])
        if self.lanes < lanes:
            execution.notes.append(f"{lanes} lanes at once do not fit into memory: {self.lanes} run at a time.")

    @property
    def width(self) -> int:
        """Lanes of each seed in the program, those that only fill it included."""
        return self.engine.width_for(self.lanes)

    def train(
        self, pairs: Sequence[Pair], start: LaneStates, stop: int, advance: Callable[[int], None], *, evaluate: bool
    ) -> tuple[LaneStates, dict[Pair, float]]:
        """Train lanes from the start to update `stop`, as many at a time as the program holds; their losses there."""
        states: dict[Pair, TrialState] = {}
        losses: dict[Pair, float] = {}
        position = None
        while left := [pair for pair in pairs if pair not in states]:
            try:
                lanes, where, lrs = self._begin(left, start)
                position = self.advance(lanes, len(where), start, stop, advance)
                read = None
                if evaluate:
                    with running(self.execution):
                        read = lanes.evaluate()[0]["loss"]
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                half = halved(self.width, self.engine.unit)
                if half is None or not out_of_memory(error):
                    raise
                self.execution.notes.append(halved_note(self.width, half))
                self.lanes = half
                continue
            if read is not None:
                losses |= {(seed, lr): float(read[seed, lrs.index(lr)]) for seed, lr in where}
            held = lanes.state()
            states |= {pair: jax.tree.map(lambda leaf, p=row: np.array(leaf[p]), held) for pair, row in where.items()}
            if self.executor not in ("map", "loop"):
                filling = self.engine.num_seeds * self.width - len(where)
                self.execution.padded_updates += filling * (stop - start.step)
        return LaneStates(stop, position, states), losses

    def _begin(
        self, pairs: Sequence[Pair], start: LaneStates
    ) -> tuple[Lanes, dict[Pair, tuple[int, int]], list[float]]:
        """Lanes at the start for as many pairs as the program holds, the row of each, and their learning rates."""
        by_seed: list[list[float]] = [[] for _ in range(self.engine.num_seeds)]
        for seed, lr in pairs:
            if len(by_seed[seed]) < self.lanes:
                by_seed[seed].append(lr)
        lrs = sorted({lr for held in by_seed for lr in held})
        trials: Int[np.ndarray, "seeds lanes"] = np.full((len(by_seed), max(map(len, by_seed))), -1)
        for seed, held in enumerate(by_seed):
            trials[seed, : len(held)] = [lrs.index(lr) for lr in held]
        rows = assign_lanes(trials, self.width, self.engine.shards)
        where = {(seed, lrs[rows[seed, row]]): (seed, row) for seed, row in np.argwhere(rows >= 0).tolist()}
        state = _stack(start.lanes, where, rows.shape) if start.step else None
        return make_lanes(self.engine, np.asarray(lrs, self._dtype), rows, state), where, lrs

    def advance(
        self, lanes: Lanes, count: int, start: LaneStates, stop: int, advance: Callable[[int], None]
    ) -> dict[str, Any] | None:
        """Train `count` lanes from the start to update `stop`; where the reader of a stream is then."""
        step, stop, position = *map(self._accumulation.batches, (start.step, stop)), start.position
        self.source.seek(step, position)
        done = self._accumulation.done(stop)
        with ReadAhead(self.source, self.engine.place_batches, step, [stop], self.engine.block) as reader:
            while step < stop:
                block = reader()
                reader.pace(block, lambda block: train_block(lanes, block, self.execution))
                advance(count * int(done[step + block.count] - done[step]))
                step, position = step + block.count, block.position
        return position


def _stack(lanes: dict[Pair, TrialState], where: dict[Pair, tuple[int, int]], shape: tuple[int, ...]) -> TrialState:
    """Lanes in their rows; rows without one repeat another."""
    pairs = {place: pair for pair, place in where.items()}
    some = next(iter(where))
    rows = [lanes[pairs.get(place, some)] for place in np.ndindex(*shape)]
    return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(*shape, *np.shape(leaves[0])), *rows)
