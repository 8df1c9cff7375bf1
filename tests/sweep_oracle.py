"""The oracle of sweeps: one trial trained by a plain Python loop of one jitted Optax step; and a sweep to vary."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import lax
from problems import regression
from sequential import EVALUATION, seed_keys

import lrjax

KEY = jax.random.key(5)


class Curve(NamedTuple):
    """What a trial measured: name -> a value at every evaluation, and the training loss of every step."""

    metrics: dict[str, np.ndarray]
    train_losses: np.ndarray


def follow(
    task: lrjax.Task,
    optimizer: Any,
    *,
    evaluations: Sequence[int],
    key: jax.Array = KEY,
    seed: int = 0,
    batches: Sequence[Any] | None = None,
    in_one_program: bool = False,
) -> Curve:
    """Train to the last of `evaluations`.

    `batches` are those of a stream; None draws the seed's own. `in_one_program` compiles the loop over the steps too,
    and tells no training losses.
    """
    init_key, data_key, train_key = seed_keys(key, seed)
    made = task.init(init_key) if callable(task.init) else task.init
    params, state = made if task.has_state else (made, ())
    stacked = task.sample_batches(data_key, evaluations[-1]) if batches is None else None

    def loss_of(params: Any, state: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        if task.has_state:
            return task.loss_fn(params, state, batch, key)
        return task.loss_fn(params, batch, key), ()

    def update(carry: Any, batch: Any, index: Any) -> tuple[Any, jax.Array]:
        params, state, opt_state = carry
        dropout_key = jax.random.fold_in(train_key, index)
        (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(params, state, batch, dropout_key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), state, opt_state), loss

    def update_many(carry: Any, batches: Any, start: Any, stop: Any) -> Any:
        def body(index: Any, carry: Any) -> Any:
            batch = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), batches)
            return update(carry, batch, index)[0]

        return lax.fori_loop(start, stop, body, carry)

    def evaluate(params: Any, state: Any, batch: Any) -> dict[str, jax.Array]:
        if task.eval_fn is None:
            return {"loss": loss_of(params, state, batch, jax.random.fold_in(key, EVALUATION))[0]}
        metrics = task.eval_fn(params, state, batch) if task.has_state else task.eval_fn(params, batch)
        return metrics if isinstance(metrics, dict) else {"loss": metrics}

    step, steps, evaluation = jax.jit(update), jax.jit(update_many), jax.jit(evaluate)
    carry: Any = (params, state, optimizer.init(params))
    losses, rows = [], []
    for start, stop in zip((0, *evaluations), evaluations, strict=False):
        if in_one_program:
            carry = steps(carry, stacked, start, stop)
        for index in range(start, 0 if in_one_program else stop):
            batch = batches[index] if batches is not None else jax.tree.map(lambda leaf, i=index: leaf[i], stacked)
            carry, loss = step(carry, batch, index)
            losses.append(float(loss))
        parts = [evaluation(*carry[:2], batch) for batch in task.eval_batches]
        sizes = [jax.tree.leaves(batch)[0].shape[0] for batch in task.eval_batches]
        rows.append({name: np.average([float(part[name]) for part in parts], weights=sizes) for name in parts[0]})
    return Curve({name: np.asarray([row[name] for row in rows]) for name in rows[0]}, np.asarray(losses))


def check_lane(result: lrjax.SweepResult, trial: int, seed: int, curve: Curve, *, rtol: float = 0.0) -> None:
    """A lane has the oracle's numbers; the sum of its training losses is rounded at every step."""
    assert set(curve.metrics) | {"train_loss"} == set(result.metrics)
    for name, values in curve.metrics.items():
        np.testing.assert_allclose(result.metrics[name][trial, seed], values, rtol=rtol, err_msg=name)
    if len(curve.train_losses):
        means = [part.mean() for part in np.split(curve.train_losses, result.steps)[:-1]]
        np.testing.assert_allclose(result.metrics["train_loss"][trial, seed], means, rtol=max(rtol, 2e-6))


def same_numbers(
    one: lrjax.SweepResult, other: lrjax.SweepResult, *, rtol: float = 0.0, trials: Any = slice(None)
) -> None:
    """All that two sweeps measured is equal; `trials` says which of the other's trials the first one has."""
    assert one.metrics.keys() == other.metrics.keys()
    np.testing.assert_array_equal(one.steps, other.steps)
    for name, values in one.metrics.items():
        np.testing.assert_allclose(values, other.metrics[name][trials], rtol=rtol, err_msg=name)
    np.testing.assert_array_equal(one.diverged_at, other.diverged_at[trials])
    np.testing.assert_array_equal(one.stopped_at, other.stopped_at[trials])


@contextlib.contextmanager
def compiled() -> Iterator[list[str]]:
    """The names of what XLA compiles."""
    names: list[str] = []

    def listen(event: str, duration: float, **more: Any) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(str(more.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


REGRESSION = regression()
THREE = {"learning_rate": [0.001, 0.03, 0.3]}


def momentum(learning_rate: Any, momentum: Any = 0.9) -> Any:
    return optax.sgd(learning_rate, momentum=momentum)


def regress(executor: Any = "map", grid: Any = THREE, **options: Any) -> lrjax.SweepResult:
    """A small sweep, in which a test replaces one thing; sweeps that differ in the rest only share their programs."""
    good = {"key": KEY, "train_steps": 24, "num_seeds": 2, "eval_every": 6}
    return lrjax.sweep(REGRESSION, momentum, grid, executor=executor, **good | options)
