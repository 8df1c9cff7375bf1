"""The second half of the page: a step-sampled curve, read at any horizon by any rule."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._curve import METHODS, REASONS, LossCurve, Outcome, crossing, find_warnings, find_window, lowest_for, lowest_loss
from .._search import LRResult, RangeTest, StepSampling, find_lr, range_test
from ..demos import digits
from ._paths import MAX_STEPS
from ._read import Fields, Refused
from ._schedule_view import rounded

OPTIMIZERS = {
    "adam": optax.adam,
    "sgd": optax.sgd,
    "momentum": lambda lr: optax.sgd(lr, momentum=0.9),
    "lion": optax.lion,
    "rmsprop": optax.rmsprop,
}
"""What the digits can be trained with."""

HORIZONS = (1, 2, 5, 10, 20, 50, 100)

MOST = {"lrs": 2000, "seeds": 200, "horizons": 200}
"""The largest curve that a file may hold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the rules read.

    Attributes:
      title: the problem, or the file's name.
      curve: the losses of every lr, seed and horizon.
      test: the classic range test of the same problem, if there is one.
    """

    title: str
    curve: LossCurve
    test: RangeTest | None = None


def search_digits(optimizer: str, *, num_steps: int = HORIZONS[-1], num_seeds: int = 3) -> Evidence:
    """Search the handwritten digits, and run the classic range test on them."""
    task, make_optimizer, key = digits(), OPTIMIZERS[optimizer], jax.random.key(0)
    horizons = tuple(steps for steps in HORIZONS if steps < num_steps)
    strategy = StepSampling(num_steps=num_steps, num_seeds=num_seeds, horizons=horizons)
    result = find_lr(task, make_optimizer, strategy, key=key, throw=False)
    test = range_test(task, make_optimizer, key=key)
    return Evidence(title=f"handwritten digits, {optimizer}", curve=result.curve, test=test)


def read_result(document: dict[str, Any], title: str) -> Evidence:
    """The curve of a saved `LRResult`. Everything is checked; nothing else of the file is used.

    Args:
      document: the file's JSON.
      title: its name.

    Returns:
      The curve.

    Raises:
      Refused: it is no such file, or its numbers make no curve.
    """
    try:
        result = LRResult._from_document("This file", document)
        curve = _checked(result.curve)
        find_window(curve)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused(show_all(error)) from None
    return Evidence(title=title, curve=curve)


def _checked(curve: LossCurve) -> LossCurve:
    """The curve with the types that the maths takes."""
    sizes = dict(zip(("horizons", "seeds", "lrs"), np.shape(curve.losses), strict=True))
    for name, size in sizes.items():
        if size > MOST[name]:
            raise Refused(f"This file holds {size:,} {name}; at most {MOST[name]:,} can be shown.")
    whole = {name: jnp.asarray(getattr(curve, name), np.int32) for name in ("horizons", "rounds", "diverged_at")}
    single = {name: jnp.asarray(getattr(curve, name), np.float32) for name in ("lrs", "losses", "initial_loss")}
    return curve._replace(**whole, **single, metrics={})


def show_all(error: Exception, limit: int = 600) -> str:
    """The message, cut where a file made it long."""
    text = str(error)
    return text if len(text) <= limit else text[:limit] + "..."


def reading(evidence: Evidence, body: dict[str, Any]) -> dict[str, Any]:
    """What the rules say of the curve at one horizon.

    Args:
      evidence: the curve, and the range test if there is one.
      body: "horizon", an index; "share", the part of the reduction that the rule of one's own asks for; "steps", the
        training's length for `lowest_for`.

    Returns:
      The curve's points, the window, every rule's pick, the warnings, and the range test with the peers' picks.

    Raises:
      Refused: a number is out of its range.
    """
    fields, horizons = Fields(body), np.asarray(evidence.curve.horizons)
    curve = evidence.curve.at(fields.whole("horizon", 0, len(horizons) - 1))
    share, steps = fields.number("share", 0.01, 0.99), fields.whole("steps", 1, MAX_STEPS)
    window = find_window(curve)
    found = window.outcome is Outcome.found
    losses = np.asarray(curve.final, np.float64)
    return {
        "title": evidence.title,
        "horizons": horizons.tolist(),
        "lrs": rounded(np.asarray(curve.lrs)),
        "loss": rounded(losses.mean(axis=0)),
        "low": rounded(losses.min(axis=0)),
        "high": rounded(losses.max(axis=0)),
        "initial": float(np.mean(np.asarray(curve.initial_loss))),
        "outcome": window.outcome.value,
        "window": rounded(np.asarray([window.min_lr, window.max_lr])) if found else None,
        "effect": rounded(np.asarray(window.effect)),
        "picks": _picks(curve, window, share, steps) if found else [],
        "warnings": [f"{one.name}: {one.message} {one.remedy}" for one in find_warnings(curve, window)],
        "test": None if evidence.test is None else _classic(evidence.test),
    }


def _picks(curve: LossCurve, window: Any, share: float, steps: int) -> list[dict[str, Any]]:
    rules = {name: (rule, REASONS[name]) for name, rule in (METHODS | {"lowest_loss": lowest_loss}).items()}
    rules |= {
        "lowest_for": (lowest_for(steps), f"the minimum, moved down to a training of {steps:,} updates"),
        "share": (
            lambda curve, window: 10.0 ** crossing(window, 1 - share),
            f"{100 * share:.0f} % of the reduction is reached",
        ),
    }
    picks = {name: (float(rule(curve, window)), meaning) for name, (rule, meaning) in rules.items()}
    return [{"rule": name, "lr": lr, "meaning": meaning} for name, (lr, meaning) in picks.items() if np.isfinite(lr)]


def _classic(test: RangeTest) -> dict[str, Any]:
    lrs, refusals = test.suggestions()
    return {
        "lrs": rounded(test.lrs),
        "losses": rounded(test.losses),
        "smoothed": rounded(test.smoothed),
        "picks": [{"rule": name, "lr": lr} for name, lr in lrs.items()],
        "refusals": refusals,
    }
