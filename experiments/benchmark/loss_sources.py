"""The data of the tasks that are judged by a loss: nothing of it needs a download."""

import functools
import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn.datasets

from .problem import Split
from .sources import SHUFFLE, digits

ALPHABET = 128
"""Bytes above are one token, the last."""

CONTEXT = 32
"""Bytes that a language model reads."""


def _library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


@functools.cache
def source_code() -> Split:
    """9,600 / 48 / 80 pieces of 32 bytes, and the bytes that follow each, of the standard library's modules."""
    return _pieces(b"".join(path.read_bytes() for path in sorted(_library().glob("*.py"))))


@functools.cache
def manual() -> Split:
    """The same of the Python manual that `help()` reads: prose."""
    return _pieces((_library() / "pydoc_data" / "topics.py").read_bytes())


def _pieces(text: bytes) -> Split:
    tokens = np.minimum(np.frombuffer(text, np.uint8), ALPHABET - 1).astype(np.int32)
    starts = np.random.default_rng(SHUFFLE).permutation(len(tokens) // (CONTEXT + 1))[:9728] * (CONTEXT + 1)
    rows = tokens[starts[:, None] + np.arange(CONTEXT + 1)]
    return Split(*((part[:, :-1], part[:, 1:]) for part in np.split(rows, [9600, 9648])))


@functools.cache
def photo_patches() -> Split:
    """4,096 / 256 / 512 grey patches of 8 x 8 pixels of two photographs, of mean 0 and deviation 1, as own targets."""
    grey = np.stack(sklearn.datasets.load_sample_images().images).mean(-1)
    random = np.random.default_rng(SHUFFLE)
    corners = [random.integers(0, size, 4864) for size in (len(grey), grey.shape[1] - 8, grey.shape[2] - 8)]
    patches = np.stack([grey[i, y : y + 8, x : x + 8].reshape(-1) for i, y, x in zip(*corners, strict=True)])
    patches = ((patches - grey.mean()) / grey.std()).astype(np.float32)
    return Split(*((part, part) for part in np.split(patches, [4096, 4352])))


@functools.cache
def noisy_digits() -> Split:
    """The digits; two of five labels to train on are drawn anew."""
    data, random = digits(), np.random.default_rng(SHUFFLE)
    labels = data.train[1]
    wrong = random.integers(0, 10, len(labels)).astype(np.int32)
    return data._replace(train=(data.train[0], np.where(random.random(len(labels)) < 0.4, wrong, labels)))


def few_digits() -> Split:
    """100 of the digits to train on."""
    data = digits()
    return data._replace(train=tuple(part[:100] for part in data.train))


@functools.cache
def raw_diabetes() -> Split:
    """250 / 96 / 96 patients as they were measured: neither inputs nor targets are scaled."""
    x, y = sklearn.datasets.load_diabetes(return_X_y=True, scaled=False)
    rows = np.split(np.random.default_rng(SHUFFLE).permutation(len(x)), [250, 346])
    return Split(*((x[part].astype(np.float32), y[part, None].astype(np.float32)) for part in rows))


@functools.cache
def heat_points() -> Split:
    """2,048 / 256 / 512 places (time, x, x at the start, time at the ends) between 0 and 1; no targets."""
    points = np.random.default_rng(SHUFFLE).random((2816, 4)).astype(np.float32)
    return Split(*((part, np.zeros(len(part), np.float32)) for part in np.split(points, [2048, 2304])))


class Graph(NamedTuple):
    """Nodes of four groups.

    Attributes:
      links: between nodes, each and itself among them, with symmetric normalisation, shape (nodes, nodes).
      features: shape (nodes, 16): the first four hint at the group, all have noise of deviation 1.
      nodes: 80 / 160 / 160 numbers and groups of nodes.
    """

    links: np.ndarray
    features: np.ndarray
    nodes: Split


@functools.cache
def block_graph() -> Graph:
    """A stochastic block model: 400 nodes, linked with a chance of 5 % within a group and 1 % between groups."""
    random = np.random.default_rng(SHUFFLE)
    groups = random.integers(0, 4, 400).astype(np.int32)
    chance = np.where(groups[:, None] == groups, 0.05, 0.01)
    linked = np.triu(random.random((400, 400)) < chance, 1)
    linked = (linked | linked.T | np.eye(400, dtype=bool)).astype(np.float32)
    links = linked / np.sqrt(linked.sum(0) * linked.sum(1)[:, None])
    features = random.normal(size=(400, 16)).astype(np.float32)
    features[np.arange(400), groups] += 1.0
    parts = np.split(np.arange(400, dtype=np.int32), [80, 240])
    return Graph(links, features, Split(*((part, groups[part]) for part in parts)))
