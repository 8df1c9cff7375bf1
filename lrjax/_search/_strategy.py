"""How to search: what a strategy is asked and answers, and the loop that trains what it asks for."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Protocol, cast, runtime_checkable

import jax
import numpy as np

from .._checks import MAX_SEEDS, check_count, check_flag, show, to_numpy
from .._curve import LossCurve, LRWarning, Outcome, find_warnings, find_window
from .._repr import line_repr
from .._types import Float
from ._stage import Stage


def keep_plain(strategy: object) -> None:
    """Hold numbers that came as arrays without axes as Python's, so that the checked strategy has a hash."""
    for name, value in vars(strategy).items():
        if isinstance(value, np.ndarray | jax.Array):
            object.__setattr__(strategy, name, np.asarray(value).item())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a strategy asks to be trained next: every learning rate, with every seed, to one number of steps.

    Attributes:
      log10_lrs: exponents of the learning rates, all different.
      num_steps: optimizer updates of each, counted from step 0.
      num_seeds: seeds; None: 3, or as many as the data allow.
      carry: False: all are trained from step 0, in one program. True: those of the last stage go on from where they
        are, and new ones are first brought level, so that only the steps that are missing are paid for.
      name: of the stage, "rung".
      round: why it is trained, in words, for the progress bar; None: a description of the learning rates.
      joins: whether it adds to the last stage, of the same steps and seeds, instead of beginning another one.
      horizons: with carry=False, further numbers of steps after which the losses are read.
      in_batches: whether `num_steps` and `horizons` count batches and not updates: these differ where gradients are
        accumulated.
      literal: whether the stage's window is that of the paper's own text; see `lrjax.find_window`.
      may_grow: whether higher learning rates may follow.
      longest: with carry=True, updates of a lane at most, in the whole search; 0: the whole training's.
      programs: with carry=True, (seeds, lanes) of the programs to compile; (): one, as large as the first request.
    """

    log10_lrs: Sequence[float]
    num_steps: int
    num_seeds: int | None = 1
    carry: bool = False
    name: str = "stage"
    round: str | None = None
    joins: bool = False
    horizons: tuple[int, ...] = ()
    in_batches: bool = False
    literal: bool = False
    may_grow: bool = False
    longest: int = 0
    programs: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        check_exponents("Request(log10_lrs=...)", self.log10_lrs)
        check_count("Request(num_steps=...)", self.num_steps, unit="optimizer updates")
        if self.num_seeds is not None:
            check_count("Request(num_seeds=...)", self.num_seeds, maximum=MAX_SEEDS, unit="seeds")
        check_flag("Request(carry=...)", self.carry)


def check_exponents(where: str, exponents: object) -> None:
    """Raise unless these are exponents of learning rates, log10(lr), all different."""
    values = to_numpy(exponents)
    right = values is not None and values.ndim == 1 and values.size > 0 and values.dtype.kind in "iuf"
    if values is None or not right or not (np.abs(values) < 37).all() or len(np.unique(values)) < values.size:
        raise ValueError(
            f"`{where}` must be exponents of learning rates, log10(lr), all different, got {show(exponents)}. "
            "Write -3.0 for 1e-3."
        )


def check_horizons(where: str, num_steps: object, horizons: object) -> tuple[int, ...]:
    """The horizons in increasing order, the last being num_steps."""
    steps = check_count(f"{where}(num_steps=...)", num_steps, unit="optimizer updates")
    sequence = isinstance(horizons, Sequence) or (isinstance(horizons, np.ndarray) and horizons.ndim == 1)
    if isinstance(horizons, (str, bytes)) or not sequence:
        raise TypeError(f"`{where}(horizons=...)` must be a sequence of step counts, got {show(horizons)}.")
    counts = [check_count(f"{where}(horizons=...)", n, unit="optimizer updates") for n in cast(Sequence, horizons)]
    if any(n > steps for n in counts):
        raise ValueError(
            f"`{where}(horizons=...)` must not exceed num_steps={steps}, got {max(counts)}. "
            "Raise num_steps: it is the last horizon."
        )
    return tuple(sorted({*counts, steps}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What a strategy may know besides the stages.

    Attributes:
      train_steps: updates of the training that the learning rate is for, if known.
      start: updates behind the checkpoint that the search starts from; None without one.
      max_seeds: how many the task has; None: any number.
      max_steps: for how many updates it has batches, as far as that is known after the first stage; None: any number.
      baseline_loss: loss of the best constant predictor, if known.
      memory: updates for which the optimizer remembers a gradient, if known: 1 for SGD, 10 for Adam, 100 with momentum
        0.99.
      untouched_loss: of a stateful task, loss of the untouched parameters and state, by seed.
      stochastic: whether two keys give different evaluation losses.
      horizon_losses: the losses to measure against after each horizon, by seed, where they differ from one another.
    """

    train_steps: int | None = None
    start: int | None = None
    max_seeds: int | None = None
    max_steps: int | None = None
    baseline_loss: float | None = None
    memory: float | None = None
    untouched_loss: Float[np.ndarray, " seeds"] | None = None
    stochastic: bool = False
    horizon_losses: Float[np.ndarray, "horizons seeds"] | None = None

    __repr__ = line_repr

    @property
    def longest(self) -> float:
        """Updates of a trial at most: what is left of the training, or what there are batches for."""
        left = math.inf if self.train_steps is None else self.train_steps - (self.start or 0)
        return min(left, math.inf if self.max_steps is None else self.max_steps)

    def warnings(self, stage: Stage) -> tuple[LRWarning, ...]:
        """Every doubt about a stage's curve; see `lrjax.find_warnings`."""
        if stage.nothing_moved is not None:
            return (stage.nothing_moved,)
        return find_warnings(
            stage.curve,
            stage.window,
            baseline_loss=self.baseline_loss,
            untouched_loss=self.untouched_loss,
            stochastic=self.stochastic,
            longest=self.longest,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What a strategy makes of the stages.

    Attributes:
      lr: the chosen learning rate; nan if there is none.
      outcome: how the search ended; None: `found`, or what the stage's window says where `lr` is nan.
      stage: the one that `lr` was read from, an index.
      rule: name of what chose it.
      interval: lowest and highest learning rate that could have been chosen.
      drift: number of updates -> what would be chosen after them.
      correction: decades by which `lr` lies below the best trained one.
      warnings: what makes the learning rate doubtful, the most serious first.
      reason: how the learning rate came about, in sentences.
    """

    lr: float
    outcome: Outcome | None = None
    stage: int = -1
    rule: str = ""
    interval: tuple[float, float] | None = None
    drift: dict[int, float] = dataclasses.field(default_factory=dict)
    correction: float = 0.0
    warnings: tuple[LRWarning, ...] = ()
    reason: tuple[str, ...] = ()


@runtime_checkable
class Strategy(Protocol):
    """A way to search for a learning rate: `lrjax.StepSampling`, `lrjax.Budget`, or an object of your own.

    Both methods are pure functions of what was trained until now, so that a search can be repeated, resumed from its
    folder and replayed on recorded losses. docs/choosing.md has a strategy of one's own in twenty lines.
    """

    def propose(self, stages: tuple[Stage, ...], context: Context) -> Request | None:
        """What to train next; None ends the search. It is asked at first with no stages."""
        ...

    def choose(self, stages: tuple[Stage, ...], context: Context) -> Choice | float:
        """The learning rate that the stages ask for, at least one; nan if none."""
        ...


class Trainer(Protocol):
    """Who knows the losses: a live search, or a table of recorded ones.

    Attributes:
      context: what is known besides the losses.
    """

    @property
    def context(self) -> Context: ...

    def train(self, request: Request) -> LossCurve:
        """The curve of a request's learning rates, in increasing order."""
        ...

    def inspect(self, stages: tuple[Stage, ...]) -> LRWarning | None:
        """Why no learning rate of the last stage moved the loss, if none did."""
        ...


def run_stages(strategy: Strategy, trainer: Trainer) -> Iterator[tuple[Stage, ...]]:
    """Train what a strategy asks for; yields the stages so far after every request."""
    stages: tuple[Stage, ...] = ()
    while (request := strategy.propose(stages, trainer.context)) is not None:
        curve = trainer.train(request)
        stages = _add(stages, request, curve)
        moved = trainer.inspect(stages)
        if moved is not None:
            stages = (*stages[:-1], dataclasses.replace(stages[-1], nothing_moved=moved))
        yield stages


def _add(stages: tuple[Stage, ...], request: Request, curve: LossCurve) -> tuple[Stage, ...]:
    """The stages with one more round."""
    exponents = np.sort(np.asarray(request.log10_lrs, np.float64))
    steps, seeds = int(curve.horizons[-1]), len(curve.initial_loss)
    before = stages[-1] if stages else None
    known = 0
    if request.carry and before is not None and steps > before.num_steps:
        known = min(seeds, before.num_seeds) * sum(x in before.log10_lrs for x in exponents) * before.num_steps
    spent = (0 if before is None else before.spent) + seeds * len(exponents) * steps - known
    rounds = (request.round or request.name,)
    if request.joins and before is not None:
        twice = sorted({*exponents} & {*before.log10_lrs})
        if twice:
            raise ValueError(
                f"`Request(joins=True)` must ask for new learning rates; the stage has {10.0 ** twice[0]:.3g} already. "
                "Leave it out, or begin another stage with joins=False."
            )
        number = np.full(len(exponents), len(before.rounds), np.int32)
        curve = before.curve.merge(curve._replace(rounds=number))
        exponents = np.sort(np.concatenate([before.log10_lrs, exponents]))
        rounds, stages = (*before.rounds, *rounds), stages[:-1]
    window = find_window(curve, literal=request.literal)
    stage = Stage(name=request.name, log10_lrs=exponents, curve=curve, window=window, rounds=rounds, spent=spent)
    return (*stages, stage)


def curve_of_losses(
    exponents: Sequence[float],
    losses: Float[np.ndarray, "seeds trials"],
    initial_loss: Float[np.ndarray, " seeds"],
    num_steps: int,
) -> LossCurve:
    """The curve of losses at one number of steps.

    A loss that is not finite, or larger than any float32, counts as divergence at the last step.
    """
    order = np.argsort(np.asarray(exponents, np.float64))
    with np.errstate(over="ignore"):
        table = np.where(np.isfinite(losses), losses, np.inf).astype(np.float32)[:, order]
    return LossCurve(
        lrs=(10.0 ** np.asarray(exponents, np.float64)[order]).astype(np.float32),
        losses=table[None],
        initial_loss=np.asarray(initial_loss, np.float32),
        horizons=np.asarray([num_steps], np.int32),
        rounds=np.zeros(len(order), np.int32),
        diverged_at=np.where(np.isfinite(table), -1, num_steps - 1).astype(np.int32),
    )
