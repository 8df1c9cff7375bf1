"""From a task to what the executors take: seeds drawn, batches read, everything checked once."""

import dataclasses
from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import MAX_SEEDS, check_count, path_of
from .._trees import first_difference
from .._types import Array, Batch, Key, ModelState, OptimizerFactory, Params
from ._data import (
    check_batches_finite,
    check_prefix,
    check_weights,
    count_examples,
    group_by_shape,
    read_eval_batches,
    weigh,
)
from ._experiment import EXAMPLE_LR, Experiment, Reference
from ._host_loop import observe_on_host, untouched_loss
from ._optimizer import find_accumulation
from ._seeds import draw_keys, draw_seeds, settle_model_state
from ._task import Task
from ._trial import WEIGHT, evaluate_batch
from ._trial_data import Checkpoint, EvalData, EvalSet, SeedData, TrialSpec, join_params

DEFAULT_SEEDS = 3


def prepare(
    where: str,
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    horizons: tuple[int, ...],
    num_seeds: int | None,
    checkpoint: Checkpoint | None = None,
    in_updates: bool = False,
) -> Experiment:
    """Draw parameters and batches of every seed and check them."""
    opt_state, lr_leaves = None, ()
    if checkpoint is not None:
        params, model_state, opt_state, lr_leaves = checkpoint
        task = dataclasses.replace(task, init=lambda key: (params, model_state) if task.has_state else params)
    first, trainable = draw_seeds(task, key, 1)
    dtype = hyperparameter_dtype(first[0].params)
    spec = dataclasses.replace(make_spec(task, make_optimizer, trainable, horizons), lr_leaves=lr_leaves)
    accumulation = find_accumulation(
        spec,
        np.asarray(EXAMPLE_LR, dtype),
        first[0].params,
        opt_state=opt_state,
        batch=lambda: jax.tree.map(lambda leaf: leaf[0], task.training_batches(0, first[0].data_key, 0, 1)),
    )
    if in_updates:
        horizons = tuple(accumulation.batches(updates) for updates in horizons)
    for horizon in reversed(horizons):
        accumulation.check(f"{where}({'num_steps' if horizon == horizons[-1] else 'horizons'}=...)", horizon)
    spec, num_steps = dataclasses.replace(spec, horizons=horizons), horizons[-1]
    drawn, _ = draw_seeds(task, key, count_seeds(where, task, num_steps, num_seeds), first)
    seeds = []
    for index, seed in enumerate(drawn):
        batches = task.training_batches(index, seed.data_key, 0, num_steps)
        if index == 0 and task._stream is None:
            check_prefix(task.sample_batches, seed.data_key, batches, num_steps)
        check_batches_finite(batches)
        seeds.append(seed._replace(batches=batches, opt_state=opt_state))
        difference = first_difference(seeds[0].batches, batches)
        if difference:
            raise ValueError(
                f"`Task(sample_batches=...)` must give batches of one shape for every key, but seed {index} differs "
                f"from seed 0: {difference}."
            )
    settled = settle_model_state(spec, seeds, _first_shapes(seeds[0].batches), key)
    return Experiment(
        spec=spec,
        seeds=settled,
        evaluation=make_evaluation(task, spec, key, settled[0], settled[0].batches),
        dtype=dtype,
        accumulation=accumulation,
    )


def make_spec(
    task: Task, make_optimizer: OptimizerFactory, trainable: tuple[bool, ...], horizons: tuple[int, ...]
) -> TrialSpec:
    """What is compiled of a task and an optimizer."""
    return TrialSpec(
        loss_fn=task.loss_fn,
        eval_fn=task.eval_fn,
        make_optimizer=make_optimizer,
        eval_params=task.eval_params,
        has_state=task.has_state,
        trainable=trainable,
        horizons=horizons,
        step_fn=task._step_fn,
    )


def make_evaluation(task: Task, spec: TrialSpec, key: Key, seed: SeedData, train_batches: Batch) -> EvalData:
    """The evaluation set and key."""
    batches = read_eval_batches("Task(eval_batches=...)", task.eval_batches)
    eval_key = draw_keys(key, 0)[-1]
    if task.eval_fn is None:
        _check_eval_batches(batches, train_batches)
        returned = None
    else:
        returned = _returned_weights(spec, eval_key, seed, batches)
    if task.eval_weight is None:
        weights = count_examples("Task(eval_batches=...)", batches) if returned is None else None
    elif returned is None:
        weights = weigh(task.eval_weight, batches)
    else:
        raise ValueError(
            '`Task(eval_weight=...)` and the "weight" that eval_fn returns both say how much a batch counts. Leave '
            "one out."
        )
    return EvalData(EvalSet(*group_by_shape(batches, weights)), eval_key)


def _returned_weights(spec: TrialSpec, key: Key, seed: SeedData, batches: Sequence[Batch]) -> list[float] | None:
    """The checked weights that `eval_fn` returns before any training; None if it returns none."""
    start = join_params(seed.params, seed.frozen), seed.model_state

    def weight(start: tuple[Params, ModelState], batch: Batch) -> Array | None:
        return evaluate_batch(spec, *start, batch, key).get(WEIGHT)

    if jax.eval_shape(weight, start, batches[0]) is None:
        return None
    read = jax.jit(weight)  # all but the weight falls away
    returned = [read(start, batch) for batch in batches]
    if None in returned:
        raise ValueError(
            f'`eval_fn` must return a "weight" for every batch or for none, got none for batch {returned.index(None)}.'
        )
    weights = [float(cast(Array, weight)) for weight in returned]
    check_weights('eval_fn(...)["weight"]', weights)
    return weights


def hyperparameter_dtype(params: Params) -> np.dtype:
    """Of floating hyperparameters: float32, or float64 where a parameter is."""
    wide = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(params))
    return np.dtype(np.float64 if wide else np.float32)


def measure_reference(experiment: Experiment) -> Reference:
    """Evaluate what every trial starts from."""
    spec, evaluation = experiment.spec, experiment.evaluation
    untouched = np.asarray([untouched_loss(spec, data, evaluation) for data in experiment.seeds], np.float64)
    if not np.isfinite(untouched).all():
        seed = int(np.flatnonzero(~np.isfinite(untouched))[0])
        raise ValueError(
            f"The validation loss of the untouched parameters must be finite, got {untouched[seed]} for seed {seed}. "
            "Look for nan in the data (Task(eval_batches=...)), the initial parameters, loss_fn or eval_fn (of "
            "find_lr(metric=...) it is the metric, which must have a value there): no learning rate can be measured "
            "against it."
        )
    initial = np.tile(untouched, (len(spec.horizons), 1))
    if spec.has_state or spec.step_fn is not None:
        observed = [observe_on_host(spec, data, evaluation) for data in experiment.seeds]
        initial = np.stack(observed, axis=1).astype(np.float64)
        if not np.isfinite(initial).all():
            row, seed = np.argwhere(~np.isfinite(initial))[0]
            raise ValueError(
                f"The validation loss after {spec.horizons[row]} steps at learning rate 0 must be finite, got "
                f"{initial[row, seed]} for seed {seed}: {_WITHOUT_LR[spec.step_fn is None]}"
            )
    stochastic = False
    if spec.eval_fn is None:
        other = evaluation._replace(key=draw_keys(evaluation.key, 1)[0])
        again = untouched_loss(spec, experiment.seeds[0], other)
        stochastic = bool(np.abs(again - untouched[0]) > 1e-6 * max(abs(float(again)), abs(float(untouched[0]))))
    return Reference(initial[-1], initial, untouched, stochastic)


_WITHOUT_LR = {
    True: "the model state that loss_fn returns goes bad by itself.",
    False: "can set_lr put 0 into the state? Every learning rate is measured against what the step does without one.",
}


def count_seeds(where: str, task: Task, num_steps: int, num_seeds: int | None) -> int:
    """How many seeds of so many steps are trained; None: 3, or as many as the data allow."""
    if task._stream is not None:
        task._stream.require(num_steps)
    if num_seeds is None:
        return task._seeds_available(num_steps, DEFAULT_SEEDS)
    wanted = check_count(f"{where}(num_seeds=...)", num_seeds, maximum=MAX_SEEDS, unit="seeds")
    allowed = task._seeds_available(num_steps, wanted)
    if allowed < wanted:
        reason, advice = "the task's max_seeds", "Leave num_seeds out"
        if task._stream is not None:
            reason, advice = f"each takes {num_steps} training batches of its own", task._stream.endless
        raise ValueError(
            f"`{where}(num_seeds=...)` must be at most {allowed}, got {wanted}: {reason}. {advice}, or fewer seeds."
        )
    return wanted


def check_evaluation_finite(evaluation: EvalData) -> None:
    """Raise where a floating leaf of the evaluation batches is not finite."""
    for group in evaluation.batches.groups:
        for path, leaf in jax.tree_util.tree_leaves_with_path(group):
            if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(np.asarray(leaf, np.float32)).all():
                raise ValueError(
                    f"`Task(eval_batches=...)` must be finite, got nan or inf at {path_of(path)}. Clean the data: "
                    "every evaluation would read as diverged. For missing values give a mask, which eval_fn reads."
                )


def _check_eval_batches(batches: Sequence[Batch], train_batches: Batch) -> None:
    """Without `eval_fn`, `loss_fn` reads both: evaluation batches must look like training batches."""
    expected = _first_shapes(train_batches)
    for batch in batches:
        difference = first_difference(expected, batch, compare="ranks")
        if difference:
            raise ValueError(
                "`Task(eval_batches=...)` must hold batches like those of training (or give an `eval_fn` that "
                f"takes them), but one differs: {difference}. One evaluation batch is written [batch], several are a "
                "list; a stacked pytree has a leading batch axis."
            )


def _first_shapes(stacked: Batch) -> Batch:
    """The shapes of one entry of a stacked tree."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), stacked)
