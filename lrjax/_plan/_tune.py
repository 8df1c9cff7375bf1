"""The peak of one schedule by short runs of the whole schedule, compressed."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optax
from jax.sharding import Mesh

from .._checks import check_key, check_lrs, check_number, check_signature, name_of, on_host
from .._curve import DRIFT, LossCurve, LRWarning, WarningName, reduce_losses
from .._engine import Execution, Executor, Task, TrialRunner, check_factory
from .._failure import LRNotFound
from .._search import ProgressCallback, Reporter, Stage, sample_round
from .._settings import without_alarms
from .._types import Array, Float, Key, OptimizerFactory, Schedule, StepCount
from ..schedules._describe import known_steps
from ._peak import stage_of, values_of

ScheduleFamily = Callable[[Any, int], Schedule]
"""A function of a (traced) peak and a number of updates that returns a schedule."""

PER_DECADE = 3
"""Peaks tried in a decade."""

ABOVE = 0.7
"""Decades above max_lr up to which peaks are tried: a schedule that starts low goes higher than a constant lr."""

FEWEST_STEPS = 10
"""Updates of a compressed run, at least."""


@on_host
def tune_peak(
    task: Task,
    make_optimizer: OptimizerFactory,
    schedule_family: ScheduleFamily,
    *,
    key: Key,
    train_steps: StepCount,
    horizon: float = 0.1,
    result: Any = None,
    peaks: Float[Array, " trials"] | Sequence[float] | None = None,
    num_seeds: int | None = 1,
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    progress: ProgressCallback | bool | None = None,
) -> "TunedPeak":
    r"""Find the peak of one schedule by training with the whole of it, compressed to a part of the updates.

    Every peak trains one copy of the model for n = `horizon` * `train_steps` updates with
    `schedule_family(peak, n)`, all from the same parameters on the same batches. The one with the lowest validation
    loss, in the mean over seeds, wins; a peak at which any seed diverges is out. That peak is divided by
    $(\text{train\_steps}/n)^{0.5}$, 3.2 at a tenth: compressed runs want peaks too high for the whole training.

    The evidence (docs/benchmark.md) is three schedules on 16 small tasks, 300 to 2,000 updates long, with two keys, one
    seed each, and nine peaks around the lr of a search of 20 updates, three a decade. Peaks from a tenth of the updates
    lost 2.3 points with 1cycle, 1.3 with cosine and 1.5 with warmup, stable, decay (half of the tasks less than 0.9);
    without the division 3.3, 3.1 and 2.4. That is no better than `lrjax.peak_for` from the same search, but for warmup,
    stable, decay (-0.7 +- 0.4), and no better than `peak_for` from the max_lr of a search of 100 updates.

    This is for one schedule at a time. Do not compare the losses of two schedules by it: in short runs the order of the
    schedules, each at its best peak, correlated with that of whole trainings by 0.2, and schedules of large area
    won because every short run trains too little.

    Args:
      task: what is trained.
      make_optimizer: `make_optimizer(schedule) -> optax optimizer`, for example `optax.adam`.
      schedule_family: `schedule_family(peak, total_steps) -> schedule`, for example `lrjax.schedules.cosine_decay`. It
        is called with a traced peak, so it must not branch on it; all its lengths must follow `total_steps`.
      key: PRNG key; the same key gives the same answer.
      train_steps: optimizer updates of the whole training.
      horizon: part of them that a compressed run has, from 0 to 1; at least 10 updates.
      result: of `lrjax.find_lr`: the peaks are three a decade, from its min_lr to 5 times its max_lr.
      peaks: the peaks to try instead, at least 3, > 0 and all different. Shape (trials,).
      num_seeds: seeds, >= 1; None: 3, or as many as the data allow.
      executor: how the copies run; see `lrjax.sample_losses`.
      mesh: devices over whose first axis the copies are spread; None: all local devices.
      progress: True for a bar, or a function of a `lrjax.SearchProgress`.

    Returns:
      The result: `peak`, `schedule` (of full length), `curve`, `warnings`, `reason`, `summary()`.

    Raises:
      LRNotFound: every peak diverged, or none lowered the loss; `.result` is the curve.
      TypeError, ValueError: bad arguments; the message says what was wrong and what to do.

    Source: ours.

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> tuned = lrjax.tune_peak(
      ...     digits(), optax.adam, lambda peak, n: lrjax.schedules.one_cycle(peak, total_steps=n),
      ...     key=jax.random.key(0), train_steps=400, peaks=[1e-4, 1e-3, 1e-2, 1e-1, 1.0],
      ... )
      >>> print(f"{tuned.peak:.2g}, after {tuned.num_steps} updates")
      0.032, after 40 updates
      >>> optimizer = optax.adam(tuned.schedule)
    """
    start = time.perf_counter()
    key = check_key("tune_peak(key=...)", key)
    total = known_steps("tune_peak(train_steps=...)", train_steps)
    num_steps = _compressed_steps(horizon, total)
    lrs = _peaks(result, peaks)
    check_factory("tune_peak(make_optimizer=...)", make_optimizer)
    _check_family(schedule_family, lrs, num_steps, total)
    with Reporter(progress) as reporter:
        reporter.stage("preparing")
        runner = TrialRunner(
            "tune_peak",
            task,
            _Compressed(make_optimizer, schedule_family, num_steps),
            key=key,
            horizons=(num_steps,),
            num_seeds=num_seeds,
            executor=executor,
            mesh=mesh,
            progress=reporter.advance,
            in_updates=True,
        )
        if "optax.apply_every" in runner.experiment.accumulation.kinds:
            raise ValueError(
                "`tune_peak(make_optimizer=...)` must ask its schedule once for every update, but under "
                "optax.apply_every it is asked at every batch. Use optax.MultiSteps."
            )
        reporter.stage("compressed runs", len(lrs) * runner.num_seeds * num_steps)
        curve = sample_round(runner, lrs)
    best = _best_trial(curve)
    correction = (total / num_steps) ** DRIFT
    peak = float(np.sort(lrs)[best]) / correction
    return TunedPeak(
        peak=peak,
        schedule=schedule_family(peak, total),
        curve=curve,
        compressed_peak=peak * correction,
        correction=correction,
        num_steps=num_steps,
        train_steps=total,
        warnings=_edges(curve, best),
        seconds=time.perf_counter() - start,
        execution=runner.execution,
    )


@dataclasses.dataclass(frozen=True)
class _Compressed:
    """The factory of the compressed runs; equal to another one of the same functions, so that nothing compiles twice.

    Attributes:
      func: the user's own, whose name stands in messages.
      family: makes the schedule.
      num_steps: its length.
    """

    func: OptimizerFactory
    family: ScheduleFamily
    num_steps: int

    def __call__(self, peak: Array) -> optax.GradientTransformation:
        return self.func(self.family(peak, self.num_steps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedPeak:
    """The peak of one schedule, from compressed runs.

    Attributes:
      peak: the chosen one, for the whole training.
      schedule: with this peak, over `train_steps`.
      curve: losses of every peak tried (its `lrs`), after `num_steps` updates.
      compressed_peak: the peak with the lowest loss.
      correction: what that was divided by, 1 where the whole training was run.
      num_steps: updates of a compressed run.
      train_steps: updates of the whole training.
      warnings: `edge_low` or `edge_high` if the lowest loss is at an end of the peaks tried.
      seconds: wall time, compilation included.
      execution: how the trials were run, and what did not go as asked.
    """

    peak: float
    schedule: Schedule
    curve: LossCurve
    compressed_peak: float
    correction: float
    num_steps: int
    train_steps: int
    warnings: tuple[LRWarning, ...]
    seconds: float
    execution: Execution

    @property
    @without_alarms()
    def reason(self) -> str:
        """Why this peak, in sentences."""
        seeds = self.curve.final.shape[0]
        share = f"{100 * self.num_steps / self.train_steps:.3g} % of {self.train_steps}"
        lowest = (
            f"Of {_tried(self.curve)}, {self.compressed_peak:.2e} had the lowest validation loss after "
            f"{self.num_steps} updates ({share}), {'one seed' if seeds == 1 else f'mean of {seeds} seeds'}."
        )
        if self.num_steps == self.train_steps:
            return lowest
        return f"{lowest} For the whole training it is divided by {self.correction:.2f}."

    @without_alarms()
    def summary(self) -> str:
        """The peak, its reason, its doubts and its cost, in sentences."""
        updates = self.curve.final.size * self.num_steps
        return "\n".join(
            [
                f"Peak {self.peak:.2e}.",
                self.reason,
                *(f"Warning, {warning}" for warning in self.warnings),
                f"Cost: {updates} updates, {updates / self.train_steps:.2g} trainings, in {self.seconds:.1f} s, "
                f"executor {self.execution.used}.",
            ]
        )

    def __repr__(self) -> str:
        names = ", ".join(warning.name for warning in self.warnings)
        return f"TunedPeak(peak={self.peak:.3g}, correction={self.correction:.3g}, warnings=[{names}])"


def _compressed_steps(horizon: Any, total: int) -> int:
    rule = "a part of the training, above 0 and at most 1"
    horizon = check_number("tune_peak(horizon=...)", horizon, rule=rule, accept=lambda x: 0 < x <= 1)
    num_steps = round(horizon * total)
    if num_steps < FEWEST_STEPS:
        advice = f"Write horizon={FEWEST_STEPS / total:.2g}." if total > FEWEST_STEPS else "Train longer."
        raise ValueError(
            f"`tune_peak(horizon=...)` must leave at least {FEWEST_STEPS} updates, got {horizon:g} of "
            f"train_steps={total}, which is {num_steps}. {advice}"
        )
    return num_steps


def _peaks(result: Any, peaks: Any) -> Float[np.ndarray, " trials"]:
    """The peaks to try: those given, or third decades over the window and above it."""
    if (result is None) == (peaks is None):
        given = "neither" if result is None else "both"
        raise TypeError(
            f"`tune_peak(result=..., peaks=...)` needs one of the two, got {given}. "
            "Write result=lrjax.find_lr(...), or peaks=np.logspace(-4, 0, 13)."
        )
    if peaks is not None:
        values = check_lrs("tune_peak(peaks=...)", peaks)
        if len(values) < 3:
            raise ValueError(
                f"`tune_peak(peaks=...)` must be at least 3, so that one lies between others, got {len(values)}. "
                "Write for example np.logspace(-4, 0, 13)."
            )
        return values
    window = _first_stage(result).window
    low, high = math.log10(float(window.min_lr)), math.log10(float(window.max_lr))
    first, last = math.floor(PER_DECADE * low + 1e-3), math.ceil(PER_DECADE * (high + ABOVE) - 1e-3)
    return 10.0 ** (np.arange(first, last + 1) / PER_DECADE)


def _first_stage(result: Any) -> Stage:
    """The search over the whole range: a second stage does not look for the low end."""
    found = stage_of("tune_peak(result=...)", result)
    return next(stage for stage in found.stages if stage.found)


def _check_family(family: Any, lrs: Float[np.ndarray, " trials"], num_steps: int, total: int) -> None:
    """Raise unless its schedules follow the peak and the length."""
    where, wanted = "tune_peak(schedule_family)", "schedule_family(peak, total_steps) -> schedule"
    signature = check_signature(where, family, wanted)
    if signature is not None:
        raise TypeError(
            f"`{where}` must be `{wanted}`, got `{name_of(family)}{signature}`. Fix the other arguments: "
            "lambda peak, total_steps: lrjax.schedules.cosine_decay(peak, total_steps)."
        )
    made = "tune_peak(schedule_family)(peak, total_steps)"
    low, high = float(lrs.min()), float(lrs.max())
    whole = values_of(made, family(low, total), total)
    at_low, at_high = (values_of(made, family(peak, num_steps), num_steps) for peak in (low, high))
    if (at_low == at_high).all():
        raise ValueError(
            f"`{where}` must use its argument peak, but for {low:g} and {high:g} {name_of(family)} gave the same "
            "schedule. Pass it on: lambda peak, total_steps: lrjax.schedules.cosine_decay(peak, total_steps)."
        )
    begins = len(whole) == total and np.allclose(at_low, whole[:num_steps], rtol=1e-6, atol=0)
    if num_steps < total and begins and at_low.min() < at_low.max():
        raise ValueError(
            f"`{where}` must use its argument total_steps, but for {num_steps} and {total} {name_of(family)} gave the "
            "same first steps, so a short run would see only the beginning. Let all its lengths follow total_steps."
        )


def _best_trial(curve: LossCurve) -> int:
    """The peak with the lowest loss, as the finder measures it."""
    z, effect = reduce_losses(curve.final, curve.initial_loss)
    if float(effect) > 0:
        return int(np.argmin(np.asarray(z)))
    if math.isnan(float(effect)):
        raise LRNotFound(f"Every peak diverged: {_tried(curve)}. Try lower ones (peaks=...).", curve)
    raise LRNotFound(
        f"No peak lowered the validation loss below that of the untouched parameters: {_tried(curve)}. "
        "Try others (peaks=...), or a longer horizon.",
        curve,
    )


def _tried(curve: LossCurve) -> str:
    return f"{curve.num_trials} peaks from {float(curve.lrs[0]):.1e} to {float(curve.lrs[-1]):.1e}"


def _edges(curve: LossCurve, best: int) -> tuple[LRWarning, ...]:
    """A doubt if the best peak has no worse one on one side."""
    ends = {
        0: (WarningName.edge_low, "lowest", "Try lower peaks (peaks=...): the best one may lie there."),
        curve.num_trials - 1: (
            WarningName.edge_high,
            "highest",
            "Try higher peaks (peaks=...): the best one may lie there.",
        ),
    }
    if best not in ends:
        return ()
    name, which, remedy = ends[best]
    message = f"The {which} peak tried, {float(curve.lrs[best]):.1e}, has the lowest loss."
    return (LRWarning(name=name, message=message, remedy=remedy),)
