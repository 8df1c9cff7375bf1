"""The code of the README and of the pages runs as it stands, in the order in which it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
PAGES = [README, *sorted((README.parent / "docs").glob("*.md"))]


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def run(page):
    scope: dict = {}
    for block in blocks_of(page):
        exec(compile(block, str(page), "exec"), scope)
    return scope


def test_the_readmes_code_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = run(README)
    assert "Learning rate" in capsys.readouterr().out
    assert 1e-4 < scope["result"].lr < 1.0


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_the_pages_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page)


def test_first_example_is_short():
    lines = [line for line in blocks_of(README)[0].splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_at_files(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
