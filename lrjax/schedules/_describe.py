"""What a schedule does, in words and numbers: for ours and for any other callable."""

import dataclasses

import numpy as np

from .._html import block, preformatted
from .._types import Float, Schedule, StepCount
from ._evaluate import evaluate, known_steps, sample_steps
from ._phases import Phase, phases_of
from ._picture import draw_course

COURSE = 300
"""Steps kept for a picture, beside the edges of the phases."""

MAX_PHASES = 50

_BARS = " ▁▂▃▄▅▆▇█"


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
        return "\n".join([*lines, *(f"  {phase}" for phase in self.phases)])


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
    where = "describe(schedule)"
    total = known_steps("describe(total_steps)", total_steps)
    steps = sample_steps(total)
    values = evaluate(where, schedule, steps)
    quarters = evaluate(where, schedule, np.array([round(total * part / 4) for part in range(5)]))
    peak = int(np.nanargmax(values)) if not np.isnan(values).all() else 0
    phases = tuple(phases_of(steps, values, total)[:MAX_PHASES])
    edges = np.searchsorted(steps, [edge for phase in phases for edge in (phase.start, phase.stop - 1)])
    evenly = np.linspace(0, len(steps) - 1, min(len(steps), COURSE)).astype(np.int64)
    places = np.unique(np.r_[evenly, edges.clip(0, len(steps) - 1)])
    return Description(
        total_steps=total,
        phases=phases,
        peak=float(values[peak]),
        peak_step=int(steps[peak]),
        values={f"{25 * part}%": float(value) for part, value in enumerate(quarters)},
        area=float(np.mean(values) * total),
        sparkline=sparkline(values),
        sampled=len(steps) < total,
        course=tuple((int(steps[place]), float(values[place])) for place in places),
    )


def sparkline(values: Float[np.ndarray, " steps"], width: int = 32) -> str:
    """The values as `width` bars, each the mean of its part; the lowest is 0 or less, and ? is no finite number."""
    means = [
        part.mean() if np.isfinite(part).all() else np.nan for part in np.array_split(values, min(width, len(values)))
    ]
    top = max((mean for mean in means if mean > 0), default=1.0)
    return "".join("?" if np.isnan(mean) else _BARS[1 + round(7 * max(mean / top, 0.0))] for mean in means)
