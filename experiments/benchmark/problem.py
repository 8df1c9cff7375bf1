"""What a task of the benchmark is, and how one is made from a flax module and three parts of a data set."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import lrjax

HELD_OUT = 256
"""Validation examples that learning rates are chosen by, at most."""


class Split(NamedTuple):
    """A data set in three parts: to train on, to choose the learning rate by, and to judge the choice by.

    Attributes:
      train, validation, test: pairs (x, y) with one leading axis of examples.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One task of the benchmark.

    Attributes:
      name: of the function that makes it.
      task: its `eval_fn` gives "loss" (of the validation part, which choices may read), "test_loss" and "score" (of
        the test part, which judges them; points, larger is better).
      optimizer: a name in `OPTIMIZERS`.
      steps: T, the updates of the full training.
    """

    name: str
    task: lrjax.Task
    optimizer: str
    steps: int

    @property
    def test_examples(self) -> int:
        """Examples of the test part."""
        chosen_by = self.task.eval_batches[0][2]
        return int((1 - np.asarray(chosen_by)).sum())

    def make_optimizer(self, learning_rate: Any) -> optax.GradientTransformation:
        """The optimizer at a learning rate or a schedule."""
        return OPTIMIZERS[self.optimizer].make(learning_rate)


class Optimizer(NamedTuple):
    """An optimizer and the learning rate that users give it unasked.

    Attributes:
      make: function of the learning rate.
      usual_lr: the default of PyTorch or, where it has none, of the method's paper.
    """

    make: Callable[[Any], optax.GradientTransformation]
    usual_lr: float


OPTIMIZERS = {
    "sgd": Optimizer(optax.sgd, 0.1),
    "momentum": Optimizer(lambda lr: optax.sgd(lr, momentum=0.9), 0.1),
    "momentum 0.99": Optimizer(lambda lr: optax.sgd(lr, momentum=0.99), 0.01),
    "adam": Optimizer(optax.adam, 1e-3),
    "adamw": Optimizer(lambda lr: optax.adamw(lr, weight_decay=0.01), 1e-3),
    "rmsprop": Optimizer(lambda lr: optax.rmsprop(lr, decay=0.99), 1e-2),
    "lion": Optimizer(optax.lion, 1e-4),
    "adagrad": Optimizer(optax.adagrad, 1e-2),
    "muon": Optimizer(optax.contrib.muon, 0.02),
}

TASKS: dict[str, Callable[[], Problem]] = {}
"""Every task, by the name of the function that makes it."""


def benchmark_task(
    *, optimizer: str, steps: int, registry: dict[str, Callable[[], Problem]] = TASKS
) -> Callable[[Callable[[], lrjax.Task]], Callable[[], Problem]]:
    """Register a function that makes a `lrjax.Task` as a task of the benchmark."""

    def register(make_task: Callable[[], lrjax.Task]) -> Callable[[], Problem]:
        def make() -> Problem:
            return Problem(name=make_task.__name__, task=make_task(), optimizer=optimizer, steps=steps)

        make.__doc__ = make_task.__doc__
        registry[make_task.__name__] = make
        return make

    return register


def classifier(module: nn.Module, data: Split, *, batch_size: int, init: Any = None, **options: Any) -> lrjax.Task:
    """Cross-entropy on whole labels; the score is the accuracy in percent.

    Args:
      module: `module(x, train=...) -> logits` if it drops out or normalises batches, else `module(x) -> logits`.
      data: labels are int32, shape (examples,).
      batch_size: training examples of a step.
      init: parameters to start from; None: drawn.
      **options: further fields of `lrjax.Task`.
    """
    classes = int(data.train[1].max()) + 1

    def read(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses, 100.0 * (logits.argmax(-1) == labels)

    return _task(module, data, read, batch_size, init, baseline_loss=float(np.log(classes)), **options)


def regressor(module: nn.Module, data: Split, *, batch_size: int, **options: Any) -> lrjax.Task:
    """Squared error; the score is R^2 in percent of the test part's variance, summed over outputs."""
    spread = float(np.square(data.test[1] - data.test[1].mean(0)).reshape(len(data.test[1]), -1).sum(1).mean())
    usual = float(np.square(data.validation[1] - data.train[1].mean(0)).reshape(len(data.validation[1]), -1).mean())

    def read(outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        errors = jnp.square(outputs - targets).reshape(len(targets), -1)
        return errors.mean(1), 100.0 * (1.0 - errors.sum(1) / spread)

    return _task(module, data, read, batch_size, None, baseline_loss=usual, **options)


def _task(
    module: nn.Module,
    data: Split,
    read: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    batch_size: int,
    init: Any,
    **options: Any,
) -> lrjax.Task:
    """`read(outputs, targets)` gives each example's loss and points."""
    example = jnp.asarray(data.train[0][:2])
    knows_training = "train" in _arguments(module)
    train_mode, eval_mode = ({"train": True}, {"train": False}) if knows_training else ({}, {})
    variables = jax.eval_shape(lambda: module.init({"params": jax.random.key(0)}, example, **eval_mode))
    stateful = "batch_stats" in variables

    def draw(key: jax.Array) -> Any:
        drawn = module.init({"params": key}, example, **eval_mode)
        return (drawn["params"], drawn["batch_stats"]) if stateful else drawn["params"]

    def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
        outputs = module.apply({"params": params}, batch[0], rngs={"dropout": key}, **train_mode)
        return read(outputs, batch[1])[0].mean()

    def stateful_loss(params: Any, state: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        outputs, moved = module.apply(
            {"params": params, "batch_stats": state},
            batch[0],
            rngs={"dropout": key},
            mutable=["batch_stats"],
            **train_mode,
        )
        return read(outputs, batch[1])[0].mean(), moved["batch_stats"]

    def judge(variables: Any, batch: Any) -> dict[str, jax.Array]:
        x, y, chosen_by = batch
        losses, points = read(module.apply(variables, x, **eval_mode), y)
        held_out, rest = chosen_by / chosen_by.sum(), (1 - chosen_by) / (1 - chosen_by).sum()
        # 0 * inf is nan, so an overflow in one part would spoil the other
        return {
            "loss": jnp.where(chosen_by > 0, losses * held_out, 0.0).sum(),
            "test_loss": jnp.where(chosen_by > 0, 0.0, losses * rest).sum(),
            "score": jnp.where(chosen_by > 0, 0.0, points * rest).sum(),
        }

    def eval_fn(params: Any, batch: Any) -> dict[str, jax.Array]:
        return judge({"params": params}, batch)

    def stateful_eval(params: Any, state: Any, batch: Any) -> dict[str, jax.Array]:
        return judge({"params": params, "batch_stats": state}, batch)

    held_out = tuple(part[:HELD_OUT] for part in data.validation)
    x, y = (np.concatenate(parts) for parts in zip(held_out, data.test, strict=True))
    chosen_by = (np.arange(len(x)) < len(held_out[0])).astype(np.float32)
    return lrjax.Task.from_arrays(
        draw if init is None else init,
        stateful_loss if stateful else loss_fn,
        train=data.train,
        validation=(x, y, chosen_by),
        batch_size=batch_size,
        eval_batch_size=len(x),
        eval_fn=stateful_eval if stateful else eval_fn,
        stateful=stateful,
        **options,
    )


def _arguments(module: nn.Module) -> tuple[str, ...]:
    return tuple(inspect.signature(type(module).__call__).parameters)
