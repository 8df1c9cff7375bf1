"""Lower the learning rate where a metric stops getting better."""

from typing import Annotated, Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from .._annotated import checked, known_count
from .._checks import check_type, kind_of, show, show_with_type, to_numpy
from .._types import Array, Float, Int, PyTree, ScalarLike
from ._annotations import NonNegative, Positive, number, ordered
from ._schedule import promoting


class PlateauState(NamedTuple):
    """The state of `reduce_on_plateau`.

    Attributes:
      scale: factor of the updates. float32, shape ().
      best: the best metric so far. float32, shape ().
      bad: measurements in a row that were no better. int32, shape ().
      cooldown: measurements to go until bad ones count again. int32, shape ().
      count: updates since the last measurement. int32, shape ().
      total: sum of the metric over these. float32, shape ().
    """

    scale: Float[Array, ""]
    best: Float[Array, ""]
    bad: Int[Array, ""]
    cooldown: Int[Array, ""]
    count: Int[Array, ""]
    total: Float[Array, ""]


Measurements = Annotated[int, known_count(0, "measurements")]


@checked
def reduce_on_plateau(
    *,
    factor: Annotated[ScalarLike, number("above 0 and below 1", lambda x: 0 < x < 1)] = 0.1,
    patience: Measurements = 10,
    mode: Literal["min", "max"] = "min",
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] | None = None,
    cooldown: Measurements = 0,
    min_lr: NonNegative = 0.0,
    base_lr: Positive | None = None,
    accumulation_size: Annotated[int, known_count(1, "updates")] = 1,
    convention: Literal["torch", "keras", "optax"] = "torch",
) -> optax.GradientTransformationExtraArgs:
    """Scale the updates down whenever a metric has stopped improving. Chain it after the optimizer.

    Every update takes the metric: `optimizer.update(grads, state, params, value=loss)`. (Inside `optax.MultiSteps` it
    sees the metric of the last micro-step only: chain it after, with `accumulation_size`.)

    A measurement is better if it beats the best one so far by more than the margin: `threshold`, or
    `threshold * |best|`. After more than `patience` measurements in a row that are not, the scale is multiplied by
    `factor` (so `patience=0` reduces at the first bad one), and for `cooldown` measurements nothing is counted. That is
    PyTorch's reading of the two numbers; `convention` has the others.

    A metric that is NaN, or infinite in the bad direction, counts as no better. Negative metrics are as good as
    positive ones: the margin is a part of the best one's size (PyTorch's and Optax's relative test takes a worsening
    negative metric for an improvement). In both every convention is the same.

    Args:
      factor: what the scale is multiplied by, above 0 and below 1.
      patience: bad measurements that are tolerated in a row, >= 0; see `convention`.
      mode: "min" if the metric is to fall, "max" if it is to rise.
      threshold: least improvement, >= 0.
      threshold_mode: "rel" for a part of |best|, "abs" for units of the metric. None: "rel", or "abs" with "keras".
      cooldown: measurements after a reduction that do not count, >= 0.
      min_lr: the learning rate below which it is not reduced, >= 0. Needs `base_lr`.
      base_lr: the learning rate of the optimizer before, > 0; its peak, if it is a schedule.
      accumulation_size: updates whose mean metric is one measurement, >= 1: the steps of an epoch, for instance.
      convention: whose numbers `patience` and `cooldown` are. "torch": as above. "optax": the bad measurement number
        `patience`, >= 1, reduces. "keras": the same, 0 being read as 1, and `threshold` is its absolute `min_delta`;
        the measurement number `cooldown` after a reduction counts again, 0 being read as 1.

    Returns:
      A transformation; `current_hyperparams` shows its "plateau_scale".

    Raises:
      TypeError, ValueError: an argument is out of its range; at an update, `value` is missing or not one number.

    Source: `torch.optim.lr_scheduler.ReduceLROnPlateau`; `keras.callbacks.ReduceLROnPlateau`;
    `optax.contrib.reduce_on_plateau`.

    Examples:
      >>> import jax.numpy as jnp, optax, lrjax
      >>> optimizer = optax.chain(optax.sgd(1.0), lrjax.schedules.reduce_on_plateau(factor=0.5, patience=1))
      >>> params = jnp.ones(1)
      >>> state = optimizer.init(params)
      >>> for loss in (1.0, 1.0, 1.0):  # the second bad one in a row is one too many
      ...     updates, state = optimizer.update(params, state, params, value=loss)
      >>> float(updates[0])
      -0.5
    """
    if convention == "optax":  # whose 0 reduces at improvements, and never on a plateau
        known_count(1, "measurements").check("reduce_on_plateau(patience=...)", patience)
    sign = 1.0 if mode == "min" else -1.0
    relative = threshold_mode == "rel" or (threshold_mode is None and convention != "keras")
    least = _least_scale(min_lr, base_lr)
    tolerated = patience if convention == "torch" else max(patience - 1, 0)
    ignored = max(cooldown - 1, 0) if convention == "keras" else cooldown

    def init(params: PyTree) -> PlateauState:
        del params
        bad, cooling, count = (jnp.array(0, np.int32) for _ in range(3))  # no buffer twice: a state may be donated
        return PlateauState(jnp.float32(1), jnp.float32(sign * np.inf), bad, cooling, count, jnp.float32(0))

    def update(
        updates: PyTree, state: PlateauState, params: PyTree = None, *, value: Any = None, **extra: Any
    ) -> tuple[PyTree, PlateauState]:
        del params, extra
        check_type("reduce_on_plateau().update(state)", state, PlateauState, "what its init or update returned")
        total, count = state.total + _metric(value), state.count + 1
        due = count >= accumulation_size
        with promoting():  # a float32 scale meets updates of any type
            measured = _measure(state, total / count)
            kept = state._replace(total=total, count=count)
            state = PlateauState(*(jnp.where(due, new, old) for new, old in zip(measured, kept, strict=True)))
            return jax.tree.map(lambda leaf: (state.scale * leaf).astype(leaf.dtype), updates), state

    def _measure(state: PlateauState, metric: Array) -> PlateauState:
        size = jnp.where(jnp.isfinite(state.best), jnp.abs(state.best), 0.0) if relative else 1.0
        better = sign * metric < sign * state.best - threshold * size  # the first finite one always is, NaN never
        bad = jnp.where(better | (state.cooldown > 0), 0, state.bad + 1)
        reduce = bad > tolerated
        scale = jnp.where(reduce, jnp.maximum(state.scale * factor, jnp.minimum(least, state.scale)), state.scale)
        return PlateauState(
            scale=scale.astype(np.float32),
            best=jnp.where(better, metric, state.best),
            bad=jnp.where(reduce, 0, bad).astype(np.int32),
            cooldown=jnp.where(reduce, ignored, jnp.maximum(state.cooldown - 1, 0)).astype(np.int32),
            count=jnp.int32(0),
            total=jnp.float32(0),
        )

    return optax.GradientTransformationExtraArgs(init, cast(Any, update))


def _metric(value: Any) -> Array:
    """The number that was measured, as float32; what float32 cannot hold is infinite."""
    if value is None:
        raise TypeError("`reduce_on_plateau` needs the metric at every update: optimizer.update(..., value=loss).")
    array = value if isinstance(value, jax.Array) else to_numpy(value)
    if array is None or isinstance(value, (list, tuple)) or kind_of(array) not in ("f", "i", "u"):
        raise TypeError(
            f"`reduce_on_plateau` needs one number as `value`, got {show_with_type(value)}. "
            "Give the loss of this update, for example."
        )
    if array.shape != ():
        raise ValueError(
            f"`reduce_on_plateau` needs one number, got `value` of shape {array.shape}. Take its mean, for example."
        )
    if isinstance(array, jax.Array):
        return array.astype(np.float32)
    with np.errstate(over="ignore"):
        return jnp.asarray(array.astype(np.float32))


def _least_scale(min_lr: Any, base_lr: Any) -> Any:
    """The scale at which the learning rate is the lowest allowed."""
    if base_lr is None and (isinstance(min_lr, Tracer) or float(min_lr) != 0):
        raise ValueError(
            "`reduce_on_plateau(min_lr=...)` needs base_lr, the learning rate of the optimizer, "
            f"got {show(min_lr)} alone."
        )
    ordered("min_lr", "base_lr")("reduce_on_plateau", {"min_lr": min_lr, "base_lr": base_lr})
    return 0.0 if base_lr is None else min_lr / base_lr
