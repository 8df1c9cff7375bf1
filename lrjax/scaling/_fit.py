"""From a table of trainings to a law: the optimum of each size, then a power law through them, tested."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from .._checks import Mode
from ._law import Exponent, Optimum, Reach, ScalingLaw, pairs_of
from ._least_squares import Line, Terms, design_of, fit_line, is_determined, quantile
from ._optimum import find_optima, read_levels
from ._table import SEED, Table, read_table

SIGNIFICANT = 0.05
"""Probability of taking up a bend or an interaction where there is none, over all that are tried."""

MISSED = 0.15
"""Decades by which a law may miss the sizes that it did not see: a factor of 1.4 in the lr."""

FURTHEST = 1.5
"""Distance (in log size) beyond the largest that may be asked for at most, over the one that was tried without the
largest: a miss of next to nothing may be luck."""


def fit(
    table: Any, *, axes: Sequence[str] | None = None, lr: str = "lr", loss: str = "loss", mode: Mode | None = None
) -> ScalingLaw:
    r"""The law by which the best learning rate goes with the sizes, from a table of trainings.

    Each size needs three learning rates or more, the best of them neither the lowest nor the highest; a size where it
    is one of these is named in the summary and left out. The optimum is the minimum of a polynomial in the log lr. With
    sizes $s_a$ and their logarithmic means $c_a$,
    $$\log_{10} \eta = \beta_0 + \sum_a \beta_a \log_{10} (s_a / c_a),$$
    by least squares with weights of the optima's own errors and of their scatter about the law. Bends and interactions
    are tested, and taken into the law if they show. The intervals are Student's, with that scatter in them:
    a percentile bootstrap of so few is too narrow (docs/scaling.md).

    Args:
      table: columns by name: a mapping of arrays of shape (rows,), a data frame, or a `lrjax.SweepResult`. A row is a
        training: its learning rate, > 0; its final loss, nan or inf where it diverged; its sizes, > 0; and in a column
        "seed", if there is one, a number that trainings of the same start and batches share.
      axes: the columns of sizes; None: all but lr, loss and seed.
      lr, loss: the names of these columns.
      mode: "max" for a metric that is large where it is good, "min" for another than "loss".

    Returns:
      The law: `exponents`, `lr(**sizes)`, `summary()`, `plot()`, `to_json(path)`.

    Raises:
      TypeError, ValueError: a column is missing or holds what it must not, an axis has one value, axes change together,
        or too few sizes show their optimum.

    Source: the scatter, Paule & Mandel 1982.

    Examples:
      >>> import numpy as np
      >>> from lrjax.scaling import fit
      >>> width, lr = map(np.ravel, np.meshgrid([32, 64, 128, 256], [1e-3, 3e-3, 1e-2, 3e-2, 1e-1]))
      >>> best = 0.01 * (width / 64.0) ** -0.5
      >>> law = fit({"width": width, "lr": lr, "loss": 2 + np.log10(lr / best) ** 2})
      >>> round(law.exponents["width"].value, 3)
      -0.5
      >>> round(law.lr(width=512).lr, 5)
      0.00354
    """
    read = read_table(table, axes, lr, loss, mode)
    points = _points(read)
    used = [point for point in points if not point.note]
    sizes = {axis: np.array([point.sizes[axis] for point in used]) for axis in read.sizes}
    _check_enough(points, sizes)
    centres = {axis: float(10.0 ** np.log10(values).mean()) for axis, values in sizes.items()}
    values = np.log10([point.lr for point in used])
    errors = np.nan_to_num([point.error for point in used])
    terms, tested = _choose_terms(sizes, centres, values, errors)
    design = design_of(terms, centres, sizes)
    line = fit_line(design, values, errors)
    keep = {} if read.seeds is None else {SEED: read.seeds}
    sign = 1.0 if read.mode == "min" else -1.0
    return ScalingLaw(
        table={"lr": read.lrs, "loss": sign * read.losses, **read.sizes, **keep},
        mode=read.mode,
        points=tuple(points),
        exponents={axis: _exponent(line, terms.index((axis,))) for axis in sizes},
        reach={axis: _reach(axis, line, design, along, values, errors) for axis, along in sizes.items()},
        terms=terms,
        centres=centres,
        coefficients=line.coefficients,
        covariance=line.covariance,
        scatter=line.scatter,
        free=line.free,
        tested=tested,
    )


def _points(table: Table) -> list[Optimum]:
    """The optimum of every size, or why it has none."""
    rows, index = np.unique(np.column_stack(list(table.sizes.values())), axis=0, return_inverse=True)
    parts = [table.where(np.ravel(index) == place) for place in range(len(rows))]
    found = find_optima([read_levels(part.lrs, part.losses, part.seeds) for part in parts])
    sign = 1.0 if table.mode == "min" else -1.0
    return [
        Optimum(
            dict(zip(table.sizes, row.tolist(), strict=True)), 10.0**one.place, one.error, sign * one.loss, one.note
        )
        for row, one in zip(rows, found, strict=True)
    ]


def least_sizes(axes: Collection[str]) -> int:
    """Sizes that a law takes at least: for the level, the exponents, and one more for their errors."""
    return len(axes) + 2


def _check_enough(points: list[Optimum], sizes: dict[str, np.ndarray]) -> None:
    """Raise unless the optima determine the exponents, and one more besides."""
    notes = "".join(
        f" {', '.join(f'{axis}={size:g}' for axis, size in point.sizes.items())}: {point.note}."
        for point in [point for point in points if point.note][:4]
    )
    used, needed = sum(not point.note for point in points), least_sizes(sizes)
    if used < needed:
        raise ValueError(
            f"`fit(table)` must show the best lr of {needed} sizes at least for {len(sizes)} exponents and an error, "
            f"got {used} of {len(points)}.{notes or ' Add sizes, or leave out an axis (axes=[...]).'}"
        )
    lone = [axis for axis, values in sizes.items() if len(set(values.tolist())) == 1]
    if lone:
        raise ValueError(
            f"`fit(table)` must show the best lr at two sizes of every axis, got only {lone[0]}={sizes[lone[0]][0]:g}."
            f"{notes}"
        )
    logs = np.column_stack([np.log10(values) - np.log10(values).mean() for values in sizes.values()])
    if not is_determined(logs):
        direction = np.linalg.svd(logs / np.linalg.norm(logs, axis=0))[2][-1]
        together = [axis for axis, part in zip(sizes, direction, strict=True) if abs(part) > 0.01]
        raise ValueError(
            f"`fit(table)` cannot tell the exponents of {' and '.join(together)} apart, which change together in all "
            f"{used} sizes. Add a size where only one of them changes, or leave out the others (axes=[...]).{notes}"
        )


def _choose_terms(
    sizes: dict[str, np.ndarray], centres: dict[str, float], values: np.ndarray, errors: np.ndarray
) -> tuple[Terms, Terms]:
    """The terms of the law, and the pairs that were tried: the most significant is taken, as long as one is."""
    terms: Terms = ((), *((axis,) for axis in sizes))
    pairs, tested = pairs_of(list(sizes)), set()
    while True:
        ratios = {}
        for pair in [pair for pair in pairs if pair not in terms]:
            design = design_of((*terms, pair), centres, sizes)
            if len(values) > design.shape[1] and is_determined(design):
                line = fit_line(design, values, errors)
                limit = quantile(line.free, 1 - SIGNIFICANT / len(pairs))
                ratios[pair] = abs(line.coefficients[-1]) / np.sqrt(line.covariance[-1, -1]) / limit
        tested |= ratios.keys()
        best = max(ratios, key=lambda pair: ratios[pair], default=())
        if not best or ratios[best] < 1:
            return terms, tuple(sorted(tested))
        terms = (*terms, best)


def _exponent(line: Line, place: int) -> Exponent:
    value = float(line.coefficients[place])
    half = quantile(line.free) * float(np.sqrt(line.covariance[place, place]))
    return Exponent(value, value - half, value + half)


def _reach(
    axis: str, line: Line, design: np.ndarray, along: np.ndarray, values: np.ndarray, errors: np.ndarray
) -> Reach:
    """How far the law has been shown to hold: leave out the largest sizes, one more at a time, and predict them.

    Where the law bends, what it misses grows with the square of the distance in log size, so MISSED is reached at
    `sqrt(MISSED / missed)` times the distance that was tried.
    """
    steps, errors = np.unique(along)[::-1], np.hypot(errors, line.scatter)
    best = Reach(float(steps[-1]), float(steps[0]), float(steps[0]), float("nan"), float("nan"))
    for kept in steps[1:-1]:
        inside = along <= kept
        if inside.sum() < design.shape[1] or not is_determined(design[inside]):
            break
        tried = fit_line(design[inside], values[inside], errors[inside])
        held_out = [along == size for size in steps if size > kept]
        off = values - design @ tried.coefficients
        missed = max(abs(off[size].mean()) for size in held_out)
        if missed > MISSED:
            break
        furthest = float(steps[0] * (steps[0] / kept) ** min(FURTHEST, np.sqrt(MISSED / (missed + 1e-9))))
        if furthest > best.furthest:
            best = best._replace(furthest=furthest, kept=float(kept), missed=float(missed))
    return best
