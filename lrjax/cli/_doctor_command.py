"""`lrjax doctor`: what a bug report needs."""

import dataclasses
import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

from .._engine import keep_programs
from .._version import __version__
from ._errors import FOUND
from ._options import Command, Flag
from ._report import Screen, print_json

NEEDED = ("jax", "jaxlib", "optax", "numpy", "jaxtyping", "matplotlib", "cyclopts", "rich")

EXTRAS = {
    "flax": ("flax",),
    "equinox": ("equinox",),
    "keras": ("keras",),
    "haiku": ("dm-haiku",),
    "torch": ("torch",),
    "tensorflow": ("tensorflow-cpu",),
    "datasets": ("datasets",),
    "sweep": ("pandas", "pyarrow", "xarray"),
}
"""Extra, as in `pip install lrjax[flax]` -> what it installs."""

SETTINGS = re.compile(r"(JAX|LRJAX|XLA)_|CUDA_VISIBLE_DEVICES$|TPU_VISIBLE_CHIPS$")
"""Environment variables that change what JAX or lrjax does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorCommand(Command):
    """Print the versions, the devices, the folder of compiled programs and the extras: for a bug report.

    It starts JAX as every command does: a device that does not work is seen here.

        lrjax doctor
    """

    json: Flag = False
    """Print it as JSON."""

    def __call__(self) -> int:
        found = examine()
        if self.json:
            print_json(found)
            return FOUND
        screen = Screen()
        screen.say(f"lrjax {found['lrjax']}", "bold")
        absent = [extra for extra, names in EXTRAS.items() if not found["extras"].keys() >= {*names}]
        told = {
            "Python": found["python"],
            "packages": _listed(found["packages"]),
            "devices": ", ".join(found["devices"]),
            "compiled programs": found["compiled programs"],
            "settings": _listed(found["settings"]) or "none",
            "extras": _listed(found["extras"]) or "none",
            "not installed": ", ".join(f"lrjax[{extra}]" for extra in absent) or "none of the extras",
        }
        screen.table(("", ""), list(told.items()), whole=0)
        return FOUND


def examine() -> dict[str, Any]:
    """Versions, devices, settings and extras, by what they are called in a report."""
    return {
        "lrjax": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "packages": _versions(NEEDED),
        "devices": _devices(),
        "compiled programs": _programs(),
        "settings": {name: value for name, value in sorted(os.environ.items()) if SETTINGS.match(name)},
        "extras": _versions(tuple(name for names in EXTRAS.values() for name in names)),
    }


def _devices() -> list[str]:
    """All of them, or what JAX says instead: a device that does not start is why many ask the doctor."""
    try:
        return [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()]
    except RuntimeError as error:
        return [f"none: {error}"]


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _programs() -> str:
    folder = keep_programs()
    if folder is None:
        return "not kept: the user's cache folder cannot be written"
    size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file()) / 2**20
    return f"{size:.1f} MiB in {str(folder).replace(str(Path.home()), '~', 1)}"


def _listed(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
