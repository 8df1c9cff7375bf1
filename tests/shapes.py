"""The package's shape annotations, checked at run time in the tests.

Every module that has one is under the hook. The parameters of what a user calls are not checked: there the package's
own messages come first, and annotations are what should be given, not all that is accepted. What it returns is.
"""

import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray

ROOT = Path(__file__).parents[1] / "lrjax"
SHAPED = re.compile(r"\b(?:Float|Int|Bool|Shaped|Num)\[(?:Array|np\.ndarray),")
PUBLIC = re.compile(r"^\s*from \S+ import \w+ as (\w+)$", re.MULTILINE)
PUBLIC_ROOMS = ("schedules", "range_rules", "demos", "integrations", "scaling")
INDEXES = ("__init__.py", "plots.py", *(f"{room}/__init__.py" for room in PUBLIC_ROOMS))

MODULES = tuple(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in sorted(ROOT.rglob("*.py"))
    if SHAPED.search(path.read_text())
)
"""Those with a shape annotation."""

NAMES = frozenset(name for index in INDEXES for name in PUBLIC.findall((ROOT / index).read_text())) | {"LossCurve"}
"""What users call."""


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check what a function's annotations say of shapes; of a public one the returned value only."""
    shaped = {name: kind for name, kind in function.__annotations__.items() if _names_shape(kind)}
    if _is_public(function):
        shaped = {name: kind for name, kind in shaped.items() if name == "return"}
    if not shaped:
        return function
    function.__annotations__ = shaped
    return beartype(function)


def _is_public(function: Callable[..., Any]) -> bool:
    parts = function.__qualname__.split(".")
    return parts[0] in NAMES and all(part[0] != "_" for part in parts if part != "__init__")


def _names_shape(kind: Any) -> bool:
    return (isinstance(kind, type) and issubclass(kind, AbstractArray)) or any(map(_names_shape, typing.get_args(kind)))
