"""Argument checks: one error style for the whole package.

Every message names the call site in backticks, states the rule, shows what was got and says what to do.
"""

import dataclasses
import functools
import inspect
import math
import operator
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, ParamSpec, SupportsIndex, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._settings import without_alarms
from ._types import Key, PyTree

MAX_UPDATES = 2**31 - 1
"""Optimizer updates that the counters of Optax, int32, can count; nothing else is counted further."""

MAX_SEEDS = 1000
"""Each seed has parameters and batches of its own, which are made before the first update."""

MAX_TRIALS = 100_000
"""Settings of a grid: more are a slip of the pen, and take minutes before the first update."""

MAX_DECADES = 20
"""The widest range of learning rates."""


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
    text = re.sub(r"\w{0,20}Tracer\(([^()]*)\)", r"traced \1", " ".join(_SHORT.repr(value).split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def show_count(count: int) -> str:
    """`2,147,483,648`, shortened."""
    return f"{count:,}" if abs(count) < 10**20 else show(count)


def show_with_type(value: object) -> str:
    """A short repr and the type's name."""
    return f"{show(value)} ({type(value).__name__})"


def brief(error: BaseException, limit: int = 300) -> str:
    """What an error of another library says, on one line and without what follows its first few hundred letters."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def name_of(function: object) -> str:
    """A function's name for an error message, also for partials and callable objects."""
    function = attribute(function, "func", function)
    return attribute(function, "__qualname__") or type(function).__name__


Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def on_host(verb: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """The function without JAX's alarms, refusing to run where JAX traces: in `jax.jit` there are no values to read."""

    @functools.wraps(verb)
    def run(*arguments: Arguments.args, **named: Arguments.kwargs) -> Returned:
        with without_alarms():
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


def check_count(
    where: str, value: object, *, minimum: int = 1, maximum: int | None = MAX_UPDATES, unit: str = ""
) -> int:
    """Return `value` as an int from `minimum` to `maximum`; `unit` completes the sentence ("optimizer updates")."""
    rule = f"must be a whole number >= {minimum}" + (f" ({unit})" if unit else "")
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
        raise ValueError(
            f"`{where}` must be at most {maximum:,}" + (f" ({unit})" if unit else "") + f", got {show_count(count)}."
        )
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
        if value is None or isinstance(value, (str, bytes, bool, Tracer)) or not _is_number(value):
            raise TypeError
        number = float(cast(Any, value))
    except OverflowError:
        raise ValueError(f"`{where}` must be {rule}, got {show(value)}, which no float holds.") from None
    except Exception:  # an object's own __float__ may raise anything
        raise TypeError(f"`{where}` must be {rule}, got {show_with_type(value)}.") from None
    if not accept(number):
        raise ValueError(f"`{where}` must be {rule}, got {number:g}.")
    return number


def _is_number(value: object) -> bool:
    """Whether it may be one real number: an array of shape (), or no array."""
    return kind_of(value) in ("", "f", "i", "u") and getattr(value, "shape", ()) == ()


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


LR = "a learning rate, > 0 and finite"


def check_lr(where: str, value: object, *, rule: str = LR) -> float:
    """Return one learning rate, a normal float32 number up to 1e30."""
    return check_number(where, value, rule=rule, accept=is_lr)


def check_lr_range(where: str, min_lr: object, max_lr: object) -> tuple[float, float]:
    """Return two learning rates, 0 < min_lr < max_lr, both normal float32 numbers, within 20 decades."""
    for name, value in (("min_lr", min_lr), ("max_lr", max_lr)):
        if isinstance(value, (int, float, np.integer, np.floating)) and -100 < value < 0:
            power = f"1e{value:g}" if value == int(value) else f"10 ** {value:g}"
            raise ValueError(
                f"`{where}({name}=...)` must be {LR}, got {value:g}. "
                f"Learning rates are given as such, not as exponents: write {power}, not {value:g}."
            )
    low, high = check_lr(f"{where}(min_lr=...)", min_lr), check_lr(f"{where}(max_lr=...)", max_lr)
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
    given = to_numpy(lrs)
    if given is None or (given.size and kind_of(given) not in ("f", "i", "u")):
        raise TypeError(f"`{where}` must be a sequence of learning rates, got {show(lrs)}.")
    values = given.astype(np.float64)
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
        number = show(key)
        raise TypeError(f"`{where}` must be a JAX PRNG key, got the number {number}. Write `jax.random.key({number})`.")
    if not isinstance(key, (jax.Array, np.ndarray)):
        raise TypeError(f"`{where}` must be a JAX PRNG key, got {show_with_type(key)}. {advice}")
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
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{where}` must be True or False, got {show_with_type(value)}.")
    return bool(value)


def check_choice(where: str, value: object, choices: tuple[str | None, ...]) -> Any:
    """Return `value` if it is one of `choices`."""
    listed = ", ".join(repr(choice) for choice in choices if choice is not None) + " or None" * (None in choices)
    if not (isinstance(value, str) or (value is None and None in choices)):
        raise TypeError(f"`{where}` must be one of {listed}, got {show_with_type(value)}.")
    if value not in choices:
        raise ValueError(f"`{where}` must be one of {listed}, got {show(value)}.")
    return value


def check_type(where: str, value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Raise unless `value` is of a kind; `what` says in words what it must be."""
    if not isinstance(value, kind):
        raise TypeError(f"`{where}` must be {what}, got {show_with_type(value)}.")


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
