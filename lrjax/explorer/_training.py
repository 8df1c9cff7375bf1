"""Schedules over a training, and where they lead on a surface: the answer to one move of a slider."""

import functools
import inspect
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .._types import Float
from ..schedules import _FACTORIES as FACTORIES
from ..schedules import _values_at as evaluate
from ..schedules import describe, to_spec, validate
from ._controls import PAIRS
from ._paths import MAX_SCHEDULES, MAX_SEEDS, MAX_STEPS, OPTIMIZERS, Paths, descend, noise_table, slot_steps
from ._read import Fields, Refused, read_schedule, rounded
from ._surfaces import SURFACES, height, stability_limit

FAR = 100.0
"""How far from 0 a start may lie."""

MAX_NOISE = 1000.0

KEPT = 64
"""Schedules whose values and words are remembered: of several, one slider moves one."""


class ScheduleView(NamedTuple):
    """A schedule that can be made and its momentum's or None, as JSON text: the keys of the caches."""

    spec: str
    momentum: str | None

    def values(self) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"] | None]:
        """The lr and the momentum at every step of the longest training, and after it."""
        return _values(self.spec), None if self.momentum is None else _values(self.momentum)

    def shown(self, steps: np.ndarray, total: int) -> dict[str, Any]:
        """What there is to see and to copy."""
        lr, momentum = self.values()
        spec = json.loads(self.spec)
        code = python_line(spec)
        if self.momentum is not None:
            own = python_line(json.loads(self.momentum))
            code = f"lrjax.schedules.scheduled(optax.sgd, learning_rate={code}, momentum={own})"
        shown = {"lr": rounded(lr[steps]), "momentum": None if momentum is None else rounded(momentum[steps])}
        return shown | {"spec": spec, "code": code, **_words(self.spec, total)}


def view(spec: Any, momentum: Any) -> ScheduleView:
    """A schedule that the page asks for by its spec, and its momentum: None, or "max_momentum" and "min_momentum"."""
    made = to_spec(read_schedule(spec))
    if momentum is None:
        return ScheduleView(json.dumps(made), None)
    if made["name"] not in PAIRS or not isinstance(momentum, dict):
        raise Refused(f"`momentum` goes with {', '.join(PAIRS)}, got it with {made['name']}.")
    name, ends = PAIRS[made["name"]], Fields(momentum)
    own = {end: ends.number(end, 0.0, 1.0) for end in ("max_momentum", "min_momentum")}
    shared = {key: value for key, value in made.items() if key in inspect.signature(FACTORIES[name]).parameters}
    return ScheduleView(json.dumps(made), json.dumps(to_spec(read_schedule(shared | own | {"name": name}))))


@functools.lru_cache(KEPT)
def _values(spec: str) -> Float[np.ndarray, " steps"]:
    return evaluate("spec", read_schedule(json.loads(spec)), np.arange(MAX_STEPS + 1))


@functools.lru_cache(KEPT)
def _words(spec: str, total: int) -> dict[str, Any]:
    schedule = read_schedule(json.loads(spec))
    problems = validate(schedule, total)
    return {
        "words": str(describe(schedule, total)),
        "problems": [{"name": str(one.name), "step": one.step, "message": one.message} for one in problems],
    }


def python_line(spec: Mapping[str, Any]) -> str:
    """The Python expression that makes a schedule, with what differs from the defaults, by keyword.

    It needs `import lrjax`, and NumPy as `np` where a number is a float64 array.

    Examples:
      >>> python_line({"name": "constant", "value": 0.1})
      'lrjax.schedules.constant(value=0.1)'
    """
    words = []
    for name, parameter in inspect.signature(FACTORIES[spec["name"]]).parameters.items():
        value = spec.get(name, parameter.default)
        if parameter.kind is parameter.VAR_POSITIONAL:
            words += [python_line(one) for one in value]
        elif parameter.default is parameter.empty or value != parameter.default:
            words.append(f"{name}={_literal(value)}")
    return f"lrjax.schedules.{spec['name']}({', '.join(words)})"


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"np.float64({value['float64']!r})" if "float64" in value else python_line(value)
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list) else repr(value)


def course(body: dict[str, Any]) -> dict[str, Any]:
    """What the chosen schedules do.

    What one schedule's own arguments have wrong is its "error", not a `Refused`: a slider can make a warmup longer than
    the training, and the others go on.
    """
    fields = Fields(body)
    total = fields.whole("steps", 1, MAX_STEPS)
    seeds = fields.whole("seeds", 1, MAX_SEEDS)
    momentum, noise = fields.number("momentum", 0.0, 0.999), fields.number("noise", 0.0, MAX_NOISE)
    start = fields.point("start", FAR)
    surface = fields.choice("surface", tuple(SURFACES))
    optimizer = fields.choice("optimizer", tuple(OPTIMIZERS))
    views = [_read(one) for one in fields.items("schedules", 1, MAX_SCHEDULES)]
    lrs, momenta = _tables(views, momentum)
    paths = descend(
        height,
        OPTIMIZERS[optimizer],
        list(SURFACES).index(surface),
        jnp.asarray(lrs),
        jnp.asarray(momenta),
        jnp.asarray(start, np.float32),
        noise_table() * np.float32(noise),
        total,
    )
    steps = slot_steps(total)
    paths = Paths(*(np.asarray(part)[:, :seeds] for part in paths))  # pyright: ignore[reportArgumentType]
    shown = [
        {"error": str(one)} if isinstance(one, Refused) else one.shown(steps, total) | _way(paths, index, len(steps))
        for index, one in enumerate(views)
    ]
    limit = None  # known for plain gradient descent and heavy-ball momentum
    if optimizer in ("sgd", "momentum"):
        limit = stability_limit(surface, momentum if optimizer == "momentum" else 0.0)
    return {"steps": steps.tolist(), "limit": limit, "schedules": shown}


def _read(asked: Any) -> ScheduleView | Refused:
    if not isinstance(asked, dict) or "spec" not in asked:
        raise Refused('`schedules` must hold objects with a "spec".')
    try:
        return view(asked["spec"], asked.get("momentum"))
    except Refused as error:
        return error


def _tables(
    views: list[ScheduleView | Refused], momentum: float
) -> tuple[Float[np.ndarray, "schedules steps"], Float[np.ndarray, "schedules steps"]]:
    """The lr and the momentum of every schedule at every step; 0 for those that are missing."""
    lrs = np.zeros((MAX_SCHEDULES, MAX_STEPS), np.float32)
    momenta = np.full_like(lrs, momentum)
    for index, one in enumerate(views):
        if isinstance(one, ScheduleView):
            lr, own = one.values()
            lrs[index] = lr[:-1]
            momenta[index] = momentum if own is None else own[:-1]
    return lrs, momenta


def _way(paths: Paths, index: int, slots: int) -> dict[str, Any]:
    """One schedule's path and end of divergence with the first seed, and the ends and losses of all seeds.

    "loss" is the median over seeds, "low" and "high" are the 10 % and 90 % points.
    """
    losses, lost = paths.losses[index, :, :slots], paths.diverged_at[index]
    low, middle, high = np.quantile(losses, (0.1, 0.5, 0.9), axis=0, method="nearest")
    return {
        "path": rounded(np.clip(paths.points[index, 0, :slots], -1e4, 1e4)),
        "ends": rounded(np.clip(paths.points[index, lost < 0, slots - 1], -1e4, 1e4)),
        "loss": rounded(middle),
        "low": rounded(low),
        "high": rounded(high),
        "diverged": int((lost >= 0).sum()),
        "diverged_at": int(lost[0]) if lost[0] >= 0 else None,
    }
