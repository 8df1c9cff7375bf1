"""`lrjax sweep`, its grid and its stop from the words of the command line."""

import csv
import dataclasses
import functools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
from cyclopts import Parameter

from .._checks import MAX_TRIALS, check_mode, show
from .._engine import show_bytes
from .._progress import Progress
from .._sweeps import StopDiverged, SuccessiveHalving, SweepResult, plot_sweep, sweep, trial_scores, zipped
from ._errors import FOUND, UsageError, split_pair
from ._load import load_factory, load_key, load_task, make_folder
from ._options import Count, Flag, Lanes, Many, of
from ._report import Answer, Screen, deliver, only_the_answer, or_what_there_is, picture

SHOWN = 5
"""Trials in the printed table."""

VALUES = Parameter(metavar="NAME=VALUES")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepCommand(Lanes):
    """Train the model to the end with every setting of a grid, many settings at once.

    Values are written as a list, 0,0.01,0.1, or as a range with a number of points: 1e-5:1:25log, evenly spaced in
    log10, or 0:1:5, evenly spaced. Several --grid make a product; all --zip change together. Writes sweep.json,
    sweep.csv (one row for each trial, seed and evaluation), sweep.png and sweep_curves.png.

        lrjax sweep my_model.py:task --grid learning_rate=1e-5:1e-1:17log
    """

    grid: Annotated[Many, VALUES] = ()
    """Values of one argument of the optimizer; may be repeated."""
    zip: Annotated[Many, VALUES] = ()
    """The same, but all that are given so change together."""
    train_steps: Count = 1000
    """Optimizer updates of every trial."""
    num_seeds: Annotated[Count | None, of(sweep, "num_seeds", "--seeds")] = None
    eval_every: Annotated[Count | None, of(sweep, "eval_every", show_default="a tenth of the training")] = None
    metric: Annotated[str, Parameter(metavar="NAME")] = "loss"
    """The metric by which the best trial is chosen, and pruned."""
    mode: Annotated[Literal["min", "max"] | None, Parameter(show_default="min for the loss")] = None
    """Which values of the metric are good: min, as of a loss, or max, as of accuracy."""
    stop: Annotated[str, Parameter(metavar="RULE")] = "diverged"
    """Which trials end early: none, those that diverged, or all but the best, by halving:FIRST or
    halving:FIRST:FACTOR."""
    distributed: Flag = False
    """Call jax.distributed.initialize() first: the same command runs on every host."""

    @property
    def resumes(self) -> bool:
        """It has checkpoints."""
        return True

    def __call__(self) -> int:
        if self.distributed:
            jax.distributed.initialize()
        grid, stop = _read_grid(self.grid, self.zip), _read_stop(self.stop, self.metric, self.mode)
        function, path, fixed = load_factory(self.optimizer, self.optimizer_arg)
        key, _ = load_key(self.seed), make_folder(self.out)
        with only_the_answer(self) as bar:
            task = load_task(self.task)
            result, interrupted = or_what_there_is(
                lambda: sweep(
                    task,
                    functools.partial(function, **fixed) if fixed else function,
                    grid,
                    key=key,
                    executor=self.executor,
                    directory=self.directory,
                    stop=stop,
                    progress=[self._check_metric, bar],
                    **self.given("train_steps", "num_seeds", "eval_every"),
                )
            )
        if jax.process_index() != 0:
            return FOUND
        writers = {"sweep.json": result.to_json, "sweep.csv": lambda place: _write_csv(place, result)}
        if self.metric in result.metrics:
            draw = functools.partial(plot_sweep, result, metric=self.metric, mode=self.mode)
            writers |= {"sweep.png": picture(draw), "sweep_curves.png": picture(lambda: draw("curves"))}
        kept = "What was measured until then" if interrupted else ""
        return deliver(self._answer(result, path, fixed), self, writers, kept)

    def _check_metric(self, event: Progress) -> None:
        """Say at the first evaluation, and not at the end, that the task has no such metric."""
        if event.rows and self.metric not in event.metrics:
            names = ", ".join(event.metrics)
            raise UsageError(f"`--metric` must be one of {names}, got {show(self.metric)}.")

    def _answer(self, result: SweepResult, path: str, fixed: dict[str, Any]) -> Answer:
        best, why, call = None, "Nothing was measured.", ""
        if result.metrics:
            try:
                best = result.best(self.metric, mode=self.mode)
            except ValueError as error:
                why = str(error)
        if best is not None:
            chosen = {name: best.settings[name] for names in result.names for name in names}
            call = f"{path}({', '.join(f'{name}={_code(value)}' for name, value in {**chosen, **fixed}.items())})"
        return Answer(
            document={
                "best": None if best is None else {**best._asdict(), "metric": self.metric, "optimizer": call},
                "trials": result.num_trials,
                "seeds": result.num_seeds,
                "steps": result.train_steps,
                "diverged": int((result.diverged_at >= 0).sum()),
                "stopped": int((result.stopped_at >= 0).sum()),
                "updates": result.execution.updates,
                "executor": result.execution.used,
            },
            show=functools.partial(self._show, result, "" if call else why),
            line=call,
            why=why,
            optimizer=call,
        )

    def _show(self, result: SweepResult, why: str, screen: Screen) -> None:
        rows = _best_rows(result, self.metric, self.mode)
        if rows:
            screen.say(f"{self.title}: the best trials", "bold")
            screen.table(list(rows[0]), [list(row.values()) for row in rows], bold=(0,))
        screen.say(result.summary().splitlines()[0])
        execution = result.execution
        seconds = execution.run_seconds + execution.compile_seconds
        rate = execution.updates / execution.run_seconds if execution.run_seconds > 0 else 0.0
        how = f"{execution.used} on {execution.mesh or 1} device{'s' * (execution.mesh != '')}"
        screen.say(f"{seconds:.0f} seconds, {rate:,.0f} updates a second, {how}, {show_bytes(execution.bytes)}.")
        if why:
            screen.say(why, "bold yellow")


def _code(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _best_rows(result: SweepResult, metric: str, mode: Any) -> list[dict[str, str]]:
    """The best trials, the best first."""
    if metric not in result.metrics:
        return []
    scores = trial_scores("sweep", result, metric, mode)[:, -1]
    rows = []
    for trial in np.argsort(scores, kind="stable")[:SHOWN]:
        if not np.isfinite(scores[trial]):
            break
        settings = result.settings(int(trial))
        row = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in settings.items()}
        for name, table in result.metrics.items():
            final = table[trial, :, -1]
            spread = f" +- {final.std(ddof=1):.2g}" if len(final) > 1 and name == metric else ""
            row[name] = f"{final.mean():.4g}{spread}"
        rows.append(row)
    return rows


def _write_csv(path: Path, result: SweepResult) -> None:
    rows = result.to_rows()
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)


def _read_grid(grid: tuple[str, ...], zips: tuple[str, ...]) -> list[Any]:
    """The grid that --grid and --zip say."""
    if not grid and not zips:
        raise UsageError("`lrjax sweep` needs a grid. Add for example --grid learning_rate=1e-5:1e-1:17log.")
    parts: list[Any] = [dict([_read_values("--grid", word)]) for word in grid]
    together = [_read_values("--zip", word) for word in zips]
    names = [name for name, _ in together]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"`--zip {twice[0]}=...` is given twice.")
    return parts + ([zipped(**dict(together))] if together else [])


def _read_values(option: str, word: str) -> tuple[str, np.ndarray]:
    """`weight_decay=0,0.01`, `learning_rate=1e-5:1:25log` or `b1=0:0.9:4`."""
    advice = "Write for example weight_decay=0,0.01,0.1."
    name, text = split_pair(word, f"`{option}` must be NAME=VALUES", advice)
    try:
        if ":" in text:
            return name, _read_range(f"{option} {word}", text)
        whole = all(part.strip().lstrip("+-").isdecimal() for part in text.split(","))
        return name, np.asarray([int(part) if whole else float(part) for part in text.split(",")])
    except ValueError:
        raise UsageError(
            f"`{option} {name}=...` must be numbers with commas between or FIRST:LAST:COUNT, got {show(text)}. "
            "Write for example 1e-4,1e-3 or 1e-5:1:25log."
        ) from None


def _read_range(where: str, text: str) -> np.ndarray:
    first, last, count = text.split(":")
    low, high, number = float(first), float(last), int(count.removesuffix("log"))
    if number > MAX_TRIALS:
        raise UsageError(f"`{where}` may have at most {MAX_TRIALS:,} points, got {show(number)}.")
    if number < 2:
        raise UsageError(f"`{where}` must have at least 2 points, got {number}.")
    if not count.endswith("log"):
        return np.linspace(low, high, number)
    if low <= 0 or high <= 0:
        raise UsageError(f"`{where}` must be above 0 to be spaced in log10. Leave out log.")
    return np.geomspace(low, high, number)


def _read_stop(words: str, metric: str, mode: Literal["min", "max"] | None) -> StopDiverged | SuccessiveHalving | None:
    """none, diverged, halving:FIRST or halving:FIRST:FACTOR."""
    mode = check_mode("sweep", metric, mode)
    if words in ("none", "diverged"):
        return StopDiverged() if words == "diverged" else None
    numbers = re.fullmatch(r"halving:(\d{1,9})(?::(\d{1,9}))?", words, re.ASCII)
    if numbers is None:
        raise UsageError(f"`--stop` must be none, diverged, halving:FIRST or halving:FIRST:FACTOR, got {show(words)}.")
    factor = {"factor": int(numbers[2])} if numbers[2] else {}
    try:
        return SuccessiveHalving(first=int(numbers[1]), metric=metric, mode=mode, **factor)
    except ValueError as error:
        raise UsageError(f"`--stop {words}`: {error}") from None
