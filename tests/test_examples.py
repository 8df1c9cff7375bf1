"""Every example runs as it stands, is short, and adds few lines to what its ecosystem's own first example has."""

import importlib
import os
import runpy
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
NEEDS = {
    "linen_cnn": "flax",
    "nnx_cnn": "flax",
    "equinox_mlp": "equinox",
    "keras_cnn": "keras",
    "haiku_mlp": "haiku",
    "grain_loader": "grain",
    "torch_loader": "torch",
    "tf_data": "tensorflow",
    "hf_datasets": "datasets",
}
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
QUICK = {"plain_mlp"}
QUICK_STARTS = ("linen_cnn", "nnx_cnn", "equinox_mlp", "keras_cnn", "haiku_mlp", "plain_mlp")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def lines_of(name):
    return (FOLDER / f"{name}.py").read_text().splitlines()


def _parameter(name):
    return pytest.param(
        name, id=f"example-{NEEDS.get(name, 'core')}-{name}", marks=() if name in QUICK else pytest.mark.slow
    )


@pytest.mark.parametrize("name", [_parameter(name) for name in EXAMPLES])
def test_the_example_finds_a_learning_rate(name, capsys):
    if name in NEEDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other libraries, while they are imported
            try:
                importlib.import_module(NEEDS[name])
            except ImportError as error:
                pytest.skip(f"{NEEDS[name]} is not installed: {error}")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        scope = runpy.run_path(str(FOLDER / f"{name}.py"))
    assert scope["result"].outcome.name == "found"
    assert 1e-5 < scope["result"].lr < 5.0


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_file_has_at_most_thirty_lines(name):
    assert len(lines_of(name)) <= 30
    assert all(need in EXAMPLES for need in NEEDS)


@pytest.mark.parametrize("name", QUICK_STARTS)
def test_at_most_five_lines_are_added_to_the_quick_start(name):
    added = [line for line in lines_of(name) if line.endswith("# lrjax")]
    assert 3 <= len(added) <= 5
    rest = "\n".join(line for line in lines_of(name) if line not in added and "lrjax.demos" not in line)
    compile(rest, name, "exec")
    assert "lrjax" not in rest
