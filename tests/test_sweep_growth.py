"""A sweep in a folder that is asked for with more settings: those that are done are kept, the others are trained."""

import functools
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from inside import Engine, engine_source, engine_store, sweeps_run
from problems import regression
from tiny import check_message

import lrjax
from lrjax import StopDiverged, SuccessiveHalving, schedules, zipped

KEY = jax.random.key(5)
FEW, MANY = [0.01, 1e20, 0.3], [0.5, 0.3, 0.1, 0.01, 1e20]
UPDATES = 2 * 2 * 6
"""Of the settings that are new, both seeds and all steps."""

task = functools.cache(regression)


def sweep(directory: Any, grid: Any = MANY, problem: lrjax.Task | None = None, **options: Any) -> lrjax.SweepResult:
    good = {"key": KEY, "train_steps": 6, "num_seeds": 2, "eval_every": 2, "executor": "map", "checkpoint_seconds": 0}
    make_optimizer = options.pop("make_optimizer", optax.sgd)
    if isinstance(grid, list) and isinstance(grid[0], (int, float)):
        grid = {"learning_rate": grid}
    return lrjax.sweep(problem or task(), make_optimizer, grid, directory=directory, **good | options)


def bits(result: lrjax.SweepResult) -> dict[str, bytes]:
    return {
        "diverged_at": result.diverged_at.tobytes(),
        "stopped_at": result.stopped_at.tobytes(),
        **{name: column.tobytes() for name, column in result.columns.items()},
        **{name: values.tobytes() for name, values in result.metrics.items()},
    }


class Killed(Exception):
    """Raised where a test ends a run."""


def begin(directory: Path, count: int, *arguments: Any, **options: Any) -> None:
    """A sweep that ends when `progress` was called so many times."""
    seen = []

    def progress(event: Any) -> None:
        seen.append(event)
        if len(seen) == count:
            raise Killed

    with pytest.raises(Killed):
        sweep(directory, *arguments, progress=progress, **options)


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step."""
    save = engine_store.Store.save
    monkeypatch.setattr(engine_source, "FIRST_STEPS", 1)
    monkeypatch.setattr(engine_source, "LONGEST_CALL", 0.0)
    monkeypatch.setattr(sweeps_run.SweepRun, "_is_due", lambda run: True)
    monkeypatch.setattr(engine_store.Store, "save", lambda *args, wait=False: save(*args, wait=True))


@pytest.mark.parametrize("executor", ["map", pytest.param("loop", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop", [None, StopDiverged()], ids=str)
def test_more_values_give_the_bits_of_a_sweep_that_had_all_from_the_start(executor, stop, tmp_path):
    options = {"executor": executor, "stop": stop}
    few = sweep(tmp_path, FEW, **options)
    result = sweep(tmp_path, **options)
    assert bits(result) == bits(sweep(None, **options))
    assert (result.execution.updates, result.execution.notes) == (UPDATES, [])
    again = sweep(tmp_path, **options)
    assert (bits(again), again.execution.updates) == (bits(result), 0)
    of_few = [MANY.index(lr) for lr in FEW]
    assert bits(few)["diverged_at"] == result.diverged_at[of_few].tobytes()


def test_a_grown_sweep_that_was_ended_goes_on_to_the_same_bits_and_grows_again(tmp_path):
    expected = bits(sweep(None))
    sweep(tmp_path, FEW[:1])
    begin(tmp_path, 3, FEW)
    one_more = sweep(tmp_path, FEW)
    assert 0 < one_more.execution.updates < UPDATES
    assert one_more.execution.resumed_at > 0
    for count in (1, 4, 6):
        begin(tmp_path, count)
    assert bits(sweep(tmp_path)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["vmap", "auto", lrjax.Chunked(2)], ids=str)
def test_where_rounding_depends_on_the_company_it_differs_by_rounding_only(executor, tmp_path):
    few = sweep(tmp_path, FEW, executor=executor)
    result, expected = sweep(tmp_path, executor=executor), sweep(None, executor=executor)
    assert result.execution.updates == UPDATES
    np.testing.assert_array_equal(result.diverged_at, expected.diverged_at)
    for name, values in expected.metrics.items():
        np.testing.assert_allclose(result.metrics[name], values, rtol=1e-5)
        of_few = [MANY.index(lr) for lr in FEW]
        np.testing.assert_array_equal(result.metrics[name][of_few], few.metrics[name])


@pytest.mark.slow
def test_waves_that_do_not_fit_together_grow(tmp_path, monkeypatch):
    whole = sweep(None, executor="vmap").execution.bytes
    monkeypatch.setattr(Engine, "budget", lambda engine: 0.7 * whole)
    sweep(tmp_path, MANY[:4], executor="vmap")
    result = sweep(tmp_path, [*MANY, 0.2, 0.02, 0.03, 0.04, 0.05], executor="vmap")
    assert result.execution.waves >= 2
    assert result.execution.updates == 6 * 2 * 6
    expected = sweep(None, [*MANY, 0.2, 0.02, 0.03, 0.04, 0.05])
    np.testing.assert_allclose(result.metrics["loss"], expected.metrics["loss"], rtol=1e-4)


def cosine(peak: float) -> Any:
    return schedules.warmup_cosine(peak, warmup_steps=2, total_steps=6)


def triangle(peak: float) -> Any:
    return schedules.one_cycle(peak, total_steps=6)


# some settings, more of them, and how many trials are new
GROWN: dict[str, tuple[Any, Any, int]] = {
    "both axes": (
        {"learning_rate": [0.01, 0.1], "weight_decay": [0.0]},
        {"learning_rate": [0.03, 0.1, 0.01], "weight_decay": [0.1, 0.0]},
        4,
    ),
    "a zip": (
        zipped(learning_rate=[0.01, 0.1], weight_decay=[0.0, 0.2]),
        zipped(learning_rate=[0.01, 0.1, 0.1], weight_decay=[0.0, 0.1, 0.2]),
        1,
    ),
    "a zip and an axis": (
        [zipped(learning_rate=[0.01], weight_decay=[0.0]), {"b1": [0.8, 0.9]}],
        [zipped(learning_rate=[0.02, 0.01], weight_decay=[0.0, 0.1][::-1]), {"b1": [0.9, 0.7, 0.8]}],
        4,
    ),
    "schedules of two kinds": (
        {"learning_rate": [cosine(0.1), triangle(0.1)], "weight_decay": [0.0]},
        {"learning_rate": [triangle(0.3), triangle(0.1), cosine(0.3), cosine(0.1)], "weight_decay": [0.0]},
        2,
    ),
    "another order only": (
        {"learning_rate": [0.01, 0.1], "weight_decay": [0.0, 0.1]},
        {"learning_rate": [0.1, 0.01], "weight_decay": [0.1, 0.0]},
        0,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("few", "many", "new"), GROWN.values(), ids=GROWN.keys())
def test_every_kind_of_grid_grows(few, many, new, tmp_path):
    options = {"make_optimizer": optax.adamw, "num_seeds": 1}
    sweep(tmp_path, few, **options)
    begin(tmp_path, 2, many, **options) if new else None
    result = sweep(tmp_path, many, **options)
    assert bits(result) == bits(sweep(None, many, **options))
    again = sweep(tmp_path, many, **options)
    assert (bits(again), again.execution.updates) == (bits(result), 0)


def test_what_is_not_there_any_more_and_what_cannot_grow_is_said(tmp_path):
    def check(words: list[str], grid: Any, directory: str = "", **options: Any) -> None:
        folder = tmp_path / directory
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        words = [
            f"`sweep(directory={str(folder)!r})` holds another sweep: ",
            "Repeat that call, or give another",
            *words,
        ]
        check_message(lambda: sweep(folder, grid, **options), ValueError, words)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    begin(tmp_path / "ended early", 3, FEW)
    check(["learning_rate: 5 values now, 3 there, but only 0 of the 3 trials there are done"], MANY, "ended early")
    halving = {"stop": SuccessiveHalving(first=2, factor=2)}
    begin(tmp_path / "pruned", 1, FEW, **halving)
    check(["5 values now, 3 there, but none can be added where SuccessiveHalving"], MANY, "pruned", **halving)
    sweep(tmp_path / "done", FEW)
    check(["learning_rate: 2 values now, 3 there, of which 0.3 is missing now"], FEW[:2], "done")
    check(["learning_rate: 3 values now, 3 there, of which 1e+20 is missing now"], [0.01, 0.3, 1.0], "done")
    check(["the kinds of the grid's values: learning_rate: float32 there, learning_rate: int32 now"], [1, 2], "done")
    twice = {"problem": regression(batch_size=8)}
    check(["the training batches changed"], MANY, "done", **twice)
    check(["train_steps: 6 there, 8 now"], MANY, "done", train_steps=8)


@pytest.mark.slow
def test_what_was_given_is_trained_again_where_it_is_damaged(tmp_path):
    sweep(tmp_path / "done", FEW)
    begin(tmp_path / "done", 4)
    expected = bits(sweep(None))
    checkpoints = sorted((tmp_path / "done/lrjax-sweep").glob("checkpoint-*"))
    for number, damaged in enumerate([checkpoints[:1], checkpoints[1:], checkpoints]):
        directory = shutil.copytree(tmp_path / "done", tmp_path / str(number))
        for path in damaged:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            (directory / "lrjax-sweep" / path.name).write_bytes(content)
        for _ in range(2):
            assert bits(sweep(directory)) == expected


def by_epoch(changed: float) -> lrjax.Task:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(8, 4, 3)).astype(np.float32), np.float32([1.0, -1.0, 0.5])
    noise = [0.0, 0.0, 0.0, changed, 0.0, 0.0, 0.0, 0.0]
    batches = [(rows, rows @ w + np.float32(more)) for rows, more in zip(x, noise, strict=True)]

    def loss_fn(w: Any, batch: Any, key: Any) -> Any:
        return ((batch[0] @ w - batch[1]) ** 2).mean()

    return lrjax.Task.from_batches(
        np.zeros(3, np.float32), loss_fn, train_batches=lambda epoch: iter(batches), eval_batches=batches[:1]
    )


@pytest.mark.slow
def test_new_settings_are_trained_on_the_batches_of_the_old_ones(tmp_path):
    sweep(tmp_path, FEW, by_epoch(0.0))
    with pytest.raises(ValueError, match="must give the same batches whenever it is read"):
        sweep(tmp_path, MANY, by_epoch(1e-3))
    assert bits(sweep(tmp_path, MANY, by_epoch(0.0))) == bits(sweep(None, MANY, by_epoch(0.0)))
