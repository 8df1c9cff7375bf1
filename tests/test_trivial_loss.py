"""The loss of the best constant predictor, inferred from the labels where that is sure."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from inside import EvalData, EvalSet, trivial_loss

import lrjax

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 100, 3)).astype(np.float32)
LABELS = RNG.choice(5, size=(4, 100), p=[0.5, 0.2, 0.1, 0.1, 0.1]).astype(np.int32)
TOKENS = RNG.choice(40, size=(2, 8, 129), p=np.arange(1, 41) / 820).astype(np.int32)
GUESSES = math.log(5)


def of(*groups, initial: float = GUESSES) -> float | None:
    groups = tuple(jax.tree.map(jnp.asarray, group) for group in groups)
    return trivial_loss(EvalData(EvalSet(groups, None), jax.random.key(0)), np.array([initial, initial]))


def entropy(values: np.ndarray) -> float:
    shares = np.bincount(np.ravel(values)) / np.size(values)
    return float(-np.sum(shares * np.log(np.where(shares > 0, shares, 1))))


def test_it_is_the_entropy_of_the_labels():
    assert of((X, LABELS)) == pytest.approx(entropy(LABELS), rel=1e-6)
    assert of({"y": LABELS[:3], "x": X[:3]}, {"y": LABELS[3:, :50], "x": X[3:, :50]}) == pytest.approx(
        entropy(np.concatenate([LABELS[:3].ravel(), LABELS[3, :50]])), rel=1e-6
    )


def test_tokens_are_their_own_labels():
    tokens = entropy(TOKENS)
    assert of(TOKENS, initial=1.1 * math.log(40)) == pytest.approx(tokens, rel=1e-6)
    assert of((TOKENS[..., :-1], TOKENS[..., 1:]), initial=math.log(40)) == pytest.approx(tokens, rel=1e-2)
    assert of((TOKENS, LABELS), initial=math.log(40)) == pytest.approx(tokens, rel=1e-6)  # labels are not guessed at


@pytest.mark.parametrize(
    ("groups", "initial"),
    [
        (((X, X[..., 0]),), 1.0),
        (((X, LABELS, LABELS > 0),), GUESSES),
        (((X, LABELS, np.ones((4, 100), np.float32)),), GUESSES),
        (((X, LABELS, (LABELS > 0).astype(np.int32)),), GUESSES),
        (((X, LABELS, np.where(LABELS > 0, LABELS, -100)),), GUESSES),
        (((TOKENS, np.ones((2, 8, 128), np.float32)),), math.log(40)),
        (((X, LABELS - 1),), GUESSES),
        (((X, LABELS),), 0.5 * GUESSES),
        (((X, LABELS),), 1.5 * GUESSES),
        (((X, np.arange(400, dtype=np.int32).reshape(4, 100)),), math.log(400)),
        (((X, np.zeros((4, 100), np.int32)),), 0.0),
        (((X, (255 * np.abs(X)).astype(np.uint8)),), 2.3),
        (((X, np.arange(11_200).reshape(4, 100, 28).astype(np.uint8)),), 2.3),
    ],
    ids=[
        "regression",
        "mask",
        "weights",
        "integer-mask",
        "labels-and-inputs",
        "mask-of-what-follows",
        "ignored",
        "trained",
        "penalty",
        "index",
        "one-class",
        "images",
        "many-images",
    ],
)
def test_where_it_is_not_sure_there_is_none(groups, initial):
    assert of(*groups, initial=initial) is None


def test_a_search_goes_on_until_something_is_better_than_a_constant():
    """The logits' bias is learned at once, as the labels are far from even; the rest when its gradient sets in."""

    def loss_fn(params, batch, key):
        x, y = batch
        return optax.softmax_cross_entropy_with_integer_labels(x @ params["w"] ** 3 + params["b"], y).mean()

    x = RNG.normal(size=(600, 5)).astype(np.float32)
    y = np.where(RNG.random(600) < 0.9, 0, np.argmax(x, axis=1)).astype(np.int32)
    task = lrjax.Task.from_arrays(
        {"w": 0.01 * jnp.ones((5, 5)), "b": jnp.zeros(5)},
        loss_fn,
        train=(x[200:], y[200:]),
        validation=(x[:200], y[:200]),
        batch_size=50,
    )
    strategy = lrjax.StepSampling(num_seeds=1, refine=None, max_lr=0.1)
    result = lrjax.find_lr(task, optax.sgd, strategy, key=jax.random.key(0), executor="vmap")
    assert len(result.stages) > 1
    assert (result.stages[0].progress(None) or 0) > 0.05  # of the untrained model's loss
