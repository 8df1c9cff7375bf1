"""A sweep that is asked for with more settings than before: what its folder has measured is not trained again."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._types import Bool, Int
from ._ledger import Given
from ._resume import is_event, metric_names
from ._stop import SuccessiveHalving
from ._sweep_digest import Values, counts, lacking
from ._sweep_setup import Setup, is_decided


def take_over(setup: Setup) -> None:
    """Find what the folder has measured for fewer settings, before it is decided how the others run.

    Raises:
      ValueError: the folder's settings are not all among those of the call, or it is too early to add some.
    """
    if setup.store is None:
        return
    values, runs = setup.call["values"], [run for run in setup.runs if _is_run(setup, run)]
    grown = bool(runs) and runs[-1]["values"] != values
    if grown:
        _check_growth(setup, runs)
    elif runs and runs[-1]["given"] == _numbers(given := _find_given(setup, runs[:-1])):
        setup.given, setup.runs = given, runs
        return _remember(setup)
    elif runs:  # what the last run has trained until now is given to the next one
        setup.execution.notes.append("Lines that the folder should hold are damaged or gone: they were measured again.")
    setup.given = _find_given(setup, runs)
    setup.runs = [*runs, {"values": values, "given": _numbers(setup.given)}]
    setup.store.settle(setup.runs)
    _remember(setup)


def _check_growth(setup: Setup, runs: Sequence[dict[str, Any]]) -> None:
    """Raise unless the grid has all settings of the last run, which has measured them all."""
    assert setup.store is not None
    there, now = runs[-1]["values"], setup.call["values"]
    changed = lacking(there, now)
    if not changed:
        more = [counts(name, old, new) for (name, old), (_, new) in zip(there, now, strict=True) if old != new]
        if any(len(texts) > len(set(texts)) for _, texts in now):
            changed = f"{more[0]}, with functions that cannot be told apart, so which are new is not known"
        elif isinstance(setup.stop, SuccessiveHalving):
            changed = f"{more[0]}, but none can be added where SuccessiveHalving compares them with each other"
        else:
            known, all_there = _find_given(setup, runs).trials, _places(there, now)
            if not known[all_there].all():
                changed = (
                    f"{more[0]}, but only {int(known[all_there].sum())} of the {len(all_there)} trials there are done; "
                    "more can be added when all are"
                )
    if changed:
        raise setup.store.another(changed)


def _find_given(setup: Setup, runs: Sequence[dict[str, Any]]) -> Given:
    """What these runs have measured of this grid's trials to their end."""
    given = Given(np.zeros(setup.grid.num_trials, bool), [])
    places = {
        run["plan"]: _places(run["values"], setup.call["values"])
        for run in runs
        if "plan" in run and not lacking(run["values"], setup.call["values"])
    }
    if setup.store is None or not places:
        return given
    names = metric_names(setup)
    events: dict[str, dict[tuple[int, int], Any]] = {plan: {} for plan in places}
    for line in setup.store.read_table():
        place = places.get(line.get("plan", ""))
        if place is not None and is_event(setup, names, line, len(place)):
            event = {**line, "trials": [place[_index(trials)].tolist() for trials in line["trials"]]}
            events[line["plan"]][line["step"], line["wave"]] = event  # as on resuming, the last one counts
    for found in events.values():
        in_order = [found[place] for place in sorted(found)]
        done = _done(setup, in_order) & ~given.trials
        given = Given(given.trials | done, [*given.events, *(_only(event, done) for event in in_order)])
    return given


def _done(setup: Setup, events: Sequence[dict[str, Any]]) -> Bool[np.ndarray, " trials"]:
    """The trials of which every seed was measured to the end, or until it was stopped."""
    ledger = setup.new_ledger()
    for event in events:
        ledger.record(event)
    count = ledger.measured.sum(axis=2)
    without_gap = np.cumprod(ledger.measured, axis=2).sum(axis=2) == count
    stopped = (ledger.diverged_at >= 0) & (count > 0) & (setup.stop is not None)
    return (without_gap & ((count == ledger.shape[2]) | stopped)).all(axis=1)


def _only(event: dict[str, Any], trials: Bool[np.ndarray, " trials"]) -> dict[str, Any]:
    """An event without the lanes of other trials."""
    kept = [np.flatnonzero(trials[_index(part)]) for part in event["trials"]]

    def pick(column: list[list[Any]]) -> list[list[Any]]:
        return [[part[place] for place in places] for part, places in zip(column, kept, strict=True)]

    return {
        **event,
        "trials": pick(event["trials"]),
        "diverged_at": pick(event["diverged_at"]),
        "metrics": {name: pick(column) for name, column in event["metrics"].items()},
    }


def _remember(setup: Setup) -> None:
    """The new lanes must be trained on the batches that the others were trained on."""
    if setup.source.log is not None:
        for event in setup.given.events:
            setup.source.log.remember(event["step"], event["position"])


def _places(there: Values, now: Values) -> Int[np.ndarray, " trials"]:
    """For every trial of a grid its index in one that has all its values."""
    if there == now:
        return np.arange(math.prod(len(texts) for _, texts in now))
    axes = []
    for (_, old), (_, new) in zip(there, now, strict=True):
        where = {text: place for place, text in enumerate(new)}
        axes.append([where[text] for text in old])
    shape = [len(texts) for _, texts in now]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), shape).ravel()


def _index(trials: Sequence[int]) -> Int[np.ndarray, " trials"]:
    return np.asarray(trials, int)


def _numbers(given: Given) -> list[int]:
    return np.flatnonzero(given.trials).tolist()


def _is_run(setup: Setup, run: Any) -> bool:
    """Whether a file's value is what `take_over` and `Setup.decide` wrote."""
    try:
        names = [name for name, _ in run["values"]]
        texts = [text for _, part in run["values"] for text in part]
        return (
            names == [name for name, _ in setup.call["values"]]
            and all(isinstance(text, str) for text in texts)
            and all(type(trial) is int for trial in run["given"])
            and (
                "plan" not in run
                or (isinstance(run["plan"], str) and is_decided(run["decided"], len(setup.grid.families)))
            )
        )
    except (KeyError, TypeError, ValueError):
        return False
