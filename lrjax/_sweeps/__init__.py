"""Grids of settings, each trained to its end."""

from ._picture import plot_sweep as plot_sweep
from ._picture import trial_scores as trial_scores
from ._read_grid import zipped as zipped
from ._result import SweepResult as SweepResult
from ._stop import StopDiverged as StopDiverged
from ._stop import SuccessiveHalving as SuccessiveHalving
from ._sweep import run_sweep as run_sweep
from ._sweep import sweep as sweep
