"""What the arguments of a function must be, said by annotations: read for the checks, for `help()` and for pages."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, TypeVar, cast, get_args, get_origin

import jax
import numpy as np

from ._checks import check_choice, check_count, check_flag, check_number, show, show_with_type

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
Made = TypeVar("Made", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, eq=False)  # hashable, as what stands in an annotation must be
class Rule:
    """What an argument must be: `check(place, argument)` gives the form in which it is used, or raises."""

    check: Callable[[str, Any], Any]
    text: str  # the rule in words
    shown: dict[str, Any] = dataclasses.field(default_factory=dict)  # the control of a page for it, ready for JSON
    plural: str = "numbers"  # what a list of such arguments holds
    static: bool = False  # a word or a flag, which chooses what is computed

    def __repr__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Slider:
    """A range for the control of a number, in equal steps ("number") or equal factors ("ratio", "lr")."""

    low: float
    high: float
    kind: str = "number"
    whole: bool = False

    def __repr__(self) -> str:
        return f"shown from {self.low:g} to {self.high:g}"


def known_number(text: str, accept: Callable[[float], bool]) -> Rule:
    """One number that is known now, as a float."""
    return Rule(functools.partial(check_number, rule=text, accept=accept), text)


def known_count(minimum: int, unit: str) -> Rule:
    """A whole number that is known now, as an int."""
    return Rule(functools.partial(check_count, minimum=minimum, unit=unit), f"a whole number >= {minimum} ({unit})")


def check_list(where: str, given: Any, of: Rule) -> tuple:
    """A list, a tuple or a 1-D array, as a tuple; only one of steps may be empty."""
    if isinstance(given, (jax.Array, np.ndarray)) and given.ndim == 1:
        given = [given[index] for index in range(len(given))]
    if isinstance(given, (str, bytes, memoryview)) or not isinstance(given, Sequence):
        raise TypeError(f"`{where}` must be a list of {of.plural}, got {show_with_type(given)}.")
    if not given and of.plural != "steps":
        raise ValueError(f"`{where}` must hold at least one {of.plural.removesuffix('s')}, got none.")
    return tuple(of.check(f"{where}[{index}]", one) for index, one in enumerate(given))


def rule_of(annotation: Any) -> Rule | None:
    """The rule of an annotated argument; None where there is none."""
    kind, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    inside = get_args(kind)
    if rules := [one for one in notes if isinstance(one, Rule)]:
        sliders = [dataclasses.asdict(one) for one in notes if isinstance(one, Slider)]
        return dataclasses.replace(rules[-1], shown=[rules[-1].shown, *sliders][-1])
    if kind is bool:
        return Rule(check_flag, "True or False", {"kind": "flag"}, static=True)
    if get_origin(kind) is Literal:
        same = next((one for one in notes if isinstance(one, dict)), {})
        return Rule(
            lambda where, given: same.get(word := check_choice(where, given, inside), word),
            "a word",
            {"kind": "choice", "choices": [word for word in inside if word not in same]},
            static=True,
        )
    if get_origin(kind) is Sequence and (of := rule_of(inside[0])):
        return Rule(functools.partial(check_list, of=of), f"a list of {of.plural}", {"kind": "list", "of": of.shown})
    if NoneType in inside and (of := rule_of(inside[0])):
        return dataclasses.replace(of, check=lambda where, given: None if given is None else of.check(where, given))
    return None


class Argument(NamedTuple):
    """An argument of a checked function, and its rule if its annotation has one."""

    place: str  # what messages call it: `cosine_decay(decay_steps)`, `cosine_decay(end_value=...)`
    parameter: inspect.Parameter
    rule: Rule | None


def arguments_of(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments of a function by name."""
    found = {}
    for name, each in inspect.signature(function).parameters.items():
        several, named = (
            each.kind is each.VAR_POSITIONAL,
            each.kind is each.KEYWORD_ONLY or each.default is not each.empty,
        )
        place = f"{_called(function)}({'*' * several}{name}{'=...' * named})"
        found[name] = Argument(place, each, rule_of(Sequence[each.annotation] if several else each.annotation))
    return found


def _called(function: Any) -> str:
    """What a function is called by its callers: an `__init__` as its class."""
    return function.__name__ if function.__name__ != "__init__" else function.__qualname__.split(".")[-2]


def reader(function: Callable[..., Any]) -> Callable[..., inspect.BoundArguments]:
    """A function of a call's arguments, to the same ones as the annotations of `function` say they must be."""
    signature, arguments = inspect.signature(function), arguments_of(function)

    def read(*args: Any, **kwargs: Any) -> inspect.BoundArguments:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(_misfit(function, arguments, args, kwargs) or f"`{_called(function)}`: {error}.") from None
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
    words = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has no argument {', '.join(unknown)}"] * bool(unknown)
    called = _called(function)
    return f"`{called}` {' and '.join(words)}. It is {called}{signature_text(function)}." if words else ""


def fitting(hints: Mapping[str, str]) -> Callable[[Made], Made]:
    """Mark a function or a class whose caller is told which arguments are missing or unknown, and what to write."""

    def mark(made: Made) -> Made:
        signature, arguments, called = inspect.signature(made), arguments_of(made), made.__name__
        init: Any = made.__init__ if isinstance(made, type) else None

        def check(args: tuple, kwargs: dict[str, Any]) -> None:
            try:
                signature.bind(*args, **kwargs)
            except TypeError:
                told = _misfit(made, arguments, args, kwargs)
                told = told or f"`{called}` takes further arguments by name. It is {called}{signature_text(made)}."
                asked = [hint for name, hint in hints.items() if (name in kwargs) != (name in arguments)]
                raise TypeError(" ".join([told, *asked])) from None

        @functools.wraps(init or made)
        def call(*args: Any, **kwargs: Any) -> Any:
            check(args if init is None else args[1:], kwargs)
            return (init or made)(*args, **kwargs)

        if init is None:
            return cast(Any, call)
        setattr(made, "__init__", call)  # noqa: B010  (a type checker would have it a method)
        return cast(Any, made)

    return mark


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
