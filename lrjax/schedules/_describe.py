"""What a schedule does, in words and numbers: for ours and for any other callable."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from .._checks import brief, name_of
from .._html import block, preformatted
from .._settings import broken_setting
from .._types import Array, Float, Int, Schedule, StepCount
from . import _arguments as check
from ._bind import Core, Foreign, read_value

MAX_SAMPLES = 200_000
"""Up to so many steps every one is looked at; a longer training is sampled evenly."""

BLOCK = 2048
"""Steps that are computed at once."""

COURSE = 300
"""Steps kept for a picture, and the edges of the phases."""

_BARS = " ▁▂▃▄▅▆▇█"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a schedule that rises, falls, or stays.

    Attributes:
      kind: "rising", "falling" or "constant".
      start: its first step.
      stop: the step after its last one; the next phase's start.
      start_value: lr at `start`.
      stop_value: lr at `stop - 1`.
    """

    kind: str
    start: int
    stop: int
    start_value: float
    stop_value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What `describe` found. Print it.

    Attributes:
      total_steps: optimizer updates looked at, steps 0 to `total_steps` - 1.
      phases: what it does one after another, at most 50.
      peak: the highest lr.
      peak_step: the first step that has it.
      values: lr at 0, 25, 50, 75 and 100 % of the training, the last one at step `total_steps`, after the last update.
      area: sum of the lr over all updates: the distance that SGD with gradients of norm 1 could go.
      sparkline: the course in one line of text.
      sampled: whether only a part of the steps was looked at.
      course: (step, lr) at some hundred steps, those where phases begin and end among them: enough for a picture.
    """

    total_steps: int
    phases: tuple[Phase, ...]
    peak: float
    peak_step: int
    values: dict[str, float]
    area: float
    sparkline: str
    sampled: bool
    course: tuple[tuple[int, float], ...]

    def _repr_html_(self) -> str:
        from ._picture import draw_course

        return block(preformatted(str(self)), lambda: draw_course(self.course), f"{self.total_steps:,} steps")

    def __repr__(self) -> str:
        return f"Description(total_steps={self.total_steps}, peak={self.peak:.4g}, phases={len(self.phases)})"

    def __str__(self) -> str:
        lines = [
            f"{self.sparkline}  {self.total_steps:,} step{'s' * (self.total_steps > 1)}",
            f"peak {self.peak:.4g} at step {self.peak_step:,} ({100 * self.peak_step / self.total_steps:.3g} %)",
            "at " + ", ".join(f"{part} {value:.4g}" for part, value in self.values.items()),
            f"area {self.area:.4g}, mean {self.area / self.total_steps:.4g}",
        ]
        lines += [
            f"  {phase.kind:8} steps {phase.start:,} to {phase.stop - 1:,}: "
            + (
                f"{phase.start_value:.4g}"
                if phase.kind == "constant"
                else f"{phase.start_value:.4g} to {phase.stop_value:.4g}"
            )
            for phase in self.phases
        ]
        return "\n".join(lines)


def describe(schedule: Schedule, total_steps: StepCount) -> Description:
    """Look at a schedule: its phases, its peak, its values on the way, its area.

    Args:
      schedule: any Optax callable, also one that is not of this package.
      total_steps: optimizer updates of the training, warmup included, >= 1.

    Returns:
      A `Description`; `print` shows it.

    Raises:
      TypeError, ValueError: an argument is out of its range, or the schedule does not return one number.

    Examples:
      >>> from lrjax import schedules
      >>> print(schedules.describe(schedules.warmup_cosine(0.1, warmup_steps=10, total_steps=100), 100))
      ▂▅█████▇▇▇▇▆▆▆▅▅▅▄▄▄▃▃▃▂▂▂▂▁▁▁▁▁  100 steps
      peak 0.1 at step 10 (10 %)
      at 0% 0, 25% 0.0933, 50% 0.05868, 75% 0.01786, 100% 0
      area 5, mean 0.05
        rising   steps 0 to 9: 0 to 0.09
        falling  steps 10 to 99: 0.1 to 3.046e-05
    """
    total = known_steps("describe(total_steps)", total_steps)
    steps = sample_steps(total)
    values = evaluate("describe(schedule)", schedule, steps)
    last = evaluate("describe(schedule)", schedule, np.array([round(total * part / 4) for part in range(5)]))
    peak = int(np.nanargmax(values)) if not np.isnan(values).all() else 0
    phases = tuple(phases_of(steps, values, total)[:50])
    return Description(
        total_steps=total,
        phases=phases,
        peak=float(values[peak]),
        peak_step=int(steps[peak]),
        values={f"{25 * part}%": float(value) for part, value in enumerate(last)},
        area=float(np.mean(values) * total),
        sparkline=sparkline(values),
        sampled=len(steps) < total,
        course=_course(steps, values, [edge for phase in phases for edge in (phase.start, phase.stop - 1)]),
    )


def _course(
    steps: Int[np.ndarray, " steps"], values: Float[np.ndarray, " steps"], edges: list[int]
) -> tuple[tuple[int, float], ...]:
    """Some of the steps with their values, evenly, and those at the edges."""
    evenly = np.linspace(0, len(steps) - 1, min(len(steps), COURSE)).astype(np.int64)
    places = np.unique(np.concatenate([evenly, np.searchsorted(steps, edges).clip(0, len(steps) - 1)]).astype(np.int64))
    return tuple((int(steps[place]), float(values[place])) for place in places)


def known_steps(where: str, total_steps: Any) -> int:
    """A number of steps that is known now."""
    total = check.steps(where, total_steps)
    if not isinstance(total, int):
        raise TypeError(f"`{where}` must be known, got a traced number. Call it outside jit and vmap.")
    return total


def sample_steps(total: int) -> Int[np.ndarray, " steps"]:
    """Every step, or evenly many with both ends."""
    if total <= MAX_SAMPLES:
        return np.arange(total)
    return np.unique(np.linspace(0, total - 1, MAX_SAMPLES).astype(np.int64))


UNTRACEABLE = (TypeError, IndexError, KeyError, jax.errors.UnexpectedTracerError)
"""What a callable raises that cannot be traced: JAX's own errors are of these kinds, and so is a table's."""


def evaluate(where: str, schedule: Schedule, steps: Int[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
    """The values at these steps, as float64. A schedule that cannot be traced is called step by step.

    A foreign callable gets every step by itself, under vmap: some take an array of steps and answer wrongly.
    """
    check.child(where, schedule)
    ours = isinstance(schedule, Partial) and isinstance(schedule.func, Core)
    if ours and (shapes := [np.shape(leaf) for leaf in jax.tree.leaves(schedule) if np.ndim(leaf)]):
        raise ValueError(
            f"`{where}` must be one schedule, got several in one, shape {shapes[0]}. Use jax.vmap, or index it."
        )

    def ask(step: Array) -> Array:
        try:
            value = schedule(step)
        except UNTRACEABLE as error:
            raise _CannotBeTracedError from error
        except Exception as error:
            if broken := broken_setting(error):
                setting, remedy = broken
                raise TypeError(
                    f"`{where}` must be a schedule that keeps to {setting}, but {name_of(schedule)} does not: "
                    f"{brief(error)} {remedy}"
                ) from error
            raise
        return read_value(where, value)

    try:
        values: Any = _values_of(schedule, steps) if is_ours(schedule) else jax.jit(jax.vmap(ask))(steps)
    except _CannotBeTracedError:
        values = [schedule(int(step)) for step in steps]
        for value in values:
            read_value(where, value)
        return np.array([float(value) for value in values])
    if isinstance(values, Tracer):
        raise TypeError(f"`{where}` must have known numbers, got traced ones. Call it outside jit and vmap.")
    return np.asarray(values, np.float64)


def is_ours(schedule: Any) -> bool:
    """Whether a schedule is of this package, and every one inside it."""
    if not isinstance(schedule, Partial) or not isinstance(schedule.func, Core):
        return False
    children = jax.tree.leaves(dict(schedule.keywords), is_leaf=lambda value: isinstance(value, (Partial, Foreign)))
    return all(is_ours(child) for child in children if isinstance(child, (Partial, Foreign)))


def _values_of(schedule: Schedule, steps: Int[np.ndarray, " steps"]) -> Any:
    """The values of a schedule of ours, in blocks of one length, the last step repeated to fill the last block.

    So every kind of schedule has one program for all lengths and numbers, and one made of others has none: a process
    that looks at ever new compositions, as the explorer's server, does not grow with them.
    """
    blocks = np.pad(steps, (0, -len(steps) % BLOCK), mode="edge").reshape(-1, BLOCK)
    values = [schedule(block) for block in blocks]
    if isinstance(values[0], Tracer):
        return values[0]
    return np.concatenate([np.asarray(value) for value in values])[: len(steps)]


class _CannotBeTracedError(Exception):
    """The callable needs to know the step."""


def phases_of(steps: Int[np.ndarray, " steps"], values: Float[np.ndarray, " steps"], total: int) -> list[Phase]:
    """The rising, falling and constant parts, in order. A leap between two steps is no part: it begins the next one."""
    kinds = _kinds(values)
    starts = [0, *np.flatnonzero((kinds[1:] != kinds[:-1]) | leaps(values)[: len(kinds) - 1]) + 1]
    found = []
    for start, stop in zip(starts, [*starts[1:], len(values)], strict=True):
        found.append(
            Phase(
                kind=_NAMES[int(kinds[start])] if stop - start > 1 else "constant",
                start=int(steps[start]),
                stop=total if stop == len(values) else int(steps[stop]),
                start_value=float(values[start]),
                stop_value=float(values[stop - 1]),
            )
        )
    return found


_NAMES = {0: "constant", 1: "rising", -1: "falling"}


def tolerance_of(values: Float[np.ndarray, " steps"]) -> float:
    """Differences up to this are rounding: 4 units in the last place of the peak."""
    return 4 * float(np.spacing(np.float32(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))))


def _changes(values: Float[np.ndarray, " steps"]) -> np.ndarray:
    """From each step to the next; none between two infinities, and an infinite one to and from what is no number."""
    with np.errstate(invalid="ignore"):
        change = np.diff(values)
    same = np.isnan(change) & (np.isfinite(values[1:]) == np.isfinite(values[:-1]))
    return np.where(same, 0.0, np.where(np.isnan(change), np.inf, change))


def leaps(values: Float[np.ndarray, " steps"]) -> np.ndarray:
    """Where a change from one step to the next is far greater than those before and after it; one fewer than steps."""
    change = np.abs(_changes(values))
    if len(change) < 2:  # no neighbours to compare with
        return np.zeros(len(change), bool)
    around = np.maximum(np.r_[0.0, change[:-1]], np.r_[change[1:], 0.0])
    return change > 8 * np.maximum(around, tolerance_of(values))


def _kinds(values: Float[np.ndarray, " steps"]) -> np.ndarray:
    """For every step -1, 0 or 1: the direction in which it goes on to the next step of its part, 0 on a plateau."""
    change = _changes(values)
    signs = np.where(np.abs(change) > tolerance_of(values), np.sign(change), 0).astype(int)
    signs[leaps(values)] = 0
    kinds = np.zeros(len(values), int)
    known = np.flatnonzero(signs)
    if not len(known):
        return kinds
    # a change too small to tell goes the way of the next one that is not, or of the last
    following = np.minimum(np.searchsorted(known, np.arange(len(signs))), len(known) - 1)
    kinds[:-1] = signs[known[following]]
    kinds[-1] = kinds[-2]
    for start, stop in _plateaus(values):
        kinds[start:stop] = 0
    leap = np.flatnonzero(leaps(values))
    kinds[leap] = np.where(kinds[leap] == 0, 0, kinds[np.maximum(leap - 1, 0)])  # the last step before it belongs to it
    return kinds


def _plateaus(values: Float[np.ndarray, " steps"]) -> list[tuple[int, int]]:
    """Runs of one value, long enough to be no rounding of a slow slope: 1 % of the steps, and at least two."""
    edges = np.flatnonzero(np.diff(values) != 0) + 1
    starts, stops = np.r_[0, edges], np.r_[edges, len(values)]
    long = stops - starts >= max(2, len(values) // 100)
    return list(zip(starts[long], stops[long], strict=True))


def sparkline(values: Float[np.ndarray, " steps"], width: int = 32) -> str:
    """The values as `width` bars, each the mean of its part; the lowest is 0 or less, and ? is no finite number."""
    means = [
        part.mean() if np.isfinite(part).all() else np.nan for part in np.array_split(values, min(width, len(values)))
    ]
    top = max((mean for mean in means if mean > 0), default=1.0)
    return "".join("?" if np.isnan(mean) else _BARS[1 + round(7 * max(mean / top, 0.0))] for mean in means)
