"""What is kept between calls: compiled programs, for as long as the functions live that they were made of."""

import atexit
import dataclasses
import inspect
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh

_PACKAGE = __name__.partition(".")[0]


class WeakCache:
    """A cache that keeps none of the functions alive that its keys name: an entry goes when one of them does.

    So the values must not hold them either. Of dataclasses of this package that are equal where their fields are, these
    are looked at one by one.
    """

    def __init__(self, size: int):
        self.misses = 0  # how often a value had to be made
        self._size = size  # of more entries those used least recently go
        self._entries: OrderedDict[Any, tuple[Any, list[weakref.ref]]] = OrderedDict()
        self._lock = threading.RLock()
        atexit.register(self._entries.clear)  # while JAX can still hash its shapes, which forgetting one entry does

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """The value of a key, made where there is none."""
        weak = _weaken(key)
        with self._lock:
            if weak in self._entries:
                self._entries.move_to_end(weak)
                return self._entries[weak][0]
            self.misses += 1
            value = make()
            forget = lambda _: self._entries.pop(weak, None)  # noqa: E731
            self._entries[weak] = value, [weakref.ref(function, forget) for function in _functions(weak)]
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
            return value

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


class _Held(weakref.ref):
    """A weak reference that is equal to another one of the very same object, which need not be hashable."""

    def __init__(self, value: Any):
        super().__init__(value)  # pyright: ignore[reportCallIssue]
        self._identity = id(value)

    def __hash__(self) -> int:
        return self._identity

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Held) and self() is not None and self() is other())


class _Same:
    """Equal to another one of the very same object, of which there are no weak references."""

    def __init__(self, value: Any):
        self._value = value

    def __hash__(self) -> int:
        return id(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value


def _weaken(value: Any) -> Any:
    """An equal key that holds functions weakly; what has no weak references stays as it is."""
    if isinstance(value, tuple):
        return (type(value), *map(_weaken, value))
    if _equal_by_fields(value):
        return (type(value), *(_weaken(getattr(value, field.name)) for field in dataclasses.fields(value)))
    if not callable(value) or isinstance(value, Mesh):
        return value
    if inspect.ismethod(value):  # made anew wherever it is read
        return (_hold(value.__self__), _hold(value.__func__))
    return _hold(value)


def _equal_by_fields(value: Any) -> bool:
    if not dataclasses.is_dataclass(value) or type(value).__module__.partition(".")[0] != _PACKAGE:
        return False
    return type(value).__eq__ is not object.__eq__


def _hold(value: Any) -> Any:
    try:
        return _Held(value)
    except TypeError:  # builtins and what has __slots__
        return _Same(value)


def _functions(weak: Any) -> Iterator[Any]:
    """What a weakened key refers to."""
    if isinstance(weak, tuple):
        for part in weak:
            yield from _functions(part)
    elif isinstance(weak, _Held):
        yield weak()


class JittedFor:
    """`jax.jit` of a function whose first argument, a `TrialSpec` or a factory, is fixed; compiled once for equal ones.

    With `static_argnums` JAX would keep that argument, and all that it closes over, until its caches are cleared. The
    options are those of `jax.jit`, whose arguments count without the owner.
    """

    def __init__(self, function: Callable[..., Any], **options: Any):
        self._function, self._options = function, options
        self._made = WeakCache(256)

    def __call__(self, owner: Any, *arguments: Any) -> Any:
        """The function's result."""
        return self.of(owner)(*arguments)

    def of(self, owner: Any, method: str = "__call__") -> Callable[..., Any]:
        """The function for one owner, for many calls; or another method of a jitted function, as `lower`."""
        jitted, held = self._made.get((owner,), self._make)
        use = getattr(jitted, method)

        def call(*arguments: Any) -> Any:
            held.append(owner)
            try:
                return use(*arguments)
            finally:
                held.pop()

        return call

    def _make(self) -> tuple[Any, list[Any]]:
        held: list[Any] = []  # the owner, while a call may trace

        def run(*arguments: Any) -> Any:
            return self._function(held[-1], *arguments)

        run.__name__ = run.__qualname__ = self._function.__name__  # profiles and logs of compilations show it
        return jax.jit(run, **self._options), held
