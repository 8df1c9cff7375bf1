"""What a notebook shows: results with their pictures, progress in one line, and the notebooks of the docs."""

import base64
import html.parser
import json
import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from doors import budgeted
from found import found
from inside import progress_module
from rich.console import Console

import lrjax
from lrjax import schedules
from lrjax.demos import digits

NOTEBOOKS = sorted((Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))


class Page(html.parser.HTMLParser):
    """The text, the pictures and the tags left open of a fragment."""

    def __init__(self, fragment):
        super().__init__()
        self.text, self.pictures, self.open, self.styles = "", [], [], []
        self.feed(fragment)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.styles.append(dict(attrs).get("style", ""))
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])
        else:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


@pytest.fixture(scope="module")
def result():
    return found(warnings=("no_plateau", "edge_high"))


@pytest.fixture(scope="module")
def swept():
    grid = {"learning_rate": [0.1, 0.3]}
    return lrjax.sweep(digits(), optax.sgd, grid, key=jax.random.key(0), train_steps=4, executor="map")


@pytest.fixture(scope="module")
def searched():
    options = {"train_steps": 200, "trainings": 1.0, "min_lr": 1e-3, "max_lr": 1.0, "executor": "map"}
    return budgeted(digits(), optax.sgd, key=jax.random.key(0), **options)


def check(value, *words):
    fragment = value._repr_html_()
    page = Page(fragment)
    assert page.open == []
    assert len(page.pictures) == 1
    kind, _, data = page.pictures[0].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    for word in words:
        assert word in page.text
    for style in page.styles:  # the notebook's own colours, light or dark; only pictures are on white
        assert not re.search(r"(^|;)color:(?!inherit)", style)
    assert len(fragment) < 200_000
    assert len(repr(value)) < 200
    return page


def test_a_found_learning_rate_with_its_warnings(result):
    page = check(result, f"Learning rate {result.lr:.2e}", "Cost: ")
    assert result.warnings
    for warning in result.warnings:
        assert f"Warning, {warning}" in page.text


def test_a_sweep(swept):
    check(swept, "2 trials x 1 seed", "Best: learning_rate=")


@pytest.mark.slow
def test_a_search(searched):
    check(searched, f"Learning rate {searched.lr:.2e}", "Rung: ")


def test_a_recommendation_and_a_description():
    recommendation = lrjax.recommend(0.01, 200)
    check(recommendation, recommendation.code, recommendation.reason)
    description = schedules.describe(recommendation.schedule, 200)
    check(description, *str(description).splitlines())


def test_the_course_of_a_description_has_its_edges():
    schedule = schedules.step_decay(1.0, factor=0.5, every=999)
    course = dict(schedules.describe(schedule, 10_000).course)
    for step in (0, 998, 999, 9_999):
        np.testing.assert_allclose(course[step], float(schedule(step)), rtol=1e-6)
    assert len(course) < 400
    for total in (1, 2):
        assert list(dict(schedules.describe(schedule, total).course)) == list(range(total))


def test_text_is_escaped(result):
    nasty = lrjax.LRResult(**{**vars(result), "reason": ("<script>alert(1)</script>",)})
    assert "<script>" not in nasty._repr_html_()
    assert "<script>" in Page(nasty._repr_html_()).text


def test_without_a_picture_there_are_words(result, swept, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no <canvas>")

    monkeypatch.setattr(lrjax.LRResult, "plot", fail)
    page = Page(result._repr_html_())
    assert page.pictures == []
    assert f"Learning rate {result.lr:.2e}" in page.text
    assert "No picture: RuntimeError: no <canvas>" in page.text
    empty = lrjax.SweepResult(**{**vars(swept), "metrics": {}, "steps": np.zeros(0, np.int64)})
    assert "No picture: " in Page(empty._repr_html_()).text


def test_no_figure_stays_in_pyplot_and_a_notebook_shows_those_of_plot(result):
    import matplotlib.pyplot

    result._repr_html_()
    assert matplotlib.pyplot.get_fignums() == []
    assert result.plot().figure._repr_png_().startswith(b"\x89PNG")


def test_progress_in_a_notebook_is_one_line_rewritten(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data)

    def display(data, raw, display_id):
        shown.append(data)
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    monkeypatch.setattr(Console, "is_jupyter", property(lambda self: True), raising=False)
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    monkeypatch.setattr(Console, "__init__", lambda self, **_: None)
    now = 0.0
    bar = progress_module._open_bar()
    for done in range(1_000):
        now += 0.01
        bar.show(lrjax.Progress(stage="first <grid>", updates=done, planned=1_000, lanes=2, train_steps=10))
    bar.close()
    assert 20 < len(shown) < 60
    assert shown[-2]["text/plain"].startswith("first <grid>, ")
    assert "first &lt;grid&gt;" in shown[-2]["text/html"]
    assert shown[-1]["text/plain"] == ""


# The notebooks of the docs.


def code_of(path):
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebooks_are_small_and_were_run_from_top_to_bottom(path):
    cells = code_of(path)
    assert path.stat().st_size < 400_000
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 3
    assert not [output for output in outputs if output.get("name") == "stderr"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "__main__"}
    for cell in code_of(path):
        exec(compile("".join(cell["source"]), str(path), "exec"), scope)
    stored = "".join("".join(out.get("text", "")) for cell in code_of(path) for out in cell["outputs"])
    assert len(capsys.readouterr().out.splitlines()) == len(stored.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_in_jupyter(path, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
