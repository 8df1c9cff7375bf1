"""What `measure` and its preview share: the arguments checked, the design, and who takes which size."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from .._checks import MAX_SEEDS, check_callable, check_count, check_number, name_of
from .._engine import Task, check_task
from .._types import OptimizerFactory
from ._design import LENGTH, Run, Sizes, check_axes, describe, make_design
from ._fit import least_sizes


class MeasurePlan(NamedTuple):
    """What is measured."""

    axes: dict[str, tuple[float, ...]]  # axis -> its values, increasing
    runs: list[Run]  # the base first
    task_of: Callable[[Sizes], Task]  # sizes -> the task
    optimizer_of: Callable[[Sizes], OptimizerFactory]  # sizes -> a function of the learning rate


def make_plan(
    make_task: Callable[..., Task],
    make_optimizer: OptimizerFactory,
    axes: Mapping[str, Any],
    *,
    train_steps: int | None,
    budget: float | None,
    num_seeds: int,
) -> MeasurePlan:
    """Check the arguments of `measure`, and choose the sizes."""
    check_callable("measure(make_task)", make_task, signature="make_task(**sizes) -> lrjax.Task")
    check_callable("measure(make_optimizer)", make_optimizer, signature="make_optimizer(lr) -> optax optimizer")
    checked = check_axes(axes)
    if (train_steps is None) is (LENGTH not in checked):
        raise ValueError(
            f"`measure(train_steps=...)` must be the length of every training, or an axis of its own, got "
            f"{'both' if train_steps is not None else 'neither'}. Write train_steps=1000, or "
            '{"train_steps": [250, 500, 1000]} among the axes.'
        )
    if train_steps is not None:
        train_steps = check_count("measure(train_steps=...)", train_steps, unit="optimizer updates")
    if budget is not None:
        rule = "trainings of the base, > 0 and finite, or None"
        budget = check_number("measure(budget=...)", budget, rule=rule, accept=lambda number: 0 < number < math.inf)
    of_task = [name for name in checked if _takes(make_task, name, skip=0)]
    of_optimizer = [name for name in checked if _takes(make_optimizer, name, skip=1)]
    for name in checked:
        if name not in (*of_task, *of_optimizer, LENGTH):
            raise TypeError(
                f"`measure(make_task)` must take every axis, or make_optimizer after the learning rate, and neither "
                f"`{name_of(make_task)}{inspect.signature(make_task)}` nor `{name_of(make_optimizer)}` takes {name!r}."
            )

    def chosen(names: list[str], sizes: Sizes) -> dict[str, float]:
        return {name: size for name, size in zip(checked, sizes, strict=True) if name in names}

    def task_of(sizes: Sizes) -> Task:
        task = make_task(**chosen(of_task, sizes))
        check_task(f"make_task({describe(checked, sizes)})", task)
        return task

    def optimizer_of(sizes: Sizes) -> OptimizerFactory:
        return lambda lr: make_optimizer(lr, **chosen(of_optimizer, sizes))

    costs: dict[Sizes, float] = {}

    def update_cost(sizes: Sizes) -> float:
        if sizes not in costs:
            costs[sizes] = _update_cost(task_of(sizes))
        return costs[sizes]

    runs = make_design(
        checked,
        train_steps,
        shared=LENGTH not in (*of_task, *of_optimizer),
        update_cost=update_cost,
        num_seeds=check_count("measure(num_seeds=...)", num_seeds, maximum=MAX_SEEDS, unit="seeds"),
        budget=budget,
    )
    if (points := sum(len(run.lengths) for run in runs)) < least_sizes(checked):
        raise ValueError(
            f"`measure(axes)` must give {least_sizes(checked)} sizes at least for {len(checked)} exponents and an "
            f"error, got {points}. Add values to an axis, or a budget for corners, where two axes change together."
        )
    return MeasurePlan(checked, runs, task_of, optimizer_of)


def _takes(function: Callable[..., Any], name: str, skip: int) -> bool:
    """Whether it has an argument of that name after the first `skip`; `**sizes` takes all but the length."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):  # builtins and C functions show none
        return False
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(one.name == name and one.kind in by_name for one in parameters):
        return True
    return skip == 0 and name != LENGTH and any(one.kind is one.VAR_KEYWORD for one in parameters)


def _update_cost(task: Task) -> float:
    """Numbers in the parameters times numbers in a batch: a cost that is only compared with that of another size."""
    params = jax.eval_shape(lambda: task.init(jax.random.key(0)) if callable(task.init) else task.init)
    batch = task.training_batches(0, jax.random.key(0), 0, 1)
    count = lambda tree: sum(np.size(leaf) for leaf in jax.tree.leaves(tree))  # noqa: E731
    return float(count(params) * count(batch))
