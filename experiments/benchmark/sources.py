"""The data sets of the benchmark, each cut into training, validation and test parts with a fixed shuffle."""

import collections
import functools
import re

import numpy as np
import sklearn.datasets

from experiments.data.ag_news import load_ag_news
from experiments.data.hymenoptera import load_hymenoptera
from experiments.data.places import data_folder

from .problem import Split

SHUFFLE = 20_240_501


def _cut(x: np.ndarray, y: np.ndarray, train: int, validation: int) -> Split:
    """The first `train` examples of a fixed shuffle, the next `validation` ones, and the rest."""
    order = np.random.default_rng(SHUFFLE).permutation(len(x))
    parts = np.split(order, [train, train + validation])
    return Split(*((x[rows], y[rows]) for rows in parts))


def _standardised(x: np.ndarray, train: int) -> np.ndarray:
    """Columns of mean 0 and deviation 1 over the examples that `_cut` trains on."""
    rows = np.random.default_rng(SHUFFLE).permutation(len(x))[:train]
    return ((x - x[rows].mean(0)) / (x[rows].std(0) + 1e-6)).astype(np.float32)


@functools.cache
def digits() -> Split:
    """1,200 / 256 / 341 images of handwritten digits, 8 x 8 pixels from 0 to 1, channel last."""
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    return _cut((images.reshape(-1, 8, 8, 1) / 16).astype(np.float32), labels.astype(np.int32), 1200, 256)


@functools.cache
def digits_below(limit: int, *, below: bool) -> Split:
    """The digits whose label is below the limit, or the others with labels from 0."""
    parts = []
    for x, y in digits():
        rows = (y < limit) == below
        parts.append((x[rows], y[rows] if below else y[rows] - limit))
    return Split(*parts)


def digit_rows() -> Split:
    """The digits as sequences of 8 rows of 8 pixels."""
    return Split(*((x[..., 0], y) for x, y in digits()))


def digit_pixels() -> Split:
    """The digits as their own targets."""
    return Split(*((x.reshape(-1, 64), x.reshape(-1, 64)) for x, _ in digits()))


@functools.cache
def breast_cancer() -> Split:
    """313 / 128 / 128 tumours, 30 standardised measurements, benign or malignant."""
    x, y = sklearn.datasets.load_breast_cancer(return_X_y=True)
    return _cut(_standardised(x, 313), y.astype(np.int32), 313, 128)


@functools.cache
def wine() -> Split:
    """90 / 30 / 58 wines, 13 standardised measurements, 3 growers."""
    x, y = sklearn.datasets.load_wine(return_X_y=True)
    return _cut(_standardised(x, 90), y.astype(np.int32), 90, 30)


@functools.cache
def diabetes() -> Split:
    """250 / 96 / 96 patients, 10 standardised measurements and the disease's progression, standardised."""
    x, y = sklearn.datasets.load_diabetes(return_X_y=True)
    return _cut(_standardised(x, 250), _standardised(y[:, None], 250), 250, 96)


VOCABULARY = 2000
TOKENS = 32


@functools.cache
def ag_news() -> Split:
    """4,999 / 256 / 1,000 news articles: 2,000 words as tokens (0: none, 1: any other), 4 subjects."""
    news = load_ag_news(data_folder(None))
    counts = collections.Counter(word for text in news.train.texts for word in _words(text))
    commonest = sorted(counts, key=lambda word: (-counts[word], word))[: VOCABULARY - 2]
    number = {word: index + 2 for index, word in enumerate(commonest)}

    def encode(texts: list[str]) -> np.ndarray:
        tokens = np.zeros((len(texts), TOKENS), np.int32)
        for row, text in enumerate(texts):
            found = [number.get(word, 1) for word in _words(text)][:TOKENS]
            tokens[row, : len(found)] = found
        return tokens

    rows = np.random.default_rng(SHUFFLE).permutation(len(news.test.texts))[:1256]
    x, y = encode([news.test.texts[row] for row in rows]), news.test.labels[rows].astype(np.int32)
    train = (encode(news.train.texts), news.train.labels.astype(np.int32))
    return Split(train, (x[:256], y[:256]), (x[256:], y[256:]))


@functools.cache
def word_counts() -> Split:
    """The news articles as counts of words, each a vector of length 1."""

    def count(tokens: np.ndarray) -> np.ndarray:
        counts = np.zeros((len(tokens), VOCABULARY), np.float32)
        np.add.at(counts, (np.arange(len(tokens))[:, None], tokens), 1.0)
        counts[:, 0] = 0
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-6)

    return Split(*((count(x), y) for x, y in ag_news()))


SIDE = 48


@functools.cache
def hymenoptera() -> Split:
    """244 / 60 / 93 photographs of ants and bees, 48 x 48 pixels from -1 to 1."""
    photos = load_hymenoptera(data_folder(None), SIDE)
    margin = (photos.train_images.shape[1] - SIDE) // 2
    middle = slice(margin, margin + SIDE)
    order = np.random.default_rng(SHUFFLE).permutation(len(photos.val_labels))
    first, rest = order[:60], order[60:]

    def scaled(images: np.ndarray) -> np.ndarray:
        return (images.astype(np.float32) / 127.5 - 1).astype(np.float32)

    train = scaled(photos.train_images[:, middle, middle]), photos.train_labels.astype(np.int32)
    images, labels = scaled(photos.val_images), photos.val_labels.astype(np.int32)
    return Split(train, (images[first], labels[first]), (images[rest], labels[rest]))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())
