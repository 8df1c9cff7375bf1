"""The tasks that are judged by a loss. To add one, write a function like these."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

import lrjax

from . import loss_sources as sources
from . import sources as usual_sources
from .loss_modules import GPT, LSTM, Denoiser, GraphConvolutions, VariationalAutoEncoder
from .loss_problem import LOSS_TASKS, language_model, loss_judged
from .modules import MLP, AutoEncoder
from .problem import benchmark_task, classifier, regressor
from .training import trained

loss_task = functools.partial(benchmark_task, registry=LOSS_TASKS)


@loss_task(optimizer="adamw", steps=200)
def gpt_source_adamw() -> lrjax.Task:
    """Two blocks of attention that read source code, byte by byte."""
    return language_model(GPT(sources.ALPHABET), sources.source_code(), batch_size=16)


@loss_task(optimizer="muon", steps=200)
def gpt_source_muon() -> lrjax.Task:
    """The same with Muon."""
    return language_model(GPT(sources.ALPHABET), sources.source_code(), batch_size=16)


@loss_task(optimizer="adam", steps=200)
def lstm_source_adam() -> lrjax.Task:
    """A recurrent net that reads the same."""
    return language_model(LSTM(sources.ALPHABET), sources.source_code(), batch_size=16)


@loss_task(optimizer="adamw", steps=150)
def finetune_manual_adamw() -> lrjax.Task:
    """What has learnt source code learns the manual's prose."""
    task = language_model(GPT(sources.ALPHABET), sources.source_code(), batch_size=16)
    init = trained(task, optax.adam(3e-3), 600)
    return language_model(GPT(sources.ALPHABET), sources.manual(), batch_size=16, init=init)


@loss_task(optimizer="adam", steps=400)
def diffusion_photos_adam() -> lrjax.Task:
    """The noise in patches of photographs."""
    data = sources.photo_patches()
    module = Denoiser(data.train[0].shape[1])

    def example_losses(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        time_key, noise_key = jax.random.split(key)
        time, noise = jax.random.uniform(time_key, (len(x),)), jax.random.normal(noise_key, x.shape)
        angle = 0.5 * jnp.pi * time[:, None]
        said = module.apply({"params": params}, jnp.cos(angle) * x + jnp.sin(angle) * noise, time)
        return jnp.square(said - noise).mean(-1)

    def init(key: jax.Array) -> Any:
        return module.init(key, data.train[0][:2], jnp.zeros(2))["params"]

    return loss_judged(init, example_losses, data, batch_size=64)


@loss_task(optimizer="adam", steps=400)
def vae_digits_adam() -> lrjax.Task:
    """A variational autoencoder: the negative evidence lower bound, in nats."""
    data = usual_sources.digit_pixels()
    module = VariationalAutoEncoder(data.train[0].shape[1])

    def example_losses(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        logits, mean, log_variance = module.apply({"params": params}, x, key)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance).sum(-1)
        return optax.sigmoid_binary_cross_entropy(logits, y).sum(-1) + divergence

    def init(key: jax.Array) -> Any:
        return module.init(key, data.train[0][:2], key)["params"]

    return loss_judged(init, example_losses, data, batch_size=64)


@loss_task(optimizer="adam", steps=250)
def pinn_heat_adam() -> lrjax.Task:
    """The heat equation, u_t = u_xx / 10 from a sine with ends at 0, by its residual."""
    data, module = sources.heat_points(), MLP(1, (32, 32, 32), "tanh")

    def example_losses(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        def solution(time: jax.Array, place: jax.Array) -> jax.Array:
            return module.apply({"params": params}, jnp.stack([time, place])[None])[0, 0]

        def at(point: jax.Array) -> jax.Array:
            time, place, first, end = point
            curvature = jax.grad(jax.grad(solution, 1), 1)(time, place)
            residual = jax.grad(solution)(time, place) - 0.1 * curvature
            start = solution(jnp.zeros(()), first) - jnp.sin(jnp.pi * first)
            ends = solution(end, jnp.zeros(())) ** 2 + solution(end, jnp.ones(())) ** 2
            return residual**2 + start**2 + ends

        return jax.vmap(at)(x)

    return loss_judged(lambda key: module.init(key, jnp.zeros((1, 2)))["params"], example_losses, data, batch_size=64)


@loss_task(optimizer="adamw", steps=300)
def graph_blocks_adamw() -> lrjax.Task:
    """Groups of the nodes of a random graph by two graph convolutions."""
    graph = sources.block_graph()
    return classifier(GraphConvolutions(4, graph.links, graph.features), graph.nodes, batch_size=40)


@loss_task(optimizer="adam", steps=400)
def noisy_labels_digits_adam() -> lrjax.Task:
    """Two of five labels are drawn at random; judged by the right ones."""
    return classifier(MLP(10, (128,)), sources.noisy_digits(), batch_size=64)


@loss_task(optimizer="momentum", steps=1500)
def overfit_digits_momentum() -> lrjax.Task:
    """100 images, 300 epochs: learnt by heart."""
    return classifier(MLP(10, (64, 64)), sources.few_digits(), batch_size=20)


@loss_task(optimizer="momentum 0.99", steps=1000)
def large_batch_digits_momentum99() -> lrjax.Task:
    """A momentum that lasts a tenth of the training, batches of 256."""
    return classifier(MLP(10, (64, 64)), usual_sources.digits(), batch_size=256)


@loss_task(optimizer="lion", steps=400)
def autoencoder_photos_lion() -> lrjax.Task:
    """Patches of photographs through a code of 8 numbers."""
    data = sources.photo_patches()
    return regressor(AutoEncoder(data.train[1].shape[1]), data, batch_size=64)


@loss_task(optimizer="rmsprop", steps=1000)
def raw_diabetes_rmsprop() -> lrjax.Task:
    """Measurements and targets in their own units: a loss of tens of thousands."""
    return regressor(MLP(1, (64, 64)), sources.raw_diabetes(), batch_size=32)
