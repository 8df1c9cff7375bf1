"""A sweep's folder: killed at any time, damaged, full or asked for something else, it ends with the same bits."""

import contextlib
import functools
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from inside import Engine, engine_source, engine_store, sweeps_run
from jax.sharding import Mesh
from marks import slow
from tiny import check_message

import lrjax
from lrjax import StopDiverged, SuccessiveHalving, Task, schedules

pytestmark = pytest.mark.slow

LRS = [0.01, 0.1, 0.3, 1e20]  # the last one diverges
STEPS, EVERY = 6, 2
HALVING = SuccessiveHalving(first=2, factor=2)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = (X @ [1.0, -1.0, 0.5]).astype(np.float32)
KEY = jax.random.key(3)


def momentum(learning_rate: Any) -> Any:
    return optax.sgd(learning_rate, momentum=0.9)


def loss_fn(w: Any, batch: Any, key: Any) -> Any:
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


def arrays(**fields: Any) -> Task:
    good: dict = {"train": (X[:32], Y[:32]), "validation": (X[32:], Y[32:]), "batch_size": 4}
    init, loss = fields.pop("init", jnp.ones(3)), fields.pop("loss_fn", loss_fn)
    return Task.from_arrays(init, loss, **good | fields)


task = functools.cache(arrays)


def sweep(directory: Any = None, problem: Task | None = None, **options: Any) -> lrjax.SweepResult:
    good: dict = {"key": KEY, "train_steps": STEPS, "num_seeds": 2, "eval_every": EVERY, "executor": "map"}
    make_optimizer, grid = options.pop("make_optimizer", momentum), options.pop("grid", {"learning_rate": LRS})
    good |= {"checkpoint_seconds": 0, "directory": directory}
    return lrjax.sweep(problem or task(), make_optimizer, grid, **good | options)


def numbers(result: lrjax.SweepResult) -> dict[str, np.ndarray]:
    return {"diverged_at": result.diverged_at, "stopped_at": result.stopped_at, **result.metrics}


def assert_same_bits(result: lrjax.SweepResult, expected: lrjax.SweepResult) -> None:
    assert numbers(result).keys() == numbers(expected).keys()
    for name, values in numbers(expected).items():
        np.testing.assert_array_equal(numbers(result)[name], values, err_msg=name)
        assert numbers(result)[name].tobytes() == values.tobytes()


def failures(attempts: dict[Any, Callable[[], lrjax.SweepResult]], expected: lrjax.SweepResult) -> list[str]:
    """What went wrong, for each attempt that did not end with the expected bits."""
    found = []
    for name, attempt in attempts.items():
        try:
            assert_same_bits(attempt(), expected)
        except Exception as error:
            found.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    return found


class Killed(Exception):
    """Raised where a test ends a run."""


def die_at(evaluation: int, error: type[BaseException] = Killed) -> Callable[[lrjax.Progress], None]:
    """A progress function that raises at the n-th evaluation; at 0 before anything is compiled."""
    seen = []

    def progress(event: lrjax.Progress) -> None:
        seen.extend([event.step] if event.rows else [])
        if len(seen) == evaluation:
            raise error

    return progress


def begin(folder: Path, evaluations: int, **options: Any) -> Path:
    """A folder in which a sweep ended at its n-th evaluation; at 0 before anything was compiled."""
    with pytest.raises(Killed):
        sweep(folder, progress=die_at(evaluations), **options)
    return folder


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is a call of its own with a checkpoint after it, written before the next one begins."""
    save = engine_store.Store.save
    monkeypatch.setattr(engine_source, "FIRST_STEPS", 1)
    monkeypatch.setattr(engine_source, "LONGEST_CALL", 0.0)
    monkeypatch.setattr(sweeps_run.SweepRun, "_is_due", lambda run: True)
    monkeypatch.setattr(engine_store.Store, "save", lambda *args, wait=False: save(*args, wait=True))


@pytest.fixture
def two_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for half the lanes."""
    whole, half = (sweep(executor="vmap", grid={"learning_rate": LRS[:n]}).execution.bytes for n in (4, 2))
    monkeypatch.setattr(Engine, "budget", lambda engine: (whole + half) / 2)
    assert sweep(executor="vmap").execution.waves == 2


def ours(directory: Path) -> Path:
    """What a sweep writes to."""
    return directory / "lrjax-sweep"


# Killed between any two changes of the folder: a copy of it right before each of them is what a kill would leave.


class Copies:
    """Copies of a folder right before each change of it, those that differ."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, copies: Path):
        self.folder, self.copies, self.made = folder, copies, []
        self._seen: list[dict[str, bytes]] = []
        self._lock, self._copying = threading.RLock(), False
        for name in ("fsync", "mkdir", "rename", "replace", "rmdir", "truncate", "unlink"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, change: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(change)
        def watched(path: Any, *arguments: Any, **options: Any) -> Any:
            with self._lock:
                inside = isinstance(path, int) or str(path).startswith(str(self.folder))
                if inside and self.folder.exists() and not self._copying:
                    self._copying = True
                    self._copy()
                    self._copying = False
            return change(path, *arguments, **options)

        return watched

    def _copy(self) -> None:
        copy = self.copies / str(len(self.made))
        with contextlib.suppress(shutil.Error, OSError):  # of files that vanish meanwhile: not a state of interest
            shutil.copytree(self.folder, copy)
            files = {str(path.relative_to(copy)): path.is_file() and path.read_bytes() for path in copy.rglob("*")}
            if files not in self._seen:
                self._seen.append(files)
                self.made.append(copy)
                return
        shutil.rmtree(copy, ignore_errors=True)


KILLED = {
    "map": {},
    "vmap, diverged lanes stopped": {"executor": "vmap", "stop": StopDiverged()},
    "vmap, pruned": {"executor": "vmap", "stop": HALVING},
    "loop, pruned": {"executor": "loop", "stop": HALVING},
}


def resume_everywhere(
    monkeypatch: pytest.MonkeyPatch, folder: Path, before: Path | None = None, **options: Any
) -> None:
    """End a sweep between any two writes, and go on; it may begin in a copy of a folder."""
    expected = sweep(**options)
    if before is not None:
        shutil.copytree(before, folder / "live")
    with monkeypatch.context() as patch:
        copies = Copies(patch, folder / "live", folder)
        assert_same_bits(sweep(folder / "live", **options), expected)
    assert len(copies.made) >= 10
    attempts = {copy: functools.partial(sweep, copy, **options) for copy in copies.made}
    assert failures(attempts, expected) == []


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=pytest.mark.slow if name == "loop, pruned" else [])
        for name, options in KILLED.items()
    ],
)
def test_a_sweep_goes_on_from_between_any_two_writes(options, tmp_path, monkeypatch):
    resume_everywhere(monkeypatch, tmp_path, train_steps=3, **options)


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize("stop", [None, StopDiverged()], ids=str)
def test_a_sweep_with_more_values_goes_on_from_between_any_two_writes(stop, tmp_path, monkeypatch):
    options = {"train_steps": 4, "stop": stop}
    sweep(tmp_path / "few", grid={"learning_rate": [0.3, 1e20]}, **options)
    resume_everywhere(monkeypatch, tmp_path, tmp_path / "few", **options)


@pytest.mark.usefixtures("two_waves")
def test_two_waves_go_on_from_between_any_two_writes(tmp_path, monkeypatch):
    resume_everywhere(monkeypatch, tmp_path, executor="vmap")


@pytest.mark.usefixtures("two_waves")
def test_two_pruned_waves_go_on_from_between_any_two_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps_run.SweepRun, "_is_due", lambda run: False)  # as with an hour between checkpoints
    resume_everywhere(monkeypatch, tmp_path, executor="vmap", stop=HALVING)


@pytest.mark.usefixtures("two_waves", "checkpoints")
@pytest.mark.parametrize("at", [2, 3, 4, 5, 7])
def test_two_pruned_waves_go_on_from_every_evaluation(at, tmp_path):
    options = {"executor": "vmap", "stop": HALVING, "eval_every": 1}
    begin(tmp_path, at, **options)
    assert_same_bits(sweep(tmp_path, **options), sweep(**options))


# Killed for real.

CHILD_STEPS = 8
"""Steps for each time that a child is killed, more than it makes until then."""


def unfinished(folder: Path) -> int:
    """Files that were begun and have no name yet."""
    return len(list(ours(folder).glob("draft-*")))


def train_in_lockstep(folder: str, kills: str, halt: str) -> None:
    """Train, and tell the parent of every call and checkpoint; each call waits for its answer.

    With `halt` a checkpoint stays half written.
    """
    replace, work = os.replace, engine_store.Store._work

    def replace_and_tell(draft: Any, path: Any) -> None:
        if halt and Path(path).name.startswith("checkpoint-"):
            os.truncate(draft, Path(draft).stat().st_size // 2)
            os.write(1, b"writing\n")  # in one piece, unlike print's lines of two threads
            threading.Event().wait()
        replace(draft, path)

    def work_and_tell(*arguments: Any) -> None:
        work(*arguments)
        os.write(1, b"written\n")

    def tell(event: lrjax.Progress) -> None:
        os.write(1, b"step\n")
        sys.stdin.readline()

    os.replace, engine_store.Store._work = replace_and_tell, work_and_tell
    sweeps_run.SweepRun._is_due = lambda run: True
    sweep(folder, train_steps=CHILD_STEPS * int(kills), stop=HALVING, progress=tell)


def start(*arguments: str, cache: Path | None = None) -> subprocess.Popen:
    """This file as a script, in a process of its own; what one compiles the next ones find in `cache`."""
    settings = {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(lrjax.__file__).parent.parent),
        "JAX_COMPILATION_CACHE_DIR": str(cache or ""),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    torn = "ignore:Error reading persistent compilation cache"  # of a child killed while it wrote there
    command = [sys.executable, "-W", "error", "-W", torn, __file__, *arguments]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env=os.environ | settings, text=True, **pipes)


def kill_soon(process: subprocess.Popen, steps: int, halted: bool) -> None:
    """Kill a child in a checkpoint that stays half written, or while it runs, `steps` and a checkpoint later."""
    lines: Iterator[str] = iter(process.stdout.readline, "")  # pyright: ignore[reportOptionalMemberAccess]
    asked, busy, written = 0, False, 0
    for line in lines:
        asked += line == "step\n"
        if line == "writing\n":
            busy = True
        elif line == "written\n":
            busy, written = False, written + 1
        if halted and busy:
            break
        while asked and not busy:
            print(file=process.stdin, flush=True)
            asked, steps = asked - 1, steps - 1
        if steps <= 0 and written and not halted:
            break
    else:
        pytest.fail(process.stderr.read()[-3000:])  # pyright: ignore[reportOptionalMemberAccess]
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kills", [3, slow(20)])
def test_a_sweep_killed_again_and_again_ends_with_the_same_bits(kills, tmp_path):
    rng, half_written, folder = np.random.default_rng(kills), 0, tmp_path / "sweep"
    for kill in range(kills):
        halted = kill % 2 == 1
        arguments = (str(folder), str(kills), "halt" if halted else "")
        process = start("train_in_lockstep", *arguments, cache=tmp_path / "cache")
        kill_soon(process, int(rng.integers(2, 7)), halted)
        half_written += unfinished(folder) > 0
    assert half_written >= kills // 2
    options = {"train_steps": CHILD_STEPS * kills, "stop": HALVING}
    result, expected = sweep(folder, **options), sweep(**options)
    assert_same_bits(result, expected)
    assert result.execution.resumed_at > 0
    assert result.execution.updates < expected.execution.updates


# Interrupted, for every source of batches.


class Rows:
    """A data source of Grain."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return X[index], Y[index]


class NamedRows(Rows):
    def __repr__(self) -> str:
        return "NamedRows()"


def shuffled(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng(epoch).permutation(12)
    return ((X[rows], Y[rows]) for rows in np.split(order, 3))


def loader(rows: Rows) -> grain.DataLoader:
    sampler = grain.IndexSampler(32, shard_options=grain.NoSharding(), shuffle=True, num_epochs=None, seed=1)
    operations, reading = [grain.Batch(4, drop_remainder=True)], grain.ReadOptions(num_threads=0)
    return grain.DataLoader(data_source=rows, sampler=sampler, operations=operations, read_options=reading)


def stream(batches: Any) -> Task:
    return Task.from_batches(jnp.ones(3), loss_fn, train_batches=batches, eval_batches=[(X[32:], Y[32:])])


def rows_of(start: int) -> tuple[np.ndarray, np.ndarray]:
    return X[start : start + 4], Y[start : start + 4]


SOURCES: dict[str, Callable[[], Task]] = {
    "arrays": arrays,
    "list": lambda: stream([rows_of(start) for start in range(0, 28, 4)]),
    "function of the epoch": lambda: stream(lambda epoch: shuffled(epoch)),
    "Grain DataLoader": lambda: stream(loader(NamedRows())),
    "Grain MapDataset": lambda: stream(grain.MapDataset.source(NamedRows()).shuffle(seed=1).repeat(2).batch(4)),
    "Grain IterDataset": lambda: stream(grain.MapDataset.source(Rows()).shuffle(seed=1).batch(4).to_iter_dataset()),
}


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=pytest.mark.slow if name in ("list", "Grain DataLoader") else [])
        for name, make in SOURCES.items()
    ],
)
def test_every_source_of_batches_goes_on_to_the_same_bits(make, tmp_path):
    pruned = {"train_steps": 5, "stop": SuccessiveHalving(first=3, factor=2)}
    for at in (1, 2):
        begin(tmp_path / "whole", at, problem=make())
    assert_same_bits(sweep(tmp_path / "whole", make()), sweep(problem=make()))
    begin(tmp_path / "pruned", 3, problem=make(), **pruned)
    assert_same_bits(sweep(tmp_path / "pruned", make(), **pruned), sweep(problem=make(), **pruned))


@pytest.mark.usefixtures("checkpoints")
def test_a_loader_whose_state_holds_an_address_goes_on(tmp_path):
    first, second = Rows(), Rows()  # of two processes; both alive, so at two addresses
    begin(tmp_path, 2, problem=stream(loader(first)))
    result = sweep(tmp_path, stream(loader(second)))
    assert result.execution.resumed_at > 0
    assert_same_bits(result, sweep(problem=stream(loader(first))))


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupted_sweep_carries_what_it_measured(at, tmp_path):
    expected = sweep()
    with pytest.raises(lrjax.SearchInterrupted, match=r"The same call with directory=.*goes on") as caught:
        sweep(tmp_path, progress=die_at(at, KeyboardInterrupt))
    result = caught.value.result
    np.testing.assert_array_equal(result.metrics["loss"][..., :at], expected.metrics["loss"][..., :at])
    assert np.isnan(result.metrics["loss"][..., at:]).all()
    assert len(result.to_rows()) == at * 8
    again = sweep(tmp_path)
    assert_same_bits(again, expected)
    assert again.execution.updates < expected.execution.updates or at == 1


def test_a_finished_sweep_called_again_trains_nothing(tmp_path, monkeypatch):
    expected = sweep(tmp_path, stop=HALVING)

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a program was asked for")

    monkeypatch.setattr(Engine, "executable", refuse)
    again = sweep(tmp_path, stop=HALVING)
    assert_same_bits(again, expected)
    assert (again.execution.updates, again.execution.checkpoints) == (0, 0)


def test_two_sweeps_in_one_folder_at_once_are_refused(tmp_path):
    refused = []

    def call_again(event: lrjax.Progress) -> None:
        check_message(lambda: sweep(tmp_path), BlockingIOError, [str(tmp_path), "is in use", "name another folder"])
        refused.append(event.step)

    result = sweep(tmp_path, progress=call_again)
    assert len(refused) > 3
    assert_same_bits(result, sweep(tmp_path))


def test_nothing_in_the_folder_is_a_pickle(tmp_path, monkeypatch):
    problem = SOURCES["Grain DataLoader"]
    begin(tmp_path, 2, problem=problem(), stop=HALVING)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    for path in files:
        assert path.suffix not in (".pkl", ".pickle")
        assert path.read_bytes()[:2] not in [bytes([0x80, protocol]) for protocol in range(2, 6)]
    expected = sweep(problem=problem(), stop=HALVING)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert_same_bits(sweep(tmp_path, problem(), stop=HALVING), expected)


# Damaged.


def flip(share: float) -> Callable[[Path], Any]:
    """Flip a bit at a share of a file's length."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[int(share * (len(content) - 1))] ^= 0x10
        path.write_bytes(content)

    return flip


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "deleted": Path.unlink,
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a bit flipped at its start": flip(0.0),
    "a bit flipped in its middle": flip(0.6),
    "a bit flipped at its end": flip(1.0),
}


def damaged(folder: Path, copies: Path, where: str, kinds: tuple[str, ...] = tuple(DAMAGE)) -> dict[str, Path]:
    """Copies of a folder, each with one file damaged."""
    copies.mkdir()
    made = {}
    for path in sorted(path.relative_to(folder) for path in ours(folder).glob(where)):
        for name in kinds:
            copy = shutil.copytree(folder, copies / str(len(made)))
            DAMAGE[name](copy / path)
            made[f"{path} {name}"] = copy
    assert len(made) >= len(kinds)
    return made


@pytest.mark.usefixtures("checkpoints")
def test_a_damaged_file_changes_no_bit(tmp_path):
    expected, whole = sweep(), begin(tmp_path / "whole", 2)
    copies = damaged(whole, tmp_path / "copies", "checkpoint-*")
    attempts = {name: functools.partial(sweep, copy) for name, copy in copies.items()}
    assert failures(attempts, expected) == []
    assert failures(attempts, expected) == []  # what was mended is whole


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize("stop", [None, HALVING], ids=["whole", "pruned"])
def test_without_a_good_checkpoint_a_sweep_begins_anew(stop, tmp_path):
    begin(tmp_path, 2, stop=stop)
    for path in ours(tmp_path).glob("checkpoint-*"):
        flip(0.6)(path)
    result = sweep(tmp_path, stop=stop)
    assert any("damaged" in note for note in result.execution.notes)
    assert_same_bits(result, sweep(stop=stop))


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize("stop", [None, HALVING], ids=["whole", "pruned"])
def test_damage_to_a_finished_sweep_is_mended(stop, tmp_path):
    expected = sweep(tmp_path / "whole", stop=stop)
    copies = damaged(tmp_path / "whole", tmp_path / "copies", "checkpoint-*")
    for copy in copies.values():
        one_left = sweep(copy, stop=stop)
        assert_same_bits(one_left, expected)
        assert one_left.execution.updates < expected.execution.updates
        assert sweep(copy, stop=stop).execution.updates == 0


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_call_is_said_to_be_damaged(name, tmp_path):
    sweep(tmp_path)
    call = ours(tmp_path) / "call.json"
    DAMAGE[name](call)
    damaged = f"`sweep(directory={str(tmp_path)!r})` holds a damaged lrjax-sweep/call.json"
    gone = ["no lrjax-sweep/call.json, so whose it is is not known"]
    parts = gone if name == "deleted" else [damaged, "Restore that file", "another directory"]
    check_message(lambda: sweep(tmp_path), ValueError, parts)


@pytest.mark.usefixtures("two_waves", "checkpoints")
def test_damage_to_waiting_lanes_changes_no_bit(tmp_path):
    options = {"executor": "vmap", "stop": HALVING, "eval_every": 1}
    whole = begin(tmp_path / "whole", 4, **options)  # in the second wave
    copies = damaged(whole, tmp_path / "copies", "checkpoint-*")
    attempts = {name: functools.partial(sweep, copy, **options) for name, copy in copies.items()}
    assert failures(attempts, sweep(**options)) == []


@pytest.mark.usefixtures("two_waves", "checkpoints")
def test_without_checkpoints_a_sweep_begins_anew(tmp_path):
    options = {"executor": "vmap", "stop": HALVING, "eval_every": 1}
    begin(tmp_path, 3, **options)
    checkpoints = [*ours(tmp_path).glob("checkpoint-*")]
    assert len(checkpoints) == 2
    for path in checkpoints:
        path.unlink()
    assert_same_bits(sweep(tmp_path, **options), sweep(**options))


# Out of memory, which begins the sweep anew with other waves.

FAMILIES = {
    "learning_rate": [schedules.cosine_decay(peak, STEPS) for peak in (0.3, 0.1, 0.03, 0.01)]
    + [schedules.constant(lr) for lr in (0.02, 0.05, 0.1, 0.2)]
}


@pytest.mark.parametrize("wave", range(4))
def test_out_of_memory_in_any_wave_gives_the_same_numbers(wave, tmp_path, monkeypatch):
    options = {"grid": FAMILIES, "num_seeds": 1, "executor": "vmap", "stop": HALVING}
    expected, train, begun = sweep(**options), sweeps_run.SweepRun._train_block, []

    def train_and_fail(run: Any, reader: Any, running: Any, first: bool) -> float:
        begun.extend([running] if first else [])
        if first and len(begun) == wave + 1:
            with run._failing(running):
                raise MemoryError
        return train(run, reader, running, first)

    monkeypatch.setattr(sweeps_run.SweepRun, "_train_block", train_and_fail)
    result = sweep(tmp_path, **options)
    assert "ran out of memory" in result.execution.notes[0]
    np.testing.assert_allclose(result.metrics["loss"], expected.metrics["loss"], rtol=1e-4)
    np.testing.assert_array_equal(result.stopped_at, expected.stopped_at)


@pytest.mark.usefixtures("checkpoints")
def test_a_sweep_goes_on_where_there_is_less_memory(tmp_path, monkeypatch):
    options = {"executor": "vmap", "stop": SuccessiveHalving(first=3, factor=2)}
    expected = sweep(**options)
    begin(tmp_path, 2, **options)
    monkeypatch.setattr(Engine, "budget", lambda engine: 0.35 * expected.execution.bytes)
    result = sweep(tmp_path, **options)
    np.testing.assert_allclose(result.metrics["loss"], expected.metrics["loss"], rtol=1e-4)


# Another call in the same folder.


def scaled_loss(scale: float) -> Callable[..., Any]:
    return lambda w, batch, key: scale * loss_fn(w, batch, key)


def weighted_loss(weight: float, wrap: Callable[..., Any] = lambda function: function) -> Callable[..., Any]:
    weights = jnp.full(3, weight)
    return wrap(lambda w, batch, key: loss_fn(w * weights, batch, key))


def biased_loss(params: Any, batch: Any, key: Any) -> Any:
    return loss_fn(params["w"], batch, key) + jnp.mean(params["b"] ** 2)


WITH_BIAS = {"w": jnp.ones(3), "b": jnp.ones(3)}


def adam(learning_rate: Any) -> Any:
    return optax.adam(learning_rate)


def heavier(learning_rate: Any) -> Any:
    return optax.sgd(learning_rate, momentum=0.8)


heavier.__qualname__ = momentum.__qualname__
ONE_DEVICE = Mesh(np.asarray(jax.devices()[:1]), ("trial",))
OTHER_ROW = X[:32] + np.eye(32, 3, -31, dtype=np.float32)  # the last row alone

# the call that began here, the call now, and what the message names
OTHERS: dict[str, tuple[dict, dict, list[str]]] = {
    "key": ({}, {"key": jax.random.key(4)}, ["the key changed"]),
    "train_steps": ({}, {"train_steps": 8}, ["train_steps: 6 there, 8 now"]),
    "num_seeds": ({}, {"num_seeds": 3}, ["num_seeds: 2 there, 3 now"]),
    "eval_every": ({}, {"eval_every": 3}, ["eval_every: 2 there, 3 now"]),
    "stop": ({}, {"stop": StopDiverged()}, ["stop: None there, StopDiverged() now"]),
    "stop's rungs": ({"stop": HALVING}, {"stop": SuccessiveHalving(first=3, factor=2)}, ["first=2", "first=3"]),
    "executor": ({}, {"executor": "vmap"}, ["executor: map there, vmap now"]),
    "chunk": ({"executor": lrjax.Chunked(2)}, {"executor": lrjax.Chunked(3)}, ["chunked(2) there, chunked(3) now"]),
    "mesh": ({}, {"mesh": ONE_DEVICE}, ["the mesh: None there", "'trial': 1"]),
    "grid values": (
        {},
        {"grid": {"learning_rate": [0.01, 0.1, 0.3, 0.5]}},
        ["4 values now, 4 there, of which 1e+20"],
    ),
    "grid length": ({}, {"grid": {"learning_rate": LRS[:3]}}, ["learning_rate: 3 values now, 4 there"]),
    "grid order": ({}, {"grid": {"learning_rate": LRS[::-1]}}, ["only 0 of the 4 trials there are done"]),
    "grid names": (
        {"make_optimizer": optax.adamw},
        {"make_optimizer": optax.adamw, "grid": {"learning_rate": LRS[:2], "weight_decay": [0.0, 0.1]}},
        ["the grid's names: ", "weight_decay"],
    ),
    "product or zip": (
        {"make_optimizer": optax.adamw, "grid": {"learning_rate": LRS[:1], "weight_decay": [0.0]}},
        {"make_optimizer": optax.adamw, "grid": lrjax.zipped(learning_rate=LRS[:1], weight_decay=[0.0])},
        ["the grid's names: "],
    ),
    "optimizer": ({}, {"make_optimizer": adam}, ["make_optimizer: momentum there, adam now"]),
    "a number in the optimizer": ({}, {"make_optimizer": heavier}, ["the optimizer) changed"]),
    "batch size": ({}, {"problem": arrays(batch_size=8)}, ["the training batches changed"]),
    "data": ({}, {"problem": arrays(train=(X[:32] + 1, Y[:32]))}, ["the training batches changed"]),
    "one number of the data": ({}, {"problem": arrays(train=(OTHER_ROW, Y[:32]))}, ["the training batches changed"]),
    "order of the data": ({}, {"problem": arrays(shuffle=False)}, ["the training batches changed"]),
    "evaluation data": ({}, {"problem": arrays(validation=(X[33:], Y[33:]))}, ["the evaluation batches changed"]),
    "evaluation batch size": ({}, {"problem": arrays(eval_batch_size=3)}, ["the evaluation batches changed"]),
    "eval_fn": ({}, {"problem": arrays(eval_fn=lambda w, batch: 2 * loss_fn(w, batch, None))}, ["eval_fn"]),
    "loss_fn": (
        {},
        {"problem": arrays(loss_fn=lambda w, batch, key: jnp.mean(jnp.abs(batch[0] @ w - batch[1])))},
        ["what a training step computes (loss_fn"],
    ),
    "a number that loss_fn closes over": (
        {"problem": arrays(loss_fn=scaled_loss(1.0))},
        {"problem": arrays(loss_fn=scaled_loss(1.0000001))},
        ["what a training step computes"],
    ),
    "an array that loss_fn closes over": (
        {"problem": arrays(loss_fn=weighted_loss(1.0))},
        {"problem": arrays(loss_fn=weighted_loss(2.0))},
        ["what a training step computes"],
    ),
    "initial parameters": ({}, {"problem": arrays(init=2 * jnp.ones(3))}, ["the initial parameters changed"]),
    "init function": (
        {"problem": arrays(init=lambda key: jax.random.normal(key, 3))},
        {"problem": arrays(init=lambda key: jax.random.uniform(key, 3))},
        ["the initial parameters changed"],
    ),
    "fixed parameters": (
        {"problem": arrays(init=jnp.ones(3))},
        {"problem": arrays(init=lambda key: jax.random.normal(key, 3))},
        ["the initial parameters changed"],
    ),
    "shape of the parameters": (
        {},
        {"problem": arrays(init=jnp.ones((3, 1)))},
        ["the shapes of the parameters: ['float32[3]'] there, ['float32[3,1]'] now"],
    ),
    "trainable": (
        {"problem": arrays(init=WITH_BIAS, loss_fn=biased_loss)},
        {"problem": arrays(init=WITH_BIAS, loss_fn=biased_loss, trainable={"w": True, "b": False})},
        ["the initial parameters changed"],
    ),
}


def check_refused(before: dict, now: dict, parts: list[str], folder: Path) -> None:
    before, now = {"train_steps": STEPS, "grid": {"learning_rate": LRS}} | before, before | now
    begun = {path: path.read_bytes() for path in begin(folder, 0, **before).rglob("*") if path.is_file()}
    holds = [f"`sweep(directory={str(folder)!r})` holds another sweep: ", "Repeat that call, or give another directory"]
    check_message(lambda: sweep(folder, **now), ValueError, holds + parts)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == begun


@pytest.mark.parametrize(("before", "now", "parts"), OTHERS.values(), ids=OTHERS.keys())
def test_another_call_is_refused_and_the_difference_named(before, now, parts, tmp_path):
    check_refused(before, now, parts, tmp_path)


HARD_TO_TELL: dict[str, tuple[Callable[[], Task], Callable[[], Task]]] = {
    "an array that a jitted loss_fn closes over": (
        lambda: arrays(loss_fn=weighted_loss(1.0, jax.jit)),
        lambda: arrays(loss_fn=weighted_loss(2.0, jax.jit)),
    ),
    "a later batch of a list": (
        lambda: stream([rows_of(start) for start in (0, 4, 8, 12, 16, 20)]),
        lambda: stream([rows_of(start) for start in (0, 20, 8, 12, 16, 4)]),
    ),
}


@pytest.mark.parametrize(("before", "now"), HARD_TO_TELL.values(), ids=HARD_TO_TELL.keys())
def test_another_call_that_is_hard_to_tell_is_refused_too(before, now, tmp_path):
    begin(tmp_path, 0, problem=before())
    with pytest.raises(ValueError, match="holds another sweep"):
        begin(tmp_path, 0, problem=now())


def freshly_defined() -> tuple[Task, Callable[..., Any]]:
    """What another process would define: equal, and nothing of it the same object."""
    weights = np.linspace(0.5, 1.0, 3, dtype=np.float32)

    def init(key: Any) -> Any:
        return {"w": 0.1 * jax.random.normal(key, 3), "b": jnp.zeros(())}

    def loss_fn(params: Any, batch: Any, key: Any) -> Any:
        keep = jax.random.bernoulli(key, 0.9, (3,))
        return jnp.mean(weights[0] * (batch[0] @ (params["w"] * keep * weights) + params["b"] - batch[1]) ** 2)

    def make_optimizer(learning_rate: Any) -> Any:
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))

    return arrays(init=init, loss_fn=loss_fn, train=(X[:32].copy(), Y[:32].copy())), make_optimizer


def test_an_equal_call_of_freshly_defined_functions_is_accepted(tmp_path):
    problem, make_optimizer = freshly_defined()
    begin(tmp_path, 0, problem=problem, make_optimizer=make_optimizer)
    problem, make_optimizer = freshly_defined()
    begin(tmp_path, 0, problem=problem, make_optimizer=make_optimizer)


def test_progress_and_checkpoint_seconds_may_change(tmp_path):
    begin(tmp_path, 1)
    assert_same_bits(sweep(tmp_path, progress=print, checkpoint_seconds=100), sweep())


# What cannot be written.


def on_a_full_disk(folder: str) -> dict[str, Any]:
    """Files may not grow beyond a limit: what is said then, and whether the same call then ends with the same bits."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sweeps_run.SweepRun._is_due = lambda run: True
    save = engine_store.Store.save
    engine_store.Store.save = lambda *args, wait=False: save(*args, wait=True)
    many = {"w": jnp.ones(3), "b": jnp.zeros(1000)}  # a checkpoint with lanes is larger than one without
    large = arrays(init=many, loss_fn=lambda p, batch, key: loss_fn(p["w"], batch, key) + p["b"].sum())
    limits = {"call": (100, None), "checkpoint": (6000, large)}
    told = {}
    for place, (limit, problem) in limits.items():
        where = Path(folder) / place
        options: dict[str, Any] = {"problem": problem, "num_seeds": 1, "grid": {"learning_rate": LRS[:2]}}
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            sweep(where, **options)
            error = ""
        except OSError as failure:
            error = str(failure)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        left = sorted(path.name.split("-")[0] for path in ours(where).iterdir())
        assert_same_bits(sweep(where, **options), sweep(**options))
        told[place] = {"error": error, "left": left}
    return told


def test_a_full_disk_is_told_and_loses_nothing(tmp_path):
    process = start("on_a_full_disk", str(tmp_path))
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    told = json.loads(output.splitlines()[-1])
    for name in ("call", "checkpoint"):
        assert told[name]["error"].startswith(f"The sweep could not write to {ours(tmp_path / name)}: ")
        assert told[name]["error"].count("could not write") == 1
        assert "File too large" in told[name]["error"]
        assert "Make room or mend the folder, and start the same call again" in told[name]["error"]
    assert told["call"]["left"] == ["lock"]
    assert told["checkpoint"]["left"] == ["call.json", "checkpoint", "lock"]  # the last that fitted


PLACES: dict[str, Callable[[Path], Path]] = {
    "a file": lambda folder: folder / "file",
    "below a file": lambda folder: folder / "file" / "below",
    "below nothing": lambda folder: Path("/proc/nothing"),
    "a long name": lambda folder: folder / ("a" * 300),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_cannot_be_a_folder_is_said(place, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match=r"must be a folder that can be written, but: .*Name another one") as caught:
        sweep(PLACES[place](tmp_path))
    assert str(PLACES[place](tmp_path)) in str(caught.value)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_said(tmp_path):
    begin(tmp_path, 1)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        with pytest.raises(PermissionError, match="must be a folder that can be written, but: Permission denied"):
            sweep(tmp_path)
    finally:
        for path in [tmp_path, *tmp_path.rglob("*")]:
            path.chmod(0o700)
    assert_same_bits(sweep(tmp_path), sweep())


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize("place", ["", "checkpoint-*", "call.json", "lock"])
def test_what_is_removed_while_a_sweep_runs_is_told(place, tmp_path):
    folder, expected = tmp_path / "sweep", sweep()

    def remove(event: lrjax.Progress) -> None:
        if event.rows and event.step == EVERY:
            for path in ours(folder).glob(place) if place else [folder]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    told = ""
    try:
        assert_same_bits(sweep(folder, progress=remove), expected)
    except OSError as error:
        told = str(error)
    assert told == "" or (f"could not write to {ours(folder)}" in told and "start the same call again" in told)
    assert (told != "") == (place == "")
    if place == "call.json":
        check_message(lambda: sweep(folder), ValueError, ["holds lrjax-sweep/", "but no lrjax-sweep/"])
    else:
        assert_same_bits(sweep(folder), expected)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
