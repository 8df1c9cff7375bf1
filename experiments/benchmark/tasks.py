"""The tasks of the benchmark. To add one, write a function like these."""

import functools
from typing import Any

import optax

import lrjax

from . import sources
from .modules import CNN, GRU, MLP, AutoEncoder, BagOfEmbeddings, DroppedMLP, Linear, ResNet, Transformer
from .problem import benchmark_task, classifier, regressor
from .training import trained


@benchmark_task(optimizer="sgd", steps=500)
def linear_diabetes_sgd() -> lrjax.Task:
    """Linear regression."""
    return regressor(Linear(1), sources.diabetes(), batch_size=32)


@benchmark_task(optimizer="adam", steps=500)
def mlp_diabetes_adam() -> lrjax.Task:
    """Regression with hidden layers, which overfit."""
    return regressor(MLP(1, (64, 64)), sources.diabetes(), batch_size=32)


@benchmark_task(optimizer="sgd", steps=500)
def logistic_cancer_sgd() -> lrjax.Task:
    """Logistic regression."""
    return classifier(Linear(2), sources.breast_cancer(), batch_size=32)


@benchmark_task(optimizer="rmsprop", steps=500)
def mlp_cancer_rmsprop() -> lrjax.Task:
    """A small MLP on a table."""
    return classifier(MLP(2, (32,)), sources.breast_cancer(), batch_size=32)


@benchmark_task(optimizer="lion", steps=300)
def mlp_wine_lion() -> lrjax.Task:
    """An easy table: almost any learning rate works."""
    return classifier(MLP(3, (32,)), sources.wine(), batch_size=16)


@benchmark_task(optimizer="sgd", steps=1000)
def mlp_digits_sgd() -> lrjax.Task:
    """A small MLP on images."""
    return classifier(MLP(10), sources.digits(), batch_size=64)


@benchmark_task(optimizer="adam", steps=1000)
def mlp_digits_adam() -> lrjax.Task:
    """The same with Adam."""
    return classifier(MLP(10), sources.digits(), batch_size=64)


@benchmark_task(optimizer="muon", steps=500)
def mlp_digits_muon() -> lrjax.Task:
    """Two hidden layers, orthogonalised updates."""
    return classifier(MLP(10, (64, 64)), sources.digits(), batch_size=64)


@benchmark_task(optimizer="lion", steps=1000)
def dropout_digits_lion() -> lrjax.Task:
    """An MLP with dropout."""
    return classifier(DroppedMLP(10), sources.digits(), batch_size=64)


@benchmark_task(optimizer="adagrad", steps=1000)
def logistic_digits_adagrad() -> lrjax.Task:
    """Logistic regression with ten classes."""
    return classifier(Linear(10), sources.digits(), batch_size=64)


@benchmark_task(optimizer="sgd", steps=2000)
def deep_tanh_digits_sgd() -> lrjax.Task:
    """Six hidden layers of tanh."""
    return classifier(MLP(10, (32,) * 6, "tanh"), sources.digits(), batch_size=64)


@benchmark_task(optimizer="momentum", steps=500)
def cnn_digits_momentum() -> lrjax.Task:
    """Two convolutions."""
    return classifier(CNN(10), sources.digits(), batch_size=32)


@benchmark_task(optimizer="adamw", steps=500)
def cnn_digits_adamw() -> lrjax.Task:
    """The same with AdamW."""
    return classifier(CNN(10), sources.digits(), batch_size=32)


@benchmark_task(optimizer="momentum", steps=400)
def resnet_digits_momentum() -> lrjax.Task:
    """A residual net with BatchNorm."""
    return classifier(ResNet(10), sources.digits(), batch_size=32)


@benchmark_task(optimizer="rmsprop", steps=800)
def gru_digits_rmsprop() -> lrjax.Task:
    """A recurrent net over the rows of an image."""
    return classifier(GRU(10), sources.digit_rows(), batch_size=32)


@benchmark_task(optimizer="adam", steps=800)
def transformer_digits_adam() -> lrjax.Task:
    """A block of attention over the rows of an image."""
    return classifier(Transformer(10), sources.digit_rows(), batch_size=32)


@benchmark_task(optimizer="adam", steps=1000)
def autoencoder_digits_adam() -> lrjax.Task:
    """Images through a code of 8 numbers: first the mean image is learnt, then the rest."""
    return regressor(AutoEncoder(64), sources.digit_pixels(), batch_size=64)


@benchmark_task(optimizer="momentum", steps=1000)
def autoencoder_digits_momentum() -> lrjax.Task:
    """The same with momentum."""
    return regressor(AutoEncoder(64), sources.digit_pixels(), batch_size=64)


@benchmark_task(optimizer="sgd", steps=500)
def linear_news_sgd() -> lrjax.Task:
    """A bag of words: small numbers, so that learning is slow at first."""
    return classifier(Linear(4), sources.word_counts(), batch_size=64)


@benchmark_task(optimizer="adamw", steps=1000)
def embeddings_news_adamw() -> lrjax.Task:
    """A bag of embeddings."""
    return classifier(BagOfEmbeddings(4, sources.VOCABULARY), sources.ag_news(), batch_size=32)


@benchmark_task(optimizer="adagrad", steps=500)
def embeddings_news_adagrad() -> lrjax.Task:
    """The same with Adagrad, made for rare words."""
    return classifier(BagOfEmbeddings(4, sources.VOCABULARY), sources.ag_news(), batch_size=32)


@benchmark_task(optimizer="adam", steps=400)
def gru_news_adam() -> lrjax.Task:
    """A recurrent net over words."""
    return classifier(GRU(4, vocabulary=sources.VOCABULARY), sources.ag_news(), batch_size=16)


@benchmark_task(optimizer="adamw", steps=400)
def transformer_news_adamw() -> lrjax.Task:
    """A block of attention over words."""
    return classifier(Transformer(4, vocabulary=sources.VOCABULARY), sources.ag_news(), batch_size=16)


@benchmark_task(optimizer="momentum", steps=300)
def resnet_hymenoptera_momentum() -> lrjax.Task:
    """A residual net from scratch on 244 photographs: more noise than signal."""
    return classifier(ResNet(2, (8, 16, 32)), sources.hymenoptera(), batch_size=16)


@benchmark_task(optimizer="adamw", steps=300)
def finetune_digits_adamw() -> lrjax.Task:
    """An MLP that has learnt 0 to 4 learns 5 to 9."""
    return classifier(MLP(5, (64, 64)), _high_digits(), batch_size=32, init=_pretrained())


@benchmark_task(optimizer="momentum", steps=300)
def finetune_digits_momentum() -> lrjax.Task:
    """The same with momentum."""
    return classifier(MLP(5, (64, 64)), _high_digits(), batch_size=32, init=_pretrained())


def _high_digits() -> Any:
    return sources.digits_below(5, below=False)


@functools.cache
def _pretrained() -> Any:
    """The parameters after 500 steps of Adam on the digits from 0 to 4."""
    task = classifier(MLP(5, (64, 64)), sources.digits_below(5, below=True), batch_size=64)
    return trained(task, optax.adam(1e-3), 500)
