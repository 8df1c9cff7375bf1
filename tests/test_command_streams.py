"""The command where its output, its folder, its terminal or its numbers are not as one would wish."""

import contextlib
import errno
import io
import json
import os
import subprocess
import sys

import pytest
from inside import find_command
from problems import quadratic

import lrjax
from lrjax.cli import main

CHEAP = ("--seeds", "1", "--steps", "3", "--refine", "none", "--executor", "map", "--no-plot")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(find_command, "load_task", lambda words: quadratic())
    return tmp_path


@pytest.fixture
def no_search(monkeypatch):
    def search(*_, **__):
        raise AssertionError("the search began")

    monkeypatch.setattr(find_command, "find_lr", search)


def printed(monkeypatch, *words, encoding="utf-8", errors="strict", columns=None):
    """The exit status and what stands on a standard output of that encoding."""
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        status = main(list(words))
    stream.flush()
    assert stream.errors == errors  # as it was
    return status, stream.buffer.getvalue().decode(encoding)


COMMANDS = {
    "plot": ("schedules", "plot", "cosine_decay", "init_value=0.1", "decay_steps=100", "--no-plot"),
    "list": ("schedules",),
    "find": ("find", *CHEAP),
    "help": ("find", "--help"),
    "completion": ("--print-completion", "zsh"),
}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_every_encoding_can_be_printed(words, encoding, monkeypatch):
    status, out = printed(monkeypatch, *words, encoding=encoding)
    assert status == 0
    assert "\\u" not in out  # the bars of a schedule and the lines of a table have their ASCII
    assert len(out) > 100


def test_the_bars_have_their_ascii(monkeypatch):
    status, out = printed(monkeypatch, *COMMANDS["plot"], encoding="cp1252")
    assert (status, out.split()[0]) == (0, "#####****+++====---,,,....______")
    assert printed(monkeypatch, *COMMANDS["plot"])[1].startswith("█")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_name_that_an_encoding_lacks_is_escaped(errors, monkeypatch, folder):
    status, out = printed(monkeypatch, "find", *CHEAP, "--out", "läufe/→", encoding="ascii", errors=errors)
    assert status == 0
    assert "l\\xe4ufe/\\u2192/lr_finder.json" in out
    assert (folder / "läufe" / "→" / "lr_finder.json").is_file()


@pytest.mark.parametrize("words", [("find", *CHEAP), ("schedules",), ("find", "--help"), ("--version",)])
def test_a_closed_standard_output_is_told_before_any_work(words, monkeypatch, capsys, no_search):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(list(words)) == 2
    assert capsys.readouterr().err == "lrjax: Standard output is closed. Send it to a file, or to /dev/null.\n"


@pytest.mark.parametrize("words", [("find", *CHEAP), ("schedules",), ("find", "--help")])
def test_a_full_device_is_told_before_any_work(words, monkeypatch, capsys, no_search):
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(list(words)) == 2
    assert capsys.readouterr().err == "lrjax: Standard output cannot be written: No space left on device.\n"


class Device(io.RawIOBase):
    """A device that takes no more."""

    def __init__(self, code):
        self.code = code

    def writable(self):
        return True

    def write(self, data):
        raise OSError(self.code, os.strerror(self.code))


def on_device(code, monkeypatch, *words):
    stream = io.TextIOWrapper(io.BufferedWriter(Device(code)), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    status = main(list(words))
    stream.buffer.raw.write = len  # so that it can be closed
    return status


@pytest.mark.parametrize("how", [(), ("--json",), ("--quiet",)])
def test_an_output_that_fails_after_the_search_does_not_lose_the_result(how, monkeypatch, capsys):
    assert on_device(errno.ENOSPC, monkeypatch, "find", *CHEAP, *how) == 2
    err = capsys.readouterr().err
    assert err.startswith("lrjax: Standard output could not be written: No space left on device. What was found is in ")
    assert "lrjax-out/lr_finder.json" in err
    assert "Traceback" not in err
    assert lrjax.LRResult.from_json("lrjax-out/lr_finder.json").lr > 0


@pytest.mark.parametrize("words", [("find", *CHEAP), ("schedules",), ("find", "--help")])
def test_a_reader_that_has_gone_is_status_2_and_silent(words, monkeypatch, capsys):
    assert on_device(errno.EPIPE, monkeypatch, *words) == 2
    assert capsys.readouterr().err == ""


def test_a_closed_or_full_standard_error_changes_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    status, out = printed(monkeypatch, "find", *CHEAP, "--json")
    assert (status, json.loads(out)["outcome"]) == (0, "found")
    assert sys.stderr is None
    assert main(["find", "--bogus"]) == 2
    with contextlib.suppress(OSError), open("/dev/full", "w") as stream:  # closing it is one more try
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(["find", "--bogus"]) == 2


def test_a_picture_that_fails_does_not_lose_the_result(monkeypatch, capsys):
    def fail(result):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(find_command, "plot_lr", fail)
    assert main(["find", *CHEAP[:-1], "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert float(out) > 0
    assert err == "lrjax: Not everything could be written to lrjax-out: RuntimeError: no fonts.\n"


@pytest.mark.parametrize("columns", ["0", "1", "-5", "abc", "", "9" * 30])
def test_every_width_of_a_terminal_shows_a_table(columns, monkeypatch):
    status, out = printed(monkeypatch, "schedules", columns=columns)
    assert status == 0
    assert max(map(len, out.splitlines()[:-1])) >= 50
    assert "constant" in out
    assert "Find a good" in printed(monkeypatch, "find", "--help", columns=columns)[1]


@pytest.mark.parametrize("setting", [("TERM", "dumb"), ("NO_COLOR", "1"), ("FORCE_COLOR", "")])
def test_terminals_without_colours_get_none(setting, monkeypatch):
    monkeypatch.setenv(*setting)
    assert "\x1b" not in printed(monkeypatch, "schedules")[1]


# Paths.


@pytest.fixture
def home(monkeypatch, folder):
    monkeypatch.setenv("HOME", str(folder / "home"))
    (folder / "home").mkdir()
    return folder / "home"


def test_a_tilde_is_the_home_directory_in_every_option(home, monkeypatch, capsys):
    (home / "tasks.py").write_text("import optax\nfrom lrjax.demos import digits\nmake = optax.sgd\n")
    (home / "spec.json").write_text('{"name": "constant", "value": 0.25}')
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(home))
    assert main(["find", "~/tasks.py:digits", *CHEAP, "--optimizer=~/tasks.py:make", "--out=~/runs", "--quiet"]) == 0
    assert (home / "runs" / "lr_finder.json").is_file()
    assert main(["schedules", "plot", "~/spec.json", "--no-plot"]) == 0
    assert "peak 0.25" in capsys.readouterr().out
    words = ("--optimizer", "sgd", "--grid", "learning_rate=0.1", "--train-steps", "2", "--no-plot")
    assert main(["sweep", *words, "--out=~/sweep", "--directory=~/kept"]) == 0
    assert (home / "kept").is_dir()
    assert not list(home.parent.glob("~*"))
    assert main(["explore", "~/nothing.json"]) == 2
    assert f"got {home / 'nothing.json'}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("find", *CHEAP), ("range-test",), ("find", "--train-steps", "50")])
def test_a_file_where_a_folder_should_be(words, monkeypatch, capsys, folder, no_search):
    (folder / "file").write_text("mine")
    for out in ("file", "file/in", "/proc/1/x", "a" * 300, "a\x00b"):
        assert main([*words, "--out", out]) == 2
        err = capsys.readouterr().err
        assert err.startswith("lrjax: `--out` must be a folder in which files can be written, got ")
        assert err.count("\n") == 1
    assert (folder / "file").read_text() == "mine"


# Numbers.

ABSURD = {
    "points of a grid": (("sweep", "--grid", "learning_rate=1e-5:1:1000000000log"), "at most 100,000 points, got 1000"),
    "points beyond int64": (("sweep", "--grid", "learning_rate=0:1:" + "9" * 30), "at most 100,000 points, got 9999"),
    "a product of grids": (
        ("sweep", *(f"--grid={name}=0:1:1000" for name in ("learning_rate", "b1")), "--optimizer", "adam"),
        "must be at most 100,000 (trials), got 1,000,000",
    ),
    "seeds": (("find", "--seeds", "1000000", "--dry-run"), "`--seeds` must be at most 1,000 (seeds), got 1,000,000."),
    "seeds of a search": (("find", "--train-steps", "99", "--seeds", "1001"), "`--seeds` must be at most 1,000"),
    "seeds of a sweep": (("sweep", "--grid", "learning_rate=1", "--seeds", "1001"), "`--seeds` must be at most 1,000"),
    "steps": (("find", "--steps", "9" * 20, "--dry-run"), "`--steps` must be at most 2,147,483,647"),
    "steps of a ramp": (("range-test", "--steps", "9" * 20), "`--steps` must be at most 2,147,483,647"),
    "steps of a sweep": (("sweep", "--grid", "learning_rate=1", "--train-steps", "9" * 20), "`--train-steps` must be"),
    "steps of a training": (("find", "--train-steps", "9" * 20), "`--train-steps` must be at most 2,147,483,647"),
    "more digits than Python reads": (("find", "--steps", "9" * 5000), "`--steps` must be a whole number, got '9999"),
    "horizons": (("find", "--horizons", "9" * 30), "`--horizons` must be at most 2,147,483,647"),
    "digits of a horizon": (("find", "--horizons", "9" * 5000), "`--horizons` must be whole numbers"),
    "a seed": (("find", "--seed", "9" * 30), "`--seed` must be a whole number from 0 to 4294967295"),
    "a chunk": (("find", "--executor", "chunked:" + "9" * 5000), "`--executor` must be"),
    "nan": (("find", "--min-lr", "nan"), "`--min-lr` must be a learning rate, > 0 and finite, got nan."),
    "inf": (("find", "--max-lr", "1e999"), "`--max-lr` must be a learning rate, > 0 and finite, got inf."),
    "a budget": (("find", "--train-steps", "99", "--budget", "inf"), "`--budget` must be"),
    "smoothing": (("range-test", "--smoothing", "nan"), "`--smoothing` must be a weight in [0, 1), got nan."),
    "stop": (("sweep", "--grid", "learning_rate=1", "--stop", "halving:" + "9" * 5000), "`--stop"),
    "a port": (("explore", "--port", "9" * 30), "`--port` must be at most 2,147,483,647"),
    "steps of a schedule": (("schedules", "plot", "constant", "value=1", "--steps", "9" * 30), "--steps"),
    "a batch": (("schedules", "plot", "constant", "value=1", "--batch-size", "0"), "`--batch-size` must be"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "message"), ABSURD.values(), ids=ABSURD.keys())
def test_an_absurd_number_is_told_at_once_in_a_sentence(words, message, capsys):
    assert main(list(words)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err) < 500
    assert "Error" not in err


# Compiled programs.


@pytest.mark.slow
def test_the_second_call_finds_the_programs_of_the_first(folder):
    code = "import lrjax.cli; from jax import monitoring; found = []; "
    code += "monitoring.register_event_listener(lambda event, **_: found.append(event.split('/')[-1])); "
    code += (
        f"lrjax.cli.main(['find', *{CHEAP}, '--quiet']); print(found.count('cache_misses'), found.count('cache_hits'))"
    )
    env = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}

    def run(words):
        env["XDG_CACHE_HOME"] = str(folder)
        told = subprocess.run(
            [sys.executable, "-c", code.replace("'--quiet'", words)],
            capture_output=True,
            text=True,
            check=True,
            env=env,
        )
        return list(map(int, told.stdout.split()[-2:]))

    assert run("'--quiet', '--no-cache'") == [0, 0]
    misses, hits = run("'--quiet'")
    assert misses > 0
    assert run("'--quiet'") == [0, misses + hits]
