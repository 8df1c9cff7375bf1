"""The words of the command line: help, completion, mistakes and what is meant by them, Ctrl-C in a real process."""

import dataclasses
import functools
import inspect
import json
import operator
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
from inside import HOOKS, LINES, app, search_ramp, user_place
from processes import start_lrjax

import lrjax
from lrjax.cli import main

COMMANDS = [("find",), ("sweep",), ("range-test",), ("schedules",), ("schedules", "plot"), ("explore",), ("doctor",)]

TASKS = """
    import jax, jax.numpy as jnp, optax, lrjax

    def loss_fn(w, batch, key):
        return jnp.sum(w**2) / 2

    def make(loss=loss_fn, init=jnp.ones(2)):
        return lrjax.Task(
            init=init, loss_fn=loss, sample_batches=lambda key, n: jnp.zeros((n, 1)), eval_batches=[jnp.zeros(1)]
        )

    task = make()
    rows = jnp.ones((64, 1))
    arrays = lrjax.Task.from_arrays(
        lambda key: jnp.ones(2), loss_fn, train=rows, validation=rows, batch_size=8, eval_batch_size=64
    )

    def missing_key(w, batch, key):
        return jnp.sum(w["weights"])

    keyed = make(missing_key, {"w": jnp.ones(2)})

    def picky(lr):
        raise RuntimeError("the settings are missing")

    def wordy(lr):
        raise RuntimeError("\\n".join(f"line {number}" for number in range(100)))

    def not_an_optimizer(lr):
        return 3
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in a folder with a module of tasks: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks.py").write_text(textwrap.dedent(TASKS))

    def run(*words):
        return main([str(word) for word in words]), *capsys.readouterr()

    yield run
    sys.modules.pop("tasks", None)


# Help.


@pytest.mark.parametrize("words", [("--help",), ("-h",), *((*name, "--help") for name in COMMANDS)])
def test_every_page_fits_80_columns_without_colours(words, run):
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "None" not in out


def test_a_page_is_as_narrow_as_the_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for words in (("--help",), ("find", "--help")):
        assert max(map(len, run(*words)[1].splitlines())) <= 60


def test_colours_only_where_they_are_wanted(run, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1m" in run("--help")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", run("--help")[1])


def test_the_first_page_names_every_command(run):
    out = run("--help")[1]
    for name, *_ in COMMANDS:
        assert re.search(rf"^. {name} +[A-Z]", out, flags=re.MULTILINE)
    assert "--print-completion" in out
    assert "--version" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_every_option_with_a_sentence_and_its_default(name, run):
    out = re.sub(r"[\s│]+", " ", run(*name, "--help")[1])
    for argument in functools.reduce(operator.getitem, name, app).assemble_argument_collection(parse_docstring=True):
        if argument.show:
            assert argument.parameter.help.endswith("."), argument.name
            assert argument.name in out
            default = argument.field_info.default
            given = default not in (None, (), True, False, argument.field_info.empty)
            assert not given or f"[default: {default}]" in out
    assert out.rstrip().endswith("130 interrupted.")


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("find", lrjax.find_lr),
        ("find", lrjax.StepSampling),
        ("find", lrjax.Budget),
        ("range-test", lrjax.range_test),
        ("sweep", lrjax.sweep),
    ],
)
def test_defaults_are_those_of_the_library(command, function):
    parameters = inspect.signature(function).parameters
    fields = dataclasses.fields(app[command].default_command)
    shared = [field for field in fields if field.name in parameters and field.name != "task"]
    assert len(shared) > 2
    for field in shared:  # None is not passed on
        want = parameters[field.name].default
        named = field.name in ("rule", "stop")  # the library has functions and objects for these words
        assert named or want is inspect.Parameter.empty or field.default in (None, want), field.name


# Completion.


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -F _lrjax lrjax"), ("zsh", "#compdef lrjax"), ("fish", "complete -c lrjax")]
)
def test_completion_scripts_are_printed(shell, word, run):
    status, out, err = run("--print-completion", shell)
    assert (status, err) == (0, "")
    assert word in out
    for name, *_ in COMMANDS:
        assert name in out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_choices_and_files(run, tmp_path):
    (tmp_path / "completion.bash").write_text(run("--print-completion", "bash")[1])
    subprocess.run(["bash", "-n", "completion.bash"], check=True)
    script = """
        source completion.bash
        function=$(complete -p lrjax | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); $function; echo "${COMPREPLY[*]}"; }
        try lrjax fin
        try lrjax find --min
        try lrjax find --rule half
        try lrjax find tas
    """
    told = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["find", "--min-lr", "half_loss", "tasks.py"]


# Mistakes, and what is meant in all likelihood.

LOOKUP = {
    "task without command": (("tasks.py:task",), "Available commands: find, range-test, sweep"),
    "option before command": (
        ("--optimizer", "sgd", "find"),
        'Unknown command "--optimizer". Available commands: find, range-test, sweep',
    ),
    "nothing alike": (("xyzzy",), "Available commands: find, range-test, sweep"),
    "transposed command": (("swepe",), 'Did you mean "sweep"?'),
    "shortened command": (("range",), 'Did you mean "range-test"?'),
    "transposed option": (
        ("sweep", "--gird", "a=1"),
        "Unknown option: --gird. Did you mean --grid?",
    ),
    "shortened option": (("find", "--optim", "sgd"), "Did you mean --optimizer?"),
    "option of another command": (("range-test", "--budget", "1"), "Unknown option: --budget."),
    "option like none": (("find", "--xyzzy"), "Unknown option: --xyzzy."),
    "short option": (("find", "-s", "3"), "Unknown option: -s."),
    "schedule's argument as an option": (
        ("schedules", "plot", "one_cycle", "--peak_value", "0.1"),
        "Unknown option: --peak_value.",
    ),
    "value left out": (("find", "--min-lr"), "--min-lr requires an argument."),
    "option for a value": (("find", "--min-lr", "--json"), "--min-lr requires an argument."),
    "value for a flag": (("find", "--json=maybe"), 'Invalid value for --json: unable to convert "maybe" into bool.'),
    "exponent for a count": (("find", "--train-steps", "1e4"), "a whole number, got '1e4'. Write 10000."),
    "step sampling's option with a budget": (
        ("find", "tasks.py:task", "--train-steps", "99", "--steps", "5"),
        "`--steps` is for step sampling, without --train-steps or with --budget 0.",
    ),
    "a budget of nothing": (
        ("find", "--budget", "2"),
        "`--budget` needs the length of the training. Add --train-steps",
    ),
    "part of a step": (("find", "--steps", "2.5"), "`--steps` must be a whole number, got '2.5'.\n"),
    "misspelt choice": (("find", "--rule", "midpont"), 'Invalid value "midpont" for --rule.'),
    "nearest choice": (("find", "--rule", "midpont"), 'Did you mean "midpoint"?'),
    "two tasks": (("find", "a.py:b", "c.py:d"), "Unused Tokens: ['c.py:d']."),
    "no shell": (("--print-completion",), "parameter --shell requires an argument."),
    "unknown shell": (("--print-completion", "tcsh"), 'Choose from: "bash", "zsh", "fish".'),
    "no optimizer made": (
        ("find", "tasks.py:task", "--optimizer", "tasks.py:not_an_optimizer"),
        "Did it forget its `return`?",
    ),
    "factory that fails": (
        ("find", "tasks.py:task", "--optimizer", "tasks.py:picky"),
        "RuntimeError at tasks.py:24: the settings are missing",
    ),
    "loss that fails": (("find", "tasks.py:keyed"), "KeyError at tasks.py:19: 'weights'"),
    "task that cannot be carried on": (
        ("sweep", "tasks.py:task", "--grid", "learning_rate=1,2", "--train-steps", "2"),
        "`MODULE:TASK` must give batches from any step on",
    ),
    "grid of an unknown argument": (
        ("sweep", "tasks.py:task", "--grid", "learning_rat=1,2", "--train-steps", "2"),
        "learning_rat",
    ),
}


@pytest.mark.parametrize(("words", "message"), LOOKUP.values(), ids=LOOKUP.keys())
def test_a_mistake_is_explained_without_a_traceback(words, message, run):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("lrjax: ")
    assert message in err
    assert "Traceback" not in err
    assert "╭" not in err


def test_underscores_and_equals_signs_are_understood(run):
    status, out, err = run(
        "find", "tasks.py:task", "--min_lr=1e-3", "--max-lr=1", "--seeds=1", "--steps=2", "--dry-run"
    )
    assert (status, err) == (0, "")
    assert "7 trials x 1 seed to step 2" in out


def test_long_errors_are_cut_and_debug_has_all(run):
    words = ("find", "tasks.py:task", "--optimizer", "tasks.py:wordy")
    err = run(*words)[2]
    assert len(err.splitlines()) == LINES + 1
    assert err.endswith("Add --debug to see the rest of it, and the traceback.\n")
    assert "line 99" in run(*words, "--debug")[2]


def test_a_library_is_not_the_users_file():
    try:
        json.loads("{")
    except ValueError as error:
        place = user_place(error)
    assert place.startswith("test_command_line.py:")


# Ctrl-C.


def test_an_interrupted_range_test_keeps_its_history(run, monkeypatch, tmp_path):
    whole, calls = search_ramp._why_stop, []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(search_ramp, "_why_stop", interrupt)
    words = ("range-test", "tasks.py:task", "--optimizer", "sgd", "--no-plot")
    status, out, _ = run(*words)
    assert status == 130
    assert out.startswith("Interrupted. The history until then is in lrjax-out")
    test = lrjax.RangeTest.from_json(tmp_path / "lrjax-out" / "range_test.json")
    assert (len(test.lrs), test.stopped) == (7, "It was interrupted after step 6.")
    calls.clear()
    status, out, err = run(*words, "--json")
    assert (status, json.loads(out)["steps"]) == (130, 7)
    assert err.startswith("lrjax: Interrupted. ")


PAUSE = """
calls, whole = [], getattr(place, name)


def wait(*arguments, **options):
    calls.append(1)
    if len(calls) == when:
        import sys, time
        print("ready", file=sys.stderr, flush=True)
        time.sleep(600)
    return whole(*arguments, **options)


setattr(place, name, wait)
"""

CHEAP = ("--optimizer", "sgd", "--executor", "map", "--no-plot")
RUNS = {
    "find": ((*CHEAP, "--seeds", "1", "--steps", "3"), "lr_finder.json", lrjax.LRResult),
    "search": ((*CHEAP, "--train-steps", "200", "--budget", "1"), "lr_finder.json", lrjax.LRResult),
    "sweep": (
        (*CHEAP, "--grid", "learning_rate=0.01,0.1", "--train-steps", "20", "--eval-every", "5"),
        "sweep.json",
        lrjax.SweepResult,
    ),
    "range-test": (("--optimizer", "sgd", "--no-plot"), "range_test.json", lrjax.RangeTest),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_ctrl_c_leaves_a_result_and_says_how_to_go_on(name, run, tmp_path):
    words, document, kind = RUNS[name]
    (tmp_path / "paused.py").write_text(f"from tasks import arrays as task\n{HOOKS[name]}\n{PAUSE}")
    command = "find" if name == "search" else name
    running = start_lrjax(command, "paused.py:task", *words, cwd=tmp_path)
    assert running.stderr.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate()
    assert (running.returncode, err) == (130, "")
    told = re.search(r"Interrupted\. .* is in (\S+)\. The same command begins anew", out)
    assert told is not None
    assert told[1] == os.path.join("lrjax-out", document)
    kind.from_json(tmp_path / told[1])
