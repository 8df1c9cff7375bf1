"""What makes a rule of a function that chooses a point, and which points there are to choose from."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import numpy as np
from jaxtyping import Float, Int

from .._annotated import known_count, reader
from ._history import Suggestion, curve_shape, read_history

Parameters = ParamSpec("Parameters")

Skipped = Annotated[int, known_count(0, "recorded points to drop")]

ARGUMENTS = {
    "lrs": "lrs, losses: the history, shape (steps,).",
    "num_steps": "num_steps: planned length of the range test, >= 1, to trim as `fastai_trim` does; None: no trimming.",
    "skip_begin": "skip_begin: points to drop at the start, >= 0.",
    "skip_start": "skip_start: points to drop at the start, >= 0.",
    "skip_end": "skip_end: points to drop at the end, >= 0.",
}
"""What the docstrings of rules say of the arguments that several have."""

OPTIONS = re.compile(r"(?:Args:\n(.*?)\n\n)?(?=Raises:|Source:|Examples:)", re.DOTALL)
"""The options in a docstring, whose text may lack them."""

TAIL = """\
Returns:
  A `Suggestion`, its index in the arrays given.

Raises:
  TypeError, ValueError: the arrays are no history, no loss is finite, an option is out of range, or too few points or
    no finite slope is left.

"""


def rule(function: Callable[Parameters, Any]) -> Callable[Parameters, Suggestion]:
    """A rule by what it chooses: `f(lrs, losses, *, options)`, of float64 arrays, to an index, or an index and an lr.

    The arguments are read by their annotations. The docstring gets what those of all rules say.
    """
    signature, read, name = inspect.signature(function), reader(function), function.__name__

    @functools.wraps(function)
    def suggest(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Suggestion:
        given = read(*args, **kwargs)
        lrs, losses = read_history(name, given.arguments["lrs"], given.arguments["losses"])
        given.arguments.update(lrs=lrs, losses=losses)
        found = function(*given.args, **given.kwargs)
        index, lr = found if isinstance(found, tuple) else (found, lrs[found])
        return Suggestion(float(lr), int(index), float(losses[index]), curve_shape(losses))

    what, arguments, rest = OPTIONS.split(inspect.cleandoc(function.__doc__ or ""), maxsplit=1)
    first, *last = (f"  {text}\n" for key, text in ARGUMENTS.items() if key in signature.parameters)
    own = f"{arguments}\n" if arguments else ""
    tail = TAIL[: TAIL.index("Raises:")] if rest.startswith("Raises:") else TAIL
    suggest.__doc__ = f"{what}Args:\n{first}{own}{''.join(last)}\n{tail}{rest}"
    suggest.__signature__ = signature.replace(return_annotation=Suggestion)  # type: ignore[attr-defined]
    return suggest


def need_points(where: str, got: int, minimum: int, reason: str) -> None:
    """Raise unless `got` points are at least `minimum`."""
    if got < minimum:
        raise ValueError(
            f"Need at least {minimum} points for `{where}`, got {got} {reason}. "
            "Run more steps, lower the upper end of the range, or drop fewer points."
        )


def kept_points(where: str, values: Float[np.ndarray, " steps"], **skips: int) -> Int[np.ndarray, " kept"]:
    """Return the indices left after dropping `skips` at the start and the end, two at least."""
    begin, end = skips.values()
    kept = np.arange(begin, max(values.size - end, begin))  # a slice [begin:-end] would be empty for end = 0
    dropped = " and ".join(f"{name}={value}" for name, value in skips.items())
    need_points(where, kept.size, 2, f"after dropping {dropped} of {values.size}")
    return kept


def finite_points(where: str, values: Float[np.ndarray, " steps"], **skips: int) -> Int[np.ndarray, " kept"]:
    """Return those of them whose loss is finite, two at least."""
    kept = kept_points(where, values, **skips)
    finite = kept[np.isfinite(values[kept])]
    need_points(where, finite.size, 2, f"with a finite loss among {kept.size}")
    return finite
