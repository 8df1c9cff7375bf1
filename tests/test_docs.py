"""The pages of the documentation: what they show is what the package does, and nothing public is missing."""

import importlib
import re
from pathlib import Path

import pytest
from test_public_names import INTEGRATIONS

import lrjax
from docs_site.check import problems_of
from docs_site.notebooks import page_of
from lrjax import schedules
from paper_figures import schedules as pictures
from paper_figures.shapes import SHAPES

ROOT = Path(lrjax.__file__).parents[1]
DOCS = ROOT / "docs"


def read(name):
    return (DOCS / name).read_text()


def block(page, name):
    return re.search(rf"<!-- numbers: begin {name} -->(.*?)<!-- numbers: end -->", page, flags=re.DOTALL)[1]


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_gives_the_warnings_that_its_page_shows(name):
    result = SHAPES[name].run()
    shown = re.findall(r"> \*\*(\w+)\*\*", block(read("curves.md"), name))
    assert [warning.name.value for warning in result.warnings] == shown
    assert shown[:1] == ([SHAPES[name].warning.value] if SHAPES[name].warning else [])
    assert all(warning.remedy in read("curves.md") for warning in result.warnings)
    assert (DOCS / f"images/shapes/{name}.png").exists()


def test_every_warning_is_explained():
    missing = [name.value for name in lrjax.WarningName if name.value not in read("curves.md")]
    assert not missing


def test_every_schedule_is_in_the_gallery_with_its_picture():
    page = read("gallery.md")
    makers = {
        name for name, value in vars(schedules).items() if callable(value) and name[0] in "abcdefghijklmnopqrstuvwxyz"
    }
    about = {"describe", "validate", "to_spec", "from_spec"}
    about |= {"scheduled", "current_hyperparams", "at_step", "check_resume", "reduce_on_plateau"}
    entries = set(re.findall(r"^### (\w+)$", page, flags=re.MULTILINE))
    assert entries == makers - about
    assert all(f"`{name}`" in page for name in about)
    assert set(re.findall(r"\(images/schedules/(\w+)\.png\)", page)) == set(pictures.PANELS) == entries - {"stack"}


def test_everything_public_is_in_the_reference():
    listed = "\n".join(path.read_text() for path in sorted((DOCS / "api").glob("*.md")))
    entries = re.findall(r"^::: ([\w.]+)$", listed, flags=re.MULTILINE)
    assert len(entries) == len(set(entries))
    public = set()
    for module in ("lrjax", "lrjax.schedules", "lrjax.range_rules", "lrjax.plots", "lrjax.scaling"):
        source = Path(importlib.import_module(module).__file__).read_text()
        public |= {
            f"{module}.{name}" for name in re.findall(r"^ *from \S+ import \w+ as (\w+)\b", source, re.MULTILINE)
        }
    public = {path for path in public if not path.split(".")[-1].startswith("_")}
    modules = {"lrjax.schedules", "lrjax.range_rules"}
    modules |= {f"lrjax.{room}" for room in lrjax._ROOMS}
    for room, names in INTEGRATIONS.items():
        public |= {f"lrjax.integrations.{room}.{name}" for name in names}
    public |= {f"lrjax.integrations.{name}" for name in ("StepTask", "function_task", "step_task")}
    assert set(entries) == public - modules


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert set(re.findall(r": (\S+\.md)$", navigation, flags=re.MULTILINE)) >= pages


GOOD = '<html><body id="a"><a href="two.html#b">2</a><img src="x.png"><a href="https://jax.dev">JAX</a></body></html>'


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (GOOD, None),
        (GOOD.replace("two.html#b", "three.html"), "one.html links to three.html: no such file"),
        (GOOD.replace("#b", "#c"), "one.html links to two.html#c: no such anchor"),
        (GOOD.replace("two.html#b", "#gone"), "one.html links to #gone: no such anchor"),
        (GOOD.replace("x.png", "y.png"), "one.html links to y.png: no such file"),
        (GOOD.replace("x.png", "//cdn.net/x.png"), "one.html fetches //cdn.net/x.png"),
        (GOOD + '<script src="https://cdn.net/a.js"></script>', "one.html fetches https://cdn.net/a.js"),
        (GOOD + '<link rel="stylesheet" href="https://cdn.net/a.css">', "one.html fetches https://cdn.net/a.css"),
        (GOOD + '<span class="arithmatex">x</span>', "one.html has mathematics that stayed LaTeX"),
    ],
)
def test_the_check_of_the_site_finds(page, problem, tmp_path):
    (tmp_path / "one.html").write_text(page)
    (tmp_path / "two.html").write_text('<h1 id="b">two</h1>')
    (tmp_path / "x.png").write_bytes(b"")
    assert list(problems_of(tmp_path)) == ([problem] if problem else [])


def test_the_check_of_the_site_reads_the_style_sheets(tmp_path):
    (tmp_path / "a.css").write_text("body { background: url(https://cdn.net/x.png) }")
    assert list(problems_of(tmp_path)) == ["a.css fetches from another host"]


def test_a_notebook_becomes_a_page():
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Text."]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [{"data": {"text/plain": ["2"]}}]},
        {
            "cell_type": "code",
            "source": ["plot()"],
            "outputs": [{"data": {"image/png": "iVBO\nRw0=", "text/plain": "x"}}],
        },
        {"cell_type": "code", "source": [], "outputs": []},
    ]
    parts = [
        "# Title\nText.",
        "```python\nprint(1)\n```",
        "```text\n1\n```",
        "```python\n1 + 1\n```",
        "```text\n2\n```",
    ]
    parts += ["```python\nplot()\n```", "![What the code drew](data:image/png;base64,iVBORw0=)"]
    assert page_of({"cells": cells}) == "\n\n".join(parts)
