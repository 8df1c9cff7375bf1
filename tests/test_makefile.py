"""What `make reproduce` and `make figures` run is there."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

import lrjax

ROOT = Path(lrjax.__file__).parents[1]


def commands(target):
    """The words after the interpreter of every line of a target."""
    rule = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    return [line.split("$(BIN)/python ")[1] for line in rule.splitlines()]


@pytest.mark.parametrize("command", sorted({*commands("reproduce"), *commands("figures")}))
def test_a_command_of_the_makefile_has_a_script_that_knows_its_options(command):
    first, *words = shlex.split(command)
    if first == "-m":
        spec = importlib.util.find_spec(words.pop(0))
        if spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{spec.name}.__main__")
        source = Path(spec.origin)
    else:
        source = ROOT / first
    text = source.read_text()
    assert 'if __name__ == "__main__":' in text
    assert all(f'"{word}"' in text for word in words if word.startswith("--"))
