"""Argument checks: one error style for the whole package.

Every message names the call site in backticks, states the rule, shows what was got and says what to do.
"""

import dataclasses
import functools
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, ParamSpec, SupportsIndex, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._types import Key, PyTree

MAX_UPDATES = 2**31 - 1
"""Optimizer updates that the counters of Optax, int32, can count."""

MAX_SEEDS = 1000
"""Each seed has parameters and batches of its own, which are made before the first update."""

MAX_TRIALS = 100_000
"""Settings of a grid: more are a slip of the pen, and take minutes before the first update."""

MAX_DECADES = 20
"""The widest range of learning rates."""


def show(value: object, limit: int = 80) -> str:
    """A short repr for an error message."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def brief(error: BaseException, limit: int = 300) -> str:
    """What an error of another library says, on one line and without what follows its first few hundred letters."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def name_of(function: object) -> str:
    """A function's name for an error message, also for partials and callable objects."""
    function = getattr(function, "func", function)
    return getattr(function, "__qualname__", None) or type(function).__name__


Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def on_host(verb: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """The function, refusing to run where JAX traces: inside `jax.jit` and the like there are no values to read."""

    @functools.wraps(verb)
    def run(*arguments: Arguments.args, **named: Arguments.kwargs) -> Returned:
        given = [*arguments, *named.values()]
        given += [value for one in given if dataclasses.is_dataclass(one) for value in vars(one).values()]
        leaves = jax.tree.leaves(given, is_leaf=_is_other_iterable)
        traced = any(isinstance(leaf, Tracer) for leaf in leaves)
        if traced or isinstance(jnp.add(0.0, 0.0), Tracer):
            raise TypeError(
                f"`{verb.__name__}` reads numbers on the host, to decide by them, so it cannot run inside jax.jit, "
                "vmap, grad, scan or another transformation. Call it outside, and pass on what it found."
            )
        return verb(*arguments, **named)

    return run


def _is_other_iterable(node: object) -> bool:
    """Whether JAX would warn of a leaf that can be iterated over: a generator, the values of a dict."""
    return isinstance(node, Iterable) and not isinstance(node, (Mapping, list, tuple))


def check_count(where: str, value: object, *, minimum: int = 1, maximum: int | None = None, unit: str = "") -> int:
    """Return `value` as an int from `minimum` to `maximum`; `unit` completes the sentence ("optimizer updates")."""
    rule = f"must be a whole number >= {minimum}" + (f" ({unit})" if unit else "")
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{where}` {rule}, got the bool {value}. Pass a number.")
    try:
        count = operator.index(cast(SupportsIndex, value))
    except TypeError:
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
        advice = f" Write {int(cast(float, value))}." if whole else ""
        raise TypeError(f"`{where}` {rule}, got {show(value)} ({type(value).__name__}).{advice}") from None
    if count < minimum:
        raise ValueError(f"`{where}` {rule}, got {show(count)}.")
    if maximum is not None and count > maximum:
        raise ValueError(
            f"`{where}` must be at most {maximum:,}" + (f" ({unit})" if unit else "") + f", got {show(count)}."
        )
    return count


def check_number(where: str, value: object, *, rule: str, accept: Callable[[float], bool]) -> float:
    """Return `value` as a float that `accept` takes; `rule` says in words what it must be."""
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    if isinstance(value, (str, bytes, bool)) or value is None or kind in "bcOSU":
        raise TypeError(f"`{where}` must be {rule}, got {show(value)} ({type(value).__name__}).")
    try:
        number = float(cast(Any, value))
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"`{where}` must be {rule}, got {show(value)} ({type(value).__name__}).") from None
    if not accept(number):
        raise ValueError(f"`{where}` must be {rule}, got {number:g}.")
    return number


def check_lr_range(where: str, min_lr: object, max_lr: object) -> tuple[float, float]:
    """Return two learning rates, 0 < min_lr < max_lr, both normal float32 numbers, within 20 decades."""
    rule = "a learning rate, > 0 and finite"
    for name, value in (("min_lr", min_lr), ("max_lr", max_lr)):
        if isinstance(value, (int, float, np.number)) and -100 < value < 0:
            power = f"1e{value:g}" if value == int(value) else f"10 ** {value:g}"
            raise ValueError(
                f"`{where}({name}=...)` must be {rule}, got {value:g}. "
                f"Learning rates are given as such, not as exponents: write {power}, not {value:g}."
            )
    low = check_number(f"{where}(min_lr=...)", min_lr, rule=rule, accept=is_lr)
    high = check_number(f"{where}(max_lr=...)", max_lr, rule=rule, accept=is_lr)
    if low >= high:
        raise ValueError(
            f"`{where}(min_lr=...)` must be below max_lr={high:g}, got {low:g}. "
            "Both are learning rates, not exponents: write 1e-7, not -7."
        )
    if np.log10(high) - np.log10(low) > MAX_DECADES:
        raise ValueError(
            f"`{where}(min_lr=..., max_lr=...)` may span {MAX_DECADES} decades, got {low:g} to {high:g}. "
            "Most optimizers have their best learning rate between 1e-7 and 10."
        )
    return low, high


def is_lr(value: float) -> bool:
    """Whether a number can be a learning rate in float32."""
    return bool(np.isfinite(value)) and float(np.finfo(np.float32).tiny) <= value <= 1e30


def check_lrs(where: str, lrs: object) -> np.ndarray:
    """Return the learning rates as a float64 vector: 1-D, not empty, positive, finite and all different."""
    try:
        values = np.asarray(lrs)
        if values.dtype.kind in "SUbc":
            raise TypeError
        values = values.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"`{where}` must be a sequence of learning rates, got {show(lrs)}.") from None
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"`{where}` must have shape (trials,) with at least one learning rate, got shape {values.shape}. "
            "Write for example jnp.logspace(-7, 1, 17)."
        )
    for index, value in enumerate(values):
        if not is_lr(value):
            raise ValueError(
                f"`{where}` must be learning rates > 0 and finite, got {value:g} at index {index}. "
                "They are learning rates, not exponents: write 10.0 ** x for an exponent x."
            )
    singles = values.astype(np.float32)
    order = np.argsort(singles, kind="stable")
    twins = np.flatnonzero(np.diff(singles[order]) == 0)
    if twins.size:
        first, second = order[twins[0]], order[twins[0] + 1]
        raise ValueError(
            f"`{where}` must all be different, got {values[first]:g} at index {first} and {values[second]:g} "
            f"at index {second}, which are one float32 number. Remove one."
        )
    return values


def check_key(where: str, key: object) -> Key:
    """Return a PRNG key, typed or legacy."""
    advice = "Write `jax.random.key(0)`."
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        raise TypeError(f"`{where}` must be a JAX PRNG key, got the number {key}. Write `jax.random.key({key})`.")
    if not isinstance(key, (jax.Array, np.ndarray)):
        raise TypeError(f"`{where}` must be a JAX PRNG key, got {show(key)} ({type(key).__name__}). {advice}")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape != ():
            raise ValueError(f"`{where}` must be one key, got an array of keys of shape {key.shape}. Index it.")
        return cast(Key, key)
    try:
        if key.dtype == np.uint32 and key.ndim == 1:
            jax.random.wrap_key_data(jnp.asarray(key))
            return jnp.asarray(key)
    except TypeError:  # of another length than the keys of this JAX configuration
        pass
    raise TypeError(f"`{where}` must be a JAX PRNG key, got an array {describe(key)}. {advice}")


def check_callable(where: str, value: object, *, signature: str) -> None:
    """Raise unless `value` can be called; `signature` shows what is wanted."""
    if not callable(value):
        raise TypeError(f"`{where}` must be a function `{signature}`, got {show(value)} ({type(value).__name__}).")


def check_signature(where: str, function: object, wanted: str) -> inspect.Signature | None:
    """Raise unless `function` can be called with the positional arguments that `wanted` shows.

    Args:
      where: the argument's name.
      function: what was given.
      wanted: a signature such as "rule(curve, window) -> lr".

    Returns:
      The function's signature where it cannot be called so, else None.

    Raises:
      TypeError: it is no function.
    """
    check_callable(where, function, signature=wanted)
    count = wanted.split(")")[0].count(",") + 1
    try:
        signature = inspect.signature(function)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):  # builtins and C functions show none
        return None
    try:
        signature.bind(*range(count))
    except TypeError:
        return signature
    return None


def check_flag(where: str, value: object) -> bool:
    """Return True or False, known before the program runs."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{where}` must be True or False, got {show(value)} ({type(value).__name__}).")
    return bool(value)


def check_choice(where: str, value: object, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{where}` must be one of {listed}, got {show(value)}.")
    return cast(str, value)


Mode = Literal["min", "max"]
"""Which end of a metric is good."""


def check_mode(where: str, metric: str, mode: object) -> Mode:
    """Return which end of a metric is good; None is accepted for "loss", which is minimised.

    Args:
      where: the caller, without the argument: the message names `where(mode=...)`.
      metric: the metric's name.
      mode: "min", "max" or None.

    Raises:
      ValueError: neither "min" nor "max" (no other name than "loss" says which), or "max" for "loss".
    """
    if mode is None and metric == "loss":
        return "min"
    if not isinstance(mode, str) or mode not in ("min", "max"):
        raise ValueError(
            f'`{where}(mode=...)` must say which end of the metric {metric!r} is good: "min" (an error, a perplexity) '
            f'or "max" (an accuracy), got {show(mode)}. Only "loss" is known: it is minimised.'
        )
    if metric == "loss" and mode == "max":
        raise ValueError(
            f'`{where}(mode=...)` must be "min" for the metric "loss", which training minimises, got "max". Return '
            "what is to be large under another name from eval_fn."
        )
    return cast(Mode, mode)


def describe(leaf: object) -> str:
    """`float32[3,4]` for an array, the type's name for anything else."""
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if shape is None or dtype is None:
        return type(leaf).__name__
    return f"{dtype}[{','.join(map(str, shape))}]"


def describe_tree(tree: PyTree, limit: int = 4) -> str:
    """The first leaves of a tree with their paths, for an error message."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    parts = [f"{path_of(path)}: {describe(leaf)}" for path, leaf in leaves[:limit]]
    return "{" + ", ".join(parts) + (", ..." if len(leaves) > limit else "") + "}"


def path_of(path: tuple) -> str:
    """A readable path of a leaf; `(root)` for a tree that is one leaf."""
    return jax.tree_util.keystr(path) or "(root)"
