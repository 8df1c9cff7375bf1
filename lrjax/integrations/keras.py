"""Keras 3 on the JAX backend: the learning rate of a compiled model."""

import json
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, _engine, schedules
from .._types import Array, Batch, Key, ModelState, Params, PyTree, Schedule

try:
    import keras
except ImportError as error:
    missing = "Install it: pip install 'lrjax[keras]'" if error.name == "keras" else f"Its backend failed: {error}."
    raise ImportError(
        f"`lrjax.integrations.keras` needs Keras 3 on the JAX backend. {missing} Set KERAS_BACKEND=jax before the "
        "first import of keras."
    ) from error
if keras.backend.backend() != "jax":
    raise ImportError(
        "`lrjax.integrations.keras` needs Keras on the JAX backend, got the backend "
        f"{keras.backend.backend()!r}. Set the environment variable KERAS_BACKEND=jax before the first import of keras."
    )

from . import _build
from ._keras_optimizers import optimizer_factory as optimizer_factory


def task(
    model: keras.Model,
    x: PyTree,
    y: PyTree,
    *,
    validation_data: tuple[PyTree, PyTree] | None = None,
    validation_split: float = 0.2,
    batch_size: int = 32,
    **options: Any,
) -> _engine.Task:
    """A task from a compiled Keras model, with the model's own loss.

    `optimizer_factory(model.optimizer)` is the `make_optimizer` that goes with it.

    Args:
      model: built and compiled, on the JAX backend. All trials start from its weights; it is not modified.
      x: inputs, leading axis = examples; also a list or dict of arrays.
      y: targets.
      validation_data: `(x, y)` for validation.
      validation_split: without it, the last part of the data, as `model.fit` takes it.
      batch_size: examples in a training batch.
      **options: further fields of `lrjax.Task`.

    Returns:
      A stateful `Task`, whose parameters are the trainable variables in the model's order and whose state the others.
      The seed generators of dropout layers are seeded anew at every step.

    Raises:
      TypeError, ValueError: as `find_lr`.

    Examples:
      >>> import keras, numpy as np
      >>> from lrjax.integrations import keras as lrjax_keras
      >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
      >>> model.compile("sgd", "mse")
      >>> task = lrjax_keras.task(model, np.ones((100, 3)), np.ones((100, 1)))
      >>> len(task.init[0])
      2
    """
    _check_model("keras.task(model=...)", model)
    train, validation = _split(x, y, validation_data, validation_split)
    trainable, others = model.trainable_variables, model.non_trainable_variables
    generators = [index for index, variable in enumerate(others) if variable.name == "seed_generator_state"]
    _build_loss(model, jax.tree.map(lambda leaf: leaf[:1], validation))

    def run(params: Params, state: ModelState, batch: Batch, key: Key | None) -> tuple[Array, ModelState]:
        training, state = key is not None, list(state)
        for index in generators if training else ():
            state[index] = jax.random.bits(jax.random.fold_in(key, index), (2,), jnp.uint32).astype(state[index].dtype)
        mapping = [*zip(trainable, params, strict=True), *zip(others, state, strict=True)]
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            inputs, targets = batch
            loss = model.compute_loss(inputs, targets, model(inputs, training=training), training=training)
        return cast(Array, loss), [scope.get_current_value(variable) for variable in others]

    start = tuple([jnp.array(one.value) for one in part] for part in (trainable, others))  # copies: fit donates its own
    data = {"train": train, "validation": validation, "batch_size": batch_size}
    return _build.build_task("keras.task", start, run, {**data, **options})


def set_lr(model: keras.Model, lr: float | Schedule) -> None:
    """Give the model's optimizer a learning rate or a schedule; everything else of it stays.

    Args:
      model: a compiled model.
      lr: a learning rate, > 0, or a schedule: any Optax callable. One of `lrjax.schedules` is saved with the model.

    Raises:
      TypeError, ValueError: no compiled model, or no learning rate.

    Examples:
      >>> import keras, lrjax
      >>> from lrjax.integrations.keras import set_lr
      >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
      >>> model.compile("sgd", "mse")
      >>> set_lr(model, lrjax.schedules.cosine_decay(0.5, 100))
      >>> float(model.optimizer.learning_rate)
      0.5
    """
    _check_compiled("keras.set_lr(model=...)", model)
    scheduled = isinstance(model.optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)
    if isinstance(lr, keras.optimizers.schedules.LearningRateSchedule):
        value: Any = lr
    elif callable(lr):
        value = LRSchedule(lr)
    else:
        positive = "a learning rate, > 0 and finite, or a schedule"
        value = _checks.check_number("keras.set_lr(lr=...)", lr, rule=positive, accept=lambda x: 0 < x < np.inf)
        if scheduled:  # Keras takes no number where a schedule was
            value = LRSchedule(schedules.constant(value))
    model.optimizer.learning_rate = value
    model.train_function = None  # a compiled step holds the schedule that it was traced with


@keras.saving.register_keras_serializable(package="lrjax")
class LRSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of lrjax or Optax as Keras takes it; saved as its spec (`lrjax.schedules.to_spec`).

    Args:
      schedule: a function of the step, or the spec of one of `lrjax.schedules` as JSON.
    """

    def __init__(self, schedule: Schedule | str):
        super().__init__()
        self.schedule = schedules.from_spec(json.loads(schedule)) if isinstance(schedule, str) else schedule

    def __call__(self, step: Any) -> Array:
        """The learning rate of a step."""
        return self.schedule(keras.ops.convert_to_tensor(step))

    def get_config(self) -> dict[str, Any]:
        """The spec, for `keras.saving`; a schedule of another library has none, and the error says so."""
        return {"schedule": json.dumps(schedules.to_spec(self.schedule))}


def _check_compiled(where: str, model: Any) -> None:
    _checks.check_type(where, model, keras.Model, "a keras.Model")
    if not model.compiled or model.optimizer is None:
        raise ValueError(f"`{where}` must be compiled: model.compile(optimizer, loss).")


def _check_model(where: str, model: Any) -> None:
    _check_compiled(where, model)
    if not model.built:
        raise ValueError(
            f"`{where}` must be built, so that it has weights: begin it with keras.Input(shape), or call it on a batch."
        )
    if model.loss is None and type(model).compute_loss is keras.Model.compute_loss:
        raise ValueError(f"`{where}` must have a loss, got none. Write model.compile(optimizer, loss=...).")
    if not model.trainable_variables:
        raise ValueError(f"`{where}` must have trainable weights, got none. Is model.trainable False?")


def _split(x: PyTree, y: PyTree, validation_data: Any, validation_split: float) -> Any:
    """Training and validation data, each a pair of inputs and targets."""
    if y is None:
        raise TypeError("`keras.task(y=...)` must be targets, got None. A model without targets: y=x, or write a Task.")
    data = _arrays("keras.task(x=..., y=...)", x, y)
    if validation_data is not None:
        where = "keras.task(validation_data=...)"
        if not (isinstance(validation_data, (tuple, list)) and len(validation_data) == 2):
            raise TypeError(f"`{where}` must be (x, y), got {_checks.show(validation_data)}.")
        return data, _arrays(where, *validation_data)
    share, where = "a share of the examples, > 0 and < 1", "keras.task(validation_split=...)"
    share = _checks.check_number(where, validation_split, rule=share, accept=lambda v: 0 < v < 1)
    cut = int(np.floor(jax.tree.leaves(data)[0].shape[0] * (1 - share)))
    return [jax.tree.map(lambda leaf, part=part: leaf[part], data) for part in (np.s_[:cut], np.s_[cut:])]


def _arrays(where: str, x: PyTree, y: PyTree) -> tuple[PyTree, PyTree]:
    """Inputs and targets as arrays of one length."""
    arrays = jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else np.asarray(leaf), (x, y))
    shapes = [leaf.shape for leaf in jax.tree.leaves(arrays)]
    if len({shape[:1] for shape in shapes}) != 1 or () in shapes:
        raise ValueError(f"`{where}` must have as many targets as inputs, got the shapes {shapes}.")
    return arrays


def _build_loss(model: Any, example: tuple[PyTree, PyTree]) -> None:
    """Have the compiled loss built, which Keras does at its first call and a program must not."""
    before = [jnp.asarray(variable.value) for variable in model.metrics_variables]
    inputs, targets = jax.tree.map(jnp.asarray, example)
    model.compute_loss(inputs, targets, model(inputs, training=False), training=False)
    for variable, value in zip(model.metrics_variables, before, strict=False):
        variable.assign(value)
