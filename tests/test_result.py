"""The result: its file, its words, and what is left of a search that was stopped."""

import copy
import dataclasses
import functools
import json
import math
import os
import re
import stat
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import sampled
from inside import MAX_BYTES, decode, json_module, parse
from jaxtyping import Float
from problems import quadratic, regression

import lrjax
from lrjax import LRNotFound, LRResult, Outcome, Progress, RangeTest, SearchInterrupted

KEY = jax.random.key(0)
NOISY, TASK = regression(), quadratic()
NOTHING = lrjax.Task(
    init=jnp.ones(2),
    loss_fn=lambda w, batch, key: jnp.sum(w**2) / jnp.where(batch[0] > 0, 0.0, 1.0),
    sample_batches=lambda key, num_steps: jnp.ones((num_steps, 4)),
    eval_batches=[jnp.zeros(4)],
)
find = functools.partial(sampled, key=KEY, executor="map", num_steps=4)


@pytest.fixture(scope="module")
def found():
    metric = dataclasses.replace(
        NOISY, eval_fn=lambda params, batch: {"loss": NOISY.loss_fn(params, batch, KEY), "size": jnp.sum(params["v"])}
    )
    return find(metric, optax.sgd, horizons=(2,), num_steps=8, num_seeds=2, max_lr=1e3, refine=None)


@pytest.fixture(scope="module")
def lost():
    return find(NOTHING, optax.sgd, num_seeds=1, refine=None, throw=False)


def bits(array):
    """The bytes, with one nan for all: its sign and payload mean nothing."""
    array = np.array(array)
    array[array != array] = np.nan if array.dtype.kind == "f" else 0
    return array.tobytes()


def identical(one, other):
    """Equal bit for bit, with types and dtypes."""
    assert type(one) is type(other), (one, other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            identical(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, (jax.Array, np.ndarray)):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert bits(one) == bits(other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            identical(one[name], other[name])
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for item, twin in zip(one, other, strict=True):
            identical(item, twin)
    else:
        assert one == other or (one != one and other != other)


def refuse(constant):
    raise AssertionError(f"{constant} is not strict JSON")


@pytest.mark.parametrize("name", ["found", "lost"])
def test_a_file_is_lossless_and_strict_json(name, request, tmp_path):
    result = request.getfixturevalue(name)
    assert not np.isfinite(result.curve.losses).all()  # inf in both; nan in the windows
    result.to_json(tmp_path / "result.json")
    document = json.loads((tmp_path / "result.json").read_text(), parse_constant=refuse)
    assert (document["format"], document["version"]) == ("lrjax.LRResult", 1)
    identical(LRResult.from_json(str(tmp_path / "result.json")), result)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0, 0o666)])
def test_a_file_has_the_mode_of_any_other_new_file(mask, mode, found, tmp_path):
    before = os.umask(mask)
    try:
        for _ in range(2):  # new, and in the place of one
            found.to_json(tmp_path / "result.json")
            assert stat.S_IMODE((tmp_path / "result.json").stat().st_mode) == mode
    finally:
        assert os.umask(before) == mask
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_every_kind_of_number_survives(found, tmp_path):
    odd = np.array([[[np.nan, np.inf, -np.inf, -0.0, 1e-45]]], np.float32)
    curve = found.curve._replace(
        **{name: getattr(found.curve, name)[..., :5] for name in ("lrs", "rounds")},
        losses=odd,
        initial_loss=np.asarray([0.1], np.float32),
        horizons=np.asarray([8], np.int32),
        diverged_at=np.asarray([[-1, 0, 1, 2, 3]], np.int32),
        metrics={"accuracy": odd},
    )
    warning = lrjax.LRWarning(name=lrjax.WarningName.noisy, message='Quotes " and ü.', remedy="Neue Zeile\n")
    odd = {"lr": 5e-324, "interval": (math.nan, math.inf), "drift": {4: -math.inf}}
    (stage,) = found.stages
    stage = dataclasses.replace(stage, curve=curve, log10_lrs=stage.log10_lrs[:5])
    result = dataclasses.replace(found, stages=(stage,), warnings=(warning,), **odd)
    result.to_json(tmp_path / "result.json")
    identical(LRResult.from_json(tmp_path / "result.json"), result)


@pytest.fixture
def document(found, tmp_path):
    found.to_json(tmp_path / "result.json")
    return json.loads((tmp_path / "result.json").read_text())


def test_a_file_that_is_no_json(tmp_path, found):
    path = tmp_path / "result.json"
    found.to_json(path)
    text = path.read_text()
    for broken in (text[: len(text) // 2], "", "lr = 0.1", "\x00\xff"):
        path.write_text(broken, encoding="latin-1")
        with pytest.raises(ValueError, match=r"`LRResult.from_json\('.*result.json'\)` must be a JSON file, but"):
            LRResult.from_json(path)


def curve_in(document):
    return document["stages"][0]["curve"]


PLACE = r"is damaged: `stages\[0\]\.curve\."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), r"has version 2, and this lrjax reads version 1. Upgrade lrjax."),
        (lambda d: d.update(format="lrjax.RangeTest"), r"of format 'lrjax.LRResult', got 'lrjax.RangeTest'"),
        (lambda d: d.pop("format"), r"of format 'lrjax.LRResult', got None"),
        (lambda d: d.pop("stages"), r"is damaged: it must have the keys .* and lacks stages\."),
        (lambda d: d.update(more=1), r"is damaged: it must have no other keys than .*, got 'more'\."),
        (
            lambda d: curve_in(d).pop("rounds"),
            r"`stages\[0\].curve` must have the keys .* and lacks rounds\.",
        ),
        (lambda d: d.update(lr="much"), r"""is damaged: `lr` must be a number, "inf", "-inf" or "nan", got 'much'\."""),
        (lambda d: d.update(lr=None), r"is damaged: `lr` must be a number, .*, got None\."),
        (lambda d: d.update(lr=True), r"is damaged: `lr` must be a number, .*, got True\."),
        (lambda d: d.update(lr="nan"), r"is damaged: `lr` must be a learning rate, got nan\."),
        (lambda d: d.update(rule=["x"]), r"is damaged: `rule` must be a string, got a list of 1\."),
        (
            lambda d: d["cost"].update(updates=1.0),
            r"is damaged: `cost.updates` must be a whole number below 2\*\*63, got 1.0",
        ),
        (lambda d: d.update(outcome="lucky"), r"is damaged: `outcome` must be one of found, .*, got 'lucky'\."),
        (lambda d: d.update(outcome="all_diverged"), r"is damaged: `outcome` must be found, as the window has it"),
        (lambda d: d.update(outcome={"dtype": "float32", "data": [1.0]}), r"`outcome` .*, got an object of 2\."),
        (lambda d: d.update(warnings=3), r"is damaged: `warnings` must be a list, got 3\."),
        (
            lambda d: d.update(warnings=[{"name": "odd", "message": "", "remedy": ""}]),
            r"is damaged: `warnings\[0\]\.name` must be one of nothing_moved, .*, got 'odd'\.",
        ),
        (lambda d: d.update(interval=[1.0, 2.0, 3.0]), r"is damaged: `interval` must be a list of 2, got a list of 3"),
        (lambda d: d.update(selections=[]), r"is damaged: `selections` must be an object, got a list of 0\."),
        (lambda d: d.update(drift={"08": 1.0}), r"is damaged: `drift` must be .* numbers such as 8"),
        (
            lambda d: curve_in(d)["lrs"].update(dtype="float33"),
            PLACE + r"lrs` must be of dtype .*'float33'",
        ),
        (
            lambda d: curve_in(d)["lrs"].update(dtype="complex64"),
            PLACE + r"lrs` must be of dtype .*, got 'complex64'\.",
        ),
        (
            lambda d: curve_in(d)["rounds"].update(dtype="float32"),
            PLACE + r"rounds` must be of dtype int8, .*'float32'",
        ),
        (
            lambda d: curve_in(d)["lrs"].update(data=[1, "x"]),
            PLACE + r"lrs` must be a number, .*, got 'x'\.",
        ),
        (
            lambda d: curve_in(d)["lrs"].update(dtype="float16"),
            PLACE + r"lrs` must be numbers that float16 holds",
        ),
        (
            lambda d: curve_in(d)["lrs"]["data"].reverse(),
            PLACE + r"lrs` must be learning rates that rise",
        ),
        (
            lambda d: curve_in(d)["lrs"]["data"].pop(),
            PLACE + r"losses` must have 20 trials, as `lrs` has, got 21\.",
        ),
        (
            lambda d: curve_in(d)["rounds"]["data"].pop(),
            PLACE + r"rounds` must have 21 trials, as `lrs` has, got 20\.",
        ),
        (
            lambda d: curve_in(d)["losses"]["data"].pop(),
            PLACE + r"horizons` must have 1 horizons, as `losses` has",
        ),
        (
            lambda d: curve_in(d)["losses"]["data"][0].pop(),
            PLACE + r"losses` must have equally many seeds everywhere",
        ),
        (
            lambda d: curve_in(d).update(losses={"dtype": "float32", "data": [[1.0]]}),
            r"must be of shape \(horizons, seeds",
        ),
    ],
)
def test_a_file_damaged_by_hand_or_of_another_kind(document, tmp_path, change, message):
    document = copy.deepcopy(document)
    change(document)
    (tmp_path / "other.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"`LRResult.from_json\('.*other.json'\)`.*" + message):
        LRResult.from_json(tmp_path / "other.json")


TEXTS = {
    "a key twice": ('"version": 1', '"version": 1, "version": 1', "the key 'version' is there twice"),
    "NaN": ('"lr": ', '"lr": NaN, "x": ', 'NaN is not strict JSON, which spells it "nan"'),
    "Infinity": ('"lr": ', '"lr": -Infinity, "x": ', '-Infinity is not strict JSON, which spells it "-inf"'),
    "a huge exponent": ('"lr": ', '"lr": 1e999, "x": ', "the number 1e999 is larger than any float"),
    "a huge integer": ('"lr": ', '"lr": ' + "9" * 9000 + ', "x": ', "has 9,000 digits"),
    "lists in lists": ('"lr": ', '"lr": ' + "[" * 100_000 + ', "x": ', "it is nested too deeply"),
    "objects in objects": ('"jax": ', '"jax": ' + '{"a": ' * 40 + "1" + "}" * 40 + ', "x": ', "nested at most 32 deep"),
    "half a character": ('"rule": "', '"rule": "\\ud800', "`rule` must be text in Unicode, got '\\ud800midpoint'."),
    "a long word": ('"outcome": "', '"outcome": "' + "x" * 5000, "`outcome` must be one of found"),
}


@pytest.mark.parametrize(("old", "new", "message"), TEXTS.values(), ids=TEXTS.keys())
def test_a_text_that_is_not_strict_json_or_too_much_of_it(found, tmp_path, old, new, message):
    path = tmp_path / "result.json"
    found.to_json(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        LRResult.from_json(path)
    assert len(str(caught.value).replace(str(path), "")) <= 300


def test_a_file_that_never_ends_is_read_up_to_the_limit(monkeypatch):
    monkeypatch.setattr(json_module, "MAX_BYTES", 2**20)
    with pytest.raises(ValueError, match=r"from_json\('/dev/zero'\)` reads at most 1,048,576 bytes"):
        LRResult.from_json("/dev/zero")


def test_a_result_that_could_not_be_read_again_is_not_written(found, tmp_path, monkeypatch):
    monkeypatch.setattr(json_module, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"`LRResult.to_json\(path\)` writes at most 1,000 bytes, got"):
        found.to_json(tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_the_largest_files_are_read_in_seconds():
    numbers = [0.1 + place for place in range(200_000)]
    text = json.dumps({"dtype": "float64", "data": [[numbers]]})
    start = time.process_time()
    array = decode(Float[np.ndarray, "trials seeds evaluations"], parse(text))
    per_byte = (time.process_time() - start) / len(text)
    assert array[0, 0].tolist() == numbers
    assert per_byte * MAX_BYTES < 60


def test_a_pipe_or_a_device_is_written_to_and_not_replaced(found, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    read: list[str] = []
    reader.start()
    found.to_json(tmp_path / "pipe")
    reader.join()
    assert json.loads(read[0])["lr"] == found.lr
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(IsADirectoryError):
        found.to_json(tmp_path)


def test_a_list_is_no_result(tmp_path):
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"must be a file of format 'lrjax.RangeTest', got list"):
        RangeTest.from_json(tmp_path / "list.json")


def test_files_that_cannot_be_read_or_written(found, tmp_path):
    with pytest.raises(FileNotFoundError):
        LRResult.from_json(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError):
        found.to_json(tmp_path / "no folder" / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_or_not_at_all(found, tmp_path):
    path = tmp_path / "result.json"
    path.write_text("precious")
    broken = dataclasses.replace(found, fingerprint={"object": object()})
    with pytest.raises(TypeError):
        broken.to_json(path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_the_summary_says_what_and_why_and_at_what_cost(found):
    text = found.summary()
    for part in (f"{found.lr:.2e}", f"{float(found.window.min_lr):.1e}", f"{float(found.window.max_lr):.1e}"):
        assert part in text
    assert "midpoint: the middle of the window" in text
    assert f"{found.num_trials} learning rates" in text
    assert "8 updates each, 2 seeds" in text
    assert f"Cost: {found.cost.updates} updates in" in text
    assert "executor map" in text
    assert "Seed by seed" in text
    assert "after 2, " in text
    assert all(str(warning) in text for warning in found.warnings)


def test_the_summary_and_the_repr_of_nothing(lost):
    assert lost.summary().startswith(Outcome.all_diverged.value)
    assert "Warning, all_diverged" in lost.summary()
    cost = f"{lost.cost.updates} updates"
    assert repr(lost) == f"LRResult(outcome=all_diverged, num_trials={lost.num_trials}, cost={cost})"


def test_the_repr_fits_in_a_line(found):
    numbers = r"lr=\S+, min_lr=\S+, max_lr=\S+, rule=midpoint, cost=\d+ updates"
    assert re.fullmatch(rf"LRResult\({numbers}, warnings=\[.*\]\)", repr(found))


def test_not_found_carries_the_result():
    with pytest.raises(LRNotFound, match=r"Every learning rate diverged. Look at the loss") as caught:
        find(NOTHING, optax.sgd, num_seeds=1, refine=None)
    assert caught.value.result.outcome is Outcome.all_diverged
    assert caught.value.result.num_trials > 17


def interrupt(stage, after=0):
    """A progress callback that presses Ctrl-C in a stage, once `after` updates of it are done."""
    start = []

    def progress(event: Progress) -> None:
        if event.stage == stage:
            start.append(event.updates)
            if event.updates - start[0] >= after and len(start) > 1:
                raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("executor", ["map", "vmap", "loop"])
def test_ctrl_c_after_the_first_round_leaves_what_it_told(executor, tmp_path):
    with pytest.raises(SearchInterrupted, match="17 learning rates were done") as caught:
        find(TASK, optax.sgd, num_seeds=1, executor=executor, progress=interrupt("refining"))
    assert isinstance(caught.value, KeyboardInterrupt)
    result = caught.value.result
    assert result.outcome is Outcome.found
    assert result.num_trials == 17
    assert 1e-3 < result.lr < 10
    assert "17 learning rates" in result.summary()
    result.to_json(tmp_path / "partial.json")
    identical(LRResult.from_json(tmp_path / "partial.json"), result)


@pytest.mark.parametrize("stage", ["preparing", "first grid"])
def test_ctrl_c_before_anything_is_done_leaves_none(stage):
    def progress(event):
        if event.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(SearchInterrupted, match="no round had finished") as caught:
        find(TASK, optax.sgd, num_seeds=1, progress=progress)
    assert caught.value.result is None


def test_ctrl_c_inside_the_users_function_leaves_none():
    def loss_fn(w, batch, key):
        raise KeyboardInterrupt

    with pytest.raises(SearchInterrupted) as caught:
        find(dataclasses.replace(TASK, loss_fn=loss_fn), optax.sgd, num_seeds=1)
    assert caught.value.result is None


def test_progress_rises_to_what_was_planned():
    events = []
    result = find(NOISY, optax.sgd, num_seeds=2, progress=events.append, max_lr=1.0)
    assert all(isinstance(event, Progress) for event in events)
    assert events[0].stage == "preparing"
    assert {event.stage for event in events} >= {"preparing", "first grid", "refining"}
    for name in ("updates", "planned", "seconds"):
        values = [getattr(event, name) for event in events]
        assert values == sorted(values)
    assert all(event.updates <= event.planned for event in events)
    assert events[-1].updates == events[-1].planned == result.cost.updates


def test_the_bar_writes_to_the_terminal_and_not_to_the_output(capsys):
    find(TASK, optax.sgd, num_seeds=1, refine=None, progress=True)
    assert capsys.readouterr().out == ""


def test_a_number_written_by_hand_is_rounded_to_its_array(document, tmp_path):
    """0.1 is no float32; what it stands for is the nearest one."""
    document = copy.deepcopy(document)
    curve_in(document)["initial_loss"]["data"][0] = 0.1
    (tmp_path / "edited.json").write_text(json.dumps(document))
    result = LRResult.from_json(tmp_path / "edited.json")
    assert float(result.curve.initial_loss[0]) == np.float32(0.1)
