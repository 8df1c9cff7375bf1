"""Every public callable with odd arguments: a right answer, or a sentence that names the argument."""

import contextlib
import enum
import importlib
import inspect
import itertools
import random
import re
import signal
import traceback
import warnings
from pathlib import Path

import pytest
from fuzz_table import CALLS, OF_THE_ENGINE, RESULTS
from fuzz_values import ODD

import lrjax

PACKAGE, TESTS = str(Path(lrjax.__file__).parent), str(Path(__file__).parent)
JARGON = re.compile(r"Traceback|PyTreeDef|Tracer<|Tracer\(|ShapedArray|at 0x")
LONGEST = 600
SECONDS = 20
ANSWERS = lrjax.LRNotFound
"""The error that carries a result."""


def faults_of(name, odd):
    """What is wrong with what a call does; nothing if it is as it should be."""
    changed = {argument: ODD[value]() for argument, value in odd.items()}
    try:
        with _limit(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of JAX, for a generator among the leaves
            return [] if CALLS[name](**changed) else ["a wrong answer"]
    except ANSWERS:
        return []
    except OSError as error:
        return [] if {"path", "directory"} & set(changed) else [f"{type(error).__name__}: {error}"]
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:300]}"
        return [f"{fault}: {said}" for fault in _faults_of_error(name, odd, changed, error)]


def _faults_of_error(name, odd, changed, error):
    """An error of lrjax's own, a short sentence with the call in backticks and the argument's name; or the user's."""
    message, files = str(error), [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = max((index for index, file in enumerate(files) if file.startswith(PACKAGE)), default=len(files))
    given = {value.__code__.co_filename for value in changed.values() if inspect.isfunction(value)}
    if any(TESTS in file or file in given for file in files[ours + 1 :]):
        return  # a function of the user's failed
    if type(error) not in (TypeError, ValueError):
        yield "an error of another type"
    elif not files[-1].startswith(PACKAGE):
        yield f"raised in {files[-1]}"
    names = [*odd.keys(), *odd.values(), *map(_name_of, changed.values()), name.split(".")[-1]]
    if "`" not in message or not any(one.strip("()").lower() in message.lower() for one in names if one):
        yield "no argument named"
    if len(message) > LONGEST:
        yield f"{len(message)} characters"
    if JARGON.search(message):
        yield "words of the depths"


def _name_of(value):
    with contextlib.suppress(Exception):
        return value.__name__
    return type(value).__name__


@contextlib.contextmanager
def _limit(seconds):
    def stop(*_):
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


ROOMS = ("", "schedules.", "plots.", "range_rules.", "demos.", "integrations.")
ROOMS += ("integrations.plain.", "integrations.data.")
"""Where public callables are; those of the integrations that need a library of their own have tests of their own."""


def test_every_public_callable_is_in_the_table():
    wanted = {name for room in ROOMS for name in _callables(room)}
    assert wanted - {*CALLS} == {*RESULTS, *OF_THE_ENGINE}


def _callables(room):
    module = importlib.import_module(f"lrjax.{room}".rstrip("."))
    for name in dir(module):
        value = getattr(module, name)
        if name[0] == "_" or not callable(value) or not _is_of(value, module, room):
            continue
        if not inspect.isclass(value):
            yield from [f"{room}{name}"] * bool(inspect.signature(value).parameters)
        elif not issubclass(value, (enum.Enum, BaseException)):
            yield from [f"{room}{name}"] * bool(inspect.signature(value).parameters)
            yield from (f"{room}{name}.{method}" for method in _methods(value))


def _is_of(value, module, room):
    """Whether it is this room's: a helper that a module of the integrations imports is not."""
    imported = room.startswith("integrations.") and room != "integrations." and value.__module__ != module.__name__
    return str(getattr(value, "__module__", "")).startswith("lrjax") and not imported


def _methods(kind):
    """Names of a class's public methods that take arguments and are lrjax's."""
    for name in dir(kind):
        method = inspect.getattr_static(kind, name)
        bound = getattr(method, "__func__", method)
        if name[0] != "_" and inspect.isfunction(bound) and bound.__module__.startswith("lrjax"):
            yield from [name] * (len(inspect.signature(bound).parameters) > 1)


def drawn(count, seed, *, slow):
    """Calls of the table, each with one argument replaced, one in five with two."""
    rng = random.Random(seed)
    pairs = [(name, argument) for name, call in CALLS.items() if slow or not call.slow for argument in call.arguments]
    for index in range(count):
        name, argument = pairs[index % len(pairs)] if count > len(pairs) else rng.choice(pairs)
        names = {argument} | ({rng.choice([*CALLS[name].arguments])} if rng.random() < 0.2 else set())
        yield name, {one: rng.choice([*ODD]) for one in sorted(names)}


def check(calls, folder, monkeypatch):
    """Raises with all that is wrong; in a folder of their own, since some write files."""
    monkeypatch.chdir(folder)
    faults = []
    for name, odd in calls:
        faults += [f"{name}({odd}): {fault}" for fault in faults_of(name, odd)]
    assert not faults, "\n".join(faults)


def test_odd_arguments_are_answered_or_explained(tmp_path, monkeypatch):
    check(drawn(400, 0, slow=False), tmp_path, monkeypatch)


PLANS = {"preview of find_lr": "find_lr", "preview": "sweep"}
MISTAKES = ("no", "nan", "-1", "np.ones(3)", "keys", "Refusing", "2**63")


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_says_what_its_verb_says(plan):
    verb = PLANS[plan]
    shared = sorted({*CALLS[plan].arguments} & {*CALLS[verb].arguments})
    refused = set()
    for argument, odd in itertools.product(shared, MISTAKES):
        if sentence := _said(verb, argument, odd):
            assert _said(plan, argument, odd) == sentence
            refused.add(argument)
    assert refused == {*shared}


def _said(name, argument, odd):
    """The sentence, without whose it is."""
    try:
        CALLS[name](**{argument: ODD[odd]()})
    except (TypeError, ValueError) as error:
        return re.sub(rf"`({name}|{PLANS.get(name)})\b", "`", str(error))
    return None


@pytest.mark.slow
def test_many_odd_arguments_are_answered_or_explained(tmp_path, monkeypatch):
    check(((name, {}) for name in CALLS if ".from_json" not in name), tmp_path, monkeypatch)
    check(drawn(3000, 1, slow=True), tmp_path, monkeypatch)
