"""From the words on the command line to objects: a task, an optimizer factory, an executor, a folder."""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import optax
import optax.contrib

from .._checks import show
from .._engine import EXECUTOR_WORDS, Chunked, Executor, Task
from .._types import Key
from ..demos import digits
from ._errors import UsageError, did_you_mean, split_pair, with_place


def load_task(place: Path | None) -> Task:
    """The task that MODULE:TASK names; None is the handwritten digits."""
    if place is None:
        return digits()
    words, name = str(place), str(place).rpartition(":")[2]
    module, task = _load_object(words, "MODULE:TASK")
    if isinstance(task, Task):
        return task
    if not callable(task):
        raise UsageError(
            f"`MODULE:TASK` must name a lrjax.Task or a function that returns one, got {words}, which is of type "
            f"{type(task).__name__}.{_names_in(module)}"
        )
    if needed := _needed_arguments(task):
        raise UsageError(
            f"`MODULE:TASK` must name a function without arguments, but {name} needs {', '.join(needed)}. "
            "Give them defaults, or write a function that calls it."
        )
    try:
        task = task()
    except Exception as error:
        raise UsageError(f"`{words}` failed: {with_place(error)}") from error
    if not isinstance(task, Task):
        raise UsageError(
            f"`MODULE:TASK` must name a function that returns a lrjax.Task, but {name}() returned "
            f"{type(task).__name__}. Did it forget its `return`?"
        )
    return task


def load_factory(name: str, arguments: Sequence[str]) -> tuple[Callable[..., Any], str, dict[str, Any]]:
    """The function that --optimizer names, its name in Python, and its further arguments."""
    if ":" in name:
        module, function = _load_object(name, "--optimizer MODULE:FUNCTION")
        if not callable(function):
            raise UsageError(f"`--optimizer` must name a function of a learning rate, got {name}.{_names_in(module)}")
        path = name.rpartition(":")[2]
    else:
        path, function = _find_optimizer(name.removeprefix("optax."))
    return function, path, dict(_read_argument(word, path, function) for word in arguments)


def load_optimizer(name: str, arguments: Sequence[str]) -> tuple[Callable[[Any], Any], str]:
    """The factory that --optimizer names, and its call in Python with `{}` for the learning rate."""
    function, path, options = load_factory(name, arguments)
    missing = [key for key in _needed_arguments(function)[1:] if key not in options]
    if missing:
        words = " ".join(f"--optimizer-arg {key}=..." for key in missing)
        raise UsageError(f"`--optimizer {name}` needs further arguments. Add {words}.")
    call = f"{path}({', '.join(['{}', *(f'{key}={value!r}' for key, value in options.items())])})"
    return (functools.partial(function, **options) if options else function), call


def load_executor(name: str) -> Executor:
    """`auto`, `vmap`, `map`, `loop`, or `chunked:8`."""
    kind, _, size = name.partition(":")
    if kind == "chunked" and size.isdecimal() and len(size) < 10 and int(size) > 0:
        return Chunked(int(size))
    if name not in EXECUTOR_WORDS:
        words = ", ".join(EXECUTOR_WORDS)
        raise UsageError(f"`--executor` must be {words} or chunked:K with K >= 1, got {show(name)}.")
    return name  # pyright: ignore[reportReturnType]


def load_key(seed: int) -> Key:
    """The PRNG key of --seed."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"`--seed` must be a whole number from 0 to {2**32 - 1}, got {seed}.")
    return jax.random.key(seed)


def make_folder(folder: Path) -> Path:
    """The folder, made if there is none, in which a file can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UsageError(
            f"`--out` must be a folder in which files can be written, got {show(str(folder))[1:-1]}: "
            f"{getattr(error, 'strerror', None) or error}. Name another one."
        ) from error


def optimizer_names() -> dict[str, Callable[..., Any]]:
    """Every optimizer of optax and optax.contrib whose first argument is a learning rate, by its dotted name."""
    found = {}
    for prefix, module in (("optax.contrib", optax.contrib), ("optax", optax)):
        for name, value in vars(module).items():
            first = next(iter(inspect.signature(value).parameters), "") if inspect.isfunction(value) else ""
            if first in ("learning_rate", "max_learning_rate") and not name.startswith(("_", "scale_by_")):
                found[f"{prefix}.{name}"] = value
    return found


def _find_optimizer(name: str) -> tuple[str, Callable[..., Any]]:
    known = optimizer_names()
    for path in (f"optax.{name}", f"optax.contrib.{name}"):
        if path in known:
            return path, known[path]
    if callable(getattr(optax, name, None)):
        raise UsageError(f"`--optimizer` must name an optimizer, got optax.{name}, which takes no learning rate.")
    raise UsageError(
        f"`--optimizer` must be an optimizer of optax or optax.contrib, or MODULE:FUNCTION, got {show(name)}."
        + did_you_mean(name, sorted({path.rpartition(".")[2] for path in known}))
    )


def _read_argument(word: str, path: str, function: Callable[..., Any]) -> tuple[str, Any]:
    key, text = split_pair(word, "`--optimizer-arg` must be KEY=VALUE", "Write for example momentum=0.9.")
    parameters = inspect.signature(function).parameters
    known = list(parameters)[1:]
    if key not in known and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise UsageError(f"`--optimizer-arg` {key!r} is not an argument of {path}.{did_you_mean(key, known)}")
    return key, value_of(text)


def value_of(text: str) -> Any:
    """A value in JSON or as Python writes it, or the text itself, which may be a word or a duration."""
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(text)
    return text


def _load_object(words: str, what: str) -> tuple[ModuleType, Any]:
    """Import the module before the last colon, and get the name after it."""
    place, _, name = words.rpartition(":")
    if not place or not name:
        raise UsageError(
            f"`{what}` must be a module or a .py file, a colon and a name, got {show(words)}. "
            "Write for example my_model.py:task."
        )
    if not place.endswith(".py") and not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(
            f"`{what}` must begin with the name of a module, such as package.module, or a path that ends in .py, got "
            f"{show(place)}."
        )
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{place} could not be imported: {with_place(error)}") from error
    try:
        return module, functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        raise UsageError(
            f"`{what}` must name something in {place}, got {show(name)}."
            + (did_you_mean(name, list(vars(module))) or _names_in(module))
        ) from None


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"There is no file {show(str(path))}. Give a path from the current folder, {Path.cwd().name}.")
    sys.path.insert(0, str(path.resolve().parent))  # what the file imports lies beside it
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"  # hides no other module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses and pickle look here
    spec.loader.exec_module(module)
    return module


def _import_module(place: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if not error.name or not f"{place}.".startswith(f"{error.name}."):
            raise
        raise UsageError(
            f"There is no module {show(error.name)}. Install it, or give a path that ends in .py, such as "
            f"{show(place.replace('.', '/') + '.py')}."
        ) from error


def _needed_arguments(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # C functions show none
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _names_in(module: ModuleType) -> str:
    """The tasks of a module and its own functions, for an error message."""
    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, Task) or (inspect.isfunction(value) and value.__module__ == module.__name__)
    ]
    return f" It has {', '.join(names[:8])}." if names else ""
