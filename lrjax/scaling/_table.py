"""A recorded table of trainings, read: learning rates, losses, sizes and seeds as columns of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._checks import Mode, attribute, check_mode, check_type, kind_of, show, show_with_type, to_numpy
from .._lrs import is_lr
from .._sweeps import SweepResult

SEED = "seed"
"""The column that tells repeated trainings apart."""


class Table(NamedTuple):
    """Trainings, one a row."""

    lrs: np.ndarray  # learning rates
    losses: np.ndarray  # small is good; not finite where a training diverged
    sizes: dict[str, np.ndarray]  # axis -> the sizes
    seeds: np.ndarray | None  # which rows had the same start and batches; None if unknown
    mode: Mode  # which end of the given losses was good

    def where(self, rows: np.ndarray) -> "Table":
        """Some of the rows."""
        sizes = {axis: values[rows] for axis, values in self.sizes.items()}
        seeds = None if self.seeds is None else self.seeds[rows]
        return Table(self.lrs[rows], self.losses[rows], sizes, seeds, self.mode)


def read_table(table: Any, axes: Sequence[str] | None, lr: str, loss: str, mode: Any) -> Table:
    """The columns that the arguments of `fit` name, checked."""
    for name, value in (("lr", lr), ("loss", loss)):
        check_type(f"fit({name}=...)", value, str, "the name of a column")
    columns = _columns_of(table, loss)
    for name, column in (("lr", lr), ("loss", loss)):
        _check_listed(f"fit({name}=...)", column, columns, f"Say which it is, for example {name}={_likely(columns)!r}.")
    axes = _axes(axes, columns, lr, loss)
    wanted = [lr, loss, *axes, *([SEED] if SEED in columns else [])]
    numbers = {name: _numbers(name, columns[name], name in axes) for name in wanted}
    rows = {name: len(values) for name, values in numbers.items()}
    if len(set(rows.values())) > 1 or not rows[lr]:
        raise ValueError(f"`fit(table)` must have as many rows in every column, at least one, got {rows}.")
    _check_each(f"fit(table[{lr!r}])", numbers[lr], is_lr, "learning rates > 0, not exponents")
    for axis in axes:
        _check_each(
            f"fit(table[{axis!r}])", numbers[axis], lambda size: 0 < size < np.inf, "sizes > 0, whose logarithm counts"
        )
        if len(set(numbers[axis].tolist())) == 1:
            raise ValueError(
                f"`fit(table)` must have at least two sizes of every axis, got only {axis}={numbers[axis][0]:g}. Leave "
                f"{axis} out (axes=[...]), or add trainings of another {axis}."
            )
    mode = check_mode("fit", loss, mode)
    sign = 1.0 if mode == "min" else -1.0
    seeds = numbers.get(SEED)
    if seeds is not None:
        _check_each(f"fit(table[{SEED!r}])", seeds, np.isfinite, "numbers, of which none is missing")
        _check_once({name: numbers[name] for name in [lr, *axes, SEED]})
    return Table(numbers[lr], sign * numbers[loss], {axis: numbers[axis] for axis in axes}, seeds, mode)


def _columns_of(table: Any, loss: str) -> dict[str, Any]:
    """Name -> column, of a mapping, a frame or a sweep."""
    if isinstance(table, SweepResult):
        return _of_sweep(table, loss)
    names = table if isinstance(table, Mapping) else attribute(table, "columns")
    if names is None or isinstance(table, np.ndarray):
        raise TypeError(
            f"`fit(table)` must be a mapping of columns, a data frame or a `lrjax.SweepResult`, got "
            f"{show_with_type(table)}. Write for example {{'lr': [...], 'loss': [...], 'width': [...]}}."
        )
    names = list(names)
    wrong = next((name for name in names if not isinstance(name, str)), None)
    if wrong is not None or not names:
        raise TypeError(f"`fit(table)` must have columns named by words, got {show(wrong if names else names)}.")
    return {name: table[name] for name in names}


def _of_sweep(result: SweepResult, metric: str) -> dict[str, Any]:
    """What every lane reached at its end; those that were stopped before have no row."""
    losses = np.where(result.diverged_at >= 0, np.nan, result.final(metric))
    trial, seed = np.nonzero((result.stopped_at < 0) | (result.diverged_at >= 0))
    columns = {name: column[trial] for name, column in result.columns.items()}
    return {**columns, SEED: seed, metric: losses[trial, seed]}


def _likely(columns: Mapping[str, Any]) -> str:
    return next((name for name in columns if name in ("learning_rate", "peak", "val_loss")), next(iter(columns)))


def _check_listed(where: str, name: str, columns: Mapping[str, Any], advice: str) -> None:
    if name not in columns:
        raise ValueError(
            f"`{where}` must be a column of the table: there is no {show(name)} among {', '.join(columns)}. {advice}"
        )


def _axes(axes: Any, columns: Mapping[str, Any], lr: str, loss: str) -> list[str]:
    taken = (lr, loss, SEED)
    if axes is None:
        axes = [name for name in columns if name not in taken]
    if isinstance(axes, str) or not isinstance(axes, Sequence) or not all(isinstance(axis, str) for axis in axes):
        raise TypeError(f"`fit(axes=...)` must be a list of columns, got {show_with_type(axes)}. Write axes=['width'].")
    for axis in axes:
        _check_listed("fit(axes=...)", axis, columns, "Name columns of sizes.")
        if axis in taken or list(axes).count(axis) > 1:
            raise ValueError(f"`fit(axes=...)` must name columns of sizes, each once, got {show(list(axes))}.")
    if not axes:
        raise ValueError(
            f"`fit(table)` must have a column for at least one axis, such as width, beside {lr} and {loss}, got "
            f"{', '.join(columns)}. What is in the index of a data frame becomes a column by frame.reset_index()."
        )
    return list(axes)


def _numbers(name: str, column: Any, is_axis: bool) -> np.ndarray:
    values = to_numpy(column)
    if values is None or (values.size and kind_of(values) not in ("f", "i", "u")):
        got = show(values[:3].tolist() if values is not None and values.ndim == 1 else column)
        got += " as objects" * (values is not None and values.dtype == object)
        advice = "If it is no size, name the columns that are: axes=[...]."
        raise TypeError(
            f"`fit(table[{name!r}])` must be a column of numbers, got {got}. {advice if is_axis else 'Convert it.'}"
        )
    if values.ndim != 1:
        raise ValueError(f"`fit(table[{name!r}])` must have shape (rows,), got shape {values.shape}.")
    return values.astype(np.float64)


def _check_each(where: str, values: np.ndarray, accept: Any, rule: str) -> None:
    for row, value in enumerate(values.tolist()):
        if not accept(value):
            raise ValueError(f"`{where}` must be {rule}, got {value:g} in row {row}. Correct or remove the row.")


def _check_once(columns: Mapping[str, np.ndarray]) -> None:
    unique, counts = np.unique(np.column_stack([*columns.values()]), axis=0, return_counts=True)
    if (counts > 1).any():
        row = ", ".join(f"{name}={value:g}" for name, value in zip(columns, unique[np.argmax(counts)], strict=True))
        raise ValueError(
            f"`fit(table)` must have one row for each lr, size and seed, got {counts.max()} with {row}. Remove what "
            "was copied, or give repeated trainings seeds of their own."
        )
