"""Bad sweeps: each error says what was wrong, what was got, and what to do."""

import functools
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
    good = {"key": KEY, "train_steps": 4, "executor": "map"}
    return lrjax.sweep(arrays() if problem is None else problem, make_optimizer, grid, **(good | options))


@functools.cache
def measured():
    return sweep(train_steps=2)


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
    return lambda: measured().best(*arguments, **options)


def between(batches_between):
    return task(batches_between=batches_between)


def nan_at(step):
    def batches_between(key, start, stop):
        return np.where(np.arange(start, stop)[:, None, None] == step, np.nan, np.ones((1, 4, 2))).astype(np.float32)

    return task(batches_between=batches_between, sample_batches=lambda key, n: np.ones((n, 4, 2), np.float32))


def read(folder, text):
    (folder / "file.json").write_text(text)
    return lrjax.SweepResult.from_json(folder / "file.json")


SCHEDULES = (schedules.cosine_decay(0.1, 4), schedules.constant(0.1))

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
    "an array without axes": (grid_of(jnp.float32(0.1)), TypeError, ["must be a sequence", "Array(0.1"]),
    "an empty array": (grid_of(np.zeros(0)), ValueError, ["['learning_rate']` is empty", "at least one value"]),
    "an empty sequence in a zip": (lambda: zipped(momentum=[]), ValueError, ["`zipped(momentum=...)` is empty"]),
    "complex numbers": (grid_of([1j]), TypeError, ["must hold numbers", "1j (complex) at index 0"]),
    "the same float32 twice": (grid_of([0.1, 0.1 + 1e-12]), ValueError, ["must all be different", "(as float32)"]),
    "a function for values": (
        grid_of(optax.cosine_decay_schedule(0.1, 4)),
        TypeError,
        ["must hold numbers or schedules", "cosine_decay_schedule", "lambda peak"],
    ),
    "a schedule alone": (
        lambda: sweep(grid=schedules.constant(0.1)),
        TypeError,
        ["`sweep(grid=...)` must hold several settings, got a single one", "Put it into a list"],
    ),
    "no grid": (lambda: sweep(grid=None), TypeError, ["`sweep(grid=...)`", "got None"]),
    "a number for a grid": (lambda: sweep(grid=0.1), TypeError, ["`sweep(grid=...)`", "got 0.1", "Write [0.1]"]),
    "names for a grid": (
        lambda: sweep(grid="learning_rate"),
        TypeError,
        ["`sweep(grid=...)`", "'learning_rate' (str)"],
    ),
    "a number among grids": (
        lambda: sweep(grid=[GRID, 3]),
        TypeError,
        ["given as a list must hold mappings and zipped(...)", "got 3"],
    ),
    "a number for a name": (lambda: sweep(grid={0: [0.1]}), TypeError, ["names of arguments as its keys", "got 0"]),
    "no such name without a close one": (
        lambda: sweep(grid=GRID | {"beta": [0.9]}),
        ValueError,
        ["names 'beta'", "sgd(learning_rate, momentum", "does not take."],
    ),
    "a factory without arguments": (
        lambda: sweep(make_optimizer=lambda: optax.sgd(0.1)),
        ValueError,
        ["names 'learning_rate'", "does not take"],
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
    "a factory that needs a number": (
        lambda: sweep(make_optimizer=lambda learning_rate: optax.sgd(float(learning_rate))),
        TypeError,
        ["must accept a traced learning rate", "float()", "jnp.where"],
    ),
    "a factory without return": (
        lambda: sweep(make_optimizer=lambda learning_rate: None),
        TypeError,
        ["must return an Optax optimizer", "got None", "forget its `return`"],
    ),
    "an optimizer's name": (lambda: sweep(make_optimizer="adam"), TypeError, ["must be a function", "'adam' (str)"]),
    "None for a task": (lambda: lrjax.sweep(None, optax.sgd, GRID, key=KEY, train_steps=4), TypeError, ["got None"]),
    "no key": (lambda: sweep(key=None), TypeError, ["`sweep(key=...)`", "None", "jax.random.key(0)"]),
    "several keys": (
        lambda: sweep(key=jax.random.split(KEY)),
        ValueError,
        ["must be one key", "shape (2,)", "Index it"],
    ),
    "steps as a bool": (lambda: sweep(train_steps=True), TypeError, ["`sweep(train_steps=...)`", "the bool True"]),
    "half a seed": (lambda: sweep(num_seeds=1.5), TypeError, ["`sweep(num_seeds=...)`", "1.5 (float)"]),
    "no evaluations": (lambda: sweep(eval_every=0), ValueError, ["`sweep(eval_every=...)`", ">= 1", "got 0"]),
    "evaluations by epochs": (lambda: sweep(eval_every=0.5), TypeError, ["`sweep(eval_every=...)`", "0.5 (float)"]),
    "a chunk as a number": (lambda: sweep(executor=8), ValueError, ["got 8", "Write lrjax.Chunked(8)"]),
    "a batch that does not divide": (
        lambda: sweep(mesh=Mesh(np.asarray(jax.devices()[:1] * 3).reshape(1, 3), ("trial", "data"))),
        ValueError,
        ['3 devices along "data"', "must divide the 4 examples", "another batch size or another mesh"],
    ),
    "seconds as a word": (lambda: sweep(checkpoint_seconds="60"), TypeError, ["checkpoint_seconds", "'60' (str)"]),
    "nan seconds": (lambda: sweep(checkpoint_seconds=np.nan), ValueError, ["checkpoint_seconds", ">= 0", "got nan"]),
    "no seconds": (lambda: sweep(checkpoint_seconds=None), TypeError, ["checkpoint_seconds", "None"]),
    "progress among others": (lambda: sweep(progress=[True, 3]), TypeError, ["`sweep(progress=...)`", "got 3"]),
    "True for a directory": (lambda: sweep(directory=True), TypeError, ["must be a path or None", "got True"]),
    "no name for a directory": (lambda: sweep(directory=""), TypeError, ["must be a path or None", "got ''"]),
    "bytes for a directory": (lambda: sweep(directory=b"sweep"), TypeError, ["must be a path", "b'sweep'"]),
    "no task": (lambda: sweep(problem=loss), TypeError, ["`sweep(task=...)` must be a lrjax.Task", "Task.from_arrays"]),
    "a key that is a number": (lambda: sweep(key=1), TypeError, ["`sweep(key=...)`", "jax.random.key(1)"]),
    "no steps": (lambda: sweep(train_steps=0), ValueError, ["`sweep(train_steps=...)`", ">= 1", "got 0"]),
    "steps as a float": (
        lambda: sweep(train_steps=4.0),
        TypeError,
        ["`sweep(train_steps=...)`", "4.0 (float)", "Write 4"],
    ),
    "no seeds": (lambda: sweep(num_seeds=0), ValueError, ["`sweep(num_seeds=...)`", "got 0"]),
    "too many seeds": (
        lambda: sweep(arrays(max_seeds=2), num_seeds=3),
        ValueError,
        ["at most the task's max_seeds=2", "got 3"],
    ),
    "rare evaluations": (
        lambda: sweep(eval_every=5),
        ValueError,
        ["`sweep(eval_every=...)` must be at most train_steps=4", "got 5", "give train_steps"],
    ),
    "evaluations that go back": (
        lambda: sweep(eval_every=[2, 1]),
        ValueError,
        ["`sweep(eval_every=...)` given as a sequence must hold increasing steps up to train_steps=4", "got [2, 1]"],
    ),
    "evaluations after the end": (lambda: sweep(eval_every=(1, 5)), ValueError, ["increasing steps", "got [1, 5]"]),
    "half an evaluation": (lambda: sweep(eval_every=[1.5]), TypeError, ["`sweep(eval_every=...)[0]`", "got 1.5"]),
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
        ["first rung before train_steps=4", "first=4", "Lower it"],
    ),
    "a metric that is none": (
        lambda: sweep(stop=SuccessiveHalving(first=2, metric="acc", mode="max")),
        ValueError,
        ["`SuccessiveHalving(metric=...)` must be one of loss, train_loss", "'acc'"],
    ),
    "a function for stop": (
        lambda: sweep(stop=lambda step: True),
        TypeError,
        ["`sweep(stop=...)`", "SuccessiveHalving("],
    ),
    "half a factor": (lambda: SuccessiveHalving(first=2, factor=2.5), TypeError, ["factor=...)`", "2.5 (float)"]),
    "no first rung": (lambda: SuccessiveHalving(first=0), ValueError, ["first=...)`", ">= 1", "got 0"]),
    "no metric": (lambda: SuccessiveHalving(first=2, metric=None), TypeError, ["metric=...)`", "got None"]),
    "halving by what": (
        lambda: SuccessiveHalving(first=2, metric="accuracy"),
        ValueError,
        ["`SuccessiveHalving(mode=...)`", "'accuracy'", '"min"', '"max"', "got None"],
    ),
    "halving by the largest loss": (
        lambda: SuccessiveHalving(first=2, mode="max"),
        ValueError,
        ["`SuccessiveHalving(mode=...)`", 'must be "min"', "under another name"],
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
        ["one structure, shape and dtype", "batch 2 differs from batch 0", "drop_last=True"],
    ),
    "nan in a batch": (
        lambda: sweep(batches(train_batches=fails_at(2))),
        ValueError,
        ["must be finite", "in step 2", "Clean the data"],
    ),
    "a loader without batches": (
        lambda: sweep(batches(train_batches=[])),
        ValueError,
        ["a batch for each of the 4 steps", "ended after 0", "lambda epoch: loader"],
    ),
    "one batch for an epoch": (
        lambda: sweep(batches(train_batches=lambda epoch: ONES)),
        TypeError,
        ["a function of the epoch that returns an iterable", "for epoch 0"],
    ),
    "batches of two structures": (
        lambda: sweep(batches(train_batches=[ONES, ONES, (ONES,), ONES])),
        ValueError,
        ["one structure, shape and dtype", "batch 2 differs from batch 0: (root) is a tuple instead of"],
    ),
    "batches of two types": (
        lambda: sweep(batches(train_batches=[ONES, ONES, ONES.astype(int), ONES])),
        ValueError,
        [
            "one structure, shape and dtype",
            "batch 2 differs from batch 0: ",
            "int32[4,2] instead of float32[4,2]",
            "Cast them all",
        ],
    ),
    "words in a batch": (
        lambda: sweep(batches(train_batches=[np.array(["a"])] * 4)),
        TypeError,
        ["must hold arrays of numbers", "Encode it as numbers"],
    ),
    "nan far from the first batch": (lambda: sweep(nan_at(11), train_steps=12), ValueError, ["finite", "in step 11"]),
    "batches_between without return": (
        lambda: sweep(between(lambda key, start, stop: None)),
        ValueError,
        ["`batches_between(key, start, stop)` holds no arrays", "leading step axis"],
    ),
    "batches_between of other batches": (
        lambda: sweep(between(lambda key, start, stop: 2 * jnp.ones((stop - start, 4, 2)))),
        ValueError,
        ["must give the batches of sample_batches", "jax.random.fold_in(key, t)"],
    ),
    "batches_between of another shape": (
        lambda: sweep(between(lambda key, start, stop: jnp.ones((stop - start, 3, 2)))),
        ValueError,
        ["batches_between"],
    ),
    "batches_between of another length": (
        lambda: sweep(between(lambda key, start, stop: jnp.ones((1, 4, 2)))),
        ValueError,
        ["`batches_between(key, start, stop)` must have a leading step axis of length 2", "got 1"],
    ),
    "an iterator for trials of two kinds": (
        lambda: sweep(batches(train_batches=iter(BATCHES)), grid={"learning_rate": [*SCHEDULES]}),
        ValueError,
        ["the trials run in 2 groups, one after the other", "train_batches=lambda epoch: loader"],
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
    "final of what": (
        lambda: measured().final("accuracy"),
        ValueError,
        ["no metric 'accuracy'", "It has loss, train_loss"],
    ),
    "settings of what": (lambda: measured().settings(2), ValueError, ["must be from 0 to 1, got 2"]),
    "a picture of what": (
        lambda: measured().plot(metric="accuracy"),
        ValueError,
        ["no metric 'accuracy'", "It has loss, train_loss"],
    ),
    "best of what": (best("accuracy", mode="max"), ValueError, ["no metric 'accuracy'", "It has loss, train_loss"]),
    "best of a strange kind": (best("train_loss", mode=True), ValueError, ["`best(mode=...)`", "got True"]),
    "best of a metric": (best("train_loss"), ValueError, ["`best(mode=...)`", "'train_loss'", 'Only "loss" is known']),
    "best of the largest loss": (best(mode="max"), ValueError, ["`best(mode=...)`", 'must be "min"']),
    "a picture of a metric": (
        lambda: measured().plot(metric="train_loss"),
        ValueError,
        ["`plot_sweep(mode=...)`", "'train_loss'"],
    ),
    "best at": (best(at="end"), ValueError, ['must be "last" or "any"', "'end'"]),
    "best of the diverged": (
        lambda: sweep(grid={"learning_rate": [1e30]}, train_steps=20).best(),
        ValueError,
        ["must have a trial with a finite value", "Lower the learning rates"],
    ),
    "a picture that is none": (
        lambda: measured().plot("pie"),
        ValueError,
        ["must be one of 'curves', 'axis', 'heat'", "'pie'"],
    ),
    "a heat map of one axis": (
        lambda: measured().plot("heat"),
        ValueError,
        ["draws two axes, and this sweep has 1", '"curves"'],
    ),
    "a plan of auto": (
        lambda: lrjax.preview(lrjax.sweep, arrays(), optax.sgd, GRID, key=KEY, train_steps=2, executor="auto"),
        ValueError,
        ["`preview(lrjax.sweep, executor=...)`", "'auto'", "depends on the machine"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_the_message_says_what_was_wrong_what_was_got_and_what_to_do(call, error, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_message(call, error, parts)
    assert list(tmp_path.iterdir()) == []  # nothing was begun


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "must be a JSON file"),
        ("{", "must be a JSON file"),
        ("[1]", "must be a file of format 'lrjax-sweep-result', got list"),
        ('{"format": "other"}', "must be a file of format 'lrjax-sweep-result', got 'other'"),
        ('{"format": "lrjax-sweep-result", "version": 99}', "this lrjax reads version 1. Upgrade lrjax"),
        ('{"format": "lrjax-sweep-result", "version": 1}', "is damaged"),
    ],
)
def test_a_file_of_another_kind_is_said(text, part, tmp_path):
    check_message(lambda: read(tmp_path, text), ValueError, ["SweepResult.from_json", part])


@pytest.mark.parametrize("end", [0.01, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_said(end, tmp_path):
    path = tmp_path / "whole.json"
    measured().to_json(path)
    text = path.read_text().rstrip()
    part = text[: min(int(end * len(text)), len(text) - 1)]
    check_message(lambda: read(tmp_path, part), ValueError, ["`SweepResult.from_json(", "was it cut off?"])


@pytest.mark.parametrize(
    ("module", "call"), [("pandas", "to_pandas()"), ("xarray", "to_xarray()"), ("pyarrow", "to_parquet(path)")]
)
def test_without_a_package_the_message_says_what_to_install(module, call, tmp_path, monkeypatch):
    result = measured()
    monkeypatch.setitem(sys.modules, module, None)
    convert = getattr(result, call.split("(")[0])
    arguments = [tmp_path / "table"] if "path" in call else []
    parts = [f"`SweepResult.{call}` needs {module}", "pip install 'lrjax[sweep]'", "to_rows()"]
    check_message(lambda: convert(*arguments), ImportError, parts)


class Stopped(Exception):
    """Ends a sweep that should not have begun."""


def stop(event):
    raise Stopped


BEFORE_IT_BEGINS = {
    "None among numbers": (grid_of([0.1, None]), TypeError, ["must hold numbers", "None"]),
    "beyond float32": (
        grid_of([1e300, 0.1]),
        ValueError,
        ["['learning_rate']`", "1e+300", "index 0"],
    ),
    "below float32": (grid_of([1e-60, 0.1]), ValueError, ["['learning_rate']`", "1e-60"]),
    "an integer beyond float64": (
        grid_of([10**30]),
        ValueError,
        ["must fit 32 bits"],
    ),
    "a number before a grid": (
        lambda: sweep(grid=[3, GRID]),
        TypeError,
        ["given as a list must hold mappings and zipped(...)", "got 3"],
    ),
    "values of a mapping": (
        grid_of({"a": 0.1}.values()),
        TypeError,
        ["must be a sequence", "Write a list"],
    ),
    "a zip in a zip": (
        lambda: zipped(a=zipped(b=[0.1])),
        TypeError,
        ["`zipped(a=...)`", "got zipped(b)", "zipped(a=..., b=...)"],
    ),
    "two equal settings of a zip": (
        lambda: sweep(make_optimizer=optax.adamw, grid=zipped(learning_rate=[0.1, 0.1], weight_decay=[0.0, 0.0])),
        ValueError,
        ["must all be different", "raise num_seeds"],
    ),
    "too many steps": (
        lambda: sweep(train_steps=2**31, progress=stop),
        ValueError,
        ["`sweep(train_steps=...)`", "at most 2,147,483,647"],
    ),
    "a hyperparameter that is branched on": (
        lambda: sweep(
            make_optimizer=lambda learning_rate, momentum: optax.sgd(learning_rate, momentum if momentum > 0 else None),
            grid=GRID | {"momentum": [0.0, 0.9]},
        ),
        TypeError,
        ["must accept traced hyperparameters", "needs its concrete value"],
    ),
    "nan in the evaluation batches": (
        lambda: sweep(batches(eval_batches=[ONES * jnp.nan])),
        ValueError,
        ["eval_batches", "finite"],
    ),
    "a remote directory": (
        lambda: sweep(directory="gs://bucket/sweep", checkpoint_seconds=0),
        ValueError,
        ["`sweep(directory=...)`", "gs://bucket/sweep"],
    ),
    "a word for a trial": (
        lambda: measured().settings("0"),
        TypeError,
        ["`settings(trial)`"],
    ),
    "a list as a mesh": (lambda: sweep(mesh=jax.devices()), TypeError, ["`sweep(mesh=...)`", "got list"]),
    "a null character in the directory": (
        lambda: sweep(directory="a\0b"),
        ValueError,
        ["must be the name of a folder, got 'a\\x00b'"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), BEFORE_IT_BEGINS.values(), ids=BEFORE_IT_BEGINS.keys())
def test_it_is_said_before_anything_is_made(call, error, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_message(call, error, parts)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_damage(tmp_path):
    (tmp_path / "lrjax-sweep" / "call.json").mkdir(parents=True)
    parts = ["holds a damaged lrjax-sweep/call.json (it is no regular file)"]
    check_message(lambda: sweep(directory=tmp_path), ValueError, parts)


def test_a_pandas_series_is_read_by_position():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([0.3, 0.1, 0.2], index=[2, 0, 1])
    np.testing.assert_array_equal(sweep(grid={"learning_rate": series}).columns["learning_rate"], series.to_numpy())


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
        ["--grid", "learning_rate=0.1", "--metric", "f1", "--mode", "max", "--train-steps", "2", "--executor", "map"],
        "`--metric` must be one of accuracy, loss, train_loss, got 'f1'",
    ),
    "a metric without a mode": (
        ["--grid", "learning_rate=0.1", "--metric", "accuracy"],
        "`--mode` must say which end of the metric 'accuracy' is good",
    ),
    "the largest loss": (
        ["--grid", "learning_rate=0.1", "--mode", "max"],
        '`--mode` must be "min" for the metric "loss"',
    ),
}


@pytest.mark.parametrize(("words", "part"), COMMANDS.values(), ids=COMMANDS.keys())
def test_the_command_says_it_in_its_own_words(words, part, tmp_path, capsys):
    assert main(["sweep", *words, "--out", str(tmp_path)]) == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(("mode", "best"), [("max", 0.1), ("min", 1e-3)])
def test_the_command_prunes_by_and_prints_the_good_end_of_a_metric(mode, best, tmp_path, capsys):
    words = ["--grid", "learning_rate=1e-3,1e-1,1e-2", "--train-steps", "20", "--executor", "map", "--optimizer", "sgd"]
    metric = ["--metric", "accuracy", "--mode", mode, "--stop", "halving:10:3"]
    assert main(["sweep", *words, *metric, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"optimizer = optax.sgd(learning_rate={best:.6g})" in printed
    result = lrjax.SweepResult.from_json(tmp_path / "sweep.json")
    assert np.flatnonzero(result.stopped_at[:, 0] < 0).tolist() == [
        result.columns["learning_rate"].tolist().index(best)
    ]
    first = next(line for line in printed.splitlines() if line.startswith("│"))
    assert first.split("│")[1].strip() == f"{best:.3g}"


def test_the_command_sweeps_and_writes(tmp_path, capsys):
    words = [
        "--grid",
        "learning_rate=1e-3:1e-1:3log",
        "--zip",
        "momentum=0,0.9",
        "--train-steps",
        "20",
        "--executor",
        "map",
    ]
    assert main(["sweep", *words, "--optimizer", "sgd", "--out", str(tmp_path)]) == 0
    assert "optimizer = optax.sgd(learning_rate=0.1, momentum=0.9)" in capsys.readouterr().out
    names = {"sweep.json", "sweep.csv", "sweep.png", "sweep_curves.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    result = lrjax.SweepResult.from_json(tmp_path / "sweep.json")
    assert result.shape == (3, 2)
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 1 + len(result.to_rows())
