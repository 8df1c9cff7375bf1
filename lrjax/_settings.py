"""JAX's settings while a call of ours runs."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
from jax.core import Tracer

_NAMES = (
    "enable_x64",
    "default_device",
    "default_matmul_precision",
    "default_prng_impl",
    "disable_jit",
    "enable_custom_prng",
    "legacy_prng_key",
    "numpy_dtype_promotion",
    "numpy_rank_promotion",
    "threefry_partitionable",
)
"""What JAX reads while it traces, each also a context manager: with another value it is another program."""

TRACER_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""What JAX raises where a function needs the value of a traced number."""


QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""Options of XLA on CPU, for programs that take milliseconds: with them they compile in a quarter of the time."""


def quick_options() -> dict[str, Any] | None:
    """`QUICK` where programs run on the CPU, and compiled in one part: for programs of which no last bit matters."""
    return QUICK | {"xla_cpu_parallel_codegen_split_count": 1} if jax.default_backend() == "cpu" else None


@contextlib.contextmanager
def without_alarms() -> Iterator[None]:
    """Switch off what JAX can be told to raise at, where that happens on purpose.

    Trials diverge, curves hold inf and nan, all learning rates share their dropout keys, and numbers go between the
    host and the devices: `jax_debug_nans`, `jax_debug_infs`, `jax_debug_key_reuse` and `jax_transfer_guard` are for
    trainings in which none of this should happen.
    """
    with jax.debug_nans(False), jax.debug_infs(False), jax.debug_key_reuse(False), jax.transfer_guard("allow"):
        yield


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
            if traced or isinstance(jax.device_put(0.0), Tracer):
                raise TypeError(
                    f"`{verb.__name__}` reads numbers on the host, to decide by them, so it cannot run inside jax.jit, "
                    "vmap, grad, scan or another transformation. Call it outside, and pass on what it found."
                )
            return verb(*arguments, **named)

    return run


def _is_other_iterable(node: object) -> bool:
    """Whether JAX would warn of a leaf that can be iterated over: a generator, the values of a dict."""
    return isinstance(node, Iterable) and not isinstance(node, (Mapping, list, tuple))


def current_settings() -> tuple[Any, ...]:
    """The values that hold in this thread, those of a `with` included."""
    return tuple(getattr(jax.config, f"jax_{name}") for name in _NAMES)


@contextlib.contextmanager
def with_settings(values: tuple[Any, ...]) -> Iterator[None]:
    """Give this thread the settings of another one, where trials are allowed to diverge."""
    with contextlib.ExitStack() as stack:
        for name, value in zip(_NAMES, values, strict=True):
            stack.enter_context(getattr(jax, name)(value))
        stack.enter_context(without_alarms())
        yield


_STRICT = {
    "jax_numpy_dtype_promotion": 'jax.numpy_dtype_promotion("standard")',
    "jax_numpy_rank_promotion": 'jax.numpy_rank_promotion("allow")',
}
"""Settings that parts of Optax do not keep to (Adam's bias correction, cosine decay), and what to call lrjax in."""


def broken_setting(error: Exception) -> tuple[str, str] | None:
    """The strict setting of JAX that an error says was not kept to, and what to do; None where it is another error."""
    name = next((name for name in _STRICT if name in str(error)), None)
    return None if name is None else (name, f"Call lrjax within `with {_STRICT[name]}:`.")
