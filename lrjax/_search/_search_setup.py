"""From the arguments of a search to what it trains: everything is checked here, before anything is compiled."""

import dataclasses
import functools

import jax
import numpy as np
from jax.sharding import Mesh

from .._checks import MAX_SEEDS, check_count, check_key, check_number
from .._engine import (
    EXAMPLE_LR,
    Accumulation,
    Choice,
    EvalData,
    Executor,
    SeedData,
    Task,
    TrialSpec,
    check_executor,
    check_factory,
    check_task,
    lane_mesh,
    loop_on_own_devices,
    measure_reference,
    prepare,
    spans_hosts,
)
from .._lrs import check_lr_range
from .._types import Float, Key, OptimizerFactory
from ._course import Constants, Course, make_course

SHORTEST = 20
"""Updates of the shortest training that a learning rate is searched for: a sweep takes 5, a quarter of them."""


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
    seeds: tuple[SeedData, ...]
    evaluation: EvalData
    dtype: np.dtype
    key: Key
    executor: Executor
    loop: Choice | None
    mesh: Mesh | None
    untouched_loss: Float[np.ndarray, " seeds"]
    stochastic: bool
    accumulation: Accumulation


def check_course(
    where: str,
    *,
    task: object,
    train_steps: object,
    budget: object,
    num_seeds: int | None,
    min_lr: object,
    max_lr: object,
    constants: Constants | None = None,
) -> Course:
    """What the search may do.

    Raises:
      TypeError, ValueError: a bad argument.
    """
    check_task(f"{where}(task=...)", task)
    steps = check_count(f"{where}(train_steps=...)", train_steps, unit="optimizer updates of the whole training")
    if steps < SHORTEST:
        raise ValueError(
            f"`{where}(train_steps=...)` must be at least {SHORTEST} optimizer updates, got {steps}: the first sweep "
            "takes 5, a quarter of them. Is it the number of epochs? Give epochs * steps_per_epoch."
        )
    rule = "the cost of the search as a multiple of the training's, >= 0 and finite (0: lrjax.find_lr)"
    cost = check_number(f"{where}(budget=...)", budget, rule=rule, accept=lambda value: 0 <= value < np.inf)
    if num_seeds is not None:
        num_seeds = check_count(f"{where}(num_seeds=...)", num_seeds, maximum=MAX_SEEDS, unit="seeds of the rungs")
    low, high = check_lr_range(where, min_lr, max_lr)
    make = functools.partial(make_course, train_steps=steps, budget=cost, min_lr=low, max_lr=high, constants=constants)
    course = make(num_seeds=num_seeds)
    assert isinstance(task, Task)
    if num_seeds is None and task.max_seeds is not None:
        course = make(num_seeds=min(course.num_seeds, task.max_seeds))
    return course


def make_setup(
    where: str,
    task: Task,
    make_optimizer: OptimizerFactory,
    course: Course,
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
    seeds = course.num_seeds
    experiment = prepare(where, task, make_optimizer, key=key, horizons=(1,), num_seeds=seeds, in_updates=True)
    reference = measure_reference(experiment)
    lane, first = np.asarray(EXAMPLE_LR, experiment.dtype), experiment.seeds[0]
    trial = (experiment.spec, lane, first, experiment.evaluation)
    axes = () if mesh is None else mesh.axis_names
    loop = loop_on_own_devices(where, *trial, executor=executor, asked_mesh=asked_mesh, mesh=mesh, axes=axes)
    if loop is not None:
        mesh, experiment = None, experiment.keep_shardings()
    return Setup(
        task=task,
        spec=experiment.spec,
        seeds=experiment.seeds,
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
    if task._stream is None and task.batches_between is None:
        raise ValueError(
            f"`{where}(task=...)` must give batches from any step on, since lanes are carried on from rung to rung. "
            "Use Task.from_arrays, or give Task(batches_between=...), a function of (key, start, stop); "
            "budget=0 does without."
        )
    if task._stream is not None and not task._stream.resumes:
        raise ValueError(
            f"`{where}(task=...)` must be able to read the same batches again for every rung, and `Task.from_batches` "
            "was given an iterator, or a loader that may give others the next time. Give a list, a Grain iterator or a "
            "function of the epoch: train_batches=lambda epoch: loader; budget=0 does without."
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
