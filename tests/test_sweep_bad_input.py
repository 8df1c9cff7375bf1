"""Bad sweeps: each error says what was wrong, what was got, and what to do."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from tiny import BATCHES, KEY, ONES, arrays, batches, check_message, loss, task

import lrjax
from lrjax import SuccessiveHalving, schedules, zipped
from lrjax.cli import main

GRID = {"learning_rate": [0.1, 0.01]}


def sweep(problem=None, make_optimizer=optax.sgd, grid=GRID, **options):
    good = {"key": KEY, "num_steps": 4, "executor": "map"}
    return lrjax.sweep(arrays() if problem is None else problem, make_optimizer, grid, **(good | options))


def grid_of(value):
    return lambda: sweep(grid={"learning_rate": value})


def branching(learning_rate):
    return optax.sgd(learning_rate if learning_rate > 0.05 else 0.05)


def mesh(*names):
    return Mesh(np.asarray(jax.devices()[:1]).reshape([1] * len(names)), names)


def fails_at(step):
    good = np.ones((4, 2), np.float32)
    return [good * np.nan if index == step else good for index in range(12)]


def exhausted(iterator):
    return lambda epoch: iterator


def best(*arguments, **options):
    return lambda: sweep(num_steps=2).best(*arguments, **options)


def read(folder, text):
    (folder / "file.json").write_text(text)
    return lrjax.SweepResult.from_json(folder / "file.json")


# what is called, the error, and parts of its message: where and the rule, what was got, what to do
CASES = {
    # the grid
    "an unknown name": (
        lambda: sweep(grid={"learning_rte": [0.1]}),
        ValueError,
        ["`sweep(grid=...)` names 'learning_rte'", "sgd(learning_rate, momentum", "Did you mean 'learning_rate'?"],
    ),
    "a needed name is missing": (
        lambda: sweep(make_optimizer=lambda learning_rate, momentum: None),
        ValueError,
        ["must name all that make_optimizer", "missing a required argument: 'momentum'", "functools.partial"],
    ),
    "unequal zips": (
        lambda: zipped(learning_rate=[1.0, 2.0], momentum=[0.9]),
        ValueError,
        ["sequences of one length", "2 for learning_rate, 1 for momentum", "leave out zipped"],
    ),
    "an empty zip": (lambda: zipped(), ValueError, ["must name hyperparameters", "zipped(learning_rate="]),
    "an empty grid": (lambda: sweep(grid={}), ValueError, ["is empty", '{"learning_rate": jnp.logspace']),
    "no values": (grid_of([]), ValueError, ["['learning_rate']` is empty", "at least one value"]),
    "one number": (grid_of(0.1), TypeError, ["must be a sequence", "got 0.1", "Write [0.1]"]),
    "a string": (grid_of("0.1"), TypeError, ["sequence of numbers or schedules", "'0.1' (str)", "list or an array"]),
    "None": (grid_of(None), TypeError, ["sequence of numbers or schedules", "None"]),
    "a set": (grid_of({0.1}), TypeError, ["sequence of numbers", "(set)", "Write a list"]),
    "a generator": (grid_of(x for x in [0.1]), TypeError, ["sequence of numbers", "(generator)", "Write a list"]),
    "strings": (grid_of(["adam"]), TypeError, ["must hold numbers", "'adam' (str) at index 0", "one sweep for each"]),
    "bools": (grid_of([True, False]), TypeError, ["must hold numbers", "True at index 0", "one sweep for each choice"]),
    "nan": (grid_of([0.1, np.nan]), ValueError, ["must be finite", "nan at index 1"]),
    "inf": (grid_of([np.inf]), ValueError, ["must be finite", "inf at index 0"]),
    "the same twice": (
        grid_of([0.1, 0.2, 0.1]),
        ValueError,
        ["must all be different", "got 0.1 at index 0 and again at index 2", "raise num_seeds"],
    ),
    "64 bits": (grid_of([2**40]), ValueError, ["must fit 32 bits", "1099511627776", "Write it as a float"]),
    "an Optax schedule": (
        grid_of([optax.cosine_decay_schedule(0.1, 4)]),
        TypeError,
        ["schedules of lrjax.schedules", "cosine_decay_schedule", "Sweep its numbers: lambda peak"],
    ),
    "one schedule": (
        grid_of(schedules.constant(0.1)),
        TypeError,
        ["must hold several settings, got a single one", "Put it into a list", "lrjax.schedules.stack"],
    ),
    "unequal leaves": (
        grid_of({"a": jnp.ones(2), "b": jnp.ones(3)}),
        ValueError,
        ["one leading axis over the settings", "['a']: float32[2]", "['b']: float32[3]"],
    ),
    "a name that is none": (
        lambda: sweep(grid={"learning rate": [0.1]}),
        TypeError,
        ["names of arguments as its keys", "'learning rate'"],
    ),
    "a name twice": (
        lambda: sweep(grid=[GRID, zipped(learning_rate=[0.1])]),
        ValueError,
        ["every hyperparameter once", "'learning_rate' in two places"],
    ),
    "a zip as a value": (
        lambda: sweep(grid={"learning_rate": zipped(learning_rate=[0.1])}),
        TypeError,
        ["must hold a sequence for 'learning_rate'", "[zipped(...), {...}]"],
    ),
    "a column's name": (
        lambda: sweep(grid={"step": [1.0]}, make_optimizer=lambda step: optax.sgd(step)),
        ValueError,
        ["must not name a hyperparameter 'step'", "column of the result's table", "Rename it"],
    ),
    "a metric's name": (
        lambda: sweep(grid={"loss": [1.0]}, make_optimizer=lambda loss: optax.sgd(loss)),
        ValueError,
        ["must not share names with the metrics", "'loss' for both", "Rename one"],
    ),
    # the other arguments
    "an optimizer": (
        lambda: sweep(make_optimizer=optax.sgd(0.1)),
        TypeError,
        ["an optimizer that already has one", "Pass optax.adam"],
    ),
    "a factory that branches": (
        lambda: sweep(make_optimizer=branching),
        TypeError,
        ["must accept a traced learning rate", "branching needs its concrete value", "jnp.where"],
    ),
    "no task": (lambda: sweep(problem=loss), TypeError, ["`sweep(task=...)` must be a lrjax.Task", "Task.from_arrays"]),
    "a key that is a number": (lambda: sweep(key=1), TypeError, ["`sweep(key=...)`", "jax.random.key(1)"]),
    "no steps": (lambda: sweep(num_steps=0), ValueError, ["`sweep(num_steps=...)`", ">= 1", "got 0"]),
    "steps as a float": (lambda: sweep(num_steps=4.0), TypeError, ["`sweep(num_steps=...)`", "4.0 (float)", "Write 4"]),
    "no seeds": (lambda: sweep(num_seeds=0), ValueError, ["`sweep(num_seeds=...)`", "got 0"]),
    "too many seeds": (
        lambda: sweep(arrays(max_seeds=2), num_seeds=3),
        ValueError,
        ["at most the task's max_seeds=2", "got 3"],
    ),
    "rare evaluations": (
        lambda: sweep(eval_every=5),
        ValueError,
        ["`sweep(eval_every=...)` must be at most num_steps=4", "got 5", "give num_steps"],
    ),
    "an executor": (lambda: sweep(executor="pmap"), ValueError, ["`sweep(executor=...)`", "'pmap'", "Chunked(k)"]),
    "no trial axis": (
        lambda: sweep(mesh=mesh("x", "data")),
        ValueError,
        ['must have an axis "trial"', "('x', 'data')", "Write jax.sharding.Mesh"],
    ),
    "checkpoints before": (
        lambda: sweep(checkpoint_seconds=-1),
        ValueError,
        ["`sweep(checkpoint_seconds=...)`", "got -1"],
    ),
    "progress": (lambda: sweep(progress="yes"), TypeError, ["`sweep(progress=...)`", "'yes'", "a function"]),
    "a directory that is none": (lambda: sweep(directory=3), TypeError, ["`sweep(directory=...)` must be a path", "3"]),
    "a directory for an iterator": (
        lambda: sweep(batches(train_batches=iter(BATCHES)), directory="unused"),
        ValueError,
        ["read the same batches again", "Bitwise resume needs arrays", "train_batches=lambda epoch: loader"],
    ),
    "stop": (lambda: sweep(stop="diverged"), TypeError, ["`sweep(stop=...)`", "'diverged'", "StopDiverged()"]),
    "stop without brackets": (lambda: sweep(stop=lrjax.StopDiverged), TypeError, ["add the brackets"]),
    "a rung beyond the end": (
        lambda: sweep(stop=SuccessiveHalving(first=4)),
        ValueError,
        ["first rung before num_steps=4", "first=4", "Lower it"],
    ),
    "a metric that is none": (
        lambda: sweep(stop=SuccessiveHalving(first=2, metric="acc")),
        ValueError,
        ["`SuccessiveHalving(metric=...)` must be one of loss, train_loss", "'acc'"],
    ),
    "a factor of one": (lambda: SuccessiveHalving(first=2, factor=1), ValueError, ["factor=...)`", ">= 2", "got 1"]),
    # batches
    "a loader that ends": (
        lambda: sweep(batches(train_batches=BATCHES[:3])),
        ValueError,
        ["a batch for each of the 4 steps", "ended after 3", "lambda epoch: loader"],
    ),
    "an exhausted epoch": (
        lambda: sweep(batches(train_batches=exhausted(iter(BATCHES[:2])))),
        ValueError,
        ["gave no batch in epoch 1", "Return a new iterator every time"],
    ),
    "an epoch that is none": (
        lambda: sweep(batches(train_batches=lambda epoch: None)),
        TypeError,
        ["a function of the epoch that returns an iterable", "None (NoneType) for epoch 0"],
    ),
    "an epoch without argument": (
        lambda: batches(train_batches=lambda: BATCHES),
        TypeError,
        ["train_batches(epoch) -> iterable of batches", "got"],
    ),
    "an iterator read before": (
        lambda: [sweep(one) for one in [batches(train_batches=iter(BATCHES))] * 2],
        ValueError,
        ["is an iterator that was read before", "lambda epoch: loader"],
    ),
    "batches of two shapes": (
        lambda: sweep(batches(train_batches=[ONES, ONES, ONES[:2], ONES])),
        ValueError,
        ["one structure and shape", "batch 2 differs from batch 0", "drop_last=True"],
    ),
    "nan in a batch": (
        lambda: sweep(batches(train_batches=fails_at(2))),
        ValueError,
        ["must be finite", "in step 2", "Clean the data"],
    ),
    "no random access": (
        lambda: sweep(task()),
        ValueError,
        ["must give batches from any step on", "Task(batches_between=...)"],
    ),
    "a metric called train_loss": (
        lambda: sweep(arrays(eval_fn=lambda w, batch: {"loss": 1.0, "train_loss": 1.0})),
        ValueError,
        ['must not name a metric "train_loss"', "eval_train_loss"],
    ),
    # the result
    "best of what": (best("accuracy", largest=True), ValueError, ["no metric 'accuracy'", "It has loss, train_loss"]),
    "best of a strange kind": (best(largest=1), TypeError, ["best(largest=...)", "True or False"]),
    "best at": (best(at="end"), ValueError, ['must be "last" or "any"', "'end'"]),
    "best of the diverged": (
        lambda: sweep(grid={"learning_rate": [1e30]}, num_steps=20).best(),
        ValueError,
        ["must have a trial with a finite value", "Lower the learning rates"],
    ),
    "a picture that is none": (
        lambda: sweep(num_steps=2).plot("pie"),
        ValueError,
        ["must be one of 'curves', 'axis', 'heat'", "'pie'"],
    ),
    "a heat map of one axis": (
        lambda: sweep(num_steps=2).plot("heat"),
        ValueError,
        ["draws two axes, and this sweep has 1", '"curves"'],
    ),
    "a plan of auto": (
        lambda: lrjax.plan_sweep(arrays(), optax.sgd, GRID, key=KEY, num_steps=2, executor="auto"),
        ValueError,
        ["`plan_sweep(executor=...)`", "'auto'", "depends on the machine"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_the_message_says_what_was_wrong_what_was_got_and_what_to_do(call, error, parts):
    check_message(call, error, parts)


def test_a_metric_needs_to_be_told_what_is_good():
    result = sweep(arrays(eval_fn=lambda w, batch: {"loss": jnp.sum(w), "accuracy": 1.0}), num_steps=2)
    check_message(lambda: result.best("accuracy"), ValueError, ["told which values are good", "largest=True"])


@pytest.mark.parametrize(
    ("text", "part"),
    [("{", "must be a JSON file"), ('{"format": "other"}', "must be a file of format 'lrjax-sweep-result'")],
)
def test_a_file_of_another_kind_is_said(text, part, tmp_path):
    check_message(lambda: read(tmp_path, text), ValueError, ["SweepResult.from_json", part])


def test_without_pandas_the_message_says_what_to_install(monkeypatch):
    result = sweep(num_steps=2)
    monkeypatch.setitem(sys.modules, "pandas", None)
    check_message(result.to_pandas, ImportError, ["needs pandas", "pip install 'lrjax[sweep]'", "to_rows()"])


COMMANDS = {
    "no grid": ([], "needs a grid. Add for example --grid learning_rate=1e-5:1e-1:17log"),
    "no values": (["--grid", "learning_rate"], "`--grid` must be NAME=VALUES, got 'learning_rate'"),
    "half a range": (["--grid", "learning_rate=1:2"], "numbers with commas between or FIRST:LAST:COUNT, got '1:2'"),
    "a log from zero": (["--grid", "learning_rate=0:1:3log"], "must be above 0 to be spaced in log10"),
    "one point": (["--grid", "learning_rate=1:2:1"], "must have at least 2 points, got 1"),
    "words": (["--grid", "learning_rate=small"], "must be numbers with commas between"),
    "an unknown name": (["--grid", "lr=0.1"], "`--grid` names 'lr'"),
    "the same twice": (["--grid", "learning_rate=0.1,0.1"], "`--grid learning_rate=...` must all be different"),
    "stop": (["--grid", "learning_rate=0.1", "--stop", "half"], "must be none, diverged, halving:FIRST"),
    "a metric": (
        ["--grid", "learning_rate=0.1", "--metric", "f1", "--steps", "2", "--executor", "map"],
        "`--metric` must be one of accuracy, loss, train_loss, got 'f1'",
    ),
}


@pytest.mark.parametrize(("words", "part"), COMMANDS.values(), ids=COMMANDS.keys())
def test_the_command_says_it_in_its_own_words(words, part, tmp_path, capsys):
    assert main(["sweep", *words, "--out", str(tmp_path)]) == 2
    assert part in capsys.readouterr().err


def test_the_command_sweeps_and_writes(tmp_path, capsys):
    words = ["--grid", "learning_rate=1e-3:1e-1:3log", "--zip", "momentum=0,0.9", "--steps", "20", "--executor", "map"]
    assert main(["sweep", *words, "--optimizer", "sgd", "--out", str(tmp_path)]) == 0
    assert "optimizer = optax.sgd(learning_rate=0.1, momentum=0.9)" in capsys.readouterr().out
    names = {"sweep.json", "sweep.csv", "sweep.png", "sweep_curves.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    result = lrjax.SweepResult.from_json(tmp_path / "sweep.json")
    assert result.shape == (3, 2)
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 1 + len(result.to_rows())
