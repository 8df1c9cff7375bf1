"""The peers' rules against the peers' own code, frozen by tests/oracles/regenerate_finders.py.

Every curve gets one verdict per question: "same", or the name of a difference that our docstrings announce. A verdict
other than "same" is given only where the difference is exactly the announced one, and `COUNTS` says how often.
"""

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrjax import range_rules

FILE = Path(__file__).parent / "oracles" / "finders.json"
PEER = json.loads(FILE.read_text())
CURVES, GRIDS, QUESTIONS, MEANS = PEER["curves"], PEER["grids"], PEER["questions"], PEER["means"]
NAMES = list(QUESTIONS)
KINDS = tuple(dict.fromkeys(curve["kind"] for curve in CURVES))
HALF_DIGIT = 5.01e-6  # of 6 significant digits
EPS = float(np.finfo(np.float32).eps)

# How often each announced difference occurs; "no loss is finite": ours refuses, the peer names a point all the same.
COUNTS: dict[str, dict[str, int]] = {
    "fastai valley": {"their index is -1": 11, "no loss is finite": 2},
    "fastai slide": {"no loss is finite": 2},
    "fastai minimum": {"no loss is finite": 2},
    "fastai steep": {"their slope is not finite": 70, "no loss is finite": 2},
    "fastai valley alone": {"their index is -1": 4, "no loss is finite": 2},
    "fastai slide alone": {"no loss is finite": 2},
    "fastai minimum alone": {"no loss is finite": 2},
    "fastai steep alone": {"their slope is not finite": 86, "no loss is finite": 2},
    "fastai slide options": {"no loss is finite": 2},
    "fastai steep alone double": {"their slope is not finite": 86, "no loss is finite": 2},
    "lightning": {},
    "lightning double": {},
    "lightning 0 1 double": {},
    "lightning 0 1": {},
    "lightning 3 0": {"skip_end=0": 1240},
    "lightning 3 0 one more": {},
    "lightning index": {"their index is not mapped back": 55},
    "lightning index 0 1": {"their index is not mapped back": 70},
    "torch-lr-finder": {"their slope is not finite": 140, "no loss is finite": 4},
    "torch-lr-finder 0 0": {"their slope is not finite": 176, "no loss is finite": 4},
    "ignite": {"their minimum is not finite": 122, "their slope is not finite": 19},
}
# How often float32 rounding may choose among equals. A few more than it does (7, 6, 3, 2, 3, 49, 102, 76), because our
# float64 numbers depend on the machine in the last bit. Lightning divides by the learning rate: where the loss is flat,
# it chooses by rounding. None in double.
MOST_ROUNDED = {
    "fastai steep": 10,
    "fastai steep alone": 10,
    "fastai slide": 5,
    "fastai slide alone": 5,
    "fastai slide options": 5,
    "lightning": 60,
    "lightning 0 1": 120,
    "lightning 3 0 one more": 90,
}


for _curve in CURVES:
    _losses = np.array([float(loss) for loss in _curve["losses"]]) * 2.0 ** -_curve["bits"]
    _curve["history"] = np.array(GRIDS[_curve["grid"]][: _losses.size]), _losses


def history_of(curve: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return curve["history"]


def ours_of(question: str, curve: dict[str, Any]) -> range_rules.Suggestion | None:
    """Our suggestion, or None where we refuse."""
    options = dict(QUESTIONS[question]["options"])
    if "num_steps" in options:
        options["num_steps"] = len(GRIDS[curve["grid"]])
    try:
        return getattr(range_rules, QUESTIONS[question]["rule"])(*history_of(curve), **options)
    except ValueError:
        return None


def kept_of(question: str, curve: dict[str, Any]) -> np.ndarray:
    """The indices that the rule looks at."""
    rule, options = QUESTIONS[question]["rule"], QUESTIONS[question]["options"]
    losses = history_of(curve)[1]
    if rule.startswith("fastai"):
        num_steps = len(GRIDS[curve["grid"]])
        kept = np.arange(losses.size)[num_steps // 10 : -5] if "num_steps" in options else np.arange(losses.size)
        broken = np.flatnonzero(np.isnan(losses[kept]))
        return kept[: broken[0]] if broken.size else kept
    if rule == "ignite":
        return np.arange(1 + np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
    begin, end = (options.get(name, default) for name, default in SKIPS[rule])
    kept = np.arange(losses.size)[begin : losses.size - end]
    return kept[np.isfinite(losses[kept])] if rule.startswith("lightning") else kept


SKIPS = {
    "lightning": (("skip_begin", 10), ("skip_end", 1)),
    "lightning_index": (("skip_begin", 10), ("skip_end", 1)),
    "torch_lr_finder": (("skip_start", 10), ("skip_end", 5)),
}


def candidates_of(question: str, curve: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points that the rule chooses among, their slopes, and by how much float32 may be wrong about those."""
    rule, kept = QUESTIONS[question]["rule"], kept_of(question, curve)
    lrs, losses = history_of(curve)
    x = {"lightning": lrs, "fastai_steep": np.log(lrs)}.get(rule, np.arange(lrs.size, dtype=float))[kept]
    y = losses[kept]
    with np.errstate(invalid="ignore"):
        if rule == "fastai_steep":
            slopes, inner = np.diff(y) / np.diff(x), slice(None, -1)
        elif rule == "ignite":
            slopes, inner = (y[2:] - y[:-2]) / 2, slice(1, -1)
        else:
            slopes, inner = np.gradient(y, x), slice(None)
    errors = []
    for place, slope in zip(np.arange(kept.size)[inner], slopes, strict=True):
        near = slice(max(place - 1, 0), place + 2)
        known = np.abs(y[near][np.isfinite(y[near])]).max(initial=0)
        known += np.abs(slope * x[near]).max() if np.isfinite(slope) else 0
        errors.append(4 * EPS * known / np.diff(x[near]).min())
    return kept[inner], slopes, np.array(errors)


def place_of(lr: float, lrs: np.ndarray) -> int:
    (place,) = np.flatnonzero(np.isclose(lrs, lr, rtol=HALF_DIGIT, atol=0))
    return int(place)


def steepest(question: str, curve: dict[str, Any], ours: int | None, theirs: Any) -> str:
    """Rules that take the lowest slope: the peer takes one that is not finite, or float32 rounding chose."""
    points, slopes, errors = candidates_of(question, curve)
    if question.endswith("double"):
        errors *= np.finfo(np.float64).eps / EPS
    finite = np.isfinite(slopes)
    chosen = np.flatnonzero(points == place_of(theirs, history_of(curve)[0])).item()
    expected = np.where(finite, slopes, np.inf).argmin() if finite.any() else None
    assert ours == (None if expected is None else points[expected])
    if not finite[chosen]:
        assert chosen == np.argmin(slopes)  # the first NaN if there is one, else the first -inf
        return "their slope is not finite"
    assert slopes[chosen] - slopes[expected] <= errors[chosen] + errors[expected]
    assert curve["kind"] == "wide" or QUESTIONS[question]["rule"] in ("lightning", "fastai_steep")
    return "rounding"


def lightning_3_0(question: str, curve: dict[str, Any], ours: int | None, theirs: Any) -> str:
    """Lightning keeps no point for `skip_end=0`; what it answers with one point more is the next question."""
    assert theirs is None
    return "skip_end=0"


def lightning_index(question: str, curve: dict[str, Any], ours: int | None, theirs: Any) -> str:
    """Lightning 2.5.2 counts its index among the finite losses only."""
    lrs, losses = history_of(curve)
    begin = QUESTIONS[question]["options"].get("skip_begin", 10)
    assert place_of(theirs, lrs) == begin + np.isfinite(losses[begin:ours]).sum() < ours
    return "their index is not mapped back"


def ignite(question: str, curve: dict[str, Any], ours: int | None, theirs: Any) -> str:
    """ignite's minimum is the first NaN, or -inf."""
    lrs, losses = history_of(curve)
    lowest = np.argmin(losses)  # as in PyTorch: the first NaN if there is one
    if np.isfinite(losses[lowest]):
        return steepest(question, curve, ours, theirs)
    _, slopes, _ = candidates_of(question, curve)
    finite = np.isfinite(slopes)
    assert ours == (1 + np.where(finite, slopes, np.inf).argmin() if finite.any() else None)
    if lowest < 2:
        assert theirs == "RuntimeError"
    else:
        with np.errstate(invalid="ignore"):
            assert place_of(theirs, lrs) == 1 + np.argmin(losses[2 : lowest + 1] - losses[: lowest - 1])
    return "their minimum is not finite"


def valley(question: str, curve: dict[str, Any], ours: int | None, theirs: Any) -> str:
    """fastai's index is -1 for a valley of just the first two points."""
    lrs, losses = history_of(curve)
    kept = kept_of(question, curve)
    y = losses[kept]
    assert y[1] < y[0]
    assert not any((y[:i] > y[i]).any() and (y[i:] < y[i]).any() for i in range(y.size))  # no three fall
    assert ours == kept[0]
    assert place_of(theirs, lrs) == kept[-1]
    return "their index is -1"


def slide(question: str, curve: dict[str, Any], ours: int | None, theirs: Any) -> str:
    """Two slopes differ by the threshold but for float32 rounding."""
    assert curve["kind"] == "wide"
    options = QUESTIONS[question]["options"]
    width, threshold = options.get("lr_diff", 15), options.get("threshold", 0.005)
    lrs, losses = history_of(curve)
    kept = kept_of(question, curve)
    slopes = np.gradient(losses[kept])
    stop = max(ours, place_of(theirs / options.get("adjust", 1), lrs)) - kept[0]
    margins = [
        abs(abs(slopes[left + width] - slopes[left]) - threshold) / np.abs(losses[kept][left : left + width + 2]).max()
        for left in (stop - 1, stop)
    ]
    assert min(margins) <= 2 * EPS
    return "rounding"


DIFFERENCES = {
    "fastai_valley": valley,
    "fastai_slide": slide,
    "fastai_steep": steepest,
    "lightning": steepest,
    "lightning_index": lightning_index,
    "torch_lr_finder": steepest,
    "ignite": ignite,
}


def verdict(question: str, curve: dict[str, Any]) -> str:
    """The word "same", or the name of the announced difference; fails on any other difference."""
    rule, options = QUESTIONS[question]["rule"], QUESTIONS[question]["options"]
    theirs, ours = curve["answers"][NAMES.index(question)], ours_of(question, curve)
    answered = isinstance(theirs, float)
    lrs, losses = history_of(curve)
    if not np.isfinite(losses).any():
        assert ours is None
        return "no loss is finite" if answered else "same"
    if ours is not None:
        factor = options.get("adjust", 0.1 if rule == "fastai_minimum" else 1)
        assert abs(ours.lr - lrs[ours.index] * factor) <= 1e-12 * ours.lr
        assert ours.loss == losses[ours.index] or np.isnan(losses[ours.index])
    if ours is None and not answered:
        return "same"
    if ours is not None and answered and abs(theirs - ours.lr) <= HALF_DIGIT * ours.lr:
        return "same"
    difference = lightning_3_0 if question == "lightning 3 0" else DIFFERENCES[rule]
    return difference(question, curve, None if ours is None else ours.index, theirs)


@functools.cache
def verdicts(question: str, kind: str) -> Counter[str]:
    return Counter(verdict(question, curve) for curve in CURVES if curve["kind"] == kind)


RULE_QUESTIONS = [question for question in NAMES if question != "fastai trim"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("question", RULE_QUESTIONS)
def test_as_the_peer(question, kind):
    found = verdicts(question, kind)
    assert set(found) <= {"same", "rounding", *COUNTS[question]}
    if kind not in ("broken end", "broken middle"):
        assert set(found) <= {"same", "rounding", "their index is -1", "skip_end=0"}


@pytest.mark.parametrize("question", RULE_QUESTIONS)
def test_differences_are_counted(question):
    found = sum((verdicts(question, kind) for kind in KINDS), Counter())
    assert found.pop("rounding", 0) <= MOST_ROUNDED.get(question, 0)
    assert found == {"same": found["same"], **COUNTS[question]}


@pytest.mark.parametrize("kind", KINDS)
def test_trimming_keeps_what_fastai_keeps(kind):
    for curve in (curve for curve in CURVES if curve["kind"] == kind):
        lrs, losses = history_of(curve)
        count, places = curve["answers"][NAMES.index("fastai trim")]
        if not np.isfinite(losses).any():
            continue  # ours refuses these, as the tests above count
        kept = range_rules.fastai_trim(lrs, losses, len(GRIDS[curve["grid"]]))
        indices = np.arange(kept.start, kept.start + kept.losses.size)
        assert (indices.size, indices.sum()) == (count, places)
        np.testing.assert_array_equal(kept.losses, losses[indices])
        np.testing.assert_array_equal(kept.lrs, lrs[indices])


def assert_means(ours: np.ndarray, theirs: list[Any], losses: np.ndarray) -> None:
    """As float32 has it: a lerp loses a few roundings of the largest loss, divided by the start-up factor."""
    np.testing.assert_allclose(
        ours, np.array(theirs, dtype=float), rtol=1e-5, atol=1e-5 * np.abs(losses).max(initial=0)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_debiased_ema_is_fastais_recorder(kind):
    """Up to the first loss that is not finite; from there on fastai's is not, and ours is that of the finite ones."""
    entries = [entry for entry in MEANS if CURVES[entry["curve"]]["kind"] == kind]
    assert len(entries) >= 5
    for entry in entries:
        losses = history_of(CURVES[entry["curve"]])[1]
        ours, finite = range_rules.debiased_ema(losses, entry["beta"]), np.isfinite(losses)
        if "finite" not in entry:
            assert_means(ours, entry["all"], losses)
            continue
        first = np.flatnonzero(~finite)[0]
        assert not np.isfinite(float(entry["all"][first]))
        assert all(np.isnan(float(mean)) for mean in entry["all"][first + 1 :])
        assert_means(ours[:first], entry["all"][:first], losses[finite])
        assert_means(ours[finite], entry["finite"], losses[finite])
        np.testing.assert_array_equal(ours[~finite], losses[~finite])


def test_the_file_is_what_it_says():
    assert FILE.stat().st_size < 1_500_000
    assert set(PEER["peers"]) == {"fastai", "lightning", "pytorch-lightning", "torch-lr-finder", "pytorch-ignite"}
    assert PEER["peers"]["pytorch-lightning"] == "2.5.2"  # the index gradient's last version
    assert len(CURVES) >= 1000
    assert set(Counter(curve["kind"] for curve in CURVES).values()) == {90}
    assert set(map(len, GRIDS)) == {20, 30, 50, 75, 100, 150, 200}
    for curve in CURVES:
        assert len(curve["answers"]) == len(NAMES)
        lrs, losses = history_of(curve)
        assert lrs.size == losses.size
        assert np.isfinite(losses).all() == (not curve["kind"].startswith("broken"))
        if curve["kind"] != "wide":
            np.testing.assert_array_equal(losses, losses.astype(np.float32))
    for place, question in enumerate(NAMES):
        answers = [curve["answers"][place] for curve in CURVES]
        assert question in ("fastai trim", "lightning 3 0") or sum(isinstance(a, float) for a in answers) > 900
