"""The public surface: names, imports, docstrings and the arrows between the rooms."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lrjax

ROOT = Path(lrjax.__file__).parent

NAMES = [
    "Chunked",
    "Execution",
    "LRFinderResult",
    "LRNotFound",
    "LRWarning",
    "LossCurve",
    "Outcome",
    "Preview",
    "RangeTest",
    "SearchInterrupted",
    "SearchProgress",
    "Suggestions",
    "Task",
    "WarningName",
    "Window",
    "crossing",
    "find_lr",
    "find_warnings",
    "find_window",
    "half_loss",
    "lowest_loss",
    "midpoint",
    "preview_lr",
    "range_rules",
    "range_test",
    "sample_losses",
    "steepest",
]

# room -> the rooms it may import; `_types`, `_checks` and `_version` are everybody's
ARROWS = {
    "trials": set(),
    "range_rules": set(),
    "finder": {"trials", "range_rules", "plots"},
    "demos": {"trials"},
    "plots": {"finder", "range_rules"},
    "cli": {"finder", "trials", "demos", "range_rules", "plots"},
}


def test_public_names_are_these():
    found = {name for name, value in vars(lrjax).items() if not name.startswith("_") and _is_api(name, value)}
    assert found == set(NAMES)


def _is_api(name, value):
    return not inspect.ismodule(value) or name == "range_rules"


@pytest.mark.parametrize("name", [n for n in NAMES if n != "range_rules"])
def test_public_docstrings_name_every_argument(name):
    value = getattr(lrjax, name)
    assert value.__doc__, f"{name} has no docstring"
    if not inspect.isfunction(value):
        return
    section = value.__doc__.split("Args:")[1].split("Returns:")[0]
    for argument in inspect.signature(value).parameters:
        assert f"{argument}:" in section or f"{argument}," in section or f", {argument}" in section, argument
    assert "Returns:" in value.__doc__
    assert ">>>" in value.__doc__, f"{name} has no doctest"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_only_what_they_may(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if room not in ARROWS:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        package = path.relative_to(ROOT).parent.parts[: len(path.relative_to(ROOT).parent.parts) - node.level + 1]
        target = [*package, *(node.module or "").split(".")] if node.module else [*package]
        targets = [target[0]] if target and target[0] else [alias.name for alias in node.names]
        for other in targets:
            assert other.startswith("_") or other == room or other in ARROWS[room], f"{path.name} imports {other}"


def test_importing_lrjax_imports_nothing_heavy():
    code = "import sys, lrjax; print([m for m in ('matplotlib', 'flax', 'tyro', 'rich', 'torch') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert output.stdout.strip() == "[]"


def test_no_path_of_a_machine_in_the_sources():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert "/home/" not in text, path
        assert "/root/" not in text, path


def test_files_stay_readable():
    long = {path.name: n for path in ROOT.rglob("*.py") if (n := len(path.read_text().splitlines())) > 480}
    assert not long
