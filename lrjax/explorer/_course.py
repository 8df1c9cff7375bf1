"""Schedules over a training, and where they lead on a surface: the answer to one move of a slider."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .._types import Float
from ._paths import MAX_SCHEDULES, MAX_SEEDS, MAX_STEPS, OPTIMIZERS, Paths, descend, noise_table, slot_steps
from ._read import Fields, Refused
from ._schedule_view import ScheduleView, rounded, view
from ._surfaces import SURFACES, height, stability_limit

FAR = 100.0
"""How far from 0 a start may lie."""

MAX_NOISE = 1000.0


def course(body: dict[str, Any]) -> dict[str, Any]:
    """What the chosen schedules do.

    Args:
      body: "steps", "surface", "optimizer", "momentum", "noise", "seeds", "start" ([x, y]), and "schedules", a list
        of {"spec": ..., "momentum": null or {"max_momentum": ..., "min_momentum": ...}}.

    Returns:
      "steps", the steps of all that follows; "limit", the lr above which the optimizer is unstable at the minimum, or
      None where there is no such formula; and "schedules": each has "error", or what there is to show.

    Raises:
      Refused: a number is out of its range, or something is missing. What one schedule's own arguments have wrong is
        its "error" instead: a slider can make a warmup longer than the training, and the others go on.
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
        {"error": str(one)} if isinstance(one, Refused) else one.shown(steps, total) | way(paths, index, len(steps))
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


def way(paths: Paths, index: int, slots: int) -> dict[str, Any]:
    """One schedule's path with the first seed, where the others ended, and the losses of all seeds.

    Args:
      paths: of every schedule, and of the seeds that are asked for.
      index: the schedule.
      slots: how many of the slots are filled.

    Returns:
      "path", "ends", the median "loss" over seeds with "low" and "high" (the 10 % and 90 % points), "diverged", how
      many seeds did, and "diverged_at", the first seed's step or None.
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
