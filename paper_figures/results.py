"""The committed results of the paper's experiments, as the figures read them, and the numbers that figures share."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import lrjax
from experiments.paper.run import PLANS
from experiments.paper.store import encode, from_document

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "experiments" / "results"

SHOWN = {
    **dict.fromkeys((1, 2), ("bert", "scratch")),  # evaluated most often; several keys of the range test
    **dict.fromkeys(range(3, 9), ("bert", "pretrained")),  # the clearest curve; they follow one search
}
"""Figure -> the plan that it shows. Figure 9 shows all."""

SEARCHES = {"finder_paper": "the paper's search", "finder_default": "our default"}
METHODS = {"midpoint": "midpoint", "half_loss": "half loss", "steepest": "steepest"}
"""In the paper's order: method 1, 2, 3."""

NEAR_BEST = 1.0
"""Points of accuracy below the best one within which a learning rate counts as good."""


class ResultsError(ValueError):
    """A file of results cannot be used; the message says which one, why, and what makes it."""


class NotMeasured(ResultsError):
    """The results are not there yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """The full grid search.

    Attributes:
      lrs: learning rates, increasing, shape (lrs,).
      steps: updates after which was evaluated, shape (evaluations,).
      metrics: name -> values, shape (lrs, seeds, evaluations).
      diverged_at: first step whose training loss was not finite, -1 for none, shape (lrs, seeds).
      trial_steps: updates, over all learning rates and seeds.
    """

    lrs: np.ndarray
    steps: np.ndarray
    metrics: Mapping[str, np.ndarray]
    diverged_at: np.ndarray
    trial_steps: int

    def __post_init__(self):
        wanted = (*self.diverged_at.shape, *self.steps.shape)
        shapes = {values.shape for values in self.metrics.values()}
        if shapes != {wanted} or wanted[0] != len(self.lrs):
            raise ValueError(f"the grid's metrics must have the shape {wanted}, got {sorted(shapes)}")

    def course(self, metric: str) -> np.ndarray:
        """The mean over the seeds at every evaluation, (lrs, evaluations); nan where one is not finite."""
        values = self.metrics[metric].mean(axis=1)
        return np.where(np.isfinite(values), values, np.nan)

    def final_accuracy(self) -> np.ndarray:
        """In percent, (lrs, seeds); 0 where a model diverged, as in the summary."""
        values = np.where(self.diverged_at >= 0, 0.0, self.metrics["accuracy"][:, :, -1])
        return 100 * np.nan_to_num(values, posinf=0.0, neginf=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pick:
    """A learning rate that was trained fully because a search found it.

    Attributes:
      search: a key of `SEARCHES`.
      name: a key of `METHODS`, or min_lr or max_lr.
      lr: the learning rate.
      accuracy: of every seed, in percent.
      regret: points of accuracy below the best of the grid, of every seed.
    """

    search: str
    name: str
    lr: float
    accuracy: np.ndarray
    regret: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanResults:
    """Everything measured for one model on one data set."""

    title: str
    searches: Mapping[str, lrjax.LRResult]
    range_tests: tuple[lrjax.RangeTest, ...]
    grid: Grid
    best_lr: float
    picks: tuple[Pick, ...]
    costs: Mapping[str, Mapping[str, Any]]

    def picks_of(self, search: str) -> dict[str, Pick]:
        """Name -> pick of one search; empty where it found nothing."""
        return {pick.name: pick for pick in self.picks if pick.search == search}

    def window_of(self, search: str) -> tuple[float, float] | None:
        """min_lr and max_lr; None where nothing was found."""
        result = self.searches[search]
        if result.outcome is not lrjax.Outcome.found:
            return None
        return float(result.window.min_lr), float(result.window.max_lr)

    def good_lrs(self) -> tuple[float, float]:
        """The lowest and the highest learning rate of the grid within `NEAR_BEST` points of the best accuracy."""
        means = self.grid.final_accuracy().mean(axis=1)
        good = self.grid.lrs[means >= means.max() - NEAR_BEST]
        return float(good[0]), float(good[-1])


class Results:
    """A folder of results.

    Args:
      folder: where `python -m experiments.paper.<name>` wrote them.
    """

    def __init__(self, folder: Path = FOLDER):
        self.folder = folder
        self.read: dict[str, str] = {}
        """Name -> sha256 of every file that a plan was read from so far."""
        self._plans: dict[tuple[str, str], PlanResults] = {}

    def plan(self, experiment: str, name: str) -> PlanResults:
        """One plan, complete.

        Raises:
          NotMeasured: there is no such file, or the run has not finished the plan.
          ResultsError: the file is damaged.
        """
        if (experiment, name) not in self._plans:
            self._plans[experiment, name] = self._read_plan(experiment, name)
        return self._plans[experiment, name]

    def shown(self, figure: int) -> PlanResults:
        """The plan that a figure shows."""
        return self.plan(*SHOWN[figure])

    def measured(self) -> dict[tuple[str, str], PlanResults]:
        """Every plan that is finished, in the order of `PLANS`.

        Raises:
          ResultsError: a file is damaged.
        """
        found = {}
        for place in PLANS:
            with contextlib.suppress(NotMeasured):
                found[place] = self.plan(*place)
        return found

    def _read_plan(self, experiment: str, name: str) -> PlanResults:
        path, command = self.folder / f"paper_{experiment}.json", command_of(experiment)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise NotMeasured(f"There are no results {_shown(path)}. Make them with `{command}`.") from None
        try:
            document = json.loads(raw)
            plan = document["plans"].get(name, {})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(_damaged(path, error, command)) from None
        if "summary" not in plan:
            raise NotMeasured(
                f"The results {_shown(path)} have no finished plan {name!r}. `{command}` goes on with them."
            )
        self.read[path.name] = hashlib.sha256(raw).hexdigest()
        try:
            return _decode(PLANS[experiment, name], plan["parts"], plan["summary"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ResultsError(_damaged(path, error, command)) from error


def command_of(experiment: str) -> str:
    """What makes the results of an experiment."""
    return f"python -m experiments.paper.{experiment}"


def _shown(path: Path) -> str:
    """A path within the repository from its root, any other one as it is."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _damaged(path: Path, error: Exception, command: str) -> str:
    return (
        f"The results {_shown(path)} are damaged: {type(error).__name__}: {error}. "
        f"Restore the committed file, or make them anew with `{command} --fresh`."
    )


def _decode(title: str, parts: Mapping[str, Any], summary: Mapping[str, Any]) -> PlanResults:
    grid = parts["grid"]
    best = summary["best_on_grid"]
    best_accuracy = 100 * np.asarray(best["accuracy"], float)
    picks = []
    for pick in summary["at_picks"]:
        accuracy = 100 * np.asarray(pick["accuracy"], float)
        names = {name: pick[name] for name in ("search", "name")}
        picks.append(Pick(**names, lr=float(pick["lr"]), accuracy=accuracy, regret=best_accuracy - accuracy))
    return PlanResults(
        title=title,
        searches={name: from_document(lrjax.LRResult, parts[name]["result"]) for name in SEARCHES},
        range_tests=tuple(from_document(lrjax.RangeTest, test["result"]) for test in parts["range_test"]["tests"]),
        grid=Grid(
            lrs=np.asarray(grid["lrs"], float),
            steps=np.asarray(grid["steps"], int),
            metrics={name: np.asarray(values, float) for name, values in grid["metrics"].items()},
            diverged_at=np.asarray(grid["diverged_at"], int),
            trial_steps=int(grid["trial_steps"]),
        ),
        best_lr=float(best["lr"]),
        picks=tuple(picks),
        costs=summary["cost"],
    )


def search_numbers(plan: PlanResults, search: str) -> dict[str, Any]:
    """What one search found and what it took."""
    result, window = plan.searches[search], plan.window_of(search)
    return {
        "outcome": result.outcome.name,
        "warnings": [warning.name.value for warning in result.warnings],
        "window": window,
        "picks": {name: result.selections[name] for name in METHODS} if window else {},
        "trials": result.num_trials,
        "seeds": result.curve.final.shape[0],
        "updates_of_a_trial": int(result.curve.horizons[-1]),
        "trial_steps": result.cost.updates,
    }


def accuracy_numbers(plan: PlanResults) -> dict[str, Any]:
    """The best of the grid, and the accuracies at the picks, in percent."""
    accuracy = plan.grid.final_accuracy()
    best = int(np.flatnonzero(plan.grid.lrs == plan.best_lr)[0])
    return {
        "best_of_grid": {"lr": plan.best_lr, "accuracy_percent": accuracy[best]},
        "near_best": plan.good_lrs(),
        "at_picks": [dataclasses.asdict(pick) for pick in plan.picks],
    }


def to_plain(value: Any) -> Any:
    """Strict JSON: six significant digits, and words for numbers that are not finite."""

    def shorten(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shorten(item) for key, item in value.items()}
        if isinstance(value, list):
            return [shorten(item) for item in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return shorten(encode(value))
