"""The learning-rate toolkit for JAX: find a good learning rate, give it a schedule, prove both."""

import importlib as _importlib
import typing as _typing

from . import range_rules as range_rules
from . import schedules as schedules
from ._version import __version__ as __version__
from .finder import AutoResult as AutoResult
from .finder import LossCurve as LossCurve
from .finder import LRFinderResult as LRFinderResult
from .finder import LRNotFound as LRNotFound
from .finder import LRWarning as LRWarning
from .finder import Outcome as Outcome
from .finder import Preview as Preview
from .finder import RangeTest as RangeTest
from .finder import RefindResult as RefindResult
from .finder import SearchInterrupted as SearchInterrupted
from .finder import SearchProgress as SearchProgress
from .finder import Suggestions as Suggestions
from .finder import WarningName as WarningName
from .finder import Window as Window
from .finder import auto as auto
from .finder import crossing as crossing
from .finder import find_lr as find_lr
from .finder import find_warnings as find_warnings
from .finder import find_window as find_window
from .finder import half_loss as half_loss
from .finder import lowest_for as lowest_for
from .finder import lowest_loss as lowest_loss
from .finder import midpoint as midpoint
from .finder import preview_lr as preview_lr
from .finder import range_test as range_test
from .finder import refind_lr as refind_lr
from .finder import sample_losses as sample_losses
from .finder import steepest as steepest
from .schedules._current import at_step as at_step
from .schedules._current import current_hyperparams as current_hyperparams
from .schedules._plateau import PlateauState as PlateauState
from .schedules._plateau import reduce_on_plateau as reduce_on_plateau
from .schedules._scheduled import ScheduledState as ScheduledState
from .schedules._scheduled import scheduled as scheduled
from .trials import Chunked as Chunked
from .trials import Execution as Execution
from .trials import Task as Task

if _typing.TYPE_CHECKING:
    from . import cli as cli
    from . import demos as demos
    from . import experimental as experimental
    from . import explorer as explorer
    from . import integrations as integrations
    from . import plots as plots
    from .plan import PeakNotFound as PeakNotFound
    from .plan import Recommendation as Recommendation
    from .plan import TunedPeak as TunedPeak
    from .plan import peak_for as peak_for
    from .plan import recommend as recommend
    from .plan import tune_peak as tune_peak
    from .search import PlannedRung as PlannedRung
    from .search import SearchPlan as SearchPlan
    from .search import SearchResult as SearchResult
    from .search import SearchRung as SearchRung
    from .search import SearchWarning as SearchWarning
    from .search import SearchWarningName as SearchWarningName
    from .search import plan_search as plan_search
    from .search import search_lr as search_lr
    from .sweeps import BestTrial as BestTrial
    from .sweeps import Evaluation as Evaluation
    from .sweeps import StopDiverged as StopDiverged
    from .sweeps import SuccessiveHalving as SuccessiveHalving
    from .sweeps import SweepExecution as SweepExecution
    from .sweeps import SweepInterrupted as SweepInterrupted
    from .sweeps import SweepPlan as SweepPlan
    from .sweeps import SweepProgress as SweepProgress
    from .sweeps import SweepResult as SweepResult
    from .sweeps import Zipped as Zipped
    from .sweeps import plan_sweep as plan_sweep
    from .sweeps import sweep as sweep
    from .sweeps import zipped as zipped

_LATER = {
    ".plan": (
        "PeakNotFound",
        "Recommendation",
        "TunedPeak",
        "peak_for",
        "recommend",
        "tune_peak",
    ),
    ".search": (
        "PlannedRung",
        "SearchPlan",
        "SearchResult",
        "SearchRung",
        "SearchWarning",
        "SearchWarningName",
        "plan_search",
        "search_lr",
    ),
    ".sweeps": (
        "BestTrial",
        "Evaluation",
        "StopDiverged",
        "SuccessiveHalving",
        "SweepExecution",
        "SweepInterrupted",
        "SweepPlan",
        "SweepProgress",
        "SweepResult",
        "Zipped",
        "plan_sweep",
        "sweep",
        "zipped",
    ),
}
"""Room -> its public names: imported when one of them is first asked for, so that `import lrjax` is quick."""

_ROOMS = ("cli", "demos", "experimental", "explorer", "integrations", "plots")


if not _typing.TYPE_CHECKING:  # else every mistyped name would have a type

    def __getattr__(name: str) -> _typing.Any:
        room = next((room for room, names in _LATER.items() if name in names), None)
        if room is not None:
            value = getattr(_importlib.import_module(room, __name__), name)
        elif name in _ROOMS:
            value = _importlib.import_module(f".{name}", __name__)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *(name for names in _LATER.values() for name in names)})
