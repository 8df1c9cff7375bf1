"""From the arguments of a search to what it trains: everything is checked here, before anything is compiled."""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh

from .._checks import check_key
from .._engine import (
    EXAMPLE_LR,
    Accumulation,
    Choice,
    EvalData,
    Executor,
    LaneMesh,
    Seed,
    Task,
    Trial,
    TrialSpec,
    check_executor,
    check_factory,
    lane_mesh,
    loop_on_own_devices,
    measure_reference,
    prepare,
    spans_hosts,
)
from .._types import Float, Key, OptimizerFactory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """What a search trains.

    Attributes:
      task: the problem.
      spec: what is compiled.
      seeds: parameters and keys of every seed.
      evaluation: the evaluation set.
      dtype: of learning rates.
      key: the search's key.
      executor: how lanes run, as asked for.
      loop: how they run instead, where the task uses several devices by itself.
      mesh: the devices, or None for one.
      untouched_loss: validation loss of every seed's initial parameters.
      stochastic: whether two keys give different evaluation losses.
      accumulation: how many batches an update takes.
    """

    task: Task
    spec: TrialSpec
    seeds: tuple[Seed, ...]
    evaluation: EvalData
    dtype: np.dtype
    key: Key
    executor: Executor
    loop: Choice | None
    mesh: Mesh | None
    untouched_loss: Float[np.ndarray, " seeds"]
    stochastic: bool
    accumulation: Accumulation


def make_setup(
    where: str,
    task: Task,
    make_optimizer: OptimizerFactory,
    num_seeds: int,
    *,
    key: Key,
    executor: Executor,
    mesh: Mesh | None,
) -> Setup:
    """Draw the seeds and check everything that a search with a budget > 0 needs.

    Raises:
      TypeError, ValueError: a bad argument.
    """
    check_factory(f"{where}(make_optimizer=...)", make_optimizer)
    executor = check_executor(f"{where}(executor=...)", executor)
    key = check_key(f"{where}(key=...)", key)
    _check_batches(where, task)
    asked_mesh, mesh = mesh, _check_mesh(f"{where}(mesh=...)", mesh)
    experiment = prepare(where, task, make_optimizer, key=key, horizons=(1,), num_seeds=num_seeds, in_updates=True)
    reference = measure_reference(experiment)
    lane, first = np.asarray(EXAMPLE_LR, experiment.dtype), experiment.seeds[0]
    lanes = LaneMesh(mesh, () if mesh is None else mesh.axis_names)
    trial = Trial(experiment.spec, lane, first, experiment.evaluation)
    loop = loop_on_own_devices(where, trial, executor=executor, mesh=asked_mesh, lanes=lanes)
    if loop is not None:
        mesh, experiment = None, experiment.keep_shardings()
    seeds = zip(experiment.seeds, experiment.data_keys, strict=True)
    return Setup(
        task=task,
        spec=experiment.spec,
        seeds=tuple(Seed(one.params, one.frozen, one.model_state, data_key, one.key) for one, data_key in seeds),
        evaluation=experiment.evaluation,
        dtype=experiment.dtype,
        key=key,
        executor=executor,
        loop=loop,
        mesh=mesh,
        untouched_loss=reference.untouched_loss,
        stochastic=reference.stochastic,
        accumulation=experiment.accumulation,
    )


def _check_batches(where: str, task: Task) -> None:
    """A search reads the batches of any step, again for every rung."""
    if task.stream is None and task.batches_between is None:
        raise ValueError(
            f"`{where}(task=...)` must give batches from any step on, since lanes are carried on from rung to rung. "
            "Use Task.from_arrays, or give Task(batches_between=...), a function of (key, start, stop); "
            "lrjax.StepSampling does without."
        )
    if task.stream is not None and not task.stream.resumes:
        raise ValueError(
            f"`{where}(task=...)` must be able to read the same batches again for every rung, and `Task.from_batches` "
            "was given an iterator, or a loader that may give others the next time. Give a list, a Grain iterator or a "
            "function of the epoch: train_batches=lambda epoch: loader; lrjax.StepSampling does without."
        )


def _check_mesh(where: str, mesh: Mesh | None) -> Mesh | None:
    """One axis "trial" over the devices of this host, or None for one device."""
    made = lane_mesh(where, mesh)
    if made is not None and made.axis_names != ("trial",):
        raise ValueError(
            f'`{where}` must have the one axis "trial", got {made.axis_names}. Write '
            'jax.sharding.Mesh(jax.local_devices(), ("trial",)).'
        )
    if made is not None and spans_hosts(made):
        raise ValueError(
            f"`{where}` must be of this host's devices, got those of {jax.process_count()} processes: a search decides "
            "after every rung what to train. Search on one host, or use lrjax.sweep."
        )
    return made
