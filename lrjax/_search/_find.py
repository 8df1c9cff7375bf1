"""The search: wiring of sampling, window, rule, warnings and refinement. No maths of its own."""

import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
from jax.sharding import Mesh

from .._checks import check_choice, check_flag, check_key, check_number, check_signature, describe, name_of, show
from .._curve import (
    FILL_ROUNDS,
    METHODS,
    LossCurve,
    LRWarning,
    Outcome,
    Rule,
    WarningName,
    Window,
    extend,
    fill_window,
    find_warnings,
    find_window,
    first_grid,
    is_lost_in_noise,
    midpoint,
    new_ones,
    paper_points,
)
from .._engine import Checkpoint, Executor, Task, TrialRunner, Unmoved, all_the_same, why_unmoved
from .._failure import interruptible
from .._lrs import check_lr_range
from .._progress import ProgressLike, Reporter
from .._settings import on_host
from .._types import Float, Key, OptimizerFactory
from .._version import __version__
from ._finder_result import LRFinderResult, not_found
from ._sample import check_horizons, sample_round

Refinement = Literal["fill", "paper"] | None
REFINEMENTS = ("fill", "paper", None)
PAPER_ROUNDS = 10


@on_host
def find_lr(
    task: Task,
    make_optimizer: OptimizerFactory,
    *,
    key: Key,
    num_steps: int = 20,
    num_seeds: int | None = None,
    min_lr: float | None = None,
    max_lr: float | None = None,
    rule: Rule = midpoint,
    refine: Refinement = "fill",
    executor: Executor = "auto",
    mesh: Mesh | None = None,
    progress: ProgressLike = None,
    throw: bool = True,
    horizons: Sequence[int] = (),
    extend_range: bool | None = None,
    literal: bool = False,
    threshold: float = 0.125,
) -> LRFinderResult:
    """Find a good learning rate by step sampling.

    Trains one copy of the model for a few steps at every learning rate of a grid, all from the same parameters on
    the same batches, and reads the validation losses as a curve over log10(lr): where it begins to fall, where it is
    lowest, and the learning rate between them. The grid is refined where it matters, and extended if it was too
    short. With the defaults: 3 seeds, about 24 learning rates, 20 steps each.

    Args:
      task: what is trained.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, for example `optax.adam`, or
        `lambda lr: optax.adamw(warmup_cosine(lr), weight_decay=0.1)`: then lr is the schedule's peak.
      key: PRNG key; the same key gives the same answer.
      num_steps: training batches at every learning rate: optimizer updates, or k for each where gradients are
        accumulated (`optax.MultiSteps(..., k)`), of which it must be a multiple. 20 updates suit trainings of about a
        thousand; more lower the window's low end, so more is not better.
      num_seeds: None: 3, or as many as the data allow.
      min_lr, max_lr: the range, > 0. An end that is given is kept; None: 1e-7 and 10, and beyond where the curve asks
        for it.
      rule: function of (curve, window) that chooses; `lrjax.midpoint` (default), `lrjax.half_loss`,
        `lrjax.steepest`, `lrjax.lowest_loss` or your own, in NumPy if you like.
      refine: "fill": half decades over the range, then quarter decades around the window. "paper": log-midpoints
        around the points of interest until each is known within `threshold`. None: the half-decade grid alone.
      executor: how the copies run; see `lrjax.sample_losses`. "auto" decides from the model and the machine.
      mesh: devices over whose first axis the copies are spread; None: all local devices.
      progress: True for a bar, a function of a `lrjax.Progress`, or a list of these.
      throw: False returns a result with `lr` nan where nothing was found.
      horizons: further numbers of batches at which to read the curve, for the drift of the optimum.
      extend_range: None: as `min_lr` and `max_lr` say. True: the ends that are given may be left too; False: none is.
        The range grows by up to 5 decades a side within 1e-12 to 1e3.
      literal: the paper's finite differences instead of the smoothed estimator; see `lrjax.find_window`.
      threshold: decades, for refine="paper".

    Returns:
      The result: `lr`, `window`, `selections`, `warnings`, `summary()`, `plot()`, `to_json(path)`.

    Raises:
      LRNotFound: nothing was found and `throw`; `.result` holds the curve.
      SearchInterrupted: Ctrl-C; `.result` holds what the finished rounds tell.
      TypeError, ValueError: bad arguments; the message says what was wrong and what to do.

    Source: "Learning rate optimization through step sampling".

    Examples:
      >>> import jax, optax, lrjax
      >>> from lrjax.demos import digits
      >>> result = lrjax.find_lr(digits(), optax.adam, key=jax.random.key(0))
      >>> result.outcome.name, 1e-3 < result.lr < 1e-1
      ('found', True)
      >>> optimizer = optax.adam(result.lr)
    """
    key = check_key("find_lr(key=...)", key)
    low, high = lr_range("find_lr", min_lr, max_lr)
    if extend_range is not None:
        extend_range = check_flag("find_lr(extend_range=...)", extend_range)
    grow = open_ends(min_lr, max_lr, extend_range)
    signature = check_signature("find_lr(rule=...)", rule, "rule(curve, window) -> lr")
    if signature is not None:
        raise TypeError(f"`find_lr(rule=...)` must be `rule(curve, window) -> lr`, got `{name_of(rule)}{signature}`.")
    refine = check_choice("find_lr(refine=...)", refine, REFINEMENTS)
    throw = check_flag("find_lr(throw=...)", throw)
    literal = check_flag("find_lr(literal=...)", literal)
    positive = "decades, > 0"
    threshold = check_number("find_lr(threshold=...)", threshold, rule=positive, accept=lambda x: 0 < x < np.inf)
    search = None
    with Reporter(progress) as reporter, interruptible("search", lambda: so_far(search)):
        search = Search(
            "find_lr",
            task,
            make_optimizer,
            reporter,
            rule,
            key=key,
            horizons=check_horizons("find_lr", num_steps, horizons),
            num_seeds=num_seeds,
            executor=executor,
            mesh=mesh,
            literal=literal,
        )
        search.look(low, high, grow=grow, refine=refine, threshold=threshold)
    result = search.result()
    if throw and result.outcome is not Outcome.found:
        raise not_found(result)
    return result


def so_far(search: "Search | None", first: LRFinderResult | None = None) -> tuple[LRFinderResult | None, str]:
    """What an interrupted search holds (its first stage alone, if that had ended), and the end of its message."""
    if first is None and search is not None and search.curve is not None:
        first = search.result()
    return first, "no round had finished." if first is None else f"{first.num_trials} learning rates were done."


class Ends(NamedTuple):
    """Which ends of the range may be left."""

    low: bool
    high: bool


def lr_range(where: str, min_lr: object, max_lr: object) -> tuple[float, float]:
    """The first range; None: 1e-7 and 10."""
    return check_lr_range(where, 1e-7 if min_lr is None else min_lr, 10.0 if max_lr is None else max_lr)


def open_ends(min_lr: object, max_lr: object, extend_range: bool | None = None) -> Ends:
    """An end that was given is kept, unless it was said otherwise."""
    return Ends(min_lr is None, max_lr is None) if extend_range is None else Ends(extend_range, extend_range)


class Search:
    """One search under way: what was tried, and what it says so far."""

    def __init__(
        self,
        where: str,
        task: Task,
        make_optimizer: OptimizerFactory,
        reporter: Reporter,
        rule: Rule,
        *,
        key: Key,
        horizons: tuple[int, ...],
        num_seeds: int | None,
        executor: Executor,
        mesh: Mesh | None,
        literal: bool = False,
        low_end: bool = True,
        checkpoint: Checkpoint | None = None,
        in_updates: bool = False,
    ):
        self.start = time.perf_counter()
        reporter.stage("preparing")
        self.runner = TrialRunner(
            where,
            task,
            make_optimizer,
            key=key,
            horizons=horizons,
            num_seeds=num_seeds,
            executor=executor,
            mesh=mesh,
            progress=reporter.advance,
            checkpoint=checkpoint,
            in_updates=in_updates,
        )
        self.where, self.task, self.reporter = where, task, reporter
        self.rule, self.key, self.literal, self.low_end = rule, key, literal, low_end
        self.tried: list[float] = []
        self.curve: LossCurve | None = None
        self.rounds = 0
        self.unmoved: Unmoved | None = None

    def look(
        self,
        low: float,
        high: float,
        *,
        grow: Ends,
        refine: Refinement = "fill",
        threshold: float = 0.125,
    ) -> None:
        """All rounds: the first grid, a wider one if it was too short, and finer ones where it matters."""
        self.scan(low, high, extend_range=grow.high)
        if self.unmoved is not None:
            return
        self.extend_range(grow)
        if refine == "fill":
            self.fill(grow)
        elif refine == "paper":
            self.refine_like_the_paper(threshold)

    def scan(self, low: float, high: float, *, extend_range: bool = True) -> None:
        """The first grid."""
        self.sample(first_grid(low, high), "first grid")
        self.check_moved(extend_range=extend_range)

    def check_moved(self, *, extend_range: bool) -> None:
        """Find out why if no loss moved; where the range may grow, a higher learning rate gets a chance.

        Raises:
          ValueError: the learning rate does not matter.
        """
        assert self.curve is not None
        lrs, losses, initial = map(np.asarray, (self.curve.lrs, self.curve.final, self.curve.initial_loss))
        if all_the_same(losses, initial):
            experiment, lr = self.runner.experiment, max(float(lrs[-1]), 1.0 if extend_range else 0.0)
            lr = jnp.asarray(lr, experiment.dtype)
            self.unmoved = why_unmoved(experiment.spec, experiment.seeds[0], experiment.evaluation, lr)
        if self.unmoved is None:
            check_lr_matters(self.where, lrs, losses, initial)

    def sample(self, exponents: list[float], stage: str) -> LossCurve:
        """Run one round and add it to the curve."""
        updates = len(exponents) * self.runner.num_seeds * self.runner.num_updates
        self.reporter.stage(stage, updates)
        curve = sample_round(self.runner, np.asarray([10.0**x for x in exponents]), number=self.rounds)
        self.curve = curve if self.curve is None else self.curve.merge(curve)
        self.tried += exponents
        self.rounds += 1
        return curve

    def window(self) -> Window:
        assert self.curve is not None
        return find_window(self.curve, literal=self.literal)

    def wanted(self) -> Window:
        """The window around which to try more; without its low end where no rule reads that."""
        window = self.window()
        return window if self.low_end else window._replace(min_lr=window.max_lr)

    def warnings(self, window: Window) -> tuple[LRWarning, ...]:
        assert self.curve is not None
        if self.unmoved is not None:
            return (LRWarning(name=WarningName.nothing_moved, **self.unmoved._asdict()),)
        reference = self.runner.reference
        return find_warnings(
            self.curve,
            window,
            baseline_loss=self.task.baseline_loss,
            untouched_loss=reference.untouched_loss if self.task.has_state else None,
            stochastic=reference.stochastic,
        )

    def extend_range(self, grow: Ends) -> None:
        """Half decades beyond the ends that may be left, while the curve asks for them."""
        first = (min(self.tried), max(self.tried))
        while True:
            names = frozenset(warning.name for warning in self.warnings(self.window()))
            names -= frozenset() if self.low_end else {WarningName.no_plateau}
            more = self._within(new_ones(extend(self.tried, first, self.wanted(), names), self.tried), grow)
            if not more:
                return
            self.sample(more, "wider range")

    def fill(self, grow: Ends) -> None:
        """Quarter decades around the window, again while the window moves; over the whole range if there is none."""
        for _ in range(FILL_ROUNDS):
            more = self._within(fill_window(self.tried, self.wanted()), grow)
            if not more:
                return
            self.sample(more, "refining")

    def _within(self, exponents: list[float], grow: Ends) -> list[float]:
        """Those that lie in the range, or beyond an end that may be left."""
        low, high = min(self.tried), max(self.tried)
        return [x for x in exponents if (grow.low or x >= low) and (grow.high or x <= high)]

    def refine_like_the_paper(self, threshold: float) -> None:
        for _ in range(PAPER_ROUNDS):
            assert self.curve is not None
            more = new_ones(paper_points(self.curve, self.window(), threshold), self.tried)
            if not more:
                return
            self.sample(more, "refining")

    def result(self) -> LRFinderResult:
        """What the rounds so far tell."""
        curve, window = self.curve, self.window()
        assert curve is not None
        warnings, outcome = self.warnings(window), window.outcome
        if self.unmoved is not None:
            outcome = Outcome.nothing_moved
        elif is_lost_in_noise(curve, window):
            outcome = Outcome.lost_in_noise
        found = outcome is Outcome.found
        picks = [self._pick(curve.seed(s)) for s in range(self.runner.num_seeds)]
        finite = [lr for lr in picks if np.isfinite(lr)]
        return LRFinderResult(
            lr=self._checked_pick(curve, window) if found else float("nan"),
            interval=(min(finite), max(finite)) if found and finite and self.runner.num_seeds > 1 else None,
            rule=name_of(self.rule),
            window=window,
            selections={name: float(rule(curve, window)) for name, rule in METHODS.items()},
            horizon_lrs={int(n): self._pick(self._curve_at(i)) for i, n in enumerate(curve.horizons)},
            curve=curve,
            warnings=warnings,
            outcome=outcome,
            num_trials=curve.num_trials,
            num_updates=curve.num_trials * self.runner.num_seeds * self.runner.num_updates,
            seconds=time.perf_counter() - self.start,
            execution=self.runner.execution,
            fingerprint=_fingerprint(self.runner, self.key),
        )

    def _curve_at(self, horizon: int) -> LossCurve:
        """The curve at one horizon, against what that horizon is to be measured against."""
        assert self.curve is not None
        initial = jnp.asarray(self.runner.reference.horizon_losses[horizon], self.curve.initial_loss.dtype)
        return self.curve.at(horizon)._replace(initial_loss=initial)

    def _pick(self, curve: LossCurve) -> float:
        """What the rule says of one seed or horizon; nan if nothing."""
        window = find_window(curve, literal=self.literal)
        lr = self.rule(curve, window) if window.outcome is Outcome.found else None
        return float(np.asarray(lr)) if _is_lr(lr) else float("nan")

    def _checked_pick(self, curve: LossCurve, window: Window) -> float:
        pick = self.rule(curve, window)
        if not _is_lr(pick):
            raise ValueError(
                f"`find_lr(rule=...)` must return one learning rate, > 0 and finite, got {show(pick)} from "
                f"{name_of(self.rule)}. See `lrjax.midpoint`; `lrjax.crossing` reads levels off the window."
            )
        return float(np.asarray(pick))


def check_lr_matters(
    where: str,
    lrs: Float[np.ndarray, " trials"],
    losses: Float[np.ndarray, "seeds trials"],
    initial_loss: Float[np.ndarray, " seeds"],
) -> None:
    """Raise if the learning rates learned something, but all of them the same; `lrs` in increasing order."""
    moved = np.abs(losses - initial_loss[:, None]) > 1e-3 * np.abs(initial_loss[:, None])
    if len(lrs) > 2 and moved.all() and (losses == losses[:, :1]).all() and np.isfinite(losses).all():
        raise ValueError(
            f"`{where}(make_optimizer=...)` must use its argument, but all {len(lrs)} learning rates from "
            f"{lrs[0]:.1e} to {lrs[-1]:.1e} gave the same loss, {losses[0, 0]:.4g}. "
            "Pass it on: lambda lr: optax.sgd(lr, momentum=0.9)."
        )


def _is_lr(pick: Any) -> bool:
    """Whether a rule gave one learning rate."""
    value = np.asarray(pick)
    return value.shape == () and value.dtype.kind in "iuf" and bool(0 < value < np.inf)


def _fingerprint(runner: TrialRunner, key: Key) -> dict[str, Any]:
    """What another run must share to give the same numbers."""
    experiment = runner.experiment
    data = jax.random.key_data(key) if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    params = jax.tree.leaves(experiment.seeds[0].params)
    device = jax.local_devices()[0]
    return {
        "lrjax": __version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "optax": optax.__version__,
        "numpy": np.__version__,
        "backend": device.platform,
        "device": device.device_kind,
        "devices": runner.execution.devices,
        "executor": runner.execution.used,
        "optimizer": name_of(experiment.spec.make_optimizer),
        "loss_fn": name_of(experiment.spec.loss_fn),
        "trained_parameters": sum(leaf.size for leaf in params),
        "parameter_shapes": [describe(leaf) for leaf in params],
        "batch_shapes": [describe(leaf[0]) for leaf in jax.tree.leaves(experiment.seeds[0].batches)],
        "num_steps": runner.num_steps,
        "num_seeds": runner.num_seeds,
        "key": np.asarray(data).ravel().tolist(),
    }
