"""The learning-rate toolkit for JAX: find a good learning rate, give it a schedule, prove both."""

import importlib as _importlib
import typing as _typing

from . import range_rules as range_rules
from . import schedules as schedules
from ._curve import LossCurve as LossCurve
from ._curve import LRWarning as LRWarning
from ._curve import Outcome as Outcome
from ._curve import WarningName as WarningName
from ._curve import Window as Window
from ._curve import crossing as crossing
from ._curve import find_warnings as find_warnings
from ._curve import find_window as find_window
from ._curve import half_loss as half_loss
from ._curve import lowest_for as lowest_for
from ._curve import lowest_loss as lowest_loss
from ._curve import midpoint as midpoint
from ._curve import steepest as steepest
from ._engine import Chunked as Chunked
from ._engine import Execution as Execution
from ._engine import Task as Task
from ._failure import LRNotFound as LRNotFound
from ._failure import SearchInterrupted as SearchInterrupted
from ._preview import Preview as Preview
from ._preview import preview as preview
from ._progress import Progress as Progress
from ._search import Budget as Budget
from ._search import Checkpoint as Checkpoint
from ._search import LRResult as LRResult
from ._search import RangeTest as RangeTest
from ._search import Request as Request
from ._search import Stage as Stage
from ._search import StepSampling as StepSampling
from ._search import Strategy as Strategy
from ._search import find_lr as find_lr
from ._search import range_test as range_test
from ._search import sample_losses as sample_losses
from ._version import __version__ as __version__

if _typing.TYPE_CHECKING:
    from . import cli as cli
    from . import demos as demos
    from . import explorer as explorer
    from . import integrations as integrations
    from . import plots as plots
    from . import scaling as scaling
    from ._plan import Recommendation as Recommendation
    from ._plan import peak_for as peak_for
    from ._plan import recommend as recommend
    from ._sweeps import StopDiverged as StopDiverged
    from ._sweeps import SuccessiveHalving as SuccessiveHalving
    from ._sweeps import SweepResult as SweepResult
    from ._sweeps import sweep as sweep
    from ._sweeps import zipped as zipped

_LATER = {
    "._plan": ("Recommendation", "peak_for", "recommend"),
    "._sweeps": ("StopDiverged", "SuccessiveHalving", "SweepResult", "sweep", "zipped"),
}
"""Room -> its public names: imported when one of them is first asked for, so that `import lrjax` is quick."""

_ROOMS = ("cli", "demos", "explorer", "integrations", "plots", "scaling")

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
