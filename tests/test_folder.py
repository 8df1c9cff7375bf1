"""The folder of a sweep or a search: killed, damaged or somebody else's, it gives the same bits or says why not."""

import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import budgeted
from inside import engine_source, engine_store, sweeps_run
from marks import slow
from problems import regression
from processes import finish, start, tell

import lrjax

KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 6)).astype(np.float32)
Y = (X @ RNG.normal(size=6)).astype(np.float32)
EVAL = [(X[:32], Y[:32])]


def init(key: Any) -> Any:
    return 0.5 * jax.random.normal(key, (6,))


def loss_fn(w: Any, batch: Any, key: Any) -> Any:
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


def sweep(directory: Any = None, problem: lrjax.Task | None = None, **options: Any) -> Any:
    good = {"key": KEY, "train_steps": 6, "num_seeds": 2, "eval_every": 2, "executor": "map", "checkpoint_seconds": 0}
    grid = {"learning_rate": [0.01, 0.1, 0.3]}
    return lrjax.sweep(problem or task(), optax.sgd, grid, directory=directory, **good | options)


def search(directory: Any = None, problem: lrjax.Task | None = None, **options: Any) -> Any:
    good = {"key": KEY, "train_steps": 400, "executor": "map", "min_lr": 1e-3, "max_lr": 0.3, "num_seeds": 2}
    good |= {"trainings": 1.0}
    return budgeted(problem or task(), optax.sgd, directory=directory, **good | options)


@functools.cache
def task() -> lrjax.Task:
    return regression()


RUNS: dict[str, Callable[..., Any]] = {"sweep": sweep, "search": search}
VERBS = {"sweep": "sweep", "search": "find_lr"}
both = pytest.mark.parametrize("kind", RUNS)


def bits(result: Any) -> Any:
    """All numbers of a result."""
    if isinstance(result, lrjax.SweepResult):
        return {name: values.tobytes() for name, values in result.metrics.items()}
    return [(r.num_steps, r.log10_lrs.tobytes(), r.losses.tobytes()) for r in result.stages], result.lr


@functools.cache
def expected(kind: str) -> Any:
    return bits(RUNS[kind]())


class Killed(Exception):
    """Raised where a test ends a run."""


def die_at(count: int) -> Callable[[Any], None]:
    """A progress function that raises the n-th time that it is called."""
    seen: list[Any] = []

    def progress(event: Any) -> None:
        seen.append(event)
        if len(seen) == count:
            raise Killed

    return progress


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step, and calls of the same length whatever else the machine does."""
    save = engine_store.Store.save
    monkeypatch.setattr(engine_source, "FIRST_STEPS", 1)
    monkeypatch.setattr(engine_source, "LONGEST_CALL", 0.0)
    monkeypatch.setattr(sweeps_run.SweepRun, "_is_due", lambda run: True)
    monkeypatch.setattr(engine_store.Store, "save", lambda *args, wait=False: save(*args, wait=True))


LATE = {"sweep": 8, "search": 70}
"""Calls of `progress` after which some is measured, and some is not."""


def begin(kind: str, directory: Path, count: int | None = None, **options: Any) -> Path:
    """A directory in which a run was ended."""
    with pytest.raises(Killed):
        RUNS[kind](directory, progress=die_at(count or LATE[kind]), **options)
    return directory


def ours(directory: Path, kind: str) -> Path:
    return directory / f"lrjax-{kind}"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Path]:
    """A function that copies a folder in which a run was ended."""
    made: dict[str, Path] = {}

    def copy(kind: str, directory: Path) -> Path:
        if kind not in made:
            made[kind] = begin(kind, tmp_path_factory.mktemp(kind))
        return shutil.copytree(made[kind], directory, symlinks=True)

    return copy


def digest(directory: Path, but_for: str = "..") -> dict[str, Any]:
    """What is in a directory: kinds, modes, times and contents."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if not path.is_relative_to(directory / but_for):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(directory))] = (status.st_mode, path.is_dir() or status.st_mtime_ns, content)
    return found


# Killed.


@both
def test_a_run_that_was_ended_goes_on_to_the_same_bits(kind, tmp_path):
    for count in (1, 3, {"sweep": 5, "search": 40}[kind]):
        begin(kind, tmp_path, count)
    whole: list[Any] = []
    rest: list[Any] = []
    result = RUNS[kind](tmp_path, progress=rest.append)
    assert bits(result) == expected(kind) == bits(RUNS[kind](progress=whole.append))
    assert result.execution.notes == []
    assert len(rest) < len(whole)
    assert bits(RUNS[kind](tmp_path)) == expected(kind)


def train(kind: str, directory: str) -> dict[str, str]:
    """In a process of its own, which may be killed at any time; a line for every call of `progress`."""
    engine_source.LONGEST_CALL = 0.0
    sweeps_run.SweepRun._is_due = lambda self: True
    many = {"sweep": {"train_steps": 400, "eval_every": 4}, "search": {"train_steps": 4000, "trainings": 8.0}}[kind]
    result = RUNS[kind](directory or None, progress=lambda event: print("step", flush=True), **many)
    return {"bits": hashlib.sha256(repr(bits(result)).encode()).hexdigest()}


@both
@pytest.mark.parametrize("kills", [slow(3), slow(100)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(kind, kills, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    rng, killed, folder, wanted = np.random.default_rng(kills), 0, 0, finished(kind, "")
    most = {"sweep": 150, "search": 1000}[kind]
    while killed < kills:
        process = start(__file__, 1, "train", kind, str(tmp_path / str(folder)))
        if has_lines(process, int(rng.integers(1, most))):
            time.sleep(rng.uniform(0, 0.01))
            killed += process.poll() is None
            process.kill()
            process.communicate()
        else:
            assert finished(kind, str(tmp_path / str(folder))) == wanted
            folder += 1
        print(f"{kind}: {killed} kills in {folder + 1} folders", flush=True)
    assert finished(kind, str(tmp_path / str(folder))) == wanted


def has_lines(process: subprocess.Popen, count: int) -> bool:
    """Wait for so many lines; False if it has ended well before."""
    lines = iter(process.stdout.readline, "")  # pyright: ignore[reportOptionalMemberAccess]
    if sum(1 for _ in itertools.islice(lines, count)) == count:
        return True
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    return False


def finished(kind: str, directory: str) -> str:
    return finish(start(__file__, 1, "train", kind, directory))[0]["bits"]


# Damaged.


def other_arrays(path: Path, rng: np.random.Generator) -> None:
    """Arrays of another dtype or shape, whose checksums are right."""
    line, _, rest = path.read_bytes().partition(b"\n")
    head = json.loads(line[9:])
    for one in head.get("arrays", ()):
        if rng.integers(2):
            one[0] = {"float32": "int32", "int32": "float32", "uint32": "float32"}.get(one[0], "float32")
        else:
            one[1] = [*one[1][::-1], 1]
    path.write_bytes(checked(head) + rest)


def checked(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def zero(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    first = int(rng.integers(len(content)))
    content[first : first + 64] = bytes(len(content[first : first + 64]))
    path.write_bytes(content)


def replace(make: Callable[[Path], Any]) -> Callable[[Path, np.random.Generator], None]:
    def damage(path: Path, rng: np.random.Generator) -> None:
        os.replace(path, path.with_name("away"))
        make(path)

    return damage


DAMAGE: dict[str, Callable[[Path, np.random.Generator], Any]] = {
    "a bit flipped": flip,
    "cut off": lambda path, rng: os.truncate(path, int(rng.integers(path.stat().st_size))),
    "empty": lambda path, rng: path.write_bytes(b""),
    "zeroed": zero,
    "longer": lambda path, rng: path.write_bytes(path.read_bytes() + rng.bytes(9)),
    "noise": lambda path, rng: path.write_bytes(rng.bytes(200)),
    "other arrays": other_arrays,
    "gone": lambda path, rng: path.unlink(),
    "a folder": replace(Path.mkdir),
    "a pipe": replace(os.mkfifo),
    "a link": replace(lambda path: path.symlink_to("away")),
    "a link to nothing": replace(lambda path: path.symlink_to("nothing")),
}


def attempt(kind: str, directory: Path) -> str:
    """What a run in a damaged folder ends with."""
    try:
        result = RUNS[kind](directory)
    except ValueError as error:
        text = str(error)
        assert text.startswith(f"`{VERBS[kind]}(directory={str(directory)!r})` holds "), text
        assert "give another directory" in text, text
        return "said"
    assert bits(result) == expected(kind)
    return "same bits, and a note" if result.execution.notes else "same bits"


def may_be_said(name: str) -> bool:
    """Without these nobody knows what was asked."""
    return name in ("call.json", "lock")


@both
@pytest.mark.parametrize("count", [8, slow(100)])
@pytest.mark.filterwarnings("error")
def test_damage_gives_the_same_bits_or_is_said(kind, count, tmp_path, begun, capfd):
    rng, told = np.random.default_rng(count), []
    for number in range(count):
        directory = begun(kind, tmp_path / str(number))
        paths = sorted(path for path in ours(directory, kind).iterdir() if path.name != "lock")
        path = paths[number % len(paths)]
        name = list(DAMAGE)[number // len(paths) % len(DAMAGE)]
        DAMAGE[name](path, rng)
        ended = attempt(kind, directory)
        assert ended != "said" or may_be_said(path.name), (path.name, name)
        told.append(f"{path.name} {name}: {ended}")
        shutil.rmtree(directory)
    assert capfd.readouterr() == ("", "")
    with capfd.disabled():
        print(*(told if count > 8 else ()), sep="\n")


@both
def test_nothing_is_taken_over_from_a_folder_that_was_emptied(kind, tmp_path, begun):
    directory = begun(kind, tmp_path / "empty")
    for path in ours(directory, kind).iterdir():
        path.unlink()
    assert attempt(kind, directory) == "same bits"


@both
def test_lines_that_are_whole_and_say_what_no_run_writes_are_left_out(kind, tmp_path, begun):
    rng = np.random.default_rng(0)
    values = [None, -1, 10**30, 2.5, "x", [], {}, [[]], {"read": "x"}, True, [[0, 1]], "nan"]
    changed = 0
    for number in range(12):
        directory = begun(kind, tmp_path / str(number))
        for path in ours(directory, kind).glob("checkpoint-*"):
            line, _, rest = path.read_bytes().partition(b"\n")
            value = json.loads(line[9:])
            names = [name for name in value if name not in ("lrjax", "call")]
            value[names[rng.integers(len(names))]] = values[rng.integers(len(values))]
            path.write_bytes(checked(value) + rest)
            changed += 1
        assert attempt(kind, directory) in ("same bits", "same bits, and a note")
    assert changed >= 12


# Somebody else's.


def fill(directory: Path) -> None:
    """What others keep: names like ours, and names of our earlier format."""
    for name in ("checkpoints/step_1000/state", "parked/1.json", "table.jsonl", "sweep.json", "search.json", "lock"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"somebody's {name}")
    for name in ("lanes-000.npz", "stop-000.json", ".draft", "draft-000001", "call.json", "table-000001.jsonl"):
        (directory / name).write_text(f"somebody's {name}")
    (directory / "link").symlink_to("nowhere")
    (directory / "nothing").touch()


@both
def test_what_is_beside_our_folder_is_untouched(kind, tmp_path):
    fill(tmp_path)
    before = digest(tmp_path)
    begin(kind, tmp_path)
    assert bits(RUNS[kind](tmp_path)) == expected(kind)
    assert digest(tmp_path, f"lrjax-{kind}") == before


@both
@pytest.mark.parametrize("name", ["notes.txt", "checkpoint-000003", "table-000001.jsonl", "step_1000", "call.json"])
def test_a_folder_of_our_name_that_is_not_ours_is_refused_and_untouched(kind, name, tmp_path):
    folder = ours(tmp_path, kind)
    folder.mkdir()
    (folder / name).mkdir() if name == "step_1000" else (folder / name).write_text('{"somebody": "else"}')
    before = digest(tmp_path)
    with pytest.raises(ValueError, match=r"holds .*give another directory") as caught:
        RUNS[kind](tmp_path)
    assert f"lrjax-{kind}/{name}" in str(caught.value)
    assert digest(tmp_path) == before


@both
def test_what_others_put_into_our_folder_is_left_there(kind, tmp_path, begun):
    directory = begun(kind, tmp_path / "shared")
    folder = ours(directory, kind)
    before = set(folder.iterdir())
    fill(folder / "theirs")
    for what in ("checkpoint", "lanes", "waiting", "draft", "notes"):
        (folder / f"{what}-000090").write_text("somebody's")
        (folder / f"{what}-000091").mkdir()
        (folder / f"{what}-000092").symlink_to(directory)
        (folder / f"{what}-000094").touch()
    (folder / "table-000093.jsonl").write_text("somebody's\n")
    foreign = set(folder.iterdir()) - before
    contents = {path: path.read_bytes() for path in foreign if path.is_file()}
    assert attempt(kind, directory) == "same bits, and a note"
    assert foreign < set(folder.iterdir())
    assert {path: path.read_bytes() for path in contents} == contents


@both
def test_files_of_another_run_are_refused_by_name(kind, tmp_path, begun):
    other = begin(kind, tmp_path / "other", key=jax.random.key(6))
    for number, path in enumerate(sorted(ours(other, kind).iterdir())):
        if path.name in ("lock", "call.json"):
            continue
        for name in (path.name, path.name.replace("-0", "-9")):
            directory = begun(kind, tmp_path / f"{number} {name}")
            shutil.copy(path, ours(directory, kind) / name)
            before = digest(directory)
            with pytest.raises(ValueError, match=rf"lrjax-{kind}/{name}, which is of another {kind}\. Move that file"):
                RUNS[kind](directory)
            assert digest(directory) == before
    directory = begun(kind, tmp_path / "call")
    shutil.copy(ours(other, kind) / "call.json", ours(directory, kind))
    with pytest.raises(ValueError, match=rf"holds another {kind}: the key changed"):
        RUNS[kind](directory)


def test_a_search_is_no_sweep(tmp_path, begun):
    directory = begun("search", tmp_path / "both")
    assert bits(sweep(directory)) == expected("sweep")  # each has a folder of its own
    shutil.copy(next(ours(directory, "search").glob("checkpoint-*")), ours(directory, "sweep") / "checkpoint-000099")
    with pytest.raises(ValueError, match=r"lrjax-sweep/checkpoint-000099, which is of a search"):
        sweep(directory)
    shutil.rmtree(ours(directory, "sweep"))
    ours(directory, "search").rename(ours(directory, "sweep"))
    with pytest.raises(ValueError, match=r"holds a search of the folder's format 3, and this is a sweep"):
        sweep(directory)


@both
def test_two_at_once_are_refused(kind, tmp_path):
    refused = []

    def call_again(event: Any) -> None:
        if not ours(tmp_path, kind).exists():
            return
        with pytest.raises(BlockingIOError, match=rf"is in use: another process is running a {kind} there"):
            RUNS[kind](tmp_path)
        refused.append(event)
        if len(refused) == 3:
            raise Killed

    with pytest.raises(Killed):
        RUNS[kind](tmp_path, progress=call_again)
    assert bits(RUNS[kind](tmp_path)) == expected(kind)  # and the folder is free again


@both
def test_files_have_the_modes_of_the_user(kind, tmp_path):
    mask = os.umask(0o027)
    try:
        begin(kind, tmp_path)
    finally:
        os.umask(mask)
    modes = {path.name.split("-")[0]: path.stat().st_mode & 0o777 for path in ours(tmp_path, kind).iterdir()}
    assert modes.keys() == {"lock", "call.json", "checkpoint"}
    assert set(modes.values()) == {0o640}


# Other batches than before.

BATCHES = [(X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8]) for i in range(30)]
CHANGED = [(x, y + 1e-3) for x, y in BATCHES]


class Records:
    """A data source of Grain, with one number changed from a batch on."""

    def __init__(self, batches: list[Any]):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]

    def __repr__(self) -> str:
        return "Records()"


def by_epoch(batches: list[Any], eval_batches: list[Any] = EVAL) -> lrjax.Task:
    return streamed(lambda epoch: iter(batches[(4 * epoch) % 30 : (4 * epoch) % 30 + 4]), eval_batches)


def streamed(source: Any, eval_batches: list[Any] = EVAL) -> lrjax.Task:
    return lrjax.Task.from_batches(init, loss_fn, train_batches=source, eval_batches=eval_batches)


def by_step(batches: list[Any]) -> lrjax.Task:
    def between(key: Any, start: int, stop: int) -> Any:
        return jax.tree.map(lambda *leaves: np.stack(leaves), *[batches[t % 30] for t in range(start, stop)])

    sample = lambda key, num_steps: between(key, 0, num_steps)  # noqa: E731
    return lrjax.Task(init=init, loss_fn=loss_fn, sample_batches=sample, batches_between=between, eval_batches=EVAL)


def by_loader(batches: list[Any]) -> lrjax.Task:
    sampler = grain.IndexSampler(30, shard_options=grain.NoSharding(), shuffle=False, num_epochs=9)
    return streamed(grain.DataLoader(data_source=Records(batches), sampler=sampler, worker_count=0))


SOURCES: dict[str, Callable[[list[Any]], lrjax.Task]] = {
    "function of the epoch": by_epoch,
    "batches_between": by_step,
    "Grain": by_loader,
    "list": lambda batches: streamed(9 * batches),
}
TOLD = r"must give the same batches whenever it is read|holds another (sweep|search): the training batches changed"


@both
@pytest.mark.parametrize(
    "source", [pytest.param(s, marks=() if s == "function of the epoch" else pytest.mark.slow) for s in SOURCES]
)
def test_batches_that_changed_since_are_noticed_wherever_they_are(kind, source, tmp_path):
    """Changed is what was trained on: refused. Changed is what comes later: as if it had always been so."""
    make, run = SOURCES[source], functools.partial(RUNS[kind], **MORE[kind])
    first = begin(kind, tmp_path / "first", {"sweep": 8, "search": 40}[kind], problem=make(BATCHES), **MORE[kind])
    unchanged, refused = bits(run(None, make(BATCHES))), []
    for place in PLACES[kind]:
        directory = shutil.copytree(first, tmp_path / str(place))
        batches = [*BATCHES[:place], CHANGED[place], *BATCHES[place + 1 :]]
        try:
            ended, told = bits(run(directory, make(batches))), ""
        except ValueError as error:
            told = str(error)
        if told:
            assert re.search(TOLD, told)
            refused.append(place)
            assert bits(run(directory, make(BATCHES))) == unchanged  # nothing of the others has gone in
        else:
            assert ended == bits(run(None, make(batches)))
    assert refused[:2] == list(PLACES[kind][:2])
    assert len(refused) < 5 or source == "list"


PLACES = {"sweep": (0, 2, 4, 6, 9), "search": (0, 7, 16, 21, 27)}
MORE: dict[str, dict[str, Any]] = {"sweep": {"train_steps": 10}, "search": {}}


def test_a_source_that_never_gives_the_same_twice_is_noticed_without_a_folder(monkeypatch):
    rng = np.random.default_rng(0)
    problem = streamed(lambda epoch: [BATCHES[i] for i in rng.permutation(4)])
    with pytest.raises(ValueError, match=r"Task.from_batches\(train_batches=...\).*draw their order from np.random"):
        search(problem=problem)


@both
def test_a_finished_run_is_compared_too(kind, tmp_path):
    RUNS[kind](tmp_path, by_epoch(BATCHES))
    with pytest.raises(ValueError, match=TOLD):
        RUNS[kind](tmp_path, by_epoch([*BATCHES[:3], *CHANGED[3:]]))


@both
def test_a_slow_source_is_not_waited_for_and_that_is_said(kind, tmp_path, monkeypatch):
    begin(kind, tmp_path, problem=by_epoch(BATCHES))
    monkeypatch.setattr(engine_source, "REREAD_SECONDS", 0.0)
    result = RUNS[kind](tmp_path, by_epoch(BATCHES))
    assert any("were not read again" in note for note in result.execution.notes)
    assert bits(result) == bits(RUNS[kind](problem=by_epoch(BATCHES)))


@both
def test_evaluation_batches_that_changed_are_refused(kind, tmp_path):
    begin(kind, tmp_path, problem=by_epoch(BATCHES))
    with pytest.raises(ValueError, match=r"the evaluation batches changed"):
        RUNS[kind](tmp_path, by_epoch(BATCHES, [(EVAL[0][0], EVAL[0][1] + 1e-3)]))


if __name__ == "__main__":
    tell(globals())
