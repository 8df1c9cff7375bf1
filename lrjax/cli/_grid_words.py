"""A sweep's grid and its stop, from the words of the command line."""

import re
from typing import Any, Literal

import numpy as np

from .._checks import MAX_TRIALS, check_mode, show
from .._sweeps import StopDiverged, SuccessiveHalving, zipped
from ._errors import UsageError


def read_grid(grid: tuple[str, ...], zips: tuple[str, ...]) -> list[Any]:
    """The grid that --grid and --zip say."""
    if not grid and not zips:
        raise UsageError("`lrjax sweep` needs a grid. Add for example --grid learning_rate=1e-5:1e-1:17log.")
    parts: list[Any] = [dict([_read_values("--grid", word)]) for word in grid]
    together = [_read_values("--zip", word) for word in zips]
    names = [name for name, _ in together]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"`--zip {twice[0]}=...` is given twice.")
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
            return name, _read_range(f"{option} {word}", text)
        whole = all(part.strip().lstrip("+-").isdecimal() for part in text.split(","))
        return name, np.asarray([int(part) if whole else float(part) for part in text.split(",")])
    except ValueError:
        raise UsageError(
            f"`{option} {name}=...` must be numbers with commas between or FIRST:LAST:COUNT, got {show(text)}. "
            "Write for example 1e-4,1e-3 or 1e-5:1:25log."
        ) from None


def _read_range(where: str, text: str) -> np.ndarray:
    first, last, count = text.split(":")
    low, high, number = float(first), float(last), int(count.removesuffix("log"))
    if number > MAX_TRIALS:
        raise UsageError(f"`{where}` may have at most {MAX_TRIALS:,} points, got {show(number)}.")
    if number < 2:
        raise UsageError(f"`{where}` must have at least 2 points, got {number}.")
    if not count.endswith("log"):
        return np.linspace(low, high, number)
    if low <= 0 or high <= 0:
        raise UsageError(f"`{where}` must be above 0 to be spaced in log10. Leave out log.")
    return np.geomspace(low, high, number)


def read_stop(words: str, metric: str, mode: Literal["min", "max"] | None) -> StopDiverged | SuccessiveHalving | None:
    """none, diverged, halving:FIRST or halving:FIRST:FACTOR."""
    mode = check_mode("sweep", metric, mode)
    if words in ("none", "diverged"):
        return StopDiverged() if words == "diverged" else None
    numbers = re.fullmatch(r"halving:(\d{1,9})(?::(\d{1,9}))?", words, re.ASCII)
    if numbers is None:
        raise UsageError(f"`--stop` must be none, diverged, halving:FIRST or halving:FIRST:FACTOR, got {show(words)}.")
    factor = {"factor": int(numbers[2])} if numbers[2] else {}
    try:
        return SuccessiveHalving(first=int(numbers[1]), metric=metric, mode=mode, **factor)
    except ValueError as error:
        raise UsageError(f"`--stop {words}`: {error}") from None
