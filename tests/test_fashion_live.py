"""The problems of DeepOBS that are trained live: their networks, what is measured, and the page's numbers."""

import functools
import json

import jax
import numpy as np
import optax
import problems
import pytest
from marks import slow

from experiments.blocks import fill
from experiments.data.fashion_mnist import Clothes
from experiments.fashion import live, page
from experiments.fashion.networks import VALIDATION, cnn_task, vae_task

CNN_SHAPES = {
    "Conv_0": ((5, 5, 1, 32), (32,)),
    "Conv_1": ((5, 5, 32, 64), (64,)),
    "Dense_0": ((7 * 7 * 64, 1024), (1024,)),
    "Dense_1": ((1024, 10), (10,)),
}
VAE_SHAPES = {
    "Conv_0": ((4, 4, 1, 64), (64,)),
    "Conv_1": ((4, 4, 64, 64), (64,)),
    "Conv_2": ((4, 4, 64, 64), (64,)),
    "Dense_0": ((7 * 7 * 64, 8), (8,)),
    "Dense_1": ((7 * 7 * 64, 8), (8,)),
    "Dense_2": ((8, 24), (24,)),
    "Dense_3": ((24, 49), (49,)),
    "ConvTranspose_0": ((4, 4, 1, 64), (64,)),
    "ConvTranspose_1": ((4, 4, 64, 64), (64,)),
    "ConvTranspose_2": ((4, 4, 64, 64), (64,)),
    "Dense_4": ((14 * 14 * 64, 784), (784,)),
}
"""Kernels and biases of DeepOBS's layers."""


def clothes():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (VALIDATION + 4, 28, 28), np.uint8)
    labels = rng.integers(0, 10, len(images), np.int32)
    return Clothes(images, labels, images[:1], labels[:1])


@functools.cache
def begun(make_task):
    task = make_task(clothes(), 4)
    return task, task.init(jax.random.key(0))


@pytest.mark.parametrize(
    ("make_task", "shapes", "first"), [(cnn_task, CNN_SHAPES, np.log(10)), slow(vae_task, VAE_SHAPES, 784 / 12)]
)
def test_a_network_has_the_layers_of_deepobs_and_learns(make_task, shapes, first):
    """Before training all classes are equal; an image of 0.5 is 1/12 from each pixel that is uniform in 0 to 1."""
    task, params = begun(make_task)
    got = {name: (layer["kernel"].shape, layer["bias"].shape) for name, layer in params["params"].items()}
    assert got == shapes
    batch = jax.tree.map(lambda leaf: leaf[0], task.sample_batches(jax.random.key(0), 1))
    losses, step = [], jax.jit(jax.value_and_grad(task.loss_fn))
    for _ in range(2):
        loss, grads = step(params, batch, jax.random.key(1))
        params = optax.apply_updates(params, jax.tree.map(lambda g: -1e-4 * g, grads))
        losses.append(float(loss))
    assert losses[0] == pytest.approx(first, rel=0.2)
    assert losses[1] < losses[0]


def test_initial_values_are_those_of_deepobs():
    """Truncated at two standard deviations, without making up for it, and biases of 0.05."""
    params = begun(cnn_task)[1]["params"]
    kernel = np.asarray(params["Dense_0"]["kernel"])
    assert abs(kernel).max() <= 0.1
    assert kernel.std() == pytest.approx(0.88 * 0.05, rel=0.01)
    assert all((layer["bias"] == 0.05).all() for layer in params.values())


@pytest.fixture(scope="module")
def subject():
    return live.Subject("none", lambda _: problems.regression(), optax.sgd, (-2.0, -1.2), (1, 20, 30), 1.0)


def test_curves_are_means_of_the_last_tenth_of_the_training_losses(subject, tmp_path):
    told = live.train_curve(subject, problems.regression(), tmp_path / "curve")
    assert np.allclose(told["log10_lrs"], [-2.0, -1.6, -1.2])
    assert [len(told["losses"][n]) for n in (1, 20, 30)] == [3, 3, 3]
    assert len(set(np.round(told["losses"][1], 6))) == 1  # before the first update no learning rate matters
    assert (np.diff(told["losses"][20]) < 0).all()
    minibatch = np.arange(60.0).reshape(2, 30)
    assert live.last_tenth(minibatch, 20).tolist() == [18.5, 48.5]
    assert live.last_tenth(minibatch, 1).tolist() == [0.0, 30.0]


def test_what_a_search_found_is_told_with_its_stages(subject, tmp_path):
    told = live.search(subject, 200, problems.regression(), tmp_path / "search")
    assert told["outcome"] == "found"
    assert told["trainings"] <= 1.0
    assert told["stages"][0]["log10_lrs"].tolist() == pytest.approx(np.arange(-5, 2.1, 0.5).tolist())


RECORDS = {
    "log10_lrs": [-3.0, -2.0, -1.0, 0.0],
    "scores": [90.0, 91.5, 92.0, 10.0],
    "last_test_losses": [0.3, 0.4, 0.8, "nan"],
}


def test_a_choice_is_judged_by_the_end_of_the_recorded_training():
    told = page.ending(RECORDS, -1.5)
    assert (told.points, told.test_loss) == pytest.approx((0.25, 0.6))
    assert told.decades == pytest.approx((-0.5, 1.5))
    assert page.good_range(RECORDS) == (-2.0, -1.0)


def test_the_numbers_of_the_page_come_from_the_results():
    text, results = page.PAGE.read_text(), page.read_results()
    assert fill(text, page.blocks(results)) == text
    for name, plan in json.loads(live.RESULTS.read_text())["plans"].items():
        assert plan["config"]["budget"] == live.SUBJECTS[name].budget
