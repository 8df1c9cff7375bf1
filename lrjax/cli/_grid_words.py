"""A sweep's grid and its stop, from the words of the command line."""

from typing import Any, Literal

import numpy as np

from .._checks import MAX_TRIALS, check_mode, show
from .._sweeps import StopDiverged, SuccessiveHalving, zipped
from ._errors import UsageError


def read_grid(grid: tuple[str, ...], zips: tuple[str, ...]) -> list[Any]:
    """The grid that --grid and --zip say."""
    if not grid and not zips:
        raise UsageError("`lrjax sweep` needs a grid. Add for example --grid learning_rate=1e-5:1e-1:17log.")
    parts: list[Any] = [{name: values} for name, values in (_read_values("--grid", word) for word in grid)]
    together = [_read_values("--zip", word) for word in zips]
    for name in {name for name, _ in together}:
        if sum(name == other for other, _ in together) > 1:
            raise UsageError(f"`--zip {name}=...` is given twice.")
    return parts + ([zipped(**dict(together))] if together else [])


def _read_values(option: str, word: str) -> tuple[str, np.ndarray]:
    """`weight_decay=0,0.01`, `learning_rate=1e-5:1:25log` or `b1=0:0.9:4`."""
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier() or not text:
        raise UsageError(
            f"`{option}` must be NAME=VALUES, got {show(word)}. Write for example weight_decay=0,0.01,0.1."
        )
    try:
        if ":" in text:
            return name, _read_range(option, name, text)
        whole = all(part.strip().lstrip("+-").isdecimal() for part in text.split(","))
        return name, np.asarray([int(part) if whole else float(part) for part in text.split(",")])
    except ValueError as error:
        if isinstance(error, _RangeError):
            raise UsageError(str(error)) from None
        raise UsageError(
            f"`{option} {name}=...` must be numbers with commas between or FIRST:LAST:COUNT, got {show(text)}. "
            "Write for example 1e-4,1e-3 or 1e-5:1:25log."
        ) from None


class _RangeError(ValueError):
    """The message is for the user."""


def _read_range(option: str, name: str, text: str) -> np.ndarray:
    first, last, count = text.split(":")
    log = count.endswith("log")
    low, high, number = float(first), float(last), int(count.removesuffix("log"))
    if number > MAX_TRIALS:
        raise _RangeError(f"`{option} {name}={text}` may have at most {MAX_TRIALS:,} points, got {show(number)}.")
    if number < 2:
        raise _RangeError(f"`{option} {name}={text}` must have at least 2 points, got {number}.")
    if not log:
        return np.linspace(low, high, number)
    if low <= 0 or high <= 0:
        raise _RangeError(f"`{option} {name}={text}` must be above 0 to be spaced in log10. Leave out log.")
    return np.geomspace(low, high, number)


def read_stop(words: str, metric: str, mode: Literal["min", "max"] | None) -> Any:
    """none, diverged, halving:FIRST or halving:FIRST:FACTOR."""
    mode = check_mode("sweep", metric, mode)
    kind, *numbers = words.split(":")
    if kind == "none" and not numbers:
        return None
    if kind == "diverged" and not numbers:
        return StopDiverged()
    if (
        kind == "halving"
        and 1 <= len(numbers) <= 2
        and all(number.isdecimal() and len(number) < 10 for number in numbers)
    ):
        factor = {"factor": int(numbers[1])} if len(numbers) == 2 else {}
        try:
            return SuccessiveHalving(first=int(numbers[0]), metric=metric, mode=mode, **factor)
        except ValueError as error:
            raise UsageError(f"`--stop {words}`: {error}") from None
    raise UsageError(f"`--stop` must be none, diverged, halving:FIRST or halving:FIRST:FACTOR, got {show(words)}.")
