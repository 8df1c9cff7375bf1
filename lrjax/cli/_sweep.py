"""`lrjax sweep`: from the words of a grid to a sweep, its files and a table. Imported by `main` only."""

import csv
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._checks import MAX_TRIALS, Mode, check_mode, show
from .._failure import SearchInterrupted
from .._progress import Progress
from .._sweeps import (
    BestTrial,
    StopDiverged,
    SuccessiveHalving,
    SweepResult,
    plot_sweep,
    sweep,
    trial_scores,
    zipped,
)
from ._load import UsageError, load_executor, load_factory, load_key, load_task, make_folder
from ._status import FOUND, INTERRUPTED, NOT_FOUND, WRONG_USE, complain, interruption, not_written

if TYPE_CHECKING:
    from ._options import Sweep

SHOWN = 5
"""Trials in the printed table."""


def run_sweep(options: "Sweep") -> Callable[[], int]:
    """Run the sweep and write its files; what is returned prints the result and gives the exit status."""
    if options.distributed:
        jax.distributed.initialize()
    grid, mode = read_grid(options.grid, options.zip), check_mode("sweep", options.metric, options.mode)
    function, path, fixed = load_factory(options.optimizer, options.optimizer_arg)
    key = load_key(options.seed)
    folder = make_folder(options.out)
    interrupted = False

    def check_metric(event: Progress) -> None:
        if event.rows and options.metric not in event.metrics:
            names = ", ".join(event.metrics)
            raise UsageError(f"`--metric` must be one of {names}, got {show(options.metric)}.")

    try:
        result = sweep(
            load_task(options.task),
            functools.partial(function, **fixed) if fixed else function,
            grid,
            key=key,
            train_steps=options.steps,
            num_seeds=options.seeds,
            eval_every=options.eval_every,
            executor=load_executor(options.executor),
            directory=options.directory,
            stop=read_stop(options.stop, options.metric, mode),
            progress=[check_metric, sys.stderr.isatty() and not options.quiet],
        )
    except SearchInterrupted as stop:
        result, interrupted = stop.result, True
    if jax.process_index() != 0:
        return lambda: FOUND
    best, why = _best(result, options)
    files, trouble = _write(folder, result, options)
    return lambda: _tell(options, result, best, why, files, trouble, interrupted, path, fixed)


def read_grid(grid: tuple[str, ...], zips: tuple[str, ...]) -> list[Any]:
    """The grid that --grid and --zip say."""
    if not grid and not zips:
        raise UsageError("`lrjax sweep` needs a grid. Add for example --grid learning_rate=1e-5:1e-1:17log.")
    parts: list[Any] = [{name: values} for name, values in (_read_values("--grid", word) for word in grid)]
    together = [_read_values("--zip", word) for word in zips]
    for name in {name for name, _ in together}:
        if sum(name == other for other, _ in together) > 1:
            raise UsageError(f"`--zip {name}=...` is given twice.")
    return parts + ([zipped(**dict(together))] if together else [])


def _read_values(option: str, word: str) -> tuple[str, np.ndarray]:
    """`weight_decay=0,0.01`, `learning_rate=1e-5:1:25log` or `b1=0:0.9:4`."""
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier() or not text:
        raise UsageError(
            f"`{option}` must be NAME=VALUES, got {show(word)}. Write for example weight_decay=0,0.01,0.1."
        )
    try:
        if ":" in text:
            return name, _read_range(option, name, text)
        whole = all(part.strip().lstrip("+-").isdecimal() for part in text.split(","))
        return name, np.asarray([int(part) if whole else float(part) for part in text.split(",")])
    except ValueError as error:
        if isinstance(error, _RangeError):
            raise UsageError(str(error)) from None
        raise UsageError(
            f"`{option} {name}=...` must be numbers with commas between or FIRST:LAST:COUNT, got {show(text)}. "
            "Write for example 1e-4,1e-3 or 1e-5:1:25log."
        ) from None


class _RangeError(ValueError):
    """The message is for the user."""


def _read_range(option: str, name: str, text: str) -> np.ndarray:
    first, last, count = text.split(":")
    log = count.endswith("log")
    low, high, number = float(first), float(last), int(count.removesuffix("log"))
    if number > MAX_TRIALS:
        raise _RangeError(f"`{option} {name}={text}` may have at most {MAX_TRIALS:,} points, got {show(number)}.")
    if number < 2:
        raise _RangeError(f"`{option} {name}={text}` must have at least 2 points, got {number}.")
    if not log:
        return np.linspace(low, high, number)
    if low <= 0 or high <= 0:
        raise _RangeError(f"`{option} {name}={text}` must be above 0 to be spaced in log10. Leave out log.")
    return np.geomspace(low, high, number)


def read_stop(words: str, metric: str, mode: Mode) -> Any:
    """none, diverged, halving:FIRST or halving:FIRST:FACTOR."""
    kind, *numbers = words.split(":")
    if kind == "none" and not numbers:
        return None
    if kind == "diverged" and not numbers:
        return StopDiverged()
    if (
        kind == "halving"
        and 1 <= len(numbers) <= 2
        and all(number.isdecimal() and len(number) < 10 for number in numbers)
    ):
        factor = {"factor": int(numbers[1])} if len(numbers) == 2 else {}
        try:
            return SuccessiveHalving(first=int(numbers[0]), metric=metric, mode=mode, **factor)
        except ValueError as error:
            raise UsageError(f"`--stop {words}`: {error}") from None
    raise UsageError(f"`--stop` must be none, diverged, halving:FIRST or halving:FIRST:FACTOR, got {show(words)}.")


def _best(result: SweepResult, options: "Sweep") -> tuple[BestTrial | None, str]:
    if not result.metrics:
        return None, "Nothing was measured."
    try:
        return result.best(options.metric, mode=options.mode), ""
    except ValueError as error:
        return None, str(error)


def _write(folder: Path, result: SweepResult, options: "Sweep") -> tuple[dict[str, Path], str]:
    """Write the files; return what was written, and what went wrong if anything did."""
    files: dict[str, Path] = {}
    writers: dict[str, Callable[[Path], Any]] = {"sweep.json": result.to_json, "sweep.csv": lambda p: _csv(p, result)}
    if options.plot and options.metric in result.metrics:
        draw = functools.partial(plot_sweep, result, metric=options.metric, mode=options.mode)
        writers["sweep.png"] = lambda place: _save(draw(), place)
        writers["sweep_curves.png"] = lambda place: _save(draw("curves"), place)
    try:
        for name, write in writers.items():
            write(folder / name)
            files[name] = folder / name
    except Exception as error:  # what was found must be printed all the same
        return files, not_written(folder, error)
    return files, ""


def _save(axes: Any, place: Path) -> None:
    axes.figure.savefig(place)


def _csv(path: Path, result: SweepResult) -> None:
    rows = result.to_rows()
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)


def _tell(
    options: "Sweep",
    result: SweepResult,
    best: BestTrial | None,
    why: str,
    files: dict[str, Path],
    trouble: str,
    interrupted: bool,
    path: str,
    fixed: dict[str, Any],
) -> int:
    """Print the result; the exit status."""
    from ._report import Printer, print_json

    call = (
        ""
        if best is None
        else _call(path, fixed, {name: best.settings[name] for names in result.names for name in names})
    )
    notice = interruption("what was measured until then", files, options.directory) if interrupted else ""
    if notice and (options.json or options.quiet):
        complain(notice)
    if options.json:
        print_json(_document(options, result, best, call, files))
    elif options.quiet:
        print(call if best is not None else why, file=sys.stdout if best is not None else sys.stderr)
    else:
        printer = Printer()
        printer.notice(notice)
        printer.sweep(_table(result, options), result, f"{options.task or 'handwritten digits'}, {options.optimizer}")
        if why:
            printer.say(why, "bold yellow")
        printer.files(files)
        if best is not None:
            printer.say()
            printer.say(f"    optimizer = {call}", "bold")
    if trouble:
        complain(trouble)
        return WRONG_USE
    return INTERRUPTED if interrupted else FOUND if best is not None else NOT_FOUND


def _call(path: str, fixed: dict[str, Any], settings: dict[str, Any]) -> str:
    """The optimizer in Python."""
    words = [
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!r}" for name, value in settings.items()
    ]
    return f"{path}({', '.join([*words, *(f'{name}={value!r}' for name, value in fixed.items())])})"


def _table(result: SweepResult, options: "Sweep") -> list[dict[str, str]]:
    """The best trials, the best first."""
    if options.metric not in result.metrics:
        return []
    scores = trial_scores("sweep", result, options.metric, options.mode)[:, -1]
    rows = []
    for trial in np.argsort(scores, kind="stable")[:SHOWN]:
        if not np.isfinite(scores[trial]):
            break
        row = {name: _number(value) for name, value in result.settings(int(trial)).items()}
        for name, table in result.metrics.items():
            final = table[trial, :, -1]
            spread = f" +- {final.std(ddof=1):.2g}" if len(final) > 1 and name == options.metric else ""
            row[name] = f"{final.mean():.4g}{spread}"
        rows.append(row)
    return rows


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _document(
    options: "Sweep", result: SweepResult, best: BestTrial | None, call: str, files: dict[str, Path]
) -> dict[str, Any]:
    """The result for machines; the JSON file has everything."""
    return {
        "best": None if best is None else {**best._asdict(), "metric": options.metric, "optimizer": call},
        "trials": result.num_trials,
        "seeds": result.num_seeds,
        "steps": result.train_steps,
        "diverged": int((result.diverged_at >= 0).sum()),
        "stopped": int((result.stopped_at >= 0).sum()),
        "updates": result.execution.updates,
        "executor": result.execution.used,
        "files": {name: str(path) for name, path in files.items()},
    }
