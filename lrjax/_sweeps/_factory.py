"""The optimizer factory of a sweep: what it is called with, and whether it takes that."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._checks import check_callable, name_of


def first_argument(make_optimizer: Callable[..., Any]) -> str:
    """The name of its first argument, or "setting" where it shows none."""
    try:
        return next(iter(inspect.signature(make_optimizer).parameters), "setting")
    except (TypeError, ValueError):
        return "setting"


def check_names(where: str, make_optimizer: Callable[..., Any], names: Sequence[str]) -> None:
    """Raise unless the factory can be called with these keywords and no others."""
    check_callable("sweep(make_optimizer=...)", make_optimizer, signature=f"make_optimizer({', '.join(names)})")
    try:
        signature = inspect.signature(make_optimizer)
    except (TypeError, ValueError):  # builtins show none
        return
    parameters = signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [name for name in names if name not in parameters and not takes_any]
    if unknown:
        import difflib

        close = difflib.get_close_matches(unknown[0], list(parameters))
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"`{where}` names {unknown[0]!r}, which make_optimizer, `{name_of(make_optimizer)}{_short(signature)}`, "
            f"does not take.{hint}"
        )
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        raise ValueError(
            f"`{where}` must name all that make_optimizer, `{name_of(make_optimizer)}{_short(signature)}`, needs, but: "
            f"{error}. Name it in the grid, or fix it: functools.partial(make_optimizer, ...)."
        ) from None


def _short(signature: inspect.Signature) -> str:
    """A signature without annotations and defaults."""
    return f"({', '.join(signature.parameters)})"


@dataclasses.dataclass(frozen=True)
class ByName:
    """An optimizer factory called with one mapping of its keywords. Equal ones share a program."""

    func: Callable[..., Any]  # messages name it

    def __call__(self, settings: Mapping[str, Any]) -> Any:
        return self.func(**settings)
