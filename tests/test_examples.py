"""Every example runs as it stands and needs no more of lrjax than the lines it marks; docs/programs.md is true."""

import csv
import importlib
import json
import os
import runpy
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from experiments.blocks import fill
from experiments.examples import page
from experiments.examples.grid import GRID, PROGRAMS, RESULTS

FOLDER = Path(__file__).parent.parent / "examples"
NEEDS = {
    "linen_cnn": "flax",
    "nnx_cnn": "flax",
    "padded_text": "flax",
    "equinox_mlp": "equinox",
    "keras_cnn": "keras",
    "haiku_mlp": "haiku",
    "grain_loader": "grain",
    "torch_loader": "torch",
    "tf_data": "tensorflow",
    "hf_datasets": "datasets",
    "lora": "tokenizers",
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


def small_encoder(folder):
    """Weights of BERT's layout with a tokenizer, and news whose titles give their class away."""
    safetensors = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")
    from tokenizers import Tokenizer, models, pre_tokenizers

    width, vocabulary, draw = 16, 60, np.random.default_rng(0)
    shapes = {f"embeddings.{kind}_embeddings.weight": (rows, width) for kind, rows in TABLES.items()}
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{index}" for index in range(2)):
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        for name, (wide, narrow) in DENSE.items():
            shapes |= {f"{layer}.{name}.weight": (wide, narrow), f"{layer}.{name}.bias": (wide,)}
    weights = {name: 0.3 * draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {f"{name}.{kind}": np.full(width, kind == "weight", np.float32) for name in norms for kind in ENDS}
    safetensors.save_file(weights, folder / "model.safetensors")
    config = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": width}
    (folder / "config.json").write_text(json.dumps(config))
    words = {"[PAD]": 0, "[UNK]": 1} | {f"word{index}": index for index in range(2, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    with (folder / "news.csv").open("w", newline="") as file:
        for row in range(400):
            label = row % 4
            title = " ".join(f"word{word}" for word in draw.integers(2 + 14 * label, 16 + 14 * label, 1 + row % 9))
            csv.writer(file).writerow([label + 1, title, "text"])
    return [str(folder), str(folder / "news.csv")]


TABLES = {"word": 60, "position": 32, "token_type": 2}
DENSE = {
    **dict.fromkeys([f"attention.self.{part}" for part in ("query", "key", "value")], (16, 16)),
    "attention.output.dense": (16, 16),
    "intermediate.dense": (32, 16),
    "output.dense": (16, 32),
}
ENDS = ("weight", "bias")


@pytest.mark.parametrize("name", [_parameter(name) for name in EXAMPLES])
def test_the_example_finds_a_learning_rate(name, tmp_path, monkeypatch):
    if name in NEEDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other libraries, while they are imported
            try:
                importlib.import_module(NEEDS[name])
            except ImportError as error:
                pytest.skip(f"{NEEDS[name]} is not installed: {error}")
    monkeypatch.setattr(sys, "argv", [name, *(small_encoder(tmp_path) if name == "lora" else ())])
    with warnings.catch_warnings(), mock.patch.dict(os.environ):  # fsdp sets XLA_FLAGS
        warnings.simplefilter("default")
        scope = runpy.run_path(str(FOLDER / f"{name}.py"))
    result = scope["result"]
    if name == "black_box":
        assert result.metrics["accuracy"].max() > 0.9
        return
    assert result.outcome.name == "found"
    assert 1e-5 < result.lr < 5.0


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_file_is_short(name):
    assert len(lines_of(name)) <= (100 if name in page.SHOWN else 30)
    assert all(need in EXAMPLES for need in NEEDS)


@pytest.mark.parametrize("name", sorted({*QUICK_STARTS, *page.SHOWN}))
def test_a_program_needs_no_more_than_the_lines_that_are_marked(name):
    added = page.marked(name)
    assert 3 <= len(added) <= 10
    if name in QUICK_STARTS:
        assert len(added) <= 5 + (name == "keras_cnn")  # which makes a schedule too
    rest = [line for number, line in enumerate(lines_of(name)) if number not in added and "lrjax.demos" not in line]
    compile("\n".join(rest), name, "exec")
    assert "lrjax" not in "\n".join(rest)


def test_the_page_of_programs_shows_their_results_and_their_lines():
    text = page.PAGE.read_text()
    assert text == fill(text, page.blocks())
    results = json.loads(RESULTS.read_text())
    assert set(results) == set(PROGRAMS)
    assert all(list(row["grid"]) == [f"{lr:.2e}" for lr in GRID] for row in results.values())
    for row in results.values():
        means = {lr: float(np.mean(losses)) for lr, losses in row["grid"].items()}
        assert min(means, key=means.__getitem__) == f"{row['best_lr']:.2e}"
        assert all(len(losses) == row["seeds"] for losses in row["grid"].values())
        lost = (row["loss"] - row["best_loss"]) / (row["first_loss"] - row["best_loss"])
        assert row["lost"] == pytest.approx(lost)
