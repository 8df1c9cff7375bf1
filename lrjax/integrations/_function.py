"""A whole training that is one function of the learning rate as a task."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_callable, name_of, show
from .._engine import call_traced, check_scalar
from .._settings import on_host
from .._types import Batch, Key, PyTree
from ._step import StepTask, step_task

_TRAIN = "train(lr, key) -> loss"


@on_host
def function_task(train: Callable[..., Any]) -> StepTask:
    """A task of a training that is one function, to be run whole: `sweep(task, task.set_lr, {"lr": [...]}, ...)`.

    For programs of which only the end is to be had: a training with its own loop, optimizer, schedule and data, as
    reinforcement learning in JAX has it. One step of the task is the whole training, so `train_steps=1`. All learning
    rates and seeds run in one compiled program.

    Args:
      train: `train(lr, key) -> loss`, made of JAX operations, as for `jax.jit`; or `-> {"loss": ..., "reward": ...}`,
        scalars all. The learning rate is traced; the key is the last argument, another one for every seed. Several
        arguments before it, `train(lr, momentum, key)`, are several axes of a sweep, by their names.

    Returns:
      A `Task` with an attribute `set_lr`, which takes the place of `make_optimizer`. `find_lr` takes it too, with
      `lrjax.StepSampling(num_steps=1, rule=lrjax.lowest_loss)` and `train_steps=1`: it runs a grid of whole trainings.

    Raises:
      TypeError, ValueError: a function of other arguments, or one that returns no loss; and, when it is run, more
        than one step.

    Examples:
      >>> import jax, jax.numpy as jnp, lrjax
      >>> from lrjax.integrations import function_task
      >>> def train(lr, key):
      ...     w = jax.random.normal(key)
      ...     return jax.lax.fori_loop(0, 10, lambda step, w: w - lr * (w - 1.0), w) ** 2
      >>> task = function_task(train)
      >>> result = lrjax.sweep(
      ...     task, task.set_lr, {"lr": [0.01, 0.1, 1.9]}, num_seeds=2, train_steps=1, key=jax.random.key(0)
      ... )
      >>> result.metrics["loss"].shape
      (3, 2, 1)
    """
    names = _arguments_before_the_key(train)
    wanted = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("state", *names)]
    )
    numbers = [jax.ShapeDtypeStruct((), jnp.float32)] * len(names)
    end = jax.eval_shape(lambda key, *values: _end(train, *values, key), jax.random.key(0), *numbers)

    def begin(key: Key) -> PyTree:
        nothing_yet = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), end)
        return {"settings": (jnp.float32(0.0),) * len(names), "key": key, "end": nothing_yet}

    def set_lr(state: PyTree, *values: Any, **named: Any) -> PyTree:
        given = wanted.bind(state, *values, **named).arguments
        return state | {"settings": tuple(given[name] for name in names)}

    set_lr.__signature__ = wanted  # pyright: ignore[reportFunctionMemberAccess]
    set_lr.__qualname__ = name_of(train)

    def step(state: PyTree) -> tuple[PyTree, Any]:
        end = _end(train, *state["settings"], state["key"])
        return state | {"end": end}, end

    task = step_task(step, begin, None, lambda state: state["end"], set_lr)
    between = lambda key, start, stop: _once(start, stop)  # noqa: E731
    return dataclasses.replace(task, sample_batches=lambda key, count: _once(0, count), batches_between=between)


def _arguments_before_the_key(train: object) -> list[str]:
    check_callable("function_task(train)", train, signature=_TRAIN)
    try:
        parameters = inspect.signature(train).parameters.values()  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):  # builtins show none
        parameters = ()
    names = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty]
    if len(names) < 2:
        raise TypeError(
            f"`function_task(train)` must be `{_TRAIN}`, whose last argument is the key, got `{name_of(train)}"
            f"({', '.join(names)})`. Write lambda lr, key: ..."
        )
    return names[:-1]


def _end(train: Callable[..., Any], *arguments: Any) -> Any:
    """What a training returns: a loss, or a dict with it."""
    end = call_traced("train", train, *arguments)
    if isinstance(end, dict) and "loss" not in end:
        raise ValueError(f'`function_task(train)` must return a loss or a dict with "loss", got {show(list(end))}.')
    many = end if isinstance(end, dict) else {"": end}
    scalars = {
        name: check_scalar(f"function_task(train)(lr, key){name and f'[{name!r}]'}", many[name]) for name in many
    }
    return scalars if isinstance(end, dict) else scalars[""]


def _once(start: int, stop: int) -> Batch:
    if stop > 1:
        raise ValueError(
            f"A `function_task` trains to the end in one step, and {stop} were asked for. Write train_steps=1, and for "
            "find_lr lrjax.StepSampling(num_steps=1, rule=lrjax.lowest_loss). A training in steps is a `step_task`."
        )
    return np.zeros(stop - start, np.float32)
