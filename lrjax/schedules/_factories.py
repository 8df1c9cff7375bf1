"""Functions that make schedules: their arguments are checked by their annotations, and bound to a core."""

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, get_args

from .._checks import show
from .._types import Schedule
from ._annotations import Relation, Rule, rule_of
from ._bind import Core

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

Group = Literal["decays", "warmup", "cycles", "composed", "momentum"]

GROUPS: dict[str, list[str]] = {group: [] for group in get_args(Group)}
"""The names of the factories, in the order in which they are shown."""

FACTORIES: dict[str, Callable[..., Schedule]] = {}
"""Every function of this package that makes a schedule, by its name: what has a spec and controls."""

TAIL = """\
Returns:
  A schedule: step of any shape -> value of the same shape.

Raises:
  TypeError, ValueError: an argument is out of its range, or two do not go together.

"""
"""What the docstring of every factory says before its source and its examples."""


class Argument(NamedTuple):
    """An argument of a checked function.

    Attributes:
      place: what messages call it: `cosine_decay(decay_steps)`, `cosine_decay(end_value=...)`.
      parameter: what its signature says.
      rule: what it must be; None if its annotation says nothing.
    """

    place: str
    parameter: inspect.Parameter
    rule: Rule | None


def arguments_of(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments of a function by name."""
    written = {inspect.Parameter.KEYWORD_ONLY: "{}=...", inspect.Parameter.VAR_POSITIONAL: "*{}"}
    found = {}
    for name, each in inspect.signature(function).parameters.items():
        kind = Sequence[each.annotation] if each.kind is each.VAR_POSITIONAL else each.annotation
        place = f"{function.__name__}({written.get(each.kind, '{}').format(name)})"
        found[name] = Argument(place, each, rule_of(kind))
    return found


def reader(function: Callable[..., Any]) -> Callable[..., inspect.BoundArguments]:
    """A function of a call's arguments, to the same ones as the annotations of `function` say they must be."""
    signature, arguments = inspect.signature(function), arguments_of(function)

    def read(*args: Any, **kwargs: Any) -> inspect.BoundArguments:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(_misfit(function, arguments, args, kwargs) or f"`{function.__name__}`: {error}.") from None
        bound.apply_defaults()
        for name, (place, _, rule) in arguments.items():
            if rule is not None:
                bound.arguments[name] = rule.check(place, bound.arguments[name])
        return bound

    return read


def _misfit(function: Any, arguments: dict[str, Argument], args: tuple, kwargs: dict[str, Any]) -> str:
    """Which arguments of a call are missing and unknown; nothing if none is."""
    parameters = [each.parameter for each in arguments.values()]
    given = {*kwargs, *(each.name for each in parameters[: len(args)])}
    needed = [each.name for each in parameters if each.default is each.empty and each.kind is not each.VAR_POSITIONAL]
    missing = [name for name in needed if name not in given]
    unknown = [show(name, 40)[1:-1] for name in kwargs if name not in arguments][:3]
    if not missing and not unknown:
        return ""
    words = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has no argument {', '.join(unknown)}"] * bool(unknown)
    return f"`{function.__name__}` {' and '.join(words)}. It is {function.__name__}{signature_text(function)}."


def signature_text(function: Callable[..., Any]) -> str:
    """The arguments of a function with their defaults, without types: `(value)`."""
    signature = inspect.signature(function)
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def checked(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """The function, called with arguments that are as its annotations say."""
    read = reader(function)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        bound = read(*args, **kwargs)
        return function(*bound.args, **bound.kwargs)

    return call


def factory(
    core: Core, group: Group, *relations: Relation
) -> Callable[[Callable[Parameters, Schedule]], Callable[Parameters, Schedule]]:
    """Make a schedule of a core by the signature and the docstring of a function, whose body is empty.

    What is a word or a flag by its annotation chooses the core, everything else is a number of it.

    Args:
      core: takes the arguments by their names.
      group: where the schedule is listed.
      *relations: what must hold between the arguments.
    """

    def decorate(function: Callable[Parameters, Schedule]) -> Callable[Parameters, Schedule]:
        name, read = function.__name__, reader(function)
        static = [key for key, each in arguments_of(function).items() if each.rule and each.rule.static]

        @functools.wraps(function)
        def make(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Schedule:
            given = read(*args, **kwargs).arguments
            for relation in relations:
                relation(name, given)
            chosen = {key: given.pop(key) for key in static}
            return core.choose(**chosen).bind(**given)

        written = inspect.cleandoc(function.__doc__ or "")
        make.__doc__ = re.sub("^(?=Source:|Examples:)", TAIL, written, count=1, flags=re.MULTILINE)
        if str(function.__module__).startswith(f"{__package__}."):  # somebody else's must not replace ours
            GROUPS[group].append(name)
            FACTORIES[name] = make
        return make

    return decorate
