"""What every integration does in the same way: from a model that runs on a batch to a task."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax

from .._checks import check_callable, name_of, show, show_with_type
from .._engine import Task
from .._types import Array, Batch, Key, ModelState, Params

Run = Callable[[Params, ModelState, Batch, Key | None], tuple[Array, ModelState]]
"""The loss and the new state of a model on a batch; the key is None in evaluation."""

_ARRAYS, _BATCHES = ("train", "validation", "batch_size"), ("train_batches", "eval_batches")
_FLAGS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
"""Names of flags of a model, and their values in training."""


def build_task(where: str, init: Any, run: Run, options: Mapping[str, Any]) -> Task:
    """A stateful task from a model's `run`, on the data that the options name."""
    loss_fn = lambda params, state, batch, key: run(params, state, batch, key)  # noqa: E731
    eval_fn = lambda params, state, batch: run(params, state, batch, None)[0]  # noqa: E731
    return make_task(where, init, loss_fn, options, eval_fn=eval_fn, stateful=True)


def make_task(where: str, init: Any, loss_fn: Callable[..., Any], options: Mapping[str, Any], **form: Any) -> Task:
    """A task on arrays (`train=` and its companions) or batches (`train_batches=`)."""
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
    return make(init, loss_fn, **form, **options)


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


def as_arguments(inputs: Any, kinds: tuple[type, ...] = (tuple,)) -> tuple[Any, ...]:
    """The positional arguments of a model: several if the inputs are a tuple; a NamedTuple is one."""
    return tuple(inputs) if isinstance(inputs, kinds) and not hasattr(inputs, "_fields") else (inputs,)


def mode_arguments(where: str, call: Any, train: object, evaluation: object) -> dict[bool, dict[str, Any]]:
    """The keyword arguments in training (True) and in evaluation: those given, or the model's flags by their names."""
    try:
        names = set(inspect.signature(call).parameters)
    except (TypeError, ValueError):
        names = set()
    modes = {}
    for training, name, given in ((True, "train_arguments", train), (False, "eval_arguments", evaluation)):
        if given is None:
            given = {flag: value is training for flag, value in _FLAGS.items() if flag in names}
        if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
            raise TypeError(
                f"`{where}({name}=...)` must be a mapping of keyword arguments, got {show_with_type(given)}."
            )
        modes[training] = dict(given)
    return modes


def with_random(
    where: str, function: Any, names: tuple[str, ...], form: str, random: tuple[str, ...] = ("key", "rng")
) -> Callable[..., Any]:
    """A loss function of the named arguments with its source of randomness last, whether and wherever it takes one.

    That is an argument whose name contains one of `random`; `form` is the signature that is wanted, for messages.
    """
    check_callable(where, function, signature=form)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins show none
        return lambda *arguments: function(*arguments[:-1])
    found = [one for one in signature.parameters.values() if any(word in one.name for word in random)]
    extra = found[0] if len(found) == 1 else None
    index = list(signature.parameters).index(extra.name) if extra else -1

    def arranged(arguments: Any) -> tuple[list[Any], dict[str, Any]]:
        *rest, source = arguments
        if extra is None or (index > len(rest) and extra.kind is not extra.KEYWORD_ONLY):
            return rest, {}
        if extra.kind is extra.KEYWORD_ONLY:
            return rest, {extra.name: source}
        return [*rest[:index], source, *rest[index:]], {}

    try:
        placed, named = arranged(range(len(names) + 1))
        signature.bind(*placed, **named)
    except TypeError:
        raise TypeError(
            f"`{where}` must be `{form}`, got `{name_of(function)}{signature}`. If it takes the parts of a batch, "
            f"write lambda {', '.join(names)}: loss({', '.join(names[:-1])}, *batch)."
        ) from None

    def call(*arguments: Any) -> Any:
        placed, named = arranged(arguments)
        return function(*placed, **named)

    return call


def drop_aux(where: str, returned: Any) -> Any:
    """The loss of what a loss function returned: `loss` or `(loss, aux)`."""
    if isinstance(returned, tuple):
        if len(returned) != 2:
            raise TypeError(f"`{where}` must return a loss or (loss, aux), got a tuple of {len(returned)}.")
        return returned[0]
    return returned
