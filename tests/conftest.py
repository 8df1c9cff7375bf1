"""One process, one device, no settings from outside: what each test needs, it makes itself."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("KERAS_BACKEND", "jax")

# Compiling is most of what the suite costs, and many tests compile equal programs: the workers and the processes that
# tests start share a folder of them.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

from jaxtyping import install_import_hook

# Shapes and types are checked at run time, in the tests only. Not in the modules whose own argument checks come
# first: their messages are tested.
CHECKED = [
    "lrjax.finder._curve",
    "lrjax.finder._refine",
    "lrjax.finder._rules",
    "lrjax.finder._warnings",
    "lrjax.finder._window",
    "lrjax.range_rules._smoothing",
    "lrjax.trials._devices",
    "lrjax.trials._executors",
    "lrjax.trials._memory",
    "lrjax.trials._trial",
]

with install_import_hook(CHECKED, "beartype.beartype"):
    import lrjax  # noqa: F401

MOST_BYTES = 500_000_000
"""Of compiled programs; a run makes about 40 million."""


def pytest_configure(config):
    """Begin anew where the folder of compiled programs has grown large; before xdist starts its workers."""
    cache, first = config.rootpath / ".jax_cache", "PYTEST_XDIST_WORKER" not in os.environ
    if first and cache.is_dir() and sum(file.stat().st_size for file in cache.iterdir()) > MOST_BYTES:
        shutil.rmtree(cache)
