"""What a search ranks its learning rates by: the validation loss, or another metric of the evaluation."""

import dataclasses
import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax.numpy as jnp

from .._checks import Mode, check_mode, show
from .._curve import WarningName
from .._engine import WEIGHT, Task, check_scalar
from .._types import Array
from ._strategy import Choice


@dataclasses.dataclass(frozen=True)
class RankedEvaluation:
    """An `eval_fn` whose "loss" is a metric to be minimised, and infinite where the loss itself is not finite.

    Equal to another one of equal fields, so that compiled programs are found again.
    """

    eval_fn: Callable[..., Any]
    metric: str
    mode: Mode

    def __call__(self, *arguments: Any) -> dict[str, Array]:
        metrics = self.eval_fn(*arguments)
        metrics = metrics if isinstance(metrics, dict) else {"loss": metrics}
        if self.metric not in metrics or self.metric == WEIGHT:
            names = ", ".join(str(name) for name in metrics if name != WEIGHT)
            raise ValueError(
                f"`find_lr(metric=...)` must be one that the task's eval_fn returns: {names}; got {show(self.metric)}."
            )
        if "loss" not in metrics:
            return metrics  # which the engine refuses
        loss = check_scalar('eval_fn(...)["loss"]', metrics["loss"])
        value = check_scalar(f'eval_fn(...)["{self.metric}"]', metrics[self.metric])
        return metrics | {"loss": jnp.where(jnp.isfinite(loss), -value if self.mode == "max" else value, jnp.inf)}


class RankedTask(NamedTuple):
    """A task whose validation loss is a metric, negated where high is good, and which of its values are good."""

    task: Task
    mode: Mode


def rank_by(task: Task, metric: object, mode: object) -> RankedTask:
    """The task whose validation loss is the metric, negated where high is good; of "loss" the task as it is."""
    if not isinstance(metric, str):
        raise TypeError(f"`find_lr(metric=...)` must be a metric's name, got {show(metric)}.")
    mode = check_mode("find_lr", metric, mode)
    if metric == "loss":
        return RankedTask(task, mode)
    if task.eval_fn is None:
        raise ValueError(
            "`find_lr(metric=...)` must be one that the task's eval_fn returns, and it has none: there is the loss "
            f'alone; got {show(metric)}. Give Task(eval_fn=...), which returns {{"loss": ..., {show(metric)}: ...}}.'
        )
    return RankedTask(dataclasses.replace(task, eval_fn=RankedEvaluation(task.eval_fn, metric, mode)), mode)


def named(text: str, metric: str, mode: Mode) -> str:
    """A sentence about the loss as one about what is minimised in its place."""
    if metric == "loss":
        return text
    name = f"-{metric}" if mode == "max" else metric
    words = r"\b(?:[Tt]he |a )?(?:validation |evaluation )?(?:loss|(losses))\b"
    return re.sub(words, lambda found: f"the values of {name}" if found[1] else name, text)


def in_terms_of(choice: Choice, metric: str, mode: Mode, undefined: Collection[float]) -> Choice:
    """A choice whose sentences are about the metric, without the warning that only says that it is not positive.

    At the learning rates `undefined` the metric was not a number.
    """
    if metric == "loss":
        return choice
    rank = f"Ranked by {metric}: a low one is good."
    if mode == "max":
        why = "whether learning has started is not judged"
        rank = f"Ranked by {metric}: a high one is good, so -{metric} is minimised; {why}."
    if undefined:
        rank += (
            f" At {len(undefined)} of the learning rates, from {min(undefined):.1e} to {max(undefined):.1e}, it is not "
            "a number though the loss is finite: there it counts as that of the untouched parameters."
        )
    warnings = [one for one in choice.warnings if mode == "min" or one.name is not WarningName.unknown_start]
    return dataclasses.replace(
        choice,
        reason=(
            named(choice.reason[0], metric, mode),
            rank,
            *(named(line, metric, mode) for line in choice.reason[1:]),
        ),
        warnings=tuple(
            dataclasses.replace(one, message=named(one.message, metric, mode), remedy=named(one.remedy, metric, mode))
            for one in warnings
        ),
    )
