"""The command: what it prints, writes and returns, and what it says to a wrong command line."""

import json
import re
import signal
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from inside import EXTRAS, NEEDED, find_command, load, search_live
from processes import start_lrjax

import lrjax
from lrjax.cli import main

ROOT = Path(lrjax.__file__).parent.parent
CHEAP = ("--seeds", "1", "--steps", "3", "--refine", "none", "--executor", "map", "--optimizer", "sgd")
"""A search of a second: the quadratic below, 5 learning rates."""

TASKS = """
    import jax.numpy as jnp
    import optax
    import lrjax

    def make(start=1.0):
        return lrjax.Task(
            init=jnp.full(2, start),
            loss_fn=lambda w, batch, key: jnp.sum(w**2) / 2,
            sample_batches=lambda key, num_steps: jnp.zeros((num_steps, 1)),
            eval_batches=[jnp.zeros(1)],
        )

    task = make()
    trained = make(0.0)

    def noisy_prints():
        print("hello from the user's module")
        return task

    def momentum(lr):
        return optax.sgd(lr, momentum=0.5)

    class space:
        task = task

    number = 3

    def needs(size, *, depth):
        return task

    def forgets():
        make()

    def fails():
        return 1 / 0

    vector = lrjax.Task(
        init=jnp.ones(2), loss_fn=lambda w, batch, key: w,
        sample_batches=lambda key, n: jnp.zeros((n, 1)), eval_batches=[jnp.zeros(1)],
    )
    mismatch = lrjax.Task(
        init=jnp.ones(2), loss_fn=lambda w, batch, key: jnp.sum(w @ jnp.ones(3)),
        sample_batches=lambda key, n: jnp.zeros((n, 1)), eval_batches=[jnp.zeros(1)],
    )
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a module of tasks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tasks.py").write_text(textwrap.dedent(TASKS))
    yield tmp_path
    sys.modules.pop("my_tasks", None)


@pytest.fixture
def run(folder, capsys):
    """Run the command in the folder: exit status, standard output, standard error."""

    def run(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def find(run):
    """Search the quadratic, cheaply."""

    def find(*words, task="my_tasks.py:task"):
        return run("find", task, "--min-lr", 1e-3, "--max-lr", 10, "--no-extend-range", *CHEAP, *words)

    return find


def test_find_prints_the_reason_the_files_and_the_line_to_paste(find, folder):
    status, out, err = find()
    assert status == 0
    assert err == ""
    result = lrjax.LRResult.from_json(folder / "lrjax-out" / "lr_finder.json")
    assert f"midpoint (chosen) | {result.lr:.2e}" in out.replace("│", "|")
    for words in ("half_loss", "steepest", "window", "outcome", "training works", "Cost: ", "Written: "):
        assert words in out
    assert out.rstrip().endswith(f"optimizer = optax.sgd({result.lr:.2e})")
    for warning in result.warnings:
        assert warning.name in out
    names = {path.name for path in (folder / "lrjax-out").iterdir()}
    assert names == {"lr_finder.json", "lr_finder.png", "lr_curvature.png"}
    assert (folder / "lrjax-out" / "lr_finder.png").read_bytes().startswith(b"\x89PNG")


def test_find_is_find_lr(find, folder):
    find("--seed", 7, "--rule", "steepest", "--no-plot", "--json")
    sys.path.insert(0, str(folder))
    try:
        import my_tasks
    finally:
        sys.path.remove(str(folder))
    want = lrjax.find_lr(
        my_tasks.task,
        optax.sgd,
        lrjax.StepSampling(
            num_steps=3, num_seeds=1, rule=lrjax.steepest, refine=None, min_lr=1e-3, max_lr=10.0, extend_range=False
        ),
        key=jax.random.key(7),
        executor="map",
    )
    got = lrjax.LRResult.from_json(folder / "lrjax-out" / "lr_finder.json")
    assert got.lr == want.lr
    assert got.rule == "steepest"
    np.testing.assert_array_equal(got.curve.losses, want.curve.losses)


def test_without_a_task_the_digits(run):
    status, out, _ = run("find", "--seeds", 1, "--steps", 5, "--refine", "none", "--executor", "map", "--no-plot")
    assert status == 0
    assert out.startswith("handwritten digits, adam")
    assert "optimizer = optax.adam(" in out


@pytest.mark.parametrize("task", ["my_tasks.py:task", "my_tasks:task", "./my_tasks.py:make", "my_tasks:space.task"])
def test_tasks_are_found_by_path_or_module_as_value_or_function(task, folder):
    before = list(sys.path)
    assert isinstance(load.load_task(Path(task)), lrjax.Task)
    sys.path[:] = before


def test_json_is_alone_on_standard_output(find):
    status, out, err = find("--json", "--no-plot", task="my_tasks.py:noisy_prints")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert status == 0
    assert "hello" in err
    assert document["outcome"] == "found"
    assert document["lr"] == document["selections"]["midpoint"]
    assert document["window"]["min_lr"] < document["lr"] < document["window"]["max_lr"]
    assert document["optimizer"] == f"optax.sgd({document['lr']!r})"
    assert len(document["curve"]["lrs"]) == len(document["curve"]["losses"]) == document["num_trials"]
    assert list(document["files"]) == ["lr_finder.json"]
    assert Path(document["files"]["lr_finder.json"]).exists()


def test_json_spells_what_is_not_finite(find):
    status, out, _ = find("--json", "--no-plot", task="my_tasks.py:trained")
    document = json.loads(out)
    assert status == 1
    assert document["lr"] == "nan"
    assert document["optimizer"] is None
    assert [warning["name"] for warning in document["warnings"]] == ["nothing_moved"]


def test_quiet_prints_the_number(find):
    status, out, err = find("--quiet", "--no-plot")
    assert (status, err) == (0, "")
    assert 1e-3 < float(out) < 10


def test_not_found_is_status_1_and_still_written(find, folder):
    status, out, _ = find(task="my_tasks.py:trained")
    assert status == 1
    assert "nothing_moved" in out
    assert "more steps (--steps)" in re.sub(r"\s+", " ", out)
    assert "optimizer =" not in out
    result = lrjax.LRResult.from_json(folder / "lrjax-out" / "lr_finder.json")
    assert result.outcome is lrjax.Outcome.nothing_moved
    assert (folder / "lrjax-out" / "lr_finder.png").exists()
    status, out, err = find("--quiet", "--no-plot", task="my_tasks.py:trained")
    assert (status, out) == (1, "")
    assert err == f"lrjax: {lrjax.Outcome.nothing_moved.value}\n"


def test_out_and_no_plot(find, folder):
    find("--out", folder / "a" / "b", "--no-plot")
    assert [path.name for path in (folder / "a" / "b").iterdir()] == ["lr_finder.json"]
    assert not (folder / "lrjax-out").exists()


def test_dry_run_predicts_and_writes_nothing(run, folder):
    words = ("find", "my_tasks.py:task", *CHEAP, "--dry-run")
    status, out, _ = run(*words)
    assert status == 0
    assert "17 trials x 1 seed to step 3" in out
    assert not (folder / "lrjax-out").exists()
    status, out, _ = run(*words, "--json")
    document = json.loads(out)
    assert document["rounds"][0]["lanes"] == 17
    assert document["seconds"] > 0


def test_horizons_show_the_drift(find):
    status, out, _ = find("--horizons", "1,2", "--no-plot")
    assert status == 0
    assert "The pick by number of updates" in out


def test_literal_and_paper(find):
    status, out, _ = find("--literal", "--refine", "paper", "--no-plot")
    assert status == 0
    assert "found" in out


# Optimizers.


@pytest.mark.parametrize(
    ("name", "arguments", "call"),
    [
        ("adam", [], "optax.adam({})"),
        ("optax.adam", [], "optax.adam({})"),
        ("contrib.muon", [], "optax.contrib.muon({})"),
        ("prodigy", [], "optax.contrib.prodigy({})"),
        ("polyak_sgd", [], "optax.polyak_sgd({})"),
        ("sgd", ["momentum=0.9", "nesterov=True"], "optax.sgd({}, momentum=0.9, nesterov=True)"),
        ("my_tasks.py:momentum", [], "momentum({})"),
    ],
)
def test_optimizers_by_name(name, arguments, call, folder):
    before = list(sys.path)
    make_optimizer, found = load.load_optimizer(name, arguments)
    sys.path[:] = before
    assert found == call
    assert callable(make_optimizer(0.1).update)


def test_every_optimizer_takes_a_learning_rate():
    found = load.optimizer_names()
    assert {"optax.adam", "optax.lbfgs", "optax.contrib.muon", "optax.contrib.cocob"} <= set(found)
    assert not {"optax.scale_by_adam", "optax.contrib.schedule_free", "optax.clip"} & set(found)
    assert len(found) > 40


def test_optimizer_arguments_reach_the_optimizer_and_the_line_to_paste(find):
    _, plain, _ = find("--no-plot", "--json")
    _, out, _ = find("--no-plot", "--json", "--optimizer-arg", "momentum=0.9", "--optimizer-arg", "nesterov=True")
    assert json.loads(out)["optimizer"].endswith(", momentum=0.9, nesterov=True)")
    assert json.loads(out)["curve"]["losses"] != json.loads(plain)["curve"]["losses"]


@pytest.mark.parametrize(("words", "executor"), [("auto", "auto"), ("map", "map"), ("chunked:8", lrjax.Chunked(8))])
def test_executors_by_name(words, executor):
    assert load.load_executor(words) == executor


# Wrong use. Every message says what was wrong, what was got and what to do.

BAD = {
    "no subcommand": ((), "`lrjax` needs a command: find, range-test, sweep"),
    "unknown subcommand": (("fnd",), 'Unknown command "fnd". Did you mean "find"?'),
    "unknown option": (("find", "--mn-lr", "1"), "Unknown option: --mn-lr. Did you mean --min-lr?"),
    "number expected": (("find", "--min-lr", "small"), "`--min-lr` must be a number, got 'small'."),
    "unknown rule": (
        ("find", "--rule", "best"),
        'Invalid value "best" for --rule. Choose from: "midpoint", "half_loss", "steepest", "lowest_loss".',
    ),
    "unknown refinement": (
        ("find", "--refine", "more"),
        'Invalid value "more" for --refine. Choose from: "fill", "paper", "none".',
    ),
    "no colon": (
        ("find", "my_tasks.py"),
        "`MODULE:TASK` must be a module or a .py file, a colon and a name, got 'my_tasks.py'. "
        "Write for example my_model.py:task.",
    ),
    "no name": (("find", "my_tasks.py:"), "a colon and a name, got 'my_tasks.py:'"),
    "missing file": (("find", "nowhere.py:task"), "There is no file 'nowhere.py'."),
    "relative module": (("find", "..:task"), "must begin with the name of a module, such as package.module, or a path"),
    "long module": (("find", "m" * 5000 + ":task"), "There is no module 'mmm"),
    "missing module": (("find", "no_where.tasks:task"), "There is no module 'no_where'. Install it, or give a path"),
    "missing name": (("find", "my_tasks.py:tsk"), "got 'tsk'. Did you mean task?"),
    "nothing alike": (("find", "my_tasks.py:xyzzy"), "got 'xyzzy'. It has make, task, trained"),
    "no task": (
        ("find", "my_tasks.py:number"),
        "must name a lrjax.Task or a function that returns one, got my_tasks.py:number, which is of type int.",
    ),
    "function with arguments": (("find", "my_tasks.py:needs"), "without arguments, but needs needs size, depth."),
    "function without return": (("find", "my_tasks.py:forgets"), "forgets() returned NoneType. Did it forget"),
    "function that fails": (
        ("find", "my_tasks.py:fails"),
        "`my_tasks.py:fails` failed: ZeroDivisionError at my_tasks.py:36: division by zero",
    ),
    "vector loss": (("find", "my_tasks.py:vector"), "must be a scalar, got float32[2]."),
    "shapes that do not fit": (("find", "my_tasks.py:mismatch"), "TypeError at my_tasks.py:43: dot_general requires"),
    "unknown optimizer": (
        ("find", "--optimizer", "adamm"),
        "must be an optimizer of optax or optax.contrib, or MODULE:FUNCTION, got 'adamm'. Did you mean adam",
    ),
    "no optimizer": (("find", "--optimizer", "clip"), "got optax.clip, which takes no learning rate."),
    "optimizer that needs more": (("find", "--optimizer", "dpsgd"), "Add --optimizer-arg l2_norm_clip=..."),
    "optimizer of a module": (("find", "--optimizer", "my_tasks.py:number"), "must name a function of a learning rate"),
    "argument without value": (("find", "--optimizer-arg", "momentum"), "must be KEY=VALUE, got 'momentum'."),
    "unknown argument": (
        ("find", "--optimizer", "sgd", "--optimizer-arg", "momentm=0.9"),
        "'momentm' is not an argument of optax.sgd. Did you mean momentum?",
    ),
    "unknown executor": (("find", "--executor", "pmap"), "auto, vmap, map, loop or chunked:K with K >= 1, got 'pmap'."),
    "chunks of nothing": (("find", "--executor", "chunked:0"), "got 'chunked:0'."),
    "out is a file": (
        ("find", "--out", "my_tasks.py"),
        "`--out` must be a folder in which files can be written, got my_tasks.py: File exists. Name another one.",
    ),
    "out in a file": (("find", "--out", "my_tasks.py/x"), "got my_tasks.py/x: Not a directory."),
    "exponent": (("find", "my_tasks.py:task", "--min-lr", "-7"), "`--min-lr` must be a learning rate, > 0 and finite"),
    "range upside down": (
        ("find", "my_tasks.py:task", "--min-lr", "1", "--max-lr", "0.1"),
        "`--min-lr` must be below max_lr=0.1, got 1.",
    ),
    "no steps": (("find", "my_tasks.py:task", "--steps", "0"), "`--steps` must be a whole number >= 1"),
    "no seeds": (("find", "my_tasks.py:task", "--seeds", "0"), "`--seeds` must be a whole number >= 1"),
    "negative seed": (("find", "my_tasks.py:task", "--seed", "-1"), "`--seed` must be a whole number from 0 to"),
    "words for horizons": (("find", "--horizons", "5,ten"), "`--horizons` must be whole numbers with commas between"),
    "horizon beyond the end": (
        ("find", "my_tasks.py:task", "--steps", "3", "--horizons", "7"),
        "`--horizons` must not exceed --steps 3, got 7.",
    ),
    "range test of one step": (("range-test", "my_tasks.py:task", "--steps", "1"), "`--steps` must be a whole number"),
    "range test, smoothing": (("range-test", "my_tasks.py:task", "--smoothing", "1"), "`--smoothing` must be a weight"),
    "range test, stop": (("range-test", "my_tasks.py:task", "--stop-factor", "0"), "`--stop-factor` must be a factor"),
    "range test, rule": (("range-test", "--suggest", "valley"), "must be all or one of steepest_log, fastai_valley"),
    "range test, mode": (
        ("range-test", "--mode", "cosine"),
        'Invalid value "cosine" for --mode. Choose from: "exponential", "linear".',
    ),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD.keys())
def test_wrong_use(words, message, run):
    status, out, err = run(*words)
    assert status == 2
    assert out == ""
    assert err.startswith("lrjax: ")
    assert message in err
    assert "Traceback" not in err


BROKEN = {
    "import nothing_of_that_name": "ModuleNotFoundError at broken.py:1: No module named 'nothing_of_that_name'",
    "x = 1\ny = (": "SyntaxError at broken.py:2: '(' was never closed",
    "def f():\n    raise RuntimeError('first\\nsecond')\n\nf()": "RuntimeError at broken.py:2: first",
    "import sys\nsys.exit(3)": "SystemExit at broken.py:2: 3",
}


@pytest.mark.parametrize("place", ["broken.py", "broken"])
@pytest.mark.parametrize(("code", "message"), BROKEN.items(), ids=["import", "syntax", "raise", "exit"])
def test_modules_that_do_not_import_are_named_in_one_line(code, message, place, run, folder):
    (folder / "broken.py").write_text(code)
    status, _, err = run("find", f"{place}:task")
    sys.modules.pop("broken", None)
    assert status == 2
    assert err == f"lrjax: {place} could not be imported: {message}\n"


def test_debug_shows_the_traceback(run):
    status, _, err = run("find", "my_tasks.py:fails", "--debug")
    assert status == 2
    assert "Traceback (most recent call last)" in err
    assert "return 1 / 0" in err


def test_the_folder_is_checked_before_the_search(run, monkeypatch):
    monkeypatch.setattr(find_command, "find_lr", lambda *_, **__: pytest.fail("the search began"))
    assert run("find", "my_tasks.py:task", "--out", "my_tasks.py")[0] == 2


def test_a_folder_lost_during_the_search_does_not_lose_the_answer(find, folder, monkeypatch):
    def lose(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lrjax.LRResult, "to_json", lose)
    status, out, err = find()
    assert status == 2
    assert "optimizer = optax.sgd(" in out
    assert err == "lrjax: Not everything could be written to lrjax-out: No space left on device.\n"


def test_the_search_path_is_left_as_it_was(find):
    before = list(sys.path)
    find("--no-plot", "--quiet")
    assert sys.path == before


# Ctrl-C.


def test_interrupted_with_rounds_done_writes_what_there_is(run, folder, monkeypatch):
    sample, calls = search_live.curve_of, []

    def interrupt_second(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sample(*arguments, **options)

    monkeypatch.setattr(search_live, "curve_of", interrupt_second)
    words = ("--seeds", 1, "--steps", 3, "--executor", "map", "--optimizer", "sgd", "--no-plot")
    status, out, _ = run("find", "my_tasks.py:task", *words)
    assert status == 130
    kept = Path("lrjax-out", "lr_finder.json")
    assert out.startswith(f"Interrupted. What the finished rounds tell is in {kept}. The same command begins anew.\n")
    assert lrjax.LRResult.from_json(folder / "lrjax-out" / "lr_finder.json").num_trials == 17


def test_interrupted_before_the_first_round(find, folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(search_live, "curve_of", interrupt)
    status, out, err = find()
    assert (status, out, err) == (
        130,
        "",
        "lrjax: Interrupted before there was a result. The same command begins anew.\n",
    )
    assert not list((folder / "lrjax-out").iterdir())


# The range test.


def test_range_test_prints_every_rule_with_its_peer(run, folder):
    words = ("range-test", "my_tasks.py:task", "--optimizer", "sgd", "--min-lr", 1e-4, "--steps", 40)
    status, out, _ = run(*words)
    test = lrjax.RangeTest.from_json(folder / "lrjax-out" / "range_test.json")
    lrs = test.suggestions()[0]
    assert status == 0
    for words in ("fastai: valley", "Lightning from 2.5.3", "torch-lr-finder", "ignite", "`lrjax find` does not."):
        assert words in out
    for name, lr in lrs.items():
        assert re.search(rf"{name} +│ {lr:.2e}", out)
    assert out.rstrip().endswith(f"optimizer = optax.sgd({lrs['steepest_log']:.2e})")
    assert (folder / "lrjax-out" / "range_test.png").exists()


def test_range_test_for_machines_and_one_rule(run):
    words = ("range-test", "my_tasks.py:task", "--optimizer", "sgd", "--mode", "linear", "--max-lr", 1, "--no-plot")
    status, out, _ = run(*words, "--json", "--steps", 30)
    document = json.loads(out)
    assert status == 0
    assert document["steps"] == 30
    status, out, _ = run(*words, "--steps", 30, "--suggest", "fastai_valley", "--quiet")
    assert status == 0
    assert float(out) == pytest.approx(document["suggestions"]["fastai_valley"], rel=1e-5)


def test_range_test_without_an_answer_is_status_1(run):
    words = ("range-test", "my_tasks.py:trained", "--steps", 20, "--no-plot")
    status, out, _ = run(*words)
    assert status == 1
    assert "No parameter changed" in re.sub(r"[│ \n]+", " ", out)
    status, out, err = run(*words, "--quiet")
    assert (status, out) == (1, "")
    assert "No learning rate was found." in err


# The process.


def test_version(run):
    assert run("--version") == (0, f"lrjax {lrjax.__version__}\n", "")


def test_the_doctor_says_what_a_bug_report_needs(run, monkeypatch):
    monkeypatch.setenv("LRJAX_DATA", "somewhere")
    status, out, _ = run("doctor", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["lrjax"] == lrjax.__version__
    assert found["packages"]["jax"] == jax.__version__
    assert len(found["devices"]) == jax.device_count()
    assert found["settings"]["LRJAX_DATA"] == "somewhere"
    status, out, _ = run("doctor")
    assert status == 0
    assert all(name in out for name in ("devices", "compiled programs", "extras", found["packages"]["optax"]))


def test_the_doctor_tells_of_a_device_that_does_not_start(run, monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: (_ for _ in ()).throw(RuntimeError("no GPU was found")))
    status, out, _ = run("doctor")
    assert (status, "none: no GPU was found" in out) == (0, True)


def test_the_doctor_knows_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def packages(requirements):
        return tuple(re.split("[<>=]", one)[0] for one in requirements)

    assert {extra: packages(project["optional-dependencies"][extra]) for extra in EXTRAS} == EXTRAS
    assert sorted(NEEDED) == sorted(packages(project["dependencies"]))


def test_the_citation_is_of_this_version():
    assert f"\nversion: {lrjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("words", [(), ("find",), ("range-test",)])
def test_help(words, run):
    status, out, _ = run(*words, "--help")
    assert status == 0
    assert "find" in out
    assert "default: None" not in out
    if words:
        assert "Exit status: 0" in out


def test_no_colours_where_there_is_no_terminal(find):
    assert "\x1b" not in find("--no-plot")[1]


def test_no_color_is_respected(find, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", find("--no-plot")[1])


def test_the_entry_point_is_declared():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"lrjax": "lrjax.cli:main"}


def test_importing_the_command_imports_nothing_that_draws_or_saves():
    code = "import sys, lrjax.cli; print([m for m in ('matplotlib', 'orbax', 'flax') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert output.stdout == "[]\n"


def test_the_module_runs_as_a_process(folder):
    out, err = start_lrjax("find", "my_tasks:task", *CHEAP, "--no-plot", "--json", cwd=folder).communicate()
    assert json.loads(out)["outcome"] == "found"
    assert err == ""


def test_ctrl_c_ends_the_process_with_130(folder):
    (folder / "slow.py").write_text("import sys, time\nprint('ready', file=sys.stderr, flush=True)\ntime.sleep(60)")
    running = start_lrjax("find", "slow.py:task", cwd=folder)
    assert running.stderr.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    assert err == "lrjax: Interrupted before there was a result. The same command begins anew.\n"


def test_a_reader_that_leaves_early_is_no_error(folder):
    running = start_lrjax("find", "my_tasks.py:task", *CHEAP, "--no-plot", "--json", cwd=folder)
    running.stdout.close()
    assert running.stderr.read() == ""
    running.wait()
    running.stderr.close()
