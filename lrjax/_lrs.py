"""Checks of learning rates, in the style of `_checks`."""

import numpy as np

from ._checks import check_number, kind_of, show, to_numpy

MAX_DECADES = 20
"""The widest range of learning rates."""


LR = "a learning rate, > 0 and finite"


def check_lr(where: str, value: object, *, rule: str = LR) -> float:
    """Return one learning rate, a normal float32 number up to 1e30."""
    return check_number(where, value, rule=rule, accept=is_lr)


def check_lr_range(where: str, min_lr: object, max_lr: object) -> tuple[float, float]:
    """Return two learning rates, 0 < min_lr < max_lr, both normal float32 numbers, within 20 decades."""
    for name, value in (("min_lr", min_lr), ("max_lr", max_lr)):
        if isinstance(value, (int, float, np.integer, np.floating)) and -100 < value < 0:
            power = f"1e{value:g}" if value == int(value) else f"10 ** {value:g}"
            raise ValueError(
                f"`{where}({name}=...)` must be {LR}, got {value:g}. "
                f"Learning rates are given as such, not as exponents: write {power}, not {value:g}."
            )
    low, high = check_lr(f"{where}(min_lr=...)", min_lr), check_lr(f"{where}(max_lr=...)", max_lr)
    if low >= high:
        raise ValueError(
            f"`{where}(min_lr=...)` must be below max_lr={high:g}, got {low:g}. "
            "Both are learning rates, not exponents: write 1e-7, not -7."
        )
    if np.log10(high) - np.log10(low) > MAX_DECADES:
        raise ValueError(
            f"`{where}(min_lr=..., max_lr=...)` may span {MAX_DECADES} decades, got {low:g} to {high:g}. "
            "Most optimizers have their best learning rate between 1e-7 and 10."
        )
    return low, high


def is_lr(value: float) -> bool:
    """Whether a number can be a learning rate in float32."""
    return bool(np.isfinite(value)) and float(np.finfo(np.float32).tiny) <= value <= 1e30


def check_lrs(where: str, lrs: object) -> np.ndarray:
    """Return the learning rates as a float64 vector: 1-D, not empty, positive, finite and all different."""
    given = to_numpy(lrs)
    if given is None or (given.size and kind_of(given) not in ("f", "i", "u")):
        raise TypeError(f"`{where}` must be a sequence of learning rates, got {show(lrs)}.")
    values = given.astype(np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"`{where}` must have shape (trials,) with at least one learning rate, got shape {values.shape}. "
            "Write for example jnp.logspace(-7, 1, 17)."
        )
    for index, value in enumerate(values):
        if not is_lr(value):
            raise ValueError(
                f"`{where}` must be learning rates > 0 and finite, got {value:g} at index {index}. "
                "They are learning rates, not exponents: write 10.0 ** x for an exponent x."
            )
    singles = values.astype(np.float32)
    order = np.argsort(singles, kind="stable")
    twins = np.flatnonzero(np.diff(singles[order]) == 0)
    if twins.size:
        first, second = order[twins[0]], order[twins[0] + 1]
        raise ValueError(
            f"`{where}` must all be different, got {values[first]:g} at index {first} and {values[second]:g} "
            f"at index {second}, which are one float32 number. Remove one."
        )
    return values
