"""Aliases, and the one vocabulary of the axis names in shape annotations.

| axis       | one entry for each                                                 |
|------------|--------------------------------------------------------------------|
| `trials`   | setting of the hyperparameters; in the finder, learning rate       |
| `seeds`    | draw of initial parameters, batch order and dropout keys           |
| `horizons` | number of steps after which the validation loss was recorded       |
| `steps`    | optimizer update, counted from 0                                   |
| `cells`    | point of the smoothed curve, every 0.025 decade of learning rate   |
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optax
from jaxtyping import Array as Array
from jaxtyping import Bool as Bool
from jaxtyping import Float as Float
from jaxtyping import Int as Int
from jaxtyping import PyTree as PyTree

Scalar = float | Float[Array, ""]
"""A number, concrete or traced."""

ScalarLike = float | Array
"""A number that a function takes: Python's, NumPy's, or an array of shape (), which may be traced."""

StepCount = int | str | Array
"""A number of optimizer updates, or a duration such as "3 epochs" (see `lrjax.schedules.Durations`)."""

StepLike = float | Array | np.ndarray
"""Optimizer updates done so far, counted from 0: a number or an array of any shape."""

Schedule = Callable[[Any], Array]
"""A function from step to learning rate, as Optax takes it."""

Key = Array
"""A JAX PRNG key, typed (`jax.random.key(0)`) or legacy (`jax.random.PRNGKey(0)`)."""

Params = PyTree
ModelState = PyTree
Batch = PyTree
Metrics = Mapping[str, Any]
OptimizerFactory = Callable[..., optax.GradientTransformation]
"""A function of a (traced) learning rate that returns an Optax optimizer."""
