"""What every integration does in the same way: options to a task, batches to the inputs of a model."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax

from .._checks import check_callable, name_of, show, show_with_type
from .._engine import Task
from .._types import Batch

_ARRAYS, _BATCHES = ("train", "validation", "batch_size"), ("train_batches", "eval_batches")


def build_task(
    where: str,
    init: Any,
    loss_fn: Callable[..., Any],
    eval_fn: Callable[..., Any] | None,
    options: Mapping[str, Any],
    *,
    stateful: bool = True,
) -> Task:
    """A task on the data that the options name: arrays (`train=`) or batches (`train_batches=`).

    Raises:
      TypeError: the options name neither, both, or what the integration itself gives.
    """
    taken = [name for name in ("init", "loss_fn", "eval_fn", "stateful") if name in options]
    if taken:
        raise TypeError(f"`{where}({taken[0]}=...)` is made from the model: leave it out, or write a lrjax.Task.")
    given = [names for names in (_ARRAYS, _BATCHES) if any(name in options for name in names)]
    if len(given) != 1 or not all(name in options for name in given[0]):
        got = ", ".join(name for name in (*_ARRAYS, *_BATCHES) if name in options) or "neither"
        raise TypeError(
            f"`{where}` needs train=..., validation=... and batch_size=... for arrays, or train_batches=... and "
            f"eval_batches=... for a loader, got {got}."
        )
    make = Task.from_arrays if given[0] is _ARRAYS else Task.from_batches
    return make(init, loss_fn, stateful=stateful, eval_fn=eval_fn, **options)


def first_batch(where: str, options: Mapping[str, Any]) -> Batch:
    """A batch to initialise a model with: the first examples of the validation data."""
    if "validation" in options and "batch_size" in options:
        size = min(2, options["batch_size"])
        return jax.tree.map(lambda leaf: leaf[:size], options["validation"])
    if isinstance(options.get("eval_batches"), list) and options["eval_batches"]:
        return options["eval_batches"][0]
    raise TypeError(
        f"`{where}` needs a batch to initialise the model with: give validation=... or a list of eval_batches=..., or "
        "the initial parameters themselves."
    )


def first_of(batch: Batch) -> Any:
    """The inputs of a batch `(inputs, labels)`: its first part."""
    if isinstance(batch, (tuple, list)) and batch:
        return batch[0]
    raise TypeError(
        f"A batch must be a tuple (inputs, labels) unless `inputs` is given, got {show(type(batch).__name__)}. "
        'Write inputs=lambda batch: batch["image"].'
    )


def arguments_of(inputs: Callable[[Batch], Any], batch: Batch) -> tuple[Any, ...]:
    """The positional arguments of the model: `inputs(batch)`, several if that is a tuple; a NamedTuple is one."""
    made = inputs(batch)
    return made if isinstance(made, tuple) and is_several(made) else (made,)


def is_several(value: object) -> bool:
    """Whether a tuple or a list stands for several arguments; a NamedTuple is one."""
    return isinstance(value, (tuple, list)) and not hasattr(value, "_fields")


def mode_arguments(where: str, call: Callable[..., Any], given: object, *, training: bool) -> dict[str, Any]:
    """The keyword arguments given, or the flags of a model that say whether it trains, known by their names."""
    if given is not None:
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise TypeError(f"`{where}` must be a mapping of keyword arguments, got {show_with_type(given)}.")
        return dict(given)
    try:
        names = inspect.signature(call).parameters
    except (TypeError, ValueError):
        return {}
    return {name: flag is training for name, flag in _FLAGS.items() if name in names}


_FLAGS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
"""Names of flags, and their value while a model trains."""


def with_key(where: str, function: Callable[..., Any], names: tuple[str, ...], returns: str) -> Callable[..., Any]:
    """A loss function of the named arguments, or of one more whose name says that it is a key.

    Returns:
      A function of all of them and a key.

    Raises:
      TypeError: it takes other arguments.
    """
    known, shown = ", ".join(names), f"loss_fn({', '.join(names)}) -> {returns}, or loss_fn({', '.join(names)}, key)"
    check_callable(where, function, signature=shown)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins show none
        return lambda *arguments: function(*arguments[:-1])
    last = [name for name in signature.parameters if "key" in name or "rng" in name]
    takes_key = len(last) == 1 and list(signature.parameters).index(last[0]) == len(names)
    try:
        signature.bind(*range(len(names) + takes_key))
    except TypeError:
        raise TypeError(
            f"`{where}` must be `{shown}`, got `{name_of(function)}{signature}`. If it takes the parts of a batch, "
            f"write lambda {known}: {name_of(function).split('.')[-1]}({', '.join(names[:-1])}, *batch)."
        ) from None
    return function if takes_key else lambda *arguments: function(*arguments[:-1])


def drop_aux(where: str, returned: Any) -> Any:
    """The loss of what a loss function returned: `loss` or `(loss, aux)`."""
    if isinstance(returned, tuple):
        if len(returned) != 2:
            raise TypeError(f"`{where}` must return a loss or (loss, aux), got a tuple of {len(returned)}.")
        return returned[0]
    return returned
