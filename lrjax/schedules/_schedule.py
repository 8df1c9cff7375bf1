"""The contract of every schedule, and the decorator that makes one of a function of the step.

A schedule is a `jax.tree_util.Partial` of a `Core` and its numbers. The core is a pure function of the step, defined
once in a module; the numbers are the leaves of the Partial, so a schedule can be a jit argument, stacked, vmapped and
pickled. What is not a number (`shape=`, `staircase=`) chooses another core. In the body of such a function the numbers
are arrays, where its annotations say what a caller may give: hence the three settings for pyright in its file.
"""

import contextlib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Concatenate, Literal, ParamSpec, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from .._annotated import arguments_of, reader
from .._checks import describe, kind_of, name_of, show, show_with_type, to_numpy
from .._types import Array, Schedule, StepLike

Parameters = ParamSpec("Parameters")

Group = Literal["decays", "warmup", "cycles", "composed", "momentum"]

GROUPS: dict[str, list[str]] = {group: [] for group in get_args(Group)}
"""The names of the factories, in the order in which they are shown."""

FACTORIES: dict[str, Callable[..., Schedule]] = {}
"""Every function of this package that makes a schedule, by its name: what has a spec and controls."""

TAIL = """\
Returns:
  A schedule: step of any shape -> value of the same shape.

Raises:
  TypeError, ValueError: an argument is out of its range, or two do not go together.

"""
"""What the docstring of every factory says before its source and its examples."""


class Core:
    """A pure function `f(step, **numbers)` under the contract, with its static choices made.

    It widens the step to int32 (int64 under x64), reads a negative one as 0, and returns strong float32 of the step's
    shape: float64 if the step or a number is a float64 array. One object per function and choices, so that two
    schedules of one kind have one tree structure. A spec leaves out the numbers that are `derived` from the others.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        jumps: bool,
        derived: Mapping[str, Callable[..., Any]],
        choices: tuple[tuple[str, Hashable], ...] = (),
    ):
        functools.update_wrapper(self, function)
        self.function, self.name, self.choices, self.derived = function, function.__name__, choices, derived
        self._may_jump, self.jumps = jumps, jumps and dict(choices).get("staircase", dict(choices).get("cycle", True))
        several = [
            one.name for one in inspect.signature(function).parameters.values() if one.kind is one.VAR_POSITIONAL
        ]
        self._parts = several[0] if several else ""
        self._compiled = jax.jit(self._evaluate, static_argnums=2, inline=True)

    @functools.cache  # noqa: B019 (a core lives as long as its module)
    def choose(self, *choices: tuple[str, Hashable]) -> "Core":
        """The core with these static arguments, sorted by name; the same object every time."""
        return Core(self.function, self._may_jump, self.derived, choices)

    def bind(self, **numbers: Any) -> Partial:
        """The schedule of these numbers."""
        return Partial(self, **numbers, **{name: make(**numbers) for name, make in self.derived.items()})

    def __call__(self, step: StepLike, **numbers: Any) -> Array:
        widened = widen(step)
        leaves = [widened, *jax.tree.leaves(numbers, is_leaf=_is_child)]
        wide = any(map(_is_double, jax.tree.leaves(leaves)))
        dtype = jax.dtypes.canonicalize_dtype(np.float64) if wide else np.dtype(np.float32)
        composed = any(map(_is_child, leaves))  # not compiled here: somebody else's schedule may only run eagerly
        return (self._evaluate if composed else self._compiled)(widened, numbers, dtype)

    def _evaluate(self, step: Any, numbers: dict[str, Any], dtype: np.dtype) -> Array:
        with promoting():
            step = jnp.asarray(step)
            given = jax.tree.map(functools.partial(_number, dtype=dtype), numbers, is_leaf=_is_child)
            value = self.function(step, *given.pop(self._parts, ()), **given, **dict(self.choices))
            return jnp.broadcast_to(_cast(value, dtype), step.shape)

    def __reduce__(self) -> tuple:
        return _core_of, (self.__module__, self.name, self.choices)

    def __repr__(self) -> str:
        return self.name + "".join(f"[{name}={value}]" for name, value in self.choices)


def _core_of(module: str, name: str, choices: tuple) -> Core:
    return getattr(importlib.import_module(module), name).core.choose(*choices)


def factory(
    group: Group, *relations: Callable[[str, dict[str, Any]], None], jumps: bool = False, **derived: Callable[..., Any]
) -> Callable[[Callable[Concatenate[Any, Parameters], Any]], Callable[Parameters, Schedule]]:
    """Make a function that makes schedules of one that computes them: `f(step, a, b)` becomes `f(a, b)(step)`.

    The function is evaluated under the contract of `Core`, with arrays for its numbers. Its annotations say what each
    argument must be, the `relations` what must hold between them, given its name and a dict of them; what is a word or
    a flag chooses the core. No caller gives an argument that is `derived` from the others. It `jumps` if it leaps by
    design. The decorator writes what every docstring says of the result and the errors.
    """

    def decorate(function: Callable[Concatenate[Any, Parameters], Any]) -> Callable[Parameters, Schedule]:
        core, name = Core(function, jumps, derived), function.__name__
        signature = inspect.signature(function)
        _, *own = (one for one in signature.parameters.values() if one.name not in derived)

        @functools.wraps(function)
        def make(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Schedule:
            given = read(*args, **kwargs).arguments
            for relation in relations:
                relation(name, given)
            return core.choose(*((key, given.pop(key)) for key in static)).bind(**given)

        written = inspect.cleandoc(function.__doc__ or "")
        make.__doc__ = re.sub("^(?=Source:|Examples:)", TAIL, written, count=1, flags=re.MULTILINE)
        make.__signature__ = signature.replace(parameters=own, return_annotation=Schedule)  # type: ignore[attr-defined]
        make.core = core  # type: ignore[attr-defined]
        read = reader(make)
        static = sorted(key for key, each in arguments_of(make).items() if each.rule and each.rule.static)
        if str(function.__module__).startswith(f"{__package__}."):  # somebody else's must not replace ours
            GROUPS[group].append(name)
            FACTORIES[name] = make
        return make

    return decorate


class Foreign:
    """Somebody else's schedule inside one of ours: static, compared by identity.

    Arrays of steps are vmapped over, because not every callable takes them.
    """

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function

    def __call__(self, step: Array) -> Array:
        if step.ndim == 0:
            return read_value(name_of(self.function), self.function(step))
        return jax.vmap(self)(step.reshape(-1)).reshape(step.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Foreign) and other.function is self.function

    def __hash__(self) -> int:
        return hash(id(self.function))

    def __repr__(self) -> str:
        return f"Foreign({self.function!r})"


def read_value(where: str, value: Any) -> Array:
    """What a schedule returned for one step, as an array of shape ()."""
    try:
        array = None if value is None else jnp.asarray(value)
    except Exception:
        array = None
    if array is None or array.ndim or kind_of(array) not in ("f", "i", "u"):
        shown = show(value) if array is None else describe(array)
        raise TypeError(f"`{where}` must return one number for one step, got {shown}.")
    return array


jax.tree_util.register_static(Foreign)


def _is_child(value: object) -> bool:
    return isinstance(value, (Partial, Foreign))


def own_core(schedule: object) -> Core | None:
    """The core of a schedule of this package; None for any other callable."""
    return schedule.func if isinstance(schedule, Partial) and isinstance(schedule.func, Core) else None


def cores_in(schedule: Any) -> Iterator[Core | None]:
    """The core of a schedule and those of the schedules inside it, None for one that is not of this package."""
    yield (core := own_core(schedule))
    if core is not None:
        for inside in filter(_is_child, jax.tree.leaves(dict(schedule.keywords), is_leaf=_is_child)):
            yield from cores_in(inside)


def widen(step: StepLike) -> Array | np.ndarray | np.generic:
    """The step as int32 (int64 under x64) or as a float, not negative; integers too large for that saturate."""
    counter = jax.dtypes.canonicalize_dtype(np.int64)
    largest = int(np.iinfo(counter).max)
    if isinstance(step, int) and not isinstance(step, bool):
        return counter.type(min(max(step, 0), largest))
    if isinstance(step, float):  # a Python float, also under x64: float32, as a weak type
        with np.errstate(over="ignore"):
            single = np.float32(step)
        return np.maximum(single, np.float32(0)) if type(step) is float else _not_negative(jnp.asarray(step))
    array: Any = step if isinstance(step, (jax.Array, np.generic)) else None
    if isinstance(step, (list, tuple, np.ndarray)):
        array = to_numpy(step)
    kind = kind_of(array)
    if kind not in ("f", "i", "u"):
        got = describe(array) if kind else show_with_type(step)
        raise TypeError(f"`schedule(step)` must be given a number of steps or an array of them, got {got}.")
    if kind == "f":
        return _not_negative(jnp.asarray(array.astype(np.float64) if array.dtype == np.longdouble else array))
    limit = min(largest, int(jnp.iinfo(array.dtype).max))
    ends = (array.dtype.type(0), array.dtype.type(limit))
    clip = jnp.clip if isinstance(array, jax.Array) else np.clip
    return clip(array, *ends).astype(counter)


def _not_negative(step: Array) -> Array:
    single = step.dtype != np.float64 or step.weak_type
    return jnp.maximum(step, 0).astype(np.float32 if single else np.float64)


def _is_double(leaf: Any) -> bool:
    return getattr(leaf, "dtype", None) == np.float64 and not getattr(leaf, "weak_type", False)


@contextlib.contextmanager
def promoting() -> Iterator[None]:
    """For code of ours that promotes types or shapes: the user's settings forbid it to the user's code only."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _number(leaf: Any, *, dtype: np.dtype) -> Any:
    """Counts in the widest integer, values in the float of the result; other schedules as they are."""
    if _is_child(leaf):
        return leaf
    leaf = jnp.asarray(leaf)
    if leaf.ndim:
        raise ValueError(
            f"A schedule's numbers must have shape (), got shape {leaf.shape}: these are several schedules in one. "
            "Write jax.vmap(lambda schedule: schedule(step))(schedules)."
        )
    counter = jax.dtypes.canonicalize_dtype(np.int64)
    return _cast(leaf, counter if jnp.issubdtype(leaf.dtype, np.integer) else dtype)


def _cast(value: Any, dtype: np.dtype) -> Array:
    return jax.lax.convert_element_type(jnp.asarray(value), dtype)
