"""One process, one device, no settings from outside: what each test needs, it makes itself."""

import importlib
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

import shapes
from jaxtyping import install_import_hook

with install_import_hook(shapes.MODULES, "shapes.checked"):
    for room in ("demos", "explorer", "integrations", "_plan", "plots", "scaling", "_search", "_sweeps"):
        importlib.import_module(f"lrjax.{room}")

MOST_BYTES = 500_000_000
"""Of compiled programs; a run makes about 40 million."""


def pytest_configure(config):
    """Begin anew where the folder of compiled programs has grown large; before xdist starts its workers."""
    cache, first = config.rootpath / ".jax_cache", "PYTEST_XDIST_WORKER" not in os.environ
    if first and cache.is_dir() and sum(file.stat().st_size for file in cache.iterdir()) > MOST_BYTES:
        shutil.rmtree(cache)
