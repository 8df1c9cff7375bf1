"""Write finders.json: the learning rates that the peers' own code reads off recorded range tests.

    pip install fastai==2.8.12 lightning==2.6.6 torch-lr-finder==0.2.2 pytorch-ignite==0.5.5 matplotlib
    pip install --no-deps pytorch-lightning==2.5.2  # the same class under another name, before its gradient changed
    python tests/oracles/regenerate_finders.py  # minutes; 1 MB

It writes the JSON next to itself: the peers' versions, grids of learning rates, questions (a rule of ours, its options,
and how the peer was asked), and curves, each with one answer to every question. `tests/test_finder_oracles.py` reads
it. A curve is the start of its grid; the grid's length is the planned length of the range test. An answer is a learning
rate, null where the peer gave none, or the name of the error that it raised.

Losses are integers in units of 2**-`bits`, so that float32 (the peers) and float64 (ours) hold them, their differences
and any ties exactly; only those of kind "wide" are decimals. Those not finite are strings: "nan", "inf", "-inf".
A question named "double" was put to the peer's code with float64 numbers.

The peers are imported where they are needed, because pytest imports this file when it looks for doctests.
"""

import contextlib
import io
import json
import logging
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).with_name("finders.json")
LENGTHS = (20, 30, 50, 75, 100, 150, 200)
CURVES_PER_KIND = 90
KINDS = (
    "u",
    "s",
    "noisy",
    "smoothed",
    "spikes",
    "falling",
    "rising",
    "plateau",
    "negative",
    "ties",
    "wide",
    "short",
    "broken end",
    "broken middle",
)
BROKEN = (float("nan"), float("inf"), float("-inf"))

History = tuple[list[float], list[float]]
Answer = float | str | None | list[float]


def six_digits(values: Any) -> list[float]:
    """The values as decimals of 6 significant digits."""
    return [float(f"{value:.6g}") for value in values]


def grids() -> list[list[float]]:
    """The grids of the peers, by their own formulas and at their default ranges, at every length."""
    found = []
    for n in LENGTHS:
        part = np.arange(n) / n
        later = np.append(0, np.arange(2, n + 1) / n)  # Lightning's first gap is double
        found += [1e-7 * 1e8**part, 1e-8 * 1e8**later, np.geomspace(1e-5, 10, n), 1e-6 * 1e5 ** (part + 1 / n)]
        found.append(np.linspace(1e-3, 1, n))
    return [six_digits(grid) for grid in found]


def smooth(losses: np.ndarray) -> np.ndarray:
    """A running mean with weight 0.1 on the new loss: features lag, as in a real recording."""
    means = [losses[0]]
    for loss in losses[1:]:
        means.append(0.9 * means[-1] + 0.1 * loss)
    return np.array(means)


def losses_of(kind: str, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Losses of the kind over x, which runs from 0 to 1 along the grid."""
    n = x.size
    fall = rng.uniform(0.5, 4) / (1 + np.exp((x - rng.uniform(0.2, 0.8)) / rng.uniform(0.02, 0.12)))
    rise = np.exp(np.minimum((x - rng.uniform(0.6, 0.95)) / rng.uniform(0.02, 0.06), 4))
    floor = rng.uniform(0.05, 1)
    noise = np.exp(rng.uniform(np.log(0.003), np.log(0.3))) * rng.normal(size=n)
    u = floor + fall + rise
    if kind in ("u", "short", "broken end", "broken middle"):
        return u + noise * rng.choice([0.0, 1.0]) * (kind != "u")
    if kind == "spikes":
        return u + noise / 10 + np.where(rng.random(n) < 3 / n, rng.uniform(-3, 10, n), 0)
    if kind in ("falling", "rising"):
        steps = rng.exponential(size=n) * rng.choice([1e-3, 0.05]) * (rng.random(n) < rng.choice([0.5, 1.0]))
        return 10 + np.cumsum(steps) * (1 if kind == "rising" else -1)
    if kind == "plateau":
        level = np.where(x < rng.uniform(0.3, 1), 2.3, 2.3 - rng.uniform(0, 2))
        return level + rng.choice([0.0, 1e-3, -1e-3]) * x + noise * rng.choice([0.0, 0.01])
    return {
        "s": lambda: floor + fall,
        "noisy": lambda: u + noise,
        "smoothed": lambda: smooth(u + noise),
        "negative": lambda: u + noise / 10 - 10 ** rng.uniform(0, 3),
        "ties": lambda: np.round((u + noise) * 4) / 4,
        "wide": lambda: u * 10 ** rng.uniform(-4, 4) + np.exp(40 * rise / rise.max() - 30) + noise / 100,
    }[kind]()


def broken(kind: str, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The losses with some that are not finite, if the kind says so."""
    n = losses.size
    if kind == "broken end":
        start = int(n * rng.choice([0.0, rng.uniform(0, 1), rng.uniform(0.5, 1)], p=[0.05, 0.15, 0.8]))
        losses[start:] = rng.choice(BROKEN[:2])
        if rng.random() < 0.3:
            losses[start:] = rng.choice(BROKEN[:2], size=n - start)
    if kind == "broken middle":
        where = rng.choice(n, size=int(rng.integers(1, 2 + n // 15)), replace=False)
        losses[where] = rng.choice(rng.choice(BROKEN, size=2, p=[0.45, 0.45, 0.1]), size=where.size)
    return losses


def curves(all_grids: list[list[float]]) -> list[dict[str, Any]]:
    """All curves, each with its kind, grid, bits and losses."""
    rng = np.random.default_rng(0)
    found = []
    for kind in KINDS:
        for _ in range(CURVES_PER_KIND):
            grid = int(rng.integers(len(all_grids)))
            lrs = np.array(all_grids[grid])
            x = lrs if lrs[1] - lrs[0] > lrs[0] / 2 else np.log(lrs)
            losses = losses_of(kind, (x - x[0]) / (x[-1] - x[0]), rng)
            losses = losses[: int(rng.integers(1, 30))] if kind == "short" else losses
            if rng.random() < 0.3:  # stopped early
                losses = losses[: max(int(losses.size * rng.uniform(0.5, 1)), 1)]
            bits = int(np.floor(np.log2(2**19.9 / np.abs(losses).max())))  # six digits, and room for differences
            losses = broken(kind, losses, rng)
            units = losses if kind == "wide" else np.round(losses * 2.0**bits)
            found.append({"kind": kind, "grid": grid, "bits": 0 if kind == "wide" else bits, "losses": shown(units)})
    return found


def shown(values: Any) -> list[float | int | str]:
    """Numbers as JSON has them: short, and strings where they are not finite."""
    short = [float(f"{value:.6g}") for value in values]
    return [str(v) if not np.isfinite(v) else int(v) if v == int(v) else v for v in short]


def read(curve: dict[str, Any], all_grids: list[list[float]]) -> History:
    """The learning rates and the losses of a curve, as floats."""
    losses = [float(loss) * 2.0 ** -curve["bits"] for loss in curve["losses"]]
    return all_grids[curve["grid"]][: len(losses)], losses


def fastai_trimmed(method: Callable[..., Any]) -> Callable[[History, int], Answer]:
    """Asks `Learner.lr_find` itself, on a learner whose training is the recorded history."""

    def ask(history: History, num_steps: int) -> Answer:
        from fastai.callback import schedule  # noqa: F401  (it adds `lr_find`)
        from fastai.learner import Learner

        learner = types.SimpleNamespace(
            dls=types.SimpleNamespace(train=[None]),
            fit=lambda n_epoch, cbs: None,
            no_logging=contextlib.nullcontext,
            recorder=types.SimpleNamespace(lrs=history[0], losses=history[1]),
        )
        return Learner.lr_find(learner, num_it=num_steps, show_plot=False, suggest_funcs=(method,))[0]

    return ask


def fastai_named(name: str, *, trimmed: bool, double: bool = False, **options: Any) -> Callable[[History, int], Answer]:
    """Asks one of fastai's methods, in `lr_find` or on all points before the first NaN."""

    def ask(history: History, num_steps: int) -> Answer:
        import torch
        from fastai.callback import schedule

        method = getattr(schedule, name)
        if trimmed:
            return fastai_trimmed(method)(history, num_steps)
        lrs, losses = history
        stop = next((i for i, loss in enumerate(losses) if np.isnan(loss)), len(losses))
        arrays = [torch.tensor(a[:stop], dtype=torch.float64 if double else torch.float32) for a in (lrs, losses)]
        return method(*arrays, num_steps, **options)[0]

    return ask


def fastai_kept(history: History, num_steps: int) -> Answer:
    """What `lr_find` hands to its methods: the number of points and the sum of their places in the grid."""
    place = {float(np.float32(lr)): i for i, lr in enumerate(history[0])}

    def kept(lrs: Any, losses: Any, num_it: int) -> Any:
        return [len(losses), sum(place[lr] for lr in lrs.tolist())], (None, None)

    return fastai_trimmed(kept)(history, num_steps)


def lightning(
    skip_begin: int, skip_end: int, *, old: bool = False, one_more: bool = False, double: bool = False
) -> Callable[[History, int], Answer]:
    """Asks Lightning's finder; `one_more` adds a point to be skipped, because it keeps none if `skip_end` is 0."""

    def ask(history: History, num_steps: int) -> Answer:
        import torch

        if old:
            from pytorch_lightning.tuner.lr_finder import _LRFinder
        else:
            from lightning.pytorch.tuner.lr_finder import _LRFinder
        lrs, losses = history
        if one_more:
            lrs, losses = [*lrs, 2 * lrs[-1]], [*losses, 0.0]
        finder = _LRFinder("exponential", lrs[0], lrs[-1], num_steps)
        finder.results = {"lr": lrs, "loss": losses}
        try:
            torch.set_default_dtype(torch.float64 if double else torch.float32)
            return finder.suggestion(skip_begin=skip_begin, skip_end=skip_end + one_more)
        finally:
            torch.set_default_dtype(torch.float32)

    return ask


def torch_lr_finder(skip_start: int, skip_end: int) -> Callable[[History, int], Answer]:
    """Asks torch-lr-finder's `plot`, which is where it suggests."""

    def ask(history: History, num_steps: int) -> Answer:
        import torch
        from torch_lr_finder import LRFinder

        model = torch.nn.Linear(1, 1)
        finder = LRFinder(model, torch.optim.SGD(model.parameters(), lr=1e-7), torch.nn.MSELoss())
        finder.history = {"lr": history[0], "loss": history[1]}
        return finder.plot(skip_start=skip_start, skip_end=skip_end, suggest_lr=True, ax=_NoAxes())[1]

    return ask


class _NoAxes:
    """Axes that draw nothing: only the number is wanted."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **options: None


def ignite(history: History, num_steps: int) -> Answer:
    """Asks ignite's `lr_suggestion`."""
    from ignite.handlers import FastaiLRFinder

    finder = FastaiLRFinder()
    finder._history = {"lr": history[0], "loss": history[1]}
    return finder.lr_suggestion()


SLIDE = {"lr_diff": 5, "threshold": 0.02, "adjust": 0.5}
METHODS = ("valley", "slide", "minimum", "steep")
QUESTIONS: dict[str, tuple[str, dict[str, Any], Callable[[History, int], Answer]]] = {
    "fastai trim": ("fastai_trim", {}, fastai_kept),
    **{f"fastai {name}": (f"fastai_{name}", {"num_steps": True}, fastai_named(name, trimmed=True)) for name in METHODS},
    **{f"fastai {name} alone": (f"fastai_{name}", {}, fastai_named(name, trimmed=False)) for name in METHODS},
    "fastai slide options": (
        "fastai_slide",
        SLIDE,
        fastai_named("slide", trimmed=False, lr_diff=5, thresh=0.02, adjust_value=0.5),
    ),
    "fastai steep alone double": ("fastai_steep", {}, fastai_named("steep", trimmed=False, double=True)),
    "lightning": ("lightning", {}, lightning(10, 1)),
    "lightning double": ("lightning", {}, lightning(10, 1, double=True)),
    "lightning 0 1 double": ("lightning", {"skip_begin": 0, "skip_end": 1}, lightning(0, 1, double=True)),
    "lightning 0 1": ("lightning", {"skip_begin": 0, "skip_end": 1}, lightning(0, 1)),
    "lightning 3 0": ("lightning", {"skip_begin": 3, "skip_end": 0}, lightning(3, 0)),
    "lightning 3 0 one more": ("lightning", {"skip_begin": 3, "skip_end": 0}, lightning(3, 0, one_more=True)),
    "lightning index": ("lightning_index", {}, lightning(10, 1, old=True)),
    "lightning index 0 1": ("lightning_index", {"skip_begin": 0, "skip_end": 1}, lightning(0, 1, old=True)),
    "torch-lr-finder": ("torch_lr_finder", {}, torch_lr_finder(10, 5)),
    "torch-lr-finder 0 0": ("torch_lr_finder", {"skip_start": 0, "skip_end": 0}, torch_lr_finder(0, 0)),
    "ignite": ("ignite", {}, ignite),
}


def answer(ask: Callable[[History, int], Answer], history: History, num_steps: int) -> Answer:
    """The peer's answer, its silence, or the name of its error."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            found = ask(history, num_steps)
    except (IndexError, RuntimeError, ValueError) as error:
        return type(error).__name__
    return found if found is None or isinstance(found, list) else six_digits([found])[0]


def fastai_means(losses: list[float], beta: float) -> list[float | int | str]:
    """fastai's smoothed loss after every one of the losses."""
    import torch
    from fastai.learner import AvgSmoothLoss

    metric, means = AvgSmoothLoss(beta=beta), []
    metric.reset()
    for loss in losses:
        metric.accumulate(types.SimpleNamespace(loss=torch.tensor(loss)))
        means.append(metric.value.item())
    return shown(means)


def means(all_curves: list[dict[str, Any]], all_grids: list[list[float]]) -> list[dict[str, Any]]:
    """fastai's smoothing of every 15th curve: of all its losses, and of the finite ones."""
    found = []
    for index in range(0, len(all_curves), 15):
        losses = read(all_curves[index], all_grids)[1]
        finite = [loss for loss in losses if np.isfinite(loss)]
        beta = (0.98, 0.9, 0.5)[index % 3]
        entry = {"curve": index, "beta": beta, "all": fastai_means(losses, beta)}
        found.append(entry if len(finite) == len(losses) else {**entry, "finite": fastai_means(finite, beta)})
    return found


def main() -> None:
    """Write the file, one curve a line."""
    logging.disable()  # Lightning logs an error where it has too few points
    all_grids = grids()
    all_curves = curves(all_grids)
    for curve in all_curves:
        history, num_steps = read(curve, all_grids), len(all_grids[curve["grid"]])
        curve["answers"] = [answer(ask, history, num_steps) for _, _, ask in QUESTIONS.values()]
    names = ("fastai", "lightning", "pytorch-lightning", "torch-lr-finder", "pytorch-ignite")
    head = {
        "peers": {name: version(name) for name in names},
        "questions": {name: {"rule": rule, "options": options} for name, (rule, options, _) in QUESTIONS.items()},
    }
    sections = {"grids": all_grids, "curves": all_curves, "means": means(all_curves, all_grids)}
    text = json.dumps(head, allow_nan=False)[:-1]
    for name, entries in sections.items():
        lines = ",\n".join(json.dumps(entry, allow_nan=False, separators=(",", ":")) for entry in entries)
        text += f',\n"{name}": [\n{lines}\n]'
    OUT.write_text(text + "}\n")


if __name__ == "__main__":
    main()
