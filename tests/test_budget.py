"""The budgeted search end to end: lanes that go on, programs, folders, interruptions, files, pictures, messages."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batch_norm import BatchNorm, batch_norm
from doors import budgeted
from inside import Context, Engine, LaneRunner, bytes_at, engine_choice, engine_programs
from jax.sharding import Mesh
from lanes import SampledRounds
from marks import slow
from problems import quadratic, regression
from tiny import check_message

import lrjax
from lrjax import Chunked, LRNotFound, LRResult, Outcome, SearchInterrupted, Task

KEY, STEPS = jax.random.key(5), 1000
TASK, STATEFUL = regression(), batch_norm(eval_fn=BatchNorm.eval_fn)


def search(task: Task = TASK, **options: Any) -> LRResult:
    good: dict[str, Any] = {"key": KEY, "train_steps": STEPS, "trainings": 2.0, "executor": "map"}
    return budgeted(task, optax.adam, **good | options)


@pytest.fixture(scope="module")
def result() -> LRResult:
    return search()


@pytest.fixture(scope="module")
def seeds() -> LRResult:
    return search(trainings=4.0, num_seeds=2)


class Trainer:
    """Lanes by their exponents."""

    def __init__(self, task: Task, executor: Any, seeds: int, longest: int):
        options: dict[str, Any] = {"key": KEY, "executor": executor, "longest": longest, "shapes": ((seeds, 6),)}
        self.runner = LaneRunner("test", task, optax.adam, **options)

    def train(self, exponents: list[float], num_seeds: int, num_steps: int) -> np.ndarray:
        return self.runner.train([10.0**x for x in exponents], num_steps, num_seeds)


def trainer_of(task: Task, executor: Any, *, seeds: int, longest: int = 40) -> Trainer:
    return Trainer(task, executor, seeds, longest)


def numbers(result: LRResult) -> dict[str, Any]:
    """All that a search found, bit for bit."""
    rungs = [(r.num_steps, r.log10_lrs.tobytes(), r.losses.tobytes(), r.rounds, r.spent) for r in result.stages]
    return {"lr": result.lr, "rungs": rungs, "interval": result.interval, "warnings": result.warnings}


# The search.


def test_the_search_finds_what_full_trainings_find(result):
    assert result.outcome is Outcome.found
    assert result.cost.updates == result.stages[-1].spent <= 2 * STEPS
    assert 0.1 * STEPS < result.stages[result.stage].num_steps <= 0.35 * STEPS
    assert result.cost.trainings == result.cost.updates / STEPS
    assert result.correction == pytest.approx(result.stages[-1].best - math.log10(result.lr))
    exponents = [-3.5, -3.0, -2.5, -2.0, -1.5, -1.0]
    grid = lrjax.sweep(TASK, optax.adam, 10.0 ** np.array(exponents), key=KEY, train_steps=STEPS, executor="map")
    losses = grid.metrics["loss"][:, 0, -1]
    chosen = np.interp(math.log10(result.lr), exponents, losses)
    assert chosen < losses.min() + 0.1 * (float(result.stages[0].curve.initial_loss[0]) - losses.min())
    assert result.drift.keys() == {rung.num_steps for rung in result.stages}
    assert result.num_trials == len({x for rung in result.stages for x in rung.log10_lrs})


# Lanes.


@pytest.mark.parametrize(
    ("task", "executor"),
    [slow(STATEFUL, "map"), (TASK, "map"), (TASK, "loop"), (TASK, "vmap"), slow(TASK, Chunked(2))],
    ids=["stateful-map", "map", "loop", "vmap", "chunked"],
)
def test_lanes_that_go_on_are_those_of_an_unbroken_training(task, executor):
    trainer = trainer_of(task, executor, seeds=2)
    first = trainer.train([-4.0, -3.5, -3.0, -2.5, -2.0, -1.5], 1, 5)
    assert trainer.runner.states.step == 5
    second = trainer.train([-3.0, -2.75, -2.5], 2, 21)  # two survivors, a new lane, a new seed
    third = trainer.train([-2.25], 2, 21)  # beyond the end
    last = trainer.train([-2.5, -2.25], 2, 40)
    whole = trainer_of(task, executor, seeds=2)
    expected = whole.train([-2.5, -2.25], 2, 40)
    rtol = 0 if executor in ("map", "loop") else 1e-4
    same = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=rtol / 100)
    same(last, expected)
    assert trainer.runner.states.lanes.keys() == whole.runner.states.lanes.keys()
    for pair, lane in trainer.runner.states.lanes.items():
        jax.tree.map(same, lane, whole.runner.states.lanes[pair])
    if task is STATEFUL:
        return
    if executor != "map":
        same = functools.partial(np.testing.assert_allclose, rtol=1e-4)
    losses = swept()
    same(first[0], losses[[0, 1, 2, 4, 6, 7], 0, 0])
    same(second, losses[[2, 3, 4], :, 1].T)
    same(third, losses[[5], :, 1].T)
    same(last, losses[[4, 5], :, 2].T)


@functools.cache
def swept() -> np.ndarray:
    """The same lanes, trained by `lrjax.sweep`; axes trials, seeds, evaluations."""
    lrs = np.array([10.0**x for x in (-4.0, -3.5, -3.0, -2.75, -2.5, -2.25, -2.0, -1.5)])
    options: dict[str, Any] = {"train_steps": 40, "num_seeds": 2, "eval_every": [5, 21, 40], "executor": "map"}
    return lrjax.sweep(TASK, optax.adam, lrs, key=KEY, **options).metrics["loss"]


def test_a_stateful_task_is_measured_against_learning_rate_0():
    trainer = trainer_of(STATEFUL, "map", seeds=2)
    few = trainer.runner.initial_loss(1, 5)
    many = trainer.runner.initial_loss(2, 12)
    for losses, seeds, steps in ((few, 1, 5), (many, 2, 12)):
        runner = SampledRounds(STATEFUL, optax.adam, key=KEY, horizons=[steps], num_seeds=seeds, executor="map")
        np.testing.assert_allclose(losses, runner.reference.initial_loss, rtol=1e-6)


def test_lanes_that_do_not_fit_run_in_groups(monkeypatch):
    exponents = [-4.0, -3.5, -3.0, -2.5, -2.0, -1.5]
    expected = trainer_of(TASK, "map", seeds=2).train(exponents, 1, 9)
    trainer = trainer_of(TASK, "vmap", seeds=2)
    needed = bytes_at(trainer.runner.slot(1, 6).engine, np.float32(1), 6)
    monkeypatch.setattr(Engine, "budget", lambda engine: 0.9 * needed)
    trainer = trainer_of(TASK, "vmap", seeds=2)
    losses = trainer.train(exponents, 1, 9)
    assert trainer.runner.slot(1, 6).lanes < 6
    assert "do not fit into memory" in trainer.runner.execution.notes[0]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_running_out_of_memory_halves_the_lanes(monkeypatch):
    exponents = [-4.0, -3.5, -3.0, -2.5, -2.0, -1.5]
    trainer = trainer_of(TASK, "map", seeds=2)
    expected = trainer.train(exponents, 1, 9)
    again = trainer_of(TASK, "map", seeds=2)
    slot, failed = again.runner.slot(1, 6), []
    advance = slot.advance

    def fail_once(*arguments: Any) -> Any:
        if not failed:
            failed.append(True)
            raise MemoryError("out of memory")
        return advance(*arguments)

    monkeypatch.setattr(slot, "advance", fail_once)
    np.testing.assert_array_equal(again.train(exponents, 1, 9), expected)
    assert slot.lanes == 3
    assert "went on with 3" in again.runner.execution.notes[0]


# Programs.


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The training programs compiled since the test began."""
    programs, lower = [], engine_programs.lower_program

    def spy(program: Any, arguments: tuple) -> Any:
        programs.extend([arguments] if program.in_place else [])
        return lower(program, arguments)

    monkeypatch.setattr(engine_programs, "lower_program", spy)
    return programs


@pytest.mark.parametrize(
    ("executor", "budget", "cheap", "count"), [("vmap", 4.0, 0, 2), ("vmap", 4.0, 3e10, 1), ("map", 2.0, 0, 1)]
)
def test_a_search_compiles_at_most_two_training_programs_and_a_second_one_nothing(
    executor, budget, cheap, count, trained, result, seeds, monkeypatch
):
    monkeypatch.setattr(engine_choice, "CHEAP", cheap)  # operations for which a program is rather filled up
    traces: list[int] = []

    def loss_fn(params: Any, batch: Any, key: Any) -> Any:
        traces.append(1)
        return TASK.loss_fn(params, batch, key)

    run = functools.partial(
        search,
        dataclasses.replace(TASK, loss_fn=loss_fn),
        trainings=budget,
        num_seeds=2 if budget == 4 else 1,
        executor=executor,
    )
    first, expected = run(), seeds if budget == 4 else result
    assert sum(rung.name != "sweep" for rung in first.stages) > 1
    assert len(trained) == count
    seen, misses = len(traces), engine_programs.programs.misses
    assert numbers(run()) == numbers(first)
    assert (len(trained), len(traces), engine_programs.programs.misses) == (count, seen, misses)
    assert first.lr == expected.lr  # executors agree
    for rung, other in zip(first.stages, expected.stages, strict=True):
        np.testing.assert_allclose(
            rung.losses[:, other.log10_lrs < -2], other.losses[:, other.log10_lrs < -2], rtol=1e-3
        )


# Folders.


class Killed(Exception):
    """Raised where a test ends a search."""


def die_at(stage: int, error: type[BaseException] = Killed) -> Callable[[lrjax.Progress], None]:
    """A progress function that raises when the n-th stage has begun to train."""
    seen: list[str] = []

    def progress(event: lrjax.Progress) -> None:
        if event.stage not in (*seen[-1:], "preparing"):
            seen.append(event.stage)
        elif len(seen) == stage:
            raise error

    return progress


def stages_of(**options: Any) -> int:
    stages: list[str] = []
    search(progress=lambda event: stages.append(event.stage), **options)
    return len(dict.fromkeys(stages)) - 1


def test_a_search_killed_at_any_rung_ends_with_the_same_bits(result, tmp_path):
    expected, count = numbers(result), stages_of()
    assert count == len(result.stages) + sum(len(rung.rounds) - 1 for rung in result.stages)
    for stage in range(1, count + 1):
        folder = tmp_path / str(stage)
        with pytest.raises(Killed):
            search(directory=folder, progress=die_at(stage))
        assert len(stops_in(folder)) == stage - 1
        trained: list[str] = []
        again = search(directory=folder, progress=lambda event, t=trained: t.append(event.stage))
        assert numbers(again) == expected, stage
        assert len(dict.fromkeys(trained)) - 1 == count - stage + 1
    assert numbers(search(directory=folder)) == expected  # nothing is left to do
    assert len(list((folder / "lrjax-search").glob("checkpoint-*"))) == 2


def stops_in(folder: Path) -> list[Any]:
    """The rounds in the last checkpoint."""
    paths = sorted((folder / "lrjax-search").glob("checkpoint-*"))
    return json.loads(paths[-1].read_bytes().splitlines()[0][9:])["rounds"] if paths else []


def test_streams_and_seeds_go_on_too(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 16, 3)).astype(np.float32)
    batches = [(one, one @ np.array([1.0, -1.0, 0.5], np.float32)) for one in x]
    task = Task.from_batches(
        lambda key: jax.random.normal(key, (3,)),
        lambda w, batch, key: jnp.mean((batch[0] @ w - batch[1]) ** 2),
        train_batches=lambda epoch: batches[epoch % 3 :],
        eval_batches=batches[:2],
    )
    options: dict[str, Any] = {"train_steps": 1000, "trainings": 2.0, "num_seeds": 2, "executor": "map"}
    options |= {"min_lr": 1e-3, "max_lr": 0.1}
    run = functools.partial(budgeted, task, optax.sgd, key=KEY, **options)
    expected = run()
    assert expected.stages[-1].num_seeds == 2
    with pytest.raises(Killed):
        run(directory=tmp_path, progress=die_at(3))
    assert numbers(run(directory=tmp_path)) == numbers(expected)


def test_typed_keys_and_every_dtype_go_through_a_folder(tmp_path):
    def init(key: jax.Array) -> Any:
        return {"w": jax.random.normal(key, (6,), jnp.bfloat16), "none": jnp.zeros((0, 2))}

    def loss_fn(params: Any, batch: Any, key: Any) -> Any:
        return jnp.mean((batch[0] @ params["w"].astype(jnp.float32) - batch[1]) ** 2)

    task = dataclasses.replace(TASK, init=init, loss_fn=loss_fn)
    noisy = lambda lr: optax.noisy_sgd(lr, eta=1e-3, key=jax.random.key(3))  # noqa: E731
    options: dict[str, Any] = {"key": KEY, "train_steps": 200, "executor": "map", "min_lr": 1e-3, "max_lr": 0.1}
    expected = budgeted(task, noisy, **options)
    assert len(expected.stages) > 1
    with pytest.raises(Killed):
        budgeted(task, noisy, **options, directory=tmp_path, progress=die_at(2))
    assert list((tmp_path / "lrjax-search").glob("checkpoint-*"))
    assert numbers(budgeted(task, noisy, **options, directory=tmp_path)) == numbers(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_steps": 500}, "train_steps: 1000 there, 500 now"),
        ({"trainings": 1.5}, "trainings: 2.0 there, 1.5 now"),
        ({"num_seeds": 2}, "num_seeds: 1 there, 2 now"),
        ({"min_lr": 1e-5}, "min_lr: "),
        ({"key": jax.random.key(6)}, "the key changed"),
        ({"executor": "loop"}, "executor: map there, loop now"),
        ({"make_optimizer": optax.sgd}, "make_optimizer: adam there, sgd now"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_a_folder_with_another_search_names_the_difference(change, words, folder):
    with pytest.raises(ValueError, match=r"holds another search: ") as caught:
        budgeted(TASK, **{"make_optimizer": optax.adam, "executor": "map", **SHORT, "directory": folder, **change})
    assert words in str(caught.value)
    assert "Repeat that call, or give another directory." in str(caught.value)


SHORT: dict[str, Any] = {"key": KEY, "train_steps": STEPS, "trainings": 2.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    with pytest.raises(Killed):
        search(directory=folder, progress=die_at(1))
    return folder


# Interruptions and failures.


def test_an_interrupted_search_carries_the_best_so_far(result, tmp_path):
    with pytest.raises(SearchInterrupted, match=r"interrupted; no round had finished\.$") as caught:
        search(progress=die_at(1, KeyboardInterrupt))
    assert caught.value.result is None
    with pytest.raises(SearchInterrupted, match=r"the best learning rate so far is .* The same call with") as caught:
        search(directory=tmp_path, progress=die_at(3, KeyboardInterrupt))
    told: Any = caught.value.result
    done = result.stages[: len(told.stages)]
    assert 0 < len(told.stages) < len(result.stages)
    assert told.lr == lrjax.Budget(trainings=2.0).choose(done, Context(train_steps=STEPS)).lr


def test_nothing_found(tmp_path):
    run = functools.partial(search, num_seeds=1, min_lr=1e-30, max_lr=1e-22)
    with pytest.raises(LRNotFound, match=r"No learning rate lowered .* Check that the loss can fall"):
        run()
    lost = run(throw=False)
    assert lost.outcome is Outcome.no_learning
    assert math.isnan(lost.lr)
    assert "No learning rate lowered" in lost.summary()
    assert "no learning rate: no_learning" in lost.plot().get_title(loc="left")
    lost.to_json(tmp_path / "lost.json")
    assert LRResult.from_json(tmp_path / "lost.json").outcome is Outcome.no_learning


# Words, files, pictures.


def test_the_summary_says_what_was_done(result):
    text = result.summary()
    steps = result.stages[result.stage].num_steps
    share = f"Of those trained for {steps} ({steps / 1000:.0%} of that)"
    assert text.startswith(f"Learning rate {result.lr:.2e} for 1000 updates. {share}")
    assert "Sweep: 17 learning rates from 1.0e-07 to 1.0e+01, one seed, after 20 updates, lowest at" in text
    assert text.count("Rung: ") == len(result.stages) - 1
    assert f"Cost: {result.cost.updates} updates, {result.cost.trainings:.2f} of the training" in text
    assert repr(result).startswith(f"LRResult(lr={result.lr:.3g}, min_lr=")


def test_a_small_budget_says_so():
    small = search(trainings=0.05)
    assert "no_rung" in [warning.name for warning in small.warnings]
    assert (
        "Warning, no_rung: A budget of 0.05 trainings of 1000 updates is used up by the first sweep" in small.summary()
    )
    less = search(trainings=0.5)
    assert less.correction > 0
    assert "The best learning rate falls while training goes on: by " in less.summary()
    assert [text.get_text() for text in less.plot().texts]


def test_a_file_is_lossless_and_strict_json(result, tmp_path):
    one = result
    one.to_json(tmp_path / "one.json")
    two = LRResult.from_json(tmp_path / "one.json")
    two.to_json(tmp_path / "two.json")
    text = (tmp_path / "one.json").read_text()
    assert text == (tmp_path / "two.json").read_text()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert (document["format"], document["version"]) == ("lrjax.LRResult", 1)
    assert numbers(two) == numbers(one)
    assert two.summary() == one.summary()
    assert (two.drift, two.outcome) == (one.drift, one.outcome)
    document["stages"][0]["curve"]["losses"]["data"] = [[[1.0]]]
    (tmp_path / "bad.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"is damaged: `stages\[0\].curve.losses` must have 17 trials"):
        LRResult.from_json(tmp_path / "bad.json")


def test_the_picture_shows_every_rung_and_the_choice(seeds, tmp_path):
    result, ax = seeds, seeds.plot()
    lines = {line.get_label(): line for line in ax.get_lines()}
    others = [stage for index, stage in enumerate(result.stages) if index != result.stage]
    for stage in others:
        line = lines[f"{stage.name}, {stage.num_steps} updates"]
        np.testing.assert_allclose(line.get_xdata(), 10.0**stage.log10_lrs)
        finite = np.isfinite(line.get_ydata())
        np.testing.assert_allclose(line.get_ydata()[finite], stage.losses.mean(axis=0)[finite])
    (chosen,) = [line for name, line in lines.items() if "(chosen)" in name]
    assert chosen.get_xdata()[0] == result.lr
    assert ax.get_title(loc="left") == f"learning rate {result.lr:.2e} for 1000 updates"
    assert lrjax.plots.plot_lr(result, ax=ax) is ax
    ax.figure.savefig(tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 10_000


# The plan.


def test_the_plan_is_the_course_of_a_search_that_stays_in_the_middle():
    half = lrjax.Budget(trainings=0.5)
    plan = lrjax.preview(lrjax.find_lr, TASK, optax.adam, half, key=KEY, train_steps=STEPS, executor="map")
    first, *rungs = [tuple(one) for one in plan.rounds]
    assert first == (8, 17, 1, 136)
    assert rungs == [(16, 3, 1, 24), (32, 3, 1, 48), (64, 3, 1, 96), (128, 3, 1, 192)]
    assert plan.updates == 496 <= 0.5 * STEPS
    assert plan.seconds > 0
    assert plan.bytes > plan.lane_bytes > 3 * 4 * 57  # parameters and adam's two moments, float32
    assert plan.executor == "map"
    assert "17 trials x 1 seed to step 8: 136 updates." in plan.summary()
    assert "In all 496 updates, 0.50 trainings" in plan.summary()


# Messages.

ITERATOR = Task.from_batches(
    jnp.zeros(2),
    lambda w, batch, key: jnp.mean((batch @ w - 1.0) ** 2),
    train_batches=iter([jnp.ones((4, 2))] * 200),
    eval_batches=[jnp.ones((4, 2))],
)
BROKEN = Task.from_arrays(
    jnp.zeros(2),
    lambda w, batch, key: jnp.mean((batch @ w) ** 2) / 0.0,
    train=np.ones((8, 2)),
    validation=np.ones((4, 2)),
    batch_size=4,
)
BAD: dict[str, tuple[dict[str, Any], type[Exception], list[str]]] = {
    "negative budget": (
        {"trainings": -1},
        ValueError,
        ["`Budget(trainings=...)` must be the cost", "got -1", "StepSampling"],
    ),
    "nan budget": ({"trainings": math.nan}, ValueError, ["trainings", "> 0 and finite", "got nan"]),
    "infinite budget": ({"trainings": math.inf}, ValueError, ["trainings", "got inf"]),
    "budget in words": ({"trainings": "2x"}, TypeError, ["trainings", "'2x'"]),
    "short training": ({"train_steps": 12}, ValueError, ["must be at least 20", "got 12", "epochs * steps_per_epoch"]),
    "steps in floats": ({"train_steps": 1e3}, TypeError, ["`find_lr(train_steps=...)`", "1000.0", "Write 1000."]),
    "no steps": ({"train_steps": 0}, ValueError, ["train_steps", ">= 1", "got 0"]),
    "key": ({"key": 0}, TypeError, ["`find_lr(key=...)`", "jax.random.key(0)"]),
    "no seeds": ({"num_seeds": 0}, ValueError, ["`Budget(num_seeds=...)`", ">= 1", "got 0"]),
    "seeds in floats": ({"num_seeds": 2.5}, TypeError, ["`Budget(num_seeds=...)`", "2.5"]),
    "exponents": ({"min_lr": -7}, ValueError, ["`Budget(min_lr=...)`", "write 1e-7, not -7"]),
    "range": ({"min_lr": 1.0, "max_lr": 0.1}, ValueError, ["must be below max_lr=0.1", "got 1"]),
    "executor": ({"executor": "pmap"}, ValueError, ["`find_lr(executor=...)`", "'pmap'"]),
    "optimizer": (
        {"make_optimizer": optax.adam(1e-3)},
        TypeError,
        ["`find_lr(make_optimizer=...)`", "Pass optax.adam"],
    ),
    "deaf factory": (
        {"make_optimizer": lambda lr: optax.sgd(0.1)},
        ValueError,
        ["`find_lr(make_optimizer=...)` must use its argument", "17 learning rates", "Pass it on"],
    ),
    "task": ({"task": "digits"}, TypeError, ["`find_lr(task=...)`", "'digits'"]),
    "no random access": (
        {"task": quadratic()},
        ValueError,
        ["batches from any step on", "batches_between", "StepSampling"],
    ),
    "iterator": ({"task": ITERATOR}, ValueError, ["read the same batches again", "lambda epoch: loader"]),
    "nan loss": ({"task": BROKEN}, ValueError, ["untouched parameters must be finite", "nan"]),
    "folder of another kind": ({"directory": 3}, TypeError, ["`find_lr(directory=...)` must be a path", "3"]),
    "bucket": ({"directory": "gs://bucket/x"}, ValueError, ["folder of this machine", "gs://bucket/x"]),
    "file for a folder": ({"directory": __file__}, NotADirectoryError, ["must be a folder that can be written"]),
    "mesh": ({"mesh": Mesh(np.array(jax.devices()), ("lane",))}, ValueError, ['one axis "trial"', "('lane',)"]),
    "progress": ({"progress": 1}, TypeError, ["`progress` must be"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_an_error_that_says_what_to_do(name):
    change, error, parts = BAD[name]
    good: dict[str, Any] = {"task": TASK, "make_optimizer": optax.adam, "executor": "map", **SHORT}
    check_message(lambda: budgeted(**good | change), error, parts)
    if name not in ("deaf factory", "progress") and "directory" not in change:
        check_message(lambda: budgeted(**good | change, door=previewed), error, parts)


def previewed(*arguments: Any, **options: Any) -> lrjax.Preview:
    return lrjax.preview(lrjax.find_lr, *arguments, **options)


def test_more_seeds_than_the_task_has(tmp_path):
    few = Task.from_arrays(
        TASK.init, TASK.loss_fn, train=TASK._arrays, validation=TASK._arrays, batch_size=16, max_seeds=1
    )
    check_message(
        lambda: budgeted(few, optax.adam, **SHORT | {"num_seeds": 3}),
        ValueError,
        ["num_seeds=...)` must be at most 1, got 3", "max_seeds"],
    )


def test_numbers_in_arrays_are_numbers():
    assert hash(lrjax.Budget(num_seeds=np.array(2))) == hash(lrjax.Budget(num_seeds=2))
    assert hash(lrjax.StepSampling(num_steps=np.array(5), threshold=jnp.array(0.25))) == hash(
        lrjax.StepSampling(num_steps=5, threshold=0.25)
    )
