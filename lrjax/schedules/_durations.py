"""Durations in words: epochs, examples, tokens and percent, resolved to optimizer updates once."""

import contextvars
import re
from fractions import Fraction
from typing import Annotated

from .._annotated import checked, known_count
from .._checks import check_count, show

_BLOCKS: contextvars.ContextVar[tuple["Durations", ...]] = contextvars.ContextVar("durations", default=())
"""The `with` blocks that we are in, the innermost last; of its own in every thread and every task."""

_UNITS = {
    "step": ("step", "steps", "update", "updates"),
    "epoch": ("epoch", "epochs", "ep"),
    "example": ("example", "examples", "ex", "sample", "samples"),
    "token": ("token", "tokens", "tok"),
    "percent": ("%", "percent"),
}
_NUMBER = r"\d+(?:[_,]\d{3})*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"

Examples = Annotated[int, known_count(1, "examples")]


class Durations:
    """What is needed to turn "3 epochs", "10%" or "1e9 tokens" into optimizer updates.

    Call `steps`, or make schedules inside a `with` block: there every number of steps may be given in words.

    One optimizer update sees `batch_size * accumulation_steps` examples. An epoch is all whole batches of the dataset
    (`drop_last=True`) or all batches, the last one perhaps smaller. A result is rounded to the nearest update, halves
    up; a duration above zero is at least one update.

    Args:
      batch_size: examples in one forward pass over all devices, >= 1.
      dataset_size: examples in the dataset, >= 1; for epochs.
      sequence_length: tokens in an example, >= 1; for tokens.
      accumulation_steps: forward passes for one update (`optax.MultiSteps(every_k_schedule=...)`), >= 1.
      total_steps: the whole training, in updates or in words ("90 epochs"); for percent.
      drop_last: whether the incomplete batch at the end of an epoch is left out.

    Raises:
      TypeError, ValueError: an argument is out of its range.

    Examples:
      >>> from lrjax import schedules
      >>> durations = schedules.Durations(batch_size=128, dataset_size=50_000, total_steps="90 epochs")
      >>> durations.steps("1 epoch"), durations.total_steps, durations.steps("10%")
      (390, 35100, 3510)
      >>> with durations:
      ...     schedule = schedules.warmup_cosine(0.1, warmup_steps="5 epochs", total_steps="90 epochs")
      >>> float(schedule(1950)), float(schedule(35100))
      (0.10000000149011612, 0.0)
    """

    @checked
    def __init__(
        self,
        *,
        batch_size: Examples | None = None,
        dataset_size: Examples | None = None,
        sequence_length: Annotated[int, known_count(1, "tokens")] | None = None,
        accumulation_steps: Annotated[int, known_count(1, "batches")] = 1,
        total_steps: int | str | None = None,
        drop_last: bool = True,
    ):
        self.batch_size, self.dataset_size, self.sequence_length = batch_size, dataset_size, sequence_length
        self.accumulation_steps, self.drop_last = accumulation_steps, drop_last
        if dataset_size and batch_size and drop_last and dataset_size < batch_size:
            raise ValueError(
                f"`Durations(batch_size=...)` must not be above dataset_size={dataset_size}, "
                f"got {batch_size}: an epoch would hold no whole batch. Pass drop_last=False to keep the last one."
            )
        self.total_steps: int | None = None
        if total_steps is not None:
            self.total_steps = self.steps(total_steps, where="Durations(total_steps=...)")

    def steps(self, duration: int | str, *, where: str = "Durations.steps(duration)") -> int:
        """The number of optimizer updates.

        Args:
          duration: a whole number of updates, or a number and a unit: "100 steps", "3 epochs", "2.5 ep", "10%",
            "1e6 examples", "1e9 tokens".
          where: the argument's name in an error message.

        Returns:
          Optimizer updates, >= 0.

        Raises:
          TypeError, ValueError: it cannot be read, or what it is counted in was not given.
        """
        if not isinstance(duration, str):
            return check_count(where, duration, minimum=0, unit="optimizer updates")
        amount, unit = read_duration(where, duration)
        exact = amount * self._steps_per(unit, where, duration)
        return max(int(exact + Fraction(1, 2)), 1 if amount > 0 else 0)

    def _steps_per(self, unit: str, where: str, duration: str) -> Fraction:
        def need(name: str) -> int:
            found = getattr(self, name, None)
            if found is None:
                raise ValueError(
                    f"`{where}` is {duration!r}, and {name} is not known. Write Durations({name}=..., ...)."
                )
            return found

        if unit == "step":
            return Fraction(1)
        if unit == "percent":
            return Fraction(need("total_steps"), 100)
        examples_per_step = need("batch_size") * self.accumulation_steps
        if unit == "example":
            return Fraction(1, examples_per_step)
        if unit == "token":
            return Fraction(1, examples_per_step * need("sequence_length"))
        whole, rest = divmod(need("dataset_size"), need("batch_size"))
        return Fraction(whole + (rest > 0 and not self.drop_last), self.accumulation_steps)

    def __enter__(self) -> "Durations":
        _BLOCKS.set((*_BLOCKS.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        _BLOCKS.set(_BLOCKS.get()[:-1])


def in_steps(where: str, duration: str) -> int:
    """The duration in optimizer updates, under the `Durations` whose block we are in."""
    if blocks := _BLOCKS.get():
        return blocks[-1].steps(duration, where=where)
    if read_duration(where, duration)[1] == "step":
        return Durations().steps(duration, where=where)
    raise ValueError(
        f"`{where}` is {duration!r}, and how many steps these are is not known here. "
        f"Write `with lrjax.schedules.Durations(batch_size=..., dataset_size=..., total_steps=...):` around it."
    )


def read_duration(where: str, duration: str) -> tuple[Fraction, str]:
    """The number and the unit of a duration in words."""
    match = re.fullmatch(rf"\s*({_NUMBER})\s*([a-zA-Z]+|%)\s*", duration)
    if match:
        for unit, names in _UNITS.items():
            if match[2].lower() in names:
                amount = Fraction(re.sub("[_,]", "", match[1]))
                if amount >= 10**18:
                    raise ValueError(f"`{where}` must be a duration below 1e18, got {show(duration)}.")
                return amount, unit
    raise ValueError(
        f"`{where}` must be a whole number of steps, or a number and one of the units steps, epochs, examples, tokens "
        f'and %, got {show(duration)}. Write for example "3 epochs" or "10%".'
    )
