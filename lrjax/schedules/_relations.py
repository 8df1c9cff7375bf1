"""What must hold between the arguments of a schedule, beyond the rule of each."""

import itertools
from typing import Any

from jax.core import Tracer

from ._annotations import Relation, check_horizon, number


def ordered(low: str, high: str, *, strict: bool = False) -> Relation:
    """The first is not above the second, or below it if `strict`."""

    def check(name: str, given: dict[str, Any]) -> None:
        if any(given[one] is None or isinstance(given[one], Tracer) for one in (low, high)):
            return
        first, second = float(given[low]), float(given[high])
        if first > second or (strict and first == second):
            rule = "be below" if strict else "not be above"
            raise ValueError(
                f"`{name}({low}=...)` must {rule} {high}={second:g}, got {first:g}. "
                "Exchange the two, or mind the order of the arguments."
            )

    return check


def countable(*lengths: str) -> Relation:
    """The sum of these steps can be counted; one that is None is as long as the first."""

    def check(name: str, given: dict[str, Any]) -> None:
        counts = [given[lengths[0] if given[one] is None else one] for one in lengths]
        check_horizon(f"{name}({' + '.join(lengths)})", sum(count for count in counts if isinstance(count, int)))

    return check


def positive_if(choice: str, word: str, *values: str) -> Relation:
    """These are above 0 where the choice is this word, a constant factor per step."""

    def check(name: str, given: dict[str, Any]) -> None:
        above = number(f"above 0 where {choice}={word!r}, a constant factor per step", lambda x: x > 0)
        for one in values if given[choice] == word else ():
            above.check(f"{name}({one}=...)", given[one])

    return check


def between(pieces: str) -> Relation:
    """The `boundaries` increase, and there is one between each two pieces."""

    def check(name: str, given: dict[str, Any]) -> None:
        where, count, steps = f"{name}(boundaries)", len(given[pieces]), given["boundaries"]
        if len(steps) != count - 1:
            raise ValueError(
                f"`{where}` must hold one step between each two pieces: {count - 1} for {count} pieces, "
                f"got {len(steps)}."
            )
        for index, (first, second) in enumerate(itertools.pairwise(steps)):
            if isinstance(first, int) and isinstance(second, int) and first >= second:
                raise ValueError(
                    f"`{where}` must be strictly increasing, got {first} before {second} at index {index}. Sort them."
                )

    return check
