"""From the user's factory and a traced learning rate to an Optax transformation, or an error that says why not."""

import contextlib
import functools
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from .._checks import brief, check_signature, describe, name_of, path_of, show
from .._settings import TRACER_ERRORS, broken_setting
from .._trees import first_difference
from .._types import Array, Batch, OptimizerFactory, Params, PyTree
from ._accumulation import Accumulation
from ._loop_types import same_kind, settle, type_of

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


def build_put(set_lr: Callable[..., Any], hyperparameters: Any) -> Callable[[PyTree], PyTree]:
    """What puts traced numbers into the state of a step of one's own."""
    put = set_lr(hyperparameters)
    if not callable(put):
        raise TypeError(
            "`make_optimizer` must be the task's own `set_lr`, since its step has the optimizer, got "
            f"{name_of(set_lr)}. Write find_lr(task, task.set_lr, ...)."
        )
    return put


def _explaining(
    make_optimizer: OptimizerFactory, what: str, optimizer: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The same optimizer, but what fails in it is explained, and it gets only extra arguments that it takes."""
    parameters = inspect.signature(optimizer.update).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())

    def init(params: Params) -> Any:
        with _explained(make_optimizer, what):
            state = jax.tree.map(jnp.asarray, optimizer.init(params))
        zero = functools.partial(jax.tree.map, jnp.zeros_like, params)
        after = lambda state: update(zero(), state, params, **_no_arguments(zero()))[1]  # noqa: E731
        return settle(state, functools.partial(jax.eval_shape, after))

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


def _no_arguments(zero: Params) -> dict[str, Any]:
    """The extra arguments of an update by gradients of 0."""
    return extra_arguments(jnp.zeros(()), zero, lambda params: jnp.zeros(()))


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
            f"{name_of(make_optimizer)} needs its concrete value{places(error)}. " + (hint_for(error) or _BRANCH)
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
            f"{hint_for(error)}".rstrip()
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


def hint_for(error: BaseException) -> str:
    """What to do, where the Optax function that failed is a known one."""
    failed = {frame.f_code.co_qualname.split(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)}
    return next((hint for name, hint in _HINTS.items() if name in failed), "")


_KINDS = {optax.MultiStepsState: "optax.MultiSteps", optax.ApplyEvery: "optax.apply_every"}
"""The states of Optax that accumulate gradients."""


def find_accumulation(
    spec: Any,
    hyperparameters: PyTree,
    params: Params,
    *,
    opt_state: PyTree = None,
    batch: Callable[[], Batch] | None = None,
    stacked: bool = False,
) -> Accumulation:
    """How an optimizer, or a step of one's own, accumulates."""
    name, own = name_of(spec.make_optimizer), spec.step_fn is not None
    begin, step = _own_step(spec) if own else _optimizer_step(spec, params)
    given = params if own else None
    one = jax.tree.map(lambda leaf: leaf[0], hyperparameters) if stacked else hyperparameters
    state = jax.eval_shape(begin, one, given) if opt_state is None else opt_state
    leaves, treedef = jax.tree.flatten(state)
    positions: Any = treedef.unflatten(range(len(leaves)))
    nodes = _accumulators(spec.step_fn.state_of(positions) if own else positions)
    if not nodes:
        return Accumulation(name)
    places, resting = [], []
    for node in nodes:
        held = (node.mini_step, node.gradient_step) if isinstance(node, optax.MultiStepsState) else (node.count,)
        resting.append(len(places))
        places += [jax.tree.leaves(counter)[0] for counter in held]

    def first(hyperparameters: PyTree, given: Params) -> tuple[Array, ...]:
        every = jax.tree.leaves(begin(hyperparameters, given) if opt_state is None else opt_state)
        return tuple(jnp.asarray(every[place]) for place in places)

    def advance(counters: tuple[Array, ...], hyperparameters: PyTree, given: Params, batch: Batch) -> tuple[Array, ...]:
        now = dict(zip(places, counters, strict=True))
        before = enumerate(jax.tree.leaves(begin(hyperparameters, given)))
        state = treedef.unflatten([now.get(index, leaf) for index, leaf in before])
        after = jax.tree.leaves(step(hyperparameters, state, batch))
        return tuple(after[place] for place in places)

    if stacked:
        first, advance = jax.vmap(first, (0, None)), jax.vmap(advance, (0, 0, None, None))
    held = (hyperparameters, given, batch() if batch is not None and own else None)

    # compiled for this search alone: a cache for the process would keep the user's functions alive
    @functools.partial(jax.jit, static_argnums=0)
    def follow(length: int, counters: tuple[Array, ...], held: Any) -> tuple[Any, Array]:
        def one(counters: tuple[Array, ...], _: None) -> tuple[Any, Array]:
            counters = advance(counters, *held)
            return counters, jnp.stack([counters[index] == 0 for index in resting]).all()

        return lax.scan(one, counters, length=length)

    kinds = tuple(sorted({_KINDS[type(node)] for node in nodes}))
    counters = jax.jit(first)(hyperparameters, given)
    return Accumulation(name, kinds, lambda length, counters: follow(length, counters, held), counters)


def _optimizer_step(spec: Any, params: Params) -> tuple[Callable, Callable]:
    """The first state, and an update by gradients of 0: of arrays that the compiler leaves out."""
    zeros = functools.partial(jax.tree.map, lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)

    def step(hyperparameters: PyTree, state: PyTree, batch: Batch) -> PyTree:
        optimizer = build_optimizer(spec.make_optimizer, hyperparameters)
        return optimizer.update(zeros(), state, zeros(), **_no_arguments(zeros()))[1]

    return lambda lr, given: build_optimizer(spec.make_optimizer, lr).init(zeros()), step


def _own_step(spec: Any) -> tuple[Callable, Callable]:
    """The arrays with a learning rate in them, and a step."""
    begin = lambda lr, arrays: build_put(spec.make_optimizer, lr)(arrays)  # noqa: E731
    return begin, lambda lr, arrays, batch: spec.step_fn(arrays, batch)[0]


def _accumulators(state: PyTree) -> list[Any]:
    """The states that accumulate, those within others too."""
    is_one = lambda node: type(node) in _KINDS  # noqa: E731
    found = [node for node in jax.tree.leaves(state, is_leaf=is_one) if is_one(node)]
    within = [node.inner_opt_state for node in found if isinstance(node, optax.MultiStepsState)]
    return found + [node for state in within for node in _accumulators(state)]
