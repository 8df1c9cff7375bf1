"""`lrjax find --train-steps`: what it prints, writes and returns."""

import json
import sys
import textwrap

import numpy as np
import optax
import pytest
from marks import slow_but_for

import lrjax
from lrjax.cli import main

SCHEDULES = ("recommended", "one-cycle", "warmup-cosine", "warmup-stable-decay", "cosine", "linear")

CHEAP = (
    "--train-steps",
    200,
    "--budget",
    1,
    "--min-lr",
    1e-3,
    "--max-lr",
    10,
    "--executor",
    "map",
    "--optimizer",
    "sgd",
)

TASKS = """
    import jax.numpy as jnp
    import numpy as np
    import lrjax

    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5], np.float32)

    def loss_fn(w, batch, key):
        x, y = batch
        return jnp.mean((x @ w - y) ** 2)

    task = lrjax.Task.from_arrays(
        lambda key: jnp.zeros(3), loss_fn, train=(x, y), validation=(x, y), batch_size=8, eval_batch_size=64
    )
    flat = lrjax.Task.from_arrays(
        lambda key: jnp.zeros(3), lambda w, batch, key: 0.0 * loss_fn(w, batch, key) + 1.0,
        train=(x, y), validation=(x, y), batch_size=8, eval_batch_size=64,
    )
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in a folder of its own: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tasks.py").write_text(textwrap.dedent(TASKS))

    def run(*words, task="task"):
        status = main([str(word) for word in ("find", f"my_tasks.py:{task}", *CHEAP, *words)])
        return status, *capsys.readouterr()

    yield run
    sys.modules.pop("my_tasks", None)


def test_it_prints_the_plan_the_rungs_and_the_line_to_paste(run, tmp_path):
    status, out, err = run()
    assert (status, err) == (0, "")
    result = lrjax.LRResult.from_json(tmp_path / "lrjax-out" / "lr_finder.json")
    assert out.startswith("Plan\n")
    for words in ("In all ", "Sweep: ", "Rung: ", "Cost: ", "Written: ", result.summary().splitlines()[0]):
        assert words in out
    assert out.index("In all ") < out.index("Sweep: ")
    assert out.rstrip().endswith(f"optimizer = optax.sgd({result.lr:.2e})")
    assert (tmp_path / "lrjax-out" / "lr_finder.png").read_bytes().startswith(b"\x89PNG")
    assert result.cost.trainings <= 1


@pytest.mark.parametrize("schedule", slow_but_for(SCHEDULES, ["recommended"]))
def test_the_line_to_paste_is_the_optimizer_with_the_schedule_at_its_peak(schedule, run, tmp_path):
    status, out, _ = run("--schedule", schedule, "--no-plot")
    assert status == 0
    line = out.rstrip().splitlines()[-1].strip().removeprefix("optimizer = ")
    assert line.startswith("optax.sgd(lrjax.schedules.")
    names = {"optax": optax, "lrjax": lrjax}
    assert isinstance(eval(line, names), optax.GradientTransformation)
    made = eval(line.removeprefix("optax.sgd(").removesuffix(")"), names)
    values = np.asarray([made(step) for step in range(200)])
    result = lrjax.LRResult.from_json(tmp_path / "lrjax-out" / "lr_finder.json")
    assert values.max() == pytest.approx(lrjax.peak_for(result, made, 200), rel=0.02)


def test_a_dry_run_trains_nothing_and_json_is_for_machines(run, tmp_path):
    status, out, err = run("--dry-run", "--json")
    assert (status, err) == (0, "")
    plan = json.loads(out)
    assert plan["updates"] <= 200
    assert next(rung["lanes"] for rung in plan["rounds"]) == 9
    assert not (tmp_path / "lrjax-out" / "lr_finder.json").exists()
    status, out, _ = run("--json", "--schedule", "cosine")
    document = json.loads(out)
    assert document["cost"] <= 1
    assert document["optimizer"].startswith("optax.sgd(lrjax.schedules.cosine_decay(")
    assert [one["num_steps"] for one in document["stages"]] == sorted(r["num_steps"] for r in document["stages"])
    status, out, _ = run("--quiet")
    assert float(out) == pytest.approx(document["lr"], rel=1e-5)


def test_budget_0_is_find(run, tmp_path):
    status, out, _ = run("--budget", 0, "--seeds", 1)
    assert status == 0
    result = lrjax.LRResult.from_json(tmp_path / "lrjax-out" / "lr_finder.json")
    assert result.strategy == "StepSampling"
    assert f"Learning rate {result.lr:.2e} ({result.rule}" in out


def test_it_goes_on_in_its_folder(run, tmp_path):
    _, first, _ = run("--directory", "kept", "--quiet")
    _, again, _ = run("--directory", "kept", "--quiet")
    assert first == again
    status, _, err = run("--directory", "kept", "--quiet", "--seed", 1)
    assert status == 2
    assert err.startswith("lrjax: `--directory '")
    assert "holds another search: the key changed" in err


def test_nothing_found_is_status_1(run):
    status, out, err = run("--quiet", task="flat")
    assert (status, out) == (1, "")
    assert err == f"lrjax: {lrjax.Outcome.nothing_moved.value}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", -1), "`--budget` must be"),
        (("--budget", "nan"), "`--budget` must be"),
        (("--train-steps", 10), "`--train-steps` must be"),
        (("--seed", -1), "`--seed` must be a whole number"),
        (("--seeds", 0), "`--seeds` must be"),
        (("--executor", "gpu"), "`--executor` must be"),
        (("--min-lr", 20), "--min-lr"),
    ],
)
def test_a_wrong_option_is_named(words, message, run):
    status, _, err = run("--quiet", *words)
    assert status == 2
    assert message in err


def test_interrupted_it_tells_the_best_so_far(run, monkeypatch):
    from inside import LaneRunner

    whole, calls = LaneRunner.train, []

    def train(self, lrs, num_steps, num_seeds):
        calls.append(num_steps)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return whole(self, lrs, num_steps, num_seeds)

    monkeypatch.setattr(LaneRunner, "train", train)
    status, out, _ = run("--json")
    assert status == 130
    assert len(json.loads(out)["stages"]) == 1
