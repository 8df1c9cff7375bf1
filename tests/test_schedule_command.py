"""`lrjax schedules` and the picture of schedules: what is drawn and printed is what the schedule gives."""

import inspect
import json

import matplotlib
import numpy as np
import optax
import pytest
from schedule_cases import FACTORIES

from lrjax import plots, schedules
from lrjax.cli import main

ONE_CYCLE = ("plot", "one_cycle", "peak_value=0.1", "total_steps=100")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main(["schedules", *map(str, words)])
        return status, *capsys.readouterr()

    return run


# the command


def test_the_list_has_every_schedule_and_its_arguments(run):
    status, out, err = run()
    assert (status, err) == (0, "")
    for name in FACTORIES:
        assert name in out
    assert "peak_value, *, total_steps, pct_start=0.3" in " ".join(out.replace("│", " ").split())
    assert "$" not in out
    assert set(json.loads(run("--json")[1])) == set(FACTORIES)


def test_plot_draws_describes_and_says_where(run, tmp_path):
    status, out, err = run(*ONE_CYCLE)
    assert (status, err) == (0, "")
    assert str(schedules.describe(schedules.one_cycle(0.1, total_steps=100), 100)) in out
    assert (tmp_path / "lrjax-out" / "one_cycle.png").read_bytes().startswith(b"\x89PNG")
    assert "Written: lrjax-out/one_cycle.png" in out


def test_warnings_are_printed(run):
    _, out, _ = run("plot", "cosine_decay", "init_value=1", "decay_steps=40", "--steps", 100, "--no-plot")
    assert "Warning, decay_ends_early" in out


def test_json_is_the_spec_and_the_description(run):
    status, out, _ = run(*ONE_CYCLE, "shape=linear", "three_phase=True", "--json", "--no-plot")
    document = json.loads(out)
    assert status == 0
    assert schedules.from_spec(document["spec"])(30) == np.float32(0.1)
    assert document["spec"]["shape"] == "linear"
    assert document["description"]["peak_step"] == 30
    assert document["problems"] == []
    assert document["files"] == {}


def test_durations_are_resolved_from_the_options(run):
    words = ("warmup_cosine", "peak_value=1", "warmup_steps=10%", "total_steps=90 epochs")
    status, out, _ = run("plot", *words, "--batch-size", 128, "--dataset-size", 50_000, "--json", "--no-plot")
    assert status == 0
    assert json.loads(out)["spec"]["total_steps"] == 35_100
    assert json.loads(out)["spec"]["warmup_steps"] == 3_510
    tokens = ("linear_decay", "init_value=1", "end_value=0", "transition_steps=1e6 tokens")
    options = ("--batch-size", 8, "--sequence-length", 100, "--accumulation-steps", 5, "--json", "--no-plot")
    _, out, _ = run("plot", *tokens, *options)
    assert json.loads(out)["spec"]["transition_steps"] == 250
    assert json.loads(out)["description"]["total_steps"] == 250
    _, out, _ = run("plot", *tokens, *options, "--steps", "2e6 tokens")
    assert json.loads(out)["description"]["total_steps"] == 500


def test_a_schedule_inside_another_is_json(run, tmp_path):
    inside = json.dumps(schedules.to_spec(schedules.cosine_decay(1.0, 90)))
    status, out, _ = run("plot", "warmup", f"schedule={inside}", "warmup_steps=10", "--json", "--no-plot")
    assert status == 0
    assert json.loads(out)["description"]["total_steps"] == 100
    (tmp_path / "mine.json").write_text(json.dumps(json.loads(out)["spec"]))
    status, out, _ = run("plot", "mine.json")
    assert status == 0
    assert "lrjax-out/mine.png" in out
    joined = json.dumps([json.loads(inside), {"name": "constant", "value": 0.5}])
    status, out, _ = run("plot", "join", f"schedules={joined}", "boundaries=[50]", "--json", "--no-plot")
    assert status == 0
    assert json.loads(out)["spec"]["schedules"][1] == {"name": "constant", "value": 0.5}


@pytest.mark.parametrize("name", [name for name in FACTORIES if name.startswith(("triang", "exp", "inv", "step"))])
def test_a_length_is_found_where_none_is_given(run, name):
    numbers = {"gamma": 0.9, "factor": 0.5, "timescale": 10, "every": 10}
    parameters = inspect.signature(FACTORIES[name]).parameters.values()
    lacking = [each.name for each in parameters if each.default is each.empty]
    words = [f"{each}={numbers.get(each, 10 if each.endswith('_steps') else 0.5)}" for each in lacking]
    status, out, err = run("plot", name, *words, "--json", "--no-plot")
    assert (status, err) == (0, "")
    assert 10 <= json.loads(out)["description"]["total_steps"] <= 100


BAD = {
    "a misspelt verb": (("plto", "one_cycle"), ["plot and a schedule's name"]),
    "no name": (("plot",), ["schedules plot", "--name requires an argument"]),
    "a misspelt name": (("plot", "one_cylce"), ["`one_cylce` is not a schedule", "Did you mean one_cycle?"]),
    "no equals sign": (("plot", "one_cycle", "0.1"), ["KEY=VALUE", "'0.1'"]),
    "a missing argument": (("plot", "one_cycle", "peak_value=1"), ["`one_cycle` lacks total_steps", "pct_start=0.3"]),
    "an unknown argument": ((*ONE_CYCLE, "shpae=linear"), ["has no argument shpae"]),
    "a bad value": ((*ONE_CYCLE, "pct_start=1.5"), ["`one_cycle(pct_start=...)`", "from 0 to 1", "got 1.5"]),
    "a part of a step": (("plot", "cosine_decay", "init_value=1", "decay_steps=2.5"), ["(decay_steps)", "got 2.5"]),
    "epochs of nothing": (("plot", "one_cycle", "peak_value=1", "total_steps=3 epochs"), ["batch_size", "3 epochs"]),
    "a file with arguments": (("plot", "spec.json", "value=1"), ["spec.json", "has its own arguments"]),
}


@pytest.mark.parametrize(("words", "parts"), BAD.values(), ids=BAD.keys())
def test_mistakes_are_explained_in_one_line(run, tmp_path, words, parts):
    (tmp_path / "spec.json").write_text('{"name": "constant", "value": 1.0}')
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    for part in parts:
        assert part in err
    assert not (tmp_path / "lrjax-out").exists()


# the picture


def test_lines_are_the_schedules():
    one, two = schedules.one_cycle(0.1, total_steps=100), schedules.cosine_decay(0.2, 100)
    axes = plots.plot_schedules({"one": one, "two": two}, 100)
    for line, schedule in zip(axes.get_lines(), (one, two), strict=True):
        x, y = line.get_data()
        np.testing.assert_allclose(y, schedule(np.asarray(x)), rtol=1e-5, atol=1e-8)
        assert x[0] == 0
        assert x[-1] == 100
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    assert "step" in axes.get_xlabel()


def test_momentum_has_its_own_axis():
    axes = plots.plot_schedules(schedules.one_cycle(0.1, total_steps=50), 50, momentum=schedules.one_cycle_momentum(50))
    left, right = axes.figure.axes
    assert left is axes
    assert right.get_ylabel() == "momentum"
    assert right.get_ylim()[0] > 0.8
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one_cycle", "one_cycle_momentum"]


def test_leaps_are_upright_and_slopes_are_not():
    x, y = plots.plot_schedules(schedules.step_decay(1.0, factor=0.5, every=10), 40).get_lines()[0].get_data()
    for step in (10, 20, 30, 40):
        assert np.sum(np.asarray(x) == step) == 2
    assert set(y) == {1.0, 0.5, 0.25, 0.125, 0.0625}
    ramp = plots.plot_schedules(schedules.warmup(schedules.constant(1.0), 4), 40).get_lines()[0]
    assert len(set(ramp.get_xdata())) == len(ramp.get_xdata())


def test_lines_are_told_apart_without_colour():
    axes = plots.plot_schedules([schedules.constant(value / 10) for value in range(1, 5)], 10)
    assert len({line.get_linestyle() for line in axes.get_lines()}) >= 1
    assert len({str(line._dash_pattern) for line in axes.get_lines()}) == 4
    assert [line.get_label() for line in axes.get_lines()] == [f"constant {index}" for index in range(1, 5)]


def test_foreign_callables_and_long_trainings():
    axes = plots.plot_schedules({"optax": optax.cosine_onecycle_schedule(10**6, 1.0)}, 10**6, log=True)
    line = axes.get_lines()[0]
    assert axes.get_yscale() == "log"
    assert len(line.get_xdata()) <= 2002
    assert line.get_xdata()[-1] == 10**6


def test_given_axes_are_used_and_settings_stay():
    before = dict(matplotlib.rcParams)
    axes = plots.plot_schedules(schedules.constant(0.1), 5)
    assert plots.plot_schedules(schedules.constant(0.2), 5, ax=axes) is axes
    assert len(axes.get_lines()) == 2
    assert dict(matplotlib.rcParams) == before


def test_what_is_no_schedule_is_an_error():
    with pytest.raises(TypeError, match="schedule"):
        plots.plot_schedules(0.1, 10)
    with pytest.raises(ValueError, match="total_steps"):
        plots.plot_schedules(schedules.constant(0.1), 0)
