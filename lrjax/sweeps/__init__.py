"""Vectorised sweeps: full trainings over any hyperparameters, streamed, resumable, pruned, on many devices."""

from ._engine import SweepExecution as SweepExecution
from ._grid import Zipped as Zipped
from ._grid import zipped as zipped
from ._plan import SweepPlan as SweepPlan
from ._plan import plan_sweep as plan_sweep
from ._progress import Evaluation as Evaluation
from ._progress import SweepProgress as SweepProgress
from ._result import BestTrial as BestTrial
from ._result import SweepInterrupted as SweepInterrupted
from ._result import SweepResult as SweepResult
from ._result import trial_scores as trial_scores
from ._stop import StopDiverged as StopDiverged
from ._stop import SuccessiveHalving as SuccessiveHalving
from ._sweep import sweep as sweep
