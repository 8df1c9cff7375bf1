"""One cell of the table: all engines on one model and one number of learning rates, in turns."""

import dataclasses
import os
import sys
import time
from typing import Any

import contenders
import jax
import numpy as np
from contenders import CHUNKS, IN_ONE_PROGRAM, NAMES, Problem, Run
from models import MODELS, Model

from lrjax._engine import programs

MIN_REPEATS, ENOUGH_REPEATS, MAX_REPEATS = 3, 9, 51
ENOUGH_SECONDS = 2.0
"""Runs of milliseconds are repeated for this long."""
SLOW = 5.0
"""Seconds above which a first run without its compilation may stand for the warm runs: what else it pays is small."""
LOOSE = 1e-2
"""Relative difference of two engines' validation losses above which they did not do the same work."""


@dataclasses.dataclass(kw_only=True)
class Entry:
    """What one engine did in one cell.

    Attributes:
      lanes: learning rates of a run; fewer than the cell's if it was run smaller.
      samples: seconds of the warm runs.
      first_seconds: of preparing, compiling and the first run.
      used, reason: for lrjax, the executor that ran and why `auto` took it.
      notes: what did not go as asked.
      deviation: largest relative difference to the losses of the first engine that ran.
      source: the cell from which a number that was not measured again was taken.
      skipped: why there is no number.
    """

    lanes: int = 0
    samples: list[float] = dataclasses.field(default_factory=list)
    first_seconds: float = 0.0
    used: str = ""
    reason: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)
    deviation: float | None = None
    source: str = ""
    skipped: str = ""


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


def clear_caches() -> None:
    """Forget every executable, JAX's and lrjax's."""
    jax.clear_caches()
    programs.clear()


def seconds_a_lane(entry: dict[str, Any]) -> float:
    """Median seconds that a learning rate took, of an entry with samples."""
    return float(np.median(entry["samples"])) / entry["lanes"]


def measure_facts(model: Model, fresh_lrs: int) -> dict[str, Any]:
    """What does not depend on the number of lanes: operations, the cost of a fresh jit, the memory model."""
    say(f"{model.name}: a fresh jit for each of {fresh_lrs} lrs, memory of 1 and 2 lanes")
    problem = contenders.make_problem(model)
    train = contenders.fresh_jit(problem)
    train(model.lrs(fresh_lrs + 2)[:1])  # the shared validation pass and small operations are compiled here
    samples = []
    for lr in model.lrs(fresh_lrs + 2)[1:-1]:
        start = time.perf_counter()
        train(np.asarray([lr]))
        samples.append(time.perf_counter() - start)
    memory = contenders.rounds_of(problem, "vmap").memory_model()
    return {
        "num_steps": model.num_steps,
        "parameters": model.num_parameters,
        "flops": contenders.trial_flops(problem),
        "fresh_jit_seconds": samples,
        "memory_fixed": memory.fixed,
        "memory_per_lane": memory.per_lane,
    }


def measure_cell(
    model: Model, width: int, cells: dict[str, Any], *, allowance: float, limit: float, with_torch: bool
) -> dict[str, Any]:
    """Prepare every engine, check that all agree, then time them in turns.

    Args:
      model: the model.
      width: learning rates.
      cells: the cells measured before, by "model/width": what a run will take is predicted from them.
      allowance: seconds that this cell should take.
      limit: seconds above which one learning rate is not run at all.
      with_torch: whether to run PyTorch.
    """
    start, load = time.perf_counter(), os.getloadavg()[0]
    names = [name for name in NAMES if (with_torch or name != "torch") and width > CHUNKS.get(name, 0)]
    compile_guess = sum(earlier(cells, model, width, name).get("first_seconds", 0.0) for name in names)
    cap = min(20.0, max(1.0, (allowance - compile_guess) / (len(names) * (MIN_REPEATS + 1))))
    shared, lrs = contenders.make_problem(model), model.lrs(width)
    entries, runs, losses, cells = {}, {}, {}, dict(cells)
    for name in names:
        lane, known = predict(cells, model, width, name)
        entry = Entry(lanes=smaller(width, lane, cap, name))
        entries[name] = entry
        if lane is not None and lane > limit:
            entry.skipped = f"predicted {lane:.0f} s for one learning rate"
            continue
        if known.get("lanes", 0) >= entry.lanes and known.get("samples"):
            entry.samples, entry.lanes, entry.source = known["samples"], known["lanes"], known["cell"]
            continue
        problem = contenders.make_problem(model) if name == "auto" else shared  # auto finds nothing compiled
        run, losses[name] = _first_run(problem, name, lrs[: entry.lanes], entry, cap)
        if run is None:
            entry.skipped = "not installed"
        elif not entry.samples:
            runs[name] = run
        if name == "step loop":  # of which the cost of convolutions in a compiled loop is predicted
            begin = time.perf_counter()
            runs[name](lrs[: entry.lanes])
            guess = {"lanes": entry.lanes, "samples": [time.perf_counter() - begin]}
            cells[f"{model.name}/{width}"] = {"engines": {name: guess}}
    _check_agreement(losses, entries)
    _take_turns(runs, entries, lrs, allowance - (time.perf_counter() - start))
    measured = {
        "model": model.name,
        "width": width,
        "load_before": load,
        "seconds": time.perf_counter() - start,
        "engines": {name: dataclasses.asdict(entry) for name, entry in entries.items()},
    }
    if entries["vmap"].lanes == width and entries["vmap"].first_seconds > 0:
        measured["vmap_bytes"] = contenders.vmap_bytes(shared, width)
    return measured


def earlier(cells: dict[str, Any], model: Model, width: int, name: str) -> dict[str, Any]:
    """An engine's entry in the widest smaller cell of the model that has one, with the cell's name; {} if none."""
    widths = sorted((cell["width"] for cell in cells.values() if cell.get("model") == model.name), reverse=True)
    for smaller_width in widths:
        cell = f"{model.name}/{smaller_width}"
        entry = cells[cell]["engines"].get(name, {})
        if smaller_width < width and entry.get("samples"):
            return {**entry, "cell": entry["source"] or cell}
    return {}


def predict(cells: dict[str, Any], model: Model, width: int, name: str) -> tuple[float | None, dict[str, Any]]:
    """Seconds a learning rate will take, and the earlier entry from which that is known.

    The first time that convolutions run in a compiled loop, the prediction comes from what that cost on another model.
    """
    known = earlier(cells, model, width, name)
    if known:
        return seconds_a_lane(known), known
    if name in CHUNKS:
        return predict(cells, model, width, "vmap")[0], {}
    here = cells.get(f"{model.name}/{width}", {"engines": {}})["engines"].get("step loop", {})
    if model.convolutions and name in IN_ONE_PROGRAM and here:
        slowdowns = [
            seconds_a_lane(cell["engines"][name]) / seconds_a_lane(cell["engines"]["step loop"])
            for cell in cells.values()
            if cell.get("model", model.name) != model.name
            and MODELS[cell["model"]].convolutions
            and cell["engines"].get(name, {}).get("samples")
        ]
        if slowdowns:
            return max(slowdowns) * seconds_a_lane(here), {}
    return None, {}


def smaller(width: int, lane_seconds: float | None, cap: float, name: str) -> int:
    """How many of the learning rates to run so that a run keeps to `cap` seconds."""
    if lane_seconds is None or width * lane_seconds <= cap:
        return width
    lanes = max(1, int(cap / lane_seconds))
    chunk = CHUNKS.get(name, 1)
    return min(width, max(1, lanes // chunk) * chunk)


def _first_run(problem: Problem, name: str, lrs: np.ndarray, entry: Entry, cap: float) -> tuple[Run | None, np.ndarray]:
    """Build an engine and run it once; a slow run without compilation in it counts as the one sample."""
    start = time.perf_counter()
    run, runner = contenders.build(problem, name)
    if run is None:
        return None, np.zeros(0)
    built = time.perf_counter()
    losses = run(lrs)
    entry.first_seconds = time.perf_counter() - start
    alone = time.perf_counter() - built
    if runner is not None:
        entry.used, entry.reason = runner.execution.used, runner.execution.reason
        entry.notes, alone = list(runner.execution.notes), runner.execution.run_seconds
    if name in IN_ONE_PROGRAM and alone > max(cap, SLOW):
        entry.samples = [alone]
    say(f"  {name:10} {len(lrs):3} lanes: first run {entry.first_seconds:6.1f} s  {entry.used} {entry.reason}")
    return run, losses


def _check_agreement(losses: dict[str, np.ndarray], entries: dict[str, Entry]) -> None:
    """Raise unless all JAX engines that ran reached the validation losses of the first of them."""
    ran = [name for name in losses if name != "torch"]
    for name in ran:
        count = min(len(losses[name]), len(losses[ran[0]]))
        got, expected = losses[name][:count], losses[ran[0]][:count]
        deviation = float(np.max(np.abs(got - expected) / np.abs(expected)))
        entries[name].deviation = deviation
        if not deviation <= LOOSE:
            raise RuntimeError(f"{name} and {ran[0]} disagree by {deviation:.2g}: {got} and {expected}.")


def _take_turns(runs: dict[str, Run], entries: dict[str, Entry], lrs: np.ndarray, seconds: float) -> None:
    """Time the engines round-robin, each round in another order."""
    start, order = time.perf_counter(), list(runs)
    for turn in range(MAX_REPEATS):
        spent = time.perf_counter() - start
        enough = turn >= ENOUGH_REPEATS and spent > ENOUGH_SECONDS
        if enough or (turn >= MIN_REPEATS and spent > seconds) or (turn >= 1 and spent > 1.5 * max(seconds, 10)):
            break
        for name in np.random.default_rng(turn).permutation(order):  # none always follows the same other one
            begin = time.perf_counter()
            runs[name](lrs[: entries[name].lanes])
            entries[name].samples.append(time.perf_counter() - begin)
