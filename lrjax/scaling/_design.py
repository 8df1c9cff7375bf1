"""At which sizes, and at which learning rates, a law is measured. Pure functions: nothing is trained here."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .._checks import check_count, check_number, kind_of, show

LENGTH = "train_steps"
"""The axis that `make_task` and `make_optimizer` need not know."""

PER_DECADE = 4
"""Learning rates are 10 ** (k / 4), with whole numbers k that are called quarters below."""

FIRST_QUARTERS = tuple(range(-5 * PER_DECADE, 1, PER_DECADE))
"""At the base, whose optimum nobody knows: whole decades from 1e-5 to 1."""

MOST_AT_BASE, MOST = 15, 9
"""Learning rates of the base and of any other training, at most."""

Sizes = tuple[float, ...]
"""One value for each axis, in the order of the axes."""


class Run(NamedTuple):
    """Trainings of one size, one for each learning rate and seed."""

    sizes: Sizes  # the point of the design; with a shared length axis, its length is the last of `lengths`
    lengths: tuple[int, ...]  # updates after which the loss is read, increasing; the last is the whole training
    most: int  # learning rates, at most
    cost: float  # of all of them and all seeds, at most, in trainings of the base


def check_axes(axes: object) -> dict[str, tuple[float, ...]]:
    """Axis -> its values, increasing."""
    if not isinstance(axes, Mapping) or not axes:
        raise TypeError(
            '`measure(axes)` must map names of sizes to their values, {"width": [64, 128, 256]}, got ' + show(axes)
        )
    return {_check_name(name): _check_values(name, values) for name, values in axes.items()}


def _check_name(name: object) -> str:
    if not (isinstance(name, str) and name.isidentifier()) or name in ("lr", "loss", "seed"):
        raise ValueError(
            "`measure(axes)` must have arguments of make_task as names, and not lr, loss or seed, which the table "
            f"holds too; got {show(name)}."
        )
    return name


def _check_values(name: str, values: Any) -> tuple[float, ...]:
    where = f"measure(axes)[{name!r}]"
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise TypeError(f"`{where}` must be a list of sizes, [64, 128, 256], got {show(values)}.")
    rule = "a size, > 0 and finite"
    checked = []
    for value in values:
        number = check_number(where, value, rule=rule, accept=lambda number: 0 < number < math.inf)
        whole = isinstance(value, int) or kind_of(value) in ("i", "u")
        checked.append(int(value) if whole else number)
    if name == LENGTH:
        checked = [check_count(where, value, unit="optimizer updates") for value in values]
    if len(set(checked)) < max(2, len(checked)):
        raise ValueError(
            f"`{where}` must hold at least two values, no two equal, got {show(list(values))}. "
            + ("Leave the axis out, and fix the size in make_task." if len(checked) < 2 else "Name each size once.")
        )
    return tuple(sorted(checked))


def base_of(axes: Mapping[str, Sequence[float]]) -> Sizes:
    """The middle of every axis; the lower one of two."""
    return tuple(values[(len(values) - 1) // 2] for values in axes.values())


def _lines(axes: Mapping[str, Sequence[float]]) -> list[Sizes]:
    """The base, then each axis by itself, outwards from the base."""
    base = base_of(axes)
    points = [base]
    for place, values in enumerate(axes.values()):
        middle = values.index(base[place])
        points += [
            (*base[:place], value, *base[place + 1 :]) for value in [*values[middle + 1 :], *values[:middle][::-1]]
        ]
    return points


def _corners(axes: Mapping[str, Sequence[float]]) -> list[Sizes]:
    """The largest of two, of three, ... axes together, all others at the base."""
    base, largest = base_of(axes), [values[-1] for values in axes.values()]
    together = itertools.chain.from_iterable(
        itertools.combinations(range(len(base)), count) for count in range(2, len(base) + 1)
    )
    return [tuple(largest[i] if i in group else size for i, size in enumerate(base)) for group in together]


def make_design(
    axes: Mapping[str, Sequence[float]],
    train_steps: int | None,
    *,
    shared: bool,
    update_cost: Callable[[Sizes], float],
    num_seeds: int,
    budget: float | None,
) -> list[Run]:
    """The base, one axis at a time around it, then corners as far as the budget (trainings of the base) goes.

    Raises where it is too small for one axis at a time. Where lengths are `shared`, shorter trainings are the
    beginnings of longer ones; the unit of `update_cost` does not matter.
    """
    names, base = list(axes), base_of(axes)

    def length_of(sizes: Sizes) -> int:
        return int(train_steps or sizes[names.index(LENGTH)])

    def runs_of(points: Sequence[Sizes]) -> list[Run]:
        longest: dict[Sizes, Sizes] = {}
        for point in points:
            group = tuple(size for name, size in zip(names, point, strict=True) if not (shared and name == LENGTH))
            longest[group] = max(point, longest.get(group, point), key=length_of)
        runs = []
        for sizes in longest.values():
            length, most = length_of(sizes), MOST if runs else MOST_AT_BASE
            lengths = [int(one) for one in axes.get(LENGTH, ()) if one < length] if shared else []
            cost = most * num_seeds * length * update_cost(sizes) / (length_of(base) * update_cost(base))
            runs.append(Run(sizes, (*lengths, length), most, cost))
        return runs

    def cost_of(points: Sequence[Sizes]) -> float:
        return sum(run.cost for run in runs_of(points))

    points = _lines(axes)
    if budget is not None and cost_of(points) > budget:
        raise ValueError(
            f"`measure(budget=...)` must be at least {math.ceil(cost_of(points))} trainings of the base, "
            f"{describe(axes, base)}, for one axis at a time, got {budget:g}. Leave out values or seeds, or choose "
            "smaller ones."
        )
    for corner in sorted(_corners(axes), key=lambda corner: cost_of([*points, corner])):
        if budget is not None and cost_of([*points, corner]) <= budget:
            points.append(corner)
    return runs_of(points)


def describe(names: Mapping[str, Any] | Sequence[str], sizes: Sizes) -> str:
    """`width=64, batch_size=16`."""
    return ", ".join(f"{name}={size:.12g}" for name, size in zip(names, sizes, strict=True))


def lr_of(quarter: int) -> float:
    """The learning rate of a quarter."""
    return 10.0 ** (quarter / PER_DECADE)


def next_quarters(losses: Mapping[int, Sequence[float]], most: int) -> list[int]:
    """The quarters to try next: two beyond an end that is lowest, else those within half a decade of the minimum.

    Of `most` in all the nearest to the minima. `losses` are the means at each length, inf where a seed diverged.
    """
    away: dict[int, int] = {}
    low, high = min(losses), max(losses)
    for length in range(len(losses[low])):
        best = lowest_quarter(losses, length)
        if best is None or best == low:
            best, offsets = low, (-2, -4)
        else:
            offsets = (2, 4) if best == high else (-2, -1, 1, 2)
        for offset in offsets:
            away[best + offset] = min(abs(offset), away.get(best + offset, abs(offset)))
    nearest = sorted(away.keys() - losses.keys(), key=lambda quarter: (away[quarter], quarter))
    return sorted(nearest[: max(most - len(losses), 0)])


def lowest_quarter(losses: Mapping[int, Sequence[float]], length: int) -> int | None:
    """The quarter with the lowest finite loss at a length, the lower one of two; None where all diverged."""
    finite = {quarter: at[length] for quarter, at in losses.items() if math.isfinite(at[length])}
    return min(finite, key=lambda quarter: (finite[quarter], quarter)) if finite else None


def first_quarters(sizes: Sizes, best: Mapping[Sizes, int], base: Sizes) -> list[int]:
    """Half decades around where the axes, each by itself, would put the optimum; at the base whole decades."""
    if base not in best:
        return list(FIRST_QUARTERS)
    centre = best[base]
    for place, size in enumerate(sizes):
        line = {
            known[place]: quarter
            for known, quarter in best.items()
            if known == (*base[:place], known[place], *base[place + 1 :])
        }
        nearest = min(line, key=lambda value: abs(math.log(value / size)))
        centre += line[nearest] - best[base]
    return [centre - 2, centre, centre + 2]
