"""From the user's factory and a traced learning rate to an Optax transformation, or an error that says why not."""

import traceback
from pathlib import Path
from typing import Any

import jax
import optax

from .._checks import check_callable, name_of, show
from .._types import OptimizerFactory

_TRACER_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
_LIBRARIES = tuple(str(Path(module.__file__).parent) for module in (jax, optax)) + (str(Path(__file__).parent.parent),)


def check_factory(where: str, make_optimizer: object) -> None:
    """Raise unless `make_optimizer` looks like a function of a learning rate.

    Raises:
      TypeError: it is an optimizer already (`optax.adam(1e-3)`), or not callable.
    """
    if isinstance(make_optimizer, optax.GradientTransformation) or hasattr(make_optimizer, "update"):
        raise TypeError(
            f"`{where}` must be a function of the learning rate, got an optimizer that already has one. "
            "Pass optax.adam, not optax.adam(1e-3); with further arguments, "
            "lambda lr: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(lr))."
        )
    check_callable(where, make_optimizer, signature="make_optimizer(lr) -> optax optimizer")


def build_optimizer(make_optimizer: OptimizerFactory, hyperparameters: Any) -> optax.GradientTransformationExtraArgs:
    """Call the factory with traced numbers.

    Args:
      make_optimizer: function of one argument, a learning rate (or a pytree of hyperparameters).
      hyperparameters: the traced argument, float32 leaves of shape ().

    Returns:
      The transformation, taking extra arguments (`value`, `grad`, `value_fn`).

    Raises:
      TypeError: the factory branches in Python on the traced number, or returns something else.
    """
    try:
        optimizer = make_optimizer(hyperparameters)
    except _TRACER_ERRORS as error:
        raise TypeError(
            f"`make_optimizer` must accept a traced learning rate (all lrs run in one program), but "
            f"{name_of(make_optimizer)} needs its concrete value{_user_line(error)}. "
            "Replace a Python `if` or `float()` on the learning rate by `jnp.where` or `jax.lax.cond`, "
            'or decide outside the factory. With `executor="loop"` too the learning rate is traced.'
        ) from error
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise TypeError(
            f"`make_optimizer` must return an Optax optimizer, got {show(optimizer)} "
            f"({type(optimizer).__name__}) from {name_of(make_optimizer)}. Did it forget its `return`?"
        )
    if not isinstance(optimizer, optax.GradientTransformation):
        optimizer = optax.GradientTransformationExtraArgs(optimizer.init, optimizer.update)
    return optax.with_extra_args_support(optimizer)


def _user_line(error: BaseException) -> str:
    """Where in the user's code the number was needed: the last frame outside the libraries."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_LIBRARIES, "<"))
    ]
    if not frames:
        return ""
    frame = frames[-1]
    return f" at {Path(frame.filename).name}:{frame.lineno}: `{frame.line}`"
