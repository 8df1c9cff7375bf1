"""One trial as a loop on the host around a jitted step: the executor `loop`, references and ramps."""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._settings import current_settings, with_settings
from .._types import Array, PyTree, ScalarLike
from ._trial import (
    begin_on_host,
    evaluate_batch,
    evaluates_others,
    finish_record,
    mean_over_batches,
    set_hyperparameters,
    step_on_host,
    train_step,
    training_loss,
    weights_to_evaluate,
)
from ._trial_data import EvalData, SeedData, TrialRecord, TrialSpec, TrialState
from ._weak import JittedFor


def _evaluate_one(
    spec: TrialSpec, params: PyTree, model_state: PyTree, group: PyTree, index: ScalarLike, key: Array
) -> dict[str, Array]:
    batch = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), group)
    return evaluate_batch(spec, params, model_state, batch, key)


def _observe_step(
    spec: TrialSpec, hyperparameters: PyTree, state: TrialState, data: SeedData, index: ScalarLike
) -> tuple[TrialState, None]:
    """`train_step` without the loss, of which XLA then compiles nothing that the state does not need."""
    after, _ = train_step(spec, hyperparameters, state, data, cast(Any, index))
    return after._replace(diverged_at=state.diverged_at, loss_sum=state.loss_sum), None


_observe_on_host = JittedFor(_observe_step, donate_argnums=1)
_set_hyperparameters = JittedFor(set_hyperparameters, donate_argnums=1)
_loss_before = JittedFor(training_loss)
_weights = JittedFor(weights_to_evaluate)
_evaluate_batch = JittedFor(_evaluate_one)


@jax.jit
def _finish(state: TrialState, metrics: list[dict[str, Array]]) -> TrialRecord:
    return finish_record(state, jax.tree.map(lambda *values: jnp.stack(values), *metrics))


@jax.jit
def _mean(values: list[dict[str, Array]], shares: tuple[Array, ...] | None) -> dict[str, Array]:
    # as one group, whose sum rounds as the sums of groups do inside one program
    stacked = jax.tree.map(lambda *some: jnp.stack(some), *values)
    return mean_over_batches([stacked], None if shares is None else [jnp.concatenate(shares)])


def compile_step(spec: TrialSpec, hyperparameters: PyTree, data: SeedData) -> Any:
    """The executable of a step of `run_on_host`."""
    state = begin_on_host(spec, hyperparameters, data)
    return step_on_host.of(spec, "lower")(hyperparameters, state, data, 0).compile()


def run_on_host(
    spec: TrialSpec,
    hyperparameters: PyTree,
    data: SeedData,
    evaluation: EvalData,
    step: JittedFor = step_on_host,
    stopped: threading.Event | None = None,
) -> tuple[TrialRecord, TrialState]:
    """`train_lane` on the host, and the state after the last step."""
    state, done, metrics = begin_on_host(spec, hyperparameters, data), 0, []
    update = step.of(spec)
    for horizon in spec.horizons:
        for index in range(done, horizon):
            if stopped is not None and stopped.is_set():
                raise CancelledError
            state, _ = update(hyperparameters, state, data, index)
        done = horizon
        metrics.append(evaluate_on_host(spec, state, data, evaluation))
    return _finish(state._replace(params=None, model_state=None, opt_state=None), metrics), state


def spread(run: Callable[[int, threading.Event], Any], count: int, devices: int) -> Iterator[tuple[int, Any]]:
    """The results of `run(0, stopped)` to `run(count - 1, stopped)` as they come: i belongs to device i % devices.

    Each has a thread, since a step of a CPU runs in the one that calls it. After an error or Ctrl-C none goes on.
    """
    stopped = threading.Event()
    if min(count, devices) < 2:
        yield from ((index, run(index, stopped)) for index in range(count))
        return
    settings = current_settings()

    def work(index: int) -> Any:
        with with_settings(settings):
            return run(index, stopped)

    threads = [ThreadPoolExecutor(1, "lrjax-loop") for _ in range(devices)]
    futures: dict[Future, int] = {threads[index % devices].submit(work, index): index for index in range(count)}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        stopped.set()
        for thread in threads:
            thread.shutdown(cancel_futures=True)


def follow_on_host(
    spec: TrialSpec, hyperparameters: Iterable[PyTree], data: SeedData
) -> Iterator[tuple[Array, TrialState]]:
    """One trial whose hyperparameters change at every step."""
    state = None
    returned = spec.step_fn is None or cast(Any, spec.step_fn).returns_loss
    for index, setting in enumerate(hyperparameters):
        if state is None:
            state = begin_on_host(spec, setting, data)
        elif spec.step_fn is not None:
            state = _set_hyperparameters(spec, setting, state)
        before = None if returned else _loss_before(spec, state, data, index)
        state, loss = step_on_host(spec, setting, state, data, index)
        yield loss if before is None else before, state


def evaluate_on_host(spec: TrialSpec, state: TrialState, data: SeedData, evaluation: EvalData) -> dict[str, Array]:
    """`evaluate` as a loop on the host over the evaluation batches."""
    weights = _weights if evaluates_others(spec, state.opt_state) else weights_to_evaluate
    params = weights(spec, state, data)
    groups, shares = evaluation.batches
    # what no batch is evaluated by is the same for all, so that one program serves trials and what they start from
    spec = dataclasses.replace(spec, make_optimizer=_no_updates, eval_params=None, lr_leaves=(), horizons=())
    values = [
        _evaluate_batch(spec, params, state.model_state, group, index, evaluation.key)
        for group in groups
        for index in range(jax.tree.leaves(group)[0].shape[0])
    ]
    return values[0] if len(values) == 1 and shares is not None else _mean(values, shares)


def observe_on_host(spec: TrialSpec, data: SeedData, evaluation: EvalData) -> np.ndarray:
    """The loss after each horizon at learning rate 0, shape (horizons,): only the model state moves, or an own step."""
    spec = without_updates(spec, data)
    return np.asarray(run_on_host(spec, np.float32(0), data, evaluation, _observe_on_host)[0].metrics["loss"])


def untouched_loss(spec: TrialSpec, data: SeedData, evaluation: EvalData) -> np.ndarray:
    """The loss of the initial parameters and state."""
    counts: Any = (np.int32(0), np.int32(-1), np.float32(0))
    opt_state = () if data.opt_state is None else data.opt_state
    state = TrialState(data.params, data.model_state, opt_state, *counts)
    return np.asarray(evaluate_on_host(without_updates(spec, data), state, data, evaluation)["loss"])


def without_updates(spec: TrialSpec, data: SeedData) -> TrialSpec:
    """The same trial with an optimizer that does nothing; a step of the user's as it is."""
    if spec.step_fn is not None:
        return spec
    # without a state, which only a checkpoint has, what is evaluated are the parameters themselves
    eval_params = None if data.opt_state is None else spec.eval_params
    return dataclasses.replace(spec, make_optimizer=_no_updates, eval_params=eval_params, lr_leaves=())


def _no_updates(lr: Any) -> optax.GradientTransformation:
    """An optimizer that leaves the parameters alone, and its state too, whatever that is."""
    return optax.GradientTransformation(lambda params: (), optax.set_to_zero().update)
