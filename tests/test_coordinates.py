"""The coordinate check: it tells muP from standard parametrisation and from deliberate mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow_but_for
from matplotlib.figure import Figure

import lrjax
from lrjax.scaling import coordinate_check, mup, rescale_init

X = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
Y = np.tanh(X[:, 0] + 0.5 * X[:, 1])
WIDTHS = [32, 64, 128, 256]
SIZES = {"first": (8, None), "hidden": (None, None), "last": (None, 1)}


def shapes(width):
    sizes = {name: tuple(size or width for size in shape) for name, shape in SIZES.items()}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in sizes.items()}


def init(key, width):
    draws = zip(shapes(width).items(), jax.random.split(key, 3), strict=True)
    return {name: jax.random.normal(one, leaf.shape) / leaf.shape[0] ** 0.5 for (name, leaf), one in draws}


def activations(params, batch):
    first = jnp.tanh(batch[0] @ params["first"])
    hidden = jnp.tanh(first @ params["hidden"])
    return {"first": first, "hidden": hidden, "output": hidden @ params["last"]}


def loss_fn(params, batch, key):
    return jnp.mean((activations(params, batch)["output"][:, 0] - batch[1]) ** 2)


BASE = init(jax.random.key(9), 32)


def models(optimizer, rule, *, scaled=True, rescaled=True, kinds=None, looked_at=activations):
    """A `make_model` with these mistakes."""

    def make_model(width):
        begin = (lambda key: rescale_init(init(key, width), BASE)) if rescaled else (lambda key: init(key, width))
        data = {"train": (X, Y), "validation": (X, Y), "batch_size": 64}
        task = lrjax.Task.from_arrays(begin, loss_fn, **data)
        chosen = mup(optimizer, base=BASE, params=shapes(width), rule=rule, kinds=kinds) if scaled else optimizer
        return (task, chosen, looked_at) if looked_at else (task, chosen)

    return make_model


ADAM, SGD = (optax.adam, "adam"), (optax.sgd, "sgd")
CASES = {
    "muP": (ADAM, {}, "muP", ""),
    "muP, SGD": (SGD, {}, "muP", ""),
    "muP, parameters": (ADAM, {"looked_at": None}, "muP", ""),
    "standard": (ADAM, {"scaled": False, "rescaled": False}, "not muP", "hidden"),
    "hidden lr not scaled": (ADAM, {"kinds": {"hidden": "input"}}, "not muP", "hidden"),
    "output lr as hidden": (SGD, {"kinds": {"last": "hidden"}}, "not muP", "output"),
    "init not rescaled": (ADAM, {"rescaled": False}, "not muP", "output"),
    "init not rescaled, parameters": (ADAM, {"rescaled": False, "looked_at": None}, "not muP", "last"),
}


@pytest.mark.parametrize("case", slow_but_for(CASES, ["init not rescaled"]))
def test_it_tells_mup_from_mistakes(case):
    optimizer, mistake, verdict, named = CASES[case]
    lr = 0.02 if optimizer is ADAM else 0.1
    found = coordinate_check(models(*optimizer, **mistake), WIDTHS, lr=lr, key=jax.random.key(1))
    assert found.verdict == verdict, found.summary()
    assert named in found.summary()
    assert found.sizes["hidden"].shape == (4, 8, 5)


def test_a_model_whose_output_grows_is_named():
    def grown(params, batch):
        seen = activations(params, batch)
        return seen | {"output": seen["output"] * params["hidden"].shape[0]}

    found = coordinate_check(models(*ADAM, looked_at=grown), WIDTHS, lr=0.02, key=jax.random.key(1), num_steps=1)
    assert found.verdict == "not muP"
    assert "Warning, output blows up at the start" in found.summary()
    assert found.plot().get_title(loc="left") == "Coordinate check: not muP"
    axes = Figure(figsize=(8, 3), layout="constrained").subplots(1, 2)
    for ax in axes:
        found.plot(ax)
    axes[0].figure.draw_without_rendering()
    names = [text.get_window_extent() for text in axes[0].texts if text.get_text().startswith(" ")]
    assert names
    assert max(name.x1 for name in names) <= axes[0].get_window_extent().x1 + 2
    assert np.diff(sorted(name.y0 for name in names)).min() > 8
    assert "output" in found._repr_html_()


GOOD = models(*ADAM)
BAD = {
    "two equal widths": (GOOD, [64, 64, 128], ValueError, "different widths, got 64 twice"),
    "two widths": (GOOD, [64, 128], ValueError, "at least three widths"),
    "no widths": (GOOD, 64, TypeError, "such as [64, 128, 256], got 64"),
    "a width of 0": (GOOD, [0, 64, 128], ValueError, ">= 1"),
    "width not used": (lambda width: GOOD(32), WIDTHS, ValueError, "Does it use its argument?"),
    "no tuple": (lambda width: GOOD(width)[0], WIDTHS, TypeError, "make_model(width) -> (task, make_optimizer)"),
    "an optimizer": (lambda width: (GOOD(width)[0], optax.adam(1.0)), WIDTHS, TypeError, "Pass optax.adam"),
    "no names": (models(*ADAM, looked_at=lambda params, batch: batch[0]), WIDTHS, TypeError, "{name: array}"),
}


@pytest.mark.parametrize(("make_model", "widths", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(make_model, widths, error, message):
    with pytest.raises(error) as caught:
        coordinate_check(make_model, widths, lr=0.1, key=jax.random.key(0), num_seeds=1, num_steps=1)
    assert message in str(caught.value)


def test_a_learning_rate_that_diverges_at_the_smallest_width_is_no_verdict():
    with pytest.raises(ValueError, match=r"trains at the smallest width, 32, where lr=1e\+30 diverges"):
        coordinate_check(GOOD, WIDTHS, lr=1e30, key=jax.random.key(0), num_seeds=1, num_steps=2)
