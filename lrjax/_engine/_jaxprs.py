"""What a jaxpr holds, at any depth."""

from collections.abc import Iterator
from typing import Any

import jax


def inner_jaxprs(equation: Any) -> list[Any]:
    """The jaxprs, closed or not, among the parameters of an equation."""
    return [one for one in jax.tree.leaves(equation.params) if _is_jaxpr(one)]


def every_jaxpr(jaxpr: Any) -> Iterator[Any]:
    """A jaxpr and those within it."""
    yield jaxpr
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        for inner in inner_jaxprs(equation):
            yield from every_jaxpr(inner)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")
