"""What a call will train and cost, before it is made: one record, and the function that asks any verb for it."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ._checks import name_of, show

Verb = TypeVar("Verb", bound=Callable[..., Any])

_ATTRIBUTE = "_lrjax_preview"


class PlannedRound(NamedTuple):
    """What is to be trained together.

    Attributes:
      num_steps: updates of every lane, counted from step 0.
      lanes: settings of the hyperparameters.
      seeds: of each.
      updates: that it adds, over all lanes and seeds.
    """

    num_steps: int
    lanes: int
    seeds: int
    updates: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """The predicted course and cost of a call.

    Attributes:
      rounds: what would be trained, in its order. A search decides after every round what to train next, so all but
        the first are what it would do with an ordinary curve in the middle of the range.
      updates: optimizer updates in all.
      trainings: the same as a multiple of one training; None where the length of the training is not known.
      seconds: predicted wall time, from short runs of the same programs here and now; nan if unknown. Of a search with,
        of a sweep without compilation.
      bytes: predicted memory of the largest program, per device.
      lane_bytes: parameters, model state and optimizer state of a lane; 0 where lanes are not kept between rounds.
      executor: which one would run.
      devices, waves: of a sweep: devices over which its lanes are spread, and groups of lanes that run one after the
        other.
      checkpoint_bytes: of a sweep: size of a checkpoint, all devices together.
      notes: what else the caller should know, in sentences.
    """

    rounds: tuple[PlannedRound, ...]
    updates: int
    trainings: float | None
    seconds: float
    bytes: int
    lane_bytes: int
    executor: str
    devices: int = 1
    waves: int = 1
    checkpoint_bytes: int = 0
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """The course in a line for every round, and the cost."""
        lines = [
            f"{one.lanes} {'trial' if one.lanes == 1 else 'trials'} x {one.seeds} "
            f"{'seed' if one.seeds == 1 else 'seeds'} to step {one.num_steps}: {one.updates} updates."
            for one in self.rounds
        ]
        share = "" if self.trainings is None else f", {self.trainings:.2f} trainings"
        time = "" if math.isnan(self.seconds) else f", about {_time(self.seconds)}"
        cost = f"In all {self.updates} updates{share}{time}, {_mib(self.bytes)}"
        return "\n".join([*lines, f"{cost}, executor {self.executor}.", *self.notes])


def _time(seconds: float) -> str:
    units = {"days": 86400, "hours": 3600, "minutes": 60}
    return next((f"{seconds / size:.1f} {unit}" for unit, size in units.items() if seconds >= size), f"{seconds:.1f} s")


def _mib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def previewed_by(function: Callable[..., Preview]) -> Callable[[Verb], Verb]:
    """Say how a verb is previewed: by a function that takes the verb's own arguments."""

    def mark(verb: Verb) -> Verb:
        setattr(verb, _ATTRIBUTE, function)
        return verb

    return mark


def asked_of(verb: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a call by their names, defaults too."""
    call = inspect.signature(verb).bind(*arguments, **options)
    call.apply_defaults()
    return call.arguments


def preview(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Preview:
    """Predict what a call would train and what it would cost, without making it.

    Compiles the training programs and runs each for a few steps.

    Args:
      call: `lrjax.find_lr`, `lrjax.sweep` or `lrjax.scaling.measure`.
      *args, **kwargs: the call's own arguments. For a sweep on devices that are not here also `devices`, how many;
        `device_bytes`, the memory of each; and `update_seconds`, of one update of a lane there, or 0 if unknown.
        Its executor must be "vmap", "map" or `lrjax.Chunked(k)`.

    Returns:
      Rounds, updates, seconds and bytes.

    Raises:
      TypeError: `call` cannot be previewed.
      TypeError, ValueError: as the call itself.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> plan = lrjax.preview(
      ...     lrjax.find_lr, digits(), optax.adam, key=jax.random.key(0), train_steps=1000, executor="map"
      ... )
      >>> [(one.num_steps, one.lanes) for one in plan.rounds]
      [(12, 17), (24, 3), (48, 3), (96, 3), (177, 3)]
      >>> plan.updates <= 2 * 1000
      True
      >>> plan = lrjax.preview(
      ...     lrjax.sweep, digits(), optax.adamw, {"learning_rate": [1e-3, 1e-2]}, key=jax.random.key(0),
      ...     train_steps=1000, devices=256, device_bytes=80e9, update_seconds=1e-5,
      ... )
      >>> plan.waves, plan.updates
      (1, 2000)
    """
    function = getattr(call, _ATTRIBUTE, None)
    if function is None:
        got = name_of(call) if callable(call) else show(call)
        raise TypeError(
            f"`preview(call)` must be lrjax.find_lr, lrjax.sweep or lrjax.scaling.measure itself, got {got}. Give the "
            "arguments after it: lrjax.preview(lrjax.find_lr, task, optax.adam, key=key)."
        )
    return function(*args, **kwargs)
