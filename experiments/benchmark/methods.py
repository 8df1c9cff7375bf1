"""The rows of the table: every way to come to a learning rate, and what it chose on a recorded task."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import lrjax

from .judging import LOG_LRS
from .peers import PEERS, choose, wittmann
from .problem import OPTIMIZERS
from .recording import LRS, TRUTH_SEEDS, Recording
from .searching import Choice, Scheme, Search, search, two_stages

NAN = float("nan")
RULES: dict[str, Callable[[Search], float]] = {
    "method 1 (midpoint)": lambda found: float(lrjax.midpoint(found.curve, found.window)),
    "method 2 (half loss)": lambda found: float(lrjax.half_loss(found.curve, found.window)),
    "method 3 (steepest)": lambda found: float(lrjax.steepest(found.curve, found.window)),
    "min_lr": lambda found: float(found.window.min_lr),
    "max_lr": lambda found: float(found.window.max_lr),
}


class Row(NamedTuple):
    """A method of the table.

    Attributes:
      name: as printed.
      group: "paper", "paper, literal", "peer", "usual", "search", "no lr" or "ours".
      choose: gets a recording, a schedule and a run's number, and gives its choice.
      runs: independent repetitions, over seeds or draws.
      seeds: of the curve, where there is one.
    """

    name: str
    group: str
    choose: Callable[[Recording, str, int], Choice]
    runs: int = 5
    seeds: int = 1


def seeds_of(recording: Recording, run: int, count: int) -> tuple[int, ...]:
    """So many of the curve's seeds, beginning with another one for every run."""
    available = list(range(TRUTH_SEEDS, recording.num_seeds))
    return tuple(available[(run + i) % len(available)] for i in range(count))


@functools.cache
def _search(recording: Recording, run: int, seeds: int, literal: bool, scheme: Scheme) -> Search:
    """Once for all rules and schedules."""
    return search(recording, seeds_of(recording, run, seeds), literal=literal, scheme=scheme)


def _ours(name: str, seeds: int, *, literal: bool = False, scheme: Scheme = "fill") -> Callable[..., Choice]:
    def pick(recording: Recording, schedule: str, run: int) -> Choice:
        found = _search(recording, run, seeds, literal, scheme)
        return Choice(RULES[name](found), found.updates)

    return pick


def _auto(seeds: int, *, always: bool) -> Callable[..., Choice]:
    return lambda recording, schedule, run: two_stages(recording, seeds_of(recording, run, seeds), always=always)


def _usual(recording: Recording, schedule: str, run: int) -> Choice:
    return Choice(OPTIMIZERS[recording.optimizer].usual_lr, 0)


def _seed(recording: Recording, run: int) -> int:
    return seeds_of(recording, run, 1)[0]


def full_loss(recording: Recording, schedule: str, lr: float, seed: int) -> float:
    """The validation loss at the end of a full training, interpolated in log10(lr); inf where it diverged."""
    losses = recording.loss[schedule][:, seed, -1].astype(np.float64)
    losses = np.where(np.isfinite(losses), losses, 1e9)
    return float(np.interp(np.log10(lr), LOG_LRS, losses))


def random_search(trainings: int, low: float, high: float) -> Callable[..., Choice]:
    """So many full trainings at learning rates drawn between two, the lowest validation loss taken."""

    def pick(recording: Recording, schedule: str, run: int) -> Choice:
        draws = np.random.default_rng([run, trainings]).uniform(np.log10(low), np.log10(high), trainings)
        seed = _seed(recording, run)
        losses = [full_loss(recording, schedule, 10.0**x, seed) for x in draws]
        return Choice(float(10.0 ** draws[int(np.argmin(losses))]), trainings * recording.steps)

    return pick


def tpe_search(trainings: int) -> Callable[..., Choice]:
    """So many full trainings proposed by Optuna's TPE."""

    def pick(recording: Recording, schedule: str, run: int) -> Choice:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = _seed(recording, run)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=run))

        def objective(trial: "optuna.Trial") -> float:
            return full_loss(recording, schedule, trial.suggest_float("lr", 1e-7, 10.0, log=True), seed)

        study.optimize(objective, n_trials=trainings)
        return Choice(float(study.best_params["lr"]), trainings * recording.steps)

    return pick


def _grid(every: int) -> Callable[..., Choice]:
    def pick(recording: Recording, schedule: str, run: int) -> Choice:
        seed, lrs = _seed(recording, run), LRS[::every]
        losses = [full_loss(recording, schedule, lr, seed) for lr in lrs]
        return Choice(float(lrs[int(np.argmin(losses))]), len(lrs) * recording.steps)

    return pick


def rows() -> list[Row]:
    """All of them."""
    table = []
    for seeds in (1, 3):
        table += [Row(name, "paper", _ours(name, seeds), seeds=seeds) for name in RULES]
    for name in list(RULES)[:3]:
        pick = _ours(name, 1, literal=True, scheme="paper")
        table.append(Row(f"{name}, literal", "paper, literal", pick))
    for seeds in (1, 3):
        table.append(Row("two stages", "ours", _auto(seeds, always=False), seeds=seeds))
        table.append(Row("two stages, always", "ours", _auto(seeds, always=True), seeds=seeds))
    for name, peer in PEERS.items():
        table.append(Row(name, "peer", lambda r, schedule, run, peer=peer: choose(peer, r, _seed(r, run))))
    table.append(Row("Wittmann", "peer", lambda r, schedule, run: wittmann(r, _seed(r, run))))
    table.append(Row("the optimizer's usual lr", "usual", _usual, runs=1))
    table.append(
        Row("random, at method 1's cost", "search", _like_method_1(lambda n: random_search(n, 1e-7, 10.0)), runs=20)
    )
    table.append(Row("TPE, at method 1's cost", "search", _like_method_1(tpe_search), runs=10))
    for count in (1, 8):
        table.append(Row(f"random, {count} trainings", "search", random_search(count, 1e-7, 10.0), runs=20))
    table.append(Row("random in 1e-5 to 1, 8 trainings", "search", random_search(8, 1e-5, 1.0), runs=20))
    table.append(Row("TPE, 8 trainings", "search", tpe_search(8), runs=10))
    table.append(Row("TPE, 20 trainings", "search", tpe_search(20), runs=10))
    table.append(Row("grid by half decades, 17 trainings", "search", _grid(2)))
    table.append(Row("grid by quarter decades, 33 trainings", "search", _grid(1)))
    return table


def _like_method_1(search_of: Callable[[int], Callable[..., Choice]]) -> Callable[..., Choice]:
    """A search by full trainings with as many updates as method 1 with three seeds takes, at least one training."""

    def pick(recording: Recording, schedule: str, run: int) -> Choice:
        cost = _ours("method 1 (midpoint)", 3)(recording, schedule, run % 5).updates
        return search_of(max(1, round(cost / recording.steps)))(recording, schedule, run)

    return pick
