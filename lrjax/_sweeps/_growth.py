"""A sweep that is asked for with more settings than before: what its folder has measured is not trained again."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._engine import fits
from .._types import Int
from ._ledger import Ledger
from ._resume import read_events
from ._stop import SuccessiveHalving
from ._sweep_setup import Setup

Values = list[Any]
"""[name, a text for every setting] for each axis of a grid; functions of one name with equal numbers have one text."""

_RUN = {"values": [[(str, [str])]], "given": [int]}
_DECIDED = {"plan": str, "decided": {"executor": str, "lanes_per_wave": [int]}}


def take_over(setup: Setup) -> None:
    """Find what the folder has measured for fewer settings, before it is decided how the others run.

    Raises:
      ValueError: the folder's settings are not all among those of the call, or it is too early to add some.
    """
    if setup.store is None:
        return
    values = setup.call["values"]
    runs = [run for run in setup.runs if fits(run, _RUN) and ("plan" not in run or fits(run, _DECIDED))]
    if runs and runs[-1]["values"] == values:
        setup.given, setup.runs = _find_given(setup, runs[:-1]), runs
        if runs[-1]["given"] == np.flatnonzero(setup.given.given).tolist():
            return
        # what the last run has trained until now is given to the next one
        setup.execution.notes.append("Lines that the folder should hold are damaged or gone: they were measured again.")
    elif runs:
        _check_growth(setup, runs)
    setup.given = _find_given(setup, runs)
    setup.runs = [*runs, {"values": values, "given": np.flatnonzero(setup.given.given).tolist()}]
    setup.store.write_call({"runs": setup.runs})


def _check_growth(setup: Setup, runs: Sequence[dict[str, Any]]) -> None:
    """Raise unless the grid has all settings of the last run, which has measured them all."""
    assert setup.store is not None
    there, now = runs[-1]["values"], setup.call["values"]
    changed = _lacking(there, now)
    if not changed:
        more = next(_counts(name, old, new) for (name, old), (_, new) in zip(there, now, strict=True) if old != new)
        if any(len(texts) > len(set(texts)) for _, texts in now):
            changed = f"{more}, with functions that cannot be told apart, so which are new is not known"
        elif isinstance(setup.stop, SuccessiveHalving):
            changed = f"{more}, but none can be added where SuccessiveHalving compares them with each other"
        else:
            done = _find_given(setup, runs).given[_places(there, now)]
            if not done.all():
                changed = (
                    f"{more}, but only {int(done.sum())} of the {len(done)} trials there are done; more can be added "
                    "when all are"
                )
    if changed:
        raise setup.store.another(changed)


def _find_given(setup: Setup, runs: Sequence[dict[str, Any]]) -> Ledger:
    """What these runs have measured of this grid's trials to their end."""
    facts, now = (setup.grid, setup.num_seeds, setup.timetable, setup.stop), setup.call["values"]
    given = Ledger(*facts)
    plans = {
        run["plan"]: _places(run["values"], now) for run in runs if "plan" in run and not _lacking(run["values"], now)
    }
    for events in read_events(setup, plans).values() if plans else ():
        ledger = Ledger(*facts)
        for place in sorted(events):
            ledger.record(events[place])
        given.give(ledger, ledger.done() & ~given.given)
    return given


def _places(there: Values, now: Values) -> Int[np.ndarray, " trials"]:
    """For every trial of a grid its index in one that has all its values."""
    if there == now:
        return np.arange(math.prod(len(texts) for _, texts in now))
    known = [{text: place for place, text in enumerate(new)} for _, new in now]
    axes = [[places[text] for text in old] for places, (_, old) in zip(known, there, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), [len(texts) for _, texts in now]).ravel()


def _lacking(there: Values, now: Values) -> str:
    """In words what a grid lacks of another one with the same axes; empty if it has all its values."""
    for (name, old), (_, new) in zip(there, now, strict=True):
        known = set(new)
        missing = [place for place, text in enumerate(old) if text not in known]
        if missing:
            text = old[missing[0]]
            which = f"the one at index {missing[0]}" if "#" in text else text
            return f"{_counts(name, old, new)}, of which {which} is missing now"
    return ""


def _counts(name: str, there: Sequence[str], now: Sequence[str]) -> str:
    """`learning_rate: 3 values now, 2 there`."""
    return f"{name}: {len(now)} value{'s' * (len(now) != 1)} now, {len(there)} there"
