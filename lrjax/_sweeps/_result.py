"""What a sweep measured: a tidy table, the best trial, pictures and files."""

import dataclasses
import itertools
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Shaped

from .._checks import Mode, check_index, check_path, clip, show
from .._decode import FieldError, require, require_counts
from .._engine import Execution
from .._html import Shown
from .._json import JsonResult
from .._settings import without_alarms
from .._types import Float, Int, Schedule
from ..schedules import to_spec
from ._grid import read_spec
from ._picture import FORMAT, metric_values, plot_sweep, settings_along, trial_scores

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes


class BestTrial(NamedTuple):
    """The best trial of a sweep.

    Attributes:
      trial: its index.
      settings: name -> its hyperparameters.
      value: the metric, mean over the seeds.
      std: standard deviation over the seeds; nan for one seed.
      step: updates after which it was measured.
    """

    trial: int
    settings: dict[str, Any]
    value: float
    std: float
    step: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepResult(JsonResult, Shown):
    """What a sweep measured. Crosses no program: a frozen dataclass of NumPy arrays.

    Attributes:
      names: the names along every axis of the grid; several where they were zipped.
      shape: settings along every axis; the last changes fastest from trial to trial.
      columns: name -> the trials' hyperparameters. A schedule has its index, its kind and its numbers.
      specs: name -> for hyperparameters that are no plain numbers, what each index stands for: a schedule as
        `lrjax.schedules.to_spec` writes it, or the numbers of another setting by their names.
      steps: updates after which was evaluated, increasing.
      metrics: name -> values, nan where a trial had been stopped; "loss" and "train_loss" (the mean of the training
        losses since the evaluation before) among them.
      diverged_at: first step whose training loss was not finite, as far as seen; -1 for none.
      stopped_at: updates after which a lane was stopped; -1 if it ran to the end.
      train_steps: updates of a trial that was not stopped.
      execution: how it was run.
    """

    _FORMAT = FORMAT

    names: tuple[tuple[str, ...], ...]
    shape: tuple[int, ...]
    columns: dict[str, Shaped[np.ndarray, " trials"]]
    steps: Int[np.ndarray, " evaluations"]
    metrics: dict[str, Float[np.ndarray, "trials seeds evaluations"]]
    diverged_at: Int[np.ndarray, "trials seeds"]
    stopped_at: Int[np.ndarray, "trials seeds"]
    train_steps: int
    execution: Execution
    specs: dict[str, list[Any]] = dataclasses.field(default_factory=dict)

    @property
    def num_trials(self) -> int:
        """Settings."""
        return self.diverged_at.shape[0]

    @property
    def num_seeds(self) -> int:
        """Seeds."""
        return self.diverged_at.shape[1]

    def settings(self, trial: int) -> dict[str, Any]:
        """The hyperparameters of a trial, by name: numbers, schedules, or mappings of other settings' numbers."""
        trial = check_index("settings(trial)", trial, self.num_trials)
        row = {name: self.columns[name][trial].item() for names in self.names for name in names}
        return {
            name: read_spec(self.specs[name][value]) if name in self.specs else value for name, value in row.items()
        }

    def final(self, metric: str = "loss") -> Float[np.ndarray, "trials seeds"]:
        """A metric after the last step; nan for lanes that were stopped before."""
        return metric_values(self, metric)[:, :, -1]

    def best(self, metric: str = "loss", *, mode: Mode | None = None, at: Literal["last", "any"] = "last") -> BestTrial:
        """The trial with the best mean over the seeds; one that diverged or was stopped in any seed is left out.

        Args:
          metric: a name in `metrics`.
          mode: which of its values are good, "min" or "max"; "loss" is minimised, any other metric needs one.
          at: the last evaluation, or the best one of them.

        Returns:
          The trial, its settings and the metric.

        Raises:
          ValueError: no such metric, a metric without a mode, or no trial has a finite value.
        """
        scores = trial_scores("best", self, metric, mode)
        if not isinstance(at, str) or at not in ("last", "any"):
            raise ValueError(f'`best(at=...)` must be "last" or "any", got {show(at)}.')
        if at == "last":
            scores = np.where(np.arange(len(self.steps)) == len(self.steps) - 1, scores, np.inf)
        if not np.isfinite(scores).any():
            raise ValueError(
                f"`best({metric!r})` must have a trial with a finite value in every seed, and there is none: all "
                "diverged or were stopped. Lower the learning rates, or look at `diverged_at`."
            )
        trial, place = np.unravel_index(np.argmin(scores), scores.shape)
        seeds = self.metrics[metric][trial, :, place]
        return BestTrial(
            trial=int(trial),
            settings=self.settings(int(trial)),
            value=float(seeds.mean()),
            std=float(seeds.std(ddof=1)) if len(seeds) > 1 else float("nan"),
            step=int(self.steps[place]),
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One mapping for each trial, seed and evaluation that took place, in that order."""
        table = self._table()
        return [dict(zip(table, row, strict=True)) for row in zip(*(c.tolist() for c in table.values()), strict=True)]

    def to_pandas(self) -> "pandas.DataFrame":
        """The tidy table: one row for each trial, seed and evaluation that took place.

        Raises:
          ImportError: pandas is not installed.
        """
        return _need("pandas", "to_pandas()").DataFrame(self._table())

    def _table(self) -> dict[str, np.ndarray]:
        last = np.where(self.stopped_at >= 0, self.stopped_at, self.train_steps)
        trial, seed, place = np.nonzero(self.steps <= last[:, :, None])
        return {
            "trial": trial,
            **{name: column[trial] for name, column in self.columns.items()},
            "seed": seed,
            "step": self.steps[place],
            **{name: values[trial, seed, place] for name, values in self.metrics.items()},
            "diverged_at": self.diverged_at[trial, seed],
            "stopped_at": self.stopped_at[trial, seed],
        }

    def to_xarray(self) -> "xarray.Dataset":
        """Metrics with one dimension for each axis of the grid, and those of seed and step.

        Raises:
          ImportError: xarray is not installed.
        """
        arrays = _need("xarray", "to_xarray()")
        dims = tuple("+".join(names) for names in self.names)
        coordinates: dict[str, Any] = {"seed": np.arange(self.num_seeds), "step": self.steps}
        for axis, (dim, names) in enumerate(zip(dims, self.names, strict=True)):
            for column, values in self.columns.items():
                if column in names or any(column.startswith(f"{name}.") for name in names):
                    coordinates[column] = (dim, values[settings_along(self, axis)])
        data: dict[str, Any] = {
            name: ((*dims, "seed", "step"), values.reshape(*self.shape, *values.shape[1:]))
            for name, values in self.metrics.items()
        }
        for name in ("diverged_at", "stopped_at"):
            data[name] = ((*dims, "seed"), getattr(self, name).reshape(*self.shape, self.num_seeds))
        return arrays.Dataset(data, coords=coordinates, attrs={"train_steps": self.train_steps})

    def _check(self) -> None:
        trials, names = self.num_trials, list(itertools.chain.from_iterable(self.names))
        require("diverged_at", self.num_seeds, "of at least one seed", self.num_seeds)
        axes = len(self.names) == len(self.shape) and all(self.names) and len(set(names)) == len(names)
        require("names", axes, f"different names for each of {len(self.shape)} axes", self.names)
        whole = min(self.shape, default=0) > 0 and math.prod(self.shape) == trials
        require("shape", whole, f"that of {trials} trials", self.shape)
        require("columns", set(names) <= set(self.columns), "of all names on the axes", list(self.columns))
        rise = not self.steps.size or (self.steps[0] >= 0 and (np.diff(self.steps) > 0).all())
        require("steps", rise, "numbers of updates that rise", self.steps.tolist())
        require("metrics", not self.steps.size or "loss" in self.metrics, 'those measured, "loss" too', [*self.metrics])
        for name in ("diverged_at", "stopped_at"):
            require(name, getattr(self, name).min() >= -1, "at least -1", int(getattr(self, name).min()))
        require_counts(self, "train_steps", minimum=1)
        for name, specs in self.specs.items():
            index = self.columns.get(name, np.zeros(1))
            inside = index.dtype.kind == "i" and ((index >= 0) & (index < len(specs))).all()
            require("specs", inside, f"settings that the column of {show(name, 40)} indexes", specs)
            for place, spec in enumerate(specs):
                try:
                    read_spec(spec)
                except (TypeError, ValueError) as error:
                    raise FieldError(
                        f"must be a setting, but: {show(str(error), 120)[1:-1]}", "specs", f"[{place}]"
                    ) from None

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the tidy table to a Parquet file.

        Raises:
          ImportError: pandas or pyarrow is not installed.
        """
        _need("pyarrow", "to_parquet(path)")
        self.to_pandas().to_parquet(check_path("SweepResult.to_parquet(path)", path), index=False)

    @without_alarms()
    def plot(
        self, kind: str | None = None, *, metric: str = "loss", mode: Mode | None = None, ax: "Axes | None" = None
    ) -> "Axes":
        """Draw it: see `lrjax.plots.plot_sweep`."""
        return plot_sweep(self, kind, metric=metric, mode=mode, ax=ax)

    @without_alarms()
    def summary(self) -> str:
        """A few lines: what ran, the best trial, what diverged or was stopped."""
        lanes = self.num_trials * self.num_seeds
        diverged, stopped = int((self.diverged_at >= 0).sum()), int((self.stopped_at >= 0).sum())
        lines = [
            f"{self.num_trials} trials x {self.num_seeds} seed{'s' * (self.num_seeds > 1)}, {self.train_steps} updates "
            f"each; {diverged} of {lanes} lanes diverged, {stopped} were stopped early."
        ]
        try:
            best = self.best()
        except ValueError as error:
            return "\n".join([*lines, str(error)])
        settings = ", ".join(f"{name}={_short(value)}" for name, value in best.settings.items())
        spread = f" +- {best.std:.2g}" if np.isfinite(best.std) else ""
        return "\n".join([*lines, f"Best: {settings} with loss {best.value:.5g}{spread}."])

    @without_alarms()
    def __repr__(self) -> str:
        names = [clip(name, 24) for name in list(self.metrics)[:8]]
        names += [f"... {len(self.metrics)} in all"] if len(self.metrics) > 8 else []
        return (
            f"SweepResult(trials={self.num_trials}, seeds={self.num_seeds}, train_steps={self.train_steps}, "
            f"metrics=[{', '.join(names)}], diverged={int((self.diverged_at >= 0).sum())})"
        )


def _need(module: str, call: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"`SweepResult.{call}` needs {module}. Install it: pip install 'lrjax[sweep]'. `to_rows()` and "
            "`to_json(path)` need nothing."
        ) from error


def _short(value: Any) -> str:
    if callable(value):
        return _short(to_spec(cast(Schedule, value)))
    if isinstance(value, Mapping):
        numbers = ", ".join(f"{name}={_short(one)}" for name, one in value.items() if name != "name")
        return f"{value.get('name', '')}({numbers})"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
