"""Argument checks in one style: the call site in backticks, the rule, what was got, and what to do."""

import inspect
import math
import operator
import os
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, SupportsIndex, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

MAX_UPDATES = 2**31 - 1
"""Optimizer updates that the counters of Optax, int32, can count; nothing else is counted further."""

MAX_SEEDS = 1000
"""Each seed has parameters and batches of its own, which are made before the first update."""

MAX_TRIALS = 100_000
"""Settings of a grid: more are a slip of the pen, and take minutes before the first update."""

LONGEST = 2_000
"""Characters of a repr that are looked at."""


class _Short(reprlib.Repr):
    """Short reprs that never fail, whatever the object, and that hold no address."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxdeque = 12
        self.maxstring = self.maxother = LONGEST

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            if isinstance(x, Tracer) or (isinstance(x, (jax.Array, np.ndarray)) and x.size > 100):
                return f"{'a traced ' * isinstance(x, Tracer)}{describe(x)}"
            return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(x)[:LONGEST])
        except Exception:
            return f"<{type(x).__name__} whose repr fails>"

    repr_int = repr_instance  # one of more than 4,300 digits has no repr


_SHORT = _Short()


def show(value: object, limit: int = 80) -> str:
    """A short repr for an error message, on one line."""
    return clip(re.sub(r"\w{0,20}Tracer\(([^()]*)\)", r"traced \1", " ".join(_SHORT.repr(value).split())), limit)


def clip(text: str, limit: int) -> str:
    """A text of so many characters at most."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def show_count(count: int) -> str:
    """`2,147,483,648`, shortened."""
    return f"{count:,}" if abs(count) < 10**20 else show(count)


def show_with_type(value: object) -> str:
    """A short repr and the type's name."""
    return f"{show(value)} ({type(value).__name__})"


def brief(error: BaseException, limit: int = 300) -> str:
    """What an error of another library says, on one line and without what follows its first few hundred letters."""
    return clip(re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split())), limit)


def name_of(function: object) -> str:
    """A function's name for an error message, also for partials and callable objects."""
    function = attribute(function, "func", function)
    return attribute(function, "__qualname__") or type(function).__name__


def check_count(
    where: str, value: object, *, minimum: int = 1, maximum: int | None = MAX_UPDATES, unit: str = ""
) -> int:
    """Return `value` as an int from `minimum` to `maximum`; `unit` completes the sentence ("optimizer updates")."""
    unit = f" ({unit})" if unit else ""
    rule = f"must be a whole number >= {minimum}{unit}"
    if isinstance(value, bool) or kind_of(value) == "b":
        raise TypeError(f"`{where}` {rule}, got the bool {show(value)}. Pass a number.")
    try:
        count = operator.index(cast(SupportsIndex, value))
    except Exception:  # an object's own __index__ may raise anything
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
        advice = f" Write {int(cast(float, value))}." if whole else ""
        raise TypeError(f"`{where}` {rule}, got {show_with_type(value)}.{advice}") from None
    if count < minimum:
        raise ValueError(f"`{where}` {rule}, got {show_count(count)}.")
    if maximum is not None and count > maximum:
        raise ValueError(f"`{where}` must be at most {maximum:,}{unit}, got {show_count(count)}.")
    return count


def check_index(where: str, value: object, length: int) -> int:
    """Return `value` as an index into what has `length` entries, from 0 on."""
    index = check_count(where, value, minimum=0, unit="an index")
    if index >= length:
        raise ValueError(f"`{where}` must be from 0 to {length - 1}, got {index}.")
    return index


def check_number(where: str, value: object, *, rule: str, accept: Callable[[float], bool]) -> float:
    """Return `value` as a float that `accept` takes; `rule` says in words what it must be."""
    try:
        if value is None or isinstance(value, (str, bytes, bool, Tracer)):
            raise TypeError
        if kind_of(value) not in ("", "f", "i", "u") or getattr(value, "shape", ()) != ():
            raise TypeError
        number = float(cast(Any, value))
    except OverflowError:
        raise ValueError(f"`{where}` must be {rule}, got {show(value)}, which no float holds.") from None
    except Exception:  # an object's own __float__ may raise anything
        raise TypeError(f"`{where}` must be {rule}, got {show_with_type(value)}.") from None
    if not accept(number):
        raise ValueError(f"`{where}` must be {rule}, got {number:g}.")
    return number


def kind_of(value: object) -> str:
    """The kind of an array's or a NumPy scalar's numbers, as of a dtype: "f" for JAX's own floats too.

    "" is no array, "O" one of what is no numbers, such as keys.
    """
    try:
        dtype = cast(Any, value).dtype
    except Exception:  # an object's own __getattr__ may raise anything
        return ""
    if not isinstance(dtype, np.dtype):
        return "O"
    if dtype.kind != "V":
        return dtype.kind
    return next((kind for kind, of in _OF_JAX.items() if jnp.issubdtype(dtype, of)), "O")


_OF_JAX = {"f": np.floating, "i": np.signedinteger, "u": np.unsignedinteger}


def check_loss(where: str, value: object) -> float | None:
    """Return a loss as a float, or None."""
    rule = "a finite loss in the units of loss_fn, or None"
    return None if value is None else check_number(where, value, rule=rule, accept=math.isfinite)


def check_key(where: str, key: object) -> jax.Array:
    """Return a PRNG key, typed or legacy."""
    advice = "Write `jax.random.key(0)`."
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        number = show(key)
        raise TypeError(f"`{where}` must be a JAX PRNG key, got the number {number}. Write `jax.random.key({number})`.")
    if not isinstance(key, (jax.Array, np.ndarray)):
        raise TypeError(f"`{where}` must be a JAX PRNG key, got {show_with_type(key)}. {advice}")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape != ():
            raise ValueError(f"`{where}` must be one key, got an array of keys of shape {key.shape}. Index it.")
        return cast(jax.Array, key)
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
        raise TypeError(f"`{where}` must be a function `{signature}`, got {show_with_type(value)}.")


def check_signature(where: str, function: object, wanted: str) -> inspect.Signature | None:
    """The signature of a function that cannot be called as `wanted` shows ("rule(curve, window) -> lr"), else None."""
    check_callable(where, function, signature=wanted)
    if can_take(function, wanted.split(")")[0].count(",") + 1):
        return None
    return inspect.signature(cast(Callable[..., Any], function))


def can_take(function: object, count: int) -> bool:
    """Whether it can be called with so many positional arguments, as far as it shows."""
    if not callable(function):
        return False
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins and C functions show none
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def check_flag(where: str, value: object) -> bool:
    """Return True or False, known before the program runs."""
    check_type(where, value, (bool, np.bool_), "True or False")
    return bool(value)


def check_choice(where: str, value: object, choices: tuple[str | None, ...]) -> Any:
    """Return `value` if it is one of `choices`."""
    listed = ", ".join(repr(choice) for choice in choices if choice is not None) + " or None" * (None in choices)
    if not (isinstance(value, str) or (value is None and None in choices)):
        raise TypeError(f"`{where}` must be one of {listed}, got {show_with_type(value)}.")
    if value not in choices:
        raise ValueError(f"`{where}` must be one of {listed}, got {show(value)}.")
    return value


def check_type(where: str, value: object, kind: type | tuple[type, ...], what: str, advice: str = "") -> None:
    """Raise unless `value` is of a kind; `what` says in words what it must be."""
    if not isinstance(value, kind):
        raise TypeError(f"`{where}` must be {what}, got {show_with_type(value)}. {advice}".strip())


def check_path(where: str, value: object) -> Path:
    """Return the path of a file or folder."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"`{where}` must be a path, got {show_with_type(value)}.")
    try:
        if not os.fsencode(value) or b"\0" in os.fsencode(value):
            raise ValueError
    except ValueError:  # letters that no file system knows
        raise ValueError(f"`{where}` must be a path, got {show(value)}.") from None
    return Path(value)


def attribute(value: object, name: str, default: Any = None) -> Any:
    """An attribute, or a default where there is none and where the object fails at being asked."""
    try:
        return getattr(value, name, default)
    except Exception:
        return default


def to_numpy(value: object) -> np.ndarray | None:
    """What NumPy makes of a value; None where it cannot, or would lose a mask."""
    try:
        return None if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    except Exception:  # an object's own __array__ may raise anything
        return None


def shape_of(value: object) -> tuple[int, ...]:
    """The shape of numbers; () for what is none."""
    return () if (array := to_numpy(value)) is None else array.shape


Mode = Literal["min", "max"]
"""Which end of a metric is good."""


def check_mode(where: str, metric: str, mode: object) -> Mode:
    """Return which end of a metric is good; None does for "loss". `where` is the caller, without the argument."""
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
    try:
        shape, dtype = cast(Any, leaf).shape, cast(Any, leaf).dtype
        return f"{dtype}[{','.join(map(str, shape))}]"
    except Exception:  # an object's own attributes may raise anything
        return type(leaf).__name__


def describe_tree(tree: PyTree, limit: int = 4) -> str:
    """The first leaves of a tree with their paths, for an error message."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    parts = [f"{path_of(path)}: {describe(leaf)}" for path, leaf in leaves[:limit]]
    return "{" + ", ".join(parts) + (", ..." if len(leaves) > limit else "") + "}"


def path_of(path: tuple) -> str:
    """A readable path of a leaf; `(root)` for a tree that is one leaf."""
    return jax.tree_util.keystr(path) or "(root)"
