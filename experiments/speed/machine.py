"""What the benchmark ran on: a description, and the matrix product's speed as the peak."""

import datetime
import functools
import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

PACKAGES = ("jax", "jaxlib", "optax", "flax", "numpy", "torch")


def describe_machine() -> dict[str, Any]:
    """The device, the processor, memory and versions."""
    device = jax.devices()[0]
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **versions,
    }


def today() -> str:
    """The date, ISO."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def matmul_peak(sizes: tuple[int, ...] = (), dtype: Any = jnp.float32, precision: str = "default") -> dict[str, float]:
    """Floating-point operations per second of the best matrix product, by size."""
    sizes = sizes or ((512, 1024, 2048) if jax.default_backend() == "cpu" else (2048, 4096, 8192))
    multiply = jax.jit(functools.partial(jnp.matmul, precision=precision))
    speeds = {}
    for size in sizes:
        a = jax.random.normal(jax.random.key(0), (size, size), dtype)
        jax.block_until_ready(multiply(a, a))
        best = float("inf")
        for _ in range(10):
            start = time.perf_counter()
            jax.block_until_ready(multiply(a, a))
            best = min(best, time.perf_counter() - start)
        speeds[str(size)] = 2 * size**3 / best
    return speeds
