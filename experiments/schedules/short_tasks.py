"""Small trainings of 60 to 400 updates that chose nothing in the package: what `lrjax.recommend` is judged on.

To add one, write a function like these.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import sklearn.datasets
from flax import linen as nn

import lrjax
from experiments.benchmark import loss_sources, sources
from experiments.benchmark.loss_modules import GPT
from experiments.benchmark.loss_problem import language_model, loss_judged
from experiments.benchmark.modules import MLP
from experiments.benchmark.problem import Problem, Split, benchmark_task
from experiments.benchmark.training import trained

SHORT_TASKS: dict[str, Callable[[], Problem]] = {}
"""Every one of them, by the name of the function that makes it."""

RANK = 4
"""Of the matrices that fine-tuning adds."""

short_task = functools.partial(benchmark_task, registry=SHORT_TASKS)


def parted(x: Any, y: Any, sizes: tuple[int, int]) -> Split:
    """So many examples to train on and to choose by, the rest to judge by; float32."""
    x, y = (np.asarray(one, np.float32) for one in (x, y))
    ends = [sizes[0], sum(sizes)]
    return Split(*zip(np.split(x, ends), np.split(y, ends), strict=True))


def squared(module: nn.Module, data: Split, *, batch_size: int) -> lrjax.Task:
    """Mean squared error."""

    def example_losses(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.square(module.apply({"params": params}, x) - y).mean(-1)

    return loss_judged(
        lambda key: module.init(key, data.train[0][:2])["params"], example_losses, data, batch_size=batch_size
    )


def labelled(apply: Callable[[Any, jax.Array], jax.Array], init: Any, data: Split, *, batch_size: int) -> lrjax.Task:
    """Cross-entropy."""

    def example_losses(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y.astype(jnp.int32))

    return loss_judged(init, example_losses, data, batch_size=batch_size)


@short_task(optimizer="adamw", steps=150)
def language_adamw() -> lrjax.Task:
    """One block of attention that reads the standard library's sources."""
    module = GPT(loss_sources.ALPHABET, depth=1)
    return language_model(module, loss_sources.source_code(), batch_size=8)


@short_task(optimizer="lion", steps=300)
def vae_patches_lion() -> lrjax.Task:
    """A variational autoencoder of photographs, with squared error."""
    data, code = loss_sources.photo_patches(), 6
    encoder, decoder = MLP(2 * code, (48,)), MLP(data.train[0].shape[1], (48,))

    def init(key: jax.Array) -> Any:
        return encoder.init(key, data.train[0][:2])["params"], decoder.init(key, jnp.zeros((2, code)))["params"]

    def example_losses(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        mean, log_variance = jnp.split(encoder.apply({"params": params[0]}, x), 2, axis=-1)
        drawn = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        said = decoder.apply({"params": params[1]}, drawn)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance).sum(-1)
        return 2.0 * jnp.square(said - y).sum(-1) + divergence

    return loss_judged(init, example_losses, data, batch_size=32)


@short_task(optimizer="adam", steps=200)
def pinn_oscillator_adam() -> lrjax.Task:
    """A damped oscillation, u'' + u' / 2 + 9 u = 0 from u(0) = 1 at rest, by its residual."""
    module = MLP(1, (24, 24), "tanh")
    times = 3.0 * np.random.default_rng(0).random((1792, 1))

    def example_losses(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        def place(time: jax.Array) -> jax.Array:
            return module.apply({"params": params}, time[None, None])[0, 0]

        speed, zero = jax.grad(place), jnp.zeros(())
        start = jnp.square(place(zero) - 1.0) + jnp.square(speed(zero))
        residuals = jax.vmap(lambda t: jax.grad(speed)(t) + 0.5 * speed(t) + 9.0 * place(t))(x[:, 0])
        return jnp.square(residuals / 9.0) + start

    data = parted(times, np.zeros(len(times)), (1024, 256))
    return loss_judged(lambda key: module.init(key, jnp.zeros((1, 1)))["params"], example_losses, data, batch_size=32)


@short_task(optimizer="momentum", steps=300)
def noisy_labels_momentum() -> lrjax.Task:
    """Five classes in 20 dimensions; a third of the labels to train on are drawn anew."""
    x, y = sklearn.datasets.make_classification(
        2304, 20, n_informative=10, n_classes=5, n_clusters_per_class=1, flip_y=0.0, random_state=0
    )
    random, labels = np.random.default_rng(0), y.copy()
    wrong = (random.random(len(y)) < 0.33) & (np.arange(len(y)) < 1536)
    labels[wrong] = random.integers(0, 5, wrong.sum())
    module = MLP(5, (64,))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return module.apply({"params": params}, x)

    return labelled(
        apply,
        lambda key: module.init(key, jnp.zeros((1, 20)))["params"],
        parted(x / x.std(), labels, (1536, 256)),
        batch_size=32,
    )


@short_task(optimizer="rmsprop", steps=200)
def graph_heights_rmsprop() -> lrjax.Task:
    """A height at each node of a geometric graph, from its neighbours' noisy ones."""
    random = np.random.default_rng(0)
    places = random.random((600, 2))
    near = (np.square(places[:, None] - places[None]).sum(-1) < 0.01).astype(np.float32)
    links = near / near.sum(1, keepdims=True)
    heights = np.sin(5 * places[:, 0]) * np.cos(4 * places[:, 1])
    features = np.stack([heights + random.normal(size=600), places[:, 0], places[:, 1]], 1).astype(np.float32)
    inner, outer = MLP(24, (24,)), MLP(1, (24,))

    def init(key: jax.Array) -> Any:
        return inner.init(key, jnp.zeros((1, 3)))["params"], outer.init(key, jnp.zeros((1, 27)))["params"]

    def example_losses(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        told = links @ inner.apply({"params": params[0]}, links @ features)
        node = x.astype(jnp.int32)
        said = outer.apply({"params": params[1]}, jnp.concatenate([told, features], 1)[node])
        return jnp.square(said[:, 0] - y)

    return loss_judged(init, example_losses, parted(np.arange(600), heights, (200, 150)), batch_size=25)


class Recurrent(nn.Module):
    """An LSTM that says the next value."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(1)(nn.RNN(nn.OptimizedLSTMCell(24))(x[..., None])[:, -1])


@short_task(optimizer="adam", steps=200)
def lstm_waves_adam() -> lrjax.Task:
    """The next value of two waves and noise."""
    random = np.random.default_rng(0)
    time, phase = np.arange(17), random.random((2, 2304, 1)) * 2 * np.pi
    waves = np.sin(0.9 * time + phase[0]) + 0.5 * np.sin(2.1 * time + phase[1]) + 0.1 * random.normal(size=(2304, 17))
    return squared(Recurrent(), parted(waves[:, :-1], waves[:, -1:], (1536, 256)), batch_size=32)


@short_task(optimizer="sgd", steps=400)
def values_sgd() -> lrjax.Task:
    """What a walk on a board of 9 x 9 will earn: trained on single walks, judged by the true values."""
    random, size, kept = np.random.default_rng(0), 9, 0.9
    earned = random.normal(size=size * size)
    cells = np.stack(np.divmod(np.arange(size * size), size), 1)
    moves = np.asarray([[0, 1], [1, 0], [0, -1], [-1, 0]])
    targets = np.clip(cells[:, None] + moves, 0, size - 1) @ [size, 1]
    chances = np.zeros((size * size, size * size))
    np.add.at(chances, (np.arange(size * size)[:, None], targets), 0.25)
    true = np.linalg.solve(np.eye(size * size) - kept * chances, earned)
    starts = random.integers(0, size * size, 2048)
    returns, at = np.zeros(2048), starts
    for step in range(60):
        returns += kept**step * earned[at]
        at = targets[at, random.integers(0, 4, 2048)]
    judged = random.integers(0, size * size, 512)
    x, y = np.concatenate([starts, judged]), np.concatenate([returns, true[judged]])[:, None]
    return squared(MLP(1, (48, 48)), parted(cells[x] / 4.0 - 1.0, y, (2048, 256)), batch_size=64)


@short_task(optimizer="adamw", steps=60)
def adapters_digits_adamw() -> lrjax.Task:
    """A net that knows the digits learns them mirrored, by matrices of rank 4 that are added to its own."""
    data = sources.digits()
    module = MLP(10, (64, 64))

    def known(params: Any, x: jax.Array) -> jax.Array:
        return module.apply({"params": params}, x)

    def draw(key: jax.Array) -> Any:
        return module.init(key, data.train[0][:1])["params"]

    base = trained(labelled(known, draw, data, batch_size=64), optax.adam(3e-3), 300)

    def init(key: jax.Array) -> Any:
        keys = iter(jax.random.split(key, 16))
        return {
            name: (
                jax.random.normal(next(keys), (layer["kernel"].shape[0], RANK)) / layer["kernel"].shape[0] ** 0.5,
                jnp.zeros((RANK, layer["kernel"].shape[1])),
            )
            for name, layer in base.items()
        }

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return known(
            {
                name: {**layer, "kernel": layer["kernel"] + params[name][0] @ params[name][1]}
                for name, layer in base.items()
            },
            x,
        )

    mirrored = Split(*((x[:, :, ::-1], y) for x, y in data))
    return labelled(apply, init, mirrored, batch_size=32)
