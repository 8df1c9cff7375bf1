"""What works in a study but may change or go: no promise of stability."""

from ._piecewise import piecewise as piecewise
from ._result import PiecewiseResult as PiecewiseResult
from ._result import PiecewiseWindow as PiecewiseWindow
