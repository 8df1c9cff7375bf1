"""One trial as pure functions: init_trial, train_steps, evaluate. The executors lift them over the lanes."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from .._checks import describe, show
from .._settings import TRACER_ERRORS
from .._types import Array, Batch, Float, Int, Key, ModelState, Params, PyTree
from ._optimizer import build_optimizer, build_put, carried_difference, extra_arguments, hint_for, places
from ._sharding import constrain
from ._trial_data import EvalData, Reading, RowsOf, SeedData, Shared, TrialRecord, TrialSpec, TrialState, join_params
from ._weak import JittedFor


def init_trial(spec: TrialSpec, hyperparameters: PyTree, data: SeedData) -> TrialState:
    """The state before step 0."""
    if spec.step_fn is not None:
        state = TrialState(data.params, data.model_state, (), jnp.int32(0), jnp.int32(-1), jnp.float32(0))
        return set_hyperparameters(spec, hyperparameters, state)
    optimizer = build_optimizer(spec.make_optimizer, hyperparameters)
    opt_state = optimizer.init(data.params)
    if data.opt_state is not None:
        own, (kept, treedef) = jax.tree.leaves(opt_state), jax.tree.flatten(data.opt_state)
        leaves = [own[index] if index in spec.lr_leaves else leaf for index, leaf in enumerate(kept)]
        opt_state = treedef.unflatten(leaves)
    state = TrialState(data.params, data.model_state, opt_state, jnp.int32(0), jnp.int32(-1), jnp.float32(0))
    return constrain(state, spec.shardings)


def set_hyperparameters(spec: TrialSpec, hyperparameters: PyTree, state: TrialState) -> TrialState:
    """The state of a step of the user's, with hyperparameters in it."""
    put = build_put(spec.make_optimizer, hyperparameters)
    return constrain(state._replace(params=put(state.params)), spec.shardings)


def batch_and_key(state: TrialState, data: SeedData, index: int | Int[Array, ""]) -> tuple[Batch, Key]:
    """The training batch at an index, and the dropout key of the step that the state is at.

    The index is the loop's own, not `state.step`: that differs from lane to lane for `vmap`, which would then gather a
    copy of the batch for each.
    """
    held = data.batches.rows if isinstance(data.batches, RowsOf) else data.batches
    batch = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), held)
    if isinstance(data.batches, RowsOf):
        batch = jax.tree.map(lambda leaf, at=batch: leaf.at[at].get(mode="promise_in_bounds"), data.batches.arrays)
    return batch, jax.random.fold_in(data.key, state.step)


def train_step(
    spec: TrialSpec, hyperparameters: PyTree, state: TrialState, data: SeedData, index: int | Int[Array, ""] = 0
) -> tuple[TrialState, Float[Array, ""]]:
    """One optimizer update, and the training loss before it (nan where a step of the user's returns none)."""
    batch, key = batch_and_key(state, data, index)
    if spec.step_fn is not None:
        params, loss = call_traced("step", spec.step_fn, state.params, batch)
        known = cast(Any, spec.step_fn).returns_loss
        new_state = state._replace(
            params=params,
            step=state.step + 1,
            diverged_at=_diverged_at(state, loss) if known else state.diverged_at,
            loss_sum=state.loss_sum + loss.astype(jnp.float32),
        )
        return constrain(new_state, spec.shardings), loss

    def loss_of(train: Params) -> tuple[Array, ModelState]:
        return call_loss(spec, join_params(train, data.frozen), state.model_state, batch, key)

    (loss, model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    optimizer = build_optimizer(spec.make_optimizer, hyperparameters)

    extra = extra_arguments(loss, grads, lambda train: loss_of(train)[0])
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params, **extra)
    new_state = TrialState(
        params=optax.apply_updates(state.params, updates),
        model_state=_like(state.model_state, model_state),
        opt_state=_like(state.opt_state, opt_state),
        step=state.step + 1,
        diverged_at=_diverged_at(state, loss),
        loss_sum=state.loss_sum + loss.astype(jnp.float32),
    )
    return constrain(new_state, spec.shardings), loss


def _begin(spec: TrialSpec, hyperparameters: PyTree, data: SeedData) -> TrialState:
    # copied, since the steps donate their state and these are the seed's own parameters
    return jax.tree.map(jnp.copy, init_trial(spec, hyperparameters, data))


begin_on_host = JittedFor(_begin)
step_on_host = JittedFor(train_step, donate_argnums=1)


def _diverged_at(state: TrialState, loss: Array) -> Int[Array, ""]:
    """The first step whose training loss was not finite."""
    return jnp.where((state.diverged_at < 0) & ~jnp.isfinite(loss), state.step, state.diverged_at)


def training_loss(spec: TrialSpec, state: TrialState, data: SeedData, index: int | Int[Array, ""]) -> Float[Array, ""]:
    """The loss of a batch, without an update."""
    batch, key = batch_and_key(state, data, index)
    return call_loss(spec, join_params(state.params, data.frozen), state.model_state, batch, key)[0]


def train_steps(
    spec: TrialSpec, hyperparameters: PyTree, state: TrialState, data: SeedData, first: Any, count: Any
) -> TrialState:
    """`count` updates in one loop, on the batches from index `first` on."""
    update = lambda index, state: train_step(spec, hyperparameters, state, data, first + index)[0]  # noqa: E731
    return lax.fori_loop(0, count, update, state)


def evaluate(spec: TrialSpec, state: TrialState, data: SeedData, evaluation: EvalData) -> dict[str, Array]:
    """The mean of every metric over the evaluation examples."""
    params = weights_to_evaluate(spec, state, data)
    groups, shares = evaluation.batches

    def of_batch(batch: Batch) -> dict[str, Array]:
        return evaluate_batch(spec, params, state.model_state, batch, evaluation.key)

    if len(groups) == 1 and jax.tree.leaves(groups[0])[0].shape[0] == 1:
        metrics = of_batch(jax.tree.map(lambda leaf: leaf[0], groups[0]))
        return mean_over_batches([jax.tree.map(lambda value: value[None], metrics)], shares)
    return mean_over_batches([lax.map(of_batch, group) for group in groups], shares)


def mean_over_batches(
    metrics: Sequence[dict[str, Array]], shares: Sequence[Array] | None
) -> dict[str, Float[Array, ""]]:
    """The weighted mean of every metric; nan where the weights that `eval_fn` returned have none."""
    names = list(metrics[0])
    for other in metrics:
        if set(other) != set(names):
            raise ValueError(f"`eval_fn` must return the same names for every batch, got {names} and {list(other)}.")
    if shares is not None:
        return {name: _mean([group[name] for group in metrics], shares) for name in names}
    weights = [group[WEIGHT] for group in metrics]
    total = sum(jnp.sum(weight) for weight in weights)
    sane = jnp.isfinite(total) & (total > 0) & jnp.stack([(weight >= 0).all() for weight in weights]).all()
    shares = [weight / total for weight in weights]

    def mean(name: str) -> Array:
        # a batch without valid examples has nan for its mean
        counted = [jnp.where(weight > 0, group[name], 0) for group, weight in zip(metrics, weights, strict=True)]
        return jnp.where(sane, _mean(counted, shares), jnp.nan)

    return {name: mean(name) for name in names if name != WEIGHT}


def _mean(values: Sequence[Array], shares: Sequence[Array]) -> Array:
    if len(values) == 1 and len(values[0]) == 1:  # no mean, so no rounding
        return values[0][0]
    pairs = zip(values, shares, strict=True)
    return cast(Array, sum(jnp.sum(value * share.astype(value.dtype)) for value, share in pairs))


WEIGHT = "weight"
"""What `eval_fn` returns under this name is how much the batch counts, and no metric."""


def evaluate_batch(
    spec: TrialSpec, params: Params, model_state: ModelState, batch: Batch, key: Key
) -> dict[str, Array]:
    """The metrics of one batch, as float32 scalars (float64 where the function gives them), and maybe its weight."""
    if spec.eval_fn is None:
        metrics: Any = {"loss": call_loss(spec, params, model_state, batch, key)[0]}
    else:
        arguments = (params, model_state, batch) if spec.has_state else (params, batch)
        metrics = call_traced("eval_fn", spec.eval_fn, *arguments)
    if not isinstance(metrics, dict):
        metrics = {"loss": metrics}
    if "loss" not in metrics or not all(isinstance(name, str) for name in metrics):
        raise ValueError(
            f'`eval_fn` must return a scalar loss or a dict of names with "loss", got the names {list(metrics)}. '
            "The learning rate is chosen by the loss."
        )
    scalars = {
        name: check_scalar(f'eval_fn(...)["{name}"]', value, total=name == WEIGHT) for name, value in metrics.items()
    }
    return {name: value if value.dtype.itemsize >= 4 else value.astype(jnp.float32) for name, value in scalars.items()}


def weights_to_evaluate(spec: TrialSpec, state: TrialState, data: SeedData) -> Params:
    """The parameters that the optimizer evaluates; all leaves, frozen ones included."""
    return join_params(evaluated_params(spec, state.opt_state, state.params), data.frozen)


def evaluated_params(spec: TrialSpec, opt_state: PyTree, train: Params) -> Params:
    """What an optimizer evaluates in the place of the parameters that it trains."""
    if spec.eval_params is not None:
        return spec.eval_params(opt_state, train)
    schedule_free = _schedule_free(opt_state)
    if schedule_free:
        if len(schedule_free) > 1 or jax.tree.structure(schedule_free[0].z) != jax.tree.structure(train):
            raise ValueError(
                "`make_optimizer` uses schedule_free for a part of the parameters, so which weights to evaluate is "
                "open. Give Task(eval_params=...), a function of (opt_state, params), or use it for all of them."
            )
        return optax.contrib.schedule_free_eval_params(schedule_free[0], train)
    return train


def evaluates_others(spec: TrialSpec, opt_state: PyTree) -> bool:
    """Whether other weights are evaluated than those that train."""
    return spec.eval_params is not None or bool(_schedule_free(opt_state))


def _schedule_free(opt_state: PyTree) -> list[Any]:
    is_one = lambda node: isinstance(node, optax.contrib.ScheduleFreeState)  # noqa: E731
    return [node for node in jax.tree.leaves(opt_state, is_leaf=is_one) if is_one(node)]


def train_lane(spec: TrialSpec, setting: PyTree, state: None, seed: SeedData, shared: Shared) -> TrialRecord:
    """A whole trial: trained from step 0 to the last horizon, and evaluated at each of them."""
    evaluation = cast(EvalData, shared.evaluation)
    begun = init_trial(spec, setting, seed)
    block = math.gcd(*spec.horizons)
    num_blocks = spec.horizons[-1] // block

    def advance(state: TrialState, at: tuple[Any, Any]) -> tuple[TrialState, dict[str, Array]]:
        first, keep = at
        state = train_steps(spec, setting, state, seed, first, block)
        if len(spec.horizons) == num_blocks:
            return state, evaluate(spec, state, seed, evaluation)
        shapes = jax.eval_shape(lambda: evaluate(spec, state, seed, evaluation))
        return state, lax.cond(
            keep,
            lambda: evaluate(spec, state, seed, evaluation),
            lambda: jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes),
        )

    if num_blocks == 1:
        end, last = advance(begun, (0, True))
        metrics = {name: value[None] for name, value in last.items()}
    else:
        rows = np.asarray([horizon // block - 1 for horizon in spec.horizons])
        starts, wanted = block * np.arange(num_blocks, dtype=np.int32), np.isin(np.arange(num_blocks), rows)
        end, every = lax.scan(advance, begun, (jnp.asarray(starts), jnp.asarray(wanted)))
        metrics = {name: value[rows] for name, value in every.items()}
    return finish_record(end, metrics)


def finish_record(state: TrialState, metrics: dict[str, Array]) -> TrialRecord:
    """The record of a trial: a loss that is not finite at the end counts as divergence at the last step."""
    diverged = (state.diverged_at < 0) & ~jnp.isfinite(metrics["loss"][-1])
    return TrialRecord(metrics, jnp.where(diverged, state.step - 1, state.diverged_at))


def begin_lane(spec: TrialSpec, setting: PyTree, state: None, seed: SeedData, shared: Shared) -> TrialState:
    """A lane before step 0."""
    return init_trial(spec, setting, seed)


def advance_lane(spec: TrialSpec, setting: PyTree, state: TrialState, seed: SeedData, shared: Shared) -> TrialState:
    """`shared.count` updates."""
    batches = shared.batches
    if seed.batches is not None:
        batches = seed.batches if shared.batches is None else RowsOf(shared.batches, seed.batches)
    return train_steps(spec, setting, state, seed._replace(batches=batches), 0, shared.count)


def evaluate_lane(spec: TrialSpec, setting: None, state: TrialState, seed: SeedData, shared: Shared) -> Reading:
    """The metrics of a lane."""
    return Reading(evaluate(spec, state, seed, cast(EvalData, shared.evaluation)), state.loss_sum, state.diverged_at)


Kind = Literal["begin", "advance", "evaluate", "train"]
ONE_LANE: dict[Kind, Callable[..., Any]] = {
    "begin": begin_lane,
    "advance": advance_lane,
    "evaluate": evaluate_lane,
    "train": train_lane,
}
"""The parts of a training that is carried from call to call, and a whole one."""


def call_loss(
    spec: TrialSpec, params: Params, model_state: ModelState, batch: Batch, key: Key
) -> tuple[Array, ModelState]:
    """The loss and the new model state, checked."""
    if not spec.has_state:
        return check_scalar("loss_fn(...)", call_traced("loss_fn", spec.loss_fn, params, batch, key)), model_state
    result = call_traced("loss_fn", spec.loss_fn, params, model_state, batch, key)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(
            f"`loss_fn` of a stateful task must return (loss, model_state), got {show(result)}. "
            "Return both, or use Task for a model without a state."
        )
    loss, new_state = result
    difference = carried_difference(model_state, new_state)
    if difference:
        swapped = jax.tree.structure(loss) == jax.tree.structure(model_state) and isinstance(new_state, jax.Array)
        if swapped and new_state.shape == ():
            difference = "they came the other way round. Write lambda *arguments: loss_fn(*arguments)[::-1]"
        raise ValueError(
            "`loss_fn` of a stateful task must return (loss, model_state), with a model_state of the structure, the "
            f"shapes and the kinds of numbers it was given, but {difference}."
        )
    return check_scalar("loss_fn(...)[0]", loss), new_state


def call_traced(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the user's function; say so where it is not made for tracing."""
    try:
        return function(*arguments)
    except TRACER_ERRORS as error:
        raise TypeError(
            f"`{name}` must be made of jax.numpy operations, since it is compiled, but it needs a concrete "
            f"value{places(error)}. "
            + (hint_for(error) or "Write jnp for np, jnp.where for `if`, and leave out float().")
        ) from error


def check_scalar(where: str, value: Any, *, total: bool = False) -> Array:
    """A floating scalar, a mean over a batch or a `total`, or an error that shows what came instead."""
    if isinstance(value, tuple):
        raise TypeError(
            f"`{where}` must be a scalar loss, got a tuple of {len(value)}. Return the loss alone; "
            "a loss with a model state belongs to `Task.stateful`, other outputs to `eval_fn`."
        )
    if value is None or isinstance(value, (str, dict, list)):
        raise TypeError(f"`{where}` must be a scalar, got {type(value).__name__}. Return a number.")
    try:
        array = jnp.asarray(value)
    except TypeError:
        raise TypeError(f"`{where}` must be a scalar, got {show(value)} ({type(value).__name__}).") from None
    if array.shape != ():
        advice = "sum over the batch, `jnp.sum(...)`" if total else "mean over the batch, `jnp.mean(...)`"
        raise ValueError(f"`{where}` must be a scalar, got {describe(array)}. Take the {advice}.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise TypeError(f"`{where}` must be real, got {describe(array)}. Take its real part or its modulus.")
        array = array.astype(jnp.float32)
    return array


def _like(old: PyTree, new: PyTree) -> PyTree:
    """`new` with the dtypes of `old`: a float32 learning rate must not widen a bfloat16 state."""

    def cast(before: Array, after: Array) -> Array:
        after = jnp.asarray(after)
        return after if after.dtype == before.dtype else after.astype(before.dtype)

    return jax.tree.map(cast, old, new)
