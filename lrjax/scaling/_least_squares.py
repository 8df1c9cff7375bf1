"""Weighted least squares where the points scatter about the law by more than their own errors."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

LEVEL = 0.9
"""Probability that an interval holds what it is for."""


class Line(NamedTuple):
    """A linear law."""

    coefficients: np.ndarray  # of its terms; the scatter is in the covariance
    covariance: np.ndarray
    scatter: float  # standard deviation of the points about the law beyond their own errors
    free: int  # degrees of freedom


def fit_line(design: np.ndarray, values: np.ndarray, errors: np.ndarray) -> Line:
    """Weights 1 / (error^2 + scatter^2), the scatter such that the residuals are as large as their weights say.

    Source: Paule & Mandel 1982, Consensus values and weighting factors.
    """
    free = len(values) - design.shape[1]

    def solve(variance: float) -> tuple[np.ndarray, np.ndarray, float]:
        weights = 1 / (errors**2 + variance)
        covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
        coefficients = covariance @ (design.T @ (weights * values))
        return coefficients, covariance, float(weights @ (values - design @ coefficients) ** 2)

    low, high = 1e-20, max(1e-20, 4 * float(np.var(values)) + 1.0)
    if free > 0 and solve(low)[2] > free:
        for _ in range(80):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if solve(middle)[2] > free else (low, middle)
    coefficients, covariance, _ = solve(low)
    return Line(coefficients, covariance, math.sqrt(low), free)


def quantile(free: int, level: float = LEVEL) -> float:
    """Standard errors on both sides that an interval takes: of Student's t, as the scatter is itself estimated."""
    from scipy.special import stdtrit

    return float(stdtrit(free, 0.5 + level / 2))


Terms = tuple[tuple[str, ...], ...]
"""The terms of a law: (), each axis, and pairs of axes: of one with itself where the law bends."""


def design_of(terms: Terms, centres: Mapping[str, float], sizes: Mapping[str, np.ndarray]) -> np.ndarray:
    """The terms at some sizes: products of log10(size / centre), shape (points, terms)."""
    logs = {axis: np.log10(np.asarray(values, np.float64) / centres[axis]) for axis, values in sizes.items()}
    ones = np.ones_like(next(iter(logs.values())))
    return np.column_stack([math.prod((logs[axis] for axis in term), start=ones) for term in terms])


def is_determined(design: np.ndarray) -> bool:
    """Whether every term can be told from the others, to four digits of their logs."""
    scale = np.linalg.norm(design, axis=0)
    return bool((scale > 0).all()) and np.linalg.matrix_rank(design / scale, tol=1e-4) == design.shape[1]
