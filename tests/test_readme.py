"""The code of the README and of the pages runs as it stands, in the order in which it stands."""

import re
import textwrap
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
DOCS = README.parent / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
LONG = {
    "choosing.md",
    "coming_from.md",
    "contributing.md",
    "how.md",
    "integrations.md",
    "recipes.md",
    "scaling.md",
    "start.md",
    "sweeps.md",
    "troubleshooting.md",
}
RUNNING = [
    pytest.param(page, marks=[pytest.mark.slow] if page.name in LONG else [], id=str(page.relative_to(DOCS)))
    for page in PAGES[1:]
    if "```python\n" in page.read_text()
]


def blocks_of(page):
    fences = re.findall(r"^( *)```python\n(.*?)^\1```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in fences]


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


@pytest.mark.parametrize("page", RUNNING)
def test_the_pages_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page)


def test_first_example_is_short():
    lines = [line for line in blocks_of(README)[0].splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(README.parent)))
def test_links_point_at_files(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
