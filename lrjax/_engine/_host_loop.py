"""One trial as a loop on the host around a jitted step: the executor `loop`, references and ramps."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._types import Array, Bool, Float, Int, PyTree
from ._devices import Rows, plain_keys
from ._sharding import place
from ._trial import (
    evaluate_batch,
    finish_record,
    init_trial,
    mean_over_batches,
    observe_step,
    set_hyperparameters,
    training_loss,
    update_with_loss,
    weights_to_evaluate,
)
from ._trial_data import Block, EvalData, SeedData, TrialRecord, TrialSpec, TrialState
from ._weak import JittedFor


def _begin(spec: TrialSpec, hyperparameters: PyTree, data: SeedData) -> TrialState:
    # copied, since the steps donate their state and these are the seed's own parameters
    return jax.tree.map(jnp.copy, init_trial(spec, hyperparameters, data))


def _evaluate_one(
    spec: TrialSpec, params: PyTree, model_state: PyTree, group: PyTree, index: Int[Array, ""], key: Array
) -> dict[str, Array]:
    batch = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), group)
    return evaluate_batch(spec, params, model_state, batch, key)


begin_on_host = JittedFor(_begin)
step_on_host = JittedFor(update_with_loss, donate_argnums=1)
_observe = JittedFor(observe_step)
_set_hyperparameters = JittedFor(set_hyperparameters, donate_argnums=1)
_loss_before = JittedFor(training_loss)
_weights = JittedFor(weights_to_evaluate)
_evaluate_batch = JittedFor(_evaluate_one)
_finish = jax.jit(finish_record)


@jax.jit
def _mean(values: list[dict[str, Array]], shares: tuple[Array, ...] | None) -> dict[str, Array]:
    # as one group, whose sum rounds as the sums of groups do inside one program
    stacked = jax.tree.map(lambda *some: jnp.stack(some), *values)
    return mean_over_batches([stacked], None if shares is None else [jnp.concatenate(shares)])


def compile_step(spec: TrialSpec, hyperparameters: PyTree, data: SeedData) -> Any:
    """The executable of a step of `run_on_host`."""
    return step_on_host.lower(spec, hyperparameters, begin_on_host(spec, hyperparameters, data), data).compile()


def run_on_host(
    spec: TrialSpec, hyperparameters: PyTree, data: SeedData, evaluation: EvalData
) -> tuple[TrialRecord, TrialState]:
    """`run_trial` on the host, and the state after the last step."""
    state, done, metrics = begin_on_host(spec, hyperparameters, data), 0, []
    for horizon in spec.horizons:
        for _ in range(horizon - done):
            state, _ = step_on_host(spec, hyperparameters, state, data)
        done = horizon
        metrics.append(evaluate_on_host(spec, state, data, evaluation))
    stacked = {name: jnp.stack([values[name] for values in metrics]) for name in metrics[0]}
    return _finish(state, stacked), state


def follow_on_host(
    spec: TrialSpec, hyperparameters: Iterable[PyTree], data: SeedData
) -> Iterator[tuple[Array, TrialState]]:
    """One trial whose hyperparameters change at every step."""
    state = None
    returned = spec.step_fn is None or cast(Any, spec.step_fn).returns_loss
    for setting in hyperparameters:
        if state is None:
            state = begin_on_host(spec, setting, data)
        elif spec.step_fn is not None:
            state = _set_hyperparameters(spec, setting, state)
        before = None if returned else _loss_before(spec, state, data)
        state, loss = step_on_host(spec, setting, state, data)
        yield loss if before is None else before, state


def evaluate_on_host(spec: TrialSpec, state: TrialState, data: SeedData, evaluation: EvalData) -> dict[str, Array]:
    """`evaluate` as a loop on the host over the evaluation batches."""
    params = _weights(spec, state, data)
    groups, shares = evaluation.batches
    values = [
        _evaluate_batch(spec, params, state.model_state, group, jnp.asarray(np.int32(index)), evaluation.key)
        for group in groups
        for index in range(jax.tree.leaves(group)[0].shape[0])
    ]
    return values[0] if len(values) == 1 and shares is not None else _mean(values, shares)


def observe_on_host(spec: TrialSpec, data: SeedData, evaluation: EvalData) -> np.ndarray:
    """The loss after each horizon at learning rate 0, where only the model state moves, shape (horizons,)."""
    spec, state, losses = _without_optimizer(spec, data), _untouched(data), []
    for step in range(spec.horizons[-1]):
        state = _observe(spec, state, data)
        if step + 1 in spec.horizons:
            losses.append(np.asarray(evaluate_on_host(spec, state, data, evaluation)["loss"]))
    return np.stack(losses)


def untouched_loss(spec: TrialSpec, data: SeedData, evaluation: EvalData) -> np.ndarray:
    """The loss of the initial parameters and state."""
    spec = _without_optimizer(spec, data)
    return np.asarray(evaluate_on_host(spec, _untouched(data), data, evaluation)["loss"])


def _untouched(data: SeedData) -> TrialState:
    """A state whose optimizer has none, unless a checkpoint's: what is evaluated are the parameters themselves."""
    none, zero = jnp.asarray(np.int32(-1)), jnp.asarray(np.int32(0))
    opt_state = () if data.opt_state is None else data.opt_state
    return TrialState(data.params, data.model_state, opt_state, zero, none, jnp.asarray(np.float32(0)))


def _without_optimizer(spec: TrialSpec, data: SeedData) -> TrialSpec:
    eval_params = None if data.opt_state is None else spec.eval_params
    return dataclasses.replace(spec, make_optimizer=optax.sgd, eval_params=eval_params)


class HostLanes:
    """Lanes trained one after the other by a loop on the host; see `make_lanes`."""

    def __init__(self, engine: Any, settings: PyTree, rows: Rows, state: TrialState | None):
        self._engine, self._family, self.rows = engine, settings, rows
        self._states: dict[tuple[int, int], TrialState] = {}
        for seed, row in np.argwhere(rows >= 0).tolist():
            if state is None:
                setting, data = self._setting(seed, row), _seed_of(engine.seeds, seed)
                self._states[seed, row] = begin_on_host(engine.spec, setting, data)
            else:
                lane = jax.tree.map(lambda leaf, s=seed, r=row: jnp.asarray(leaf[s, r]), state)
                self._states[seed, row] = place(lane, engine.spec.shardings)

    def advance(self, block: Block) -> None:
        """Train on a block, lane after lane."""
        engine = self._engine
        for seed in range(self.rows.shape[0]):
            batches = block.batches if engine.shared else _seed_of(block.batches, seed)
            data = _seed_of(engine.seeds._replace(params=None, model_state=None, opt_state=None), seed)
            data = data._replace(batches=batches, first_step=engine.scalar(block.start))
            for row in map(int, np.flatnonzero(self.rows[seed] >= 0)):
                setting = self._setting(seed, row)
                lane = self._states[seed, row]
                for _ in range(block.count):
                    lane, _ = step_on_host(engine.spec, setting, lane, data)
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
            data = _seed_of(engine.seeds._replace(params=None, model_state=None, opt_state=None, key=None), seed)
            values = evaluate_on_host(engine.spec, lane, data, engine.evaluation)
            for name, value in {**values, "train_loss": lane.loss_sum}.items():
                metrics.setdefault(name, np.full(shape, np.nan, np.asarray(value).dtype))[seed, trial] = value
            diverged[seed, trial] = lane.diverged_at
            self._states[seed, row] = lane._replace(loss_sum=jnp.float32(0))
        return metrics, diverged

    def keep(self, alive: Bool[np.ndarray, "seeds family"]) -> None:
        """Drop lanes, and their memory."""
        self.rows = np.where((self.rows >= 0) & np.take_along_axis(alive, self.rows.clip(0), axis=1), self.rows, -1)
        living = {place: lane for place, lane in self._states.items() if self.rows[place] >= 0}
        self._states = living or dict([next(iter(self._states.items()))])  # `state` wants the shapes of one

    def state(self) -> TrialState:
        """The lanes on the host; rows without a lane repeat another one."""
        some = next(iter(self._states.values()))
        lanes = [
            [self._states.get((seed, row), some) for row in range(self.rows.shape[1])]
            for seed in range(self.rows.shape[0])
        ]
        host = jax.device_get(plain_keys(lanes))
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
