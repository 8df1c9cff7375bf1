"""`lrjax.find_lr` with the options of its strategy among its own, for tests that vary both."""

import dataclasses
from typing import Any

import lrjax

START = ("params", "opt_state", "step", "model_state")


def sampled(task: Any, make_optimizer: Any, **options: Any) -> lrjax.LRResult:
    """Step sampling."""
    strategy, options = _split(lrjax.StepSampling, options)
    return lrjax.find_lr(task, make_optimizer, strategy, **options)


def budgeted(task: Any, make_optimizer: Any, *, door: Any = lrjax.find_lr, **options: Any) -> lrjax.LRResult:
    """A search with a budget."""
    strategy, options = _split(lrjax.Budget, options)
    return door(task, make_optimizer, strategy, **options)


def resumed(task: Any, make_optimizer: Any, **options: Any) -> lrjax.LRResult:
    """Step sampling from a checkpoint, with one seed unless it is said otherwise."""
    place = {name: options.pop(name) for name in START if name in options}
    strategy, options = _split(lrjax.StepSampling, {"num_seeds": 1} | options)
    return lrjax.find_lr(task, make_optimizer, strategy, start=lrjax.Checkpoint(**place), **options)


def of_step(options: dict[str, Any]) -> dict[str, Any]:
    """The same options for a door that has the strategy by name."""
    strategy, rest = _split(lrjax.StepSampling, options)
    return {"strategy": strategy, **rest}


def _split(kind: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The strategy, and the options that are not its own."""
    fields = {field.name for field in dataclasses.fields(kind)}
    mine = {name: value for name, value in options.items() if name in fields}
    return kind(**mine), {name: value for name, value in options.items() if name not in fields}
