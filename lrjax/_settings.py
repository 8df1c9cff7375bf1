"""JAX's settings while a call of ours runs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

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


@contextlib.contextmanager
def without_alarms() -> Iterator[None]:
    """Switch off what JAX can be told to raise at, where that happens on purpose.

    Trials diverge, curves hold inf and nan, all learning rates share their dropout keys, and numbers go between the
    host and the devices: `jax_debug_nans`, `jax_debug_infs`, `jax_debug_key_reuse` and `jax_transfer_guard` are for
    trainings in which none of this should happen.
    """
    with jax.debug_nans(False), jax.debug_infs(False), jax.debug_key_reuse(False), jax.transfer_guard("allow"):
        yield


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
