"""The finder, replayed from a recorded table: the same window, rules, warnings and refinement, nothing trained."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

import lrjax
from lrjax._curve import FILL_ROUNDS, Rule, fill_window, first_grid, new_ones, paper_points
from lrjax._search import Context, run_stages

from .judging import LOG_LRS
from .recording import Recording
from .second_stage import DOUBTS, SECOND_STEPS, beyond, survivors

Scheme = Literal["half", "fill", "quarter", "paper"]
PAPER_ROUNDS = 10


class Search(NamedTuple):
    """A finder's run.

    Attributes:
      curve: what was tried.
      window: what was found.
      warnings: their names.
      trials: learning rates tried.
      updates: optimizer updates of all trials and seeds.
    """

    curve: lrjax.LossCurve
    window: lrjax.Window
    warnings: frozenset[str]
    trials: int
    updates: int


def losses_at(recording: Recording, exponents: Sequence[float], seeds: Sequence[int], horizon: int) -> np.ndarray:
    """Recorded validation losses of constant learning rates, shape (seeds, exponents); inf where diverged.

    Between the grid's points they are interpolated in log10(lr); next to a diverged one the nearer point counts.
    """
    place = recording.horizons.index(horizon)
    table = recording.loss["constant"][:, list(seeds), place].T.astype(np.float64)
    position = (np.asarray(exponents) - LOG_LRS[0]) / (LOG_LRS[1] - LOG_LRS[0])
    below = np.clip(np.floor(position + 1e-6).astype(int), 0, len(LOG_LRS) - 1)
    share = np.where(np.abs(position - np.round(position)) < 1e-6, 0.0, position - below)
    above = np.minimum(below + 1, len(LOG_LRS) - 1)
    mixed = table[:, below] * (1 - share) + np.where(share > 0, table[:, above], 0.0) * share
    nearer = np.where(share > 0.5, table[:, above], table[:, below])
    values = np.where(np.isfinite(mixed), mixed, nearer)
    return np.where(np.isfinite(values), values, np.inf)


def curve_of(
    recording: Recording,
    exponents: Sequence[float],
    seeds: Sequence[int],
    horizon: int,
    change: Any = None,
) -> lrjax.LossCurve:
    """The curve that sampling these learning rates would have given; `change(losses, initial)` alters the losses."""
    order = sorted(exponents)
    losses = losses_at(recording, order, seeds, horizon)
    initial = recording.initial_loss[list(seeds), recording.horizons.index(horizon)]
    if change is not None:
        losses, initial = change(losses, initial, order)
    return lrjax.LossCurve(
        lrs=jnp.asarray(10.0 ** np.asarray(order), jnp.float32),
        losses=jnp.asarray(losses[None], jnp.float32),
        initial_loss=jnp.asarray(initial, jnp.float32),
        horizons=jnp.asarray([horizon]),
        rounds=jnp.zeros(len(order), int),
        diverged_at=jnp.where(jnp.isfinite(jnp.asarray(losses)), -1, horizon),
    )


class Replay:
    """The trainer of a strategy, which looks losses up instead of training."""

    def __init__(self, recording: Recording, seeds: Sequence[int]):
        self.context, self._recording, self._seeds = Context(), recording, seeds

    def train(self, request: lrjax.Request) -> lrjax.LossCurve:
        """The curve of a request's learning rates."""
        return curve_of(self._recording, request.log10_lrs, self._seeds, request.num_steps)

    def inspect(self, stages: tuple[lrjax.Stage, ...]) -> None:
        """Nothing: a recorded loss moves."""


def search(
    recording: Recording,
    seeds: Sequence[int],
    *,
    horizon: int = 20,
    scheme: Scheme = "fill",
    literal: bool = False,
    change: Any = None,
    threshold: float = 0.125,
) -> Search:
    """One run of `lrjax.StepSampling` within 1e-7 to 10.

    Altered losses depend on what is tried, and the quarter-decade grid is no search: these go round by round here.
    """
    if change is None and scheme != "quarter":
        refine = None if scheme == "half" else scheme
        strategy = lrjax.StepSampling(
            num_steps=horizon, refine=refine, min_lr=1e-7, max_lr=10.0, literal=literal, threshold=threshold
        )
        *_, found = run_stages(strategy, Replay(recording, seeds))
        return read(recording, found[-1].curve, seeds, horizon, literal=literal)
    tried = [x / 4 for x in range(-28, 5)] if scheme == "quarter" else first_grid(1e-7, 10.0)
    at = functools.partial(curve_of, recording, seeds=seeds, horizon=horizon, change=change)
    for _ in range({"fill": FILL_ROUNDS, "paper": PAPER_ROUNDS}.get(scheme, 0)):
        curve = at(tried)
        window = lrjax.find_window(curve, literal=literal)
        wanted = fill_window(tried, window) if scheme == "fill" else paper_points(curve, window, threshold)
        more = [x for x in new_ones(wanted, tried) if LOG_LRS[0] - 1e-6 <= x <= LOG_LRS[-1] + 1e-6]
        if not more:
            break
        tried = [*tried, *more]
    return read(recording, at(tried), seeds, horizon, literal=literal)


def read(
    recording: Recording, curve: lrjax.LossCurve, seeds: Sequence[int], horizon: int, *, literal: bool = False
) -> Search:
    """The window and the warnings of a curve."""
    window = lrjax.find_window(curve, literal=literal)
    baseline = recording.baseline_loss if np.isfinite(recording.baseline_loss) else None
    warnings = frozenset(one.name.value for one in lrjax.find_warnings(curve, window, baseline_loss=baseline))
    trials = curve.num_trials
    return Search(curve, window, warnings, trials, trials * len(seeds) * horizon)


class Choice(NamedTuple):
    """A learning rate and what it cost.

    Attributes:
      lr: nan where nothing was found.
      updates: optimizer updates.
    """

    lr: float
    updates: int


@functools.cache
def stages(recording: Recording, seeds: tuple[int, ...]) -> tuple[Search, Search]:
    """Both stages of step sampling with a training's length; the second costs its own updates only."""
    first = search(recording, seeds)
    tried = [round(4 * x) / 4 for x in np.log10(np.asarray(first.curve.lrs, np.float64))]
    kept: list[float] = []
    more = [round(4 * x) / 4 for x in survivors(first.curve, first.window)]
    while True:
        kept += more
        second = read(recording, curve_of(recording, kept, seeds, SECOND_STEPS), seeds, SECOND_STEPS)
        more = beyond(tried, kept, frozenset(lrjax.WarningName[name] for name in second.warnings))
        if not more:
            return first, second


def two_stages(recording: Recording, seeds: Sequence[int], *, always: bool = False, rule: Rule | None = None) -> Choice:
    """Step sampling with a training's length; `rule` reads the second stage's curve, by default `lrjax.lowest_for`."""
    first, second = stages(recording, tuple(seeds))
    if first.window.outcome is lrjax.Outcome.all_diverged or not (always or first.warnings & DOUBTS):
        return Choice(float(lrjax.midpoint(first.curve, first.window)), first.updates)
    updates = first.updates + second.updates
    if second.window.outcome is not lrjax.Outcome.found:
        return Choice(float("nan"), updates)
    rule = lrjax.lowest_for(recording.steps) if rule is None else rule
    return Choice(float(rule(second.curve, second.window)), updates)
