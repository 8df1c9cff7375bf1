"""The embedded default problem: handwritten digits and a small network."""

import functools
import importlib.resources

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._checks import check_count
from .._engine import Task
from .._types import Array, Batch, Float, Int, Key

PIXELS, CLASSES, HELD_OUT = 64, 10, 256


@functools.cache
def load_digits() -> tuple[Float[np.ndarray, "examples pixels"], Int[np.ndarray, " examples"]]:
    """1,797 images of handwritten digits, 8 x 8 pixels scaled to [0, 1], and their labels 0-9.

    Returns:
      Images, float32, shape (1797, 64), and labels, int32, shape (1797,).

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    1998 (CC BY 4.0), the test part.
    """
    with importlib.resources.files("lrjax.demos").joinpath("digits.npz").open("rb") as file:
        data = np.load(file)
        images, labels = data["images"], data["labels"]
    return (images.reshape(-1, PIXELS) / 16.0).astype(np.float32), labels.astype(np.int32)


def digits(*, hidden: int = 64, batch_size: int = 64) -> Task:
    """Classify handwritten digits with one hidden layer of ReLUs.

    Args:
      hidden: units of the hidden layer, >= 1.
      batch_size: training examples in a batch, 1 to 1541.

    Returns:
      A task with 1,541 training and 256 validation images, cross-entropy loss in nats, and accuracy as a metric.

    Raises:
      ValueError: an argument is out of its range.

    Examples:
      >>> from lrjax.demos import digits
      >>> len(digits(batch_size=128).eval_batches)
      1
    """
    hidden = check_count("digits(hidden=...)", hidden, unit="units")
    return Task.from_arrays(
        functools.partial(_init, hidden=hidden),
        _loss_fn,
        train=tuple(part[HELD_OUT:] for part in load_digits()),
        validation=tuple(part[:HELD_OUT] for part in load_digits()),
        batch_size=batch_size,
        eval_batch_size=HELD_OUT,
        eval_fn=_eval_fn,
        baseline_loss=float(np.log(CLASSES)),
    )


def _init(key: Key, *, hidden: int) -> dict[str, Array]:
    draws = jax.random.uniform(key, (PIXELS * hidden + hidden * CLASSES,), minval=-1, maxval=1)
    first, second = draws[: PIXELS * hidden], draws[PIXELS * hidden :]
    return {
        "w1": first.reshape(PIXELS, hidden) * np.float32((6 / PIXELS) ** 0.5),
        "b1": jnp.zeros(hidden),
        "w2": second.reshape(hidden, CLASSES) * np.float32((3 / hidden) ** 0.5),
        "b2": jnp.zeros(CLASSES),
    }


def _logits(params: dict[str, Array], images: Array) -> Array:
    return jax.nn.relu(images @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]


def _loss_fn(params: dict[str, Array], batch: Batch, key: Key) -> Array:
    images, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(_logits(params, images), labels).mean()


def _eval_fn(params: dict[str, Array], batch: Batch) -> dict[str, Array]:
    images, labels = batch
    logits = _logits(params, images)
    return {
        "loss": optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(),
        "accuracy": jnp.mean(logits.argmax(-1) == labels),
    }
