"""From the user's factory and a traced learning rate to an Optax transformation, or an error that says why not."""

import contextlib
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from .._checks import brief, check_signature, describe, name_of, path_of, show
from .._settings import TRACER_ERRORS, broken_setting
from .._trees import first_difference
from .._types import Array, OptimizerFactory, Params, PyTree

_OPTAX = str(Path(optax.__file__).parent)
_LIBRARIES = (str(Path(jax.__file__).parent), _OPTAX, str(Path(__file__).parent.parent))
_HINTS = {  # what to do about the Optax function in which it failed
    "warmup_cosine_decay_schedule": "Write optax.join_schedules([optax.linear_schedule(0.0, lr, n), "
    "optax.cosine_decay_schedule(lr, m)], [n]): the two parts accept a traced peak.",
    "inject_hyperparams": "optax.inject_hyperparams traces every number: name those that are settings in "
    "`static_args`, or leave it out, since the engine gives each lr its own optimizer: lambda lr: optax.adafactor(lr).",
    "per_example_global_norm_clip": "dpsgd wants one gradient for each example, the engine gives that of the mean "
    "loss: it cannot be searched here.",
    "lookahead": "optax.lookahead wants pairs of fast and slow parameters: search the lr of its fast optimizer.",
}


def check_factory(where: str, make_optimizer: object) -> None:
    """Raise unless `make_optimizer` looks like a function of a learning rate."""
    if isinstance(make_optimizer, optax.GradientTransformation) or hasattr(make_optimizer, "update"):
        raise TypeError(
            f"`{where}` must be a function of the learning rate, got an optimizer that already has one. "
            "Pass optax.adam, not optax.adam(1e-3); with further arguments, "
            "lambda lr: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(lr))."
        )
    wanted = "make_optimizer(lr) -> optax optimizer"
    signature = check_signature(where, make_optimizer, wanted)
    if signature is not None:
        raise TypeError(
            f"`{where}` must be `{wanted}`, got `{name_of(make_optimizer)}{signature}`. "
            "Fix the other arguments: lambda lr: optax.adamw(lr, weight_decay=0.1)."
        )


def build_optimizer(make_optimizer: OptimizerFactory, hyperparameters: Any) -> optax.GradientTransformationExtraArgs:
    """Call the factory with traced numbers."""
    names = list(hyperparameters) if isinstance(hyperparameters, Mapping) else []
    what = "traced hyperparameters" if names not in ([], ["learning_rate"]) else "a traced learning rate"
    with _explained(make_optimizer, what):
        optimizer = make_optimizer(hyperparameters)
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise TypeError(
            f"`make_optimizer` must return an Optax optimizer, got {show(optimizer)} "
            f"({type(optimizer).__name__}) from {name_of(make_optimizer)}. Did it forget its `return`?"
        )
    if not isinstance(optimizer, optax.GradientTransformation):
        optimizer = optax.GradientTransformationExtraArgs(optimizer.init, optimizer.update)
    return _explaining(make_optimizer, what, optax.with_extra_args_support(optimizer))


def _explaining(
    make_optimizer: OptimizerFactory, what: str, optimizer: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The same optimizer, but what fails in it is explained, and it gets only extra arguments that it takes."""
    parameters = inspect.signature(optimizer.update).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())

    def init(params: Params) -> Any:
        with _explained(make_optimizer, what):
            state = jax.tree.map(jnp.asarray, optimizer.init(params))
        leaves, treedef = jax.tree.flatten(state)
        types = tuple(map(type_of, leaves))
        if any(one.weak_type for one in types):
            zero = jax.tree.map(jnp.zeros_like, params)
            extra = extra_arguments(jnp.zeros(()), zero, lambda params: jnp.zeros(()))

            def after(types: Types) -> Types:
                after = jax.eval_shape(lambda state: update(zero, state, params, **extra)[1], treedef.unflatten(types))
                return tuple(map(type_of, jax.tree.leaves(after)))

            types = promote_weak(types, after)
        return with_types(state, types)

    def update(updates: Params, state: Any, params: Params = None, **extra: Any) -> tuple[Params, Any]:
        taken = extra if takes_any else {name: value for name, value in extra.items() if name in parameters}
        with _explained(make_optimizer, what):
            updates, after = optimizer.update(updates, state, params, **taken)
        _check_updates(make_optimizer, updates, params)
        _check_state(make_optimizer, state, after)
        return updates, after

    return optax.GradientTransformationExtraArgs(init, update)


def extra_arguments(loss: Array, grads: Params, loss_of: Callable[[Params], Array]) -> dict[str, Any]:
    """What line searches, sophia, sam and others want besides the gradient; `loss_of` is the batch's loss."""

    def value_fn(params: Params, *_: Any, obj_fn: Any = None, grad_fn: Any = None) -> Array:
        # a line search refuses extra arguments that its value_fn does not name
        return loss_of(params)

    return {
        "value": loss,
        "grad": grads,
        "value_fn": value_fn,
        "obj_fn": value_fn,  # sophia's name for it
        "grad_fn": lambda params, *_: jax.grad(value_fn)(params),  # sam's, with opaque_mode
    }


def carried_difference(before: PyTree, later: PyTree) -> str:
    """Say why a loop cannot carry one tree in the place of another; empty if it can.

    Structure and shapes must be equal, and a number must stay of its kind (bool, integer, floating, complex): another
    dtype of the kind is cast back, but a float that is carried as an integer would be cut off.
    """
    difference = first_difference(before, later, compare="structure")
    if difference:
        return difference
    pairs = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(later), strict=True)
    for (path, leaf), other in pairs:
        one, after = type_of(leaf), type_of(other)
        if one.shape != after.shape or not (one.weak_type or same_kind(one.dtype, after.dtype)):
            return f"{path_of(path)} is {describe(after)} instead of {describe(one)}"
    return ""


def _check_state(make_optimizer: OptimizerFactory, before: Any, after: Any) -> None:
    """Raise where the state after an update cannot be carried on."""
    difference = carried_difference(before, after)
    if difference:
        raise TypeError(
            "`make_optimizer` must return an optimizer whose update keeps the structure, the shapes and the kinds of "
            f"numbers of its state, but in that of {name_of(make_optimizer)} {difference}."
        )


def _check_updates(make_optimizer: OptimizerFactory, updates: Params, params: Params) -> None:
    """Raise where the updates cannot be added to the parameters, or adding them would broadcast."""
    difference = first_difference(params, updates, compare="structure")
    if difference:
        raise TypeError(
            "`make_optimizer` must return an optimizer whose updates have the structure of the parameters, but in "
            f"those of {name_of(make_optimizer)} {difference}."
        )
    pairs = zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(updates), strict=True)
    for (path, param), update in pairs:
        if jnp.shape(update) != param.shape:
            raise TypeError(
                "`make_optimizer` must return an optimizer whose updates have the shapes of the parameters, but that "
                f"of {name_of(make_optimizer)} gives {describe(update)} for {describe(param)} at {path_of(path)}. "
                "Does it expect one gradient for each example? It gets that of the mean loss."
            )


@contextlib.contextmanager
def _explained(make_optimizer: OptimizerFactory, what: str) -> Iterator[None]:
    """Turn an error of the factory or of its optimizer into one that says why the engine cannot use it."""
    try:
        yield
    except TRACER_ERRORS as error:
        raise TypeError(
            f"`make_optimizer` must accept {what} (all settings run in one program), but "
            f"{name_of(make_optimizer)} needs its concrete value{places(error)}. " + (_hint(error) or _BRANCH)
        ) from error
    except Exception as error:
        if not _in_optax(error):
            raise
        if broken := broken_setting(error):
            setting, remedy = broken
            raise TypeError(
                f"`make_optimizer` must return an optimizer that keeps to {setting}, but that of "
                f"{name_of(make_optimizer)} does not{places(error)}: {error} {remedy}"
            ) from error
        raise TypeError(
            f"`make_optimizer` must return an optimizer that needs no more than {what} and the gradient "
            f"of the mean loss, but that of {name_of(make_optimizer)} failed{places(error)}: {brief(error)} "
            f"{_hint(error)}".rstrip()
        ) from error


_BRANCH = (
    "Replace a Python `if` or `float()` on a traced number by `jnp.where` or `jax.lax.cond`, "
    'or decide outside the factory. With `executor="loop"` too the number is traced.'
)


def places(error: BaseException) -> str:
    """Where it failed: the last line of the user's code, and the last one of Optax."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<"))]
    optaxs = [frame for frame in frames if frame.filename.startswith(_OPTAX)]
    text = ""
    if users:
        text = f" at {Path(users[-1].filename).name}:{users[-1].lineno}: `{users[-1].line}`"
    if optaxs:
        text += f", in Optax's {optaxs[-1].name}: `{optaxs[-1].line}`"
    return text


def _in_optax(error: BaseException) -> bool:
    return any(frame.filename.startswith(_OPTAX) for frame in traceback.extract_tb(error.__traceback__))


def _hint(error: BaseException) -> str:
    """What to do, where the Optax function that failed is a known one."""
    failed = {frame.f_code.co_qualname.split(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)}
    return next((hint for name, hint in _HINTS.items() if name in failed), "")


# The types that a loop carries, where its state begins with weak ones, as Python's 0 and 1.0 have.

Types = tuple[jax.ShapeDtypeStruct, ...]

_ORDER = "biufc"


def type_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and weak type of an array or a Python number."""
    if isinstance(leaf, (int, float, complex)) and not isinstance(leaf, (bool, np.generic)):
        return jax.ShapeDtypeStruct((), jnp.asarray(leaf).dtype, weak_type=True)
    weak = getattr(leaf, "weak_type", False)  # typed PRNG keys have none
    return jax.ShapeDtypeStruct(np.shape(leaf), getattr(leaf, "dtype", np.dtype(bool)), weak_type=weak)


def promote_weak(types: Types, step: Callable[[Types], Sequence[jax.ShapeDtypeStruct]]) -> Types:
    """The types under which a loop carries its state.

    A weak type gives way to what the step makes of it, as in `jax.lax.scan`; a strong one stays as it is.
    """
    while True:
        after = tuple(_promoted(before, later) for before, later in zip(types, step(types), strict=True))
        if after == types:
            return types
        types = after


def _promoted(before: jax.ShapeDtypeStruct, after: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    if not before.weak_type or before.shape != after.shape or not same_kind(before.dtype, after.dtype, wider=True):
        return before
    return jax.ShapeDtypeStruct(before.shape, after.dtype, weak_type=after.weak_type)


def strengthen(tree: PyTree) -> PyTree:
    """Arrays without weak types (as `jnp.full(3, 0.5)` has): a step would take them away, and compile again."""
    return with_types(tree, tuple(map(type_of, jax.tree.leaves(tree))))


def with_types(tree: PyTree, types: Types) -> PyTree:
    """The arrays with these dtypes, none of them weak."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef.unflatten([_strong(leaf, one.dtype) for leaf, one in zip(leaves, types, strict=True)])


def _strong(leaf: Any, dtype: Any) -> Any:
    weak = getattr(leaf, "weak_type", False)  # typed PRNG keys have none
    return lax.convert_element_type(leaf, dtype) if weak or leaf.dtype != dtype else leaf


def same_kind(before: Any, after: Any, *, wider: bool = False) -> bool:
    """Whether both are bool, integer, floating or complex; with `wider` the second may be a later one of these."""
    if before == after:
        return True
    kinds = [_kind(dtype) for dtype in (before, after)]
    return "" not in kinds and (kinds[0] == kinds[1] or (wider and _ORDER.index(kinds[0]) < _ORDER.index(kinds[1])))


def _kind(dtype: Any) -> str:
    kinds = {"b": jnp.bool_, "i": jnp.integer, "f": jnp.floating, "c": jnp.complexfloating}
    return next((letter for letter, kind in kinds.items() if jnp.issubdtype(dtype, kind)), "")


def with_weak_types(function: Callable[..., PyTree], types: Types) -> Callable[..., PyTree]:
    """The function of arrays, computing as if those of weak type had it: arguments of a program have none."""
    if not any(one.weak_type for one in types):
        return function

    def run(arrays: tuple[Any, ...], *rest: Any) -> PyTree:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(types, *rest)
        told = jax.extend.core.jaxpr_as_fun(closed)(*arrays, *jax.tree.leaves(rest))
        return jax.tree.structure(shapes).unflatten(told)

    return run
