"""Loaders of other libraries."""

import functools

import numpy as np
import optax
import pytest
from tiny import check_message
from toy_data import X, Y, curve

import lrjax
from lrjax.integrations.data import epochs

ROWS = [{"x": X[i : i + 16], "y": Y[i : i + 16], "name": "a"} for i in range(0, 64, 16)]


def loss_fn(params, batch, key):
    return ((batch[0] @ params - batch[1]) ** 2).mean()


def losses_of(train_batches, **options):
    task = lrjax.Task.from_batches(
        np.zeros(4, np.float32), loss_fn, train_batches=train_batches, eval_batches=[(X[60:], Y[60:])], **options
    )
    return np.asarray(curve(task, optax.sgd).losses)


@functools.cache
def wanted():
    return losses_of([(row["x"], row["y"]) for row in ROWS])


def test_columns_of_dicts_and_several_epochs():
    batches = epochs(ROWS[:2], columns=("x", "y"))
    np.testing.assert_array_equal(next(batches(0))[0], next(batches(1))[0])
    np.testing.assert_array_equal(losses_of(epochs(ROWS, columns=("x", "y"))), wanted())


def test_samplers_are_told_the_epoch():
    class Loader(list):
        def set_epoch(self, epoch):
            self.epoch = epoch

    loader = Loader(ROWS)
    next(epochs(loader, columns=["x"])(3))
    assert loader.epoch == 3


def test_a_torch_loader_with_gradients_and_bfloat16():
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'lrjax[torch]'")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X[:64]), torch.from_numpy(Y[:64]))
    loader = torch.utils.data.DataLoader(data, batch_size=16)
    np.testing.assert_array_equal(losses_of(epochs(loader)), wanted())
    low, grad = next(epochs([(torch.ones(2, dtype=torch.bfloat16), torch.ones(2, requires_grad=True))])(0))
    assert low.dtype == "bfloat16"
    assert grad.tolist() == [1.0, 1.0]
    ragged = torch.utils.data.DataLoader(data, batch_size=30)
    with pytest.raises(ValueError, match="drop_last=True"):
        losses_of(epochs(ragged))


@pytest.mark.filterwarnings("ignore")
def test_a_tensorflow_pipeline():
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'lrjax[tensorflow]'")
    dataset = tf.data.Dataset.from_tensor_slices({"x": X[:64], "y": Y[:64]}).batch(16)
    np.testing.assert_array_equal(losses_of(epochs(dataset, columns=("x", "y"))), wanted())
    np.testing.assert_array_equal(losses_of(dataset.map(lambda row: (row["x"], row["y"]))), wanted())


@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_dataset():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lrjax[datasets]'")
    dataset = datasets.Dataset.from_dict({"x": list(X), "y": Y, "name": ["a"] * len(X)})
    batches = epochs(dataset, columns=("x", "y"), batch_size=16, shuffle=False)
    np.testing.assert_allclose(losses_of(batches), wanted(), rtol=1e-5)
    assert len(list(epochs(dataset, columns=("x", "y"), batch_size=30)(0))) == 2
    first, second = (next(epochs(dataset, columns=("y",), batch_size=80)(epoch))[0] for epoch in (0, 1))
    assert sorted(first) == sorted(second)
    assert list(first) != list(second)


class Dataset:
    """What a Hugging Face dataset has of its methods."""

    def __init__(self, order=range(8)):
        self.order = list(order)

    def with_format(self, name):
        return self

    def shuffle(self, seed):
        return Dataset(np.random.default_rng(seed).permutation(self.order))

    def iter(self, batch_size, drop_last_batch):
        return iter([{"x": np.asarray(self.order)}])


def test_every_epoch_has_an_order_of_its_own():
    orders = [next(epochs(Dataset(), columns=("x",), batch_size=8)(epoch))[0].tolist() for epoch in range(5)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert next(epochs(Dataset(), columns=("x",), batch_size=8, shuffle=False)(3))[0].tolist() == list(range(8))


def test_a_loader_is_told_its_epoch():
    told = []

    class Sampled(list):
        class sampler:
            set_epoch = told.append

    every = epochs(Sampled([(X, Y)]))
    for epoch in (0, 1, 2):
        next(every(epoch))
    assert told == [0, 1, 2]


class Rows:
    def with_format(self, name):
        return self

    def iter(self, batch_size, drop_last_batch):
        return iter(ROWS)


CASES = {
    "a number": (lambda: epochs(3), TypeError, ["(loader=...)", "got 3 (int)"]),
    "an iterator": (lambda: epochs(iter(ROWS)), TypeError, ["can be read again", "list_iterator", "not an iterator"]),
    "rows without batch_size": (lambda: epochs(Rows()), TypeError, ["(batch_size=...)", "Hugging Face", "rows"]),
    "batch_size of a loader": (
        lambda: epochs(ROWS, batch_size=4),
        TypeError,
        ["must be None for list", "Set the size"],
    ),
    "one name": (lambda: epochs(ROWS, columns="x"), TypeError, ["sequence of names", "Write ('x',)"]),
    "a missing column": (
        lambda: next(epochs(ROWS, columns=("x", "label"))(0)),
        ValueError,
        ["names 'label'", "['x', 'y', 'name']"],
    ),
    "columns of tuples": (lambda: next(epochs([(X, Y)], columns=("x",))(0)), ValueError, ["a batch has tuple"]),
    "strings": (lambda: losses_of(epochs(ROWS)), TypeError, ["arrays of numbers", "['name']"]),
}


@pytest.mark.parametrize(("bad", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_explained(bad, error, parts):
    check_message(bad, error, parts)
