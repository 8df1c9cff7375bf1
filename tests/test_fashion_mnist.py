"""The loader of Fashion-MNIST, on small files of the same format."""

import gzip
import struct

import numpy as np
import pytest

from experiments.data.fashion_mnist import load_fashion_mnist

SHAPES = {"train": 3, "t10k": 2}


def idx(array, kind=8):
    return bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, **replaced):
    """Files of five images; `replaced` has other bytes for the file whose name begins so."""
    folder.mkdir(exist_ok=True)
    for part, count in SHAPES.items():
        images = np.arange(count * 28 * 28, dtype=np.uint8).reshape(count, 28, 28)
        for name, array in {"images-idx3": images, "labels-idx1": np.arange(count, dtype=np.uint8)}.items():
            data = replaced.get(f"{part}_{name[:6]}", gzip.compress(idx(array)))
            if data is not None:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(data)
    return folder


def test_the_four_files_are_read_from_their_folder_and_from_the_one_around_it(tmp_path):
    write(tmp_path / "fashion-mnist")
    for folder in (tmp_path, tmp_path / "fashion-mnist"):
        read = load_fashion_mnist(folder)
        assert [len(part) for part in read] == [3, 3, 2, 2]
        assert read.train_images.shape == (3, 28, 28)
        assert read.train_images[1, 0, 0] == 784 % 256
        assert read.test_labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("replaced", "error", "message"),
    [
        ({"train_images": None}, FileNotFoundError, r"train-images-idx3-ubyte.gz is missing.*apt-get install"),
        ({"t10k_labels": b"no gzip"}, ValueError, r"t10k-labels-idx1-ubyte.gz` must be compressed"),
        ({"train_labels": gzip.compress(idx(np.zeros(3, np.uint8)))[:-9]}, ValueError, r"must be compressed"),
        ({"train_images": gzip.compress(b"\0\0")}, ValueError, r"\(examples, 28, 28\), got 2 bytes"),
        ({"train_images": gzip.compress(idx(np.zeros((3, 28, 27), np.uint8)))}, ValueError, r"\(examples, 28, 28\)"),
        ({"train_images": gzip.compress(idx(np.zeros((3, 28, 28), np.uint8))[:-1])}, ValueError, r"got 2367 bytes"),
        ({"train_labels": gzip.compress(idx(np.zeros(3, np.uint8), 13))}, ValueError, r"00 00 0d 01"),
        ({"train_labels": gzip.compress(idx(np.zeros(4, np.uint8)))}, ValueError, r"3 images and 4 labels"),
        ({"train_labels": gzip.compress(idx(np.full(3, 10, np.uint8)))}, ValueError, r"from 0 to 9.*up to 10"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, replaced, error, message):
    with pytest.raises(error, match=message):
        load_fashion_mnist(write(tmp_path / "fashion-mnist", **replaced))
